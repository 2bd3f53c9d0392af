"""The processes of a simulated cluster: the real machines, wired to the simulated world.

Each node is a daemon without its IO: it makes its machine from what is durable, hands it what
arrives, and performs what it asks. A node outlives the crashes of its process. Here are the master
and what its clients share; agents are in `agents.py`, schedulers in `schedulers.py`.

Ten thousand idle agents say and hear 80,000 heartbeats a virtual minute: what runs for each event
looks types up instead of matching them, and neither writes a story nor checks for a heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar

from mesoslite.master import protocol as master
from mesoslite.master.records import MasterConfig
from mesoslite.master.state import Master
from mesoslite.messages import Heartbeat
from mesoslite.scheduler import protocol as session
from mesoslite.testing.network import End
from mesoslite.testing.process import CheckedMachine, Process, Wiring
from mesoslite.testing.storage import Disk, Registry
from mesoslite.testing.world import Names, World
from mesoslite_agent import protocol as agent

MASTER_HOST = "master"

E = TypeVar("E")
F = TypeVar("F")

#: What carries a word, and where in it the word is.
_WORD_IN: dict[type, Callable[[Any], object]] = {
    **dict.fromkeys(
        (master.AgentCalled, master.SchedulerCalled, agent.ToMaster, session.ToMaster),
        attrgetter("call"),
    ),
    **dict.fromkeys(
        (agent.MasterSpoke, session.MasterSpoke, master.ToAgent, master.ToScheduler),
        attrgetter("event"),
    ),
}


class Daemon(Generic[E, F]):
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

    def __init_subclass__(cls) -> None:
        cls._events = Names(f"{cls.kind} event")
        cls._effects = Names(f"{cls.kind} effect")
        cls._tick = f"{cls.kind} event: Tick"

    _events: Names
    _effects: Names
    _tick: str
    _words = Names("word")

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None

    def post(self, event: E) -> None:
        """Something happened to its process, if that is there."""
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
        counts = world.counts
        counts[self._tick] += 1
        matters = False
        for event in events:
            counts[self._events[type(event)]] += 1
            if not _is_heartbeat(event):
                matters = True
                world.story.event(self.name, event)
        for effect in effects:
            counts[self._effects[type(effect)]] += 1
            if not _is_heartbeat(effect):
                matters = True
                world.story.effect(self.name, effect)
        if matters and world.check and self.process is not None:
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


def _is_heartbeat(what: object) -> bool:
    """Whether an event or effect carries a heartbeat, which changes nothing but a time."""
    word = _WORD_IN.get(type(what))
    return word is not None and type(word(what)) is Heartbeat


# --- the clients of the master --------------------------------------------------------------------


class Client(Daemon[E, F]):
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
            kind = type(said)
            self.world.counts[self._words[kind]] += 1
            if self.process is not None:
                self.process.post(self._heard(epoch, said), heartbeat=kind is Heartbeat)

    def ended(self, end: End, why: str) -> None:
        """The stream to the master is over."""
        if end is self._end:
            self._end = None
            self.post(self._lost(why))
            self._dial_later()

    def called(self, stream: str, said: object) -> master.Event:
        """What the master's process is told when this one says something."""
        raise NotImplementedError

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
        self.post(self._opened())

    def _say(self, call: object) -> None:
        if self._end is not None:
            self._end.say(call)

    def _drop(self, why: str) -> None:
        """Close the stream, and open another after a backoff."""
        if self._end is not None:
            self._end.close()
            self._end = None
            self.post(self._lost(why))
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


# --- the master -----------------------------------------------------------------------------------


class MasterNode(Daemon[master.Event, master.Effect]):
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
        self.post(make(self._requests))
        return self._requests

    def accept(self, end: End) -> None:
        """A peer has opened a connection to this run of the master."""
        self._streams[end.name] = end

    def received(self, end: End, message: object) -> None:
        """A peer said this."""
        client = end.peer.endpoint
        assert isinstance(client, Client)
        kind = type(message)
        self.world.counts[self._words[kind]] += 1
        if self.process is not None:
            self.process.post(client.called(end.name, message), heartbeat=kind is Heartbeat)

    def ended(self, end: End, why: str) -> None:
        """A stream is over."""
        self._streams.pop(end.name, None)
        self.post(master.StreamClosed(end.name))

    def pause(self, stream: str, *, paused: bool) -> None:
        """The outbox of a stream is full, or no longer."""
        if stream in self._streams:
            event = master.StreamPaused if paused else master.StreamResumed
            self.post(event(stream))

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
                    self.post(master.StreamClosed(stream))
            case master.Answer():
                self.answers[effect.request] = effect
            case master.Warn(_, name, what, _):
                self.world.counts[f"misconduct: {what.name}"] += 1
                self.world.story.note(self.name, f"warns of {name}: {what.value}")
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
