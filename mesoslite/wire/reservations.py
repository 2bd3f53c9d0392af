"""Reservations, volumes and what changes them, as protobuf, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from mesoslite.messages import (
    AcknowledgeOperation,
    ApplyOperation,
    OperationReport,
    OperationUpdate,
    ReconcileOperations,
    VolumesMeasured,
)
from mesoslite.operations import OperationReference, OperationStatus, Order
from mesoslite.reservations import (
    LABELS_BYTES_MAX,
    LABELS_MAX,
    VOLUMES_MAX,
    Change,
    CreateVolume,
    DestroyVolume,
    InvalidChange,
    Reservation,
    Reserve,
    Unreserve,
    Volume,
    VolumeUse,
    why_not_change,
)
from mesoslite.resources import UNRESERVED
from mesoslite.v1 import agent_pb2, scheduler_pb2
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.amounts import resources_from_wire, write_resources
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.enums import OPERATION_STATES, REFUSALS
from mesoslite.wire.packing import unsendable

# --- what is there --------------------------------------------------------------------------------


def write_reservation(slot: pb.Reservation, reservation: Reservation) -> None:
    """Fill an empty `slot`."""
    slot.reservation_id = reservation.reservation_id
    slot.role = reservation.role
    write_resources(slot.resources, reservation.resources)
    slot.labels.update(reservation.labels)
    _write_origin(slot, reservation)


def reservation_from_wire(slot: pb.Reservation) -> Reservation:
    """Raises MalformedMessage."""
    made = Reservation(
        check.identifier(slot.reservation_id, "reservation_id"),
        _reserving(slot.role),
        resources_from_wire(slot.resources),
        check.text_map(slot.labels, "labels", LABELS_MAX, LABELS_BYTES_MAX),
        *_origin(slot),
    )
    if not made.resources or made.resources.roles() != {UNRESERVED}:
        raise MalformedMessage("resources", None, "must be some, and name no roles")
    return made


def write_volume(slot: pb.Volume, volume: Volume) -> None:
    """Fill an empty `slot`."""
    slot.volume_id = volume.volume_id
    slot.role = volume.role
    write_resources(slot.resources, volume.resources)
    slot.reservation_id = volume.reservation_id
    _write_origin(slot, volume)


def volume_from_wire(slot: pb.Volume) -> Volume:
    """Raises MalformedMessage."""
    resources = resources_from_wire(slot.resources)
    if list(resources.scalars) != ["disk"] or resources.ranges or resources.sets:
        raise MalformedMessage("resources", None, "must be disk and nothing else")
    return Volume(
        check.identifier(slot.volume_id, "volume_id"),
        _reserving(slot.role),
        resources,
        check.identifier_or_empty(slot.reservation_id, "reservation_id"),
        *_origin(slot),
    )


def _write_origin(slot: pb.Reservation | pb.Volume, of: Reservation | Volume) -> None:
    slot.principal = of.principal
    slot.framework_id = of.framework_id
    slot.framework = of.framework
    slot.since_ms = of.since_ms


def _origin(slot: pb.Reservation | pb.Volume) -> tuple[str, str, str, int]:
    return (
        check.name_or_empty(slot.principal, "principal"),
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        check.name_or_empty(slot.framework, "framework"),
        check.timestamp(slot.since_ms, "since_ms"),
    )


def _reserving(role: str) -> str:
    if role == UNRESERVED:
        raise MalformedMessage("role", role, "must be one that something can be reserved for")
    return check.role(role, "role")


# --- changes --------------------------------------------------------------------------------------


def write_change(slot: pb.Change, change: Change) -> None:
    """Fill an empty `slot`. Raises MalformedMessage for what can not be sent."""
    try:
        _write_change(slot, change)
    except (ValueError, TypeError) as why:
        raise unsendable(type(change).__name__, why) from None


def _write_change(slot: pb.Change, change: Change) -> None:
    slot.operation_id = change.operation_id
    match change:
        case Reserve(reservation_id, resources, labels):
            slot.reserve.reservation_id = reservation_id
            write_resources(slot.reserve.resources, resources)
            slot.reserve.labels.update(labels)
        case Unreserve(reservation_id, resources):
            slot.unreserve.reservation_id = reservation_id
            write_resources(slot.unreserve.resources, resources)
        case CreateVolume(volume_id, resources, reservation_id):
            slot.create_volume.volume_id = volume_id
            write_resources(slot.create_volume.resources, resources)
            slot.create_volume.reservation_id = reservation_id
        case DestroyVolume(volume_id):
            slot.destroy_volume.volume_id = volume_id
        case _:
            assert_never(change)


def change_from_wire(slot: pb.Change) -> Change:
    """Raises MalformedMessage for whatever `why_not_change` has something against."""
    which = slot.WhichOneof("change")
    if which is None:
        raise MalformedMessage("change", None, "is no change that is known here")
    operation_id = check.identifier(slot.operation_id, "operation_id")
    try:
        change = _CHANGES[which](getattr(slot, which), operation_id)
    except MalformedMessage as why:
        raise why.inside(which) from None
    if (wrong := why_not_change(change)) is not None:
        raise MalformedMessage(which, None, wrong)
    return change


def change_or_invalid(slot: pb.Change) -> Change | InvalidChange:
    """A change that is bad spoils neither its accept nor its stream."""
    try:
        return change_from_wire(slot)
    except MalformedMessage as why:
        try:
            return InvalidChange(check.identifier(slot.operation_id, "operation_id"), str(why))
        except MalformedMessage:
            return InvalidChange("", str(why))


def _reserve(slot: pb.Reserve, operation_id: str) -> Reserve:
    return Reserve(
        slot.reservation_id,
        resources_from_wire(slot.resources),
        check.text_map(slot.labels, "labels", LABELS_MAX, LABELS_BYTES_MAX),
        operation_id,
    )


_CHANGES: Mapping[str, Callable[[Any, str], Change]] = {
    "reserve": _reserve,
    "unreserve": lambda slot, operation_id: Unreserve(
        slot.reservation_id, resources_from_wire(slot.resources), operation_id
    ),
    "create_volume": lambda slot, operation_id: CreateVolume(
        slot.volume_id, resources_from_wire(slot.resources), slot.reservation_id, operation_id
    ),
    "destroy_volume": lambda slot, operation_id: DestroyVolume(slot.volume_id, operation_id),
}


def write_apply(slot: agent_pb2.ApplyOperation, event: ApplyOperation) -> None:
    """Fill an empty `slot`."""
    order = event.order
    slot.framework_id = order.framework_id
    slot.framework = order.framework
    slot.principal = order.principal
    slot.role = order.role
    slot.at_ms = order.at_ms
    write_change(slot.change, order.change)


def apply_from_wire(slot: agent_pb2.ApplyOperation) -> ApplyOperation:
    """Raises MalformedMessage."""
    return ApplyOperation(
        Order(
            check.identifier_or_empty(slot.framework_id, "framework_id"),
            check.name_or_empty(slot.framework, "framework"),
            check.name_or_empty(slot.principal, "principal"),
            _reserving(slot.role),
            check.timestamp(slot.at_ms, "at_ms"),
            change_from_wire(slot.change),
        )
    )


# --- what became of them --------------------------------------------------------------------------


def write_operation_status(slot: pb.OperationStatus, status: OperationStatus) -> None:
    """Fill an empty `slot`. A long message is cut."""
    slot.operation_id = status.operation_id
    slot.state = OPERATION_STATES.number[status.state]
    slot.agent_id = status.agent_id
    slot.framework_id = status.framework_id
    if status.refusal is not None:
        slot.refusal = REFUSALS.number[status.refusal]
    slot.message = check.cut(status.message)
    slot.timestamp_ms = status.timestamp_ms
    slot.acknowledge = status.acknowledge


def operation_status_from_wire(slot: pb.OperationStatus) -> OperationStatus:
    """Raises MalformedMessage."""
    return OperationStatus(
        check.identifier(slot.operation_id, "operation_id"),
        OPERATION_STATES.member(slot.state, "state"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        REFUSALS.member_or_none(slot.refusal, "refusal"),
        check.text(slot.message, "message"),
        check.timestamp(slot.timestamp_ms, "timestamp_ms"),
        slot.acknowledge,
    )


def update_from_wire(slot: pb.OperationStatus) -> OperationUpdate:
    """Raises MalformedMessage."""
    return OperationUpdate(operation_status_from_wire(slot))


def report_from_wire(slot: pb.OperationStatus) -> OperationReport:
    """Raises MalformedMessage."""
    return OperationReport(operation_status_from_wire(slot))


def write_acknowledgement(slot: pb.AcknowledgeOperation, said: AcknowledgeOperation) -> None:
    """Fill an empty `slot`."""
    slot.framework_id = said.framework_id
    slot.agent_id = said.agent_id
    slot.operation_id = said.operation_id


def acknowledgement_from_wire(slot: pb.AcknowledgeOperation) -> AcknowledgeOperation:
    """Raises MalformedMessage."""
    return AcknowledgeOperation(
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.identifier(slot.operation_id, "operation_id"),
    )


def write_reconcile(slot: scheduler_pb2.ReconcileOperations, call: ReconcileOperations) -> None:
    """Fill an empty `slot`, which is set even if there are none."""
    slot.SetInParent()
    for one in call.operations:
        slot.operations.add(operation_id=one.operation_id, agent_id=one.agent_id)


def reconcile_from_wire(slot: scheduler_pb2.ReconcileOperations) -> ReconcileOperations:
    """Raises MalformedMessage."""
    check.bounded(slot.operations, "operations", limit.LIST_MAX, "operations")
    return ReconcileOperations(
        tuple(
            [
                OperationReference(
                    check.identifier(one.operation_id, "operations.operation_id"),
                    check.identifier_or_empty(one.agent_id, "operations.agent_id"),
                )
                for one in slot.operations
            ]
        )
    )


def write_measured(slot: agent_pb2.VolumesMeasured, call: VolumesMeasured) -> None:
    """Fill an empty `slot`, which is set even if there are none."""
    slot.SetInParent()
    for one in call.volumes:
        slot.volumes.add(
            role=one.role,
            volume_id=one.volume_id,
            used_bytes=one.used_bytes,
            measured_ms=one.measured_ms,
        )


def measured_from_wire(slot: agent_pb2.VolumesMeasured) -> VolumesMeasured:
    """Raises MalformedMessage."""
    check.bounded(slot.volumes, "volumes", VOLUMES_MAX, "volumes")
    return VolumesMeasured(
        tuple(
            [
                VolumeUse(
                    _reserving(one.role),
                    check.identifier(one.volume_id, "volumes.volume_id"),
                    check.number(one.used_bytes, "volumes.used_bytes"),
                    check.timestamp(one.measured_ms, "volumes.measured_ms"),
                )
                for one in slot.volumes
            ]
        )
    )
