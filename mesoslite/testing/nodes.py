"""The processes of a simulated cluster: the real machines, wired to the simulated world.

Each node is a daemon without its IO: it makes its machine from what is durable, hands it what
arrives, and performs what it asks. A node outlives the crashes of its process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mesoslite.lifecycle import TaskState
from mesoslite.master import protocol as master
from mesoslite.master.state import Master, MasterConfig
from mesoslite.messages import AgentCall, AgentEvent, Heartbeat, SchedulerCall, SchedulerEvent
from mesoslite.model import AgentInfo, Offer, Source, TaskStatus
from mesoslite.scheduler import protocol as session
from mesoslite.scheduler.calling import call
from mesoslite.scheduler.scheduler import Returned, Scheduler, framework_info
from mesoslite.scheduler.session import Session, SessionConfig
from mesoslite.testing.agenda import Agenda
from mesoslite.testing.containers import Container, ContainerHost, Run
from mesoslite.testing.network import End, Network
from mesoslite.testing.process import CheckedMachine, Process, Wiring
from mesoslite.testing.storage import Checkpoint, Disk, Registry
from mesoslite.testing.story import Story
from mesoslite_agent import protocol as agent
from mesoslite_agent.container import ContainerSpec
from mesoslite_agent.state import Agent, AgentConfig

MASTER_HOST = "master"
PRINCIPAL = "local"
AGENT_BACKOFF_MAX_MS = 60_000
SCHEDULER_BACKOFF_MAX_MS = 15_000
CALLBACK_MAX_MS = 5  # how long the author's code takes, at most

E = TypeVar("E")
F = TypeVar("F")


class Watcher:
    """Looks at everything that happens in a simulation, at the moment when it does.

    Subclass it and raise AssertionError when something must not be.
    """

    def turned(self, node: Node) -> None:
        """A process has handled and committed a batch, and has not performed it yet."""

    def container_started(self, container: Container) -> None:
        """An agent has started a container; it is in the first phase of its start."""

    def status_told(self, node: SchedulerNode, status: TaskStatus) -> None:
        """A scheduler's `status_update` is about to be called."""

    def host_died(self, node: AgentNode, commits_lost: int) -> None:
        """A host was reset; so many of its agent's last commits were not on the disk yet."""

    def offers_told(self, node: SchedulerNode, offers: Sequence[Offer]) -> None:
        """A scheduler's `resource_offers` is about to be called."""


@dataclass(frozen=True, slots=True)
class World:
    """What all nodes share."""

    agenda: Agenda
    network: Network
    story: Story
    counts: Counter[str]
    watchers: list[Watcher]
    rng: Callable[[str], random.Random]
    """A source of randomness of its own for each name, made from the seed."""
    check: bool
    """Whether each machine checks its invariants after each batch."""


class Node(Protocol):
    """What the simulation asks of each node."""

    name: str
    host: str

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    def start(self) -> None:
        """Start its process, from what is durable."""
        ...

    def crash(self) -> None:
        """Its process dies at once."""
        ...


class _Daemon(Generic[E, F]):
    """What the three kinds of nodes share: a process that can die and be started again."""

    kind = ""

    def __init__(self, world: World, name: str, host: str) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.rng = world.rng(name)
        self.process: Process[E, F] | None = None
        self.runs = 0
        """How often its process was started."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None

    def _post(self, event: E) -> None:
        if self.process is not None:
            self.process.post(event)

    def _run(
        self,
        machine: CheckedMachine[E, F],
        tick: Callable[[int], E],
        commit: Callable[[Sequence[F]], bool],
        perform: Callable[[F], None],
    ) -> Process[E, F]:
        assert self.process is None, f"{self.name} runs already"
        self.runs += 1
        self.world.story.note(self.name, f"starts, run {self.runs}")
        wiring = Wiring(self.name, tick, commit, perform, self._crashed, self._turned)
        world = self.world
        return Process(machine, wiring, world.agenda, self.rng, world.counts)

    def _turned(self, events: Sequence[E], effects: Sequence[F]) -> None:
        world = self.world
        for event in events:
            world.counts[f"{self.kind} event: {type(event).__name__}"] += 1
            world.story.event(self.name, event)
        world.counts[f"{self.kind} event: Tick"] += 1
        for effect in effects:
            world.counts[f"{self.kind} effect: {type(effect).__name__}"] += 1
            world.story.effect(self.name, effect)
        told = any(not _is_heartbeat(event) for event in events)
        said = any(not _is_heartbeat(effect) for effect in effects)
        if world.check and self.process is not None and (told or said):
            self.process.machine.check()
        for watcher in world.watchers:
            watcher.turned(self)  # type: ignore[arg-type]  # each subclass is a Node

    def _crashed(self) -> None:
        self._down("crashes")

    def _down(self, why: str) -> None:
        raise NotImplementedError

    def crash(self) -> None:
        """Its process dies at once; what it had not committed is lost."""
        if self.process is not None:
            self.process.stop()
            self._down("crashes")

    def _sever(self, end: End) -> None:
        """This side is gone. The other notices soon, unless it cannot be reached."""
        if not end.open:
            return
        end.open = False
        end.lane.cut_after(self.rng.randint(0, len(end.lane)))
        end.peer.lane.cut_after(0)
        if self.world.network.reachable(end.host, end.peer.host) and self.rng.random() < 0.9:
            end.peer.notice(self.rng.randint(0, 100))


# --- the master -----------------------------------------------------------------------------------


class MasterNode(_Daemon[master.Event, master.Effect]):
    """The one master of the cluster; each start of it has a higher epoch."""

    kind = "master"

    def __init__(self, world: World, config: MasterConfig) -> None:
        super().__init__(world, "master", MASTER_HOST)
        self.disk = Disk()
        self.registry = Registry(self.disk)
        self.config = config
        self.machine: Master | None = None
        self.answers: dict[int, master.Answer] = {}
        """To operators, by the number of the request."""
        self._streams: dict[str, End] = {}
        self._requests = 0

    def start(self) -> None:
        """Start its process, from the registry."""
        machine = Master(self.registry.recover(), self.config)
        self.machine = machine
        self.process = self._run(machine, master.Tick, self.registry.commit, self._perform)

    def ask(self, make: Callable[[int], master.Event]) -> int:
        """An operator's request; its answer is in `answers` when it has come."""
        self._requests += 1
        self._post(make(self._requests))
        return self._requests

    def accept(self, end: End) -> None:
        """A peer has opened a connection to this run of the master."""
        self._streams[end.name] = end

    def received(self, end: End, message: object) -> None:
        """A peer said this."""
        if isinstance(end.peer.endpoint, AgentNode):
            assert isinstance(message, AgentCall), f"no agent says {message!r}"
            self._post(master.AgentCalled(end.name, message))
        else:
            assert isinstance(message, SchedulerCall), f"no scheduler says {message!r}"
            self._post(master.SchedulerCalled(end.name, PRINCIPAL, message))
        self.world.counts[f"word: {type(message).__name__}"] += 1

    def ended(self, end: End, why: str) -> None:
        """A stream is over."""
        self._streams.pop(end.name, None)
        self._post(master.StreamClosed(end.name))

    def pause(self, stream: str, *, paused: bool) -> None:
        """The outbox of a stream is full, or no longer."""
        if stream in self._streams:
            event = master.StreamPaused if paused else master.StreamResumed
            self._post(event(stream))

    @property
    def streams(self) -> list[str]:
        """The names of the open streams, oldest first."""
        return list(self._streams)

    def _perform(self, effect: master.Effect) -> None:
        match effect:
            case master.ToScheduler(stream, said) | master.ToAgent(stream, said):
                if (end := self._streams.get(stream)) is not None:
                    end.say((self.registry.epoch, said))
            case master.CloseStream(stream):
                if (end := self._streams.pop(stream, None)) is not None:
                    end.close()
                    self._post(master.StreamClosed(stream))
            case master.Answer():
                self.answers[effect.request] = effect
            case _:
                pass  # durable: committed before

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.process = None
        if self.machine is not None:
            for refusal, times in self.machine.tables.refusals.items():
                self.world.counts[f"refusal: {refusal.name}"] += times
        self.machine = None
        for end in self._streams.values():
            self._sever(end)
        self._streams.clear()


# --- its clients ----------------------------------------------------------------------------------


class _Client(_Daemon[E, F]):
    """A process that keeps one stream to the master open, as `mesoslite.link` does."""

    backoff_max_ms = 0

    def __init__(self, world: World, name: str, host: str, master_node: MasterNode) -> None:
        super().__init__(world, name, host)
        self._master = master_node
        self._end: End | None = None
        self._attempt = 0

    @property
    def connected(self) -> bool:
        """Whether its stream to the master is whole, which neither side can know for sure."""
        end = self._end
        whole = end is not None and end.peer.open and not (end.lane.cut or end.peer.lane.cut)
        return whole and self._master.alive

    def received(self, end: End, message: object) -> None:
        """The master said this."""
        if end is self._end and isinstance(message, tuple):
            epoch, said = message
            self.world.counts[f"word: {type(said).__name__}"] += 1
            self._post(self._heard(epoch, said))

    def ended(self, end: End, why: str) -> None:
        """The stream to the master is over."""
        if end is self._end:
            self._end = None
            self._post(self._lost(why))
            self._dial_later()

    def _dial_later(self) -> None:
        run = self.runs
        backoff_ms = min(1_000 * 2 ** min(self._attempt, 10), self.backoff_max_ms)

        def dial() -> None:
            if self.process is None or self.runs != run or self._end is not None:
                return
            if self.process.settled:
                self._dial()
            else:  # nothing that is meant for the old stream may be said on the new one
                self.world.agenda.after(1, dial)

        self.world.agenda.after(self.rng.randint(0, backoff_ms), dial)

    def _dial(self) -> None:
        network = self.world.network
        if not self._master.alive or not network.reachable(self.host, self._master.host):
            self._attempt += 1
            self._dial_later()
            return
        self._attempt = 0
        self._end = network.connect(self, self.host, self._master, self._master.host)
        self._master.accept(self._end.peer)
        self.world.story.note(self.name, f"opens {self._end.name}")
        self._post(self._opened())

    def _say(self, call: object) -> None:
        if self._end is not None:
            self._end.say(call)

    def _drop(self, why: str) -> None:
        """Close the stream, and open another after a backoff."""
        if self._end is not None:
            self._end.close()
            self._end = None
            self._post(self._lost(why))
            self._dial_later()

    def _hang_up(self) -> None:
        """The process is gone, and its stream with it."""
        if self._end is not None:
            self._sever(self._end)
            self._end = None

    def _heard(self, epoch: int, said: object) -> E:
        raise NotImplementedError

    def _opened(self) -> E:
        raise NotImplementedError

    def _lost(self, why: str) -> E:
        raise NotImplementedError


class AgentNode(_Client[agent.Event, agent.Effect]):
    """An agent, its launcher and its containers on a host of their own."""

    kind = "agent"
    backoff_max_ms = AGENT_BACKOFF_MAX_MS

    def __init__(
        self,
        world: World,
        info: AgentInfo,
        master_node: MasterNode,
        run_of: Callable[[ContainerSpec], Run],
    ) -> None:
        super().__init__(world, info.agent_id, info.agent_id, master_node)
        self.info = info
        self.disk = Disk()
        self.checkpoint = Checkpoint(self.disk, info)
        self.machine: Agent | None = None
        self.aborted = ""
        """Why a master would never take it as it is; empty when none has said so."""
        self.containers = ContainerHost(
            self.name,
            world.agenda,
            world.rng(f"{self.name}'s containers"),
            run_of,
            self._container_started,
        )

    def start(self) -> None:
        """Start its process, from the checkpoint; containers that live on are reported to it."""
        seed = self.name.encode().ljust(16, b".")
        config = AgentConfig(secret_seed=seed, executor_socket="/run/mesoslite/executor.sock")
        machine = Agent(self.checkpoint.recover(), config)
        self.machine = machine
        self.process = self._run(machine, agent.Tick, self.checkpoint.commit, self._perform)
        self.containers.report = self.process.post
        self.containers.recover(sorted(machine.container_ids()))
        self._attempt = 0
        self._dial_later()

    def reboot(self) -> None:
        """The host dies, with all containers and what its disk had not synced yet."""
        if self.process is not None:
            self.process.stop()
        self._down("host dies")
        lost = self.checkpoint.host_died(self.rng)
        self.containers.host_died()
        if lost:
            self.world.counts["fault: a host died with commits that were not synced"] += 1
        for watcher in self.world.watchers:
            watcher.host_died(self, lost)

    def kill_launcher(self) -> int:
        """The launcher dies, and with it all running containers. How many there were."""
        self.world.story.note(self.name, "its launcher dies")
        return self.containers.launcher_died()

    def _perform(self, effect: agent.Effect) -> None:
        containers = self.containers
        match effect:
            case agent.ToMaster(said):
                self._say(said)
            case agent.DropStream(why):
                self._drop(why)
            case agent.Abort(why):
                self.aborted = why
                self.crash()
            case agent.StartContainer(spec):
                containers.start(spec)
            case agent.StopContainer(container_id, signal):
                containers.stop(container_id, signal)
            case agent.AbortStart(container_id):
                containers.abort(container_id)
            case agent.DestroyContainer(container_id):
                containers.destroy(container_id)
            case agent.ToExecutor(container_id, data):
                containers.hand_over(container_id, data)
            case _:
                pass  # durable: committed before

    def _container_started(self, container: Container) -> None:
        for watcher in self.world.watchers:
            watcher.container_started(container)

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.process = None
        self.machine = None
        self.containers.agent_died()
        self._hang_up()

    def _heard(self, epoch: int, said: object) -> agent.Event:
        assert isinstance(said, AgentEvent), f"nobody says {said!r} to an agent"
        return agent.MasterSpoke(epoch, said)

    def _opened(self) -> agent.Event:
        return agent.StreamOpened()

    def _lost(self, why: str) -> agent.Event:
        return agent.StreamLost()


class SchedulerNode(_Client[session.Event, session.Effect]):
    """A scheduler's process: the author's class, and the real session around it."""

    kind = "session"
    backoff_max_ms = SCHEDULER_BACKOFF_MAX_MS

    def __init__(
        self, world: World, name: str, master_node: MasterNode, make: Callable[[], Scheduler]
    ) -> None:
        super().__init__(world, name, name, master_node)
        self._make = make
        self.scheduler = make()
        """The author's object of the newest run."""
        self.machine: Session | None = None
        self.framework_id = ""
        self.finish: session.Finish | None = None
        """How the newest run ended by itself; None while it has not."""
        self.statuses: list[TaskStatus] = []
        """What `status_update` was told, by all runs, in order."""
        self.offers: list[Offer] = []
        """What `resource_offers` was given, by all runs, in order."""

    def start(self) -> None:
        """Start its process anew: a new object of the author's class, a new session."""
        if self.runs:
            self.scheduler = self._make()
        scheduler = self.scheduler
        self.finish = None
        machine = Session(
            SessionConfig(
                framework_info(scheduler),
                session_id=f"{self.name}-{self.runs + 1}",
                acknowledge_automatically=scheduler.acknowledge_automatically,
            )
        )
        self.machine = machine
        self.process = self._run(machine, session.Tick, lambda _: True, self._perform)
        scheduler._on_call(self._take_calls)
        self._take_calls()
        self._attempt = 0
        self._dial_later()

    def _take_calls(self) -> None:
        for decision in self.scheduler._take_calls():
            self.world.counts[f"decision: {type(decision).__name__}"] += 1
            self._post(session.Decided(decision))

    def _perform(self, effect: session.Effect) -> None:
        match effect:
            case session.ToMaster(said):
                self._say(said)
            case session.DropStream(why):
                self._drop(why)
            case session.RunCallback(callback):
                process = self.process
                delay_ms = self.rng.randint(0, CALLBACK_MAX_MS)

                def run() -> None:
                    if self.process is process is not None:
                        self._call(callback)

                self.world.agenda.after(delay_ms, run)
            case session.Finish():
                self.finish = effect
                if effect.refusal is not None:
                    self.world.counts[f"finish: {effect.refusal.name}"] += 1
                self._leave()

    def _call(self, callback: session.Callback) -> None:
        """Run the author's code; an exception in it ends the simulation."""
        self.world.counts[f"callback: {type(callback).__name__}"] += 1
        self.world.story.callback(self.name, callback)
        match callback:
            case session.OnSubscribed(framework_id):
                self.framework_id = framework_id
            case session.OnStatus(status):
                if status.source is Source.SESSION and status.refusal is not None:
                    self.world.counts[f"refusal: {status.refusal.name}"] += 1
                self.statuses.append(status)
                for watcher in self.world.watchers:
                    watcher.status_told(self, status)
            case session.OnOffers(offers):
                self.offers += offers
                for watcher in self.world.watchers:
                    watcher.offers_told(self, offers)
            case _:
                pass
        _finish(call(self.scheduler, callback))
        self._post(session.CallbackReturned())

    @property
    def states(self) -> dict[str, TaskState]:
        """The last state that its `status_update` was told of each task."""
        return {status.task_id: status.state for status in self.statuses}

    def _leave(self) -> None:
        """It ends by itself: what it said before is still written."""
        if self.process is not None:
            self.process.stop()
        if self._end is not None:
            self._end.close()
            self._end = None
        self._down("ends")

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.process = None
        self.machine = None
        self.scheduler._on_call(None)
        self._hang_up()

    def _heard(self, epoch: int, said: object) -> session.Event:
        assert isinstance(said, SchedulerEvent), f"nobody says {said!r} to a scheduler"
        return session.MasterSpoke(epoch, said)

    def _opened(self) -> session.Event:
        return session.StreamOpened()

    def _lost(self, why: str) -> session.Event:
        return session.StreamLost(why)


def _is_heartbeat(what: object) -> bool:
    """Whether an event or effect carries a heartbeat, which changes nothing but a time."""
    match what:
        case master.SchedulerCalled(call=said) | master.AgentCalled(call=said):
            pass
        case agent.MasterSpoke(event=said) | session.MasterSpoke(event=said):
            pass
        case master.ToScheduler(event=said) | master.ToAgent(event=said):
            pass
        case agent.ToMaster(call=said) | session.ToMaster(call=said):
            pass
        case _:
            return False
    return isinstance(said, Heartbeat)


def _finish(returned: Returned) -> None:
    """Run a coroutine of the author's to its end, which must not wait for anything real."""
    if returned is None:
        return
    steps = returned.__await__()
    try:
        next(steps)
    except StopIteration:
        return
    raise RuntimeError("in a simulation a callback can not await: there is no time but virtual")
