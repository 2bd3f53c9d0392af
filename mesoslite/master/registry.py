"""The registry: what only the master knows, in SQLite, durable beyond a crash of the host (D5).

The truth about tasks lives on the agents; here are the agents that were admitted, the frameworks
with their failover deadline, the ids that are used up, and the epoch. Nouns are kept as the wire
has them, so that a newer program reads what an older one wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never, cast

from google.protobuf.message import DecodeError

from mesoslite.database import Database, Statement, StorageError, WorkDir
from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    CompleteFramework,
    Durable,
    Effect,
    ForgetAgent,
    FrameworkRecord,
    Recovered,
    SaveAgent,
    SaveFramework,
)
from mesoslite.v1 import common_pb2
from mesoslite.wire import (
    MalformedMessage,
    agent_info_from_wire,
    agent_info_to_wire,
    framework_info_from_wire,
    framework_info_to_wire,
)

FILE_NAME = "registry.sqlite"
COMPLETED_LOADED_MAX = 50  # shown to people, as Mesos keeps in memory
COMPLETED_ROWS_MAX = 100_000  # ~200 B each, so 20 MB; Mesos: 102,400
MIGRATIONS = (
    """
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
    """,
)


class Registry:
    """The registry of one master in its work directory."""

    def __init__(self, work_dir: WorkDir) -> None:
        """Open it and take the next epoch. Raises StorageError, CommitError; blocks."""
        self.path: Path = work_dir.path / FILE_NAME
        self._database = Database(self.path, MIGRATIONS)
        self.measures = self._database.measures
        try:
            # Before anything is said: a master that dies at once has used its epoch up too (D1).
            self._database.write_now([("UPDATE epoch SET epoch = epoch + 1", ())])
            self.recovered = self._load()
        except BaseException:
            self._database.close()
            raise

    def _load(self) -> Recovered:
        try:
            return Recovered(
                epoch=self._epoch(),
                agents=self._agents(),
                frameworks=self._frameworks(),
                completed=self._completed(),
            )
        except (DecodeError, MalformedMessage) as error:
            raise StorageError(f"{self.path} holds what cannot be understood: {error}") from None

    def _epoch(self) -> int:
        [(epoch,)] = self._database.rows("SELECT epoch FROM epoch")
        return cast(int, epoch)

    def _agents(self) -> tuple[AgentRecord, ...]:
        rows = cast(
            list[tuple[bytes, int | None]],
            self._database.rows("SELECT info, unreachable_since_ms FROM agents ORDER BY agent_id"),
        )
        return tuple(
            AgentRecord(agent_info_from_wire(common_pb2.AgentInfo.FromString(info)), since_ms)
            for info, since_ms in rows
        )

    def _frameworks(self) -> tuple[FrameworkRecord, ...]:
        rows = cast(
            list[tuple[str, str, bytes, str, int | None]],
            self._database.rows(
                "SELECT framework_id, principal, info, session_id, deadline_ms FROM frameworks "
                "ORDER BY framework_id"
            ),
        )
        read = common_pb2.FrameworkInfo.FromString
        return tuple(
            FrameworkRecord(
                framework_id, principal, framework_info_from_wire(read(info)), session, deadline_ms
            )
            for framework_id, principal, info, session, deadline_ms in rows
        )

    def _completed(self) -> tuple[CompletedRecord, ...]:
        rows = cast(
            list[tuple[str, str, bytes, int]],
            self._database.rows(
                "SELECT framework_id, principal, info, completed_ms FROM completed "
                "ORDER BY position DESC LIMIT ?",
                COMPLETED_LOADED_MAX,
            ),
        )
        read = common_pb2.FrameworkInfo.FromString
        return tuple(
            CompletedRecord(framework_id, principal, framework_info_from_wire(read(info)), at_ms)
            for framework_id, principal, info, at_ms in reversed(rows)
        )

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these in one transaction. Raises CommitError.

        Returns at once, without a thread, when there is none: launching and ending tasks writes
        nothing here.
        """
        statements = [
            statement
            for effect in effects
            if isinstance(effect, Durable)
            for statement in _statements(effect)
        ]
        if statements:
            await self._database.write(statements, host=True)

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        self._database.close()


def _statements(effect: Durable) -> list[Statement]:
    match effect:
        case SaveAgent(record):
            info = agent_info_to_wire(record.info).SerializeToString()
            return [
                (
                    "INSERT OR REPLACE INTO agents VALUES (?, ?, ?)",
                    (record.info.agent_id, info, record.unreachable_since_ms),
                )
            ]
        case ForgetAgent(agent_id):
            return [("DELETE FROM agents WHERE agent_id = ?", (agent_id,))]
        case SaveFramework(framework):
            info = framework_info_to_wire(framework.info).SerializeToString()
            return [
                (
                    "INSERT OR REPLACE INTO frameworks VALUES (?, ?, ?, ?, ?)",
                    (
                        framework.framework_id,
                        framework.principal,
                        info,
                        framework.session_id,
                        framework.deadline_ms,
                    ),
                )
            ]
        case CompleteFramework(ended):
            info = framework_info_to_wire(ended.info).SerializeToString()
            return [
                ("DELETE FROM frameworks WHERE framework_id = ?", (ended.framework_id,)),
                (
                    (
                        "INSERT OR IGNORE INTO completed "
                        "(framework_id, principal, info, completed_ms) VALUES (?, ?, ?, ?)"
                    ),
                    (ended.framework_id, ended.principal, info, ended.completed_ms),
                ),
                (
                    (
                        "DELETE FROM completed "
                        "WHERE position <= (SELECT max(position) FROM completed) - ?"
                    ),
                    (COMPLETED_ROWS_MAX,),
                ),
            ]
        case _:
            assert_never(effect)
