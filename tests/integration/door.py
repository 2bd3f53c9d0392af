"""A real master in this process, its door open, and peers that speak to it over real streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesoslite.clock import Clock
from mesoslite.credentials import Tokens, call_metadata
from mesoslite.database import WorkDir
from mesoslite.health import HEALTH_METHOD, health_handler
from mesoslite.lifecycle import TaskState
from mesoslite.loop import Health, Inbox, drive
from mesoslite.master.protocol import Event, Tick
from mesoslite.master.registry import SqliteRegistry
from mesoslite.master.server import Streams
from mesoslite.master.state import Master, MasterConfig
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Offers,
    Register,
    Registered,
    RunTask,
    StatusReport,
    Subscribe,
    Subscribed,
    Update,
)
from mesoslite.model import AgentInfo, FrameworkInfo, Launch, Task, TaskStatus
from mesoslite.resources import Resources
from mesoslite.serving import TokenCheck, listen_on, new_server
from mesoslite.v1 import agent_pb2, operator_pb2_grpc, scheduler_pb2
from mesoslite.wire import (
    agent_events_from_wire,
    agent_requests,
    scheduler_events_from_wire,
    scheduler_requests,
)
from tests.integration.waiting import DEADLINE_S

RIGHT = "right"
TOKENS = Tokens((("local", RIGHT), ("ada", "hers")))
SUBSCRIBE = "/mesoslite.v1.SchedulerService/Subscribe"
CONNECT = "/mesoslite.v1.AgentService/Connect"
TASK = Task("t1", ["true"], Resources(cpus=1, mem=32))


@dataclass
class Door:
    """A master that runs here, and how to speak to it."""

    channel: grpc.aio.Channel
    port: int
    health: Health
    master: Master

    def stream(self, method: str, token: str | None = RIGHT) -> Any:
        metadata = call_metadata(token) if token is not None else ()
        return self.channel.stream_stream(method, None, None)(None, metadata=metadata)

    def operator(self) -> Any:
        return operator_pb2_grpc.OperatorServiceStub(self.channel)


@dataclass
class Peer:
    """One end of a stream: says, and keeps what it heard."""

    call: Any
    agent: bool = False
    heard: list[Any] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)

    async def say(self, *items: Any) -> None:
        messages: Iterable[Any] = agent_requests(items) if self.agent else scheduler_requests(items)
        for message in messages:
            await self.call.write(message.SerializeToString())

    async def hear(self, kind: type[Any]) -> Any:
        """The next of this kind; whatever comes before it is kept in `heard`."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                while self.heard:
                    item = self.heard.pop(0)
                    if isinstance(item, kind):
                        return item
                data = await self.call.read()
                assert isinstance(data, bytes), f"the stream ended before {kind.__name__}"
                self.heard += self._parse(data)

    def _parse(self, data: bytes) -> Sequence[Any]:
        events: Sequence[Any]
        if self.agent:
            response = agent_pb2.ConnectResponse.FromString(data)
            epoch, events = agent_events_from_wire(response)
        else:
            answer = scheduler_pb2.SubscribeResponse.FromString(data)
            epoch, events = scheduler_events_from_wire(answer)
        self.epochs.add(epoch)
        return events

    async def ended(self) -> grpc.StatusCode:
        """Why it ended; what was heard up to then is kept."""
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while isinstance(data := await self.call.read(), bytes):
                    self.heard += self._parse(data)
            code: grpc.StatusCode = await self.call.code()
            return code


@contextlib.asynccontextmanager
async def serving(
    work_dir: Path, port: int = 0, *, may_speak: Callable[[], bool] | None = None
) -> AsyncIterator[Door]:
    place = WorkDir(work_dir, "master")
    registry = SqliteRegistry(place)
    now_ms = Clock().now_ms
    inbox: Inbox[Event] = Inbox(now_ms)
    health = Health()
    master = Master(registry.recovered, MasterConfig())
    streams = Streams(master.tables, inbox, TOKENS, now_ms(), may_speak)
    server = new_server(
        [*streams.handlers(), health_handler(lambda: health.ready)],
        TokenCheck(TOKENS, frozenset({HEALTH_METHOD})),
    )
    port = listen_on(server, "127.0.0.1", port)
    await server.start()
    driving = asyncio.create_task(
        drive(master, inbox, Tick, registry.commit, streams.perform, now_ms, health=health)
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Door(channel, port, health, master)
    streams.close()
    await server.stop(0)
    inbox.close()
    await driving
    master.check()
    registry.close()
    place.close()


async def scheduler(door: Door, name: str = "web", token: str = RIGHT) -> Peer:
    peer = Peer(door.stream(SUBSCRIBE, token))
    await peer.say(Subscribe(FrameworkInfo(name), f"session-{name}"))
    return peer


async def agent(door: Door, agent_id: str = "a1") -> Peer:
    peer = Peer(door.stream(CONNECT), agent=True)
    info = AgentInfo(agent_id, "host", Resources(cpus=4, mem=1024))
    await peer.say(Register(info, "boot", 0))
    await peer.hear(Registered)
    return peer


async def running(door: Door) -> tuple[Peer, Peer, str]:
    """A scheduler and an agent with one task that runs, and the framework's id."""
    on_agent, web = await agent(door), await scheduler(door)
    framework_id = (await web.hear(Subscribed)).framework_id
    [offer] = (await web.hear(Offers)).offers
    await web.say(Accept(1, "a1", (offer.offer_id,), (Launch(TASK),), 5_000))
    assert (await web.hear(AcceptResult)).results[0].done
    run = await on_agent.hear(RunTask)
    assert run.task == TASK
    status = TaskStatus("t1", TaskState.RUNNING, framework_id, "a1", "1.1", container_id="1-1")
    await on_agent.say(StatusReport(status, TaskState.RUNNING))
    assert (await web.hear(Update)).status == status
    return web, on_agent, framework_id


def ask(door: Door, method: str, request: Any) -> Any:
    return getattr(door.operator(), method)(request, metadata=call_metadata(RIGHT))


async def refusal_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""
