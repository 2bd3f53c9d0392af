"""Update streams, shutdown of frameworks, restarts (docs/semantics.md 3.1, 3.6; D5, D7, D8)."""

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    AcknowledgeStatus,
    KillTask,
    ReconcileTasks,
    Register,
    Registered,
    RunTask,
    ShutdownFramework,
    StatusReport,
)
from mesoslite.model import Reason
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
)
from mesoslite_agent.protocol import (
    AbortStart,
    DestroyContainer,
    ForgetFramework,
    ForgetTask,
    KeepPostMortem,
    SaveAcknowledgement,
    SaveUpdate,
    StartContainer,
    StopContainer,
    StreamLost,
    StreamOpened,
    ToMaster,
)
from tests.unit.agent_world import (
    World,
    exited,
    of,
    one,
    reports,
    said,
    states,
    status_of,
    task,
)

LOST = ContainerStartFailed("1-1", Phase.SPAWN, StartFailure.SPAWN_FAILED, "unknown")


def connected() -> World:
    world = World()
    world.connect()
    return world


# --- streams --------------------------------------------------------------------------------------


def test_one_status_is_outstanding_and_the_next_is_said_at_its_acknowledgement() -> None:
    world = connected()
    world.launch()
    running = world.handle(ContainerStarted("1-1", 1))
    assert reports(world.handle(exited("1-1"))) == []
    effects = world.acknowledge(running)
    assert isinstance(effects[0], SaveAcknowledgement)
    assert states(effects) == [TaskState.FINISHED]
    assert world.acknowledge(effects) == [ForgetTask("f", "t1"), ForgetFramework("f")]
    assert (world.disk.tasks, world.disk.streams, world.disk.frameworks) == ({}, {}, {})


def test_a_status_is_said_again_after_10_s_then_twice_as_late_up_to_10_minutes() -> None:
    world = connected()
    world.launch()
    world.handle(ContainerStarted("1-1", 1))
    for wait_s in (10, 20, 40, 80, 160, 320, 600, 600):
        assert reports(world.wait(wait_s * 1_000 - 1)) == []
        assert states(world.wait(1)) == [TaskState.RUNNING]
    world.handle(StreamLost())
    assert reports(world.wait(600_000)) == []
    assert states(world.connect()) == [TaskState.RUNNING]
    assert reports(world.wait(9_999)) == []
    assert states(world.wait(1)) == [TaskState.RUNNING]


def test_the_newest_state_travels_with_the_oldest_status() -> None:
    world = connected()
    world.launch()
    world.handle(ContainerStarted("1-1", 1))
    world.handle(exited("1-1"))
    [report] = reports(world.tick(1_000))
    assert (report.status.state, report.latest_state) == (TaskState.RUNNING, TaskState.FINISHED)


@pytest.mark.parametrize("update_id", ["", "1.2", "2.1", "nonsense"])
def test_a_wrong_acknowledgement_is_of_no_account(update_id: str) -> None:
    world = connected()
    world.launch()
    world.handle(ContainerStarted("1-1", 1))
    world.handle(exited("1-1"))
    assert world.hear(AcknowledgeStatus("f", "t1", update_id)) == []
    assert world.hear(AcknowledgeStatus("f", "t2", "1.1")) == []
    assert world.hear(AcknowledgeStatus("g", "t1", "1.1")) == []


def test_an_acknowledgement_said_twice_pops_once() -> None:
    world = connected()
    world.launch()
    running = world.handle(ContainerStarted("1-1", 1))
    world.handle(exited("1-1"))
    assert world.acknowledge(running) != []
    assert world.acknowledge(running) == []


def test_update_ids_are_never_used_again() -> None:
    world = connected()
    world.launch()
    first = status_of(world.handle(ContainerStarted("1-1", 1))).update_id
    world.restart()
    world.handle(exited("1-1"))
    [running, finished] = world.disk.streams["f", "t1"].updates
    assert (running.update_id, finished.update_id) == (first, "2.1")


# --- frameworks that go ---------------------------------------------------------------------------


def test_a_removed_framework_ends_with_its_tasks_and_each_end_is_told_once() -> None:
    world = connected()
    running, starting = world.run(task("running")), world.launch(task("starting"))
    world.handle(exited(world.launch(task("ended"))))
    world.hear(ReconcileTasks((("f", "lost"),)))
    effects = world.hear(ShutdownFramework("f"))
    assert of(effects, ForgetTask) == [ForgetTask("f", "ended"), ForgetTask("f", "lost")]
    assert of(effects, StopContainer) == [StopContainer(running, 15)]
    assert of(effects, AbortStart) == [AbortStart(starting)]
    assert said(effects) == []
    assert world.hear(ShutdownFramework("f")) == []
    assert said(world.tick(1_500)) == [], "nobody is told that a start lasts"
    ended = world.handle(exited(running, None, 15))
    kinds = [ForgetTask, ToMaster, KeepPostMortem, DestroyContainer]
    assert [type(effect) for effect in ended] == kinds
    status = status_of(ended)
    assert (status.state, status.update_id) == (TaskState.KILLED, "")
    assert status.reason is Reason.FRAMEWORK_REMOVED
    world.handle(ContainerStartFailed(starting, Phase.FETCH, StartFailure.FETCH_FAILED, "aborted"))
    assert (world.disk.tasks, world.disk.streams, world.disk.frameworks) == ({}, {}, {})
    assert world.hear(ShutdownFramework("f")) == []


def test_an_end_that_waits_behind_an_older_status_is_told_before_a_removal_drops_it() -> None:
    world = connected()
    world.launch()
    world.handle(ContainerStarted("1-1", 1))
    world.handle(exited("1-1"))
    effects = world.hear(ShutdownFramework("f"))
    status = status_of(effects)
    assert (status.state, status.update_id) == (TaskState.FINISHED, "")
    assert of(effects, ForgetTask) == [ForgetTask("f", "t1")]


def test_a_removal_survives_a_restart() -> None:
    world = connected()
    world.run()
    world.hear(ShutdownFramework("f"))
    world.restart()
    effects = world.connect()
    [listed] = one(said(effects), Register).tasks
    assert listed.states == (TaskState.KILLING,)
    assert reports(effects) == []
    assert of(world.handle(ContainerStarted("1-1", 1)), StopContainer)
    status = status_of(world.handle(exited("1-1", None, 15)))
    assert (status.reason, status.update_id) == (Reason.FRAMEWORK_REMOVED, "")
    assert world.disk.tasks == {}


def test_a_removal_shortens_a_kill_and_takes_its_place() -> None:
    world = connected()
    world.run(task(kill_grace_ms=1_000))
    world.hear(KillTask("f", "t1", 60_000))
    assert of(world.hear(ShutdownFramework("f")), StopContainer) == []
    assert of(world.tick(1_000), StopContainer) == [StopContainer("1-1", 9)]
    status = status_of(world.handle(exited("1-1", None, 9)))
    assert status.reason is Reason.FRAMEWORK_REMOVED


def test_the_end_of_a_removed_frameworks_task_follows_the_registration_that_names_it() -> None:
    """Else the master, to which the registration is news, would believe in the task for ever."""
    world = World()
    world.connect()
    container_id = world.run()
    world.hear(ShutdownFramework("f"))
    world.handle(StreamLost())
    world.handle(StreamOpened())
    assert said(world.handle(exited(container_id, signal=9))) == []
    [end] = reports(world.hear(Registered()))
    assert (end.status.state, end.status.update_id) == (TaskState.KILLED, "")
    world.handle(StreamLost())
    world.handle(StreamOpened())
    assert reports(world.hear(Registered())) == []


def test_a_removed_framework_that_was_only_introduced_leaves_nothing() -> None:
    world = connected()
    assert world.hear(ShutdownFramework("f")) == []
    assert world.hear(ShutdownFramework("never")) == []
    assert states(world.hear(RunTask("f", "*", task()))) == [TaskState.DROPPED]


# --- restarts -------------------------------------------------------------------------------------


def test_a_restart_says_again_what_was_not_acknowledged_and_nothing_twice() -> None:
    world = connected()
    world.launch()
    world.handle(ContainerStarted("1-1", 1))
    world.restart()
    assert states(world.connect()) == [TaskState.RUNNING]
    assert reports(world.handle(ContainerStarted("1-1", 1))) == [], "RUNNING is told once"
    assert states(world.acknowledge_head("t1")) == []
    assert states(world.handle(exited("1-1", 3))) == [TaskState.FAILED]


def test_what_ended_while_the_agent_was_away_is_told_with_its_exit_code() -> None:
    world = connected()
    world.run()
    world.restart()
    world.connect()
    status = status_of(world.handle(exited("1-1", 7)))
    assert (status.state, status.exit_code) == (TaskState.FAILED, 7)


def test_a_start_that_a_crash_cut_short_is_settled_by_what_the_launcher_says() -> None:
    cases: list[tuple[ContainerEvent, TaskState]] = [
        (ContainerStarted("1-1", 1), TaskState.RUNNING),
        (LOST, TaskState.FAILED),
        (exited("1-1"), TaskState.FINISHED),
    ]
    for event, state in cases:
        world = connected()
        world.launch()
        assert of(world.restart(), StartContainer) == [], "an intent is carried out once"
        world.connect()
        assert states(world.handle(event)) == [state]


def test_a_start_that_nobody_tells_of_after_a_restart_is_told_and_given_up() -> None:
    world = connected()
    world.launch()
    world.restart()
    world.tick(1_000)
    [status] = world.disk.streams["f", "t1"].updates
    assert (status.state, status.message[:8]) == (TaskState.STARTING, "recovery")
    world.restart()
    world.tick(1_000)
    assert len(world.disk.streams["f", "t1"].updates) == 1
    assert of(world.tick(600_000), AbortStart) == [AbortStart("1-1")]


def test_a_running_task_that_the_launcher_does_not_know_any_more_is_not_guessed_at() -> None:
    world = connected()
    world.run()
    world.restart()
    world.connect()
    status = status_of(world.handle(LOST))
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.LAUNCHER_TERMINATED)


def test_a_kill_survives_a_restart() -> None:
    world = connected()
    world.run()
    world.acknowledge([e for e in world.hear(KillTask("f", "t1")) if reports([e])])
    world.restart()
    world.connect()
    assert world.handle(ContainerStarted("1-1", 1)) == [StopContainer("1-1", 15)]
    assert world.handle(ContainerStarted("1-1", 1)) == []
    assert world.tick(3_000) == [StopContainer("1-1", 9)]
    assert states(world.handle(exited("1-1", None, 9))) == [TaskState.KILLED]


def test_a_time_limit_counts_from_the_first_start_also_after_a_restart() -> None:
    world = connected()
    world.run(task(max_completion_ms=60_000))
    world.now_ms += 59_000
    assert of(world.restart(), SaveUpdate) == []
    assert [e.status.state for e in of(world.tick(1_000), SaveUpdate)] == [TaskState.KILLING]


def test_a_host_that_was_started_again_has_lost_its_tasks() -> None:
    world = connected()
    world.run(task("running"))
    world.launch(task("starting"))
    world.run(task("killed"))
    world.hear(KillTask("f", "killed"))
    world.handle(exited(world.run(task("ended")), 3))
    effects = world.restart(rebooted=True)
    assert {e.status.task_id: e.status.reason for e in of(effects, SaveUpdate)} == dict.fromkeys(
        ("running", "starting", "killed"), Reason.HOST_REBOOTED
    )
    assert len(of(effects, DestroyContainer)) == 3
    assert one(said(world.handle(StreamOpened())), Register).tasks[0].states[0] is TaskState.FAILED
    assert world.handle(LOST) == [DestroyContainer("1-1")]


def test_what_had_ended_before_its_host_was_started_again_is_told_as_it_ended() -> None:
    world = connected()
    world.run(task("ran"))
    world.launch(task("quick"))
    world.launch(task("none"))
    world.run(task("cut"))
    world.run(task("asked"))
    world.hear(KillTask("f", "asked"))
    world.run(task("lost"))
    ends = (
        exited("1-1", 3),
        exited("1-2", 0),
        ContainerStartFailed("1-3", Phase.SPAWN, StartFailure.SPAWN_FAILED, "no such file"),
        exited("1-5", None, 15),
        exited("1-6", launcher_lost=True),
        exited("9-9", 7),
    )
    effects = world.restart(rebooted=True, ends=ends)
    told = [(e.status.task_id, e.status.state, e.status.reason) for e in of(effects, SaveUpdate)]
    assert told == [
        ("ran", TaskState.FAILED, Reason.COMMAND_EXITED),
        ("quick", TaskState.RUNNING, Reason.COMMAND_STARTED),
        ("quick", TaskState.FINISHED, Reason.COMMAND_EXITED),
        ("none", TaskState.FAILED, Reason.SPAWN_FAILED),
        ("cut", TaskState.FAILED, Reason.HOST_REBOOTED),
        ("asked", TaskState.KILLED, Reason.KILL_ASKED),
        ("lost", TaskState.FAILED, Reason.LAUNCHER_TERMINATED),
    ]
    assert of(effects, SaveUpdate)[0].status.exit_code == 3
    assert len(of(effects, DestroyContainer)) == 6


def test_a_removed_frameworks_task_does_not_outlive_a_reboot() -> None:
    world = connected()
    world.run()
    world.hear(ShutdownFramework("f"))
    effects = world.restart(rebooted=True)
    assert of(effects, ForgetTask) == [ForgetTask("f", "t1")]
    assert said(effects) == []
    assert (world.disk.tasks, world.disk.streams, world.disk.frameworks) == ({}, {}, {})


def test_status_reports_of_a_task_that_had_no_container_survive_too() -> None:
    world = connected()
    world.hear(RunTask("f", "*", task(user="root")))
    world.restart()
    effects = world.connect()
    assert one(said(effects), Register).tasks == ()
    assert isinstance(said(effects)[1], StatusReport)


@pytest.mark.parametrize("rest", [True, False], ids=["beside another", "alone"])
def test_a_task_whose_checkpoint_is_damaged_is_ended_and_told_so_until_that_is_acknowledged(
    rest: bool,
) -> None:
    world = connected()
    world.run(task("t1"))
    if rest:
        world.run(task("t2"))
    world.restart(damaged=(("f", "t1"),))
    assert world.agent.container_ids() == ({"1-2"} if rest else frozenset())
    assert [key[1] for key in world.disk.tasks] == (["t2"] if rest else [])
    assert bool(world.disk.frameworks) == rest
    world.restart()
    world.connect()
    [head] = world.disk.streams["f", "t1"].updates
    assert (head.state, head.reason) == (TaskState.FAILED, Reason.CHECKPOINT_DAMAGED)
    assert world.hear(ReconcileTasks((("f", "t1"),))) == [], "the stream answers"
    world.acknowledge_head("t1")
    assert ("f", "t1") not in world.disk.streams


def test_a_damaged_task_of_a_removed_framework_is_forgotten_and_nobody_is_told() -> None:
    world = connected()
    world.run(task("t1"))
    world.run(task("t2"))
    world.hear(ShutdownFramework("f"))
    world.restart(damaged=(("f", "t1"),))
    assert list(world.disk.tasks) == [("f", "t2")]
    world.connect()
    assert world.hear(ReconcileTasks((("f", "t1"),))) == [], "no stream outlives its framework"
    world.handle(exited("1-2", None, 15))
    assert (world.disk.tasks, world.disk.streams, world.disk.frameworks) == ({}, {}, {})


def test_a_post_mortem_tells_the_whole_life_over_all_runs_of_the_agent() -> None:
    world = connected()
    world.run(task(kill_grace_ms=60_000))
    world.restart()
    world.connect()
    world.handle(ContainerStarted("1-1", 1))
    world.acknowledge(world.hear(KillTask("f", "t1")))
    world.restart()
    ended = world.handle(exited("1-1", None, 15, oom=True))
    [told] = of(ended, KeepPostMortem)
    assert [status.state.name for status in told.life] == ["RUNNING", "KILLING", "KILLED"]
    assert told.oom
    assert told.record.container_id == "1-1"
    [again] = of(world.restart(), KeepPostMortem)
    assert again.life == told.life, "said again while its end waits"
    world.connect()
    world.acknowledge_head("t1")
    assert of(world.restart(), KeepPostMortem) == []
