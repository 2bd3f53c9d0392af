"""Some seeds by their names, and that a seed is the whole story. A thousand: test_census.py."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from mesoslite import messages as m
from mesoslite.testing import telling
from tests.simulation.census import IMPOSSIBLE, expected, missing
from tests.simulation.safety import Safety
from tests.simulation.seeds import SeedFailed, play, shortest
from tests.simulation.trouble import Trouble

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = range(1_000, 1_020)  # not among those of the census; ~0.15 s each


@pytest.mark.parametrize("seed", SEEDS)
def test_no_rule_is_broken_and_everybody_gets_what_they_wait_for(seed: int) -> None:
    play(seed)


def test_a_seed_is_the_whole_story() -> None:
    once, again = play(3, whole_story=True), play(3, whole_story=True)
    assert once.story == again.story
    assert once.counts == again.counts


def test_the_story_does_not_depend_on_the_hashes_of_strings() -> None:
    stories = []
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "15"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        stories.append(told.stdout.splitlines())
    assert len(stories[0]) > 100
    assert stories[0] == stories[1]


def test_a_seed_that_fails_says_how_to_see_it_again() -> None:
    failed = SeedFailed(7, AssertionError("the sky fell"), ["10:00 the sky falls"])
    assert re.match(r"seed 7, commit \S+: AssertionError: the sky fell\n10:00", str(failed))
    assert str(failed).endswith("make simulate SEED=7")


def test_the_shortest_story_is_told_of_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object) -> None:
        raise AssertionError("the sky fell")

    monkeypatch.setattr(Safety, "host_died", fall)
    seed = next(s for s in range(50) if _counts_until_wrong(s)["fault: reboot of a host"])
    told = str(shortest(seed, for_s=600))
    found = re.search(r"the shortest story .* (\d+) tasks each; (.*)", told)
    assert found is not None
    assert found[1] == "1"
    assert re.findall(r"(fault|whim) \d+ at", found[2]) == ["fault"]
    assert "the sky fell" in told
    assert told.endswith(f"make simulate SEED={seed}")


def _counts_until_wrong(seed: int) -> Counter[str]:
    trouble = Trouble(seed)
    with contextlib.suppress(AssertionError):
        trouble.play()
    return trouble.cluster.counts


def test_what_goes_not_wrong_can_not_be_shortened() -> None:
    with pytest.raises(ValueError, match="breaks no rule"):
        shortest(3)


def test_the_census_misses_what_never_occurred_and_doubts_what_can_not() -> None:
    everything = Counter(name for name in expected() if name not in IMPOSSIBLE)
    assert missing(everything) == []
    assert missing(everything - Counter(["word: Accept"])) == ["word: Accept"]
    doubted = "refusal: BAD_TOKEN"
    assert missing(everything + Counter([doubted])) == [f"{doubted}, which was thought impossible"]


@pytest.mark.parametrize(
    "union", [m.SchedulerCall, m.SchedulerEvent, m.AgentCall, m.AgentEvent], ids=str
)
def test_a_story_has_words_for_everything_that_can_be_said(union: object) -> None:
    assert set(get_args(union)) <= telling._TELL.keys()


@pytest.mark.parametrize("name", [name for name, (_, test) in IMPOSSIBLE.items() if test])
def test_what_can_not_occur_in_a_simulation_occurs_in_a_test(name: str) -> None:
    path = ROOT / "tests" / f"{IMPOSSIBLE[name][1]}.py"
    assert name.rsplit(maxsplit=1)[-1] in path.read_text(encoding="utf-8")
