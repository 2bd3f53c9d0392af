"""The checkpoint: what an agent must still know after a crash, in SQLite (docs/decisions.md D5).

Launch intents, status update streams and acknowledgements outlive the process: they are written
and not fsynced, since a host that reboots has lost those tasks anyway, and the boot id tells. The
agent's id, the count of its runs, the highest epoch it heard of, and what is reserved
(`estate_rows.py`) outlive the host. Nouns are kept as the wire has them, so that a newer program
reads what an older one wrote.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

import structlog
from google.protobuf.message import DecodeError

from mesoslite.database import Database, Statement, WorkDir
from mesoslite.model import AgentInfo
from mesoslite.v1 import common_pb2
from mesoslite.wire import (
    MalformedMessage,
    agent_info_from_wire,
    agent_info_to_wire,
    encoded_status,
    encoded_task,
    framework_info_to_wire,
)
from mesoslite_agent import estate_rows
from mesoslite_agent.estate_rows import KeptEstate
from mesoslite_agent.protocol import (
    OF_THE_HOST,
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
)
from mesoslite_agent.salvage import (
    FrameworkRow,
    Salvage,
    TaskRow,
    UpdateRow,
    agent_seal,
    framework_seal,
    task_seal,
    update_seal,
)

log = structlog.get_logger("mesoslite.agent")

FILE_NAME = "checkpoint.sqlite"
ADVICE = "to begin as a new agent, with whose start all that runs here is ended"
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
    """
    ALTER TABLE agent ADD COLUMN seal INTEGER;
    ALTER TABLE frameworks ADD COLUMN seal INTEGER;
    ALTER TABLE tasks ADD COLUMN seal INTEGER;
    ALTER TABLE updates ADD COLUMN seal INTEGER;
    """,
    estate_rows.TABLES,
)


class Checkpoint:
    """The checkpoint of one agent in its work directory."""

    def __init__(self, work_dir: WorkDir, boot_id: str) -> None:
        """Open it, with a new agent id at the very first time, and count this run.

        Raises StorageError, CommitError; blocks. `boot_id` is this boot of the host's.
        """
        self.path: Path = work_dir.path / FILE_NAME
        self._database = Database(
            self.path, MIGRATIONS, salvaged=True, boot_id=boot_id, advice=ADVICE
        )
        self.measures = self._database.measures
        try:
            self._begin(boot_id)
        except BaseException:
            self._database.close()
            raise

    def _begin(self, boot_id: str) -> None:
        rows = cast(
            list[tuple[Any, ...]],
            self._database.rows("SELECT agent_id, boot_id, run, epoch, seal FROM agent"),
        )
        new = (secrets.token_hex(AGENT_ID_BYTES), boot_id, 0, 0, None)
        agent_id, earlier_boot_id, earlier_run, epoch, seal = rows[0] if rows else new
        sealed = seal in (None, agent_seal(agent_id, earlier_boot_id, earlier_run))
        numbers = isinstance(earlier_run, int) and isinstance(epoch, int)
        typed = isinstance(agent_id, str) and numbers
        if not (sealed and typed) or (self._database.begun and not rows):
            raise self._database.damaged("it does not say whose it is")
        self.agent_id: str = agent_id
        self.epoch_seen: int = epoch
        self.boot_id = boot_id
        self.run = earlier_run + 1
        self.rebooted = earlier_boot_id != boot_id
        self._boot_kept = not self.rebooted
        """The boot is kept with what its first commit says of it, the ends of all that ran: were it
        kept before, and this run over in between, no later one would know why they ended."""
        # Before first contact: a reply that is lost must not make two agents of one host (D3).
        self._database.write_now(
            [
                ("DELETE FROM agent", ()),
                (
                    (
                        "INSERT INTO agent (agent_id, boot_id, run, epoch, seal) "
                        "VALUES (?, ?, ?, ?, ?)"
                    ),
                    (
                        self.agent_id,
                        earlier_boot_id,
                        self.run,
                        self.epoch_seen,
                        agent_seal(self.agent_id, earlier_boot_id, self.run),
                    ),
                ),
            ]
        )
        self._database.settle()

    def described(self) -> AgentInfo | None:
        """What the agent last said of itself; None: it never did, or that was damaged. Raises
        StorageError; blocks."""
        rows = cast(list[tuple[bytes]], self._database.rows("SELECT info FROM described"))
        with contextlib.suppress(DecodeError, MalformedMessage, TypeError):
            for (data,) in rows:
                return agent_info_from_wire(common_pb2.AgentInfo.FromString(data))
        return None

    def describe(self, info: AgentInfo) -> None:
        """Keep what it says of itself from now on, for good. Raises CommitError; blocks."""
        data = agent_info_to_wire(info).SerializeToString()
        self._database.write_now(
            [("DELETE FROM described", ()), ("INSERT INTO described VALUES (?)", (data,))]
        )

    def recovered(self, info: AgentInfo) -> Recovered:
        """All that the agent's machine starts from. Raises StorageError, CommitError; blocks.

        What is damaged is told in one warning; see `salvage.py` for what it costs.
        """
        found, estate = self._salvage(), KeptEstate()
        estate.read(self._database.rows)
        if estate.lost:
            log.error(
                "the checkpoint is damaged: reservations and volumes are lost; what volumes hold "
                "stays where it is",
                file=str(self.path),
                lost=", ".join(estate.lost),
            )
            found.give_up_what_lacks(info.resources, estate.reservations, estate.volumes)
            found.useless |= estate.useless
        if found.damaged or found.useless:
            log.warning(
                "the checkpoint is damaged: the tasks that it was of are ended",
                file=str(self.path),
                tasks=", ".join("/".join(key) for key in found.damaged) or "none that it names",
                other_rows=sum(map(len, found.useless.values())),
            )
            self._database.write_now(
                [
                    (_DELETE_ROW[table], (row,))
                    for table, rows in found.useless.items()
                    for row in rows
                ]
            )
        if estate.rebuilt:
            self._database.write_now(_statements(estate.rebuilt)[0])
        return Recovered(
            info=info,
            boot_id=self.boot_id,
            run=self.run,
            rebooted=self.rebooted,
            epoch_seen=self.epoch_seen,
            frameworks=tuple(found.frameworks),
            tasks=tuple(found.tasks.values()),
            streams=found.streams,
            damaged=tuple(found.damaged),
            reservations=tuple(estate.reservations),
            volumes=tuple(estate.volumes),
            operations=tuple(estate.operations),
            leaving=tuple(estate.leaving),
        )

    def _salvage(self) -> Salvage:
        rows, found = self._database.rows, Salvage()
        found.read_frameworks(
            cast(
                list[FrameworkRow],
                rows(
                    "SELECT rowid, framework_id, principal, info, seal "
                    "FROM frameworks ORDER BY framework_id"
                ),
            )
        )
        found.read_tasks(
            cast(
                list[TaskRow],
                rows(
                    "SELECT position, framework_id, task_id, role, task, container_id, secret, "
                    "kill_grace_ms, seal FROM tasks ORDER BY position"
                ),
            )
        )
        found.read_updates(
            cast(
                list[UpdateRow],
                rows(
                    "SELECT position, framework_id, task_id, update_id, status, acknowledged, seal "
                    "FROM updates ORDER BY position"
                ),
            )
        )
        return found

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these in one transaction. Raises CommitError.

        Only an epoch, and what is reserved, waits for an fsync; with nothing durable it returns at
        once.
        """
        statements, host = _statements(effects)
        if not statements:
            return
        if not self._boot_kept:
            seal = agent_seal(self.agent_id, self.boot_id, self.run)
            statements.append(("UPDATE agent SET boot_id = ?, seal = ?", (self.boot_id, seal)))
        await self._database.write(statements, host=host)
        self._boot_kept = True

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
        host = host or kind in OF_THE_HOST
    return statements, host


def _task_row(effect: SaveTask) -> tuple[object, ...]:
    record = effect.record
    data = encoded_task(record.task)
    sealed = (
        record.framework_id,
        record.role,
        data,
        record.container_id,
        record.secret,
        record.kill_grace_ms,
    )
    return (*sealed, record.task.task_id, task_seal(*sealed))


def _update_row(effect: SaveUpdate) -> tuple[object, ...]:
    status = effect.status
    data = encoded_status(status)
    seal = update_seal(effect.framework_id, data)
    return effect.framework_id, status.task_id, status.update_id, data, seal


def _framework_row(effect: SaveFramework) -> tuple[object, ...]:
    framework = effect.framework
    info = framework_info_to_wire(framework.info).SerializeToString()
    named = framework.framework_id, framework.principal
    return *named, info, framework_seal(*named, info)


def _task_key(effect: ForgetTask) -> tuple[object, ...]:
    return effect.framework_id, effect.task_id


_DELETE_ROW = {
    "frameworks": "DELETE FROM frameworks WHERE rowid = ?",
    "tasks": "DELETE FROM tasks WHERE position = ?",
    "updates": "DELETE FROM updates WHERE position = ?",
    **estate_rows.DELETE_ROW,
}
#: For each kind of durable effect: the statements that write one, and their parameters.
_WRITTEN: dict[type, tuple[tuple[str, Callable[[Any], tuple[object, ...]]], ...]] = {
    SaveEpoch: (("UPDATE agent SET epoch = ?", lambda effect: (effect.epoch,)),),
    SaveFramework: (
        (
            (
                "INSERT OR REPLACE INTO frameworks (framework_id, principal, info, seal) "
                "VALUES (?, ?, ?, ?)"
            ),
            _framework_row,
        ),
    ),
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
                "(framework_id, role, task, container_id, secret, kill_grace_ms, task_id, seal) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            ),
            _task_row,
        ),
    ),
    SaveUpdate: (
        (
            (
                "INSERT INTO updates (framework_id, task_id, update_id, status, seal) "
                "VALUES (?, ?, ?, ?, ?)"
            ),
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
    **estate_rows.WRITTEN,
}
assert set(_WRITTEN) == set(get_args(Durable)), "each durable effect is written"
