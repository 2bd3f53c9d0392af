"""That the judge of a chaos sees what is wrong; `make chaos` plays it."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from tests.chaos.evidence import Death, Evidence, Stopped, lived_together, read, script_of, wrong

START_AT = 1_000.0
END_TOLD = {"FINISHED": ("COMMAND_EXITED", 0, None), "FAILED": ("COMMAND_EXITED", 7, None)}


# --- the judge ------------------------------------------------------------------------------------


class Story:
    """The files of a chaos in which one framework launched what a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "evidence").mkdir()
        self._lines: list[str] = []

    def says(self, what: str, task_id: str, run: str = "r1", **fields: object) -> None:
        self._lines.append(json.dumps({"is": what, "run": run, "task_id": task_id} | fields))

    def ends(
        self,
        task_id: str,
        state: str,
        reason: str,
        code: int | None,
        number: int | None,
        run: str = "r1",
    ) -> None:
        self.says(
            "status",
            task_id,
            run,
            state=state,
            terminal=True,
            reason=reason,
            exit_code=code,
            signal=number,
        )

    def ran(
        self, task_id: str, end: int | None, agent: str = "agent-1", at: float = START_AT
    ) -> None:
        base = self.folder / "evidence" / task_id
        base.with_name(f"{task_id}.start").write_text(f"7 /w/{agent}/s {at}\n")
        if end is not None:
            base.with_name(f"{task_id}.end").write_text(f"{end}\n")

    def read(self) -> Evidence:
        (self.folder / "f.log").write_text("\n".join(self._lines) + "\n")
        return read(self.folder, ["f"])

    def wrong(self, *deaths: Death) -> list[str]:
        return [line.partition(" (")[0] for line in wrong(self.read(), deaths)]


def test_what_agrees_is_not_wrong(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for task_id, state in (("a", "FINISHED"), ("b", "FAILED")):
        reason, code, number = END_TOLD[state]
        story.says("launch", task_id)
        story.ran(task_id, code)
        story.ends(task_id, state, reason, code, number)
        story.ends(task_id, state, reason, code, number)  # repeated, as it may be
    story.says("launch", "c")
    story.ran("c", -9)
    story.ends("c", "FAILED", "COMMAND_SIGNALED", None, 9)
    story.says("launch", "d")
    story.says("kill", "d")
    story.ran("d", 143)
    story.ends("d", "KILLED", "KILL_ASKED", None, 15)
    story.says("launch", "e")
    story.ends("e", "DROPPED", "AGENT_RESTARTED", None, None)
    assert story.wrong() == []
    found = story.read()
    assert (found.launches(), found.completions()) == (4, 4)
    assert (found.launches(START_AT + 1_000), found.completions(until=START_AT)) == (0, 0)


def test_an_end_that_was_never_told_is_wrong(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.says("launch", "a")
    story.ran("a", 0)
    story.says("launch", "b")
    assert story.wrong() == [
        "a: it ran, and its end was never told",
        "b: its launch was never answered",
    ]


def test_a_launch_that_died_with_its_scheduler_needs_no_answer(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.says("launch", "a", run="r1")
    story.says("launch", "b", run="r2")
    story.ends("b", "DROPPED", "LAUNCH_REFUSED", None, None, run="r2")
    assert story.wrong() == []


@pytest.mark.parametrize(
    ("state", "reason", "code", "number", "wrote", "why"),
    [
        ("FINISHED", "COMMAND_EXITED", 0, None, 7, "it is told as FINISHED COMMAND_EXITED"),
        ("FAILED", "COMMAND_EXITED", 8, None, 7, "it is told as FAILED COMMAND_EXITED"),
        ("FINISHED", "COMMAND_EXITED", 0, None, None, "it is told as FINISHED COMMAND_EXITED"),
        ("KILLED", "KILL_ASKED", None, 15, 143, "it was killed, and nobody asked for it"),
        ("DROPPED", "AGENT_RESTARTED", None, None, 0, "it ran, and is said never to have"),
        ("FAILED", "HOST_REBOOTED", None, None, 0, "its end is told as unknowable"),
    ],
)
def test_an_end_that_is_told_otherwise_is_wrong(
    tmp_path: Path,
    state: str,
    reason: str,
    code: int | None,
    number: int | None,
    wrote: int | None,
    why: str,
) -> None:
    story = Story(tmp_path)
    story.says("launch", "a")
    story.ran("a", wrote)
    story.ends("a", state, reason, code, number)
    [found] = story.wrong()
    assert found.startswith(f"a: {why}")


def test_two_ends_and_two_starts_are_wrong(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for task_id in ("a", "b"):
        story.says("launch", task_id)
        story.ran(task_id, 0)
        story.ends(task_id, "FINISHED", "COMMAND_EXITED", 0, None)
    story.ends("a", "FAILED", "HOST_REBOOTED", None, None)
    (tmp_path / "evidence" / "b.again").write_text("8\n")
    assert story.wrong() == ["a: several ends were told", "b: its command started twice"]


def test_who_died_with_its_host_may_have_an_end_that_nobody_knows(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for number in (1, 2):
        task_id = f"on-{number}"
        story.says("launch", task_id)
        story.ran(task_id, None, agent=f"agent-{number}")
        story.ends(task_id, "FAILED", "HOST_REBOOTED", None, None)
    assert story.wrong(Death("agent-1", START_AT + 5)) == [
        "on-2: its end is told as unknowable, and nothing died"
    ]
    assert len(story.wrong(Death("agent-1", START_AT - 60))) == 2, "it died before they began"


def test_two_living_tasks_of_a_key_are_wrong_unless_a_launcher_was_stopped(tmp_path: Path) -> None:
    story = Story(tmp_path)
    for number, (agent, began, alive_at) in enumerate(
        [
            ("agent-1", 1_000.0, 1_010.0),
            ("agent-2", 1_005.0, 1_020.0),
            ("agent-1", 1_030.0, 1_031.0),
        ]
    ):
        task_id = f"f.{number}.key1"
        story.says("launch", task_id)
        story.ran(task_id, None, agent=agent, at=began)
        for kind, text in (("token", number + 1), ("beat", alive_at)):
            (tmp_path / "evidence" / f"{task_id}.{kind}").write_text(f"{text}\n")
    found = story.read()
    wrong_then, excused = lived_together(found, [])
    assert ([line.partition(" until")[0] for line in wrong_then], excused) == (
        ["f/key1: f.0.key1"],
        [],
    )
    assert lived_together(found, [Stopped("agent-1", 990.0, 1_004.0)]) == ([], wrong_then)
    assert lived_together(found, [Stopped("agent-2", 990.0, 1_004.0)]) == (wrong_then, [])
    found.lives["f.0.key1"].token = 9
    assert lived_together(found, [Stopped("agent-1", 990.0, 1_004.0)])[1] == [], "tokens go back"


@pytest.mark.parametrize("seed", range(12))
def test_a_task_writes_how_it_began_and_ended(tmp_path: Path, seed: int) -> None:
    (tmp_path / "evidence").mkdir()
    script = script_of(tmp_path, "t", random.Random(seed), (0.0, 0.1))
    codes = [
        subprocess.run(["sh", "-c", script], check=False, start_new_session=True).returncode
        for _ in range(2)
    ]
    wrote = int((tmp_path / "evidence" / "t.end").read_text())
    assert wrote in (0, 7, -9)
    assert codes == [wrote, wrote]
    pid, place, began = (tmp_path / "evidence" / "t.start").read_text().split()
    assert int(pid) > 0
    assert Path(place).is_dir()
    assert float(began) > START_AT
    assert (tmp_path / "evidence" / "t.again").exists(), "it was started a second time"
