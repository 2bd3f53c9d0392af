"""What can be read of a checkpoint's rows, when some are not as they were written.

SQLite notices what was torn, not a bit that a disk has changed, even where it makes a cell one of
another type. So each row has a seal, a checksum of all that is in it. A row that does not match is
never guessed at: the task that it was of is ended by its agent, and nothing else is touched. Rows
of older programs have no seal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from google.protobuf.message import DecodeError

from mesoslite.estate import Estate, InvalidEstate
from mesoslite.messages import FrameworkReference
from mesoslite.model import ID_PATTERN, TaskStatus
from mesoslite.reservations import Reservation
from mesoslite.resources import Resources
from mesoslite.v1 import common_pb2
from mesoslite.wire import (
    MalformedMessage,
    framework_info_from_wire,
    status_from_wire,
    task_from_wire,
)
from mesoslite_agent.holdings import dynamic_part
from mesoslite_agent.protocol import StreamRecord, TaskRecord, VolumeRecord

Key = tuple[str, str]
TaskRow = tuple[int, str, str, str, bytes, str, str, int | None, int | None]
"""position, framework id, task id, role, task, container id, secret, kill grace, seal"""
UpdateRow = tuple[int, str, str, str, bytes, int, int | None]
"""position, framework id, task id, update id, status, acknowledged, seal"""
FrameworkRow = tuple[int, str, str, bytes, int | None]
"""rowid, framework id, principal, info, seal"""

#: What comes of bytes, or of types, that nobody wrote.
_GARBLED = (DecodeError, MalformedMessage, AttributeError, TypeError, ValueError)


def task_seal(
    framework_id: str,
    role: str,
    task: bytes,
    container_id: str,
    secret: str,
    kill_grace_ms: int | None,
) -> int:
    """Of a row of `tasks`; its task id is in the task. ~0.7 us."""
    rest = f"{framework_id}\0{role}\0{container_id}\0{secret}\0{kill_grace_ms}"
    return crc32(rest.encode(), crc32(task))


def update_seal(framework_id: str, status: bytes) -> int:
    """Of a row of `updates`; its other ids are in the status. ~0.3 us. Whether it was acknowledged
    is not in it, since that changes."""
    return crc32(framework_id.encode(), crc32(status))


def framework_seal(framework_id: str, principal: str, info: bytes) -> int:
    """Of a row of `frameworks`."""
    return crc32(f"{framework_id}\0{principal}".encode(), crc32(info))


def agent_seal(agent_id: str, boot_id: str, run: int) -> int:
    """Of the row of `agent`, without the epoch, which changes by itself."""
    return crc32(f"{agent_id}\0{boot_id}\0{run}".encode())


@dataclass(slots=True)
class Salvage:
    """What there is of a checkpoint. Read the frameworks first, then tasks, then updates."""

    frameworks: list[FrameworkReference] = field(default_factory=list)
    tasks: dict[Key, TaskRecord] = field(default_factory=dict)
    damaged: dict[Key, None] = field(default_factory=dict)
    """Tasks of which some row is not as it was written: nothing else is known of them here."""
    useless: dict[str, list[int]] = field(default_factory=dict)
    """By table, the rows that do not even say whose they are, or are not needed."""
    _waiting: dict[Key, list[TaskStatus]] = field(default_factory=dict)
    _past: dict[Key, list[TaskStatus]] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[StreamRecord, ...]:
        """Of the tasks that are not damaged."""
        return tuple(
            StreamRecord(*key, tuple(waiting), tuple(self._past.get(key, ())))
            for key, waiting in self._waiting.items()
        )

    def read_frameworks(self, rows: Iterable[FrameworkRow]) -> None:
        """Whose tasks are here. A master says it again when a launch needs it."""
        for rowid, framework_id, principal, info, seal in rows:
            try:
                right = framework_seal(framework_id, principal, info)
                _check(seal, right, framework_id, principal)
                read = framework_info_from_wire(common_pb2.FrameworkInfo.FromString(info))
            except _GARBLED:
                self.useless.setdefault("frameworks", []).append(rowid)
            else:
                self.frameworks.append(FrameworkReference(framework_id, principal, read))

    def read_tasks(self, rows: Iterable[TaskRow]) -> None:
        """The launch intents."""
        for position, framework_id, task_id, role, data, container_id, secret, grace, seal in rows:
            try:
                right = task_seal(framework_id, role, data, container_id, secret, grace)
                _check(seal, right, framework_id, role, container_id, secret)
                task = task_from_wire(common_pb2.Task.FromString(data))
                if task.task_id != task_id:
                    raise ValueError("it is filed under another task")
            except _GARBLED:
                self._give_up("tasks", position, framework_id, task_id)
            else:
                record = TaskRecord(framework_id, role, task, container_id, secret, grace)
                self.tasks[framework_id, task_id] = record

    def read_updates(self, rows: Iterable[UpdateRow]) -> None:
        """The status update streams, each in its order."""
        for position, framework_id, task_id, update_id, data, acknowledged, seal in rows:
            try:
                _check(seal, update_seal(framework_id, data), framework_id, update_id)
                if acknowledged not in (0, 1):
                    raise ValueError("nobody wrote that")
                status = status_from_wire(common_pb2.TaskStatus.FromString(data))
            except _GARBLED:
                self._give_up("updates", position, framework_id, task_id)
                continue
            if (status.task_id, status.update_id) != (task_id, update_id):
                # What it says is sound, and it is filed where nobody would find it.
                self.damaged[framework_id, status.task_id] = None
                self.useless.setdefault("updates", []).append(position)
                continue
            key = framework_id, task_id
            self._waiting.setdefault(key, [])
            (self._past if acknowledged else self._waiting).setdefault(key, []).append(status)
        for key in self.damaged:
            for table in (self.tasks, self._waiting, self._past):
                table.pop(key, None)

    def give_up_what_lacks(
        self,
        configured: Resources,
        reservations: Iterable[Reservation],
        volumes: Iterable[VolumeRecord],
    ) -> None:
        """Tasks that have not ended, and use what is lost of the agent's reservations."""
        try:
            there = Estate.of(configured, reservations, (one.volume for one in volumes)).total
        except InvalidEstate:
            return  # the agent does not start so
        for key, record in list(self.tasks.items()):
            life = (*self._past.get(key, ()), *self._waiting.get(key, ()))
            ended = bool(life) and life[-1].terminal
            if not ended and not there.covers(dynamic_part(record.task.resources)):
                self.damaged[key] = None
                for table in (self.tasks, self._waiting, self._past):
                    table.pop(key, None)

    def _give_up(self, table: str, row: int, framework_id: object, task_id: object) -> None:
        if _names(framework_id) and _names(task_id):
            self.damaged[str(framework_id), str(task_id)] = None
        else:
            self.useless.setdefault(table, []).append(row)


def _check(seal: int | None, right: int, *texts: object) -> None:
    if seal not in (None, right) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is not as it was written")


def _names(found: object) -> bool:
    return isinstance(found, str) and ID_PATTERN.match(found) is not None
