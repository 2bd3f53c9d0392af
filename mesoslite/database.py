"""One SQLite file of a daemon: one transaction for each batch, a thread for what waits, a lock.

Two classes of durable (docs/decisions.md D5), both in write-ahead mode:
- beyond a crash of the process: written, not fsynced (`synchronous=NORMAL`). The log is fsynced
  before it is folded into the file, so a crash of the host costs the newest rows, never the file;
- beyond a crash of the host: fsynced at the commit (`synchronous=FULL`), with all before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import structlog

from mesoslite.loop import CommitError
from mesoslite.measures import CommitMeasures

KINDS = ("agent", "master")  # of daemons that have a work dir
BUSY_TIMEOUT_MS = 5_000  # somebody looks into the file with the sqlite3 command: wait so long
WRITE_HERE_ROWS_MAX = 2_000  # all of a full batch: 6 ms, less than it took to make
FOLD_ROWS = 4_000  # so the log stays at a few MB, as with SQLite's own 1,000 pages
LOG_PAGES_MAX = 25_000  # 100 MB, when rows are large: then the commit that reaches it folds
CACHE_KIB = 8 * 1024
PAGE_BYTES = 4_096  # SQLite's own choice, which is ours
#: Of a log: magic, version, page size, number of its use, two salts, two sums.
LOG_HEADER = struct.Struct(">8I")
#: Of a frame: page, pages of the file after a commit or 0, two salts, two sums.
LOG_FRAME = struct.Struct(">6I")
#: Of a log's index: how many frames SQLite takes of the log, in the order of this host.
INDEX_HEADER = struct.Struct("=16xI")

log = structlog.get_logger("mesoslite.database")

Statement = tuple[str, tuple[object, ...]]
"""SQL and its parameters."""
Migration = str | Callable[[sqlite3.Connection], None]
"""SQL, or a function that is run in one transaction and may raise StorageError: what is wrong."""


class StorageError(Exception):
    """A work directory or its database cannot be used; `str` is one line for people."""


class WorkDir:
    """A daemon's directory, made if need be, and locked for as long as it is open.

    Two daemons of one kind must never share one: they would be one agent, or one master, twice.
    And two of different kinds need not: whoever moves the one's files away moves the other's.
    """

    def __init__(self, path: Path, kind: str, *, mode: int = 0o700) -> None:
        """Raises StorageError. `kind` names the daemon: `master`, `agent`.

        `mode` is that of a directory that is made here; one that exists keeps its own.
        """
        self.path = path.absolute()
        lock = self.path / f"{kind}.lock"
        for other in KINDS:
            if other != kind and (self.path / f"{other}.lock").exists():
                raise StorageError(
                    f"the work dir {path} is of the {other} that was started in it: "
                    f"give the {kind} a --work-dir of its own"
                )
        try:
            self.path.mkdir(mode=mode, parents=True, exist_ok=True)
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use the work dir {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = f"{os.getpid()}\n".encode()
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, holder, 0)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).strip()
            os.close(self._lock)
            raise StorageError(
                f"the work dir {path} is in use by another {kind} (pid {holder.decode()}): "
                "give each its own --work-dir"
            ) from None
        except OSError as error:
            os.close(self._lock)
            raise StorageError(f"cannot lock the work dir {path}: {error.strerror}") from None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


def commits_behind(log_file: BinaryIO, taken: int) -> int:
    """How many commits of its present use a log has behind its first `taken` frames.

    The format is SQLite's ("WAL-mode File Format"): a header, then frames of a header and a page
    each; the last frame of a commit says how large the file is then.
    """
    head = log_file.read(LOG_HEADER.size)
    if len(head) < LOG_HEADER.size:
        return 0
    _, _, page_bytes, _, *salts, _, _ = LOG_HEADER.unpack(head)
    whole = _sums(head[:-8]) == LOG_HEADER.unpack(head)[-2:]
    page_bytes = page_bytes if whole else PAGE_BYTES
    log_file.seek(LOG_HEADER.size + taken * (LOG_FRAME.size + page_bytes))
    found = 0
    while len(frame := log_file.read(LOG_FRAME.size)) == LOG_FRAME.size:
        _, pages_after, *of_frame, _, _ = LOG_FRAME.unpack(frame)
        if not whole and not found:
            salts = of_frame  # the header's can not be trusted
        found += pages_after > 0 and of_frame == salts
        log_file.seek(page_bytes, os.SEEK_CUR)
    return found


def _sums(words: bytes) -> tuple[int, int]:
    """SQLite's checksum over an even number of words, in the byte order that the first one says."""
    order = ">" if words[3] & 1 else "<"
    first = second = 0
    numbers = struct.unpack(f"{order}{len(words) // 4}I", words)
    for one, other in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32
    return first, second


class Database:
    """A file with tables. Reads happen before the daemon starts, writes in one thread.

    `migrations[i]` is what brings version i of the tables to version i + 1.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration],
        *,
        synced: bool = False,
        salvaged: bool = False,
        boot_id: str = "",
        advice: str = "",
    ) -> None:
        """Open or make the file, for its owner alone. Raises StorageError.

        `synced`: every transaction of it is fsynced, so at most the last one may be torn.
        `salvaged`: who reads it judges each row, so text that is none (not UTF-8) is given as the
        bytes that it is, and the file is not refused for it.
        `boot_id`: this boot of the host's. What is not fsynced is not torn within one boot either.
        `advice`: what it comes to when a damaged one is moved away.
        """
        self._path = path
        self._boot_id = boot_id
        self._advice = advice
        self._mark = path.with_name(f"{path.name}-begun")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._full = True
        self._unfolded = 0
        self._open: list[sqlite3.Connection] = []
        self._index = -1
        self.measures = CommitMeasures()
        try:
            self._begun_in = self._begun()
            with contextlib.suppress(FileExistsError):  # SQLite makes the log like the file
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_MS / 1_000, isolation_level=None, check_same_thread=False
            )
            self._open.append(self._connection)
            if salvaged:
                self._connection.text_factory = _text_or_bytes
            self._prepare(migrations, synced=synced)
        except OSError as error:
            self._leave()
            raise StorageError(f"cannot use {path}: {error.strerror}") from None
        except sqlite3.Error as error:
            self._leave()
            raise self._unusable(error) from None
        except StorageError:
            self._leave()
            raise

    @property
    def begun(self) -> bool:
        """Whether this file has been settled once: then it is never empty."""
        return self._begun_in is not None

    def settle(self) -> None:
        """From now on it holds what it is never without; an empty one is damaged.

        Blocks, with some fsyncs at the first start in each boot. Raises StorageError.
        SQLite makes an empty file anew, and leaves out a log from its first broken byte on, both
        without a word: so what was written first is folded into the file, and a mark put beside.
        """
        if self._begun_in == self._boot_id:
            return
        try:
            if not self._empty_log():
                return  # somebody reads the file: the next start does it
            written = self._mark.with_name(f"{self._mark.name}.new")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(written, flags, 0o600), "w") as file:
                file.write(f"{self._boot_id}\n")
                file.flush()
                os.fsync(file.fileno())
            written.replace(self._mark)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"cannot write {self._mark}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        self._begun_in = self._boot_id

    def _begun(self) -> str | None:
        """The boot in which it was last settled; None: never. Raises StorageError, OSError.

        It is asked before SQLite sees the file: the log of an empty one would be removed.
        """
        try:
            boot_id = self._mark.read_text(errors="replace").strip()
        except FileNotFoundError:
            boot_id = None
        size, log_size = _size(self._path), _size(Path(f"{self._path}-wal"))
        if not size and (boot_id is not None or log_size):  # there is no log before the file
            how = "it is missing, and was there" if size is None else "it is empty, and was not"
            raise self.damaged(f"{how} before")
        return boot_id

    def damaged(self, what: str) -> StorageError:
        """What to raise for a file of which `what` is wrong. Its log and mark go with it."""
        restore = f"restore it from a copy, or move all of {self._path.name}* away {self._advice}"
        return StorageError(f"{self._path} is damaged: {what}: {restore.rstrip()}")

    def _prepare(self, migrations: Sequence[Migration], *, synced: bool) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        [verdict] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self.damaged(" ".join(verdict.split()))
        self._judge_log(synced=synced)
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and self.begun:
            raise self.damaged("it is empty, and was not before")
        if version > len(migrations):
            raise StorageError(
                f"{self._path} has tables of version {version}, this program knows "
                f"{len(migrations)}: it was written by a newer one"
            )
        for number, migration in enumerate(migrations[version:], version + 1):
            self._migrate(migration, number)
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
        connection.execute("PRAGMA busy_timeout=0")  # see `_write_there`

    def _judge_log(self, *, synced: bool) -> None:
        """Refuse a log that lost more than a crash can tear: one commit at most when each is
        fsynced, or only the process crashed."""
        lost = self._commits_behind_a_broken_one()
        whole = synced or (self._boot_id != "" and self._begun_in == self._boot_id)
        if whole and lost > 1:
            raise self.damaged(
                f"its log {self._path.name}-wal is broken, and {lost} commits behind that "
                "would be lost"
            )
        if lost:  # else the next start would take them for commits behind those of this run
            self._empty_log()

    def _empty_log(self) -> bool:
        """Fold the log into the file, and give back its room. False: somebody reads what is there.

        With room in the log a daemon would notice a full disk only when that is used up too. Who
        only restarts leaves the log as it is, so that its first commit needs room.
        """
        [(busy, _, _)] = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return not busy

    def _commits_behind_a_broken_one(self) -> int:
        """SQLite takes a log as far as its checksums are right, and leaves the rest without a word.

        The rest may be what an earlier use of the log has left there, which has another salt; of
        what remains, it counts the commits. How far it was taken stands in the log's index, which
        is opened once and for as long as the connection: closing it drops SQLite's locks on it.
        """
        log_path = Path(f"{self._path}-wal")
        if (_size(log_path) or 0) <= LOG_HEADER.size:
            return 0  # of a new file, or of one that was folded: nothing to ask its index about
        try:
            if self._index < 0:
                self._index = os.open(f"{self._path}-shm", os.O_RDONLY | os.O_CLOEXEC)
            [taken] = INDEX_HEADER.unpack(os.pread(self._index, INDEX_HEADER.size, 0))
            with log_path.open("rb") as file:
                return commits_behind(file, taken)
        except FileNotFoundError:
            return 0

    def _migrate(self, migration: Migration, number: int) -> None:
        connection = self._connection
        if isinstance(migration, str):
            connection.executescript(f"BEGIN; {migration}; PRAGMA user_version={number}; COMMIT;")
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            migration(connection)
            connection.execute(f"PRAGMA user_version={number}")
            connection.execute("COMMIT")
        except StorageError as error:
            raise StorageError(
                f"{self._path} can not be brought to version {number}: {error}"
            ) from None
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _unusable(self, error: sqlite3.Error) -> StorageError:
        # The statements are ours: one that does not fit the tables, or text that is none (which has
        # no code), tells of tables that are not as we made them.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
            return StorageError(f"cannot use {self._path}: {error}")
        return self.damaged(str(error))

    def rows(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Everything that a query gives. Blocks; raises StorageError."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def write_now(self, statements: Sequence[Statement]) -> None:
        """Write one transaction, durable beyond a crash of the host. Blocks; raises CommitError."""
        self._write_there(statements, True, False)

    async def write(self, statements: Sequence[Statement], *, host: bool) -> None:
        """Write one transaction; durable when it returns.

        `host`: beyond a crash of the host, at the cost of an fsync (~4 ms); else beyond a crash of
        the process (~26,000 rows a second at 100 rows a batch). Raises CommitError, with nothing
        written.

        The writer thread does what waits for a disk, or takes long. Rows that need no fsync are
        written here, at 3 us each: in the thread they hold up the loop all the same, since there is
        one interpreter, and each costs 1 us more, since SQLite lets go of it for each row.
        """
        self._unfolded += len(statements)
        fold = self._unfolded >= FOLD_ROWS
        here = not host and not fold and len(statements) <= WRITE_HERE_ROWS_MAX
        if here and self._write(statements, host, patient=False):
            return
        await asyncio.get_running_loop().run_in_executor(
            self._thread, self._write_there, statements, host, fold
        )

    def _write_there(self, statements: Sequence[Statement], host: bool, fold: bool) -> None:
        """Waits for whoever has the file locked, but only asks to where somebody has: in a thread
        each statement that SQLite is given is another turn to wait for the interpreter."""
        if not self._write(statements, host, patient=False):
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            try:
                self._write(statements, host)
            finally:
                self._connection.execute("PRAGMA busy_timeout=0")
        if fold:
            self._fold()

    def _fold(self) -> None:
        """Fold the log into the file; with two fsyncs, so it is not left to whichever commit."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:  # the rows are in the log: nothing is lost
            log.warning(
                "the log of a database could not be folded in", why=str(self._unusable(error))
            )
        else:
            self._unfolded = 0

    def _write(self, statements: Sequence[Statement], host: bool, *, patient: bool = True) -> bool:
        """Raises CommitError. False, when not `patient`: somebody else has the file locked."""
        connection = self._connection
        began_s = time.perf_counter()
        try:
            if host is not self._full:
                connection.execute(f"PRAGMA synchronous={'FULL' if host else 'NORMAL'}")
                self._full = host
            if len(statements) == 1:  # it is a transaction of its own
                connection.execute(*statements[0])
            else:
                connection.execute("BEGIN IMMEDIATE")
                for sql, alike in groupby(statements, itemgetter(0)):
                    connection.executemany(sql, [parameters for _, parameters in alike])
                connection.execute("COMMIT")
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a bug here
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if not patient and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            self.measures.failures += 1
            raise CommitError(f"cannot write {self._path}: {error}") from None
        self.measures.rows += len(statements)
        self.measures.seconds.observe(time.perf_counter() - began_s)
        return True

    def close(self) -> None:
        """Finish what is being written, then close the file. Blocks."""
        self._thread.shutdown(wait=True)
        for connection in self._open:
            connection.close()
        if self._index >= 0:
            os.close(self._index)
            self._index = -1

    def _leave(self) -> None:
        """Close a file that is refused, and leave its log to those who repair it.

        Whoever closes last folds in what SQLite takes of the log and removes it, and with it all
        that tells the next start that something is missing: unless it may only read.
        """
        with contextlib.suppress(sqlite3.Error):
            if self._open:
                only_read = f"{self._path.absolute().as_uri()}?mode=ro"
                self._open.append(sqlite3.connect(only_read, uri=True))
                self._open[-1].execute("SELECT count(*) FROM sqlite_master").fetchone()
        self.close()


def _text_or_bytes(found: bytes) -> str | bytes:
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found


def _size(path: Path) -> int | None:
    """In bytes; None: there is no such file. Raises OSError."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
