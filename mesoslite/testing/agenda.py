"""Virtual time: what is to happen when. A simulated hour takes as long as its events do."""

from __future__ import annotations

import heapq
from collections.abc import Callable

#: When every simulation begins: 2001-09-09T01:46:40Z, a time that reads well in milliseconds.
BEGIN_MS = 1_000_000_000_000


class Agenda:
    """Actions in the order of their times; those of the same time in the order of their entry.

    Time jumps to the next action. Each method is O(log n).
    """

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self._count = 0
        self._actions: list[tuple[int, int, Callable[[], None]]] = []

    def __len__(self) -> int:
        return len(self._actions)

    def at(self, due_ms: int, action: Callable[[], None]) -> None:
        """Do this at a time; one that has passed means now, after all that is due already."""
        self._count += 1
        heapq.heappush(self._actions, (max(due_ms, self.now_ms), self._count, action))

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do this in so many milliseconds."""
        self.at(self.now_ms + delay_ms, action)

    def next_ms(self) -> int | None:
        """The time of the next action; None when nothing will ever happen again."""
        return self._actions[0][0] if self._actions else None

    def run(self, until_ms: int) -> None:
        """Do everything that is due until then, and jump there."""
        actions, pop = self._actions, heapq.heappop
        while actions and actions[0][0] <= until_ms:
            self.now_ms, _, action = pop(actions)
            action()
        self.now_ms = max(self.now_ms, until_ms)

    def step(self) -> bool:
        """Jump to the next action and do it. False when there is none."""
        if not self._actions:
            return False
        self.now_ms, _, action = heapq.heappop(self._actions)
        action()
        return True
