"""The framework's store as protobuf, both ways: what is asked, written and answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesoslite.messages import ListStore, ReadStore, StoreAnswer, WriteStore
from mesoslite.model import (
    STORE_KEYS_MAX,
    STORE_VALUE_BYTES_MAX,
    STORE_WRITES_BYTES_MAX,
    STORE_WRITES_MAX,
    Entry,
    StoreWrite,
    why_not_key,
    why_not_write,
)
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.enums import REFUSALS


def write_writes(slot: Any, writes: Sequence[StoreWrite]) -> None:
    """Fill a repeated field. Raises MalformedMessage when they are too many or too large."""
    _bounded(writes)
    for write in writes:
        slot.add(key=write.key, value=write.value, version=write.version)


def writes_from_wire(slot: Sequence[pb.StoreWrite]) -> tuple[StoreWrite, ...]:
    """Raises MalformedMessage."""
    check.bounded(slot, "writes", STORE_WRITES_MAX, "writes")
    writes = tuple(
        StoreWrite(
            one.key,
            one.value if one.HasField("value") else None,
            one.version if one.HasField("version") else None,
        )
        for one in slot
    )
    for write in writes:
        if (why := why_not_write(write)) is not None:
            raise MalformedMessage("writes", None, why)
    check.distinct([write.key for write in writes], "writes")
    _bounded(writes)
    return writes


def _bounded(writes: Sequence[StoreWrite]) -> None:
    check.bounded(writes, "writes", STORE_WRITES_MAX, "writes")
    size = sum(len(write.key) + len(write.value or b"") for write in writes)
    if size > STORE_WRITES_BYTES_MAX:
        raise check.too_big("writes", size, STORE_WRITES_BYTES_MAX, "bytes")


def read_from_wire(slot: pb.ReadStore) -> ReadStore:
    """Raises MalformedMessage."""
    return ReadStore(check.number(slot.number, "number"), _key(slot.key))


def list_from_wire(slot: pb.ListStore) -> ListStore:
    """Raises MalformedMessage."""
    prefix = _key(slot.prefix) if slot.prefix else ""
    return ListStore(check.number(slot.number, "number"), prefix)


def write_from_wire(slot: pb.WriteStore) -> WriteStore:
    """Raises MalformedMessage."""
    return WriteStore(check.number(slot.number, "number"), writes_from_wire(slot.writes))


def write_answer(slot: pb.StoreAnswer, answer: StoreAnswer) -> None:
    """Fill `slot`. A long message is cut."""
    slot.number = answer.number
    if answer.refusal is not None:
        slot.refusal = REFUSALS.number[answer.refusal]
    slot.message = check.cut(answer.message)
    slot.key = answer.key
    slot.version = answer.version
    if answer.entry is not None:
        slot.entry.value = answer.entry.value
        slot.entry.version = answer.entry.version
    slot.keys.extend(answer.keys)


def answer_from_wire(slot: pb.StoreAnswer) -> StoreAnswer:
    """Raises MalformedMessage."""
    check.bounded(slot.keys, "keys", STORE_KEYS_MAX, "keys")
    entry = None
    if slot.HasField("entry"):
        check.bounded(slot.entry.value, "entry.value", STORE_VALUE_BYTES_MAX, "bytes")
        entry = Entry(slot.entry.value, check.number(slot.entry.version, "entry.version"))
    return StoreAnswer(
        check.number(slot.number, "number"),
        REFUSALS.member_or_none(slot.refusal, "refusal"),
        check.text(slot.message, "message"),
        _key(slot.key) if slot.key else "",
        check.number(slot.version, "version"),
        entry,
        tuple(map(_key, slot.keys)),
    )


def _key(value: str) -> str:
    if (why := why_not_key(value)) is not None:
        raise MalformedMessage("key", value, why)
    return value
