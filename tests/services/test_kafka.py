"""Kafka itself, with clients that are not ours: nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from tests.services.conftest import AGENTS
from tests.services.hosts import Hosts
from tests.services.kafka_clients import PARTITIONS, Seen, both_consume, produce
from tests.services.running import Framework, kill_task, processes_of, until_serve, until_topic

TOPIC = "events"
WORDS = (
    "kafka", "--heap", "256MiB", "--disk", "512MiB", "--cpus", "1",
    "--topic", f"{TOPIC}:{PARTITIONS}:3", "--config", "num.network.threads=2",
)  # fmt: skip
MESSAGES, MESSAGES_LONG = 6_000, 100_000


def broker_killed(kafka: Framework) -> None:
    """kill -9 of a broker, which comes back on its volume."""
    before, agent = kafka.task_of("broker-0"), kafka.agent_of("broker-0")
    kill_task(before, kafka.hosts)
    kafka.until_back("broker-0", before)
    assert kafka.agent_of("broker-0") == agent


def host_killed(kafka: Framework) -> None:
    """A power cut of a host with a broker, and its return as after a reboot."""
    before = kafka.task_of("broker-1")
    with kafka.host_down("broker-1"):
        pass
    kafka.until_back("broker-1", before)


def agent_killed(kafka: Framework) -> None:
    """kill -9 of a broker's agent alone: the broker goes on, and the agent finds it again."""
    before = kafka.task_of("broker-2")
    with kafka.agent_down("broker-2"):
        assert processes_of(before, kafka.hosts)
    assert kafka.task_of("broker-2") == before


def scheduler_moved(kafka: Framework) -> None:
    """The scheduler dies; while it is away a broker does too; another scheduler brings it back."""
    kafka.kill_scheduler()
    before = kafka.task_of("broker-2")
    kill_task(before, kafka.hosts)
    kafka.start_scheduler()
    kafka.until_back("broker-2", before)


async def each_once_and_in_order(
    kafka: Framework, endpoints: str, messages: int, faults: Sequence[Callable[[Framework], None]]
) -> None:
    """Produce and consume all along, by two clients each, with one fault after another."""
    seen = Seen(TOPIC, messages)
    over = threading.Event()
    consuming = asyncio.create_task(both_consume(endpoints, seen, over))
    share = messages // (len(faults) + 1)
    try:
        for at, fault in enumerate(faults):
            await produce(endpoints, TOPIC, range(at * share, at * share + share // 2))
            broken = asyncio.create_task(asyncio.to_thread(fault, kafka))
            await produce(endpoints, TOPIC, range(at * share + share // 2, (at + 1) * share))
            await broken
        await produce(endpoints, TOPIC, range(len(faults) * share, messages))
        await consuming
    finally:
        over.set()
        await asyncio.wait([consuming])
    seen.check()


@pytest.mark.timeout(2_400)
@pytest.mark.usefixtures("kafka")
async def test_each_message_comes_once_and_in_order_whatever_dies(hosts: Hosts, long: bool) -> None:
    with Framework(hosts, *WORDS) as kafka:
        served = await asyncio.to_thread(kafka.until_all_run, AGENTS)
        await asyncio.to_thread(until_serve, served)
        endpoints = ",".join(served.values())
        agents = {kafka.agent_of(f"broker-{n}") for n in range(AGENTS)}
        assert len(agents) == AGENTS  # each on its own
        await asyncio.to_thread(until_topic, kafka, TOPIC)
        faults = [broker_killed, agent_killed, scheduler_moved]
        if long:
            faults.append(host_killed)
        messages = MESSAGES_LONG if long else MESSAGES
        await each_once_and_in_order(kafka, endpoints, messages, faults)
        assert ",".join(kafka.status()["endpoints"].values()) == endpoints
        await asyncio.to_thread(kafka.stop, "--release")
