"""A master with thousands of agents that do nothing: what they cost, and how fast they are offered.

The agents are a swarm, in several processes: each agent has files and a connection of its own, and
a process may have only so many.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.daemons import Cluster, cpu_ns, pss_mb, running_cluster, tree_cpu_s
from benchmarks.measure import AtLeast, AtMost, Figure, Unit, around
from benchmarks.throughput import SwarmProcess, start_swarm
from benchmarks.workload import Sizes, option, progress
from mesoslite import Offer, Scheduler

AGENTS_A_PROCESS = 2_500  # six files each, and 20,000 is a usual limit
RUN_S_MAX = 120.0
MEMORY_GOALS_MB = {1_000: 120.0, 10_000: 1_000.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Sizes):
    """How many agents, and for how long they are watched."""

    agents: int = option("agents that are connected")
    seconds: int = option("how long each run watches: a whole number of heartbeats, of 15 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered(Sizes):
    """How many agents are offered, and to how many frameworks."""

    agents: int = option("agents that are offered")
    frameworks: int = option("frameworks of a run, one after another; each is offered all once")


def agents_held(sizes: Held) -> list[Figure]:
    """Agents with a connection each that send and hear heartbeats: the master's cpu and memory."""
    busy = Figure("the master", Unit.CPU_PERCENT, AtMost(15.0) if sizes.agents > 1_000 else None)
    goal_mb = MEMORY_GOALS_MB.get(sizes.agents)
    memory = Figure(
        "the master", Unit.MB, None if goal_mb is None else AtMost(goal_mb), "85 MB empty"
    )
    with _crowd(sizes.agents) as cluster:
        master = cluster.master.pid
        for _ in sizes.each_run():
            with around() as speed:
                before_s = tree_cpu_s(master)
                time.sleep(sizes.seconds)
                used_s = tree_cpu_s(master) - before_s
            busy.add(100 * used_s / sizes.seconds, speed)
            memory.add(pss_mb(master), speed)
    return [busy, memory]


class Taker(Scheduler):
    """Is offered everything, and leaves: it all goes back."""

    failover_timeout_s = 0

    def __init__(self, name: str, offers: int, all_seen: Callable[[], None]) -> None:
        self.name = name
        self.wanted = offers
        self.seen = 0
        self.all_seen = all_seen

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Count, and keep them: what is given back is offered again."""
        self.hold(offers)
        self.seen += len(offers)
        if self.seen == self.wanted:
            self.all_seen()
            self.stop()


def offers(sizes: Offered) -> list[Figure]:
    """Offers from the allocator through the socket to a session, for each CPU second of the master.

    The master's time includes the subscription of each framework, but not that all goes back.
    """
    rate = Figure("offers, the master alone", Unit.PER_CORE_S, AtLeast(100_000))
    wall = Figure("offers", Unit.PER_S)
    with _crowd(sizes.agents) as cluster:
        master = cluster.master.pid
        for run in sizes.each_run():
            used_ns, took_s, seen = 0, 0.0, 0
            with around() as speed:
                for number in range(sizes.frameworks):
                    clocks: list[tuple[int, float]] = []
                    clock = partial(_note, clocks, master)
                    taker = Taker(f"taker-{run}-{number}", sizes.agents, clock)
                    clock()
                    cluster.run(taker, deadline_s=RUN_S_MAX)
                    (began_ns, began_s), (ended_ns, ended_s) = clocks
                    used_ns += ended_ns - began_ns
                    took_s += ended_s - began_s
                    seen += taker.seen
            assert seen == sizes.agents * sizes.frameworks
            rate.add(seen * 1e9 / used_ns, speed)
            wall.add(seen / took_s, speed)
    return [rate, wall]


def _note(clocks: list[tuple[int, float]], pid: int) -> None:
    clocks.append((cpu_ns(pid), time.monotonic()))


@contextlib.contextmanager
def _crowd(agents: int) -> Iterator[Cluster]:
    """A master with so many agents, and all of them are there when it is over."""
    with running_cluster() as cluster:
        swarms: list[SwarmProcess] = []
        left = agents
        while left:
            count = min(left, AGENTS_A_PROCESS)
            progress(f"{agents - left:,} of {agents:,} agents")
            swarms.append(start_swarm(cluster, f"swarm-{len(swarms)}", count, "cpus:4;mem:4096"))
            swarms[-1].until_ready()
            left -= count
        yield cluster
        connected = sum(swarm.stop().registered for swarm in swarms)
        assert connected == agents, f"{connected} of {agents} agents were there"
