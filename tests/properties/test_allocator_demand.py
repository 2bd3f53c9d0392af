"""Demand under any order of calls: the world of test_allocator.py, with requests in it.

Each grant is recomputed by brute force: what was open, what fits, and whose turn it was among all
who could take something of that agent. At rest nothing is free that anybody may be offered whole
and no open request fits any agent that it did not decline (D11).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hypothesis import Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mesoslite.allocator import Grant, Tuning
from mesoslite.attributes import Attribute
from mesoslite.explanation import Explained
from mesoslite.model import Policy, Request, WhyNot
from mesoslite.resources import Resources
from mesoslite.where import Place, Where
from tests.properties.test_allocator import (
    FRAMEWORKS,
    ROLES,
    AnyOrder,
    Framework,
    Use,
    World,
    agent_ids,
    framework_ids,
    is_enough,
    picks,
    roles,
    totals,
)

PLACES = {
    "a1": Place("h1", (Attribute("rack", "r1"), Attribute("ssd", "yes")), "west", "w1"),
    "a2": Place("h2", (Attribute("rack", "r1"),), "west", "w2"),
    "a3": Place("h3", (Attribute("rack", "r2"), Attribute("level", 3_000)), "east"),
}
WHERES = ["", "", "", "rack == r1", "rack != r1", "has ssd", "level > 2 or zone == w2"]

Who = tuple[str, str]
Asked = tuple[str, str, str]  # framework, role, request

few = st.integers(0, 3)
#: As it is, or so small that three agents are many.
tunings = st.just(Tuning()) | st.builds(
    Tuning, anew_min=few, kinds_asked_max=few, facts_enough=few, listed_max=few
)
request_ids = st.sampled_from(["r1", "r2"])
units_wanted = st.builds(
    lambda cpus, mem, gold, port: (
        Resources(cpus=cpus or int(not mem), mem=32 * mem, gold=gold)
        + Resources(ports=[(port, port)] if port else [])
    ),
    cpus=st.integers(0, 2),
    mem=st.integers(0, 2),
    gold=st.sampled_from([0, 0, 0, 1]),
    port=st.sampled_from([0, 0, 0, 0, 2]),
)


@dataclass
class Ask:
    request: Request
    wanted: int


@dataclass
class Declined:
    asked: Asked
    agent_id: str
    until_ms: int


def by_name(amount: Resources) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, thousandths in amount.scalars.items():
        name = at.partition("(")[0]
        found[name] = found.get(name, 0) + thousandths
    return found


def ports_in(amount: Resources) -> set[int]:
    return {port for first, last in amount.ports for port in range(first, last + 1)}


def units_in(amount: Resources, request: Request, most: int) -> int:
    """How many whole units fit, counted up one by one."""
    have, ports, certain = by_name(amount), ports_in(amount), ports_in(request.unit)
    units = 0
    while units < most:
        more = units + 1
        scalars = all(have.get(at, 0) >= n * more for at, n in request.unit.scalars.items())
        named = more == 1 or not certain
        enough = certain <= ports and len(ports - certain) >= request.ports * more
        if not (scalars and named and enough):
            break
        units = more
    return units


def reserved_part(amount: Resources) -> Resources:
    return Resources.from_amounts({at: n for at, n in amount.scalars.items() if "(" in at})


class WorldOfDemand(World):
    """The plain world, with what everybody requests."""

    def __init__(self) -> None:
        super().__init__()
        self.stating: set[Who] = set()  # who states in a role what it wants
        self.asks: dict[Asked, Ask] = {}
        self.declined: list[Declined] = []

    def offered(self, asked: Asked) -> int:
        return sum(o.units for o in self.offers if (o.framework_id, o.role, o.request_id) == asked)

    def open(self, asked: Asked) -> int:
        return max(0, self.asks[asked].wanted - self.offered(asked))

    def forget(self, asked: Asked) -> None:
        self.asks.pop(asked, None)
        self.declined = [no for no in self.declined if no.asked != asked]

    def forget_the_past(self) -> None:
        super().forget_the_past()
        self.declined = [no for no in self.declined if no.until_ms > self.now_ms]

    def deadlines(self) -> list[int]:
        last: dict[tuple[Asked, str], int] = {}
        for no in self.declined:
            what = (no.asked, no.agent_id)
            last[what] = max(last.get(what, no.until_ms), no.until_ms)
        return [*super().deadlines(), *last.values()]

    def counts_end(self) -> None:
        """Who is not in a role any more wants nothing in it; what 0 are wanted of is forgotten."""
        subscribed = {(f, role) for f, known in self.frameworks.items() for role in known.roles}
        self.stating &= subscribed
        for asked, ask in list(self.asks.items()):
            if asked[:2] not in subscribed or not ask.wanted:
                self.forget(asked)
        super().counts_end()

    def may_have(self, framework_id: str, role: str, agent_id: str) -> Resources | None:
        """As in the plain world, but who states what it wants has only what is reserved."""
        whole = super().may_have(framework_id, role, agent_id)
        if (framework_id, role) not in self.stating:
            return whole
        if self.why_not_at_all(framework_id, role) or not self.agents[agent_id].active:
            return None
        amount = reserved_part(self.free(agent_id).available_to(role))
        refused = any(
            (no.framework_id, no.role, no.agent_id) == (framework_id, role, agent_id)
            and no.until_ms > self.now_ms
            and no.amount.covers(amount)
            for no in self.refusals
        )
        return None if refused or not is_enough(amount) else amount

    def is_declined(self, asked: Asked, agent_id: str) -> bool:
        return any(
            (no.asked, no.agent_id) == (asked, agent_id) and no.until_ms > self.now_ms
            for no in self.declined
        )

    def may_be_cut(self, asked: Asked, agent_id: str) -> int:
        """How many units of a request the framework may be offered of the agent now."""
        framework_id, role, _ = asked
        request = self.asks[asked].request
        if (
            self.why_not_at_all(framework_id, role)
            or not self.agents[agent_id].active
            or self.is_declined(asked, agent_id)
            or not Where.parse(request.where).matches(PLACES[agent_id])
        ):
            return 0
        amount = self.free(agent_id).available_to(role)
        return units_in(amount, request, self.open(asked))

    def cuts(self, agent_id: str) -> dict[Asked, int]:
        found = {asked: self.may_be_cut(asked, agent_id) for asked in self.asks}
        return {asked: units for asked, units in found.items() if units}

    def why_not_cut(self, asked: Asked, agent_id: str) -> WhyNot | None:
        """Why what is free of the agent is not offered for the request."""
        framework_id, role, _ = asked
        request, agent = self.asks[asked].request, self.agents[agent_id]

        def fits(amount: Resources) -> bool:
            return units_in(amount.available_to(role), request, 1) > 0

        if not agent.active:
            return WhyNot.AGENT_AWAY
        if not Where.parse(request.where).matches(PLACES[agent_id]):
            return WhyNot.WHERE_UNMATCHED
        if not fits(agent.total):
            return WhyNot.NO_AGENT_FITS
        free = self.free(agent_id)
        if fits(free):
            return WhyNot.REFUSED
        offers = [offer for offer in self.offers if offer.agent_id == agent_id]
        if any((o.framework_id, o.role, o.request_id) == asked for o in offers):
            return None
        with_offers = agent.total
        for use in self.tasks:
            if use.agent_id == agent_id:
                with_offers = use.amount.missing(with_offers)
        if offers and fits(with_offers):
            own = any(offer.framework_id == framework_id for offer in offers)
            return WhyNot.OWN_OFFER if own else WhyNot.ANOTHERS_TURN
        if not free:
            return WhyNot.NOTHING_FREE
        all_roles = units_in(Resources.from_amounts(by_name(free), free.ranges), request, 1)
        return WhyNot.RESERVED if all_roles else WhyNot.DEMAND_TOO_LARGE


requests = st.builds(
    Request,
    request_id=request_ids,
    role=roles,
    unit=units_wanted,
    count=st.sampled_from([0, 1, 1, 2, 3, 5]),
    ports=st.sampled_from([0, 0, 0, 1, 2]),
    where=st.sampled_from(WHERES),
    policy=st.sampled_from(Policy),
)


class AnyOrderOfDemand(AnyOrder):
    """Requests come and go among all other calls.

    Steered: all but one framework state what they want from the start, and most requests are made
    by who is there (without that, 19 of 20 runs cut nothing).
    """

    world: WorldOfDemand

    def __init__(self) -> None:
        super().__init__()
        self.world = WorldOfDemand()

    def _add_agent(
        self, agent_id: str, total: Resources, uses: Iterable[tuple[str, str, Resources]]
    ) -> None:
        self.allocator.add_agent(agent_id, total, uses, PLACES[agent_id])

    @initialize(
        run_every=st.integers(1, 4),
        sizes=st.lists(totals, min_size=3, max_size=3),
        asked=st.lists(requests, min_size=1, max_size=4),
        generous=st.integers(0, 3),
        tuning=tunings,
    )
    def a_cluster_starts(
        self,
        run_every: int,
        sizes: list[Resources],
        asked: list[Request],
        generous: int,
        tuning: Tuning,
    ) -> None:
        self.allocator = self._allocator_of(tuning)
        super().a_cluster_starts(run_every, sizes)
        for number, (framework_id, role) in enumerate(self._there()):
            if number != generous:
                self.the_mode_is_switched(framework_id, role, on=True)
        for number, request in enumerate(asked):
            self.somebody_requests(number, request)

    def _there(self) -> list[Who]:
        frameworks = self.world.frameworks
        return [(f, role) for f in sorted(frameworks) for role in sorted(frameworks[f].roles)]

    # --- requests ---------------------------------------------------------------------------------

    @rule(framework_id=framework_ids, request=requests)
    def something_is_requested(self, framework_id: str, request: Request) -> None:
        self._request(framework_id, request)

    @precondition(lambda self: self._there())
    @rule(pick=picks, request=requests)
    def somebody_requests(self, pick: int, request: Request) -> None:
        framework_id, role = self._there()[pick % len(self._there())]
        self._request(framework_id, replace(request, role=role))

    @precondition(lambda self: self.world.stating)
    @rule(pick=picks, request=requests)
    def more_is_requested(self, pick: int, request: Request) -> None:
        stating = sorted(self.world.stating)
        framework_id, role = stating[pick % len(stating)]
        self._request(framework_id, replace(request, role=role, count=request.count + 1))

    @precondition(lambda self: self.world.asks)
    @rule(pick=picks, more=st.integers(-2, 2))
    def another_count_is_requested(self, pick: int, more: int) -> None:
        asked = list(self.world.asks)[pick % len(self.world.asks)]
        ask = self.world.asks[asked]
        self._request(asked[0], replace(ask.request, count=max(0, ask.wanted + more)))

    def _request(self, framework_id: str, request: Request) -> None:
        world = self.world
        framework = world.frameworks.get(framework_id)
        if framework is not None and request.role in framework.roles:
            world.stating.add((framework_id, request.role))
            for role in ROLES:
                if role != request.role:
                    world.forget((framework_id, role, request.request_id))
            asked = (framework_id, request.role, request.request_id)
            before = world.asks.get(asked)
            if before is None or differs(before.request, request) or request.count > before.wanted:
                world.forget(asked)
            world.asks[asked] = Ask(request, request.count)
        self.allocator.request(framework_id, request)

    @rule(framework_id=framework_ids, role=roles, request_id=request_ids)
    def something_is_withdrawn(self, framework_id: str, role: str, request_id: str) -> None:
        self.world.forget((framework_id, role, request_id))
        self.allocator.withdraw(framework_id, role, request_id)

    @rule(framework_id=framework_ids, role=roles, on=st.booleans())
    def the_mode_is_switched(self, framework_id: str, role: str, on: bool) -> None:
        world = self.world
        framework = world.frameworks.get(framework_id, Framework(set()))
        if role in framework.roles and on:
            world.stating.add((framework_id, role))
        elif role in framework.roles:
            world.stating.discard((framework_id, role))
            for request_id in ("r1", "r2"):
                world.forget((framework_id, role, request_id))
        self.allocator.set_demand(framework_id, role, on)

    def _forget_refusals(self, framework_id: str, role: str) -> None:
        super()._forget_refusals(framework_id, role)
        world = self.world
        world.declined = [no for no in world.declined if no.asked[:2] != (framework_id, role)]

    @rule(framework_id=framework_ids, role=roles, request_id=request_ids, agent_id=agent_ids)
    def what_is_impossible_is_told(
        self, framework_id: str, role: str, request_id: str, agent_id: str
    ) -> None:
        world = self.world
        ask = world.asks.get((framework_id, role, request_id))
        if ask is None:
            return
        fitting = [
            agent_id
            for agent_id, agent in world.agents.items()
            if Where.parse(ask.request.where).matches(PLACES[agent_id])
            and units_in(agent.total.available_to(role), ask.request, 1)
        ]
        impossible = self.allocator.why_impossible(role, ask.request)
        assert (impossible is not None) == bool(world.agents and not fitting)
        event(f"impossible: {impossible is not None}")

    def _drop_agent(self, agent_id: str) -> None:
        super()._drop_agent(agent_id)
        world = self.world
        world.declined = [no for no in world.declined if no.agent_id != agent_id]

    # --- offers -----------------------------------------------------------------------------------

    def _settle(self, offer: Use, taken: Resources) -> None:
        super()._settle(offer, taken)
        if taken and offer.request_id:
            self._launched(offer, max(1, offer.units - 1))

    def _launched(self, offer: Use, units: int) -> None:
        asked = (offer.framework_id, offer.role, offer.request_id)
        if asked in self.world.asks:
            ask = self.world.asks[asked]
            ask.wanted = max(0, ask.wanted - units)
            if not ask.wanted:
                self.world.forget(asked)
        self.allocator.launched(*asked, units)

    def _decline(self, offer: Use, amount: Resources, until_ms: int) -> None:
        if not offer.request_id:
            super()._decline(offer, amount, until_ms)
            return
        asked = (offer.framework_id, offer.role, offer.request_id)
        if asked in self.world.asks and amount and offer.agent_id in self.world.agents:
            self.world.declined.append(Declined(asked, offer.agent_id, until_ms))
        self.allocator.refuse(
            offer.framework_id, offer.role, offer.agent_id, amount, until_ms, offer.request_id
        )

    @precondition(lambda self: self.world.offers)
    @rule(fates=st.integers(0, 255), wait_ms=st.sampled_from([0, 0, 1, 3]))
    def all_offers_are_answered(self, fates: int, wait_ms: int) -> None:
        """Taken whole, given back, or declined for so short that it runs out (without this, turns
        among equals and the end of what was declined were seen in 1 of 20 runs).
        """
        world = self.world
        for number, offer in enumerate(list(world.offers)):
            fate = fates >> number % 4 * 2 & 3
            self._settle(offer, offer.amount if fate == 3 else Resources.EMPTY)
            if fate == 1:
                self._decline(offer, offer.amount, world.now_ms + 1 + number % 3)
        self.the_allocator_runs(wait_ms)

    @rule(wait_ms=st.sampled_from([1, 2, 3, 1_000]))
    def time_passes(self, wait_ms: int) -> None:
        self.the_allocator_runs(wait_ms)

    def the_allocator_is_at_rest(self) -> None:
        super().the_allocator_is_at_rest()
        for agent_id in self.world.agents:
            cuts = self.world.cuts(agent_id)
            assert not cuts, f"forgotten: {agent_id} for {cuts}"
        for framework_id in FRAMEWORKS:
            expected = {
                asked[2]: (ask.wanted, self.world.offered(asked))
                for asked, ask in self.world.asks.items()
                if asked[0] == framework_id
            }
            assert self.allocator.wanted(framework_id) == expected

    def _is_right(self, grant: Grant) -> None:
        world = self.world
        whole, cuts = world.wanted(grant.agent_id), world.cuts(grant.agent_id)
        who = (grant.framework_id, grant.role)
        assert who == world.whose_turn([*whole, *(asked[:2] for asked in cuts)])
        if grant.request_id:
            asked = (*who, grant.request_id)
            assert 1 <= grant.units <= cuts[asked]
            self._is_cut(grant, world.asks[asked].request)
            event("a cut that others wanted" if len(cuts) + len(whole) > 1 else "a cut")
        else:
            assert grant.units == 0
            assert whole[who] == grant.resources
        offer = Use(*who, grant.agent_id, grant.resources, grant.request_id, grant.units)
        world.offers.append(offer)
        world.served[who] += 1
        world.served_role[grant.role] += 1

    def _is_cut(self, grant: Grant, request: Request) -> None:
        """Whole units and nothing else, of what the role may have, the reserved part first."""
        free = self.world.free(grant.agent_id).available_to(grant.role)
        assert free.covers(grant.resources)
        expected = {at: n * grant.units for at, n in request.unit.scalars.items()}
        assert by_name(grant.resources) == expected
        left = free - grant.resources
        for at, taken in grant.resources.scalars.items():
            reserved = [key for key in left.scalars if key.startswith(at + "(")]
            assert not (taken and reserved), f"{at} of nobody is taken before {reserved}"
        certain, ports = ports_in(request.unit), ports_in(grant.resources)
        lowest = sorted(ports_in(free) - certain)[: request.ports * grant.units]
        assert ports == certain | set(lowest)

    # --- why not ----------------------------------------------------------------------------------

    def _explains(self, framework_id: str) -> None:
        world = self.world
        told = self.allocator.explain(framework_id)
        for role in world.frameworks[framework_id].roles:
            here = [one for one in told if one.role == role]
            if (framework_id, role) not in world.stating:
                [one] = here
                self._explains_role(framework_id, one)
                continue
            asked = [key for key in world.asks if key[:2] == (framework_id, role)]
            if not asked:
                [one] = here
                whole = {blocked.reason for blocked in one.blocked}
                assert whole == (world.why_not_at_all(framework_id, role) or {WhyNot.DEMAND_MET})
                continue
            assert {one.request.request_id for one in here if one.request} == {a[2] for a in asked}
            for one in here:
                self._explains_request(framework_id, one)

    def _explains_request(self, framework_id: str, one: Explained) -> None:
        world = self.world
        assert one.request is not None
        asked = (framework_id, one.role, one.request.request_id)
        assert one.open == world.open(asked)
        assert one.request.count == world.asks[asked].wanted
        offers = [o for o in world.offers if (o.framework_id, o.role, o.request_id) == asked]
        assert one.offers == len(offers)
        whole = {blocked.reason for blocked in one.blocked if not blocked.agent_ids}
        expected = set(world.why_not_at_all(framework_id, one.role))
        if not one.open:
            expected.add(WhyNot.DEMAND_MET)
        assert whole == expected
        told_of = {i: blocked.reason for blocked in one.blocked for i in blocked.agent_ids}
        assert whole or told_of == {
            agent_id: why
            for agent_id in world.agents
            if (why := world.why_not_cut(asked, agent_id)) is not None
        }
        for blocked in one.blocked:
            event(f"why no cut: {blocked.reason.name}")
            if blocked.nearest:
                assert blocked.nearest in blocked.agent_ids
                assert blocked.missing or blocked.missing_ports


def differs(one: Request, other: Request) -> bool:
    return replace(one, count=0) != replace(other, count=0)


TestAnyOrderOfDemand = AnyOrderOfDemand.TestCase
TestAnyOrderOfDemand.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
