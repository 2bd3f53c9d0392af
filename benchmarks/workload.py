"""What a workload is: a name, a function, and the sizes of its row.

A workload's sizes are the fields of a dataclass of its own, which are its options on the command
line too. Its function asserts that it did what it says before it gives a figure.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from benchmarks.measure import Figure

RUNS_MIN = 5  # fewer say nothing about a shared machine
COMMON = ("runs", "seed")


def option(about: str, *, at_least: int = 1, one_of: tuple[str, ...] = ()) -> Any:
    """A field of a workload's sizes and what it is, for `--help`.

    A number, or with `one_of` one of these words.
    """
    return field(metadata={"about": about, "at_least": at_least, "one_of": one_of})


def runs(default: int) -> Any:
    """The field `runs` of a workload that is quick, so more of them are done: at least RUNS_MIN."""
    return field(
        default=default, metadata={"about": "how often it is measured", "at_least": RUNS_MIN}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What every workload has. Each adds its own: `agents: int = option("agents that join")`."""

    runs: int = runs(RUNS_MIN)
    seed: int = field(default=1, metadata={"about": "of what is drawn", "at_least": 0})

    def each_run(self) -> Iterator[int]:
        """Count the runs from 1, and tell on stderr how far it is."""
        for number in range(1, self.runs + 1):
            progress(f"run {number} of {self.runs}")
            yield number

    def of_row(self) -> dict[str, int | str]:
        """The workload's own sizes, by name."""
        names = [found.name for found in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in COMMON}


S = TypeVar("S", bound=Sizes)


@dataclass(frozen=True, slots=True)
class Workload(Generic[S]):
    """One named workload. The first line of its function's docstring says what it is."""

    name: str
    run: Callable[[S], list[Figure]]
    rows: tuple[S, ...]
    """The sizes that its goals are for, as docs/benchmarks.md shows them."""
    note: str = ""
    """What stands below its figures wherever they are shown: what is not as users have it."""

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (self.run.__doc__ or "").splitlines()[0]


def progress(text: str) -> None:
    """Tell a person at a terminal what is being done; it goes away when the next is told."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\r", file=sys.stderr, flush=True)
