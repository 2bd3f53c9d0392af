"""Many seeds on all processors, their results in the order of the seeds."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation.seeds import SeedFailed, play


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed."""

    seed: int
    counts: Counter[str]
    virtual_s: float
    failure: str
    """Empty when no rule was broken."""


def play_many(seeds: Sequence[int]) -> Iterator[Result]:
    """Play each seed. The processes end when the iterator does."""
    # Spawned and not forked: the caller may have threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        yield from pool.map(_result_of, seeds, chunksize=4)


def _result_of(seed: int) -> Result:
    try:
        outcome = play(seed)
    except SeedFailed as failed:
        return Result(seed, Counter(), 0.0, str(failed))
    return Result(seed, outcome.counts, outcome.virtual_s, "")
