"""A process of the simulation: a machine in the loop of `mesoslite.loop`, in virtual time.

The order is that of D6: a Tick, the batch that is there, a Tick, one commit, then the
effects. A crash loses the inbox, and the whole batch whose commit had not happened. A process that
is stopped (SIGSTOP, a swapped-out host) goes on later where it was, in the middle of a turn maybe.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from mesoslite.testing.agenda import Agenda
from mesoslite.testing.clocks import ProcessClock

E = TypeVar("E")
F = TypeVar("F")
E_contra = TypeVar("E_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)

BATCH_MAX = 64  # smaller than the daemons' own, so that batches fill up here as well
COMMIT_RETRY_MS = 200  # between the daemons' first and last
IDLE_TURNS_MAX = 100  # turns at one moment, without events or effects, before a machine "spins"


class CheckedMachine(Protocol[E_contra, F_co]):
    """A pure machine that can assert its own invariants."""

    def handle(self, event: E_contra, /) -> Sequence[F_co]:
        """Take one event; say what is to be done about it."""
        ...

    def handle_all(self, events: Sequence[E_contra], /) -> Sequence[F_co]:
        """As `handle` of each, in order."""
        ...

    def next_deadline_ms(self) -> int | None:
        """When time itself is the next event."""
        ...

    def check(self) -> None:
        """Assert every invariant."""
        ...


class CrashPoint(Enum):
    """Where in its turn a process dies, when it is not between two turns."""

    BEFORE_COMMIT = "the batch was handled, nothing of it is durable, nothing was done"
    AFTER_COMMIT = "the batch is durable, nothing was done"
    WHILE_PERFORMING = "the batch is durable, some of it was done"


class SpinningError(AssertionError):
    """A machine asks for a Tick again and again, which changes nothing: it would burn a core."""


@dataclass(frozen=True, slots=True)
class Wiring(Generic[E, F]):
    """What a process needs to know of its machine and of the world around it."""

    name: str
    """As `master`, `a1` or `kafka`: for the story."""
    tick: Callable[[int], E]
    commit: Callable[[Sequence[F]], bool]
    """Write what is durable. False: the disk is full, try again later; or the process has ended."""
    may_speak: Callable[[], bool]
    """Asked before anything is done. False: the process has ended itself instead."""
    perform: Callable[[F], None]
    crashed: Callable[[], None]
    """The process died of an armed crash."""
    turned: Callable[[Sequence[E], Sequence[F]], None]
    """A batch was handled and committed: for counting, checking and the story."""


class Process(Generic[E, F]):
    """One run of a process, from its start to its end or crash."""

    def __init__(
        self,
        machine: CheckedMachine[E, F],
        wiring: Wiring[E, F],
        agenda: Agenda,
        clock: ProcessClock,
        rng: random.Random,
        counts: Counter[str],
    ) -> None:
        self.machine = machine
        self.wiring = wiring
        self.alive = True
        self.armed: CrashPoint | None = None
        self.stopped = False
        """By SIGSTOP: what arrives waits."""
        self.stop_amid: Callable[[], None] | None = None
        """Called once, between the next commit and what was to be done after it, to stop it."""
        self._agenda = agenda
        self._clock = clock
        self._rng = rng
        self._counts = counts
        self._inbox: list[E] = []
        self._news = False
        """Whether anything but heartbeats is in the inbox."""
        self._busy = False
        self._rest: Callable[[], None] | None = None
        """Of the turn in which it was stopped."""
        self._wake_ms: int | None = None
        self._asked: set[int] = set()
        """When the agenda wakes this process: maybe more often than `_wake_ms` needs."""
        self._idle_turns = (0, 0)  # (moment, turns)
        self._schedule(agenda.now_ms)

    @property
    def settled(self) -> bool:
        """Whether everything that happened to it so far has been handled and performed."""
        return not self._inbox and not self._busy

    def post(self, event: E, *, heartbeat: bool = False) -> None:
        """Something happened to the process. It deals with it soon, maybe with more of its kind."""
        if self.alive:
            self._inbox.append(event)
            if not heartbeat:
                self._news = True
            self._schedule(self._agenda.now_ms + (self._rng.random() < 0.5))

    def end(self) -> None:
        """The process is gone, with its inbox and what it had not committed."""
        self.alive = False
        self._inbox.clear()

    def resume(self) -> None:
        """It goes on where it was stopped."""
        self.stopped = False
        rest, self._rest = self._rest, None
        if not self.alive:
            return
        if rest is not None:
            rest()
        elif not self._busy:
            self._schedule(self._agenda.now_ms)

    def when_ms(self, own_ms: int) -> int:
        """The moment at which the process's own clock shows this."""
        return self._clock.due_ms(own_ms)

    def _schedule(self, due_ms: int) -> None:
        """Take a turn no later than then, which is not in the past."""
        if self._busy or (self._wake_ms is not None and self._wake_ms <= due_ms):
            return
        self._wake_ms = due_ms
        if due_ms not in self._asked:
            self._asked.add(due_ms)
            self._agenda.at(due_ms, self._wake)

    def _wake(self) -> None:
        now_ms = self._agenda.now_ms
        self._asked.discard(now_ms)
        if self.alive and not self._busy and self._wake_ms == now_ms:
            self._wake_ms = None
            if not self.stopped:
                self._turn(now_ms)
        # else: an earlier turn has dealt with it

    def _turn(self, now_ms: int) -> None:
        inbox = self._inbox
        batch, self._inbox = inbox[:BATCH_MAX], inbox[BATCH_MAX:]
        tick = self.wiring.tick(self._clock.read(now_ms))
        effects = [*self.machine.handle_all([tick, *batch])]
        # A heartbeat moves a time and makes nothing due. Of ten thousand idle agents, a third
        # of all the work would be to ask whether it did.
        if batch and self._news:
            effects += self.machine.handle(tick)
            self._news = bool(self._inbox)
        if self.armed is not None and self._dies_at(CrashPoint.BEFORE_COMMIT, bool(effects)):
            return
        if not batch:
            self._notice_spinning(effects)
        self._busy = True
        self._commit(batch, effects)

    def _commit(self, batch: Sequence[E], effects: Sequence[F]) -> None:
        if not self.alive:
            return
        if self.stopped:
            self._rest = lambda: self._commit(batch, effects)
            return
        if effects and not self.wiring.commit(effects):
            if self.alive:
                self._counts["fault: a commit failed and was tried again"] += 1
                self._agenda.after(COMMIT_RETRY_MS, lambda: self._commit(batch, effects))
            return
        self.wiring.turned(batch, effects)
        if effects and self.stop_amid is not None:
            stop, self.stop_amid = self.stop_amid, None
            self._rest = lambda: self._after_commit(effects)
            stop()
            return
        self._after_commit(effects)

    def _after_commit(self, effects: Sequence[F]) -> None:
        if effects and not (self.wiring.may_speak() and self._perform(effects)):
            return
        self._busy = False
        if self._inbox:
            self._schedule(self._agenda.now_ms)
        elif (next_ms := self.machine.next_deadline_ms()) is not None:
            self._schedule(max(self._clock.due_ms(next_ms), self._agenda.now_ms))

    def _perform(self, effects: Sequence[F]) -> bool:
        """Whether the process is still there afterwards."""
        last = len(effects)
        if self.armed is not None:
            if self._dies_at(CrashPoint.AFTER_COMMIT, now=True):
                return False
            if self.armed is CrashPoint.WHILE_PERFORMING and last > 1:
                last = self._rng.randrange(1, last)
        for effect in effects[:last]:
            self.wiring.perform(effect)
            if not self.alive:
                return False  # it ended itself
        return not self._dies_at(CrashPoint.WHILE_PERFORMING, last < len(effects))

    def _dies_at(self, point: CrashPoint, now: bool) -> bool:
        if self.armed is not point or not now:
            return False
        self._counts[f"fault: crash, {point.name}"] += 1
        self.end()
        self.wiring.crashed()
        return True

    def _notice_spinning(self, effects: Sequence[F]) -> None:
        """After a turn without events: so many without effects either, and no time passes."""
        now_ms = self._agenda.now_ms
        moment, turns = self._idle_turns
        self._idle_turns = (now_ms, turns + 1 if not effects and moment == now_ms else 0)
        if self._idle_turns[1] > IDLE_TURNS_MAX:
            raise SpinningError(
                f"{self.wiring.name} wants a Tick at {self.machine.next_deadline_ms()}, "
                f"it is {now_ms}, and nothing comes of it"
            )
