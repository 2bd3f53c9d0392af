"""The loop: batches, deadlines, one commit before anything is performed, back-pressure."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mesoslite.clock import Clock
from mesoslite.loop import CommitError, Health, Inbox, drive
from mesoslite.measures import LoopMeasures
from tests.integration.waiting import until


@dataclass
class Echo:
    """A machine that says what it heard; a tick is heard when it was due."""

    due_ms: int | None = None

    def handle(self, event: str) -> list[str]:
        if event.startswith("tick "):
            now_ms = int(event.removeprefix("tick "))
            if self.due_ms is None or now_ms < self.due_ms:
                return []
            self.due_ms = None
            return ["due"]
        return [event]

    def handle_all(self, events: Sequence[str]) -> list[str]:
        return [effect for event in events for effect in self.handle(event)]

    def next_deadline_ms(self) -> int | None:
        return self.due_ms


@dataclass
class Disk:
    """Commits that fail as often as they are told to."""

    failures: int = 0
    commits: list[list[str]] = field(default_factory=list)

    async def commit(self, effects: Sequence[str]) -> None:
        if self.failures:
            self.failures -= 1
            raise CommitError("the disk is full")
        self.commits.append(list(effects))


def tick(now_ms: int) -> str:
    return f"tick {now_ms}"


def driven(
    inbox: Inbox[str],
    disk: Disk,
    performed: list[str],
    *,
    due_ms: int | None = None,
    health: Health | None = None,
    batch_max: int = 100,
    deadline_s: float | None = None,
    measures: LoopMeasures | None = None,
) -> asyncio.Task[None]:
    return asyncio.create_task(
        drive(
            Echo(due_ms),
            inbox,
            tick,
            disk.commit,
            performed.append,
            Clock().now_ms,
            health=health,
            measures=measures,
            batch_max=batch_max,
            commit_deadline_s=deadline_s,
        )
    )


def new_inbox(events_max: int = 1_000) -> Inbox[str]:
    return Inbox(Clock().now_ms, events_max)


async def test_what_is_there_is_one_batch_with_one_commit_before_it_is_performed() -> None:
    inbox, disk, performed = new_inbox(), Disk(), list[str]()
    for event in "abc":
        inbox.post(event)
    inbox.close()
    await driven(inbox, disk, performed)
    assert disk.commits == [["a", "b", "c"]]
    assert performed == ["a", "b", "c"]


async def test_a_long_queue_is_cut_into_batches() -> None:
    inbox, disk, performed = new_inbox(), Disk(), list[str]()
    for event in "abcde":
        inbox.post(event)
    inbox.close()
    await driven(inbox, disk, performed, batch_max=2)
    assert disk.commits == [["a", "b"], ["c", "d"], ["e"]]


async def test_each_turn_is_measured_once() -> None:
    inbox, measures = new_inbox(), LoopMeasures()
    due_ms = Clock().now_ms() + 30
    performed: list[str] = []
    running = driven(inbox, Disk(), performed, due_ms=due_ms, batch_max=2, measures=measures)
    await until(lambda: performed == ["due"])
    for event in "abcde":
        inbox.post(event)
    inbox.close()
    await running
    assert (measures.events, measures.batch.count, measures.batch.total) == (5, 3, 5)
    assert measures.turn.count == 3  # the deadline brought no event that could have waited
    assert measures.handled.count == measures.ticked.count == 4
    assert 0 < measures.ticked.total < measures.handled.total


async def test_a_deadline_comes_without_any_event_and_never_early() -> None:
    inbox, performed = new_inbox(), list[str]()
    now_ms = Clock().now_ms
    due_ms = now_ms() + 30
    running = driven(inbox, Disk(), performed, due_ms=due_ms)
    await until(lambda: performed == ["due"])
    assert now_ms() >= due_ms
    inbox.close()
    await running


async def test_time_is_told_before_what_comes_after_a_long_silence() -> None:
    """Else what an event sets in motion would count from the last time anything happened."""
    heard: list[str] = []

    class Listener:
        def handle(self, event: str) -> list[str]:
            heard.append(event.partition(" ")[0])
            return []

        def handle_all(self, events: Sequence[str]) -> list[str]:
            return [effect for event in events for effect in self.handle(event)]

        def next_deadline_ms(self) -> None:
            return None

    inbox = new_inbox()
    inbox.post("a")
    inbox.close()
    await drive(Listener(), inbox, tick, Disk().commit, lambda _: None, Clock().now_ms)
    assert heard == ["tick", "a", "tick"]


async def test_a_failed_commit_is_tried_again_unchanged_and_nothing_is_performed_meanwhile() -> (
    None
):
    inbox, disk, performed, health = new_inbox(), Disk(failures=2), list[str](), Health()
    running = driven(inbox, disk, performed, health=health)
    inbox.post("a")
    await until(lambda: health.why_not.startswith("the disk is full; tried for 0 s"))
    inbox.post("b")
    assert performed == []
    await until(lambda: performed == ["a", "b"])
    assert disk.commits == [["a"], ["b"]]
    assert health.ready
    inbox.close()
    await running


async def test_a_commit_that_fails_past_the_deadline_ends_the_loop_with_nothing_performed() -> None:
    inbox, performed = new_inbox(), list[str]()
    inbox.post("a")
    with pytest.raises(CommitError, match="the disk is full; tried for 0 s"):
        await driven(inbox, Disk(failures=1_000), performed, deadline_s=0.1)
    assert performed == []


async def test_givers_wait_for_room_in_the_order_they_came() -> None:
    inbox = new_inbox(events_max=2)
    await inbox.put(["a", "b"])
    givers = [asyncio.create_task(inbox.put([event])) for event in "cd"]
    await asyncio.sleep(0)
    assert inbox.full
    assert not any(giver.done() for giver in givers)
    inbox.post("posted")  # what the daemon says itself does not wait
    assert await inbox.take(2, None) == ["a", "b"]
    assert await inbox.take(1, None) == ["posted"]
    await asyncio.gather(*givers)
    assert await inbox.take(10, None) == ["c", "d"]


async def test_a_giver_that_gives_up_takes_nobody_elses_turn() -> None:
    inbox = new_inbox(events_max=1)
    await inbox.put(["a"])
    gone, stays = (asyncio.create_task(inbox.put([event])) for event in "bc")
    await asyncio.sleep(0)
    gone.cancel()
    assert await inbox.take(1, None) == ["a"]
    await stays
    assert await inbox.take(1, None) == ["c"]


async def test_a_patient_event_is_taken_with_the_next_one_in_its_place() -> None:
    inbox = new_inbox()
    taking = asyncio.create_task(inbox.take(10, None))
    await asyncio.sleep(0)
    inbox.post_patiently("phase")
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.post("end")
    assert await taking == ["phase", "end"]


async def test_a_patient_event_comes_by_itself_when_no_other_does() -> None:
    inbox = new_inbox()
    taking = asyncio.create_task(inbox.take(10, None))
    await asyncio.sleep(0)
    inbox.post_patiently("phase")
    assert await asyncio.wait_for(taking, 30) == ["phase"]
    inbox.post_patiently("another")  # nobody waits: it is there when somebody asks
    assert await inbox.take(10, None) == ["another"]


async def test_settled_waits_until_everything_before_it_was_performed() -> None:
    inbox, performed = new_inbox(), list[str]()
    running = driven(inbox, Disk(failures=1), performed)
    inbox.post("a")
    await inbox.settled()
    assert performed == ["a"]
    await inbox.settled()  # nothing is in: at once
    inbox.close()
    await running


async def test_a_closed_inbox_takes_nothing_more_and_frees_who_waits() -> None:
    inbox = new_inbox(events_max=1)
    await inbox.put(["a"])
    giver = asyncio.create_task(inbox.put(["b"]))
    await asyncio.sleep(0)
    inbox.close()
    await giver
    inbox.post("c")
    assert len(inbox) == 1


def test_the_clock_never_goes_back() -> None:
    now_ms = Clock().now_ms
    times = [now_ms() for _ in range(1_000)]
    assert times == sorted(times)
