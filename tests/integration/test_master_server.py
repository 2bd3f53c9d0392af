"""A master's door: real streams to a real master in this process, and whatever strangers send."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesoslite.credentials import call_metadata
from mesoslite.files import FileChunk, FileRead
from mesoslite.health import is_serving
from mesoslite.lifecycle import TaskState
from mesoslite.link import OPEN_KEY
from mesoslite.messages import (
    Heartbeat,
    KillTask,
    Refused,
    StatusReport,
    Subscribe,
    Subscribed,
    Teardown,
)
from mesoslite.model import FrameworkInfo, Refusal, TaskStatus
from mesoslite.serving import STREAMS_PER_CONNECTION_MAX
from mesoslite.v1 import operator_pb2
from mesoslite.wire import (
    AgentHears,
    AgentSays,
)
from tests.integration.door import (
    CONNECT,
    RIGHT,
    SUBSCRIBE,
    Door,
    Peer,
    agent,
    ask,
    refusal_of,
    running,
    scheduler,
    serving,
)
from tests.integration.waiting import DEADLINE_S, until


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened
        # Whatever the test did: the master still serves.
        status = await opened.operator().GetStatus(
            operator_pb2.GetStatusRequest(), metadata=call_metadata(RIGHT)
        )
        assert status.epoch == 1


# --- what works -----------------------------------------------------------------------------------


async def test_a_task_goes_from_offer_to_running_and_each_message_has_the_epoch(door: Door) -> None:
    web, on_agent, _ = await running(door)
    assert web.epochs == on_agent.epochs == {1}


async def test_a_stream_that_ends_is_told_to_the_machine_once(door: Door) -> None:
    on_agent = await agent(door)
    on_agent.call.cancel()
    await until(lambda: door.master.tables.agents["a1"].stream is None)
    again = await agent(door)
    await again.say(Heartbeat())


async def test_all_who_come_at_once_wait_for_their_turn_and_none_is_turned_away(door: Door) -> None:
    """All agents come back to a new master together; of 1,000 that wait gRPC would cancel some."""
    calls = [door.stream(CONNECT) for _ in range(STREAMS_PER_CONNECTION_MAX)]
    opened = [OPEN_KEY in dict(await call.initial_metadata()) for call in calls]
    assert opened == [True] * STREAMS_PER_CONNECTION_MAX
    for call in calls:
        call.cancel()


async def test_people_see_what_there_is(door: Door) -> None:
    _, _, framework_id = await running(door)
    status = await ask(door, "GetStatus", operator_pb2.GetStatusRequest())
    assert (status.agents_active, status.frameworks_active) == (1, 1)
    assert dict(status.tasks_by_state) == {"RUNNING": 1}
    [row] = (await ask(door, "ListAgents", operator_pb2.ListAgentsRequest(id="a"))).agents
    assert (row.info.agent_id, row.state, row.boot_id, row.tasks) == ("a1", "active", "boot", 1)
    [row] = (await ask(door, "ListFrameworks", operator_pb2.ListFrameworksRequest())).frameworks
    assert (row.framework_id, row.info.name, row.principal) == (framework_id, "web", "local")
    [row] = (await ask(door, "ListTasks", operator_pb2.ListTasksRequest(framework="web"))).tasks
    assert (row.task.task_id, row.agent_hostname, len(row.statuses)) == ("t1", "host", 1)
    offers = (await ask(door, "ListOffers", operator_pb2.ListOffersRequest())).offers
    assert [offer.agent_id for offer in offers] in ([], ["a1"])


async def test_people_end_a_task_and_a_framework(door: Door) -> None:
    web, on_agent, framework_id = await running(door)
    request = operator_pb2.KillTaskRequest(task_id="t1", framework="web", grace_ms=7)
    killed = await ask(door, "KillTask", request)
    assert (killed.framework_id, killed.agent_id) == (framework_id, "a1")
    assert (await on_agent.hear(KillTask)).grace_ms == 7
    teardown = operator_pb2.TeardownFrameworkRequest(framework="web")
    gone = await ask(door, "TeardownFramework", teardown)
    assert (gone.framework_id, gone.tasks) == (framework_id, 1)
    assert (await web.hear(Refused)).refusal is Refusal.FRAMEWORK_REMOVED
    assert await web.ended() is grpc.StatusCode.OK


async def test_a_master_that_may_lead_no_more_gives_people_no_answer(tmp_path: Path) -> None:
    speaks = [True]
    async with serving(tmp_path, may_speak=lambda: speaks[0]) as door:
        await running(door)
        assert (await ask(door, "GetStatus", operator_pb2.GetStatusRequest())).agents_active == 1
        speaks[0] = False
        for method, request in (
            ("GetStatus", operator_pb2.GetStatusRequest()),
            ("KillTask", operator_pb2.KillTaskRequest(task_id="t1", framework="web")),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="another master may lead") as refused:
                await ask(door, method, request)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_needs_no_token_and_tells_the_truth(door: Door) -> None:
    assert await is_serving(door.channel)
    door.health.why_not = "the disk is full"
    assert not await is_serving(door.channel)
    door.health.why_not = ""


async def test_a_log_is_read_through_the_agents_stream_and_followed_to_its_end(door: Door) -> None:
    _, on_agent, framework_id = await running(door)
    written = bytearray(b"one\n")
    ended = TaskStatus("t1", TaskState.FINISHED, framework_id, "a1", "1.2")

    async def answer() -> None:
        while True:
            read = await on_agent.hear(FileRead)
            assert (read.task_id, read.name) == ("t1", "stdout")
            start = read.offset if read.offset >= 0 else max(0, len(written) + read.offset)
            data = bytes(written[start : start + read.length])
            await on_agent.say(FileChunk(read.request, data, len(written)))
            if start == 4 and len(written) == 4:
                written.extend(b"two\n")
                await on_agent.say(StatusReport(ended, TaskState.FINISHED))

    answering = asyncio.create_task(answer())
    call = ask(door, "ReadLog", operator_pb2.ReadLogRequest(task_id="t1", offset=-2, follow=True))
    async with asyncio.timeout(DEADLINE_S):
        pieces = [(piece.offset, piece.data) async for piece in call]
    assert pieces == [(2, b"e\n"), (4, b"two\n")]
    answering.cancel()


async def test_a_reader_whose_agent_leaves_is_told_so(door: Door) -> None:
    _, on_agent, _ = await running(door)
    call = ask(door, "ReadLog", operator_pb2.ReadLogRequest(task_id="t1"))
    await on_agent.hear(FileRead)
    on_agent.call.cancel()
    code, details = await refusal_of(call.read())
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "left" in details


async def test_a_reader_whose_agent_is_away_is_told_whose_and_not_that_no_master_is_there(
    door: Door,
) -> None:
    _, on_agent, _ = await running(door)
    on_agent.call.cancel()

    async def told() -> tuple[grpc.StatusCode, str]:
        request = operator_pb2.ReadLogRequest(task_id="t1")
        return await refusal_of(ask(door, "ReadLog", request).read())

    async with asyncio.timeout(DEADLINE_S):
        refused = await told()
        while "is not connected" not in refused[1]:
            refused = await told()
    assert refused[0] is grpc.StatusCode.FAILED_PRECONDITION


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", "wrong", "right "])
@pytest.mark.parametrize("method", [SUBSCRIBE, CONNECT])
async def test_a_stream_without_the_right_token_does_not_open(
    door: Door, method: str, token: str | None
) -> None:
    call = door.stream(method, token)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    assert await call.details() == Refusal.BAD_TOKEN.value


async def test_an_operator_without_the_right_token_is_refused(door: Door) -> None:
    call = door.operator().GetStatus(operator_pb2.GetStatusRequest())
    assert await refusal_of(call) == (grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_TOKEN.value)


async def test_each_principal_has_names_of_its_own(door: Door) -> None:
    ours, hers = await scheduler(door, "web"), await scheduler(door, "web", "hers")
    first, second = await ours.hear(Subscribed), await hers.hear(Subscribed)
    assert first.framework_id != second.framework_id


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"GET / HTTP/1.1\r\n", bytes(100)])
@pytest.mark.parametrize("agent", [False, True])
async def test_garbage_on_a_stream_is_answered_and_ends_it(
    door: Door, garbage: bytes, agent: bool
) -> None:
    peer = Peer(door.stream(CONNECT if agent else SUBSCRIBE), agent)
    await peer.call.write(garbage)
    assert (await peer.hear(Refused)).refusal is Refusal.MALFORMED
    assert await peer.ended() is grpc.StatusCode.OK


async def test_garbage_on_the_port_harms_nobody(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(range(256)) * 100)
    web = await scheduler(door)
    await web.hear(Subscribed)


async def test_a_message_over_the_limit_ends_the_stream(door: Door) -> None:
    peer = Peer(door.stream(SUBSCRIBE))
    await peer.call.write(bytes(5 * 1024 * 1024))
    assert await peer.ended() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_first_word_must_be_who_one_is(door: Door) -> None:
    peer = Peer(door.stream(SUBSCRIBE))
    await peer.say(Teardown())
    assert (await peer.hear(Refused)).refusal is Refusal.NOT_SUBSCRIBED
    await peer.ended()


async def test_a_newer_session_fences_the_older_one(door: Door) -> None:
    old = await scheduler(door)
    await old.hear(Subscribed)
    new = Peer(door.stream(SUBSCRIBE))
    await new.say(Subscribe(FrameworkInfo("web"), "another-session"))
    await new.hear(Subscribed)
    assert (await old.hear(Refused)).refusal is Refusal.FENCED
    assert await old.ended() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("KillTask", operator_pb2.KillTaskRequest(task_id="x"), grpc.StatusCode.NOT_FOUND),
        (
            "TeardownFramework",
            operator_pb2.TeardownFrameworkRequest(framework="x"),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            "KillTask",
            operator_pb2.KillTaskRequest(task_id="x", grace_ms=-1),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            "ListTasks",
            operator_pb2.ListTasksRequest(id="x" * 2_000),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_what_an_operator_asks_wrongly_is_refused_with_its_reason(
    door: Door, method: str, request_: Any, code: grpc.StatusCode
) -> None:
    got, details = await refusal_of(ask(door, method, request_))
    assert got is code
    assert details
    assert "\n" not in details


async def test_a_log_of_nothing_and_a_file_of_ones_own_choice_are_refused(door: Door) -> None:
    await running(door)
    for request, code in (
        (operator_pb2.ReadLogRequest(task_id="x"), grpc.StatusCode.NOT_FOUND),
        (
            operator_pb2.ReadLogRequest(task_id="t1", name="../../etc/passwd"),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ):
        got, _ = await refusal_of(ask(door, "ReadLog", request).read())
        assert got is code


async def test_garbage_to_the_operator_is_refused(door: Door) -> None:
    for method in ("GetStatus", "KillTask"):
        call = door.channel.unary_unary(f"/mesoslite.v1.OperatorService/{method}", None, None)
        got, _ = await refusal_of(call(b"\xff\xff", metadata=call_metadata(RIGHT)))
        assert got is grpc.StatusCode.INVALID_ARGUMENT


def test_the_unions_of_the_wire_are_the_ones_that_peers_speak() -> None:
    assert FileChunk in AgentSays.__args__
    assert FileRead in AgentHears.__args__
