"""What a cluster costs that has nothing to do."""

import time
from dataclasses import dataclass

from benchmarks.daemons import cpu_ns, pss_mb, running_cluster
from benchmarks.measure import AtMost, Figure, Unit, around
from benchmarks.workload import Sizes, option

SETTLE_S = 3.0  # imports, registration and first heartbeats are over by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest(Sizes):
    """For how long it is watched."""

    seconds: int = option("how long each run watches")


def idle(sizes: Rest) -> list[Figure]:
    """A master, an agent and its launcher with nothing to do: their memory and cpu together."""
    memory = Figure("master, agent and launcher", Unit.MB, AtMost(100.0), "85 MB the empty master")
    busy = Figure("master, agent and launcher", Unit.CPU_PERCENT, AtMost(0.5))
    with running_cluster() as cluster:
        agent = cluster.start_agent("cpus:2;mem:2048")
        agent_pid, launcher_pid = agent.pids()
        parts = {"master": cluster.master.pid, "agent": agent_pid, "launcher": launcher_pid}
        each = {name: Figure(name, Unit.MB) for name in parts}
        time.sleep(SETTLE_S)
        for _ in sizes.each_run():
            with around() as speed:
                before_ns = sum(map(cpu_ns, parts.values()))
                time.sleep(sizes.seconds)
                used_ns = sum(map(cpu_ns, parts.values())) - before_ns
            for name, pid in parts.items():
                each[name].add(pss_mb(pid), speed)
            memory.add(sum(figure.runs[-1] for figure in each.values()), speed)
            busy.add(used_ns / sizes.seconds / 1e7, speed)
            assert all(agent.program.process.poll() is None for agent in cluster.agents)
    return [memory, busy, *each.values()]
