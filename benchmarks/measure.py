"""How a workload is measured, judged and written down.

Times are CPU times of this process: the machine may be shared. Beside each result stands the
calibration, a fixed loop timed right before and after each run, and a goal is scaled by it: the
goals were set on a machine where that loop takes 5.1 us.
"""

import gc
import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).resolve().parent / "results"
RUNS_MIN = 5  # fewer say nothing about a shared machine
CALIBRATION_REFERENCE_US = 5.1

_NUMBERS = {number: number for number in range(1_000)}
_CALIBRATION_LOOPS = 200


def calibration_us() -> float:
    """CPU time of `sum(d.values())` over 1,000 integers: the best of 3 loops, like timeit's."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time_ns()
        for _ in range(_CALIBRATION_LOOPS):
            sum(_NUMBERS.values())
        best = min(best, (time.process_time_ns() - start) / _CALIBRATION_LOOPS / 1_000)
    return best


@dataclass(slots=True)
class Figure:
    """One measured thing: its runs, and what they are compared with."""

    what: str
    parameters: Mapping[str, int]
    goal_ms: float | None = None
    """On the reference machine; None where there is none."""
    mesos: str = "-"
    """What Apache Mesos took on the reference machine, as it was measured."""
    runs_ms: list[float] = field(default_factory=list)
    calibrations_us: list[float] = field(default_factory=list)

    def time(self, run: Callable[[], object]) -> None:
        """Run it once, with a calibration on both sides. The caller asserts what it did."""
        before_us = calibration_us()
        start = time.process_time_ns()
        run()
        self.runs_ms.append((time.process_time_ns() - start) / 1e6)
        self.calibrations_us.append((before_us + calibration_us()) / 2)

    @property
    def scaled_ms(self) -> float:
        """The median run, as the reference machine would have taken it."""
        pairs = zip(self.runs_ms, self.calibrations_us, strict=True)
        return median(ms * CALIBRATION_REFERENCE_US / us for ms, us in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met by the scaled median; None without a goal."""
        return None if self.goal_ms is None else self.scaled_ms <= self.goal_ms

    def document(self) -> dict[str, object]:
        """For the results' file."""
        return {
            "what": self.what,
            "parameters": dict(self.parameters),
            "runs": len(self.runs_ms),
            "median_ms": round(median(self.runs_ms), 4),
            "min_ms": round(min(self.runs_ms), 4),
            "max_ms": round(max(self.runs_ms), 4),
            "calibration_us": round(median(self.calibrations_us), 2),
            "scaled_ms": round(self.scaled_ms, 4),
            "goal_ms": self.goal_ms,
            "met": self.met,
        }


def settle_memory() -> None:
    """Before the runs: what the set-up built is not looked through by every collection in them.

    The master does the same after its start.
    """
    gc.collect()
    gc.freeze()


def append_result(name: str, figures: list[Figure]) -> dict[str, object]:
    """One line for this run in results/NAME.jsonl; the line."""
    line: dict[str, object] = {
        "workload": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "cpu": _cpu(),
        "figures": [figure.document() for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return line


def _commit() -> str:
    """The commit that was measured, with a + when files differ from it; "" outside a checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
