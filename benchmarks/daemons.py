"""A cluster of real daemons for a workload: started as users start them, gone when it ends.

    with running_cluster() as cluster:
        agent = cluster.start_agent("cpus:8;mem:8192")
        cluster.run(MyScheduler(), deadline_s=60)

Ports are free ones and all files are in one temporary directory. The daemons hold the other end of
a pipe as their stdin and stop, tasks included, when this process is gone for whatever reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from mesoslite import Scheduler, run_async

ROOT = Path(__file__).resolve().parent.parent
START_S_MAX = 30.0
STOP_S_MAX = 60.0
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x8008_6601, 0x4008_6602  # linux/fs.h, on 64 bits
EXT4_TOPDIR_FL = 0x0002_0000
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class BenchmarkFailed(Exception):
    """What was to be measured did not happen; `str` says what is wrong."""


class Program:
    """One process of the cluster, with its own log."""

    def __init__(
        self, folder: Path, name: str, words: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._words = [sys.executable, *words]
        self._env = {**os.environ, **env}
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._words,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours: we stop it in order
            )

    def kill_and_restart(self) -> None:
        """As when it is killed with SIGKILL and its service manager starts it at once."""
        self.process.kill()
        self.process.wait()
        self.process = self._started()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def until_told(self, port_file: Path) -> int:
        """Wait for the port that it serves. Raises BenchmarkFailed."""
        ends_s = time.monotonic() + START_S_MAX
        while not port_file.exists():
            if self.process.poll() is not None or time.monotonic() > ends_s:
                raise BenchmarkFailed(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.005)
        return int(port_file.read_text())

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2_000:].strip()

    def stop(self) -> None:
        """End it in order, by force when that takes too long."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Agent:
    """An agent that is registered, with its launcher."""

    def __init__(self, program: Program, work_dir: Path) -> None:
        self.program = program
        self.work_dir = work_dir

    def pids(self) -> tuple[int, int]:
        """Of the agent and of its launcher."""
        launcher = int((self.work_dir / "launcher" / "pid").read_text())
        return self.program.pid, launcher


class Cluster:
    """A master and the agents that a workload starts."""

    def __init__(self, folder: Path, master_flags: Sequence[str]) -> None:
        self.folder = folder
        self.token_file = folder / "token"
        self._flags = master_flags
        self._programs: list[Program] = []
        self.agents: list[Agent] = []
        self.port = 0
        self.master: Program

    @property
    def address(self) -> str:
        """HOST:PORT of the master."""
        return f"localhost:{self.port}"

    def start_master(self) -> None:
        """Start it and wait until it serves. Raises BenchmarkFailed."""
        port_file = self.folder / "master.port"
        words = (
            "mesoslite.master",
            "--port=0",
            "--http-port=0",
            f"--port-file={port_file}",
            f"--work-dir={self.folder / 'master'}",
            *self._flags,
        )
        self.master = self.program("master", "-m", *words, "--stop-with-stdin=true")
        self.port = self.master.until_told(port_file)

    def start_agent(self, resources: str, *, containerizer: str = "process") -> Agent:
        """Start an agent and wait until it serves. Raises BenchmarkFailed."""
        name = f"agent-{len(self.agents) + 1}"
        work_dir, port_file = self.folder / name, self.folder / f"{name}.port"
        program = self.program(
            name,
            "-m",
            "mesoslite_agent",
            f"--master={self.address}",
            "--port=0",
            "--http-port=0",
            f"--port-file={port_file}",
            f"--work-dir={work_dir}",
            f"--hostname={name}",
            f"--resources={resources}",
            f"--containerizers={containerizer}",
            "--kill-on-exit=true",
            "--stop-with-stdin=true",
        )
        program.until_told(port_file)
        agent = Agent(program, work_dir)
        self.agents.append(agent)
        return agent

    def program(self, name: str, *words: str) -> Program:
        """A process of this Python's that finds the cluster and ends with it."""
        env = {"MESOSLITE_TOKEN_FILE": str(self.token_file), "MESOSLITE_MASTER": self.address}
        program = Program(self.folder, name, words, env)
        self._programs.append(program)
        return program

    def run(self, scheduler: Scheduler, deadline_s: float) -> None:
        """Run a scheduler in this process until it stops itself. Raises BenchmarkFailed."""

        running = run_async(scheduler, master=self.address, token_file=self.token_file)
        self.until_done(running, scheduler.name, deadline_s)

    @staticmethod
    def until_done(work: Coroutine[Any, Any, object], name: str, deadline_s: float) -> None:
        """Run this in a loop of its own. Raises BenchmarkFailed when it takes too long."""

        async def limited() -> None:
            async with asyncio.timeout(deadline_s):
                await work

        try:
            asyncio.run(limited())
        except TimeoutError:
            raise BenchmarkFailed(f"{name} did not end in {deadline_s:g} s") from None

    def pids(self) -> list[int]:
        """Of every daemon and launcher."""
        return [self.master.pid, *(pid for agent in self.agents for pid in agent.pids())]

    def cpu_s(self) -> float:
        """What this process, the daemons, the launchers and all that they reaped have used."""
        return sum(map(tree_cpu_s, [os.getpid(), *self.pids()]))

    def close(self) -> None:
        """End everything in order: agents with their tasks, the others, then the master."""
        for program in reversed(self._programs):
            program.stop()


def tree_cpu_s(pid: int) -> float:
    """CPU time of a process and of its children that it has waited for, to 1/100 s."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def cpu_ns(pid: int) -> int:
    """CPU time of the threads that a process has; exact, where `tree_cpu_s` counts hundredths."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def pss_mb(pid: int) -> float:
    """Resident memory in MB (10^6), what is shared with other processes divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1_024 for line in lines if line.startswith("Pss:")) / 1e6


def rss_mb(pid: int | str) -> float:
    """Resident memory in MB (10^6), whoever else uses it; `self` is this process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmRSS:")) / 1e6


def _spread(folder: Path) -> None:
    """Have ext4 put each directory made in this one into a part of the disk of its own.

    Else the files of this run come to lie where those of the run before were deleted, and ext4
    looks at each of them before it makes a new one: 1 ms for a sandbox which takes 0.1 elsewhere.
    """
    flags = array("l", [0])
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, flags)
        flags[0] |= EXT4_TOPDIR_FL
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, flags)
    except OSError:
        pass  # another file system
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def cluster_folder() -> Iterator[Path]:
    """A folder for a cluster; at the end it is gone, also after Ctrl-C."""
    place = Path(tempfile.mkdtemp(prefix="mesoslite-bench-"))
    _spread(place)
    folder = place / "cluster"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def running_cluster(*master_flags: str) -> Iterator[Cluster]:
    """A master that serves; at the end nothing of it is left, also after Ctrl-C."""
    with cluster_folder() as folder:
        cluster = Cluster(folder, master_flags)
        try:
            cluster.start_master()
            yield cluster
        finally:
            cluster.close()


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """What frameworks in this process log, below a warning, does not belong between the figures."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
