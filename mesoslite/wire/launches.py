"""The operations of an accept on the wire: launches of tasks that differ by their ids are one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as Repeated

from mesoslite.model import ID_PATTERN, InvalidLaunch, Launch, Operation, shape_of
from mesoslite.reservations import CreateVolume, DestroyVolume, InvalidChange, Reserve, Unreserve
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.nouns import another, task_from_wire, write_task
from mesoslite.wire.packing import unsendable
from mesoslite.wire.reservations import change_or_invalid, write_change


def write_operations(slots: Repeated[pb.Operation], operations: Sequence[Operation]) -> None:
    """Append the operations. Raises MalformedMessage for what can not be sent."""
    for _, alike in groupby(operations, _what_is_done):
        run: list[Any] = list(alike)
        if isinstance(run[0], Launch):
            _write_launches(slots.add().launch, run)
            continue
        for change in run:
            write_change(slots.add().change, change)


def _what_is_done(operation: Operation) -> tuple[object, ...]:
    match operation:
        case Launch(task, request_id):
            return request_id, shape_of(task)
        case Reserve() | Unreserve() | CreateVolume() | DestroyVolume():
            return (operation,)
        case InvalidLaunch() | InvalidChange():
            # What a master made of bad input, and no scheduler's to say.
            raise MalformedMessage("operations", None, operation.message)


def _write_launches(slot: pb.Launch, alike: Sequence[Any]) -> None:
    """Launches for one request, of tasks that differ by their ids alone."""
    first = alike[0]
    try:
        write_task(slot.task, first.task)
        slot.request_id = first.request_id
        slot.more_task_ids.extend([launch.task.task_id for launch in alike[1:]])
    except (ValueError, TypeError) as why:
        raise unsendable(f"task {check.shown(first.task.task_id)}", why) from None


def operations_from_wire(slots: Sequence[pb.Operation]) -> tuple[Operation, ...]:
    """Each, or what is wrong with it. Raises MalformedMessage when there are too many."""
    operations: list[Operation] = []
    for slot in slots:
        which = slot.WhichOneof("operation")
        if which == "change":
            operations.append(change_or_invalid(slot.change))
            continue
        if which != "launch":
            operations.append(InvalidLaunch("", "the operation is none that this master knows"))
            continue
        launch = slot.launch
        have = len(operations) + 1 + len(launch.more_task_ids)
        if have > limit.OPERATIONS_MAX:
            raise check.too_big("operations", have, limit.OPERATIONS_MAX, "operations")
        operations += _launches_from_wire(launch)
    return tuple(operations)


def _launches_from_wire(slot: pb.Launch) -> list[Operation]:
    """A launch that is bad spoils no other: then each is looked at by itself."""
    try:
        request_id = check.identifier_or_empty(slot.request_id, "request_id")
        task = task_from_wire(slot.task)
        more = [another(task, task_id, "task_id") for task_id in slot.more_task_ids]
    except MalformedMessage:
        return _launches_one_by_one(slot)
    return [Launch(each, request_id) for each in (task, *more)]


def _launches_one_by_one(slot: pb.Launch) -> list[Operation]:
    """Launches of which something is bad: the ids of some, or what all of them have in common,
    which is looked at once, however many they are."""
    task_ids = (slot.task.task_id, *slot.more_task_ids)
    good = next((task_id for task_id in task_ids if ID_PATTERN.match(task_id) is not None), "")
    first = _launch_from_wire(slot, good)
    operations: list[Operation] = []
    for task_id in task_ids:
        try:
            check.identifier(task_id, "task.task_id")
        except MalformedMessage as why:
            operations.append(InvalidLaunch("", str(why)))
        else:
            operations.append(_like(first, task_id))
    return operations


def _like(first: Launch | InvalidLaunch, task_id: str) -> Operation:
    """The same of a task that differs by its id alone, which is good."""
    if isinstance(first, InvalidLaunch):
        return InvalidLaunch(task_id, first.message)
    return Launch(another(first.task, task_id, "task_id"), first.request_id)


def _launch_from_wire(slot: pb.Launch, task_id: str) -> Launch | InvalidLaunch:
    slot.task.task_id = task_id
    try:
        request_id = check.identifier_or_empty(slot.request_id, "request_id")
        return Launch(task_from_wire(slot.task), request_id)
    except MalformedMessage as why:
        return InvalidLaunch(task_id, str(why.inside("task")))
