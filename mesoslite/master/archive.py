"""What is durable of a master, as records: the one encoding that every kind of registry keeps.

A record has a kind and a key, and its data says all that is in it: the key only finds it again. The
data carry a version and a checksum over kind, key and content, so what was torn, swapped or
changed by accident is noticed when it is read, whatever kept it. 4 us a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar, assert_never, cast, get_args
from urllib.parse import quote
from zlib import crc32

from google.protobuf.message import DecodeError, Message

from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    CompleteFramework,
    Durable,
    Effect,
    EntryRecord,
    FenceRecord,
    ForgetAgent,
    ForgetCompleted,
    ForgetEntry,
    ForgetFence,
    ForgetRelease,
    ForgetStore,
    FrameworkRecord,
    Recovered,
    ReleaseRecord,
    SaveAgent,
    SaveEntry,
    SaveFence,
    SaveFramework,
    SaveRelease,
    SaveStore,
    StoreRecord,
)
from mesoslite.model import Entry
from mesoslite.v1 import registry_pb2 as pb
from mesoslite.wire import (
    MalformedMessage,
    agent_info_from_wire,
    framework_info_from_wire,
    write_agent_info,
    write_framework_info,
)

VERSION = 1  # of the seal, not of what is in it: protobuf takes care of that
SEAL_BYTES = 5  # one for the version, four for the checksum
EPOCH, AGENT, FRAMEWORK, COMPLETED = "epoch", "agent", "framework", "completed"
STORE, ENTRY, FENCE, RELEASE = "store", "entry", "fence", "release"

M = TypeVar("M", bound=Message)
_DURABLE: frozenset[type] = frozenset(get_args(Durable))


@dataclass(frozen=True, slots=True)
class Put:
    """Insert or replace the record of this kind and key."""

    kind: str
    """Lower case letters."""
    key: str
    """1 to 1,024 of A-Z a-z 0-9 . _ - ~ % : and unique within the kind."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the record of this kind and key, if there is one."""

    kind: str
    key: str


Write = Put | Delete


class BadRecord(Exception):
    """A record is not what was written, or not what this program can read; `str` is one line."""

    def __init__(self, kind: str, key: str, why: str) -> None:
        super().__init__(kind, key, why)
        self.kind = kind
        self.key = key
        self.why = why

    def __str__(self) -> str:
        return f"its record {self.kind} {self.key!r} {self.why}"


# --- writing --------------------------------------------------------------------------------------


def all_writes(effects: Iterable[Effect]) -> list[Write]:
    """What the durable ones among these change, in order. 40 ns for each of the others."""
    durable = [cast(Durable, effect) for effect in effects if type(effect) in _DURABLE]
    return [write for effect in durable for write in writes(effect)]


def writes(effect: Durable) -> tuple[Write, ...]:
    """What a durable effect changes, in order."""
    match effect:
        case SaveAgent(record):
            return (agent(record),)
        case ForgetAgent(agent_id):
            return (Delete(AGENT, agent_id),)
        case SaveFramework(framework_record):
            return (framework(framework_record),)
        case CompleteFramework(ended):
            return Delete(FRAMEWORK, ended.framework_id), completed(ended)
        case ForgetCompleted(framework_id):
            return (Delete(COMPLETED, framework_id),)
        case SaveStore(store_record):
            return (store(store_record),)
        case ForgetStore(framework_id):
            return (Delete(STORE, framework_id),)
        case SaveEntry(entry_record):
            return (entry(entry_record),)
        case ForgetEntry(framework_id, key):
            return (Delete(ENTRY, _entry_key(framework_id, key)),)
        case SaveFence(fence_record):
            return (fence(fence_record),)
        case ForgetFence(framework_id, key):
            return (Delete(FENCE, f"{framework_id}:{key}"),)
        case SaveRelease(release_record):
            return (release(release_record),)
        case ForgetRelease(principal, name):
            return (Delete(RELEASE, _release_key(principal, name)),)
        case _:
            assert_never(effect)


def epoch(number: int) -> Put:
    """The epoch that was used last, for a registry that has nothing better to keep it in."""
    return _sealed(EPOCH, EPOCH, pb.EpochRecord(epoch=number))


def agent(record: AgentRecord) -> Put:
    """An agent's record."""
    message = pb.AgentRecord(
        unreachable_since_ms=record.unreachable_since_ms, gone_since_ms=record.gone_since_ms
    )
    write_agent_info(message.agent, record.info)
    return _sealed(AGENT, record.info.agent_id, message)


def framework(record: FrameworkRecord) -> Put:
    """A framework's record."""
    message = pb.FrameworkRecord(
        framework_id=record.framework_id,
        principal=record.principal,
        session_id=record.session_id,
        deadline_ms=record.deadline_ms,
    )
    write_framework_info(message.framework, record.info)
    return _sealed(FRAMEWORK, record.framework_id, message)


def completed(record: CompletedRecord) -> Put:
    """The record of a framework that ended."""
    message = pb.CompletedRecord(
        framework_id=record.framework_id,
        principal=record.principal,
        completed_ms=record.completed_ms,
    )
    write_framework_info(message.framework, record.info)
    return _sealed(COMPLETED, record.framework_id, message)


def store(record: StoreRecord) -> Put:
    """What is said of a framework's store beside its entries."""
    message = pb.StoreRecord(
        framework_id=record.framework_id,
        revision=record.revision,
        session_id=record.session_id,
        number=record.number,
        version=record.version,
    )
    return _sealed(STORE, record.framework_id, message)


def entry(record: EntryRecord) -> Put:
    """An entry of a framework's store."""
    message = pb.EntryRecord(
        framework_id=record.framework_id,
        key=record.key,
        value=record.entry.value,
        version=record.entry.version,
    )
    return _sealed(ENTRY, _entry_key(record.framework_id, record.key), message)


def fence(record: FenceRecord) -> Put:
    """Which task has a key."""
    message = pb.FenceRecord(
        framework_id=record.framework_id,
        key=record.key,
        task_id=record.task_id,
        agent_id=record.agent_id,
        token=record.token,
        lease_ms=record.lease_ms,
    )
    return _sealed(FENCE, f"{record.framework_id}:{record.key}", message)


def release(record: ReleaseRecord) -> Put:
    """What is to be given up wherever it is found."""
    message = pb.ReleaseRecord(
        principal=record.principal,
        name=record.name,
        framework_id=record.framework_id,
        asked_ms=record.asked_ms,
    )
    return _sealed(RELEASE, _release_key(record.principal, record.name), message)


def _release_key(principal: str, name: str) -> str:
    """Both have 255 characters at most, of any kind, which are too many for a key."""
    return sha256(f"{principal}\0{name}".encode()).hexdigest()


def _entry_key(framework_id: str, key: str) -> str:
    """Any printable character may be in a key; three here stand for an unusual one."""
    return f"{framework_id}:{quote(key, safe='')}"


def _sealed(kind: str, key: str, message: Message) -> Put:
    content = message.SerializeToString()
    seal = bytes((VERSION,)) + _checksum(kind, key, content).to_bytes(SEAL_BYTES - 1, "big")
    return Put(kind, key, seal + content)


def _checksum(kind: str, key: str, content: bytes) -> int:
    return crc32(content, crc32(f"{kind}\0{key}\0".encode()))


# --- reading --------------------------------------------------------------------------------------


def recovered(number: int, records: Iterable[tuple[str, str, bytes]]) -> Recovered:
    """What a master of this epoch starts from: all (kind, key, data), in any order.

    Raises BadRecord: a master that left out what it cannot read would forget agents that run
    tasks, so it does not start.
    """
    found: dict[str, list[Any]] = {kind: [] for kind in _READERS}
    for kind, key, data in records:
        if kind == EPOCH:
            continue
        if kind not in _READERS:
            raise BadRecord(kind, key, "is of a kind that a newer program made")
        found[kind].append(_read(kind, key, data, _READERS[kind]))
    return Recovered(
        epoch=number,
        agents=tuple(sorted(found[AGENT], key=lambda one: one.info.agent_id)),
        frameworks=tuple(sorted(found[FRAMEWORK], key=lambda one: one.framework_id)),
        completed=tuple(sorted(found[COMPLETED], key=lambda o: (o.completed_ms, o.framework_id))),
        stores=tuple(sorted(found[STORE], key=lambda one: one.framework_id)),
        entries=tuple(sorted(found[ENTRY], key=lambda one: (one.framework_id, one.key))),
        fences=tuple(sorted(found[FENCE], key=lambda one: (one.framework_id, one.key))),
        releases=tuple(sorted(found[RELEASE], key=lambda one: (one.asked_ms, one.framework_id))),
    )


def epoch_of(key: str, data: bytes) -> int:
    """The number in an epoch's record. Raises BadRecord."""
    return _read(EPOCH, key, data, lambda content: pb.EpochRecord.FromString(content).epoch)


T = TypeVar("T")


def _read(kind: str, key: str, data: bytes, reader: Callable[[bytes], T]) -> T:
    content = data[SEAL_BYTES:]
    if len(data) < SEAL_BYTES:
        raise BadRecord(kind, key, f"is torn: {len(data)} bytes are left of it")
    if data[0] != VERSION:
        raise BadRecord(kind, key, f"is sealed as version {data[0]}, and {VERSION} is known here")
    if int.from_bytes(data[1:SEAL_BYTES], "big") != _checksum(kind, key, content):
        raise BadRecord(kind, key, "is not as it was written: its checksum differs")
    try:
        return reader(content)
    except (DecodeError, MalformedMessage) as error:
        raise BadRecord(kind, key, f"can not be understood: {error}") from None


def _agent(content: bytes) -> AgentRecord:
    message = pb.AgentRecord.FromString(content)
    return AgentRecord(
        agent_info_from_wire(message.agent),
        message.unreachable_since_ms if message.HasField("unreachable_since_ms") else None,
        message.gone_since_ms if message.HasField("gone_since_ms") else None,
    )


def _framework(content: bytes) -> FrameworkRecord:
    message = pb.FrameworkRecord.FromString(content)
    return FrameworkRecord(
        message.framework_id,
        message.principal,
        framework_info_from_wire(message.framework),
        message.session_id,
        message.deadline_ms if message.HasField("deadline_ms") else None,
    )


def _completed(content: bytes) -> CompletedRecord:
    message = pb.CompletedRecord.FromString(content)
    return CompletedRecord(
        message.framework_id,
        message.principal,
        framework_info_from_wire(message.framework),
        message.completed_ms,
    )


def _store(content: bytes) -> StoreRecord:
    message = pb.StoreRecord.FromString(content)
    return StoreRecord(
        message.framework_id,
        message.revision,
        message.session_id,
        message.number,
        message.version,
    )


def _entry(content: bytes) -> EntryRecord:
    message = pb.EntryRecord.FromString(content)
    return EntryRecord(message.framework_id, message.key, Entry(message.value, message.version))


def _fence(content: bytes) -> FenceRecord:
    message = pb.FenceRecord.FromString(content)
    return FenceRecord(
        message.framework_id,
        message.key,
        message.task_id,
        message.agent_id,
        message.token,
        message.lease_ms,
    )


def _release(content: bytes) -> ReleaseRecord:
    message = pb.ReleaseRecord.FromString(content)
    return ReleaseRecord(message.principal, message.name, message.framework_id, message.asked_ms)


_READERS: dict[str, Callable[[bytes], object]] = {
    AGENT: _agent,
    FRAMEWORK: _framework,
    COMPLETED: _completed,
    STORE: _store,
    ENTRY: _entry,
    FENCE: _fence,
    RELEASE: _release,
}
