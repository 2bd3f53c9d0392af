"""The agent and its master: registration, epochs, silence, refusals (docs/decisions.md D1, D3)."""

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    FrameworkAdded,
    Heartbeat,
    KillTask,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    RunTask,
    StatusReport,
    TaskMessage,
    TaskOnAgent,
)
from mesoslite.model import Reason, Refusal
from mesoslite_agent.container import ContainerPhase, ContainerStarted, Phase
from mesoslite_agent.protocol import (
    Abort,
    AbortStart,
    DestroyContainer,
    DropStream,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorSpoke,
    MasterSpoke,
    SaveEpoch,
    StopContainer,
    StreamLost,
    StreamOpened,
    ToExecutor,
    ToMaster,
)
from mesoslite_agent.records import FINAL_REFUSALS
from mesoslite_agent.state import REGISTRATION_BITS, Agent
from tests.unit.agent_world import (
    CONFIG,
    INFO,
    Disk,
    World,
    exited,
    of,
    one,
    reference,
    said,
    states,
    task,
)


def test_the_first_event_is_a_tick_since_nothing_can_be_stamped_without_the_time() -> None:
    agent = Agent(Disk().recovered(), CONFIG)
    assert agent.next_deadline_ms() == 0
    with pytest.raises(AssertionError, match="Tick"):
        agent.handle(StreamOpened())


def test_the_first_word_on_a_stream_is_the_whole_truth() -> None:
    world = World()
    number = (1 << REGISTRATION_BITS) + 1
    assert world.handle(StreamOpened()) == [ToMaster(Register(INFO, "boot", 0, number=number))]
    world.connect()
    ended, _ = world.launch(task("ended")), world.run(task("running"))
    world.handle(exited(ended))
    register = one(said(world.handle(StreamOpened())), Register)
    assert register.frameworks == (reference("f"),)
    assert register.epoch_seen == 7
    assert [one for alike in register.tasks for one in alike.each()] == [
        TaskOnAgent("f", "*", task("ended"), TaskState.FINISHED),
        TaskOnAgent("f", "*", task("running"), TaskState.RUNNING),
    ]


def test_each_registration_has_a_higher_number_than_all_before_also_after_a_restart() -> None:
    world = World()
    numbers = []
    for _ in range(2):
        opened = [world.handle(StreamOpened()) for _ in range(2)]
        numbers += [one(said(effects), Register).number for effects in opened]
        world.restart()
    assert numbers == sorted(set(numbers))


def test_nothing_is_said_between_registration_and_its_answer() -> None:
    world = World()
    world.connect()
    container_id = world.run()
    world.handle(StreamLost())
    world.handle(StreamOpened())
    assert said(world.handle(exited(container_id, 3))) == []
    assert said(world.handle(ExecutorSpoke(container_id, b"x"))) == []
    assert said(world.tick(60_000)) == []
    assert states(world.hear(Registered())) == [TaskState.FAILED]


def test_a_repeated_registered_changes_nothing() -> None:
    world = World()
    world.connect()
    world.handle(exited(world.run()))
    assert world.hear(Registered()) == []


def test_a_heartbeat_leaves_every_15_seconds() -> None:
    world = World()
    world.connect()
    assert world.tick(14_999) == []
    world.hear(Heartbeat())
    assert world.tick(1) == [ToMaster(Heartbeat(1))]
    assert world.tick(14_999) == []
    assert world.tick(1) == [ToMaster(Heartbeat(2))]


def test_a_master_that_is_silent_for_75_seconds_is_left() -> None:
    world = World()
    world.connect()
    world.tick(60_000)
    world.hear(Heartbeat())
    world.tick(74_999)
    assert world.agent.registered
    assert of(world.tick(1), DropStream)
    assert not world.agent.registered
    assert world.agent.next_deadline_ms() is None


def test_a_master_that_never_answers_the_registration_is_left_too() -> None:
    world = World()
    world.handle(StreamOpened())
    assert world.agent.next_deadline_ms() == world.now_ms + 75_000
    assert of(world.tick(75_000), DropStream)


def test_a_higher_epoch_is_saved_before_anything_it_asks_for() -> None:
    world = World()
    world.connect()
    world.epoch = 8
    effects = world.hear(RunTask("f", "*", task()))
    assert effects[0] == SaveEpoch(8)
    assert world.agent.epoch == 8


def test_a_lower_master_is_not_obeyed_and_a_lower_registered_ends_the_stream() -> None:
    world = World()
    world.connect()
    world.handle(StreamOpened())
    assert world.handle(MasterSpoke(6, RunTask("f", "*", task()))) == []
    assert of(world.handle(MasterSpoke(6, Registered())), DropStream)
    assert not world.agent.registered


def test_the_words_of_a_lower_master_do_not_count_as_life() -> None:
    world = World()
    world.connect()
    world.tick(74_000)
    world.handle(MasterSpoke(6, Heartbeat()))
    assert of(world.tick(1_000), DropStream)


def test_what_arrives_after_a_drop_is_of_an_old_stream_and_ignored() -> None:
    world = World()
    world.connect()
    world.tick(75_000)
    assert world.hear(RunTask("f", "*", task())) == []
    assert world.hear(Registered()) == []


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refusal_ends_the_stream_and_a_final_one_the_agent(refusal: Refusal) -> None:
    world = World()
    world.handle(StreamOpened())
    [effect] = world.handle(MasterSpoke(0, Refused(refusal, "because")))
    assert isinstance(effect, Abort if refusal in FINAL_REFUSALS else DropStream)
    assert effect.why.endswith("because")
    assert world.agent.next_deadline_ms() is None


def test_an_agent_that_was_given_up_for_good_ends_its_tasks_and_then_itself() -> None:
    world = World()
    world.connect()
    running, ending = world.run(task("running")), world.run(task("ending"))
    world.hear(KillTask("f", "ending", 60_000))
    effects = world.hear(Refused(Refusal.AGENT_GONE, "another --work-dir"))
    assert of(effects, StopContainer) == [StopContainer(running, 15)]
    assert of(effects, DropStream)
    assert not of(effects, Abort)
    world.handle(exited(ending, None, 15))
    [end] = of(world.handle(exited(running, None, 15)), Abort)
    assert end.empty
    assert end.why.endswith("another --work-dir")


def test_an_agent_that_was_given_up_goes_on_to_end_after_a_restart() -> None:
    world = World()
    world.connect()
    running = world.run(task("running"))
    world.hear(Refused(Refusal.AGENT_GONE))
    world.restart()
    world.handle(ContainerStarted(running, 7))
    world.handle(StreamOpened())
    assert of(world.hear(Refused(Refusal.AGENT_GONE)), DropStream)
    assert of(world.handle(exited(running, None, 15)), Abort)


def test_an_agent_that_was_given_up_while_nothing_runs_there_ends_at_once() -> None:
    world = World()
    world.connect()
    [effect] = world.hear(Refused(Refusal.AGENT_GONE))
    assert isinstance(effect, Abort)
    assert effect.empty


def test_a_stale_masters_refusal_is_heard_though_its_epoch_is_lower() -> None:
    world = World()
    world.connect()
    world.handle(StreamOpened())
    assert of(world.handle(MasterSpoke(3, Refused(Refusal.STALE_EPOCH))), DropStream)


def test_introductions_are_void_on_the_next_stream() -> None:
    world = World()
    world.connect()
    world.handle(StreamOpened())
    world.hear(Registered())
    [report] = said(world.hear(RunTask("f", "*", task())))
    assert isinstance(report, StatusReport)
    assert report.status.state is TaskState.DROPPED
    assert report.status.refusal is Refusal.UNKNOWN_FRAMEWORK
    assert report.status.update_id == ""


def test_a_framework_whose_last_task_is_over_needs_no_second_introduction() -> None:
    world = World()
    world.connect()
    world.acknowledge(world.handle(exited(world.run())))
    assert world.disk.frameworks == {}
    assert world.launch(task("t2"))


def test_frameworks_that_a_master_introduces_are_bounded() -> None:
    world = World()
    world.connect()
    for count in range(CONFIG.frameworks_max + 10):
        world.agent.handle(MasterSpoke(7, FrameworkAdded(reference(f"f{count}"))))
    last = f"f{CONFIG.frameworks_max + 9}"
    assert states(world.hear(RunTask(last, "*", task()))) == [TaskState.DROPPED]


def test_a_kill_of_what_is_not_here_is_answered_gone_once() -> None:
    world = World()
    world.connect()
    [report] = said(world.hear(KillTask("g", "t9")))
    assert isinstance(report, StatusReport)
    assert (report.status.state, report.status.update_id) == (TaskState.GONE, "")
    assert report.status.reason is Reason.RECONCILIATION
    assert world.tick(20_000) == [ToMaster(Heartbeat(1))]


def test_messages_reach_a_process_that_is_attached_and_no_other() -> None:
    world = World()
    world.connect()
    container_id = world.run()
    message = TaskMessage("f", "agent-1", "t1", b"hello")
    assert world.hear(message) == []
    world.handle(ExecutorAttached(container_id))
    assert world.hear(message) == [ToExecutor(container_id, b"hello")]
    world.handle(ExecutorAttached(container_id))
    world.handle(ExecutorDetached(container_id))
    assert world.hear(message), "the newer process is still there"
    world.handle(ExecutorDetached(container_id))
    world.handle(ExecutorDetached(container_id))
    world.handle(ExecutorAttached(container_id))
    assert world.hear(message)
    world.handle(exited(container_id))
    assert world.hear(message) == []
    assert world.hear(TaskMessage("g", "agent-1", "t1", b"")) == []


def test_a_process_speaks_to_its_own_framework() -> None:
    world = World()
    world.connect()
    container_id = world.run()
    expected = ToMaster(TaskMessage("f", "agent-1", "t1", b"hello"))
    assert world.handle(ExecutorSpoke(container_id, b"hello")) == [expected]
    assert world.handle(ExecutorSpoke("9-9", b"hello")) == []
    world.handle(ExecutorAttached("9-9"))


def test_containers_that_nobody_knows_are_not_left_alone() -> None:
    world = World()
    assert world.handle(ContainerPhase("9-9", Phase.ROOT)) == [AbortStart("9-9")]
    assert world.handle(ContainerStarted("9-9", 1)) == [StopContainer("9-9", 9)]
    assert world.handle(exited("9-9")) == [DestroyContainer("9-9")]


def test_a_task_that_never_arrived_is_dropped_durably_and_once() -> None:
    world = World()
    world.connect()
    world.launch(task("here"))
    asked = ReconcileTasks((("f", "here"), ("f", "lost"), ("g", "lost")))
    effects = world.hear(asked)
    assert states(effects) == [TaskState.DROPPED, TaskState.DROPPED]
    assert world.hear(asked) == []
    assert world.hear(RunTask("f", "*", task("lost"))) == [], "it was told to be safe elsewhere"
    assert world.hear(KillTask("f", "lost")) == []
    world.restart()
    assert set(world.disk.streams) == {("f", "lost"), ("g", "lost")}
    again = world.connect()
    assert states(again) == [TaskState.DROPPED, TaskState.DROPPED]
    for report in said(again):
        if isinstance(report, StatusReport):
            assert report.status.reason is Reason.AGENT_RESTARTED
            assert "or its checkpoint is older" in report.status.message  # it may have run then
            world.acknowledge([ToMaster(report)])
    assert world.disk.streams == {}
