"""Counts that do not depend on how fast the machine is: messages, agents looked at, bodies built.

A whole cluster in one process: master, swarm and scheduler, with real streams between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemons import quiet_logs
from benchmarks.measure import AtMost, Figure, Unit, around
from benchmarks.swarm import Swarm
from benchmarks.throughput import Burst
from benchmarks.workload import Sizes, option
from mesoslite import Resources, Scheduler, run_async
from mesoslite.allocator import Allocator
from mesoslite.clock import Clock
from mesoslite.credentials import make_token_file, read_tokens
from mesoslite.database import WorkDir
from mesoslite.loop import Inbox, drive
from mesoslite.master.protocol import Event, Tick
from mesoslite.master.registry import SqliteRegistry
from mesoslite.master.server import Streams
from mesoslite.master.state import Master
from mesoslite.masters import Masters
from mesoslite.measures import Traffic
from mesoslite.messages import HEARTBEAT_INTERVAL_MS, Offers
from mesoslite.model import Offer
from mesoslite.serving import TokenCheck, listen_on, new_server
from mesoslite.wire import OfferEncoder, scheduler_responses

SPREAD_AGENTS = 100
DIRTY_PER_CENT = 1
FOR_EVER = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Sizes):
    """How many tasks, and how many of them at a time."""

    window: int = option("tasks at a time", at_least=100)
    tasks: int = option("tasks of each run", at_least=100)


@dataclass(frozen=True, slots=True)
class Messages:
    """gRPC messages for each task, both directions together."""

    of_scheduler: float
    of_agents: float

    @property
    def all(self) -> float:
        """All that the master reads and writes."""
        return self.of_scheduler + self.of_agents


def counts(sizes: Window) -> list[Figure]:
    """gRPC messages a task, agents looked at though unchanged, offer bodies built anew."""
    packed = Figure("messages a task, one agent", Unit.COUNT, AtMost(0.1))
    spread = Figure(f"agents' messages a task, {SPREAD_AGENTS} agents", Unit.COUNT, AtMost(5))
    looked_at = Figure("agents looked at, unchanged", Unit.COUNT, AtMost(0))
    built = Figure("offer bodies built, agents unchanged", Unit.COUNT, AtMost(0))
    for _ in sizes.each_run():
        with quiet_logs(), around() as speed:
            one = asyncio.run(messages_a_task(1, sizes.window, sizes.tasks))
            each = max(1, sizes.window // SPREAD_AGENTS)
            many = asyncio.run(messages_a_task(SPREAD_AGENTS, each, sizes.tasks))
        packed.add(one.all, speed)
        spread.add(many.of_agents, speed)
        looked_at.add(looked_at_unchanged(sizes.window * 10), speed)
        built.add(bodies_built_again(sizes.window), speed)
    return [packed, spread, looked_at, built]


# --- messages -------------------------------------------------------------------------------------


async def messages_a_task(agents: int, at_a_time: int, tasks: int) -> Messages:
    """Run so many tasks on a cluster in this process, and count from subscribe to stop."""
    async with cluster_of(agents, at_a_time) as cluster:
        before = {kind: _messages(of_kind) for kind, of_kind in cluster.traffic.items()}
        burst = Burst("counted", tasks)
        await cluster.run(burst)
        assert burst.unfinished == 0
        await cluster.quiet()
        used = {kind: _messages(cluster.traffic[kind]) - before[kind] for kind in before}
    return Messages(used["scheduler"] / tasks, used["agent"] / tasks)


def _messages(traffic: Traffic) -> int:
    return traffic.received + traffic.sent


class Cluster:
    """A whole cluster in this process."""

    def __init__(
        self,
        address: str,
        token_file: Path,
        streams: Streams,
        swarm: Swarm,
        registry: SqliteRegistry,
    ) -> None:
        self._address = address
        self._token_file = token_file
        self._swarm = swarm
        self.traffic = streams.traffic
        self.registry = registry

    async def run(self, scheduler: Scheduler) -> None:
        await run_async(scheduler, master=self._address, token_file=self._token_file)

    async def quiet(self) -> None:
        """Every end of a task is acknowledged at its agent."""
        await self._swarm.until_quiet()
        assert self._swarm.stats.acknowledged == self._swarm.stats.started


@contextlib.asynccontextmanager
async def cluster_of(agents: int, at_a_time: int) -> AsyncIterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="mesoslite-bench-"))
    token_file = folder / "token"
    make_token_file(token_file)
    tokens = read_tokens(token_file)
    registry = SqliteRegistry(WorkDir(folder / "master", "master"))
    now_ms = Clock().now_ms
    inbox: Inbox[Event] = Inbox(now_ms)
    master = Master(registry.recovered)
    streams = Streams(master.tables, inbox, tokens, started_ms=now_ms())
    server = new_server(streams.handlers(), TokenCheck(tokens))
    address = f"localhost:{listen_on(server, '127.0.0.1', 0)}"
    await server.start()
    room = Resources(cpus=at_a_time, mem=at_a_time)
    swarm = Swarm(folder / "swarm", agents, room, HEARTBEAT_INTERVAL_MS)
    stopping, ready = asyncio.Event(), asyncio.Event()
    driving = asyncio.create_task(
        drive(master, inbox, Tick, registry.commit, streams.perform, now_ms)
    )
    swarming = asyncio.create_task(swarm.run(Masters((address,)), tokens.own, stopping, ready.set))
    try:
        await ready.wait()
        yield Cluster(address, token_file, streams, swarm, registry)
        stopping.set()
        await swarming
    finally:
        swarming.cancel()
        streams.close()
        await server.stop(grace=None)
        inbox.close()
        await asyncio.gather(driving, swarming, return_exceptions=True)
        registry.close()
        shutil.rmtree(folder, ignore_errors=True)


# --- what is not done twice -----------------------------------------------------------------------


def looked_at_unchanged(agents: int) -> int:
    """Of so many refused agents some change: how many others does the next cycle look at?"""
    allocator = Allocator(offers_outstanding_max=agents + 1)
    allocator.add_framework("f", ["*"])
    names = [f"agent-{number}" for number in range(agents)]
    for name in names:
        allocator.add_agent(name, Resources(cpus=2, mem=1_024))
    for grant in allocator.allocate(0):
        agent_id, held = grant.agent_id, grant.resources
        allocator.settle("f", "*", agent_id, held, Resources.EMPTY)
        allocator.refuse("f", "*", agent_id, held, FOR_EVER)
    assert allocator.allocate(1) == []
    changed = names[:: 100 // DIRTY_PER_CENT]
    for name in changed:
        allocator.charge("f", "*", name, Resources(cpus=1))
    assert allocator.allocate(2) == []
    return allocator.looked_at - len(changed)


def bodies_built_again(agents: int) -> int:
    """Offers of so many agents are made twice: how often is an agent's part encoded again?"""
    encoder = OfferEncoder()
    built: list[int] = []
    for number in range(2):
        offers = tuple(
            Offer(f"1-{number}.{n}", "f", f"agent-{n}", "host", "*", Resources(cpus=4, mem=1_024))
            for n in range(agents)
        )
        sent = sum(
            len(event.offers.offers)
            for response in scheduler_responses(1, [Offers(offers)], encoder)
            for event in response.events
        )
        assert sent == agents
        built.append(encoder.built)
    assert built[0] == agents
    return built[1] - built[0]
