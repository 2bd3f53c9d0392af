"""What is said arrives as it was said; and nothing that arrives does more than be refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Acknowledge,
    AcknowledgeStatus,
    AgentCall,
    AgentEvent,
    RunTask,
    SchedulerCall,
    SchedulerEvent,
    StatusReport,
    Update,
)
from mesoslite.model import ID_PATTERN, AgentInfo, FrameworkInfo, Offer, Task, TaskStatus, are_ids
from mesoslite.streams import weigh
from mesoslite.v1 import agent_pb2, common_pb2, scheduler_pb2
from mesoslite.wire import (
    AgentHears,
    AgentSays,
    MalformedMessage,
    OfferEncoder,
    Registration,
    agent_calls_from_wire,
    agent_events_from_wire,
    agent_info_from_wire,
    agent_info_to_wire,
    agent_requests,
    agent_responses,
    framework_info_from_wire,
    framework_info_to_wire,
    scheduler_calls_from_wire,
    scheduler_events_from_wire,
    scheduler_requests,
    scheduler_responses,
    status_from_wire,
    status_to_wire,
    task_from_wire,
    task_to_wire,
)
from mesoslite.wire.offers import offer_from_wire
from tests.properties.strategies import (
    agent_calls,
    agent_events,
    agent_infos,
    file_chunks,
    file_reads,
    framework_infos,
    ids,
    offers,
    registers,
    scheduler_calls,
    scheduler_events,
    statuses,
    tasks,
)

epochs = st.integers(0, 2**63 - 1)


def again(message: Any) -> Any:
    """As it comes out at the other end."""
    return type(message).FromString(message.SerializeToString())


@given(st.lists(scheduler_calls, max_size=4))
def test_what_a_scheduler_says_arrives(calls: list[SchedulerCall]) -> None:
    requests = [again(request) for request in scheduler_requests(calls)]
    assert [c for request in requests for c in scheduler_calls_from_wire(request)] == calls


@given(epochs, st.lists(scheduler_events, max_size=4))
def test_what_a_scheduler_hears_arrives(epoch: int, events: list[SchedulerEvent]) -> None:
    heard = [
        scheduler_events_from_wire(again(response))
        for response in scheduler_responses(epoch, events)
    ]
    assert [event for _, some in heard for event in some] == events
    assert all(theirs == epoch for theirs, _ in heard)


@given(st.lists(agent_calls | file_chunks, max_size=3))
def test_what_an_agent_says_arrives(calls: list[AgentSays]) -> None:
    registration = Registration()
    requests = [again(request) for request in agent_requests(calls)]
    assert [c for r in requests for c in agent_calls_from_wire(r, registration)] == calls


@given(epochs, st.lists(agent_events | file_reads, max_size=4))
def test_what_an_agent_hears_arrives(epoch: int, events: list[AgentHears]) -> None:
    heard = [agent_events_from_wire(again(message)) for message in agent_responses(epoch, events)]
    assert [event for _, some in heard for event in some] == events
    assert all(theirs == epoch for theirs, _ in heard)


@given(st.tuples(registers, agent_calls, agent_events, scheduler_calls, scheduler_events))
def test_whatever_is_said_has_a_weight_for_as_long_as_it_waits(words: tuple[object, ...]) -> None:
    assert all(weigh(word) > 0 for word in words)


@given(tasks, statuses, agent_infos, framework_infos)
def test_the_nouns_come_back_as_they_were(
    task: Task, status: TaskStatus, agent: AgentInfo, framework: FrameworkInfo
) -> None:
    assert task_from_wire(again(task_to_wire(task))) == task
    assert status_from_wire(again(status_to_wire(status))) == status
    assert agent_info_from_wire(again(agent_info_to_wire(agent))) == agent
    assert framework_info_from_wire(again(framework_info_to_wire(framework))) == framework


@given(st.lists(offers, max_size=4), st.data())
def test_offers_are_the_same_however_often_and_in_whatever_order_they_were_encoded(
    made: list[Offer], data: st.DataObject
) -> None:
    encoder = OfferEncoder(agents_max=2)
    for _ in range(6 if made else 0):
        offer = data.draw(st.sampled_from(made))
        target = scheduler_pb2.Offers()
        encoder.write(target.offers, offer)
        assert offer_from_wire(again(target.offers[0])) == offer
        assert len(encoder) <= 2


# --- what nobody should send ----------------------------------------------------------------------

READERS: list[tuple[type[Message], Callable[[Any], object]]] = [
    (scheduler_pb2.SubscribeRequest, scheduler_calls_from_wire),
    (scheduler_pb2.SubscribeResponse, scheduler_events_from_wire),
    (agent_pb2.ConnectRequest, lambda m: agent_calls_from_wire(m, Registration())),
    (agent_pb2.ConnectResponse, agent_events_from_wire),
    (common_pb2.Task, task_from_wire),
    (common_pb2.AgentInfo, agent_info_from_wire),
]
each_reader = pytest.mark.parametrize(
    ("message", "read"), READERS, ids=[message.__name__ for message, _ in READERS]
)


def refused_or_read(read: Callable[[Any], object], message: Message) -> None:
    """Anything but MalformedMessage fails the test; its text is one line of bounded length."""
    refused = ""
    try:
        read(message)
    except MalformedMessage as error:
        refused = str(error)
    assert refused.isprintable()
    assert len(refused) < 1_000


@each_reader
@given(data=st.data())
def test_random_bytes_do_no_harm(
    message: type[Message], read: Callable[[Any], object], data: st.DataObject
) -> None:
    try:
        parsed = message.FromString(data.draw(st.binary(max_size=64)))
    except DecodeError:
        return
    refused_or_read(read, parsed)


@given(
    reports=st.lists(st.builds(StatusReport, statuses, st.sampled_from(TaskState)), max_size=12),
    acknowledgements=st.lists(st.builds(Acknowledge, ids, ids, ids), max_size=12),
    done=st.lists(st.builds(AcknowledgeStatus, ids, ids, ids), max_size=12),
    alike=st.lists(st.builds(RunTask, ids, st.sampled_from(("*", "a")), tasks), max_size=3),
    names=st.lists(ids, max_size=4),
)
def test_crowds_of_one_kind_arrive_as_they_were_said(
    reports: list[StatusReport],
    acknowledgements: list[Acknowledge],
    done: list[AcknowledgeStatus],
    alike: list[RunTask],
    names: list[str],
) -> None:
    """They travel in columns, and tasks that differ by their ids alone as one with many ids."""
    said: list[AgentCall] = [*reports]
    assert [c for r in agent_requests(said) for c in agent_calls_from_wire(r, Registration())] == [
        *reports
    ]
    updates: list[SchedulerEvent] = [Update(report.status) for report in reports]
    heard = [scheduler_events_from_wire(r)[1] for r in scheduler_responses(1, updates)]
    assert [event for some in heard for event in some] == updates
    calls: list[SchedulerCall] = [*acknowledgements]
    assert [c for r in scheduler_requests(calls) for c in scheduler_calls_from_wire(r)] == calls
    runs = [replace(run, task=replace(run.task, task_id=name)) for run in alike for name in names]
    told: list[AgentEvent] = [*runs, *done, *runs]
    assert [e for r in agent_responses(1, told) for e in agent_events_from_wire(r)[1]] == told


@settings(max_examples=60)
@given(
    calls=st.lists(scheduler_calls, min_size=1, max_size=2),
    says=st.lists(agent_calls, min_size=1, max_size=2),
    hears=st.lists(scheduler_events, min_size=1, max_size=2),
    told=st.lists(agent_events, min_size=1, max_size=2),
    data=st.data(),
)
def test_valid_messages_with_a_few_bytes_changed_do_no_harm(
    calls: list[SchedulerCall],
    says: list[AgentCall],
    hears: list[SchedulerEvent],
    told: list[AgentEvent],
    data: st.DataObject,
) -> None:
    whole: list[Message] = [
        *scheduler_requests(calls),
        *scheduler_responses(1, hears),
        *agent_requests(says),
        *agent_responses(1, told),
    ]
    for message, (kind, read) in zip(whole, READERS, strict=False):
        encoded = bytearray(message.SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
        try:
            parsed = kind.FromString(bytes(encoded))
        except DecodeError:
            continue
        refused_or_read(read, parsed)


@each_reader
@given(data=st.data())
def test_any_values_in_the_right_places_do_no_harm(
    message: type[Message], read: Callable[[Any], object], data: st.DataObject
) -> None:
    parsed = message()
    fill(parsed, data, depth=8)
    refused_or_read(read, parsed)


HOSTILE_TEXTS = st.sampled_from(
    ("", "a", "*", "..", "a b", "\0", "=", "cpus", "ports", "cpus(a", "é" * 200, "/x", "\x1b[31m")
)
HOSTILE_INTS = st.sampled_from((0, 1, 2, 255, 1_000, 2**31 - 1, -1, -(2**31)))


def fill(message: Message, data: st.DataObject, depth: int) -> None:
    """Set some fields of a message to anything that its types allow."""
    fields: Any = message.DESCRIPTOR.fields
    for field in fields:
        if not data.draw(st.booleans()):
            continue
        times = data.draw(st.integers(0, 2)) if field.is_repeated else 1
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[data.draw(HOSTILE_TEXTS)] = data.draw(HOSTILE_TEXTS)
        elif field.message_type is not None:
            for _ in range(times if depth else 0):
                place = getattr(message, field.name)
                inner = place.add() if field.is_repeated else place
                inner.SetInParent()
                fill(inner, data, depth - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(data.draw(value_of(field)) for _ in range(times))
        else:
            setattr(message, field.name, data.draw(value_of(field)))


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field that is no message."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=4)
    if field.type == FieldDescriptor.TYPE_UINT64:
        return HOSTILE_INTS.map(abs)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return HOSTILE_TEXTS if field.type == FieldDescriptor.TYPE_STRING else HOSTILE_INTS


@given(st.lists(st.text("aZ0.-_\n é²", max_size=3) | st.text("a", min_size=127, max_size=129)))
def test_ids_that_are_judged_together_are_judged_as_each_is_alone(values: list[str]) -> None:
    assert are_ids(values) == all(ID_PATTERN.match(value) for value in values)
