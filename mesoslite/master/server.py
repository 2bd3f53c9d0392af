"""The master's streams: schedulers and agents in, the machine's effects out.

Each stream has a name of its own for ever, so what the machine says for one never reaches another.
Nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog

from mesoslite.credentials import Tokens
from mesoslite.files import FileChunk
from mesoslite.link import OPEN_KEY
from mesoslite.loop import Inbox
from mesoslite.master.operator import Operator
from mesoslite.master.protocol import (
    AgentCalled,
    Answer,
    CloseStream,
    Durable,
    Effect,
    Event,
    ForgetAgent,
    PeerSilent,
    SchedulerCalled,
    StreamClosed,
    StreamPaused,
    StreamResumed,
    ToAgent,
    ToScheduler,
    Warn,
)
from mesoslite.master.reads import Reads
from mesoslite.master.records import Tables
from mesoslite.measures import Traffic
from mesoslite.messages import HEARTBEAT_INTERVAL_MS, Heartbeat, SchedulerEvent
from mesoslite.streams import Outbox, Outgoing, converse, listen
from mesoslite.v1 import agent_pb2, scheduler_pb2
from mesoslite.wire import (
    AgentHears,
    OfferEncoder,
    Registration,
    agent_calls_from_wire,
    agent_responses,
    scheduler_calls_from_wire,
    scheduler_responses,
)

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

STREAMS_MAX = 120_000  # ~40 KiB each idle, so 5 GB; the machine admits 100,000 agents at most
FIRST_WORD_S = 30.0  # who opens a stream and says nothing is cut; the machine never hears of it

log = structlog.get_logger("mesoslite.master")


class Streams:
    """All streams of schedulers and agents of one master, and what its machine has them hear."""

    def __init__(
        self,
        tables: Tables,
        inbox: Inbox[Event],
        tokens: Tokens,
        started_ms: int,
        may_speak: Callable[[], bool] | None = None,
    ) -> None:
        """`may_speak`: whether no other master can lead yet; None: there is no other (D15)."""
        self._epoch = tables.epoch
        self._inbox = inbox
        self._tokens = tokens
        self._may_speak = may_speak
        self._opened = 0
        self._offers = OfferEncoder()
        self._to_schedulers: dict[str, Outbox[SchedulerEvent]] = {}
        self._to_agents: dict[str, Outbox[AgentHears]] = {}
        self.traffic = {"scheduler": Traffic(), "agent": Traffic()}
        """By the kind of peer."""
        self._reads = Reads(tables, self._to_agents.get)
        self._operator = Operator(tables, inbox, self._reads, started_ms, may_speak or _always)

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """All services, for a server."""
        scheduler: Any = self._scheduler
        agent: Any = self._agent
        return [
            grpc.method_handlers_generic_handler(
                "mesoslite.v1.SchedulerService",
                {"Subscribe": grpc.stream_stream_rpc_method_handler(scheduler)},
            ),
            grpc.method_handlers_generic_handler(
                "mesoslite.v1.AgentService",
                {"Connect": grpc.stream_stream_rpc_method_handler(agent)},
            ),
            self._operator.handler(),
        ]

    def perform(self, effect: Effect) -> None:
        """Do what the machine says; only enqueues. For a stream that has ended it is too late."""
        # These two are nearly all. A pattern with its fields would take twice as long.
        if isinstance(effect, ToScheduler):
            if (to_scheduler := self._to_schedulers.get(effect.stream)) is not None:
                to_scheduler.put(effect.event)
            return
        if isinstance(effect, ToAgent):
            if (to_agent := self._to_agents.get(effect.stream)) is not None:
                to_agent.put(effect.event)
            return
        match effect:
            case CloseStream(stream):
                for outboxes in (self._to_schedulers, self._to_agents):
                    if stream in outboxes:
                        outboxes[stream].close()
            case Answer():
                self._operator.answered(effect)
            case ForgetAgent(agent_id):
                self._offers.forget(agent_id)
            case Warn(framework_id, name, what, numbers):
                told: dict[str, int] = dict(numbers)
                log.warning(what.value, framework=name, framework_id=framework_id, **told)
            case PeerSilent():
                log_silence(effect)
            case _:
                _committed_before(effect)

    def close(self) -> None:
        """End every stream once what was said has been written."""
        self._reads.stop()
        for outboxes in (self._to_schedulers, self._to_agents):
            for outbox in outboxes.values():
                outbox.close()

    def waiting(self) -> dict[str, list[int]]:
        """The bytes that wait in each open stream's outbox, by the kind of peer. O(streams)."""
        return {
            "scheduler": [outbox.waiting_bytes for outbox in self._to_schedulers.values()],
            "agent": [outbox.waiting_bytes for outbox in self._to_agents.values()],
        }

    async def _scheduler(self, _requests: object, context: Context) -> None:
        principal = self._tokens.principal_of_call(_metadata(context)) or ""
        name = self._name("s")

        def parse(data: bytes) -> Sequence[Event]:
            request = scheduler_pb2.SubscribeRequest.FromString(data)
            calls = scheduler_calls_from_wire(request)
            return [SchedulerCalled(name, principal, call) for call in calls]

        def pack(events: Sequence[SchedulerEvent]) -> Iterable[Outgoing]:
            return scheduler_responses(self._epoch, events, self._offers)

        def still_there() -> Event:
            return SchedulerCalled(name, principal, Heartbeat())

        outbox: Outbox[SchedulerEvent] = self._outbox(name, self.traffic["scheduler"])
        await self._serve(context, name, self._to_schedulers, outbox, parse, pack, still_there)

    async def _agent(self, _requests: object, context: Context) -> None:
        name = self._name("a")
        registration = Registration()

        def parse(data: bytes) -> Sequence[Event]:
            request = agent_pb2.ConnectRequest.FromString(data)
            events: list[Event] = []
            for call in agent_calls_from_wire(request, registration):
                if isinstance(call, FileChunk):
                    self._reads.answered(name, call)
                else:
                    events.append(AgentCalled(name, call))
            return events

        def pack(events: Sequence[AgentHears]) -> Iterable[Outgoing]:
            return agent_responses(self._epoch, events)

        def still_there() -> Event:
            return AgentCalled(name, Heartbeat())

        outbox: Outbox[AgentHears] = self._outbox(name, self.traffic["agent"])
        try:
            await self._serve(context, name, self._to_agents, outbox, parse, pack, still_there)
        finally:
            self._reads.closed(name)

    async def _serve(
        self,
        context: Context,
        name: str,
        outboxes: dict[str, Outbox[T]],
        outbox: Outbox[T],
        parse: Callable[[bytes], Sequence[Event]],
        pack: Callable[[Sequence[T]], Iterable[Outgoing]],
        still_there: Callable[[], Event],
    ) -> None:
        if len(self._to_schedulers) + len(self._to_agents) >= STREAMS_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"the master has {STREAMS_MAX:,} streams open"
            )
        await context.send_initial_metadata(((OPEN_KEY, "open"),))
        outboxes[name] = outbox
        why = "the peer went away"
        try:
            why = await converse(
                outbox,
                listen(
                    _reading(context),
                    parse,
                    self._inbox,
                    still_there,
                    outbox.is_closing,
                    traffic=outbox.traffic,
                    patient=_is_heartbeat,
                ),
                outbox.write_all(pack, self._writing(context)),
            )
        finally:
            # Also when the peer's end cancels us, so the machine hears of each end exactly once.
            del outboxes[name]
            self._inbox.post(StreamClosed(name))
            log.debug("a stream has ended", stream=name, peer=context.peer(), why=why)

    def _writing(self, context: Context) -> Callable[[bytes], Awaitable[None]]:
        """Writes of a stream: none from when another master may lead, and this one ends soon."""
        may_speak = self._may_speak
        if may_speak is None:
            return context.write

        async def write(data: bytes) -> None:
            if not may_speak():
                await asyncio.Event().wait()
            await context.write(data)

        return write

    def _name(self, kind: str) -> str:
        self._opened += 1
        return f"{kind}{self._opened}"

    def _outbox(self, name: str, traffic: Traffic) -> Outbox[Any]:
        return Outbox(
            traffic=traffic,
            paused=lambda: self._inbox.post(StreamPaused(name)),
            resumed=lambda: self._inbox.post(StreamResumed(name)),
            refused=lambda last: last,
        )


def _always() -> bool:
    """Of a master that is alone."""
    return True


def _is_heartbeat(event: Event) -> bool:
    """One may wait for others: ten thousand idle agents say 667 a second, and each would have a
    turn of the machine, and threads that wake each other, to itself."""
    return isinstance(event, AgentCalled | SchedulerCalled) and isinstance(event.call, Heartbeat)


def _metadata(context: Context) -> Any:
    return context.invocation_metadata() or ()


def _reading(context: Context) -> Callable[[], Awaitable[object]]:
    """Reads of a stream, of which the first has a deadline."""
    heard = False

    async def read() -> object:
        nonlocal heard
        if heard:
            return await context.read()
        try:
            async with asyncio.timeout(FIRST_WORD_S):
                message = await context.read()
        except TimeoutError:
            return None
        heard = True
        return message

    return read


def log_silence(effect: PeerSilent) -> None:
    """Say who it was, and what to look at: the settings, or the peer."""
    if effect.silent_ms < 2 * HEARTBEAT_INTERVAL_MS:
        every_s = HEARTBEAT_INTERVAL_MS // 1_000
        hint = f"its heartbeats are {every_s} s apart unless it was told otherwise: raise silence-s"
    else:
        hint = "it is stopped, cut off or far too busy"
    who = (
        {"agent": effect.name, "agent_id": effect.agent_id}
        if effect.agent_id
        else {"framework": effect.name, "framework_id": effect.framework_id}
    )
    silent_s = effect.silent_ms / 1_000
    log.warning(
        "a peer was silent for too long, it is dropped", **who, silent_s=silent_s, hint=hint
    )


def _committed_before(_: Durable) -> None:
    """What is durable is on disk when effects are performed: nothing is left to be done."""
