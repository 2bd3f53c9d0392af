"""Sandboxes: reading a piece of a file, collecting by age, and never through a link."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import structlog.testing

from mesoslite_agent.collecting import collect_for_ever
from mesoslite_agent.sandbox import READ_BYTES_MAX, NotInSandbox, Sandboxes, read

DAY_S = 86_400.0


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    sandboxes = Sandboxes(tmp_path / "sandboxes")
    made = sandboxes.path("f1", "t1", "c1")
    sandboxes.make(made, None)
    return made


def test_a_sandbox_has_its_place_and_its_two_files(tmp_path: Path, sandbox: Path) -> None:
    assert sandbox == tmp_path / "sandboxes/f1/t1/c1"
    assert sorted(path.name for path in sandbox.iterdir()) == ["stderr", "stdout"]
    (sandbox / "stdout").write_text("kept")
    Sandboxes(tmp_path / "sandboxes").make(sandbox, None)
    assert (sandbox / "stdout").read_text() == "kept"


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "a\0", "ü", "x" * 129])
def test_what_cannot_name_a_directory_is_refused(tmp_path: Path, part: str) -> None:
    for ids in ((part, "t", "c"), ("f", part, "c"), ("f", "t", part)):
        with pytest.raises(ValueError, match="cannot name a directory"):
            Sandboxes(tmp_path).path(*ids)


@pytest.mark.parametrize(
    ("offset", "length", "piece"),
    [(0, 5, b"01234"), (8, 5, b"89"), (10, 5, b""), (99, 5, b""), (-3, 2, b"01"), (0, -1, b"")],
)
def test_a_piece_is_read_with_the_size(
    sandbox: Path, offset: int, length: int, piece: bytes
) -> None:
    (sandbox / "stdout").write_text("0123456789")
    assert read(sandbox, "stdout", offset, length) == (piece, 10)


def test_a_piece_has_a_largest_size(sandbox: Path) -> None:
    (sandbox / "stdout").write_bytes(bytes(READ_BYTES_MAX + 5))
    piece, size = read(sandbox, "/./stdout", 0, 10**12)
    assert (len(piece), size) == (READ_BYTES_MAX, READ_BYTES_MAX + 5)


def test_nothing_is_read_through_a_link_or_from_elsewhere(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (sandbox / "link").symlink_to(tmp_path / "secret")
    (sandbox / "folder").symlink_to(tmp_path)
    os.mkfifo(sandbox / "pipe")
    for path in (
        "link",
        "folder/secret",
        "../../../../secret",
        "pipe",
        ".",
        "",
        "a\0b",
        "stdout/x",
    ):
        with pytest.raises(NotInSandbox):
            read(sandbox, path, 0, 10)
    with pytest.raises(FileNotFoundError):
        read(sandbox, "missing", 0, 10)


def aged(tmp_path: Path, container_id: str, age_s: float, now_s: float) -> Path:
    sandboxes = Sandboxes(tmp_path)
    made = sandboxes.path("f1", f"t-{container_id}", container_id)
    sandboxes.make(made, None)
    for path in (made / "stdout", made / "stderr", made):
        os.utime(path, (now_s - age_s, now_s - age_s))
    return made


def test_old_sandboxes_go_and_young_or_kept_ones_stay(tmp_path: Path) -> None:
    now_s = 1e9
    old = aged(tmp_path, "old", 9 * DAY_S, now_s)
    older = aged(tmp_path, "older", 10 * DAY_S, now_s)
    kept = aged(tmp_path, "kept", 9 * DAY_S, now_s)
    young = aged(tmp_path, "young", 30, now_s)
    sandboxes = Sandboxes(tmp_path)
    assert sandboxes.collect(now_s, frozenset({"kept"}), 7 * DAY_S) == [older, old]
    assert kept.exists()
    assert young.exists()
    assert not old.parent.exists()
    assert sandboxes.collect(now_s, frozenset({"kept"}), 7 * DAY_S) == []


def test_a_disk_without_room_shortens_the_age_but_not_below_a_minute(tmp_path: Path) -> None:
    now_s = 1e9
    starting = aged(tmp_path, "starting", 30, now_s)
    ended = aged(tmp_path, "ended", 90, now_s)
    assert Sandboxes(tmp_path).collect(now_s, frozenset(), 0) == [ended]
    assert starting.exists()


def test_what_a_link_in_a_sandbox_leads_to_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    now_s = 1e9
    old = aged(tmp_path / "s", "old", 9 * DAY_S, now_s)
    (old / "link").symlink_to(precious)
    os.utime(old, (now_s - 9 * DAY_S, now_s - 9 * DAY_S))
    assert Sandboxes(tmp_path / "s").collect(now_s, frozenset(), DAY_S) == [old]
    assert (precious / "file").exists()


def test_a_sandbox_nested_deeper_than_python_recurses_is_removed_and_those_after_it(
    tmp_path: Path,
) -> None:
    now_s = 1e9
    deep, next_one = aged(tmp_path, "deep", 9 * DAY_S, now_s), aged(tmp_path, "x", 8 * DAY_S, now_s)
    folder = os.open(deep, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("n" * 20, dir_fd=folder)
        inner = os.open("n" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    os.utime(deep, (now_s - 9 * DAY_S, now_s - 9 * DAY_S))
    assert Sandboxes(tmp_path).collect(now_s, frozenset(), DAY_S) == [deep, next_one]
    assert not list(tmp_path.iterdir())


async def test_no_failure_ends_the_collection_of_sandboxes_and_one_that_lasts_is_told_once() -> (
    None
):
    failing: list[Exception | list[str]] = [
        RecursionError("too deep"), RecursionError("too deep"), OSError("full"), ["a sandbox"],
    ]  # fmt: skip

    async def collect() -> list[str]:
        if not failing:
            raise asyncio.CancelledError
        result = failing.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await collect_for_ever(collect, 0.0)
    assert [line.get("error") or line["count"] for line in lines] == [
        "RecursionError",
        "OSError",
        1,
    ]
