"""The checkpoint: what an agent's successor knows."""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from mesoslite.database import Database, StorageError, WorkDir
from mesoslite.lifecycle import TaskState
from mesoslite.messages import FrameworkReference, Heartbeat
from mesoslite.model import ID_PATTERN, AgentInfo, FrameworkInfo, Task, TaskStatus, Uri
from mesoslite.resources import Resources
from mesoslite.wire import encoded_status, encoded_task, framework_info_to_wire
from mesoslite_agent import checkpoint
from mesoslite_agent.checkpoint import Checkpoint
from mesoslite_agent.protocol import (
    Effect,
    ForgetFramework,
    ForgetTask,
    Recovered,
    SaveAcknowledgement,
    SaveEpoch,
    SaveFramework,
    SaveTask,
    SaveUpdate,
    StreamRecord,
    TaskRecord,
    ToMaster,
)
from mesoslite_agent.salvage import Salvage, update_seal

WEB = FrameworkReference("1-web", "local", FrameworkInfo("web", ("ads",)))


def info(agent_id: str) -> AgentInfo:
    return AgentInfo(agent_id, "host", Resources(cpus=1))


def record(task_id: str) -> TaskRecord:
    task = Task(
        task_id,
        ["sleep", "5"],
        Resources(cpus=0.5, mem=32),
        environment={"A": "b"},
        uris=[Uri("/etc/hosts")],
        pids_limit=7,
    )
    return TaskRecord("1-web", "ads", task, f"1-{task_id}", "secret")


def status(task_id: str, update_id: str, state: TaskState = TaskState.RUNNING) -> TaskStatus:
    return TaskStatus(task_id, state, "1-web", "a1", update_id, exit_code=3, message="so it is")


async def after(
    work_dir: Path, *batches: list[Effect], boots: tuple[str, str] = ("b1", "b1")
) -> Recovered:
    """What the next agent knows after these commits of one agent."""
    place = WorkDir(work_dir, "agent")
    first = Checkpoint(place, boots[0])
    for batch in batches:
        await first.commit(batch)
    first.close()
    second = Checkpoint(place, boots[1])
    recovered = second.recovered(info(second.agent_id))
    second.close()
    place.close()
    return recovered


async def test_an_agent_names_itself_once_and_counts_its_runs(tmp_path: Path) -> None:
    """docs/decisions.md D3"""
    second, fourth = await after(tmp_path), await after(tmp_path)
    assert ID_PATTERN.match(second.info.agent_id)
    assert second.info.agent_id == fourth.info.agent_id
    assert (second.run, fourth.run) == (2, 4)
    assert not second.rebooted
    assert (await after(tmp_path / "other")).info.agent_id != second.info.agent_id


async def test_what_an_agent_says_of_itself_is_there_for_its_next_run(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "agent")
    first = Checkpoint(place, "b1")
    assert first.described() is None
    said = AgentInfo(first.agent_id, "host", Resources(cpus=2), region="eu")
    first.describe(AgentInfo(first.agent_id, "host", Resources(cpus=1)))
    first.describe(said)
    first.close()
    second = Checkpoint(place, "b2")
    assert second.described() == said
    second.close()
    place.close()


async def test_another_boot_of_the_host_is_noticed_once(tmp_path: Path) -> None:
    assert (await after(tmp_path, boots=("b1", "b2"))).rebooted
    assert not (await after(tmp_path, [SaveEpoch(7)], boots=("b2", "b2"))).rebooted


async def test_a_reboot_is_known_until_what_came_of_it_is_kept(tmp_path: Path) -> None:
    """An agent that dies before it wrote why its tasks ended, of a full disk, leaves it to the
    next."""
    await after(tmp_path, [SaveEpoch(7)])
    assert (await after(tmp_path, boots=("b2", "b2"))).rebooted
    ended = SaveUpdate("1-web", status("t", "u1", TaskState.FAILED))
    assert not (await after(tmp_path, [ended], boots=("b2", "b2"))).rebooted
    assert not (await after(tmp_path, boots=("b2", "b2"))).rebooted


async def test_what_was_saved_comes_back_whole(tmp_path: Path) -> None:
    first, second = status("t1", "1.1"), status("t1", "1.2", TaskState.FINISHED)
    recovered = await after(
        tmp_path,
        [SaveEpoch(7), SaveFramework(WEB), SaveTask(record("t1")), ToMaster(Heartbeat())],
        [SaveUpdate("1-web", first), SaveTask(record("t2")), SaveUpdate("1-web", second)],
    )
    assert recovered.epoch_seen == 7
    assert recovered.frameworks == (WEB,)
    assert recovered.tasks == (record("t1"), record("t2"))
    assert recovered.streams == (StreamRecord("1-web", "t1", (first, second)),)


async def test_the_grace_of_a_kill_is_kept_with_its_task(tmp_path: Path) -> None:
    killed = replace(record("t1"), kill_grace_ms=3_600_000)
    recovered = await after(tmp_path, [SaveTask(record("t1"))], [SaveTask(killed)])
    assert recovered.tasks == (killed,)


async def test_a_checkpoint_from_before_graces_were_kept_is_taken_over(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "agent")
    Database(place.path / checkpoint.FILE_NAME, checkpoint.MIGRATIONS[:1]).close()
    place.close()
    assert (await after(tmp_path, [SaveTask(record("t1"))])).tasks == (record("t1"),)


async def test_acknowledged_statuses_are_kept_until_the_task_is_forgotten(tmp_path: Path) -> None:
    updates = [status("t1", f"1.{n}") for n in range(3)]
    recovered = await after(
        tmp_path,
        [SaveUpdate("1-web", update) for update in updates],
        [SaveAcknowledgement("1-web", "t1", "1.0")],
        [SaveAcknowledgement("1-web", "t1", "1.1")],
    )
    assert recovered.streams == (StreamRecord("1-web", "t1", (updates[2],), tuple(updates[:2])),)


async def test_what_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    recovered = await after(
        tmp_path,
        [SaveFramework(WEB), SaveTask(record("t1")), SaveUpdate("1-web", status("t1", "1.1"))],
        [ForgetTask("1-web", "t1"), ForgetFramework("1-web")],
    )
    assert (recovered.frameworks, recovered.tasks, recovered.streams) == ((), (), ())


async def test_the_agent_id_is_kept_with_every_later_epoch(tmp_path: Path) -> None:
    agent_id = (await after(tmp_path)).info.agent_id
    recovered = await after(tmp_path, [SaveEpoch(3)], [SaveEpoch(9)])
    assert (recovered.info.agent_id, recovered.epoch_seen) == (agent_id, 9)


@pytest.mark.parametrize("first", [True, False])
async def test_an_epoch_waits_for_the_disk_whatever_else_is_saved_with_it(
    tmp_path: Path, first: bool
) -> None:
    """docs/decisions.md D5: a host that crashes must not follow an earlier master afterwards."""
    place = WorkDir(tmp_path, "agent")
    store = Checkpoint(place, "b1")
    modes = []
    epoch: list[Effect] = [SaveEpoch(7)]
    other: list[Effect] = [SaveFramework(WEB)]
    for batch in (other, epoch + other if first else other + epoch):
        await store.commit(batch)
        [mode] = store._database._connection.execute("PRAGMA synchronous").fetchone()
        modes.append({1: "NORMAL", 2: "FULL"}[mode])
    store.close()
    place.close()
    assert modes == ["NORMAL", "FULL"]


# --- damage ---------------------------------------------------------------------------------------

FULL: list[Effect] = [
    SaveFramework(WEB),
    SaveTask(record("t1")),
    SaveTask(record("t2")),
    SaveUpdate("1-web", status("t1", "1.1")),
    SaveUpdate("1-web", status("t2", "1.2")),
    SaveUpdate("1-web", status("t1", "1.3", TaskState.FINISHED)),
    SaveAcknowledgement("1-web", "t1", "1.1"),
]
T2 = StreamRecord("1-web", "t2", (status("t2", "1.2"),))


def change(work_dir: Path, sql: str, *parameters: object) -> None:
    with contextlib.closing(sqlite3.connect(work_dir / checkpoint.FILE_NAME)) as database:
        changed = database.execute(sql, parameters).rowcount
        database.commit()
    assert changed == 1


@pytest.mark.parametrize("column", ["task", "role", "container_id", "secret", "kill_grace_ms"])
async def test_a_task_whose_row_is_damaged_is_given_up_and_no_other(
    tmp_path: Path, column: str
) -> None:
    await after(tmp_path, FULL)
    value = "x''" if column == "task" else "1"
    sql = f"UPDATE tasks SET {column} = {value} WHERE task_id = 't1'"  # noqa: S608 - a test's own
    change(tmp_path, sql)
    recovered = await after(tmp_path)
    assert recovered.damaged == (("1-web", "t1"),)
    assert recovered.tasks == (record("t2"),)
    assert recovered.streams == (T2,)
    assert recovered.frameworks == (WEB,)


#: What one bit makes of a cell: text that is not UTF-8, and a value of another type.
GARBLED = ["CAST(x'61ff' AS TEXT)", "x'61ff'"]


@pytest.mark.parametrize("cell", GARBLED)
@pytest.mark.parametrize("seal", ["seal", "NULL"])
@pytest.mark.parametrize("column", ["task_id", "framework_id", "role", "task", "secret", "seal"])
async def test_a_cell_of_a_task_that_is_of_another_type_costs_that_task_alone(
    tmp_path: Path, column: str, seal: str, cell: str
) -> None:
    """Also in rows of older programs, which have no seal."""
    await after(tmp_path, FULL)
    change(tmp_path, f"UPDATE tasks SET seal = {seal} WHERE task_id = 't1'")  # noqa: S608
    change(tmp_path, f"UPDATE tasks SET {column} = {cell} WHERE task_id = 't1'")  # noqa: S608
    recovered = await after(tmp_path)
    assert set(recovered.damaged) <= {("1-web", "t1")}
    assert recovered.tasks == (record("t2"),)
    assert T2 in recovered.streams


@pytest.mark.parametrize("cell", GARBLED)
@pytest.mark.parametrize("column", ["task_id", "framework_id", "update_id", "acknowledged"])
async def test_a_cell_of_a_status_that_is_of_another_type_costs_its_task_alone(
    tmp_path: Path, column: str, cell: str
) -> None:
    await after(tmp_path, FULL)
    sql = f"UPDATE updates SET {column} = {cell} WHERE update_id = '1.3'"  # noqa: S608
    change(tmp_path, sql)
    recovered = await after(tmp_path)
    assert set(recovered.damaged) <= {("1-web", "t1")}
    assert T2 in recovered.streams


@pytest.mark.parametrize("cell", GARBLED)
@pytest.mark.parametrize("column", ["framework_id", "principal", "info"])
async def test_a_cell_of_a_framework_that_is_of_another_type_costs_its_row_alone(
    tmp_path: Path, column: str, cell: str
) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, f"UPDATE frameworks SET {column} = {cell}")  # noqa: S608
    recovered = await after(tmp_path)
    assert recovered.frameworks == ()
    assert recovered.tasks == (record("t1"), record("t2"))


@pytest.mark.parametrize("cell", GARBLED)
@pytest.mark.parametrize("column", ["agent_id", "boot_id", "run", "epoch"])
async def test_an_agent_whose_own_row_has_a_cell_of_another_type_is_refused(
    tmp_path: Path, column: str, cell: str
) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, f"UPDATE agent SET {column} = {cell}")  # noqa: S608
    await refused(tmp_path, "does not say whose it is")


@pytest.mark.parametrize("update_id", ["1.1", "1.3"])
async def test_a_task_with_a_damaged_status_is_given_up_and_no_other(
    tmp_path: Path, update_id: str
) -> None:
    await after(tmp_path, FULL)
    with contextlib.closing(sqlite3.connect(tmp_path / checkpoint.FILE_NAME)) as database:
        sql = "SELECT status FROM updates WHERE update_id = ?"
        [(data,)] = database.execute(sql, (update_id,)).fetchall()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x10
        key = ("1-web", "t1")
        salvage = Salvage()
        salvage.read_updates([(1, *key, update_id, bytes(changed), 0, update_seal(key[0], data))])
        assert set(salvage.damaged) == {key}, at
        assert salvage.streams == ()
    change(tmp_path, "UPDATE updates SET status = x'00' WHERE update_id = ?", update_id)
    recovered = await after(tmp_path)
    assert recovered.damaged == (("1-web", "t1"),)
    assert (recovered.tasks, recovered.streams) == ((record("t2"),), (T2,))


async def test_a_status_that_is_filed_under_another_task_is_known_by_what_it_says(
    tmp_path: Path,
) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, "UPDATE updates SET task_id = 't9' WHERE update_id = '1.3'")
    assert (await after(tmp_path)).damaged == (("1-web", "t1"),)


async def test_rows_that_do_not_say_whose_they_are_are_removed_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, "UPDATE tasks SET task_id = '', task = x'ff' WHERE task_id = 't1'")
    change(tmp_path, "UPDATE frameworks SET info = x'ff'")
    recovered = await after(tmp_path)
    assert (recovered.damaged, recovered.frameworks) == ((), ())
    assert recovered.tasks == (record("t2"),)
    assert "".join(capsys.readouterr()).count("the checkpoint is damaged") == 1
    assert await after(tmp_path) == replace(recovered, run=recovered.run + 2)
    assert "damaged" not in "".join(capsys.readouterr())


async def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, "UPDATE agent SET agent_id = 'somebody'")
    place = WorkDir(tmp_path, "agent")
    with pytest.raises(StorageError, match="does not say whose it is: restore it"):
        Checkpoint(place, "b1")
    place.close()


async def test_a_damaged_description_is_as_none(tmp_path: Path) -> None:
    place = WorkDir(tmp_path, "agent")
    first = Checkpoint(place, "b1")
    first.describe(info(first.agent_id))
    first.close()
    for cell in ("x'ff'", "'text'", *GARBLED):
        change(tmp_path, f"UPDATE described SET info = {cell}")  # noqa: S608
        second = Checkpoint(place, "b1")
        assert second.described() is None
        second.close()
    place.close()


@pytest.mark.parametrize("version", range(1, len(checkpoint.MIGRATIONS)))
async def test_a_checkpoint_of_any_older_version_is_taken_over_with_all_that_is_in_it(
    tmp_path: Path, version: int
) -> None:
    place = WorkDir(tmp_path, "agent")
    Database(place.path / checkpoint.FILE_NAME, checkpoint.MIGRATIONS[:version]).close()
    place.close()
    web, first, second = WEB.info, status("t1", "1.1"), status("t1", "1.2", TaskState.FINISHED)
    change(tmp_path, "INSERT INTO agent (agent_id, boot_id, run, epoch) VALUES ('a7', 'b1', 3, 9)")
    change(
        tmp_path,
        "INSERT INTO frameworks (framework_id, principal, info) VALUES ('1-web', 'local', ?)",
        framework_info_to_wire(web).SerializeToString(),
    )
    change(
        tmp_path,
        "INSERT INTO tasks (framework_id, task_id, role, task, container_id, secret) "
        "VALUES ('1-web', 't1', 'ads', ?, '1-t1', 'secret')",
        encoded_task(record("t1").task),
    )
    for one, acknowledged in ((first, 1), (second, 0)):
        change(
            tmp_path,
            "INSERT INTO updates (framework_id, task_id, update_id, status, acknowledged) "
            "VALUES ('1-web', 't1', ?, ?, ?)",
            one.update_id,
            encoded_status(one),
            acknowledged,
        )
    recovered = await after(tmp_path)
    assert (recovered.info.agent_id, recovered.run, recovered.epoch_seen) == ("a7", 5, 9)
    assert recovered.frameworks == (WEB,)
    assert recovered.tasks == (record("t1"),)
    assert recovered.streams == (StreamRecord("1-web", "t1", (second,), (first,)),)
    assert recovered.damaged == ()


async def test_a_torn_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    await after(tmp_path, [SaveTask(record(f"t{n}")) for n in range(200)])
    path = tmp_path / checkpoint.FILE_NAME
    data = path.read_bytes()
    path.write_bytes(data[:5_000] + bytes(len(data) - 5_000))
    place = WorkDir(tmp_path, "agent")
    with pytest.raises(StorageError, match=r"damaged: .* away to begin") as caught:
        Checkpoint(place, "b1")
    assert "\n" not in str(caught.value)
    place.close()


async def left_by_a_killed_agent(work_dir: Path) -> tuple[Path, bytes]:
    """A copy of the files of an agent that did not end, whose tasks are in the log alone."""
    place = WorkDir(work_dir / "first", "agent")
    first = Checkpoint(place, "b1")
    for effect in FULL:
        await first.commit([effect])
    (work_dir / "copy").mkdir()
    for file in (work_dir / "first").glob(f"{checkpoint.FILE_NAME}*"):
        (work_dir / "copy" / file.name).write_bytes(file.read_bytes())
    first.close()
    place.close()
    path = work_dir / "copy" / f"{checkpoint.FILE_NAME}-wal"
    return path, path.read_bytes()


async def refused(work_dir: Path, told: str, boot: str = "b1") -> None:
    """It is refused in one line, and again at the next try."""
    place = WorkDir(work_dir, "agent")
    for _ in range(2):
        with pytest.raises(StorageError, match=told) as caught:
            Checkpoint(place, boot)
        assert str(caught.value).endswith(checkpoint.ADVICE)
        assert "\n" not in str(caught.value)
    place.close()


@pytest.mark.parametrize("at", [0, 18, 40, 4_200])
async def test_a_log_that_is_broken_in_its_middle_is_refused(tmp_path: Path, at: int) -> None:
    path, data = await left_by_a_killed_agent(tmp_path)
    path.write_bytes(data[:at] + bytes(200 ^ byte for byte in data[at : at + 8]) + data[at + 8 :])
    await refused(path.parent, "commits behind that would be lost")


async def test_a_log_that_a_crash_of_the_host_tore_is_taken_as_far_as_it_goes(
    tmp_path: Path,
) -> None:
    """What was not fsynced may reach the disk in any order, and those tasks ended with the host."""
    path, data = await left_by_a_killed_agent(tmp_path)
    agent_id = (await after(tmp_path / "first")).info.agent_id
    path.write_bytes(data[:4_200] + bytes(8) + data[4_208:])
    recovered = await after(path.parent, boots=("b2", "b2"))
    assert (recovered.info.agent_id, recovered.run) == (agent_id, 3)


async def test_an_agent_that_is_killed_after_such_a_start_starts_again(tmp_path: Path) -> None:
    """What the log holds of its earlier use is no damage to the next."""
    path, data = await left_by_a_killed_agent(tmp_path)
    path.write_bytes(data[:4_200] + bytes(8) + data[4_208:])
    place = WorkDir(path.parent, "agent")
    started = Checkpoint(place, "b2")
    (tmp_path / "killed").mkdir()
    for file in path.parent.glob(f"{checkpoint.FILE_NAME}*"):
        (tmp_path / "killed" / file.name).write_bytes(file.read_bytes())
    started.close()
    place.close()
    recovered = await after(tmp_path / "killed", boots=("b2", "b2"))
    assert (recovered.info.agent_id, recovered.run) == (started.agent_id, 4)


async def test_a_checkpoint_that_was_emptied_or_removed_is_refused(tmp_path: Path) -> None:
    path, _ = await left_by_a_killed_agent(tmp_path)
    (path.parent / checkpoint.FILE_NAME).write_bytes(b"")
    await refused(path.parent, "damaged: it is empty, and was not before")
    path.unlink()
    await refused(path.parent, "damaged: it is empty, and was not before", "b2")
    (path.parent / checkpoint.FILE_NAME).unlink()
    await refused(path.parent, "damaged: it is missing, and was there before", "b2")


async def test_a_checkpoint_that_is_gone_from_beside_its_log_is_refused(tmp_path: Path) -> None:
    """Also one of an agent that never put a mark beside it."""
    path, _ = await left_by_a_killed_agent(tmp_path)
    (path.parent / f"{checkpoint.FILE_NAME}-begun").unlink()
    (path.parent / checkpoint.FILE_NAME).unlink()
    await refused(path.parent, "damaged: it is missing, and was there before")
    assert path.stat().st_size > 0


async def test_a_checkpoint_without_its_agent_is_refused(tmp_path: Path) -> None:
    await after(tmp_path, FULL)
    change(tmp_path, "DELETE FROM agent")
    await refused(tmp_path, "does not say whose it is")


def move_away(work_dir: Path) -> None:
    for file in work_dir.glob(f"{checkpoint.FILE_NAME}*"):
        file.rename(work_dir / f"away-{file.name}")


async def test_a_checkpoint_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """As each refusal advises."""
    first = (await after(tmp_path, FULL)).info.agent_id
    move_away(tmp_path)
    second = await after(tmp_path)
    assert second.info.agent_id != first
    assert second.run == 2
    assert (await after(tmp_path)).info.agent_id == second.info.agent_id


async def test_tables_whose_columns_are_damaged_are_called_so(tmp_path: Path) -> None:
    await after(tmp_path, FULL)
    change_schema = "ALTER TABLE tasks RENAME COLUMN framework_id TO framework_ie"
    with contextlib.closing(sqlite3.connect(tmp_path / checkpoint.FILE_NAME)) as database:
        database.execute(change_schema)
    with pytest.raises(StorageError, match=r"damaged: .*no such column.* away to begin"):
        await after(tmp_path)
