"""An agent's two doors: its link to a real master, and where processes of tasks attach."""

import asyncio
import contextlib
import random
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesoslite import link
from mesoslite.clock import Clock
from mesoslite.credentials import TokenFileError
from mesoslite.link import OPEN_KEY, Backoff, Ends, Link
from mesoslite.loop import Inbox, drive
from mesoslite.masters import Ensemble, LeaderWatch, Locator, Masters
from mesoslite.messages import Heartbeat, Refused, Register, Registered
from mesoslite.model import AgentInfo, Refusal, Task
from mesoslite.resources import Resources
from mesoslite.serving import new_server, started
from mesoslite.v1 import agent_pb2, executor_pb2
from mesoslite.wire import (
    TASK_MESSAGE_BYTES_MAX,
    AgentSays,
    agent_events_from_wire,
    agent_requests,
)
from mesoslite_agent.executors import Executors, executor_address
from mesoslite_agent.protocol import (
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorSpoke,
    TaskRecord,
)
from tests.integration.door import CONNECT, RIGHT, serving
from tests.integration.waiting import DEADLINE_S, until

SECRET = "secret"
INFO = AgentInfo("a1", "host", Resources(cpus=1))


@dataclass
class Caller:
    """A link whose machine registers on each stream and writes down what it hears."""

    port: int
    token: str | TokenFileError = RIGHT
    watch: LeaderWatch | None = None
    heard: list[Any] = field(default_factory=list)
    says: list[AgentSays] = field(default_factory=list)

    def __post_init__(self) -> None:
        now_ms = Clock().now_ms
        self.inbox: Inbox[Any] = Inbox(now_ms)
        ends: Ends[AgentSays, Any] = Ends(
            method=CONNECT,
            pack=agent_requests,
            parse=lambda data: agent_events_from_wire(agent_pb2.ConnectResponse.FromString(data))[
                1
            ],
            opened=lambda: "opened",
            lost=lambda why: f"lost: {why}",
            still_there=Heartbeat,
            denied=Refused,
        )
        self.link = Link(
            Locator(Masters((f"127.0.0.1:{self.port}",)), self.watch),
            ends,
            self.inbox,
            token=self.shown,
            backoff=Backoff(first_s=0.01, share=0.1, max_s=0.05),
            rng=random.Random(1),
        )
        self.now_ms = now_ms

    def shown(self) -> str:
        if isinstance(self.token, TokenFileError):
            raise self.token
        return self.token

    def handle(self, event: Any) -> list[AgentSays]:
        if event is None:
            return []
        self.heard.append(event)
        return [Register(INFO, "boot", 0), *self.says] if event == "opened" else []

    def handle_all(self, events: Sequence[Any]) -> list[AgentSays]:
        return [effect for event in events for effect in self.handle(event)]

    def next_deadline_ms(self) -> None:
        return None


async def commit(_effects: Sequence[AgentSays]) -> None:
    """Nothing of a caller is durable."""


@contextlib.asynccontextmanager
async def calling(
    port: int, token: str | TokenFileError = RIGHT, watch: LeaderWatch | None = None
) -> AsyncIterator[Caller]:
    caller = Caller(port, token, watch)
    running = [
        asyncio.create_task(caller.link.run()),
        asyncio.create_task(
            drive(caller, caller.inbox, lambda _: None, commit, caller.link.say, caller.now_ms)
        ),
    ]
    yield caller
    caller.link.close()
    running[0].cancel()
    caller.inbox.close()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on now, and that the test may take."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def test_the_link_dials_until_there_is_a_master_and_again_when_it_comes_back(
    tmp_path: Path, free_port: int
) -> None:
    async with calling(free_port) as caller:
        for _ in range(2):
            async with serving(tmp_path, free_port):
                await until(lambda: any(isinstance(event, Registered) for event in caller.heard))
                assert [type(event) for event in caller.heard[:2]] == [str, Registered]
                caller.heard.clear()
            await until(lambda: any(str(event).startswith("lost") for event in caller.heard))
            caller.heard.clear()
    assert not caller.link.connected


async def test_a_stream_that_is_dropped_is_followed_by_another_and_each_is_told_in_order(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as door, calling(door.port) as caller:
        for _ in range(5):
            await until(lambda: any(isinstance(event, Registered) for event in caller.heard))
            assert [type(event) for event in caller.heard] == [str, Registered]
            caller.link.drop("to see")
            await until(lambda: "lost: to see" in caller.heard)
            del caller.heard[: caller.heard.index("lost: to see") + 1]


async def test_a_wrong_token_is_told_with_its_reason_and_a_new_one_is_taken(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as door, calling(door.port, "wrong") as caller:
        await until(lambda: caller.heard)
        assert caller.heard[0] == Refused(Refusal.BAD_TOKEN, Refusal.BAD_TOKEN.value)
        caller.token = RIGHT
        await until(lambda: any(isinstance(event, Registered) for event in caller.heard))


async def test_a_token_file_that_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    async with serving(tmp_path) as door, calling(door.port, TokenFileError("chmod")) as caller:
        await until(lambda: caller.heard)
        assert caller.heard[0] == Refused(Refusal.BAD_TOKEN, "chmod")


async def test_what_a_master_refuses_is_heard_before_the_stream_ends(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as door, calling(door.port) as caller:
        caller.says = [Register(INFO, "", 0)]
        await until(lambda: any(isinstance(event, Refused) for event in caller.heard))


class Busy:
    """A master that takes every connection, and opens no stream before its turn comes."""

    def __init__(self) -> None:
        self.dials = 0
        self.turn = asyncio.Event()
        service, method = CONNECT.lstrip("/").split("/")
        handlers = {method: grpc.stream_stream_rpc_method_handler(self._connect)}
        self.server = new_server([grpc.method_handlers_generic_handler(service, handlers)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _connect(self, _requests: object, context: Any) -> None:
        self.dials += 1
        await self.turn.wait()
        await context.send_initial_metadata(((OPEN_KEY, "open"),))
        await context.read()
        await asyncio.Event().wait()


class Told(LeaderWatch):
    """Knows who leads from the test."""

    def start(self) -> None:
        """Nobody has to be asked."""

    def leads(self, port: int) -> None:
        """The master there leads from now on."""
        self._tell(f"127.0.0.1:{port}", "")


async def test_who_is_connected_to_a_busy_master_waits_for_its_turn_and_does_not_dial_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand that gave up and came again would only be more work for it."""
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 0.05)
    looks: list[str] = []

    class Asked(Told):
        def start(self) -> None:
            looks.append("")

    watch, busy = Asked(Ensemble("nowhere:1", "/")), Busy()
    async with started(busy.server):
        watch.leads(busy.port)
        async with calling(busy.port, watch=watch) as caller:
            await until(lambda: len(looks) == 2)  # for an address, and when it was long enough
            busy.turn.set()
            await until(lambda: caller.heard)
            assert (busy.dials, caller.heard) == (1, ["opened"])


async def test_who_waits_for_a_busy_master_leaves_it_when_another_leads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 0.05)
    watch, busy = Told(Ensemble("nowhere:1", "/")), Busy()
    async with started(busy.server), serving(tmp_path) as door:
        watch.leads(busy.port)
        async with calling(busy.port, watch=watch) as caller:
            await until(lambda: busy.dials)
            watch.leads(door.port)
            await until(lambda: any(isinstance(event, Registered) for event in caller.heard))


async def test_what_listens_there_but_is_no_master_is_no_stream(tmp_path: Path) -> None:
    server = new_server([])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with calling(port) as caller:
        await until(lambda: caller.link._complaint)
        assert "not found" in caller.link._complaint.lower()
        assert caller.heard == []
    await server.stop(0)


# --- processes of tasks ---------------------------------------------------------------------------


@dataclass
class Host:
    """The executors of an agent, and how to come to them."""

    executors: Executors
    inbox: Inbox[Event]
    channel: grpc.aio.Channel
    heard: list[Event] = field(default_factory=list)

    async def attach(self, container_id: str = "1-1", secret: str = SECRET) -> Any:
        call = self.channel.stream_stream("/mesoslite.v1.ExecutorService/Attach", None, None)(None)
        attach = executor_pb2.AttachTask(container_id=container_id, secret=secret)
        await call.write(executor_pb2.AttachRequest(attach=attach).SerializeToString())
        return call

    async def attached(self) -> Any:
        call = await self.attach()
        answer = executor_pb2.AttachResponse.FromString(await call.read())
        assert (answer.attached.framework_id, answer.attached.task_id) == ("f1", "t1")
        return call

    async def hear(self, event: Event) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while event not in self.heard:
                self.heard += await self.inbox.take(100, None)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    inbox: Inbox[Event] = Inbox(Clock().now_ms)
    executors = Executors(inbox)
    executors.expect(TaskRecord("f1", "*", Task("t1", ["x"], Resources(cpus=1)), "1-1", SECRET))
    address = executor_address(uuid.uuid4().hex)
    server = new_server([executors.handler()])
    server.add_insecure_port(address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Host(executors, inbox, channel)
    await server.stop(0)


def message(data: bytes) -> bytes:
    sent = executor_pb2.ExecutorMessage(data=data)
    return executor_pb2.AttachRequest(message=sent).SerializeToString()


async def test_a_process_attaches_itself_and_bytes_go_both_ways(host: Host) -> None:
    call = await host.attached()
    await host.hear(ExecutorAttached("1-1"))
    await call.write(message(b"up"))
    await host.hear(ExecutorSpoke("1-1", b"up"))
    host.executors.say("1-1", b"down")
    answer = executor_pb2.AttachResponse.FromString(await call.read())
    assert answer.message.data == b"down"
    call.cancel()
    await host.hear(ExecutorDetached("1-1"))


@pytest.mark.parametrize(
    ("container_id", "secret"), [("1-1", "wrong"), ("1-1", ""), ("1-2", "secret"), ("", "")]
)
async def test_who_does_not_know_the_secret_is_refused(
    host: Host, container_id: str, secret: str
) -> None:
    call = await host.attach(container_id, secret)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(host.inbox) == 0


async def test_the_newest_process_of_a_task_has_the_messages(host: Host) -> None:
    old, new = await host.attached(), await host.attached()
    assert await old.code() is grpc.StatusCode.OK
    host.executors.say("1-1", b"down")
    answer = executor_pb2.AttachResponse.FromString(await new.read())
    assert answer.message.data == b"down"
    assert ExecutorDetached("1-1") not in await host.inbox.take(100, None)


async def test_when_the_container_is_no_more_its_process_is_cut_and_none_comes_again(
    host: Host,
) -> None:
    call = await host.attached()
    host.executors.forget("1-1")
    assert await call.code() is grpc.StatusCode.OK
    again = await host.attach()
    assert await again.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("garbage", [b"\xff\xff", message(bytes(TASK_MESSAGE_BYTES_MAX + 1)), b""])
async def test_garbage_from_a_process_ends_its_stream(host: Host, garbage: bytes) -> None:
    call = await host.attached()
    await call.write(garbage)
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    await host.hear(ExecutorDetached("1-1"))


async def test_the_first_word_of_a_process_must_be_attach(host: Host) -> None:
    call = host.channel.stream_stream("/mesoslite.v1.ExecutorService/Attach", None, None)(None)
    await call.write(message(b"hello"))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
