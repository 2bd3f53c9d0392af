"""Which statuses the author's code was told, so that each is told once and acknowledged always."""

from __future__ import annotations

from enum import Enum

from mesoslite.model import TaskStatus

#: Acknowledged ones that are remembered, ~200 B each. An agent sends one again only while its
#: acknowledgement is on its way; forgetting one too early repeats a callback, no more.
ACKNOWLEDGED_REMEMBERED_MAX = 10_000
#: Told or about to be told, not yet acknowledged. The master bounds them for each agent.
UNACKNOWLEDGED_MAX = 100_000
#: Tasks whose end was told, ~150 B each. An agent tells of one again only after a crash of its
#: host, whose disk had not kept that it had told (decisions.md D5).
ENDED_REMEMBERED_MAX = 10_000

UpdateKey = tuple[str, str, str]
"""(agent id, task id, update id)"""


def key_of(status: TaskStatus) -> UpdateKey:
    """What makes a status the same one when it comes again."""
    return (status.agent_id, status.task_id, status.update_id)


class Arrival(Enum):
    """What a status that arrives is to this session."""

    NEW = "never seen: tell the author's code"
    WAITING = "on its way to the author's code, or told and not acknowledged yet"
    AFTER_THE_END = "of a task whose end was told: only to be acknowledged, an end is final"
    ACKNOWLEDGED = "dealt with: the acknowledgement was lost, say it again"


class Updates:
    """The reliable statuses (those with an update id) that were seen. O(1) each."""

    def __init__(self) -> None:
        self._waiting: dict[UpdateKey, None] = {}
        self._acknowledged: dict[UpdateKey, None] = {}
        self._ended: dict[str, None] = {}  # task ids, oldest first

    def arrived(self, status: TaskStatus) -> Arrival:
        """Note a status; `NEW` at most once for each."""
        key = key_of(status)
        if key in self._acknowledged:
            return Arrival.ACKNOWLEDGED
        if key in self._waiting:
            return Arrival.WAITING
        if status.task_id in self._ended:
            return Arrival.AFTER_THE_END
        if status.terminal:
            self._ended[status.task_id] = None
            if len(self._ended) > ENDED_REMEMBERED_MAX:
                del self._ended[next(iter(self._ended))]
        self._waiting[key] = None
        if len(self._waiting) > UNACKNOWLEDGED_MAX:
            del self._waiting[next(iter(self._waiting))]
        return Arrival.NEW

    def launched(self, task_id: str) -> None:
        """This id is launched now: what was told before was not of this task."""
        self._ended.pop(task_id, None)

    def acknowledged(self, status: TaskStatus) -> None:
        """Note that the author's code has dealt with it."""
        key = key_of(status)
        self._waiting.pop(key, None)
        self._acknowledged[key] = None
        if len(self._acknowledged) > ACKNOWLEDGED_REMEMBERED_MAX:
            del self._acknowledged[next(iter(self._acknowledged))]

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        assert not self._waiting.keys() & self._acknowledged.keys()
        assert len(self._waiting) <= UNACKNOWLEDGED_MAX
        assert len(self._acknowledged) <= ACKNOWLEDGED_REMEMBERED_MAX
        assert len(self._ended) <= ENDED_REMEMBERED_MAX
