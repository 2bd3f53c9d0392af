"""The allocator: offers every free amount, as soon as it is free, to whose turn it is.

Dominant Resource Fairness over roles, then over the frameworks of a role (sorter.py). What is free
of an agent goes whole to one framework in one of its roles, as in Mesos; then the shares move, and
the next agent goes to the next. What is offered counts as held until it is settled.

A client that states what it wants (demand.py) is offered that, cut to size, and what is reserved
for its role. Where clients without demand may have an agent too, it is shared out in turns: each
takes its cut, or the whole of what is left. Agents that only requests want are looked for from the
side of the request (matching.py, index.py).

A cycle touches what changed and nothing else: agents whose free resources changed, agents of which
a refusal ran out, and for somebody who has come (back) the agents that have something left. At
rest, that is when `allocate` has returned, nobody may be offered anything that is still free, and
no open request fits it (docs/decisions.md D11); test_allocator.py and test_allocator_demand.py in
tests/properties prove it against a recomputation.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType

from mesoslite.allocator.agents import Agent, View
from mesoslite.allocator.demand import Want
from mesoslite.allocator.holdings import Holdings
from mesoslite.allocator.index import AgentIndex, Tuning
from mesoslite.allocator.matching import Matching, asking, available, choice
from mesoslite.allocator.roles import Role
from mesoslite.allocator.sorter import quantities
from mesoslite.immutable import dataclass
from mesoslite.reserved import part_of, reserved_only
from mesoslite.resources import Resources

MIN_ALLOCATABLE = (Resources(cpus="0.01"), Resources(mem=32))  # Mesos: MIN_CPUS, MIN_MEM
OFFERS_OUTSTANDING_MAX = 10_000  # for each framework, about 400 B each; beyond it that one waits

_NOTHING = Resources.EMPTY


@dataclass(frozen=True, slots=True)
class Grant:
    """What a framework, in one of its roles, is to be offered of one agent."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources
    request_id: str = ""
    """The request that it was cut for; empty: none."""
    units: int = 0
    """How many units of the request it holds."""


class Allocator(Holdings):
    """Who is offered what. Pure: time comes in, grants come out; the same calls, the same grants.

    A call about an agent or a framework that is not here does nothing: it is gone, and what was
    held of the agent went with it. Giving back what is not held raises LedgerError: that is a bug
    of the caller, never what a peer said.

    `weights` are for each role by name, 1 if not named. An offer holds at least one of
    `min_allocatable`, each of them an amount all of which must be there; with none of them any
    amount will do. A framework with `offers_outstanding_max` unsettled offers waits, alone.
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, int | float | Fraction] = MappingProxyType({}),
        min_allocatable: Iterable[Resources] = MIN_ALLOCATABLE,
        offers_outstanding_max: int = OFFERS_OUTSTANDING_MAX,
        tuning: Tuning = Tuning(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(weights, min_allocatable, offers_outstanding_max, tuning)
        self._turn = 0  # counts the cycles
        #: How many agents the last `allocate` looked at: those that changed, and no others.
        self.looked_at = 0
        #: How many agents it compared requests with.
        self.compared = 0

    def allocate(self, now_ms: int) -> list[Grant]:
        """Grant everything that somebody may be offered now. Nothing changed: nothing done.

        About 2.3 us for each grant (benchmarks: allocator-decline). What is granted is held by the
        framework and outstanding until `settle`.
        """
        self.looked_at = self.compared = 0
        for agent in self._refusals.expire(now_ms):
            self._refusals_changed(agent)
            self._agents.touch(agent)
        again = self._demand.expire(now_ms)
        if not self._agents.changed and not self._woken and not self._demand.woken and not again:
            return []
        grants: list[Grant] = []
        candidates = self._agents.take_candidates(
            self._woken & self._able, bool(self._woken), self._turn
        )
        self.looked_at = len(candidates)
        self._turn += 1
        self._woken = 0
        self._offer_to_all(candidates, grants)
        if self._index is not None:
            self._index.note(candidates)
            if self._demand and self._asking:
                self._meet_requests(self._index, dict.fromkeys([*candidates, *again]), grants)
            self._demand.woken.clear()  # whoever may not be offered anything is woken again then
        return grants

    def _offer_to_all(self, candidates: list[Agent], grants: list[Grant]) -> None:
        """Offer each agent to whose turn it is, as long as a client without demand may have it."""
        shared = bool(self._demand and self._asking)
        idle = self._agents.idle
        for number, agent in enumerate(candidates):
            if agent.reserved:
                self._offer_by_role(agent, len(candidates) - number, grants)
                continue
            view = agent.view
            if view is None or view.amount is not agent.free:
                if not self._able or agent.refused_before & self._able == self._able:
                    # Nobody may want it. A view is made when somebody may: 1 us.
                    idle[agent] = None
                    continue
                view = self._view_anew(agent)
            if not view.offerable:
                continue
            eligible = self._able & ~view.refused
            if not eligible:
                idle[agent] = None
            elif shared:
                self._share_out(agent, view, len(candidates) - number, grants)
            else:
                grants.append(self._grant(agent, eligible, view))

    def _share_out(self, agent: Agent, view: View, agents: int, grants: list[Grant]) -> None:
        """Offer an agent to clients and requests in turns, till a client takes all that is left.

        `agents`, this one and others, are looked at for requests.
        """
        wanting = asking(self._demand, agent, self._asking)
        while view.offerable and (eligible := self._able & ~view.refused):
            wanting &= self._asking
            client = self._roles.poorest(eligible | wanting)
            if client.mask & eligible:
                grants.append(self._grant(agent, client.mask, view))
                return
            if (chosen := choice(client, agent, agents)) is None:
                wanting &= ~client.mask
                continue
            grants.append(self._grant_cut(agent, *chosen))
            view = self._view_anew(agent)
        if view.offerable:
            self._agents.idle[agent] = None

    def _offer_by_role(self, agent: Agent, agents: int, grants: list[Grant]) -> None:
        """Offer an agent of which some is reserved, in turns: each takes all that it may have.

        That is all that its role may have, but a cut for a client with requests, and then what is
        reserved for its role.
        """
        wanting = asking(self._demand, agent, self._asking)
        while agent.free:
            eligible = 0
            for role in self._roles:
                for able, demand in ((self._able, False), (self._asking, True)):
                    if those := able & role.mask:
                        view = self._view_of_role(agent, role, demand=demand)
                        if view.offerable:
                            eligible |= those & ~view.refused
            if not eligible:
                self._agents.idle_reserved[agent] = None
                return
            wanting &= self._asking
            client = self._roles.poorest(eligible | wanting)
            if not client.mask & wanting:
                view = agent.views[client.role.name, client.demand]
                grants.append(self._grant(agent, client.mask, view))
            elif (chosen := choice(client, agent, agents)) is not None:
                grants.append(self._grant_cut(agent, *chosen))
            else:
                wanting &= ~client.mask
            agent.views.clear()

    def _meet_requests(
        self, index: AgentIndex, changed: Iterable[Agent], grants: list[Grant]
    ) -> None:
        """Offer what is left, which no client without demand may have, to the requests it fits.

        Always to the poorest client that has one. About 6 us for each grant.
        """
        there = [agent for agent in changed if agent.active and agent.free]
        matching = Matching(self._demand, index, there, self._asking)
        while eligible := matching.clients & self._asking:
            client = self._roles.poorest(eligible)
            step = matching.next_step(client)
            if step is None:
                matching.drop(client)
                continue
            want, agent, units = step
            grants.append(self._grant_cut(agent, want, units))
            index.note_one(agent)
        self.compared = matching.compared

    def _grant(self, agent: Agent, eligible: int, view: View) -> Grant:
        """Whose turn it is gets what the view is of."""
        amount = view.amount
        client = self._roles.give(eligible, view.quantities)
        agent.offer(client, amount)
        framework = client.framework
        framework.outstanding = outstanding = framework.outstanding + 1
        if outstanding >= framework.outstanding_max:
            self._reconsider(framework)
        return Grant(client.name, client.role.name, agent.agent_id, amount)

    def _grant_cut(self, agent: Agent, want: Want, units: int) -> Grant:
        """It is the turn of a client with a request: it gets so many units, which are free."""
        client = want.client
        role = client.role
        amount, gift = want.shape.unit.take(available(agent, role), units)
        if agent.reserved:
            amount = part_of(agent.free.available_to(role.name), amount)
            agent.views.clear()
        self._roles.give(client.mask, gift)
        agent.offer(client, amount)
        self._demand.offer(want, agent, units)
        client.framework.outstanding += 1
        if client.framework.outstanding >= client.framework.outstanding_max:
            self._reconsider(client.framework)
        return Grant(client.name, role.name, agent.agent_id, amount, want.request.request_id, units)

    def _view_anew(self, agent: Agent) -> View:
        """Of an agent with nothing reserved. Who refused more of it refuses less of it."""
        agent.view = view = self._view(agent, agent.free, agent.refused_before)
        return view

    def _view(self, agent: Agent, amount: Resources, known: int = 0) -> View:
        of = quantities(amount)
        refused = self._refusals.counting(agent, amount, known)
        return View(amount, of, self._offerable(amount, of), refused)

    def _view_of_role(self, agent: Agent, role: Role, *, demand: bool) -> View:
        view = agent.views.get((role.name, demand))
        if view is None:
            amount = agent.free.available_to(role.name)
            view = self._view(agent, reserved_only(amount) if demand else amount)
            agent.views[role.name, demand] = view
        return view
