"""Requests: who asks is offered that and no more, counted to the end, and told what can not be."""

from __future__ import annotations

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.master import conduct, view
from mesoslite.master.protocol import Misconduct
from mesoslite.master.requests import JUDGE_AFTER_MS
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Decline,
    Offers,
    RequestResources,
    RequestUnsatisfiable,
    Revive,
    Teardown,
    WithdrawRequests,
)
from mesoslite.model import InvalidRequest, Offer, Policy, Refusal, Request
from mesoslite.resources import Resources
from tests.unit.master_world import World, on_agent, task

UNIT = "cpus:1;mem:512"
LACKS = "the nearest, large.example (agent large), lacks cpus:1"


def request(
    count: int = 1,
    unit: str = UNIT,
    *,
    request_id: str = "r",
    role: str = "*",
    ports: int = 0,
    where: str = "",
    policy: Policy = Policy.SPREAD,
) -> Request:
    return Request(request_id, role, Resources.parse(unit), count, ports, where, policy)


def ask(world: World, *requests: Request, stream: str = "f") -> list[Offer]:
    """The scheduler requests this; the offers of the same step."""
    world.call(stream, RequestResources(requests))
    return world.offers(stream)


def wanting() -> World:
    """A framework in demand mode and one agent of four cpus."""
    world = World()
    world.framework(demand_roles=("*",))
    world.agent()
    assert world.offers() == []
    return world


def told(world: World) -> list[tuple[str, Refusal, str]]:
    heard = world.heard("f", RequestUnsatisfiable)
    return [(one.request_id, one.refusal, one.message) for one in heard]


def requests(world: World) -> dict[str, tuple[int, int]]:
    """Wanted and offered, by request."""
    framework_id = next(iter(world.master.tables.frameworks))
    rows = view.requests(world.master.tables, framework_id)
    return {row.request.request_id: (row.request.count, row.offered) for row in rows}


# --- being offered --------------------------------------------------------------------------------


def test_who_asks_is_offered_whole_units_and_no_more_than_it_wants() -> None:
    world = wanting()
    [offer] = ask(world, request(3))
    assert offer.resources == Resources.parse("cpus:3;mem:1536")
    assert offer.request_id == "r"
    assert requests(world) == {"r": (3, 3)}
    world.wait(20_000)
    assert world.offers() == []


def test_the_rest_of_the_agent_goes_to_others() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    world.framework("g", session_id="s2")
    ask(world, request(1))
    world.agent()
    [mine], [theirs] = world.offers("f"), world.offers("g")
    assert mine.resources == Resources.parse(UNIT)
    assert mine.resources + theirs.resources == Resources.parse("cpus:4;mem:4096")


def test_the_first_request_turns_the_mode_on() -> None:
    world = World()
    world.framework()
    ask(world, request(0))
    world.agent()
    assert world.offers() == []
    [offer] = ask(world, request(1))
    assert offer.resources == Resources.parse(UNIT)


def test_units_are_spread_over_the_agents_or_packed() -> None:
    world = wanting()
    world.agent("a2")
    spread = ask(world, request(4))
    assert {(o.agent_id, o.resources.cpus) for o in spread} == {("a1", 2), ("a2", 2)}
    world.call("f", WithdrawRequests(("r",)))
    world.call("f", Decline(tuple(o.offer_id for o in spread), 0))
    packed = ask(world, request(4, request_id="p", policy=Policy.BINPACK))
    assert [o.resources.cpus for o in packed] == [4]


def test_only_agents_that_are_where_it_wants_are_offered() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    world.agent("a1", attributes="rack:r1", zone="a")
    world.agent("a2", attributes="rack:r2", zone="b", region="eu")
    [offer] = ask(world, request(2, where="rack != r1"))
    assert (offer.agent_id, offer.region, offer.zone) == ("a2", "eu", "b")
    [offer] = ask(world, request(1, request_id="z", where="zone == a and hostname == a1.example"))
    assert (offer.agent_id, offer.request_id) == ("a1", "z")


def test_ports_are_cut_for_each_unit() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    world.agent(resources="cpus:4;mem:4096;ports:[100-109]")
    [offer] = ask(world, request(2, ports=3))
    assert offer.resources.cpus == 2
    assert sum(high - low + 1 for low, high in offer.resources.ports) == 6


def test_what_is_reserved_for_the_role_is_offered_regardless() -> None:
    world = World()
    world.framework(roles=("ads",), demand_roles=("ads",))
    world.agent(resources="cpus:4;mem:4096;cpus(ads):2;mem(ads):64")
    [offer] = world.offers()
    assert offer.resources == Resources.parse("cpus(ads):2;mem(ads):64")
    assert offer.request_id == ""


# --- counting -------------------------------------------------------------------------------------


def test_launches_count_down_and_a_request_that_is_met_is_gone() -> None:
    world = wanting()
    [offer] = ask(world, request(2))
    world.accept(offer, task("t1"), task("t2"))
    assert requests(world) == {}
    world.report("t1", TaskState.FINISHED)
    world.wait(60_000)
    assert world.offers() == []


def test_units_that_were_not_used_are_offered_elsewhere_and_here_only_later() -> None:
    world = wanting()
    [offer] = ask(world, request(2))
    world.accept(offer, task("t1"), refuse_ms=5_000)
    assert requests(world) == {"r": (1, 0)}
    assert world.offers() == []
    world.agent("a2")
    [elsewhere] = world.offers()
    assert (elsewhere.agent_id, elsewhere.resources) == ("a2", Resources.parse(UNIT))
    world.call("f", Decline((elsewhere.offer_id,), 3_600_000))
    world.wait(5_000)
    assert [o.agent_id for o in world.offers()] == ["a1"]


def test_a_whole_match_used_leaves_no_refusal_behind() -> None:
    world = wanting()
    [offer] = ask(world, request(5))
    assert offer.resources.cpus == 4
    tasks = [task(f"t{n}", "cpus:1;mem:500") for n in range(4)]
    world.accept(offer, *tasks, refuse_ms=3_600_000)
    world.report("t0", TaskState.FINISHED)
    [again] = world.offers()
    assert again.request_id == "r"


def test_a_launch_that_is_refused_does_not_count() -> None:
    world = wanting()
    [offer] = ask(world, request(2))
    [one, two] = world.accept(offer, task("t1"), task("t1"), refuse_ms=0)
    assert one.done
    assert two.refusal is Refusal.DUPLICATE_TASK
    assert requests(world)["r"][0] == 1


def test_a_count_is_absolute_and_what_is_outstanding_is_part_of_it() -> None:
    world = wanting()
    [offer] = ask(world, request(2))
    assert ask(world, request(2)) == []
    [more] = ask(world, request(3))
    assert more.resources == Resources.parse(UNIT)
    assert ask(world, request(1)) == []
    world.call("f", Decline((offer.offer_id, more.offer_id), 0))
    [left] = world.offers()
    assert left.resources == Resources.parse(UNIT)


def test_a_match_that_was_declined_is_refused_however_much_is_free_until_more_is_asked() -> None:
    world = wanting()
    [offer] = ask(world, request(1))
    world.call("f", Decline((offer.offer_id,), 60_000))
    world.wait(59_000)
    assert world.offers() == []
    assert ask(world, request(1)) == []
    assert len(ask(world, request(2))) == 1


def test_revive_forgets_what_was_declined() -> None:
    world = wanting()
    [offer] = ask(world, request(1))
    world.call("f", Decline((offer.offer_id,), 60_000))
    world.call("f", Revive())
    assert len(world.offers()) == 1


def test_withdrawn_by_id_the_mode_stays_and_withdrawn_in_all_everything_is_offered() -> None:
    world = wanting()
    [offer] = ask(world, request(1))
    world.call("f", WithdrawRequests(("r", "unknown")))
    world.call("f", Decline((offer.offer_id,), 0))
    assert world.offers() == []
    assert requests(world) == {}
    ask(world, request(1))
    world.call("f", WithdrawRequests())
    assert [o.resources.cpus for o in world.offers()] == [3]
    assert requests(world) == {}


def test_a_subscribe_forgets_all_requests_and_takes_its_roles_from_the_call() -> None:
    world = wanting()
    ask(world, request(1))
    world.framework(stream="f2", resuming=True, framework_id="1-F1", demand_roles=("*",))
    assert world.offers("f2") == []
    assert requests(world) == {}
    world.framework(stream="f3", resuming=True, framework_id="1-F1")
    assert [o.resources.cpus for o in world.offers("f3")] == [4]


def test_requests_of_a_framework_that_is_away_wait_for_its_session() -> None:
    world = wanting()
    ask(world, request(4))
    world.close("f")
    world.framework("g", session_id="s2")
    assert [o.resources.cpus for o in world.offers("g")] == [4]


def test_the_next_process_of_a_framework_wants_nothing_yet() -> None:
    world = wanting()
    ask(world, request(9))
    world.framework("f", session_id="s2", stream="f2")
    assert requests(world) == {}
    assert [o.resources.cpus for o in world.offers("f2")] == [4]


def test_a_removed_framework_takes_its_requests_along() -> None:
    world = wanting()
    ask(world, request(9))
    world.call("f", Teardown())
    world.framework("g", session_id="s2")
    assert [o.resources.cpus for o in world.offers("g")] == [4]


# --- what can not be ------------------------------------------------------------------------------


def test_what_no_agent_can_hold_is_told_at_once_with_what_is_missing() -> None:
    world = wanting()
    world.agent("a2", "cpus:2;mem:65536")
    ask(world, request(1, "cpus:6;mem:64"))
    assert told(world) == [
        ("r", Refusal.NO_AGENT_FITS, "the nearest, a1.example (agent a1), lacks cpus:2"),
    ]
    world.agent("a3", "cpus:8;mem:4096")
    assert [o.agent_id for o in world.offers()] == ["a3"]


def test_a_busy_agent_is_no_reason_to_give_up() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    world.agent(tasks=[on_agent("t0", needs="cpus:4;mem:4096", framework_id="1-F9")])
    ask(world, request(1, "cpus:4;mem:64"))
    assert told(world) == []


def test_ports_that_no_agent_has_are_told() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    world.agent(resources="cpus:4;mem:4096;ports:[100-101]")
    ask(world, request(1, ports=5))
    assert told(world)[0][2] == "the nearest, a1.example (agent a1), lacks 3 ports"


def test_what_is_told_of_a_request_names_the_call_that_said_it_last() -> None:
    world = wanting()
    small, large = request(1, "cpus:1;mem:64"), request(1, "cpus:6;mem:64")
    told: list[tuple[str, int]] = []
    for number, requests in enumerate(
        [[small], [large, request(1, role="other", request_id="x")], [large]], 1
    ):
        world.call("f", RequestResources(tuple(requests), number))
        told += [(one.request_id, one.number) for one in world.heard("f", RequestUnsatisfiable)]
    assert told == [("r", 2), ("x", 2), ("r", 3)]


def test_a_place_where_no_agent_is_is_told() -> None:
    world = wanting()
    ask(world, request(1, where="rack == r9"))
    assert told(world) == [("r", Refusal.NO_AGENT_FITS, "no agent is where rack == r9")]


def test_without_agents_nothing_is_told() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    ask(world, request(1, "cpus:64;mem:64"))
    assert told(world) == []


def test_what_was_asked_of_an_empty_cluster_is_judged_when_its_agents_have_come() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    ask(world, request(1, "cpus:65;mem:64"), request(1, "cpus:64;mem:64", request_id="s"))
    world.agent("small")
    world.wait(JUDGE_AFTER_MS - 1)
    world.agent("large", "cpus:64;mem:65536")
    assert told(world) == []
    world.wait(1)
    assert told(world) == [("r", Refusal.NO_AGENT_FITS, LACKS)]
    world.agent("another", "cpus:2;mem:64")
    world.wait(JUDGE_AFTER_MS)
    assert told(world) == []


def test_a_request_that_the_last_large_agent_could_hold_is_told_of_when_that_is_lost() -> None:
    world = wanting()
    world.agent("large", "cpus:64;mem:65536")
    ask(world, request(1, "cpus:64;mem:64"))
    assert told(world) == []
    world.close("large")
    world.wait(world.config.silence_ms)
    assert told(world) == []
    world.wait(JUDGE_AFTER_MS)
    [(request_id, refusal, _)] = told(world)
    assert (request_id, refusal) == ("r", Refusal.NO_AGENT_FITS)


def test_a_new_master_judges_when_its_agents_are_back() -> None:
    world = World()
    world.agent("small")
    world.agent("large", "cpus:64;mem:65536")
    world.restart()
    world.agent("small")
    world.framework(demand_roles=("*",))
    ask(world, request(1, "cpus:65;mem:64"), request(1, "cpus:64;mem:64", request_id="s"))
    assert told(world) == []
    world.agent("large", "cpus:64;mem:65536")
    assert told(world) == [("r", Refusal.NO_AGENT_FITS, LACKS)]
    assert [o.request_id for o in world.offers()] == ["s"]


def test_each_request_of_a_call_stands_for_itself() -> None:
    world = World(config=MasterConfig(requests_max=2))
    world.framework(demand_roles=("*",))
    world.agent()
    ask(world, request(1, request_id="old"))
    bad = InvalidRequest("old", "count must be 0 to 1,000,000, not -1")
    calls = (
        bad,
        InvalidRequest("", "request_id must be"),
        request(1, role="other", request_id="x"),
        request(1, request_id="a"),
        request(1, request_id="b"),
        request(1, request_id="c"),
        request(2, request_id="a"),
        request(0, request_id="d"),
    )
    world.call("f", RequestResources(calls))
    assert [(request_id, refusal) for request_id, refusal, _ in told(world)] == [
        ("old", Refusal.INVALID_REQUEST),
        ("", Refusal.INVALID_REQUEST),
        ("x", Refusal.UNKNOWN_ROLE),
        ("c", Refusal.TOO_MANY_REQUESTS),
    ]
    assert {i: wanted for i, (wanted, _) in requests(world).items()} == {"a": 2, "b": 1}


def test_a_subscribe_with_a_demand_role_that_is_none_of_its_roles_is_refused() -> None:
    world = World()
    world.framework(demand_roles=("ads",))
    assert world.refused("f").refusal is Refusal.UNKNOWN_ROLE


@pytest.mark.parametrize(
    ("needs", "refusal"),
    [("cpus:3;mem:64", Refusal.TOO_LARGE), ("cpus:9;mem:64", Refusal.NO_AGENT_FITS)],
)
def test_a_launch_that_is_too_large_for_every_agent_is_called_so(
    needs: str, refusal: Refusal
) -> None:
    world = wanting()
    [offer] = ask(world, request(1))
    [result] = world.accept(offer, task("t1", needs))
    assert result.refusal is refusal
    if refusal is Refusal.NO_AGENT_FITS:
        assert result.message == "t1: the nearest, a1.example (agent a1), lacks cpus:5"


def test_many_frameworks_with_nothing_to_do_are_offered_nothing() -> None:
    world = World()
    for number in range(20):
        world.framework(f"f{number}", session_id=f"s{number}", demand_roles=("*",))
    world.agent()
    assert not any(isinstance(getattr(e, "event", None), Offers) for e in world.said)


def test_new_expressions_about_all_agents_take_turns_and_those_about_few_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conduct, "NARROW", 4)
    world = World(config=MasterConfig(revives_max=2, revives_per_s=1))
    world.framework(demand_roles=("*",))
    for number in range(5):
        world.agent(f"a{number}")
    hosts = [request(request_id=f"h{n}", where=f"hostname == a{n}.example") for n in range(5)]
    assert len(ask(world, *hosts)) == 5
    flood = [request(request_id=f"r{n}", where=f"has x{n}") for n in range(4)]
    again = request(request_id="again", where="has x0")
    ask(world, *flood, again)
    assert [told_one[0] for told_one in told(world)] == ["r0", "r1", "again"]
    [framework] = world.master.tables.frameworks.values()
    assert Misconduct.REVIVES in framework.conduct.episodes
    for request_id in ("r2", "r3"):
        said = world.wait(1_000)
        events = [getattr(one, "event", None) for one in said]
        ids = [e.request_id for e in events if isinstance(e, RequestUnsatisfiable)]
        assert ids == [request_id]


def test_a_request_that_was_put_off_is_passed_on_less_what_was_launched_meanwhile() -> None:
    world = World(config=MasterConfig(revives_max=1, revives_per_s=1))
    world.framework(demand_roles=("*",))
    world.agent()
    [offer] = ask(world, request(2))
    [other] = ask(world, request(1, request_id="other"))
    world.call("f", Decline((other.offer_id,), 60_000))
    [other] = ask(world, request(2, request_id="other"))  # as much as may be raised at once
    world.call("f", Decline((other.offer_id,), 60_000))
    assert ask(world, request(4)) == []
    world.accept(offer, task("t1"), task("t2"))
    assert requests(world)["r"] == (2, 0)
    world.wait(1_000)
    [later] = [made for made in world.offers() if made.request_id == "r"]
    assert later.resources == Resources.parse("cpus:2;mem:1024")
