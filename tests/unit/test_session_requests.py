"""What a session still wants: counted down by launches, up by refusals, said again when needed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Decline,
    Offers,
    RequestResources,
    RequestUnsatisfiable,
    SchedulerCall,
    Subscribe,
    Subscribed,
    Update,
    WithdrawRequests,
)
from mesoslite.model import (
    REQUESTS_MAX,
    Launch,
    Offer,
    OperationResult,
    Refusal,
    Request,
    Task,
)
from mesoslite.resources import Resources
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    CallbackReturned,
    Decided,
    MakeRequest,
    OnOffers,
    OnUnsatisfiable,
    RunCallback,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.scheduler import Scheduler
from mesoslite.testing import SessionHarness, offer, status
from tests.unit.session_bench import DONE, busy_session, hear, subscribed, task

UNIT = Resources(cpus=1, mem=32)
NO = OperationResult(Refusal.UNKNOWN_OFFER)


class Wanting(Scheduler):
    """Wants three units of one cpu as `r`, and launches as many tasks as an offer holds cpus."""

    name = "wanting"
    roles = ("*", "ads")
    count = 3

    def __init__(self) -> None:
        self.tasks = iter(f"t{number}" for number in range(1, 100))
        self.ask(self.count)

    def ask(self, count: int, role: str = "*") -> None:
        self.request(cpus=1, mem=32, count=count, role=role, request_id="r")

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for one in offers:
            if one.request_id:
                many = [task(next(self.tasks)) for _ in range(int(one.resources.cpus))]
                self.launch(one, many)


def request(count: int, role: str = "*", request_id: str = "r") -> Request:
    return Request(request_id, role, UNIT, count)


def wanting() -> SessionHarness:
    """Asked before it ran, and subscribed."""
    bench = SessionHarness(Wanting())
    bench.decides()
    bench.subscribe()
    bench.callbacks.clear()
    return bench


def match(bench: SessionHarness, units: int, number: int = 1) -> list[SchedulerCall]:
    """An offer of so many units arrives, and is used."""
    one = offer(cpus=units, mem=32 * units, request_id="r", offer_id=f"o{number}")
    return bench.hears(Offers((one,)))


def requested(calls: Sequence[SchedulerCall]) -> list[Request]:
    said = [call for call in calls if isinstance(call, RequestResources)]
    return [one for call in said for one in call.requests if isinstance(one, Request)]


# --- saying it ------------------------------------------------------------------------------------


def test_what_was_requested_before_the_run_is_in_the_subscribe_and_follows_it() -> None:
    bench = SessionHarness(Wanting())
    assert bench.decides() == []
    said = bench.subscribe()
    assert isinstance(said[0], Subscribe)
    assert said[0].demand_roles == ("*",)
    assert said[1] == RequestResources((request(3),), 1)


def test_a_request_is_said_at_once_and_replaces_its_predecessor() -> None:
    bench = wanting()
    assert isinstance(bench.scheduler, Wanting)
    bench.scheduler.ask(5)
    assert bench.decides() == [RequestResources((request(5),), 2)]
    assert bench.session.wanted("r") == 5
    bench.scheduler.ask(0)
    assert bench.decides() == [RequestResources((request(0),), 3)]
    assert bench.session.wanted("r") == 0


def test_a_request_of_nothing_turns_the_mode_on_from_the_start() -> None:
    scheduler = Wanting()
    scheduler.ask(0)
    bench = SessionHarness(scheduler)
    bench.decides()
    subscribe, first, *_ = bench.subscribe()
    assert isinstance(subscribe, Subscribe)
    assert subscribe.demand_roles == ("*",)
    assert first == RequestResources((request(0),), 1)
    bench.loses_stream()
    again, *rest = bench.subscribe()
    assert isinstance(again, Subscribe)
    assert again.demand_roles == ("*",)
    assert requested(rest) == []


def test_requests_withdrawn_by_id_leave_the_mode_on() -> None:
    bench = wanting()
    bench.scheduler.withdraw("r", "s")
    assert bench.decides() == [WithdrawRequests(("r",))]
    bench.scheduler.withdraw("r")
    assert bench.decides() == []
    bench.loses_stream()
    again = bench.subscribe()[0]
    assert isinstance(again, Subscribe)
    assert again.demand_roles == ("*",)


def test_withdrawing_all_turns_the_mode_off() -> None:
    bench = wanting()
    bench.scheduler.withdraw()
    assert bench.decides() == [WithdrawRequests((), ("*",))]
    assert bench.decides() == []
    bench.loses_stream()
    again = bench.subscribe()[0]
    assert isinstance(again, Subscribe)
    assert again.demand_roles == ()


def test_a_mode_that_ended_while_the_subscribe_was_under_way_is_taken_back() -> None:
    bench = SessionHarness(Wanting())
    bench.decides()
    bench.handle(StreamOpened())
    bench.scheduler.withdraw()
    bench.scheduler.request(cpus=1, mem=32, role="ads", request_id="s")
    bench.decides()
    said = bench.hears(Subscribed("1-F1"))
    assert said[:2] == [
        WithdrawRequests((), ("*",)),
        RequestResources((request(1, "ads", "s"),), 1),
    ]


# --- counting -------------------------------------------------------------------------------------


def test_a_launch_names_the_request_of_its_offer_and_counts_down() -> None:
    bench = wanting()
    [accept] = match(bench, 2)
    assert isinstance(accept, Accept)
    assert accept.operations == (Launch(task("t1"), "r"), Launch(task("t2"), "r"))
    assert bench.session.wanted("r") == 1
    assert requested(bench.hears(AcceptResult(1, (DONE, DONE)))) == []
    assert bench.session.wanted("r") == 1


def test_a_launch_that_was_refused_counts_up_and_is_said() -> None:
    bench = wanting()
    match(bench, 2)
    assert requested(bench.hears(AcceptResult(1, (DONE, NO)))) == [request(2)]


@pytest.mark.parametrize("refusal", [Refusal.AGENT_UNREACHABLE, Refusal.RESULT_FORGOTTEN])
def test_where_nobody_knows_whether_it_runs_nothing_more_is_wanted(refusal: Refusal) -> None:
    bench = wanting()
    match(bench, 1)
    assert requested(bench.hears(AcceptResult(1, (OperationResult(refusal),)))) == []
    assert bench.session.wanted("r") == 2


def test_a_launch_that_its_agent_has_told_of_is_wanted_no_more_whatever_the_answer() -> None:
    bench = wanting()
    match(bench, 1)
    bench.hears(Update(status("t1", TaskState.RUNNING)))
    assert requested(bench.hears(AcceptResult(1, (OperationResult(Refusal.STALE_OFFER),)))) == []


def test_the_end_of_a_task_restores_nothing() -> None:
    bench = wanting()
    match(bench, 3)
    bench.hears(AcceptResult(1, (DONE,) * 3))
    said = bench.hears(Update(status("t1", TaskState.FINISHED)))
    assert requested(said) == []
    assert bench.session.wanted("r") == 0


def test_after_a_loss_unanswered_accepts_come_first_and_counts_are_right_for_it() -> None:
    bench = wanting()
    [accept] = match(bench, 2)
    bench.loses_stream()
    said = bench.subscribe()
    assert [accept, RequestResources((request(1),), 2)] == [
        call for call in said if isinstance(call, Accept | RequestResources)
    ]
    # The master that answers may be another one, to which both the answer and the count are new.
    assert requested(bench.hears(AcceptResult(1, (NO, NO)))) == [request(3)]


def test_a_request_that_was_met_is_forgotten_when_the_last_answer_is_here() -> None:
    bench = wanting()
    match(bench, 3)
    bench.loses_stream()
    assert requested(bench.subscribe()) == [request(0)]
    assert requested(bench.hears(AcceptResult(1, (DONE, DONE, NO)))) == [request(1)]
    match(bench, 1, number=2)
    bench.hears(AcceptResult(2, (DONE,)))
    bench.loses_stream()
    assert requested(bench.subscribe()) == []


def test_launches_beyond_what_was_wanted_bring_nothing_back_when_refused() -> None:
    bench = wanting()
    match(bench, 4)
    assert bench.session.wanted("r") == 0
    assert requested(bench.hears(AcceptResult(1, (DONE, DONE, DONE, NO)))) == [request(0)]


def test_what_was_withdrawn_is_not_wanted_again_when_its_launch_is_refused() -> None:
    bench = wanting()
    match(bench, 2)
    bench.scheduler.withdraw("r")
    assert bench.decides() == [WithdrawRequests(("r",))]
    assert requested(bench.hears(AcceptResult(1, (NO, NO)))) == []


def test_a_launch_that_is_not_even_sent_takes_nothing() -> None:
    bench = wanting()
    gone = offer(cpus=1, request_id="r", offer_id="never-made")
    bench.scheduler.launch(gone, task("x"))
    bench.decides()
    assert bench.session.wanted("r") == 3


# --- what the master says of it -------------------------------------------------------------------


def test_what_no_agent_can_hold_is_told_once_and_stays_wanted() -> None:
    bench = wanting()
    told = RequestUnsatisfiable(
        "r", Refusal.NO_AGENT_FITS, "the nearest, h1 (agent a1), lacks cpus:1", 1
    )
    bench.hears(told)
    assert bench.callbacks == [OnUnsatisfiable("r", told.refusal, told.message)]
    bench.loses_stream()
    assert requested(bench.subscribe()) == [request(3)]
    bench.callbacks.clear()
    bench.hears(replace(told, number=2))
    assert bench.callbacks == []
    assert isinstance(bench.scheduler, Wanting)
    bench.scheduler.ask(4)
    bench.decides()
    bench.hears(replace(told, number=3))
    assert len(bench.callbacks) == 1


def test_a_request_that_is_refused_otherwise_is_dropped() -> None:
    bench = wanting()
    bench.hears(RequestUnsatisfiable("r", Refusal.INVALID_REQUEST, "why", 1))
    assert bench.callbacks == [OnUnsatisfiable("r", Refusal.INVALID_REQUEST, "why")]
    bench.loses_stream()
    assert requested(bench.subscribe()) == []


@pytest.mark.parametrize("refusal", [Refusal.TOO_MANY_REQUESTS, Refusal.NO_AGENT_FITS])
def test_what_is_said_of_a_request_that_was_replaced_meanwhile_is_no_matter(
    refusal: Refusal,
) -> None:
    """The refusal of the first crosses the second on its way, which may well be in force."""
    bench = wanting()
    assert isinstance(bench.scheduler, Wanting)
    bench.scheduler.ask(5)
    bench.decides()
    bench.hears(RequestUnsatisfiable("r", refusal, "why", 1))
    assert bench.callbacks == []
    assert bench.session.wanted("r") == 5
    bench.loses_stream()
    assert requested(bench.subscribe()) == [request(5)]


def test_what_is_said_of_an_unknown_request_is_no_matter() -> None:
    bench = wanting()
    bench.hears(RequestUnsatisfiable("other", Refusal.NO_AGENT_FITS, ""))
    assert bench.callbacks == []


def test_offers_that_crossed_the_first_request_go_back_unseen_but_for_what_is_reserved() -> None:
    session = busy_session()
    hear(session, Offers((offer(offer_id="o1"), offer(offer_id="o2", request_id="r"))))
    reserved = replace(offer(offer_id="o3"), resources=Resources.parse("cpus(ads):1"))
    hear(session, Offers((reserved, replace(reserved, offer_id="o4", role="ads"))))
    session.handle(Decided(MakeRequest(request(3))))
    effects = session.handle(CallbackReturned())
    [gone] = [e.call for e in effects if isinstance(e, ToMaster) and isinstance(e.call, Decline)]
    assert gone.offer_ids == ("o1",)
    shown = [e.callback for e in effects + session.handle(Tick(0)) if isinstance(e, RunCallback)]
    assert [[o.offer_id for o in one.offers] for one in shown if isinstance(one, OnOffers)] == [
        ["o2", "o3", "o4"]
    ]


def test_requests_are_bounded() -> None:
    bench = wanting()
    for _ in range(REQUESTS_MAX):
        bench.scheduler.request(cpus=1, role="*")
    assert len(requested(bench.decides())) == REQUESTS_MAX - 1
    assert bench.callbacks == [
        OnUnsatisfiable(f"r{REQUESTS_MAX}", Refusal.TOO_MANY_REQUESTS, "it has 1,000")
    ]


# --- the calls themselves -------------------------------------------------------------------------


def test_tasks_on_offers_of_several_requests_take_a_unit_where_there_is_room() -> None:
    bench = subscribed(Wanting())
    made = [
        offer(cpus=1, mem=64, request_id="a", offer_id="o1"),
        offer(cpus=4, mem=64, offer_id="o2"),
        offer(cpus=2, mem=64, request_id="b", offer_id="o3"),
    ]
    tasks = [Task(f"t{cpus}", ["x"], Resources(cpus=cpus, mem=32)) for cpus in (1, 4, 2, 8)]
    bench.scheduler.launch(made, tasks)
    [decision] = bench.bench.decisions()
    assert isinstance(decision, AcceptOffers)
    launches = [one for one in decision.operations if isinstance(one, Launch)]
    assert [one.request_id for one in launches] == ["a", "", "b", ""]
