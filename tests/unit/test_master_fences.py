"""Fences at the master: at most one task for a key (docs/decisions.md D14, docs/at-most-one.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master.explain import explain
from mesoslite.master.fences import DRIFT_DIVISOR, KILLED_WITHIN_MS
from mesoslite.master.protocol import AgentGoneAsked, ForgetFence, SaveFence, ToAgent
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    FENCE_LEASE_MS,
    Accept,
    Heartbeat,
    KillTask,
    Registered,
    Revive,
    RunTask,
    TaskOnAgent,
    Teardown,
)
from mesoslite.model import Launch, OperationResult, Refusal
from tests.unit.master_world import World, task

WHOLE_MS = FENCE_LEASE_MS + FENCE_LEASE_MS // DRIFT_DIVISOR + KILLED_WITHIN_MS


def fenced(agents: int = 2) -> World:
    """A world with agents and one framework that wants everything."""
    world = World(config=MasterConfig(offer_lease_ms=10**9))
    for number in range(1, agents + 1):
        world.agent(f"a{number}")
        world.tell(f"a{number}", Heartbeat(1))
    world.framework()
    return world


def launch(
    world: World, task_id: str, agent_id: str = "a1", key: str | None = "broker-0", number: int = 1
) -> OperationResult:
    """What became of a launch on whatever is offered of this agent."""
    t = world.master.tables
    if not any(offer.agent_id == agent_id for offer in t.offers.values()):
        world.call("f", Revive())
    offer, *_ = (offer for offer in t.offers.values() if offer.agent_id == agent_id)
    one = task(task_id, fence=key)
    world.call("f", Accept(number, agent_id, (offer.offer_id,), (Launch(one),), 0))
    return world.results()[0]


def test_a_fenced_launch_is_saved_before_it_leaves_and_has_a_token() -> None:
    world = fenced()
    assert launch(world, "t1").done
    kinds = [type(e.event) if isinstance(e, ToAgent) else type(e) for e in world.said]
    assert kinds.index(SaveFence) < kinds.index(RunTask)
    [record] = world.registry.fences
    assert (record.key, record.task_id, record.agent_id) == ("broker-0", "t1", "a1")
    [run] = world.heard("a1", RunTask)
    assert run.fence_token == record.token > 0


def test_a_second_launch_with_the_key_is_refused_until_the_first_has_ended() -> None:
    world = fenced()
    launch(world, "t1")
    refused = launch(world, "t2", "a2", number=2)
    assert refused.refusal is Refusal.FENCE_HELD
    assert "broker-0 is t1's, on a1" in refused.message
    world.report("t1", TaskState.FAILED)
    assert ForgetFence("1-F1", "broker-0") in world.said
    assert world.registry.fences == ()
    assert launch(world, "t3", "a2", number=3).done


def test_other_keys_other_frameworks_and_tasks_without_fences_are_not_held_up() -> None:
    world = fenced()
    launch(world, "t1")
    assert launch(world, "t2", "a2", key="broker-1", number=2).done
    assert launch(world, "t3", key=None, number=3).done
    world.framework("g", stream="g")
    world.call("f", Teardown())
    world.step()
    assert world.registry.fences == ()


def test_the_tokens_grow_over_launches_and_masters() -> None:
    world = fenced()
    tokens = []
    for number in range(3):
        launch(world, f"t{number}", number=number + 1)
        tokens += [record.token for record in world.registry.fences]
        world.report(f"t{number}", TaskState.FINISHED)
    world.restart()
    world.agent()
    world.framework(stream="f", framework_id="1-F1", resuming=True)
    launch(world, "t9", number=9)
    tokens += [record.token for record in world.registry.fences]
    assert tokens == sorted(set(tokens))


def test_a_key_is_free_a_whole_lease_after_the_last_echo_and_no_sooner() -> None:
    world = fenced()
    launch(world, "t1")
    world.tell("a1", Heartbeat(2))
    world.silent.add("a1")
    world.close("a1")
    world.wait(WHOLE_MS - 1)
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD
    world.wait(1)
    assert launch(world, "t3", "a2", number=3).done
    assert [record.task_id for record in world.registry.fences] == ["t3"]


def test_each_echo_keeps_the_key_for_a_lease_more() -> None:
    world = fenced()
    launch(world, "t1")
    for number in range(2, 12):
        world.wait(WHOLE_MS // 3)
        world.tell("a1", Heartbeat(number))
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD


def test_a_new_master_waits_a_whole_lease_from_its_start() -> None:
    world = fenced()
    launch(world, "t1")
    world.restart()
    world.agent("a2")
    world.framework(stream="f", framework_id="1-F1", resuming=True)
    world.wait(WHOLE_MS - 1)
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD
    world.wait(1)
    assert launch(world, "t3", "a2", number=3).done


def test_a_lease_that_an_earlier_master_gave_counts_under_shorter_ones_too() -> None:
    """The second master gives longer leases than the first, which made the record, and the third
    shorter ones again: what the second one echoed last still runs."""
    world = fenced()
    launch(world, "t1")
    world.config = replace(world.config, fence_lease_ms=2 * FENCE_LEASE_MS)
    world.restart()
    world.config = replace(world.config, fence_lease_ms=FENCE_LEASE_MS)
    world.restart(after_ms=0)
    world.agent("a2")
    world.framework(stream="f", framework_id="1-F1", resuming=True)
    world.wait(2 * FENCE_LEASE_MS)
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD


def test_an_agent_that_registers_without_the_task_frees_its_key() -> None:
    """The launch never arrived: committed, and the master died before it left."""
    world = fenced()
    launch(world, "t1")
    world.restart()
    world.agent("a1")
    world.agent("a2")
    assert world.registry.fences == ()
    world.framework(stream="f", framework_id="1-F1", resuming=True)
    assert launch(world, "t2", "a2", number=2).done


def test_an_agent_that_registers_with_the_task_keeps_its_key() -> None:
    world = fenced()
    launch(world, "t1")
    world.restart()
    held = TaskOnAgent("1-F1", "*", task("t1", fence="broker-0"), TaskState.RUNNING)
    world.agent("a1", tasks=[held])
    world.agent("a2")
    world.framework(stream="f", framework_id="1-F1", resuming=True)
    assert world.registry.fences[0].task_id == "t1"
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD


@pytest.mark.parametrize("ended", [False, True])
def test_a_task_that_comes_back_after_its_key_was_given_away_is_ended(ended: bool) -> None:
    """Its launcher was stopped, and could not end it in time."""
    world = fenced()
    launch(world, "t1")
    world.silent.add("a1")
    world.close("a1")
    world.wait(WHOLE_MS)
    assert launch(world, "t2", "a2", number=2).done
    if ended:
        world.report("t2", TaskState.FINISHED, agent_id="a2")
    late = TaskOnAgent("1-F1", "*", task("t1", fence="broker-0"), TaskState.RUNNING)
    world.agent("a1", stream="a1-again", tasks=[late])
    assert world.heard("a1-again", KillTask) == [KillTask("1-F1", "t1", 0, fence_lost=True)]
    assert [record.task_id for record in world.registry.fences] == ([] if ended else ["t2"])


def test_an_agent_that_is_given_up_by_hand_keeps_the_key_for_its_lease() -> None:
    """The operator's word ends no process."""
    world = fenced()
    launch(world, "t1")
    world.step(AgentGoneAsked(1, "a1"))
    assert launch(world, "t2", "a2", number=2).refusal is Refusal.FENCE_HELD
    world.wait(WHOLE_MS)
    assert launch(world, "t3", "a2", number=3).done


def test_two_tasks_of_one_accept_can_not_have_the_same_key() -> None:
    world = fenced(1)
    [offer] = world.master.tables.offers.values()
    launches = tuple(Launch(task(f"t{n}", fence="broker-0")) for n in (1, 2))
    world.call("f", Accept(1, "a1", (offer.offer_id,), launches, 0))
    first, second = world.results()
    assert first.done
    assert second.refusal is Refusal.FENCE_HELD
    assert world.launched() == ["t1"]


def test_explain_tells_for_how_long_the_key_is_held() -> None:
    world = fenced()
    launch(world, "t1")
    world.close("a1")
    launch(world, "t2", "a2", number=2)
    world.wait(10_000)
    told = explain(world.master.tables, "t2")
    assert told.refusal is Refusal.FENCE_HELD  # type: ignore[union-attr]
    assert f"{(WHOLE_MS - 10_000) / 1_000:.1f} s more" in told.remedy  # type: ignore[union-attr]
    world.wait(WHOLE_MS)
    again = explain(world.master.tables, "t2")
    assert "free now" in again.remedy  # type: ignore[union-attr]


def test_an_agent_is_told_how_long_a_lease_is() -> None:
    world = World()
    world.agent()
    assert world.heard("a1", Registered) == [Registered(FENCE_LEASE_MS)]


@pytest.mark.parametrize("key", ["broker-0", None])
def test_only_a_fence_waits_for_the_registry(key: str | None) -> None:
    world = fenced()
    launch(world, "t1", key=key)
    assert any(isinstance(e, SaveFence) for e in world.said) == (key is not None)
