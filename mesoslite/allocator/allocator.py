"""The allocator: offers every free amount, as soon as it is free, to whose turn it is.

Dominant Resource Fairness over roles, then over the frameworks of a role (sorter.py). What is free
of an agent goes whole to one framework in one of its roles, as in Mesos; then the shares move, and
the next agent goes to the next. What is offered counts as held until it is settled.

A cycle touches what changed and nothing else: agents whose free resources changed, agents of which
a refusal ran out, and for somebody who has come (back) the agents that have something left. At
rest, that is when `allocate` has returned, nobody may be offered anything that is still free
(docs/decisions.md D11); tests/properties/test_allocator.py proves it against a recomputation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from types import MappingProxyType

from mesoslite.allocator.agents import Agent, Agents, LedgerError, View
from mesoslite.allocator.explain import explain_client
from mesoslite.allocator.filters import Refusals
from mesoslite.allocator.roles import Client, Framework, Role, Roles
from mesoslite.allocator.sorter import Competitor, Holding, Quantities, quantities
from mesoslite.explanation import Explained
from mesoslite.resources import Resources

MIN_ALLOCATABLE = (Resources(cpus="0.01"), Resources(mem=32))  # Mesos: MIN_CPUS, MIN_MEM
OFFERS_OUTSTANDING_MAX = 10_000  # for each framework, about 400 B each; beyond it that one waits

_NOTHING = Resources.EMPTY


@dataclass(slots=True)
class Grant:
    """What a framework, in one of its roles, is to be offered of one agent."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


class Allocator:
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
        self._min_allocatable = [quantities(amount) for amount in min_allocatable]
        self._outstanding_max = offers_outstanding_max
        self._agents = Agents()
        self._roles = Roles(self._agents.total, {r: _weight(r, w) for r, w in weights.items()})
        self._refusals = Refusals()
        self._frameworks: dict[str, Framework] = {}
        self._able = 0  # the clients that may be offered something now
        self._woken = 0  # those of them for whom idle agents have not been looked at
        self._turn = 0  # counts the cycles
        #: How many agents the last `allocate` looked at: those that changed, and no others.
        self.looked_at = 0

    # --- the cycle --------------------------------------------------------------------------------

    def allocate(self, now_ms: int) -> list[Grant]:
        """Grant everything that somebody may be offered now. Nothing changed: nothing done.

        About 4 us for each grant (benchmarks: allocator-decline). What is granted is held by the
        framework and outstanding until `settle`.
        """
        for agent in self._refusals.expire(now_ms):
            self._refusals_changed(agent)
            self._agents.touch(agent)
        if not self._agents.changed and not self._woken:
            self.looked_at = 0
            return []
        grants: list[Grant] = []
        candidates = self._agents.take_candidates(self._woken, self._turn)
        self.looked_at = len(candidates)
        self._turn += 1
        self._woken = 0
        idle = self._agents.idle
        for agent in candidates:
            if agent.reserved:
                self._offer_by_role(agent, grants)
                continue
            view = agent.view
            if view is None or view.amount is not agent.free:
                view = agent.view = self._view(agent, agent.free)
            if not view.offerable:
                continue
            eligible = self._able & ~view.refused
            if eligible:
                grants.append(self._grant(agent, self._roles.first(eligible), eligible, view))
            else:
                idle[agent] = None
        return grants

    def _offer_by_role(self, agent: Agent, grants: list[Grant]) -> None:
        """Offer an agent of which some is reserved: each turn takes all that its role may have."""
        while agent.free:
            eligible = 0
            for role in self._roles:
                able = self._able & role.mask
                if able:
                    view = self._view_of_role(agent, role)
                    if view.offerable:
                        eligible |= able & ~view.refused
            if not eligible:
                self._agents.idle[agent] = None
                return
            role = self._roles.first(eligible)
            grants.append(self._grant(agent, role, eligible, agent.views[role.name]))
            agent.views.clear()

    def _grant(self, agent: Agent, role: Role, eligible: int, view: View) -> Grant:
        """It is `role`'s turn: one of its eligible clients gets what the view is of."""
        amount = view.amount
        client = self._roles.give(role, eligible, view.quantities)
        agent.offer(client, amount)
        framework = client.framework
        framework.outstanding += 1
        if framework.outstanding == framework.outstanding_max:
            self._reconsider(framework)
        return Grant(client.name, role.name, agent.agent_id, amount)

    def _view(self, agent: Agent, amount: Resources) -> View:
        of = quantities(amount)
        return View(amount, of, self._offerable(amount, of), self._refusals.counting(agent, amount))

    def _view_of_role(self, agent: Agent, role: Role) -> View:
        view = agent.views.get(role.name)
        if view is None:
            view = agent.views[role.name] = self._view(agent, agent.free.available_to(role.name))
        return view

    def _offerable(self, amount: Resources, of: Quantities) -> bool:
        if not self._min_allocatable:
            return bool(amount)
        cpus, mem, disk, gpus, other = of
        for least_cpus, least_mem, least_disk, least_gpus, least_other in self._min_allocatable:
            if (
                cpus >= least_cpus
                and mem >= least_mem
                and disk >= least_disk
                and gpus >= least_gpus
                and (not least_other or _covers(dict(other), least_other))
            ):
                return True
        return False

    # --- what offers and tasks hold ---------------------------------------------------------------

    def settle(
        self, framework_id: str, role: str, agent_id: str, offered: Resources, used: Resources
    ) -> None:
        """An offer was answered, was rescinded or has expired: `used` stays held, the rest is free.

        Raises LedgerError, and changes nothing, when no such offer is outstanding or `used` is more
        than was offered.
        """
        agent = self._agents.get(agent_id)
        if agent is None:
            return
        client = self._holder(framework_id, role, agent)
        agent.settle(client, offered, used)
        if used != offered:
            self._lose(client, agent, offered)
            if used:
                self._gain(client, used)
            self._agents.touch(agent)
        self._settled(client.framework)
        self._forget_if_empty(client)

    def release(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        """A task ended: what it held is free. Raises LedgerError when it was not held."""
        agent = self._agents.get(agent_id)
        if agent is None or not resources:
            return
        client = self._holder(framework_id, role, agent)
        agent.give_back(client, resources)
        self._lose(client, agent, resources)
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

    def _lose(self, client: Client, agent: Agent, amount: Resources) -> None:
        view = agent.view
        same = view is not None and view.amount is amount
        of = view.quantities if view is not None and same else quantities(amount)
        self._roles.lose(client, of)

    def _settled(self, framework: Framework) -> None:
        framework.outstanding -= 1
        if framework.outstanding == framework.outstanding_max - 1:
            self._reconsider(framework)

    # --- refusals ---------------------------------------------------------------------------------

    def refuse(
        self, framework_id: str, role: str, agent_id: str, resources: Resources, until_ms: int
    ) -> None:
        """Do not offer `resources` of this agent, or less of it, to this client before `until_ms`.

        Refusals of several amounts stand side by side, at most `filters.AMOUNTS_MAX` amounts for an
        agent; of one amount the latest deadline counts. A refusal of nothing is none.
        """
        agent = self._agents.get(agent_id)
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        if agent is None or client is None or not client.subscribed or not resources:
            return
        client.refused = True
        if self._refusals.refuse(agent, client.mask, resources, until_ms):
            self._refusals_changed(agent)
            self._agents.touch(agent)
            return
        agent.views.clear()
        view = agent.view
        if view is not None and (resources is view.amount or resources.covers(view.amount)):
            view.refused |= client.mask

    def next_deadline_ms(self) -> int | None:
        """When the next refusal runs out, so that `allocate` may have something to do; or earlier.

        Never in the past after an `allocate`. Early, and then for nothing, when it was the refusal
        of somebody who left or revived.
        """
        return self._refusals.next_deadline_ms()

    def _refusals_changed(self, agent: Agent) -> None:
        agent.views.clear()
        if agent.view is not None:
            agent.view.refused = self._refusals.counting(agent, agent.view.amount)

    def _forget_refusals(self, client: Client) -> None:
        """O(log n): the bits stay until a sweep, under a slot that is nobody's."""
        if not client.refused:
            return
        self._able &= ~client.mask
        self._woken &= ~client.mask
        self._roles.renew_slot(client)
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
    ) -> None:
        """An agent has come, with tasks that hold `used`: (framework, role, amount) of each.

        The frameworks need not be known: they are charged all the same. An agent that is here
        already is removed first.
        """
        self.remove_agent(agent_id)
        agent = self._agents.add(agent_id, total)
        for framework_id, role, amount in used:
            if amount:
                self._hold(self._client(framework_id, role), agent, amount)

    def remove_agent(self, agent_id: str) -> None:
        """The agent has gone. What is held of it vanishes, and its offers are settled with it."""
        agent = self._agents.get(agent_id)
        if agent is None:
            return
        self._refusals.forget(agent)
        self._agents.remove(agent)
        for client, amount in agent.claims():
            self._lose(client, agent, amount)
        for client, _amount in agent.offers:
            client.claims -= 1
            self._settled(client.framework)
        for client in agent.held:
            client.claims -= 1
        for client in {client: None for client, _amount in agent.claims()}:
            self._forget_if_empty(client)

    def set_total(self, agent_id: str, total: Resources) -> None:
        """The agent has this much from now on; what is held and refused of it stays."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            self._agents.set_total(agent, total)

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

    # --- reading ----------------------------------------------------------------------------------

    def free(self, agent_id: str) -> Resources:
        """What nobody holds of the agent: neither offered nor used. Nothing if it is not here."""
        agent = self._agents.get(agent_id)
        return agent.free if agent is not None else _NOTHING

    def charges(self, agent_id: str) -> dict[tuple[str, str], list[Resources]]:
        """What is held of the agent, by (framework, role); several amounts if they overlap."""
        agent = self._agents.get(agent_id)
        if agent is None:
            return {}
        charges: dict[tuple[str, str], list[Resources]] = {}
        for client, amount in agent.claims():
            charges.setdefault((client.name, client.role.name), []).append(amount)
        return charges

    def total(self) -> dict[str, int]:
        """Thousandths of each scalar in the cluster, by name."""
        return self._agents.total.by_name()

    def held(self, framework_id: str) -> dict[str, int]:
        """Thousandths of each scalar that the framework's offers and tasks hold, by name."""
        framework = self._frameworks.get(framework_id)
        held = Holding()
        for client in framework.clients.values() if framework is not None else ():
            held.add(client)
        return held.by_name()

    def held_by_role(self, role: str) -> dict[str, int]:
        """Thousandths of each scalar that is held in the role, by name."""
        found = self._roles.get(role)
        return found.by_name() if found is not None else {}

    def share(self, framework_id: str, role: str) -> float:
        """The framework's dominant share in the role, from 0 to 1 (more if the cluster shrank)."""
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        return client.share(self._agents.total) if client is not None else 0.0

    def share_of_role(self, role: str) -> float:
        """The role's dominant share, divided by its weight: what roles are ordered by."""
        found = self._roles.get(role)
        return found.share(self._agents.total) if found is not None else 0.0

    def outstanding(self, framework_id: str) -> int:
        """How many offers of the framework are not settled."""
        framework = self._frameworks.get(framework_id)
        return framework.outstanding if framework is not None else 0

    def explain(self, framework_id: str) -> tuple[Explained, ...]:
        """What keeps the framework from being offered more, for each of its roles.

        True of the moment after an `allocate`. O(agents) for each role.
        """
        framework = self._frameworks.get(framework_id)
        clients = framework.clients.values() if framework is not None else ()
        return tuple(
            explain_client(
                client,
                self._agents,
                self._refusals,
                lambda amount: self._offerable(amount, quantities(amount)),
            )
            for client in clients
            if client.subscribed
        )

    def check(self) -> None:
        """Assert every invariant of every structure. Tests call it after each event."""
        self._agents.check()
        self._roles.check()
        self._refusals.check(self._agents)
        clients = [c for framework in self._frameworks.values() for c in framework.clients.values()]
        self._check_ledgers(clients)
        able = [client for client in clients if client.able()]
        assert self._able == sum(client.mask for client in able)
        assert self._woken & ~self._able == 0
        for framework in self._frameworks.values():
            assert framework.known or framework.clients
            assert framework.known or not framework.active
        for client in clients:
            assert client.subscribed or client.claims
        for agent in self._agents:
            self._check_views(agent)

    def _check_ledgers(self, clients: list[Client]) -> None:
        """The same holdings by agent, by client and by role."""
        held: dict[Competitor, Holding] = {}
        claims: Counter[Client] = Counter()
        outstanding: Counter[Framework] = Counter()
        for agent in self._agents:
            claims.update(agent.held.keys())
            for client, amount in agent.claims():
                held.setdefault(client, Holding()).gain(quantities(amount))
                held.setdefault(client.role, Holding()).gain(quantities(amount))
            for client, _amount in agent.offers:
                claims[client] += 1
                outstanding[client.framework] += 1
        assert set(claims) <= set(clients)
        for client in clients:
            assert client.claims == claims[client]
            assert client.by_name() == held.get(client, Holding()).by_name()
        for role in self._roles:
            assert self.held_by_role(role.name) == held.get(role, Holding()).by_name()
        for framework in self._frameworks.values():
            assert framework.outstanding == outstanding[framework]

    def _check_views(self, agent: Agent) -> None:
        """What is remembered of an agent is true, and nobody new wants it if it is idle."""
        for view in (agent.view, *agent.views.values()):
            if view is not None:
                of = quantities(view.amount)
                assert view.quantities == of
                assert view.offerable == self._offerable(view.amount, of)
                assert view.refused == self._refusals.counting(agent, view.amount)
        for name, view in agent.views.items():
            assert view.amount == agent.free.available_to(name)
        if agent in self._agents.idle and agent.view is not None:
            assert agent.view.amount is agent.free
            assert agent.view.offerable
            assert self._able & ~self._woken & ~agent.view.refused == 0

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
                self._able &= ~mask
                self._woken &= ~mask
            elif not self._able & mask:
                self._able |= mask
                self._woken |= mask

    def _subscribed(self, framework_id: str, roles: Iterable[str]) -> list[Client]:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return []
        named = dict.fromkeys(roles) or framework.clients
        clients = [framework.clients[role] for role in named if role in framework.clients]
        return [client for client in clients if client.subscribed]

    def _unsubscribe(self, client: Client) -> None:
        client.subscribed = client.suppressed = False
        self._forget_refusals(client)
        self._forget_if_empty(client)

    def _framework(self, framework_id: str) -> Framework:
        framework = self._frameworks.get(framework_id)
        if framework is None:
            framework = self._frameworks[framework_id] = Framework(
                framework_id, self._outstanding_max
            )
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
            self._able &= ~client.mask
            self._woken &= ~client.mask
            self._roles.remove_client(client)
            self._sweep_if_due()
            self._forget_if_unused(client.framework)

    def _forget_if_unused(self, framework: Framework) -> None:
        if not framework.known and not framework.clients:
            self._frameworks.pop(framework.framework_id, None)


def _covers(have: Mapping[str, int], need: Iterable[tuple[str, int]]) -> bool:
    return all(have.get(name, 0) >= least for name, least in need)


def _weight(role: str, weight: int | float | Fraction) -> Fraction:
    """Exactly the decimal that was written: 0.1 is a tenth. Raises ValueError if not positive."""
    if isinstance(weight, float) and not isfinite(weight):
        raise ValueError(f"the weight of role {role} is {weight}, not a number")
    exact = Fraction(str(weight)) if isinstance(weight, float) else Fraction(weight)
    if exact <= 0:
        raise ValueError(f"the weight of role {role} is {weight}, not above 0")
    return exact
