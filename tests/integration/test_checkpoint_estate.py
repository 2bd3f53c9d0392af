"""The checkpoint of what is reserved: all of it comes back, and damage costs what it must."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from mesoslite.database import WorkDir
from mesoslite.messages import FrameworkReference
from mesoslite.model import AgentInfo, FrameworkInfo, Refusal, Task
from mesoslite.operations import OperationStatus
from mesoslite.reservations import OperationState, Reservation, Volume, VolumeMount
from mesoslite.resources import Resources
from mesoslite_agent.checkpoint import Checkpoint
from mesoslite_agent.holdings import Holdings
from mesoslite_agent.protocol import (
    Effect,
    ForgetDirectory,
    ForgetOperation,
    ForgetReservation,
    ForgetVolume,
    Recovered,
    SaveFramework,
    SaveOperation,
    SaveReservation,
    SaveTask,
    SaveVolume,
    TaskRecord,
    VolumeRecord,
)

KAFKA = FrameworkReference("1-kafka", "local", FrameworkInfo("kafka", ("kafka",)))
BROKER = Reservation(
    "broker-0",
    "kafka",
    Resources.parse("cpus:1;mem:512;disk:500;ports:[5-6]"),
    {"a": "ü"},
    "local",
    "1-kafka",
    "kafka",
    1_000,
)
DATA = VolumeRecord(
    Volume("data", "kafka", Resources(disk=100), "broker-0", "local", "1-kafka", "kafka", 1_001),
    "kafka/data.1-1",
)
MORE = VolumeRecord(
    Volume("more", "kafka", Resources(disk=50), "broker-0", "local", "1-kafka", "kafka", 1_002),
    "kafka/more.1-2",
)
DONE = OperationStatus("o1", OperationState.FINISHED, "a", "1-kafka", timestamp_ms=5)
REFUSED = OperationStatus(
    "o2", OperationState.FAILED, "a", "", Refusal.VOLUME_IN_USE, "volume data", 6, acknowledge=True
)
ALL: list[Effect] = [
    SaveReservation(BROKER),
    SaveVolume(DATA),
    SaveVolume(MORE),
    SaveOperation(DONE),
    SaveOperation(REFUSED),
]


def on_data(task_id: str) -> TaskRecord:
    holds = Resources.parse("cpus(kafka)(broker-0):1;disk(kafka)(broker-0)(data):100")
    mounts = (VolumeMount("data", "data"),)
    return TaskRecord("1-kafka", "kafka", Task(task_id, ["x"], holds, volumes=mounts), "c", "s")


async def after(work_dir: Path, *batches: list[Effect], damage: str = "") -> Recovered:
    """What the next agent knows after these commits, and a statement that damages a row."""
    place = WorkDir(work_dir, "agent")
    first = Checkpoint(place, "b1")
    for batch in batches:
        await first.commit(batch)
    first.close()
    if damage:
        with sqlite3.connect(work_dir / "checkpoint.sqlite") as database:
            assert database.execute(damage).rowcount == 1
        database.close()
    second = Checkpoint(place, "b2")
    has = Resources.parse("cpus:4;mem:1024;disk:1000;ports:[1-9]")
    recovered = second.recovered(AgentInfo(second.agent_id, "host", has))
    second.close()
    place.close()
    return recovered


async def test_what_is_reserved_comes_back_whole_after_a_boot_of_the_host(tmp_path: Path) -> None:
    recovered = await after(tmp_path, ALL)
    assert recovered.rebooted
    assert recovered.reservations == (BROKER,)
    assert dict(recovered.reservations[0].labels) == {"a": "ü"}
    assert recovered.volumes == (DATA, MORE)
    assert recovered.operations == (DONE, REFUSED)
    assert recovered.leaving == ()


async def test_what_is_given_up_leaves_the_directory_that_is_to_be_deleted(tmp_path: Path) -> None:
    given_up: list[Effect] = [
        ForgetVolume("kafka", "data", DATA.directory),
        ForgetVolume("kafka", "more", MORE.directory),
        ForgetReservation("kafka", "broker-0"),
        ForgetOperation("1-kafka", "o1"),
        ForgetOperation("", "o2"),
    ]
    recovered = await after(tmp_path, ALL, given_up, [ForgetDirectory(MORE.directory)])
    assert (recovered.reservations, recovered.volumes, recovered.operations) == ((), (), ())
    assert recovered.leaving == (DATA.directory,)


async def test_a_reservation_that_grows_is_there_once(tmp_path: Path) -> None:
    larger = replace(BROKER, resources=BROKER.resources + Resources(cpus=1))
    assert (await after(tmp_path, ALL, [SaveReservation(larger)])).reservations == (larger,)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE volumes SET data = x'0001' WHERE volume_id = 'more'",
        "UPDATE volumes SET directory = 'kafka/data.9' WHERE volume_id = 'more'",
        "UPDATE volumes SET role = 'ads' WHERE volume_id = 'more'",
        "UPDATE volumes SET volume_id = 'less' WHERE volume_id = 'more'",
        "UPDATE volumes SET seal = seal + 1 WHERE volume_id = 'more'",
        "UPDATE volumes SET role = CAST(x'ff' AS TEXT) WHERE volume_id = 'more'",
        "UPDATE volumes SET directory = CAST(x'ff' AS TEXT) WHERE volume_id = 'more'",
        "UPDATE volumes SET volume_id = x'ff' WHERE volume_id = 'more'",
        "UPDATE volumes SET data = 'text' WHERE volume_id = 'more'",
    ],
)
async def test_a_damaged_volume_is_none_any_more_and_the_others_are(
    tmp_path: Path, damage: str
) -> None:
    recovered = await after(tmp_path, ALL, damage=damage)
    assert recovered.volumes == (DATA,)
    assert recovered.reservations == (BROKER,)
    assert recovered.leaving == ()  # whatever its directory holds stays
    assert (await after(tmp_path)).volumes == (DATA,)


async def test_of_a_damaged_reservation_what_its_volumes_lie_on_is_kept(tmp_path: Path) -> None:
    damage = "UPDATE reservations SET data = substr(data, 2)"
    recovered = await after(tmp_path, ALL, damage=damage)
    assert recovered.volumes == (DATA, MORE)
    [kept] = recovered.reservations
    assert (kept.reservation_id, kept.resources) == ("broker-0", Resources(disk=150))
    assert kept.principal == "local"
    Holdings(recovered, lambda _: None)  # and it fits together
    gone: list[Effect] = [ForgetVolume("kafka", "data", DATA.directory)]
    await after(tmp_path, gone)  # what the volume lay on stays reserved without it
    assert (await after(tmp_path)).reservations == (kept,)


async def test_a_task_that_uses_what_is_lost_is_ended_and_no_other_is(tmp_path: Path) -> None:
    other = TaskRecord("1-kafka", "kafka", Task("t2", ["x"], Resources(cpus=1)), "c2", "s")
    tasks: list[Effect] = [SaveFramework(KAFKA), SaveTask(on_data("t1")), SaveTask(other)]
    damage = "UPDATE volumes SET seal = 0 WHERE volume_id = 'data'"
    recovered = await after(tmp_path, ALL, tasks, damage=damage)
    assert recovered.damaged == (("1-kafka", "t1"),)
    assert recovered.tasks == (other,)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE leaving SET directory = 'kafka/data.1-1'",
        "UPDATE leaving SET directory = '../..'",
    ],
)
async def test_a_directory_is_not_deleted_on_the_word_of_a_damaged_row(
    tmp_path: Path, damage: str
) -> None:
    gone: list[Effect] = [ForgetVolume("kafka", "more", MORE.directory)]
    assert (await after(tmp_path, ALL, gone, damage=damage)).leaving == ()


async def test_a_damaged_answer_is_lost_alone(tmp_path: Path) -> None:
    damage = "UPDATE operations SET operation_id = 'o3' WHERE operation_id = 'o1'"
    recovered = await after(tmp_path, ALL, damage=damage)
    assert recovered.operations == (REFUSED,)
    assert recovered.reservations == (BROKER,)
