"""The `mesoslite` command as its users start it: console scripts, real clusters, real terminals."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesoslite.cli import hosts
from tests.end_to_end.waiting import wait_until

COMMAND = Path(sys.executable).with_name("mesoslite")
COMMAND_S_MAX = 60.0
START_S_MAX = 60.0
STOP_S_MAX = 60.0

NONE: Mapping[str, str] = {}

_naps = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run_command(
    environment: Mapping[str, str], *words: str, timeout_s: float = COMMAND_S_MAX
) -> Done:
    """Run `mesoslite` in an environment, which says what cluster it talks to, to its end."""
    done = subprocess.run(
        [COMMAND, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def json_of(environment: Mapping[str, str], *words: str) -> Any:
    """What a command prints as JSON."""
    done = run_command(environment, *words, "-o", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


class Dev:
    """One `mesoslite dev`, with a home of its own and the commands that talk to it."""

    def __init__(self, home: Path, *words: str, environment: Mapping[str, str] = NONE) -> None:
        self.home = home
        self.port_file = home / "port"
        self.port_file.unlink(missing_ok=True)
        self.environment = {**clean_environment(home), **environment}
        self._err = (home / "dev.err").open("w+")
        self.process = subprocess.Popen(
            [COMMAND, "dev", "--port", "0", "--port-file", self.port_file, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._err,
            env=self.environment,
            text=True,
            start_new_session=True,
        )
        self.agent_ids: list[str] = []

    def ready(self) -> Dev:
        """Wait until it serves."""
        wait_until(
            lambda: self.port_file.exists() or self.process.poll() is not None,
            "dev is ready",
            START_S_MAX,
        )
        assert self.process.poll() is None, self.said()
        self.environment["MESOSLITE_MASTER"] = f"localhost:{self.port_file.read_text().strip()}"
        self.agent_ids = [row["info"]["agentId"] for row in self.json("agent", "ls")]
        return self

    def said(self) -> str:
        """All that it has written to stderr."""
        return (self.home / "dev.err").read_text()

    def type(self, line: str) -> None:
        """Type a command on its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def command(self, *words: str, timeout_s: float = COMMAND_S_MAX) -> Done:
        """Run a command against this cluster to its end."""
        return run_command(self.environment, *words, timeout_s=timeout_s)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command against this cluster; who starts it ends it."""
        return subprocess.Popen(
            [COMMAND, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json_of(self.environment, *words)

    def tasks(self, state: str = "RUNNING") -> list[str]:
        """The ids of the tasks in a state."""
        return [row["task"]["taskId"] for row in self.json("task", "ls") if row["state"] == state]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as a person or a service manager would; its exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        try:
            code = self.process.wait(STOP_S_MAX)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self._err):
                if stream is not None:
                    stream.close()
        return code


def clean_environment(home: Path) -> dict[str, str]:
    """This environment with another home, and nothing of mesoslite's in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESOSLITE")}
    dropped = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "COLUMNS", "FORCE_COLOR")
    kept = {name: value for name, value in kept.items() if name not in dropped}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "NO_COLOR": "1"}


def left_behind(home: Path, agent_ids: Iterable[str]) -> list[str]:
    """What is still there of clusters whose home this was."""
    found = [f"cgroup {group}" for agent_id in agent_ids for group in cgroups_of(agent_id)]
    found += [f"mount {where}" for where in hosts.mounted_below(home.resolve())]
    found += [f"directory {path}" for path in home.glob("mesoslite-*")]
    found += [f"process {pid}: {words}" for pid, words in processes_of(home).items()]
    return found


def cgroups_of(agent_id: str) -> list[Path]:
    """The cgroups of an agent, in every hierarchy."""
    places = [hosts.CGROUPS, *hosts.CGROUPS.glob("*")]
    return [one for place in places if (one := place / "mesoslite" / agent_id).is_dir()]


def processes_of(home: Path) -> dict[int, str]:
    """Processes that live and have this home in their words, their environment or their place."""
    here = os.fsencode(home)
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                told = words + (entry / "environ").read_bytes()
                place = os.fsencode((entry / "cwd").readlink())
            except OSError:
                continue
            if words and (here in told or place.startswith(here)):
                found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def nap() -> str:
    """A command line that sleeps for long and that no other process has."""
    return f"sleep 3000.{os.getpid()}{next(_naps):03}"


def running(words: str) -> list[int]:
    """Processes whose command line is exactly this, wherever they run."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if told.decode(errors="replace").strip() == words:
                found.append(int(entry.name))
    return found


def need_oci(dev: Dev) -> None:
    """Skip where the host cannot run containers; where it must, fail instead."""
    rows = dev.json("agent", "ls")
    if all("oci" in row["info"]["containerizers"] for row in rows):
        return
    reason = "the agents of this host cannot run oci containers"
    if os.environ.get("MESOSLITE_REQUIRE_CONTAINERS") == "1":
        pytest.fail(f"MESOSLITE_REQUIRE_CONTAINERS=1, but {reason}")
    pytest.skip(reason)
