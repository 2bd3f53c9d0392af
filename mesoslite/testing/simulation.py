"""A cluster in virtual time, for tests: the real master, agents and sessions around a scheduler.

An hour of a small cluster takes a second. Everything is a pure function of the seed: the same seed
gives the same story, on any machine.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from mesoslite.attributes import parse_attributes
from mesoslite.explanation import Explanation
from mesoslite.lifecycle import TaskState
from mesoslite.master.explain import explain
from mesoslite.master.fates import NotExplained
from mesoslite.master.protocol import (
    AgentGoneAsked,
    Answer,
    EstateAsked,
    TaskKillAsked,
    TeardownAsked,
)
from mesoslite.master.records import MasterConfig
from mesoslite.model import AgentInfo, Offer, Task, TaskStatus
from mesoslite.reservations import Change
from mesoslite.resources import Resources
from mesoslite.scheduler.scheduler import Scheduler, an_object
from mesoslite.testing.agenda import BEGIN_MS, Agenda
from mesoslite.testing.agents import AgentNode
from mesoslite.testing.containers import Container, Run, run_as_told
from mesoslite.testing.election import Election
from mesoslite.testing.faults import Faults
from mesoslite.testing.load import Arrival
from mesoslite.testing.masters import MasterNode, Masters
from mesoslite.testing.meter import Measurement, Meter
from mesoslite.testing.network import Network, Weather
from mesoslite.testing.schedulers import SchedulerNode
from mesoslite.testing.story import LINES_MAX, Story
from mesoslite.testing.world import Node, Watcher, World
from mesoslite_agent.container import ContainerSpec

Shape = str | Callable[[int], str]
"""What agents have: the same for all, or said by a function of each one's number, from 1."""


class Simulation(Faults):
    """A master or several, some agents, and the schedulers that are added to it, in virtual time.

        def test_all_naps_are_taken() -> None:
            cluster = Simulation(seed=1, agents=3, resources="cpus:4;mem:4096")
            sleepers = cluster.add(Sleepers())
            assert cluster.run_until(lambda c: len(sleepers.states) == 9, seconds=60)
            assert set(sleepers.states.values()) == {TaskState.FINISHED}

    The network is good and nothing breaks unless told to, as `Faults` has it. `runs` says what the
    command of a task does; the default takes `sleep N`, `true`, `false` and `sh -c 'exit N'` at
    their word, and everything else runs for ten seconds.

    Agents are alike, or each as a function of its number says, which counts from 1:

        Simulation(seed=1, agents=10_000, attributes=lambda n: f"rack:r{n % 40}", history=False)

    A fault of a node that there is not is a LookupError, which says what there is.

    An exception in a callback of a scheduler is raised by `run`. With `check`, each machine
    asserts its invariants after each batch, which costs about as much time as all the rest.
    With `history`, every offer, status and container there ever was is kept for tests to read;
    without, memory does not grow with virtual time.

    With `masters` above one they elect the one that leads, through an election service that hosts
    may be cut off from as well, with sessions of `election_session_s`. With `drift_ppm`, the clock
    of each host runs up to so many millionths too fast or too slow.
    """

    def __init__(
        self,
        seed: int,
        *,
        agents: int = 3,
        resources: Shape = "cpus:4;mem:4096",
        attributes: Shape = "",
        region: Shape = "",
        zone: Shape = "",
        runs: Callable[[ContainerSpec], Run] = run_as_told,
        masters: int = 1,
        election_session_s: float = 10,
        master: MasterConfig | None = None,
        drift_ppm: int = 0,
        weather: Weather | None = None,
        check: bool = False,
        history: bool = True,
        story_lines_max: int | None = LINES_MAX,
    ) -> None:
        _check_count("masters", masters, at_least=1)
        _check_count("agents", agents, at_least=0)
        self.seed = seed
        self.counts: Counter[str] = Counter()
        """How often each event, effect, word, refusal and fault occurred."""
        self.watchers: list[Watcher] = []
        """Asked at every step; they raise when something is not as it must be."""
        agenda = Agenda()
        self.story = Story(agenda, story_lines_max)
        network = Network(agenda, self.rng("network"), weather or Weather())
        self._meter = Meter(agenda)
        self._world = World(
            agenda,
            network,
            self.story,
            self.counts,
            self.watchers,
            self.rng,
            check,
            self._meter,
            history,
        )
        self.election = Election(agenda, round(election_session_s * 1_000)) if masters > 1 else None
        """What elects the master that leads; None with a single one."""
        names = [f"m{n}" for n in range(1, masters + 1)] if masters > 1 else ["master"]
        config = master or MasterConfig()
        self.masters = {n: MasterNode(self._world, n, config, self.election) for n in names}
        """By name, which is their host as well: m1, m2, ..., or `master` alone."""
        self._found = Masters(self._world, tuple(self.masters.values()), self.election)
        self.agents: dict[str, AgentNode] = {}
        """By name, which is their id and host as well: a1, a2, ..."""
        self.schedulers: dict[str, SchedulerNode] = {}
        """By name: the framework's, with a number for each further one of the same."""
        self._runs = runs
        self._drift_ppm = drift_ppm
        self._drifts = self.rng("clocks")
        for each in self.masters.values():
            self._set_drift(each)
            each.start()
        self.add_agents(agents, resources, attributes, region=region, zone=zone)

    @property
    def master(self) -> MasterNode:
        """The master that leads; while none does, the one that led last."""
        return self._found.leading

    def _set_drift(self, node: MasterNode | AgentNode | SchedulerNode) -> None:
        if self._drift_ppm:
            node.clock.drift_ppm = self._drifts.randint(-self._drift_ppm, self._drift_ppm)

    # --- the cluster ------------------------------------------------------------------------------

    def rng(self, name: str) -> random.Random:
        """A source of randomness for one purpose, so that one does not disturb the others."""
        return random.Random(f"{self.seed}/{name}")

    def add_agents(
        self,
        count: int,
        resources: Shape,
        attributes: Shape = "",
        *,
        region: Shape = "",
        zone: Shape = "",
    ) -> list[AgentNode]:
        """So many more agents, which start now. Raises ValueError for less than none."""
        _check_count("agents", count, at_least=0)
        return [
            self.add_agent(resources, attributes, region=region, zone=zone) for _ in range(count)
        ]

    def add_agent(
        self,
        resources: Shape,
        attributes: Shape = "",
        *,
        region: Shape = "",
        zone: Shape = "",
    ) -> AgentNode:
        """One more agent, which starts now."""
        number = len(self.agents) + 1
        name = f"a{number}"
        info = AgentInfo(
            agent_id=name,
            hostname=f"{name}.example",
            resources=_resources(_of(resources, number)),
            attributes=_attributes(_of(attributes, number)),
            region=_of(region, number),
            zone=_of(zone, number),
        )
        node = AgentNode(self._world, info, self._found, self._runs)
        self._set_drift(node)
        self.agents[name] = node
        self._meter.agent_added(info.resources)
        node.start()
        return node

    def add(self, scheduler: Scheduler | Callable[[], Scheduler]) -> SchedulerNode:
        """One more scheduler, whose process starts now.

        Give a class, or a function that makes one, to have a new object at each start; an object
        is one process, which can not be started again.
        """
        given = [scheduler] if isinstance(scheduler, Scheduler) else []
        maker: object = scheduler  # the types are promises; a test may break them

        def make() -> Scheduler:
            if not isinstance(scheduler, Scheduler):
                return an_object(maker() if callable(maker) else maker)
            if not given:
                raise RuntimeError("to start a scheduler again, add its class and not an object")
            return given.pop()

        made = make()
        first = [made]
        name = made.name
        number = 1
        while name in self.schedulers:
            number += 1
            name = f"{made.name}#{number}"
        node = SchedulerNode(
            self._world, name, self._found, lambda: first.pop() if first else make()
        )
        self._set_drift(node)
        self.schedulers[name] = node
        node.start()
        return node

    def nodes(self) -> Iterator[Node]:
        """All of them: the masters, the agents, the schedulers."""
        yield from self.masters.values()
        yield from self.agents.values()
        yield from self.schedulers.values()

    # --- time -------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The virtual wall clock: milliseconds since the Unix epoch."""
        return self._world.agenda.now_ms

    @property
    def passed_s(self) -> float:
        """Seconds since the beginning of the simulation."""
        return (self.now_ms - BEGIN_MS) / 1_000

    def run(self, seconds: float = 0, *, hours: float = 0) -> None:
        """Let so much virtual time pass."""
        agenda = self._world.agenda
        end_ms = agenda.now_ms + round(seconds * 1_000 + hours * 3_600_000)
        agenda.run(end_ms)

    def run_until(self, condition: Callable[[Simulation], bool], seconds: float = 3_600) -> bool:
        """Let time pass until `condition` holds, at most so many seconds. Whether it does."""
        agenda = self._world.agenda
        end_ms = agenda.now_ms + round(seconds * 1_000)
        while not condition(self):
            next_ms = agenda.next_ms()
            if next_ms is None or next_ms > end_ms:
                agenda.now_ms = end_ms
                return condition(self)
            agenda.step()
        return True

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in so much virtual time: break something, or call a scheduler."""
        self._world.agenda.after(round(seconds * 1_000), action)

    # --- work -------------------------------------------------------------------------------------

    def feed(
        self,
        node: SchedulerNode,
        arrivals: Iterable[Arrival],
        submit: Callable[[Any, Task], None],
    ) -> None:
        """Give a scheduler work as time passes: `submit(scheduler, task)` when each task arrives.

        `submit` is the author's own, as `Queue.submit`. While the scheduler's process is down, what
        arrives waits for the next one. How long each task waits to run is in `measure().waits()`.
        """
        began_ms = self.now_ms
        trace = iter(arrivals)

        def arrive(task: Task) -> None:
            self._meter.submitted(node.scheduler.name, task.task_id)
            node.tell(lambda scheduler: submit(scheduler, task))
            expect()

        def expect() -> None:
            arrival = next(trace, None)
            if arrival is not None:
                due_ms = began_ms + round(arrival.at_s * 1_000)
                self._world.agenda.at(due_ms, lambda: arrive(arrival.task))

        expect()

    def measure(self, *, every_s: float | None = None) -> Measurement:
        """Figures of the stretch of time that begins now and ends whenever they are read.

        With `every_s`, it has a series too: a point for each so many seconds.
        """
        measurement = Measurement(self._meter)
        if every_s is not None:
            every_ms = max(1, round(every_s * 1_000))

            def point() -> None:
                measurement.take_point()
                self._world.agenda.after(every_ms, point)

            self._world.agenda.after(every_ms, point)
        return measurement

    # --- what can be read -------------------------------------------------------------------------

    def containers(self) -> Iterator[Container]:
        """Every container that there ever was, with what really happened to it."""
        for node in self.agents.values():
            yield from node.containers.containers.values()

    def placement(self) -> dict[str, list[str]]:
        """Agent -> the tasks whose containers live there now, by id."""
        return {
            name: sorted(c.spec.task_id for c in node.containers.containers.values() if c.live)
            for name, node in self.agents.items()
        }

    def statuses(self, task_id: str) -> list[TaskStatus]:
        """What the schedulers were told of a task, in order."""
        return [
            status
            for node in self.schedulers.values()
            for status in node.statuses
            if status.task_id == task_id
        ]

    def states(self) -> dict[str, TaskState]:
        """Task -> the last state that its scheduler was told."""
        return {
            task_id: state
            for node in self.schedulers.values()
            for task_id, state in node.states.items()
        }

    def offers(self) -> list[Offer]:
        """Every offer that a scheduler was shown, by scheduler."""
        return [offer for node in self.schedulers.values() for offer in node.offers]

    # --- operators --------------------------------------------------------------------------------

    def teardown(self, framework: str, *, release: bool = False) -> int:
        """An operator removes a framework, by name or id, and with `release` what it has reserved;
        the number of the request."""
        return self.master.ask(lambda request: TeardownAsked(request, framework, release))

    def change_estate(self, agent: AgentNode | str, role: str, change: Change) -> int:
        """An operator reserves something on an agent, or gives up or destroys what is there; the
        number of the request, which is answered when the agent has answered."""
        agent_id = agent if isinstance(agent, str) else agent.name
        return self.master.ask(lambda request: EstateAsked(request, agent_id, role, "", change))

    def kill_task(self, task_id: str, framework: str = "", grace_s: float | None = None) -> int:
        """An operator ends a task; the number of the request, whose answer is `answer`'s."""
        grace_ms = None if grace_s is None else round(grace_s * 1_000)
        return self.master.ask(lambda request: TaskKillAsked(request, task_id, framework, grace_ms))

    def mark_agent_gone(self, agent: AgentNode | str) -> int:
        """An operator gives an agent up for good; the number of the request.

        When the agent hears of it, it ends its tasks and then itself, and stays down.
        """
        agent_id = agent if isinstance(agent, str) else agent.name
        self.counts["fault: an agent is marked as gone"] += 1
        return self.master.ask(lambda request: AgentGoneAsked(request, agent_id))

    def answer(self, request: int) -> Answer | None:
        """What the master answered to an operator; None while it has not."""
        return self.master.answers.get(request)

    def explain(
        self, subject: str, *, framework: str = "", role: str = "", request: str = ""
    ) -> Explanation:
        """Why a framework is offered no more than it is, or what became of a task, by name or id.

        As `mesoslite explain` would say. Raises LookupError when nothing is called so, or no
        master is up.
        """
        if self.master.machine is None:
            raise LookupError("no master is up")
        found = explain(
            self.master.machine.tables, subject, framework=framework, role=role, request=request
        )
        if isinstance(found, NotExplained):
            raise LookupError(f"{found.message}: {found.refusal.value}")
        return found


def _check_count(what: str, count: object, *, at_least: int) -> None:
    if type(count) is not int:
        raise TypeError(f"{what} is a whole number, not {type(count).__name__}")
    if count < at_least:
        raise ValueError(f"{what} is {at_least} or more, not {count}")


def _of(shape: Shape, number: int) -> str:
    return shape if isinstance(shape, str) else shape(number)


#: Agents of one shape share what is immutable, and are parsed once.
_resources = lru_cache(maxsize=1_000)(Resources.parse)
_attributes = lru_cache(maxsize=1_000)(parse_attributes)
