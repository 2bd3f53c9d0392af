"""The rows of the checkpoint that outlive the host: reservations, volumes, answers, removals.

Each has a seal, as all rows of the checkpoint (`salvage.py`). Of what does not match its seal:

- a volume is none any more; its directory stays where it is, and nobody deletes it;
- of a reservation only what its sound volumes lie on is known, and that stays reserved;
- a directory that was to be deleted is not: its name may be another one's by now;
- an answer is lost, and the next registration tells what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

from google.protobuf.message import DecodeError

from mesoslite.operations import OperationStatus
from mesoslite.reservations import Reservation
from mesoslite.v1 import common_pb2
from mesoslite.wire import MalformedMessage
from mesoslite.wire.reservations import (
    operation_status_from_wire,
    reservation_from_wire,
    volume_from_wire,
    write_operation_status,
    write_reservation,
    write_volume,
)
from mesoslite_agent.protocol import (
    ForgetDirectory,
    ForgetOperation,
    ForgetReservation,
    ForgetVolume,
    SaveOperation,
    SaveReservation,
    SaveVolume,
    VolumeRecord,
)

TABLES = """
    CREATE TABLE reservations (
        role TEXT NOT NULL, reservation_id TEXT NOT NULL, data BLOB NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (role, reservation_id)
    );
    CREATE TABLE volumes (
        role TEXT NOT NULL, volume_id TEXT NOT NULL, directory TEXT NOT NULL, data BLOB NOT NULL,
        seal INTEGER NOT NULL, PRIMARY KEY (role, volume_id)
    );
    CREATE TABLE leaving (directory TEXT PRIMARY KEY, seal INTEGER NOT NULL);
    CREATE TABLE operations (
        framework_id TEXT NOT NULL, operation_id TEXT NOT NULL, data BLOB NOT NULL,
        seal INTEGER NOT NULL, PRIMARY KEY (framework_id, operation_id)
    );
    """

Rows = Callable[[str], Iterable[tuple[Any, ...]]]
Row = tuple[object, ...]
_GARBLED = (DecodeError, MalformedMessage, AttributeError, TypeError, ValueError)


def seal_of(data: bytes, *words: str) -> int:
    """The checksum of a row."""
    return crc32("\0".join(words).encode(), crc32(data))


# --- writing --------------------------------------------------------------------------------------


def _reservation_row(effect: SaveReservation) -> Row:
    one, slot = effect.reservation, common_pb2.Reservation()
    write_reservation(slot, one)
    data = slot.SerializeToString(deterministic=True)
    return one.role, one.reservation_id, data, seal_of(data, one.role, one.reservation_id)


def _volume_row(effect: SaveVolume) -> Row:
    one, slot = effect.record.volume, common_pb2.Volume()
    write_volume(slot, one)
    data = slot.SerializeToString(deterministic=True)
    named = one.role, one.volume_id, effect.record.directory
    return *named, data, seal_of(data, *named)


def _operation_row(effect: SaveOperation) -> Row:
    one, slot = effect.status, common_pb2.OperationStatus()
    write_operation_status(slot, one)
    data = slot.SerializeToString(deterministic=True)
    named = one.framework_id, one.operation_id
    return *named, data, seal_of(data, *named)


#: As in `checkpoint.py`: for each kind of durable effect, statements and their parameters.
WRITTEN: dict[type, tuple[tuple[str, Callable[[Any], Row]], ...]] = {
    SaveReservation: (
        ("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?, ?)", _reservation_row),
    ),
    ForgetReservation: (
        (
            "DELETE FROM reservations WHERE role = ? AND reservation_id = ?",
            lambda effect: (effect.role, effect.reservation_id),
        ),
    ),
    SaveVolume: (("INSERT OR REPLACE INTO volumes VALUES (?, ?, ?, ?, ?)", _volume_row),),
    ForgetVolume: (
        (
            "DELETE FROM volumes WHERE role = ? AND volume_id = ?",
            lambda effect: (effect.role, effect.volume_id),
        ),
        (
            "INSERT OR REPLACE INTO leaving VALUES (?, ?)",
            lambda effect: (effect.directory, seal_of(b"", effect.directory)),
        ),
    ),
    ForgetDirectory: (
        ("DELETE FROM leaving WHERE directory = ?", lambda effect: (effect.directory,)),
    ),
    SaveOperation: (("INSERT OR REPLACE INTO operations VALUES (?, ?, ?, ?)", _operation_row),),
    ForgetOperation: (
        (
            "DELETE FROM operations WHERE framework_id = ? AND operation_id = ?",
            lambda effect: (effect.framework_id, effect.operation_id),
        ),
    ),
}
DELETE_ROW = {
    table: f"DELETE FROM {table} WHERE rowid = ?"  # noqa: S608 - the names are ours
    for table in ("reservations", "volumes", "leaving", "operations")
}


# --- reading --------------------------------------------------------------------------------------


@dataclass(slots=True)
class KeptEstate:
    """What a checkpoint says of reservations and volumes."""

    reservations: list[Reservation] = field(default_factory=list)
    volumes: list[VolumeRecord] = field(default_factory=list)
    operations: list[OperationStatus] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """What was damaged, as far as it has a name."""
    useless: dict[str, list[int]] = field(default_factory=dict)
    """By table, the rows that were damaged."""
    rebuilt: list[SaveReservation] = field(default_factory=list)
    """Of reservations that were damaged, what volumes lie on: to be written again, or it would be
    gone with the last of these volumes."""

    def _is_lost(self, table: str, row: int, name: object) -> None:
        self.lost.append(f"{table} {str(name)[:200]!r}")
        self.useless.setdefault(table, []).append(row)

    def read(self, rows: Rows) -> None:
        """All of it; `rows` asks the database."""
        self._read_reservations(rows)
        self._read_volumes(rows)
        for row, directory, seal in rows("SELECT rowid, * FROM leaving ORDER BY rowid"):
            if isinstance(directory, str) and seal == seal_of(b"", directory):
                self.leaving.append(directory)
            else:
                self._is_lost("leaving", row, directory)
        found = rows("SELECT rowid, * FROM operations ORDER BY rowid")
        for row, framework_id, operation_id, data, seal in found:
            try:
                _check(seal, data, framework_id, operation_id)
                status = operation_status_from_wire(common_pb2.OperationStatus.FromString(data))
            except _GARBLED:
                self._is_lost("operations", row, operation_id)
            else:
                self.operations.append(status)

    def _read_reservations(self, rows: Rows) -> None:
        found = rows("SELECT rowid, * FROM reservations ORDER BY role, reservation_id")
        for row, role, reservation_id, data, seal in found:
            try:
                _check(seal, data, role, reservation_id)
                one = reservation_from_wire(common_pb2.Reservation.FromString(data))
            except _GARBLED:
                self._is_lost("reservations", row, reservation_id)
            else:
                self.reservations.append(one)

    def _read_volumes(self, rows: Rows) -> None:
        found = rows("SELECT rowid, * FROM volumes ORDER BY role, volume_id")
        for row, role, volume_id, directory, data, seal in found:
            try:
                _check(seal, data, role, volume_id, directory)
                one = volume_from_wire(common_pb2.Volume.FromString(data))
            except _GARBLED:
                self._is_lost("volumes", row, volume_id)
            else:
                self.volumes.append(VolumeRecord(one, directory))
        self._keep_what_volumes_lie_on()

    def _keep_what_volumes_lie_on(self) -> None:
        known = {(one.role, one.reservation_id) for one in self.reservations}
        made: dict[tuple[str, str], Reservation] = {}
        for one in (record.volume for record in self.volumes):
            at = one.role, one.reservation_id
            if not one.reservation_id or at in known:
                continue
            there = made.get(at)
            if there is not None:
                made[at] = replace(there, resources=there.resources + one.resources)
                continue
            made[at] = Reservation(
                one.reservation_id,
                one.role,
                one.resources,
                {},
                one.principal,
                one.framework_id,
                one.framework,
                one.since_ms,
            )
        self.reservations += made.values()
        self.rebuilt = [SaveReservation(one) for one in made.values()]


def _check(seal: object, data: bytes, *words: str) -> None:
    if seal != seal_of(data, *words):
        raise ValueError("its seal is broken")
