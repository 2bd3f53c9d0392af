"""A framework's command line is the signature of its class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import pytest

from mesoslite import Scheduler
from mesoslite.cli import frameworks
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.main import exit_code_of
from mesoslite.cli.options import Chosen


class Everything(Scheduler):
    """Takes all there is.

    And says more about it.
    """

    name = "everything"

    def __init__(
        self,
        *words: Annotated[str, "What to run."],
        count: Annotated[int, "How many."] = 3,
        heap: Annotated[str, "Of the virtual machine."] = "256MiB",
        rack: str | None = None,
        share: float = 0.5,
        fast: Annotated[bool, "Rather than safe."] = False,
        topic: Annotated[Sequence[str], "To be made."] = (),
        config: Annotated[Mapping[str, str], "As it is."] | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"--count is at least 1, not {count}")
        self.told = (words, count, heap, rack, share, fast, tuple(topic), dict(config or {}))


def made(*words: str) -> Everything:
    asked = frameworks.read("everything", Everything, words, Chosen(master="before:1"))
    assert asked is not None
    scheduler = frameworks.make(Everything, asked)
    assert isinstance(scheduler, Everything)
    return scheduler


def test_what_is_not_said_is_as_the_class_has_it() -> None:
    assert made().told == ((), 3, "256MiB", None, 0.5, False, (), {})


def test_each_kind_of_option_is_read() -> None:
    words = "--count 5 --heap 1GiB --rack r1 --share 0.25 --fast --topic a --topic b"
    told = made(*words.split(), "--config", "a.b=c=d", "--", "run", "--me").told
    assert told == (("run", "--me"), 5, "1GiB", "r1", 0.25, True, ("a", "b"), {"a.b": "c=d"})


def test_another_name_and_master_stand_among_its_own_options() -> None:
    words = ("--name", "other", "--count", "1", "--master", "there:2")
    asked = frameworks.read("everything", Everything, words, Chosen(master="before:1"))
    assert asked is not None
    assert (asked.chosen.master, frameworks.make(Everything, asked).name) == ("there:2", "other")
    assert made("--count", "1").name == "everything"


def test_what_its_class_objects_to_is_a_wrong_command_line() -> None:
    with pytest.raises(Failure, match="--count is at least 1, not 0") as raised:
        made("--count", "0")
    assert raised.value.code == Code.USAGE
    with pytest.raises(Failure, match="--config is KEY=VALUE"):
        made("--config", "nothing")


def test_help_is_shown_and_nothing_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert frameworks.read("everything", Everything, ["--help"], Chosen()) is None
    page = capsys.readouterr().out
    for text in ("Takes all there is.", "--count", "How many. (default 3)", "KEY=VALUE", "--name"):
        assert text in page


def test_what_no_command_line_can_say_is_told_with_the_framework() -> None:
    class Odd(Scheduler):
        """Odd."""

        name = "odd"

        def __init__(self, thing: complex = 1j) -> None: ...

    with pytest.raises(Failure, match="Odd: `thing` is"):
        frameworks.options_of(Odd)


def test_installed_frameworks_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["framework", "list", "-o", "json"]) == Code.OK
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["demo"]["package"] == "mesoslite"
    assert exit_code_of(["framework", "describe", "demo", "-o", "json"]) == Code.OK
    page = json.loads(capsys.readouterr().out)
    assert [(one["flag"], one["default"]) for one in page["options"]] == [
        ("--webs", "3"),
        ("--jobs", "36"),
    ]
    assert exit_code_of(["framework", "describe", "demo"]) == Code.OK
    assert "--webs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["run", "nonsense"], Code.NOT_FOUND, "there are: "),
        (["run", "demo", "--webs", "x"], Code.USAGE, "framework run demo --help"),
        (["run", "demo", "--no-such"], Code.USAGE, "--no-such"),
        (["run"], Code.USAGE, "NAME"),
        (["run", "kafka", "--name", ""], Code.USAGE, "--name is 1 to 255"),
        (["run", "kafka", "--name", "x" * 256], Code.USAGE, "--name is 1 to 255"),
        (["run", "kafka", "--name", "a\nb"], Code.USAGE, "--name is 1 to 255"),
        (["run", "kafka", "--cpus", "0"], Code.USAGE, "--cpus is 0.001 at least"),
        (["describe", "nonsense"], Code.NOT_FOUND, "nonsense"),
        (["run", "demo", "--master", "no such place"], Code.USAGE, "HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], words: list[str], code: Code, text: str
) -> None:
    assert exit_code_of(["framework", *words]) == code
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
