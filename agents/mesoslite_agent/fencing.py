"""The launcher's side of fences: containers whose lease is over are killed, agent or no agent.

By CLOCK_BOOTTIME, which goes on while the host sleeps. Standard library alone: the launcher uses
it.
"""

from __future__ import annotations

import signal
import time

from mesoslite_agent.journal import Container
from mesoslite_agent.offspring import Offspring

AGAIN_S = 1.0  # between two kills of what does not die of the first
OVER = "lease"


class Fences:
    """The leases of all fenced containers of a launcher. They only grow."""

    def __init__(self, offspring: Offspring) -> None:
        self._offspring = offspring
        self._until_s: dict[str, float] = {}
        self._containers: dict[str, Container] = {}
        self._due_s: float | None = None

    @property
    def patience_s(self) -> float | None:
        """How long nothing has to be looked at; None: for ever."""
        return None if self._due_s is None else max(0.0, self._due_s - boot_s())

    def extend(self, container: Container, until_s: float) -> None:
        """It may run until then, by CLOCK_BOOTTIME. The first one makes it a fenced container."""
        if container.over != OVER:
            self._containers[container.id] = container
            self._until_s[container.id] = max(until_s, self._until_s.get(container.id, 0.0))

    def settle(self) -> None:
        """After some were extended: when to look. O(n)."""
        self._due_s = min(self._until_s.values(), default=None)

    def look(self) -> None:
        """Kill what is over; O(1) while nothing is."""
        if self._due_s is None or (now_s := boot_s()) < self._due_s:
            return
        for container_id, until_s in list(self._until_s.items()):
            container = self._containers[container_id]
            if container.end or container.status is not None:  # what is left of it is being killed
                del self._until_s[container_id], self._containers[container_id]
            elif until_s <= now_s:
                container.over = OVER
                self._offspring.signal(container, signal.SIGKILL)
                self._until_s[container_id] = now_s + AGAIN_S
        self.settle()


def boot_s() -> float:
    """CLOCK_BOOTTIME now, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
