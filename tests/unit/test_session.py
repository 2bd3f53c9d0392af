"""The session's rules, one story each: what the master says, and what is said to it."""

import dataclasses

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    HEARTBEAT_INTERVAL_MS,
    SILENCE_MAX_MS,
    Accept,
    AcceptResult,
    Acknowledge,
    AgentLost,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    Offers,
    Reconcile,
    Refused,
    Rescind,
    Revive,
    Subscribe,
    Suppress,
    TaskMessage,
    Teardown,
    Update,
)
from mesoslite.model import OperationResult, Reason, Refusal, Source, TaskReference
from mesoslite.scheduler import protocol
from mesoslite.scheduler.launches import STATE_OF_REFUSED
from mesoslite.scheduler.protocol import (
    CallbackReturned,
    Decided,
    Denied,
    Finish,
    KillTask,
    OnAgentLost,
    OnDisconnected,
    OnError,
    OnMessage,
    OnOffers,
    OnRescinded,
    OnStatus,
    OnSubscribed,
    RunCallback,
    SendMessage,
    StreamLost,
    StreamOpened,
    Tick,
)
from mesoslite.scheduler.streaming import PASSING_REFUSALS, TEARDOWN_WAIT_MS
from mesoslite.testing import SessionHarness, offer, status
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

# --- subscribe ------------------------------------------------------------------------------------


def test_the_first_word_is_subscribe_and_the_first_question_is_about_all_tasks() -> None:
    bench = SessionHarness(Launcher())
    said = bench.subscribe("1-F1")
    assert said == [Subscribe(bench.session.config.framework, "session-1"), Reconcile()]
    assert bench.callbacks == [OnSubscribed("1-F1")]


def test_a_lost_stream_is_resumed_with_the_id_and_what_is_suppressed() -> None:
    bench = subscribed(Launcher())
    bench.scheduler.suppress()
    assert bench.decides() == [Suppress(())]
    bench.loses_stream("cut")
    assert bench.callbacks == [OnDisconnected("cut")]
    [resumed] = bench.subscribe()
    assert resumed == Subscribe(
        bench.session.config.framework,
        "session-1",
        "framework-1",
        resuming=True,
        suppressed_roles=("*",),
    )


def test_roles_that_were_revived_are_not_suppressed_by_the_next_subscribe() -> None:
    bench = subscribed(Launcher())
    bench.scheduler.suppress()
    bench.scheduler.revive()
    assert bench.decides() == [Suppress(()), Revive(())]
    bench.loses_stream("cut")
    resumed = bench.subscribe()[0]
    assert isinstance(resumed, Subscribe)
    assert resumed.suppressed_roles == ()


def test_nothing_before_subscribed_is_listened_to() -> None:
    bench = SessionHarness(Launcher(task()))
    bench.handle(StreamOpened())
    assert bench.hears(Offers((offer(),))) == []
    assert bench.callbacks == []


def test_a_stream_never_opened_makes_no_disconnected() -> None:
    bench = SessionHarness(Launcher())
    bench.handle(StreamOpened())
    bench.loses_stream()
    assert bench.callbacks == []


def test_offers_from_before_are_void_after_a_new_subscribe() -> None:
    bench = subscribed(Holder())
    bench.hears(Offers((offer(),)))
    bench.loses_stream()
    bench.callbacks.clear()
    bench.subscribe()
    assert bench.callbacks == [OnRescinded("offer-of-agent-1"), OnSubscribed("framework-1")]


# --- epochs, silence, heartbeats ------------------------------------------------------------------


def test_a_master_of_an_earlier_epoch_is_not_listened_to() -> None:
    bench = subscribed(Launcher(task()))
    bench.epoch = 7
    bench.hears(Heartbeat())
    bench.epoch = 6
    assert bench.hears(Offers((offer(),))) == []
    assert bench.dropped == ["a master of an earlier epoch answers: 6, not 7"]
    assert [type(callback) for callback in bench.callbacks] == [OnDisconnected]


def test_heartbeats_go_out_and_silence_ends_the_stream() -> None:
    bench = subscribed(Launcher())
    said = bench.passes(SILENCE_MAX_MS / 1_000 - 1)
    beats = [call.number for call in said if isinstance(call, Heartbeat)]
    assert beats == list(range(1, SILENCE_MAX_MS // HEARTBEAT_INTERVAL_MS))
    assert not bench.dropped
    bench.passes(1)
    assert bench.dropped == ["nothing was heard of the master for 75 s"]


def test_any_word_of_the_master_breaks_the_silence() -> None:
    bench = subscribed(Launcher())
    for _ in range(10):
        bench.passes(60)
        bench.hears(Heartbeat())
    assert not bench.dropped


# --- offers ---------------------------------------------------------------------------------------


def test_what_is_not_answered_goes_back_when_the_callback_returns() -> None:
    bench = subscribed(Launcher(task()))
    accept, decline = bench.hears(Offers((offer(agent_id="a1"), offer(agent_id="a2"))))
    assert isinstance(accept, Accept)
    assert accept.offer_ids == ("offer-of-a1",)
    assert decline == Decline(("offer-of-a2",), 5_000)


def test_refusals_double_to_a_minute_and_any_call_starts_over() -> None:
    bench = subscribed(Launcher())
    refused = []
    for _ in range(6):
        [decline] = [c for c in bench.hears(Offers((offer(),))) if isinstance(c, Decline)]
        refused.append(decline.refuse_ms)
        bench.passes(refused[-1] / 1_000)
        bench.hears(Heartbeat())
    assert refused == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
    bench.scheduler.revive()
    assert bench.decides() == [Revive(())]
    assert Decline(("offer-of-agent-1",), 5_000) in bench.hears(Offers((offer(),)))


def test_a_burst_of_offers_counts_as_one_refusal() -> None:
    bench = subscribed(Launcher())
    said = [call for n in range(5) for call in bench.hears(Offers((offer(agent_id=f"a{n}"),)))]
    assert said == [Decline((f"offer-of-a{n}",), 5_000) for n in range(5)]


def test_a_later_burst_counts_as_one_refusal_too() -> None:
    bench = subscribed(Launcher())
    bench.hears(Offers((offer(),)))
    bench.passes(5)
    said = [call for n in range(3) for call in bench.hears(Offers((offer(agent_id=f"a{n}"),)))]
    assert said == [Decline((f"offer-of-a{n}",), 10_000) for n in range(3)]


def test_a_held_offer_stays_until_its_lease_runs_out() -> None:
    bench = subscribed(Holder())
    assert bench.hears(Offers((offer(lease_s=30),))) == []
    bench.passes(29)
    assert bench.callbacks == [OnOffers((offer(lease_s=30),))]
    bench.passes(1)
    assert bench.callbacks[1:] == [OnRescinded("offer-of-agent-1")]


def test_a_rescinded_offer_is_told_once_and_only_when_it_was_shown() -> None:
    session = busy_session()
    for event in (Offers((offer(),)), Rescind(("offer-of-agent-1",))):
        assert hear(session, event) == []
    assert session.handle(CallbackReturned()) == []

    bench = subscribed(Holder())
    bench.hears(Offers((offer(),)))
    bench.hears(Rescind(("offer-of-agent-1",)))
    bench.hears(Rescind(("offer-of-agent-1",)))
    assert bench.callbacks[1:] == [OnRescinded("offer-of-agent-1")]


def test_offers_that_pile_up_are_shown_together() -> None:
    session = busy_session()
    both = offer(agent_id="a1"), offer(agent_id="a2")
    for one in both:
        hear(session, Offers((one,)))
    assert session.handle(CallbackReturned()) == [RunCallback(OnOffers(both))]


# --- accepts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", list(Refusal))
def test_every_refused_launch_becomes_one_status(refusal: Refusal) -> None:
    bench = launched(task())
    assert bench.hears(AcceptResult(1, (OperationResult(refusal, "because"),))) == [
        ConfirmResults(1)
    ]
    [told] = bench.callbacks
    assert isinstance(told, OnStatus)
    assert told.status.state is STATE_OF_REFUSED[refusal]
    assert told.status.reason is Reason.LAUNCH_REFUSED
    assert (told.status.refusal, told.status.message) == (refusal, "because")
    assert (told.status.source, told.status.agent_id) == (Source.MASTER, "agent-1")
    assert told.status.update_id == ""


def test_the_table_of_refused_launches_names_every_refusal() -> None:
    assert list(STATE_OF_REFUSED) != []
    assert set(STATE_OF_REFUSED) == set(Refusal)
    faults_of_the_task = {
        Refusal.INVALID_TASK,
        Refusal.NO_RESOURCES,
        Refusal.DUPLICATE_TASK,
        Refusal.TOO_LARGE,
    }
    assert {STATE_OF_REFUSED[refusal] for refusal in faults_of_the_task} == {TaskState.ERROR}
    assert STATE_OF_REFUSED[Refusal.UNKNOWN_OFFER] is TaskState.DROPPED
    assert STATE_OF_REFUSED[Refusal.STALE_OFFER] is TaskState.DROPPED


def test_a_result_is_confirmed_once_all_before_it_are_there() -> None:
    bench = subscribed(Launcher(task("t1"), task("t2")))
    bench.hears(Offers((offer(agent_id="a1"), offer(agent_id="a2"))))
    assert bench.hears(AcceptResult(2, (DONE,))) == []
    assert bench.hears(AcceptResult(1, (DONE,))) == [ConfirmResults(2)]
    assert bench.hears(AcceptResult(2, (DONE,))) == [ConfirmResults(2)]


def test_a_result_that_is_said_again_is_told_once() -> None:
    bench = launched(task())
    refused = AcceptResult(1, (OperationResult(Refusal.TOO_LARGE),))
    assert bench.hears(refused) == [ConfirmResults(1)]
    assert bench.hears(refused) == [ConfirmResults(1)]
    assert [type(callback) for callback in bench.callbacks] == [OnStatus]


def test_a_task_that_has_ended_is_asked_about_no_more() -> None:
    bench = launched(task())
    bench.hears(AcceptResult(1, (DONE,)))
    bench.hears(Update(status("t1", TaskState.FINISHED)))
    bench.loses_stream()
    assert kinds(bench.subscribe()) == ["Subscribe", "ConfirmResults"]


def test_unanswered_accepts_are_said_again_in_order_before_any_question() -> None:
    bench = subscribed(Launcher(task("t1"), task("t2"), task("t3")))
    accepts = bench.hears(Offers(tuple(offer(agent_id=f"a{n}") for n in range(3))))
    bench.hears(AcceptResult(1, (DONE,)))
    bench.loses_stream()
    said = bench.subscribe()
    assert kinds(said) == ["Subscribe", "ConfirmResults", "Accept", "Accept", "Reconcile"]
    assert said[2:4] == accepts[1:]
    assert said[4] == Reconcile((TaskReference("t1", "a0"),))


def test_an_accept_of_a_void_offer_is_answered_at_once() -> None:
    bench = subscribed(Holder())
    bench.hears(Offers((offer(),)))
    bench.hears(Rescind(("offer-of-agent-1",)))
    bench.callbacks.clear()
    bench.scheduler.launch(offer(), task())
    assert bench.decides() == []
    [told] = bench.callbacks
    assert isinstance(told, OnStatus)
    assert told.status.state is TaskState.DROPPED
    assert told.status.refusal is Refusal.UNKNOWN_OFFER
    assert told.status.source is Source.SESSION


def test_the_valid_offers_of_a_refused_accept_go_back() -> None:
    bench = subscribed(Holder())
    bench.hears(Offers((offer(),)))
    bench.scheduler.launch([offer(), offer(offer_id="gone")], task())
    assert bench.decides() == [Decline(("offer-of-agent-1",), 5_000)]


def test_a_task_id_in_use_is_refused_here_and_the_other_tasks_go_on() -> None:
    bench = subscribed(Holder())
    bench.hears(Offers((offer(agent_id="a1"), offer(agent_id="a2"))))
    bench.scheduler.launch(offer(agent_id="a1"), task("t1"))
    bench.decides()
    bench.callbacks.clear()
    bench.scheduler.launch(offer(agent_id="a2"), [task("t1"), task("t2")])
    [accept] = bench.decides()
    assert isinstance(accept, Accept)
    assert [op.task.task_id for op in accept.operations if hasattr(op, "task")] == ["t2"]
    [told] = bench.callbacks
    assert isinstance(told, OnStatus)
    assert (told.status.state, told.status.refusal) == (TaskState.ERROR, Refusal.DUPLICATE_TASK)
    assert told.status.message == "there is a task t1 already"


def test_an_accept_made_while_there_is_no_stream_is_said_on_the_next() -> None:
    bench = subscribed(Holder())
    bench.hears(Offers((offer(),)))
    bench.loses_stream()
    bench.scheduler.launch(offer(), task())
    assert bench.decides() == []
    assert kinds(bench.subscribe()) == ["Subscribe", "Accept"]


def test_a_task_that_its_agent_told_of_is_never_dropped() -> None:
    """docs/decisions.md D2: else "safe to launch again" runs two copies."""
    bench = launched(task())
    bench.hears(Update(status("t1", TaskState.RUNNING)))
    bench.hears(AcceptResult(1, (OperationResult(Refusal.STALE_OFFER),)))
    assert [type(callback) for callback in bench.callbacks] == [OnStatus]
    bench.loses_stream()
    assert Reconcile((TaskReference("t1", "agent-1"),)) in bench.subscribe()


def test_what_the_master_made_up_is_no_proof_that_a_task_was_launched() -> None:
    """Only the agent knows; the answer of a master that asked nobody must not hide a refusal."""
    bench = launched(task())
    said = status("t1", TaskState.UNREACHABLE, update_id="")
    bench.hears(Update(dataclasses.replace(said, source=Source.MASTER)))
    bench.hears(AcceptResult(1, (OperationResult(Refusal.STALE_OFFER),)))
    [last] = [c.status for c in bench.callbacks if isinstance(c, OnStatus)][-1:]
    assert (last.state, last.refusal) == (TaskState.DROPPED, Refusal.STALE_OFFER)


def test_a_task_that_was_seen_to_end_is_not_asked_about_when_its_launch_is_confirmed() -> None:
    bench = launched(task())
    bench.hears(Update(status("t1", TaskState.FINISHED)))
    bench.hears(AcceptResult(1, (DONE,)))
    bench.loses_stream()
    assert kinds(bench.subscribe()) == ["Subscribe", "ConfirmResults"]


def test_a_master_that_answers_too_few_leaves_the_rest_to_be_asked_about() -> None:
    bench = launched(task("t1"), task("t2"))
    bench.hears(AcceptResult(1, ()))
    assert bench.callbacks == []
    bench.loses_stream()
    questions = [call for call in bench.subscribe() if isinstance(call, Reconcile)]
    assert [one.task_id for one in questions[0].tasks] == ["t1", "t2"]


def test_a_kill_before_the_launch_is_answered_is_said_again_after_it() -> None:
    bench = launched(task())
    bench.scheduler.kill("t1")
    assert bench.decides() == [Kill("t1")]
    assert bench.hears(AcceptResult(1, (DONE,))) == [
        Kill("t1", "agent-1"),
        ConfirmResults(1),
    ]


# --- other calls ----------------------------------------------------------------------------------


def test_calls_made_without_a_stream_are_said_on_the_next_one_but_for_messages() -> None:
    scheduler = Launcher()
    bench = subscribed(scheduler)
    bench.loses_stream()
    scheduler.kill("t1", grace_s=9)
    scheduler.kill("t1", grace_s=1)
    scheduler.suppress()
    scheduler.revive("*")
    scheduler.reconcile("t2")
    scheduler.message("t1", "agent-1", b"lost")
    assert bench.decides() == []
    assert bench.subscribe()[1:] == [
        Suppress(()),
        Revive(("*",)),
        Reconcile((TaskReference("t2"),)),
        Kill("t1", "", 1_000),
    ]


def _kills(bench: SessionHarness) -> list[Kill]:
    """What is said on the next stream of a session that has just lost its own."""
    bench.loses_stream()
    return [call for call in bench.subscribe() if isinstance(call, Kill)]


def test_a_kill_is_said_again_on_each_stream_until_its_task_has_ended() -> None:
    bench = subscribed(Launcher())
    bench.hears(Update(status("t1", TaskState.RUNNING)))
    bench.handle(Decided(KillTask("t1", None)))
    assert _kills(bench) == [Kill("t1", "agent-1")]
    bench.hears(Update(status("t1", TaskState.KILLING)))
    bench.hears(Update(status("t1", TaskState.UNREACHABLE)))
    assert _kills(bench) == [Kill("t1", "agent-1")]
    bench.hears(Update(status("t1", TaskState.KILLED)))
    assert _kills(bench) == []


def test_the_shortest_grace_that_was_asked_for_is_said_again_with_the_tasks_own() -> None:
    bench = subscribed(Launcher())
    for grace_ms in (9_000, 1_000, None, 5_000):
        bench.handle(Decided(KillTask("t1", grace_ms)))
    assert _kills(bench) == [Kill("t1"), Kill("t1", "", 1_000)]


def test_a_kill_of_what_nobody_knows_or_has_ended_is_not_said_again() -> None:
    bench = subscribed(Launcher())
    bench.handle(Decided(KillTask("stranger", None)))
    bench.hears(Update(status("stranger", TaskState.UNKNOWN)))
    bench.hears(Update(status("t1", TaskState.FINISHED)))
    assert bench.handle(Decided(KillTask("t1", None))) == [Kill("t1")]
    assert _kills(bench) == []


def test_a_kill_is_not_said_of_the_next_task_by_the_same_id() -> None:
    bench = subscribed(Launcher(task("t1"), task("t1")))
    bench.hears(Offers((offer(agent_id="agent-1"),)))
    bench.hears(AcceptResult(1, (OperationResult(Refusal.UNKNOWN_OFFER),)))
    bench.handle(Decided(KillTask("t1", None)))
    [accept] = bench.hears(Offers((offer(agent_id="agent-2"),)))
    assert isinstance(accept, Accept)
    assert _kills(bench) == []


def test_messages_go_both_ways() -> None:
    bench = subscribed(Launcher())
    assert bench.handle(Decided(SendMessage("t1", "a1", b"in"))) == [
        TaskMessage("framework-1", "a1", "t1", b"in")
    ]
    bench.hears(TaskMessage("framework-1", "a1", "t1", b"out"))
    bench.hears(AgentLost("a1"))
    assert bench.callbacks == [OnMessage("t1", "a1", b"out"), OnAgentLost("a1")]


def test_a_kill_names_the_agent_when_it_is_known() -> None:
    bench = subscribed(Launcher())
    bench.hears(Update(status("t1", TaskState.RUNNING)))
    assert bench.handle(Decided(KillTask("t1", None))) == [Kill("t1", "agent-1")]


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", sorted(set(Refusal) - PASSING_REFUSALS, key=str))
def test_a_refused_scheduler_is_told_and_ends(refusal: Refusal) -> None:
    bench = subscribed(Launcher())
    bench.hears(Refused(refusal, "why"))
    assert bench.callbacks == [OnError(refusal, "why")]
    assert bench.finish == Finish(refusal, "why")
    assert bench.subscribe() == []


@pytest.mark.parametrize("refusal", sorted(PASSING_REFUSALS, key=str))
def test_a_refusal_that_passes_only_costs_the_stream(refusal: Refusal) -> None:
    bench = subscribed(Launcher())
    bench.hears(Refused(refusal, "why"))
    assert bench.dropped == ["refused: why"]
    assert bench.finish is None
    assert kinds(bench.subscribe()) == ["Subscribe"]


def test_a_token_that_is_not_taken_ends_a_session_that_has_no_stream() -> None:
    bench = SessionHarness(Launcher())
    bench.handle(Denied(Refusal.BAD_TOKEN, "wrong"))
    assert bench.finish == Finish(Refusal.BAD_TOKEN, "wrong")


def test_stop_waits_for_the_running_callback_and_its_acknowledgement() -> None:
    class OneShot(Launcher):
        def status_update(self, _status: object) -> None:
            self.stop()

    bench = subscribed(OneShot())
    said = bench.hears(Update(status("t1", TaskState.FINISHED)))
    assert said == [Acknowledge("agent-1", "t1", "t1-FINISHED", last=True)]
    assert bench.finish == Finish()


def test_stop_outside_of_a_callback_ends_at_once_also_without_a_master() -> None:
    bench = SessionHarness(Launcher())
    bench.scheduler.stop()
    bench.decides()
    assert bench.finish == Finish()


def test_teardown_ends_when_the_master_says_that_the_framework_is_removed() -> None:
    bench = subscribed(Launcher())
    bench.scheduler.teardown()
    assert bench.decides() == [Teardown()]
    assert bench.finish is None
    bench.hears(Refused(Refusal.FRAMEWORK_REMOVED))
    assert bench.finish == Finish()
    assert bench.callbacks == []


def test_teardown_survives_a_lost_stream_and_a_silent_master() -> None:
    bench = subscribed(Launcher())
    bench.loses_stream()
    bench.scheduler.teardown()
    assert bench.decides() == []
    assert kinds(bench.subscribe()) == ["Subscribe", "Teardown"]
    bench.passes(10)
    assert bench.finish == Finish()


def test_a_teardown_that_is_over_waits_for_the_callback_that_runs_and_burns_no_time() -> None:
    session = busy_session()
    session.handle(Decided(protocol.Teardown()))
    session.handle(Tick(TEARDOWN_WAIT_MS))
    due_ms = session.next_deadline_ms()
    assert due_ms is not None
    assert due_ms > TEARDOWN_WAIT_MS
    assert session.handle(CallbackReturned()) == [Finish()]


def test_nothing_follows_the_end() -> None:
    bench = subscribed(Launcher())
    bench.scheduler.stop()
    bench.decides()
    assert bench.session.handle(StreamLost("over")) == []
    assert bench.session.handle(Tick(bench.now_ms + 10**9)) == []
    assert bench.session.next_deadline_ms() is None


def test_a_session_that_is_torn_down_asks_nothing_and_keeps_nothing() -> None:
    scheduler = Launcher()
    bench = subscribed(scheduler)
    bench.hears(Update(status("t1", TaskState.RUNNING)))
    bench.loses_stream()
    scheduler.kill("t1")
    scheduler.teardown()
    bench.decides()
    assert kinds(bench.subscribe()) == ["Subscribe", "Teardown"]
    due_ms = bench.session.next_deadline_ms()
    assert due_ms is not None
    assert due_ms > bench.now_ms
