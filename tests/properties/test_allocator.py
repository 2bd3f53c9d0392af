"""The allocator under any order of calls, against a recomputation that knows none of its indexes.

The model below keeps plain lists: agents, tasks, offers, refusals. After each `allocate` it asks,
for everything that is free, whether anybody may be offered it (D11), and of each grant
whether it was that framework's turn. `Allocator.check` compares the indexes among themselves.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesoslite.allocator import Allocator, Grant, LedgerError, Tuning
from mesoslite.explanation import Explained
from mesoslite.model import WhyNot
from mesoslite.resources import Resources

OUTSTANDING_MAX = 3
AGENTS = ("a1", "a2", "a3")
FRAMEWORKS = ("f1", "f2", "f3")
ROLES = ("ads", "ops", "web")
LEAST = Resources(cpus=1)
LEAST_OTHER = Resources(mem=64)

agent_ids = st.sampled_from(AGENTS)
framework_ids = st.sampled_from(FRAMEWORKS)
roles = st.sampled_from(ROLES)
some_roles = st.lists(roles, max_size=3)
picks = st.integers(0, 99)


def amounts(cpus_max: int, mem_max: int, ads: list[int]) -> st.SearchStrategy[Resources]:
    return st.builds(
        lambda cpus, mem, gold, ports, ads: (
            Resources(cpus=cpus, mem=32 * mem, gold=gold, ports=[(1, ports)] if ports else [])
            + Resources(cpus=ads, role="ads")
        ),
        cpus=st.integers(0, cpus_max),
        mem=st.integers(0, mem_max),
        gold=st.integers(0, 2),
        ports=st.integers(0, 4),
        ads=st.sampled_from(ads),
    )


totals = amounts(6, 6, ads=[0, 0, 0, 1, 2])
tasks = amounts(2, 2, ads=[0, 0, 0, 0, 1])


def part_of(amount: Resources, numerator: int) -> Resources:
    """A part of an amount, as a task would take it: 0 is nothing, 4 is all."""
    if numerator >= 4:
        return amount
    taken = {at: held * numerator // 4 for at, held in amount.scalars.items()}
    ranges = {at: pairs[:1] for at, pairs in amount.ranges.items()} if numerator else {}
    return Resources.from_amounts(taken, ranges)


@dataclass
class Framework:
    roles: set[str]
    suppressed: set[str] = field(default_factory=set)
    active: bool = True
    outstanding_max: int = OUTSTANDING_MAX


@dataclass
class Agent:
    total: Resources
    active: bool = True


@dataclass
class Use:
    """A task, or an offer that is outstanding."""

    framework_id: str
    role: str
    agent_id: str
    amount: Resources
    request_id: str = ""
    units: int = 0


@dataclass
class Refusal:
    framework_id: str
    role: str
    agent_id: str
    amount: Resources
    until_ms: int


def is_enough(amount: Resources) -> bool:
    """Whether an offer may hold no more than this."""
    by_name = Resources(cpus=amount.cpus, mem=amount.mem)
    return by_name.covers(LEAST) or by_name.covers(LEAST_OTHER)


class World:
    """What the allocator was told, in the plainest form, and what follows from it."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        self.tasks: list[Use] = []
        self.offers: list[Use] = []
        self.refusals: list[Refusal] = []
        self.weights: dict[str, Fraction] = {}
        self.served: Counter[tuple[str, str]] = Counter()
        self.served_role: Counter[str] = Counter()
        self.now_ms = 0

    def uses(self) -> list[Use]:
        return self.tasks + self.offers

    def free(self, agent_id: str) -> Resources:
        free = self.agents[agent_id].total
        for use in self.uses():
            if use.agent_id == agent_id:
                free = use.amount.missing(free)  # what of it is left, never below nothing
        return free

    def may_have(self, framework_id: str, role: str, agent_id: str) -> Resources | None:
        """What this framework, in this role, would be offered of the agent now; None: nothing."""
        framework, agent = self.frameworks[framework_id], self.agents[agent_id]
        outstanding = sum(offer.framework_id == framework_id for offer in self.offers)
        if (
            not agent.active
            or not framework.active
            or role in framework.suppressed
            or outstanding >= framework.outstanding_max
        ):
            return None
        amount = self.free(agent_id).available_to(role)
        if not is_enough(amount):
            return None
        for no in self.refusals:
            same = (no.framework_id, no.role, no.agent_id) == (framework_id, role, agent_id)
            if same and no.until_ms > self.now_ms and no.amount.covers(amount):
                return None
        return amount

    def why_not_at_all(self, framework_id: str, role: str) -> set[WhyNot]:
        """Why this framework is offered nothing in this role, whatever there is."""
        framework = self.frameworks[framework_id]
        outstanding = sum(offer.framework_id == framework_id for offer in self.offers)
        reasons = {
            WhyNot.DISCONNECTED: not framework.active,
            WhyNot.SUPPRESSED: role in framework.suppressed,
            WhyNot.UNANSWERED_OFFERS: outstanding >= framework.outstanding_max,
            WhyNot.NO_AGENTS: not self.agents,
        }
        return {reason for reason, true in reasons.items() if true}

    def why_not(
        self, framework_id: str, role: str, agent_id: str
    ) -> tuple[WhyNot, int | None] | None:
        """Why it is not offered what is free of this agent; None: it is offered some of it."""
        if not self.agents[agent_id].active:
            return WhyNot.AGENT_AWAY, None
        offers = [offer for offer in self.offers if offer.agent_id == agent_id]
        if any((offer.framework_id, offer.role) == (framework_id, role) for offer in offers):
            return None
        free = self.free(agent_id)
        amount = free.available_to(role)
        if is_enough(amount):
            ends_ms = [
                no.until_ms
                for no in self.refusals
                if (no.framework_id, no.role, no.agent_id) == (framework_id, role, agent_id)
                and no.amount.covers(amount)
            ]
            return WhyNot.REFUSED, max(ends_ms)
        if any(offer.framework_id == framework_id for offer in offers):
            return WhyNot.OWN_OFFER, None
        if offers:
            return WhyNot.ANOTHERS_TURN, None
        if is_enough(free):
            return WhyNot.RESERVED, None
        return (WhyNot.TOO_SMALL if free else WhyNot.NOTHING_FREE), None

    def wanted(self, agent_id: str) -> dict[tuple[str, str], Resources]:
        """Who may be offered what of the agent now."""
        found = {
            (framework_id, role): self.may_have(framework_id, role, agent_id)
            for framework_id, framework in self.frameworks.items()
            for role in framework.roles
        }
        return {who: amount for who, amount in found.items() if amount is not None}

    def deadlines(self) -> list[int]:
        """When each refusal ends; of one amount by one client only the last one counts."""
        last: dict[tuple[str, str, str, Resources], int] = {}
        for no in self.refusals:
            what = (no.framework_id, no.role, no.agent_id, no.amount)
            last[what] = max(last.get(what, no.until_ms), no.until_ms)
        return list(last.values())

    def forget_the_past(self) -> None:
        """Refusals that have run out."""
        self.refusals = [no for no in self.refusals if no.until_ms > self.now_ms]

    def held(self, *, role: str, framework_id: str | None = None) -> Counter[str]:
        """Thousandths by name."""
        held: Counter[str] = Counter()
        for use in self.uses():
            if use.role == role and framework_id in (None, use.framework_id):
                for at, amount in use.amount.scalars.items():
                    held[at.partition("(")[0]] += amount
        return held

    def share(self, held: Counter[str]) -> Fraction:
        total: Counter[str] = Counter()
        for agent in self.agents.values():
            for at, amount in agent.total.scalars.items():
                total[at.partition("(")[0]] += amount
        shares = [Fraction(held[name], total[name]) for name in held if total[name]]
        return max(shares, default=Fraction(0))

    def whose_turn(self, candidates: list[tuple[str, str]]) -> tuple[str, str]:
        """DRF over roles by weight, then over the frameworks of that role."""
        role = min(
            {role for _, role in candidates},
            key=lambda r: (
                self.share(self.held(role=r)) / self.weights.get(r, Fraction(1)),
                self.served_role[r],
                r,
            ),
        )
        framework_id = min(
            (f for f, r in candidates if r == role),
            key=lambda f: (
                self.share(self.held(role=role, framework_id=f)),
                self.served[f, role],
                f,
            ),
        )
        return framework_id, role

    def counts_end(self) -> None:
        """A client that holds nothing and wants nothing is forgotten, and so are its turns."""
        there = {(use.framework_id, use.role) for use in self.uses()}
        there |= {(f, role) for f, framework in self.frameworks.items() for role in framework.roles}
        for who in [who for who in self.served if who not in there]:
            del self.served[who]
        for role in [role for role in self.served_role if role not in {r for _, r in there}]:
            del self.served_role[role]


class AnyOrder(RuleBasedStateMachine):
    """All calls of the allocator in any order, nonsense included.

    Steered: it starts with agents and frameworks, and the allocator runs by itself after every few
    calls (without that, 19 of 20 runs made no offer at all); at times everybody declines until
    nobody is left to ask (without that, no agent was ever idle, and a dozen planted bugs lived).
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.allocator = self._allocator_of(Tuning())
        self.run_every = 1
        self.steps = 0

    def _allocator_of(self, tuning: Tuning) -> Allocator:
        least = LEAST, LEAST_OTHER
        return Allocator(
            min_allocatable=least, offers_outstanding_max=OUTSTANDING_MAX, tuning=tuning
        )

    @initialize(run_every=st.integers(1, 4), sizes=st.lists(totals, min_size=3, max_size=3))
    def a_cluster_starts(self, run_every: int, sizes: list[Resources]) -> None:
        self.run_every = run_every
        for framework_id, named in zip(FRAMEWORKS, (ROLES[:1], ROLES[:2], ROLES[1:2]), strict=True):
            self.a_framework_comes_or_changes(framework_id, list(named), [])
        for agent_id, total in zip(AGENTS, sizes, strict=True):
            self.an_agent_comes(agent_id, total + Resources(cpus=1), [])

    # --- agents -----------------------------------------------------------------------------------

    @rule(agent_id=agent_ids, total=totals, uses=st.lists(st.tuples(framework_ids, roles, tasks)))
    def an_agent_comes(
        self, agent_id: str, total: Resources, uses: list[tuple[str, str, Resources]]
    ) -> None:
        self._drop_agent(agent_id)
        self.world.agents[agent_id] = Agent(total)
        uses = [use for use in uses if use[2]][:2]
        self.world.tasks += [Use(f, role, agent_id, amount) for f, role, amount in uses]
        self._add_agent(agent_id, total, uses)

    def _add_agent(
        self, agent_id: str, total: Resources, uses: list[tuple[str, str, Resources]]
    ) -> None:
        self.allocator.add_agent(agent_id, total, uses)

    @rule(agent_id=agent_ids)
    def an_agent_goes(self, agent_id: str) -> None:
        self._drop_agent(agent_id)
        self.allocator.remove_agent(agent_id)

    def _drop_agent(self, agent_id: str) -> None:
        world = self.world
        world.agents.pop(agent_id, None)
        world.tasks = [use for use in world.tasks if use.agent_id != agent_id]
        world.offers = [use for use in world.offers if use.agent_id != agent_id]
        world.refusals = [no for no in world.refusals if no.agent_id != agent_id]

    @rule(agent_id=agent_ids, total=totals)
    def an_agent_changes_its_total(self, agent_id: str, total: Resources) -> None:
        if agent_id in self.world.agents:
            self.world.agents[agent_id].total = total
        self.allocator.set_total(agent_id, total)

    @rule(agent_id=agent_ids, active=st.booleans())
    def an_agent_is_switched(self, agent_id: str, active: bool) -> None:
        if agent_id in self.world.agents:
            self.world.agents[agent_id].active = active
        switch = self.allocator.activate_agent if active else self.allocator.deactivate_agent
        switch(agent_id)

    # --- frameworks -------------------------------------------------------------------------------

    @rule(framework_id=framework_ids, named=some_roles, suppressed=some_roles)
    def a_framework_comes_or_changes(
        self, framework_id: str, named: list[str], suppressed: list[str]
    ) -> None:
        world = self.world
        known = world.frameworks.setdefault(framework_id, Framework(set(named)))
        left = known.roles - set(named)
        for role in left | (known.suppressed - set(suppressed)):
            self._forget_refusals(framework_id, role)
        known.roles, known.suppressed = set(named), set(named) & set(suppressed)
        self.allocator.add_framework(framework_id, named, suppressed)

    @rule(framework_id=framework_ids)
    def a_framework_goes(self, framework_id: str) -> None:
        self.world.frameworks.pop(framework_id, None)
        for role in ROLES:
            self._forget_refusals(framework_id, role)
        self.allocator.remove_framework(framework_id)

    def _forget_refusals(self, framework_id: str, role: str) -> None:
        self.world.refusals = [
            no for no in self.world.refusals if (no.framework_id, no.role) != (framework_id, role)
        ]

    @rule(framework_id=framework_ids, active=st.booleans())
    def a_framework_is_switched(self, framework_id: str, active: bool) -> None:
        if framework_id in self.world.frameworks:
            self.world.frameworks[framework_id].active = active
        allocator = self.allocator
        switch = allocator.activate_framework if active else allocator.deactivate_framework
        switch(framework_id)

    @rule(framework_id=framework_ids, named=some_roles)
    def a_framework_suppresses(self, framework_id: str, named: list[str]) -> None:
        framework = self.world.frameworks.get(framework_id)
        if framework is not None:
            framework.suppressed |= framework.roles & set(named or framework.roles)
        self.allocator.suppress(framework_id, named)

    @rule(framework_id=framework_ids, named=some_roles)
    def a_framework_revives(self, framework_id: str, named: list[str]) -> None:
        framework = self.world.frameworks.get(framework_id)
        if framework is not None:
            for role in framework.roles & set(named or framework.roles):
                framework.suppressed.discard(role)
                self._forget_refusals(framework_id, role)
        self.allocator.revive(framework_id, named)

    @rule(framework_id=framework_ids, offers=st.sampled_from([None, 0, 1, 2, OUTSTANDING_MAX + 1]))
    def a_framework_may_have_fewer_offers(self, framework_id: str, offers: int | None) -> None:
        framework = self.world.frameworks.get(framework_id)
        if framework is not None:
            most = OUTSTANDING_MAX if offers is None else offers
            framework.outstanding_max = min(max(most, 1), OUTSTANDING_MAX)
        self.allocator.set_outstanding_max(framework_id, offers)

    @rule(role=roles, weight=st.sampled_from([1, 2, 3, 0.5, Fraction(1, 3)]))
    def a_weight_changes(self, role: str, weight: int | float | Fraction) -> None:
        self.world.weights[role] = Fraction(weight)
        self.allocator.set_weight(role, weight)

    # --- the ledger -------------------------------------------------------------------------------

    @rule(wait_ms=st.sampled_from([0, 0, 0, 1, 3, 10]))
    def the_allocator_runs(self, wait_ms: int) -> None:
        """Everybody is served in turn, and nothing that somebody may have is left (D11)."""
        world = self.world
        world.counts_end()
        world.now_ms += wait_ms
        grants = self.allocator.allocate(world.now_ms)
        for grant in grants:
            self._is_right(grant)
        event(f"grants: {min(len(grants), 3)}")
        self.the_allocator_is_at_rest()
        world.forget_the_past()
        next_ms = self.allocator.next_deadline_ms()
        assert next_ms is None or next_ms > world.now_ms
        if deadlines := world.deadlines():
            # Early is harmless (somebody left, whose refusals are not swept yet), late is not.
            assert next_ms is not None
            assert next_ms <= min(deadlines)
        assert self.allocator.allocate(world.now_ms) == []
        for framework_id in world.frameworks:
            self._explains(framework_id)

    def the_allocator_is_at_rest(self) -> None:
        """Nothing is free that somebody may have (D11)."""
        for agent_id in self.world.agents:
            wanted = self.world.wanted(agent_id)
            assert not wanted, f"forgotten: {agent_id} for {wanted}"

    def _explains(self, framework_id: str) -> None:
        """At rest everybody who gets nothing more has a reason, and it is the true one."""
        told = self.allocator.explain(framework_id)
        assert {one.role for one in told} == self.world.frameworks[framework_id].roles
        for one in told:
            self._explains_role(framework_id, one)

    def _explains_role(self, framework_id: str, one: Explained) -> None:
        world, role = self.world, one.role
        who = (framework_id, role)
        assert one.offers == sum((o.framework_id, o.role) == who for o in world.offers)
        whole = {blocked.reason for blocked in one.blocked if not blocked.agent_ids}
        assert whole == world.why_not_at_all(framework_id, role)
        told_of = {
            agent_id: (blocked.reason, blocked.ends_ms[number] if blocked.ends_ms else None)
            for blocked in one.blocked
            for number, agent_id in enumerate(blocked.agent_ids)
        }
        assert whole or told_of == {
            agent_id: why
            for agent_id in world.agents
            if (why := world.why_not(framework_id, role, agent_id)) is not None
        }
        for reason in {reason for reason, _ in told_of.values()}:
            event(f"why not: {reason.name}")

    def _is_right(self, grant: Grant) -> None:
        wanted = self.world.wanted(grant.agent_id)
        who = (grant.framework_id, grant.role)
        assert wanted.get(who) == grant.resources
        assert who == self.world.whose_turn(list(wanted))
        if len(wanted) > 1:
            event("a grant that others wanted")
        self.world.offers.append(Use(*who, grant.agent_id, grant.resources))
        self.world.served[who] += 1
        self.world.served_role[grant.role] += 1

    @precondition(lambda self: self.world.offers)
    @rule(
        pick=picks,
        used=st.integers(0, 4),
        refuse_ms=st.sampled_from([0, 1, 2, 5, 1_000]),
        refused=st.sampled_from(["rest", "offered", "less"]),
    )
    def an_offer_is_answered(self, pick: int, used: int, refuse_ms: int, refused: str) -> None:
        world = self.world
        offer = world.offers[pick % len(world.offers)]
        taken = part_of(offer.amount, used)
        self._settle(offer, taken)
        amount = {
            "rest": offer.amount - taken,
            "offered": offer.amount,
            "less": part_of(offer.amount, 2),
        }[refused]
        if refuse_ms:
            self._decline(offer, amount, world.now_ms + refuse_ms)

    def _settle(self, offer: Use, taken: Resources) -> None:
        world = self.world
        world.offers.remove(offer)
        who = (offer.framework_id, offer.role, offer.agent_id)
        self.allocator.settle(*who, offer.amount, taken, offer.request_id, offer.units)
        if taken:
            world.tasks.append(Use(*who, taken))

    def _decline(self, offer: Use, amount: Resources, until_ms: int) -> None:
        who = (offer.framework_id, offer.role, offer.agent_id)
        self._refuse(Refusal(*who, amount, until_ms))

    @precondition(lambda self: self.world.offers)
    @rule(refuse_ms=st.sampled_from([3, 5, 1_000]), parting=st.booleans())
    def everybody_declines_until_nobody_is_left(self, refuse_ms: int, parting: bool) -> None:
        """Then all agents are idle, or too small."""
        world = self.world
        for _ in range(len(FRAMEWORKS) * len(ROLES) * len(AGENTS) * 5):
            if not world.offers:
                break
            offer = world.offers[-1]
            self._settle(offer, Resources.EMPTY)
            until_ms = world.now_ms + refuse_ms + (len(world.refusals) % 3 if parting else 0)
            self._decline(offer, offer.amount, until_ms)
            self.the_allocator_runs(0)
        assert not world.offers

    @precondition(lambda self: self.world.refusals)
    @rule(pick=picks, more_ms=st.integers(-5, 5))
    def a_refusal_is_repeated(self, pick: int, more_ms: int) -> None:
        no = self.world.refusals[pick % len(self.world.refusals)]
        self._refuse(replace(no, until_ms=no.until_ms + more_ms))

    @rule(
        framework_id=framework_ids,
        role=roles,
        agent_id=agent_ids,
        amount=totals,
        until_ms=st.integers(-1, 9),
    )
    def something_is_refused(
        self, framework_id: str, role: str, agent_id: str, amount: Resources, until_ms: int
    ) -> None:
        until_ms += self.world.now_ms
        self._refuse(Refusal(framework_id, role, agent_id, amount, until_ms))

    def _refuse(self, no: Refusal) -> None:
        world = self.world
        framework = world.frameworks.get(no.framework_id)
        known = framework is not None and no.role in framework.roles
        if known and no.agent_id in world.agents and no.amount:
            world.refusals.append(no)
        self.allocator.refuse(no.framework_id, no.role, no.agent_id, no.amount, no.until_ms)

    @precondition(lambda self: self.world.tasks)
    @rule(pick=picks)
    def a_task_ends(self, pick: int) -> None:
        task = self.world.tasks.pop(pick % len(self.world.tasks))
        self.allocator.release(task.framework_id, task.role, task.agent_id, task.amount)

    @rule(framework_id=framework_ids, role=roles, agent_id=agent_ids, amount=tasks)
    def a_task_becomes_known(
        self, framework_id: str, role: str, agent_id: str, amount: Resources
    ) -> None:
        if agent_id in self.world.agents and amount:
            self.world.tasks.append(Use(framework_id, role, agent_id, amount))
        self.allocator.charge(framework_id, role, agent_id, amount)

    @rule(framework_id=framework_ids, role=roles, agent_id=agent_ids)
    def nonsense_is_refused(self, framework_id: str, role: str, agent_id: str) -> None:
        """Giving back what is not held: an error for an agent that is here, nothing otherwise."""
        who = (framework_id, role, agent_id)
        much = Resources(cpus=10_000)
        offered = any((o.framework_id, o.role, o.agent_id) == who for o in self.world.offers)
        if agent_id not in self.world.agents:
            self.allocator.settle(*who, much, Resources.EMPTY)
            self.allocator.release(*who, much)
            return
        with pytest.raises(LedgerError):
            self.allocator.settle(*who, much, Resources.EMPTY)
        with pytest.raises(LedgerError):
            self.allocator.release(*who, much)
        if not offered:
            with pytest.raises(LedgerError):
                self.allocator.settle(*who, Resources.EMPTY, Resources.EMPTY)

    # --- always -----------------------------------------------------------------------------------

    @invariant()
    def the_ledgers_agree(self) -> None:
        self._compare()
        self.steps += 1
        if self.steps % self.run_every == 0:
            self.the_allocator_runs(0)
            self._compare()

    def _compare(self) -> None:
        world, allocator = self.world, self.allocator
        world.counts_end()
        allocator.check()
        for agent_id in AGENTS:
            if agent_id in world.agents:
                assert allocator.free(agent_id) == world.free(agent_id)
                self._every_use_is_charged(agent_id)
            else:
                assert allocator.free(agent_id) == Resources.EMPTY
                assert allocator.charges(agent_id) == {}
        for framework_id in FRAMEWORKS:
            held: Counter[str] = Counter()
            for role in ROLES:
                held += world.held(role=role, framework_id=framework_id)
            assert allocator.held(framework_id) == held
            outstanding = sum(o.framework_id == framework_id for o in world.offers)
            assert allocator.outstanding(framework_id) == outstanding

    def _every_use_is_charged(self, agent_id: str) -> None:
        uses: dict[tuple[str, str], list[Resources]] = {}
        for use in self.world.uses():
            if use.agent_id == agent_id:
                uses.setdefault((use.framework_id, use.role), []).append(use.amount)
        charges = self.allocator.charges(agent_id)
        assert set(charges) == set(uses)
        for who, amounts_used in uses.items():
            assert scalars_of(charges[who]) == scalars_of(amounts_used)
            assert ports_of(charges[who]) == ports_of(amounts_used)


def scalars_of(parts: list[Resources]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.scalars)
    return total


def ports_of(parts: list[Resources]) -> Counter[int]:
    return Counter(
        port for part in parts for first, last in part.ports for port in range(first, last + 1)
    )


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    # Explaining a failure takes longer than finding it, and the shrunk steps say enough.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
