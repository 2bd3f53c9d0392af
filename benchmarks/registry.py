"""All workloads, in the order of the table. One line, and its import, adds one."""

from typing import Any

from benchmarks import (
    allocator,
    counts,
    crowd,
    durability,
    failover,
    fill,
    hour,
    idle,
    latency,
    memory,
    rates,
    restart,
    scrape,
    throughput,
    unruly,
)
from benchmarks.allocator import Size
from benchmarks.counts import Window
from benchmarks.crowd import Held, Offered
from benchmarks.durability import Commits
from benchmarks.failover import Members
from benchmarks.fill import Cluster
from benchmarks.hour import Virtual
from benchmarks.idle import Rest
from benchmarks.latency import Samples
from benchmarks.memory import Passing
from benchmarks.rates import Burst
from benchmarks.restart import Running
from benchmarks.scrape import Watched
from benchmarks.throughput import SCRIPTED, SWARM, Spread
from benchmarks.unruly import Crowd
from benchmarks.workload import Workload

WORKLOADS: tuple[Workload[Any], ...] = (
    Workload(
        "allocator-decline",
        allocator.decline,
        (Size(agents=10_000, frameworks=200), Size(agents=10_000, frameworks=1_000)),
    ),
    Workload("allocator-refused", allocator.refused, (Size(agents=10_000, frameworks=1_000),)),
    Workload("allocator-dirty", allocator.dirty, (Size(agents=50_000, frameworks=200),)),
    Workload("allocator-join", allocator.join, (Size(agents=10_000, frameworks=1_000),)),
    Workload("allocator-demand", allocator.demand, (Size(agents=10_000, frameworks=1_000),)),
    Workload("reoffer", latency.reoffer, (Samples(samples=200),)),
    Workload(
        "task-rate",
        throughput.task_rate,
        (
            Spread(agents=4, at_a_time=500, tasks=20_000),
            Spread(agents=500, at_a_time=10, tasks=20_000),
        ),
        SCRIPTED,
    ),
    Workload("launch-latency", latency.launch_latency, (Samples(samples=200),)),
    Workload(
        "process-rate",
        rates.process_rate,
        (
            Burst(containerizer="process", tasks=3_000, slots=100),
            Burst(containerizer="oci", tasks=60, slots=8),
        ),
    ),
    Workload("offers", crowd.offers, (Offered(agents=4_000, frameworks=10),), SWARM),
    Workload(
        "agents-held",
        crowd.agents_held,
        (Held(agents=1_000, seconds=15), Held(agents=10_000, seconds=15)),
        SWARM,
    ),
    Workload("counts", counts.counts, (Window(window=200, tasks=2_000),), SCRIPTED),
    Workload("subscribe", latency.subscribe, (Samples(samples=40),)),
    Workload(
        "fill",
        fill.fill,
        (
            Cluster(agents=1_000, cpus=32, tasks=32_000),
            Cluster(agents=10_000, cpus=32, tasks=10_000),
        ),
    ),
    Workload(
        "simulated-hour",
        hour.simulated_hour,
        (Virtual(agents=10_000, minutes=60, per_minute=60),),
        note="Each run is a fifth of the hour.",
    ),
    Workload(
        "registry",
        durability.registry,
        (Commits(rows=50_000, batch=100), Commits(rows=50_000, batch=1_000)),
    ),
    Workload("idle", idle.idle, (Rest(seconds=20),)),
    Workload(
        "scrape", scrape.scrape, (Watched(agents=10_000, frameworks=1_000, tasks=10),), scrape.NOTE
    ),
    Workload(
        "unruly",
        unruly.unruly,
        (Crowd(agents=4, wants=25),),
        note="The others are three; each wants an offer every 0.25 s.",
    ),
    Workload(
        "memory",
        memory.memory,
        (Passing(tasks=100_000, offers=10_000_000),),
        note=f"Offers: the machine alone. Tasks: a swarm of one. {SCRIPTED}",
    ),
    Workload(
        "restart-master",
        failover.restart_master,
        (Members(agents=4), Members(agents=1_000), Members(agents=10_000)),
        SWARM,
    ),
    Workload(
        "failover",
        failover.failover,
        (Members(agents=500),),
        f"{failover.SESSION_NOTE} {SWARM}",
    ),
    Workload("restart-agent", restart.restart_agent, (Running(tasks=50),)),
    Workload("reuse", latency.reuse, (Samples(samples=200),)),
)
