"""What a task can do to keep its files, and that it does not."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite_agent.deleting import delete

NOBODY = 65_534
LEVELS = 3_000  # Python recurses through 1,000
NAME = "n" * 20


def nest(top: Path, levels: int, mode: int = 0o755) -> None:
    """Directories in each other, each with a file; the path to the last may pass PATH_MAX."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.mkdir(NAME, dir_fd=folder)
        inner = os.open(NAME, os.O_RDONLY, dir_fd=folder)
        os.fchmod(folder, mode)
        os.close(folder)
        folder = inner
    os.close(folder)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = tmp_path / "top"
    made.mkdir()
    return made


@pytest.fixture
def users_top() -> Iterator[Path]:
    """A directory of an agent that is not root's."""
    folder = Path(tempfile.mkdtemp())
    if root := os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    (folder / "top").mkdir()
    yield folder / "top"
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


def test_a_tree_deeper_than_python_recurses_is_deleted_with_few_descriptors(top: Path) -> None:
    nest(top, LEVELS)
    free = os.dup(0)
    os.close(free)
    most = []

    def go_on() -> bool:
        descriptor = os.dup(0)
        os.close(descriptor)
        most.append(descriptor)
        return True

    assert delete(top, go_on)
    assert not os.path.lexists(top)
    assert max(most) <= free + 4  # the top and one below, each open and looked through


def test_a_tree_of_any_shape_is_deleted_and_nothing_beside_it(top: Path) -> None:
    beside = top.parent / "beside"
    beside.mkdir()
    (beside / "kept").write_text("x")
    dice, folders = random.Random(7), [top]
    for number in range(500):
        inside = dice.choice(folders)
        if dice.random() < 0.5:
            folders.append(inside / str(number))
            folders[-1].mkdir()
        elif dice.random() < 0.5:
            (inside / str(number)).symlink_to(
                dice.choice([beside, beside / "kept", Path("nowhere")])
            )
        else:
            (inside / str(number)).write_text("x")
    os.mkfifo(dice.choice(folders) / "pipe")
    assert delete(top)
    assert not os.path.lexists(top)
    assert (beside / "kept").read_text() == "x"


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_directories_that_a_task_has_locked_are_deleted_in_whatever_depth(
    users_top: Path, mode: int
) -> None:
    nest(users_top, 50, mode)
    assert delete(users_top)
    assert not os.path.lexists(users_top)


def test_of_a_link_the_link_is_deleted_and_of_nothing_nothing(top: Path) -> None:
    (top / "kept").write_text("x")
    link = top.parent / "link"
    link.symlink_to(top)
    assert not delete(link, lambda: False)
    assert link.is_symlink()
    assert delete(link)
    assert not link.is_symlink()
    assert delete(link)
    assert (top / "kept").exists()


def test_a_directory_that_becomes_a_link_while_it_is_deleted_is_not_followed(top: Path) -> None:
    beside = top.parent / "beside"
    beside.mkdir()
    (beside / "kept").write_text("x")
    for name in "abc":
        (top / name).mkdir()
        (top / name / "file").touch()

    def exchange() -> bool:
        for name in "abc":
            with contextlib.suppress(OSError):
                (top / name).rename(top / f"{name}-elsewhere")
                (top / name).symlink_to(beside)
        return True

    with contextlib.suppress(OSError):  # told, or done: both will do
        delete(top, exchange)
    assert (beside / "kept").exists()
    assert delete(top)
    assert (beside / "kept").exists()


def test_where_no_directory_can_be_moved_all_is_deleted_from_its_end(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another quota counts there")

    nest(top, 50)
    for name in "ab":
        (top / NAME / NAME / name / "inner").mkdir(parents=True)
    monkeypatch.setattr(os, "rename", refuse)
    assert delete(top)
    assert not os.path.lexists(top)


def test_all_but_what_cannot_be_deleted_is_deleted_and_why_is_raised(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nest(top, 5)
    (top / NAME / NAME / "immutable").touch()
    unlink = os.unlink

    def unlink_others(name: str, *, dir_fd: int) -> None:
        if name == "immutable":
            raise PermissionError(errno.EPERM, "it is immutable", name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_others)
    with pytest.raises(PermissionError, match="immutable"):
        delete(top)
    left = [path.name for path in top.rglob("*") if not path.is_dir()]
    assert left == ["immutable"]
    monkeypatch.undo()
    assert delete(top)


def test_who_still_writes_while_it_is_deleted_does_not_hold_it_up_for_ever(top: Path) -> None:
    (top / "0").touch()
    asked = 0

    def write_another() -> bool:
        nonlocal asked
        asked += 1
        (top / str(asked)).touch()
        return asked <= 1_000

    assert not delete(top, write_another)
    assert asked == 1_001
