"""Simulate many seeds, or tell the whole story of one.

    python -m tests.simulation                 200 seeds, and how often everything occurred
    python -m tests.simulation --seeds 2000    more of them
    python -m tests.simulation --seeds 10000 --jobs 8 --progress
    python -m tests.simulation --seed 7        the whole story of one seed
    python -m tests.simulation --seed 7 --uncut    also of one that breaks a rule

Of a seed that breaks a rule the shortest story is told that is found in half a minute.
Exit 1 when a seed breaks a rule, or when in 200 seeds or more something never occurred.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.census import missing, table
from tests.simulation.many import play_many
from tests.simulation.seeds import SeedFailed, play, shortest

PROGRESS_SEEDS = 100
SEEDS = 200  # so many reach everything; fewer may not


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Simulate clusters in which things break.")
    parser.add_argument("--seed", type=int, help="tell the whole story of this one")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--jobs", "-j", type=int, help="processes (default: one a processor)")
    parser.add_argument("--progress", action="store_true", help="say on stderr how far it is")
    parser.add_argument("--uncut", action="store_true", help="the story as it is, not shortened")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _tell(arguments.seed, uncut=arguments.uncut)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    return _run(seeds, arguments.jobs, progress=arguments.progress)


def _tell(seed: int, *, uncut: bool) -> int:
    try:
        print("\n".join(play(seed, whole_story=True).story))
    except SeedFailed as failed:
        print(failed if uncut else shortest(seed, whole_story=True))
        return 1
    print(f"seed {seed} broke no rule")
    return 0


def _run(seeds: range, jobs: int | None, *, progress: bool) -> int:
    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    virtual_s = 0.0
    for done, result in enumerate(play_many(seeds, jobs), 1):
        if progress and done % PROGRESS_SEEDS == 0:
            rate = done / (time.monotonic() - began_s)
            told = (
                f"{done} of {len(seeds)} seeds, {rate:.1f} a second, {len(failures)} broke a rule"
            )
            print(told, file=sys.stderr, flush=True)
        counts += result.counts
        virtual_s += result.virtual_s
        if result.failure:
            failures.append(result.failure)
            print(result.failure, end="\n\n", flush=True)
    never = missing(counts) if len(seeds) >= SEEDS and not failures else []
    if len(seeds) >= SEEDS:
        print("\n".join(table(counts)))
    took_s = time.monotonic() - began_s
    print(f"{len(seeds)} seeds, {virtual_s / 3600:.1f} virtual hours in {took_s:.1f} s", end=": ")
    print(f"{len(failures)} broke a rule" if failures else "no rule was broken")
    for name in never:
        print(f"never occurred: {name}")
    return 1 if failures or never else 0


if __name__ == "__main__":
    sys.exit(main())
