"""What schedulers and agents both say and hear, and how a call or an event is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from mesoslite.messages import Heartbeat, Refused, TaskMessage
from mesoslite.model import Refusal
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.enums import REFUSALS
from mesoslite.wire.limits import PROTOCOL, TASK_MESSAGE_BYTES_MAX

T = TypeVar("T")


def decoded(slot: Any, union: str, readers: Mapping[str, Callable[[Any], T]]) -> T:
    """The one thing that is set in a `oneof`. Raises MalformedMessage."""
    which: str | None = slot.WhichOneof(union)
    if which is None:
        raise MalformedMessage(union, None, f"is no {union} that is known here")
    try:
        return readers[which](getattr(slot, which))
    except MalformedMessage as why:
        raise why.inside(which) from None


def crowd_or_one(
    slot: Any,
    union: str,
    crowds: Mapping[str, Callable[[Any], Iterable[T]]],
    readers: Mapping[str, Callable[[Any], T]],
) -> Iterable[T]:
    """All that the one thing says which is set in a `oneof`. Raises MalformedMessage."""
    which: str | None = slot.WhichOneof(union)
    read = crowds.get(which) if which is not None else None
    if which is None or read is None:
        return (decoded(slot, union, readers),)
    try:
        return read(getattr(slot, which))
    except MalformedMessage as why:
        raise why.inside(which) from None


def check_protocol(theirs: int) -> None:
    """Raises MalformedMessage with UNSUPPORTED_VERSION, which names both."""
    if theirs != PROTOCOL:
        why = f"this side speaks version {PROTOCOL} and the peer version {theirs}"
        raise MalformedMessage("protocol", None, why, Refusal.UNSUPPORTED_VERSION)


def write_refused(slot: pb.Refused, refused: Refused) -> None:
    """Fill `slot`. A long message is cut."""
    slot.refusal = REFUSALS.number[refused.refusal]
    slot.message = check.cut(refused.message)


def refused_from_wire(slot: pb.Refused) -> Refused:
    """Raises MalformedMessage."""
    return Refused(REFUSALS.member(slot.refusal, "refusal"), check.text(slot.message, "message"))


def write_message(slot: pb.TaskMessage, message: TaskMessage) -> None:
    """Fill `slot`. Raises MalformedMessage when there is too much data."""
    check.bounded(message.data, "data", TASK_MESSAGE_BYTES_MAX, "bytes")
    slot.framework_id = message.framework_id
    slot.agent_id = message.agent_id
    slot.task_id = message.task_id
    slot.data = message.data


def write_heartbeat(slot: pb.Heartbeat, heartbeat: Heartbeat) -> None:
    """Fill `slot`, which is set even if the number is 0."""
    slot.SetInParent()
    slot.number = heartbeat.number


def heartbeat_from_wire(slot: pb.Heartbeat) -> Heartbeat:
    """Raises MalformedMessage."""
    return Heartbeat(check.number(slot.number, "number"))


def message_from_wire(slot: pb.TaskMessage) -> TaskMessage:
    """Raises MalformedMessage. The ids that a side knows anyway may be empty."""
    data = slot.data
    check.bounded(data, "data", TASK_MESSAGE_BYTES_MAX, "bytes")
    return TaskMessage(
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.identifier(slot.task_id, "task_id"),
        data,
    )
