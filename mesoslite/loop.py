"""The one loop: it feeds a machine with events and time, commits, then performs the effects.

Master, agent and session run on the same `drive` (docs/decisions.md D6). It is the
only place where a machine meets a clock and a queue. The order is the guarantee: nothing leaves
before what it depends on is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from mesoslite.measures import LoopMeasures

E = TypeVar("E")
F = TypeVar("F")
E_contra = TypeVar("E_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)

BATCH_MAX = (
    1_024  # events before the next commit: at 10-20 us each, 20 ms until anybody is answered
)
INBOX_EVENTS_MAX = 4_096  # beyond it peers wait: four batches, so the machine never starves
PATIENCE_S = 0.05  # far below any deadline of a machine
COMMIT_RETRY_FIRST_S = 0.05
COMMIT_RETRY_MAX_S = 2.0
log = structlog.get_logger("mesoslite.loop")


class Machine(Protocol[E_contra, F_co]):
    """A pure state machine: same events in, same effects out."""

    def handle(self, event: E_contra, /) -> Sequence[F_co]:
        """Take one event; say what is to be done about it."""
        ...

    def handle_all(self, events: Sequence[E_contra], /) -> Sequence[F_co]:
        """Take these in order: what `handle` says of each, one after another.

        What else is done for an event is done once for all: 0.5 us less for each, and a task is
        fifteen events, on its way through session, master and agent.
        """
        ...

    def next_deadline_ms(self) -> int | None:
        """When time itself is the next event; None: never."""
        ...


class CommitError(Exception):
    """What is durable cannot be written: the batch may be tried again, unchanged.

    `str` is one line for people: what failed, on which path, and why.
    """


class Health:
    """Whether a daemon can do its work now, and if not, why: for readiness probes and logs."""

    __slots__ = ("why_not",)

    def __init__(self, why_not: str = "starting") -> None:
        self.why_not = why_not

    @property
    def ready(self) -> bool:
        """True when nothing is in the way."""
        return not self.why_not


class Inbox(Generic[E]):
    """The bounded queue of one machine. One loop, one taker, any number of givers.

    `put` is for what peers send: it waits when the inbox is full, first come first served, so a
    peer that floods is not read any more and no other one is locked out. `post` is for the few
    events which the daemon makes itself and never more than a few for each stream or container:
    it never waits.
    """

    def __init__(self, now_ms: Callable[[], int], events_max: int = INBOX_EVENTS_MAX) -> None:
        self._now_ms = now_ms
        self._events_max = events_max
        self._events: deque[E] = deque()
        self._givers: deque[asyncio.Future[None]] = deque()
        self._taker: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._put = 0
        self._handled = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._since_s = 0.0
        self.closed = False
        self.waited_s = 0.0
        """How long the oldest event of the last batch had been in; of one that was left behind by
        a full batch, since that batch was taken."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        """True when `put` would wait."""
        return len(self._events) >= self._events_max

    def post(self, event: E) -> None:
        """Add an event at once. After `close` it is dropped. O(1)."""
        self._take_in((event,))

    def _take_in(self, events: Collection[E]) -> None:
        if self.closed or not events:
            return
        if not self._events or self._patience is not None:
            self._since_s = time.perf_counter()
        self._events.extend(events)
        self._put += len(events)
        self._wake_taker()

    def post_patiently(self, event: E) -> None:
        """As `post`, but the event may wait for the next one, for PATIENCE_S at most.

        For what the machine is to know and need not do anything about: a turn of its own for it
        is 50 us and more.
        """
        if self.closed:
            return
        if not self._events:
            self._since_s = time.perf_counter()
        self._events.append(event)
        self._put += 1
        if self._taker is not None and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self._no_patience)

    def _no_patience(self) -> None:
        self._patience = None
        if self._events:
            self._wake_taker()

    async def put(self, events: Collection[E]) -> None:
        """Add all these events together, once there is room for the first of them.

        The batch may overshoot the limit by what one message holds, which its own limit bounds.
        """
        while (self.full or self._givers) and not self.closed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._givers.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake_giver()  # the turn was ours and goes to the next
                else:
                    with contextlib.suppress(ValueError):  # its turn came as it was cancelled
                        self._givers.remove(turn)
                raise
            if not self.full:
                break
        self._take_in(events)
        self._wake_giver()

    async def take(self, batch_max: int, until_ms: int | None) -> list[E]:
        """Up to `batch_max` events that are there, or [] at the deadline, or when closed.

        Lets every other task run once even when it need not wait, so streams are read and written
        while the machine is busy.
        """
        self._wake_giver()  # what made the inbox full may be more than its length
        due = until_ms is not None and until_ms <= self._now_ms()
        if self._events or self.closed or due:
            await asyncio.sleep(0)
        else:
            await self._wait(until_ms)
        events = self._events
        if len(events) <= batch_max:
            batch = list(events)
            events.clear()
        else:
            batch = [events.popleft() for _ in range(batch_max)]
        taken_s = time.perf_counter()
        self.waited_s = taken_s - self._since_s if batch else 0.0
        self._since_s = taken_s
        self._wake_giver()
        return batch

    async def _wait(self, until_ms: int | None) -> None:
        loop = asyncio.get_running_loop()
        taker = self._taker = loop.create_future()
        timer = None
        if until_ms is not None:
            delay_s = max(0, until_ms - self._now_ms()) / 1_000
            timer = loop.call_later(delay_s, self._wake_taker)
        try:
            await taker
        finally:
            self._taker = None
            if timer is not None:
                timer.cancel()

    def handled(self, events: int) -> None:
        """The effects of so many events have been performed (said by `drive`)."""
        self._handled += events
        while self._barriers and self._barriers[0][0] <= self._handled:
            barrier = self._barriers.popleft()[1]
            if not barrier.done():
                barrier.set_result(None)

    async def settled(self) -> None:
        """Wait until the effects of every event that is in now have been performed.

        After posting the end of a stream, nothing that the machine says for it comes later.
        """
        if self._handled < self._put and not self.closed:
            barrier: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._barriers.append((self._put, barrier))
            await barrier

    def close(self) -> None:
        """No more events: `drive` handles those that are in, then returns."""
        self.closed = True
        self._wake_taker()
        while self._givers:
            self._wake_giver(even_if_full=True)

    def _wake_taker(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _wake_giver(self, *, even_if_full: bool = False) -> None:
        while self._givers and (even_if_full or not self.full):
            turn = self._givers.popleft()
            if not turn.done():
                turn.set_result(None)
                return


async def drive(
    machine: Machine[E, F],
    inbox: Inbox[E],
    tick: Callable[[int], E],
    commit: Callable[[Sequence[F]], Awaitable[None]],
    perform: Callable[[F], None],
    now_ms: Callable[[], int],
    *,
    health: Health | None = None,
    measures: LoopMeasures | None = None,
    batch_max: int = BATCH_MAX,
    commit_deadline_s: float | None = None,
) -> None:
    """Run a machine until its inbox is closed and empty.

    `tick` makes the machine's Tick of a time. Each batch comes between two: one before it, so that
    what it sets in motion counts from now and not from the last time anything happened, and one
    after it. `commit` is given all effects of a batch, writes the durable ones in one transaction
    and returns when they are durable; with none among them it returns at once. `perform` must only
    enqueue. A commit that fails is tried again unchanged, with nothing handled meanwhile and
    `health` not ready; past `commit_deadline_s` (None: never) CommitError ends the loop, and
    nothing of the batch has been performed. `measures` is told of each turn, at ~1 us.
    """
    health = health or Health()
    measures = measures or LoopMeasures()
    health.why_not = ""
    ticked_ms = None
    while not (inbox.closed and not len(inbox)):
        batch = await inbox.take(batch_max, machine.next_deadline_ms())
        began_s = time.perf_counter()
        now = now_ms()
        before = [tick(now)] if batch and now != ticked_ms else []
        effects = list(machine.handle_all([*before, *batch]))
        ticked_ms = now_ms()
        ticking_s = time.perf_counter()
        effects += machine.handle(tick(ticked_ms))
        handled_s = time.perf_counter()
        if effects:
            await _commit(commit, effects, inbox, health, commit_deadline_s)
            for effect in effects:
                perform(effect)
        inbox.handled(len(batch))
        measures.turned(
            events=len(batch),
            waited_s=inbox.waited_s,
            handled_s=handled_s - began_s,
            ticked_s=handled_s - ticking_s,
            whole_s=time.perf_counter() - began_s,
        )


async def _commit(
    commit: Callable[[Sequence[F]], Awaitable[None]],
    effects: Sequence[F],
    inbox: Inbox[E],
    health: Health,
    deadline_s: float | None,
) -> None:
    """Commit, however often it takes. Raises the last CommitError past the deadline.

    While the daemon is stopping one failure is enough: what was not performed was not said, so
    giving up is no worse than a crash.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    delay_s = COMMIT_RETRY_FIRST_S
    failed = ""
    while True:
        try:
            await commit(effects)
        except CommitError as error:
            waited_s = loop.time() - began_s
            if inbox.closed or (deadline_s is not None and waited_s >= deadline_s):
                raise CommitError(f"{error}; tried for {waited_s:.0f} s") from error
            if str(error) != failed:
                failed = str(error)
                log.warning(
                    "cannot write, nothing is handled until it works",
                    why=failed,
                    gives_up_after_s=deadline_s,
                )
            ends = f", ends after {deadline_s:.0f} s" if deadline_s is not None else ""
            health.why_not = f"{failed}; tried for {waited_s:.0f} s{ends}"
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, COMMIT_RETRY_MAX_S)
        else:
            if failed:
                log.info("can write again", after_s=round(loop.time() - began_s, 3))
                health.why_not = ""
            return
