"""Offers and accepts: who is offered what, and every way an accept can be refused."""

from __future__ import annotations

from collections import Counter

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master.offers import LEASES_SPARE
from mesoslite.master.protocol import Recovered, StreamPaused, StreamResumed
from mesoslite.master.records import AgentState
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Accept,
    AcceptResult,
    ConfirmResults,
    Decline,
    FrameworkAdded,
    Rescind,
    Revive,
    RunTask,
    Suppress,
    Troubled,
)
from mesoslite.model import InvalidLaunch, Launch, OperationResult, Refusal
from mesoslite.resources import Resources
from tests.unit.master_world import World, on_agent, task


def test_an_agent_is_offered_whole_to_the_one_framework() -> None:
    world = World()
    world.framework()
    world.agent(resources="cpus:4;mem:4096;ports:[31000-31009]")
    [offer] = world.offers()
    assert offer.resources == Resources.parse("cpus:4;mem:4096;ports:[31000-31009]")
    assert (offer.agent_id, offer.hostname, offer.role) == ("a1", "a1.example", "*")
    assert offer.lease_ms == world.config.offer_lease_ms
    assert world.wait(1_000) == []


def test_a_launch_goes_to_the_agent_and_the_rest_comes_back_after_the_refusal() -> None:
    world = World()
    world.agent()
    world.framework()
    [offer] = world.offers()
    assert world.accept(offer, task("t1"), task("t2")) == (OperationResult(), OperationResult())
    assert world.launched() == ["t1", "t2"]
    assert len(world.heard("a1", FrameworkAdded)) == 1
    assert world.offers() == []
    world.wait(4_999)
    assert world.offers() == []
    world.wait(1)
    [rest] = world.offers()
    assert rest.resources == Resources.parse("cpus:2;mem:3072")


def ended(world: World) -> dict[str, int]:
    """What became of offers so far, those kinds that occurred."""
    return {how: count for how, count in world.master.tables.offers_ended.items() if count}


def test_what_became_of_each_offer_is_counted() -> None:
    """That they and the outstanding ones are all that were made is an invariant of every step."""
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task(), refuse_ms=0)
    assert ended(world) == {"accepted": 1}
    world.call("f", Decline((world.offers()[0].offer_id,), 0))
    assert ended(world) == {"accepted": 1, "declined": 1}
    world.wait(world.config.offer_lease_ms)
    assert ended(world) == {"accepted": 1, "declined": 1, "expired": 1}
    world.call("f", Revive())
    world.close("a1")
    assert ended(world) == {"accepted": 1, "declined": 1, "expired": 1, "rescinded": 1}
    world.agent(tasks=[on_agent()])
    world.call("f", Revive())
    world.close("f")
    assert ended(world)["returned"] == 1
    assert world.master.tables.launch_count == 1


def test_the_end_of_a_task_is_counted_once_however_often_it_is_told() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task())
    for _ in range(2):
        world.report("t1", TaskState.FINISHED)
    assert world.master.tables.tasks_ended == {("FINISHED", ""): 1}


def test_a_framework_is_introduced_to_an_agent_once() -> None:
    world = World()
    world.agent()
    world.framework()
    world.accept(world.offers()[0], task("t1"), refuse_ms=0)
    world.accept(world.offers()[0], task("t2"), number=2)
    assert world.heard("a1", FrameworkAdded) == []


def test_two_users_of_the_drf_paper_get_three_and_two_tasks() -> None:
    """Ghodsi et al., NSDI 2011, s.4.1: <9 CPU, 18 GB>; A needs <1, 4>, B needs <3, 1>."""
    needs = {"A": "cpus:1;mem:4096", "B": "cpus:3;mem:1024"}
    count = Counter[str]()
    world = World()
    world.framework("A", roles=("a",))
    world.framework("B", roles=("b",))
    world.agent(resources="cpus:9;mem:18432")
    for number in range(1, 6):
        [(name, offer)] = [(n, o) for n in needs for o in world.offers(n)]
        mine = task(f"t{number}", needs[name])
        assert world.accept(offer, mine, stream=name, number=number, refuse_ms=0)[0].done
        count[name] += 1
    assert count == {"A": 3, "B": 2}


def test_weights_one_and_two_share_a_busy_cluster_one_to_two() -> None:
    world = World(config=MasterConfig(weights={"small": 1_000, "large": 2_000}))
    world.framework("S", roles=("small",))
    world.framework("L", roles=("large",))
    world.agent(resources="cpus:30;mem:30720")
    count = Counter[str]()
    for number in range(1, 31):
        [(name, offer)] = [(n, o) for n in "SL" for o in world.offers(n)]
        mine = task(f"t{number}", "cpus:1;mem:1024")
        assert world.accept(offer, mine, stream=name, number=number, refuse_ms=0)[0].done
        count[name] += 1
    assert count == {"S": 10, "L": 20}


def test_a_declined_offer_goes_to_the_next_framework() -> None:
    world = World()
    world.framework("A")
    world.framework("B", session_id="s2")
    world.agent()
    [(first, offer)] = [(n, o) for n in "AB" for o in world.offers(n)]
    second = "B" if first == "A" else "A"
    world.call(first, Decline((offer.offer_id,), 5_000))
    assert [o.agent_id for o in world.offers(second)] == ["a1"]


def test_revive_forgets_refusals_and_suppress_keeps_offers_away() -> None:
    world = World()
    world.framework()
    world.agent()
    world.call("f", Decline((world.offers()[0].offer_id,), 3_600_000))
    world.call("f", Revive())
    [offer] = world.offers()
    world.call("f", Suppress())
    assert world.heard("f", Rescind) == []
    world.call("f", Decline((offer.offer_id,), 0))
    world.wait(3_600_000 - 1)
    assert world.offers() == []
    world.call("f", Revive())
    assert len(world.offers()) == 1


def test_leases_of_answered_offers_do_not_pile_up_behind_one_that_is_held() -> None:
    world = World(config=MasterConfig(short_declines_max=10 * LEASES_SPARE))
    world.framework()
    world.agent("a1")
    world.agent("a2")
    for _ in range(2 * LEASES_SPARE):
        [offer] = world.offers()
        world.call("f", Decline((offer.offer_id,), 0))
    t = world.master.tables
    assert {offer.agent_id for offer in t.offers.values()} == {"a1", "a2"}
    assert t.offer_count > 2 * LEASES_SPARE
    assert len(t.leases) <= LEASES_SPARE + 2 * len(t.offers)


def test_a_lease_that_runs_out_is_rescinded_and_offered_again_after_a_refusal() -> None:
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    world.wait(world.config.offer_lease_ms - 1)
    assert world.heard("f", Rescind) == []
    assert world.master.next_deadline_ms() == world.now_ms + 1
    world.wait(1)
    assert world.heard("f", Rescind) == [Rescind((offer.offer_id,))]
    assert world.offers() == []
    world.wait(world.config.lease_refuse_ms)
    [again] = world.offers()
    assert again.offer_id != offer.offer_id
    results = world.accept(offer, task())
    assert [r.refusal for r in results] == [Refusal.UNKNOWN_OFFER]
    assert world.launched() == []


def test_a_peer_that_does_not_read_is_offered_nothing_until_it_reads() -> None:
    world = World()
    world.framework()
    world.step(StreamPaused("f"))
    world.agent()
    assert world.offers() == []
    world.step(StreamResumed("f"))
    assert len(world.offers()) == 1


def test_an_agent_in_trouble_is_not_offered_until_it_is_well_again() -> None:
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    assert [r.refusal for r in world.accept(offer, task("t1"))] == [None]
    world.wait(5_000)
    [rest] = world.offers()
    world.tell("a1", Troubled("its disk is full"))
    assert world.heard("f", Rescind) == [Rescind((rest.offer_id,))]
    assert world.master.tables.agents["a1"].state is AgentState.ACTIVE
    assert rest.offer_id not in world.master.tables.offers
    world.step(StreamPaused("a1"))
    world.step(StreamResumed("a1"))
    assert world.offers() == []
    world.tell("a1", Troubled("its disk is still full"))
    world.call("f", Revive())
    assert world.offers() == []
    world.tell("a1", Troubled())
    assert len(world.offers()) == 1, "what runs there was never in question"


def test_an_agent_that_registers_anew_is_taken_for_well() -> None:
    world = World()
    world.agent()
    world.tell("a1", Troubled("its disk is full"))
    world.close("a1")
    world.agent(stream="again")
    world.framework()
    assert len(world.offers()) == 1


def test_the_same_accept_twice_changes_nothing_and_is_answered_alike() -> None:
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    first = world.accept(offer, task("t1"), task("t1"))
    assert [r.refusal for r in first] == [None, Refusal.DUPLICATE_TASK]
    assert world.accept(offer, task("t1"), task("t1")) == first
    assert world.launched() == []
    world.call("f", ConfirmResults(1))
    again = world.accept(offer, task("t1"), task("t1"))
    assert [r.refusal for r in again] == [Refusal.RESULT_FORGOTTEN] * 2


def test_an_answer_is_given_again_on_a_new_stream_of_the_same_session() -> None:
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    first = world.accept(offer, task("t1"))
    world.close("f")
    world.framework(stream="f2", resuming=True, framework_id="1-F1")
    assert world.accept(offer, task("t1"), stream="f2") == first
    assert world.launched() == []


@pytest.mark.parametrize(
    ("needs", "refusal"),
    [
        ("cpus:5;mem:1", Refusal.NO_AGENT_FITS),
        ("cpus:1;mem:4097", Refusal.NO_AGENT_FITS),
        ("cpus:1;gpus:1", Refusal.NO_AGENT_FITS),
        ("cpus:1;ports:[80-80]", Refusal.NO_AGENT_FITS),
        ("cpus(ads):1", Refusal.TOO_LARGE),
        ("disk:1", Refusal.NO_RESOURCES),
        ("", Refusal.NO_RESOURCES),
    ],
)
def test_a_task_that_asks_for_what_the_offer_does_not_hold_is_refused(
    needs: str, refusal: Refusal
) -> None:
    world = World()
    world.framework()
    world.agent()
    results = world.accept(world.offers()[0], task("bad", needs), task("good"))
    assert [r.refusal for r in results] == [refusal, None]
    assert results[0].message
    assert world.launched() == ["good"]


def test_tasks_that_fit_alone_but_not_together_are_taken_in_order() -> None:
    world = World()
    world.framework()
    world.agent(resources="cpus:3;mem:4096;ports:[1-1]")
    wanted = [task("t1", "cpus:2;ports:[1-1]"), task("t2", "cpus:1;ports:[1-1]"), task("t3")]
    results = world.accept(world.offers()[0], *wanted)
    assert [r.refusal for r in results] == [None, Refusal.TOO_LARGE, None]


def test_a_containerizer_that_the_agent_lacks_is_refused() -> None:
    world = World()
    world.framework()
    world.agent()
    results = world.accept(
        world.offers()[0], task("t1", containerizer="oci"), task("t2", image="/srv/root")
    )
    assert [r.refusal for r in results] == [Refusal.CONTAINERIZER_UNAVAILABLE] * 2


def test_a_launch_that_could_not_be_read_is_refused_and_the_others_go_on() -> None:
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    operations = (InvalidLaunch("x", "command is empty"), Launch(task("t2")))
    world.call("f", Accept(1, "a1", (offer.offer_id,), operations, 0))
    assert world.results() == (
        OperationResult(Refusal.INVALID_TASK, "command is empty"),
        OperationResult(),
    )


@pytest.mark.parametrize(
    ("offer_ids", "refusal"),
    [
        ((), Refusal.NO_OFFERS),
        (("1-1", "1-1"), Refusal.DUPLICATE_OFFER),
        (("1-999",), Refusal.UNKNOWN_OFFER),
        (("garbage",), Refusal.UNKNOWN_OFFER),
        (("1-1", "1-999"), Refusal.UNKNOWN_OFFER),
        (("1-1", "1-2"), Refusal.MIXED_AGENTS),
        (("0-1",), Refusal.STALE_OFFER),
    ],
)
def test_an_accept_of_wrong_offers_is_refused_and_gives_the_right_ones_back(
    offer_ids: tuple[str, ...], refusal: Refusal
) -> None:
    world = World()
    world.framework()
    world.agent("a1")
    world.agent("a2")
    assert set(world.master.tables.offers) == {"1-1", "1-2"}
    world.call("f", Accept(1, "a1", offer_ids, (Launch(task()),), 5_000))
    assert [r.refusal for r in world.results()] == [refusal]
    assert world.launched() == []
    for offer_id in offer_ids:
        assert offer_id not in world.master.tables.offers


def test_the_offer_of_somebody_else_is_refused_and_stays_theirs() -> None:
    world = World()
    world.framework("A")
    world.agent()
    [offer] = world.offers("A")
    world.framework("B", session_id="s2")
    results = world.accept(offer, task(), stream="B")
    assert [r.refusal for r in results] == [Refusal.NOT_YOUR_OFFER]
    world.call("B", Decline((offer.offer_id,), 5_000))
    assert world.accept(offer, task(), stream="A")[0].done


def test_offers_of_two_roles_can_not_be_mixed_in_one_accept() -> None:
    world = World()
    world.framework(roles=("x", "y"))
    world.agent(resources="cpus:4;mem:4096")
    [one] = world.offers()
    world.accept(one, task("t1"), refuse_ms=3_600_000)
    two = world.offers()
    assert [o.role for o in (one, *two)] in (["x", "y"], ["y", "x"])
    world.call("f", Revive())
    world.report("t1", TaskState.FINISHED)
    [three] = world.offers()
    assert three.role != two[0].role
    ids = (two[0].offer_id, three.offer_id)
    world.call("f", Accept(2, "a1", ids, (Launch(task("t2")),), 0))
    assert [r.refusal for r in world.results()] == [Refusal.MIXED_ROLES]


def test_several_offers_of_one_agent_are_used_together() -> None:
    world = World()
    world.framework()
    world.agent()
    world.accept(world.offers()[0], task("t1", "cpus:2;mem:2048"), refuse_ms=0)
    [rest] = world.offers()
    world.report("t1", TaskState.FINISHED)
    [freed] = world.offers()
    big = task("t2", "cpus:3;mem:3000")
    ids = (rest.offer_id, freed.offer_id)
    world.call("f", Accept(2, "a1", ids, (Launch(big),), 0))
    assert world.results() == (OperationResult(),)
    [left] = world.offers()
    assert left.resources == Resources.parse("cpus:1;mem:1096")


def test_a_framework_with_too_many_unread_ends_gets_no_more_launches_on_that_agent() -> None:
    world = World(config=MasterConfig(unacknowledged_max=2))
    world.framework()
    world.agent()
    for number in (1, 2):
        whole = task(f"t{number}", "cpus:4;mem:4096")
        assert world.accept(world.offers()[0], whole, number=number)[0].done
        world.report(f"t{number}", TaskState.FINISHED, f"u{number}")
    [offer] = world.offers()
    results = world.accept(offer, task("t3"), number=3)
    assert [r.refusal for r in results] == [Refusal.TOO_MANY_UNACKNOWLEDGED]


def test_an_agent_takes_no_more_tasks_than_it_may_list() -> None:
    world = World(config=MasterConfig(tasks_per_agent_max=1))
    world.framework()
    world.agent()
    results = world.accept(world.offers()[0], task("t1"), task("t2"))
    assert [r.refusal for r in results] == [None, Refusal.AGENT_FULL]


# --- across a failover of the master --------------------------------------------------------------


def _failed_over() -> tuple[World, str]:
    """A framework and an agent of before, a new master, and an offer id of the old one."""
    world = World()
    world.framework()
    world.agent()
    [offer] = world.offers()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    assert world.framework_id() == "1-F1"
    return world, offer.offer_id


def test_an_accept_of_an_earlier_masters_offer_waits_for_the_agent() -> None:
    world, offer_id = _failed_over()
    stale = Accept(1, "a1", (offer_id,), (Launch(task("t1")), Launch(task("t2"))), 0)
    world.call("f", stale)
    assert world.heard("f", AcceptResult) == []
    world.call("f", stale)
    assert world.heard("f", AcceptResult) == []
    world.agent(epoch_seen=1, tasks=[on_agent("t1")])
    assert [r.refusal for r in world.results()] == [None, Refusal.STALE_OFFER]
    world.call("f", stale)
    assert [r.refusal for r in world.results()] == [None, Refusal.STALE_OFFER]
    assert world.heard("a1", RunTask) == []


def test_accepts_that_wait_for_an_agent_are_bounded() -> None:
    world = World(config=MasterConfig(results_max=1))
    world.framework()
    world.agent()
    [offer] = world.offers()
    world.restart()
    world.framework(resuming=True, framework_id="1-F1")
    for number, answers in ((1, []), (2, [Refusal.AGENT_UNREACHABLE])):
        launches = (Launch(task(f"t{number}")),)
        world.call("f", Accept(number, "a1", (offer.offer_id,), launches, 0))
        said = world.heard("f", AcceptResult)
        assert [r.refusal for one in said for r in one.results] == answers


def test_it_is_not_said_to_be_dropped_when_its_agent_never_comes_back() -> None:
    world, offer_id = _failed_over()
    world.call("f", Accept(1, "a1", (offer_id,), (Launch(task("t1")),), 0))
    world.wait(world.config.reregister_ms)
    assert [r.refusal for r in world.results()] == [Refusal.AGENT_UNREACHABLE]


def test_a_later_session_is_not_given_the_answers_of_an_earlier_one() -> None:
    world, offer_id = _failed_over()
    world.call("f", Accept(1, "a1", (offer_id,), (Launch(task("t1")),), 0))
    world.framework(stream="f2", session_id="s2")
    world.agent(epoch_seen=1)
    assert world.heard("f2", AcceptResult) == []
    [offer] = world.offers("f2")
    assert world.accept(offer, task("t9"), stream="f2", number=1)[0].done


def test_offers_of_two_masters_never_share_an_id() -> None:
    world, old = _failed_over()
    world.agent(epoch_seen=1)
    [offer] = world.offers()
    assert offer.offer_id != old
    assert offer.offer_id.startswith("2-")


def test_the_oldest_results_go_when_a_session_confirms_none() -> None:
    world = World(Recovered(epoch=1), MasterConfig(results_max=2))
    world.framework()
    for number in (1, 2, 3):
        world.call("f", Accept(number, "a1", (f"1-{number}",), (Launch(task()),), 0))
        assert [r.refusal for r in world.results()] == [Refusal.UNKNOWN_OFFER]
    world.call("f", Accept(1, "a1", ("1-1",), (Launch(task()),), 0))
    assert [r.refusal for r in world.results()] == [Refusal.RESULT_FORGOTTEN]
