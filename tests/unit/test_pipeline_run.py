"""A run of the pipeline without its services: when it is over, what is said of it, what dies."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mesoslite import FrameworkError, Reason, Refusal, Resources, Scheduler, TaskState
from mesoslite.testing import Harness, Teardown, offer, status
from mesoslite_pipeline import companions, conduct, outage, scheduler, totals
from mesoslite_pipeline.companions import Companion, Counting
from mesoslite_pipeline.conduct import Conduct, beside, must_come_out, verdict
from mesoslite_pipeline.events import Total, expected
from mesoslite_pipeline.hosts import VARIABLE, Hosts
from mesoslite_pipeline.outage import Outage, attempts_on, not_replaced
from mesoslite_pipeline.plan import PipelineError, Plan
from mesoslite_pipeline.progress import SETTLE_S, STALL_S_MAX, Patience, Progress
from mesoslite_pipeline.scheduler import Pipeline, why_ended
from mesoslite_pipeline.totals import NoAnswer
from mesoslite_services.members import Member, Place
from mesoslite_services.sizes import mib

BIG = 4_096


def plan(events: int) -> Plan:
    return Plan(events=events, rate=100, seed=3, brokers=1, nodes=1)


# --- its end --------------------------------------------------------------------------------------


def test_a_count_is_over_when_nothing_more_came_for_a_while() -> None:
    patience = Patience(10)
    assert not patience.over(9, 0.0)
    assert not patience.over(10, 100.0)
    assert not patience.over(10, 100.0 + SETTLE_S - 0.1)
    assert patience.over(11, 100.0 + SETTLE_S)
    assert patience.over(11, 100.0 + SETTLE_S + 2 * STALL_S_MAX)  # it may wait for something else


def test_a_count_that_stands_still_is_given_up() -> None:
    patience = Patience(10)
    assert not patience.over(0, 0.0)
    assert not patience.over(3, STALL_S_MAX)
    assert not patience.over(3, 2 * STALL_S_MAX)
    with pytest.raises(PipelineError, match=r"^nothing was counted for 300 s: 3 of 10$"):
        patience.over(3, 2 * STALL_S_MAX + 1)


async def test_what_must_come_out_is_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "PIECE_EVENTS", 7)
    assert await must_come_out(plan(45)) == expected(3, range(45))


def test_what_must_come_out_of_very_much_does_not_hold_up_an_end() -> None:
    async def give_up() -> bool:
        counting = asyncio.create_task(must_come_out(plan(1_000_000_000)))  # an hour of a thread
        await asyncio.sleep(0)
        counting.cancel()
        await asyncio.wait([counting])
        return counting.cancelled()

    assert asyncio.run(give_up())  # which waits for the thread


def test_a_verdict_is_on_each_key() -> None:
    want = {"akka": Total(2, 30), "onyx": Total(1, 5)}
    assert verdict(3, want, dict(want)) == (
        "3 events of 2 keys, 35 in all: each counted once, as produced",
        True,
    )
    told, well = verdict(3, want, {"akka": Total(2, 30)})
    assert not well
    assert told.splitlines()[1:] == ["onyx: 0 events of 0 in all, instead of 1 of 5"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PipelineError("not ready"), "not ready"),
        (NoAnswer("no node"), "Cassandra does not answer: no node"),
        (OSError(6, "No such\ndevice"), "the run broke off: OSError: [Errno 6] No such device"),
        (KeyError(), "the run broke off: KeyError"),
    ],
)
def test_whatever_ends_a_run_is_said_in_one_line(error: Exception, line: str) -> None:
    assert why_ended(error) == line


async def test_a_run_that_breaks_off_has_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(self: Conduct, name: str, picture: bool) -> tuple[str, bool]:
        raise ValueError("what nobody\nhas foreseen")

    monkeypatch.setattr(Conduct, "play", broken)
    monkeypatch.setattr(scheduler, "NEEDED", ())  # nothing of it is run
    pipeline = Pipeline(events=10)
    await pipeline.subscribed("1-F1")
    assert pipeline._run is not None
    await pipeline._run
    assert capsys.readouterr().out.splitlines()[-1] == (
        "the run broke off: ValueError: what nobody has foreseen"
    )
    assert pipeline.exit_code == 1


def test_an_end_waits_for_one_try_to_reach_cassandra_and_not_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = threading.Semaphore(0)

    def nobody(_endpoints: str) -> None:
        tries.release()

    async def give_up() -> None:
        conducting = Conduct(plan(10), None, lambda: None)

        async def have_totals() -> None:
            async with conducting._totals():
                raise AssertionError("nobody answers")

        having = asyncio.create_task(have_totals())
        assert await asyncio.to_thread(tries.acquire, timeout=60.0)
        having.cancel()
        with pytest.raises(asyncio.CancelledError):
            await having

    monkeypatch.setattr(totals, "AGAIN_S", 3_600.0)  # a thread that is not told never ends
    monkeypatch.setattr(totals, "_session", nobody)
    asyncio.run(give_up())  # which waits for the thread


# --- what is done meanwhile -----------------------------------------------------------------------


async def test_what_is_done_beside_ends_with_it_and_its_errors_are_raised() -> None:
    ended = []

    async def work(name: str, error: Exception | None = None) -> None:
        try:
            if error is not None:
                raise error
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("ours")

    async with beside(work("a"), work("b")):
        await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]
    with pytest.raises(PipelineError, match="it died"):
        async with beside(work("c"), work("d", PipelineError("it died"))):
            await asyncio.Event().wait()
    with pytest.raises(OSError, match="ours"):
        async with beside(work("e")):
            await fail()
    assert sorted(ended) == ["a", "b", "c", "d", "e"]


# --- a power cut ----------------------------------------------------------------------------------


def member(name: str, hostname: str, attempt: int = 1, up: bool = True) -> Member:
    place = Place("a", hostname, "127.0.0.1", "", Resources(cpus=1))
    return Member(name, 0, place, attempt, up=up)


class World:
    """A cluster whose hosts die by what is written to a pipe, as those of `mesoslite dev` do."""

    def __init__(self, pipe: Path, heeds: bool = True) -> None:
        os.mkfifo(pipe)
        self._reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._heeds = heeds
        self.members = [member("broker-0", "agent-1"), member("broker-1", "agent-2")]
        self.comes_back = True
        self.state = "active"

    def close(self) -> None:
        os.close(self._reading)

    async def states(self) -> Mapping[str, str] | None:
        """What `mesoslite agent ls` says."""
        try:
            lines = os.read(self._reading, 1_000).decode().splitlines() if self._heeds else []
        except BlockingIOError:
            lines = []
        for line in lines:
            self.state = "disconnected" if line == "kill-host 2" else "active"
            if self.state == "active" and self.comes_back:
                self.members[1] = member("broker-1", "agent-2", attempt=2)
        return {"agent-1": "active", "agent-2": self.state}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(outage, "LOOK_S", 0.0)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "pipe"))
    made = World(tmp_path / "pipe")
    yield made
    made.close()


async def test_a_power_cut_is_over_when_what_ran_there_was_replaced(world: World) -> None:
    progress = Progress(10)
    await Outage(Hosts(), progress, 0.0, world.states).cut("agent-2", lambda: world.members)
    assert progress.host == "agent-2 was without power, and is back"
    assert [one.attempt for one in world.members] == [1, 2]


async def test_a_host_that_was_never_away_had_no_power_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "AWAY_S_MAX", 0.0)
    world._heeds = False
    cut = Outage(Hosts(), Progress(10), 0.0, world.states).cut("agent-2", lambda: world.members)
    with pytest.raises(PipelineError, match="agent-2 was to be away, and is active after 0 s"):
        await cut


async def test_a_host_without_what_ran_there_is_not_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.comes_back = False
    cut = Outage(Hosts(), Progress(10), 0.0, world.states).cut("agent-2", lambda: world.members)
    monkeypatch.setattr(outage, "BACK_S_MAX", 0.0)
    with pytest.raises(PipelineError, match="agent-2 is back, and broker-1 is not"):
        await cut


def test_a_member_is_replaced_when_a_later_attempt_of_it_runs() -> None:
    before = attempts_on("h", [member("a", "h", 3), member("b", "h"), member("c", "other")])
    assert before == {"a": 3, "b": 1}
    now = [member("a", "h", 4), member("b", "h", 2, up=False), member("c", "other")]
    assert not_replaced(before, now) == ["b"]
    assert not_replaced(before, [member("a", "h", 3), member("b", "h", 2)]) == ["a"]


# --- the frameworks beside it ---------------------------------------------------------------------


class Idle(Scheduler):
    """Wants nothing."""

    name = "idle"


def run_to(end: Exception | None) -> Any:
    """A session that ends so, at once."""

    async def run(_scheduler: Scheduler) -> None:
        if end is not None:
            raise end

    return run


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (None, ""),
        (FrameworkError(Refusal.FRAMEWORK_REMOVED, "it was torn down"), ""),
        (ConnectionError("no master"), "no master"),
        (KeyError(), "KeyError"),
    ],
)
async def test_why_a_framework_beside_has_ended(end: Exception | None, why: str) -> None:
    companion = Companion(Idle(), run_to(end))
    assert (companion.ended, companion.why_ended) == (False, "")
    assert await companion.until_ended() == why
    assert companion.ended
    await companion.end()  # once more does no harm


async def test_what_a_framework_beside_may_have_left_is_told_with_what_removes_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(_scheduler: Scheduler) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(companions, "END_S_MAX", 0.0)
    caplog.set_level("INFO")
    told = "idle may be there still, with all that it has: mesoslite framework stop idle --release"
    for run in (silent, run_to(ConnectionError("no master"))):
        companion = Companion(Idle(), run)
        await asyncio.sleep(0)  # the session begins
        await companion.end()
        assert companion.ended
        assert caplog.messages == [told]
        caplog.clear()
    removed = Companion(Idle(), run_to(FrameworkError(Refusal.FRAMEWORK_REMOVED, "torn down")))
    await removed.until_ended()
    await removed.end()
    assert caplog.messages == []


async def test_a_framework_beside_is_removed_with_all_that_it_has() -> None:
    asked = []

    class Removed(Idle):
        def teardown(self, *, release: bool = False) -> None:
            asked.append(release)
            removed.set()

    removed = asyncio.Event()

    def run(_scheduler: Scheduler) -> Coroutine[Any, Any, None]:
        async def until_removed() -> None:
            await removed.wait()
            raise FrameworkError(Refusal.FRAMEWORK_REMOVED, "it was torn down")

        return until_removed()

    companion = Companion(Removed(), run)
    await companion.end()
    assert asked == [True]
    assert (companion.ended, companion.why_ended) == (True, "")


def test_a_driver_that_is_not_heard_of_is_replaced_at_once(tmp_path: Path) -> None:
    program = tmp_path / "aggregate.py"
    program.write_text("")
    lock = tmp_path / "jars.lock"
    lock.write_text("")
    driver = Counting(str(program), "--topic", "t", jars=str(lock))
    bench = Harness(driver)
    made = bench.offers(
        offer(cpus=1, mem=BIG, agent_id="a1", hostname="agent-2", request_id="driver")
    )
    [task] = made.launched
    assert task.resources.mem == mib("", "512MiB") + 384 + 256
    assert driver.hostname == ""
    running = status("driver", TaskState.RUNNING, agent_id="a1", reason=Reason.COMMAND_STARTED)
    bench.status(running)
    assert driver.hostname == "agent-2"
    lost = status("driver", TaskState.UNREACHABLE, agent_id="a1", message="its agent is away")
    assert Teardown() in bench.status(lost)
    assert driver.hostname == ""


def test_of_a_driver_that_did_not_end_by_itself_its_agent_says_why(tmp_path: Path) -> None:
    program = tmp_path / "aggregate.py"
    program.write_text("")
    lock = tmp_path / "jars.lock"
    lock.write_text("")
    driver = Counting(str(program), jars=str(lock))
    bench = Harness(driver)
    bench.offers(offer(cpus=1, mem=BIG, request_id="driver"))
    end = status(
        "driver", TaskState.FAILED, reason=Reason.MEMORY_LIMIT, message="1,152 MiB were up"
    )
    assert Teardown() in bench.status(end)
    assert driver.last_words == "1,152 MiB were up"
