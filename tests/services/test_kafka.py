"""Kafka itself, with clients that are not ours: nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import aiokafka
import confluent_kafka
import pytest

from tests.end_to_end.command import Dev
from tests.end_to_end.waiting import wait_until
from tests.services.conftest import AGENTS
from tests.services.running import READY_S_MAX, Framework, kill_task

PARTITIONS = 6
TOPIC = "events"
WORDS = (
    "kafka", "--heap", "256MiB", "--disk", "512MiB", "--topic", f"{TOPIC}:{PARTITIONS}:3",
    "--config", "offsets.topic.num.partitions=3", "--config", "num.network.threads=2",
)  # fmt: skip
ANSWER_MS_MAX = 240_000  # of a send, while a broker is away, on a busy host
QUIET_S_MAX = 240.0  # between two messages that arrive
MESSAGES, MESSAGES_LONG = 6_000, 100_000
TOGETHER = 500  # sends that are not answered yet


def broker_killed(kafka: Framework) -> None:
    """kill -9 of a broker, which comes back on its volume."""
    before, agent = kafka.task_of("broker-0"), kafka.agent_of("broker-0")
    kill_task(before, kafka.dev)
    kafka.until_back("broker-0", before)
    assert kafka.agent_of("broker-0") == agent


def host_killed(kafka: Framework) -> None:
    """A power cut of a host with a broker, and its return as after a reboot."""
    before = kafka.task_of("broker-1")
    with kafka.host_down("broker-1"):
        pass
    kafka.until_back("broker-1", before)


def agent_killed(kafka: Framework) -> None:
    """kill -9 of a broker's agent alone; its host is started again when that was noticed."""
    before = kafka.task_of("broker-2")
    with kafka.agent_down("broker-2"):
        pass
    kafka.until_back("broker-2", before)


def scheduler_moved(kafka: Framework) -> None:
    """The scheduler dies; while it is away a broker does too; another scheduler brings it back."""
    kafka.kill_scheduler()
    before = kafka.task_of("broker-2")
    kill_task(before, kafka.dev)
    kafka.start_scheduler()
    kafka.until_back("broker-2", before)


async def produce(endpoints: str, numbers: range) -> None:
    """Each number to the partition that it belongs to, once."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=endpoints,
        enable_idempotence=True,
        acks="all",
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await producer.start()
    try:
        for first in range(numbers.start, numbers.stop, TOGETHER):
            some = range(first, min(first + TOGETHER, numbers.stop))
            sends = [
                await producer.send(TOPIC, str(n).encode(), partition=n % PARTITIONS) for n in some
            ]
            await asyncio.gather(*sends)
    finally:
        await producer.stop()


async def consume(endpoints: str, count: int, seen: dict[int, list[int]]) -> None:
    """What arrives in each partition, until there were so many."""
    consumer = aiokafka.AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=endpoints,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_MS_MAX,
    )
    await consumer.start()
    heard_s = time.monotonic()
    try:
        while sum(map(len, seen.values())) < count:
            batches = await consumer.getmany(timeout_ms=1_000)
            for where, records in batches.items():
                seen.setdefault(where.partition, []).extend(int(one.value) for one in records)
            if batches:
                heard_s = time.monotonic()
            assert time.monotonic() - heard_s < QUIET_S_MAX, f"only {seen and len(seen)} partitions"
    finally:
        await consumer.stop()


def read_by_another_client(endpoints: str, count: int) -> None:
    """All of it, by librdkafka: it must be the same."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": endpoints,
            "group.id": "another",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    seen: dict[int, list[int]] = {}
    heard_s = time.monotonic()
    try:
        while sum(map(len, seen.values())) < count:
            assert time.monotonic() - heard_s < QUIET_S_MAX, "nothing more comes"
            for one in consumer.consume(1_000, timeout=1.0):
                where, value = one.partition(), one.value()
                if one.error() is None and where is not None and value is not None:
                    seen.setdefault(where, []).append(int(value))
                    heard_s = time.monotonic()
    finally:
        consumer.close()
    for partition in range(PARTITIONS):
        assert seen[partition] == list(range(partition, count, PARTITIONS)), partition


async def each_once_and_in_order(
    kafka: Framework, endpoints: str, messages: int, faults: Sequence[Callable[[Framework], None]]
) -> None:
    """Produce and consume all along, with one fault after another."""
    seen: dict[int, list[int]] = {}
    consuming = asyncio.create_task(consume(endpoints, messages, seen))
    share = messages // (len(faults) + 1)
    for at, fault in enumerate(faults):
        await produce(endpoints, range(at * share, at * share + share // 2))
        broken = asyncio.create_task(asyncio.to_thread(fault, kafka))
        await produce(endpoints, range(at * share + share // 2, (at + 1) * share))
        await broken
    await produce(endpoints, range(len(faults) * share, messages))
    await consuming
    for partition in range(PARTITIONS):
        assert seen[partition] == list(range(partition, messages, PARTITIONS)), partition


@pytest.mark.timeout(1_800)
async def test_each_message_comes_once_and_in_order_whatever_dies(cluster: Dev, long: bool) -> None:
    with Framework(cluster, *WORDS) as kafka:
        endpoints = ",".join((await asyncio.to_thread(kafka.until_all_run, AGENTS)).values())
        agents = {kafka.agent_of(f"broker-{n}") for n in range(AGENTS)}
        assert len(agents) == AGENTS  # each on its own
        await asyncio.to_thread(until_made, kafka)
        faults = [broker_killed, scheduler_moved]
        if long:
            faults += [host_killed, agent_killed]
        messages = MESSAGES_LONG if long else MESSAGES
        await each_once_and_in_order(kafka, endpoints, messages, faults)
        assert ",".join(kafka.status()["endpoints"].values()) == endpoints
        await asyncio.to_thread(kafka.stop)
        await asyncio.to_thread(kafka.start_scheduler)  # the next run finds its data
        again = await asyncio.to_thread(kafka.until_all_run, AGENTS)
        assert ",".join(again.values()) == endpoints
        await asyncio.to_thread(read_by_another_client, endpoints, messages)
        await asyncio.to_thread(kafka.stop, "--release")


def until_made(kafka: Framework) -> None:
    """Wait for the topic."""

    def made() -> bool:
        rows = kafka.dev.json("framework", "store", "ls", kafka.name)
        return any(row["key"] == f"topic/{TOPIC}" for row in rows)

    wait_until(made, f"{TOPIC} is there", READY_S_MAX)
