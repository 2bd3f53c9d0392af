"""A cluster is filled by one demand: what the master's machine takes, from the request to RunTask.

No wire, stream or process takes part, and what the framework does with its offers is not counted.
"""

import time
from dataclasses import dataclass

from benchmarks.measure import AtMost, Figure, Unit, around, settle_memory
from benchmarks.workload import Sizes, option
from mesoslite.master.protocol import (
    AgentCalled,
    Effect,
    Event,
    Recovered,
    SchedulerCalled,
    Tick,
    ToAgent,
    ToScheduler,
)
from mesoslite.master.state import Master
from mesoslite.messages import Accept, Offers, Register, RequestResources, RunTask, Subscribe
from mesoslite.model import AgentInfo, FrameworkInfo, Launch, Offer, Request, Task
from mesoslite.resources import Resources

STREAM, PRINCIPAL, ROLE, REQUEST = "s1", "local", "*", "fill"
START_MS = 1_700_000_000_000
REFUSE_MS = 5_000
UNIT = Resources(cpus=1, mem=100)
GOALS = {(1_000, 32_000): (600.0, "Armada: 606 ms"), (10_000, 10_000): (300.0, "Armada: 318 ms")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Sizes):
    """How many agents, and how many tasks of one cpu are wanted."""

    agents: int = option("agents, all alike")
    cpus: int = option("of each agent")
    tasks: int = option("tasks of one cpu that are wanted, not more than there are cpus")


def fill(sizes: Cluster) -> list[Figure]:
    """One demand for many tasks: request, offers, accepts, launches, in the master's machine."""
    goal = GOALS.get((sizes.agents, sizes.tasks))
    filled = Figure(
        "all are launched",
        Unit.CPU_MS,
        None if goal is None else AtMost(goal[0]),
        "-" if goal is None else goal[1],
    )
    made = Figure("offers that it took", Unit.COUNT)
    for _ in sizes.each_run():
        filling = _Filling(sizes)
        settle_memory()
        with around() as speed:
            filling.run()
        assert len(filling.launched) == sizes.tasks
        assert len(set(filling.launched)) == sizes.tasks
        filled.add(filling.used_ns / 1e6, speed)
        made.add(filling.offers, speed)
    return [filled, made]


class _Filling:
    """One master, its agents and the framework."""

    def __init__(self, sizes: Cluster) -> None:
        self._sizes = sizes
        self._tasks = [Task(f"t{n}", ["/bin/true"], UNIT) for n in range(sizes.tasks)]
        self._accepts = 0
        self._now_ms = START_MS
        self._master = Master(Recovered(epoch=1))
        self.used_ns = 0
        self.offers = 0
        self.launched: list[str] = []
        room = Resources(cpus=sizes.cpus, mem=sizes.cpus * 100)
        self._tell(Tick(self._now_ms))
        for number in range(sizes.agents):
            info = AgentInfo(f"agent-{number:05}", f"host-{number:05}", room)
            self._tell(AgentCalled(f"a{number}", Register(info, "boot", 0, (), ())))
        subscribe = Subscribe(
            FrameworkInfo("filler"), "session", "", resuming=False, demand_roles=(ROLE,)
        )
        self._tell(SchedulerCalled(STREAM, PRINCIPAL, subscribe), Tick(self._now_ms))
        self.used_ns = 0

    def run(self) -> None:
        """From the demand to the last launch."""
        wanted = Request(REQUEST, ROLE, UNIT, self._sizes.tasks)
        call = SchedulerCalled(STREAM, PRINCIPAL, RequestResources((wanted,)))
        self._now_ms += 1
        effects = self._tell(Tick(self._now_ms), call, Tick(self._now_ms))
        while self._tasks:
            offers = [offer for effect in effects for offer in _offers_of(effect)]
            assert offers, f"{len(self._tasks)} tasks are wanted and nothing is offered"
            self.offers += len(offers)
            accepts = [self._accept(offer) for offer in offers]
            self._now_ms += 1
            effects = self._tell(Tick(self._now_ms), *accepts, Tick(self._now_ms))
            self.launched += [
                effect.event.task.task_id
                for effect in effects
                if isinstance(effect, ToAgent) and isinstance(effect.event, RunTask)
            ]

    def _accept(self, offer: Offer) -> Event:
        """A task for each unit of the offer."""
        count = int(offer.resources.cpus)
        assert offer.request_id == REQUEST
        tasks, self._tasks = self._tasks[-count:], self._tasks[:-count]
        launches = tuple(Launch(task, REQUEST) for task in tasks)
        self._accepts += 1
        accept = Accept(self._accepts, offer.agent_id, (offer.offer_id,), launches, REFUSE_MS)
        return SchedulerCalled(STREAM, PRINCIPAL, accept)

    def _tell(self, *events: Event) -> list[Effect]:
        """What the machine does about a batch; the CPU time of it is counted."""
        began_ns = time.process_time_ns()
        effects = [effect for event in events for effect in self._master.handle(event)]
        self.used_ns += time.process_time_ns() - began_ns
        return effects


def _offers_of(effect: Effect) -> tuple[Offer, ...]:
    if isinstance(effect, ToScheduler) and isinstance(effect.event, Offers):
        return effect.event.offers
    return ()
