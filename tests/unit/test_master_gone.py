"""Agents that an operator gives up for good (docs/semantics.md 3.3, 3.4)."""

from __future__ import annotations

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master.protocol import AgentGoneAsked, AgentRecord, Answer, CloseStream, ForgetAgent
from mesoslite.master.records import AgentState
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Accept,
    Acknowledge,
    AgentLost,
    Kill,
    Reconcile,
    Rescind,
)
from mesoslite.model import Launch, OperationResult, Reason, Refusal, Source, TaskReference
from tests.unit.master_world import World, on_agent, task


def _gone(world: World, agent_id: str = "a1") -> Answer:
    world.step(AgentGoneAsked(1, agent_id))
    [answer] = [effect for effect in world.said if isinstance(effect, Answer)]
    return answer


def _running(world: World | None = None) -> World:
    world = world or World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.RUNNING, "u1")
    world.call("f", Acknowledge("a1", "t1", "u1"))
    return world


def test_its_tasks_are_told_to_be_over_and_hold_nothing() -> None:
    world = _running()
    assert _gone(world) == Answer(1, agent_id="a1", tasks=1)
    [status] = world.updates()
    assert (status.task_id, status.state) == ("t1", TaskState.GONE_BY_OPERATOR)
    assert (status.source, status.reason) == (Source.MASTER, Reason.AGENT_GONE)
    assert world.heard("f", AgentLost) == [AgentLost("a1")]
    assert world.master.tables.frameworks["1-F1"].tasks == {}
    assert world.master.tables.allocator.held("1-F1") == {}


def test_what_was_offered_of_it_is_void() -> None:
    world = World()
    world.agent()
    world.framework()
    [offer] = world.offers()
    _gone(world)
    assert world.heard("f", Rescind) == [Rescind((offer.offer_id,))]
    [result] = world.accept(offer, task())
    assert result.refusal is Refusal.UNKNOWN_OFFER


def test_one_that_is_here_after_all_is_told_to_end_and_never_taken_again() -> None:
    world = _running()
    _gone(world)
    assert world.refused("a1").refusal is Refusal.AGENT_GONE
    world.agent(stream="again", tasks=[on_agent()])
    refused = world.refused("again")
    assert refused.refusal is Refusal.AGENT_GONE
    assert "--work-dir" in refused.message
    assert world.master.tables.frameworks["1-F1"].tasks == {}


def test_that_is_durable_and_a_new_master_answers_the_same() -> None:
    world = _running()
    _gone(world)
    assert world.agent_record("a1") == AgentRecord(
        world.agent_record("a1").info, None, gone_since_ms=world.now_ms
    )
    world.restart()
    assert world.master.tables.agents["a1"].state is AgentState.GONE
    assert world.master.tables.awaited == 0
    world.agent()
    assert world.refused("a1").refusal is Refusal.AGENT_GONE
    world.framework(session_id="s2")
    world.call("f", Reconcile((TaskReference("t1", "a1"), TaskReference("t1"))))
    assert [s.state for s in world.updates()] == [TaskState.GONE_BY_OPERATOR, TaskState.UNKNOWN]


def test_an_end_that_was_reported_is_told_as_it_was() -> None:
    world = _running()
    world.report("t1", TaskState.KILLING, "u2", latest=TaskState.FAILED)
    _gone(world)
    [status] = world.updates()
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.AGENT_GONE)


def test_an_end_that_was_told_already_is_not_told_twice() -> None:
    world = _running()
    world.report("t1", TaskState.FINISHED, "u2")
    _gone(world)
    assert world.updates() == []
    world.call("f", Acknowledge("a1", "t1", "u2"))
    assert world.said == []
    assert world.master.tables.frameworks["1-F1"].tasks == {}


def test_a_framework_that_was_away_hears_it_when_it_asks() -> None:
    world = _running()
    world.close("f")
    _gone(world)
    world.framework(framework_id="1-F1", resuming=True)
    assert world.updates() == []
    world.call("f", Reconcile((TaskReference("t1", "a1"),)))
    [status] = world.updates()
    assert (status.state, status.reason) == (TaskState.GONE_BY_OPERATOR, Reason.RECONCILIATION)
    world.call("f", Kill("t1", "a1"))
    [status] = world.updates()
    assert status.state is TaskState.GONE_BY_OPERATOR
    assert world.master.tables.frameworks["1-F1"].kills == {}


def test_what_it_said_of_tasks_that_never_ran_waits_for_nobody() -> None:
    world = World()
    world.agent()
    world.framework()
    world.report("t9", TaskState.DROPPED, "u1")
    assert world.master.tables.frameworks["1-F1"].strays
    _gone(world)
    assert not world.master.tables.frameworks["1-F1"].strays


def test_an_accept_that_waits_for_it_is_answered() -> None:
    world = World()
    world.agent()
    world.framework()
    [offer] = world.offers()
    world.restart()
    world.framework(framework_id="1-F1", resuming=True)
    world.call("f", Accept(1, "a1", (offer.offer_id,), (Launch(task()),), 0))
    _gone(world)
    assert world.results() == (OperationResult(Refusal.AGENT_GONE, "agent a1"),)


@pytest.mark.parametrize("away", ["disconnected", "unreachable", "awaited"])
def test_one_that_is_away_can_be_given_up_and_is_counted_nowhere_any_more(away: str) -> None:
    world = _running(World(config=MasterConfig(forget_unreachable_ms=200_000)))
    if away == "awaited":
        world.restart()
        world.framework(framework_id="1-F1", resuming=True)
    else:
        world.close("a1")
        if away == "unreachable":
            world.wait(100_000)
    assert world.master.tables.agents["a1"].state.value == away
    told = [] if away == "awaited" else [TaskState.GONE_BY_OPERATOR]
    _gone(world)
    assert [s.state for s in world.updates()] == told
    assert CloseStream("a1") not in world.said
    assert world.master.tables.awaited == 0
    world.wait(300_000)
    assert world.master.tables.agents["a1"].state is AgentState.GONE


def test_to_say_it_twice_changes_nothing_and_a_stranger_is_refused() -> None:
    world = _running()
    _gone(world)
    at_ms = world.now_ms
    world.wait(1_000)
    assert _gone(world) == Answer(1, agent_id="a1", tasks=0)
    assert len(world.said) == 1
    assert world.agent_record("a1").gone_since_ms == at_ms
    assert _gone(world, "a").refusal is Refusal.UNKNOWN_AGENT


def test_a_clock_that_was_set_back_makes_nobody_go_in_the_future() -> None:
    world = _running(World(config=MasterConfig(forget_unreachable_ms=200_000)))
    world.agent("a2")
    _gone(world)
    world.close("a2")
    world.wait(100_000)
    world.restart(after_ms=-900_000)
    since_ms = {i: agent.since_ms for i, agent in world.master.tables.agents.items()}
    assert since_ms == {"a1": world.now_ms, "a2": world.now_ms}
    world.wait(world.config.forget_unreachable_ms)
    assert list(world.master.tables.agents) == ["a1"]


def test_so_many_are_remembered_the_oldest_are_forgotten_and_none_takes_a_place() -> None:
    world = World(config=MasterConfig(gone_agents_max=2, agents_max=1))
    for agent_id in ("a1", "a2", "a3"):
        world.agent(agent_id)
        assert world.master.tables.agents[agent_id].state is AgentState.ACTIVE
        world.wait(1)
        _gone(world, agent_id)
    assert ForgetAgent("a1") in world.said
    world.restart()
    assert list(world.master.tables.gone) == ["a2", "a3"]
    world.agent("a1")
    assert world.master.tables.agents["a1"].state is AgentState.ACTIVE
