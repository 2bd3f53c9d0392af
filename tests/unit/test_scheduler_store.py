"""The store as a scheduler sees it: both ways to wait, what it raises, and how its calls travel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mesoslite import (
    Entry,
    Offer,
    Refusal,
    Resources,
    Scheduler,
    StoreClosed,
    StoreConflict,
    StoreFull,
    Task,
    TaskState,
)
from mesoslite.messages import (
    Accept,
    ListStore,
    Offers,
    ReadStore,
    Refused,
    SchedulerCall,
    StoreAnswer,
    Subscribed,
    WriteStore,
)
from mesoslite.model import FrameworkInfo, StoreWrite
from mesoslite.scheduler.protocol import (
    CallStore,
    Decided,
    Effect,
    Event,
    MasterSpoke,
    Stop,
    StoreAnswered,
    StoreCalled,
    StreamLost,
    StreamOpened,
    Teardown,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.session import Session, SessionConfig
from mesoslite.scheduler.streaming import TEARDOWN_WAIT_MS
from mesoslite.testing import Harness, SessionHarness, Simulation, offer, status

SMALL = Resources(cpus=1, mem=32)


class Counter(Scheduler):
    """Counts its starts in the store."""

    name = "counter"
    started = 0


class AsyncCounter(Counter):
    """In a coroutine."""

    async def subscribed(self, framework_id: str) -> None:
        entry = await self.store.get("starts")
        self.started = 1 if entry is None else int(entry.value) + 1
        version = 0 if entry is None else entry.version
        await self.store.put("starts", b"%d" % self.started, version)


class PlainCounter(Counter):
    """In a plain callback."""

    def subscribed(self, framework_id: str) -> None:
        entry = self.store.get("starts").wait()
        self.started = 1 if entry is None else int(entry.value) + 1
        self.store.put("starts", b"%d" % self.started).wait()


@pytest.mark.parametrize("kind", [AsyncCounter, PlainCounter])
def test_a_harness_has_a_store_that_answers_at_once(kind: type[Counter]) -> None:
    bench = Harness(kind())
    bench.subscribed()
    bench.subscribed()
    assert bench.entries == {"starts": Entry(b"2", 2)}


def test_keys_are_listed_removed_and_conflicts_carry_what_is_there() -> None:
    scheduler = Counter()
    bench = Harness(scheduler)
    store = scheduler.store
    assert store.put("a/1", b"x", 0).wait() == 1
    assert store.put("a/2", b"y").wait() == 2
    assert store.keys("a/").wait() == ["a/1", "a/2"]
    with pytest.raises(StoreConflict) as caught:
        store.delete("a/1", version=7).wait()
    assert (caught.value.key, caught.value.found) == ("a/1", 1)
    assert store.delete("a/1", version=1).wait() == 3
    for number in range(999):
        store.put(f"n{number}", b"").wait()
    with pytest.raises(StoreFull):
        store.put("more", b"").wait()
    assert len(bench.entries) == 1_000


@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 257])
def test_a_key_that_can_not_be_is_refused_at_once(wrong: str) -> None:
    scheduler = Counter()
    Harness(scheduler)
    with pytest.raises(ValueError, match="printable"):
        scheduler.store.get(wrong)
    with pytest.raises(ValueError, match="printable"):
        scheduler.store.put(wrong, b"")


def test_a_value_is_bytes_and_not_too_many() -> None:
    scheduler = Counter()
    Harness(scheduler)
    with pytest.raises(TypeError, match="bytes"):
        scheduler.store.put("k", "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="65,536"):
        scheduler.store.put("k", b"x" * 70_000)


def test_there_is_no_store_before_the_scheduler_is_run() -> None:
    with pytest.raises(RuntimeError, match="while the scheduler is run"):
        Counter().store.get("k")


def test_waiting_on_the_loop_that_brings_the_answer_raises_instead_of_hanging() -> None:
    scheduler = Counter()
    scheduler.store._open(lambda _: None)

    async def wrong() -> None:
        scheduler.store.get("k").wait()

    with pytest.raises(RuntimeError, match="await it"):
        asyncio.run(wrong())


def test_waiting_in_a_simulation_raises_instead_of_hanging() -> None:
    class Waits(Counter):
        def subscribed(self, framework_id: str) -> None:
            self.store.get("k").wait()

    cluster = Simulation(seed=1, agents=1, resources="cpus:1;mem:64")
    cluster.add(Waits)
    with pytest.raises(RuntimeError, match="time is virtual"):
        cluster.run(seconds=30)


def test_a_coroutine_awaits_the_store_of_a_simulated_master() -> None:
    cluster = Simulation(seed=1, agents=1, resources="cpus:1;mem:64")
    node = cluster.add(AsyncCounter)
    cluster.run(seconds=30)
    cluster.crash("counter", down_s=1)
    assert cluster.run_until(lambda _: getattr(node.scheduler, "started", 0) == 2, seconds=60)


def test_writes_ride_on_a_launch() -> None:
    class Brokers(Scheduler):
        name = "brokers"

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            one = Task("b0", ["true"], SMALL)
            self.launch(offers[0], one, store={"broker-0": (b"b0", 0), "old": None})

    bench = SessionHarness(Brokers())
    bench.subscribe()
    [accept] = [call for call in bench.hears(Offers((offer(),))) if isinstance(call, Accept)]
    assert accept.writes == (StoreWrite("broker-0", b"b0", 0), StoreWrite("old", None))
    wrongs: list[Any] = [{"k": "text"}, {"k": (b"", "1")}, [b"k"]]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            bench.scheduler.launch(offer(), Task("b1", ["true"], SMALL), store=wrong)
    many = {f"k{n}": b"" for n in range(101)}
    with pytest.raises(ValueError, match="at most 100 entries"):
        bench.scheduler.launch(offer(), Task("b1", ["true"], SMALL), store=many)


def test_what_a_launch_writes_is_in_the_store_of_the_harness() -> None:
    bench = Harness(Counter())
    bench.scheduler.launch(offer(), Task("a", ["true"], SMALL), store={"k": (b"a", 0)})
    bench.scheduler.launch(offer(), Task("b", ["true"], SMALL), store={"k": (b"b", 0)})
    assert bench.entries == {"k": Entry(b"a", 1)}
    assert len(bench.decisions().launched) == 2
    assert bench.scheduler.store.get("k").wait() == Entry(b"a", 1)


def test_the_example_of_the_docs_does_what_it_says() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/store.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "example"}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - it is our own
    bench = Harness(names["Brokers"]())
    bench.subscribed()
    bench.offers(offer(), offer(agent_id="a2"))
    assert {key: entry.value for key, entry in bench.entries.items()} == {
        "broker-0": b"broker-0-1",
        "broker-1": b"broker-1-2",
        "attempts": b"2",
    }
    bench.status(status("broker-0-1", TaskState.FAILED))
    bench.subscribed()
    [again] = bench.offers(offer()).launched
    assert again.task_id == "broker-0-3"
    bench.status(status("broker-0-1", TaskState.FAILED))
    assert bench.entries["broker-0"].value == b"broker-0-3"


# --- the session ----------------------------------------------------------------------------------


class Line:
    """A session that is told what to do, and says what it does."""

    def __init__(self) -> None:
        self.session = Session(SessionConfig(FrameworkInfo("f"), "s1"))
        self.open()

    def open(self) -> list[SchedulerCall]:
        return self.said(StreamOpened(), MasterSpoke(1, Subscribed("1-F1")))

    def effects(self, *events: Event) -> list[Effect]:
        effects = [effect for event in events for effect in self.session.handle(event)]
        effects += self.session.handle(Tick(0))
        self.session.check()
        return effects

    def said(self, *events: Event) -> list[SchedulerCall]:
        return [effect.call for effect in self.effects(*events) if isinstance(effect, ToMaster)]

    def store(self, *events: Event) -> list[SchedulerCall]:
        of_store = ReadStore | ListStore | WriteStore
        return [call for call in self.said(*events) if isinstance(call, of_store)]


def called(call: StoreCalled) -> Event:
    return Decided(CallStore(call))


def answered(number: int) -> Event:
    return MasterSpoke(1, StoreAnswer(number))


READS: tuple[StoreCalled, ...] = (ReadStore(1, "a"), ListStore(2, ""))
WRITES: tuple[StoreCalled, ...] = (
    WriteStore(3, (StoreWrite("a", b""),)),
    WriteStore(4, (StoreWrite("a", None),)),
)
LAST = ReadStore(5, "a")


def test_reads_go_together_and_each_write_goes_alone() -> None:
    line = Line()
    assert line.store(*map(called, (*READS, *WRITES, LAST))) == [*READS]
    assert line.store(answered(1)) == []
    assert line.store(answered(2)) == [WRITES[0]]
    assert line.store(answered(3)) == [WRITES[1]]
    assert line.store(answered(4)) == [LAST]


def test_what_was_not_answered_is_said_again_on_the_next_stream() -> None:
    line = Line()
    line.store(*map(called, WRITES))
    line.effects(StreamLost("cut"))
    assert [c for c in line.open() if isinstance(c, WriteStore)] == [WRITES[0]]
    effects = line.effects(answered(3), answered(3))
    assert [e for e in effects if isinstance(e, StoreAnswered)] == [StoreAnswered(StoreAnswer(3))]


def test_a_callback_that_waits_for_the_store_is_not_what_stops_the_reading() -> None:
    """Else its answer would wait behind what is not read."""
    line = Line()
    line.session.tables.queue.extend([None] * 5_000)  # type: ignore[list-item]
    assert line.session.congested
    line.session.tables.store_calls.add(READS[0])
    assert not line.session.congested


@pytest.mark.parametrize(
    "ends",
    [
        (StreamLost("cut"), Decided(Stop())),
        (Decided(Stop()), StreamLost("cut")),
        (MasterSpoke(1, Refused(Refusal.FENCED)),),
        (Decided(Teardown()), MasterSpoke(1, Refused(Refusal.FRAMEWORK_REMOVED))),
        (Decided(Teardown()), StreamLost("cut")),
        (Decided(Teardown()), Tick(TEARDOWN_WAIT_MS)),
    ],
)
def test_nobody_waits_for_an_answer_that_no_master_will_give(ends: tuple[Event, ...]) -> None:
    line = Line()
    effects = line.effects(*map(called, WRITES), *ends)
    given_up = [e.answer.number for e in effects if isinstance(e, StoreAnswered)]
    assert given_up == [3, 4]
    late = line.effects(called(LAST))
    assert [e.answer.number for e in late if isinstance(e, StoreAnswered)] == [5]


def test_the_end_of_the_run_ends_all_calls() -> None:
    scheduler = Counter()
    scheduler.store._open(lambda _: None)
    call = scheduler.store.put("k", b"")
    scheduler.store._close()
    with pytest.raises(StoreClosed):
        call.wait()
    assert call.done
