"""The session and statuses: each is told, none twice, and what is unknown is asked for."""

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    HEARTBEAT_INTERVAL_MS,
    AcceptResult,
    Acknowledge,
    AgentLost,
    Heartbeat,
    Offers,
    Reconcile,
    Update,
)
from mesoslite.model import Reason, TaskReference
from mesoslite.scheduler.protocol import (
    CallbackReturned,
    Decided,
    Event,
    Finish,
    OnAgentLost,
    OnStatus,
    OnStatuses,
    RunCallback,
    StatusesTold,
    Stop,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.session import Session
from mesoslite.scheduler.telling import CALLBACKS_WAITING_MAX, STATUSES_TOGETHER_MAX
from mesoslite.testing import offer, status
from tests.unit.session_bench import (
    DONE,
    Holder,
    Launcher,
    busy_session,
    hear,
    kinds,
    launched,
    subscribed,
    task,
)

# --- statuses -------------------------------------------------------------------------------------


def test_a_status_is_acknowledged_after_its_callback_and_again_when_it_comes_again() -> None:
    bench = subscribed(Launcher())
    running = status("t1", TaskState.RUNNING)
    acknowledged = Acknowledge("agent-1", "t1", "t1-RUNNING")
    assert bench.hears(Update(running)) == [acknowledged]
    assert bench.hears(Update(running)) == [acknowledged]
    assert bench.callbacks == [OnStatus(running)]


def test_nothing_is_acknowledged_before_status_update_has_returned() -> None:
    session = busy_session()
    session.handle(CallbackReturned())
    told = status("t1", TaskState.RUNNING)
    assert hear(session, Update(told)) == [RunCallback(OnStatus(told))]
    assert hear(session, Update(told)) == []
    assert session.handle(CallbackReturned()) == [
        ToMaster(Acknowledge("agent-1", "t1", "t1-RUNNING"))
    ]


def test_what_an_interrupted_callback_was_told_is_not_acknowledged() -> None:
    """docs/decisions.md D13: its write may have failed, and the next scheduler is to hear of it."""
    session = busy_session()
    session.handle(CallbackReturned())
    told = status("t1", TaskState.RUNNING)
    hear(session, Update(told))
    assert session.handle(CallbackReturned(interrupted=True)) == []


def test_a_status_without_an_update_id_is_not_acknowledged() -> None:
    bench = subscribed(Launcher())
    lost = status("t1", TaskState.UNREACHABLE, update_id="")
    assert bench.hears(Update(lost)) == []
    assert bench.callbacks == [OnStatus(lost)]


def test_an_end_is_told_once_whatever_answers_cross_it() -> None:
    """The master sends what waits for an acknowledgement, then answers the session's question."""
    bench = subscribed(Launcher())
    ended = status("t1", TaskState.FINISHED)
    bench.hears(Update(ended))
    for state in (TaskState.FINISHED, TaskState.GONE, TaskState.UNKNOWN, TaskState.RUNNING):
        bench.hears(Update(status("t1", state, update_id="")))
    assert bench.callbacks == [OnStatus(ended)]
    bench.loses_stream()
    assert kinds(bench.subscribe()) == ["Subscribe"], "it is not taken for running again"


def test_who_asks_about_a_task_that_has_ended_is_answered_once() -> None:
    bench = subscribed(Launcher())
    bench.hears(Update(status("t1", TaskState.FINISHED)))
    bench.scheduler.reconcile("t1")
    bench.decides()
    bench.callbacks.clear()
    answer = status("t1", TaskState.GONE, update_id="")
    bench.hears(Update(answer))
    bench.hears(Update(answer))
    assert bench.callbacks == [OnStatus(answer)]


def test_a_task_that_is_launched_again_is_heard_of_again() -> None:
    bench = subscribed(Launcher(task("t1")))
    bench.hears(Update(status("t1", TaskState.FAILED, update_id="u1")))
    bench.hears(Offers((offer(),)))
    bench.callbacks.clear()
    lost = status("t1", TaskState.UNREACHABLE, update_id="")
    bench.hears(Update(lost))
    assert bench.callbacks == [OnStatus(lost)]


def test_a_scheduler_may_acknowledge_by_hand() -> None:
    holder = Holder()
    bench = subscribed(holder)
    running = status("t1", TaskState.RUNNING)
    assert bench.hears(Update(running)) == []
    assert bench.hears(Update(running)) == []
    holder.acknowledge(running)
    assert bench.decides() == [Acknowledge("agent-1", "t1", "t1-RUNNING")]
    assert bench.callbacks == [OnStatus(running)]


def acknowledgements(session: Session, event: Event) -> list[str]:
    """The tasks that are acknowledged thereupon."""
    said = [effect.call for effect in session.handle(event) if isinstance(effect, ToMaster)]
    return [call.task_id for call in said if isinstance(call, Acknowledge)]


def test_callbacks_come_one_at_a_time_and_in_order() -> None:
    session = busy_session()
    for name in ("a1", "a2"):
        assert hear(session, AgentLost(name)) == []
    update = status("t1", TaskState.RUNNING)
    assert hear(session, Update(update)) == []
    seen = []
    for _ in range(3):
        seen += [e for e in session.handle(CallbackReturned()) if isinstance(e, RunCallback)]
    waiting = (OnAgentLost("a1"), OnAgentLost("a2"), OnStatus(update))
    assert seen == [RunCallback(one) for one in waiting]


def test_statuses_of_one_batch_are_told_together_even_when_nothing_runs() -> None:
    session = busy_session()
    session.handle(CallbackReturned())
    both = tuple(status(name, TaskState.RUNNING) for name in ("t1", "t2"))
    assert hear(session, *map(Update, both)) == [RunCallback(OnStatuses(both))]


def test_statuses_that_wait_are_told_together_and_acknowledged_as_they_are_told() -> None:
    session = busy_session()
    names = ("t1", "t2", "t3")
    waiting = tuple(status(name, TaskState.RUNNING) for name in names)
    for one in waiting:
        hear(session, Update(one))
    hear(session, AgentLost("a1"))
    hear(session, Update(status("t4", TaskState.RUNNING)))
    assert session.handle(CallbackReturned()) == [RunCallback(OnStatuses(waiting))]
    assert acknowledgements(session, StatusesTold(2)) == ["t1", "t2"]
    assert acknowledgements(session, StatusesTold(1)) == ["t3"]
    assert session.handle(CallbackReturned()) == [RunCallback(OnAgentLost("a1"))]


def test_a_stop_among_statuses_leaves_those_behind_it_untold_and_unacknowledged() -> None:
    session = busy_session()
    for name in ("t1", "t2", "t3"):
        hear(session, Update(status(name, TaskState.RUNNING)))
    session.handle(CallbackReturned())
    session.handle(Decided(Stop()))
    assert acknowledgements(session, StatusesTold(1)) == ["t1"]
    assert session.handle(CallbackReturned()) == [Finish()]


def test_no_more_statuses_are_told_together_than_may_be_told_again() -> None:
    session = busy_session()
    for n in range(STATUSES_TOGETHER_MAX + 1):
        hear(session, Update(status(f"t{n}", TaskState.RUNNING)))
    [run] = session.handle(CallbackReturned())
    assert isinstance(run, RunCallback)
    assert isinstance(run.callback, OnStatuses)
    assert len(run.callback.statuses) == STATUSES_TOGETHER_MAX


def test_slow_callbacks_make_a_session_congested_and_heartbeats_go_on() -> None:
    session = busy_session()
    for n in range(CALLBACKS_WAITING_MAX):
        assert not session.congested
        hear(session, Update(status(f"t{n}", TaskState.RUNNING)))
    assert session.congested
    assert session.callbacks_waiting == CALLBACKS_WAITING_MAX
    assert session.handle(Tick(HEARTBEAT_INTERVAL_MS)) == [ToMaster(Heartbeat(1))]
    session.handle(CallbackReturned())
    assert not session.congested


# --- reconciliation -------------------------------------------------------------------------------


def test_unanswered_tasks_are_asked_about_again_less_and_less_often() -> None:
    bench = launched(task("t1"), task("t2"))
    bench.hears(AcceptResult(1, (DONE, DONE)))
    bench.loses_stream()
    question = Reconcile((TaskReference("t1", "agent-1"), TaskReference("t2", "agent-1")))
    assert question in bench.subscribe()
    bench.hears(Update(status("t1", TaskState.RUNNING, update_id="")))
    asked_at = []
    for second in range(1, 600):
        said = bench.passes(1)
        bench.hears(Heartbeat())
        if Reconcile((TaskReference("t2", "agent-1"),)) in said:
            asked_at.append(second)
    assert asked_at == [15, 45, 105, 225, 465]
    bench.hears(Update(status("t2", TaskState.GONE, update_id="")))
    assert not [call for call in bench.passes(60) if isinstance(call, Reconcile)]


def test_every_quarter_of_an_hour_everything_is_asked_again() -> None:
    bench = launched(task())
    bench.hears(AcceptResult(1, (DONE,)))
    asked = []
    for _ in range(3600 // 60):
        asked += [call for call in bench.passes(60) if isinstance(call, Reconcile)]
        bench.hears(Heartbeat())
        bench.hears(Update(status("t1", TaskState.RUNNING, update_id="")))
    assert asked == 4 * [Reconcile((TaskReference("t1", "agent-1"),)), Reconcile()]


def test_tasks_of_an_earlier_scheduler_are_learned_from_their_statuses() -> None:
    bench = subscribed(Launcher())
    bench.hears(Update(status("old", TaskState.RUNNING, update_id="")))
    bench.hears(Update(status("forgotten", TaskState.UNKNOWN, update_id="")))
    bench.loses_stream()
    assert bench.subscribe()[-1] == Reconcile((TaskReference("old", "agent-1"),))


def test_long_lists_of_tasks_are_asked_about_in_pieces() -> None:
    bench = subscribed(Launcher())
    for n in range(2_500):
        bench.hears(Update(status(f"t{n}", TaskState.RUNNING, update_id="")))
    bench.loses_stream()
    sizes = [len(call.tasks) for call in bench.subscribe() if isinstance(call, Reconcile)]
    assert sizes == [1_000, 1_000, 500]


# --- found by simulation --------------------------------------------------------------------------


def test_an_end_is_told_once_even_when_the_agent_tells_another() -> None:
    """docs/decisions.md D5: a host that crashed may have lost that it had told the end."""
    bench = subscribed(Launcher())
    finished = status("t1", TaskState.FINISHED)
    lost = status("t1", TaskState.FAILED, reason=Reason.HOST_REBOOTED)
    bench.hears(Update(finished))
    assert bench.hears(Update(lost)) == [Acknowledge("agent-1", "t1", "t1-FAILED", last=True)]
    assert bench.callbacks == [OnStatus(finished)]


def test_an_answer_that_is_ahead_makes_older_statuses_old_news() -> None:
    """A new master answers with the newest state before the agent has told of the one before."""
    bench = subscribed(Launcher())
    answer = status("t1", TaskState.RUNNING, reason=Reason.RECONCILIATION, update_id="")
    starting, running = status("t1", TaskState.STARTING), status("t1", TaskState.RUNNING)
    bench.hears(Update(answer))
    assert kinds(bench.hears(Update(starting))) == ["Acknowledge"]
    assert kinds(bench.hears(Update(running))) == ["Acknowledge"]
    assert bench.callbacks == [OnStatus(answer), OnStatus(running)]


def test_an_answer_that_is_behind_is_not_told() -> None:
    bench = subscribed(Launcher())
    running = status("t1", TaskState.RUNNING)
    answer = status("t1", TaskState.STARTING, reason=Reason.RECONCILIATION, update_id="")
    bench.hears(Update(running))
    bench.hears(Update(answer))
    assert bench.callbacks == [OnStatus(running)]
