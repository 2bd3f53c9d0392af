"""The registry: what a master's successor knows, and what it says when it cannot be read."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from mesoslite import database
from mesoslite.attributes import parse_attributes
from mesoslite.database import Database, StorageError, WorkDir
from mesoslite.loop import CommitError
from mesoslite.master import registry
from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    CompleteFramework,
    Effect,
    ForgetAgent,
    FrameworkRecord,
    Recovered,
    SaveAgent,
    SaveFramework,
    ToAgent,
)
from mesoslite.master.registry import Registry
from mesoslite.messages import Heartbeat
from mesoslite.model import AgentInfo, FrameworkInfo
from mesoslite.resources import Resources


def agent(agent_id: str, gone_ms: int | None = None) -> AgentRecord:
    info = AgentInfo(
        agent_id,
        "host",
        Resources.parse("cpus:4.5;mem:1024;ports:[31000-32000]"),
        parse_attributes("rack:r1"),
        ("oci", "process"),
    )
    return AgentRecord(info, gone_ms)


def framework(name: str, deadline_ms: int | None = None) -> FrameworkRecord:
    return FrameworkRecord(f"1-{name}", "local", FrameworkInfo(name), "session", deadline_ms)


def completed(name: str, at_ms: int = 5) -> CompletedRecord:
    return CompletedRecord(f"1-{name}", "local", FrameworkInfo(name), at_ms)


async def after(work_dir: Path, *batches: list[Effect]) -> Recovered:
    """What the next master knows after these commits of one master."""
    place = WorkDir(work_dir, "master")
    first = Registry(place)
    for batch in batches:
        await first.commit(batch)
    first.close()
    second = Registry(place)
    second.close()
    place.close()
    return second.recovered


async def test_a_new_registry_is_empty_and_each_start_has_a_higher_epoch(tmp_path: Path) -> None:
    assert await after(tmp_path) == Recovered(epoch=2)
    assert (await after(tmp_path)).epoch == 4


async def test_an_epoch_is_used_up_even_by_a_master_that_dies_at_once(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "master")
    Registry(place)._database._connection.close()
    assert Registry(place).recovered.epoch == 2
    place.close()


async def test_what_was_saved_comes_back_whole(tmp_path: Path) -> None:
    recovered = await after(
        tmp_path,
        [SaveAgent(agent("a1")), SaveFramework(framework("web", 77))],
        [SaveAgent(agent("a2", 99)), ToAgent("a1", Heartbeat())],
    )
    assert recovered.agents == (agent("a1"), agent("a2", 99))
    assert recovered.frameworks == (framework("web", 77),)


async def test_the_newest_of_two_saves_is_kept(tmp_path: Path) -> None:
    recovered = await after(
        tmp_path,
        [SaveAgent(agent("a1", 5)), SaveFramework(framework("web", 77))],
        [SaveAgent(agent("a1")), SaveFramework(framework("web", None))],
    )
    assert recovered.agents == (agent("a1"),)
    assert recovered.frameworks == (framework("web"),)


async def test_the_session_that_took_over_is_the_one_that_may_resume(tmp_path: Path) -> None:
    """Else the next master fences the scheduler that runs, for one that was fenced."""
    later = dataclasses.replace(framework("web"), session_id="later")
    recovered = await after(tmp_path, [SaveFramework(framework("web"))], [SaveFramework(later)])
    assert recovered.frameworks == (later,)


async def test_a_framework_that_ended_moves_to_the_completed_ones(tmp_path: Path) -> None:
    recovered = await after(
        tmp_path,
        [SaveFramework(framework("web")), SaveFramework(framework("ads"))],
        [CompleteFramework(completed("web")), CompleteFramework(completed("web"))],
    )
    assert recovered.frameworks == (framework("ads"),)
    assert recovered.completed == (completed("web"),)


async def test_an_agent_that_was_forgotten_is_gone(tmp_path: Path) -> None:
    recovered = await after(tmp_path, [SaveAgent(agent("a1"))], [ForgetAgent("a1")])
    assert recovered.agents == ()


async def test_the_newest_completed_ones_are_loaded_oldest_first(tmp_path: Path) -> None:
    every = [completed(f"f{n}", n) for n in range(registry.COMPLETED_LOADED_MAX + 10)]
    recovered = await after(tmp_path, [CompleteFramework(record) for record in every])
    assert recovered.completed == tuple(every[10:])


async def test_a_second_master_on_one_work_dir_is_refused_in_one_line(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="in use by another master"):
        WorkDir(tmp_path, "master")
    WorkDir(tmp_path, "agent").close()
    place.close()
    WorkDir(tmp_path, "master").close()


async def test_a_damaged_registry_is_refused_in_one_line(tmp_path: Path) -> None:
    await after(tmp_path, [SaveAgent(agent("a1"))])
    path = tmp_path / registry.FILE_NAME
    path.write_bytes(b"no database at all " * 300)
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="damaged") as caught:
        Registry(place)
    assert str(path) in str(caught.value)
    place.close()


async def test_what_cannot_be_understood_is_refused_in_one_line(tmp_path: Path) -> None:
    await after(tmp_path, [SaveAgent(agent("a1"))])
    with sqlite3.connect(tmp_path / registry.FILE_NAME) as connection:
        connection.execute("UPDATE agents SET info = x'ffff'")
    connection.close()
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="cannot be understood"):
        Registry(place)
    place.close()


async def test_tables_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    await after(tmp_path)
    with sqlite3.connect(tmp_path / registry.FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="a newer one"):
        Registry(place)
    place.close()


async def test_a_batch_is_written_whole_or_not_at_all_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    place = WorkDir(tmp_path, "master")
    first = Registry(place)
    batch: list[Effect] = [SaveAgent(agent("a1")), SaveFramework(framework("web"))]
    connection = first._database._connection
    # What a full disk does: SQLite may not take one more page.
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many: list[Effect] = [SaveFramework(framework(f"{n:0200}")) for n in range(500)]
    with pytest.raises(CommitError, match="full"):
        await first.commit([*batch, *many])
    assert connection.execute("SELECT count(*) FROM agents").fetchone() == (0,)
    connection.execute("PRAGMA max_page_count = 1000000")
    await first.commit([*batch, *many])
    first.close()
    second = Registry(place)
    assert len(second.recovered.frameworks) == 501
    second.close()
    place.close()


async def test_a_work_dir_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the work dir"):
        WorkDir(tmp_path / "file" / "dir", "master")


async def test_only_what_must_outlive_the_host_waits_for_the_disk(tmp_path: Path) -> None:
    """Two classes of durable (docs/decisions.md D5)."""
    store = Database(tmp_path / "db", ("CREATE TABLE t (x INTEGER)",))
    mode = {1: "NORMAL", 2: "FULL"}
    seen = []
    for host in (False, True, False):
        await store.write([("INSERT INTO t VALUES (1)", ())], host=host)
        [number] = store._connection.execute("PRAGMA synchronous").fetchone()
        seen.append(mode[number])
    assert seen == ["NORMAL", "FULL", "NORMAL"]
    assert store.rows("SELECT count(*) FROM t") == [(3,)]
    store.close()
    assert database.CACHE_KIB > 0
