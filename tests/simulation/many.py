"""Many seeds on all processors, their results in the order of the seeds."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from tests.simulation.seeds import SeedFailed, play, shortest


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed."""

    seed: int
    counts: Counter[str]
    virtual_s: float
    failure: str
    """Empty when no rule was broken."""


def play_many(seeds: Sequence[int], processes: int | None = None) -> Iterator[Result]:
    """Play each seed, on all processors or so many. The processes end when the iterator does.

    The first failure is told by the shortest story of it that is found.
    """
    failed = False
    for result in _play_all(seeds, processes or os.cpu_count()):
        if result.failure and not failed:
            failed = True
            yield replace(result, failure=str(shortest(result.seed)))
        else:
            yield result


def _play_all(seeds: Sequence[int], processes: int | None) -> Iterator[Result]:
    # Spawned and not forked: the caller may have threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        yield from pool.map(_result_of, seeds, chunksize=4)


def _result_of(seed: int) -> Result:
    try:
        outcome = play(seed)
    except SeedFailed as failed:
        return Result(seed, Counter(), 0.0, str(failed))
    return Result(seed, outcome.counts, outcome.virtual_s, "")
