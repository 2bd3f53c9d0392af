"""Every limit on what arrives: what is over it is refused, and the field named."""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import pytest

from mesoslite.attributes import ATTRIBUTES_MAX, Attribute
from mesoslite.files import FILE_CHUNK_BYTES_MAX
from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    Decline,
    Heartbeat,
    Refused,
    Register,
    Subscribe,
)
from mesoslite.model import (
    DAY_MS,
    REFUSE_MS_MAX,
    AgentInfo,
    FrameworkInfo,
    InvalidLaunch,
    Launch,
    Reason,
    Refusal,
    Source,
    Task,
    TaskStatus,
)
from mesoslite.resources import KEYS_MAX, Resources
from mesoslite.v1 import agent_pb2, common_pb2, scheduler_pb2
from mesoslite.wire import (
    PROTOCOL,
    REASONS,
    REFUSALS,
    SOURCES,
    TASK_STATES,
    MalformedMessage,
    Registration,
    agent_calls_from_wire,
    agent_events_from_wire,
    agent_info_from_wire,
    agent_info_to_wire,
    agent_requests,
    framework_info_from_wire,
    framework_info_to_wire,
    nouns,
    resources_from_wire,
    resources_to_wire,
    scheduler_calls_from_wire,
    scheduler_events_from_wire,
    scheduler_requests,
    scheduler_responses,
    status_from_wire,
    status_to_wire,
    task_from_wire,
    task_to_wire,
)
from mesoslite.wire import agent as agent_side
from mesoslite.wire import limits as limit
from mesoslite.wire import scheduler as scheduler_side
from mesoslite.wire.enums import Members

SMALL = Resources(cpus=0.1, mem=32)
FRAMEWORK = FrameworkInfo("sleepers", ("ads",))
AGENT = AgentInfo("a1", "host-1", Resources(cpus=4, mem=1024, ports="[31000-32000]"))


def task(task_id: str = "t1", **more: Any) -> Task:
    return Task(task_id, ["sleep", "5"], more.pop("resources", SMALL), **more)


def refused(read: Callable[[Any], object], message: object) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        read(message)
    return caught.value


# --- enums and unions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "known", "on_the_wire", "prefix"),
    [
        (TaskState, TASK_STATES, common_pb2.TaskState, "TASK_STATE_"),
        (Source, SOURCES, common_pb2.Source, "SOURCE_"),
        (Reason, REASONS, common_pb2.Reason, "REASON_"),
        (Refusal, REFUSALS, common_pb2.Refusal, "REFUSAL_"),
    ],
)
def test_enums_have_the_same_members_here_and_on_the_wire(
    members: type[Enum], known: Members[Any], on_the_wire: Any, prefix: str
) -> None:
    assert {prefix + member.name for member in members} | {prefix + "UNSPECIFIED"} == set(
        on_the_wire.keys()
    )
    assert on_the_wire.Value(prefix + "UNSPECIFIED") == 0
    assert all(known.member(known.number[member], "field") is member for member in members)


REGISTERING = ("register_begin", "register_part", "register_end")


@pytest.mark.parametrize(
    ("message", "union", "readers"),
    [
        (
            scheduler_pb2.SchedulerCall,
            "call",
            scheduler_side._CALLS | scheduler_side._CROWDS_OF_CALLS,
        ),
        (
            scheduler_pb2.SchedulerEvent,
            "event",
            scheduler_side._EVENTS | scheduler_side._CROWDS_OF_EVENTS,
        ),
        (
            agent_pb2.AgentCall,
            "call",
            {*agent_side._CALLS, *agent_side._CROWDS_OF_CALLS, *REGISTERING},
        ),
        (agent_pb2.AgentEvent, "event", agent_side._EVENTS | agent_side._CROWDS_OF_EVENTS),
    ],
)
def test_every_call_and_event_of_the_protocol_has_a_reader(
    message: Any, union: str, readers: Iterable[str]
) -> None:
    assert {field.name for field in message.DESCRIPTOR.oneofs_by_name[union].fields} == set(readers)


# --- tasks ----------------------------------------------------------------------------------------

BAD_TASKS: list[tuple[str, Task]] = [
    ("task_id", task("")),
    ("task_id", task("a b")),
    ("task_id", task("..")),
    ("task_id", task("x" * 129)),
    ("command", Task("t", [], SMALL)),
    ("command", Task("t", [""], SMALL)),
    ("command", Task("t", ["a"] * (limit.COMMAND_WORDS_MAX + 1), SMALL)),
    ("command", Task("t", ["é" * (limit.COMMAND_BYTES_MAX // 2), "x"], SMALL)),
    ("command", Task("t", ["a\0b"], SMALL)),
    ("name", task(name="x" * (limit.NAME_MAX + 1))),
    ("name", task(name="\x1b[31m")),
    ("name", task(name=" x")),
    (
        "environment",
        task(environment={str(n): "" for n in range(limit.ENVIRONMENT_ENTRIES_MAX + 1)}),
    ),
    ("environment", task(environment={"A": "x" * limit.ENVIRONMENT_BYTES_MAX})),
    ("environment", task(environment={"A": "\0"})),
    ("environment", task(environment={"A\0": ""})),
    ("environment", task(environment={"A=B": ""})),
    ("environment", task(environment={"": "x"})),
    ("user", task(user="")),
    ("user", task(user="-x")),
    ("user", task(user="a b")),
    ("user", task(user="x" * 65)),
    ("image", task(image="relative")),
    ("image", task(image="/" + "x" * limit.IMAGE_LENGTH_MAX)),
    ("image", task(image="/a\0b")),
    ("containerizer", task(containerizer="")),
    ("containerizer", task(containerizer="OCI")),
    ("containerizer", task(containerizer="x" * 33)),
    ("kill_grace_ms", task(kill_grace_ms=-1)),
    ("kill_grace_ms", task(kill_grace_ms=limit.KILL_GRACE_MS_MAX + 1)),
    ("max_completion_ms", task(max_completion_ms=0)),
    ("max_completion_ms", task(max_completion_ms=365 * DAY_MS + 1)),
    ("pids_limit", task(pids_limit=0)),
    ("pids_limit", task(pids_limit=2**22 + 1)),
    ("labels", task(labels={str(n): "" for n in range(limit.LABELS_MAX + 1)})),
    ("labels", task(labels={"a": "x" * limit.LABELS_BYTES_MAX})),
    ("labels", task(labels={"": "x"})),
]


@pytest.mark.parametrize(("field", "bad"), BAD_TASKS)
def test_a_task_over_a_limit_is_refused_and_the_field_named(field: str, bad: Task) -> None:
    error = refused(task_from_wire, task_to_wire(bad))
    assert error.field == field
    assert error.refusal in (Refusal.MALFORMED, Refusal.TOO_BIG)
    assert str(error).startswith(f"{field}: ")
    assert str(error).isprintable()
    assert len(str(error)) < 300


def test_fields_that_this_version_does_not_know_are_not_passed_on() -> None:
    newer = b"\xf2\x07\x03new"  # field 126, which nobody has: three bytes
    plain = nouns.task_to_wire(task())
    slot = common_pb2.Task.FromString(plain.SerializeToString() + newer)
    assert nouns.encoded_task(nouns.task_from_wire(slot)) == plain.SerializeToString()


def test_a_task_at_its_limits_is_taken() -> None:
    full = Task(
        "x" * 128,
        ["a", "é" * (limit.COMMAND_BYTES_MAX // 2 - 1)],
        SMALL,
        name="x" * limit.NAME_MAX,
        environment={"A": "x" * (limit.ENVIRONMENT_BYTES_MAX - 1)},
        image="/" + "x" * (limit.IMAGE_LENGTH_MAX - 1),
        kill_grace_ms=limit.KILL_GRACE_MS_MAX,
        max_completion_ms=limit.DURATION_MS_MAX,
        pids_limit=limit.PIDS_LIMIT_MAX,
        labels={"a": "x" * (limit.LABELS_BYTES_MAX - 1)},
    )
    assert task_from_wire(task_to_wire(full)) == full


def test_a_task_whose_parts_are_allowed_and_too_big_together_is_refused() -> None:
    slot = task_to_wire(task())
    for number in range(limit.URIS_MAX):
        slot.uris.add(value=f"/{number}/" + "é" * 3_000)
    error = refused(task_from_wire, slot)
    assert error.refusal is Refusal.TOO_BIG
    assert error.field == "task"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("value", {"value": ""}),
        ("value", {"value": "ftp://host/x"}),
        ("value", {"value": "x"}),
        ("value", {"value": "file://host"}),
        ("value", {"value": "http:///x"}),
        ("value", {"value": "/x\ny"}),
        ("value", {"value": "maven:a:b", "sha256": "0" * 64}),
        ("sha256", {"value": "maven:a:b:1"}),
        ("value", {"value": "/" + "x" * limit.URI_LENGTH_MAX}),
        ("output_file", {"value": "/x", "output_file": "/etc/passwd"}),
        ("output_file", {"value": "/x", "output_file": "a/../../b"}),
        ("output_file", {"value": "/x", "output_file": ""}),
        ("output_file", {"value": "/x", "output_file": "x" * 256}),
        ("sha256", {"value": "/x", "sha256": "0" * 63}),
        ("sha256", {"value": "/x", "sha256": "g" * 64}),
    ],
)
def test_a_uri_that_can_not_be_fetched_is_refused(field: str, values: dict[str, Any]) -> None:
    slot = task_to_wire(task())
    slot.uris.add(value="/good")
    slot.uris.add(**values)
    assert refused(task_from_wire, slot).field == f"uris[1].{field}"


def test_more_uris_than_the_limit_are_refused() -> None:
    slot = task_to_wire(task())
    for _ in range(limit.URIS_MAX + 1):
        slot.uris.add(value="/x")
    assert refused(task_from_wire, slot).refusal is Refusal.TOO_BIG


# --- resources and attributes ---------------------------------------------------------------------


def amount(key: str, **value: Any) -> common_pb2.Resource:
    return common_pb2.Resource(key=key, **value)


def spans(*pairs: tuple[int, int]) -> common_pb2.Ranges:
    return common_pb2.Ranges(ranges=[common_pb2.Range(low=low, high=high) for low, high in pairs])


@pytest.mark.parametrize(
    "amounts",
    [
        [amount("cpus", scalar_milli=-1)],
        [amount("cpus", scalar_milli=10**15 + 1)],
        [amount("cpus")],
        [amount("", scalar_milli=1)],
        [amount("cpus(", scalar_milli=1)],
        [amount("cpus(a b)", scalar_milli=1)],
        [amount("cpus", scalar_milli=1), amount("cpus", scalar_milli=1)],
        [amount("cpus", scalar_milli=1), amount("cpus(*)", scalar_milli=1)],
        [amount("gpus", scalar_milli=500)],
        [amount("ports", scalar_milli=1)],
        [amount("cpus", ranges=spans((1, 2)))],
        [amount("ports", ranges=spans((2, 1)))],
        [amount("ports", ranges=spans((-1, 1)))],
        [amount("ports", ranges=spans((1, 70_000)))],
        [amount("ports", ranges=spans((1, 5), (5, 9)))],
        [amount("ports", ranges=spans((1, 5))), amount("ports(ads)", ranges=spans((5, 9)))],
        [amount("ports", ranges=spans((1, 5))), amount("ports", ranges=spans((7, 9)))],
        [amount("zones", set=common_pb2.StringSet(items=["a", "a"]))],
        [amount("zones", set=common_pb2.StringSet(items=["a b"]))],
        [amount("x", scalar_milli=1), amount("x(ads)", ranges=spans((5, 9)))],
    ],
)
def test_resources_that_can_not_be_are_refused(amounts: list[common_pb2.Resource]) -> None:
    error = refused(resources_from_wire, amounts)
    assert error.field == "resources"
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "amounts",
    [
        [amount(f"x{n}", scalar_milli=1) for n in range(KEYS_MAX + 1)],
        [amount("x", ranges=spans(*((n * 2, n * 2) for n in range(10_001))))],
        [amount("x", set=common_pb2.StringSet(items=[str(n) for n in range(10_001)]))],
    ],
)
def test_resources_in_too_many_pieces_are_refused(amounts: list[common_pb2.Resource]) -> None:
    assert refused(resources_from_wire, amounts).refusal is Refusal.TOO_BIG


def test_resources_for_a_row_are_messages_of_their_own() -> None:
    rows = resources_to_wire(AGENT.resources)
    assert resources_from_wire(common_pb2.AgentInfo(resources=rows).resources) == AGENT.resources


@pytest.mark.parametrize(
    "bad",
    [
        common_pb2.Attribute(name="rack"),
        common_pb2.Attribute(name="", text="x"),
        common_pb2.Attribute(name="rack", text=""),
        common_pb2.Attribute(name="rack", text="a;b"),
        common_pb2.Attribute(name="rack", text="x" * 1_025),
        common_pb2.Attribute(name="rack", scalar_milli=2**62),
        common_pb2.Attribute(name="rack", ranges=spans((2, 1))),
    ],
)
def test_attributes_that_can_not_be_are_refused(bad: common_pb2.Attribute) -> None:
    slot = agent_info_to_wire(AGENT)
    slot.attributes.append(bad)
    assert refused(agent_info_from_wire, slot).field == "attributes"


# --- who is there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "info"),
    [
        ("name", FrameworkInfo("")),
        ("name", FrameworkInfo("x" * 256)),
        ("name", FrameworkInfo("a\nb")),
        ("roles", FrameworkInfo("f", ())),
        ("roles", FrameworkInfo("f", ("a b",))),
        ("roles", FrameworkInfo("f", ("a/../b",))),
        ("roles", FrameworkInfo("f", ("-a",))),
        ("roles", FrameworkInfo("f", ("a", "a"))),
        ("roles", FrameworkInfo("f", tuple(f"r{n}" for n in range(101)))),
        ("failover_timeout_ms", FrameworkInfo("f", failover_timeout_ms=-1)),
        ("failover_timeout_ms", FrameworkInfo("f", failover_timeout_ms=365 * DAY_MS + 1)),
        ("hostname", FrameworkInfo("f", hostname="x" * 256)),
    ],
)
def test_a_bad_framework_is_refused_as_such_when_it_subscribes(
    field: str, info: FrameworkInfo
) -> None:
    assert refused(framework_info_from_wire, framework_info_to_wire(info)).field == field
    [request] = scheduler_requests([Subscribe(info, "s1")])
    error = refused(scheduler_calls_from_wire, request)
    assert error.refusal is Refusal.INVALID_FRAMEWORK
    assert error.field == f"subscribe.framework.{field}"


@pytest.mark.parametrize(
    ("field", "info"),
    [
        ("agent_id", AgentInfo("", "h", SMALL)),
        ("agent_id", AgentInfo("a/b", "h", SMALL)),
        ("hostname", AgentInfo("a", "", SMALL)),
        ("hostname", AgentInfo("a", "x" * 256, SMALL)),
        ("containerizers", AgentInfo("a", "h", SMALL, containerizers=())),
        ("containerizers", AgentInfo("a", "h", SMALL, containerizers=("oci", "oci"))),
        ("containerizers", AgentInfo("a", "h", SMALL, containerizers=("a b",))),
        ("containerizers", AgentInfo("a", "h", SMALL, containerizers=("x",) * 17)),
        ("version", AgentInfo("a", "h", SMALL, version="x" * 65)),
        ("attributes", AgentInfo("a", "h", SMALL, (Attribute("r", "1"),) * (ATTRIBUTES_MAX + 1))),
    ],
)
def test_a_bad_agent_is_refused_as_such_when_it_registers(field: str, info: AgentInfo) -> None:
    [request] = agent_requests([Register(info, "boot", 0)])
    error = refused(lambda m: agent_calls_from_wire(m, Registration()), request)
    assert error.refusal is Refusal.INVALID_AGENT
    assert error.field == f"register_begin.agent.{field}"


def test_an_agent_whose_parts_are_allowed_and_too_big_together_is_refused() -> None:
    items = {f"{number:0255}" for number in range(2_500)}
    info = AgentInfo("a", "h", Resources(zones=items))
    error = refused(agent_info_from_wire, agent_info_to_wire(info))
    assert error.refusal is Refusal.TOO_BIG


@pytest.mark.parametrize("theirs", [0, PROTOCOL + 1, -1])
def test_another_version_of_the_protocol_is_refused_and_both_are_named(theirs: int) -> None:
    [request] = scheduler_requests([Subscribe(FRAMEWORK, "s1")])
    request.calls[0].subscribe.protocol = theirs
    error = refused(scheduler_calls_from_wire, request)
    assert error.refusal is Refusal.UNSUPPORTED_VERSION
    assert str(error) == (
        f"subscribe.protocol: this side speaks version {PROTOCOL} and the peer version {theirs}"
    )
    [hello] = agent_requests([Register(AGENT, "boot", 0)])
    hello.calls[0].register_begin.protocol = theirs
    error = refused(lambda m: agent_calls_from_wire(m, Registration()), hello)
    assert error.refusal is Refusal.UNSUPPORTED_VERSION


# --- statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_id", ""),
        ("framework_id", "a b"),
        ("agent_id", "a b"),
        ("update_id", "a b"),
        ("container_id", "a b"),
        ("state", 0),
        ("state", 99),
        ("state", -1),
        ("source", 0),
        ("source", 99),
        ("reason", 99),
        ("refusal", 99),
        ("message", "x" * (limit.TEXT_BYTES_MAX + 1)),
        ("timestamp_ms", -1),
        ("timestamp_ms", limit.TIMESTAMP_MS_MAX + 1),
        ("exit_code", -1),
        ("exit_code", 256),
        ("signal", 0),
        ("signal", 65),
        ("peak_mem_bytes", -1),
        ("cpu_ms", -1),
    ],
)
def test_a_status_that_can_not_be_is_refused_and_the_field_named(field: str, value: Any) -> None:
    slot = status_to_wire(TaskStatus("t1", TaskState.RUNNING, "f1"))
    setattr(slot, field, value)
    assert refused(status_from_wire, slot).field == field


def test_texts_for_people_are_cut_and_mended_by_who_sends_them() -> None:
    """A status that could not be sent would be sent again for ever."""
    long = TaskStatus("t1", TaskState.FAILED, message="é" * limit.TEXT_BYTES_MAX)
    assert status_from_wire(status_to_wire(long)).message == "é" * 2_046 + "..."
    surrogate = TaskStatus("t1", TaskState.FAILED, message="no file \udcff")
    assert status_from_wire(status_to_wire(surrogate)).message == "no file ?"


# --- calls ----------------------------------------------------------------------------------------


def test_launches_that_differ_by_their_ids_alone_are_said_once_and_each_is_judged() -> None:
    launches = tuple(Launch(task(name), "r1") for name in ("a", "no id", "c", "d"))
    [request] = scheduler_requests([Accept(1, "a1", ("o1",), launches, 0)])
    assert len(request.calls[0].accept.operations) == 1
    [accept] = scheduler_calls_from_wire(request)
    assert isinstance(accept, Accept)
    assert [isinstance(operation, Launch) for operation in accept.operations] == [1, 0, 1, 1]
    assert (accept.operations[0], *accept.operations[2:]) == (launches[0], *launches[2:])
    others = tuple(
        launch for n in range(3) for launch in (Launch(task(f"a{n}")), Launch(task(f"b{n}"), "r1"))
    )
    [request] = scheduler_requests([Accept(1, "a1", ("o1",), others, 0)])
    [accept] = scheduler_calls_from_wire(request)
    assert isinstance(accept, Accept)
    assert accept.operations == others


def test_launches_alike_share_what_is_bad_and_not_a_bad_id() -> None:
    launches = tuple(Launch(task(task_id, pids_limit=0)) for task_id in ("a", "no id", "b"))
    [request] = scheduler_requests([Accept(1, "a1", ("o1",), launches, 5_000)])
    [operation] = request.calls[0].accept.operations
    assert list(operation.launch.more_task_ids) == ["no id", "b"]
    [accept] = scheduler_calls_from_wire(request)
    assert isinstance(accept, Accept)
    bad = "task.pids_limit: must be 1 to 4,194,304, not 0"
    first, nameless, last = accept.operations
    assert (first, last) == (InvalidLaunch("a", bad), InvalidLaunch("b", bad))
    assert isinstance(nameless, InvalidLaunch)
    assert (nameless.task_id, nameless.message[:12]) == ("", "task.task_id")
    operation.launch.task.pids_limit = 1
    [accept] = scheduler_calls_from_wire(request)
    assert isinstance(accept, Accept)
    good = [Launch(task(task_id, pids_limit=1)) for task_id in ("a", "b")]
    assert list(accept.operations) == [good[0], nameless, good[1]]


def test_a_bad_launch_spoils_neither_its_accept_nor_its_stream() -> None:
    launches = (
        Launch(task("good")),
        Launch(task("bad", pids_limit=0)),
        Launch(task("no id")),
        Launch(task("twin", kill_grace_ms=7)),
    )
    [request] = scheduler_requests([Accept(1, "a1", ("o1",), launches, 5_000), Heartbeat()])
    request.calls[0].accept.operations.add()
    request.calls[0].accept.operations[3].launch.task.resources.add(key="cpus", scalar_milli=-1)
    accept, heartbeat = scheduler_calls_from_wire(request)
    assert heartbeat == Heartbeat()
    assert accept == Accept(
        1,
        "a1",
        ("o1",),
        (
            launches[0],
            InvalidLaunch("bad", "task.pids_limit: must be 1 to 4,194,304, not 0"),
            InvalidLaunch(
                "",
                "task.task_id: must be 1 to 128 of A-Z a-z 0-9 . _ - and neither . nor .., "
                "not 'no id'",
            ),
            InvalidLaunch("twin", "task.resources: 'cpus' is given twice"),
            InvalidLaunch("", "the operation is none that this master knows"),
        ),
        5_000,
    )


def test_an_invalid_launch_is_no_schedulers_to_say() -> None:
    accept = Accept(1, "a1", ("o1",), (InvalidLaunch("t1", "no"),), 0)
    with pytest.raises(MalformedMessage):
        list(scheduler_requests([accept]))


def test_refusing_for_longer_than_a_year_is_refusing_for_a_year() -> None:
    [request] = scheduler_requests([Decline(("o1",), REFUSE_MS_MAX + 1)])
    assert scheduler_calls_from_wire(request) == [Decline(("o1",), REFUSE_MS_MAX)]


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("decline.refuse_ms", {"decline": {"refuse_ms": -1}}),
        ("decline.offer_ids", {"decline": {"offer_ids": [""]}}),
        ("decline.offer_ids", {"decline": {"offer_ids": ["o"] * 10_001}}),
        ("accept.number", {"accept": {"number": -1}}),
        ("accept.offer_ids", {"accept": {"offer_ids": ["a b"]}}),
        ("accept.agent_id", {"accept": {"agent_id": "a b"}}),
        ("accept.refuse_ms", {"accept": {"refuse_ms": -1}}),
        ("accept.operations", {"accept": {"operations": [{}] * 10_001}}),
        ("kill.task_id", {"kill": {}}),
        ("kill.grace_ms", {"kill": {"task_id": "t", "grace_ms": 3_600_001}}),
        ("kill.grace_ms", {"kill": {"task_id": "t", "grace_ms": -1}}),
        (
            "acknowledgements.update_ids",
            {"acknowledgements": {"agent_ids": ["a"], "task_ids": ["t"]}},
        ),
        (
            "acknowledgements.update_ids",
            {"acknowledgements": {"agent_ids": ["a"], "task_ids": "ttt", "update_ids": "uu"}},
        ),
        ("reconcile.tasks.task_id", {"reconcile": {"tasks": [{}]}}),
        ("reconcile.tasks", {"reconcile": {"tasks": [{}] * 10_001}}),
        ("confirm_results.through", {"confirm_results": {"through": -1}}),
        ("revive.roles", {"revive": {"roles": [""]}}),
        ("suppress.roles", {"suppress": {"roles": ["a"] * 101}}),
        ("message.data", {"message": {"task_id": "t", "data": b"x" * (256 * 1024 + 1)}}),
        ("call", {}),
    ],
)
def test_a_call_that_can_not_be_is_refused_and_the_field_named(
    field: str, call: dict[str, Any]
) -> None:
    request = scheduler_pb2.SubscribeRequest(calls=[scheduler_pb2.SchedulerCall(**call)])
    assert refused(scheduler_calls_from_wire, request).field == field


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("run_tasks.framework_id", {"run_tasks": {}}),
        ("run_tasks.role", {"run_tasks": {"framework_id": "f"}}),
        ("run_tasks.task.task_id", {"run_tasks": {"framework_id": "f", "role": "*"}}),
        (
            "kill_task.grace_ms",
            {"kill_task": {"framework_id": "f", "task_id": "t", "grace_ms": -1}},
        ),
        ("read_file.name", {"read_file": {"name": "../secret"}}),
        (
            "read_file.length",
            {"read_file": {"name": "stdout", "framework_id": "f", "task_id": "t"}},
        ),
        (
            "read_file.length",
            {
                "read_file": {
                    "name": "stdout",
                    "framework_id": "f",
                    "task_id": "t",
                    "length": FILE_CHUNK_BYTES_MAX + 1,
                }
            },
        ),
        ("refused.refusal", {"refused": {}}),
        ("event", {}),
    ],
)
def test_an_event_that_can_not_be_is_refused_and_the_field_named(
    field: str, event: dict[str, Any]
) -> None:
    response = agent_pb2.ConnectResponse(epoch=1, events=[agent_pb2.AgentEvent(**event)])
    assert refused(agent_events_from_wire, response).field == field


def test_a_negative_epoch_is_refused() -> None:
    assert refused(agent_events_from_wire, agent_pb2.ConnectResponse(epoch=-1)).field == "epoch"
    response = scheduler_pb2.SubscribeResponse(epoch=-1)
    assert refused(scheduler_events_from_wire, response).field == "epoch"


def test_more_calls_in_a_message_than_the_limit_are_refused() -> None:
    heartbeat = scheduler_pb2.SchedulerCall(heartbeat=common_pb2.Heartbeat())
    request = scheduler_pb2.SubscribeRequest(calls=[heartbeat] * (limit.ITEMS_MAX + 1))
    assert refused(scheduler_calls_from_wire, request).refusal is Refusal.TOO_BIG


def test_each_result_of_an_answer_to_an_accept_is_a_word() -> None:
    """They stand on the wire as a count, so a few bytes could be any number of them."""
    many = scheduler_pb2.AcceptResult(number=1, results=limit.OPERATIONS_MAX)
    answers = [scheduler_pb2.SchedulerEvent(accept_result=many)] * 3
    assert len(answers) * limit.OPERATIONS_MAX > limit.ITEMS_MAX
    response = scheduler_pb2.SubscribeResponse(epoch=1, events=answers)
    assert refused(scheduler_events_from_wire, response).refusal is Refusal.TOO_BIG
    del response.events[-1]
    assert len(scheduler_events_from_wire(response)[1]) == 2


# --- what is said to people -----------------------------------------------------------------------


def test_what_is_wrong_is_said_in_one_short_line() -> None:
    error = MalformedMessage("accept.number", "x" * 10_000_000, "must be a number")
    assert str(error) == f"accept.number: must be a number, not '{'x' * 56}..."
    assert str(MalformedMessage("call", None, "is no call")) == "call: is no call"


def test_a_refusal_is_told_with_its_message() -> None:
    [response] = scheduler_responses(4, [Refused(Refusal.FENCED, "by s2")])
    assert scheduler_events_from_wire(response) == (4, [Refused(Refusal.FENCED, "by s2")])
