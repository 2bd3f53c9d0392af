"""Agents and tasks: registration, statuses, kills, reconciliation (docs/semantics.md 3.1-3.6)."""

from __future__ import annotations

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master.protocol import CloseStream
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Acknowledge,
    AcknowledgeStatus,
    AgentLost,
    Heartbeat,
    Kill,
    KillTask,
    Reconcile,
    ReconcileTasks,
    Registered,
    Rescind,
    ShutdownFramework,
    TaskMessage,
    Update,
)
from mesoslite.model import OperationResult, Reason, Refusal, Source, TaskReference
from mesoslite.resources import Resources, total_of
from tests.unit.master_world import World, on_agent, task

ALL = Resources.parse("cpus:4;mem:4096")
LESS = Resources.parse("cpus:3;mem:3584")


def _running(world: World | None = None) -> World:
    """A world in which task t1 runs on agent a1, and its framework has acknowledged that."""
    world = world or World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.RUNNING, "u1")
    world.call("f", Acknowledge("a1", "t1", "u1"))
    return world


def free(world: World) -> Resources:
    """What of agent a1 nobody holds: free or offered."""
    offered = [o.resources for o in world.master.tables.offers.values()]
    return sum(offered, world.master.tables.allocator.free("a1"))


# --- statuses -------------------------------------------------------------------------------------


def test_a_status_goes_to_the_framework_and_only_its_acknowledgement_back() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.RUNNING, "u1")
    [status] = world.updates()
    assert (status.state, status.update_id) == (TaskState.RUNNING, "u1")
    assert world.heard("a1", AcknowledgeStatus) == []
    world.call("f", Acknowledge("a1", "t1", "u1"))
    assert world.heard("a1", AcknowledgeStatus) == [AcknowledgeStatus("1-F1", "t1", "u1")]


def test_a_terminal_status_frees_the_resources_acknowledged_or_not() -> None:
    world = _running()
    assert free(world) == LESS
    world.report("t1", TaskState.FINISHED, "u2")
    assert free(world) == ALL
    assert "t1" in world.master.tables.frameworks["1-F1"].tasks
    world.call("f", Acknowledge("a1", "t1", "u2"))
    assert world.master.tables.frameworks["1-F1"].tasks == {}
    assert free(world) == ALL


def test_resources_are_freed_by_the_newest_state_though_an_older_one_is_reported() -> None:
    world = _running()
    world.report("t1", TaskState.RUNNING, "u1", latest=TaskState.FAILED)
    assert free(world) == ALL
    assert [s.state for s in world.updates()] == [TaskState.RUNNING]


def test_a_terminal_state_never_changes_again() -> None:
    world = _running()
    world.report("t1", TaskState.FINISHED, "u2")
    world.report("t1", TaskState.RUNNING, "u3")
    assert world.master.tables.frameworks["1-F1"].tasks["t1"].state is TaskState.FINISHED
    assert free(world) == ALL


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (Acknowledge("a2", "t1", "u2"), Refusal.UNKNOWN_AGENT),
        (Acknowledge("a1", "t1", "u9"), Refusal.UNKNOWN_STATUS),
    ],
)
def test_a_wrong_acknowledgement_is_counted_and_dropped(
    call: Acknowledge, refusal: Refusal
) -> None:
    world = _running()
    world.report("t1", TaskState.FINISHED, "u2")
    world.call("f", call)
    assert world.heard("a1", AcknowledgeStatus) == []
    assert world.master.tables.refusals[refusal] == 1


def test_a_framework_that_was_away_is_told_at_once_what_waits_for_it() -> None:
    world = _running()
    world.close("f")
    world.report("t1", TaskState.FINISHED, "u2")
    assert world.updates() == []
    world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert [s.update_id for s in world.updates("f2")] == ["u2"]


def test_a_status_of_a_removed_framework_tells_the_agent_of_its_removal() -> None:
    world = World()
    world.agent(tasks=[on_agent("t1", framework_id="0-F9")])
    assert world.heard("a1", ShutdownFramework) == [ShutdownFramework("0-F9")]
    assert free(world) == LESS
    world.report("t1", TaskState.RUNNING, "u1", framework_id="0-F9")
    assert world.heard("a1", ShutdownFramework) == [ShutdownFramework("0-F9")]
    world.report("t1", TaskState.KILLED, "", framework_id="0-F9")
    assert free(world) == ALL
    assert world.master.tables.agents["a1"].tasks == {}


def test_an_end_that_needs_no_acknowledgement_is_the_last_that_is_kept_of_a_task() -> None:
    world = _running()
    world.report("t1", TaskState.GONE, "")
    assert [s.state for s in world.updates()] == [TaskState.GONE]
    assert world.master.tables.frameworks["1-F1"].tasks == {}
    assert free(world) == ALL
    assert _asked(world, "t1", "a1") == [TaskState.GONE]


# --- kills ----------------------------------------------------------------------------------------


def test_a_kill_is_passed_on_and_again_to_an_agent_that_was_away() -> None:
    world = _running()
    world.call("f", Kill("t1", "a1", 500))
    assert world.heard("a1", KillTask) == [KillTask("1-F1", "t1", 500)]
    world.close("a1")
    world.agent(stream="again", tasks=[on_agent()])
    assert world.heard("again", KillTask) == [KillTask("1-F1", "t1", 500)]


def test_a_kill_of_what_is_not_there_is_answered_with_what_is_known() -> None:
    world = _running()
    world.call("f", Kill("t9", "a1"))
    [status] = world.updates()
    assert (status.task_id, status.state) == ("t9", TaskState.GONE)
    world.report("t1", TaskState.FINISHED, "u2")
    world.call("f", Kill("t1", "a1"))
    assert [s.state for s in world.updates()] == [TaskState.FINISHED]
    assert world.heard("a1", KillTask) == []


def _twice() -> World:
    """Task t1 runs on a2, launched while a1 was away after a failover; now a1 brings its own."""
    world = _running()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    world.agent("a2", epoch_seen=1)
    assert world.accept(world.offers()[0], task()) == (OperationResult(),)
    world.report("t1", TaskState.RUNNING, "v1", agent_id="a2")
    world.agent("a1", epoch_seen=1, tasks=[on_agent("t1")])
    return world


def test_of_two_tasks_with_one_id_the_one_that_comes_later_is_ended() -> None:
    world = _twice()
    assert world.heard("a1", KillTask) == [KillTask("1-F1", "t1", None)]
    assert world.updates() == []
    world.call("f", Acknowledge("a2", "t1", "v1"))
    assert world.heard("a2", AcknowledgeStatus) == [AcknowledgeStatus("1-F1", "t1", "v1")]
    assert _asked(world, "t1") == [TaskState.RUNNING]


def test_the_framework_hears_nothing_of_the_other_and_the_master_acknowledges_it() -> None:
    world = _twice()
    world.report("t1", TaskState.KILLED, "u9", agent_id="a1")
    assert world.updates() == []
    assert world.heard("a1", AcknowledgeStatus) == [AcknowledgeStatus("1-F1", "t1", "u9")]
    assert world.master.tables.agents["a1"].tasks == {}
    assert world.master.tables.allocator.free("a1") == Resources()  # all of it is offered again
    offered = [o.resources for o in world.master.tables.agents["a1"].offers.values()]
    assert total_of(offered) == ALL
    world.report("t1", TaskState.FINISHED, "v2", agent_id="a2")
    assert [s.agent_id for s in world.updates()] == ["a2"]


def test_a_second_task_of_one_id_is_no_matter_when_its_agent_goes_for_good() -> None:
    world = _twice()
    world.close("a1")
    world.wait(world.config.silence_ms)
    assert [s.state for s in world.updates()] == []
    assert world.master.tables.agents["a1"].tasks == {}


def test_a_kill_that_comes_before_the_agent_is_back_is_not_lost() -> None:
    world = _running()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    world.call("f", Kill("t1", "a1", 700))
    assert world.updates() == []
    world.agent(epoch_seen=1, tasks=[on_agent("t1")])
    assert world.heard("a1", KillTask) == [KillTask("1-F1", "t1", 700)]


def test_a_kill_that_comes_while_the_agent_is_unreachable_is_not_lost_with_the_master() -> None:
    """A new master knows from its registry that the agent was given up, and nothing of its tasks:
    seed 6014 of the simulation."""
    world = _running()
    world.close("a1")
    world.wait(world.config.silence_ms)
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    world.call("f", Kill("t1", "a1", 700))
    assert [status.state for status in world.updates()][-1] is TaskState.UNREACHABLE
    world.agent(epoch_seen=1, tasks=[on_agent("t1")])
    assert world.heard("a1", KillTask) == [KillTask("1-F1", "t1", 700)]


# --- reconciliation: docs/semantics.md 3.3 --------------------------------------------------------


def _asked(world: World, task_id: str, agent_id: str = "") -> list[TaskState]:
    world.call("f", Reconcile((TaskReference(task_id, agent_id),)))
    statuses = world.updates()
    assert all(s.update_id == "" and s.source is Source.MASTER for s in statuses)
    assert all(s.reason is Reason.RECONCILIATION for s in statuses)
    return [s.state for s in statuses]


def test_a_known_task_is_answered_with_its_state() -> None:
    assert _asked(_running(), "t1", "a1") == [TaskState.RUNNING]


def test_an_unknown_task_on_a_registered_agent_is_gone() -> None:
    assert _asked(_running(), "t9", "a1") == [TaskState.GONE]


def test_an_unknown_task_on_an_unknown_agent_is_unknown() -> None:
    assert _asked(_running(), "t9", "a9") == [TaskState.UNKNOWN]
    assert _asked(_running(), "t9") == [TaskState.UNKNOWN]


def test_nothing_is_answered_while_its_agent_or_any_agent_may_come_back() -> None:
    world = _running()
    world.restart()
    world.framework(stream="f", resuming=True, framework_id="1-F1")
    assert _asked(world, "t1", "a1") == []
    assert _asked(world, "t1") == []
    assert _asked(world, "t9", "a9") == [TaskState.UNKNOWN]
    world.agent(tasks=[on_agent()], epoch_seen=1)
    assert _asked(world, "t1") == [TaskState.RUNNING]


def test_nothing_is_answered_while_an_agent_has_lost_its_stream() -> None:
    """It may be on its way back with the task."""
    world = _running()
    world.close("a1")
    assert _asked(world, "t9", "a1") == []
    assert _asked(world, "t1", "a1") == [TaskState.RUNNING]


def test_a_task_of_an_unreachable_agent_is_unreachable() -> None:
    world = _running()
    world.close("a1")
    world.wait(world.config.silence_ms)
    assert _asked(world, "t1", "a1") == [TaskState.UNREACHABLE]
    assert _asked(world, "t9", "a1") == [TaskState.UNREACHABLE]


def test_the_implicit_question_is_answered_with_all_that_is_known() -> None:
    world = _running()
    world.call("f", Reconcile())
    assert [(s.task_id, s.state) for s in world.updates()] == [("t1", TaskState.RUNNING)]


def test_the_answer_is_never_ahead_of_what_can_be_acknowledged() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.RUNNING, "u1", latest=TaskState.FINISHED)
    assert _asked(world, "t1", "a1") == [TaskState.RUNNING]


# --- agents come and go ---------------------------------------------------------------------------


def test_an_agent_that_goes_has_its_offers_rescinded_and_its_time_to_return() -> None:
    world = _running()
    world.wait(5_000)
    [offer] = world.offers()
    world.close("a1")
    assert world.heard("f", Rescind) == [Rescind((offer.offer_id,))]
    world.wait(world.config.silence_ms - 1)
    assert world.updates() == []
    world.agent(tasks=[on_agent()])
    assert len(world.heard("a1", Registered)) == 1
    assert free(world) == LESS


def test_one_that_stays_away_is_unreachable_and_so_are_its_tasks() -> None:
    world = _running()
    world.close("a1")
    went_ms = world.now_ms
    world.wait(world.config.silence_ms)
    assert world.agent_record("a1").unreachable_since_ms == went_ms
    [status] = world.updates()
    assert (status.state, status.reason, status.update_id) == (
        TaskState.UNREACHABLE,
        Reason.AGENT_UNREACHABLE,
        "",
    )
    assert world.heard("f", AgentLost) == [AgentLost("a1")]
    assert not world.master.tables.allocator.held("1-F1")


def test_what_was_unreachable_comes_back_running() -> None:
    world = _running()
    world.close("a1")
    world.wait(world.config.silence_ms)
    world.wait(3_600_000)
    world.agent(tasks=[on_agent()])
    [status] = world.updates()
    assert (status.state, status.reason) == (TaskState.RUNNING, Reason.AGENT_REREGISTERED)
    assert world.agent_record("a1").unreachable_since_ms is None
    assert free(world) == LESS


def test_an_agent_that_says_nothing_for_75_s_is_unreachable() -> None:
    world = _running()
    world.silent.add("a1")
    for _ in range(4):
        world.wait(world.config.heartbeat_ms)
        assert world.heard("a1", Heartbeat) == []
    world.wait(world.config.heartbeat_ms)
    assert CloseStream("a1") in world.said
    assert [s.state for s in world.updates()] == [TaskState.UNREACHABLE]


def test_each_heartbeat_of_a_peer_is_said_back_at_once() -> None:
    world = World()
    world.agent()
    world.framework()
    for number in (1, 2, 7):
        world.tell("a1", Heartbeat(number))
        assert world.heard("a1", Heartbeat) == [Heartbeat(number)]
        world.call("f", Heartbeat(number))
        assert world.heard("f", Heartbeat) == [Heartbeat(number)]


def test_a_heartbeat_that_stands_for_a_peer_which_is_not_read_has_no_echo() -> None:
    world = World()
    world.agent()
    assert world.tell("a1", Heartbeat()) == []


def test_one_that_says_something_is_not() -> None:
    world = _running()
    world.wait(20 * world.config.heartbeat_ms)
    assert world.master.tables.agents["a1"].stream == "a1"


def test_a_task_that_the_agent_does_not_have_is_asked_for_and_then_dropped() -> None:
    world = _running()
    world.close("a1")
    world.agent(stream="again", tasks=[])
    assert world.heard("again", ReconcileTasks) == [ReconcileTasks((("1-F1", "t1"),))]
    status_of = world.master.tables.frameworks["1-F1"].tasks["t1"]
    assert status_of.state is TaskState.RUNNING
    assert free(world) == ALL


def test_a_new_master_learns_everything_from_the_agents() -> None:
    world = _running()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    world.agent(
        epoch_seen=1, tasks=[on_agent("t1"), on_agent("t2", TaskState.FINISHED, needs="cpus:2")]
    )
    assert free(world) == LESS
    states = {i: e.state for i, e in world.master.tables.frameworks["1-F1"].tasks.items()}
    assert states == {"t1": TaskState.RUNNING, "t2": TaskState.FINISHED}
    [offer] = world.offers()
    assert offer.resources == LESS


def test_a_new_master_gives_agents_ten_minutes_before_it_says_anything() -> None:
    world = _running()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    world.wait(world.config.reregister_ms - 1_001)
    assert world.heard("f", AgentLost) == []
    world.wait(1_001)
    assert world.heard("f", AgentLost) == [AgentLost("a1")]


def test_a_registration_that_a_slow_connection_brings_after_a_later_one_is_void() -> None:
    """It was said when a task ran that has ended since, and nobody would know of its end twice."""
    world = World()
    world.agent(number=2)
    world.framework()
    world.accept(world.offers()[0], task())
    world.report("t1", TaskState.FINISHED)
    world.call("f", Acknowledge("a1", "t1", "u1"))
    world.agent(stream="earlier", tasks=[on_agent("t1")], number=1)
    assert world.refused("earlier").refusal is Refusal.AGENT_ID_IN_USE
    assert CloseStream("a1") not in world.said
    world.call("f", Reconcile(()))
    assert world.updates() == []
    world.agent(stream="next", number=3)
    assert world.heard("next", Registered)
    assert world.heard("next", ReconcileTasks) == []


def test_one_id_from_two_boots_is_refused_while_the_first_is_heard() -> None:
    world = World()
    world.agent(stream="x", boot_id="one")
    world.agent(stream="y", boot_id="two")
    assert world.refused("y").refusal is Refusal.AGENT_ID_IN_USE
    world.silent.add("x")
    world.wait(2 * world.config.heartbeat_ms)
    world.agent(stream="y", boot_id="two")
    assert CloseStream("x") in world.said
    assert len(world.heard("y", Registered)) == 1


def test_the_same_boot_replaces_its_own_half_open_stream() -> None:
    world = World()
    world.agent(stream="x")
    world.agent(stream="y")
    assert CloseStream("x") in world.said
    assert len(world.heard("y", Registered)) == 1
    assert world.close("x") == []


def test_an_agent_that_heard_of_a_later_master_is_refused() -> None:
    world = World()
    world.agent(epoch_seen=2)
    refused = world.refused("a1")
    assert refused.refusal is Refusal.STALE_EPOCH
    assert "--epoch-min 3" in refused.message


def test_an_agent_that_registers_twice_on_a_stream_or_too_many_of_them_are_refused() -> None:
    world = World(config=MasterConfig(agents_max=1))
    world.agent("a1")
    world.agent("a1")
    assert world.refused("a1").refusal is Refusal.MALFORMED
    world.agent("a2")
    assert world.refused("a2").refusal is Refusal.TOO_MANY_AGENTS


def test_an_agent_speaks_only_after_it_registered() -> None:
    world = World()
    world.tell("a1", Heartbeat())
    assert world.refused("a1").refusal is Refusal.NOT_SUBSCRIBED


def test_an_agent_that_comes_back_smaller_is_never_offered_more_than_it_has() -> None:
    world = _running()
    world.close("a1")
    world.agent(stream="again", resources="cpus:0.5;mem:256", tasks=[on_agent()])
    assert world.offers() == []
    world.report("t1", TaskState.FINISHED, "u2")
    world.tell("again", Heartbeat())


def test_an_unreachable_agent_is_forgotten_after_two_weeks() -> None:
    world = World()
    world.agent()
    world.close("a1")
    world.wait(world.config.silence_ms)
    world.now_ms += world.config.forget_unreachable_ms
    world.step()
    assert world.registry.agents == ()
    assert world.master.tables.agents == {}


# --- messages -------------------------------------------------------------------------------------


def test_messages_pass_between_a_framework_and_its_running_task() -> None:
    world = _running()
    world.call("f", TaskMessage("", "a1", "t1", b"down"))
    assert world.heard("a1", TaskMessage) == [TaskMessage("1-F1", "a1", "t1", b"down")]
    world.tell("a1", TaskMessage("1-F1", "a1", "t1", b"up"))
    assert world.heard("f", TaskMessage) == [TaskMessage("1-F1", "a1", "t1", b"up")]


def test_messages_of_and_for_strangers_are_lost_and_counted() -> None:
    world = _running()
    world.call("f", TaskMessage("", "a1", "t9", b"down"))
    world.tell("a1", TaskMessage("1-F9", "a1", "t1", b"up"))
    assert world.said == []
    assert world.master.tables.refusals[Refusal.UNKNOWN_TASK] == 2
    world.close("a1")
    world.call("f", TaskMessage("", "a1", "t1", b"down"))
    assert world.master.tables.refusals[Refusal.AGENT_AWAY] == 1


def test_a_status_that_is_reported_again_is_forwarded_again() -> None:
    world = _running()
    world.report("t1", TaskState.FINISHED, "u2")
    world.report("t1", TaskState.FINISHED, "u2")
    assert [u.status.update_id for u in world.heard("f", Update)] == ["u2"]
    assert free(world) == ALL


@pytest.mark.parametrize("asks", [True, False])
def test_who_asked_for_all_of_its_tasks_is_told_of_those_that_come_later(asks: bool) -> None:
    """A scheduler that restarts elsewhere knows nothing, and asks but once."""
    world = World()
    world.framework()
    world.agent("a1")
    world.agent("a2")
    world.restart()
    world.framework(session_id="s2")
    if asks:
        world.call("f", Reconcile())
        assert world.updates() == []
    world.agent("a1", tasks=[on_agent("t1"), on_agent("over", TaskState.FINISHED)])
    [told] = world.updates() if asks else [None]
    if told is not None:
        assert (told.task_id, told.state) == ("t1", TaskState.RUNNING)
        assert (told.reason, told.agent_id) == (Reason.RECONCILIATION, "a1")
    world.close("f")
    world.framework(stream="f2", session_id="s3")
    world.agent("a2", tasks=[on_agent("t2")])
    assert world.updates() == [], "the next one has not asked"
