"""What a scheduler says and hears of its requests, as protobuf, both ways."""

from __future__ import annotations

from mesoslite.messages import RequestUnsatisfiable, WithdrawRequests
from mesoslite.model import ID_PATTERN, InvalidRequest, Policy, Request, why_not_request
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.amounts import resources_from_wire, write_resources
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.enums import POLICIES, REFUSALS


def write_request(slot: pb.Request, request: Request | InvalidRequest) -> None:
    """Fill `slot`."""
    if isinstance(request, InvalidRequest):
        # What a master made of bad input, and no scheduler's to say.
        raise MalformedMessage("requests", None, request.message)
    slot.request_id = request.request_id
    slot.role = request.role
    write_resources(slot.unit, request.unit)
    slot.count = request.count
    slot.ports = request.ports
    slot.where = request.where
    slot.policy = POLICIES.number[request.policy]


def request_from_wire(slot: pb.Request) -> Request | InvalidRequest:
    """A bad one becomes an InvalidRequest, and the master answers it. About 6 us."""
    try:
        if (size := slot.ByteSize()) > limit.REQUEST_BYTES_MAX:
            raise check.too_big("request", size, limit.REQUEST_BYTES_MAX, "bytes")
        request = Request(
            slot.request_id,
            slot.role,
            resources_from_wire(slot.unit, "unit"),
            slot.count,
            slot.ports,
            slot.where,
            POLICIES.member_or_none(slot.policy, "policy") or Policy.SPREAD,
        )
        why_not = why_not_request(request)
        if why_not is None:
            return request
    except MalformedMessage as why:
        why_not = str(why)
    known = ID_PATTERN.match(slot.request_id) is not None
    return InvalidRequest(slot.request_id if known else "", why_not)


def withdrawal_from_wire(slot: pb.WithdrawRequests) -> WithdrawRequests:
    """Raises MalformedMessage."""
    return WithdrawRequests(
        check.identifiers(slot.request_ids, "request_ids", limit.LIST_MAX),
        check.roles(slot.roles, "roles"),
    )


def write_unsatisfiable(slot: pb.RequestUnsatisfiable, event: RequestUnsatisfiable) -> None:
    """Fill `slot`. A long message is cut."""
    slot.request_id = event.request_id
    slot.refusal = REFUSALS.number[event.refusal]
    slot.message = check.cut(event.message)
    slot.number = event.number


def unsatisfiable_from_wire(slot: pb.RequestUnsatisfiable) -> RequestUnsatisfiable:
    """Raises MalformedMessage."""
    return RequestUnsatisfiable(
        check.identifier_or_empty(slot.request_id, "request_id"),
        REFUSALS.member(slot.refusal, "refusal"),
        check.text(slot.message, "message"),
        check.number(slot.number, "number"),
    )
