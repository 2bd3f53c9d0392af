"""What an agent tells its master while it can take no launches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesoslite.loop import Health
from mesoslite.messages import Heartbeat, Troubled
from mesoslite_agent import trouble
from mesoslite_agent.trouble import LAUNCHER_S_MAX, RETOLD_S, Trouble, why_full

HEARTBEAT_S = 15.0
GIB = 1 << 30


class Watched:
    """A Trouble with everything around it under control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.health = Health("")
        self.launcher: str | None = None
        self.stream: int | None = 1
        self.said: list[Troubled | Heartbeat] = []
        self.free, self.total, self.files = 10 * GIB, 100 * GIB, 10**6
        self.now_s = 0.0
        monkeypatch.setattr(os, "statvfs", lambda _path: self._statvfs())
        self.trouble = Trouble(
            Path("/work"),
            self.health,
            lambda: self.launcher,
            lambda: self.stream,
            self.said.append,
            HEARTBEAT_S,
        )

    def _statvfs(self) -> os.statvfs_result:
        blocks, free = self.total >> 12, self.free >> 12
        return os.statvfs_result(
            (4096, 4096, blocks, free, free, 10**6, self.files, self.files, 0, 255)
        )

    def look(self, after_s: float = 0.5) -> list[Troubled | Heartbeat]:
        """What is said at the next look."""
        self.now_s += after_s
        self.said.clear()
        self.trouble.look(self.now_s)
        return list(self.said)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_an_agent_that_is_well_says_nothing(watched: Watched) -> None:
    assert watched.look() == watched.look() == []
    assert watched.trouble.problem == ""


def test_a_disk_that_fills_up_is_told_once_and_again_when_there_is_twice_the_room(
    watched: Watched,
) -> None:
    watched.free = 10 << 20
    [told] = watched.look()
    assert isinstance(told, Troubled)
    assert told.problem == "the disk of /work is full: 10,240 KiB left, 32,768 needed"
    assert watched.trouble.problem == told.problem
    assert watched.look() == []
    watched.free = 40 << 20
    assert watched.look() == [], "it would be full again at once"
    watched.free = 70 << 20
    assert watched.look() == [Troubled("")]


def test_what_it_is_by_now_is_told_again_but_not_at_each_look(watched: Watched) -> None:
    watched.free = 10 << 20
    assert len(watched.look()) == 1
    watched.free = 8 << 20
    assert watched.look() == [], "that changes all the time"
    watched.health.why_not = "cannot write: the disk is full"
    assert watched.look(RETOLD_S) == [Troubled("cannot write: the disk is full")]
    assert watched.look(RETOLD_S) == [], "nothing has changed"
    watched.health.why_not = ""
    assert watched.look(RETOLD_S) == [
        Troubled("the disk of /work is full: 8,192 KiB left, 65,536 needed")
    ]
    watched.free = 70 << 20
    assert watched.look() == [Troubled("")]


def test_a_small_disk_may_be_used_up_to_its_16th_part(watched: Watched) -> None:
    watched.total, watched.free = 64 << 20, 5 << 20
    assert watched.look() == []
    watched.free = 3 << 20
    assert len(watched.look()) == 1


def test_a_disk_without_room_for_files_is_full_too(watched: Watched) -> None:
    watched.files = 10
    [told] = watched.look()
    assert "room for 10 files more" in str(told)


def test_a_failed_commit_is_told_and_the_machine_is_spoken_for_meanwhile(watched: Watched) -> None:
    watched.health.why_not = "cannot write: the disk is full"
    assert watched.look() == [Troubled("cannot write: the disk is full")]
    assert watched.look(HEARTBEAT_S - 0.1) == []
    assert watched.look(0.1) == [Heartbeat()]
    assert watched.look(HEARTBEAT_S) == [Heartbeat()]
    watched.health.why_not = ""
    assert watched.look(HEARTBEAT_S) == [Troubled("")]
    assert watched.look(HEARTBEAT_S) == [], "the machine speaks for itself"


def test_a_launcher_is_missed_only_when_the_next_one_does_not_come(watched: Watched) -> None:
    watched.launcher = "no launcher"
    assert watched.look() == []
    assert watched.trouble.problem == "no launcher", "no start is possible all the same"
    assert watched.look(LAUNCHER_S_MAX) == [Troubled("no launcher")]
    watched.launcher = None
    assert watched.look() == [Troubled("")]


def test_each_registration_is_told_anew_and_nobody_is_told_before(watched: Watched) -> None:
    watched.stream = None
    watched.free = 0
    assert watched.look() == []
    watched.stream = 2
    assert len(watched.look()) == 1
    assert watched.look() == []
    watched.stream = 3
    assert len(watched.look()) == 1


def test_a_work_dir_that_is_gone_counts_as_full(tmp_path: Path) -> None:
    assert "cannot be used" in why_full(tmp_path / "gone", was=False)
    assert why_full(tmp_path, was=False) == ""
    assert trouble.FREE_BYTES_MIN == 32 << 20
