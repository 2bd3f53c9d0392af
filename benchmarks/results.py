"""What is kept of a run: one JSON line for each row, in benchmarks/results/NAME.jsonl."""

import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks.measure import AtMost, Figure
from benchmarks.workload import Sizes, Workload

RESULTS = Path(__file__).resolve().parent / "results"

Document: TypeAlias = dict[str, Any]


def document(workload: Workload[Any], sizes: Sizes, figures: Sequence[Figure]) -> Document:
    """A row as it is printed with --json and kept: figures by name, each with its unit in it."""
    judged = [figure.met for figure in figures if figure.met is not None]
    return {
        "name": workload.name,
        "sizes": sizes.of_row(),
        "figures": {figure.key: _values(figure) for figure in figures},
        "goal": {figure.key: _goal(figure) for figure in figures if figure.goal is not None},
        "met": all(judged) if judged else None,
        "runs": sizes.runs,
        "seed": sizes.seed,
        "calibration_us": round(median(us for f in figures for us in f.calibrations_us), 2),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "cpu": _cpu(),
    }


def _values(figure: Figure) -> Document:
    return {
        "what": figure.what,
        "unit": figure.unit.told,
        "median": _rounded(figure.median),
        "min": _rounded(min(figure.runs)),
        "max": _rounded(max(figure.runs)),
        "scaled": _rounded(figure.scaled),
        "met": figure.met,
        "mesos": figure.mesos,
    }


def _goal(figure: Figure) -> Document:
    assert figure.goal is not None
    return {"at_most" if isinstance(figure.goal, AtMost) else "at_least": figure.goal.limit}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def append(line: Document, directory: Path = RESULTS) -> None:
    """Keep a row."""
    directory.mkdir(exist_ok=True)
    with (directory / f"{line['name']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def latest(workloads: Iterable[Workload[Any]], directory: Path = RESULTS) -> list[Document]:
    """The last line of each workload at each size of its rows, in their order."""
    found: list[Document] = []
    for workload in workloads:
        path = directory / f"{workload.name}.jsonl"
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        lines = [json.loads(line) for line in kept]
        for sizes in workload.rows:
            found += [line for line in lines if line["sizes"] == sizes.of_row()][-1:]
    return found


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
