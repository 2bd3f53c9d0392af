"""Whatever is thrown at a daemon is refused with its reason, and the daemon goes on unharmed.

One cluster takes it all. After each test its daemons still run and serve, and so does the task that
ran before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.model import Refusal
from mesoslite.v1 import agent_pb2, common_pb2, executor_pb2, operator_pb2, scheduler_pb2
from tests.end_to_end.cluster import Agent, Cluster, Launcher, open_launcher, running_cluster
from tests.end_to_end.footprint import Footprint
from tests.end_to_end.recorder import Recorder, recording
from tests.end_to_end.recorder import task as real_task
from tests.end_to_end.rude import (
    GARBAGE,
    MESSAGE_BYTES_LIMIT,
    RudeAgent,
    RudeScheduler,
    Stream,
    channel,
    drain,
    metadata_of,
    refused,
    scalar,
    task,
    throw,
)
from tests.end_to_end.waiting import wait_until

BAD_CONNECTIONS = 200
WARM_UP = 20  # connections after which a daemon has all its threads and buffers
GROWN_BYTES_MAX = 16 << 20  # of resident memory, over BAD_CONNECTIONS: what one leaks, 200 show
OPERATOR = "/mesoslite.v1.OperatorService"
STREAMS = {
    "scheduler": RudeScheduler.METHOD,
    "agent": "/mesoslite.v1.AgentService/Connect",
}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Cluster, Agent, Recorder]]:
    """A cluster with a framework, whose one task leaves most of the agent to be offered."""
    with running_cluster("--offer-lease-s=600") as cluster:
        agent = cluster.start_agent("cpus:4;mem:4096")
        with recording(cluster, Recorder("good")) as good:
            good.add(real_task("innocent", "exec sleep 600"))
            wait_until(lambda: good.of("innocent"), "the task was launched")
            # From here on all that is free is offered to whoever comes.
            good.suppress()
            wait_until(lambda: running(cluster) and not cluster.status().offers, "at rest")
            yield cluster, agent, good


@pytest.fixture(autouse=True)
def unharmed(world: tuple[Cluster, Agent, Recorder]) -> Iterator[None]:
    """After each test the cluster is as it was before."""
    cluster, agent, good = world
    before = agent.containers()["innocent"]["pid"]
    yield
    wait_until(lambda: running(cluster), "only the innocent task runs, on an active agent")
    assert cluster.master.running
    assert agent.program.running
    assert good.ended is None
    assert agent.containers()["innocent"]["pid"] == before
    for program in (cluster.master, agent.program):
        assert "Traceback" not in program.said()


def running(cluster: Cluster) -> bool:
    status = cluster.status()
    return (dict(status.tasks_by_state), status.agents_active, status.frameworks_active) == (
        {"RUNNING": 1},
        1,
        1,
    )


# --- no sense at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_on_any_socket_is_hung_up_on(
    world: tuple[Cluster, Agent, Recorder], garbage: bytes
) -> None:
    cluster, agent, _ = world
    throw(("127.0.0.1", cluster.port), garbage)
    throw(("127.0.0.1", agent.port), garbage)
    throw(f"\0mesoslite-{agent.agent_id}", garbage)
    with open_launcher(agent.work_dir) as link:
        drain(link, garbage)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x07", b"\x08"])
def test_a_message_that_is_no_protobuf_is_malformed(
    world: tuple[Cluster, Agent, Recorder], garbage: bytes
) -> None:
    cluster, agent, _ = world
    streams: list[Stream] = [RudeScheduler(cluster), RudeAgent(cluster)]
    for stream in streams:
        with stream:
            stream.say(garbage)
            assert refused(stream) == ("MALFORMED", "this is no message of this service")
    for method in ("GetStatus", "ListTasks", "KillTask", "TeardownFramework"):
        code, details = unary(cluster, method, garbage)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details == f"this is no {method}Request"
    with executor_stream(agent) as executor:
        executor.say(garbage)
        assert executor.code() == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the first call must be attach",
        )


def test_a_message_over_the_limit_ends_its_call_alone(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, _ = world
    huge = bytes(MESSAGE_BYTES_LIMIT + 1)
    for stream in (RudeScheduler(cluster), RudeAgent(cluster), executor_stream(agent)):
        with stream:
            stream.say(huge)
            assert stream.code()[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert unary(cluster, "GetStatus", huge)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_of_too_many_parts_is_too_big(world: tuple[Cluster, Agent, Recorder]) -> None:
    cluster, _, _ = world
    heartbeat = scheduler_pb2.SchedulerCall(heartbeat=common_pb2.Heartbeat())
    many = scheduler_pb2.SubscribeRequest(calls=[heartbeat] * 20_001)
    with RudeScheduler(cluster).subscribed("many") as stream:
        stream.say(many.SerializeToString())
        refusal, message = refused(stream)
        assert (refusal, "20,000 calls" in message) == ("TOO_BIG", True)


# --- who are you? ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Basic bG9jYWw6eA=="),),
        (("authorization", ""),),
    ],
    ids=["none", "wrong", "another scheme", "empty"],
)
def test_without_the_token_nothing_is_answered(
    world: tuple[Cluster, Agent, Recorder], metadata: tuple[tuple[str, str], ...]
) -> None:
    cluster, _, _ = world
    no = (grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_TOKEN.value)
    for method in STREAMS.values():
        with Stream(cluster.address, method, metadata, scheduler_pb2.SubscribeResponse) as stream:
            assert stream.code() == no
    for method in ("GetStatus", "ListFrameworks", "TeardownFramework"):
        assert unary(cluster, method, b"", metadata) == no


def test_a_task_s_process_that_shows_no_secret_is_not_let_in(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    _, agent, _ = world
    container = next(iter(agent.sandbox("innocent").parents[0].iterdir())).name
    for container_id, secret in ((container, "guess"), (container, ""), ("no-such", ""), ("", "")):
        with executor_stream(agent) as stream:
            attach = executor_pb2.AttachTask(container_id=container_id, secret=secret)
            stream.say(executor_pb2.AttachRequest(attach=attach).SerializeToString())
            code, details = stream.code()
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert details == "no task here has this container id and secret"
    with executor_stream(agent) as stream:
        message = executor_pb2.ExecutorMessage(data=b"hello")
        stream.say(executor_pb2.AttachRequest(message=message).SerializeToString())
        assert stream.code()[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_an_unknown_method_is_answered_as_such(world: tuple[Cluster, Agent, Recorder]) -> None:
    cluster, agent, _ = world
    for address in (cluster.address, f"127.0.0.1:{agent.port}"):
        for method in ("/mesoslite.v1.OperatorService/Format", "/no.Such/Method"):
            assert unary_at(address, method, b"", metadata_of(cluster))[0] is (
                grpc.StatusCode.UNIMPLEMENTED
            )


# --- the first word -------------------------------------------------------------------------------


def test_the_first_call_must_be_the_right_one(world: tuple[Cluster, Agent, Recorder]) -> None:
    cluster, _, _ = world
    with RudeScheduler(cluster) as scheduler:
        scheduler.call(kill=scheduler_pb2.Kill(task_id="innocent"))
        assert refused(scheduler)[0] == "NOT_SUBSCRIBED"
    with RudeScheduler(cluster).subscribed("twice") as scheduler:
        scheduler.subscribe("twice")
        assert refused(scheduler)[0] == "NOT_SUBSCRIBED"
    with RudeAgent(cluster) as agent:
        agent.call(agent_pb2.AgentCall(heartbeat=common_pb2.Heartbeat()))
        assert refused(agent)[0] == "NOT_SUBSCRIBED"


def info(**changes: Any) -> common_pb2.FrameworkInfo:
    given: dict[str, Any] = {"name": "odd", "roles": ["*"], "failover_timeout_ms": 0}
    return common_pb2.FrameworkInfo(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "refusal", "where"),
    [
        ({"protocol": 99}, "UNSUPPORTED_VERSION", "version 99"),
        ({"framework": info(name="")}, "INVALID_FRAMEWORK", "name"),
        ({"framework": info(name="a\x1b[2Jb")}, "INVALID_FRAMEWORK", "name"),
        ({"framework": info(name="x" * 256)}, "INVALID_FRAMEWORK", "name"),
        ({"framework": info(roles=[])}, "INVALID_FRAMEWORK", "roles"),
        ({"framework": info(roles=["a", "a"])}, "INVALID_FRAMEWORK", "roles"),
        ({"framework": info(roles=["../up"])}, "INVALID_FRAMEWORK", "roles"),
        ({"framework": info(failover_timeout_ms=-1)}, "INVALID_FRAMEWORK", "failover_timeout"),
        ({"framework": info(failover_timeout_ms=2**63 - 1)}, "INVALID_FRAMEWORK", "failover"),
        ({"session_id": ""}, "MALFORMED", "session_id"),
        ({"framework_id": "no such"}, "MALFORMED", "framework_id"),
        ({"framework_id": "never-was"}, "FRAMEWORK_REMOVED", "never-was"),
        ({"resuming": True}, "FRAMEWORK_REMOVED", "odd"),
        ({"suppressed_roles": ["other"]}, "UNKNOWN_ROLE", "other"),
    ],
)
def test_a_subscribe_that_cannot_be_is_refused(
    world: tuple[Cluster, Agent, Recorder], changes: dict[str, Any], refusal: str, where: str
) -> None:
    cluster, _, _ = world
    with RudeScheduler(cluster) as stream:
        stream.subscribe("odd", **changes)
        said, message = refused(stream)
        assert (said, where in message) == (refusal, True), message


def test_nobody_takes_another_framework_by_its_id(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, _, good = world
    with RudeScheduler(cluster) as stream:
        stream.subscribe("thief", framework_id=good.subscriptions[0])
        assert refused(stream)[0] == "INVALID_FRAMEWORK"


def agent_info(*resources: common_pb2.Resource, **changes: Any) -> common_pb2.AgentInfo:
    given: dict[str, Any] = {
        "agent_id": "rude-agent",
        "hostname": "rude",
        "resources": resources or (scalar("cpus", 1_000),),
        "containerizers": ["process"],
    }
    return common_pb2.AgentInfo(**(given | changes))


@pytest.mark.parametrize(
    ("registration", "where"),
    [
        (agent_info(scalar("cpus", -1)), "resources"),
        (agent_info(scalar("cpus", 2**62)), "resources"),
        (agent_info(scalar("cpus", 1), scalar("cpus", 1)), "twice"),
        (agent_info(scalar("", 1)), "resources"),
        (agent_info(common_pb2.Resource(key="cpus")), "neither"),
        (agent_info(agent_id="../../etc"), "agent_id"),
        (agent_info(hostname=""), "hostname"),
        (agent_info(containerizers=[]), "containerizers"),
    ],
)
def test_an_agent_that_cannot_be_is_refused(
    world: tuple[Cluster, Agent, Recorder], registration: common_pb2.AgentInfo, where: str
) -> None:
    cluster, _, _ = world
    with RudeAgent(cluster) as stream:
        stream.register(registration)
        refusal, message = refused(stream)
        assert (refusal, where in message) == ("INVALID_AGENT", True), message


def test_a_registration_in_pieces_that_do_not_fit_is_refused(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, _, _ = world
    with RudeAgent(cluster) as stream:
        stream.register(agent_info(), tasks=1)
        assert refused(stream)[0] == "MALFORMED"
    with RudeAgent(cluster) as stream:
        stream.call(agent_pb2.AgentCall(register_end=agent_pb2.RegisterEnd()))
        assert refused(stream)[0] in {"MALFORMED", "NOT_SUBSCRIBED"}


def test_a_second_agent_of_one_id_is_refused_while_the_first_is_there(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, _ = world
    with RudeAgent(cluster) as stream:
        stream.register(agent_info(agent_id=agent.agent_id), boot_id="another-boot")
        assert refused(stream)[0] == "AGENT_ID_IN_USE"


def test_a_status_in_a_state_that_is_none_is_malformed(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, _, good = world
    nonsense = common_pb2.TaskStatuses(
        task_ids=["innocent"], framework_ids=[good.subscriptions[0]], update_ids=["u1"]
    )
    # State 99, as a newer peer or a broken one may send it: enums are open in proto3.
    odd = common_pb2.TaskStatuses.FromString(nonsense.SerializeToString() + b"\x12\x01\x63")
    assert list(map(int, odd.states)) == [99]
    with RudeAgent(cluster) as stream:
        stream.call(agent_pb2.AgentCall(statuses=agent_pb2.StatusReports(statuses=odd)))
        refusal, message = refused(stream)
        assert (refusal, "state" in message) == ("MALFORMED", True), message


# --- accepts --------------------------------------------------------------------------------------


def test_an_accept_of_what_is_not_there_or_not_ours_is_refused(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, _ = world
    with RudeScheduler(cluster).subscribed("rich") as rich:
        offer = rich.offer()
        with RudeScheduler(cluster).subscribed("thief") as thief:
            thief.accept(1, offer, task("stolen"))
            assert [r for r, _ in thief.results()] == ["NOT_YOUR_OFFER"]
            thief.accept(
                2, scheduler_pb2.Offer(offer_id="1-999999", agent=offer.agent), task("air")
            )
            assert [r for r, _ in thief.results()] == ["UNKNOWN_OFFER"]
            thief.call(accept=scheduler_pb2.Accept(number=3, agent_id=agent.agent_id))
            assert thief.results() == []
        twice = scheduler_pb2.Accept(
            number=1,
            agent_id=agent.agent_id,
            offer_ids=[offer.offer_id, offer.offer_id],
            operations=[scheduler_pb2.Operation(launch=scheduler_pb2.Launch(task=task("t")))],
        )
        rich.call(accept=twice)
        assert [r for r, _ in rich.results()] == ["DUPLICATE_OFFER"]
        rich.call(teardown=scheduler_pb2.Teardown())


def test_the_same_accept_twice_runs_one_task_and_gets_the_same_answer(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, _ = world
    with RudeScheduler(cluster).subscribed("stutter") as stream:
        offer = stream.offer()
        for _ in range(2):
            stream.accept(1, offer, task("once"))
            assert stream.results() == [("", "")]
        stream.accept(2, offer, task("again"))
        assert [r for r, _ in stream.results()] == ["UNKNOWN_OFFER"]
        update = stream.update()
        assert (update.task_id, update.agent_id) == ("once", agent.agent_id)
        assert agent.sandbox("once").is_dir()
        stream.call(teardown=scheduler_pb2.Teardown())
        wait_until(lambda: "once" not in agent.containers(), "its task has ended")


def nonsense_task(**fields: Any) -> common_pb2.Task:
    return task("odd", **fields)


@pytest.mark.parametrize(
    ("odd", "refusal", "where"),
    [
        (task("odd", scalar("cpus", 4_001)), "NO_AGENT_FITS", "cpus"),
        (task("odd", scalar("cpus", 100), scalar("gpus", 1_000)), "NO_AGENT_FITS", "gpus"),
        (task("odd", scalar("cpus", -100)), "INVALID_TASK", "resources"),
        (task("odd", scalar("cpus", 2**62)), "INVALID_TASK", "resources"),
        (task("odd", scalar("cpus", 100), scalar("cpus", 100)), "INVALID_TASK", "twice"),
        (task("odd", scalar("disk", 0)), "NO_RESOURCES", ""),
        (nonsense_task(command=[]), "INVALID_TASK", "command"),
        (nonsense_task(command=["a\0b"]), "INVALID_TASK", "NUL"),
        (nonsense_task(command=["x" * 200_000]), "INVALID_TASK", "command"),
        (nonsense_task(kill_grace_ms=-1), "INVALID_TASK", "kill_grace_ms"),
        (nonsense_task(max_completion_ms=0), "INVALID_TASK", "max_completion_ms"),
        (nonsense_task(pids_limit=-5), "INVALID_TASK", "pids_limit"),
        (nonsense_task(user="root; rm"), "INVALID_TASK", "user"),
        (nonsense_task(image="relative"), "INVALID_TASK", "image"),
        (nonsense_task(environment={"A=B": "c"}), "INVALID_TASK", "environment"),
        (nonsense_task(containerizer="no-such"), "CONTAINERIZER_UNAVAILABLE", "no-such"),
        (nonsense_task(uris=[common_pb2.Uri(value="gopher://x")]), "INVALID_TASK", "uris[0]"),
        (task("../../evil"), "INVALID_TASK", "task_id"),
    ],
)
def test_a_task_that_cannot_be_is_refused_and_the_others_of_its_accept_run(
    world: tuple[Cluster, Agent, Recorder], odd: common_pb2.Task, refusal: str, where: str
) -> None:
    cluster, _, _ = world
    with RudeScheduler(cluster).subscribed("odd") as stream:
        stream.accept(1, stream.offer(), odd, task("fine"), task("fine"))
        (first, why), second, (third, _) = stream.results()
        assert (first, second, third) == (refusal, ("", ""), "DUPLICATE_TASK")
        assert where in why
        assert stream.update().task_id == "fine"
        stream.call(teardown=scheduler_pb2.Teardown())


def test_an_accept_of_an_earlier_master_s_offer_is_stale(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, good = world
    with RudeScheduler(cluster).subscribed("slow") as stream:
        offer = stream.offer()
        cluster.kill_master()
        while stream.hear() is not None:
            pass
    cluster.start_master()
    agent.until_active()
    wait_until(lambda: len(good.subscriptions) == 2, "the other framework is back")
    with RudeScheduler(cluster).subscribed("slow") as stream:
        stream.accept(1, offer, task("late"))
        assert [r for r, _ in stream.results()] == ["STALE_OFFER"]
        stream.call(teardown=scheduler_pb2.Teardown())


# --- other calls ----------------------------------------------------------------------------------


def test_calls_about_what_is_unknown_are_answered_or_change_nothing(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, good = world
    acknowledgements = scheduler_pb2.Acknowledgements(
        agent_ids=[agent.agent_id], task_ids=["innocent"], update_ids=["made-up"]
    )
    message = common_pb2.TaskMessage(
        framework_id=good.subscriptions[0], agent_id=agent.agent_id, task_id="innocent", data=b"x"
    )
    with RudeScheduler(cluster).subscribed("nosy") as stream:
        stream.call(acknowledgements=acknowledgements)
        stream.call(decline=scheduler_pb2.Decline(offer_ids=["1-1", "9-9", "nonsense"]))
        stream.call(message=message)
        stream.call(confirm_results=scheduler_pb2.ConfirmResults(through=2**63 - 1))
        stream.call(kill=scheduler_pb2.Kill(task_id="innocent", agent_id=agent.agent_id))
        update = stream.update()
        assert update.task_id == "innocent"
        assert update.state is TaskState.GONE
        stream.call(kill=scheduler_pb2.Kill(task_id="no-such"))
        update = stream.update()
        assert update.state is TaskState.UNKNOWN
        stream.call(teardown=scheduler_pb2.Teardown())


@pytest.mark.parametrize(
    ("call", "where"),
    [
        ({}, "call"),
        ({"kill": scheduler_pb2.Kill(task_id="t", grace_ms=-1)}, "grace_ms"),
        ({"kill": scheduler_pb2.Kill(task_id="t", grace_ms=2**62)}, "grace_ms"),
        ({"decline": scheduler_pb2.Decline(refuse_ms=-1)}, "refuse_ms"),
        ({"accept": scheduler_pb2.Accept(number=-1)}, "number"),
        ({"revive": scheduler_pb2.Revive(roles=["a/../b"])}, "roles"),
        ({"message": common_pb2.TaskMessage(task_id="t", data=bytes(262_145))}, "data"),
    ],
)
def test_a_call_that_cannot_be_ends_its_stream_with_the_reason(
    world: tuple[Cluster, Agent, Recorder], call: dict[str, Any], where: str
) -> None:
    cluster, _, _ = world
    with RudeScheduler(cluster).subscribed("odd") as stream:
        stream.call(**call)
        refusal, message = refused(stream)
        assert refusal in {"MALFORMED", "TOO_BIG"}
        assert where in message


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("KillTask", operator_pb2.KillTaskRequest(task_id="no-such"), "NOT_FOUND"),
        ("KillTask", operator_pb2.KillTaskRequest(task_id="x", framework="no"), "NOT_FOUND"),
        ("KillTask", operator_pb2.KillTaskRequest(task_id="x", grace_ms=-1), "INVALID_ARGUMENT"),
        (
            "KillTask",
            operator_pb2.KillTaskRequest(task_id="innocent", grace_ms=2**62),
            "INVALID_ARGUMENT",
        ),
        ("TeardownFramework", operator_pb2.TeardownFrameworkRequest(framework="no"), "NOT_FOUND"),
        ("TeardownFramework", operator_pb2.TeardownFrameworkRequest(), "NOT_FOUND"),
        ("ListAgents", operator_pb2.ListAgentsRequest(id="x" * 10_000), "INVALID_ARGUMENT"),
        ("ListTasks", operator_pb2.ListTasksRequest(after="\x1b[2J"), "INVALID_ARGUMENT"),
    ],
)
def test_an_operator_s_request_that_cannot_be_is_refused(
    world: tuple[Cluster, Agent, Recorder], method: str, request_: Any, code: str
) -> None:
    cluster, _, _ = world
    found, details = unary(cluster, method, request_.SerializeToString())
    assert (found.name, bool(details)) == (code, True), details


# --- the launcher ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense\n", "malformed"),
        (b"[]\n", "malformed"),
        (b'{"seq": 1}\n', "malformed"),
        (b'{"seq": 1, "op": "list"}\n', "hello"),
        (b'{"seq": 1, "op": "hello", "version": 99}\n', "version"),
    ],
)
def test_a_line_that_is_no_request_is_answered_by_the_launcher(
    world: tuple[Cluster, Agent, Recorder], line: bytes, code: str
) -> None:
    _, agent, _ = world
    with open_launcher(agent.work_dir) as link:
        answer = json.loads(drain(link, line).splitlines()[0])
    assert (answer["ok"], answer["code"]) == (False, code)


def test_the_launcher_refuses_what_cannot_be(world: tuple[Cluster, Agent, Recorder]) -> None:
    _, agent, _ = world
    with Launcher(agent.work_dir) as launcher:
        for op, fields, code in (
            ("explode", {}, "unknown"),
            ("signal", {"id": "no-such", "signal": 9}, "no-container"),
            ("start", {"id": "x"}, "malformed"),
            ("start", {"id": "x", "argv": "sh", "env": 5}, "malformed"),
        ):
            answer, _ = launcher.ask(op, **fields)
            assert (answer["ok"], answer["code"]) == (False, code), op
        assert launcher.ask("list")[0]["count"] == 1


# --- over and over --------------------------------------------------------------------------------


def test_two_hundred_bad_connections_cost_the_daemons_nothing(
    world: tuple[Cluster, Agent, Recorder],
) -> None:
    cluster, agent, _ = world
    pids = {
        "master": cluster.master.pid,
        "agent": agent.program.pid,
        "launcher": agent.launcher_pid(),
    }
    for number in range(WARM_UP):
        be_bad(cluster, agent, number)
    before = {name: Footprint.settled(pid) for name, pid in pids.items()}
    for number in range(BAD_CONNECTIONS):
        be_bad(cluster, agent, number)
    for name, pid in pids.items():
        grown = before[name].until_back(pid)
        assert grown < GROWN_BYTES_MAX, f"{name} grew by {grown} bytes"


def be_bad(cluster: Cluster, agent: Agent, number: int) -> None:
    """One bad connection, of each kind in turn, to master, agent and launcher."""
    garbage = list(GARBAGE.values())[number % len(GARBAGE)]
    throw(("127.0.0.1", cluster.port), garbage)
    throw(("127.0.0.1", agent.port), garbage)
    with open_launcher(agent.work_dir) as link:
        drain(link, garbage)
    match number % 4:
        case 0:
            with RudeScheduler(cluster) as scheduler:
                scheduler.say(b"\xff" * 64)
                refused(scheduler)
        case 1:
            with RudeAgent(cluster) as stream:
                stream.register(agent_info(scalar("cpus", -1)))
                refused(stream)
        case 2:
            unary(cluster, "GetStatus", b"", ())
        case _:
            with RudeScheduler(cluster).subscribed("fleeting"):
                pass  # goes away without a word


def executor_stream(agent: Agent) -> Stream:
    return Stream(
        f"127.0.0.1:{agent.port}",
        "/mesoslite.v1.ExecutorService/Attach",
        (),
        executor_pb2.AttachResponse,
    )


def unary(
    cluster: Cluster,
    method: str,
    data: bytes,
    metadata: tuple[tuple[str, str], ...] | None = None,
) -> tuple[grpc.StatusCode, str]:
    """How a call of the operator service fails."""
    shown = metadata_of(cluster) if metadata is None else metadata
    return unary_at(cluster.address, f"{OPERATOR}/{method}", data, shown)


def unary_at(
    address: str, method: str, data: bytes, metadata: tuple[tuple[str, str], ...]
) -> tuple[grpc.StatusCode, str]:
    with channel(address) as opened:
        untyped: Any = opened
        call = untyped.unary_unary(method)
        try:
            call(data, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
    raise AssertionError(f"{method} was answered")
