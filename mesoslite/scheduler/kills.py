"""Kills whose task has not ended yet: said again on each new stream, until it has.

A master passes a kill on and remembers it as long as it lives; one that dies before the agent has
heard of it takes it along. So the truth about what was asked for is here, with who asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesoslite.messages import Kill

#: Beyond it the oldest is not said again, ~150 B each: the states of the tasks tell then.
KILLS_MAX = 100_000


@dataclass(slots=True)
class Asked:
    """The shortest graces that were asked for: a further kill never lengthens any."""

    own: bool = False
    """Once with the task's own grace, which is not known here."""
    shortest_ms: int | None = None


class Kills:
    """The tasks that were asked to end, and how soon. O(1) each."""

    def __init__(self) -> None:
        self._asked: dict[str, Asked] = {}

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, task_id: str, grace_ms: int | None) -> None:
        """This task is to end."""
        asked = self._asked.setdefault(task_id, Asked())
        if grace_ms is None:
            asked.own = True
        elif asked.shortest_ms is None or grace_ms < asked.shortest_ms:
            asked.shortest_ms = grace_ms
        if len(self._asked) > KILLS_MAX:
            del self._asked[next(iter(self._asked))]

    def over(self, task_id: str) -> None:
        """It has ended, or nobody knows it."""
        self._asked.pop(task_id, None)

    def clear(self) -> None:
        """All tasks end in another way."""
        self._asked.clear()

    def of(self, task_id: str, agent_id: str) -> Iterator[Kill]:
        """What is to be said again of a task."""
        asked = self._asked.get(task_id)
        if asked is not None:
            if asked.own:
                yield Kill(task_id, agent_id)
            if asked.shortest_ms is not None:
                yield Kill(task_id, agent_id, asked.shortest_ms)

    def all(self, agent_of: Callable[[str], str]) -> Iterator[Kill]:
        """What is to be said again on a new stream, in the order in which it was asked."""
        for task_id in self._asked:
            yield from self.of(task_id, agent_of(task_id))

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        assert len(self._asked) <= KILLS_MAX
        assert all(asked.own or asked.shortest_ms is not None for asked in self._asked.values())
