"""Directories of volumes: made for good, moved away and deleted, never another one's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesoslite_agent.measuring import Measuring, Walk
from mesoslite_agent.volumes import VolumeGone, Volumes

OWN = (os.geteuid(), os.getegid())


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes.of(tmp_path)


def test_a_volume_that_was_made_is_there_and_making_it_again_changes_nothing(
    volumes: Volumes,
) -> None:
    volumes.make("kafka/data.1")
    path = volumes.open("kafka/data.1", OWN)
    (path / "log").write_text("kept")
    volumes.make("kafka/data.1")
    assert (volumes.open("kafka/data.1", OWN) / "log").read_text() == "kept"
    assert path.stat().st_mode & 0o777 == 0o700


def test_one_whose_directory_is_gone_is_an_error_and_never_made_anew(volumes: Volumes) -> None:
    volumes.make("kafka/data.1")
    volumes.open("kafka/data.1", OWN).rmdir()
    assert not volumes.is_there("kafka/data.1")
    with pytest.raises(VolumeGone, match="gone, with its data"):
        volumes.open("kafka/data.1", OWN)


def test_a_volume_is_deleted_with_all_that_is_in_it_and_nothing_else_is(
    tmp_path: Path, volumes: Volumes
) -> None:
    for name in ("kafka/data.1", "kafka/data.2"):
        volumes.make(name)
        (tmp_path / "volumes" / name / "deep").mkdir()
        (tmp_path / "volumes" / name / "deep" / "file").write_text("x")
    (tmp_path / "volumes/kafka/data.1/link").symlink_to(tmp_path / "volumes/kafka/data.2")
    volumes.remove("kafka/data.1")
    volumes.remove("kafka/data.1")
    assert not volumes.is_there("kafka/data.1")
    assert (tmp_path / "volumes/kafka/data.2/deep/file").exists()
    assert not list((tmp_path / "volumes.removed").iterdir())


def test_a_removal_that_was_cut_short_is_finished_by_the_next(
    tmp_path: Path, volumes: Volumes
) -> None:
    volumes.make("kafka/data.1")
    (tmp_path / "volumes/kafka/data.1/file").write_text("x")
    volumes.removed.mkdir()
    (tmp_path / "volumes/kafka/data.1").rename(volumes.removed / "kafka-data.1")
    volumes.remove("kafka/data.1")
    assert not list(volumes.removed.iterdir())


def test_a_removal_may_be_stopped_in_the_middle_and_goes_on_later(
    tmp_path: Path, volumes: Volumes
) -> None:
    volumes.make("kafka/data.1")
    for name in "abc":
        (tmp_path / "volumes/kafka/data.1" / name).touch()
    answers = iter([True, False])
    assert not volumes.remove("kafka/data.1", lambda: next(answers))
    assert not volumes.is_there("kafka/data.1")
    assert len(list((volumes.removed / "kafka-data.1").iterdir())) == 2
    assert volumes.remove("kafka/data.1")
    assert not list(volumes.removed.iterdir())


def test_what_nobody_knows_is_told_and_left_unless_it_is_empty(
    tmp_path: Path, volumes: Volumes
) -> None:
    for name in ("kafka/data.1", "kafka/data.2", "ads/empty.3"):
        volumes.make(name)
    (tmp_path / "volumes/kafka/data.2/file").write_text("somebody's")
    assert volumes.unknown({"kafka/data.1"}) == [tmp_path / "volumes/kafka/data.2"]
    assert volumes.is_there("kafka/data.1")
    assert not volumes.is_there("ads/empty.3")


def blocks(path: Path) -> int:
    return sum(found.lstat().st_blocks * 512 for found in path.rglob("*") if found.name != "again")


def test_what_a_directory_takes_is_what_its_files_take_each_counted_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "a" / "b").mkdir(parents=True)
    for number in range(20):
        (data / "a" / "b" / f"file{number}").write_bytes(bytes(5_000))
    os.link(data / "a/b/file0", data / "again")
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    (data / "link").symlink_to(tmp_path / "big")
    with (data / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    walk = Walk(str(data))
    assert walk.go_on(1_000) > 0
    assert walk.used_bytes == blocks(data) < 1 << 20


def test_a_look_is_bounded_and_the_next_one_goes_on(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, files in ((small, 1), (large, 30)):
        folder.mkdir()
        for number in range(files):
            (folder / str(number)).write_bytes(bytes(5_000))
    measuring = Measuring()
    measuring.watch([str(small), str(large)])
    looks = [measuring.look(10) for _ in range(4)]
    assert looks[0] == {str(small): blocks(small)}
    assert [bool(look) for look in looks] == [True, False, False, True]
    assert looks[3][str(large)] == blocks(large)


def test_one_look_measures_none_twice_and_forgets_what_is_watched_no_more(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    a, b, c = (str(tmp_path / name) for name in "abc")
    measuring = Measuring()
    assert measuring.look() == {}
    measuring.watch([a, b])
    assert measuring.look() == {a: 0, b: 0}
    measuring.watch([b, c])
    assert measuring.look() == {b: 0, c: 0}
    measuring.watch([])
    assert measuring.look() == {}


def test_a_directory_that_goes_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
    walk = Walk(str(tmp_path / "data"))
    walk.go_on(4)
    for number in range(3):
        (tmp_path / "data" / str(number)).rmdir()
    assert walk.go_on(100) > 0
