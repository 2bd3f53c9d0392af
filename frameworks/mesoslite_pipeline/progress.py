"""How far the pipeline is: what its view shows, and what decides that it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesoslite_pipeline.events import Total
from mesoslite_pipeline.plan import PipelineError

#: A rate is what came in so many seconds: shorter would jump with every micro-batch.
RATE_S = 10.0
STALL_S_MAX = 300.0  # without one event more
#: What is counted twice would be there after a few micro-batches of a second each.
SETTLE_S = 5.0
ATTEMPTS_MAX = 10
AGAIN_S_MAX = 30.0


@dataclass(slots=True)
class Gauge:
    """A number that grows, and how fast."""

    value: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def set(self, value: int, now_s: float) -> None:
        """It is so much now, by a monotonic clock."""
        self.value = value
        self._seen.append((now_s, value))
        while len(self._seen) > 1 and now_s - self._seen[0][0] > RATE_S:
            self._seen.popleft()

    @property
    def a_second(self) -> float:
        """How much it grew, lately."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return 0.0
        return (self._seen[-1][1] - self._seen[0][1]) / (self._seen[-1][0] - self._seen[0][0])


@dataclass(slots=True)
class Progress:
    """All that is known of a run."""

    events: int
    """How many there are to be."""
    phase: str = "starting"
    written: Gauge = field(default_factory=Gauge)
    """Events in Kafka."""
    counted: Gauge = field(default_factory=Gauge)
    """Events in the totals."""
    totals: Mapping[str, Total] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    """Tasks that run, by what they are: broker, node, driver, executor, ingest."""
    host: str = ""
    """What became of the host that was to die; empty: none was."""

    def count(self, totals: Mapping[str, Total], now_s: float) -> None:
        """Take in what Cassandra has."""
        self.totals = totals
        self.counted.set(sum(total.events for total in totals.values()), now_s)

    def top(self, most: int) -> list[tuple[str, Total]]:
        """The keys with the largest amounts."""
        return sorted(self.totals.items(), key=lambda item: -item[1].amount)[:most]

    @property
    def line(self) -> str:
        """For a log."""
        return (
            f"{self.written.value:,} events written, {self.counted.value:,} of {self.events:,} "
            f"counted, {self.counted.a_second:,.0f} a second"
        )


@dataclass(slots=True)
class Patience:
    """When a count is over, or is never going to be."""

    events: int
    """How many there are to be."""
    _best: int = -1
    _best_s: float = 0.0
    _all_s: float | None = None

    def over(self, counted: int, now_s: float) -> bool:
        """Whether all of so many that are counted now were there SETTLE_S ago, too.

        By a monotonic clock. Raises PipelineError when nothing came for STALL_S_MAX.
        """
        if counted > self._best:
            self._best, self._best_s = counted, now_s
        if self._best >= self.events:
            self._all_s = now_s if self._all_s is None else self._all_s
            return now_s - self._all_s >= SETTLE_S
        if now_s - self._best_s > STALL_S_MAX:
            raise PipelineError(
                f"nothing was counted for {STALL_S_MAX:.0f} s: {self._best:,} of {self.events:,}"
            )
        return False


@dataclass(slots=True)
class Attempts:
    """At something that may die, and then is to go on where it was."""

    failures: int = 0
    """In a row, without one event more: then something is wrong that another does not mend."""
    _at: int = 0

    def failed(self, events: int, why: str) -> float:
        """It has ended, when there were so many events: in how many seconds to begin another.

        Raises PipelineError when that would be one too many.
        """
        if events > self._at:
            self.failures = 0
        self._at = events
        self.failures += 1
        if self.failures > ATTEMPTS_MAX:
            raise PipelineError(f"{self.failures} times in a row without one event more: {why}")
        return min(AGAIN_S_MAX, 2.0 ** (self.failures - 1))
