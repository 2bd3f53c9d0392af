"""Tasks through a cluster whose containers do nothing: what the messages and the machines cost."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemons import BenchmarkFailed, Cluster, Program, running_cluster, tree_cpu_s
from benchmarks.measure import AtLeast, Figure, Unit, around
from benchmarks.swarm import READY, STATS, Stats
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus

READY_S_MAX = 120.0
RUN_S_MAX = 120.0
ONE_CPU = Resources(cpus=1, mem=1)

SWARM = (
    "The agents are a swarm: real machines, links, checkpoints and a connection each, many in one "
    "process."
)
SCRIPTED = f"{SWARM} Only what a container does is scripted, and takes no time."


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread(Sizes):
    """How many tasks on how many agents, and how many of them at a time."""

    agents: int = option("agents in the swarm")
    at_a_time: int = option("tasks that an agent has room for")
    tasks: int = option("tasks of a run", at_least=100)


class Burst(Scheduler):
    """Runs so many tasks of one cpu as fast as it gets room for them, then stops."""

    failover_timeout_s = 3_600

    def __init__(self, name: str, tasks: int) -> None:
        self.name = name
        self.waiting = tasks
        self.unfinished = tasks
        self.running = 0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Use all of them, while there are tasks."""
        for offer in offers:
            count = min(self.waiting, int(offer.resources.cpus), 1_000)
            numbers = range(self.waiting, self.waiting - count, -1)
            self.waiting -= count
            self.launch(offer, [Task(f"t{n}", ["/bin/true"], ONE_CPU) for n in numbers])

    def status_update(self, status: TaskStatus) -> None:
        """Count; stop at the last end."""
        if status.state is TaskState.RUNNING:
            self.running += 1
        elif status.state is TaskState.FINISHED:
            self.unfinished -= 1
            if not self.unfinished:
                self.stop()
        elif status.terminal:
            raise BenchmarkFailed(f"{status.task_id} is {status.state}: {status.message}")


class SwarmProcess:
    """A swarm as a process of a cluster."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self._folder = folder

    def until_ready(self) -> None:
        """Wait until each agent is registered. Raises BenchmarkFailed."""
        ends_s = time.monotonic() + READY_S_MAX
        while not (self._folder / READY).exists():
            if self.program.process.poll() is not None or time.monotonic() > ends_s:
                raise BenchmarkFailed(f"the swarm is not ready: {self.program.last_words()}")
            time.sleep(0.01)

    def stop(self) -> Stats:
        """End it when it is quiet; what it did."""
        self.program.stop()
        stats = self._folder / STATS
        if not stats.exists():
            raise BenchmarkFailed(f"the swarm did not end well: {self.program.last_words()}")
        return Stats(**json.loads(stats.read_text()))


def start_swarm(cluster: Cluster, name: str, agents: int, resources: str) -> SwarmProcess:
    """A process with so many agents; they are not registered yet."""
    folder = cluster.folder / name
    folder.mkdir()
    program = cluster.program(
        name,
        "-m",
        "benchmarks.swarm",
        f"--master={cluster.address}",
        f"--agents={agents}",
        f"--folder={folder}",
        f"--resources={resources}",
    )
    return SwarmProcess(program, folder)


@contextlib.contextmanager
def cluster_with_swarm(sizes: Spread) -> Iterator[tuple[Cluster, SwarmProcess]]:
    """A master, and a swarm that is ready."""
    with running_cluster() as cluster:
        room = f"cpus:{sizes.at_a_time};mem:{sizes.at_a_time}"
        swarm = start_swarm(cluster, "swarm", sizes.agents, room)
        swarm.until_ready()
        yield cluster, swarm


def task_rate(sizes: Spread) -> list[Figure]:
    """Accept, launch, RUNNING, FINISHED, both acknowledged: tasks for each CPU second of all."""
    goal = 10_000 if sizes.agents < 100 else 3_000
    mesos = "405 tasks/s through one long-lived executor"
    rate = Figure("tasks, all processes", Unit.PER_CORE_S, AtLeast(goal), mesos)
    wall = Figure("tasks", Unit.PER_S)
    parts = {
        name: Figure(f"of it, the {name}, a task", Unit.CPU_US)
        for name in ("session", "master", "agents")
    }
    with cluster_with_swarm(sizes) as (cluster, swarm):
        pids = dict(zip(parts, (os.getpid(), cluster.master.pid, swarm.program.pid), strict=True))
        for number in sizes.each_run():
            burst = Burst(f"burst-{number}", sizes.tasks)
            with around() as speed:
                before = {name: tree_cpu_s(pid) for name, pid in pids.items()}
                began_s = time.monotonic()
                cluster.run(burst, deadline_s=RUN_S_MAX)
                took_s = time.monotonic() - began_s
                used = {name: tree_cpu_s(pid) - before[name] for name, pid in pids.items()}
            assert (burst.unfinished, burst.waiting, burst.running) == (0, 0, sizes.tasks)
            rate.add(sizes.tasks / sum(used.values()), speed)
            wall.add(sizes.tasks / took_s, speed)
            for name, figure in parts.items():
                figure.add(used[name] * 1e6 / sizes.tasks, speed)
        stats = swarm.stop()
    done = sizes.tasks * sizes.runs
    assert (stats.started, stats.exited, stats.acknowledged) == (done, done, done)
    return [rate, wall, *parts.values()]
