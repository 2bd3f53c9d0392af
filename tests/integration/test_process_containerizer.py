"""Containers under `process`, through everything that an agent uses: phases, ends, recovery."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mesoslite.model import Uri
from mesoslite_agent.container import (
    ContainerExited,
    ContainerPhase,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
    VolumeAt,
)
from mesoslite_agent.containerizers.process import ProcessContainerizer
from mesoslite_agent.processes import read_process
from mesoslite_agent.volumes import Volumes
from tests.integration.containers import HAPPENS_S_MAX, Place, Rig, descriptors, need_root, spec
from tests.integration.waiting import until


async def test_a_start_goes_through_its_phases_and_ends_with_its_exit_code(rig: Rig) -> None:
    task = spec("sh", "-c", "echo out; echo err >&2; exit 3")
    end = await rig.run(task)
    assert [type(event) for event in rig.events] == [
        ContainerPhase, ContainerPhase, ContainerStarted, ContainerExited,
    ]  # fmt: skip
    phases = [event.phase for event in rig.events if isinstance(event, ContainerPhase)]
    assert phases == [Phase.ROOT, Phase.SPAWN]  # there was nothing to fetch
    assert (end.exit_code, end.signal, end.oom, end.launcher_lost) == (3, None, False, False)
    assert end.usage is not None
    assert rig.said(task) == "out\n"
    assert rig.said(task, "stderr") == "err\n"


async def test_a_task_gets_its_own_environment_and_nothing_of_the_agents(rig: Rig) -> None:
    task = spec(
        sys.executable, "-S", "-c", "import os, json; print(json.dumps(dict(os.environ)))",
        environment=(("A", "b"), ("PATH", "/bin"), ("MESOSLITE_TASK_ID", "x"), ("LC_ALL", "C")),
    )  # fmt: skip
    await rig.run(task)
    sandbox = rig.file(task).parent
    assert json.loads(rig.said(task)) == {
        "A": "b",
        "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
        "LC_ALL": "C",
        "MESOSLITE_CONTAINER_ID": "c1",
        "MESOSLITE_FRAMEWORK_ID": "f1",
        "MESOSLITE_SANDBOX": str(sandbox),
        "MESOSLITE_TASK_ID": "task-c1",
        "PATH": "/bin",
    }


async def test_a_task_starts_in_its_sandbox_with_no_open_files_of_ours(rig: Rig) -> None:
    task = spec("sh", "-c", "pwd; ls /proc/self/fd")
    await rig.run(task)
    where, *open_files = rig.said(task).split()
    assert where == str(rig.file(task).parent)
    assert set(open_files) <= {"0", "1", "2", "3"}  # 3 is ls reading the directory


async def test_a_killed_task_is_told_apart_from_one_that_ran_out_of_memory(rig: Rig) -> None:
    hold = "x = bytearray(200 << 20); import time; time.sleep(60)"
    hog = spec(sys.executable, "-S", "-c", hold, container_id="hog", mem_limit_bytes=32 << 20)
    killed = spec("sleep", "60", container_id="killed", mem_limit_bytes=32 << 20)
    rig.containers.start(killed)
    await rig.started("killed")
    rig.containers.stop("killed", signal.SIGKILL)
    assert (await rig.run(hog)).oom
    end = await rig.ended("killed")
    assert (end.signal, end.oom) == (signal.SIGKILL, False)


async def test_a_task_with_too_many_processes_ends_by_that_limit(rig: Rig) -> None:
    bomb = "for i in $(seq 200); do sleep 60 & done; wait"
    end = await rig.run(spec("sh", "-c", bomb, pids_limit=100))
    assert (end.signal, end.oom, end.pids_exceeded) == (signal.SIGKILL, False, True)


async def test_a_task_runs_as_its_user_and_owns_its_sandbox(rig: Rig) -> None:
    need_root()
    task = spec("sh", "-c", "id -un; id -Gn; echo mine > file; echo $HOME", user="nobody")
    end = await rig.run(task)
    assert end.exit_code == 0, rig.said(task, "stderr")
    nobody = pwd.getpwnam("nobody")
    assert rig.said(task).split() == ["nobody", "nogroup", nobody.pw_dir]
    assert (rig.file(task).parent / "file").stat().st_uid == nobody.pw_uid


async def test_a_command_that_is_not_there_is_a_failed_start_for_any_user(rig: Rig) -> None:
    users = (None, "nobody") if os.geteuid() == 0 else (None,)
    for number, user in enumerate(users):
        rig.containers.start(spec("no-such-command", container_id=f"c{number}", user=user))
        failed = await rig.failed(f"c{number}")
        assert failed.failure in {StartFailure.SPAWN_FAILED, StartFailure.ROOT_FAILED}
        assert "no-such-command" in failed.message


async def test_what_cannot_start_says_why(rig: Rig) -> None:
    refused = {
        "user": (spec("true", container_id="user", user="no-such-user"), "no-such-user"),
        "image": (spec("true", container_id="image", image="/"), "image"),
        "other": (spec("true", container_id="other", containerizer="docker"), "docker"),
    }
    for container_id, (task, text) in refused.items():
        rig.containers.start(task)
        failed = await rig.failed(container_id)
        assert text in failed.message
    assert rig.containers.why_not("process") is None
    assert "process" in rig.containers.available()


async def test_a_fetched_file_is_in_the_sandbox_before_the_command(rig: Rig, place: Place) -> None:
    source = place.work_dir.parent / "greeting"
    source.write_text("hello\n")
    task = spec("cat", "greeting", uris=(Uri(f"file://{source}"),))
    assert (await rig.run(task)).exit_code == 0
    assert rig.said(task) == "hello\n"


async def test_a_file_that_cannot_be_fetched_fails_the_start_and_is_named(rig: Rig) -> None:
    rig.containers.start(spec("true", uris=(Uri("file:///no/such/file"),)))
    failed = await rig.failed("c1")
    assert (failed.phase, failed.failure) == (Phase.FETCH, StartFailure.FETCH_FAILED)
    assert failed.message == "file:///no/such/file: No such file or directory"


async def test_the_agents_own_files_are_not_fetched(place: Place) -> None:
    token, link = place.work_dir.parent / "token", place.work_dir.parent / "link"
    token.write_text("secret")
    link.symlink_to(token)
    (place.work_dir / "checkpoint.sqlite").write_text("secret")
    rig = Rig(place, hidden=(token,))
    await rig.containers.recover(set())
    for number, path in enumerate((token, link, place.work_dir / "checkpoint.sqlite")):
        rig.containers.start(spec("true", container_id=f"c{number}", uris=(Uri(f"file://{path}"),)))
        failed = await rig.failed(f"c{number}")
        assert failed.failure is StartFailure.FETCH_FAILED
        assert failed.message == f"file://{path}: the agent's own files are closed to tasks"
    await rig.containers.close(kill=True)


async def test_a_start_can_be_given_up_while_it_fetches(rig: Rig, place: Place) -> None:
    async with await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        rig.containers.start(spec("true", uris=(Uri(f"http://127.0.0.1:{port}/x"),)))
        await until(lambda: any("fetcher" in words for words in place.processes().values()))
        rig.containers.abort("c1")
        failed = await rig.failed("c1")
    assert failed.phase is Phase.FETCH
    assert not any("fetcher" in words for words in place.processes().values())


async def test_giving_up_a_start_that_is_done_kills_it(rig: Rig) -> None:
    rig.containers.start(spec("sleep", "60"))
    await rig.started("c1")
    rig.containers.abort("c1")
    assert (await rig.ended("c1")).signal == signal.SIGKILL


async def test_giving_up_at_any_moment_ends_in_exactly_one_way(rig: Rig) -> None:
    for turns in range(30):
        container_id = f"c{turns}"
        rig.containers.start(spec("sleep", "60", container_id=container_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        rig.containers.abort(container_id)
    ends = (ContainerExited, ContainerStartFailed)
    await rig.until(lambda: sum(isinstance(e, ends) for e in rig.events) >= 30)
    for turns in range(30):
        assert sum(isinstance(e, ends) for e in rig.of(f"c{turns}")) == 1
        rig.containers.destroy(f"c{turns}")
    await until(lambda: set(rig.place.processes()) == {rig.launcher_pid()})


async def test_containers_outlive_their_agent_and_are_found_again(place: Place) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    runs = spec("sh", "-c", "echo up; sleep 300", container_id="runs")
    ends = spec("sh", "-c", "read x < go; exit 5", container_id="ends")
    for task in (runs, ends):
        sandbox = first.file(task).parent
        sandbox.mkdir(parents=True)
        os.mkfifo(sandbox / "go")
        first.containers.start(task)
        await first.started(task.container_id)
    pid = (await first.started("runs")).pid
    await first.containers.close(kill=False)
    await asyncio.to_thread((first.file(ends).parent / "go").write_text, "now\n")

    second = Rig(place)
    await second.containers.recover({"runs", "ends", "never"})
    assert await second.started("runs") == ContainerStarted("runs", pid)
    assert (await second.ended("ends")).exit_code == 5
    never = await second.failed("never")
    assert (never.phase, never.failure) == (Phase.SPAWN, StartFailure.NEVER_ASKED)
    second.containers.stop("runs", signal.SIGTERM)
    assert (await second.ended("runs")).signal == signal.SIGTERM
    await second.containers.close(kill=True)


async def test_an_end_that_comes_while_it_is_asked_who_holds_what_is_not_missed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    first.containers.start(spec("sleep", "300"))
    pid = (await first.started("c1")).pid
    await first.containers.close(kill=False)
    second = Rig(place)
    heard, ended = second.containers._launcher._on_event, threading.Event()

    def hear(event: dict[str, Any]) -> None:
        heard(event)
        if event["event"] == "exited":
            ended.set()

    def held(_self: ProcessContainerizer) -> set[str]:
        if not ended.is_set():
            os.kill(pid, signal.SIGKILL)
            assert ended.wait(HAPPENS_S_MAX)
        return set()

    monkeypatch.setattr(second.containers._launcher, "_on_event", hear)
    monkeypatch.setattr(ProcessContainerizer, "held", held)
    await second.containers.recover({"c1"})
    assert (await second.ended("c1")).signal == signal.SIGKILL
    await second.containers.close(kill=True)


async def test_what_ran_under_a_launcher_whose_journal_is_gone_is_ended_and_told_as_lost(
    place: Place,
) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    first.containers.start(spec("sh", "-c", "setsid sleep 300 & exec sleep 300"))
    await first.started("c1")
    await first.containers.close(kill=False)
    launcher = first.launcher_pid()
    os.kill(launcher, signal.SIGSTOP)  # else it would write its journal anew
    (place.work_dir / "launcher" / "journal").unlink()
    os.kill(launcher, signal.SIGKILL)
    second = Rig(place)
    await second.containers.recover({"c1"})
    assert (await second.ended("c1")).launcher_lost
    assert set(place.processes()) == {second.launcher_pid()}
    await second.containers.close(kill=True)


async def test_a_start_whose_answer_and_journal_are_lost_is_not_made_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(place)
    await rig.containers.recover(set())
    starts, client = place.work_dir / "starts", rig.containers._launcher
    with monkeypatch.context() as deaf:
        deaf.setattr(client, "_heard", lambda _message, known: known)
        rig.containers.start(spec("sh", "-c", f"echo started >> {starts}; exec sleep 300"))
        await until(lambda: starts.exists() and starts.read_text() == "started\n")
        launcher = rig.launcher_pid()
        os.kill(launcher, signal.SIGSTOP)
        (place.work_dir / "launcher" / "journal").unlink()
    os.kill(launcher, signal.SIGKILL)
    assert (await rig.ended("c1")).launcher_lost
    assert (await rig.run(spec("true", container_id="c2"))).exit_code == 0
    assert starts.read_text() == "started\n"
    await rig.containers.close(kill=True)


async def test_what_the_agent_does_not_know_is_destroyed(place: Place) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    first.containers.start(spec("sh", "-c", "setsid sleep 300 & sleep 300"))
    pid = (await first.started("c1")).pid
    await first.containers.close(kill=False)
    second = Rig(place)
    await second.containers.recover(set())
    assert second.events == []
    assert read_process(pid) is None
    assert set(place.processes()) == {second.launcher_pid()}
    await second.containers.close(kill=True)


async def test_a_destroyed_container_is_forgotten_and_its_sandbox_stays(place: Place) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    task = spec("sh", "-c", "echo kept")
    await first.run(task)
    for _ in range(3):
        first.containers.destroy("c1")
    await until(lambda: '"forget"' in (place.work_dir / "launcher/journal").read_text())
    await first.containers.close(kill=False)
    second = Rig(place)
    await second.containers.recover({"c1"})
    assert isinstance(second.events[0], ContainerStartFailed)
    assert second.said(task) == "kept\n"
    await second.containers.close(kill=True)


async def test_a_lost_launcher_is_reported_and_replaced(rig: Rig, place: Place) -> None:
    rig.containers.start(spec("sh", "-c", "setsid sleep 300 & sleep 300"))
    await rig.started("c1")
    lost = rig.launcher_pid()
    os.kill(lost, signal.SIGKILL)
    end = await rig.ended("c1")
    assert (end.launcher_lost, end.exit_code, end.signal) == (True, None, None)
    assert (await rig.run(spec("true", container_id="c2"))).exit_code == 0
    assert rig.launcher_pid() != lost
    assert set(place.processes()) == {rig.launcher_pid()}


async def test_a_start_is_not_lost_when_the_launcher_dies_under_it(rig: Rig) -> None:
    names = [f"c{i}" for i in range(40)]
    for name in names:
        rig.containers.start(spec("sh", "-c", "exit 0", container_id=name))
    await rig.started("c0")
    os.kill(rig.launcher_pid(), signal.SIGKILL)
    ends = [await rig.ended(name) for name in names]
    assert all(end.launcher_lost or end.exit_code == 0 for end in ends)
    for name in names:
        assert sum(isinstance(e, ContainerExited) for e in rig.of(name)) == 1


async def test_five_hundred_tasks_leak_nothing_in_the_agent(rig: Rig) -> None:
    async def burst(name: str) -> None:
        ids = [f"{name}{i}" for i in range(500)]
        for container_id in ids:
            rig.containers.start(spec("/bin/true", container_id=container_id))
        for container_id in ids:
            assert (await rig.ended(container_id)).exit_code == 0
            rig.containers.destroy(container_id)
        rig.events.clear()

    await burst("a")
    before = descriptors(os.getpid())
    await burst("b")
    assert descriptors(os.getpid()) <= before
    assert set(rig.place.processes()) == {rig.launcher_pid()}


async def test_old_sandboxes_are_collected_and_live_ones_never(rig: Rig) -> None:
    old, live = spec("true", container_id="old"), spec("sleep", "60", container_id="live")
    await rig.run(old)
    rig.containers.destroy("old")
    rig.containers.start(live)
    await rig.started("live")
    far_ahead = time.time() + 10**9
    removed = await rig.containers.collect_sandboxes(far_ahead, (), 3600)
    assert removed == [rig.file(old).parent]
    assert rig.file(live).exists()


def volume(rig: Rig, path: str, directory: str = "kafka/data.1") -> VolumeAt:
    """A volume that is on the host, and the path at which a container is to have it."""
    Volumes.of(rig.place.work_dir).make(directory)
    return VolumeAt(directory.partition("/")[2], directory, path)


async def test_what_is_in_a_volume_outlives_its_task_and_is_seen_by_the_next(rig: Rig) -> None:
    at = (volume(rig, "deep/data"),)
    first = spec("sh", "-c", "echo mine > deep/data/file", volumes=at)
    assert (await rig.run(first)).exit_code == 0
    rig.containers.destroy("c1")
    second = spec("cat", "deep/data/file", container_id="c2", volumes=at)
    assert (await rig.run(second)).exit_code == 0
    assert rig.said(second) == "mine\n"


async def test_a_volume_belongs_to_the_user_of_its_task(rig: Rig) -> None:
    need_root()
    at = (volume(rig, "data"),)
    task = spec("sh", "-c", "echo x > data/file && ls -ld data/.", user="nobody", volumes=at)
    end = await rig.run(task)
    assert end.exit_code == 0, rig.said(task, "stderr")
    assert " nobody nogroup " in rig.said(task)


async def test_a_volume_at_an_absolute_path_is_refused_and_so_is_one_that_is_gone(rig: Rig) -> None:
    rig.containers.start(spec("true", container_id="a", volumes=(volume(rig, "/data"),)))
    assert "needs a containerizer with a root of its own" in (await rig.failed("a")).message
    gone = volume(rig, "data")
    (rig.place.work_dir / "volumes" / gone.directory).rmdir()
    rig.containers.start(spec("true", container_id="b", volumes=(gone,)))
    failed = await rig.failed("b")
    assert failed.failure is StartFailure.ROOT_FAILED
    assert "is gone, with its data" in failed.message


async def test_a_volume_is_never_put_through_a_link_of_the_sandbox(
    rig: Rig, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "trap.tar", "w") as trap:
        link = tarfile.TarInfo("trap")
        link.type, link.linkname = tarfile.SYMTYPE, "."
        trap.addfile(link)
    task = spec(
        "true",
        uris=(Uri(f"file://{tmp_path}/trap.tar", extract=True),),
        volumes=(volume(rig, "trap/data"),),
    )
    rig.containers.start(task)
    assert "is a link" in (await rig.failed("c1")).message
