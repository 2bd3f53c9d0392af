"""Two clients of Kafka that are not ours, aiokafka and librdkafka: what each writes and sees.

Half of the partitions are written by either client, and all are read by both. What is written to a
partition are its numbers from 0 on: so whoever reads knows at once when one is lost, comes twice or
comes too early.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

import aiokafka
import confluent_kafka
from confluent_kafka.admin import AdminClient

from tests.end_to_end.waiting import wait_until

AIOKAFKA, LIBRDKAFKA = CLIENTS = ("aiokafka", "librdkafka")
PARTITIONS = 6
WRITES: Mapping[str, range] = {AIOKAFKA: range(3), LIBRDKAFKA: range(3, PARTITIONS)}
ANSWER_MS_MAX = 240_000  # of a send, while a broker is away, on a busy host
QUIET_S_MAX = 240.0  # between two messages that arrive, and two rounds that are answered
#: Of a round, for each partition: 300 messages that a client sends, and has answered, at a time.
EACH = 100
#: Between two rounds of a client, so 3,000 messages a second at most: what is looked at is their
#: order, and brokers that start need the processors.
PAUSE_S = 0.1
FETCH_S_MAX = 1.0
META_S_MAX = 10.0
SILENT = 0  # or librdkafka tells stderr of each connection that a broker's death costs


class Stream:
    """What goes into a topic and what comes out of it. Any thread may ask."""

    def __init__(self, topic: str, least: int) -> None:
        """It is written until `enough` is set, and `least` messages at any rate."""
        self.topic = topic
        self.least = least
        self.enough = threading.Event()
        self.over = threading.Event()
        """Something has failed, or nobody wants to know any more."""
        self.rounds = dict.fromkeys(CLIENTS, 0)
        """That were answered, all of them."""
        self.seen = {client: [0] * PARTITIONS for client in CLIENTS}
        """Of each partition, so many numbers from 0 on, each once."""
        self._written = threading.Event()
        self._failure: BaseException | None = None
        self._heard_s = dict.fromkeys(CLIENTS, 0.0)

    @property
    def count(self) -> int:
        """Messages whose round was answered."""
        return sum(self.written())

    def written(self) -> list[int]:
        """Of each partition, how many messages were answered."""
        wrote = {at: client for client, mine in WRITES.items() for at in mine}
        return [EACH * self.rounds[wrote[at]] for at in range(PARTITIONS)]

    def wants_more_of(self, client: str) -> bool:
        """Whether a client is to write another round."""
        share = len(WRITES[client]) / PARTITIONS
        mine = EACH * len(WRITES[client]) * self.rounds[client]
        return not self.over.is_set() and (not self.enough.is_set() or mine < self.least * share)

    def listen(self) -> None:
        """From now on its consumers are to see something now and then."""
        self._heard_s = dict.fromkeys(CLIENTS, time.monotonic())

    def take(self, client: str, partition: int, values: Iterable[int]) -> None:
        """Something arrived. Raises AssertionError when it is not what is next."""
        for value in values:
            due = self.seen[client][partition]
            assert value == due, f"{client} saw {value} in partition {partition}, {due} was next"
            self.seen[client][partition] += 1
        self._heard_s[client] = time.monotonic()

    def lacks(self, client: str) -> bool:
        """Whether more is to come. Raises AssertionError when nothing has come for long."""
        lacks = not self._written.is_set() or self.seen[client] != self.written()
        quiet_s = time.monotonic() - self._heard_s[client]
        assert not lacks or quiet_s < QUIET_S_MAX, f"{client}: {self.seen[client]}"
        return lacks and not self.over.is_set()

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """If this fails, everything about this stream ends."""
        try:
            yield
        except BaseException as error:
            self._failure = self._failure or error
            self.over.set()
            raise

    def until_it_goes_on(self) -> None:
        """Wait until both clients write and both read, in all partitions.

        Of two more rounds the second is begun after this call, and answered before it returns.
        """
        before = dict(self.rounds)
        wait_until(
            lambda: self._runs() and all(self.rounds[one] > before[one] + 1 for one in CLIENTS),
            "both clients write, and are answered",
            QUIET_S_MAX,
        )
        due = self.written()
        wait_until(
            lambda: self._runs() and all(self._has(client, due) for client in CLIENTS),
            "both clients read what was written meanwhile",
            QUIET_S_MAX,
        )

    def _has(self, client: str, due: list[int]) -> bool:
        return all(seen >= each for seen, each in zip(self.seen[client], due, strict=True))

    def _runs(self) -> bool:
        assert self._failure is None, repr(self._failure)
        return True

    def end_writing(self) -> None:
        """Nothing more comes than was written by now."""
        self._written.set()


async def both_produce(endpoints: str, stream: Stream) -> None:
    """Write as long as the stream wants; when this returns all of it is answered."""
    with stream.failing_together():
        await asyncio.gather(
            _produce_by_aiokafka(endpoints, stream),
            asyncio.to_thread(_produce_by_librdkafka, endpoints, stream),
        )
    stream.end_writing()


async def _produce_by_aiokafka(endpoints: str, stream: Stream) -> None:
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=endpoints,
        enable_idempotence=True,
        acks="all",
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await producer.start()
    try:
        while stream.wants_more_of(AIOKAFKA):
            sends = [
                await producer.send(stream.topic, str(number).encode(), partition=at)
                for number in _next_round(stream, AIOKAFKA)
                for at in WRITES[AIOKAFKA]
            ]
            await asyncio.gather(*sends)
            stream.rounds[AIOKAFKA] += 1
            await asyncio.to_thread(stream.enough.wait, PAUSE_S)
    finally:
        await producer.stop()


def _produce_by_librdkafka(endpoints: str, stream: Stream) -> None:
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

    with stream.failing_together():
        while stream.wants_more_of(LIBRDKAFKA):
            for number in _next_round(stream, LIBRDKAFKA):
                for at in WRITES[LIBRDKAFKA]:
                    value = str(number).encode()
                    producer.produce(stream.topic, value, partition=at, on_delivery=answered)
            producer.flush()
            assert not failed, failed[:3]
            stream.rounds[LIBRDKAFKA] += 1
            stream.enough.wait(PAUSE_S)


def _next_round(stream: Stream, client: str) -> range:
    first = EACH * stream.rounds[client]
    return range(first, first + EACH)


async def both_consume(endpoints: str, stream: Stream) -> None:
    """Read from the beginning until all that was written has arrived at both."""
    stream.listen()
    with stream.failing_together():
        await asyncio.gather(
            _consume_by_aiokafka(endpoints, stream),
            asyncio.to_thread(_consume_by_librdkafka, endpoints, stream),
        )


async def _consume_by_aiokafka(endpoints: str, stream: Stream) -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        stream.topic,
        bootstrap_servers=endpoints,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await consumer.start()
    try:
        while stream.lacks(AIOKAFKA):
            batches = await consumer.getmany(timeout_ms=round(1_000 * FETCH_S_MAX))
            for where, records in batches.items():
                stream.take(AIOKAFKA, where.partition, [int(one.value) for one in records])
    finally:
        await consumer.stop()


def _consume_by_librdkafka(endpoints: str, stream: Stream) -> None:
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
    places = [confluent_kafka.TopicPartition(stream.topic, at, start) for at in range(PARTITIONS)]
    consumer.assign(places)
    try:
        with stream.failing_together():
            while stream.lacks(LIBRDKAFKA):
                for one in consumer.consume(1_000, timeout=FETCH_S_MAX):
                    where, value = one.partition(), one.value()
                    if one.error() is None and where is not None and value is not None:
                        stream.take(LIBRDKAFKA, where, [int(value)])
            if not stream.over.is_set():  # behind what was seen there is nothing more
                ends = [
                    consumer.get_watermark_offsets(one, timeout=META_S_MAX)[1] for one in places
                ]
                assert ends == stream.written(), ends
    finally:
        consumer.close()


def until_in_sync(endpoints: str, topic: str, copies: int) -> None:
    """Wait until each partition has as many copies that have all of it: all brokers take part."""
    admin = AdminClient({"bootstrap.servers": endpoints, "log_level": SILENT})

    def in_sync() -> bool:
        try:
            found = admin.list_topics(topic, timeout=META_S_MAX).topics[topic].partitions
        except confluent_kafka.KafkaException:
            return False
        return [len(one.isrs) for one in found.values()] == [copies] * PARTITIONS

    wait_until(in_sync, f"all copies of {topic} are whole", QUIET_S_MAX)
