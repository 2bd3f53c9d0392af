"""The checkpoint: what an agent must still know after a crash, in SQLite (docs/decisions.md D5).

Launch intents, status update streams and acknowledgements outlive the process: they are written
and not fsynced, since a host that reboots has lost those tasks anyway, and the boot id tells. The
agent's id, the count of its runs and the highest epoch it heard of outlive the host. Nouns are
kept as the wire has them, so that a newer program reads what an older one wrote.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

from google.protobuf.message import DecodeError

from mesoslite.database import Database, Statement, StorageError, WorkDir
from mesoslite.messages import FrameworkReference
from mesoslite.model import AgentInfo, TaskStatus
from mesoslite.v1 import common_pb2
from mesoslite.wire import (
    MalformedMessage,
    agent_info_from_wire,
    agent_info_to_wire,
    encoded_status,
    encoded_task,
    framework_info_from_wire,
    framework_info_to_wire,
    status_from_wire,
    task_from_wire,
)
from mesoslite_agent.protocol import (
    Durable,
    Effect,
    ForgetFramework,
    ForgetTask,
    Recovered,
    SaveAcknowledgement,
    SaveEpoch,
    SaveFramework,
    SaveTask,
    SaveUpdate,
    StreamRecord,
    TaskRecord,
)

FILE_NAME = "checkpoint.sqlite"
AGENT_ID_BYTES = 8  # 64 random bits: a collision among 100,000 agents has a chance of 3 in 10^10
MIGRATIONS = (
    """
    CREATE TABLE agent (
        agent_id TEXT NOT NULL, boot_id TEXT NOT NULL, run INTEGER NOT NULL, epoch INTEGER NOT NULL
    );
    CREATE TABLE frameworks (
        framework_id TEXT PRIMARY KEY, principal TEXT NOT NULL, info BLOB NOT NULL
    );
    CREATE TABLE tasks (
        position INTEGER PRIMARY KEY, framework_id TEXT NOT NULL, task_id TEXT NOT NULL,
        role TEXT NOT NULL, task BLOB NOT NULL, container_id TEXT NOT NULL, secret TEXT NOT NULL,
        UNIQUE (framework_id, task_id)
    );
    CREATE TABLE updates (
        position INTEGER PRIMARY KEY, framework_id TEXT NOT NULL, task_id TEXT NOT NULL,
        update_id TEXT NOT NULL, status BLOB NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX updates_of_task ON updates (framework_id, task_id, position);
    """,
    "ALTER TABLE tasks ADD COLUMN kill_grace_ms INTEGER",
    "CREATE TABLE described (info BLOB NOT NULL)",
)


class Checkpoint:
    """The checkpoint of one agent in its work directory."""

    def __init__(self, work_dir: WorkDir, boot_id: str) -> None:
        """Open it, with a new agent id at the very first time, and count this run.

        Raises StorageError, CommitError; blocks. `boot_id` is this boot of the host's.
        """
        self.path: Path = work_dir.path / FILE_NAME
        self._database = Database(self.path, MIGRATIONS)
        self.measures = self._database.measures
        try:
            self._begin(boot_id)
        except BaseException:
            self._database.close()
            raise

    def _begin(self, boot_id: str) -> None:
        rows = cast(
            list[tuple[str, str, int, int]],
            self._database.rows("SELECT agent_id, boot_id, run, epoch FROM agent"),
        )
        new = (secrets.token_hex(AGENT_ID_BYTES), boot_id, 0, 0)
        self.agent_id, earlier_boot_id, earlier_run, self.epoch_seen = rows[0] if rows else new
        self.boot_id = boot_id
        self.run = earlier_run + 1
        self.rebooted = earlier_boot_id != boot_id
        # Before first contact: a reply that is lost must not make two agents of one host (D3).
        self._database.write_now(
            [
                ("DELETE FROM agent", ()),
                (
                    "INSERT INTO agent VALUES (?, ?, ?, ?)",
                    (self.agent_id, boot_id, self.run, self.epoch_seen),
                ),
            ]
        )

    def described(self) -> AgentInfo | None:
        """What the agent last said of itself; None: it never did. Raises StorageError; blocks."""
        rows = cast(list[tuple[bytes]], self._database.rows("SELECT info FROM described"))
        try:
            return (
                agent_info_from_wire(common_pb2.AgentInfo.FromString(rows[0][0])) if rows else None
            )
        except (DecodeError, MalformedMessage) as error:
            raise StorageError(f"{self.path} holds what cannot be understood: {error}") from None

    def describe(self, info: AgentInfo) -> None:
        """Keep what it says of itself from now on, for good. Raises CommitError; blocks."""
        data = agent_info_to_wire(info).SerializeToString()
        self._database.write_now(
            [("DELETE FROM described", ()), ("INSERT INTO described VALUES (?)", (data,))]
        )

    def recovered(self, info: AgentInfo) -> Recovered:
        """All that the agent's machine starts from. Raises StorageError; blocks."""
        try:
            return Recovered(
                info=info,
                boot_id=self.boot_id,
                run=self.run,
                rebooted=self.rebooted,
                epoch_seen=self.epoch_seen,
                frameworks=self._frameworks(),
                tasks=self._tasks(),
                streams=self._streams(),
            )
        except (DecodeError, MalformedMessage) as error:
            raise StorageError(f"{self.path} holds what cannot be understood: {error}") from None

    def _frameworks(self) -> tuple[FrameworkReference, ...]:
        rows = cast(
            list[tuple[str, str, bytes]],
            self._database.rows("SELECT * FROM frameworks ORDER BY framework_id"),
        )
        read = common_pb2.FrameworkInfo.FromString
        return tuple(
            FrameworkReference(framework_id, principal, framework_info_from_wire(read(info)))
            for framework_id, principal, info in rows
        )

    def _tasks(self) -> tuple[TaskRecord, ...]:
        rows = cast(
            list[tuple[str, str, bytes, str, str, int | None]],
            self._database.rows(
                "SELECT framework_id, role, task, container_id, secret, kill_grace_ms "
                "FROM tasks ORDER BY position"
            ),
        )
        read = common_pb2.Task.FromString
        return tuple(
            TaskRecord(
                framework_id, role, task_from_wire(read(task)), container_id, secret, grace_ms
            )
            for framework_id, role, task, container_id, secret, grace_ms in rows
        )

    def _streams(self) -> tuple[StreamRecord, ...]:
        rows = cast(
            list[tuple[str, str, bytes, int]],
            self._database.rows(
                "SELECT framework_id, task_id, status, acknowledged FROM updates ORDER BY position"
            ),
        )
        waiting: dict[tuple[str, str], list[TaskStatus]] = {}
        past: dict[tuple[str, str], list[TaskStatus]] = {}
        for framework_id, task_id, data, acknowledged in rows:
            key = (framework_id, task_id)
            status = status_from_wire(common_pb2.TaskStatus.FromString(data))
            updates = waiting.setdefault(key, [])
            if acknowledged:
                past.setdefault(key, []).append(status)
            else:
                updates.append(status)
        return tuple(
            StreamRecord(*key, tuple(updates), tuple(past.get(key, ())))
            for key, updates in waiting.items()
        )

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these in one transaction. Raises CommitError.

        Only an epoch waits for an fsync; with nothing durable it returns at once.
        """
        statements, host = _statements(effects)
        if statements:
            await self._database.write(statements, host=host)

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        self._database.close()


def _statements(effects: Iterable[Effect]) -> tuple[list[Statement], bool]:
    """What writes the durable ones, in order; and whether any must outlive the host.

    Neighbours of one kind are written together, which a database does at half the cost: what is
    written of one of them is no matter to the others.
    """
    statements: list[Statement] = []
    host = False
    durable = [effect for effect in effects if type(effect) in _WRITTEN]
    for kind, neighbours in groupby(durable, type):
        alike = list(neighbours)
        for sql, row in _WRITTEN[kind]:
            statements += [(sql, row(effect)) for effect in alike]
        host = host or kind is SaveEpoch
    return statements, host


def _task_row(effect: SaveTask) -> tuple[object, ...]:
    record = effect.record
    return (
        record.framework_id,
        record.task.task_id,
        record.role,
        encoded_task(record.task),
        record.container_id,
        record.secret,
        record.kill_grace_ms,
    )


def _update_row(effect: SaveUpdate) -> tuple[object, ...]:
    status = effect.status
    return effect.framework_id, status.task_id, status.update_id, encoded_status(status)


def _framework_row(effect: SaveFramework) -> tuple[object, ...]:
    framework = effect.framework
    info = framework_info_to_wire(framework.info).SerializeToString()
    return framework.framework_id, framework.principal, info


def _task_key(effect: ForgetTask) -> tuple[object, ...]:
    return effect.framework_id, effect.task_id


#: For each kind of durable effect: the statements that write one, and their parameters.
_WRITTEN: dict[type, tuple[tuple[str, Callable[[Any], tuple[object, ...]]], ...]] = {
    SaveEpoch: (("UPDATE agent SET epoch = ?", lambda effect: (effect.epoch,)),),
    SaveFramework: (("INSERT OR REPLACE INTO frameworks VALUES (?, ?, ?)", _framework_row),),
    ForgetFramework: (
        (
            "DELETE FROM frameworks WHERE framework_id = ?",
            lambda effect: (effect.framework_id,),
        ),
    ),
    SaveTask: (
        (
            (
                "INSERT OR REPLACE INTO tasks "
                "(framework_id, task_id, role, task, container_id, secret, kill_grace_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)"
            ),
            _task_row,
        ),
    ),
    SaveUpdate: (
        (
            "INSERT INTO updates (framework_id, task_id, update_id, status) VALUES (?, ?, ?, ?)",
            _update_row,
        ),
    ),
    # Those that were acknowledged stay until the task is forgotten, for its post-mortem: of at most
    # 8 statuses.
    SaveAcknowledgement: (
        (
            (
                "UPDATE updates SET acknowledged = 1 "
                "WHERE framework_id = ? AND task_id = ? AND update_id = ?"
            ),
            lambda effect: (effect.framework_id, effect.task_id, effect.update_id),
        ),
    ),
    ForgetTask: (
        ("DELETE FROM tasks WHERE framework_id = ? AND task_id = ?", _task_key),
        ("DELETE FROM updates WHERE framework_id = ? AND task_id = ?", _task_key),
    ),
}
assert set(_WRITTEN) == set(get_args(Durable)), "each durable effect is written"
