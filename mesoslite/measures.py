"""What a daemon counts as it goes: plain numbers, a few for each batch, none for each task.

Pure. `metrics.py` reads them when somebody scrapes; nothing here knows how they are told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

#: From what a batch takes at best, 0.1 ms, to a disk that hangs. A value falls into the first
#: bound that is not below it.
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
#: How many of something at once.
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Distribution:
    """How often values of each size were seen, and their sum. O(log bounds) a value, ~0.3 us."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """`bounds` ascend; one more count is kept for what is above the last."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were seen."""
        return sum(self.counts)


class LoopMeasures:
    """The turns of a daemon's loop, as `drive` tells them."""

    __slots__ = ("batch", "events", "handled", "ticked", "turn")

    def __init__(self) -> None:
        self.events = 0
        self.batch = Distribution(COUNTS)
        """Events in a batch; a turn that only a deadline brought has none and is not counted."""
        self.handled = Distribution()
        """Seconds in the machine, for a batch and both its ticks."""
        self.ticked = Distribution()
        """Seconds of the tick behind the batch, on which a master's offers are decided."""
        self.turn = Distribution()
        """Seconds from when the oldest event of a batch came in until all was handed on."""

    def turned(
        self, *, events: int, waited_s: float, handled_s: float, ticked_s: float, whole_s: float
    ) -> None:
        """One turn is over: `waited_s` until its batch was taken, and `whole_s` since then."""
        self.handled.observe(handled_s)
        self.ticked.observe(ticked_s)
        if events:
            self.events += events
            self.batch.observe(events)
            self.turn.observe(waited_s + whole_s)


class CommitMeasures:
    """The transactions of a daemon's database."""

    __slots__ = ("failures", "rows", "seconds")

    def __init__(self) -> None:
        self.seconds = Distribution()
        """Of each that was written, without its wait for the thread that writes."""
        self.rows = 0
        """Statements in them: each writes about one row."""
        self.failures = 0


class Traffic:
    """The gRPC messages of some streams."""

    __slots__ = ("received", "received_bytes", "sent", "sent_bytes")

    def __init__(self) -> None:
        self.received = 0
        self.received_bytes = 0
        self.sent = 0
        self.sent_bytes = 0
