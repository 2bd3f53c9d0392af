"""Status update streams: what a framework has not acknowledged, said again until it has.

One for each task: first in, first out, one outstanding at a time (docs/semantics.md 3.1). The whole
rule is here; what makes it durable and carries it to the master are effects, which `state.py` adds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mesoslite.deadlines import Deadlines
from mesoslite.lifecycle import TaskState
from mesoslite.model import TaskStatus

RESEND_FIRST_MS = 10_000  # Mesos: STATUS_UPDATE_RETRY_INTERVAL_MIN
RESEND_MAX_MS = 600_000  # Mesos: STATUS_UPDATE_RETRY_INTERVAL_MAX
# The head of a stream carries the newest state. When that has become terminal since, it is said
# again so soon, because the task's resources are free, and only the head may tell the master.
RESEND_ENDED_MS = 1_000


class UpdateStream:
    """The unacknowledged statuses of one task. Compared by identity."""

    __slots__ = ("framework_id", "interval_ms", "pending", "resend_ms", "state", "task_id")

    def __init__(self, framework_id: str, task_id: str) -> None:
        self.framework_id = framework_id
        self.task_id = task_id
        self.pending: deque[TaskStatus] = deque()
        self.state = TaskState.STAGING
        """The newest, which may be ahead of the head's."""
        self.interval_ms = RESEND_FIRST_MS
        self.resend_ms = 0
        """When the head is said again, while there is one and the master listens."""

    @property
    def head(self) -> TaskStatus | None:
        """The one to be acknowledged next."""
        return self.pending[0] if self.pending else None


class Resends:
    """When the head of each stream is to be said again. O(log n) for each method.

    A deadline in `_due` may be too early, never too late: an acknowledgement leaves it standing,
    and it is put right when it comes. Nearly all heads are acknowledged at once, so this saves
    most of the moves in the sorted order.
    """

    def __init__(self) -> None:
        self._due: Deadlines[UpdateStream] = Deadlines()
        self._new: dict[UpdateStream, None] = {}

    def new(self, stream: UpdateStream) -> None:
        """There is a head again: it is said with the next Tick, and so with the newest state. A
        batch of events ends with a Tick, and nothing leaves before."""
        self._new[stream] = None

    def is_new(self, stream: UpdateStream) -> bool:
        """Whether its head was not said yet."""
        return stream in self._new

    def take_new(self) -> Iterable[UpdateStream]:
        """Those with a head that is to be said now."""
        if not self._new:
            return ()
        new, self._new = self._new, {}
        return new

    def said(self, stream: UpdateStream, now_ms: int) -> None:
        """The head was said for the first time on this connection."""
        stream.interval_ms = RESEND_FIRST_MS
        self._at(stream, now_ms + RESEND_FIRST_MS)

    def ended(self, stream: UpdateStream, now_ms: int) -> None:
        """The task has ended while an older status is outstanding."""
        self._at(stream, min(stream.resend_ms, now_ms + RESEND_ENDED_MS))

    def drop(self, stream: UpdateStream) -> None:
        """The stream is no more."""
        self._new.pop(stream, None)
        self._due.drop(stream)

    def clear(self) -> None:
        """Nobody listens: no head is said again until each was said anew."""
        self._due = Deadlines()
        self._new.clear()

    def next_ms(self) -> int | None:
        """When to ask for `take_new` and `pop_due`; None: not before another event."""
        return 0 if self._new else self._due.next_ms()

    def pop_due(self, now_ms: int) -> UpdateStream | None:
        """A stream whose head is to be said now; the next time is set, twice as far away."""
        while (stream := self._due.pop_due(now_ms)) is not None:
            if not stream.pending:
                continue
            if stream.resend_ms > now_ms:
                self._due.set(stream, stream.resend_ms)
                continue
            stream.interval_ms = min(2 * stream.interval_ms, RESEND_MAX_MS)
            self._at(stream, now_ms + stream.interval_ms)
            return stream
        return None

    def check(self, listening: bool, streams: Iterable[UpdateStream]) -> None:
        """Assert that every head will be said again while somebody listens. For tests; O(n)."""
        self._due.check()
        known = list(streams)
        for stream in known:
            due_ms = self._due.due_ms(stream)
            if not listening:
                assert due_ms is None
            elif stream in self._new:
                assert stream.pending
            elif stream.pending:
                assert due_ms is not None
                assert due_ms <= stream.resend_ms
                assert RESEND_FIRST_MS <= stream.interval_ms <= RESEND_MAX_MS
        assert len(self._due) == sum(stream in self._due for stream in known), "a forgotten stream"
        assert self._new.keys() <= set(known), "a forgotten stream"
        assert listening or not self._new

    def _at(self, stream: UpdateStream, due_ms: int) -> None:
        stream.resend_ms = due_ms
        standing_ms = self._due.due_ms(stream)
        if standing_ms is None or standing_ms > due_ms:
            self._due.set(stream, due_ms)
