"""All workloads, in the order of the table. One line, and its import, adds one."""

from typing import Any

from benchmarks import allocator, idle, latency, rates, scrape, throughput
from benchmarks.allocator import Size
from benchmarks.idle import Rest
from benchmarks.latency import Samples
from benchmarks.rates import Burst
from benchmarks.scrape import Watched
from benchmarks.throughput import SCRIPTED, Spread
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
    Workload("subscribe", latency.subscribe, (Samples(samples=40),)),
    Workload("idle", idle.idle, (Rest(seconds=20),)),
    Workload(
        "scrape", scrape.scrape, (Watched(agents=10_000, frameworks=1_000, tasks=10),), scrape.NOTE
    ),
    Workload("reuse", latency.reuse, (Samples(samples=200),)),
)
