"""Several masters of one cluster as processes of a test, with the agents that find them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from mesoslite.credentials import call_metadata, make_token_file, read_tokens
from mesoslite.masters import leader_told
from mesoslite.testing.zookeeper import ZooKeeperServer
from mesoslite.v1 import operator_pb2, operator_pb2_grpc
from tests.integration.daemons import AGENT, MASTER, Daemon

SESSION_S = 4.0
LOG_SHOWN = 3_000  # characters of each


@dataclass
class Masters:
    """Masters of one cluster below one folder, and its agents."""

    folder: Path
    zookeeper: ZooKeeperServer
    session_s: float = SESSION_S
    masters: list[Daemon] = field(default_factory=list)
    agents: list[Daemon] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.token_file = self.folder / "secret" / "token"
        make_token_file(self.token_file)
        self.zk = f"zk://{self.zookeeper.address}/mesoslite"

    async def start(self, count: int, *flags: str) -> None:
        """Start masters, each with flags of its own kind."""
        for _ in range(count):
            master = Daemon(
                MASTER,
                self.folder / f"master{len(self.masters) + 1}",
                (
                    f"--token-file={self.token_file}",
                    f"--zk={self.zk}",
                    f"--zk-session-s={self.session_s}",
                    "--port=0",
                    *flags,
                ),
            )
            self.masters.append(master)
            await master.start()

    async def start_agent(self, *flags: str, master: str = "") -> Daemon:
        """One more agent, of the process containerizer."""
        agent = Daemon(
            AGENT,
            self.folder / f"agent{len(self.agents) + 1}",
            (
                f"--token-file={self.token_file}",
                f"--master={master or self.zk}",
                "--port=0",
                "--containerizers=process",
                "--resources=cpus:4;mem:1024",
                "--kill-on-exit",
                *flags,
            ),
        )
        self.agents.append(agent)
        await agent.start()
        return agent

    def status_of(self, master: Daemon) -> operator_pb2.GetStatusResponse:
        """Its status. Raises grpc.RpcError, which may tell who leads instead."""
        with grpc.insecure_channel(f"127.0.0.1:{master.port}") as channel:
            stub = operator_pb2_grpc.OperatorServiceStub(channel)
            metadata = call_metadata(read_tokens(self.token_file).own)
            answer = stub.GetStatus(operator_pb2.GetStatusRequest(), metadata=metadata, timeout=5)
        assert isinstance(answer, operator_pb2.GetStatusResponse)
        return answer

    def followed_by(self, master: Daemon) -> str | None:
        """Whom a master names as the leader; None when it says that it leads itself."""
        try:
            self.status_of(master)
        except grpc.RpcError as error:
            return leader_told(error.trailing_metadata()) or ""
        return None

    @property
    def leaders(self) -> list[Daemon]:
        """The masters that say they lead, of those that run."""
        return [one for one in self.masters if one.alive and self.followed_by(one) is None]

    def agents_active(self) -> int:
        """As the leader sees it; 0 while there is none."""
        return max((self.agents_active_at(one) for one in self.masters if one.alive), default=0)

    def agents_active_at(self, master: Daemon) -> int:
        """As this master sees it; 0 while it does not lead."""
        with suppress(grpc.RpcError, OSError, ValueError):
            return self.status_of(master).agents_active
        return 0


@contextmanager
def masters_in(
    folder: Path, zookeeper: ZooKeeperServer, session_s: float = SESSION_S
) -> Iterator[Masters]:
    """A cluster that ends with the test, whatever state it is in."""
    cluster = Masters(folder, zookeeper, session_s)
    try:
        yield cluster
    finally:
        for daemon in (*cluster.masters, *cluster.agents):  # pytest shows it of a test that fails
            sys.stderr.write(f"--- {daemon.folder.name}\n{daemon.said[-LOG_SHOWN:]}\n")
        for agent in cluster.agents:
            if agent.alive:
                agent.stop()
        for daemon in (*cluster.agents, *cluster.masters):
            daemon.kill()
