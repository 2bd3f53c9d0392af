"""Masters and agents as processes of a test, and what they said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from mesoslite.credentials import call_metadata, read_tokens
from mesoslite.v1 import operator_pb2, operator_pb2_grpc
from tests.integration.http import Http
from tests.integration.waiting import until

MASTER, AGENT = "mesoslite.master", "mesoslite_agent"
STOP_S_MAX = 20.0
START_S_MAX = 30.0


def environment() -> dict[str, str]:
    """Ours, without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MESOSLITE_")}


def tried(module: str, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *flags],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=START_S_MAX,
        check=False,
    )


@dataclass
class Daemon:
    """One daemon, which may be started again after its end."""

    module: str
    folder: Path
    flags: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def port_file(self) -> Path:
        return self.folder / "port"

    @property
    def port(self) -> int:
        return int(self.port_file.read_text())

    @property
    def http(self) -> Http:
        """Its HTTP port, with the token of its cluster."""
        [flag] = [flag for flag in self.flags if flag.startswith("--token-file=")]
        port = int((self.folder / "http").read_text())
        return Http(port, Path(flag.removeprefix("--token-file=")))

    @property
    def said(self) -> str:
        """All that it logged, over all its starts."""
        return (self.folder / "log").read_text()

    async def start(self, *more: str) -> None:
        """Start it and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for told in (self.port_file, self.folder / "http"):
            told.unlink(missing_ok=True)  # a killed one leaves it
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [
                    sys.executable,
                    "-m",
                    self.module,
                    f"--port-file={self.port_file}",
                    f"--http-port-file={self.folder / 'http'}",
                    "--http-port=0",  # with --port=N it would be the one that every daemon likes
                    f"--work-dir={self.folder / 'work'}",
                    *self.flags,
                    *more,
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                env=environment(),
                start_new_session=True,
            )
        self.starts += 1
        await until(lambda: self.port_file.exists() or not self.alive, START_S_MAX)
        assert self.alive, self.said

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """As a service manager ends it; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S_MAX)


@dataclass
class Cluster:
    """A master with agents below one folder."""

    folder: Path
    agents: list[Daemon] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.token_file = self.folder / "secret" / "token"
        self.master = Daemon(
            MASTER, self.folder / "master", (f"--token-file={self.token_file}", "--port=0")
        )

    async def start_agent(self, *flags: str) -> Daemon:
        """One more agent, of the process containerizer unless told otherwise."""
        agent = Daemon(
            AGENT,
            self.folder / f"agent{len(self.agents) + 1}",
            (
                f"--token-file={self.token_file}",
                f"--master={self.address}",
                "--port=0",
                "--containerizers=process",
                "--resources=cpus:4;mem:1024",
                *flags,
            ),
        )
        self.agents.append(agent)
        await agent.start()
        return agent

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.master.port}"

    def ask(self, method: str, request: object) -> object:
        """One call of the operator service. Raises grpc.RpcError."""
        with grpc.insecure_channel(self.address) as channel:
            stub = operator_pb2_grpc.OperatorServiceStub(channel)
            metadata = call_metadata(read_tokens(self.token_file).own)
            return getattr(stub, method)(request, metadata=metadata, timeout=10)

    def status(self) -> operator_pb2.GetStatusResponse:
        answer = self.ask("GetStatus", operator_pb2.GetStatusRequest())
        assert isinstance(answer, operator_pb2.GetStatusResponse)
        return answer

    def agents_active(self) -> int:
        """As the master sees it; 0 while there is none."""
        try:
            return self.status().agents_active
        except (grpc.RpcError, OSError, ValueError):
            return 0


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A cluster that ends with the test, whatever state it is in."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        for daemon in (*cluster.agents, cluster.master):
            daemon.kill()
