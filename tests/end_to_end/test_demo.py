"""`mesoslite demo`: the whole thing, live, and nothing left of it."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.cli.frameworks import installed
from tests.end_to_end.command import COMMAND, clean_environment, left_behind

DEMO_S_MAX = 110.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert left_behind(tmp_path, []) == []


def start(home: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, "demo", *words],
        env={**clean_environment(home), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_it_shows_the_four_steps_and_a_summary(home: Path) -> None:
    with start(home) as demo:
        out, err = demo.communicate(timeout=DEMO_S_MAX)
    assert demo.returncode == 0, err
    for step in ("1 agents advertise", "2 master offers", "3 framework decides", "4 agents run"):
        assert step in out
    live, summary = out.split("summary\n")
    for word in ("RUNNING", "FINISHED", "FAILED", "KILLED", "launch web-1", "job-07.2"):
        assert word in live
    assert "1 FAILED, 36 FINISHED, 3 KILLED" in summary
    assert "(p50)" in summary
    assert "(p99)" in summary
    assert "nothing: no process, cgroup, mount, directory" in summary
    placed = [line.split()[:2] for line in summary.splitlines() if line.startswith("agent-")]
    assert [name for name, _ in placed] == ["agent-1", "agent-2", "agent-3"]
    assert sum(int(count) for _, count in placed) == 40
    assert "Traceback" not in err


def test_without_containers_it_uses_processes_and_says_so_once(home: Path) -> None:
    """A machine without runc: nothing but the tools that tasks need is on the path."""
    tools = home / "tools"
    tools.mkdir()
    for name in ("sh", "sleep", "hostname", "prlimit", "setpriv"):
        if (found := shutil.which(name)) is not None:
            (tools / name).symlink_to(found)
    with start(home, "--agents", "2", PATH=str(tools)) as demo:
        out, err = demo.communicate(timeout=DEMO_S_MAX)
    assert demo.returncode == 0, err
    assert err.count("tasks run as plain processes") == 1
    assert "runs tasks in process" in out
    assert "agent-3" not in out


@pytest.mark.parametrize("seen", ["agents advertise", "framework decides", "RUNNING", "FINISHED"])
def test_ctrl_c_half_way_leaves_nothing(home: Path, seen: str) -> None:
    with start(home) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        line = next(line for line in demo.stdout if seen in line)
        demo.send_signal(signal.SIGINT)
        rest, err = demo.communicate(timeout=DEMO_S_MAX)
    assert seen in line
    assert demo.returncode == 130, err
    assert "summary" not in rest
    assert "Traceback" not in err


def test_ctrl_c_while_it_starts_leaves_nothing(home: Path) -> None:
    with start(home) as demo:
        assert demo.stderr is not None
        assert "starting" in demo.stderr.readline()
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=DEMO_S_MAX)
    assert (demo.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_a_framework_that_is_not_installed_is_named(home: Path) -> None:
    with start(home, "--framework", "nonesuch") as demo:
        out, err = demo.communicate(timeout=DEMO_S_MAX)
    assert (demo.returncode, out) == (3, "")
    there_are = ", ".join(sorted(installed()))
    assert err == f"mesoslite: no framework 'nonesuch' is installed; there are: {there_are}\n"
