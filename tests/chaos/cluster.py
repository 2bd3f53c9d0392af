"""A cluster for a chaos: masters with ZooKeeper, agents, schedulers, and links that can be cut.

Each master is reached through a relay, whose address it advertises, and reaches ZooKeeper through
one of its own. So the link between any process and any master, and between a master and ZooKeeper,
can be cut; see `relay.py`.
"""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from mesoslite.cli import hosts
from mesoslite.credentials import make_token_file
from mesoslite.masters import address_in, leading_node
from tests.chaos.relay import Relay, Relays
from tests.chaos.services import Service

ZK_PATH = "/chaos"
ZK_SESSION_S = 4.0
HEARTBEAT_S = 3.0
FENCE_LEASE_S = 10.0  # then 10.1 for clocks that drift, and 5 for the launcher: 15.1 s


@dataclass(slots=True)
class MasterSite:
    """One master, and the links to and from it."""

    service: Service
    inward: Relay
    to_zookeeper: Relay
    port: int


@dataclass(slots=True)
class AgentHost:
    """One agent's host: the agent, its launcher, and what they run."""

    service: Service
    work_dir: Path
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    agent_id: str = ""

    @property
    def launcher_pid(self) -> int:
        """Of the launcher that runs; 0 when none does."""
        try:
            pid = int((self.work_dir / "launcher" / "pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if Path(f"/proc/{pid}").exists() else 0


class ChaosCluster:
    """Everything that runs. Use as a context; nothing of it is left after."""

    def __init__(
        self, folder: Path, zookeeper_port: int, rng: random.Random, *, masters: int, agents: int
    ) -> None:
        self.folder = folder
        self.rng = rng
        self._zookeeper_port = zookeeper_port
        self._stack = ExitStack()
        self._relays = Relays(rng)
        self.masters: list[MasterSite] = []
        self.agents: list[AgentHost] = []
        self.frameworks: list[Service] = []
        self.zookeeper = KazooClient(f"127.0.0.1:{zookeeper_port}")
        self._wanted = (masters, agents)

    @property
    def address(self) -> str:
        """Where the masters are found."""
        return f"zk://127.0.0.1:{self._zookeeper_port}{ZK_PATH}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program find the cluster."""
        return {
            "MESOSLITE_MASTER": self.address,
            "MESOSLITE_TOKEN_FILE": str(self.folder / "token"),
        }

    def services(self) -> Iterable[Service]:
        """Every process that is kept running."""
        yield from (master.service for master in self.masters)
        yield from (host.service for host in self.agents)
        yield from self.frameworks

    # --- start and end ----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        hosts.adopt_orphans()
        make_token_file(self.folder / "token")
        self._stack.enter_context(self._relays)
        self.zookeeper.start()
        masters, agents = self._wanted
        for number in range(1, masters + 1):
            self._add_master(number)
        for number in range(1, agents + 1):
            self._add_agent(number)
        return self

    def __exit__(self, *_: object) -> None:
        for service in (*self.frameworks, *(host.service for host in self.agents)):
            service.end()
        for master in self.masters:
            master.service.end()
        for host in self.agents:
            hosts.end_host(host.work_dir, host.agent_id, None)
        hosts.reap_all()
        self.zookeeper.stop()
        self.zookeeper.close()
        self._stack.close()

    def _add_master(self, number: int) -> None:
        name, port = f"master-{number}", _free_port()
        inward = self._relays.new(port)
        to_zookeeper = self._relays.new(self._zookeeper_port)
        words = (
            "-m",
            "mesoslite.master.daemon",
            f"--zk=zk://127.0.0.1:{to_zookeeper.port}{ZK_PATH}",
            f"--zk-session-s={ZK_SESSION_S:g}",
            f"--advertise=127.0.0.1:{inward.port}",
            f"--port={port}",
            f"--heartbeat-s={HEARTBEAT_S:g}",
            f"--fence-lease-s={FENCE_LEASE_S:g}",
            "--http-port=none",
            f"--work-dir={self.folder / name}",
        )
        service = Service(name, lambda: words, self.folder, self.environment)
        self.masters.append(MasterSite(service, inward, to_zookeeper, port))
        service.start()

    def _add_agent(self, number: int) -> None:
        name = f"agent-{number}"
        work_dir = self.folder / name
        service = Service(name, tuple, self.folder, self.environment)
        host = AgentHost(service, work_dir)
        service.words = lambda: (
            "-m",
            "mesoslite_agent.daemon",
            f"--master={self.address}",
            "--port=0",
            "--http-port=none",
            f"--work-dir={work_dir}",
            f"--hostname={name}",
            f"--boot-id={host.boot_id}",
            f"--heartbeat-s={HEARTBEAT_S:g}",
            "--resources=cpus:4;mem:2048",
            "--containerizers=process",
        )
        self.agents.append(host)
        service.start()

    def add_framework(self, name: str, alive: int) -> None:
        """A scheduler that keeps so many tasks alive."""
        words = ("-m", "tests.chaos.framework", name, str(self.folder), str(alive), "1")
        service = Service(name, lambda: words, self.folder, self.environment)
        self.frameworks.append(service)
        service.start()

    def keep(self) -> None:
        """What a service manager does, for all; call it often."""
        for service in self.services():
            service.keep()

    # --- who leads --------------------------------------------------------------------------------

    def leader(self) -> MasterSite | None:
        """The master that was elected, as ZooKeeper has it; None while there is none."""
        try:
            node = leading_node(self.zookeeper.get_children(ZK_PATH))
            if node is None:
                return None
            data, _ = self.zookeeper.get(f"{ZK_PATH}/{node}")
        except KazooException:
            return None
        led_by = address_in(data)
        return next((m for m in self.masters if f"127.0.0.1:{m.inward.port}" == led_by), None)

    # --- what a fault does ------------------------------------------------------------------------

    def kill_host(self, host: AgentHost) -> int:
        """A power cut; how many processes died. `start_host` is a power-on."""
        service = host.service
        service.held_down = True
        service.go_on()
        pid = service.pid
        killed = hosts.end_host(host.work_dir, host.agent_id, pid or None)
        if service.process is not None:
            service.process.wait()
        hosts.reap_orphans(killed - {pid})
        return len(killed)

    def start_host(self, host: AgentHost) -> None:
        """As after a reboot."""
        host.boot_id = str(uuid.uuid4())
        host.service.held_down = False
        host.service.restart_at = 0.0
        host.service.start()

    def cut(self, service: Service, masters: Iterable[MasterSite], seconds: float) -> None:
        """Nothing passes between a process and these masters for a while."""
        if service.pid:
            for master in masters:
                master.inward.hold([service.pid], seconds)


def _free_port() -> int:
    """A port that is free now. Masters keep theirs over their restarts, so they are given it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
