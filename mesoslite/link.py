"""A link keeps one stream to the master open: dial, speak, listen, and dial again after a backoff.

Agents and schedulers have the same one. Its machine hears StreamOpened, what the master says, and
StreamLost, always in that order; and never is anything that was meant for one stream written to
the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import grpc
import structlog

from mesoslite.credentials import TokenFileError, call_metadata
from mesoslite.loop import Inbox
from mesoslite.masters import Locator, NoMasterError, leader_told
from mesoslite.measures import Traffic
from mesoslite.model import Refusal
from mesoslite.streams import (
    CHANNEL_OPTIONS,
    STREAM_ERRORS,
    Outbox,
    Outgoing,
    converse,
    describe,
    listen,
)

C = TypeVar("C")  # what is said
E = TypeVar("E")  # the machine's events
Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

CONNECT_TIMEOUT_S = 10.0  # a master that is there answers the connection at once, however busy
# A stream waits for its turn in the master's loop, 1 ms of its CPU time for each that came before.
# Whoever gave up and dialled again would only add to what it has to do: 10,000 agents that wait for
# 10 s are back after 40-65 s, those that wait for their turn after 20.
ANSWER_TIMEOUT_S = 60.0
STEADY_S = 2.0  # a stream that was open for so long was taken; less may be a refusal
# A redial must not wait for gRPC's own backoff, which it would share with the channel before.
OPEN_KEY = "mesoslite-stream"  # metadata with which a master says that the stream is open
LINK_OPTIONS = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))

log = structlog.get_logger("mesoslite.link")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before dialling again: a random part of a share of the time it was away.

    So whoever lost a master that is started again is back soon after it, however long that took,
    and one that stays away is dialled less and less. Random so that ten thousand agents do not come
    back at the same instant; each dial has ANSWER_TIMEOUT_S, so those that a busy master keeps
    waiting do not dial more.
    """

    first_s: float
    """The least that the share is."""
    share: float
    """Of the time since the last steady stream ended."""
    max_s: float = 10.0

    def delay_s(self, away_s: float, rng: random.Random) -> float:
        """The wait before the next dial."""
        return rng.uniform(0, min(max(self.first_s, self.share * away_s), self.max_s))


#: Back within a tenth of the master's absence: there are few of them, and people wait for them.
#: 1,000 of them knock 34,000 times in the first second, 2,100 in the tenth, 200 from the hundredth.
SCHEDULER_BACKOFF = Backoff(first_s=0.05, share=0.1)
#: 10,000 agents knock 37,000 times in the first second, 8,000 in the sixth, 2,000 from then on.
AGENT_BACKOFF = Backoff(first_s=0.5, share=0.5)


@dataclass(frozen=True, slots=True)
class Ends(Generic[C, E]):
    """What tells an agent's link from a scheduler's: the method, the words and the events."""

    method: str
    """`/mesoslite.v1.AgentService/Connect`"""
    pack: Callable[[Sequence[C]], Iterable[Outgoing]]
    parse: Callable[[bytes], Sequence[E]]
    """A message of the master as the machine's events. Raises MalformedMessage, DecodeError."""
    opened: Callable[[], E]
    lost: Callable[[str], E]
    still_there: Callable[[], E]
    """A heartbeat of the master, for when we do not read (docs/decisions.md D18)."""
    denied: Callable[[Refusal, str], E | None]
    """The master does not take our token; None: just try again."""


class Link(Generic[C, E]):
    """Keeps one stream to the master open for as long as `run` runs.

    `token` is asked at each dial, so a new token file is taken without a restart; it may raise
    TokenFileError.
    """

    def __init__(
        self,
        locator: Locator,
        ends: Ends[C, E],
        inbox: Inbox[E],
        *,
        token: Callable[[], str],
        backoff: Backoff,
        rng: random.Random,
    ) -> None:
        self._locator = locator
        self._ends = ends
        self._inbox = inbox
        self._token = token
        self._backoff = backoff
        self._rng = rng
        self.traffic = Traffic()
        """Of all its streams."""
        self._outbox: Outbox[C] | None = None
        self._dropped = ""
        self._complaint = ""
        self._closed = False

    @property
    def connected(self) -> bool:
        """True while a stream is open."""
        return self._outbox is not None

    @property
    def waiting_bytes(self) -> int:
        """What was said and is not written yet, about."""
        return self._outbox.waiting_bytes if self._outbox is not None else 0

    def say(self, call: C) -> None:
        """Write this to the master; without a stream it is dropped, as if lost on the way."""
        if self._outbox is not None:
            self._outbox.put(call)

    async def say_bulk(self, call: C) -> None:
        """Write this when nothing more important waits; returns once there was room for it."""
        if self._outbox is not None:
            await self._outbox.put_bulk(call)

    def drop(self, why: str) -> None:
        """Close the stream once what was said is written, and dial again after the backoff."""
        if self._outbox is not None:
            self._dropped = why
            self._outbox.close()

    def close(self) -> None:
        """Close the stream once what was said is written; `run` returns and dials no more."""
        self._closed = True
        self.drop("stopping")

    async def run(self) -> None:
        """Dial, and dial again, until `close`. Cancel it when it may be waiting to dial."""
        loop = asyncio.get_running_loop()
        left_s = loop.time()
        try:
            while not self._closed:
                if await self._dial() >= STEADY_S:
                    left_s = loop.time()
                # Else it goes on: whom a master takes and drops at once must not be back at once.
                # Nothing that the machine says for the old stream may come after the new one opens.
                await self._inbox.settled()
                if self._closed:
                    break
                delay_s = self._backoff.delay_s(loop.time() - left_s, self._rng)
                if await self._locator.pause(delay_s):
                    await asyncio.sleep(self._backoff.delay_s(0, self._rng))
        finally:
            await self._locator.close()

    async def _dial(self) -> float:
        """One stream, from its opening to its end; how long it was open, in seconds."""
        try:
            metadata = call_metadata(self._token())
            address = await self._locator.address()
        except TokenFileError as error:
            self._deny(str(error))
            return 0.0
        except NoMasterError as error:
            self._complain(str(error))
            return 0.0
        async with grpc.aio.insecure_channel(address, options=LINK_OPTIONS) as channel:
            call = channel.stream_stream(self._ends.method, None, None)(None, metadata=metadata)
            began_s = asyncio.get_running_loop().time()
            try:
                async with self._patience(channel, address):
                    opened = OPEN_KEY in dict(await call.initial_metadata())
                    code = None if opened else await call.code()
            except TimeoutError:
                call.cancel()
                waited_s = asyncio.get_running_loop().time() - began_s
                self._complain(f"no answer within {waited_s:.0f} s")
            except STREAM_ERRORS as error:
                self._complain(describe(error))
            else:
                if opened:
                    return await self._speak(call, address)
                details = _one_line(await call.details() or str(code))
                if code is grpc.StatusCode.UNAUTHENTICATED:
                    self._deny(details)
                else:
                    self._not_open(details, leader_told(await call.trailing_metadata()))
        self._locator.missed()
        return 0.0

    @contextlib.asynccontextmanager
    async def _patience(self, channel: grpc.aio.Channel, address: str) -> AsyncIterator[None]:
        """A time for the connection, and a longer one while a master that has taken it leads."""
        loop = asyncio.get_running_loop()
        watching: asyncio.Task[str] | None = None

        def give_up(_why: object = None) -> None:
            limit.reschedule(loop.time())

        def look() -> None:
            nonlocal watching
            if channel.get_state() is grpc.ChannelConnectivity.READY:
                watching = asyncio.create_task(self._locator.moved(address))
                watching.add_done_callback(give_up)
            else:
                give_up()

        async with asyncio.timeout(ANSWER_TIMEOUT_S) as limit:
            looking = loop.call_later(CONNECT_TIMEOUT_S, look)
            try:
                yield
            finally:
                looking.cancel()
                if watching is not None:
                    watching.remove_done_callback(give_up)
                    watching.cancel()

    async def _speak(self, call: Call, address: str) -> float:
        """Until the stream's end; how long that took, in seconds."""
        ends = self._ends
        outbox: Outbox[C] = Outbox(traffic=self.traffic)
        self._complaint = self._dropped = ""
        log.info("connected to the master", master=address)
        loop = asyncio.get_running_loop()
        opened_s = loop.time()
        self._inbox.post(ends.opened())
        self._outbox = outbox
        moves = self._locator.follows_leaders
        watching = asyncio.create_task(self._move_from(address)) if moves else None
        why = "stopping"
        try:
            why = await converse(
                outbox,
                listen(
                    call.read,
                    ends.parse,
                    self._inbox,
                    ends.still_there,
                    outbox.is_closing,
                    traffic=self.traffic,
                ),
                outbox.write_all(ends.pack, call.write),
                call.done_writing,
            )
        except STREAM_ERRORS:
            pass  # it ended before we could end it
        finally:
            self._outbox = None
            if watching is not None:
                watching.cancel()
            call.cancel()
            why = self._dropped or why
            self._inbox.post(ends.lost(why))
        log.info("the stream to the master has ended", master=address, why=why)
        return loop.time() - opened_s

    async def _move_from(self, address: str) -> None:
        """Leave a master when another leads: it may hang, and never say so itself."""
        leader = await self._locator.moved(address)
        self.drop(f"{leader} leads now")

    def _not_open(self, details: str, leader: str | None) -> None:
        """The master that was dialled does not take the stream; `leader`: since that one leads."""
        if leader:
            log.info("sent to the master that leads", master=leader)
        else:
            self._complain(details)
        if leader is not None:
            self._locator.redirected(leader)

    def _deny(self, why: str) -> None:
        self._complain(why)
        event = self._ends.denied(Refusal.BAD_TOKEN, why)
        if event is not None:
            self._inbox.post(event)

    def _complain(self, why: str) -> None:
        """One line for each new reason, not one for each attempt."""
        if why != self._complaint:
            self._complaint = why
            log.warning(
                "no stream to the master, trying on", master=str(self._locator.masters), why=why
            )


def _one_line(text: str) -> str:
    return text.splitlines()[0]
