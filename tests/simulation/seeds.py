"""One seed, one story: told whole, and when it goes wrong, as short as it can be found."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.simulation.restless import TASKS_MAX
from tests.simulation.trouble import Less, Trouble

STORY_TAIL_LINES = 60
SHORTEN_S_MAX = 30.0  # a try takes a fifth of a second; a minute finds hardly more than half of one
TRIES_MAX = 300


class SeedFailed(AssertionError):
    """A seed broke a rule: with what is needed to see it again."""

    def __init__(self, seed: int, why: BaseException, tail: list[str], shown: str = "") -> None:
        lines = "\n".join(tail)
        super().__init__(
            f"seed {seed}, commit {_commit()}: {type(why).__name__}: {why}\n{shown}{lines}\n"
            f"to see it all: make simulate SEED={seed}"
        )
        self.seed = seed
        self.why = why


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed that broke no rule did."""

    counts: Counter[str]
    story: list[str]
    """Its tail, or all of it when asked for."""
    virtual_s: float


def play(seed: int, *, whole_story: bool = False) -> Outcome:
    """Tell the story of a seed. Raises SeedFailed."""
    trouble = Trouble(seed, whole_story=whole_story)
    if (why := _wrong(trouble)) is not None:
        raise SeedFailed(seed, why, _tail(trouble, whole_story=whole_story)) from why
    cluster = trouble.cluster
    for master in cluster.masters.values():
        master.crash()  # counts what it refused
    return Outcome(cluster.counts, list(cluster.story.lines()), cluster.passed_s)


def _wrong(trouble: Trouble) -> Exception | None:
    try:
        trouble.play()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for
        return error
    return None


def _tail(trouble: Trouble, *, whole_story: bool) -> list[str]:
    lines = list(trouble.cluster.story.lines())
    return lines if whole_story else lines[-STORY_TAIL_LINES:]


# --- shortening -----------------------------------------------------------------------------------


def shortest(seed: int, *, whole_story: bool = False, for_s: float = SHORTEN_S_MAX) -> SeedFailed:
    """The shortest story of a seed that goes wrong which is found within so many seconds.

    Wrong in the same way, as far as the kind of the exception tells. Raises ValueError when the
    seed does not go wrong at all.
    """
    search = _Search(seed, for_s)
    search.cut_actions()
    search.cut_cluster()
    search.cut_actions()
    trouble = Trouble(seed, search.less, whole_story=whole_story)
    why = _wrong(trouble)
    assert why is not None, "a seed is the whole story"
    shown = f"the shortest story that was found in {search.tries} tries: {trouble.described()}\n"
    return SeedFailed(seed, why, _tail(trouble, whole_story=whole_story), shown)


class _Search:
    """Leaves out ever more, as long as what is left goes wrong."""

    def __init__(self, seed: int, for_s: float) -> None:
        self.seed = seed
        self.less = Less()
        self.tries = 0
        self._until_s = time.monotonic() + for_s
        trouble = Trouble(seed)
        why = _wrong(trouble)
        if why is None:
            raise ValueError(f"seed {seed} breaks no rule")
        self._kind = type(why)
        # What had not happened yet when it went wrong has nothing to do with it.
        everything = {action.number for action in trouble.actions}
        self._left_out(replace(self.less, without=frozenset(everything - set(trouble.happened))))

    @property
    def _over(self) -> bool:
        return self.tries >= TRIES_MAX or time.monotonic() > self._until_s

    def _left_out(self, less: Less) -> bool:
        """Whether the story goes wrong with so much less; then it is told so from now on."""
        if self._over:
            return False
        self.tries += 1
        trouble = Trouble(self.seed, less)
        why = _wrong(trouble)
        if type(why) is not self._kind:
            return False
        here = {action.number for action in trouble.actions}
        self.less = replace(less, without=less.without | (here - set(trouble.happened)))
        return True

    def cut_actions(self) -> None:
        """Leave out actions: half of them, then quarters, down to each by itself."""
        size = len(self._kept())
        while size >= 1 and not self._over:
            cut = False
            for part in self._parts(size):
                cut |= self._left_out(replace(self.less, without=self.less.without | part))
            if not cut or size > 1:
                size //= 2

    def _parts(self, size: int) -> Iterator[frozenset[int]]:
        kept = self._kept()
        for start in range(0, len(kept), size):
            yield frozenset(kept[start : start + size])

    def _kept(self) -> list[int]:
        actions = Trouble(self.seed, self.less).actions
        # The last ones first: what came first is more often what it takes.
        return [a.number for a in reversed(actions) if a.number not in self.less.without]

    def cut_cluster(self) -> None:
        """Fewer of everything, the least first."""
        any(self._left_out(replace(self.less, masters_max=count)) for count in (1, 2))
        any(self._left_out(replace(self.less, schedulers_max=count)) for count in (1, 2))
        any(self._left_out(replace(self.less, agents_max=count)) for count in (1, 2, 3))
        halves = (1, 2, 4, 8, TASKS_MAX // 2)
        any(self._left_out(replace(self.less, tasks_max=count)) for count in halves)


def _commit() -> str:
    """The commit of the tree, and whether it was changed since."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
