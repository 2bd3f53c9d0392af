"""Post-mortems: what an agent keeps of each attempt to run a task, also without its sandbox.

They stand in a file of their own, so that nothing of it can harm the checkpoint, and they are
bounded in number and size: the oldest go first. Those that ended well are counted apart, or a
thousand of them a second would wash away the one that failed.

Nothing waits for them. They are written once a second, in a thread, and those that ended well
every five, or when somebody asks: of a burst only as many as are kept anyway, and the outputs of
those that ended well only while there are few. So it costs little whatever a framework launches. A
crash of the agent costs the last of these seconds, but for those whose end is not acknowledged:
the next run says them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import structlog

from mesoslite.files import FILE_CHUNK_BYTES_MAX
from mesoslite.lifecycle import TaskState
from mesoslite.model import AgentInfo
from mesoslite.v1 import agent_pb2 as pb
from mesoslite.wire import write_resources, write_status
from mesoslite_agent import sandbox
from mesoslite_agent.protocol import KeepPostMortem

FILE_NAME = "post-mortems.sqlite"
KEPT_MAX = 1_000  # of those that ended well, and of the others; ~10 kB each, so ~12 MB together
TAIL_BYTES_MAX = 4_096  # of each output
TAILS_MAX = 100  # outputs read for one write, of attempts that ended well
COMMAND_CHARS_MAX = 1_024
STATUSES_MAX = 16  # the newest; there are 8 at most
MESSAGE_CHARS_MAX = 300  # of each status but the last
WRITE_INTERVAL_S = 1.0
#: Of those that ended well, at ~25 us each. A commit is ~1 ms, so one a second would cost an agent
#: that runs a few short tasks a second more than all else that it does for them.
WELL_INTERVAL_S = 5.0
ATTEMPTS_MAX = 8  # in one answer: a task that returns has one on each agent, rarely two
TABLES = """
    CREATE TABLE IF NOT EXISTS attempts (
        position INTEGER PRIMARY KEY, framework_id TEXT NOT NULL, task_id TEXT NOT NULL,
        container_id TEXT NOT NULL UNIQUE, well INTEGER NOT NULL, attempt BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS attempts_of_task ON attempts (task_id);
    CREATE INDEX IF NOT EXISTS attempts_by_age ON attempts (well, position);
    PRAGMA user_version = 1;
"""
_OLDEST_GO = (
    "DELETE FROM attempts WHERE position IN (SELECT position FROM attempts WHERE well = ? "
    "ORDER BY position DESC LIMIT -1 OFFSET ?)"
)

log = structlog.get_logger("mesoslite.agent")


class PostMortems:
    """Those of one agent. `keep` is for its loop; all the rest happens in one thread."""

    def __init__(
        self, work_dir: Path, info: AgentInfo, sandbox_of: Callable[[str, str, str], Path]
    ) -> None:
        """`sandbox_of` says where (framework id, task id, container id) has its files."""
        self._path = work_dir / FILE_NAME
        self._info = info
        self._sandbox_of = sandbox_of
        self._waiting: dict[bool, deque[KeepPostMortem]] = {
            well: deque(maxlen=KEPT_MAX) for well in (False, True)
        }
        self._timer: asyncio.TimerHandle | None = None
        self._well_due_s = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="post-mortems")
        self._database: sqlite3.Connection | None = None
        self._complaint = ""

    def keep(self, attempt: KeepPostMortem) -> None:
        """Take note of the end of an attempt. O(1); over KEPT_MAX a second the oldest are lost."""
        self._waiting[ended_well(attempt)].append(attempt)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WRITE_INTERVAL_S, self._write_soon)

    def find(self, framework_id: str, task_id: str) -> bytes:
        """The newest attempts of a task as PostMortems, newest first. Blocks; in any thread.

        An empty framework id: of whichever framework has such a task.
        """
        return self._thread.submit(self._find, framework_id, task_id).result()

    def close(self) -> None:
        """Write what waits. Blocks."""
        if self._timer is not None:
            self._timer.cancel()
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _write_soon(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if loop.time() < self._well_due_s:
            if self._waiting[True]:
                self._timer = loop.call_later(WRITE_INTERVAL_S, self._write_soon)
            if self._waiting[False]:
                self._thread.submit(self._write, (False,))
        else:
            self._well_due_s = loop.time() + WELL_INTERVAL_S
            self._thread.submit(self._write)

    # --- in the thread ----------------------------------------------------------------------------

    def _write(self, kinds: tuple[bool, ...] = (False, True)) -> None:
        """Write what waits of these kinds; when that cannot be, it waits on for the next time."""
        taken = [attempt for well in kinds for attempt in _taken(self._waiting[well])]
        if not taken:
            return
        well_read = 0
        rows: list[tuple[object, ...]] = []
        for attempt in taken:
            well = ended_well(attempt)
            well_read += well
            made = self._made(attempt, outputs=not well or well_read <= TAILS_MAX)
            key = (made.framework_id, made.task_id, made.container_id)
            rows.append((*key, well, made.SerializeToString()))
        try:
            database = self._open()
            with database:
                database.executemany(
                    "INSERT OR IGNORE INTO attempts "
                    "(framework_id, task_id, container_id, well, attempt) VALUES (?, ?, ?, ?, ?)",
                    rows,
                )
                database.executemany(_OLDEST_GO, [(0, KEPT_MAX), (1, KEPT_MAX)])
        except sqlite3.Error as error:
            self._cannot(error, taken)
        else:
            self._complaint = ""

    def _cannot(self, error: sqlite3.Error, taken: Iterable[KeepPostMortem]) -> None:
        for attempt in reversed(list(taken)):
            waiting = self._waiting[ended_well(attempt)]
            if len(waiting) < KEPT_MAX:  # else newer ones are there
                waiting.appendleft(attempt)
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("post-mortems cannot be written", file=str(self._path), why=str(error))

    def _find(self, framework_id: str, task_id: str) -> bytes:
        self._write()
        found = [
            self._made(attempt, outputs=True)
            for attempt in [*self._waiting[False], *self._waiting[True]]  # a disk that is full
            if attempt.record.task.task_id == task_id
        ]
        with contextlib.suppress(sqlite3.Error):
            found += [
                pb.PostMortem.FromString(data)
                for (data,) in self._open().execute(
                    "SELECT attempt FROM attempts WHERE task_id = ? ORDER BY position DESC",
                    (task_id,),
                )
            ]
        answer = pb.PostMortems()
        for attempt in found:
            if framework_id not in ("", attempt.framework_id):
                continue
            if not attempt.HasField("stdout"):
                self._add_outputs(attempt)
            answer.attempts.append(attempt)
            if len(answer.attempts) == ATTEMPTS_MAX:
                break
        while answer.ByteSize() > FILE_CHUNK_BYTES_MAX:
            del answer.attempts[-1]
        return answer.SerializeToString()

    def _made(self, attempt: KeepPostMortem, *, outputs: bool) -> pb.PostMortem:
        """What is kept of it; ~30 us, and as much again for its outputs."""
        record, task = attempt.record, attempt.record.task
        made = pb.PostMortem(
            framework_id=record.framework_id,
            task_id=task.task_id,
            container_id=record.container_id,
            agent_id=self._info.agent_id,
            hostname=self._info.hostname,
            role=record.role,
            oom=attempt.oom,
        )
        left = COMMAND_CHARS_MAX
        for word in task.command:
            if left > 0:
                made.command.append(word[:left])
            left -= len(word)
        write_resources(made.resources, task.resources)
        *earlier, end = attempt.life[-STATUSES_MAX:]
        for status in earlier:
            short = status.message[:MESSAGE_CHARS_MAX]
            cut = status if short == status.message else replace(status, message=short)
            write_status(made.life.add(), cut)
        write_status(made.life.add(), end)
        if outputs:
            self._add_outputs(made)
        return made

    def _add_outputs(self, attempt: pb.PostMortem) -> None:
        """The ends of its outputs, where its sandbox is still there."""
        names = ("stdout", "stderr")
        with contextlib.suppress(OSError, ValueError, sandbox.NotInSandbox):
            key = (attempt.framework_id, attempt.task_id, attempt.container_id)
            place = self._sandbox_of(*key)
            tails = [sandbox.tail(place, name, TAIL_BYTES_MAX) for name in names]
            for name, (data, size) in zip(names, tails, strict=True):
                output = getattr(attempt, name)
                output.tail, output.size = data, size
                output.SetInParent()

    def _open(self) -> sqlite3.Connection:
        """Raises sqlite3.Error. A file that is damaged is put aside: it was evidence, no more."""
        if self._database is None:
            try:
                self._database = _opened(self._path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = self._path.with_suffix(".damaged")
                log.warning("post-mortems begin anew", damaged=str(aside), why=str(error))
                for ending in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
                self._path.replace(aside)
                self._database = _opened(self._path)
        return self._database

    def _close(self) -> None:
        self._write()
        if self._database is not None:
            self._database.close()


def ended_well(attempt: KeepPostMortem) -> bool:
    """Whether nobody is likely to ask about it."""
    return attempt.life[-1].state is TaskState.FINISHED


def _taken(waiting: deque[KeepPostMortem]) -> list[KeepPostMortem]:
    """All that is there now; the loop may be adding to it."""
    taken: list[KeepPostMortem] = []
    with contextlib.suppress(IndexError):
        while len(taken) < KEPT_MAX:
            taken.append(waiting.popleft())
    return taken


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # SQLite makes its other files like it
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(TABLES)
    except sqlite3.Error:
        database.close()
        raise
    return database
