"""What a scheduler says and hears, as protobuf, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, assert_never

from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    AgentLost,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    Offers,
    Reconcile,
    Refused,
    RequestResources,
    RequestUnsatisfiable,
    Rescind,
    Revive,
    SchedulerCall,
    SchedulerEvent,
    Subscribe,
    Subscribed,
    Suppress,
    TaskMessage,
    Teardown,
    Update,
    WithdrawRequests,
)
from mesoslite.model import (
    ID_PATTERN,
    REFUSE_MS_MAX,
    InvalidLaunch,
    Launch,
    Operation,
    Refusal,
)
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.both_sides import (
    check_protocol,
    decoded,
    heartbeat_from_wire,
    message_from_wire,
    refused_from_wire,
    write_heartbeat,
    write_message,
    write_refused,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.nouns import (
    framework_info_from_wire,
    references_from_wire,
    result_from_wire,
    status_from_wire,
    task_from_wire,
    write_framework_info,
    write_result,
    write_status,
    write_task,
)
from mesoslite.wire.offers import OfferEncoder, offer_from_wire
from mesoslite.wire.packing import packed, unsendable
from mesoslite.wire.requests import (
    request_from_wire,
    unsatisfiable_from_wire,
    withdrawal_from_wire,
    write_request,
    write_unsatisfiable,
)

_LISTS: dict[type, str] = {
    Decline: "offer_ids",
    Reconcile: "tasks",
    RequestResources: "requests",
    WithdrawRequests: "request_ids",
    Offers: "offers",
    Rescind: "offer_ids",
}
_TEARDOWN = Teardown()
#: Of an answer to an accept, for all but the messages of its results.
_RESULTS_RESERVE_BYTES = 4_096
_RESULT_RESERVE_BYTES = 16

# --- a scheduler says -----------------------------------------------------------------------------


def scheduler_requests(calls: Iterable[SchedulerCall]) -> Iterator[pb.SubscribeRequest]:
    """The calls in order, in as few messages as possible, each of at most 1 MiB.

    Raises MalformedMessage for a call that can not be sent: an accept over 1 MiB (TOO_BIG), a
    value that protobuf does not take.
    """
    return packed(calls, pb.SubscribeRequest, lambda m: m.calls, _write_call, _LISTS)


def scheduler_calls_from_wire(request: pb.SubscribeRequest) -> list[SchedulerCall]:
    """Everything in it, checked. Raises MalformedMessage, except for a bad launch: that becomes
    an InvalidLaunch, and the master answers it.
    """
    check.bounded(request.calls, "calls", limit.ITEMS_MAX, "calls")
    return [decoded(slot, "call", _CALLS) for slot in request.calls]


def _write_call(slot: pb.SchedulerCall, call: SchedulerCall) -> None:
    match call:
        case Acknowledge():
            acknowledge = slot.acknowledge
            acknowledge.agent_id = call.agent_id
            acknowledge.task_id = call.task_id
            acknowledge.update_id = call.update_id
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
        case Subscribe():
            _write_subscribe(slot.subscribe, call)
        case Teardown():
            slot.teardown.SetInParent()
        case _:
            assert_never(call)


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
    for operation in call.operations:
        match operation:
            case Launch(task, request_id):
                launch = slot.operations.add().launch
                try:
                    write_task(launch.task, task)
                    launch.request_id = request_id
                except (ValueError, TypeError) as why:
                    raise unsendable(f"task {check.shown(task.task_id)}", why) from None
            case InvalidLaunch():
                # What a master made of bad input, and no scheduler's to say.
                raise MalformedMessage("operations", None, operation.message)
            case _:
                assert_never(operation)


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
        tuple([_operation_from_wire(operation) for operation in slot.operations]),
        _refuse_ms(slot.refuse_ms),
    )


def _operation_from_wire(slot: pb.Operation) -> Operation:
    if slot.WhichOneof("operation") != "launch":
        return InvalidLaunch("", "the operation is none that this master knows")
    task = slot.launch.task
    try:
        request_id = check.identifier_or_empty(slot.launch.request_id, "request_id")
        return Launch(task_from_wire(task), request_id)
    except MalformedMessage as why:
        known = ID_PATTERN.match(task.task_id) is not None
        return InvalidLaunch(task.task_id if known else "", str(why.inside("task")))


def _refuse_ms(value: int) -> int:
    """Longer ones are cut to a year, as Mesos does, rather than refused."""
    return min(check.number(value, "refuse_ms"), REFUSE_MS_MAX)


def _requests_from_wire(slot: pb.RequestResources) -> RequestResources:
    check.bounded(slot.requests, "requests", limit.LIST_MAX, "requests")
    return RequestResources(tuple([request_from_wire(request) for request in slot.requests]))


def _kill_from_wire(slot: pb.Kill) -> Kill:
    return Kill(
        check.identifier(slot.task_id, "task_id"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.duration(slot.grace_ms, "grace_ms", limit.KILL_GRACE_MS_MAX)
        if slot.HasField("grace_ms")
        else None,
    )


def _acknowledge_from_wire(slot: pb.Acknowledge) -> Acknowledge:
    return Acknowledge(
        check.identifier(slot.agent_id, "agent_id"),
        check.identifier(slot.task_id, "task_id"),
        check.identifier(slot.update_id, "update_id"),
    )


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
    "acknowledge": _acknowledge_from_wire,
    "reconcile": lambda slot: Reconcile(references_from_wire(slot.tasks)),
    "confirm_results": lambda slot: ConfirmResults(check.number(slot.through, "through")),
    "message": message_from_wire,
    "teardown": lambda _: _TEARDOWN,
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
    return packed(
        events, lambda: pb.SubscribeResponse(epoch=epoch), lambda m: m.events, write, _LISTS
    )


def scheduler_events_from_wire(
    response: pb.SubscribeResponse,
) -> tuple[int, list[SchedulerEvent]]:
    """(epoch, events), checked. Raises MalformedMessage."""
    check.bounded(response.events, "events", limit.ITEMS_MAX, "events")
    epoch = check.number(response.epoch, "epoch")
    return epoch, [decoded(slot, "event", _EVENTS) for slot in response.events]


def _write_event(slot: pb.SchedulerEvent, event: SchedulerEvent, offers: OfferEncoder) -> None:
    match event:
        case Update():
            write_status(slot.update, event.status)
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
        case _:
            assert_never(event)


def _write_accept_result(slot: pb.AcceptResult, event: AcceptResult) -> None:
    """An accept must always be answered, so many long messages are cut until all fit."""
    slot.number = event.number
    if event.results:
        each = (limit.MESSAGE_BYTES_MAX - _RESULTS_RESERVE_BYTES) // len(event.results)
        bytes_max = min(max(each - _RESULT_RESERVE_BYTES, 0), limit.TEXT_BYTES_MAX)
        for result in event.results:
            write_result(slot.results.add(), result, bytes_max)


def _accept_result_from_wire(slot: pb.AcceptResult) -> AcceptResult:
    check.bounded(slot.results, "results", limit.OPERATIONS_MAX, "results")
    number = check.number(slot.number, "number")
    return AcceptResult(number, tuple([result_from_wire(result) for result in slot.results]))


def _offers_from_wire(slot: pb.Offers) -> Offers:
    check.bounded(slot.offers, "offers", limit.LIST_MAX, "offers")
    return Offers(tuple([offer_from_wire(offer) for offer in slot.offers]))


_EVENTS: dict[str, Callable[[Any], SchedulerEvent]] = {
    "subscribed": lambda slot: Subscribed(check.identifier(slot.framework_id, "framework_id")),
    "offers": _offers_from_wire,
    "rescind": lambda slot: Rescind(check.identifiers(slot.offer_ids, "offer_ids", limit.LIST_MAX)),
    "update": lambda slot: Update(status_from_wire(slot)),
    "accept_result": _accept_result_from_wire,
    "request_unsatisfiable": unsatisfiable_from_wire,
    "message": message_from_wire,
    "agent_lost": lambda slot: AgentLost(check.identifier(slot.agent_id, "agent_id")),
    "refused": refused_from_wire,
    "heartbeat": heartbeat_from_wire,
}
