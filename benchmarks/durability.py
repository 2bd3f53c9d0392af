"""What is durable costs, and what is not costs nothing: the registry's group commit.

The registry is a real one on the disk of the system's temporary directory.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.counts import cluster_of
from benchmarks.daemons import quiet_logs
from benchmarks.measure import AtLeast, AtMost, Figure, Unit, around, percentile
from benchmarks.throughput import Burst
from benchmarks.workload import Sizes, option
from mesoslite.database import WorkDir
from mesoslite.master.protocol import AgentRecord, Effect, SaveAgent
from mesoslite.master.registry import SqliteRegistry
from mesoslite.measures import CommitMeasures
from mesoslite.model import AgentInfo, Offer, Task, TaskStatus
from mesoslite.resources import Resources
from mesoslite.scheduler.store import StoreChanges

ROWS_PER_S_MIN = 20_000
TASKS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits(Sizes):
    """How many records, and how many in one commit."""

    rows: int = option("records of agents, each new")
    batch: int = option("records in one commit")


def registry(sizes: Commits) -> list[Figure]:
    """Records a second by group commit, each fsynced, and what launches write."""
    rate = Figure("records written, fsynced", Unit.PER_S, AtLeast(ROWS_PER_S_MIN))
    commit = Figure("a commit, p50", Unit.WALL_MS)
    slow = Figure("a commit, p99", Unit.WALL_MS)
    reading = Figure("all are read again at a start", Unit.WALL_MS)
    launching = Figure(f"rows written for {TASKS:,} launches", Unit.COUNT, AtMost(0))
    fenced = Figure("commits a fenced task, 100 at a time", Unit.COUNT, AtMost(0.2))
    with quiet_logs():
        for _ in sizes.each_run():
            folder = Path(tempfile.mkdtemp(prefix="mesoslite-bench-"))
            try:
                with around() as speed:
                    took_s, commits_ms = asyncio.run(_write(folder, sizes))
                    read_ms = _read(folder, sizes)
                    rows = asyncio.run(rows_of_launches(TASKS))
                    commits = asyncio.run(commits_of_fenced(TASKS))
            finally:
                shutil.rmtree(folder)
            rate.add(sizes.rows / took_s, speed)
            commit.add(percentile(commits_ms, 50), speed)
            slow.add(percentile(commits_ms, 99), speed)
            reading.add(read_ms, speed)
            launching.add(rows, speed)
            fenced.add(commits / TASKS, speed)
    return [rate, commit, slow, reading, launching, fenced]


async def _write(folder: Path, sizes: Commits) -> tuple[float, list[float]]:
    """The time of all commits in seconds, and of each in milliseconds."""
    room = Resources.parse("cpus:32;mem:65536;disk:100000;ports:[31000-32000]")
    batches: list[list[Effect]] = [
        [
            SaveAgent(AgentRecord(AgentInfo(f"agent-{n}", f"host-{n}.example", room), None))
            for n in range(first, min(first + sizes.batch, sizes.rows))
        ]
        for first in range(0, sizes.rows, sizes.batch)
    ]
    place = WorkDir(folder, "master")
    registry = SqliteRegistry(place)
    each_ms: list[float] = []
    try:
        began_s = time.perf_counter()
        for batch in batches:
            from_s = time.perf_counter()
            await registry.commit(batch)
            each_ms.append((time.perf_counter() - from_s) * 1_000)
        took_s = time.perf_counter() - began_s
    finally:
        registry.close()
        place.close()
    return took_s, each_ms


def _read(folder: Path, sizes: Commits) -> float:
    place = WorkDir(folder, "master")
    began_s = time.perf_counter()
    registry = SqliteRegistry(place)
    took_ms = (time.perf_counter() - began_s) * 1_000
    registry.close()
    place.close()
    assert len(registry.recovered.agents) == sizes.rows
    return took_ms


class _Watching(Burst):
    """A burst that looks at the registry at its first offer and at its last end."""

    def __init__(self, tasks: int, measures: CommitMeasures) -> None:
        super().__init__("watching", tasks)
        self._measures = measures
        self._before: int | None = None
        self.rows = 0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """What it wrote to subscribe is written: it was told that it is subscribed."""
        if self._before is None:
            self._before = self._measures.rows
        super().resource_offers(offers)

    def status_update(self, status: TaskStatus) -> None:
        """Every launch and every end but this one's acknowledgement has been dealt with."""
        super().status_update(status)
        self.rows = self._measures.rows - (self._before or 0)


async def rows_of_launches(tasks: int) -> int:
    """How many rows of the registry so many launches, runs and ends of tasks write."""
    async with cluster_of(1, 100) as cluster:
        burst = _Watching(tasks, cluster.registry.measures)
        await cluster.run(burst)
        assert burst.unfinished == 0
        await cluster.quiet()
    return burst.rows


class _Fenced(Burst):
    """A burst of tasks with a fence each."""

    def launch(
        self,
        offers: Offer | Iterable[Offer],
        tasks: Task | Iterable[Task],
        *,
        refuse_s: float | None = None,
        store: StoreChanges | None = None,
    ) -> None:
        """Under its own id as the key."""
        given = [tasks] if isinstance(tasks, Task) else tasks
        fenced = [replace(task, fence=task.task_id) for task in given]
        super().launch(offers, fenced, refuse_s=refuse_s, store=store)


async def commits_of_fenced(tasks: int) -> int:
    """How many commits the launches and ends of so many fenced tasks take, 100 at a time."""
    async with cluster_of(1, 100) as cluster:
        burst = _Fenced("fenced", tasks)
        await cluster.run(burst)
        assert burst.unfinished == 0
        await cluster.quiet()
        assert cluster.registry.measures.rows >= 2 * tasks
        return cluster.registry.measures.seconds.count
