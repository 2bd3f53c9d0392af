"""The database of a daemon, where somebody else has the file, and where its log would grow."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.database import FOLD_ROWS, WRITE_HERE_ROWS_MAX, Database, Statement

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
