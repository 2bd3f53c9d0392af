"""Limits of containers that no cgroup limits: memory and processes, looked at now and then.

Standard library alone: the launcher uses it.
"""

from __future__ import annotations

import signal
import time

from mesoslite_agent.journal import Container
from mesoslite_agent.offspring import Offspring
from mesoslite_agent.processes import all_processes, held_bytes, tree_of

WATCH_S_MIN = 0.1  # the shortest time between two looks at memory and process counts
WATCH_SHARE = 50  # a look may cost one fiftieth of the time: 2 % of a core


class Watch:
    """Looks at all watched containers of a launcher, and kills what is over a limit."""

    def __init__(self, offspring: Offspring) -> None:
        self._offspring = offspring
        self._due_s = 0.0

    @property
    def due_s(self) -> float | None:
        """When to look next, by the monotonic clock; None: there is nothing to look at."""
        return self._due_s if self._offspring.watched else None

    def look(self) -> None:
        """Look, when it is time."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        if self._offspring.watched:
            self._judge(list(self._offspring.watched.values()))
        took_s = time.monotonic() - now_s
        self._due_s = now_s + max(WATCH_S_MIN, took_s * WATCH_SHARE)

    def _judge(self, containers: list[Container]) -> None:
        """One snapshot of all processes, sums for each container."""
        roots = self._offspring.roots(containers)
        processes = all_processes()
        for container in containers:
            members = [p for p in tree_of(roots[container.id], processes) if p in processes]
            rss_bytes = sum(processes[pid].rss_bytes for pid in members)
            container.peak_bytes = max(container.peak_bytes, rss_bytes)
            mem_max, pids_max = container.fields["mem_bytes_max"], container.fields["pids_max"]
            if mem_max is not None and rss_bytes > mem_max and held_bytes(members) > mem_max:
                container.over = "mem"
            elif pids_max is not None and sum(processes[p].threads for p in members) > pids_max:
                container.over = "pids"
            else:
                continue
            del self._offspring.watched[container.id]
            self._offspring.signal(container, signal.SIGKILL)
