"""Kafka itself, with clients that are not ours: nothing is lost and nothing comes twice.

Both clients write and read throughout. Each fault lasts until what they began during it was
answered and read again, in all partitions: so none of them is over before anybody has noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tests.services.conftest import AGENTS
from tests.services.hosts import Hosts
from tests.services.kafka_clients import (
    PARTITIONS,
    Stream,
    both_consume,
    both_produce,
    until_in_sync,
)
from tests.services.running import Framework, kill_task, processes_of, until_serve, until_topic

TOPIC = "events"
WORDS = (
    "kafka", "--heap", "256MiB", "--disk", "512MiB", "--cpus", "1",
    "--topic", f"{TOPIC}:{PARTITIONS}:3", "--config", "num.network.threads=2",
)  # fmt: skip
MESSAGES, MESSAGES_LONG = 6_000, 100_000  # at least

Fault = Callable[[Framework, Stream], None]


def broker_killed(kafka: Framework, stream: Stream) -> None:
    """kill -9 of a broker, and of what is started in its place; it comes back on its volume."""
    before, agent = kafka.task_of("broker-0"), kafka.agent_of("broker-0")
    with kafka.member_down("broker-0"):
        stream.until_it_goes_on()
    kafka.until_back("broker-0", before)
    assert kafka.agent_of("broker-0") == agent


def agent_killed(kafka: Framework, stream: Stream) -> None:
    """kill -9 of a broker's agent alone: the broker goes on, and the agent finds it again."""
    before = kafka.task_of("broker-2")
    with kafka.agent_down("broker-2"):
        assert processes_of(before, kafka.hosts)
        stream.until_it_goes_on()
    assert kafka.task_of("broker-2") == before


def scheduler_moved(kafka: Framework, stream: Stream) -> None:
    """The scheduler dies; while it is away a broker does too; another scheduler brings it back."""
    kafka.kill_scheduler()
    stream.until_it_goes_on()
    before = kafka.task_of("broker-2")
    kill_task(before, kafka.hosts)
    stream.until_it_goes_on()
    kafka.start_scheduler()
    kafka.until_back("broker-2", before)


def host_killed(kafka: Framework, stream: Stream) -> None:
    """A power cut of a host with a broker, and its return as after a reboot."""
    before = kafka.task_of("broker-1")
    with kafka.host_down("broker-1"):
        stream.until_it_goes_on()
    kafka.until_back("broker-1", before)


async def one_after_another(
    kafka: Framework, endpoints: str, stream: Stream, faults: Sequence[Fault]
) -> None:
    """The next one when all brokers take part again."""

    def all_of_them() -> None:
        stream.until_it_goes_on()  # else the first fault could be over before anybody wrote
        for fault in faults:
            fault(kafka, stream)
            until_in_sync(endpoints, TOPIC, AGENTS)
            stream.until_it_goes_on()

    with stream.failing_together():
        await asyncio.to_thread(all_of_them)
    stream.enough.set()


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
        faults: list[Fault] = [broker_killed, agent_killed, scheduler_moved]
        if long:
            faults.append(host_killed)
        stream = Stream(TOPIC, MESSAGES_LONG if long else MESSAGES)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(both_produce(endpoints, stream))
            tasks.create_task(both_consume(endpoints, stream))
            tasks.create_task(one_after_another(kafka, endpoints, stream, faults))
        assert stream.count >= stream.least
        assert list(stream.seen.values()) == [stream.written()] * 2
        assert ",".join(kafka.status()["endpoints"].values()) == endpoints
        await asyncio.to_thread(kafka.stop, "--release")
