"""All workloads, in the order of the table. One line, and its import, adds one."""

from typing import Any

from benchmarks import allocator
from benchmarks.allocator import Size
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
)
