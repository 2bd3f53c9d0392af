"""What a scheduler says and hears, as protobuf, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    AcknowledgeOperation,
    AgentLost,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    ListStore,
    Offers,
    OperationUpdate,
    ReadStore,
    Reconcile,
    ReconcileOperations,
    Refused,
    RequestResources,
    RequestUnsatisfiable,
    Rescind,
    Revive,
    SchedulerCall,
    SchedulerEvent,
    StoreAnswer,
    Subscribe,
    Subscribed,
    Suppress,
    TaskMessage,
    Teardown,
    Update,
    WithdrawRequests,
    WriteStore,
)
from mesoslite.model import (
    REFUSE_MS_MAX,
    OperationResult,
    Refusal,
)
from mesoslite.v1 import common_pb2
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import columns
from mesoslite.wire import limits as limit
from mesoslite.wire.both_sides import (
    check_protocol,
    crowd_or_one,
    heartbeat_from_wire,
    message_from_wire,
    refused_from_wire,
    write_heartbeat,
    write_message,
    write_refused,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.columns import together
from mesoslite.wire.enums import REFUSALS
from mesoslite.wire.launches import operations_from_wire, write_operations
from mesoslite.wire.nouns import (
    framework_info_from_wire,
    references_from_wire,
    write_framework_info,
)
from mesoslite.wire.offers import OfferEncoder, offer_from_wire
from mesoslite.wire.packing import packed
from mesoslite.wire.requests import (
    request_from_wire,
    unsatisfiable_from_wire,
    withdrawal_from_wire,
    write_request,
    write_unsatisfiable,
)
from mesoslite.wire.reservations import (
    acknowledgement_from_wire,
    reconcile_from_wire,
    update_from_wire,
    write_acknowledgement,
    write_operation_status,
    write_reconcile,
)
from mesoslite.wire.statuses import statuses_from_wire, write_statuses
from mesoslite.wire.store import (
    answer_from_wire,
    list_from_wire,
    read_from_wire,
    write_answer,
    write_from_wire,
    write_writes,
    writes_from_wire,
)


@dataclass(frozen=True, slots=True)
class _Acknowledgements:
    words: tuple[Acknowledge, ...]


@dataclass(frozen=True, slots=True)
class _Updates:
    words: tuple[Update, ...]


_LISTS: dict[type, str] = {
    Decline: "offer_ids",
    Reconcile: "tasks",
    ReconcileOperations: "operations",
    RequestResources: "requests",
    WithdrawRequests: "request_ids",
    Offers: "offers",
    Rescind: "offer_ids",
    _Acknowledgements: "words",
    _Updates: "words",
}
_DONE = OperationResult()
#: Of an answer to an accept, for all but the messages of its results.
_RESULTS_RESERVE_BYTES = 4_096
_RESULT_RESERVE_BYTES = 16

# --- a scheduler says -----------------------------------------------------------------------------


def scheduler_requests(calls: Iterable[SchedulerCall]) -> Iterator[pb.SubscribeRequest]:
    """The calls in order, in as few messages as possible, each of at most 1 MiB.

    Raises MalformedMessage for a call that can not be sent: an accept over 1 MiB (TOO_BIG), a
    value that protobuf does not take.
    """
    crowds = together(calls, {Acknowledge: _Acknowledgements})
    return packed(
        crowds, pb.SubscribeRequest, lambda m: m.calls, _write_call, _LISTS, {Accept: "operations"}
    )


def scheduler_calls_from_wire(request: pb.SubscribeRequest) -> list[SchedulerCall]:
    """Everything in it, checked. Raises MalformedMessage, except for a bad launch: that becomes
    an InvalidLaunch, and the master answers it.
    """
    check.bounded(request.calls, "calls", limit.ITEMS_MAX, "calls")
    calls: list[SchedulerCall] = []
    more = 0
    for slot in request.calls:
        calls += crowd_or_one(slot, "call", _CROWDS_OF_CALLS, _CALLS)
        if calls and isinstance(last := calls[-1], Accept):
            more += _words_behind_the_first(last.operations)
        _check_words(len(calls) + more, "calls")
    return calls


def _words_behind_the_first(of_one: Sequence[object]) -> int:
    """What an accept or its answer counts for, besides the one that it is itself."""
    return max(len(of_one), 1) - 1


def _check_words(words: int, field: str) -> None:
    if words > limit.ITEMS_MAX:
        raise check.too_big(field, words, limit.ITEMS_MAX, field)


def _write_call(slot: pb.SchedulerCall, call: SchedulerCall | _Acknowledgements) -> None:
    match call:
        case _Acknowledgements(words):
            acknowledge = slot.acknowledgements
            acknowledge.task_ids.extend([word.task_id for word in words])
            acknowledge.update_ids.extend([word.update_id for word in words])
            columns.write(acknowledge.agent_ids, [word.agent_id for word in words])
        case Accept():
            _write_accept(slot.accept, call)
        case Decline():
            slot.decline.offer_ids.extend(call.offer_ids)
            slot.decline.refuse_ms = call.refuse_ms
        case ConfirmResults():
            slot.confirm_results.through = call.through
        case Heartbeat():
            write_heartbeat(slot.heartbeat, call)
        case Kill():
            slot.kill.task_id = call.task_id
            slot.kill.agent_id = call.agent_id
            if call.grace_ms is not None:
                slot.kill.grace_ms = call.grace_ms
        case Revive():
            slot.revive.SetInParent()
            slot.revive.roles.extend(call.roles)
        case Suppress():
            slot.suppress.SetInParent()
            slot.suppress.roles.extend(call.roles)
        case RequestResources():
            slot.request_resources.SetInParent()
            slot.request_resources.number = call.number
            for request in call.requests:
                write_request(slot.request_resources.requests.add(), request)
        case WithdrawRequests():
            slot.withdraw_requests.SetInParent()
            slot.withdraw_requests.request_ids.extend(call.request_ids)
            slot.withdraw_requests.roles.extend(call.roles)
        case Reconcile():
            slot.reconcile.SetInParent()
            for task in call.tasks:
                slot.reconcile.tasks.add(task_id=task.task_id, agent_id=task.agent_id)
        case TaskMessage():
            write_message(slot.message, call)
        case ReadStore() | ListStore() | WriteStore():
            _write_store_call(slot, call)
        case Subscribe():
            _write_subscribe(slot.subscribe, call)
        case AcknowledgeOperation():
            write_acknowledgement(slot.acknowledge_operation, call)
        case ReconcileOperations():
            write_reconcile(slot.reconcile_operations, call)
        case Teardown(release):
            slot.teardown.SetInParent()
            slot.teardown.release = release
        case Acknowledge():
            raise AssertionError("an Acknowledge is written with its neighbours")
        case _:
            assert_never(call)


def _write_store_call(slot: pb.SchedulerCall, call: ReadStore | ListStore | WriteStore) -> None:
    match call:
        case ReadStore(number, key):
            slot.read_store.number = number
            slot.read_store.key = key
        case ListStore(number, prefix):
            slot.list_store.number = number
            slot.list_store.prefix = prefix
        case WriteStore(number, writes):
            slot.write_store.number = number
            write_writes(slot.write_store.writes, writes)


def _write_subscribe(slot: pb.Subscribe, call: Subscribe) -> None:
    slot.protocol = limit.PROTOCOL
    write_framework_info(slot.framework, call.framework)
    slot.session_id = call.session_id
    slot.framework_id = call.framework_id
    slot.resuming = call.resuming
    slot.suppressed_roles.extend(call.suppressed_roles)
    slot.demand_roles.extend(call.demand_roles)


def _write_accept(slot: pb.Accept, call: Accept) -> None:
    check.bounded(call.operations, "operations", limit.OPERATIONS_MAX, "operations")
    slot.number = call.number
    slot.agent_id = call.agent_id
    slot.offer_ids.extend(call.offer_ids)
    slot.refuse_ms = call.refuse_ms
    if call.writes:
        write_writes(slot.writes, call.writes)
    write_operations(slot.operations, call.operations)


def _subscribe_from_wire(slot: pb.Subscribe) -> Subscribe:
    check_protocol(slot.protocol)
    try:
        framework = framework_info_from_wire(slot.framework)
    except MalformedMessage as why:
        raise why.inside("framework", Refusal.INVALID_FRAMEWORK) from None
    return Subscribe(
        framework,
        check.identifier(slot.session_id, "session_id"),
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        slot.resuming,
        check.roles(slot.suppressed_roles, "suppressed_roles"),
        check.roles(slot.demand_roles, "demand_roles"),
    )


def _accept_from_wire(slot: pb.Accept) -> Accept:
    check.bounded(slot.operations, "operations", limit.OPERATIONS_MAX, "operations")
    return Accept(
        check.number(slot.number, "number"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.identifiers(slot.offer_ids, "offer_ids", limit.LIST_MAX),
        operations_from_wire(slot.operations),
        _refuse_ms(slot.refuse_ms),
        writes_from_wire(slot.writes) if slot.writes else (),
    )


def _refuse_ms(value: int) -> int:
    """Longer ones are cut to a year, as Mesos does, rather than refused."""
    return min(check.number(value, "refuse_ms"), REFUSE_MS_MAX)


def _requests_from_wire(slot: pb.RequestResources) -> RequestResources:
    check.bounded(slot.requests, "requests", limit.LIST_MAX, "requests")
    requests = tuple([request_from_wire(request) for request in slot.requests])
    return RequestResources(requests, check.number(slot.number, "number"))


def _kill_from_wire(slot: pb.Kill) -> Kill:
    return Kill(
        check.identifier(slot.task_id, "task_id"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.duration(slot.grace_ms, "grace_ms", limit.KILL_GRACE_MS_MAX)
        if slot.HasField("grace_ms")
        else None,
    )


def _acknowledgements_from_wire(slot: pb.Acknowledgements) -> Iterable[Acknowledge]:
    check.bounded(slot.task_ids, "task_ids", limit.LIST_MAX, "acknowledgements")
    size = len(slot.task_ids)
    return map(
        Acknowledge,
        columns.identifiers(slot.agent_ids, size, "agent_ids"),
        columns.identifiers(slot.task_ids, size, "task_ids"),
        columns.identifiers(slot.update_ids, size, "update_ids"),
    )


_CROWDS_OF_CALLS: dict[str, Callable[[Any], Iterable[SchedulerCall]]] = {
    "acknowledgements": _acknowledgements_from_wire,
}
_CALLS: dict[str, Callable[[Any], SchedulerCall]] = {
    "subscribe": _subscribe_from_wire,
    "accept": _accept_from_wire,
    "decline": lambda slot: Decline(
        check.identifiers(slot.offer_ids, "offer_ids", limit.LIST_MAX), _refuse_ms(slot.refuse_ms)
    ),
    "revive": lambda slot: Revive(check.roles(slot.roles, "roles")),
    "suppress": lambda slot: Suppress(check.roles(slot.roles, "roles")),
    "request_resources": _requests_from_wire,
    "withdraw_requests": withdrawal_from_wire,
    "kill": _kill_from_wire,
    "reconcile": lambda slot: Reconcile(references_from_wire(slot.tasks)),
    "confirm_results": lambda slot: ConfirmResults(check.number(slot.through, "through")),
    "message": message_from_wire,
    "read_store": read_from_wire,
    "list_store": list_from_wire,
    "write_store": write_from_wire,
    "acknowledge_operation": acknowledgement_from_wire,
    "reconcile_operations": reconcile_from_wire,
    "teardown": lambda slot: Teardown(slot.release),
    "heartbeat": heartbeat_from_wire,
}

# --- a scheduler hears ----------------------------------------------------------------------------


def scheduler_responses(
    epoch: int, events: Iterable[SchedulerEvent], offers: OfferEncoder | None = None
) -> Iterator[pb.SubscribeResponse]:
    """The events in order, in as few messages as possible, each of at most 1 MiB.

    `offers` is the master's own encoder; without it nothing of an agent is kept between calls.
    Raises MalformedMessage for what can not be sent: data of a TaskMessage over its limit.
    """
    write = partial(_write_event, offers=OfferEncoder() if offers is None else offers)
    crowds = together(events, {Update: _Updates})
    return packed(
        crowds,
        lambda: pb.SubscribeResponse(epoch=epoch),
        lambda m: m.events,
        write,
        _LISTS,
        {AcceptResult: "results"},
    )


def scheduler_events_from_wire(
    response: pb.SubscribeResponse,
) -> tuple[int, list[SchedulerEvent]]:
    """(epoch, events), checked. Raises MalformedMessage."""
    check.bounded(response.events, "events", limit.ITEMS_MAX, "events")
    epoch = check.number(response.epoch, "epoch")
    events: list[SchedulerEvent] = []
    more = 0
    for slot in response.events:
        events += crowd_or_one(slot, "event", _CROWDS_OF_EVENTS, _EVENTS)
        if events and isinstance(last := events[-1], AcceptResult):
            more += _words_behind_the_first(last.results)
        _check_words(len(events) + more, "events")
    return epoch, events


def _write_event(
    slot: pb.SchedulerEvent, event: SchedulerEvent | _Updates, offers: OfferEncoder
) -> None:
    match event:
        case _Updates(words):
            write_statuses(slot.updates, [word.status for word in words])
        case Offers():
            slot.offers.SetInParent()
            target = slot.offers.offers
            for offer in event.offers:
                offers.write(target, offer)
        case AcceptResult():
            _write_accept_result(slot.accept_result, event)
        case Rescind():
            slot.rescind.SetInParent()
            slot.rescind.offer_ids.extend(event.offer_ids)
        case Heartbeat():
            write_heartbeat(slot.heartbeat, event)
        case StoreAnswer():
            write_answer(slot.store_answer, event)
        case OperationUpdate(status):
            write_operation_status(slot.operation_update, status)
        case RequestUnsatisfiable():
            write_unsatisfiable(slot.request_unsatisfiable, event)
        case TaskMessage():
            write_message(slot.message, event)
        case Subscribed():
            slot.subscribed.framework_id = event.framework_id
        case AgentLost():
            slot.agent_lost.agent_id = event.agent_id
        case Refused():
            write_refused(slot.refused, event)
        case Update():
            raise AssertionError("an Update is written with its neighbours")
        case _:
            assert_never(event)


def _write_accept_result(slot: pb.AcceptResult, event: AcceptResult) -> None:
    """An accept must always be answered, so many long messages are cut until all fit."""
    slot.number = event.number
    slot.results = len(event.results)
    if event.results:
        each = (limit.MESSAGE_BYTES_MAX - _RESULTS_RESERVE_BYTES) // len(event.results)
        bytes_max = min(max(each - _RESULT_RESERVE_BYTES, 0), limit.TEXT_BYTES_MAX)
        numbers = REFUSALS.number_or_zero
        columns.write(slot.refusals, [numbers[result.refusal] for result in event.results])
        messages = [check.cut(result.message, bytes_max) for result in event.results]
        columns.write(slot.messages, messages)


def _accept_result_from_wire(slot: pb.AcceptResult) -> AcceptResult:
    number = check.number(slot.number, "number")
    size = check.number(slot.results, "results", 0, limit.OPERATIONS_MAX)
    if not slot.refusals and not slot.messages:
        return AcceptResult(number, (_DONE,) * size)
    refusals = columns.read(slot.refusals, size, 0, "refusals", REFUSALS.member_or_none)
    messages = columns.read(slot.messages, size, "", "messages", check.text)
    return AcceptResult(number, tuple(map(OperationResult, refusals, messages)))


def _updates_from_wire(slot: common_pb2.TaskStatuses) -> Iterable[Update]:
    return map(Update, statuses_from_wire(slot))


def _offers_from_wire(slot: pb.Offers) -> Offers:
    check.bounded(slot.offers, "offers", limit.LIST_MAX, "offers")
    return Offers(tuple([offer_from_wire(offer) for offer in slot.offers]))


_CROWDS_OF_EVENTS: dict[str, Callable[[Any], Iterable[SchedulerEvent]]] = {
    "updates": _updates_from_wire,
}
_EVENTS: dict[str, Callable[[Any], SchedulerEvent]] = {
    "subscribed": lambda slot: Subscribed(check.identifier(slot.framework_id, "framework_id")),
    "offers": _offers_from_wire,
    "rescind": lambda slot: Rescind(check.identifiers(slot.offer_ids, "offer_ids", limit.LIST_MAX)),
    "accept_result": _accept_result_from_wire,
    "store_answer": answer_from_wire,
    "operation_update": update_from_wire,
    "request_unsatisfiable": unsatisfiable_from_wire,
    "message": message_from_wire,
    "agent_lost": lambda slot: AgentLost(check.identifier(slot.agent_id, "agent_id")),
    "refused": refused_from_wire,
    "heartbeat": heartbeat_from_wire,
}
