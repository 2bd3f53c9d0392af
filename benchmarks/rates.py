"""How many processes a second: tasks that are `/bin/true`, through real daemons on one host.

The framework runs in this process. Beside it stands, in the same run, what the host does without
any of it: two loops side by side, one for each of the two cores that the goals are for, which start
`/bin/true` by posix_spawn and wait for its end.
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.daemons import Cluster, quiet_logs, running_cluster
from benchmarks.measure import AtLeast, Figure, Speed, Unit, around
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus, take_fitting

PROGRAM = "/bin/true"
NEEDS = Resources(cpus=0.1, mem=8)
BARE_LOOPS = 2
BARE = Path(__file__).with_name("bare.py")
BARE_START_S = 0.2  # until both are there; they begin and end at the same time
BARE_S = 1.0
TASK_S_MAX = 0.25  # far more than one takes; then the run has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(Sizes):
    """How many tasks, and how many of them at a time."""

    containerizer: str = option("what they run in", one_of=("process", "oci"))
    tasks: int = option("tasks in each run", at_least=10)
    slots: int = option("tasks that fit on the agent at a time")


class Many(Scheduler):
    """Runs so many tasks, as many at a time as it is offered room for."""

    failover_timeout_s = 10.0

    def __init__(self, name: str, tasks: int) -> None:
        self.name = name
        self.finished = 0
        self.wrong: TaskStatus | None = None
        self.began_s = self.ended_s = 0.0
        self._tasks = tasks
        self._waiting = deque(Task(f"{name}-{i}", [PROGRAM], NEEDS) for i in range(tasks))

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Put into each offer what fits."""
        self.began_s = self.began_s or time.perf_counter()
        for offer in offers:
            self.launch(offer, take_fitting(self._waiting, offer.resources))

    def status_update(self, status: TaskStatus) -> None:
        """Count the ends; anything but a good one spoils the run."""
        if status.state is TaskState.FINISHED:
            self.finished += 1
        elif status.terminal:
            self.wrong = status
        if self.finished == self._tasks or self.wrong is not None:
            self.ended_s = time.perf_counter()
            self.teardown()

    def rate(self) -> float:
        """Tasks a second, from the first offer to the last end. Asserts that all ended well."""
        assert self.wrong is None, f"a task did not end well: {self.wrong}"
        assert self.finished == self._tasks
        return self._tasks / (self.ended_s - self.began_s)


def process_rate(sizes: Burst) -> list[Figure]:
    """`/bin/true` tasks finished a second: one agent, framework and master on the same cores."""
    wall = Figure("tasks finished", Unit.PER_S, None, "8.6/s; HyperQueue 828, Ray 451, Nomad 8.4")
    core = Figure("tasks finished", Unit.PER_CORE_S)
    bare = Figure(f"{BARE_LOOPS} bare loops", Unit.PER_S)
    ratio = Figure("tasks to bare loops", Unit.RATIO)
    if sizes.containerizer == "process":
        ratio.goal = AtLeast(0.7)
    else:
        core.goal = AtLeast(30.0)
    names = (f"run-{number}" for number in count())
    with running_cluster() as cluster, quiet_logs():
        # As many as there are slots in cpus; memory for any number of them.
        cluster.start_agent(
            f"cpus:{sizes.slots / 10};mem:1000000", containerizer=sizes.containerizer
        )
        _burst(cluster, next(names), min(sizes.tasks, 200))
        for _ in sizes.each_run():
            with around() as speed:
                before = bare_rate()
            rate, rate_a_core, speed = _burst(cluster, next(names), sizes.tasks)
            with around() as bare_speed:
                after = bare_rate()
            wall.add(rate, speed)
            core.add(rate_a_core, speed)
            bare.add((before + after) / 2, bare_speed)
            ratio.add(2 * rate / (before + after), speed)
    return [ratio, core, wall, bare]


def _burst(cluster: Cluster, name: str, tasks: int) -> tuple[float, float, Speed]:
    """Tasks a second of time, and of the CPU time of all processes; asserts that all ended well."""
    scheduler = Many(name, tasks)
    with around() as speed:
        before_s = cluster.cpu_s()
        cluster.run(scheduler, 10.0 + tasks * TASK_S_MAX)
        used_s = cluster.cpu_s() - before_s
    return scheduler.rate(), tasks / used_s, speed


def bare_rate() -> float:
    """What all bare loops together start and reap in a second."""
    begin_s = time.monotonic() + BARE_START_S
    words = [sys.executable, "-I", "-S", str(BARE), str(begin_s), str(begin_s + BARE_S), PROGRAM]
    loops = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(BARE_LOOPS)]
    spawned = 0
    for loop in loops:
        said, _ = loop.communicate()
        assert loop.returncode == 0
        spawned += int(said)
    return spawned / BARE_S
