"""Cassandra's scheduler: one node after another, each with its own addresses. None is run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mesoslite import CreateVolume, Offer, Reservation, Reserve, Resources, Task, TaskState
from mesoslite.testing import AcceptOffers, Harness, offer, status
from mesoslite_cassandra.scheduler import Cassandra
from mesoslite_services.roster import MEMBER
from mesoslite_services.service import PLACING, WAITS_FOR

AGENTS = ("a1", "a2", "a3")


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Ports that are a test's own: nobody listens on them, until it does on a node's second one."""
    sockets = [socket.socket() for _ in range(9)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    yield sorted(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()


class Bench:
    """Three nodes with places, and what listens."""

    def __init__(self, ports: list[int]) -> None:
        self.cassandra = Cassandra(config={"num_tokens": "4"}, java_option=["-Da=b", "-Dc=d"])
        self.bench = Harness(self.cassandra)
        self.bench.subscribed()
        self.cassandra.look_no_more()
        self.reserves: dict[str, Reserve] = {}
        for at, agent in enumerate(AGENTS):
            mine = Resources(ports=[(port, port) for port in ports[at * 3 : at * 3 + 3]])
            made = self.bench.offers(
                offer(
                    resources=self.cassandra.needs.amount + mine, agent_id=agent,
                    role="cassandra", request_id=PLACING, attributes="address:127.0.0.1",
                )
            )  # fmt: skip
            [accept] = [one for one in made if isinstance(one, AcceptOffers)]
            reserve, volume = accept.operations
            assert isinstance(reserve, Reserve)
            assert isinstance(volume, CreateVolume)
            self.reserves[agent] = reserve

    def back(self, agent: str) -> Offer:
        """Its place, when no task uses it."""
        reserve = self.reserves[agent]
        disk = Resources(disk=reserve.resources.disk)
        key = f"disk(cassandra)({reserve.reservation_id})({reserve.reservation_id})"
        amount = (reserve.resources - disk).reserved("cassandra", reserve.reservation_id)
        amount += Resources.from_amounts({key: disk.scalar("disk")})
        return offer(resources=amount, agent_id=agent, role="cassandra")

    def launched(self, agent: str) -> Task | None:
        """What is launched there now, if anything."""
        tasks = self.bench.offers(self.back(agent)).launched
        return tasks[0] if tasks else None

    def runs(self, task: Task, agent: str) -> None:
        self.bench.status(status(task, TaskState.RUNNING, agent_id=agent))

    def serves(self, agent: str) -> socket.socket:
        """Have its node listen for clients."""
        place = self.cassandra.members[f"node-{AGENTS.index(agent)}"].place
        assert place is not None
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", place.ports[1]))
        listening.listen()
        return listening


def settings(task: Task) -> dict[str, str]:
    """The simple lines of its cassandra.yaml."""
    lines = task.environment["CASSANDRA_YAML"].splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))


def test_a_new_node_waits_until_the_one_before_serves_clients(ports: list[int]) -> None:
    bench = Bench(ports)
    assert bench.launched("a2") is None  # seeds first
    first = bench.launched("a1")
    assert first is not None
    bench.runs(first, "a1")
    assert bench.launched("a2") is None
    assert b"node-1: node-0 has not joined yet" in bench.bench.entries[WAITS_FOR].value
    with bench.serves("a1"):
        second = bench.launched("a2")
        assert second is not None
        assert bench.launched("a3") is None
    assert second.task_id == "node-1.1"


def test_a_node_that_has_data_does_not_wait_for_others(ports: list[int]) -> None:
    """After all hosts went down each comes back as soon as it can."""
    bench = Bench(ports)
    first = bench.launched("a1")
    assert first is not None
    bench.runs(first, "a1")
    with bench.serves("a1"):
        second = bench.launched("a2")
    assert second is not None
    bench.runs(second, "a2")
    for task, agent in ((first, "a1"), (second, "a2")):
        bench.bench.status(status(task, TaskState.FAILED, agent_id=agent))
    bench.cassandra.members["node-1"].not_before_s = 0
    again = bench.launched("a2")
    assert again is not None
    assert again.task_id == "node-1.2"
    assert settings(again) == settings(second)


def test_a_node_of_an_earlier_life_does_not_wait_for_others(ports: list[int]) -> None:
    """The store went with the framework, the data stayed: its tasks are counted anew."""
    first = Bench(ports)
    second = Cassandra()
    bench = Harness(second)
    bench.subscribed()
    places = []
    for agent in AGENTS:
        reserve, known = first.reserves[agent], first.back(agent)
        kept = Reservation(
            reserve.reservation_id, "cassandra", reserve.resources, reserve.labels
        )  # fmt: skip
        places.append(replace(known, reservations=(kept,)))
    launched = bench.offers(*places).launched  # the first was offered before the seeds were known
    assert [task.task_id for task in launched] == ["node-1.1", "node-2.1"]


def test_all_know_the_same_seeds_and_their_own_ports(ports: list[int]) -> None:
    bench = Bench(ports)
    task = bench.launched("a1")
    assert task is not None
    place = bench.cassandra.members["node-0"].place
    other = bench.cassandra.members["node-1"].place
    assert place is not None
    assert other is not None
    found = settings(task)
    assert found["storage_port"] == str(place.ports[0])
    assert found["native_transport_port"] == str(place.ports[1])
    assert task.environment["JMX_PORT"] == str(place.ports[2])
    assert found["num_tokens"] == "4"
    seeds = f"seeds: '127.0.0.1:{place.ports[0]},127.0.0.1:{other.ports[0]}'"
    assert seeds in task.environment["CASSANDRA_YAML"]
    assert task.environment["JAVA_OPTIONS"] == "-Da=b -Dc=d"
    assert f"{MEMBER}node-2" in bench.bench.entries


@pytest.mark.parametrize(
    ("options", "text"),
    [({"nodes": 0}, "1 to 100 nodes"), ({"heap": "100MiB"}, "--heap is a size from 384MiB")],
)
def test_what_can_not_be_is_said(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Cassandra(**options)  # type: ignore[arg-type]
