"""The processes of a simulated cluster: the real machines, wired to the simulated world.

Each node is a daemon without its IO: it makes its machine from what is durable, hands it what
arrives, and performs what it asks. A node outlives the crashes of its process. Here is what they
share; masters are in `masters.py`, agents in `agents.py`, schedulers in `schedulers.py`.

Ten thousand idle agents say and hear 80,000 heartbeats a virtual minute: what runs for each event
looks types up instead of matching them, and neither writes a story nor checks for a heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mesoslite.master import protocol as master
from mesoslite.messages import Heartbeat
from mesoslite.scheduler import protocol as session
from mesoslite.testing.clocks import HostClock
from mesoslite.testing.network import End
from mesoslite.testing.process import CheckedMachine, Process, Wiring
from mesoslite.testing.world import Names, World
from mesoslite_agent import protocol as agent

if TYPE_CHECKING:
    from mesoslite.testing.masters import Masters

STOPPED_LOOK_MS = 200  # how often what a stopped process was to do looks whether it goes on

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
        self.clock = HostClock(world.agenda)
        self.process: Process[E, F] | None = None
        self.runs = 0
        """How often its process was started."""
        self.stopped = False
        """By SIGSTOP, until it goes on."""

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
        self.stopped = False
        self.world.story.note(self.name, f"starts, run {self.runs}")
        wiring = Wiring(
            self.name, tick, commit, self._may_speak, perform, self._crashed, self._turned
        )
        world = self.world
        return Process(machine, wiring, world.agenda, self.clock.started(), self.rng, world.counts)

    def _may_speak(self) -> bool:
        """Asked before each batch of effects: False when the process has ended itself instead."""
        return True

    def stop(self, for_ms: int) -> None:
        """SIGSTOP: it does nothing for a while, then goes on where it was."""
        run = self.runs
        self.stopped = True
        if self.process is not None:
            self.process.stopped = True
        self.world.story.note(self.name, f"is stopped for {for_ms / 1_000:g} s")

        def resume() -> None:
            if self.runs == run and self.stopped:
                self.resume()

        self.world.agenda.after(for_ms, resume)

    def resume(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self.world.story.note(self.name, "goes on")
        if self.process is not None:
            self.process.resume()

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
            self.process.end()
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


# --- the clients of the masters -------------------------------------------------------------------


class Client(Daemon[E, F]):
    """A process that keeps one stream to the leading master open, as `mesoslite.link` does."""

    backoff_max_ms = 0

    def __init__(self, world: World, name: str, host: str, masters: Masters) -> None:
        super().__init__(world, name, host)
        self._masters = masters
        self._end: End | None = None
        self._attempt = 0

    @property
    def connected(self) -> bool:
        """Whether its stream to the master is whole, which neither side can know for sure."""
        end = self._end
        return (
            end is not None
            and end.peer.open
            and not (end.lane.cut or end.peer.lane.cut)
            and end.peer.endpoint is self._masters.leading
        )

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
            if self.stopped:
                self.world.agenda.after(STOPPED_LOOK_MS, dial)
            elif self.process.settled:
                self._dial()
            else:  # nothing that is meant for the old stream may be said on the new one
                self.world.agenda.after(1, dial)

        self.world.agenda.after(self.rng.randint(0, backoff_ms), dial)

    def _dial(self) -> None:
        network = self.world.network
        found = self._masters.located(self.host, self.rng)
        if not found.leading or not network.reachable(self.host, found.host):
            self._attempt += 1
            self._dial_later()
            return
        self._attempt = 0
        self._end = network.connect(self, self.host, found, found.host)
        found.accept(self._end.peer)
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
