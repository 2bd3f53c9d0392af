"""What an agent keeps of each attempt to run a task (docs/post-mortem.md)."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.model import AgentInfo, Reason, Task, TaskStatus
from mesoslite.resources import Resources
from mesoslite.v1 import agent_pb2, common_pb2
from mesoslite_agent import post_mortems
from mesoslite_agent.post_mortems import FILE_NAME, KEPT_MAX, TAIL_BYTES_MAX, TAILS_MAX, PostMortems
from mesoslite_agent.protocol import KeepPostMortem, TaskRecord
from mesoslite_agent.sandbox import Sandboxes
from tests.integration.waiting import until

INFO = AgentInfo("a1", "host-1", Resources(cpus=1))


class Kept:
    """The post-mortems of an agent in a folder, and the sandboxes beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandboxes = Sandboxes(folder / "sandboxes")
        self.now = PostMortems(folder, INFO, self.sandboxes.path)

    def again(self) -> None:
        """The agent ends and starts again."""
        self.now.close()
        self.now = PostMortems(self.folder, INFO, self.sandboxes.path)

    def wrote(self, task_id: str, **outputs: bytes) -> None:
        place = self.sandboxes.path("f1", task_id, f"c-{task_id}")
        self.sandboxes.make(place, None)
        for name, data in outputs.items():
            (place / name).write_bytes(data)

    def found(self, task_id: str, framework_id: str = "") -> list[agent_pb2.PostMortem]:
        answer = agent_pb2.PostMortems.FromString(self.now.find(framework_id, task_id))
        return list(answer.attempts)

    def one(self, task_id: str) -> agent_pb2.PostMortem:
        [attempt] = self.found(task_id)
        return attempt


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    here = Kept(tmp_path)
    yield here
    here.now.close()


def attempt(
    task_id: str,
    state: TaskState = TaskState.FAILED,
    *,
    message: str = "exited with code 3",
    framework_id: str = "f1",
    oom: bool = False,
) -> KeepPostMortem:
    task = Task(task_id, ["sh", "-c", "x" * 5_000], Resources(cpus=0.5, mem=32))
    container_id = f"c-{task_id}"
    record = TaskRecord(framework_id, "ads", task, container_id, "secret")
    life = (
        TaskStatus(task_id, TaskState.RUNNING, framework_id, "a1", "1.1", timestamp_ms=1_000),
        TaskStatus(
            task_id, state, framework_id, "a1", "1.2", reason=Reason.COMMAND_EXITED,
            message=message, timestamp_ms=2_000, container_id=container_id, exit_code=3,
            peak_mem_bytes=4_096, cpu_ms=7,
        ),
    )  # fmt: skip
    return KeepPostMortem(record, life, oom)


async def test_how_an_attempt_went_is_told_whole_also_by_the_next_run(kept: Kept) -> None:
    kept.wrote("t1", stdout=b"out", stderr=b"boom")
    kept.now.keep(attempt("t1", oom=True))
    first = kept.one("t1")
    kept.again()
    told = kept.one("t1")
    assert told == first
    assert (told.framework_id, told.container_id, told.agent_id) == ("f1", "c-t1", "a1")
    assert (told.hostname, told.role, told.oom) == ("host-1", "ads", True)
    assert [status.timestamp_ms for status in told.life] == [1_000, 2_000]
    end = told.life[-1]
    assert end.state == common_pb2.TASK_STATE_FAILED
    assert (end.exit_code, end.peak_mem_bytes, end.cpu_ms) == (3, 4_096, 7)
    assert (told.stdout.tail, told.stderr.tail, told.stderr.size) == (b"out", b"boom", 4)
    assert "secret" not in str(told)


async def test_the_last_of_the_outputs_outlives_the_sandbox(kept: Kept) -> None:
    kept.wrote("t1", stdout=b"a" * 10_000 + b"end", stderr=b"")
    kept.now.keep(attempt("t1"))
    kept.found("t1")
    shutil.rmtree(kept.folder / "sandboxes")
    kept.again()
    told = kept.one("t1")
    assert len(told.stdout.tail) == TAIL_BYTES_MAX
    assert told.stdout.tail.endswith(b"aend")
    assert told.stdout.size == 10_003
    assert told.HasField("stderr")


async def test_without_a_sandbox_the_rest_is_told(kept: Kept) -> None:
    kept.now.keep(attempt("t1"))
    told = kept.one("t1")
    assert told.life[-1].exit_code == 3
    assert not told.HasField("stdout")


async def test_each_is_small_whatever_the_task_was(kept: Kept) -> None:
    kept.wrote("t1", stdout=b"x" * 10**6, stderr=b"y" * 10**6)
    kept.now.keep(attempt("t1", message="m" * 1_024))
    assert kept.one("t1").ByteSize() < 12_000


async def test_those_that_failed_are_not_washed_away_by_those_that_ended_well(kept: Kept) -> None:
    kept.wrote("bad", stderr=b"boom")
    kept.now.keep(attempt("bad"))
    for n in range(KEPT_MAX + TAILS_MAX):
        kept.now.keep(attempt(f"good-{n}", TaskState.FINISHED))
    kept.again()
    kept.now.keep(attempt("good-last", TaskState.FINISHED))
    assert kept.one("bad").stderr.tail == b"boom"
    assert kept.found("good-last")
    assert kept.found(f"good-{KEPT_MAX + TAILS_MAX - 1}")
    assert kept.found(f"good-{TAILS_MAX}") == [], "the oldest go first"


async def test_the_outputs_of_a_crowd_that_ended_well_are_read_when_somebody_asks(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_mortems, "TAILS_MAX", 1)
    for n in range(3):
        kept.wrote(f"t{n}", stdout=b"hello", stderr=b"")
        kept.now.keep(attempt(f"t{n}", TaskState.FINISHED))
    kept.again()
    assert [kept.one(f"t{n}").stdout.tail for n in range(3)] == [b"hello"] * 3
    shutil.rmtree(kept.folder / "sandboxes")
    assert [kept.one(f"t{n}").HasField("stdout") for n in range(3)] == [True, False, False]


async def test_what_is_told_twice_is_kept_once(kept: Kept) -> None:
    for _ in range(2):
        kept.now.keep(attempt("t1"))
        kept.again()
    assert len(kept.found("t1")) == 1


async def test_tasks_of_one_name_are_told_apart_by_their_framework(kept: Kept) -> None:
    kept.now.keep(attempt("t1"))
    [other] = [attempt("t1", framework_id="f2")]
    record = TaskRecord("f2", "ads", other.record.task, "c-other", "secret")
    kept.now.keep(KeepPostMortem(record, other.life, False))
    assert [one.framework_id for one in kept.found("t1", "f2")] == ["f2"]
    assert {one.framework_id for one in kept.found("t1")} == {"f1", "f2"}
    assert kept.found("t1", "f3") == []


async def test_a_damaged_file_is_put_aside_and_costs_nothing_but_the_evidence(
    tmp_path: Path,
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"nonsense" * 1_000)
    kept = Kept(tmp_path)
    kept.now.keep(attempt("t1"))
    assert kept.found("t1")
    kept.now.close()
    assert (tmp_path / "post-mortems.damaged").read_bytes() == b"nonsense" * 1_000


async def test_what_cannot_be_written_is_told_all_the_same_and_written_later(
    kept: Kept,
) -> None:
    file = kept.folder / FILE_NAME
    file.mkdir()
    kept.now.keep(attempt("t1"))
    assert kept.found("t1")
    file.rmdir()
    kept.again()
    assert kept.found("t1")


async def test_what_failed_is_written_soon_and_what_ended_well_later(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_mortems, "WRITE_INTERVAL_S", 0.01)
    monkeypatch.setattr(post_mortems, "WELL_INTERVAL_S", 600.0)

    def written() -> set[str]:
        try:
            with contextlib.closing(sqlite3.connect(kept.folder / FILE_NAME)) as file:
                return {task_id for (task_id,) in file.execute("SELECT task_id FROM attempts")}
        except sqlite3.Error:
            return set()  # not made yet

    kept.now.keep(attempt("first", TaskState.FINISHED))
    await until(lambda: written() == {"first"})
    for n in range(TAILS_MAX + 1):
        kept.now.keep(attempt(f"good-{n}", TaskState.FINISHED))
    kept.now.keep(attempt("bad"))
    await until(lambda: written() == {"first", "bad"})
    assert kept.found("good-0"), "who asks is told"
