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
from math import isfinite
from types import MappingProxyType

from mesoslite.allocator.agents import Agent, LedgerError, View
from mesoslite.allocator.cuts import part_of, reserved_only
from mesoslite.allocator.demand import Want
from mesoslite.allocator.index import AgentIndex
from mesoslite.allocator.matching import Matching, asking, available, choice
from mesoslite.allocator.reading import Reading
from mesoslite.allocator.roles import Client, Framework, Role
from mesoslite.allocator.sorter import quantities
from mesoslite.immutable import dataclass
from mesoslite.model import Request
from mesoslite.resources import Resources
from mesoslite.where import Place

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


class Allocator(Reading):
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
    ) -> None:
        if offers_outstanding_max < 1:
            raise ValueError(f"offers_outstanding_max is {offers_outstanding_max}, not at least 1")
        super().__init__({r: _weight(r, w) for r, w in weights.items()}, min_allocatable)
        self._outstanding_max = offers_outstanding_max
        self._turn = 0  # counts the cycles
        #: How many agents the last `allocate` looked at: those that changed, and no others.
        self.looked_at = 0
        #: How many agents it compared requests with.
        self.compared = 0

    # --- the cycle --------------------------------------------------------------------------------

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

    # --- what offers and tasks hold ---------------------------------------------------------------

    def settle(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        offered: Resources,
        used: Resources,
        request_id: str = "",
        units: int = 0,
    ) -> None:
        """An offer was answered, was rescinded or has expired: `used` stays held, the rest is free.

        `request_id` and `units` are those of its grant. What was launched of them is to be told by
        `launched`, before or after.

        Raises LedgerError, and changes nothing, when no such offer is outstanding or `used` is more
        than was offered.
        """
        agent = self._agents.get(agent_id)
        if agent is None:
            return
        client = self._holder(framework_id, role, agent)
        want = client.wants.get(request_id) if units else None
        if units and (want is None or units not in agent.units.get(want, ())):
            what = f"was not offered {units} units of {request_id}"
            raise LedgerError(agent_id=agent_id, holder=(framework_id, role), what=what)
        rest = agent.settle(client, offered, used)
        if rest is offered or rest:
            self._lose(client, rest)
            self._agents.touch(agent)
        if want is not None:
            self._demand.settle(want, agent, units)
        self._settled(client.framework)
        if not client.subscribed:
            self._forget_if_empty(client)

    def release(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        """A task ended: what it held is free. Raises LedgerError when it was not held."""
        agent = self._agents.get(agent_id)
        if agent is None or not resources:
            return
        client = self._holder(framework_id, role, agent)
        agent.give_back(client, resources)
        self._lose(client, resources)
        self._agents.touch(agent)
        self._forget_if_empty(client)

    def charge(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        """A task is there that holds this, also of a framework that is not (yet) known.

        It may be more than is free: see `agents.py`. Nothing is offered twice for it, but an offer
        that is outstanding already is the caller's to rescind.
        """
        agent = self._agents.get(agent_id)
        if agent is not None and resources:
            self._hold(self._client(framework_id, role), agent, resources)
            self._agents.touch(agent)

    def _hold(self, client: Client, agent: Agent, amount: Resources) -> None:
        agent.hold(client, amount)
        self._gain(client, amount)

    def _gain(self, client: Client, amount: Resources) -> None:
        self._roles.gain(client, quantities(amount))

    def _lose(self, client: Client, amount: Resources) -> None:
        self._roles.lose(client, quantities(amount))

    def _settled(self, framework: Framework) -> None:
        framework.outstanding -= 1
        if framework.outstanding == framework.outstanding_max - 1:
            self._reconsider(framework)

    # --- refusals ---------------------------------------------------------------------------------

    def refuse(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        resources: Resources,
        until_ms: int,
        request_id: str = "",
    ) -> None:
        """Do not offer `resources` of this agent, or less of it, to this client before `until_ms`.

        Refusals of several amounts stand side by side, at most `filters.AMOUNTS_MAX` amounts for an
        agent; of one amount the latest deadline counts. A refusal of nothing is none. Named a
        request, it is about that one and this agent, whatever the amount; about one that is not
        there (any more) it is none.
        """
        agent = self._agents.get(agent_id)
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        if agent is None or client is None or not client.subscribed:
            return
        if request_id:
            want = client.wants.get(request_id) if resources else None
            forgotten = want and self._demand.decline(want, agent, until_ms)
            if forgotten:
                self._agents.touch(forgotten)
            return
        client.refused = True
        if self._refusals.refuse(agent, client.mask, resources, until_ms):
            self._refusals_changed(agent)
            self._agents.touch(agent)
            return
        if agent.views:
            agent.views.clear()
        view = agent.view
        if view is not None and (resources is view.amount or resources.covers(view.amount)):
            view.refused |= client.mask

    def next_deadline_ms(self) -> int | None:
        """When the next refusal runs out, so that `allocate` may have something to do; or earlier.

        Never in the past after an `allocate`. Early, and then for nothing, when it was the refusal
        of somebody who left or revived.
        """
        dues = (self._refusals.next_deadline_ms(), self._demand.next_deadline_ms())
        return min((due for due in dues if due is not None), default=None)

    def _refusals_changed(self, agent: Agent) -> None:
        agent.views.clear()
        if agent.view is not None:
            agent.view.refused = self._refusals.counting(agent, agent.view.amount)

    def _forget_refusals(self, client: Client) -> None:
        """O(log n): the bits stay until a sweep, under a slot that is nobody's."""
        for want in list(client.wants.values()):
            self._demand.take_back_declined(want)
        if not client.refused:
            return
        before = client.mask
        self._switch_off(client)
        self._roles.renew_slot(client)
        self._demand.slot_changed(client, before)
        self._reconsider(client.framework)
        self._sweep_if_due()

    def _sweep_if_due(self) -> None:
        if self._roles.must_sweep():
            for agent in self._refusals.sweep(self._roles.take_retired()):
                self._refusals_changed(agent)

    # --- agents -----------------------------------------------------------------------------------

    def add_agent(
        self,
        agent_id: str,
        total: Resources,
        used: Iterable[tuple[str, str, Resources]] = (),
        place: Place = Place(),  # noqa: B008 - frozen
    ) -> None:
        """An agent has come, with tasks that hold `used`: (framework, role, amount) of each.

        The frameworks need not be known: they are charged all the same. An agent that is here
        already is removed first.
        """
        self.remove_agent(agent_id)
        agent = self._agents.add(agent_id, total, place)
        for framework_id, role, amount in used:
            if amount:
                self._hold(self._client(framework_id, role), agent, amount)

    def remove_agent(self, agent_id: str) -> None:
        """The agent has gone. What is held of it vanishes, and its offers are settled with it."""
        agent = self._agents.get(agent_id)
        if agent is None:
            return
        self._refusals.forget(agent)
        self._demand.forget_agent(agent)
        self._agents.remove(agent)
        if self._index is not None:
            self._index.discard(agent)
        for client, amount in agent.claims():
            self._lose(client, amount)
        for offer in agent.offers:
            offer.client.claims -= 1
            self._settled(offer.client.framework)
        for client in agent.held:
            client.claims -= 1
        for client in {client: None for client, _amount in agent.claims()}:
            self._forget_if_empty(client)

    def set_total(self, agent_id: str, total: Resources) -> None:
        """The agent has this much from now on; what is held and refused of it stays."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            self._agents.set_total(agent, total)
            if self._index is not None:
                self._index.note_one(agent)  # one that is off counts for what is possible, too

    def activate_agent(self, agent_id: str) -> None:
        """Offer what is free of the agent, from now on."""
        agent = self._agents.get(agent_id)
        if agent is not None and not agent.active:
            self._agents.set_active(agent, active=True)

    def deactivate_agent(self, agent_id: str) -> None:
        """Offer nothing of the agent until it is activated; it keeps what is held and refused."""
        agent = self._agents.get(agent_id)
        if agent is not None and agent.active:
            self._agents.set_active(agent, active=False)
            if self._index is not None:
                self._index.note_one(agent)

    # --- frameworks -------------------------------------------------------------------------------

    def add_framework(
        self, framework_id: str, roles: Iterable[str], suppressed_roles: Iterable[str] = ()
    ) -> None:
        """A framework has come, active; or one that is here has other roles, and stays as it is.

        A role that was suppressed and is not any more forgets its refusals, as in Mesos; a role
        that is left does too, and keeps what its tasks hold until they end.
        """
        framework = self._framework(framework_id)
        if not framework.known:
            framework.known = framework.active = True
            framework.outstanding_max = self._outstanding_max
        wanted, suppressed = dict.fromkeys(roles), set(suppressed_roles)
        for role in wanted:
            client = self._client(framework_id, role)
            client.subscribed = True
            if client.suppressed and role not in suppressed:
                self._forget_refusals(client)
            client.suppressed = role in suppressed
        for role, client in list(framework.clients.items()):
            if role not in wanted:
                self._unsubscribe(client)
        self._reconsider(framework)
        self._forget_if_unused(framework)

    def remove_framework(self, framework_id: str) -> None:
        """The framework has gone; what its tasks and offers hold is charged until it is returned.

        If it comes back before that, it holds it again.
        """
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return
        framework.known = framework.active = False
        self._reconsider(framework)
        for client in list(framework.clients.values()):
            self._unsubscribe(client)
        self._forget_if_unused(framework)

    def activate_framework(self, framework_id: str) -> None:
        """Offer to the framework, from now on."""
        self._set_active(framework_id, active=True)

    def deactivate_framework(self, framework_id: str) -> None:
        """Offer nothing to the framework until it is activated; it keeps everything it has."""
        self._set_active(framework_id, active=False)

    def suppress(self, framework_id: str, roles: Iterable[str] = ()) -> None:
        """Offer nothing to the framework in these roles (none named: in all) until it revives."""
        for client in self._subscribed(framework_id, roles):
            client.suppressed = True
            self._reconsider(client.framework)

    def revive(self, framework_id: str, roles: Iterable[str] = ()) -> None:
        """Forget what the framework refused in these roles (none named: in all), and offer again.

        O(1), plus one look at each agent that has something left, at the next `allocate`.
        """
        for client in self._subscribed(framework_id, roles):
            client.suppressed = False
            self._forget_refusals(client)
            self._reconsider(client.framework)

    def set_outstanding_max(self, framework_id: str, offers: int | None) -> None:
        """Let the framework, if it is here, have fewer unsettled offers than all others may have.

        At least one; None, or more than the common bound: as all others. Offers beyond it stand.
        It holds until the framework is removed.
        """
        framework = self._frameworks.get(framework_id)
        if framework is not None:
            most = self._outstanding_max
            framework.outstanding_max = most if offers is None else max(1, min(offers, most))
            self._reconsider(framework)

    def set_weight(self, role: str, weight: int | float | Fraction) -> None:
        """Weigh the role from now on: at weight 2 it gets twice the share. Positive, kept exactly.

        Raises ValueError for what is not positive. What is held already stays where it is.
        """
        self._roles.set_weight(role, _weight(role, weight))

    # --- demand -----------------------------------------------------------------------------------

    def set_demand(self, framework_id: str, role: str, on: bool) -> None:
        """Whether the framework is offered only what it requests, and what is reserved for it.

        If not any more, its requests are withdrawn.
        """
        for client in self._subscribed(framework_id, [role]):
            if not on:
                self._withdraw_all(client)
            client.demand = on
            self._reconsider(client.framework)

    def request(self, framework_id: str, request: Request) -> None:
        """The framework wants this, instead of what it wanted under the same id; see `set_demand`.

        The count is absolute. Whoever asks for more, or for something else, is offered again what
        it declined. The unit names no roles and has some cpus or mem; where it does not parse,
        InvalidWhere is raised. About 5 us, and a walk through the index at the next `allocate`; the
        first of all makes the index, 20-40 ms at 10,000 agents.
        """
        for client in self._subscribed(framework_id, [request.role]):
            self._whole_index()
            for role in client.framework.clients:
                if role != request.role:
                    self.withdraw(framework_id, role, request.request_id)
            self._demand.request(client, request)
            client.demand = True
            self._reconsider(client.framework)

    def withdraw(self, framework_id: str, role: str, request_id: str) -> None:
        """Nothing more is wanted under this id; what is offered for it is still offered."""
        want = self._want(framework_id, role, request_id)
        if want is not None:
            self._demand.withdraw(want)

    def launched(self, framework_id: str, role: str, request_id: str, units: int) -> None:
        """So many units of the request have become tasks, and are not wanted any more."""
        want = self._want(framework_id, role, request_id)
        if want is not None:
            self._demand.launched(want, units)

    def _want(self, framework_id: str, role: str, request_id: str) -> Want | None:
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        return client.wants.get(request_id) if client is not None else None

    def _withdraw_all(self, client: Client) -> None:
        for want in list(client.wants.values()):
            self._demand.withdraw(want)

    # --- frameworks, within -----------------------------------------------------------------------

    def _set_active(self, framework_id: str, *, active: bool) -> None:
        framework = self._frameworks.get(framework_id)
        if framework is not None and framework.known:
            framework.active = active
            self._reconsider(framework)

    def _reconsider(self, framework: Framework) -> None:
        """Its clients may be able now, or not any more: whoever is new is woken."""
        for client in framework.clients.values():
            mask = client.mask
            if not client.able():
                if (self._able | self._asking) & mask:
                    self._switch_off(client)
            elif client.demand:
                if not self._asking & mask:
                    self._switch_off(client)
                    self._asking |= mask
                    self._woken |= mask
                    self._demand.wake(client)
            elif not self._able & mask:
                self._switch_off(client)
                self._able |= mask
                self._woken |= mask

    def _switch_off(self, client: Client) -> None:
        others = ~client.mask
        self._able &= others
        self._asking &= others
        self._woken &= others

    def _subscribed(self, framework_id: str, roles: Iterable[str]) -> list[Client]:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return []
        named = dict.fromkeys(roles) or framework.clients
        clients = [framework.clients[role] for role in named if role in framework.clients]
        return [client for client in clients if client.subscribed]

    def _unsubscribe(self, client: Client) -> None:
        client.subscribed = client.suppressed = False
        self._withdraw_all(client)
        client.demand = False
        self._forget_refusals(client)
        self._forget_if_empty(client)

    def _framework(self, framework_id: str) -> Framework:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            framework = Framework(framework_id, self._outstanding_max)
            self._frameworks[framework_id] = framework
        return framework

    def _client(self, framework_id: str, role: str) -> Client:
        framework = self._framework(framework_id)
        client = framework.clients.get(role)
        return client if client is not None else self._roles.add_client(framework, role)

    def _holder(self, framework_id: str, role: str, agent: Agent) -> Client:
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        if client is None:
            what = "holds nothing anywhere"
            raise LedgerError(agent_id=agent.agent_id, holder=(framework_id, role), what=what)
        return client

    def _forget_if_empty(self, client: Client) -> None:
        if not client.subscribed and not client.claims:
            self._switch_off(client)
            self._roles.remove_client(client)
            self._sweep_if_due()
            self._forget_if_unused(client.framework)

    def _forget_if_unused(self, framework: Framework) -> None:
        if not framework.known and not framework.clients:
            self._frameworks.pop(framework.framework_id, None)


def _weight(role: str, weight: int | float | Fraction) -> Fraction:
    """Exactly the decimal that was written: 0.1 is a tenth. Raises ValueError if not positive."""
    if isinstance(weight, float) and not isfinite(weight):
        raise ValueError(f"the weight of role {role} is {weight}, not a number")
    exact = Fraction(str(weight)) if isinstance(weight, float) else Fraction(weight)
    if exact <= 0:
        raise ValueError(f"the weight of role {role} is {weight}, not above 0")
    return exact
