"""Work that arrives at a simulated cluster: made from a seed, or read from a trace."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesoslite.model import Task


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task that somebody wants to be run, from a time on."""

    at_s: float
    """Seconds after `Simulation.feed` was called; a trace is in the order of these."""
    task: Task


def poisson(
    rng: random.Random, *, per_s: float, seconds: float, task: Callable[[int], Task]
) -> Iterator[Arrival]:
    """Tasks that come independently of each other, so many a second on average, for a while.

    `task` makes each of them from its number, which counts from 0. Infinite with `seconds` inf.
    """
    number, at_s = 0, rng.expovariate(per_s)
    while at_s < seconds:
        yield Arrival(at_s, task(number))
        number, at_s = number + 1, at_s + rng.expovariate(per_s)
