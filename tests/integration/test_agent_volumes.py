"""A real agent and its volumes, killed -9 at any moment: what it answered is so, for good."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    AcknowledgeOperation,
    AcknowledgeStatus,
    KillTask,
    OperationReport,
    RunTask,
    StatusReport,
    VolumesMeasured,
)
from mesoslite.model import Refusal, Task
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reserve,
    Unreserve,
    VolumeMount,
)
from mesoslite.resources import Resources
from tests.integration.containers import Place
from tests.integration.daemons import AGENT, Daemon, tried
from tests.integration.puppet import Puppet, puppet_master
from tests.integration.waiting import until

KEPT = Resources(cpus=1, disk=200)
SIZE = Resources(disk=1)
MEASURED_S_MAX = 30.0
GONE_S_MAX = 60.0
KILLS = 3
FILES = 3_000  # ~50 ms to delete


@dataclass
class Stage:
    """An agent, and the master that it is told by."""

    agent: Daemon
    master: Puppet

    @property
    def work_dir(self) -> Path:
        return self.agent.folder / "work"

    async def again(self, boot_id: str = "") -> None:
        """kill -9, if it runs, and a start: on another boot of the host if it has an id."""
        self.agent.kill()
        self.master.heard = []
        await self.agent.start(*([f"--boot-id={boot_id}"] if boot_id else []))
        await self.master.registered()

    async def prepared(self) -> None:
        """Reservation broker-0, and on it the volume data."""
        self.master.order(Reserve("broker-0", KEPT, operation_id="reserve"))
        self.master.order(CreateVolume("data", SIZE, "broker-0", operation_id="create"))
        for name in ("reserve", "create"):
            assert (await self.master.answer(name)).state is OperationState.FINISHED

    async def runs(self, task_id: str, script: str, state: TaskState) -> None:
        """Run a script with the volume data at `data`, until its task is in a state."""
        holds = Resources.parse("cpus(kafka)(broker-0):0.1;disk(kafka)(broker-0)(data):1")
        mounts = (VolumeMount("data", "data"),)
        task = Task(task_id, ["sh", "-c", script], holds, volumes=mounts)
        self.master.say(RunTask("f", "kafka", task))

        def told() -> bool:
            reports = [r for r in self.master.of(StatusReport) if r.status.task_id == task_id]
            return bool(reports) and reports[-1].latest_state is state

        await until(told, MEASURED_S_MAX)

    def has_directory(self, volume_id: str) -> bool:
        """Whether one of this volume was made."""
        return any(self.work_dir.glob(f"volumes/*/{volume_id}.*"))

    def directories(self) -> list[Path]:
        """Of all volumes that there are, and of what is still to be deleted."""
        return [*self.work_dir.glob("volumes/*/*")]


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    token = place.work_dir / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    async with puppet_master() as master:
        flags = (
            f"--token-file={token}",
            f"--master=127.0.0.1:{master.port}",
            "--port=0",
            "--containerizers=process",
            "--resources=cpus:4;mem:1024;disk:1000",
            "--kill-on-exit=true",
        )
        agent = Daemon(AGENT, place.work_dir / "agent", flags)
        await agent.start()
        await master.registered()
        yield Stage(agent, master)
        if agent.alive:
            assert agent.stop() == 0, agent.said
        else:  # its launcher ends what it left
            await agent.start()
            assert agent.stop() == 0, agent.said


@pytest.mark.parametrize("when", ["at once", "its directory is there", "it is answered"])
async def test_what_was_answered_is_there_whenever_the_agent_is_killed(
    stage: Stage, when: str
) -> None:
    for number in range(KILLS):
        name, more = f"v{number}", f"r{number}"
        stage.master.order(Reserve("broker-0", SIZE, operation_id=more))
        stage.master.order(CreateVolume(name, SIZE, "broker-0", operation_id=name))
        if when == "its directory is there":
            await until(functools.partial(stage.has_directory, name))
        elif when == "it is answered":
            await stage.master.answer(name)
        answered = {report.status.operation_id for report in stage.master.of(OperationReport)}
        await stage.again()
        register = await stage.master.registered()
        kept = {volume.volume_id for volume in register.volumes}
        told = {status.operation_id for status in register.operations}
        assert answered <= told
        assert (name in kept) == (name in told), "with its answer, or not at all"
        reserved = sum(one.resources.disk for one in register.reservations)
        assert reserved == len([one for one in told if one.startswith("r")])
        on_disk = {path.name.partition(".")[0] for path in stage.directories()}
        assert on_disk == kept


async def test_data_outlives_its_task_and_its_agent_and_goes_when_it_is_destroyed(
    stage: Stage,
) -> None:
    await stage.prepared()
    await stage.runs("t1", "echo mine > data/file", TaskState.FINISHED)
    await stage.again()
    await stage.runs("t2", "grep mine data/file && exec sleep 600", TaskState.RUNNING)
    for attempt in ("early", "after-the-next-start"):
        stage.master.order(DestroyVolume("data", operation_id=attempt))
        assert (await stage.master.answer(attempt)).refusal is Refusal.VOLUME_IN_USE
        stage.master.order(Unreserve("broker-0", operation_id=f"{attempt}-2"))
        assert (await stage.master.answer(f"{attempt}-2")).refusal is Refusal.RESERVATION_IN_USE
        await stage.again()
    [directory] = stage.directories()
    assert (directory / "file").read_text() == "mine\n"
    stage.master.say(KillTask("f", "t2", 100))
    await until(
        lambda: any(r.latest_state is TaskState.KILLED for r in stage.master.of(StatusReport))
    )
    stage.master.order(DestroyVolume("data", operation_id="destroy"))
    assert (await stage.master.answer("destroy")).state is OperationState.FINISHED
    await until(lambda: not stage.directories())
    stage.master.order(Unreserve("broker-0", operation_id="unreserve"))
    assert (await stage.master.answer("unreserve")).state is OperationState.FINISHED
    for name in ("destroy", "unreserve"):
        stage.master.say(AcknowledgeOperation("f", "", name))
    stage.master.order(DestroyVolume("data", operation_id="again"))
    assert (await stage.master.answer("again")).refusal is Refusal.UNKNOWN_VOLUME
    await stage.again()
    register = await stage.master.registered()
    assert (register.reservations, register.volumes) == ((), ())
    assert not {"destroy", "unreserve"} & {status.operation_id for status in register.operations}


async def test_data_outlives_its_host_and_what_used_it_then_does_not(stage: Stage) -> None:
    await stage.prepared()
    await stage.runs("t1", "echo mine > data/file; exec sleep 600", TaskState.RUNNING)
    await stage.again(boot_id="second")
    register = await stage.master.registered()
    assert [state for alike in register.tasks for state in alike.states] == [TaskState.FAILED]
    assert [volume.volume_id for volume in register.volumes] == ["data"]
    await stage.runs("t2", "grep mine data/file", TaskState.FINISHED)
    stage.master.order(DestroyVolume("data", operation_id="destroy"))
    assert (await stage.master.answer("destroy")).state is OperationState.FINISHED
    await until(lambda: not stage.directories())


async def test_a_large_volume_is_deleted_by_the_next_agent_when_one_dies_over_it(
    stage: Stage,
) -> None:
    await stage.prepared()
    [directory] = stage.directories()
    for number in range(FILES):
        (directory / str(number)).touch()
    stage.master.order(DestroyVolume("data", operation_id="destroy"))
    await stage.master.answer("destroy")
    await stage.again()
    await until(lambda: not stage.directories(), GONE_S_MAX)


async def test_a_directory_that_nobody_knows_is_told_and_left_alone(stage: Stage) -> None:
    stray = stage.work_dir / "volumes" / "kafka" / "somebodys.1"
    stray.mkdir(parents=True)
    (stray / "file").write_text("precious")
    await stage.again()
    assert str(stray) in stage.agent.said
    assert (stray / "file").read_text() == "precious"


async def test_a_volume_is_measured_and_a_full_one_is_told_by_name(stage: Stage) -> None:
    await stage.prepared()
    script = "head -c 3000000 /dev/zero > data/big; sync data/big; exit 1"
    await stage.runs("t1", script, TaskState.FAILED)
    await until(lambda: stage.master.of(VolumesMeasured), MEASURED_S_MAX)
    [use] = stage.master.of(VolumesMeasured)[-1].volumes
    assert (use.role, use.volume_id) == ("kafka", "data")
    assert 3_000_000 <= use.used_bytes < 3_100_000
    await until(lambda: "a volume is full" in stage.agent.said)
    assert "volume=data" in stage.agent.said
    assert stage.agent.http.number("mesoslite_volumes_full") == 1
    again = [report.status for report in stage.master.of(StatusReport)]
    assert "full" not in again[-1].message  # nobody had looked when it ended
    await stage.runs("t2", "exit 1", TaskState.FAILED)
    last = [r.status for r in stage.master.of(StatusReport) if r.status.task_id == "t2"]
    stage.master.say(AcknowledgeStatus("f", "t2", last[0].update_id))
    await until(lambda: "its volume data is full" in _said_of(stage.master, "t2"))


def _said_of(master: Puppet, task_id: str) -> str:
    return " ".join(
        r.status.message for r in master.of(StatusReport) if r.status.task_id == task_id
    )


async def test_an_agent_with_less_than_what_is_reserved_on_it_says_what_and_ends(
    stage: Stage,
) -> None:
    await stage.prepared()
    stage.agent.stop()
    flags = [flag for flag in stage.agent.flags if not flag.startswith("--resources")]
    work = f"--work-dir={stage.work_dir}"
    less = "--resources=cpus:4;mem:1024;disk:100"
    ended = await asyncio.to_thread(tried, AGENT, *flags, work, less, "--reconfigure=true")
    assert ended.returncode == 1
    assert "less than what is reserved on it: reservation broker-0" in ended.stderr
    await stage.again()
    register = await stage.master.registered()
    assert [volume.volume_id for volume in register.volumes] == ["data"]
