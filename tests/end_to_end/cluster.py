"""A cluster of real daemons, each of which a test may kill and start again.

    with running_cluster(tmp_path) as cluster:
        agent = cluster.start_agent("cpus:4;mem:4096")
        agent.kill()

Ports are free ones and all files are in one directory. At the end no process, mount or cgroup of
the cluster may be left: else the test fails, and what was left is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mesoslite.cli.connection import Operator
from mesoslite.v1 import operator_pb2
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import Place
from tests.integration.http import Http

ROOT = Path(__file__).resolve().parent.parent.parent
STOP_S_MAX = 60.0
GONE_S_MAX = 10.0
ANSWER_S_MAX = 30.0

Json = dict[str, Any]


class Program:
    """One process of ours, whose output goes to files."""

    def __init__(self, folder: Path, name: str, words: Sequence[str], env: dict[str, str]) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | env,
            )
        self.name = name

    @property
    def pid(self) -> int:
        """Of the process, also when it has ended."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self.process.kill()
        self.process.wait(STOP_S_MAX)

    def wait(self, deadline_s: float = STOP_S_MAX) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self.process.wait(deadline_s)

    def stop(self) -> int:
        """SIGTERM, and its exit code. Raises subprocess.TimeoutExpired."""
        if self.running:
            self.process.terminate()
        return self.wait()

    def said(self) -> str:
        """Its stderr so far."""
        return self.err.read_text(errors="replace")

    def until_exists(self, path: Path, what: str) -> None:
        """Wait for a file that it is to write; fails at once when it has ended instead."""
        wait_until(lambda: path.exists() or not self.running, what)
        assert path.exists(), f"{self.name} ended with {self.wait()}: {self.said()[-2_000:]}"


class Launcher:
    """A connection to an agent's launcher, which tells what really runs."""

    def __init__(self, folder: Path) -> None:
        self._socket = open_launcher(folder)
        self._file = self._socket.makefile("rb")
        self._seq = 0

    def __enter__(self) -> Launcher:
        self.ask("hello", version=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, op: str, **fields: object) -> tuple[Json, list[Json]]:
        """The answer, and the events that came before it."""
        self._seq += 1
        line = json.dumps({"seq": self._seq, "op": op} | fields)
        self._socket.sendall(line.encode() + b"\n")
        events: list[Json] = []
        while True:
            message: Json = json.loads(self._file.readline())
            if message.get("seq") == self._seq:
                return message, events
            events.append(message)


def open_launcher(folder: Path) -> socket.socket:
    """A bare connection to the launcher of a work directory, however long its path."""
    descriptor = os.open(folder / "launcher", os.O_PATH | os.O_DIRECTORY)
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(ANSWER_S_MAX)
    try:
        link.connect(f"/proc/self/fd/{descriptor}/launcher.sock")
    except OSError:
        link.close()
        raise
    finally:
        os.close(descriptor)
    return link


class Agent:
    """One agent of a cluster."""

    def __init__(self, cluster: Cluster, name: str, flags: Sequence[str]) -> None:
        self._cluster = cluster
        self.name = name
        self.work_dir = cluster.folder / name
        self._port_file = cluster.folder / f"{name}.port"
        self._http_port_file = cluster.folder / f"{name}.http"
        self._flags = flags
        self.program = self._start()
        self.agent_id = self.until_active()

    def _start(self) -> Program:
        program = self.run()
        program.until_exists(self._port_file, f"{self.name} serves")
        return program

    def run(self) -> Program:
        """Its program, begun again: it may end before it serves, or right after."""
        self._port_file.unlink(missing_ok=True)
        return self._cluster.program(
            self.name,
            "-m",
            "mesoslite_agent",
            f"--master={self._cluster.address}",
            "--port=0",
            f"--port-file={self._port_file}",
            f"--http-port-file={self._http_port_file}",
            f"--work-dir={self.work_dir}",
            f"--hostname={self.name}",
            "--kill-on-exit=true",
            *self._flags,
        )

    @property
    def port(self) -> int:
        """Where it listens now."""
        return int(self._port_file.read_text())

    @property
    def http(self) -> Http:
        """Where it answers probes."""
        return Http(int(self._http_port_file.read_text()), self._cluster.token_file)

    def until_active(self) -> str:
        """Wait until the master counts it in; its id."""

        def active() -> str:
            with self._cluster.operator() as operator:
                rows = operator.agents(self.name)
                return next((row.info.agent_id for row in rows if row.state == "active"), "")

        return wait_until(active, f"{self.name} is active")

    def kill(self) -> None:
        """kill -9 of the agent; launcher and containers go on."""
        self.program.kill()

    def start(self, *more_flags: str) -> None:
        """Start it again in the same work directory, and wait until it is registered."""
        self._flags = (*self._flags, *more_flags)
        self.program = self._start()
        assert self.until_active() == self.agent_id

    def launcher_pid(self) -> int:
        """The parent of its containers."""
        return int((self.work_dir / "launcher" / "pid").read_text())

    def containers(self) -> dict[str, Json]:
        """What its launcher knows, by task id: state, pid, and how it ended."""
        with Launcher(self.work_dir) as launcher:
            _, events = launcher.ask("list")
        # What happens between hello and list comes as an event of its own, before the one listed.
        latest = {event["id"]: event for event in events}
        known = {self._task_of(container_id): event for container_id, event in latest.items()}
        assert len(known) == len(latest), f"two containers of one task: {latest}"
        return known

    def _task_of(self, container_id: str) -> str:
        [sandbox] = self.work_dir.glob(f"sandboxes/*/*/{container_id}")
        return sandbox.parent.name

    def sandbox(self, task_id: str) -> Path:
        """The one directory that a task ever had; fails when it was started twice."""
        [sandbox] = self.work_dir.glob(f"sandboxes/*/{task_id}/*")
        return sandbox

    def end(self) -> None:
        """End it with its containers, whether it runs or was killed."""
        if self.program.running:
            assert self.program.stop() == 0, self.program.said()[-2_000:]
        else:
            with contextlib.suppress(OSError), Launcher(self.work_dir) as launcher:
                launcher.ask("shutdown", kill=True)


class Cluster:
    """A master, and the agents and other programs that a test starts."""

    def __init__(self, folder: Path, master_flags: Sequence[str] = ()) -> None:
        self.folder = folder
        self.token_file = folder / "token"
        self._flags = master_flags
        self._port_file = folder / "master.port"
        self._http_port_file = folder / "master.http"
        self._programs: list[Program] = []
        self.agents: list[Agent] = []
        self.port = 0
        self.master: Program

    # --- the master -------------------------------------------------------------------------------

    def _start_master(self) -> Program:
        self._port_file.unlink(missing_ok=True)
        program = self.program(
            "master",
            "-m",
            "mesoslite.master",
            f"--port={self.port}",
            f"--port-file={self._port_file}",
            "--http-port=0",
            f"--http-port-file={self._http_port_file}",
            f"--work-dir={self.folder / 'master'}",
            *self._flags,
        )
        program.until_exists(self._port_file, "the master serves")
        self.port = int(self._port_file.read_text())
        return program

    def kill_master(self) -> None:
        """kill -9 of the master."""
        self.master.kill()

    def start_master(self) -> None:
        """Start it; again on the same port, with the same registry."""
        self.master = self._start_master()

    @property
    def address(self) -> str:
        """HOST:PORT of the master."""
        return f"localhost:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program find this cluster."""
        return {"MESOSLITE_MASTER": self.address, "MESOSLITE_TOKEN_FILE": str(self.token_file)}

    @property
    def http(self) -> Http:
        """Where the master answers probes."""
        return Http(int(self._http_port_file.read_text()), self.token_file)

    def operator(self) -> Operator:
        """An operator's connection, to be used as a context."""
        return Operator(self.address, self.token_file)

    def status(self) -> operator_pb2.GetStatusResponse:
        """The cluster in numbers."""
        with self.operator() as operator:
            return operator.status()

    # --- the others -------------------------------------------------------------------------------

    def start_agent(
        self,
        resources: str = "cpus:4;mem:4096",
        *more_flags: str,
        containerizer: str = "process",
        name: str = "",
    ) -> Agent:
        """A new agent, active when this returns."""
        flags = (f"--resources={resources}", f"--containerizers={containerizer}", *more_flags)
        agent = Agent(self, name or f"agent-{len(self.agents) + 1}", flags)
        self.agents.append(agent)
        return agent

    def program(self, name: str, *words: str, env: Mapping[str, str] | None = None) -> Program:
        """A process of this Python's, which finds the cluster and ends with it; `env` goes over
        what it finds it by."""
        # The token file names the folder, so what descends from here is found again by it.
        tokens = {"MESOSLITE_TOKEN_FILE": str(self.token_file)}
        found_by = tokens if not self.port else tokens | self.environment
        program = Program(self.folder, name, [sys.executable, *words], found_by | dict(env or {}))
        self._programs.append(program)
        return program

    def close(self) -> None:
        """End everything in order; agents with their containers, then the master."""
        daemons = {agent.program for agent in self.agents} | {self.master}
        for program in self._programs:
            if program not in daemons and program.running:
                program.kill()
        for agent in self.agents:
            agent.end()
        if self.master.running:
            assert self.master.stop() == 0, self.master.said()[-2_000:]

    def wait(self) -> None:
        """Take the ends of all that was started."""
        for program in self._programs:
            program.wait()


@contextlib.contextmanager
def running_cluster(*master_flags: str) -> Iterator[Cluster]:
    """A master that serves; at the end nothing of the cluster is left on the host."""
    # Not below pytest's own directory, which is kept: what agents leave must be seen to go away.
    folder = Path(tempfile.mkdtemp(prefix="mesoslite-test-"))
    place = Place(folder)
    cluster = Cluster(folder, master_flags)
    try:
        cluster.start_master()
        yield cluster
        place.agent_ids |= {agent.agent_id for agent in cluster.agents}
        cluster.close()
        left = leftovers(place)
        assert not left, "the test left behind: " + "; ".join(left)
    finally:
        place.agent_ids |= {agent.agent_id for agent in cluster.agents}
        place.clean()
        cluster.wait()
    assert not folder.exists()


def leftovers(place: Place) -> list[str]:
    """What is still there when processes had GONE_S_MAX to be gone."""
    ends_s = time.monotonic() + GONE_S_MAX
    while (left := place.leftovers()) and time.monotonic() < ends_s:
        pass
    return left
