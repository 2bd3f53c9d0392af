"""How many agents a master gives up because they are away (docs/semantics.md 3.8)."""

from __future__ import annotations

import pytest
import structlog.testing

from mesoslite.master import view
from mesoslite.master.protocol import PeerSilent
from mesoslite.master.records import AgentState
from mesoslite.master.server import log_silence
from mesoslite.master.state import MasterConfig
from tests.unit.master_world import World


def test_no_more_agents_are_given_up_in_a_minute_than_may_be() -> None:
    world = World(config=MasterConfig(agent_removals_per_minute=3))
    ids = [f"a{number}" for number in range(8)]
    for agent_id in ids:
        world.agent(agent_id)
    for agent_id in ids:
        world.close(agent_id)

    def gone() -> list[str]:
        states = {one: agent.state for one, agent in world.master.tables.agents.items()}
        return [one for one in ids if states[one] is AgentState.UNREACHABLE]

    world.wait(world.config.silence_ms)
    assert gone() == ids[:3]
    world.wait(59_999)
    assert gone() == ids[:3]
    world.agent("a3")  # it needs no turn any more
    world.wait(1)
    assert gone() == ["a0", "a1", "a2", "a4", "a5", "a6"]
    world.wait(60_000)
    assert gone() == ["a0", "a1", "a2", "a4", "a5", "a6", "a7"]
    world.wait(3_600_000)


def test_agents_that_a_new_master_waits_for_are_given_up_at_the_same_rate() -> None:
    world = World(config=MasterConfig(agent_removals_per_minute=2))
    for number in range(4):
        world.agent(f"a{number}")
    world.restart()
    lost = []
    for minutes in range(13):
        world.wait(60_000)
        states = [agent.state for agent in world.master.tables.agents.values()]
        lost.append((minutes + 1, states.count(AgentState.UNREACHABLE)))
    assert lost[-5:] == [(9, 0), (10, 2), (11, 4), (12, 4), (13, 4)]


def test_a_silent_agent_whose_turn_is_later_is_only_disconnected() -> None:
    world = World(config=MasterConfig(agent_removals_per_minute=1))
    world.agent("a1")
    world.agent("a2")
    world.silent |= {"a1", "a2"}
    world.wait(world.config.silence_ms)
    states = {one: agent.state for one, agent in world.master.tables.agents.items()}
    assert states == {"a1": AgentState.UNREACHABLE, "a2": AgentState.DISCONNECTED}
    world.wait(60_000)
    assert world.master.tables.agents["a2"].state is AgentState.UNREACHABLE


def test_one_that_is_unreachable_is_so_since_it_was_heard_last() -> None:
    world = World(config=MasterConfig(agent_removals_per_minute=1))
    went_ms: dict[str, int] = {}
    for agent_id in ("closed", "silent", "later"):
        world.agent(agent_id)
    world.wait(10_000)
    world.close("closed")
    went_ms["closed"] = world.now_ms
    for agent_id in ("silent", "later"):
        world.silent.add(agent_id)
        went_ms[agent_id] = world.master.tables.peers[agent_id].heard_ms
    world.wait(300_000)

    def told() -> dict[str, tuple[AgentState, int]]:
        rows = view.agents(world.master.tables).rows
        return {row.info.agent_id: (row.state, row.since_ms) for row in rows}

    expected = {one: (AgentState.UNREACHABLE, since_ms) for one, since_ms in went_ms.items()}
    assert told() == expected
    world.restart()
    assert told() == expected  # the next master has it from the registry


def test_who_is_dropped_because_it_was_silent_is_named_at_most_once_a_minute() -> None:
    world = World(config=MasterConfig(heartbeat_ms=1_000, silence_ms=4_000))
    world.framework("f")
    world.agent("a1")
    world.silent |= {"f", "a1"}
    world.wait(4_000)
    told = [effect for effect in world.said if isinstance(effect, PeerSilent)]
    assert sorted(told, key=lambda one: one.agent_id) == [
        PeerSilent("", "1-F1", "f", 4_000),
        PeerSilent("a1", "", "a1.example", 4_000),
    ]
    counts = []
    for again in range(20):
        world.said.clear()
        world.agent("a1", stream=f"a1 again {again}")
        world.silent.add(f"a1 again {again}")
        world.wait(4_000)
        counts.append(sum(isinstance(effect, PeerSilent) for effect in world.said))
    assert counts == [0] * 14 + [1] + [0] * 5


@pytest.mark.parametrize(("silent_ms", "hint"), [(4_000, "raise silence-s"), (75_000, "stopped")])
def test_the_log_says_what_to_look_at_when_a_peer_was_silent(silent_ms: int, hint: str) -> None:
    with structlog.testing.capture_logs() as lines:
        log_silence(PeerSilent("a1", "", "a1.example", silent_ms))
        log_silence(PeerSilent("", "1-F1", "f", silent_ms))
    assert [line["silent_s"] for line in lines] == [silent_ms / 1_000] * 2
    assert (lines[0]["agent"], lines[0]["agent_id"]) == ("a1.example", "a1")
    assert (lines[1]["framework"], lines[1]["framework_id"]) == ("f", "1-F1")
    assert all(hint in line["hint"] for line in lines)
