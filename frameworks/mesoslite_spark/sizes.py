"""How large an executor is: its cores, its heap, and what it takes beside the heap."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mesoslite import Resources

#: Spark keeps 300 MiB for itself and refuses a heap of less than half as much again, as Java counts
#: it: without a survivor space, a 24th of it with the collectors that small containers get.
HEAP_MIB_MIN = 480
#: Spark's own defaults (spark.executor.memoryOverhead, minMemoryOverhead): stacks, metaspace,
#: buffers off the heap, and the Python workers.
OVERHEAD_MIB_MIN = 384
OVERHEAD_PERCENT = 10
MIB_MAX = 16 * 1024 * 1024
CORES_MAX = 1_000
_SIZE = re.compile(r"(\d{1,9})\s*([kmgt]?)(?:i?b)?\Z", re.IGNORECASE)
_KIB_OF = {"k": 1, "": 1024, "m": 1024, "g": 1024**2, "t": 1024**3}


@dataclass(frozen=True, slots=True)
class ExecutorSize:
    """What each executor of an application takes. Raises ValueError for what Spark refuses."""

    cores: int = 1
    """Tasks that it runs at a time, and cpus."""
    heap_mib: int = 1_024
    overhead_mib: int = OVERHEAD_MIB_MIN

    def __post_init__(self) -> None:
        if type(self.cores) is not int or not 1 <= self.cores <= CORES_MAX:
            raise ValueError(f"executor_cores is 1 to {CORES_MAX:,}, not {self.cores}")
        if self.heap_mib < HEAP_MIB_MIN:
            least = f"{HEAP_MIB_MIN}m, the least that Spark takes"
            raise ValueError(f"executor_memory is at least {least}, not {self.heap_mib}m")

    @property
    def resources(self) -> Resources:
        """What an executor's task asks for."""
        return Resources(cpus=self.cores, mem=self.heap_mib + self.overhead_mib)


def size_of(cores: int, memory: str | int, overhead: str | int | None = None) -> ExecutorSize:
    """The size for what is said of it: `memory` is the heap; no overhead said: Spark's rule."""
    heap_mib = mib(memory, "executor_memory")
    if overhead is None:
        return ExecutorSize(
            cores, heap_mib, max(OVERHEAD_MIB_MIN, heap_mib * OVERHEAD_PERCENT // 100)
        )
    return ExecutorSize(cores, heap_mib, mib(overhead, "executor_overhead"))


def mib(amount: str | int, name: str) -> int:
    """MiB of `512m`, `1g`, `2GiB`, or of a number of MiB, rounded up. Raises ValueError."""
    found = _SIZE.match(str(amount).strip()) if not isinstance(amount, bool) else None
    if found is None:
        raise ValueError(f"{name} is a size as 512m or 2g, not {amount!r}")
    size = -(-int(found[1]) * _KIB_OF[found[2].lower()] // 1024)
    if size > MIB_MAX:
        raise ValueError(f"{name} is at most {MIB_MAX:,} MiB, not {size:,}")
    return size
