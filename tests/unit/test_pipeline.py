"""The pipeline without its services: the events, the totals, and those who die on the way."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite_pipeline.events import (
    AMOUNT_MAX,
    KEYS,
    Total,
    differences,
    event,
    events,
    expected,
)
from mesoslite_pipeline.hosts import VARIABLE, Hosts
from mesoslite_pipeline.plan import PipelineError, Plan
from mesoslite_pipeline.progress import ATTEMPTS_MAX, Attempts, Gauge, Progress
from mesoslite_services.jars import locked

SEEDS = st.integers(0, (1 << 32) - 1)


# --- events ---------------------------------------------------------------------------------------


@given(SEEDS, st.integers(0, 10**9))
def test_an_event_is_what_its_seed_and_number_say(seed: int, number: int) -> None:
    one = event(seed, number)
    assert one == event(seed, number)
    assert one.key in KEYS
    assert 1 <= one.amount <= AMOUNT_MAX
    assert json.loads(one.text) == {"n": number, "key": one.key, "amount": one.amount}


@given(SEEDS, st.integers(0, 300), st.integers(0, 300))
def test_what_is_expected_is_the_sum_of_the_events_wherever_it_was_cut(
    seed: int, first: int, second: int
) -> None:
    found: dict[str, Total] = {}
    for part in (range(first), range(first, first + second)):
        for one in events(seed, part):
            found[one.key] = found.get(one.key, Total()) + Total(1, one.amount)
    assert expected(seed, range(first + second)) == found


def test_another_seed_is_another_set() -> None:
    assert expected(1, range(1_000)) != expected(2, range(1_000))


def test_a_difference_is_told_by_key() -> None:
    want = {"akka": Total(2, 30), "onyx": Total(1, 5)}
    assert differences(want, dict(want)) == []
    assert differences(want, {"akka": Total(3, 40)}) == [
        "akka: 3 events of 40 in all, instead of 2 of 30",
        "onyx: 0 events of 0 in all, instead of 1 of 5",
    ]


# --- a run ----------------------------------------------------------------------------------------


def test_what_can_not_be_asked_is_said_with_its_flag() -> None:
    good = {"events": 1, "rate": 1, "seed": 0, "brokers": 1, "nodes": 3}
    assert Plan(**good).topic == "events-0-1"
    assert Plan(**good).keyspace == "pipeline_0_1"
    for name, value in (("events", 0), ("rate", 0), ("seed", -1), ("brokers", 4), ("nodes", 0)):
        with pytest.raises(ValueError, match=f"--{name} is "):
            Plan(**{**good, name: value})


def test_attempts_wait_longer_each_time_and_end_unless_something_was_done() -> None:
    attempts = Attempts()
    waits_s = [attempts.failed(0, "it died") for _ in range(ATTEMPTS_MAX)]
    assert waits_s[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(waits_s) == 30.0
    assert attempts.failed(1, "it died") == 1.0
    for _ in range(ATTEMPTS_MAX - 1):
        attempts.failed(1, "it died")
    with pytest.raises(PipelineError, match=r"^11 times in a row .*: it died$"):
        attempts.failed(1, "it died")


def test_a_rate_is_of_the_last_seconds() -> None:
    gauge = Gauge()
    assert gauge.a_second == 0
    for second in range(30):
        gauge.set(100 * second if second < 10 else 1_000 + 500 * (second - 10), float(second))
    assert gauge.a_second == 500


def test_the_top_are_those_of_the_largest_amounts() -> None:
    progress = Progress(10)
    progress.count({"a": Total(5, 1), "b": Total(1, 9), "c": Total(2, 4)}, 1.0)
    assert progress.top(2) == [("b", Total(1, 9)), ("c", Total(2, 4))]
    assert progress.line == "0 events written, 8 of 10 counted, 0 a second"


def test_spark_gets_its_connector_and_nothing_that_it_has() -> None:
    found = locked("mesoslite_pipeline")
    names = [uri.output_file.partition("-")[0] for uri in found.uris() if uri.output_file]
    assert names == ["jars/commons", "jars/kafka", "jars/spark", "jars/spark"]
    assert not {jar.uri.rpartition(":")[0].removeprefix("maven:") for jar in found.jars} & set(
        found.without
    )


# --- hosts ----------------------------------------------------------------------------------------


def test_a_host_is_killed_by_a_line_for_dev(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "commands"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setenv(VARIABLE, str(pipe))
    hosts = Hosts()
    hosts.kill("agent-12")
    hosts.start("agent-12")
    assert os.read(reading, 100) == b"kill-host 12\nstart-host 12\n"
    os.close(reading)
    with pytest.raises(OSError, match="No such device"):  # nobody listens any more
        hosts.kill("agent-12")


def test_no_host_is_killed_where_none_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ValueError, match="mesoslite dev --agents 3 -- "):
        Hosts()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match="mesoslite dev --agents 3 -- "):
        Hosts()


# --- totals ---------------------------------------------------------------------------------------


class Row(NamedTuple):
    """As cassandra-driver gives one."""

    key: str | None
    next: int
    events: int | None
    amount: int | None


class Answer(list[Any]):
    """Of a conditional batch."""

    was_applied = True


class Table:
    """What Cassandra promises of one partition, and how its answers get lost."""

    def __init__(self) -> None:
        self.next = 0
        self.totals: dict[str, Total] = {}
        self.faults: list[str] = []
        """What goes wrong with the next batches: `before` it is done, `after`, or nothing."""

    def set_keyspace(self, _keyspace: str) -> None:
        """Work with its table."""
        from cassandra import OperationTimedOut
        from cassandra.cluster import NoHostAvailable

        match self.faults.pop(0) if self.faults else "":
            case "timeout":
                raise OperationTimedOut
            case "nobody":
                raise NoHostAvailable("nobody", {})

    def execute(self, statement: Any, values: Any = None) -> Answer:
        """One statement."""
        from cassandra import OperationTimedOut
        from cassandra.query import BatchStatement

        if not isinstance(statement, BatchStatement):
            rows = [Row(k, self.next, t.events, t.amount) for k, t in self.totals.items()]
            return Answer(rows or [Row(None, self.next, None, None)])
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise OperationTimedOut
        answer = Answer()
        answer.was_applied = self._apply(
            [text for _, text, _ in statement._statements_and_parameters]
        )
        if fault == "after":
            raise OperationTimedOut
        return answer

    def _apply(self, texts: list[str]) -> bool:
        advance, *writes = texts
        numbers = [int(word) for word in advance.split() if word.isdigit()]
        upto, _, before = numbers
        if before != self.next:
            return False
        self.next = upto
        for write in writes:
            _, key, count, amount = write.partition("VALUES (")[2].rstrip(")").split(", ")
            self.totals[key.strip("'")] = Total(int(count), int(amount))
        return True


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from mesoslite_pipeline import totals

    monkeypatch.setattr(totals, "AGAIN_S", 0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("faults", [[], ["before"], ["after"], ["before", "before", "after"]])
def test_a_change_is_made_once_whatever_becomes_of_its_answers(faults: list[str]) -> None:
    from mesoslite_pipeline.totals import Totals

    table = Table()
    totals = Totals(table, "k")
    totals.read(1)
    table.faults = faults
    totals.add(0, 3, {"akka": Total(2, 20), "onyx": Total(1, 5)})
    totals.add(0, 5, {"akka": Total(2, 7)})
    assert table.totals == {"akka": Total(4, 27), "onyx": Total(1, 5)} == totals.by_key()
    assert (table.next, totals.next) == (5, {0: 5})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_quick")
def test_of_two_who_count_the_slower_one_is_refused() -> None:
    from mesoslite_pipeline.totals import Superseded, Totals

    table = Table()
    old, new = Totals(table, "k"), Totals(table, "k")
    old.read(1)
    new.read(1)
    new.add(0, 4, {"akka": Total(4, 40)})
    with pytest.raises(Superseded):
        old.add(0, 2, {"akka": Total(2, 20)})
    assert table.totals == {"akka": Total(4, 40)}
    new.add(0, 6, {"akka": Total(2, 2)})
    assert table.totals == {"akka": Total(6, 42)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_quick")
def test_a_cassandra_that_does_not_answer_at_once_is_waited_for_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mesoslite_pipeline import totals

    table = Table()
    table.faults = ["timeout", "nobody", "nobody"]
    totals.Totals(table, "k").use()
    assert table.faults == []
    monkeypatch.setattr(totals, "PATIENCE_S_MAX", -1.0)
    table.faults = ["nobody", "nobody"]
    with pytest.raises(totals.NoAnswer, match="nobody"):
        totals.Totals(table, "k").use()


@pytest.mark.filterwarnings("ignore")
def test_who_has_given_up_is_answered_by_the_try_that_is_under_way() -> None:
    from mesoslite_pipeline import totals

    table = Table()
    given_up = threading.Event()
    given_up.set()
    table.faults = ["nobody", "nobody"]
    with pytest.raises(totals.NoAnswer, match="nobody"):
        totals.Totals(table, "k", given_up).use()
    assert table.faults == ["nobody"]
