"""The allocator by example: whose turn it is, refusals, what may be offered, and how much work."""

from fractions import Fraction

import pytest

from mesoslite.allocator import OFFERS_OUTSTANDING_MAX, Allocator, Grant, LedgerError
from mesoslite.allocator.filters import AMOUNTS_MAX
from mesoslite.allocator.roles import RETIRED_MAX
from mesoslite.resources import Resources

NOTHING = Resources.EMPTY
FOR_EVER = 10**15


def allocator_of(
    agents: dict[str, Resources],
    frameworks: dict[str, list[str]],
    offers_outstanding_max: int = OFFERS_OUTSTANDING_MAX,
) -> Allocator:
    allocator = Allocator(offers_outstanding_max=offers_outstanding_max)
    for framework_id, roles in frameworks.items():
        allocator.add_framework(framework_id, roles)
    for agent_id, total in agents.items():
        allocator.add_agent(agent_id, total)
    return allocator


def who(grants: list[Grant]) -> list[tuple[str, str, str]]:
    return [(grant.framework_id, grant.role, grant.agent_id) for grant in grants]


def settle(allocator: Allocator, grant: Grant, used: Resources = NOTHING) -> None:
    allocator.settle(grant.framework_id, grant.role, grant.agent_id, grant.resources, used)
    allocator.check()


def decline(allocator: Allocator, grant: Grant, until_ms: int = FOR_EVER) -> None:
    settle(allocator, grant)
    allocator.refuse(
        grant.framework_id, grant.role, grant.agent_id, grant.resources, until_ms=until_ms
    )
    allocator.check()


# --- whose turn it is -----------------------------------------------------------------------------


def launch_until_full(allocator: Allocator, needs: dict[str, Resources]) -> dict[str, int]:
    """Each framework takes one task of every offer; who cannot refuses for ever."""
    count = dict.fromkeys(needs, 0)
    while grants := allocator.allocate(0):
        for grant in grants:
            need = needs[grant.framework_id]
            if grant.resources.covers(need):
                settle(allocator, grant, need)
                count[grant.framework_id] += 1
            else:
                decline(allocator, grant)
    return count


@pytest.mark.parametrize("role_of_b", ["*", "b"])
def test_two_users_of_the_drf_paper_get_three_and_two_tasks(role_of_b: str) -> None:
    """Ghodsi et al., NSDI 2011, s.4.1: <9 CPU, 18 GB>; A needs <1, 4>, B needs <3, 1>."""
    cluster = {"m": Resources(cpus=9, mem="18GiB")}
    allocator = allocator_of(cluster, {"A": ["*"], "B": [role_of_b]})
    needs = {"A": Resources(cpus=1, mem="4GiB"), "B": Resources(cpus=3, mem="1GiB")}
    assert launch_until_full(allocator, needs) == {"A": 3, "B": 2}
    assert allocator.share("A", "*") == allocator.share("B", role_of_b) == pytest.approx(2 / 3)
    assert allocator.free("m") == Resources(mem="4GiB")


@pytest.mark.parametrize(
    "weights", [{"b": 2}, {"a": 0.5, "b": 1}, {"a": Fraction(1, 3), "b": Fraction(2, 3)}]
)
def test_two_roles_with_weights_1_and_2_share_a_busy_cluster_1_to_2(
    weights: dict[str, int | float | Fraction],
) -> None:
    allocator = Allocator(weights=weights)
    allocator.add_framework("A", ["a"])
    allocator.add_framework("B", ["b"])
    for number in range(30):
        allocator.add_agent(f"m{number}", Resources(cpus=1, mem=100))
    allocator.allocate(0)
    assert allocator.held("A") == {"cpus": 10_000, "mem": 1_000_000}
    assert allocator.held("B") == {"cpus": 20_000, "mem": 2_000_000}
    allocator.set_weight("a", 4 * (Fraction(weights["a"]) if "a" in weights else 1))
    for number in range(30, 60):
        allocator.add_agent(f"m{number}", Resources(cpus=1, mem=100))
    allocator.allocate(0)
    assert allocator.held("A") == {"cpus": 40_000, "mem": 4_000_000}
    allocator.check()


@pytest.mark.parametrize("weight", [0, -1, 0.0, float("nan"), float("inf"), Fraction(-1, 2)])
def test_a_weight_that_is_not_positive_is_a_mistake(weight: int | float | Fraction) -> None:
    with pytest.raises(ValueError, match="the weight of role ads is"):
        Allocator(weights={"ads": weight})


def test_equal_shares_go_to_who_was_served_less_often_then_by_name() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"C": ["*"], "A": ["*"], "B": ["*"]})
    served = []
    for _ in range(7):
        [grant] = allocator.allocate(0)
        served.append(grant.framework_id)
        settle(allocator, grant)
    assert served == ["A", "B", "C", "A", "B", "C", "A"]


def test_shares_of_different_resources_tie_exactly() -> None:
    """A third of the cpus and a third of the memory are equal, whatever the totals."""
    allocator = Allocator()
    allocator.add_framework("A", ["*"])
    allocator.add_framework("B", ["*"])
    total = Resources(cpus=9, mem=18_433 * 3)
    used = [("A", "*", Resources(mem=18_433)), ("B", "*", Resources(cpus=3))]
    allocator.add_agent("m", total, used)
    [grant] = allocator.allocate(0)
    assert grant.framework_id == "A"
    settle(allocator, grant)
    assert [g.framework_id for g in allocator.allocate(0)] == ["B"]


def test_ports_and_sets_give_no_share() -> None:
    allocator = Allocator()
    allocator.add_framework("A", ["*"])
    allocator.add_framework("B", ["*"])
    used = [
        ("A", "*", Resources(ports=[(1, 9)], tapes={"ssd"})),
        ("B", "*", Resources(cpus="0.001")),
    ]
    total = Resources(cpus=2, ports=[(1, 10)], tapes={"ssd", "hdd"})
    allocator.add_agent("m", total, used)
    [grant] = allocator.allocate(0)
    assert grant.framework_id == "A"
    assert grant.resources == Resources(cpus="1.999", ports=[(10, 10)], tapes={"hdd"})


def test_custom_scalars_count_towards_shares() -> None:
    allocator = Allocator()
    allocator.add_framework("A", ["*"])
    allocator.add_framework("B", ["*"])
    used = [("A", "*", Resources(licenses=3)), ("B", "*", Resources(cpus=2))]
    allocator.add_agent("m", Resources(cpus=4, licenses=4), used)
    assert allocator.share("A", "*") == 0.75
    assert [grant.framework_id for grant in allocator.allocate(0)] == ["B"]


def test_what_tasks_hold_counts_also_of_frameworks_that_are_not_known() -> None:
    """After a failover of the master agents may come back before their frameworks."""
    allocator = Allocator()
    allocator.add_agent("m1", Resources(cpus=4), [("A", "ads", Resources(cpus=3))])
    assert allocator.held("A") == {"cpus": 3_000}
    allocator.add_framework("B", ["*"])
    allocator.add_framework("A", ["ads"])
    allocator.check()
    assert who(allocator.allocate(0)) == [("B", "*", "m1")]


def test_a_framework_in_two_roles_is_offered_each_agent_in_one_of_them() -> None:
    agents = {f"m{n}": Resources(cpus=1) for n in range(4)}
    allocator = allocator_of(agents, {"A": ["ads", "web"]})
    grants = allocator.allocate(0)
    assert sorted(grant.role for grant in grants) == ["ads", "ads", "web", "web"]
    assert sorted(grant.agent_id for grant in grants) == sorted(agents)


def test_a_framework_that_can_use_one_of_two_agents_gets_it_in_the_end() -> None:
    """With a fixed order of agents the other framework could get it for ever."""
    agents = {"small": Resources(cpus=1), "big": Resources(cpus=8)}
    allocator = allocator_of(agents, {"A": ["*"], "B": ["*"]})
    got: list[tuple[str, str]] = []
    for _ in range(16):
        for grant in sorted(allocator.allocate(0), key=lambda grant: grant.agent_id):
            got.append((grant.framework_id, grant.agent_id))
            settle(allocator, grant)
    for recent in (got[:16], got[16:]):
        assert set(recent) == {("A", "small"), ("A", "big"), ("B", "small"), ("B", "big")}


# --- refusals -------------------------------------------------------------------------------------


def test_a_refusal_holds_until_it_runs_out_and_then_at_once() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["*"]})
    [grant] = allocator.allocate(0)
    decline(allocator, grant, until_ms=5_000)
    assert allocator.next_deadline_ms() == 5_000
    assert allocator.allocate(4_999) == []
    assert who(allocator.allocate(5_000)) == [("A", "*", "m")]
    assert allocator.next_deadline_ms() is None


def test_a_refusal_holds_for_less_than_was_refused_and_not_for_more() -> None:
    """Mesos's subset rule: any growth beyond what was refused is news, also in one resource."""
    allocator = Allocator()
    allocator.add_framework("A", ["*"])
    used = [
        ("B", "*", Resources(cpus=2, mem=512)),
        ("B", "*", Resources(cpus=1, mem=512)),
        ("B", "*", Resources(ports=[(5, 5)])),
    ]
    allocator.add_agent("m", Resources(cpus=4, mem=1_024, ports=[(1, 5)]), used)
    [grant] = allocator.allocate(0)
    decline(allocator, grant)
    allocator.charge("B", "*", "m", Resources(cpus="0.5"))
    assert allocator.allocate(0) == []
    allocator.release("B", "*", "m", Resources(cpus="0.5"))
    assert allocator.allocate(0) == []
    allocator.release("B", "*", "m", Resources(ports=[(5, 5)]))
    [grant] = allocator.allocate(0)
    assert grant.resources == Resources(cpus=1, ports=[(1, 5)])
    decline(allocator, grant)
    allocator.release("B", "*", "m", Resources(cpus=1, mem=512))
    assert who(allocator.allocate(0)) == [("A", "*", "m")]


def test_who_did_not_refuse_is_offered_what_another_refused() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["ads", "web"], "B": ["web"]})
    told = set()
    while grants := allocator.allocate(0):
        told |= set(who(grants))
        decline(allocator, grants[0])
    assert told == {("A", "ads", "m"), ("A", "web", "m"), ("B", "web", "m")}


def test_of_two_refusals_of_one_amount_the_later_deadline_counts() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["*"]})
    [grant] = allocator.allocate(0)
    decline(allocator, grant, until_ms=9)
    for until_ms in (5, 7, 8, 3):
        allocator.refuse("A", "*", "m", grant.resources, until_ms)
        allocator.check()
    assert allocator.allocate(8) == []
    assert who(allocator.allocate(9)) == [("A", "*", "m")]


def test_a_refusal_that_is_repeated_lasts_longer() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["*"]})
    [grant] = allocator.allocate(0)
    decline(allocator, grant, until_ms=5)
    allocator.refuse("A", "*", "m", grant.resources, until_ms=9)
    allocator.check()
    assert allocator.allocate(8) == []
    assert who(allocator.allocate(9)) == [("A", "*", "m")]


def test_revive_forgets_the_refusals_of_the_named_roles_only() -> None:
    agents = {f"m{n}": Resources(cpus=1) for n in range(5)}
    allocator = allocator_of(agents, {"A": ["ads", "web"], "B": ["web"]})
    while grants := allocator.allocate(0):
        for grant in grants:
            decline(allocator, grant)
    allocator.revive("A", ["web"])
    allocator.check()
    grants = allocator.allocate(0)
    assert {(grant.framework_id, grant.role) for grant in grants} == {("A", "web")}
    assert len(grants) == 5


def test_a_suppressed_role_is_offered_nothing_until_it_revives() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["ads", "web"]})
    allocator.suppress("A")
    assert allocator.allocate(0) == []
    allocator.revive("A", ["web"])
    [grant] = allocator.allocate(0)
    assert grant.role == "web"
    allocator.suppress("A", ["web"])
    settle(allocator, grant)
    assert allocator.allocate(0) == []
    allocator.add_framework("A", ["ads", "web"], suppressed_roles=["web"])
    assert [grant.role for grant in allocator.allocate(0)] == ["ads"]


def test_a_role_that_is_suppressed_no_more_forgets_what_it_refused() -> None:
    """As in Mesos: filters are cleared by removing a role from the suppressed set."""
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["ads"]})
    [grant] = allocator.allocate(0)
    decline(allocator, grant)
    allocator.add_framework("A", ["ads"])
    assert allocator.allocate(0) == []
    allocator.suppress("A", ["ads"])
    allocator.add_framework("A", ["ads"])
    allocator.check()
    assert who(allocator.allocate(0)) == [("A", "ads", "m")]


def test_reviving_for_ever_leaves_no_trace() -> None:
    """A slot is given again once its bits are cleared, so the masks stay short."""
    agents = {f"m{n}": Resources(cpus=1) for n in range(3)}
    allocator = allocator_of(agents, {"A": ["*"], "B": ["*"]})
    for turn in range(4 * RETIRED_MAX):
        for grant in allocator.allocate(turn):
            decline(allocator, grant)
        allocator.revive("B" if turn % 3 else "A")
        allocator.check()
    assert len(allocator._roles._slots) <= RETIRED_MAX + 4


def test_a_new_framework_does_not_inherit_the_refusals_of_one_that_left() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["*"]})
    for turn in range(3 * RETIRED_MAX):
        [grant] = allocator.allocate(0)
        assert grant.framework_id == ("A" if not turn else f"A{turn}")
        decline(allocator, grant)
        allocator.remove_framework(grant.framework_id)
        allocator.add_framework(f"A{turn + 1}", ["*"])
        allocator.check()


def test_refusals_of_ever_new_amounts_are_bounded_and_the_oldest_are_forgotten() -> None:
    allocator = allocator_of({"m": Resources(cpus=10_000)}, {"A": ["*"]})
    [grant] = allocator.allocate(0)
    decline(allocator, grant)
    assert allocator.allocate(0) == []
    for cpus in range(AMOUNTS_MAX):
        allocator.refuse("A", "*", "m", Resources(cpus=1 + cpus), FOR_EVER)
        allocator.check()
    assert who(allocator.allocate(0)) == [("A", "*", "m")]


# --- what may be offered --------------------------------------------------------------------------


def test_what_is_reserved_is_offered_to_its_role_only_with_what_is_nobodys() -> None:
    total = Resources(cpus=2, mem=64) + Resources(cpus=4, role="ads") + Resources(mem=64, role="x")
    allocator = allocator_of({"m": total}, {"B": ["web"], "A": ["ads"]})
    allocator.add_framework("C", ["ads/north"])
    grants = allocator.allocate(0)
    assert [(g.framework_id, str(g.resources)) for g in grants] == [
        ("A", "cpus:2;cpus(ads):4;mem:64"),
    ]
    allocator.check()
    decline(allocator, grants[0])
    grants = allocator.allocate(0)
    assert [(g.framework_id, str(g.resources)) for g in grants] == [
        ("C", "cpus:2;cpus(ads):4;mem:64"),
    ]
    decline(allocator, grants[0])
    grants = allocator.allocate(0)
    assert [(g.framework_id, str(g.resources)) for g in grants] == [("B", "cpus:2;mem:64")]
    assert allocator.free("m") == Resources(cpus=4, role="ads") + Resources(mem=64, role="x")
    allocator.check()


def test_reserved_resources_give_shares_under_their_name() -> None:
    total = Resources(cpus=2) + Resources(cpus=6, role="ads")
    allocator = allocator_of({"m": total}, {"A": ["ads"]})
    allocator.allocate(0)
    assert allocator.total() == {"cpus": 8_000}
    assert allocator.held("A") == {"cpus": 8_000}
    assert allocator.share("A", "ads") == 1.0


@pytest.mark.parametrize(
    ("free", "offered"),
    [
        (Resources(cpus="0.01"), True),
        (Resources(mem=32), True),
        (Resources(cpus="0.009", mem="31.999", disk=10_000, ports=[(1, 9)]), False),
    ],
)
def test_an_offer_has_a_hundredth_of_a_cpu_or_32_mib(free: Resources, offered: bool) -> None:
    """Mesos: `MIN_CPUS`, `MIN_MEM`; src/master/constants.hpp."""
    allocator = allocator_of({"m": free}, {"A": ["*"]})
    assert bool(allocator.allocate(0)) is offered
    allocator.check()


@pytest.mark.parametrize(
    ("free", "offered"),
    [
        (Resources(cpus=8), False),
        (Resources(cpus=1, mem=64), True),
        (Resources(gpus=1), True),
        (Resources(licenses=1, mem=999), False),
        (Resources(licenses=2), True),
    ],
)
def test_min_allocatable_is_any_of_amounts_each_of_which_must_be_there_whole(
    free: Resources, offered: bool
) -> None:
    least = (Resources(cpus=1, mem=64), Resources(gpus=1), Resources(licenses=2))
    allocator = Allocator(min_allocatable=least)
    allocator.add_framework("A", ["*"])
    allocator.add_agent("m", free)
    assert bool(allocator.allocate(0)) is offered


def test_with_no_minimum_anything_is_offered() -> None:
    allocator = Allocator(min_allocatable=())
    allocator.add_framework("A", ["*"])
    allocator.add_agent("m", Resources(ports=[(1, 1)]))
    allocator.add_agent("empty", NOTHING)
    assert who(allocator.allocate(0)) == [("A", "*", "m")]


def test_a_framework_with_too_many_outstanding_offers_waits_and_nobody_else_does() -> None:
    agents = {f"m{n}": Resources(cpus=1) for n in range(9)}
    allocator = allocator_of(agents, {"A": ["*"]}, offers_outstanding_max=3)
    grants = allocator.allocate(0)
    assert len(grants) == allocator.outstanding("A") == 3
    allocator.add_framework("B", ["*"])
    assert [grant.framework_id for grant in allocator.allocate(0)] == ["B"] * 3
    decline(allocator, grants[0])
    [after] = allocator.allocate(0)
    assert after.framework_id == "A"
    assert after.agent_id != grants[0].agent_id


def test_a_framework_with_a_lower_cap_waits_earlier_and_a_higher_one_lets_it_go_on() -> None:
    agents = {f"m{n}": Resources(cpus=1) for n in range(9)}
    allocator = allocator_of(agents, {"A": ["*"]}, offers_outstanding_max=4)
    allocator.set_outstanding_max("A", 2)
    first, second = allocator.allocate(0)
    allocator.set_outstanding_max("A", 0)  # at least one
    decline(allocator, first)
    assert allocator.allocate(0) == []
    decline(allocator, second)
    assert len(allocator.allocate(0)) == 1
    allocator.set_outstanding_max("A", 3)
    assert len(allocator.allocate(0)) == 2
    allocator.set_outstanding_max("A", None)
    assert len(allocator.allocate(0)) == 1
    assert allocator.outstanding("A") == 4


def test_agents_and_frameworks_that_are_off_are_left_out_and_come_back() -> None:
    agents = {"m1": Resources(cpus=1), "m2": Resources(cpus=2)}
    allocator = allocator_of(agents, {"A": ["*"], "B": ["*"]})
    allocator.deactivate_agent("m1")
    allocator.deactivate_framework("A")
    assert who(allocator.allocate(0)) == [("B", "*", "m2")]
    allocator.activate_agent("m1")
    allocator.activate_framework("A")
    assert who(allocator.allocate(0)) == [("A", "*", "m1")]


def test_of_two_who_come_back_at_once_the_one_who_did_not_refuse_is_served() -> None:
    allocator = allocator_of({"m": Resources(cpus=1)}, {"A": ["*"], "B": ["*"]})
    for _ in range(2):
        [grant] = allocator.allocate(0)
        decline(allocator, grant)
    assert allocator.allocate(0) == []
    allocator.deactivate_framework("A")
    allocator.activate_framework("A")
    allocator.revive("B")
    assert who(allocator.allocate(0)) == [("B", "*", "m")]


# --- the ledger -----------------------------------------------------------------------------------


def test_more_may_be_held_than_there_is_and_nothing_of_it_is_free_until_enough_is_back() -> None:
    allocator = allocator_of({"m": Resources(cpus=4, mem=64)}, {"A": ["*"]})
    [grant] = allocator.allocate(0)
    settle(allocator, grant, Resources(cpus=3))
    allocator.set_total("m", Resources(cpus=2, mem=128))
    allocator.check()
    assert allocator.free("m") == Resources(mem=128)
    allocator.charge("A", "*", "m", Resources(cpus=1))
    allocator.check()
    allocator.release("A", "*", "m", Resources(cpus=3))
    allocator.check()
    assert allocator.free("m") == Resources(cpus=1, mem=128)


def test_a_port_that_two_tasks_hold_is_free_when_both_have_ended() -> None:
    allocator = allocator_of({"m": Resources(cpus=4, ports=[(1, 9)])}, {})
    one, two = Resources(cpus=1, ports=[(1, 2)]), Resources(cpus=1, ports=[(2, 3)])
    for amount in (one, two):
        allocator.charge("A", "*", "m", amount)
        allocator.check()
    assert allocator.charges("m") == {("A", "*"): [one, two]}
    assert allocator.free("m") == Resources(cpus=2, ports=[(4, 9)])
    allocator.release("A", "*", "m", one)
    allocator.check()
    assert allocator.free("m") == Resources(cpus=3, ports=[(1, 1), (4, 9)])
    allocator.release("A", "*", "m", two)
    assert allocator.free("m") == Resources(cpus=4, ports=[(1, 9)])


def test_a_kind_that_the_agent_does_not_have_breaks_nothing() -> None:
    allocator = allocator_of({"m": Resources(cpus=4, gold=3)}, {"A": ["*"]})
    odd = Resources(gold={"bar"})
    allocator.charge("A", "*", "m", odd)
    [grant] = allocator.allocate(0)
    assert grant.resources == Resources(cpus=4, gold=3)
    settle(allocator, grant, Resources(gold=1))
    allocator.release("A", "*", "m", odd)
    allocator.check()
    assert allocator.free("m") == Resources(cpus=4, gold=2)


def test_giving_back_what_is_not_held_is_a_bug_of_the_caller_and_changes_nothing() -> None:
    allocator = allocator_of({"m": Resources(cpus=4)}, {"A": ["*"], "B": ["*"]})
    [grant] = allocator.allocate(0)
    with pytest.raises(LedgerError, match="B in role \\* on m: has no outstanding offer"):
        allocator.settle("B", "*", "m", grant.resources, NOTHING)
    with pytest.raises(LedgerError, match="uses cpus:5 of cpus:4"):
        allocator.settle("A", "*", "m", grant.resources, Resources(cpus=5))
    with pytest.raises(LedgerError, match="has no outstanding offer of cpus:5"):
        allocator.settle("A", "*", "m", Resources(cpus=5), NOTHING)
    with pytest.raises(LedgerError, match="gives back cpus:4, holds nothing"):
        allocator.release("A", "*", "m", grant.resources)
    with pytest.raises(LedgerError, match="holds nothing"):
        allocator.release("C", "*", "m", Resources(cpus=1))
    allocator.check()
    settle(allocator, grant, Resources(cpus=1))
    with pytest.raises(LedgerError, match="gives back cpus:2, holds cpus:1"):
        allocator.release("A", "*", "m", Resources(cpus=2))
    allocator.check()


def test_what_was_held_of_an_agent_goes_with_it() -> None:
    allocator = allocator_of({"m": Resources(cpus=4)}, {"A": ["*"]}, offers_outstanding_max=1)
    [grant] = allocator.allocate(0)
    allocator.add_agent("n", Resources(cpus=1))
    assert allocator.allocate(0) == []
    allocator.remove_agent("m")
    allocator.check()
    assert (allocator.held("A"), allocator.outstanding("A")) == ({}, 0)
    assert who(allocator.allocate(0)) == [("A", "*", "n")]
    allocator.settle("A", "*", "m", grant.resources, NOTHING)
    allocator.check()


def test_a_framework_that_left_holds_what_its_tasks_hold_until_they_end() -> None:
    allocator = allocator_of({"m": Resources(cpus=4)}, {"A": ["ads"]})
    [grant] = allocator.allocate(0)
    settle(allocator, grant, Resources(cpus=3))
    allocator.remove_framework("A")
    allocator.check()
    assert allocator.held("A") == {"cpus": 3_000}
    assert allocator.allocate(0) == []
    allocator.release("A", "ads", "m", Resources(cpus=3))
    allocator.check()
    assert allocator.held("A") == {}
    assert not allocator._frameworks


# --- how much work --------------------------------------------------------------------------------


def test_a_cycle_looks_at_the_agents_that_changed_and_at_no_others() -> None:
    agents = {f"m{n}": Resources(cpus=2) for n in range(100)}
    allocator = allocator_of(agents, {"A": ["*"], "B": ["*"]})
    while grants := allocator.allocate(0):
        assert allocator.looked_at == 100
        for grant in grants:
            decline(allocator, grant, until_ms=1_000 if grant.agent_id == "m7" else FOR_EVER)
    assert allocator.allocate(0) == []
    assert allocator.looked_at == 0
    allocator.charge("A", "*", "m3", Resources(cpus=1))
    assert allocator.allocate(0) == []
    assert allocator.looked_at == 1
    assert [grant.agent_id for grant in allocator.allocate(1_000)] == ["m7"]
    assert allocator.looked_at == 1
    allocator.revive("B")
    assert len(allocator.allocate(1_000)) == 99
    assert allocator.looked_at == 99
