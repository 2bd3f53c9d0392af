"""What a daemon keeps on the disk is its owner's alone; what tasks may not see of the host."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.database import Database, WorkDir
from mesoslite_agent.daemon import _hidden


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_work_dir_that_is_made_is_closed(tmp_path: Path) -> None:
    WorkDir(tmp_path / "master", "master").close()
    WorkDir(tmp_path / "agent", "agent", mode=0o711).close()
    assert (mode(tmp_path / "master"), mode(tmp_path / "agent")) == (0o700, 0o711)


def test_a_database_is_its_owners_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", ("CREATE TABLE t (x INTEGER)",))
    database.write_now([("INSERT INTO t VALUES (1)", ())])
    files = {path.name: mode(path) for path in tmp_path.iterdir()}
    database.close()
    assert files == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600}


def test_a_token_in_a_shared_folder_is_hidden_itself(tmp_path: Path) -> None:
    assert _hidden(Path("/etc/mesoslite-token")) == (Path("/etc/mesoslite-token"),)
    assert _hidden(tmp_path / "token") == (tmp_path,)
