"""Frameworks: identity, fencing, failover, removal (D4, docs/semantics.md 3.7)."""

from __future__ import annotations

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master.protocol import (
    Answer,
    CloseStream,
    CompleteFramework,
    ForgetCompleted,
    SaveFramework,
    TaskKillAsked,
    TeardownAsked,
    ToScheduler,
)
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Heartbeat,
    KillTask,
    Refused,
    Revive,
    ShutdownFramework,
    Subscribed,
    Suppress,
    Teardown,
)
from mesoslite.model import Refusal
from mesoslite.resources import Resources
from tests.unit.master_world import World, on_agent, task


def test_a_framework_is_durable_before_it_is_told_its_id() -> None:
    world = World()
    said = world.framework()
    kinds = [type(e.event) if isinstance(e, ToScheduler) else type(e) for e in said]
    assert kinds.index(SaveFramework) < kinds.index(Subscribed)
    assert world.framework_record("f").framework_id == world.framework_id()


def test_the_same_name_is_the_same_framework_and_another_principal_is_not() -> None:
    world = World()
    world.framework("f", stream="x")
    first = world.framework_id("x")
    world.close("x")
    world.framework("f", stream="y", session_id="s2")
    assert world.framework_id("y") == first
    world.framework("f", stream="z", principal="other")
    assert world.framework_id("z") != first


def test_a_second_scheduler_of_the_same_identity_fences_the_first() -> None:
    world = World()
    world.agent()
    world.framework(stream="x")
    [offer] = world.offers("x")
    world.framework(stream="y", session_id="s2")
    assert world.refused("x").refusal is Refusal.FENCED
    assert len(world.offers("y")) == 1
    assert offer.offer_id not in world.master.tables.offers
    world.call("x", Revive())
    assert world.refused("x").refusal is Refusal.NOT_SUBSCRIBED


def test_a_fenced_scheduler_can_not_come_back_by_resuming() -> None:
    world = World()
    world.framework(stream="x")
    world.framework(stream="y", session_id="s2")
    world.framework(stream="x2", session_id="s1", framework_id="1-F1", resuming=True)
    assert world.refused("x2").refusal is Refusal.FENCED
    world.restart()
    world.framework(stream="x3", session_id="s1", framework_id="1-F1", resuming=True)
    assert world.refused("x3").refusal is Refusal.FENCED
    world.framework(stream="y2", session_id="s2", framework_id="1-F1", resuming=True)
    assert world.framework_id("y2") == "1-F1"


def test_a_session_that_reconnects_replaces_its_own_half_open_stream() -> None:
    world = World()
    world.framework(stream="x")
    world.framework(stream="y", framework_id="1-F1", resuming=True)
    assert CloseStream("x") in world.said
    assert world.heard("x", Refused) == []
    assert world.close("x") == []


def test_a_stream_that_never_subscribed_is_refused() -> None:
    world = World()
    world.call("nobody", Revive())
    assert world.refused("nobody").refusal is Refusal.NOT_SUBSCRIBED


def test_a_stream_that_subscribes_twice_is_refused_the_second() -> None:
    world = World()
    world.framework()
    world.framework(session_id="s2")
    assert world.refused("f").refusal is Refusal.NOT_SUBSCRIBED


def test_a_name_does_not_get_the_id_of_another() -> None:
    world = World()
    world.framework("f")
    world.framework("g", stream="g", framework_id="1-F1")
    assert world.refused("g").refusal is Refusal.INVALID_FRAMEWORK


def test_suppressing_a_role_that_was_not_subscribed_is_refused() -> None:
    world = World()
    world.framework(suppressed_roles=("nobody",))
    assert world.refused("f").refusal is Refusal.UNKNOWN_ROLE


def test_a_role_that_is_not_the_frameworks_is_counted_and_changes_nothing() -> None:
    world = World()
    world.framework()
    world.call("f", Suppress(("nobody",)))
    assert world.master.tables.refusals[Refusal.UNKNOWN_ROLE] == 1
    world.agent()
    assert len(world.offers()) == 1


def test_suppressed_at_subscribe_means_no_offers_until_revived() -> None:
    world = World()
    world.agent()
    world.framework(suppressed_roles=("*",))
    assert world.offers() == []
    world.call("f", Revive())
    assert len(world.offers()) == 1


def test_changed_roles_count_from_the_next_subscribe() -> None:
    world = World()
    world.agent()
    world.framework(roles=("a",))
    world.accept(world.offers()[0], task())
    world.close("f")
    world.framework(stream="f2", roles=("b",), session_id="s2")
    [offer] = world.offers("f2")
    assert offer.role == "b"
    world.report("t1", TaskState.FINISHED)
    [freed] = world.offers("f2")
    both = offer.resources + freed.resources
    assert world.master.tables.allocator.held("1-F1") == both.scalars


def test_a_role_that_is_given_up_is_not_shown_as_suppressed() -> None:
    world = World()
    world.framework(roles=("a", "b"), suppressed_roles=("a",))
    world.framework(stream="f2", roles=("b",), session_id="s2")
    assert world.master.tables.frameworks["1-F1"].suppressed == set()


def test_there_are_no_more_frameworks_than_allowed() -> None:
    world = World(config=MasterConfig(frameworks_max=1))
    world.framework("f")
    world.framework("g")
    assert world.refused("g").refusal is Refusal.TOO_MANY_FRAMEWORKS


# --- failover and removal -------------------------------------------------------------------------


def test_a_framework_that_stays_away_too_long_is_removed_with_its_tasks() -> None:
    world = World()
    world.agent()
    world.framework(failover_timeout_ms=60_000)
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.RUNNING)
    world.close("f")
    assert world.framework_record("f").deadline_ms == world.now_ms + 60_000
    world.wait(59_999)
    assert world.heard("a1", ShutdownFramework) == []
    world.wait(1)
    assert world.heard("a1", ShutdownFramework) == [ShutdownFramework("1-F1")]
    assert any(isinstance(e, CompleteFramework) for e in world.said)
    assert world.master.tables.allocator.free("a1") == Resources.parse("cpus:3;mem:3584")
    world.report("t1", TaskState.KILLED, "")
    assert world.master.tables.allocator.free("a1") == Resources.parse("cpus:4;mem:4096")
    world.framework(stream="late", framework_id="1-F1", resuming=True)
    assert world.refused("late").refusal is Refusal.FRAMEWORK_REMOVED


def test_its_return_in_time_stops_the_clock() -> None:
    world = World()
    world.framework(failover_timeout_ms=60_000)
    world.close("f")
    world.wait(59_999)
    world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert world.framework_record("f").deadline_ms is None
    world.wait(10)
    assert "1-F1" in world.master.tables.frameworks


def test_a_clock_that_was_set_back_gives_nobody_more_time_to_stay_away() -> None:
    world = World()
    world.framework(failover_timeout_ms=60_000)
    world.close("f")
    world.wait(40_000)
    world.restart(after_ms=-900_000)
    world.wait(59_999)
    assert "1-F1" in world.master.tables.frameworks
    world.wait(1)
    assert "1-F1" not in world.master.tables.frameworks


def test_the_clock_goes_on_over_a_failover_of_the_master() -> None:
    """Unlike MESOS-4659."""
    world = World()
    world.framework(failover_timeout_ms=60_000)
    world.close("f")
    world.wait(40_000)
    world.restart(after_ms=1_000)
    world.wait(18_999)
    assert "1-F1" in world.master.tables.frameworks
    world.wait(1)
    assert world.master.tables.frameworks == {}


def test_one_that_was_there_gets_its_whole_time_from_a_new_master() -> None:
    world = World()
    world.framework(failover_timeout_ms=60_000)
    world.wait(10_000)
    world.restart(after_ms=0)
    world.wait(59_999)
    assert "1-F1" in world.master.tables.frameworks
    world.wait(1)
    assert world.master.tables.frameworks == {}


def test_masters_that_die_one_after_another_give_nobody_more_time_to_stay_away() -> None:
    """It went while none of them was there: the first that missed it counts for all."""
    world = World()
    world.framework(failover_timeout_ms=60_000)
    world.wait(10_000)
    world.restart(after_ms=0)
    world.wait(40_000)
    world.restart(after_ms=1_000)
    world.wait(18_999)
    assert "1-F1" in world.master.tables.frameworks
    world.wait(1)
    assert world.master.tables.frameworks == {}


def test_a_new_master_takes_nobody_out_before_it_could_be_found() -> None:
    world = World()
    world.framework(failover_timeout_ms=10_000)
    for _ in range(3):
        world.restart(after_ms=20_000)
        assert "1-F1" in world.master.tables.frameworks
    world.framework(stream="again", framework_id="1-F1", resuming=True)
    assert world.framework_record("f").deadline_ms is None


def test_teardown_ends_the_tasks_and_uses_up_the_id() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.call("f", Teardown())
    assert world.heard("a1", ShutdownFramework) == [ShutdownFramework("1-F1")]
    assert world.refused("f").refusal is Refusal.FRAMEWORK_REMOVED
    world.framework(stream="f2", session_id="s2")
    assert world.framework_id("f2") == "1-F2"
    world.restart()
    world.framework(stream="f3", framework_id="1-F1", resuming=True)
    assert world.refused("f3").refusal is Refusal.FRAMEWORK_REMOVED


def test_an_agent_that_missed_the_removal_hears_of_it_when_it_returns() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.close("a1")
    world.call("f", Teardown())
    world.agent(stream="again", tasks=[on_agent("t1")])
    assert world.heard("again", ShutdownFramework) == [ShutdownFramework("1-F1")]
    assert world.master.tables.allocator.free("a1") == Resources.parse("cpus:3;mem:3584")


def test_a_silent_scheduler_counts_as_gone() -> None:
    world = World()
    world.framework()
    world.silent.add("f")
    for _ in range(4):
        world.wait(world.config.heartbeat_ms)
        assert world.heard("f", Heartbeat) == []
    world.wait(world.config.heartbeat_ms - 1)
    assert CloseStream("f") not in world.said
    world.wait(1)
    assert CloseStream("f") in world.said
    assert world.framework_record("f").deadline_ms == world.now_ms + 60_000


# --- operators ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["f", "1-F1"])
def test_an_operator_tears_down_by_name_or_id(name: str) -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.step(TeardownAsked(7, name))
    assert Answer(7, framework_id="1-F1", tasks=1) in world.said
    assert world.refused("f").refusal is Refusal.FRAMEWORK_REMOVED


def test_an_operator_hears_what_is_wrong_with_a_teardown() -> None:
    world = World()
    world.framework("f", stream="x")
    world.framework("f", stream="y", principal="other")
    world.step(TeardownAsked(1, "f"), TeardownAsked(2, "g"))
    answers = [e for e in world.said if isinstance(e, Answer)]
    assert [a.refusal for a in answers] == [Refusal.AMBIGUOUS, Refusal.UNKNOWN_FRAMEWORK]
    assert [a.message for a in answers] == ["f (1-F1, 1-F2)", "g"]


def test_an_operator_kills_a_task() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.step(TaskKillAsked(1, "t1", "", 100), TaskKillAsked(2, "t1", "g", None))
    assert world.heard("a1", KillTask) == [KillTask("1-F1", "t1", 100)]
    refusals = [e.refusal for e in world.said if isinstance(e, Answer)]
    assert refusals == [None, Refusal.UNKNOWN_FRAMEWORK]
    world.step(TaskKillAsked(3, "t2", "f", None))
    assert Answer(3, Refusal.UNKNOWN_TASK, "f") in world.said


def test_the_oldest_completed_ones_are_forgotten_here_and_in_the_registry() -> None:
    world = World(config=MasterConfig(completed_frameworks_max=2))
    for name in ("f", "g", "h"):
        world.framework(name)
        world.call(name, Teardown())
    assert world.said[-1] == ForgetCompleted("1-F1")
    assert [record.info.name for record in world.registry.completed] == ["g", "h"]
    world.config = MasterConfig(completed_frameworks_max=1)
    world.restart()
    assert [record.info.name for record in world.registry.completed] == ["h"]
    assert list(world.master.tables.completed) == list(world.registry.completed)
