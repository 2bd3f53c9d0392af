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
    ForgetCompleted,
    FrameworkRecord,
    Recovered,
    SaveAgent,
    SaveFramework,
    ToAgent,
)
from mesoslite.master.registry import SqliteRegistry
from mesoslite.messages import Heartbeat
from mesoslite.model import AgentInfo, FrameworkInfo
from mesoslite.resources import Resources
from mesoslite.wire import agent_info_to_wire, framework_info_to_wire


def agent(agent_id: str, lost_ms: int | None = None, gone_ms: int | None = None) -> AgentRecord:
    info = AgentInfo(
        agent_id,
        "host",
        Resources.parse("cpus:4.5;mem:1024;ports:[31000-32000]"),
        parse_attributes("rack:r1"),
        ("oci", "process"),
    )
    return AgentRecord(info, lost_ms, gone_ms)


def framework(name: str, deadline_ms: int | None = None) -> FrameworkRecord:
    return FrameworkRecord(f"1-{name}", "local", FrameworkInfo(name), "session", deadline_ms)


def completed(name: str, at_ms: int = 5) -> CompletedRecord:
    return CompletedRecord(f"1-{name}", "local", FrameworkInfo(name), at_ms)


async def after(work_dir: Path, *batches: list[Effect]) -> Recovered:
    """What the next master knows after these commits of one master."""
    place = WorkDir(work_dir, "master")
    first = SqliteRegistry(place)
    for batch in batches:
        await first.commit(batch)
    first.close()
    second = SqliteRegistry(place)
    second.close()
    place.close()
    return second.recovered


async def test_a_new_registry_is_empty_and_each_start_has_a_higher_epoch(tmp_path: Path) -> None:
    assert await after(tmp_path) == Recovered(epoch=2)
    assert (await after(tmp_path)).epoch == 4


async def test_an_epoch_is_used_up_even_by_a_master_that_dies_at_once(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "master")
    SqliteRegistry(place)._database._connection.close()
    assert SqliteRegistry(place).recovered.epoch == 2
    place.close()


async def test_an_epoch_can_be_raised_when_an_earlier_registry_was_lost(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "master")
    for least, epoch in ((50, 50), (1, 51), (20, 52)):
        opened = SqliteRegistry(place, epoch_min=least)
        assert opened.recovered.epoch == epoch
        opened.close()
    place.close()


async def test_what_was_saved_comes_back_whole(tmp_path: Path) -> None:
    recovered = await after(
        tmp_path,
        [SaveAgent(agent("a1")), SaveFramework(framework("web", 77))],
        [SaveAgent(agent("a2", 99)), ToAgent("a1", Heartbeat()), SaveAgent(agent("a3", None, 7))],
    )
    assert recovered.agents == (agent("a1"), agent("a2", 99), agent("a3", None, 7))
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


async def test_completed_ones_are_loaded_oldest_first_until_they_are_forgotten(
    tmp_path: Path,
) -> None:
    every = [completed(f"f{n}", n) for n in range(12)]
    recovered = await after(
        tmp_path,
        [CompleteFramework(record) for record in reversed(every)],
        [ForgetCompleted("1-f0"), ForgetCompleted("1-f1")],
    )
    assert recovered.completed == tuple(every[2:])


async def test_a_second_master_on_one_work_dir_is_refused_in_one_line(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="in use by another master"):
        WorkDir(tmp_path, "master")
    place.close()
    WorkDir(tmp_path, "master").close()


async def test_a_damaged_registry_is_refused_in_one_line(tmp_path: Path) -> None:
    await after(tmp_path, [SaveAgent(agent("a1"))])
    path = tmp_path / registry.FILE_NAME
    path.write_bytes(b"no database at all " * 300)
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="damaged") as caught:
        SqliteRegistry(place)
    assert str(path) in str(caught.value)
    place.close()


DAMAGE = {
    "torn": ("UPDATE records SET data = x'01' WHERE kind = 'agent'", "agent 'a1' is torn"),
    "cut": (
        "UPDATE records SET data = substr(data, 1, length(data) - 1) WHERE kind = 'agent'",
        "checksum differs",
    ),
    "renamed": ("UPDATE records SET key = 'a2' WHERE kind = 'agent'", "checksum differs"),
    "newer": ("UPDATE records SET kind = 'quota' WHERE kind = 'agent'", "a newer program made"),
    "epoch changed": ("UPDATE records SET data = data || x'00' WHERE kind = 'epoch'", "checksum"),
    "epoch gone": ("DELETE FROM records WHERE kind = 'epoch'", "'epoch' is missing"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_record_that_is_not_as_it_was_written_is_refused_in_one_line(
    tmp_path: Path, damage: str, told: str
) -> None:
    """What, where and what to do; and nothing is left out in silence."""
    await after(tmp_path, [SaveAgent(agent("a1")), SaveFramework(framework("web"))])
    path = tmp_path / registry.FILE_NAME
    with sqlite3.connect(path) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError) as caught:
        SqliteRegistry(place)
    place.close()
    [line] = str(caught.value).splitlines()
    assert told in line
    assert str(path) in line
    assert f"move all of {registry.FILE_NAME}* away" in line
    assert line.endswith(registry.ADVICE)


def tables_of_an_older_program(work_dir: Path) -> sqlite3.Connection:
    """A registry file as it was before there were records, of a master in its sixth run."""
    Database(work_dir / registry.FILE_NAME, registry.MIGRATIONS[:1]).close()
    connection = sqlite3.connect(work_dir / registry.FILE_NAME)
    for record in (agent("a1"), agent("a2", 99)):
        connection.execute(
            "INSERT INTO agents VALUES (?, ?, ?)",
            (
                record.info.agent_id,
                agent_info_to_wire(record.info).SerializeToString(),
                record.unreachable_since_ms,
            ),
        )
    info = framework_info_to_wire(FrameworkInfo("web")).SerializeToString()
    connection.execute(
        "INSERT INTO frameworks VALUES (?, ?, ?, ?, ?)", ("1-web", "local", info, "session", 77)
    )
    for name, at_ms in (("old", 5), ("new", 6)):
        info = framework_info_to_wire(FrameworkInfo(name)).SerializeToString()
        connection.execute(
            "INSERT INTO completed (framework_id, principal, info, completed_ms) "
            "VALUES (?, ?, ?, ?)",
            (f"1-{name}", "local", info, at_ms),
        )
    connection.execute("UPDATE epoch SET epoch = 6")
    connection.commit()
    return connection


async def test_tables_of_an_older_program_become_records(tmp_path: Path) -> None:
    tables_of_an_older_program(tmp_path).close()
    recovered = await after(tmp_path)
    assert recovered == Recovered(
        epoch=8,
        agents=(agent("a1"), agent("a2", 99)),
        frameworks=(framework("web", 77),),
        completed=(completed("old", 5), completed("new", 6)),
    )


async def test_tables_that_cannot_be_converted_stay_as_they_were(tmp_path: Path) -> None:
    connection = tables_of_an_older_program(tmp_path)
    connection.execute("UPDATE agents SET info = x'ffff'")
    connection.commit()
    place = WorkDir(tmp_path, "master")
    for _ in range(2):
        with pytest.raises(StorageError, match=r"version 2: .* cannot be understood"):
            SqliteRegistry(place)
    place.close()
    assert connection.execute("SELECT count(*) FROM agents").fetchone() == (2,)
    assert connection.execute("SELECT epoch FROM epoch").fetchone() == (6,)
    connection.close()


async def log_of_five_commits(tmp_path: Path) -> tuple[Path, bytearray]:
    """A copy of a registry that a master left without ending, and its log."""
    place = WorkDir(tmp_path / "first", "master")
    SqliteRegistry(place).close()  # made, so that what follows is all that is in the log
    first = SqliteRegistry(place)
    for name in "abcde":
        await first.commit([SaveAgent(agent(name))])
    (tmp_path / "copy").mkdir()
    for suffix in ("", "-wal"):
        name = registry.FILE_NAME + suffix
        (tmp_path / "copy" / name).write_bytes((tmp_path / "first" / name).read_bytes())
    first.close()
    place.close()
    path = tmp_path / "copy" / f"{registry.FILE_NAME}-wal"
    return path, bytearray(path.read_bytes())


def agents_in(work_dir: Path) -> list[str]:
    place = WorkDir(work_dir, "master")
    try:
        opened = SqliteRegistry(place)
    finally:
        place.close()
    opened.close()
    return [record.info.agent_id for record in opened.recovered.agents]


async def test_a_log_is_taken_as_it_was_left(tmp_path: Path) -> None:
    path, _ = await log_of_five_commits(tmp_path)
    assert agents_in(path.parent) == list("abcde")


async def test_the_last_commit_of_a_log_may_be_torn_and_was_not_answered(tmp_path: Path) -> None:
    path, log = await log_of_five_commits(tmp_path)
    path.write_bytes(log[:-100])
    assert agents_in(path.parent) == list("abcd")


@pytest.mark.parametrize("at", [0, 9, 18, 30, 40, 20_000], ids=lambda at: f"byte {at}")
async def test_a_log_that_is_broken_in_its_middle_is_refused_in_one_line(
    tmp_path: Path, at: int
) -> None:
    """SQLite itself would leave out all that is behind it, and say nothing."""
    path, log = await log_of_five_commits(tmp_path)
    log[at] ^= 0x40
    path.write_bytes(log)
    for _ in range(2):  # the first refusal must not fold in the rest, for the second to take
        with pytest.raises(StorageError) as caught:
            agents_in(path.parent)
        [line] = str(caught.value).splitlines()
        assert "commits behind that would be lost" in line
        assert str(path) in line.replace("its log ", f"{path.parent}/")
    assert path.read_bytes() == log


def remove(work_dir: Path) -> None:
    for file in work_dir.glob(f"{registry.FILE_NAME}*"):
        file.unlink()


async def test_a_registry_that_was_emptied_is_refused_each_time(tmp_path: Path) -> None:
    """SQLite would make it anew, and its first epoch would be one that agents have left behind."""
    await after(tmp_path, [SaveAgent(agent("a1"))])
    path = tmp_path / registry.FILE_NAME
    path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StorageError, match="damaged: it is empty, and was not before"):
            agents_in(tmp_path)
    path.unlink()
    for _ in range(2):
        with pytest.raises(StorageError, match="damaged: it is missing, and was there before"):
            agents_in(tmp_path)
    remove(tmp_path)  # as the refusal advises
    assert agents_in(tmp_path) == []


async def test_tables_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    await after(tmp_path)
    with sqlite3.connect(tmp_path / registry.FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()
    place = WorkDir(tmp_path, "master")
    with pytest.raises(StorageError, match="a newer one"):
        SqliteRegistry(place)
    place.close()


async def test_a_batch_is_written_whole_or_not_at_all_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    place = WorkDir(tmp_path, "master")
    first = SqliteRegistry(place)
    batch: list[Effect] = [SaveAgent(agent("a1")), SaveFramework(framework("web"))]
    connection = first._database._connection
    # What a full disk does: SQLite may not take one more page.
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many: list[Effect] = [SaveFramework(framework(f"{n:0200}")) for n in range(500)]
    with pytest.raises(CommitError, match="full"):
        await first.commit([*batch, *many])
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (1,)  # the epoch
    connection.execute("PRAGMA max_page_count = 1000000")
    await first.commit([*batch, *many])
    first.close()
    second = SqliteRegistry(place)
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
