"""Run the benchmarks.

    python -m benchmarks                        the workloads there are
    python -m benchmarks NAME [--json] [...]    one of them
    python -m benchmarks all                    each of them

Each asserts that it did what it says before a time is reported, and appends one JSON line to
benchmarks/results/NAME.jsonl. Exit 1 when a goal is missed and `--strict` was said.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import allocator
from benchmarks.allocator import Size
from benchmarks.measure import CALIBRATION_REFERENCE_US, RUNS_MIN, Figure, append_result

RUNS_DEFAULT = 15


@dataclass(frozen=True, slots=True)
class Workload:
    """A named workload, and the sizes that it is run at unless told otherwise."""

    name: str
    run: Callable[[Size], list[Figure]]
    sizes: tuple[tuple[int, int], ...]
    """(agents, frameworks)."""


WORKLOADS = (
    Workload("allocator-decline", allocator.decline, ((10_000, 200), (10_000, 1_000))),
    Workload("allocator-refused", allocator.refused, ((10_000, 1_000),)),
    Workload("allocator-dirty", allocator.dirty, ((50_000, 200),)),
    Workload("allocator-join", allocator.join, ((10_000, 1_000),)),
)


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("name", nargs="?", choices=[*names, "all"], metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print the JSON line, no table")
    parser.add_argument("--agents", type=int, help="instead of the sizes that the goals are for")
    parser.add_argument("--frameworks", type=int)
    parser.add_argument("--runs", type=int, default=RUNS_DEFAULT, help=f"at least {RUNS_MIN}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args(argv)
    if options.runs < RUNS_MIN:
        parser.error(f"--runs must be at least {RUNS_MIN}")
    if any(size is not None and size < 1 for size in (options.agents, options.frameworks)):
        parser.error("--agents and --frameworks must be at least 1")
    if options.name is None:
        for workload in WORKLOADS:
            print(f"{workload.name:20} {(workload.run.__doc__ or '').splitlines()[0]}")
        return 0
    missed = 0
    for workload in WORKLOADS:
        if options.name in (workload.name, "all"):
            missed += sum(figure.met is False for figure in _measure(workload, options))
    return 1 if missed and options.strict else 0


def _measure(workload: Workload, options: argparse.Namespace) -> list[Figure]:
    figures: list[Figure] = []
    sizes = {
        (options.agents or agents, options.frameworks or frameworks): None
        for agents, frameworks in workload.sizes
    }
    for agents, frameworks in sizes:
        figures += workload.run(Size(agents, frameworks, options.runs, options.seed))
    line = append_result(workload.name, figures)
    if options.json:
        print(json.dumps(line))
        return figures
    print(f"{workload.name}: {(workload.run.__doc__ or '').splitlines()[0]}")
    print(
        f"  {'CPU ms':42}{'median':>9}{'min':>9}{'max':>9}{'us':>7}{'scaled':>9}{'goal':>8}"
        f"  {'':6} Mesos"
    )
    for figure in figures:
        print("  " + _row(figure))
    print(f"  us: calibration; scaled: the median at {CALIBRATION_REFERENCE_US} us, for the goal\n")
    return figures


def _row(figure: Figure) -> str:
    sizes = " x ".join(f"{size:,}" for size in figure.parameters.values())
    goal = "-" if figure.goal_ms is None else f"{figure.goal_ms:g}"
    verdict = {True: "met", False: "missed", None: ""}[figure.met]
    runs = figure.runs_ms
    return (
        f"{figure.what + ', ' + sizes:42}{median(runs):9.3f}{min(runs):9.3f}{max(runs):9.3f}"
        f"{median(figure.calibrations_us):7.2f}{figure.scaled_ms:9.3f}{goal:>8}"
        f"  {verdict:6} {figure.mesos}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
