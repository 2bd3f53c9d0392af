"""What an agent shows to Prometheus, read from its tables and its host when somebody scrapes.

docs/metrics.md explains every name. Labels are states, reasons and containerizers, closed sets, and
volumes, of which there are 200 at most.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from operator import attrgetter
from pathlib import Path

import psutil
from prometheus_client.core import Metric

from mesoslite.lifecycle import TaskState
from mesoslite.link import Link
from mesoslite.metrics import Innards, counters, gauge, gauges, histogram, traffic
from mesoslite.wire import AgentSays
from mesoslite_agent.holdings import Holdings
from mesoslite_agent.launches import CannotRun, containerizer_of
from mesoslite_agent.ledger import Ledger
from mesoslite_agent.protocol import Event

HOST_CPU_MODES = ("user", "system", "iowait", "idle")

_kind_of = attrgetter(
    "state._name_", "record.task.containerizer", "record.task.image", "record.task.volumes"
)


class AgentMetrics:
    """All families of an agent."""

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        innards: Innards,
        *,
        containerizers: tuple[str, ...],
        work_dir: Path,
        why_not_ready: Callable[[], str],
        launcher_up: Callable[[], bool],
        troubled: Callable[[], bool],
        link: Link[AgentSays, Event],
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._innards = innards
        self._containerizers = containerizers
        self._work_dir = work_dir
        self._why_not_ready = why_not_ready
        self._launcher_up = launcher_up
        self._troubled = troubled
        self._link = link

    async def families(self) -> AsyncIterator[list[Metric]]:
        """As they are now, group by group. ~0.3 us for each task here, at one moment."""
        yield [*self._innards.families(ready=not self._why_not_ready())]
        yield [*self._tasks()]
        yield [*self._volumes()]
        yield [*self._connections()]
        yield [*traffic({"master": self._link.traffic})]
        yield [*self._host()]

    def _connections(self) -> Iterator[Metric]:
        yield gauge("launcher_up", "1 while containers can be started.", self._launcher_up())
        yield gauge(
            "troubled", "1 while nothing new is started here, as on a full disk.", self._troubled()
        )
        yield gauge("master_connected", "1 while a stream to it is open.", self._link.connected)
        yield gauges(
            "outbox_bytes",
            "Bytes that wait to be written, on all streams together.",
            ("peer",),
            [(("master",), self._link.waiting_bytes)],
        )

    def _tasks(self) -> Iterator[Metric]:
        ledger = self._ledger
        yield gauges(
            "containers",
            "Containers of tasks that have not ended.",
            ("state", "containerizer"),
            self._containers().items(),
        )
        yield gauge("tasks_held", "Tasks here, until each end is acknowledged.", ledger.held)
        yield histogram(
            "task_launch_seconds",
            "From the arrival of a launch until its command ran.",
            ledger.launched,
        )
        yield counters(
            "tasks_ended",
            "Tasks that have ended.",
            ("state", "reason"),
            ledger.ended.items(),
        )
        streams = [s for f in ledger.frameworks.values() for s in f.streams.values()]
        yield gauge(
            "updates_unacknowledged",
            "Statuses that no framework has acknowledged yet.",
            sum(len(stream.pending) for stream in streams),
        )

    def _containers(self) -> Counter[tuple[str, str]]:
        """By state and containerizer; every state is there, so that none is missed at 0."""
        found: Counter[tuple[str, str]] = Counter()
        for name in self._containerizers:
            for state in (
                TaskState.STAGING,
                TaskState.STARTING,
                TaskState.RUNNING,
                TaskState.KILLING,
            ):
                found[state.name, name] = 0
        tasks = self._ledger.containers.values()
        one_of = {_kind_of(here): here.record.task for here in tasks}
        for kind, count in Counter(map(_kind_of, tasks)).items():
            named = containerizer_of(one_of[kind], self._containerizers)
            # One from an earlier run of the agent may be of a kind that it does not offer any more.
            found[kind[0], kind[1] or "" if isinstance(named, CannotRun) else named] += count
        return found

    def _volumes(self) -> Iterator[Metric]:
        holdings = self._holdings
        yield gauge("reservations", "Dynamic ones here.", len(holdings.estate.reservations))
        yield gauges(
            "volume_bytes",
            "The size of each volume.",
            ("role", "volume"),
            [(at, holdings.size_bytes(at)) for at in holdings.estate.volumes],
        )
        yield gauges(
            "volume_used_bytes",
            "What its files take, as it was last measured.",
            ("role", "volume"),
            [(at, use.used_bytes) for at, use in holdings.used.items()],
        )
        yield gauge("volumes_full", "Those that hold their size or more.", len(holdings.full))

    def _host(self) -> Iterator[Metric]:
        times = psutil.cpu_times()
        yield counters(
            "host_cpu_seconds",
            "What the cpus of the host have done, all together.",
            ("mode",),
            (((mode,), float(getattr(times, mode, 0.0))) for mode in HOST_CPU_MODES),
        )
        memory = psutil.virtual_memory()
        yield gauge("host_memory_bytes", "Memory of the host.", memory.total)
        yield gauge("host_memory_available_bytes", "Memory that could be had.", memory.available)
        disk = shutil.disk_usage(self._work_dir)
        yield gauge("work_dir_bytes", "Size of the file system of the work directory.", disk.total)
        yield gauge("work_dir_free_bytes", "What is free of it.", disk.free)
