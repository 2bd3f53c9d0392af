"""Containers under `oci`: real runc, real cgroups, real overlays. Skipped where the host cannot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from mesoslite_agent.cgroups import Cgroups
from mesoslite_agent.container import (
    ContainerExited,
    ContainerStartFailed,
    StartFailure,
    VolumeAt,
)
from mesoslite_agent.containerizers.oci import OciContainerizer
from mesoslite_agent.mounts import mounted_below
from mesoslite_agent.volumes import Volumes
from tests.integration.containers import Place, Rig, need_oci, spec
from tests.integration.waiting import until


def text_of(file: str) -> str:
    return Path(file).read_text()


@pytest.fixture
def oci(rig: Rig) -> Rig:
    need_oci(rig.containers)
    return rig


async def test_it_is_the_best_containerizer_when_the_host_can(oci: Rig) -> None:
    assert oci.containers.available() == ("oci", "process")


async def test_what_worked_is_not_tried_again_by_the_next_agent(oci: Rig, tmp_path: Path) -> None:
    calls, runtime = tmp_path / "calls", tmp_path / "runtime"
    runtime.write_text(f'#!/bin/sh\necho >> {calls}\nexec {shutil.which("runc")} "$@"\n')
    runtime.chmod(0o755)

    def tried() -> int:
        folder, agent_id = oci.place.work_dir, oci.place.agent_id
        assert OciContainerizer(folder, agent_id, runtime=str(runtime)).why_not() is None
        return len(calls.read_text().splitlines())

    assert tried() == tried() == 1
    runtime.write_text(runtime.read_text() + "# another one\n")
    assert tried() == 2


@pytest.mark.parametrize("fails", ["is gone", "fails"])
async def test_a_runtime_that_is_gone_or_fails_costs_new_starts_and_nothing_that_runs(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    real, stand_in = shutil.which("runc"), tmp_path / "runc"
    stand_in.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    rig = Rig(place)
    await rig.containers.recover(set())
    need_oci(rig.containers)
    runs = spec("sh", "-c", "until [ -e go ]; do sleep 0.05; done; exit 7", containerizer="oci")
    rig.containers.start(runs)
    await rig.started("c1")
    if fails == "is gone":
        stand_in.unlink()
    else:
        stand_in.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    rig.containers.start(spec("true", container_id="c2", containerizer="oci"))
    failed = await rig.failed("c2")
    assert failed.failure is StartFailure.SPAWN_FAILED
    assert failed.message
    rig.file(runs, "go").touch()
    end = await rig.ended("c1")
    assert (end.exit_code, end.launcher_lost) == (7, False)
    for container_id in ("c1", "c2"):
        rig.containers.destroy(container_id)
    await until(lambda: not mounted_below(place.work_dir))
    await rig.containers.close(kill=True)


async def test_a_container_ends_with_its_exit_code_and_leaves_only_its_sandbox(oci: Rig) -> None:
    task = spec("sh", "-c", "echo out; echo err >&2; pwd; exit 3", containerizer="oci")
    end = await oci.run(task)
    assert (end.exit_code, end.signal, end.oom) == (3, None, False)
    assert oci.said(task) == "out\n/mnt/mesoslite/sandbox\n"
    assert oci.said(task, "stderr") == "err\n"
    assert end.usage is not None
    assert end.usage.peak_mem_bytes > 0
    oci.containers.destroy("c1")
    await until(lambda: not mounted_below(oci.place.work_dir))
    await until(lambda: not Cgroups.of_host().children(f"mesoslite/{oci.place.agent_id}"))
    await until(lambda: not list((oci.place.work_dir / "run").iterdir()))


async def test_the_hosts_root_is_seen_and_never_changed(oci: Rig, place: Place) -> None:
    mark = Path("/var/tmp/mesoslite-test-mark")
    script = f"echo x > {mark} && cat {mark} && test -x /bin/sh && ls {place.work_dir}"
    task = spec("sh", "-c", script, containerizer="oci")
    end = await oci.run(task)
    assert end.exit_code == 0, oci.said(task, "stderr")
    assert oci.said(task) == "x\n"  # and the agent's work directory is empty to it
    with pytest.raises(FileNotFoundError):
        text_of(str(mark))


async def test_nested_folders_can_be_hidden(place: Place) -> None:
    rig = Rig(place, hidden=(place.work_dir.parent, place.work_dir / "inner"))
    await rig.containers.recover(set())
    need_oci(rig.containers)
    task = spec("ls", str(place.work_dir.parent), containerizer="oci")
    assert (await rig.run(task)).exit_code == 0
    assert rig.said(task) == ""
    await rig.containers.close(kill=True)


async def test_an_image_directory_is_the_root_and_never_changed(oci: Rig, place: Place) -> None:
    image = place.work_dir.parent / "image"
    for name in ("bin", "proc", "dev", "sys", "etc", "tmp"):
        (image / name).mkdir(parents=True)
    (image / "etc" / "release").write_text("not the host's\n")
    _copy_program("sh", image)
    _copy_program("cat", image)
    script = "cat /etc/release; echo more > /etc/more; cat /etc/more; echo $HOME; echo here > here"
    task = spec("sh", "-c", script, containerizer="oci", image=str(image))
    end = await oci.run(task)
    assert end.exit_code == 0, oci.said(task, "stderr")
    assert oci.said(task) == "not the host's\nmore\n/root\n"
    assert (oci.file(task, "here")).read_text() == "here\n"
    assert sorted(path.name for path in (image / "etc").iterdir()) == ["release"]
    assert not (image / "mnt").exists()


def _copy_program(name: str, image: Path) -> None:
    """A program of the host with the libraries it is linked to."""
    program = shutil.which(name)
    assert program is not None
    shutil.copy(Path(program).resolve(), image / "bin" / name)
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for word in linked.split():
        if word.startswith("/"):
            target = image / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(word).resolve(), target)


@pytest.mark.parametrize("image", ["/", "work", "work/run", "link"])
async def test_an_image_does_not_show_what_is_hidden(oci: Rig, place: Place, image: str) -> None:
    (place.work_dir.parent / "link").symlink_to("/")
    named = str(place.work_dir.parent / image)
    oci.containers.start(spec("true", containerizer="oci", image=named))
    failed = await oci.failed("c1")
    assert failed.failure is StartFailure.ROOT_FAILED
    assert failed.message == f"the image {named!r} holds, or lies in, the agent's own files"


async def test_a_file_can_be_hidden_and_what_is_beside_it_is_seen(place: Place) -> None:
    token, other = place.work_dir.parent / "token", place.work_dir.parent / "other"
    token.write_text("secret\n")
    other.write_text("seen\n")
    rig = Rig(place, hidden=(token,))
    await rig.containers.recover(set())
    need_oci(rig.containers)
    task = spec("cat", str(other), str(token), containerizer="oci")
    await rig.run(task)
    assert rig.said(task) == "seen\n"
    await rig.containers.close(kill=True)


@pytest.mark.parametrize("image", ["/no/such/image", "/etc/passwd"])
async def test_an_image_that_is_no_directory_is_a_failed_start(oci: Rig, image: str) -> None:
    oci.containers.start(spec("true", containerizer="oci", image=image))
    failed = await oci.failed("c1")
    assert failed.failure is StartFailure.ROOT_FAILED
    assert image in failed.message


async def test_a_command_that_is_not_there_is_a_failed_start(oci: Rig) -> None:
    oci.containers.start(spec("no-such-command", containerizer="oci"))
    failed = await oci.failed("c1")
    assert failed.failure is StartFailure.SPAWN_FAILED
    assert "no-such-command" in failed.message
    assert not mounted_below(oci.place.work_dir)


async def test_memory_over_the_limit_is_oom_and_a_plain_kill_is_not(oci: Rig) -> None:
    hold = "x = bytearray(200 << 20); import time; time.sleep(60)"
    hog = spec(sys.executable, "-S", "-c", hold, containerizer="oci", mem_limit_bytes=32 << 20)
    end = await oci.run(hog)
    assert (end.exit_code, end.signal, end.oom) == (None, signal.SIGKILL, True)
    assert end.usage is not None
    assert 16 << 20 < end.usage.peak_mem_bytes <= 32 << 20
    calm = spec("sleep", "60", container_id="c2", containerizer="oci", mem_limit_bytes=32 << 20)
    oci.containers.start(calm)
    await oci.started("c2")
    oci.containers.stop("c2", signal.SIGKILL)
    killed = await oci.ended("c2")
    assert (killed.signal, killed.oom) == (signal.SIGKILL, False)


async def test_a_fork_bomb_stays_in_its_limit(oci: Rig) -> None:
    # The shell that can not fork ends, and what it started stays: the first one forks no more.
    bomb = "( for i in $(seq 300); do sleep 60 & done ); exec sleep 60"
    task = spec("sh", "-c", bomb, containerizer="oci", pids_limit=100)
    oci.containers.start(task)
    await oci.started("c1")
    group = f"mesoslite/{oci.place.agent_id}/c1"
    peak = Cgroups.of_host().procs_file(group)
    await until(lambda: "annot fork" in oci.said(task, "stderr"))
    assert 0 < len(peak.read_text().split()) <= 100
    oci.containers.stop("c1", signal.SIGKILL)
    await oci.ended("c1")


async def test_a_pids_limit_below_what_the_runtime_needs_holds_all_the_same(oci: Rig) -> None:
    script = "sleep 0.1; for i in 1 2 3 4 5 6; do sleep 60 & done; wait"
    task = spec("sh", "-c", script, containerizer="oci", pids_limit=4)
    oci.containers.start(task)
    await oci.started("c1")
    await until(lambda: "annot fork" in oci.said(task, "stderr"))
    oci.containers.stop("c1", signal.SIGKILL)
    await oci.ended("c1")


async def test_a_cpu_limit_holds(oci: Rig) -> None:
    """Two busy loops under half a core: cpu time over wall time, as the container measures it."""
    script = (
        "import os, time\n"
        "os.fork()\n"
        "start, until = time.monotonic(), time.monotonic() + 1.5\n"
        "while time.monotonic() < until: pass\n"
        "t = os.times(); print((t.user + t.system) / (time.monotonic() - start), flush=True)\n"
    )
    task = spec(sys.executable, "-S", "-c", script, containerizer="oci", cpu_limit_milli=500)
    end = await oci.run(task)
    assert end.exit_code == 0, oci.said(task, "stderr")
    assert end.usage is not None
    assert end.usage.cpu_ms <= 1.3 * 500 * 1.5 + 200  # the start itself is not held back
    assert all(float(line) <= 0.5 * 1.3 for line in oci.said(task).split())


async def test_a_tiny_cpu_limit_does_not_slow_the_start(oci: Rig) -> None:
    task = spec("true", containerizer="oci", cpu_limit_milli=10, mem_limit_bytes=1 << 20)
    assert (await oci.run(task)).exit_code == 0
    group = f"mesoslite/{oci.place.agent_id}/c1"
    file, text = Cgroups.of_host().cpu_limit(group, 10)
    assert text_of(file).split()[0] == text.split()[0] == "1000"


@pytest.mark.parametrize("command", [("sleep", "60"), ("sh", "-c", "sleep 60; true")])
async def test_term_ends_a_first_process_that_does_not_handle_it(
    oci: Rig, command: tuple[str, ...]
) -> None:
    """As pid 1 of its namespace it would be deaf to SIGTERM."""
    oci.containers.start(spec(*command, containerizer="oci"))
    await oci.started("c1")
    oci.containers.stop("c1", signal.SIGTERM)
    assert (await oci.ended("c1")).signal == signal.SIGTERM


async def test_term_is_left_to_a_first_process_that_handles_it(oci: Rig) -> None:
    script = "trap 'echo bye; exit 6' TERM; echo up; while :; do sleep 0.02; done"
    task = spec("sh", "-c", script, containerizer="oci")
    oci.containers.start(task)
    await oci.started("c1")
    await oci.until_said(task, "up")
    oci.containers.stop("c1", signal.SIGTERM)
    assert (await oci.ended("c1")).exit_code == 6
    assert oci.said(task) == "up\nbye\n"


async def test_it_is_alone_with_few_rights(oci: Rig) -> None:
    script = (
        "ls /proc | grep -c '^[0-9]'; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status;"
        "mount -t tmpfs x /mnt 2>/dev/null && echo mounted; cat /proc/kcore | head -c 1 | wc -c;"
        "echo 1 2>/dev/null > /proc/sys/vm/drop_caches && echo wrote; id -u; env | grep -c SECRET"
    )
    os.environ["SECRET_OF_THE_AGENT"] = "1"
    try:
        task = spec("sh", "-c", script, containerizer="oci")
        await oci.run(task)
    finally:
        del os.environ["SECRET_OF_THE_AGENT"]
    processes, *rights, kcore, uid, secrets = oci.said(task).splitlines()
    assert int(processes) <= 4
    assert rights == [
        "CapEff:\t00000000a80425fb",  # Docker's default set
        "CapBnd:\t00000000a80425fb",
        "NoNewPrivs:\t1",
    ]
    assert (kcore.strip(), uid, secrets) == ("0", "0", "0")


async def test_it_runs_as_its_user_without_capabilities(oci: Rig) -> None:
    script = "id -un; grep CapEff /proc/self/status; echo mine > file"
    task = spec("sh", "-c", script, containerizer="oci", user="nobody")
    end = await oci.run(task)
    assert end.exit_code == 0, oci.said(task, "stderr")
    assert oci.said(task) == "nobody\nCapEff:\t0000000000000000\n"


async def test_containers_outlive_their_agent_and_keep_their_evidence(place: Place) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    need_oci(first.containers)
    hold = "open('up', 'w'); open('go').read(); x = bytearray(200 << 20)"
    hog = spec(
        sys.executable, "-S", "-c", hold,
        container_id="hog", containerizer="oci", mem_limit_bytes=32 << 20,
    )  # fmt: skip
    sandbox = first.file(hog).parent
    sandbox.mkdir(parents=True)
    os.mkfifo(sandbox / "go")
    first.containers.start(hog)
    stays = spec("sleep", "300", container_id="stays", containerizer="oci")
    first.containers.start(stays)
    await first.started("hog")
    pid = (await first.started("stays")).pid
    await until((sandbox / "up").exists)
    await first.containers.close(kill=False)
    (sandbox / "go").write_text("go")

    second = Rig(place)
    await second.containers.recover({"hog", "stays"})
    assert (await second.ended("hog")).oom
    assert (await second.started("stays")).pid == pid
    await second.containers.close(kill=True)


async def test_a_lost_launcher_takes_its_containers_with_it(oci: Rig) -> None:
    oci.containers.start(spec("sh", "-c", "sleep 300 & sleep 300", containerizer="oci"))
    await oci.started("c1")
    os.kill(oci.launcher_pid(), signal.SIGKILL)
    assert (await oci.ended("c1")).launcher_lost
    group = Cgroups.of_host().procs_file(f"mesoslite/{oci.place.agent_id}/c1")
    assert group.read_text() == ""
    assert (await oci.run(spec("true", container_id="c2", containerizer="oci"))).exit_code == 0


async def test_what_the_agent_does_not_know_is_destroyed(place: Place) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    need_oci(first.containers)
    first.containers.start(spec("sleep", "300", containerizer="oci"))
    await first.started("c1")
    await first.containers.close(kill=False)
    second = Rig(place)
    await second.containers.recover(set())
    assert second.events == []
    assert mounted_below(place.work_dir) == []
    assert Cgroups.of_host().children(f"mesoslite/{place.agent_id}") == set()
    await second.containers.close(kill=True)


@pytest.mark.parametrize("hit", ["intent", "record"])
async def test_what_a_damaged_journal_does_not_tell_is_freed_all_the_same(
    place: Place, hit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Rig(place)
    await first.containers.recover(set())
    need_oci(first.containers)
    first.containers.start(spec("sleep", "300", containerizer="oci"))
    await first.started("c1")
    await first.containers.close(kill=False)
    launcher = int((place.work_dir / "launcher" / "pid").read_text())
    os.kill(launcher, signal.SIGSTOP)
    journal = place.work_dir / "launcher" / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    where = next(n for n, line in enumerate(lines) if f'"is": "{hit}"'.encode() in line)
    lines[where] = lines[where].replace(b'"', b"'", 1)
    journal.write_bytes(b"".join(lines))
    os.kill(launcher, signal.SIGKILL)
    second = Rig(place)
    await second.containers.recover({"c1"})
    assert (await second.ended("c1")).launcher_lost
    second.containers.destroy("c1")
    await until(lambda: not mounted_below(place.work_dir))
    await until(lambda: not Cgroups.of_host().children(f"mesoslite/{place.agent_id}"))
    await second.containers.close(kill=True)
    assert "".join(capsys.readouterr()).count("the launcher's journal was damaged") == 1


async def test_an_agent_that_goes_when_nothing_runs_leaves_nothing(place: Place) -> None:
    rig = Rig(place)
    await rig.containers.recover(set())
    need_oci(rig.containers)
    await rig.run(spec("true", containerizer="oci"))
    rig.containers.destroy("c1")
    await until(lambda: not Cgroups.of_host().children(f"mesoslite/{place.agent_id}"))
    await rig.containers.close(kill=False)
    await until(lambda: not place.leftovers())


async def test_what_is_not_to_outlive_its_agent_ends_when_that_was_killed(place: Place) -> None:
    """As when an agent is killed: it lets go of the launcher, and says nothing."""
    first = Rig(place, unattended_s=0.1)
    await first.containers.recover(set())
    need_oci(first.containers)
    first.containers.start(spec("sh", "-c", "sleep 300 & sleep 300", containerizer="oci"))
    first.containers.start(spec("sleep", "300", container_id="c2"))
    await first.started("c1")
    await first.started("c2")
    await first.containers.close(kill=False)
    await until(lambda: not place.processes())
    assert not [left for left in place.leftovers() if left.startswith("cgroup")]
    second = Rig(place)
    await second.containers.recover({"c1", "c2"})
    assert [(await second.ended(each)).signal for each in ("c1", "c2")] == [signal.SIGKILL] * 2
    await second.containers.close(kill=True)


def _has_reported(rig: Rig, container_id: str, events: int) -> bool:
    return len(rig.of(container_id)) >= events


async def test_giving_up_at_any_moment_ends_in_exactly_one_way(oci: Rig) -> None:
    ends = (ContainerExited, ContainerStartFailed)
    for number in range(12):
        container_id = f"c{number}"
        oci.containers.start(spec("sleep", "60", container_id=container_id, containerizer="oci"))
        await oci.until(partial(_has_reported, oci, container_id, number // 3))
        oci.containers.abort(container_id)
    await oci.until(lambda: sum(isinstance(e, ends) for e in oci.events) >= 12)
    for number in range(12):
        assert sum(isinstance(e, ends) for e in oci.of(f"c{number}")) == 1
        oci.containers.destroy(f"c{number}")
    await until(lambda: not Cgroups.of_host().children(f"mesoslite/{oci.place.agent_id}"))
    await until(lambda: not mounted_below(oci.place.work_dir))


@pytest.fixture
def place_in_var() -> Iterator[Place]:
    """Where services keep their state, and where file systems belong to the host's root."""
    folder = Path(tempfile.mkdtemp(prefix="mesoslite-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    here = Place(folder, {f"test-{uuid.uuid4().hex[:12]}"})
    yield here
    left = here.leftovers()
    here.clean()
    assert not left


@pytest.fixture
async def rig_in_var(place_in_var: Place) -> AsyncIterator[Rig]:
    made = Rig(place_in_var)
    await made.containers.recover(set())
    yield made
    await made.containers.close(kill=True)


async def test_a_work_dir_in_var_is_as_good_as_any(oci: Rig, rig_in_var: Rig) -> None:
    assert oci.containers.why_not("oci") is None
    assert rig_in_var.containers.why_not("oci") is None
    tasks = [spec("true", container_id=name, containerizer="oci") for name in ("c1", "c2")]
    ends = [await rig_in_var.run(task) for task in tasks]
    assert [end.exit_code for end in ends] == [0, 0]


def volume(rig: Rig, path: str, directory: str = "kafka/data.1") -> VolumeAt:
    """A volume that is on the host, and the path at which a container is to have it."""
    Volumes.of(rig.place.work_dir).make(directory)
    return VolumeAt(directory.partition("/")[2], directory, path)


@pytest.mark.parametrize("user", [None, "nobody"])
async def test_volumes_are_mounted_in_the_sandbox_and_in_the_containers_own_root(
    oci: Rig, user: str | None
) -> None:
    at = (
        volume(oci, "data/inner", "kafka/inner.1"),
        volume(oci, "data", "kafka/data.2"),
        volume(oci, "/var/lib/cassandra", "kafka/root.3"),
    )
    writes = "for d in data data/inner /var/lib/cassandra; do echo $d > $d/file; done"
    first = spec("sh", "-c", writes, containerizer="oci", user=user, volumes=at)
    assert (await oci.run(first)).exit_code == 0, oci.said(first, "stderr")
    oci.containers.destroy("c1")
    await until(lambda: not mounted_below(oci.place.work_dir))
    reads = "cat data/file data/inner/file /var/lib/cassandra/file"
    second = spec("sh", "-c", reads, container_id="c2", containerizer="oci", user=user, volumes=at)
    assert (await oci.run(second)).exit_code == 0, oci.said(second, "stderr")
    assert oci.said(second) == "data\ndata/inner\n/var/lib/cassandra\n"
    folders = oci.place.work_dir / "volumes/kafka"
    found = {path.parent.name: path.read_text() for path in folders.glob("*/file")}
    assert found == {
        "data.2": "data\n", "inner.1": "data/inner\n", "root.3": "/var/lib/cassandra\n",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/mnt", "/proc/x", "/mnt/mesoslite/sandbox/x", "stdout"])
async def test_a_volume_is_not_put_where_the_containers_own_things_are(oci: Rig, path: str) -> None:
    oci.containers.start(spec("true", containerizer="oci", volumes=(volume(oci, path),)))
    failed = await oci.failed("c1")
    assert (failed.failure, path in failed.message) == (StartFailure.ROOT_FAILED, True)
