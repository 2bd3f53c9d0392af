"""The database of a daemon, where somebody else has the file, and where its log would grow."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.database import (
    FOLD_ROWS,
    WRITE_HERE_ROWS_MAX,
    Database,
    Statement,
    StorageError,
    WorkDir,
)

TABLE = ("CREATE TABLE t (x INTEGER)",)
INSERT: Statement = ("INSERT INTO t VALUES (1)", ())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db", TABLE)
    yield opened
    opened.close()


def count(path: Path) -> int:
    connection = sqlite3.connect(path / "db")
    [number] = connection.execute("SELECT count(*) FROM t").fetchone()
    connection.close()
    return int(number)


async def test_what_needs_no_fsync_is_durable_when_write_returns(
    database: Database, tmp_path: Path
) -> None:
    await database.write([INSERT] * 3, host=False)
    await database.write([INSERT] * (WRITE_HERE_ROWS_MAX + 1), host=False)
    assert count(tmp_path) == WRITE_HERE_ROWS_MAX + 4


async def test_a_file_that_somebody_has_locked_is_waited_for_and_the_loop_goes_on(
    database: Database, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(database.write([INSERT], host=False))
    await asyncio.sleep(0)  # it has tried
    assert not writing.done()
    other.execute("COMMIT")
    await asyncio.wait_for(writing, 30)
    other.close()
    assert count(tmp_path) == 1


async def test_the_log_is_folded_into_the_file_and_used_again(
    database: Database, tmp_path: Path
) -> None:
    sizes = []
    for _ in range(4):
        for _ in range(FOLD_ROWS // WRITE_HERE_ROWS_MAX):
            await database.write([INSERT] * WRITE_HERE_ROWS_MAX, host=False)
        sizes.append((tmp_path / "db-wal").stat().st_size)
    assert count(tmp_path) == 4 * FOLD_ROWS
    assert len(set(sizes[1:])) == 1, f"the log grows: {sizes}"


def test_what_does_not_fit_its_statements_is_damaged_and_a_lock_is_not(
    database: Database, tmp_path: Path
) -> None:
    database.write_now([("INSERT INTO t VALUES (CAST(x'ff' AS TEXT))", ())])
    for sql in ("SELECT y FROM t", "SELECT x FROM u", "SELECT x FROM t"):
        with pytest.raises(StorageError, match=r"damaged: .*: restore it from a copy, or move all"):
            database.rows(sql)
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"cannot use .*: database is locked"):
        database.rows("BEGIN IMMEDIATE")
    other.close()


def test_what_was_settled_is_in_the_file_itself_and_marked_beside_it(tmp_path: Path) -> None:
    opened = Database(tmp_path / "db", TABLE)
    opened.write_now([INSERT])
    assert not opened.begun
    opened.settle()
    assert opened.begun
    (tmp_path / "alone").write_bytes((tmp_path / "db").read_bytes())
    opened.close()
    alone = sqlite3.connect(tmp_path / "alone")
    assert alone.execute("SELECT x FROM t").fetchall() == [(1,)]
    alone.close()
    assert (tmp_path / "db-begun").stat().st_mode & 0o777 == 0o600


def test_what_somebody_keeps_from_being_folded_is_not_marked_as_settled(tmp_path: Path) -> None:
    opened, reader = Database(tmp_path / "db", TABLE), sqlite3.connect(tmp_path / "db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchone()
    opened.write_now([INSERT])
    opened.settle()
    assert not (tmp_path / "db-begun").exists()
    reader.close()
    opened.settle()
    assert (tmp_path / "db-begun").exists()
    opened.close()


def test_a_work_dir_is_of_one_kind_of_daemon(tmp_path: Path) -> None:
    WorkDir(tmp_path, "master").close()
    told = "is of the master that was started in it: give the agent a --work-dir of its own"
    with pytest.raises(StorageError, match=told):
        WorkDir(tmp_path, "agent")
    assert not (tmp_path / "agent.lock").exists()
    WorkDir(tmp_path, "master").close()


def test_nothing_that_a_start_does_leaves_room_in_the_log(tmp_path: Path) -> None:
    """Else a disk that is full is noticed only when that room is used up as well."""
    log = tmp_path / "db-wal"
    opened = Database(tmp_path / "db", TABLE)
    opened.settle()
    assert log.stat().st_size == 0
    opened.write_now([INSERT])
    before = log.stat().st_size
    (tmp_path / "killed").mkdir()
    for file in tmp_path.glob("db*"):
        (tmp_path / "killed" / file.name).write_bytes(file.read_bytes())
    opened.close()
    again = Database(tmp_path / "killed" / "db", TABLE)
    again.write_now([INSERT])
    assert (tmp_path / "killed" / "db-wal").stat().st_size > before
    again.close()
