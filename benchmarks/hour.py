"""A big cluster is simulated: what an hour of it takes, on which a queue runs what arrives."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import AtMost, Figure, Unit, around, settle_memory
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Resources, Scheduler, Task, take_fitting
from mesoslite.testing import Simulation, poisson

HOUR_S = 3_600
NEEDS = Resources(cpus=1, mem="1GiB")
TASK_S = 240.0
LAST_TASKS_S = 4 * TASK_S  # of an exponential time, so 1 of 55 takes longer: they are waited for
#: "An hour in minutes": five of them.
GOALS = {(10_000, 60): 300_000.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtual(Sizes):
    """How large a cluster, how long, and how much arrives."""

    agents: int = option("agents, all alike")
    minutes: int = option("of virtual time, of which each run is a part")
    per_minute: int = option("tasks that arrive, on average")


class _Queue(Scheduler):
    """Runs what is submitted, first come first, wherever there is room."""

    name = "queue"

    def __init__(self) -> None:
        self.waiting: list[Task] = []
        self.request(resources=NEEDS, count=0, request_id="work")

    def submit(self, task: Task) -> None:
        self.waiting.append(task)
        self.request(resources=NEEDS, count=len(self.waiting), request_id="work")

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, take_fitting(self.waiting, offer.resources))


def simulated_hour(sizes: Virtual) -> list[Figure]:
    """An hour of a simulated cluster, in which tasks arrive, run for minutes, and end."""
    goal = GOALS.get((sizes.agents, sizes.minutes))
    hour = Figure("an hour", Unit.CPU_MS, None if goal is None else AtMost(goal))
    rng = random.Random(sizes.seed)
    cluster = Simulation(
        sizes.seed, agents=sizes.agents, resources="cpus:4;mem:8192", history=False
    )
    queue = cluster.add(_Queue)
    cluster.run(60)
    settle_memory()
    measured = cluster.measure()
    submitted = 0

    def job(number: int) -> Task:
        nonlocal submitted
        submitted = number + 1
        return Task(f"job-{number}", ["sleep", f"{rng.expovariate(1 / TASK_S):.1f}"], NEEDS)

    arrivals = poisson(rng, per_s=sizes.per_minute / 60, seconds=sizes.minutes * 60, task=job)
    cluster.feed(queue, arrivals, _Queue.submit)
    stretch_s = sizes.minutes * 60 / sizes.runs
    for _ in sizes.each_run():
        with around() as speed:
            began_ns = time.process_time_ns()
            cluster.run(stretch_s)
            took_ns = time.process_time_ns() - began_ns
        hour.add(took_ns / 1e6 * HOUR_S / stretch_s, speed)
    with around() as speed:
        cluster.run(LAST_TASKS_S)
    waits = measured.waits()
    assert submitted, "nothing arrived"
    assert waits.count == submitted, f"{submitted} were submitted, {waits.count} ran"
    assert cluster.counts["word: Heartbeat"] >= sizes.agents * sizes.minutes * 4
    ran = Figure("tasks that ran", Unit.COUNT)
    ran.add(waits.count, speed)
    return [hour, ran]
