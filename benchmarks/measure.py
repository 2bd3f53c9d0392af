"""How a workload is measured and judged.

Beside each result stands the calibration, a fixed loop timed right before and after each run, and
what is a time or a rate is scaled by it before it is compared with its goal: the goals were set on
a machine where that loop takes 5.1 us. Where it can be, a time is a CPU time: machines are shared.
"""

import gc
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import TypeVar

from mesoslite import daemon

CALIBRATION_REFERENCE_US = 5.1

_NUMBERS = {number: number for number in range(1_000)}
_CALIBRATION_LOOPS = 200

T = TypeVar("T")


def calibration_us() -> float:
    """CPU time of `sum(d.values())` over 1,000 integers: the best of 3 loops, like timeit's."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time_ns()
        for _ in range(_CALIBRATION_LOOPS):
            sum(_NUMBERS.values())
        best = min(best, (time.process_time_ns() - start) / _CALIBRATION_LOOPS / 1_000)
    return best


class Unit(Enum):
    """What a figure counts: the end of its name in JSON, and how it is told to people."""

    CPU_MS = "cpu_ms"
    CPU_US = "cpu_us"
    CPU_PERCENT = "cpu_percent"  # of one core
    WALL_MS = "ms"
    PER_S = "per_s"
    PER_CORE_S = "per_core_s"  # for each CPU second that was used
    MB = "mb"  # 10^6 bytes
    RATIO = "ratio"
    COUNT = "count"

    @property
    def told(self) -> str:
        """In a table."""
        return _TOLD[self]

    def scaled(self, value: float, calibration_us: float) -> float:
        """What the reference machine would have shown. Sizes, ratios and counts stay."""
        slower = calibration_us / CALIBRATION_REFERENCE_US
        if self in _TIMES:
            return value / slower
        return value * slower if self in _RATES else value


_TOLD = {
    Unit.CPU_MS: "CPU ms",
    Unit.CPU_US: "CPU us",
    Unit.CPU_PERCENT: "% of a core",
    Unit.WALL_MS: "ms",
    Unit.PER_S: "/s",
    Unit.PER_CORE_S: "/s a core",
    Unit.MB: "MB",
    Unit.RATIO: "x",
    Unit.COUNT: "count",
}
_TIMES = {Unit.CPU_MS, Unit.CPU_US, Unit.CPU_PERCENT, Unit.WALL_MS}
_RATES = {Unit.PER_S, Unit.PER_CORE_S}


@dataclass(frozen=True, slots=True)
class AtMost:
    """A goal: so much or less, on the reference machine."""

    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a scaled value meets it."""
        return value <= self.limit


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A goal: so much or more, on the reference machine."""

    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a scaled value meets it."""
        return value >= self.limit


@dataclass(slots=True)
class Figure:
    """One measured thing: a value for each run, and what they are compared with."""

    what: str
    unit: Unit
    goal: AtMost | AtLeast | None = None
    """For the sizes of the workload's row; dropped at any other."""
    mesos: str = "-"
    """What Apache Mesos, or who is named, took on the reference machine, as it was measured."""
    runs: list[float] = field(default_factory=list)
    calibrations_us: list[float] = field(default_factory=list)

    def time(self, run: Callable[[], T]) -> T:
        """Run it once and count its CPU time in this process, in CPU_MS or CPU_US.

        The caller asserts what it did.
        """
        with around() as speed:
            start = time.process_time_ns()
            result = run()
            took_ns = time.process_time_ns() - start
        self.add(took_ns / {Unit.CPU_MS: 1e6, Unit.CPU_US: 1e3}[self.unit], speed)
        return result

    def add(self, value: float, speed: "Speed") -> None:
        """The value of one run, and the calibration around it."""
        self.runs.append(value)
        self.calibrations_us.append(speed.calibration_us)

    @property
    def key(self) -> str:
        """Its name in JSON, with the unit: `a_cycle_offers_all_cpu_ms`."""
        words = re.sub(r"[^a-z0-9]+", "_", self.what.lower()).strip("_")
        return f"{words}_{self.unit.value}"

    @property
    def median(self) -> float:
        """The middle run, as measured."""
        return median(self.runs)

    @property
    def scaled(self) -> float:
        """The median run, as the reference machine would have shown it."""
        pairs = zip(self.runs, self.calibrations_us, strict=True)
        return median(self.unit.scaled(value, us) for value, us in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met by the scaled median; None without a goal."""
        return None if self.goal is None else self.goal.met_by(self.scaled)


@dataclass(slots=True)
class Speed:
    """How fast the machine was around one run; known when the run is over."""

    calibration_us: float = 0.0


@contextmanager
def around() -> Iterator[Speed]:
    """Calibrate before and after what is run inside; the mean is there afterwards."""
    speed = Speed()
    before_us = calibration_us()
    yield speed
    speed.calibration_us = (before_us + calibration_us()) / 2


def percentile(samples: Sequence[float], per_cent: float) -> float:
    """The smallest sample that so many per cent of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * per_cent // 100)
    return ordered[max(0, int(rank) - 1)]


def settle_memory() -> None:
    """Before the runs: what the set-up built is not looked through by every collection in them.

    A daemon does the same after its start.
    """
    gc.collect()
    daemon.settle_memory()
