"""Asking the master for the states of tasks until it has told them (docs/semantics.md 3.3).

One loop at a time: it begins after each subscribe with every task that may still run, and asks
again for those not answered, less and less often. Every 15 minutes a new one begins.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesoslite.lifecycle import TaskState
from mesoslite.messages import Reconcile
from mesoslite.model import TaskReference, TaskStatus

RETRY_MS_MIN = 15_000
RETRY_MS_MAX = 600_000
PERIOD_MS = 900_000  # Mesos advises 15 minutes
TASKS_IN_A_CALL_MAX = 1_000  # Aurora asks for as many at a time
TASKS_KNOWN_MAX = 200_000  # ~150 B each; of more than these only the implicit question tells


class Reconciliation:
    """The tasks that may still run, and which of them the master was asked about."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}  # task id -> agent id, "" when not known
        self._unanswered: dict[str, None] = {}
        self._asked_all = False
        self._retry_ms = RETRY_MS_MIN
        self._retry_at_ms = 0
        self._period_at_ms: int | None = None  # None: paused

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._known

    @property
    def known(self) -> dict[str, str]:
        """A copy: task id -> agent id of every task that may still run."""
        return dict(self._known)

    @property
    def unanswered(self) -> frozenset[str]:
        """The tasks whose state was asked for and not told yet."""
        return frozenset(self._unanswered)

    def agent_of(self, task_id: str) -> str:
        """The agent of a task; empty when not known."""
        return self._known.get(task_id, "")

    def learn(self, task_id: str, agent_id: str) -> None:
        """This task was launched on this agent."""
        if task_id in self._known or len(self._known) < TASKS_KNOWN_MAX:
            self._known[task_id] = agent_id

    def heard(self, status: TaskStatus) -> None:
        """A status came: an answer, if its task was asked about."""
        self._unanswered.pop(status.task_id, None)
        if status.terminal or status.state is TaskState.UNKNOWN:
            # Nobody knows it: asking again would tell no more. Its agent, if it returns, will.
            self._known.pop(status.task_id, None)
        else:
            self.learn(status.task_id, status.agent_id or self.agent_of(status.task_id))

    def begin(self, now_ms: int) -> list[Reconcile]:
        """After a subscribe: ask for every known task; the first time in a process for all."""
        self._period_at_ms = now_ms + PERIOD_MS
        ask_all, self._asked_all = not self._asked_all, True
        return self._round(now_ms, ask_all=ask_all)

    def pause(self) -> None:
        """The stream is lost: nothing can be asked until the next `begin`."""
        self._period_at_ms = None
        self._unanswered.clear()

    def tick(self, now_ms: int) -> list[Reconcile]:
        """The questions that are due now."""
        if self._period_at_ms is None:
            return []
        if now_ms >= self._period_at_ms:
            self._period_at_ms = now_ms + PERIOD_MS
            return self._round(now_ms, ask_all=True)
        if self._unanswered and now_ms >= self._retry_at_ms:
            self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)
            self._retry_at_ms = now_ms + self._retry_ms
            return self._questions(self._unanswered)
        return []

    def next_ms(self) -> int | None:
        """When to call `tick` again; None while there is no stream."""
        if self._period_at_ms is None:
            return None
        return (
            min(self._retry_at_ms, self._period_at_ms) if self._unanswered else self._period_at_ms
        )

    def _round(self, now_ms: int, *, ask_all: bool) -> list[Reconcile]:
        self._unanswered = dict.fromkeys(self._known)
        self._retry_ms = RETRY_MS_MIN
        self._retry_at_ms = now_ms + RETRY_MS_MIN
        questions = self._questions(self._unanswered)
        return [*questions, Reconcile()] if ask_all else questions

    def _questions(self, task_ids: Iterable[str]) -> list[Reconcile]:
        references = [TaskReference(task_id, self._known[task_id]) for task_id in task_ids]
        return [
            Reconcile(tuple(references[start : start + TASKS_IN_A_CALL_MAX]))
            for start in range(0, len(references), TASKS_IN_A_CALL_MAX)
        ]

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        assert self._unanswered.keys() <= self._known.keys()
        assert len(self._known) <= TASKS_KNOWN_MAX
        assert RETRY_MS_MIN <= self._retry_ms <= RETRY_MS_MAX
