"""Which statuses the author's code was told, so that each is told once and acknowledged always."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from mesoslite.lifecycle import TaskState, may_move
from mesoslite.model import TaskStatus

#: Acknowledged ones that are remembered, half as many at least, ~200 B each. An agent sends one
#: again only while its acknowledgement is on its way; forgetting one too early repeats a callback,
#: no more.
ACKNOWLEDGED_REMEMBERED_MAX = 10_000
#: Told or about to be told, not yet acknowledged. The master bounds them for each agent.
UNACKNOWLEDGED_MAX = 100_000
#: Tasks of which is remembered how far they were when they were last told of, ~120 B each: as many
#: as are reconciled. Of one that is forgotten too early the author may hear old news, no more.
STATES_REMEMBERED_MAX = 200_000
#: Tasks that the author asked about after their end; an answer takes one out again.
ASKED_MAX = 10_000

UpdateKey = tuple[str, str, str]
"""(agent id, task id, update id)"""


def key_of(status: TaskStatus) -> UpdateKey:
    """What makes a status the same one when it comes again."""
    return (status.agent_id, status.task_id, status.update_id)


class Arrival(Enum):
    """What a status that arrives is to this session."""

    NEW = "never seen: tell the author's code"
    WAITING = "on its way to the author's code, or told and not acknowledged yet"
    OLD_NEWS = "the task is further than this, as was told: only to be acknowledged"
    ACKNOWLEDGED = "dealt with: the acknowledgement was lost, say it again"


class Updates:
    """The reliable statuses (those with an update id) that were seen. O(1) each."""

    def __init__(self) -> None:
        self._waiting: dict[UpdateKey, None] = {}
        # In two halves: when the newer is full it takes the place of the older. To drop the oldest
        # one by one a dict looks at all the places that were emptied before it, each time anew.
        self._acknowledged: set[UpdateKey] = set()
        self._acknowledged_before: set[UpdateKey] = set()
        self._states: OrderedDict[str, TaskState] = OrderedDict()  # by task id, last told last
        self._asked: dict[str, None] = {}

    def arrived(self, status: TaskStatus) -> Arrival:
        """Note a status; `NEW` at most once for each."""
        key = key_of(status)
        if key in self._acknowledged or key in self._acknowledged_before:
            return Arrival.ACKNOWLEDGED
        if key in self._waiting:
            return Arrival.WAITING
        last = self._states.get(status.task_id)
        if last is not None and (last.terminal or not _may_follow(last, status.state)):
            return Arrival.OLD_NEWS
        self._waiting[key] = None
        if len(self._waiting) > UNACKNOWLEDGED_MAX:
            del self._waiting[next(iter(self._waiting))]
        return Arrival.NEW

    def behind(self, status: TaskStatus) -> bool:
        """Whether an answer to a question says less than what was told since it was asked.

        Of a task that has ended every answer does: its end crossed the session's question on the
        way, and told again it would be counted as a second end. Unless the author itself asked.
        """
        last = self._states.get(status.task_id)
        if last is None:
            return False
        if last.terminal:
            asked = status.task_id in self._asked
            self._asked.pop(status.task_id, None)
            return not asked
        return status.state is not TaskState.UNKNOWN and not _may_follow(last, status.state)

    def ended(self, task_id: str) -> bool:
        """Whether the end of this task was told."""
        last = self._states.get(task_id)
        return last is not None and last.terminal

    def asked(self, task_id: str) -> None:
        """The author asks about this task: it is to be answered once, ended or not."""
        if self.ended(task_id):
            self._asked[task_id] = None
            if len(self._asked) > ASKED_MAX:
                del self._asked[next(iter(self._asked))]

    def told(self, status: TaskStatus) -> None:
        """Note how far a task is, by any status. No end is ever followed by another: an agent tells
        of one again when a crash of its host has lost that it had told (D5), and the
        answer to a question may be ahead of statuses that are still on their way."""
        last = self._states.pop(status.task_id, None)
        ended = last is not None and last.terminal
        self._states[status.task_id] = last if ended and last is not None else status.state
        if len(self._states) > STATES_REMEMBERED_MAX:
            self._states.popitem(last=False)

    def launched(self, task_id: str) -> None:
        """This id is launched now: what was told before was not of this task."""
        self._states.pop(task_id, None)
        self._asked.pop(task_id, None)

    def acknowledged(self, status: TaskStatus) -> None:
        """Note that the author's code has dealt with it."""
        key = key_of(status)
        self._waiting.pop(key, None)
        self._acknowledged.add(key)
        if len(self._acknowledged) >= ACKNOWLEDGED_REMEMBERED_MAX // 2:
            self._acknowledged_before = self._acknowledged
            self._acknowledged = set()

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        acknowledged = self._acknowledged | self._acknowledged_before
        assert not self._waiting.keys() & acknowledged
        assert len(self._waiting) <= UNACKNOWLEDGED_MAX
        assert len(acknowledged) <= ACKNOWLEDGED_REMEMBERED_MAX
        assert len(self._asked) <= ASKED_MAX
        assert len(self._states) <= STATES_REMEMBERED_MAX


def _may_follow(last: TaskState, state: TaskState) -> bool:
    return state is last or may_move(last, state)
