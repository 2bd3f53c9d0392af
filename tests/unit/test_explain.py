"""Why a framework waits, and what became of a task: each reason made to occur on the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mesoslite.allocator.reading import EXPLAINED_MAX
from mesoslite.explanation import FrameworkExplanation, RoleExplanation, TaskExplanation, Why
from mesoslite.lifecycle import TaskState
from mesoslite.master.conduct import NARROW
from mesoslite.master.explain import explain
from mesoslite.master.fates import REFUSED_LAUNCHES_MAX, NotExplained
from mesoslite.master.protocol import AgentGoneAsked, StreamPaused
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Accept,
    Acknowledge,
    Decline,
    Kill,
    RequestResources,
    Revive,
    Suppress,
    Teardown,
    Troubled,
)
from mesoslite.model import InvalidLaunch, Launch, Refusal, Request, WhyNot
from mesoslite.resources import Resources
from mesoslite.v1 import operator_pb2
from mesoslite.wire.explanation import write_explanation
from tests.unit.master_world import World, on_agent, task

CONFIG = MasterConfig()


def of_framework(world: World, some: str = "f", role: str = "") -> FrameworkExplanation:
    found = explain(world.master.tables, some, role=role)
    assert isinstance(found, FrameworkExplanation), found
    return found


def only_role(world: World, some: str = "f") -> RoleExplanation:
    [role] = of_framework(world, some).roles
    return role


def only_why(world: World, some: str = "f") -> Why:
    [why] = only_role(world, some).whys
    return why


def of_task(world: World, some: str = "t1", framework: str = "") -> TaskExplanation:
    found = explain(world.master.tables, some, framework=framework)
    assert isinstance(found, TaskExplanation), found
    return found


def not_explained(world: World, some: str, framework: str = "") -> NotExplained:
    found = explain(world.master.tables, some, framework=framework)
    assert isinstance(found, NotExplained), found
    return found


def cluster(*names: str, agents: int = 1, config: MasterConfig | None = None) -> World:
    """Frameworks in the order in which they come, then agents a1, a2, ..."""
    world = World(config=config)
    for name in names:
        world.framework(name, session_id=name)
    for number in range(agents):
        world.agent(f"a{number + 1}")
    return world


def decline_all(world: World, stream: str = "f", refuse_ms: int = 3_600_000) -> None:
    frameworks = world.master.tables.frameworks.values()
    offers = next(tuple(f.offers) for f in frameworks if f.info.name == stream)
    world.call(stream, Decline(offers, refuse_ms))


# --- the framework or the role --------------------------------------------------------------------


def test_a_framework_that_has_all_there_is_lacks_nothing() -> None:
    world = cluster("f", agents=2)
    role = only_role(world)
    assert (role.offers, role.whys) == (2, ())
    assert "2 unanswered offers in role *" in of_framework(world).verdict
    assert of_framework(world).verdict.startswith("f (1-F1): ")


def test_a_framework_without_agents() -> None:
    why = only_why(cluster("f", agents=0))
    assert (why.reason, why.agents) == (WhyNot.NO_AGENTS, 0)


def test_a_framework_that_suppressed_must_revive() -> None:
    world = cluster("f")
    world.call("f", Suppress())
    assert only_why(world).reason is WhyNot.SUPPRESSED
    assert only_why(world).remedy == "it revives role *"
    assert "suppressed" in of_framework(world).verdict


def test_a_framework_whose_stream_is_gone_has_time_to_come_back() -> None:
    world = cluster("f")
    world.close("f")
    world.wait(10_000)
    why = only_why(world)
    assert (why.reason, why.since_ms) == (WhyNot.DISCONNECTED, world.now_ms - 10_000)
    assert why.message == "its scheduler is not connected for 10 s"
    assert why.remedy == "its scheduler subscribes again within 50 s, or it is removed"


def test_a_framework_that_does_not_read_is_paused() -> None:
    world = cluster("f", agents=0)
    world.step(StreamPaused("f"))
    world.agent()
    assert only_why(world).reason is WhyNot.PAUSED


def test_a_role_that_it_did_not_subscribe_with() -> None:
    world = cluster("f")
    [role] = of_framework(world, role="ads").roles
    [why] = role.whys
    assert (role.role, why.reason) == ("ads", WhyNot.ROLE_UNKNOWN)
    assert "ads" in why.remedy
    [own] = of_framework(world, role="*").roles
    assert own.role == "*"


def test_too_many_unanswered_offers() -> None:
    world = cluster("f", agents=3, config=MasterConfig(offers_outstanding_max=2))
    why = only_why(world)
    assert why.reason is WhyNot.UNANSWERED_OFFERS
    assert why.message == "it has 2 unanswered offers and may have 2"
    assert why.remedy == "it answers 1-1, 1-2"


def test_too_many_after_leases_ran_out() -> None:
    world = cluster("f", agents=8)
    world.wait(CONFIG.offer_lease_ms + CONFIG.lease_refuse_ms)
    why = only_why(world)
    assert why.reason is WhyNot.UNANSWERED_OFFERS
    assert "may have 1, since it let leases run out (8 so far)" in why.message


def test_a_framework_that_was_removed_is_remembered() -> None:
    world = cluster("f")
    world.call("f", Teardown())
    found = of_framework(world)
    assert found.roles == ()
    assert "was removed" in found.verdict


# --- agents ---------------------------------------------------------------------------------------


def test_what_it_refused_until_when() -> None:
    world = cluster("f", agents=2)
    [first, second] = world.master.tables.offers
    world.call("f", Decline((first,), 5_000))
    world.call("f", Decline((second,), 8_000))
    why = only_why(world)
    assert (why.reason, why.agents) == (WhyNot.REFUSED, 2)
    assert why.until_ms == world.now_ms + 5_000
    assert why.remedy == "it revives, or the first of the refusals ends in 5.0 s"
    assert "on 2 of 2 agents the framework refused" in of_framework(world).verdict


def test_a_lease_that_ran_out() -> None:
    world = cluster("f", agents=2)
    _, other = world.master.tables.offers
    world.call("f", Decline((other,), 3_600_000))
    world.wait(CONFIG.offer_lease_ms)
    lapsed, refused = sorted(only_role(world).whys, key=lambda why: why.reason.name)
    assert (lapsed.reason, refused.reason) == (WhyNot.LEASE_RAN_OUT, WhyNot.REFUSED)
    assert lapsed.until_ms == world.now_ms + CONFIG.lease_refuse_ms
    assert refused.until_ms == world.now_ms + 3_600_000 - CONFIG.offer_lease_ms
    assert (lapsed.agents, refused.agents) == (1, 1)


def test_tasks_hold_all_of_it_and_whose() -> None:
    world = cluster("f", "g")
    [(taker, offer)] = [(n, o) for n in "fg" for o in world.offers(n)]
    world.accept(offer, task("t1", "cpus:4;mem:4096"), stream=taker)
    for name in "fg":
        why = only_why(world, name)
        assert (why.reason, why.agents, why.agent_id) == (WhyNot.NOTHING_FREE, 1, "a1")
        assert why.remedy == f"tasks end there: {taker} (1-F{'fg'.index(taker) + 1}) has some of it"


def test_what_is_left_is_too_small_to_be_offered() -> None:
    world = cluster("f")
    world.accept(world.offers()[0], task("t1", "cpus:3.995;mem:4080"))
    why = only_why(world)
    assert why.reason is WhyNot.TOO_SMALL
    assert "a1 has cpus:0.005;mem:16" in why.message
    assert "cpus:0.01 or mem:32" in why.remedy


def test_what_is_reserved_for_another_role() -> None:
    world = cluster("f", agents=0)
    world.agent("a1", "cpus(ads):4;mem(ads):4096")
    why = only_why(world)
    assert why.reason is WhyNot.RESERVED
    assert "a1: ads" in why.remedy


def test_another_framework_s_turn_and_then_what_it_holds() -> None:
    world = cluster("f", "g")
    [(taker, offer)] = [(n, o) for n in "fg" for o in world.offers(n)]
    other = "g" if taker == "f" else "f"
    why = only_why(world, other)
    assert (why.reason, why.offer_id, why.agents) == (WhyNot.ANOTHERS_TURN, offer.offer_id, 1)
    assert why.framework_id == offer.framework_id
    world.wait(12_000)
    why = only_why(world, other)
    assert why.reason is WhyNot.HELD
    assert why.since_ms == world.now_ms - 12_000
    assert (
        why.message == f"{taker} ({offer.framework_id}) holds {offer.offer_id} unanswered for 12 s"
    )
    assert why.remedy == f"it is answered, or the lease of {offer.offer_id} ends in 18 s"


def test_what_it_has_itself_in_another_role_is_in_its_way() -> None:
    world = World()
    world.framework(roles=("x", "y"))
    world.agent()
    [offer] = world.offers()
    world.wait(4_000)
    [other] = {"x", "y"} - {offer.role}
    found = explain(world.master.tables, "f", role=other)
    assert isinstance(found, FrameworkExplanation)
    [why] = found.roles[0].whys
    assert (why.reason, why.offer_id, why.agents) == (WhyNot.OWN_OFFER, offer.offer_id, 1)
    assert why.message == f"it has {offer.offer_id} in role {offer.role} unanswered for 4.0 s"
    assert why.remedy == "it answers 1 offer"


def test_several_offers_of_another_are_one_reason() -> None:
    world = cluster("f", agents=3)
    world.framework("g", session_id="g")
    why = only_why(world, "g")
    assert (why.reason, why.agents, why.offer_id) == (WhyNot.ANOTHERS_TURN, 3, "1-1")
    assert "3 offers, the oldest 1-1," in why.message


def test_too_many_ends_that_it_has_not_acknowledged() -> None:
    world = cluster("f", config=MasterConfig(unacknowledged_max=1))
    world.accept(world.offers()[0], task("t1"), refuse_ms=0)
    world.report("t1", TaskState.FINISHED)
    whys = {why.reason: why for why in only_role(world).whys}
    why = whys[WhyNot.UNACKNOWLEDGED]
    assert (why.agents, why.agent_id) == (1, "a1")
    assert why.remedy == "it acknowledges the ends of 1 task"


def test_agents_that_are_away() -> None:
    world = cluster("f", agents=2)
    decline_all(world)
    world.close("a1")
    world.wait(5_000)
    whys = {why.reason: why for why in only_role(world).whys}
    away = whys[WhyNot.AGENT_AWAY]
    assert (away.agents, away.agent_id, away.since_ms) == (1, "a1", world.now_ms - 5_000)
    assert whys[WhyNot.REFUSED].agents == 1
    world.wait(CONFIG.silence_ms)
    whys = {why.reason: why for why in only_role(world).whys}
    assert whys[WhyNot.AGENT_AWAY].agents == 1


def test_agents_that_are_here_and_take_nothing_are_not_told_to_be_away() -> None:
    world = cluster("f", agents=3)
    decline_all(world)
    world.wait(60_000)
    world.tell("a1", Troubled("the disk of /agent is full"))
    world.step(StreamPaused("a2"))
    whys = {why.reason: why for why in only_role(world).whys}
    assert set(whys) == {WhyNot.AGENT_TROUBLED, WhyNot.AGENT_PAUSED, WhyNot.REFUSED}
    assert [(why.agents, why.agent_id) for why in whys.values()] == [
        (1, "a3"),
        (1, "a1"),
        (1, "a2"),
    ]
    assert "a1 says that the disk of /agent is full" in whys[WhyNot.AGENT_TROUBLED].message
    assert whys[WhyNot.AGENT_TROUBLED].remedy == "that is mended there"


def test_agents_that_are_gone_for_good_do_not_count() -> None:
    world = cluster("f", agents=2)
    world.step(AgentGoneAsked(1, "a2"))
    decline_all(world)
    assert "on 1 of 1 agents the framework refused" in of_framework(world).verdict


def test_reasons_that_hold_for_most_agents_come_first() -> None:
    world = cluster("f", agents=3)
    decline_all(world)
    world.close("a1")
    assert [(w.reason, w.agents) for w in only_role(world).whys] == [
        (WhyNot.REFUSED, 2),
        (WhyNot.AGENT_AWAY, 1),
    ]


def test_each_role_has_its_own_reasons() -> None:
    world = World()
    world.framework(roles=("x", "y"))
    world.agent()
    decline_all(world)
    world.call("f", Suppress(("y",)))
    roles = {role.role: role for role in of_framework(world).roles}
    reasons = {name: [why.reason for why in role.whys] for name, role in roles.items()}
    assert reasons["y"] == [WhyNot.SUPPRESSED]


# --- requests -------------------------------------------------------------------------------------


def asking(*requests: Request, agents: Sequence[str] = ("cpus:4;mem:4096",)) -> World:
    """Agents a1, a2, ... on racks r1, r2, ..., and one framework with requests."""
    world = World()
    for number, resources in enumerate(agents, 1):
        world.agent(f"a{number}", resources, attributes=f"rack:r{number}")
    world.framework(demand_roles=("*",))
    if requests:
        world.call("f", RequestResources(requests))
    return world


def of_unit(unit: str, count: int = 1, **more: Any) -> Request:
    return Request("r", "*", Resources.parse(unit), count, **more)


def test_a_framework_that_requests_nothing_more_has_its_demand_met() -> None:
    why = only_why(asking())
    assert (why.reason, why.agents) == (WhyNot.DEMAND_MET, 0)
    assert "requests more" in why.remedy
    role = only_role(asking(of_unit("cpus:2;mem:64", 2)))
    assert (role.open, role.offers, [why.reason for why in role.whys]) == (
        0,
        1,
        [WhyNot.DEMAND_MET],
    )


def test_one_request_of_many_can_be_asked_about() -> None:
    many = [replace(of_unit("cpus:9;mem:64"), request_id=f"r{number}") for number in range(3)]
    world = asking(*many)
    found = explain(world.master.tables, "f", request="r1")
    assert isinstance(found, FrameworkExplanation)
    [role] = found.roles
    assert role.request == many[1]
    assert "more roles and requests" not in found.verdict
    unknown = explain(world.master.tables, "f", request="r9")
    assert isinstance(unknown, NotExplained)
    assert unknown.refusal is Refusal.UNKNOWN_REQUEST
    assert "'r9'" in unknown.message


def test_an_answer_is_no_longer_than_a_command_takes_and_says_what_is_left_out() -> None:
    items = ",".join(f"item-{number:04}" for number in range(1_200))  # 12 kB
    unit = f"cpus:9;mem:64;zones:{{{items}}}"
    many = [replace(of_unit(unit), request_id=f"r{number}") for number in range(400)]
    world = asking(*many)
    found = of_framework(world)
    shown = len(found.roles)
    assert 1 < shown < 100
    assert f"and {400 - shown:,} more roles and requests, too many for one answer" in found.verdict
    answer = operator_pb2.ExplainResponse()
    write_explanation(answer, found)
    assert answer.ByteSize() < 2 * 1024 * 1024
    # One is told in any case, and whoever asks about one hears of it.
    one = explain(world.master.tables, "f", request="r399")
    assert isinstance(one, FrameworkExplanation)
    assert [role.request for role in one.roles] == [many[-1]]


def test_requests_that_come_too_often_wait_for_their_turn() -> None:
    agents = [f"cpus:{1 + number % 7};mem:4096" for number in range(NARROW + 10)]
    world = asking(agents=agents)
    turns = CONFIG.revives_max
    ask = [
        replace(of_unit("cpus:1;mem:64", where=f"rack != r{number}"), request_id=f"r{number}")
        for number in range(turns + 2)
    ]
    world.call("f", RequestResources(tuple(ask)))
    found = of_framework(world)
    reasons = [[why.reason for why in role.whys] for role in found.roles]
    assert reasons == [[WhyNot.DEMAND_MET]] * turns + [[WhyNot.PUT_OFF]] * 2
    assert "too many for one answer" not in found.verdict
    one = explain(world.master.tables, "f", request=ask[-1].request_id)
    assert isinstance(one, FrameworkExplanation)
    [role] = one.roles
    assert (role.request, role.open, role.offers) == (ask[-1], 1, 0)
    [why] = role.whys
    assert why.until_ms == world.now_ms + 1_000 // CONFIG.revives_per_s
    assert "slows down" in why.remedy


def test_a_request_that_waits_for_its_turn_says_what_else_keeps_it() -> None:
    world = asking(of_unit("cpus:9;mem:64"), agents=["cpus:4;mem:4096"] * (NARROW + 10))
    for number in range(CONFIG.revives_max + 1):
        late = replace(of_unit("cpus:1;mem:64", where=f"rack != r{number}"), request_id="late")
        world.call("f", RequestResources((late,)))
    world.call("f", Suppress())
    for found in (
        explain(world.master.tables, "f", request="late"),
        explain(world.master.tables, "f"),
    ):
        assert isinstance(found, FrameworkExplanation)
        [told] = [role for role in found.roles if role.request and role.request.where]
        assert {why.reason for why in told.whys} == {WhyNot.SUPPRESSED, WhyNot.PUT_OFF}


def test_a_revive_that_comes_too_often_waits_for_its_turn() -> None:
    world = cluster("f")
    for _ in range(CONFIG.revives_max + 1):
        world.call("f", Suppress())
        world.call("f", Revive())
    why = only_why(world)
    assert (why.reason, why.agents) == (WhyNot.PUT_OFF, 0)
    world.wait(1_000)
    assert only_role(world).whys == ()


def test_what_is_free_does_not_hold_a_unit_and_by_how_much() -> None:
    world = asking(of_unit("cpus:3;mem:64", 5), agents=("cpus:4;mem:4096", "cpus:3;mem:1024"))
    role = only_role(world)
    assert role.request is not None
    assert (role.request.count, role.open, role.offers) == (5, 3, 2)
    for offer in list(world.master.tables.frameworks["1-F1"].offers.values()):
        launch = Launch(task(f"on-{offer.agent_id}", "cpus:3;mem:64"), "r")
        world.call(
            "f", Accept(int(offer.agent_id[1]), offer.agent_id, (offer.offer_id,), (launch,), 0)
        )
    whys = {why.reason: why for why in only_role(world).whys}
    assert set(whys) == {WhyNot.DEMAND_TOO_LARGE}
    why = whys[WhyNot.DEMAND_TOO_LARGE]
    assert (why.agents, why.agent_id, why.missing) == (2, "a1", Resources(cpus=2))
    assert "a1 lacks cpus:2" in why.message
    assert "request r in role *" in of_framework(world).verdict


def test_no_agent_could_ever_hold_a_unit() -> None:
    why = only_why(asking(of_unit("cpus:6;mem:64", ports=2)))
    assert why.reason is WhyNot.NO_AGENT_FITS
    assert "a1 lacks cpus:2 and 2 ports" in why.message


def test_an_expression_that_keeps_agents_away_tells_how_many_would_do_without_it() -> None:
    sizes = ("cpus:4;mem:4096", "cpus:4;mem:4096", "cpus:1;mem:4096")
    world = asking(of_unit("cpus:2;mem:64", where="rack == r9"), agents=sizes)
    why = only_why(world)
    assert (why.reason, why.agents) == (WhyNot.WHERE_UNMATCHED, 3)
    assert why.remedy == "without its `where`, 2 of them could hold a unit, empty"


def test_a_match_that_was_declined_or_left_until_the_lease_ran_out() -> None:
    world = asking(of_unit("cpus:2;mem:64"))
    decline_all(world, refuse_ms=8_000)
    why = only_why(world)
    assert (why.reason, why.until_ms) == (WhyNot.REFUSED, world.now_ms + 8_000)
    assert "asks for more" in why.remedy
    world.wait(8_000)
    world.wait(CONFIG.offer_lease_ms)
    why = only_why(world)
    assert (why.reason, why.until_ms) == (
        WhyNot.LEASE_RAN_OUT,
        world.now_ms + CONFIG.lease_refuse_ms,
    )


def test_what_would_fit_is_held_by_another() -> None:
    world = cluster("g")
    world.framework(demand_roles=("*",), session_id="f")
    world.wait(2_000)
    world.call("f", RequestResources((of_unit("cpus:2;mem:64"),)))
    why = only_why(world)
    assert (why.reason, why.framework_id, why.offer_id) == (WhyNot.HELD, "1-F1", "1-1")


# --- names ----------------------------------------------------------------------------------------


def test_a_framework_is_found_by_id_name_or_the_start_of_its_id() -> None:
    world = cluster("f", "g", agents=0)
    assert of_framework(world, "1-F1").name == "f"
    assert of_framework(world, "g").framework_id == "1-F2"
    told = not_explained(world, "1-F")
    assert told.refusal is Refusal.AMBIGUOUS
    assert told.message == "'1-F' may be 1-F1, 1-F2: give the whole id"
    assert not_explained(world, "nobody").refusal is Refusal.UNKNOWN_TASK
    assert not_explained(world, "").refusal is Refusal.UNKNOWN_TASK


def test_two_frameworks_of_one_name_are_told_apart_by_id() -> None:
    world = World()
    world.framework("f")
    world.framework("f", stream="f2", principal="somebody")
    assert not_explained(world, "f").refusal is Refusal.AMBIGUOUS
    assert of_framework(world, "1-F2").framework_id == "1-F2"


# --- tasks ----------------------------------------------------------------------------------------


def launched(*ids: str) -> World:
    world = cluster("f")
    world.accept(world.offers()[0], *(task(i) for i in ids))
    return world


def test_a_task_on_its_way_to_its_agent() -> None:
    world = launched("t1")
    world.wait(3_000)
    found = of_task(world)
    assert (found.state, found.agent_id) == (TaskState.STAGING, "a1")
    assert found.since_ms == world.now_ms - 3_000
    assert "was sent to a1 (a1.example) 3.0 s ago" in found.verdict


def test_a_task_that_starts_runs_and_ends() -> None:
    world = launched("t1")
    world.report("t1", TaskState.STARTING, "u1")
    assert "is being started on a1" in of_task(world).verdict
    world.report("t1", TaskState.RUNNING, "u2")
    assert of_task(world).verdict.startswith("t1 is RUNNING on a1 (a1.example) for ")
    assert of_task(world).remedy == ""
    world.call("f", Kill("t1", "a1", 5_000))
    assert "is being ended" in of_task(world).verdict
    assert of_task(world).remedy == "SIGKILL follows 5.0 s after SIGTERM"
    world.report("t1", TaskState.KILLED, "u3")
    assert "has not acknowledged" in of_task(world).verdict
    world.call("f", Acknowledge("a1", "t1", "u3"))
    found = of_task(world)
    assert (found.state, found.remedy) == (TaskState.KILLED, "")
    assert found.framework_name == "f"


def test_the_end_of_a_task_whose_scheduler_is_away() -> None:
    world = launched("t1")
    world.close("f")
    world.report("t1", TaskState.FINISHED, "u1")
    assert "its scheduler is away" in of_task(world).verdict


def test_a_task_whose_agent_is_away_and_then_given_up() -> None:
    world = launched("t1")
    world.report("t1", TaskState.RUNNING, "u1")
    world.close("a1")
    world.wait(5_000)
    found = of_task(world)
    assert "was RUNNING on a1 (a1.example), of which nothing was heard for 5.0 s" in found.verdict
    assert found.remedy == "its agent comes back within 70 s, or it is UNREACHABLE"
    world.wait(70_000)
    assert "may still run" in of_task(world).verdict


def test_a_launch_that_was_refused_says_why() -> None:
    world = cluster("f")
    world.accept(world.offers()[0], task("t1", "cpus:9;mem:1"))
    world.wait(2_000)
    found = of_task(world)
    assert (found.state, found.refusal) == (None, Refusal.NO_AGENT_FITS)
    assert found.verdict.startswith("t1 was refused 2.0 s ago: no agent could hold this")
    assert "lacks cpus:5" in found.verdict
    assert (found.agent_id, found.since_ms) == ("a1", world.now_ms - 2_000)


def test_a_refused_launch_does_not_hide_the_task_of_the_same_id() -> None:
    world = launched("t1")
    world.wait(5_000)
    world.accept(world.offers()[0], task("t1"), number=2)
    assert of_task(world).state is TaskState.STAGING
    world.framework("g", session_id="g")
    assert of_task(world, "t1", "f").framework_id == "1-F1"


def test_a_launch_that_is_done_at_the_second_attempt_is_a_task() -> None:
    world = cluster("f")
    world.accept(world.offers()[0], task("t1", "cpus:9;mem:1"), refuse_ms=0)
    world.accept(world.offers()[0], task("t1"), number=2)
    assert of_task(world).state is TaskState.STAGING


def test_refused_launches_are_kept_up_to_a_bound() -> None:
    world = cluster("f")
    for number in range(1, 4):
        half = range(REFUSED_LAUNCHES_MAX // 2)
        bad = tuple(InvalidLaunch(f"t{number}-{n}", "bad") for n in half)
        bad += (InvalidLaunch("", "its id is not valid"),)
        world.call("f", Accept(number, "a1", ("nothing",), bad, 0))
    assert len(world.master.tables.frameworks["1-F1"].refused_launches) == REFUSED_LAUNCHES_MAX
    assert not_explained(world, "t1-0").refusal is Refusal.UNKNOWN_TASK
    assert of_task(world, "t3-0").refusal is Refusal.UNKNOWN_OFFER


def test_a_task_is_found_by_the_start_of_its_id_when_that_tells_it_apart() -> None:
    world = launched("web-1", "web-2", "db-1", "web")
    assert of_task(world, "db").task_id == "db-1"
    assert of_task(world, "web").task_id == "web"
    assert not_explained(world, "web-").refusal is Refusal.AMBIGUOUS


def test_one_id_in_two_frameworks_needs_the_framework_s_name() -> None:
    world = World()
    world.framework("f")
    world.framework("g", session_id="g")
    world.agent(tasks=[on_agent("t1"), on_agent("t1", framework_id="1-F2")])
    told = not_explained(world, "t1")
    assert told.refusal is Refusal.AMBIGUOUS
    assert told.message == (
        "'t1' may be t1 of 1-F1, t1 of 1-F2: say whose you mean, as --framework 1-F1"
    )
    assert of_task(world, "t1", "g").framework_id == "1-F2"
    assert not_explained(world, "t1", "nobody").refusal is Refusal.UNKNOWN_TASK


def test_a_framework_that_wants_very_much_is_not_explained_in_full() -> None:
    world = World()
    world.framework(demand_roles=("*",))
    for number in range(100):
        world.agent(f"a{number}", "cpus:1;mem:64")
    unit = Resources(cpus=2, mem=32)
    wants = [Request(f"r{number}", "*", unit, 1) for number in range(250)]
    met = Request("small", "*", Resources(cpus=1, mem=32), 1)
    world.call("f", RequestResources((met, *wants)))
    found = of_framework(world)
    assert len(found.roles) == EXPLAINED_MAX // 100
    assert all(one.open == 1 for one in found.roles)
    assert found.verdict.endswith("and 51 more roles and requests, too many for one answer")


def test_who_is_refused_and_revives_in_a_loop_is_told_to_slow_down() -> None:
    world = cluster("f")
    for _ in range(MasterConfig().revives_max + 2):
        for offer in world.offers():
            world.call("f", Decline((offer.offer_id,), 60_000))
        world.call("f", Revive())
    why = only_why(world)
    assert why.reason is WhyNot.REFUSED
    assert why.remedy.startswith("it slows down, since it revives")
