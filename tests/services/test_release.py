"""What stays of a stopped service: with `--release` nothing at all, without it all of its data.

Kafka of two brokers, the smallest there is: it is what is reserved that is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mesoslite_agent.mounts import mounted_below
from tests.end_to_end.cluster import Agent, running_cluster
from tests.end_to_end.command import cgroups_of
from tests.end_to_end.waiting import wait_until
from tests.services.hosts import Hosts
from tests.services.kafka_clients import PARTITIONS, Stream, both_consume, both_produce
from tests.services.running import READY_S_MAX, Framework, processes_of, until_serve, until_topic

TOPIC = "kept"
BROKERS = 2
WORDS = (
    "kafka", "--brokers", str(BROKERS), "--heap", "192MiB", "--disk", "256MiB", "--cpus", "1",
    "--topic", f"{TOPIC}:{PARTITIONS}:{BROKERS}", "--config", "num.network.threads=2",
)  # fmt: skip
MESSAGES = 600

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.usefixtures("kafka")]


@pytest.fixture
def pair() -> Iterator[Hosts]:
    """An agent for each broker."""
    with running_cluster() as cluster:
        yield Hosts(cluster, BROKERS, "cpus:2;mem:2048;disk:2048")


def volumes(agent: Agent) -> list[str]:
    """The directories of volumes that it has, whole or on their way to be deleted."""
    found = agent.work_dir.glob("volumes/*/*")
    return [str(path.relative_to(agent.work_dir)) for path in found]


def left_on(agent: Agent, tasks: list[str], hosts: Hosts) -> list[str]:
    """What a stopped service has left on an agent, by what the host itself says."""
    left = volumes(agent)
    left += [f"process {pid} of {task}" for task in tasks for pid in processes_of(task, hosts)]
    left += [f"mount {where}" for where in mounted_below(agent.work_dir)]
    left += [f"cgroup {one}" for top in cgroups_of(agent.agent_id) for one in top.iterdir()
             if one.is_dir()]  # fmt: skip
    return left


def until_said(kafka: Framework, words: str) -> None:
    wait_until(lambda: words in kafka.said(), words)


def test_after_a_release_nothing_is_left_also_where_a_host_was_away_throughout(
    pair: Hosts,
) -> None:
    here, away = pair.cluster.agents
    with Framework(pair, *WORDS) as kafka:
        until_serve(kafka.until_all_run(BROKERS))
        members = {kafka.agent_of(name): name for name in ("broker-0", "broker-1")}
        tasks = [kafka.task_of(name) for name in members.values()]
        assert volumes(here)
        assert volumes(away)
        assert left_on(here, tasks, pair)
        with pair.host_down(away.agent_id):
            done = pair.command("framework", "stop", "kafka", "--release")
            assert done.code == 0, done.err
            assert away.agent_id in done.out + done.err  # who still has something is named
            wait_until(lambda: not left_on(here, tasks, pair), "one is clean", READY_S_MAX)
            assert volumes(away)  # nobody could tell it
        wait_until(lambda: not left_on(away, tasks, pair), "the other, too", READY_S_MAX)
        assert left_on(here, tasks, pair) == []
        for kind in ("reservation", "volume", "task"):  # its last words may be on their way

            def none_is_left(kind: str = kind) -> bool:
                return not pair.json(kind, "ls")

            wait_until(none_is_left, f"no {kind} is left", READY_S_MAX)


async def test_without_a_release_the_next_run_finds_its_data_also_of_another_master(
    pair: Hosts,
) -> None:
    with Framework(pair, *WORDS) as kafka:
        endpoints = await asyncio.to_thread(kafka.until_all_run, BROKERS)
        await asyncio.to_thread(until_topic, kafka, TOPIC)
        stream = Stream(TOPIC, MESSAGES)
        stream.enough.set()
        await both_produce(",".join(endpoints.values()), stream)
        where = await asyncio.to_thread(kafka.agent_of, "broker-0")
        await asyncio.to_thread(kafka.stop)
        assert len(pair.json("volume", "ls")) == BROKERS
        # The next run is begun while nobody can tell it what there is: the agent's host is away,
        # and the master is one that never heard of it. So it waits, and begins nothing anew.
        with pair.host_down(where):
            pair.cluster.kill_master()
            pair.cluster.start_master()
            kafka.start_scheduler()
            await asyncio.to_thread(until_said, kafka, "has not heard since it began")
        assert await asyncio.to_thread(kafka.until_all_run, BROKERS) == endpoints
        await asyncio.to_thread(until_serve, endpoints)
        await both_consume(",".join(endpoints.values()), stream)
        assert list(stream.seen.values()) == [stream.written()] * 2
        assert stream.count == MESSAGES
        await asyncio.to_thread(kafka.stop, "--release")
