"""Directories of volumes: made for good, moved away and deleted, never another one's."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesoslite_agent import tending
from mesoslite_agent.holdings import folder_of
from mesoslite_agent.measuring import Measuring, Walk
from mesoslite_agent.protocol import DirectoryRemoved
from mesoslite_agent.tending import Tending
from mesoslite_agent.volumes import VolumeGone, Volumes

OWN = (os.geteuid(), os.getegid())
NOBODY = 65_534
WAIT_S_MAX = 30.0


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
    assert not list(volumes.removed.iterdir())


def test_a_volume_is_made_also_while_the_last_one_of_its_role_is_deleted(volumes: Volumes) -> None:
    with ThreadPoolExecutor(2) as threads:
        for number in range(300):
            volumes.make(f"kafka/data.{number}")
            removed = threads.submit(volumes.remove, f"kafka/data.{number}")
            made = threads.submit(volumes.make, f"kafka/more.{number}x")
            assert removed.result()
            made.result()
            assert volumes.is_there(f"kafka/more.{number}x")
            assert volumes.remove(f"kafka/more.{number}x")


def test_a_volume_of_the_longest_names_is_deleted(volumes: Volumes) -> None:
    directory = f"{'r' * 217}/{'v' * 128}.a-1-1"
    volumes.make(directory)
    assert volumes.remove(directory)
    assert not list(volumes.removed.iterdir())


def test_a_volume_with_paths_longer_than_the_kernel_takes_is_deleted(volumes: Volumes) -> None:
    volumes.make("kafka/data.1")
    folder = os.open(volumes.open("kafka/data.1", OWN), os.O_RDONLY)
    for _ in range(30):  # of 200 bytes each: 6,000, and PATH_MAX is 4,096
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.mkdir("n" * 200, dir_fd=folder)
        inner = os.open("n" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    assert volumes.remove("kafka/data.1")
    assert not list(volumes.removed.iterdir())


def test_a_volume_is_deleted_also_where_volumes_have_a_file_system_of_their_own(
    tmp_path: Path, volumes: Volumes
) -> None:
    other = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        volumes.root.symlink_to(other)  # as good as a mount: nothing can be moved out of it
        volumes.make("kafka/data.1")
        (volumes.open("kafka/data.1", OWN) / "file").write_text("x")
        assert volumes.remove("kafka/data.1")
        assert [path.name for path in other.rglob("*")] == [".removed"]
        assert [path.name for path in tmp_path.iterdir()] == ["volumes"]
    finally:
        shutil.rmtree(other)


def test_what_an_earlier_version_was_still_deleting_is_deleted(volumes: Volumes) -> None:
    for name in ("1", "2"):
        (volumes.formerly / name / "deep").mkdir(parents=True)
    assert volumes.remove("kafka/data.1")
    assert [path.name for path in volumes.formerly.iterdir()] == ["2"]
    assert volumes.remove("kafka/data.2")
    assert not volumes.formerly.exists()


def test_what_is_being_deleted_is_no_volume_that_nobody_knows(volumes: Volumes) -> None:
    volumes.make("kafka/data.1")
    (volumes.open("kafka/data.1", OWN) / "file").write_text("x")
    assert not volumes.remove("kafka/data.1", lambda: False)
    assert volumes.unknown(()) == []
    assert (volumes.removed / "1" / "file").exists()
    assert "." not in folder_of(".removed")


@pytest.fixture
def users() -> Iterator[Volumes]:
    """Volumes of an agent that is not root's."""
    folder = Path(tempfile.mkdtemp())
    if root := os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield Volumes.of(folder)
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o700])
def test_a_task_that_has_locked_everybody_out_does_not_keep_its_volume(
    users: Volumes, mode: int
) -> None:
    users.make("kafka/data.1")
    path = users.open("kafka/data.1", OWN)
    (path / "deep" / "deeper").mkdir(parents=True)
    (path / "deep" / "deeper" / "file").touch()
    for folder in (path / "deep" / "deeper", path / "deep", path):
        folder.chmod(mode)
    assert users.remove("kafka/data.1")
    assert not users.is_there("kafka/data.1")
    assert not list(users.removed.iterdir())


@pytest.mark.parametrize("owners", ["volumes", "users"])
def test_a_volume_whose_directory_is_a_link_is_not_there_and_only_the_link_is_deleted(
    request: pytest.FixtureRequest, owners: str
) -> None:
    volumes: Volumes = request.getfixturevalue(owners)
    other = volumes.root.parent / "other"
    other.mkdir()
    (other / "kept").write_text("x")
    volumes.make("kafka/data.1")
    path = volumes.open("kafka/data.1", OWN)
    path.rmdir()
    path.symlink_to(other)
    assert not volumes.is_there("kafka/data.1")
    with pytest.raises(VolumeGone, match="no directory any more"):
        volumes.open("kafka/data.1", OWN)
    assert volumes.remove("kafka/data.1")
    assert not path.is_symlink()
    assert not list(volumes.removed.iterdir())
    assert (other / "kept").exists()


def test_links_in_a_volume_are_deleted_and_where_they_lead_nothing_changes(users: Volumes) -> None:
    other = users.root.parent / "other"
    other.mkdir(mode=0o500)
    users.make("kafka/data.1")
    (users.open("kafka/data.1", OWN) / "current").symlink_to(other)
    assert users.remove("kafka/data.1")
    assert other.stat().st_mode & 0o777 == 0o500


class Reluctant(Volumes):
    """What it deletes it deletes the second time."""

    __slots__ = ()
    failures = iter([NotImplementedError("not on this host"), None])

    def remove(self, directory: str, go_on: Callable[[], bool] = lambda: True) -> bool:
        """As it says."""
        if (failure := next(self.failures)) is not None:
            raise failure
        return super().remove(directory, go_on)


async def test_a_removal_that_fails_in_whatever_way_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "AGAIN_S", 0.0)
    told: asyncio.Queue[object] = asyncio.Queue()
    volumes = Reluctant.of(tmp_path)
    volumes.make("kafka/data.1")
    tends = Tending(volumes, list, told.put_nowait)
    tends.remove("kafka/data.1")
    assert await asyncio.wait_for(told.get(), WAIT_S_MAX) == DirectoryRemoved("kafka/data.1")
    await tends.close()
    assert not volumes.is_there("kafka/data.1")


def test_a_removal_that_was_cut_short_is_finished_by_the_next(
    tmp_path: Path, volumes: Volumes
) -> None:
    volumes.make("kafka/data.1")
    (tmp_path / "volumes/kafka/data.1/file").write_text("x")
    volumes.removed.mkdir()
    (tmp_path / "volumes/kafka/data.1").rename(volumes.removed / "1")
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
    assert len(list((volumes.removed / "1").iterdir())) == 2
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
