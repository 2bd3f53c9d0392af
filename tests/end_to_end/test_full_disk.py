"""A disk fills up under a daemon: one clear line, nothing new, nothing lost, and on it goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite import Reason, TaskState
from mesoslite_agent.mounts import unmount
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root
from tests.integration.http import Http

SLEEPS = "exec sleep 600"
DISK_MIB = 24


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of DISK_MIB for a directory, as long as the block lasts."""
    need_root()
    place.mkdir(mode=0o755, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        unmount(place)
        place.rmdir()


def fill(place: Path) -> Path:
    """Leave not a byte."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    return ballast


def unready(http: Http) -> str:
    answer = http.ask("/readyz")
    return answer.text if answer.status == 503 else ""


def problem(cluster: Cluster) -> str:
    with cluster.operator() as operator:
        [row] = operator.agents()
    return row.problem


def test_an_agent_whose_disk_is_full_is_offered_nothing_and_goes_on_when_there_is_room() -> None:
    with running_cluster() as cluster, small_disk(cluster.folder / "agent-1") as disk:
        agent = cluster.start_agent()
        tasks = [task("runs", SLEEPS), task("dies", SLEEPS)]
        with recording(cluster, Recorder("full", tasks)) as s:
            for name in ("runs", "dies"):
                s.until(name, TaskState.RUNNING)
            ballast = fill(disk)
            assert "is full" in wait_until(lambda: unready(agent.http), "it is not ready")
            assert "is full" in wait_until(lambda: problem(cluster), "the master knows")
            assert agent.http.number("mesoslite_troubled") == 1
            assert cluster.http.number("mesoslite_agents_troubled") == 1
            s.add(task("new", SLEEPS))
            os.kill(agent.containers()["dies"]["pid"], signal.SIGKILL)
            # What a new framework hears comes after all that the master had to offer.
            with recording(cluster, Recorder("late", [task("late", SLEEPS)])) as late:
                assert cluster.status().offers == 0
                assert late.offered == []
                ballast.unlink()
                s.until("new", TaskState.RUNNING)
                late.until("late", TaskState.RUNNING)
            died = s.until("dies", TaskState.FAILED)
            assert (died.signal, died.reason) == (signal.SIGKILL, Reason.COMMAND_SIGNALED)
            assert not s.latest()["runs"].terminal
            wait_until(lambda: not problem(cluster), "the master knows that it is well")
            assert agent.http.number("mesoslite_troubled") == 0
            assert cluster.http.number("mesoslite_agents_troubled") == 0
            ballast = fill(disk)
            agent.kill()
            again = threading.Thread(target=agent.start)
            again.start()  # it waits until it is registered
            said = "the agent starts when there is room on the disk"
            wait_until(lambda: said in agent.program.said(), "the next run waits for room")
            ballast.unlink()
            again.join()
            assert agent.containers()["runs"]["event"] == "started"
            wait_until(lambda: not unready(agent.http), "it is ready")
        said = agent.program.said()
        assert said.count("nothing new is started until there is room again") == 1
        assert "Traceback" not in said
        agent.end()
        with contextlib.closing(sqlite3.connect(disk / "checkpoint.sqlite")) as checkpoint:
            assert checkpoint.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_a_master_whose_disk_is_full_says_for_how_long_and_goes_on_when_there_is_room() -> None:
    with running_cluster() as cluster:
        cluster.kill_master()
        shutil.rmtree(cluster.folder / "master")
        with small_disk(cluster.folder / "master") as disk:
            cluster.start_master()
            http = cluster.http
            ballast = fill(disk)
            late = cluster.program("late", "-m", "tests.end_to_end.recorder", "late")
            said = wait_until(lambda: unready(http), "it is not ready")
            assert "full" in said
            assert "tried for" in said
            assert "ends after 20 s" in said
            ballast.unlink()
            wait_until(lambda: "subscribed" in late.out.read_text(), "it is subscribed")
            wait_until(lambda: not unready(http), "it is ready")
            log = cluster.master.said()
            assert log.count("cannot write, nothing is handled until it works") == 1
            assert "gives_up_after_s=20" in log
            assert "Traceback" not in log
            late.kill()
            assert cluster.master.stop() == 0
            with contextlib.closing(sqlite3.connect(disk / "registry.sqlite")) as registry:
                assert registry.execute("PRAGMA quick_check").fetchone() == ("ok",)
        cluster.start_master()
