"""The registry: what only the master knows, durable beyond a crash of the host (D5).

The truth about tasks lives on the agents; here are the agents that were admitted, the frameworks
with their failover deadline, the ids that are used up, and the epoch. How they are encoded is in
`archive.py`; here is where one master keeps them by itself: in SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, assert_never, cast

from google.protobuf.message import DecodeError

from mesoslite.database import Database, Statement, StorageError, WorkDir
from mesoslite.master import archive
from mesoslite.master.archive import BadRecord, Delete, Put, Write
from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    Effect,
    FrameworkRecord,
    Recovered,
)
from mesoslite.measures import CommitMeasures
from mesoslite.v1 import common_pb2
from mesoslite.wire import MalformedMessage, agent_info_from_wire, framework_info_from_wire

FILE_NAME = "registry.sqlite"
_PUT = (
    "INSERT INTO records VALUES (?, ?, ?) "
    "ON CONFLICT (kind, key) DO UPDATE SET data = excluded.data"
)
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ?"

ADVICE = "and start with an --epoch-min above all before: then frameworks begin anew, without tasks"


class Registry(Protocol):
    """What a master keeps its records in. One that is open holds an epoch of its own."""

    @property
    def recovered(self) -> Recovered:
        """What was in it when it was opened, under the epoch that was taken then."""
        ...

    @property
    def measures(self) -> CommitMeasures:
        """What its commits took."""
        ...

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these: all of them, or none. Raises CommitError.

        Durable beyond a crash of the host when it returns. Returns at once when there is none.
        """
        ...

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        ...


class SqliteRegistry:
    """The registry of one master in its work directory."""

    def __init__(self, work_dir: WorkDir, *, epoch_min: int = 1) -> None:
        """Open it and take the next epoch. Raises StorageError, CommitError; blocks.

        `epoch_min`: for a registry that is empty because another was lost. Agents take no master of
        a lower epoch than they have heard of.
        """
        self.path: Path = work_dir.path / FILE_NAME
        self._database = Database(self.path, MIGRATIONS, synced=True, advice=ADVICE)
        self.measures = self._database.measures
        try:
            self.recovered = self._begin(epoch_min)
        except BaseException:
            self._database.close()
            raise

    def _begin(self, epoch_min: int) -> Recovered:
        rows = cast(
            list[tuple[str, str, bytes]],
            self._database.rows("SELECT kind, key, CAST(data AS BLOB) FROM records"),
        )
        try:
            used = [
                archive.epoch_of(key, data) for kind, key, data in rows if kind == archive.EPOCH
            ]
            if not used:
                raise BadRecord(archive.EPOCH, archive.EPOCH, "is missing")
            recovered = archive.recovered(max(used[0] + 1, epoch_min), rows)
        except BadRecord as bad:
            raise self._database.damaged(str(bad)) from None
        # Before anything is said: a master that dies at once has used its epoch up too (D1).
        self._database.write_now([_statement(archive.epoch(recovered.epoch))])
        self._database.settle()
        return recovered

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these in one transaction. Raises CommitError.

        Returns at once, without a thread, when there is none: launching and ending tasks writes
        nothing here, but for those with a fence.
        """
        if writes := archive.all_writes(effects):
            await self._database.write(list(map(_statement, writes)), host=True)

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        self._database.close()


def _statement(write: Write) -> Statement:
    match write:
        case Put(kind, key, data):
            return _PUT, (kind, key, data)
        case Delete(kind, key):
            return _DELETE, (kind, key)
        case _:
            assert_never(write)


# --- migrations -----------------------------------------------------------------------------------

_A_TABLE_FOR_EACH_KIND = """
    CREATE TABLE epoch (epoch INTEGER NOT NULL);
    INSERT INTO epoch VALUES (0);
    CREATE TABLE agents (
        agent_id TEXT PRIMARY KEY, info BLOB NOT NULL, unreachable_since_ms INTEGER
    );
    CREATE TABLE frameworks (
        framework_id TEXT PRIMARY KEY, principal TEXT NOT NULL, info BLOB NOT NULL,
        session_id TEXT NOT NULL, deadline_ms INTEGER
    );
    CREATE TABLE completed (
        position INTEGER PRIMARY KEY AUTOINCREMENT, framework_id TEXT NOT NULL UNIQUE,
        principal TEXT NOT NULL, info BLOB NOT NULL, completed_ms INTEGER NOT NULL
    );
"""


def _one_table_of_records(connection: sqlite3.Connection) -> None:
    """Records that every kind of registry keeps alike, each with a checksum."""
    connection.execute(
        "CREATE TABLE records "
        "(kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, key))"
    )
    try:
        puts = _records_of_tables(connection)
    except (DecodeError, MalformedMessage) as error:
        raise StorageError(f"it holds what cannot be understood: {error}") from None
    connection.executemany(_PUT, [(put.kind, put.key, put.data) for put in puts])
    for table in ("epoch", "agents", "frameworks", "completed"):
        connection.execute(f"DROP TABLE {table}")


def _records_of_tables(connection: sqlite3.Connection) -> list[Put]:
    [(epoch,)] = connection.execute("SELECT epoch FROM epoch")
    agent_info, framework_info = common_pb2.AgentInfo, common_pb2.FrameworkInfo
    agents = connection.execute("SELECT info, unreachable_since_ms FROM agents")
    frameworks = connection.execute(
        "SELECT framework_id, principal, info, session_id, deadline_ms FROM frameworks"
    )
    completed = connection.execute(
        "SELECT framework_id, principal, info, completed_ms FROM completed"
    )
    return [
        archive.epoch(epoch),
        *(
            archive.agent(AgentRecord(agent_info_from_wire(agent_info.FromString(info)), since_ms))
            for info, since_ms in agents
        ),
        *(
            archive.framework(
                FrameworkRecord(
                    framework_id,
                    principal,
                    framework_info_from_wire(framework_info.FromString(info)),
                    session_id,
                    deadline_ms,
                )
            )
            for framework_id, principal, info, session_id, deadline_ms in frameworks
        ),
        *(
            archive.completed(
                CompletedRecord(
                    framework_id,
                    principal,
                    framework_info_from_wire(framework_info.FromString(info)),
                    completed_ms,
                )
            )
            for framework_id, principal, info, completed_ms in completed
        ),
    ]


MIGRATIONS = (_A_TABLE_FOR_EACH_KIND, _one_table_of_records)
