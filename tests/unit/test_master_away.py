"""How many agents a master gives up because they are away (docs/semantics.md 3.8)."""

from __future__ import annotations

from mesoslite.master.records import AgentState
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
