"""How what is said is packed into messages and split, and how a registration is put together."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mesoslite.attributes import Attribute
from mesoslite.files import FILE_CHUNK_BYTES_MAX, FileChunk
from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    Decline,
    FrameworkReference,
    Heartbeat,
    Offers,
    Reconcile,
    ReconcileTasks,
    Register,
    Rescind,
    Revive,
    SchedulerCall,
    TaskMessage,
    TaskOnAgent,
    Teardown,
    alike,
)
from mesoslite.model import (
    AgentInfo,
    FrameworkInfo,
    Launch,
    Offer,
    OperationResult,
    Refusal,
    Task,
    TaskReference,
)
from mesoslite.resources import Resources
from mesoslite.v1 import agent_pb2
from mesoslite.wire import (
    MESSAGE_BYTES_MAX,
    TASK_MESSAGE_BYTES_MAX,
    AgentSays,
    MalformedMessage,
    OfferEncoder,
    Registration,
    agent_calls_from_wire,
    agent_events_from_wire,
    agent_requests,
    agent_responses,
    scheduler_calls_from_wire,
    scheduler_events_from_wire,
    scheduler_requests,
    scheduler_responses,
)
from mesoslite.wire import limits as limit

SMALL = Resources(cpus=0.1, mem=32)
FRAMEWORK = FrameworkInfo("sleepers", ("ads",))
AGENT = AgentInfo("a1", "host-1", Resources(cpus=4, mem=1024, ports="[31000-32000]"))


def task(task_id: str = "t1", **more: Any) -> Task:
    return Task(task_id, ["sleep", "5"], more.pop("resources", SMALL), **more)


def refused(read: Callable[[Any], object], message: object) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        read(message)
    return caught.value


# --- packing --------------------------------------------------------------------------------------


def test_what_has_piled_up_goes_into_one_message() -> None:
    calls = [Acknowledge("a1", f"t{n}", "u1") for n in range(1_000)]
    [request] = scheduler_requests(calls)
    assert scheduler_calls_from_wire(request) == calls
    assert list(scheduler_requests([])) == []


def test_messages_are_split_at_the_limits_and_keep_their_order() -> None:
    acknowledgements = [Acknowledge("a1", f"t{n}", "u" * 100) for n in range(20_000)]
    requests = list(scheduler_requests(acknowledgements))
    assert len(requests) == 3
    assert all(request.ByteSize() <= MESSAGE_BYTES_MAX for request in requests)
    assert requests[0].ByteSize() > MESSAGE_BYTES_MAX * 0.9
    assert [c for r in requests for c in scheduler_calls_from_wire(r)] == acknowledgements
    beats = [Heartbeat()] * (limit.ITEMS_MAX + 1)
    assert [len(request.calls) for request in scheduler_requests(beats)] == [limit.ITEMS_MAX, 1]


def test_answers_to_accepts_are_split_by_their_results() -> None:
    answers = [AcceptResult(n, (OperationResult(),) * limit.OPERATIONS_MAX) for n in range(5)]
    responses = list(scheduler_responses(1, answers))
    assert [len(response.events) for response in responses] == [2, 2, 1]
    assert [e for r in responses for e in scheduler_events_from_wire(r)[1]] == answers


def big_offer(number: int, attributes: int) -> Offer:
    return Offer(
        f"1-{number}",
        "f1",
        f"a{number}",
        "host",
        "*",
        SMALL,
        tuple(Attribute("rack", "x" * 1_000) for _ in range(attributes)),
    )


@pytest.mark.parametrize(("count", "attributes"), [(2_500, 0), (40, 80)])
def test_offers_are_split_by_number_and_by_size(count: int, attributes: int) -> None:
    offers = tuple(big_offer(number, attributes) for number in range(count))
    responses = list(scheduler_responses(7, [Offers(offers)]))
    assert all(response.ByteSize() <= MESSAGE_BYTES_MAX for response in responses)
    heard = [event for r in responses for event in scheduler_events_from_wire(r)[1]]
    assert all(isinstance(event, Offers) for event in heard)
    assert tuple(o for e in heard if isinstance(e, Offers) for o in e.offers) == offers
    assert len(heard) > 1


def test_long_lists_are_split_and_mean_the_same() -> None:
    ids = tuple(f"{n:0100}" for n in range(25_000))
    requests = list(
        scheduler_requests([Decline(ids, 5), Reconcile(tuple(map(TaskReference, ids)))])
    )
    calls = [call for request in requests for call in scheduler_calls_from_wire(request)]
    declined = [call for call in calls if isinstance(call, Decline)]
    assert all(call.refuse_ms == 5 for call in declined)
    assert tuple(one for call in declined for one in call.offer_ids) == ids
    asked = [call for call in calls if isinstance(call, Reconcile)]
    assert tuple(one.task_id for call in asked for one in call.tasks) == ids
    assert all(call.tasks for call in asked)  # an empty one would ask for all
    responses = [*scheduler_responses(1, [Rescind(ids)])]
    rescinded = [event for r in responses for event in scheduler_events_from_wire(r)[1]]
    assert tuple(one for e in rescinded if isinstance(e, Rescind) for one in e.offer_ids) == ids
    pairs = tuple(("f1", one) for one in ids)
    told = [*agent_responses(1, [ReconcileTasks(pairs)])]
    heard = [event for r in told for event in agent_events_from_wire(r)[1]]
    assert tuple(p for e in heard if isinstance(e, ReconcileTasks) for p in e.tasks) == pairs


@pytest.mark.parametrize(
    "calls",
    [
        [Acknowledge("a1", f"t{n}", "1.1") for n in range(50_000)],
        [
            Accept(
                k, "a1", ("o",), tuple(Launch(Task(f"t{n}", ("x",), SMALL)) for n in range(k)), 0
            )
            for k in (9_000, 9_000, 9_000, 0, 5)
        ],
    ],
    ids=["acknowledgements", "launches"],
)
def test_a_message_holds_a_bounded_number_of_words(calls: list[SchedulerCall]) -> None:
    sent = list(scheduler_requests(calls))
    assert [call for request in sent for call in scheduler_calls_from_wire(request)] == calls
    assert len(sent) > 1
    for request in sent[1:]:
        sent[0].MergeFrom(request)
    with pytest.raises(MalformedMessage, match="at most 20,000 calls are taken") as caught:
        scheduler_calls_from_wire(sent[0])
    assert caught.value.refusal is Refusal.TOO_BIG


def test_an_empty_list_is_sent_and_not_split_away() -> None:
    calls: list[SchedulerCall] = [Reconcile(), Revive(), Decline((), 0), Teardown()]
    [request] = scheduler_requests(calls)
    assert scheduler_calls_from_wire(request) == calls


def test_what_does_not_fit_into_a_message_is_refused_before_it_is_sent() -> None:
    launches = tuple(Launch(task(f"t{n}", environment={"A": "x" * 100_000})) for n in range(11))
    calls: list[SchedulerCall] = [Heartbeat(), Accept(1, "a1", ("o1",), launches, 0)]
    with pytest.raises(MalformedMessage) as caught:
        list(scheduler_requests(calls))
    assert caught.value.refusal is Refusal.TOO_BIG
    assert "1,048,560 bytes" in str(caught.value)
    with pytest.raises(MalformedMessage) as caught:
        list(scheduler_requests([TaskMessage("f", "a", "t", b"x" * (TASK_MESSAGE_BYTES_MAX + 1))]))
    assert caught.value.refusal is Refusal.TOO_BIG
    with pytest.raises(MalformedMessage) as caught:
        list(agent_requests([FileChunk(1, b"x" * (FILE_CHUNK_BYTES_MAX + 1))]))
    assert caught.value.refusal is Refusal.TOO_BIG


@pytest.mark.parametrize(
    "bad",
    [
        task(environment={"A": "\udcff"}),
        task(kill_grace_ms=2**63),
        Task("t1", [1], SMALL),  # type: ignore[list-item]
    ],
)
def test_what_protobuf_does_not_take_is_refused_before_it_is_sent(bad: Task) -> None:
    with pytest.raises(MalformedMessage) as caught:
        list(scheduler_requests([Accept(1, "a1", ("o1",), (Launch(bad),), 0)]))
    assert str(caught.value).startswith("task 't1': can not be sent: ")


def test_an_accept_of_any_size_can_be_answered() -> None:
    no = OperationResult(Refusal.INVALID_TASK, "x" * 1_000)
    answer = AcceptResult(1, (no,) * limit.OPERATIONS_MAX)
    [response] = scheduler_responses(1, [answer])
    assert response.ByteSize() <= MESSAGE_BYTES_MAX
    _, [heard] = scheduler_events_from_wire(response)
    assert isinstance(heard, AcceptResult)
    assert [result.refusal for result in heard.results] == [no.refusal] * limit.OPERATIONS_MAX
    assert heard.results[0].message.endswith("x...")


# --- offers that are made again -------------------------------------------------------------------


def test_no_body_is_built_when_an_unchanged_agent_is_offered_again() -> None:
    encoder = OfferEncoder()
    for round_ in range(3):
        offers = tuple(big_offer(number, 1) for number in range(100))
        list(scheduler_responses(1, [Offers(offers)], encoder))
        assert encoder.built == 100, f"round {round_}"
    encoder.forget("a1")
    encoder.forget("nobody")
    assert len(encoder) == 99


def test_an_amount_that_comes_back_is_sent_as_it_is_and_not_as_the_one_in_between() -> None:
    encoder = OfferEncoder()
    large, small = Resources(cpus=4, mem=64), Resources(cpus=1, mem=64)
    for amount in (large, small, large, small):
        offer = dataclasses.replace(big_offer(1, 1), resources=amount)
        [response] = scheduler_responses(1, [Offers((offer,))], encoder)
        _, [said] = scheduler_events_from_wire(response)
        assert isinstance(said, Offers)
        assert [one.resources for one in said.offers] == [amount]


# --- registrations --------------------------------------------------------------------------------


def register(tasks: int, frameworks: int = 1, **more: Any) -> Register:
    return Register(
        AGENT,
        "boot",
        3,
        tuple(FrameworkReference(f"f{n}", "", FRAMEWORK) for n in range(frameworks)),
        alike(
            TaskOnAgent("f0", "ads", task(f"t{n}", **more), TaskState.RUNNING) for n in range(tasks)
        ),
    )


def taken(requests: Iterable[agent_pb2.ConnectRequest], into: Registration) -> list[AgentSays]:
    return [call for request in requests for call in agent_calls_from_wire(request, into)]


@pytest.mark.parametrize(
    ("whole", "messages"),
    [
        (register(0, 0), 1),
        (register(1), 1),
        (register(2_500, 1_500), 1),
        (register(60, environment={"A": "x" * 100_000}), 8),
    ],
)
def test_a_full_agent_registers_in_parts(whole: Register, messages: int) -> None:
    requests = list(agent_requests([whole]))
    assert len(requests) == messages
    assert all(request.ByteSize() <= MESSAGE_BYTES_MAX for request in requests)
    into = Registration()
    for _ in range(2):  # nothing is left over from the first
        [came] = taken(requests, into)
        assert isinstance(came, Register)
        tasks = [one for same in came.tasks for one in same.each()]
        assert dataclasses.replace(came, tasks=alike(tasks)) == whole


def test_tasks_that_differ_by_their_ids_alone_register_as_one() -> None:
    states = (TaskState.RUNNING, TaskState.FINISHED, TaskState.RUNNING)
    same = [TaskOnAgent("f0", "ads", task(f"t{n}"), state) for n, state in enumerate(states)]
    other = TaskOnAgent("f0", "ads", task("t3", name="other"), TaskState.RUNNING)
    whole = dataclasses.replace(register(0), tasks=alike((*same, other)))
    [request] = agent_requests([whole])
    [part] = [call.register_part for call in request.calls if call.register_part.tasks]
    assert [list(one.more_task_ids) for one in part.tasks] == [["t1", "t2"], []]
    assert taken([request], Registration()) == [whole]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.states.append(1), "states: has 3 values for 2 words"),
        (lambda m: m.more_task_ids.append("a/b"), "more_task_ids: must be 1 to 128"),
        (lambda m: m.more_task_ids.append("t0"), "tasks: f0/t0 is there twice"),
    ],
)
def test_a_crowd_of_tasks_is_taken_whole_or_not_at_all(
    change: Callable[[agent_pb2.TasksOnAgent], None], why: str
) -> None:
    tasks = alike(
        TaskOnAgent("f0", "ads", task(f"t{n}"), state)
        for n, state in enumerate((TaskState.RUNNING, TaskState.STAGING))
    )
    [request] = agent_requests([dataclasses.replace(register(0, 0), tasks=tasks)])
    crowd = request.calls[1].register_part.tasks[0]
    if "twice" in why:
        del crowd.states[1:]
    change(crowd)
    told = refused(lambda m: agent_calls_from_wire(m, Registration()), request)
    assert str(told).startswith(f"register_part.{why}")


def flat(whole: Register) -> list[agent_pb2.AgentCall]:
    [request] = agent_requests([whole])
    return list(request.calls)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ((1,), "register_part: came before its beginning"),
        ((2,), "register_part: came before its beginning"),
        ((3,), "register_end: came before its beginning"),
        ((0, 0), "register_begin: came twice"),
        ((0, 2, 3), "register_end: counts 1 frameworks, and 0 came"),
        ((0, 1, 3), "register_end: counts 2 tasks, and 0 came"),
        ((0, 1, 1), "register_part.frameworks: f0 is there twice"),
        ((0, 1, 2, 2), "register_part.tasks: f0/t0 is there twice"),
    ],
)
def test_a_registration_is_taken_whole_or_not_at_all(pieces: tuple[int, ...], why: str) -> None:
    calls = flat(register(2))
    request = agent_pb2.ConnectRequest(calls=[calls[at] for at in pieces])
    assert str(refused(lambda m: agent_calls_from_wire(m, Registration()), request)) == why


def test_other_calls_may_come_between_the_parts_of_a_registration() -> None:
    whole = register(2)
    chunk = FileChunk(1, b"x", 1)
    [other] = agent_requests([Heartbeat(), chunk])
    calls = flat(whole)
    request = agent_pb2.ConnectRequest(calls=[*calls[:2], *other.calls, *calls[2:]])
    assert agent_calls_from_wire(request, Registration()) == [Heartbeat(), chunk, whole]


@pytest.mark.parametrize(
    ("into", "whole", "field"),
    [
        (Registration(tasks_max=9), register(10), "register_part.tasks"),
        (Registration(frameworks_max=9), register(0, 10), "register_part.frameworks"),
        (Registration(bytes_max=1_000), register(100, environment={"A": "x"}), "register_part"),
        (Registration(tasks_max=9, bytes_max=1_000), register(10), "register_part.tasks"),
    ],
)
def test_a_registration_without_end_is_refused(
    into: Registration, whole: Register, field: str
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        taken(agent_requests([whole]), into)
    assert caught.value.refusal is Refusal.TOO_BIG
    assert caught.value.field == field


def test_the_epoch_is_in_each_message() -> None:
    messages = [*scheduler_responses(5, [Rescind(("x" * 100,) * 25_000)])]
    assert len(messages) > 1
    assert {message.epoch for message in messages} == {5}
