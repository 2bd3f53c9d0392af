"""Demand in the allocator by example: who is offered how much, where, and how much work it is."""

import pytest

from mesoslite.allocator import Allocator, Grant, Impossible, LedgerError, demand
from mesoslite.allocator.agents import VERDICTS_MAX
from mesoslite.allocator.cuts import Unit
from mesoslite.attributes import parse_attributes
from mesoslite.model import Policy, Request
from mesoslite.resources import Resources
from mesoslite.where import Place, Where

NOTHING = Resources.EMPTY
ONE = Resources(cpus=1, mem=64)
AGENT = Resources(cpus=4, mem=1024, ports="[31000-31009]")
FOR_EVER = 10**15


def wants(
    count: int,
    unit: Resources = ONE,
    *,
    request_id: str = "r",
    role: str = "*",
    ports: int = 0,
    where: str = "",
    policy: Policy = Policy.SPREAD,
) -> Request:
    return Request(request_id, role, unit, count, ports, where, policy)


def cluster(
    agents: int, *frameworks: str, total: Resources = AGENT, role: str = "*", demand: bool = True
) -> Allocator:
    """The frameworks state what they want; agents a0, a1, ... stand in racks r0, r1, r0, ..."""
    allocator = Allocator()
    for framework_id in frameworks:
        allocator.add_framework(framework_id, [role])
        allocator.set_demand(framework_id, role, demand)
    for number in range(agents):
        place = Place(f"h{number}", parse_attributes(f"rack:r{number % 2}"))
        allocator.add_agent(f"a{number}", total, place=place)
    return allocator


def run(allocator: Allocator, now_ms: int = 0) -> list[Grant]:
    grants = allocator.allocate(now_ms)
    allocator.check()
    assert allocator.allocate(now_ms) == []
    return grants


def units(grants: list[Grant]) -> dict[str, int]:
    """By agent."""
    found: dict[str, int] = {}
    for grant in grants:
        found[grant.agent_id] = found.get(grant.agent_id, 0) + grant.units
    return found


def launch(allocator: Allocator, grant: Grant) -> None:
    settle(allocator, grant, grant.resources)
    allocator.launched(grant.framework_id, grant.role, grant.request_id, grant.units)
    allocator.check()


def settle(allocator: Allocator, grant: Grant, used: Resources = NOTHING) -> None:
    who = grant.framework_id, grant.role, grant.agent_id
    allocator.settle(*who, grant.resources, used, grant.request_id, grant.units)


def decline(allocator: Allocator, grant: Grant, until_ms: int = FOR_EVER) -> None:
    settle(allocator, grant)
    who = grant.framework_id, grant.role, grant.agent_id
    allocator.refuse(*who, grant.resources, until_ms, grant.request_id)
    allocator.check()


# --- how much -------------------------------------------------------------------------------------


def test_who_states_what_it_wants_is_offered_that_and_no_more() -> None:
    allocator = cluster(3, "f")
    assert run(allocator) == []
    allocator.request("f", wants(1))
    [grant] = run(allocator)
    assert (grant.resources, grant.request_id, grant.units) == (ONE, "r", 1)
    launch(allocator, grant)
    assert run(allocator) == []
    assert allocator.wanted("f") == {}
    assert allocator.held("f") == {"cpus": 1000, "mem": 64_000}


def test_a_request_without_the_mode_turns_it_on_and_what_is_refused_comes_back_to_others() -> None:
    allocator = cluster(1, "f", demand=False)
    [whole] = run(allocator)
    allocator.request("f", wants(1))
    assert run(allocator) == []
    settle(allocator, whole)
    assert [grant.units for grant in run(allocator)] == [1]


def test_without_the_mode_again_everything_is_offered_and_requests_are_gone() -> None:
    allocator = cluster(2, "f")
    allocator.request("f", wants(5, Resources(cpus=9)))
    assert run(allocator) == []
    allocator.set_demand("f", "*", on=False)
    assert [grant.resources for grant in run(allocator)] == [AGENT, AGENT]
    assert allocator.wanted("f") == {}


def test_units_in_offers_are_not_offered_twice_and_come_back_when_those_are_settled() -> None:
    allocator = cluster(5, "f")
    allocator.request("f", wants(3))
    grants = run(allocator)
    assert allocator.wanted("f") == {"r": (3, 3)}
    settle(allocator, grants[0])
    assert allocator.wanted("f") == {"r": (3, 2)}
    assert sum(units(run(allocator)).values()) == 1


def test_a_count_replaces_the_one_before() -> None:
    allocator = cluster(9, "f")
    allocator.request("f", wants(2))
    run(allocator)
    allocator.request("f", wants(5))
    assert len(run(allocator)) == 3
    allocator.request("f", wants(1))
    assert run(allocator) == []
    assert allocator.wanted("f") == {"r": (1, 5)}


def test_what_is_withdrawn_and_requested_again_still_counts_what_is_offered() -> None:
    allocator = cluster(4, "f")
    allocator.request("f", wants(2))
    grants = run(allocator)
    allocator.withdraw("f", "*", "r")
    assert allocator.wanted("f") == {}
    allocator.request("f", wants(3))
    assert len(run(allocator)) == 1
    assert allocator.wanted("f") == {"r": (3, 3)}
    allocator.withdraw("f", "*", "r")
    settle(allocator, grants[0])
    settle(allocator, grants[1])
    allocator.request("f", wants(1))
    assert run(allocator) == []


def test_a_request_moves_to_another_role() -> None:
    allocator = Allocator()
    allocator.add_framework("f", ["ads", "ops"])
    allocator.add_agent("a", AGENT)
    allocator.request("f", wants(9, Resources(cpus=9), role="ads"))
    allocator.request("f", wants(1, role="ops"))
    assert [grant.role for grant in run(allocator)] == ["ops"]


def test_settling_units_that_were_not_offered_is_a_mistake_and_changes_nothing() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(1))
    [grant] = run(allocator)
    with pytest.raises(LedgerError, match="was not offered 2 units of r"):
        allocator.settle("f", "*", "a0", grant.resources, NOTHING, "r", 2)
    with pytest.raises(LedgerError, match="was not offered 1 units of other"):
        allocator.settle("f", "*", "a0", grant.resources, NOTHING, "other", 1)
    allocator.check()
    assert allocator.wanted("f") == {"r": (1, 1)}


def test_a_cut_may_be_less_than_an_offer_must_hold() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(1, Resources(mem=1)))
    assert [grant.resources for grant in run(allocator)] == [Resources(mem=1)]


# --- where ----------------------------------------------------------------------------------------


def test_spread_takes_one_agent_for_each_unit_and_the_emptiest_first() -> None:
    allocator = cluster(4, "f", "g")
    allocator.charge("g", "*", "a1", ONE)
    allocator.request("f", wants(3))
    assert set(units(run(allocator))) == {"a0", "a2", "a3"}


def test_spread_over_fewer_agents_than_units_gives_each_the_same() -> None:
    allocator = cluster(3, "f")
    allocator.request("f", wants(6))
    grants = run(allocator)
    assert units(grants) == {"a0": 2, "a1": 2, "a2": 2}
    assert len(grants) == 3
    assert grants[0].resources == Resources(cpus=2, mem=128)


def test_what_does_not_divide_evenly_takes_no_more_offers_than_there_are_agents() -> None:
    allocator = cluster(3, "f")
    allocator.request("f", wants(5))
    grants = run(allocator)
    assert sorted(units(grants).values()) == [1, 2, 2]
    assert len(grants) == 3


def test_two_requests_of_one_cycle_spread_over_different_agents() -> None:
    allocator = cluster(10, "f", "g")
    allocator.request("f", wants(5))
    allocator.request("g", wants(5))
    assert set(units(run(allocator)).values()) == {1}


def test_binpack_fills_the_fullest_agent_first() -> None:
    allocator = cluster(3, "f", "g")
    allocator.charge("g", "*", "a2", Resources(cpus=2))
    allocator.request("f", wants(5, policy=Policy.BINPACK))
    first, second = run(allocator)
    assert (first.agent_id, first.units, second.units) == ("a2", 2, 3)


def test_who_waits_takes_of_agents_that_change_together_as_the_policy_says() -> None:
    for policy, first in ((Policy.SPREAD, "a1"), (Policy.BINPACK, "a0")):
        allocator = cluster(2, "f", "g")
        for agent_id in ("a0", "a1"):
            allocator.charge("g", "*", agent_id, Resources(cpus=4))
        allocator.request("f", wants(1, policy=policy))
        assert run(allocator) == []
        allocator.release("g", "*", "a0", Resources(cpus=1))
        allocator.release("g", "*", "a1", Resources(cpus=3))
        assert units(run(allocator)) == {first: 1}


def test_where_limits_the_agents() -> None:
    allocator = cluster(6, "f", "g")
    allocator.request("f", wants(3, where="rack != r1"))
    allocator.request("g", wants(3, where="rack == r1 and not hostname == h3"))
    grants = run(allocator)
    assert {g.agent_id for g in grants if g.framework_id == "f"} == {"a0", "a2", "a4"}
    assert {g.agent_id for g in grants if g.framework_id == "g"} == {"a1", "a5"}


def test_where_may_name_several_places() -> None:
    allocator = cluster(2, "f")
    allocator.request("f", wants(2, where="rack in (r1, r0)"))
    assert units(run(allocator)) == {"a0": 1, "a1": 1}


def test_many_expressions_are_forgotten_and_asked_again() -> None:
    allocator = cluster(1, "f")
    for number in range(VERDICTS_MAX + 2):
        allocator.request("f", wants(1, request_id=f"r{number}", where=f"hostname == n{number}"))
    allocator.request("f", wants(1, where="rack == r0"))
    assert [grant.request_id for grant in run(allocator)] == ["r"]


def test_ports_are_the_lowest_free_ones_and_different_for_each_unit() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(2, ports=2))
    [grant] = run(allocator)
    assert grant.resources == Resources(cpus=2, mem=128, ports="[31000-31003]")
    allocator.request("f", wants(3, ports=4, request_id="more"))
    [more] = run(allocator)
    assert more.units == 1
    assert more.resources.ports == ((31004, 31007),)


def test_a_certain_port_is_there_once_and_not_among_those_that_are_anybodys() -> None:
    allocator = cluster(2, "f")
    allocator.request("f", wants(3, ONE + Resources(ports="[31000-31000]"), ports=1))
    grants = run(allocator)
    assert units(grants) == {"a0": 1, "a1": 1}
    assert {grant.resources.ports for grant in grants} == {((31000, 31001),)}


def test_what_is_reserved_for_the_role_is_taken_first_and_offered_anyway() -> None:
    total = Resources(cpus=2, mem=512) + Resources(cpus=2, mem=512, role="ads")
    allocator = cluster(1, "f", total=total, role="ads")
    [reserved] = run(allocator)
    assert (reserved.resources, reserved.units) == (Resources(cpus=2, mem=512, role="ads"), 0)
    settle(allocator, reserved)
    allocator.request("f", wants(1, Resources(cpus=3), role="ads"))
    cut, rest = run(allocator)
    assert cut.resources == Resources(cpus=2, role="ads") + Resources(cpus=1)
    assert (cut.request_id, rest.request_id) == ("r", "")
    assert rest.resources == Resources(mem=512, role="ads")


# --- whose turn -----------------------------------------------------------------------------------


def test_the_poorer_of_two_requests_is_met_first() -> None:
    allocator = cluster(1, "f", "g", total=Resources(cpus=5))
    allocator.charge("f", "*", "a0", Resources(cpus=2))
    for framework_id in ("f", "g"):
        allocator.request(framework_id, wants(3, Resources(cpus=1)))
    grants = run(allocator)
    assert [(grant.framework_id, grant.units) for grant in grants] == [("g", 3)]


def test_who_wants_everything_takes_the_rest_of_an_agent_after_a_poorer_cut() -> None:
    allocator = cluster(1, "f")
    allocator.add_framework("all", ["*"])
    allocator.request("f", wants(1))
    allocator.charge("all", "*", "a0", ONE)
    cut, rest = run(allocator)
    assert (cut.framework_id, cut.resources) == ("f", ONE)
    assert rest.framework_id == "all"
    assert rest.resources.cpus == 2


def test_who_is_at_its_cap_after_a_cut_gets_no_other_of_the_same_agent() -> None:
    allocator = cluster(1, "f")
    allocator.add_framework("all", ["*"])
    allocator.charge("all", "*", "a0", Resources(cpus=2))
    allocator.set_outstanding_max("f", 1)
    for request_id in ("r1", "r2"):
        allocator.request("f", wants(1, request_id=request_id))
    cut, rest = run(allocator)
    assert (cut.request_id, rest.framework_id) == ("r1", "all")
    assert rest.resources == Resources(cpus=1, mem=960, ports="[31000-31009]")


def test_a_request_takes_what_who_wants_everything_refused() -> None:
    allocator = cluster(2, "f")
    allocator.add_framework("all", ["*"])
    for grant in allocator.allocate(0):
        decline(allocator, grant)
    allocator.request("f", wants(2))
    assert units(run(allocator)) == {"a0": 1, "a1": 1}


# --- declining, waiting ---------------------------------------------------------------------------


def test_a_declined_agent_is_not_offered_for_that_request_whatever_is_free() -> None:
    allocator = cluster(1, "f", "g")
    allocator.charge("g", "*", "a0", Resources(cpus=2))
    allocator.request("f", wants(1))
    [grant] = run(allocator)
    decline(allocator, grant, until_ms=100)
    allocator.release("g", "*", "a0", Resources(cpus=2))
    assert run(allocator) == []
    allocator.request("f", wants(1, request_id="other"))
    assert [grant.request_id for grant in run(allocator)] == ["other"]
    assert allocator.next_deadline_ms() == 100
    assert [grant.request_id for grant in run(allocator, 100)] == ["r"]


def test_who_takes_all_that_it_was_offered_has_declined_nothing() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(2, Resources(cpus=4)))
    [grant] = run(allocator)
    launch(allocator, grant)
    allocator.refuse("f", "*", "a0", NOTHING, FOR_EVER, "r")
    allocator.release("f", "*", "a0", grant.resources)
    assert len(run(allocator)) == 1


def test_a_raised_count_a_changed_unit_and_a_revive_forget_what_was_declined() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(1))
    for again in (wants(2), wants(2, Resources(cpus=2)), wants(2, Resources(cpus=2), where="")):
        [grant] = run(allocator)
        decline(allocator, grant)
        assert run(allocator) == []
        allocator.request("f", again)
    assert run(allocator) == []  # the last one said the same
    allocator.revive("f")
    assert len(run(allocator)) == 1


def test_beyond_the_limit_a_framework_is_offered_again_what_it_declined_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand, "DECLINED_MAX", 6)
    allocator = cluster(0, "f", "g")
    for framework_id in ("f", "g"):
        for request_id in ("r1", "r2"):
            allocator.request(framework_id, wants(1, request_id=request_id))
    for number in range(3):
        allocator.add_agent(f"a{number}", ONE)
        while grants := allocator.allocate(0):
            for grant in grants:
                decline(allocator, grant)
    allocator.add_agent("a3", ONE)
    [grant] = allocator.allocate(0)
    decline(allocator, grant)
    again = allocator.allocate(0)
    assert (grant.framework_id, grant.request_id, "a0") in {
        (one.framework_id, "r1", one.agent_id) for one in again
    }
    assert {one.framework_id for one in again if one.agent_id == "a0"} == {grant.framework_id}


def test_a_request_waits_for_what_is_not_free_yet() -> None:
    allocator = cluster(2, "f", "g")
    for agent_id in ("a0", "a1"):
        allocator.charge("g", "*", agent_id, Resources(cpus=4))
    allocator.request("f", wants(3))
    assert run(allocator) == []
    allocator.release("g", "*", "a1", Resources(cpus=2))
    assert units(run(allocator)) == {"a1": 2}


def test_suppressed_away_and_at_its_cap_it_is_offered_nothing_and_everything_after() -> None:
    allocator = cluster(3, "f")
    allocator.suppress("f")
    allocator.request("f", wants(3))
    assert run(allocator) == []
    allocator.revive("f")
    allocator.deactivate_framework("f")
    assert run(allocator) == []
    allocator.activate_framework("f")
    allocator.set_outstanding_max("f", 1)
    [grant] = run(allocator)
    settle(allocator, grant, NOTHING)
    allocator.set_outstanding_max("f", None)
    assert len(run(allocator)) == 3


def test_what_an_agent_took_with_it_is_wanted_again() -> None:
    allocator = cluster(2, "f")
    allocator.request("f", wants(2))
    grants = run(allocator)
    decline(allocator, grants[0])
    allocator.remove_agent(grants[0].agent_id)
    allocator.remove_agent(grants[1].agent_id)
    allocator.check()
    assert allocator.wanted("f") == {"r": (2, 0)}
    allocator.add_agent("a9", AGENT)
    assert units(run(allocator)) == {"a9": 2}


def test_a_framework_that_goes_takes_its_requests_with_it() -> None:
    allocator = cluster(1, "f")
    allocator.request("f", wants(2))
    [grant] = run(allocator)
    allocator.remove_framework("f")
    allocator.check()
    settle(allocator, grant)
    allocator.check()
    allocator.add_framework("f", ["*"])
    assert [grant.resources for grant in run(allocator)] == [AGENT]


# --- how much work --------------------------------------------------------------------------------


def test_ten_demands_among_a_thousand_frameworks_look_at_few_agents_of_ten_thousand() -> None:
    frameworks = [f"f{number:03}" for number in range(1_000)]
    allocator = cluster(10_000, *frameworks)
    allocator.allocate(0)
    asked = frameworks[::100]
    for framework_id in asked:
        allocator.request(framework_id, wants(5))
    grants = allocator.allocate(0)
    assert allocator.looked_at == 0
    assert allocator.compared <= 10 * 50  # each passes by what the nine others plan
    for framework_id in asked:
        mine = [grant for grant in grants if grant.framework_id == framework_id]
        assert units(mine) == {grant.agent_id: 1 for grant in mine}
        assert len(mine) == 5
    for grant in grants:
        settle(allocator, grant, grant.resources)
        allocator.launched(grant.framework_id, "*", "r", grant.units)
    assert allocator.allocate(0) == []
    assert allocator.compared == 0


def test_a_thousand_who_ask_for_the_same_share_one_walk_and_are_spread() -> None:
    frameworks = [f"f{number:03}" for number in range(1_000)]
    allocator = cluster(2_500, *frameworks)
    allocator.add_agent("reserved", AGENT + Resources(cpus=1, role="ads"))
    allocator.allocate(0)
    for framework_id in frameworks:
        allocator.request(framework_id, wants(5))
    grants = run_once(allocator)
    assert allocator.compared <= 2 * len(grants)
    assert len({(grant.framework_id, grant.agent_id) for grant in grants}) == len(grants) == 5_000
    for framework_id in frameworks:
        allocator.request(framework_id, wants(1, Resources(cpus=5), request_id="large"))
    assert [grant.agent_id for grant in run_once(allocator)] == []
    assert allocator.compared == 0
    for framework_id in frameworks:
        allocator.request(framework_id, wants(1, Resources(cpus=1, mem=1025), request_id="much"))
    assert run_once(allocator) == []
    assert allocator.compared <= 2_501


def test_a_thousand_who_wait_for_the_same_are_asked_once_for_an_agent_that_changed() -> None:
    frameworks = [f"f{number:03}" for number in range(1_000)]
    allocator = cluster(100, "busy", *frameworks, demand=True)
    for number in range(100):
        allocator.charge("busy", "*", f"a{number}", Resources(cpus=4))
    for framework_id in frameworks:
        allocator.request(framework_id, wants(1))
    assert allocator.allocate(0) == []
    allocator.release("busy", "*", "a7", Resources(cpus=2))
    grants = allocator.allocate(0)
    assert [(g.framework_id, g.agent_id) for g in grants] == [("f000", "a7"), ("f001", "a7")]
    assert allocator.looked_at == 1
    assert allocator.compared <= 5


def test_what_is_scarce_is_found_without_walking_through_the_rest() -> None:
    allocator = cluster(1_000, "f", "g")
    allocator.add_agent("gpus", AGENT + Resources(gpus=4))
    allocator.allocate(0)
    allocator.request("f", wants(1, Resources(cpus=1, gpus=1)))
    allocator.request("g", wants(1, where="hostname == h77 and not rack == r0"))
    assert [g.agent_id for g in run_once(allocator)] == ["gpus", "a77"]
    assert allocator.compared == 2


@pytest.mark.parametrize("scarce", ["cpus", "mem"])
def test_requests_for_more_than_an_agent_has_are_not_asked_when_it_changes(
    monkeypatch: pytest.MonkeyPatch, scarce: str
) -> None:
    """What memory is short of is found by memory: two hundred wait for it, with cpus to spare."""
    asked: list[Unit] = []
    fits = Unit.fits

    def counted(unit: Unit, amount: Resources, most: int) -> int:
        asked.append(unit)
        return fits(unit, amount, most)

    allocator = cluster(3, "f", total=Resources(cpus=500, mem=500))
    for number in range(3):
        allocator.charge("g", "*", f"a{number}", Resources.parse(f"{scarce}:499"))
    for number in range(200):
        unit = Resources(cpus=1, mem=1) + Resources.parse(f"{scarce}:{number + 10}")
        allocator.request("f", wants(1, unit, request_id=f"r{number}"))
    assert run(allocator) == []
    monkeypatch.setattr(Unit, "fits", counted)
    allocator.release("g", "*", "a0", Resources.parse(f"{scarce}:1"))
    assert allocator.allocate(0) == []
    assert allocator.free("a0").scalar(scarce) == 2_000
    assert asked == []


def test_a_hundred_who_pack_share_one_walk_past_the_agents_that_are_too_full() -> None:
    frameworks = [f"f{number:02}" for number in range(100)]
    allocator = cluster(200, *frameworks, total=Resources(cpus=2, mem=1024))  # without ports
    for number in range(200, 300):
        allocator.add_agent(f"a{number}", AGENT)
    for framework_id in frameworks:
        allocator.request(framework_id, wants(2, ports=1, policy=Policy.BINPACK))
    grants = run_once(allocator)
    assert sum(units(grants).values()) == 200
    assert len(units(grants)) == 50
    assert allocator.compared <= 200 + 2 * len(grants)


def test_an_expression_is_asked_of_each_kind_of_agent_and_not_of_each_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Place] = []
    matches = Where.matches

    def counted(where: Where, place: Place) -> bool:
        asked.append(place)
        return matches(where, place)

    monkeypatch.setattr(Where, "matches", counted)
    allocator = cluster(1_000, "f")
    allocator.allocate(0)
    for number in range(200):
        nowhere = wants(1, request_id=f"r{number}", where=f"has x{number} or has y")
        allocator.request("f", nowhere)
        assert allocator.why_impossible("*", nowhere) == Impossible()
    assert run_once(allocator) == []
    assert len(asked) == 2 * 200  # the racks r0 and r1
    assert allocator.compared == 0
    for number in range(200):
        there = wants(1, request_id=f"r{number}", where=f"hostname == h{number}")
        allocator.request("f", there)
        assert allocator.why_impossible("*", there) is None
    asked.clear()
    assert len(run_once(allocator)) == 200
    assert len(asked) <= 200
    assert allocator.compared == 200


def run_once(allocator: Allocator) -> list[Grant]:
    grants = allocator.allocate(0)
    compared = allocator.compared
    allocator.check()
    allocator.compared = compared
    return grants


# --- what could never be --------------------------------------------------------------------------


def test_what_no_agent_could_hold_is_told_with_what_the_nearest_lacks() -> None:
    allocator = cluster(2, "f")
    allocator.add_agent("big", Resources(cpus=16, mem=512))
    allocator.allocate(0)
    assert allocator.why_impossible("*", wants(1, Resources(cpus=16))) is None
    why = allocator.why_impossible("*", wants(1, Resources(cpus=16, mem=1024)))
    assert why == Impossible("big", Resources(mem=512))
    why = allocator.why_impossible("*", wants(1, ports=12))
    assert why == Impossible("a0", NOTHING, 2)
    allocator.add_agent("bigger", Resources(cpus=16, mem=1024))
    assert allocator.why_impossible("*", wants(1, Resources(cpus=16, mem=1024))) is None


def test_of_many_sizes_only_those_that_no_other_covers_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allocator = cluster(0, "f")
    for number in range(1_000):
        allocator.add_agent(f"a{number}", Resources(cpus=8, mem=1024 + number))
    allocator.add_agent("wide", Resources(cpus=16, mem=512))
    asked: list[Resources] = []
    missing = Unit.missing

    def counted(unit: Unit, amount: Resources) -> tuple[Resources, int]:
        asked.append(amount)
        return missing(unit, amount)

    monkeypatch.setattr(Unit, "missing", counted)
    for number in range(100):
        why = allocator.why_impossible("*", wants(1, Resources(cpus=9, mem=1124 + number)))
        assert why == Impossible("a999", Resources(cpus=1))
    assert set(asked) == {Resources(cpus=16, mem=512), Resources(cpus=8, mem=2023)}
    assert len(asked) == 200


def test_nowhere_is_impossible_until_an_agent_stands_there_and_without_agents_nothing_is() -> None:
    allocator = cluster(0, "f")
    nowhere = wants(1, where="rack == r7")
    assert allocator.why_impossible("*", nowhere) is None
    allocator.add_agent("a", AGENT)
    assert allocator.why_impossible("*", nowhere) == Impossible()
    allocator.add_agent("b", AGENT, place=Place("h", parse_attributes("rack:r7")))
    assert allocator.why_impossible("*", nowhere) is None


def test_what_is_reserved_for_another_role_does_not_make_it_possible() -> None:
    allocator = cluster(0, "f")
    allocator.add_agent("a", Resources(cpus=2) + Resources(cpus=2, role="ads"))
    assert allocator.why_impossible("ads", wants(1, Resources(cpus=4))) is None
    why = allocator.why_impossible("ops", wants(1, Resources(cpus=4)))
    assert why == Impossible("a", Resources(cpus=2))
