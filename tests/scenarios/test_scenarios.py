"""Each text file in this folder is a story that a master must tell again, word for word."""

from pathlib import Path

import pytest

from tests.scenarios.commands import ScenarioError
from tests.scenarios.player import parse, play

SCENARIOS = sorted(Path(__file__).resolve().parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_master_tells_the_same_story(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert play(text) == text, "if that is right: make scenarios-rewrite, and read the diff"


def test_there_are_stories() -> None:
    assert len(SCENARIOS) >= 10


def test_comments_stay_and_what_was_expected_does_not() -> None:
    text = "# who\nagent a1 cpus:1;mem:32\n----\nnonsense\n"
    assert parse(text)[0].commands == ["agent a1 cpus:1;mem:32"]
    said = play(text)
    assert said.startswith("# who\nagent a1 cpus:1;mem:32\n----\n")
    assert "nonsense" not in said


def test_a_line_that_means_nothing_is_an_error() -> None:
    with pytest.raises(ScenarioError):
        play("agent a1 cpus:1\n\nframework f\n\nfly f\n")
