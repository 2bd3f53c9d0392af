"""The master is gone: how long until it, or another, is back with all who were there.

Real masters, a real framework in this process, and a swarm of agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc

from benchmarks.daemons import (
    BenchmarkFailed,
    Cluster,
    Program,
    cluster_folder,
    quiet_logs,
    running_cluster,
    tree_cpu_s,
)
from benchmarks.measure import AtMost, Figure, Speed, Unit, around, settle_memory
from benchmarks.throughput import start_swarm
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Scheduler, run_async
from mesoslite.credentials import call_metadata, make_token_file, read_tokens
from mesoslite.files import FileChunk
from mesoslite.lifecycle import TaskState
from mesoslite.master.protocol import (
    AgentCalled,
    AgentRecord,
    Effect,
    FrameworkRecord,
    Recovered,
    Tick,
    ToAgent,
)
from mesoslite.master.state import Master
from mesoslite.messages import FrameworkReference, Register, Registered, TaskOnAgent, alike
from mesoslite.model import AgentInfo, FrameworkInfo, Task
from mesoslite.resources import Resources
from mesoslite.testing.zookeeper import ZooKeeperServer
from mesoslite.v1 import agent_pb2, operator_pb2, operator_pb2_grpc
from mesoslite.wire import Registration, agent_calls_from_wire, agent_requests

RESOURCES = "cpus:8;mem:8192"
TASKS = 10  # on each agent that is rebuilt
POLL_S = 0.01
BACK_S_MAX = 120.0
SESSION_NOTE = "Three masters, and a ZooKeeper session of 4 s, which the election waits for."
STEADY_S = 3.0  # between two runs: a stream must have lasted for its loss to be a master's
SWARMS = 2  # processes in which all agents are, or more, of
SWARM_AGENTS_MAX = 2_500  # each: an agent has four to seven files open, and 20,000 may be
MASTERS = 3
SESSION_S = 4.0

ELECTED, LEADS = "this master is elected", "this master leads"  # in its log


@dataclass(frozen=True, slots=True, kw_only=True)
class Members(Sizes):
    """Who is there."""

    agents: int = option("agents that are registered")


class Watcher(Scheduler):
    """Notes when it subscribed and when it was first offered something since, by `time.time`."""

    name = "watcher"
    failover_timeout_s = 60.0

    def __init__(self) -> None:
        self.subscribed_s = 0.0
        self.offered_s = 0.0

    def subscribed(self, framework_id: str) -> None:
        """Since now all offers are the new master's."""
        self.subscribed_s, self.offered_s = time.time(), 0.0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Note the first, and give all back."""
        self.offered_s = self.offered_s or time.time()
        self.decline(offers, refuse_s=3_600)


class Leader:
    """What a master says of itself."""

    def __init__(self, port: int, token_file: Path) -> None:
        self._metadata = call_metadata(read_tokens(token_file).own)
        self._channel = grpc.aio.insecure_channel(f"localhost:{port}")
        self._stub = operator_pb2_grpc.OperatorServiceStub(self._channel)

    async def until_active(self, agents: int) -> float:
        """When it has so many. Raises BenchmarkFailed."""
        ends_s = time.time() + BACK_S_MAX
        while time.time() < ends_s:
            with contextlib.suppress(grpc.RpcError):
                answer = await self._stub.GetStatus(
                    operator_pb2.GetStatusRequest(), metadata=self._metadata
                )
                if answer.agents_active == agents:
                    return time.time()
            await asyncio.sleep(POLL_S)
        raise BenchmarkFailed(f"{agents} agents were not back in {BACK_S_MAX:.0f} s")

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close(grace=None)


async def _until(noted: Callable[[], float], after_s: float, what: str) -> float:
    """When something was noted that came after a time. Raises BenchmarkFailed."""
    ends_s = time.time() + BACK_S_MAX
    while (noted_s := noted()) <= after_s:
        if time.time() > ends_s:
            raise BenchmarkFailed(f"{what}: not in {BACK_S_MAX:.0f} s")
        await asyncio.sleep(POLL_S)
    return noted_s


@contextlib.asynccontextmanager
async def _watching(cluster: Cluster) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    running = asyncio.create_task(
        run_async(watcher, master=cluster.address, token_file=cluster.token_file)
    )
    try:
        await _until(lambda: watcher.subscribed_s, 0.0, "the framework subscribes")
        yield watcher
    finally:
        watcher.teardown()
        await running


# --- one master -----------------------------------------------------------------------------------


def restart_master(sizes: Members) -> list[Figure]:
    """The only master is killed and started again at once: until everybody is back."""
    goal = {1_000: 2_000.0, 10_000: 15_000.0}.get(sizes.agents, 1_000.0)
    start = Figure("kill -9 until it serves", Unit.WALL_MS)
    framework = Figure("from then until the framework is back", Unit.WALL_MS, AtMost(100), "98-131")
    agents = Figure(
        "from then until all agents are active", Unit.WALL_MS, AtMost(goal), "66 s, tuned 2.6 s"
    )
    master = Figure("of it, the master, an agent", Unit.CPU_US)
    rebuilt = Figure(f"rebuilt, an agent with {TASKS} tasks", Unit.CPU_US, AtMost(50))
    for _ in range(sizes.runs):
        with around() as speed:
            took_us = _rebuilt_us(max(200, min(sizes.agents, 2_000)))
        rebuilt.add(took_us, speed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running_cluster(f"--port={port}") as cluster, quiet_logs():
        _start_agents(cluster, sizes.agents)
        work = _restarts(cluster, sizes, (start, framework, agents, master))
        cluster.until_done(work, "restart-master", 60 + sizes.runs * 2 * BACK_S_MAX)
    return [framework, agents, start, master, rebuilt]


def _start_agents(cluster: Cluster, agents: int) -> None:
    """In several processes, since one is busy for 2 ms of CPU with each agent that comes back, the
    master for 1: with all in one process it would be that which is measured."""
    processes = max(SWARMS, -(-agents // SWARM_AGENTS_MAX))
    shares = [(agents + number) // processes for number in range(processes)]
    swarms = [
        start_swarm(cluster, f"swarm-{number}", share, RESOURCES)
        for number, share in enumerate(shares)
        if share
    ]
    for swarm in swarms:
        swarm.until_ready()


async def _restarts(
    cluster: Cluster, sizes: Members, figures: tuple[Figure, Figure, Figure, Figure]
) -> None:
    start, framework, agents, master = figures
    port_file = cluster.folder / "master.port"
    async with _watching(cluster) as watcher:
        for _ in sizes.each_run():
            await asyncio.sleep(STEADY_S)
            with around() as speed:
                port_file.unlink()
                killed_s = time.time()
                cluster.master.kill_and_restart()
                await asyncio.to_thread(cluster.master.until_told, port_file)
                served_s, began_cpu_s = time.time(), tree_cpu_s(cluster.master.pid)
                leader = Leader(cluster.port, cluster.token_file)
                active_s = await leader.until_active(sizes.agents)
                took_cpu_s = tree_cpu_s(cluster.master.pid) - began_cpu_s
                await leader.close()
                back_s = await _until(
                    lambda: watcher.subscribed_s, killed_s, "the framework is back"
                )
            start.add((served_s - killed_s) * 1e3, speed)
            framework.add(max(0.0, back_s - served_s) * 1e3, speed)
            agents.add((active_s - served_s) * 1e3, speed)
            master.add(took_cpu_s / sizes.agents * 1e6, speed)


def _rebuilt_us(count: int) -> float:
    """CPU time to take in an agent with its tasks, from the bytes of its registration."""
    info = FrameworkInfo("batch")
    agents = [
        AgentInfo(f"agent-{n}", f"host-{n}", Resources.parse(RESOURCES), containerizers=("oci",))
        for n in range(count)
    ]
    recovered = Recovered(
        2,
        agents=tuple(AgentRecord(agent, None) for agent in agents),
        frameworks=(FrameworkRecord("1-1", "local", info, "session", None),),
    )
    needs = Resources(cpus=0.1, mem=32)
    messages = []
    for number, agent in enumerate(agents):
        tasks = alike(
            TaskOnAgent(
                "1-1",
                "*",
                Task(f"t{number}-{n}", ["sleep", "9"], needs),
                TaskState.RUNNING,
            )
            for n in range(TASKS)
        )
        register = Register(agent, "boot", 1, (FrameworkReference("1-1", "local", info),), tasks)
        messages.append([m.SerializeToString() for m in agent_requests([register])])
    master = Master(recovered)
    master.handle(Tick(1_000))
    settle_memory()
    effects: list[Effect] = []
    began_ns = time.process_time_ns()
    for number, parts in enumerate(messages):
        reader = Registration()
        for data in parts:
            request = agent_pb2.ConnectRequest.FromString(data)
            for call in agent_calls_from_wire(request, reader):
                assert not isinstance(call, FileChunk)
                effects += master.handle(AgentCalled(f"a{number}", call))
    took_ns = time.process_time_ns() - began_ns
    registered = sum(
        isinstance(effect, ToAgent) and isinstance(effect.event, Registered) for effect in effects
    )
    assert registered == count
    assert sum(len(agent.tasks) for agent in master.tables.agents.values()) == TASKS * count
    return took_ns / count / 1e3


# --- several masters ------------------------------------------------------------------------------


class Masters(Cluster):
    """Masters that elect one of them, by a ZooKeeper of their own."""

    def __init__(self, folder: Path, zookeeper: ZooKeeperServer) -> None:
        super().__init__(folder, ())
        self._zk = f"zk://{zookeeper.address}/mesoslite"
        make_token_file(self.token_file)
        self.masters: list[Program] = []

    @property
    def address(self) -> str:
        """Where agents and frameworks find the leader."""
        return self._zk

    def start_masters(self) -> None:
        """Start all, one after another: the first leads. Raises BenchmarkFailed."""
        for number in range(MASTERS):
            name = f"master-{number}"
            words = (
                "mesoslite.master",
                f"--zk={self._zk}",
                f"--zk-session-s={SESSION_S:g}",
                f"--token-file={self.token_file}",
                "--port=0",
                "--http-port=0",
                f"--port-file={self.folder / name}.port",
                f"--work-dir={self.folder / name}",
                "--stop-with-stdin=true",
            )
            program = self.program(name, "-m", *words)
            program.until_told(self.folder / f"{name}.port")
            self.masters.append(program)

    def port_of(self, master: Program) -> int:
        """Where it serves."""
        return int((self.folder / f"{master.name}.port").read_text())

    def said_s(self, master: Program, event: str) -> float:
        """When it last logged this event; 0: never."""
        found = re.findall(rf"^(\S+)Z \[info +\] {event}\b", master.log.read_text(), re.MULTILINE)
        return datetime.fromisoformat(f"{found[-1]}+00:00").timestamp() if found else 0.0

    @property
    def leader(self) -> Program:
        """Which began to lead last."""
        return max(self.masters, key=lambda one: self.said_s(one, LEADS))

    def leads_since_s(self) -> float:
        """When that was."""
        return self.said_s(self.leader, LEADS)


@contextlib.contextmanager
def _running_masters() -> Iterator[Masters]:
    with cluster_folder() as folder, ZooKeeperServer(folder / "zookeeper") as zookeeper:
        cluster = Masters(folder, zookeeper)
        try:
            cluster.start_masters()
            yield cluster
        finally:
            cluster.close()


@dataclass(slots=True)
class _Parts:
    session: Figure
    load: Figure
    offer: Figure
    agents: Figure

    def add(self, times_s: tuple[float, float, float, float, float], speed: Speed) -> None:
        """Killed, elected, loaded, first offer, all agents active."""
        killed, elected, loaded, offered, active = times_s
        self.session.add((elected - killed) * 1e3, speed)
        self.load.add((loaded - elected) * 1e3, speed)
        self.offer.add((offered - elected) * 1e3, speed)
        self.agents.add((active - elected) * 1e3, speed)


def failover(sizes: Members) -> list[Figure]:
    """The leading of three masters is killed: until another offers what the agents have."""
    parts = _Parts(
        Figure("kill -9 until another is elected", Unit.WALL_MS),
        Figure("from then until the registry is loaded", Unit.WALL_MS),
        Figure("from then until offers are made", Unit.WALL_MS, AtMost(2_000)),
        Figure("from then until all agents are active", Unit.WALL_MS),
    )
    with _running_masters() as cluster, quiet_logs():
        start_swarm(cluster, "swarm", sizes.agents, RESOURCES).until_ready()
        work = _failovers(cluster, sizes, parts)
        cluster.until_done(work, "failover", 60 + sizes.runs * 2 * BACK_S_MAX)
    return [parts.offer, parts.session, parts.load, parts.agents]


async def _failovers(cluster: Masters, sizes: Members, parts: _Parts) -> None:
    async with _watching(cluster) as watcher:
        for _ in sizes.each_run():
            await asyncio.sleep(STEADY_S)
            with around() as speed:
                killed_s = time.time()
                cluster.leader.kill_and_restart()  # it follows, and leads again in a later run
                loaded_s = await _until(cluster.leads_since_s, killed_s, "another leads")
                successor = cluster.leader
                status = Leader(cluster.port_of(successor), cluster.token_file)
                active_s = await status.until_active(sizes.agents)
                await status.close()
                offered_s = await _until(lambda: watcher.offered_s, killed_s, "offers are made")
                elected_s = cluster.said_s(successor, ELECTED)
            parts.add((killed_s, elected_s, loaded_s, offered_s, active_s), speed)
