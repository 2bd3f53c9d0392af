"""Two clients of Kafka that are not ours, aiokafka and librdkafka: what each writes and sees.

Each number goes to the partition that it belongs to, once; half of the partitions are written by
either client, and all are read by both.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence

import aiokafka
import confluent_kafka

PARTITIONS = 6
ANSWER_MS_MAX = 240_000  # of a send, while a broker is away, on a busy host
QUIET_S_MAX = 240.0  # between two messages that arrive
TOGETHER = 500  # sends that are not answered yet
FETCH_S_MAX = 1.0
SILENT = 0  # or librdkafka tells stderr of each connection that a broker's death costs


class Seen:
    """What two consumers have seen, in its order, by client and partition."""

    def __init__(self, topic: str, count: int) -> None:
        """All of `count` numbers are to arrive."""
        self.topic = topic
        self.count = count
        self.by_client: dict[str, dict[int, list[int]]] = {"aiokafka": {}, "confluent": {}}
        self._heard_s = dict.fromkeys(self.by_client, time.monotonic())

    def take(self, client: str, partition: int, values: Iterable[int]) -> None:
        """Something arrived."""
        self.by_client[client].setdefault(partition, []).extend(values)
        self._heard_s[client] = time.monotonic()

    def lacks(self, client: str) -> bool:
        """Whether more is to come. Raises AssertionError when nothing has come for long."""
        found = sum(map(len, self.by_client[client].values()))
        quiet_s = time.monotonic() - self._heard_s[client]
        assert found >= self.count or quiet_s < QUIET_S_MAX, f"{client}: {found} of {self.count}"
        return found < self.count

    def check(self) -> None:
        """Each number is there once, and in order."""
        for client, partitions in self.by_client.items():
            for partition in range(PARTITIONS):
                expected = list(range(partition, self.count, PARTITIONS))
                assert partitions[partition] == expected, (client, partition)


async def produce(endpoints: str, topic: str, numbers: range) -> None:
    """Write each number; when this returns all of them are answered."""
    mine = [n for n in numbers if n % PARTITIONS < PARTITIONS // 2]
    others = [n for n in numbers if n % PARTITIONS >= PARTITIONS // 2]
    await asyncio.gather(
        _produce_by_aiokafka(endpoints, topic, mine),
        asyncio.to_thread(_produce_by_confluent, endpoints, topic, others),
    )


async def _produce_by_aiokafka(endpoints: str, topic: str, numbers: Sequence[int]) -> None:
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=endpoints,
        enable_idempotence=True,
        acks="all",
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await producer.start()
    try:
        for first in range(0, len(numbers), TOGETHER):
            sends = [
                await producer.send(topic, str(n).encode(), partition=n % PARTITIONS)
                for n in numbers[first : first + TOGETHER]
            ]
            await asyncio.gather(*sends)
    finally:
        await producer.stop()


def _produce_by_confluent(endpoints: str, topic: str, numbers: Sequence[int]) -> None:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": endpoints,
            "enable.idempotence": True,
            "acks": "all",
            "delivery.timeout.ms": ANSWER_MS_MAX,
            "log_level": SILENT,
        }
    )
    failed: list[str] = []

    def answered(error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        if error is not None:
            failed.append(str(error))

    for first in range(0, len(numbers), TOGETHER):
        for n in numbers[first : first + TOGETHER]:
            producer.produce(topic, str(n).encode(), partition=n % PARTITIONS, on_delivery=answered)
        producer.flush()
    assert not failed, failed[:3]


async def both_consume(endpoints: str, seen: Seen, over: threading.Event) -> None:
    """Read from the beginning until all has arrived at both, or until it is over."""
    try:
        await asyncio.gather(
            _consume_by_aiokafka(endpoints, seen, over),
            asyncio.to_thread(_consume_by_confluent, endpoints, seen, over),
        )
    finally:
        over.set()  # if one fails the other ends, too


async def _consume_by_aiokafka(endpoints: str, seen: Seen, over: threading.Event) -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        seen.topic,
        bootstrap_servers=endpoints,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await consumer.start()
    try:
        while not over.is_set() and seen.lacks("aiokafka"):
            batches = await consumer.getmany(timeout_ms=round(1_000 * FETCH_S_MAX))
            for where, records in batches.items():
                seen.take("aiokafka", where.partition, [int(one.value) for one in records])
    finally:
        await consumer.stop()


def _consume_by_confluent(endpoints: str, seen: Seen, over: threading.Event) -> None:
    """It joins no group: what was read nobody keeps, and nothing is read twice after a fault."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": endpoints,
            "group.id": "none",
            "enable.auto.commit": False,
            "log_level": SILENT,
        }
    )
    start = confluent_kafka.OFFSET_BEGINNING
    consumer.assign(
        [confluent_kafka.TopicPartition(seen.topic, at, start) for at in range(PARTITIONS)]
    )
    try:
        while not over.is_set() and seen.lacks("confluent"):
            for one in consumer.consume(1_000, timeout=FETCH_S_MAX):
                where, value = one.partition(), one.value()
                if one.error() is None and where is not None and value is not None:
                    seen.take("confluent", where, [int(value)])
    finally:
        consumer.close()
