"""The simulated network is TCP-like (D19): in order, a prefix, and nothing twice."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mesoslite.testing.agenda import Agenda
from mesoslite.testing.network import End, Network, Weather


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.over: list[str] = []

    def received(self, end: End, message: object) -> None:
        assert not self.over, "a word after the end"
        self.heard.append(message)

    def ended(self, end: End, why: str) -> None:
        self.over.append(why)


def connected(seed: int) -> tuple[Agenda, Network, End, Listener, Listener]:
    agenda = Agenda()
    network = Network(agenda, random.Random(seed), Weather(0, 50, 5, 2_000))
    client, server = Listener(), Listener()
    return agenda, network, network.connect(client, "a", server, "b"), client, server


def finish(agenda: Agenda) -> None:
    while agenda.step():
        pass


@given(seed=st.integers(0, 10_000), count=st.integers(0, 30), stalls=st.lists(st.integers(0, 500)))
def test_everything_arrives_in_order_however_late(seed: int, count: int, stalls: list[int]) -> None:
    agenda, _, end, client, server = connected(seed)
    for number in range(count):
        end.say(number)
        if stalls:
            end.connection.stall(stalls[number % len(stalls)])
        agenda.step()
    end.close()
    finish(agenda)
    assert server.heard == list(range(count))
    assert len(server.over) == 1
    assert client.over == []


@given(seed=st.integers(0, 10_000), count=st.integers(0, 30), late=st.integers(0, 3_000))
def test_of_a_connection_that_is_cut_a_prefix_arrives(seed: int, count: int, late: int) -> None:
    agenda, network, end, client, server = connected(seed)
    for number in range(count):
        end.say(number)
        end.peer.say(-number)
    end.connection.cut(random.Random(seed), (late, None))
    end.say("lost, and the sender can not know")
    finish(agenda)
    assert server.heard == list(range(count))[: len(server.heard)]
    assert client.heard == [-number for number in range(count)][: len(client.heard)]
    assert (client.over, server.over) == (["connection reset"], [])
    assert [connection.alive for connection in network.connections] == [True]


def test_a_partition_holds_what_is_on_its_way_and_new_connections_off() -> None:
    agenda, network, end, _, server = connected(1)
    network.partition("a", "b", 5_000)
    ends_ms = agenda.now_ms + 5_000
    end.say("held")
    assert not network.reachable("b", "a")
    while not server.heard:
        assert agenda.step()
    assert agenda.now_ms >= ends_ms
    assert network.reachable("a", "b")


def test_healing_delivers_at_once_what_would_have_waited_for_ever() -> None:
    agenda, network, end, _, server = connected(1)
    network.partition("a", "b")
    end.say("held")
    began_ms = agenda.now_ms
    agenda.after(100, network.heal)
    while not server.heard:
        assert agenda.step()
    assert agenda.now_ms - began_ms < 3_000
