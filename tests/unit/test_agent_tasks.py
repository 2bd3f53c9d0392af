"""From RunTask to the end: starts, phases, kills and exits (docs/semantics.md 3.4)."""

from dataclasses import replace

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import KillTask, RunTask, ShutdownFramework
from mesoslite.model import Reason, Task, Uri
from mesoslite.resources import Resources
from mesoslite_agent.container import (
    ContainerExited,
    ContainerPhase,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
)
from mesoslite_agent.launches import containerizer_of
from mesoslite_agent.protocol import (
    AbortStart,
    DestroyContainer,
    Effect,
    KeepPostMortem,
    SaveFramework,
    SaveTask,
    SaveUpdate,
    StartContainer,
    StopContainer,
    Tick,
    ToMaster,
)
from tests.unit.agent_world import (
    CONFIG,
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

SIGTERM, SIGKILL = 15, 9


def connected() -> World:
    world = World()
    world.connect()
    return world


# --- starts ---------------------------------------------------------------------------------------


def test_the_intent_is_saved_before_the_container_is_started() -> None:
    effects = connected().hear(RunTask("f", "ads", task()))
    assert [type(effect) for effect in effects] == [SaveFramework, SaveTask, StartContainer]
    record, spec = one(effects, SaveTask).record, one(effects, StartContainer).spec
    assert (record.role, record.task, record.container_id) == ("ads", task(), "1-1")
    assert (spec.container_id, spec.task_id, spec.framework_id) == ("1-1", "t1", "f")


def test_a_task_is_launched_once_however_often_it_is_asked_for() -> None:
    world = connected()
    run = RunTask("f", "*", task())
    world.hear(run)
    assert world.hear(run) == []
    world.handle(ContainerStarted("1-1", 1))
    assert world.hear(run) == []
    world.handle(exited("1-1"))
    assert world.hear(run) == []
    world.restart()
    world.connect()
    assert world.hear(run) == []


def test_container_ids_are_never_used_again() -> None:
    world = connected()
    assert [world.launch(task("a")), world.launch(task("b"))] == ["1-1", "1-2"]
    world.restart()
    world.connect()
    assert world.launch(task("c")) == "2-1"


def test_limits_and_environment_come_from_the_task() -> None:
    asked = task(
        resources=Resources(cpus=0.001, mem=32.5),
        environment={"A": "b", "MESOSLITE_SECRET": "stolen"},
        user="worker",
    )
    effects = connected().hear(RunTask("f", "*", asked))
    spec, record = one(effects, StartContainer).spec, one(effects, SaveTask).record
    assert spec.cpu_limit_milli == 1
    assert spec.mem_limit_bytes == 32 * 2**20 + 2**19
    assert spec.pids_limit == 1_024
    assert spec.user is None, "its own user needs no switch"
    assert spec.containerizer == "process"
    environment = dict(spec.environment)
    assert environment["A"] == "b"
    assert environment["MESOSLITE_SECRET"] == record.secret
    assert environment["MESOSLITE_EXECUTOR_SOCKET"] == CONFIG.executor_socket
    assert (environment["MESOSLITE_TASK_ID"], environment["MESOSLITE_FRAMEWORK_ID"]) == ("t1", "f")


def test_no_resource_means_no_limit_and_too_many_processes_are_cut() -> None:
    asked = task(resources=Resources(mem=1), pids_limit=10**9)
    spec = one(connected().hear(RunTask("f", "*", asked)), StartContainer).spec
    assert (spec.cpu_limit_milli, spec.pids_limit) == (None, CONFIG.pids_limit_max)
    spec = one(
        connected().hear(RunTask("f", "*", task(resources=Resources(cpus=1)))), StartContainer
    ).spec
    assert spec.mem_limit_bytes is None


def test_secrets_differ_for_each_container_and_for_each_seed() -> None:
    secrets = set()
    for seed in (b"0" * 16, b"1" * 16):
        world = World(replace(CONFIG, secret_seed=seed))
        world.connect()
        for task_id in ("a", "b"):
            secrets.add(one(world.hear(RunTask("f", "*", task(task_id))), SaveTask).record.secret)
    assert len(secrets) == 4
    assert "0" * 16 not in repr(CONFIG)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (task(containerizer="docker"), Reason.CONTAINERIZER_UNAVAILABLE),
        (task(containerizer="process", image="/images/a"), Reason.CONTAINERIZER_UNAVAILABLE),
        (task(user="root"), Reason.USER_NOT_ALLOWED),
    ],
)
def test_what_can_not_run_here_is_an_error_and_nothing_is_started(
    asked: Task, reason: Reason
) -> None:
    world = connected()
    effects = world.hear(RunTask("f", "*", asked))
    assert [type(effect) for effect in effects] == [SaveUpdate, ToMaster]
    status = status_of(effects)
    assert (status.state, status.reason) == (TaskState.ERROR, reason)
    assert world.hear(RunTask("f", "*", asked)) == []
    world.acknowledge(effects)
    assert world.disk.streams == {}


def test_an_allowed_user_is_switched_to() -> None:
    world = World(replace(CONFIG, allowed_users=frozenset({"kafka"})))
    world.connect()
    spec = one(world.hear(RunTask("f", "*", task(user="kafka"))), StartContainer).spec
    assert spec.user == "kafka"


def test_an_image_takes_a_containerizer_that_has_images() -> None:
    assert containerizer_of(task(image="/a"), ("process", "oci")) == "oci"
    assert containerizer_of(task(), ("process", "oci")) == "process"
    assert containerizer_of(task(containerizer="oci"), ("process", "oci")) == "oci"


def test_an_agent_with_too_many_tasks_says_so_and_keeps_nothing() -> None:
    world = World(replace(CONFIG, tasks_max=2))
    world.connect()
    world.launch(task("a"))
    world.handle(exited(world.launch(task("b"))))
    effects = world.hear(RunTask("f", "*", task("c")))
    status = status_of(effects)
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.LAUNCH_REFUSED)
    assert status.update_id == ""
    assert len(effects) == 1


def test_a_short_start_goes_straight_to_running() -> None:
    world = connected()
    world.launch()
    for phase in Phase:
        assert world.handle(ContainerPhase("1-1", phase)) == []
        assert world.tick(200) == []
    effects = world.handle(ContainerStarted("1-1", 1))
    assert [type(effect) for effect in effects] == [SaveUpdate, ToMaster]
    assert states(effects) == [TaskState.RUNNING]
    assert world.handle(ContainerStarted("1-1", 1)) == []
    assert world.tick(2_000) == []


def test_each_phase_that_lasts_is_told_once_with_what_it_waits_for() -> None:
    world = connected()
    world.launch(task(uris=(Uri("file:///a"), Uri("file:///b"))))
    told = world.tick(1_000)
    assert status_of(told).message.startswith("queue")
    world.acknowledge(told)
    for phase, what in [(Phase.FETCH, "file:///a and 1 more"), (Phase.ROOT, "root file system")]:
        world.handle(ContainerPhase("1-1", phase))
        assert world.tick(999) == []
        told = world.tick(1)
        assert states(told) == [TaskState.STARTING]
        assert what in status_of(told).message
        assert status_of(told).message.startswith(phase.value)
        world.acknowledge(told)
        assert world.tick(2_000) == []


def test_a_phase_entered_twice_does_not_start_anew() -> None:
    world = connected()
    world.launch()
    world.handle(ContainerPhase("1-1", Phase.FETCH))
    world.tick(600)
    world.handle(ContainerPhase("1-1", Phase.FETCH))
    assert states(world.tick(400)) == [TaskState.STARTING]


@pytest.mark.parametrize(
    ("phase", "limit_ms"), [(Phase.FETCH, 600_000), (Phase.ROOT, 60_000), (Phase.SPAWN, 60_000)]
)
def test_a_phase_over_its_deadline_ends_the_start(phase: Phase, limit_ms: int) -> None:
    world = World(replace(CONFIG, silence_ms=10**9))
    world.connect()
    world.launch()
    world.handle(ContainerPhase("1-1", phase))
    world.acknowledge(world.tick(1_000))
    assert of(world.tick(limit_ms - 1_001), AbortStart) == []
    effects = world.tick(1)
    assert of(effects, AbortStart) == [AbortStart("1-1")]
    world.acknowledge([effect for effect in effects if reports([effect])])
    ended = world.handle(ContainerStartFailed("1-1", phase, StartFailure.FETCH_FAILED, "gave up"))
    status = status_of(ended)
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.START_TIMEOUT)
    assert phase.value in status.message
    assert of(ended, DestroyContainer) == [DestroyContainer("1-1")]


@pytest.mark.parametrize(
    ("failure", "state", "reason"),
    [
        (StartFailure.FETCH_FAILED, TaskState.FAILED, Reason.FETCH_FAILED),
        (StartFailure.ROOT_FAILED, TaskState.FAILED, Reason.ROOT_FAILED),
        (StartFailure.SPAWN_FAILED, TaskState.FAILED, Reason.SPAWN_FAILED),
        (StartFailure.NEVER_ASKED, TaskState.DROPPED, Reason.AGENT_RESTARTED),
        (
            StartFailure.CONTAINERIZER_UNAVAILABLE,
            TaskState.ERROR,
            Reason.CONTAINERIZER_UNAVAILABLE,
        ),
    ],
)
def test_every_failed_start_has_its_reason(
    failure: StartFailure, state: TaskState, reason: Reason
) -> None:
    world = connected()
    world.launch()
    status = status_of(world.handle(ContainerStartFailed("1-1", Phase.FETCH, failure, "no such")))
    assert (status.state, status.reason) == (state, reason)
    assert status.message == "fetch: no such"


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "state", "reason", "message"),
    [
        (exited("1-1", 0), TaskState.FINISHED, Reason.COMMAND_EXITED, "exited with code 0"),
        (exited("1-1", 3), TaskState.FAILED, Reason.COMMAND_EXITED, "exited with code 3"),
        (exited("1-1", None, 11), TaskState.FAILED, Reason.COMMAND_SIGNALED, "killed by SIGSEGV"),
        (exited("1-1", None, 99), TaskState.FAILED, Reason.COMMAND_SIGNALED, "killed by signal 99"),
        (
            exited("1-1", None, 9, oom=True),
            TaskState.FAILED,
            Reason.MEMORY_LIMIT,
            "took more memory than its 32 MiB and was killed",
        ),
        (
            exited("1-1", None, 9, pids_exceeded=True),
            TaskState.FAILED,
            Reason.PIDS_LIMIT,
            "had more processes and threads than its limit and was killed",
        ),
        (
            exited("1-1", launcher_lost=True),
            TaskState.FAILED,
            Reason.LAUNCHER_TERMINATED,
            "the agent's launcher died, and nobody knows how the command ended",
        ),
    ],
)
def test_every_end_is_called_by_its_cause(
    end: ContainerExited, state: TaskState, reason: Reason, message: str
) -> None:
    world = connected()
    world.run()
    effects = world.handle(end)
    kinds = [SaveUpdate, KeepPostMortem, DestroyContainer, ToMaster]
    assert [type(effect) for effect in effects] == kinds
    status = status_of(effects)
    assert (status.state, status.reason, status.message) == (state, reason, message)
    assert (status.exit_code, status.signal) == (end.exit_code, end.signal)
    assert (status.cpu_ms, status.peak_mem_bytes) == (120, 4_096)
    assert (status.container_id, status.agent_id) == ("1-1", "agent-1")
    assert world.handle(end) == [DestroyContainer("1-1")], "the launcher tells it until it is told"


def test_an_end_that_comes_in_one_batch_with_its_start_is_told_with_it() -> None:
    """So the master frees what the task held a round trip sooner, and nothing is said again."""
    world = connected()
    world.launch()
    effects: list[Effect] = []
    for event in (ContainerStarted("1-1", 1), exited("1-1"), Tick(world.now_ms)):
        effects += world.agent.handle(event)
    [report] = reports(effects)
    assert (report.status.state, report.latest_state) == (TaskState.RUNNING, TaskState.FINISHED)
    assert effects[-1] == ToMaster(report), "behind all that is durable"
    world.disk.commit(effects)
    assert states(world.tick(9_999)) == []
    assert states(world.tick(1)) == [TaskState.RUNNING]


def test_an_end_that_overtakes_its_start_is_an_end() -> None:
    world = connected()
    world.launch()
    assert states(world.handle(exited("1-1"))) == [TaskState.FINISHED]
    assert world.handle(ContainerStarted("1-1", 1)) == [StopContainer("1-1", SIGKILL)]


# --- kills ----------------------------------------------------------------------------------------


def test_a_kill_is_term_then_grace_then_kill_until_it_is_over() -> None:
    world = connected()
    world.run(task(kill_grace_ms=3_000))
    effects = world.hear(KillTask("f", "t1"))
    assert states(effects) == [TaskState.KILLING]
    assert of(effects, StopContainer) == [StopContainer("1-1", SIGTERM)]
    world.acknowledge(effects)
    assert world.tick(2_999) == []
    assert world.tick(1) == [StopContainer("1-1", SIGKILL)]
    assert world.tick(9_999) == []
    assert world.tick(1) == [StopContainer("1-1", SIGKILL)]
    status = status_of(world.handle(exited("1-1", None, 9)))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.KILL_ASKED)
    assert status.message == "its end was asked for: killed by SIGKILL"
    assert of(world.tick(60_000), StopContainer) == []


def test_a_task_that_uses_its_grace_to_end_well_was_killed_all_the_same() -> None:
    world = connected()
    world.run()
    world.acknowledge(world.hear(KillTask("f", "t1")))
    status = status_of(world.handle(exited("1-1", 0)))
    assert (status.state, status.exit_code) == (TaskState.KILLED, 0)


def test_a_second_kill_shortens_the_grace_and_never_lengthens_it() -> None:
    world = connected()
    world.run()
    world.hear(KillTask("f", "t1", 10_000))
    assert world.hear(KillTask("f", "t1", 60_000)) == []
    assert of(world.hear(KillTask("f", "t1", 2_000)), StopContainer) == []
    assert of(world.tick(1_999), StopContainer) == []
    assert of(world.tick(1), StopContainer) == [StopContainer("1-1", SIGKILL)]
    assert of(world.hear(KillTask("f", "t1", 0)), StopContainer) == []


def test_a_later_kill_with_more_grace_leaves_the_first_in_force() -> None:
    world = connected()
    world.run()
    world.hear(KillTask("f", "t1", 2_000))
    world.hear(KillTask("f", "t1", 60_000))
    assert of(world.tick(2_000), StopContainer) == [StopContainer("1-1", SIGKILL)]


def test_a_kill_without_grace_does_not_wait() -> None:
    world = connected()
    world.run()
    asked = world.hear(KillTask("f", "t1", 0))
    assert of(asked, StopContainer)[-1] == StopContainer("1-1", SIGKILL)


@pytest.mark.parametrize("second_ms", [60_000, 5_000])
def test_a_restart_keeps_the_grace_of_a_kill(second_ms: int) -> None:
    world = connected()
    world.run(task(kill_grace_ms=3_000))
    world.acknowledge(world.hear(KillTask("f", "t1", 60_000)))
    world.tick(1_000)
    world.hear(KillTask("f", "t1", second_ms))
    left_ms = min(59_000, second_ms)
    for away_ms in (1_000, 2_000):
        world.restart()
        world.tick(away_ms)
        left_ms -= away_ms
        assert of(world.handle(ContainerStarted("1-1", 1)), StopContainer) == [
            StopContainer("1-1", SIGTERM)
        ]
    assert of(world.tick(left_ms - 1), StopContainer) == []
    assert of(world.tick(1), StopContainer) == [StopContainer("1-1", SIGKILL)]


def test_a_grace_that_ran_out_while_the_agent_was_away_leaves_a_second_to_obey() -> None:
    """The earlier run may have died before it sent SIGTERM."""
    world = connected()
    world.run(task(kill_grace_ms=3_000))
    world.hear(KillTask("f", "t1"))
    world.restart()
    world.tick(7_200_000)
    world.handle(ContainerStarted("1-1", 1))
    assert of(world.tick(999), StopContainer) == []
    assert of(world.tick(1), StopContainer) == [StopContainer("1-1", SIGKILL)]


def test_the_end_of_a_framework_does_not_begin_the_grace_of_a_kill_anew() -> None:
    world = connected()
    world.run(task(kill_grace_ms=5_000))
    world.hear(KillTask("f", "t1", 3_000))
    world.tick(2_000)
    world.hear(ShutdownFramework("f"))
    world.restart()
    world.handle(ContainerStarted("1-1", 1))
    assert of(world.tick(999), StopContainer) == []
    assert of(world.tick(1), StopContainer) == [StopContainer("1-1", SIGKILL)]


def test_a_task_killed_while_it_starts_never_ran() -> None:
    world = connected()
    world.launch()
    effects = world.hear(KillTask("f", "t1"))
    assert of(effects, AbortStart) == [AbortStart("1-1")]
    assert world.handle(ContainerPhase("1-1", Phase.ROOT)) == []
    assert of(world.tick(10_000), AbortStart), "asked again, since nobody answers"
    world.acknowledge(effects)
    status = status_of(
        world.handle(ContainerStartFailed("1-1", Phase.ROOT, StartFailure.ROOT_FAILED, "aborted"))
    )
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.KILLED_DURING_LAUNCH)


def test_a_start_that_crosses_its_kill_is_killed_with_grace() -> None:
    world = connected()
    world.launch()
    world.acknowledge(world.hear(KillTask("f", "t1", 5_000)))
    world.hear(KillTask("f", "t1", 1_000))
    assert world.handle(ContainerStarted("1-1", 1)) == [StopContainer("1-1", SIGTERM)]
    assert world.tick(1_000) == [StopContainer("1-1", SIGKILL)]
    status = status_of(world.handle(exited("1-1", None, 9)))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.KILL_ASKED)


def test_the_memory_limit_is_told_even_of_a_task_that_was_being_killed() -> None:
    world = connected()
    world.run()
    world.acknowledge(world.hear(KillTask("f", "t1")))
    status = status_of(world.handle(exited("1-1", None, 9, oom=True)))
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.MEMORY_LIMIT)


@pytest.mark.parametrize("end", [exited("1-1", None, 15, oom=True), exited("1-1", 1, oom=True)])
def test_a_task_that_outlived_its_memory_limit_ends_as_it_was_asked_to(
    end: ContainerExited,
) -> None:
    world = connected()
    world.run()
    world.acknowledge(world.hear(KillTask("f", "t1")))
    status = status_of(world.handle(end))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.KILL_ASKED)


@pytest.mark.parametrize(
    "end", [exited("1-1", None, 9, oom=True), exited("1-1", None, 9, pids_exceeded=True)]
)
def test_the_sigkill_of_the_agent_is_not_taken_for_that_of_a_limit(end: ContainerExited) -> None:
    world = connected()
    world.run()
    asked = world.hear(KillTask("f", "t1", 0))
    world.acknowledge(asked)
    assert of([*asked, *world.tick()], StopContainer)[-1] == StopContainer("1-1", SIGKILL)
    status = status_of(world.handle(end))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.KILL_ASKED)


def test_a_task_over_its_time_ends_as_failed() -> None:
    world = connected()
    world.launch(task(max_completion_ms=5_000, kill_grace_ms=1_000))
    world.tick(900)
    world.acknowledge(world.handle(ContainerStarted("1-1", 1)))
    assert world.tick(4_999) == []
    effects = world.tick(1)
    assert states(effects) == [TaskState.KILLING]
    assert of(effects, StopContainer) == [StopContainer("1-1", SIGTERM)]
    world.acknowledge(effects)
    assert states(world.hear(KillTask("f", "t1", 500))) == [], "why it ends was decided before"
    assert world.tick(500) == [StopContainer("1-1", SIGKILL)]
    status = status_of(world.handle(exited("1-1", None, 9)))
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.MAX_COMPLETION_TIME)
    assert status.message == "ran for longer than its 5 s: killed by SIGKILL"


def test_a_clock_that_was_set_back_gives_a_task_its_time_anew_and_no_more() -> None:
    world = connected()
    world.launch(task(max_completion_ms=5_000, kill_grace_ms=1_000))
    world.handle(ContainerStarted("1-1", 1))
    world.tick(4_000)
    world.now_ms -= 900_000
    world.restart()
    world.handle(ContainerStarted("1-1", 1))
    assert of(world.tick(4_999), StopContainer) == []
    assert of(world.tick(1), StopContainer) == [StopContainer("1-1", SIGTERM)]


def test_a_task_without_a_time_limit_sets_no_deadline() -> None:
    world = connected()
    world.run()
    assert world.agent.next_deadline_ms() == world.now_ms + 10_000, "a resend that was not needed"
    assert world.tick(10_000) == []
    assert world.agent.next_deadline_ms() == world.now_ms + 5_000, "the heartbeat"


def test_an_end_is_not_said_to_anybody_without_a_stream_but_is_kept() -> None:
    world = World()
    world.connect()
    world.run()
    world.handle(exited("1-1", 3))
    assert [s.state for s in world.disk.streams["f", "t1"].updates] == [TaskState.FAILED]
    assert said(world.connect())[1:] != []
