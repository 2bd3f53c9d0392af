"""The two ends of Kafka in the pipeline: what writes the events, and what adds them up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from mesoslite_pipeline.aggregate import Addition, additions, not_counted
from mesoslite_pipeline.events import Total, event, events
from mesoslite_pipeline.ingest import Writer, count_of, pieces

SEED = 5
EVENTS = 40
RATE = 14  # so seven in a transaction
FULL_AT = 3  # events that a producer takes before it has to be given time


class Kafka:
    """What Kafka promises of a topic that one transactional producer writes to."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        """Committed ones, in order."""
        self.count = confluent_kafka.OFFSET_INVALID
        """The offset that was committed with them; below 0: none was."""
        self.faults: list[str] = []
        """What goes wrong with the next commits: the answer is lost and may be asked for again, or
        the producer dies; each before the commit or after it."""
        self.newest: Producer | None = None


class Died(Exception):
    """The process of a producer is no more."""


class Producer:
    """A producer of confluent-kafka's, as far as it is used."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._open: list[bytes] = []
        self._offset: int | None = None
        self._queued = 0

    def init_transactions(self, _s_max: float) -> None:
        """Whoever was the producer before is so no longer."""
        self._kafka.newest = self

    def begin_transaction(self) -> None:
        self._open, self._offset = [], None

    def produce(self, _topic: str, *, key: str, value: bytes) -> None:
        if self._queued == FULL_AT:
            raise BufferError
        self._queued += 1
        assert f'"{key}"'.encode() in value
        self._open.append(value)

    def poll(self, _s_max: float) -> None:
        self._queued = 0

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group: str, _s_max: float
    ) -> None:
        [one] = offsets
        assert (one.topic, one.partition, group) == ("t", 0, "of the counter")
        self._offset = one.offset

    def commit_transaction(self, _s_max: float) -> None:
        kafka = self._kafka
        if kafka.newest is not self:
            raise KafkaException(KafkaError(KafkaError._FENCED, "another one writes", True))
        fault, _, when = (kafka.faults.pop(0) if kafka.faults else "").partition(" ")
        if not fault or when == "after":
            if self._offset is not None:
                kafka.events += self._open
                kafka.count = self._offset
            self._open, self._offset = [], None
        if fault == "die":
            raise Died
        if fault == "again":
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", False, True))


class Consumer:
    """A consumer of confluent-kafka's, as far as it is used."""

    def __init__(self, kafka: Kafka, error: KafkaError | None = None) -> None:
        self._kafka = kafka
        self._error = error

    def committed(self, partitions: list[TopicPartition], _s_max: float) -> list[Any]:
        """What its group has committed."""
        [asked] = partitions

        class Found:
            topic, partition = asked.topic, asked.partition
            offset, error = self._kafka.count, self._error

        return [Found]

    def consumer_group_metadata(self) -> str:
        return "of the counter"


def writer_to(kafka: Kafka) -> Writer:
    producer: Any = Producer(kafka)
    consumer: Any = Consumer(kafka)
    return Writer(producer, consumer, "t")


def count_in(kafka: Kafka, error: KafkaError | None = None) -> int:
    consumer: Any = Consumer(kafka, error)
    return count_of(consumer, "t")


def attempt(kafka: Kafka) -> None:
    """What the ingest task does, as fast as it can."""
    writer = writer_to(kafka)
    for numbers in pieces(writer.written(), EVENTS, RATE):
        writer.write(SEED, numbers)


FAULTS = st.sampled_from(["", "again before", "again after", "die before", "die after"])


@given(st.lists(FAULTS, max_size=12))
def test_each_event_is_written_once_wherever_attempts_die(faults: list[str]) -> None:
    kafka = Kafka()
    kafka.faults = list(faults)
    for _ in range(len(faults) + 1):
        try:
            attempt(kafka)
        except Died:
            continue
        break
    assert kafka.events == [one.text for one in events(SEED, range(EVENTS))]
    assert kafka.count == EVENTS


def test_an_attempt_that_is_believed_dead_writes_nothing_more() -> None:
    kafka = Kafka()
    old = writer_to(kafka)
    old.write(SEED, range(7))
    attempt(kafka)
    with pytest.raises(KafkaException, match="another one writes"):
        old.write(SEED, range(7, 14))
    assert len(kafka.events) == EVENTS


def test_the_number_of_events_is_the_offset_that_was_committed_last() -> None:
    kafka = Kafka()
    assert count_in(kafka) == 0  # nothing was ever said
    kafka.count = 21
    assert count_in(kafka) == 21
    away = KafkaError(KafkaError._TIMED_OUT, "no coordinator")
    with pytest.raises(KafkaException, match="no coordinator"):
        count_in(kafka, away)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 100))
def test_transactions_are_all_that_is_missing_in_order(first: int, count: int, rate: int) -> None:
    made = list(pieces(first, count, rate))
    assert [number for piece in made for number in piece] == list(range(first, count))
    assert all(0 < len(piece) <= max(1, rate // 2) for piece in made)


# --- what Spark adds up ---------------------------------------------------------------------------


def grouped(batch: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """What Spark makes of (partition, offset, number of the event): a row a partition and key."""
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for partition, offset, number in batch:
        one = event(SEED, number)
        found.setdefault((partition, one.key), []).append((offset, one.amount))
    return [
        {
            "partition": partition,
            "key": key,
            "count(1)": len(group),
            "sum(amount)": sum(amount for _, amount in group),
            "max(offset)": max(offset for offset, _ in group),
        }
        for (partition, key), group in found.items()
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), max_size=60))
def test_what_is_added_to_a_partition_is_all_of_its_events_up_to_the_last(
    drawn: list[tuple[int, int]],
) -> None:
    at: Counter[int] = Counter()
    batch = []
    for partition, number in drawn:
        at[partition] += 1 + number % 2  # offsets have gaps, where transactions end
        batch.append((partition, at[partition], number))
    found = additions(grouped(batch))
    assert found.keys() == at.keys()
    for partition, more in found.items():
        want: dict[str, Total] = {}
        for one in (event(SEED, number) for where, number in drawn if where == partition):
            want[one.key] = want.get(one.key, Total()) + Total(1, one.amount)
        assert more == Addition(at[partition] + 1, want)


def test_an_empty_batch_adds_nothing() -> None:
    assert additions([]) == {}


def test_what_was_counted_before_is_left_out() -> None:
    assert not_counted({0: 12, 3: 0}) == (
        "(partition = 0 AND offset >= 12) OR (partition = 3 AND offset >= 0)"
    )
