"""The calls about frameworks: who may be offered something, and what they request."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import isfinite

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.demand import Want
from mesoslite.allocator.index import Tuning
from mesoslite.allocator.reading import Reading
from mesoslite.allocator.roles import Client, Framework
from mesoslite.model import Request
from mesoslite.resources import Resources


class Frameworks(Reading):
    """Who is there, what they want, and so who is able, asking and woken."""

    def __init__(
        self,
        weights: Mapping[str, int | float | Fraction],
        min_allocatable: Iterable[Resources],
        offers_outstanding_max: int,
        tuning: Tuning,
    ) -> None:
        if offers_outstanding_max < 1:
            raise ValueError(f"offers_outstanding_max is {offers_outstanding_max}, not at least 1")
        super().__init__({r: _weight(r, w) for r, w in weights.items()}, min_allocatable, tuning)
        self._outstanding_max = offers_outstanding_max

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

    # --- within -----------------------------------------------------------------------------------

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

    def _forget_if_empty(self, client: Client) -> None:
        if not client.subscribed and not client.claims:
            self._switch_off(client)
            self._roles.remove_client(client)
            self._sweep_if_due()
            self._forget_if_unused(client.framework)

    def _forget_if_unused(self, framework: Framework) -> None:
        if not framework.known and not framework.clients:
            self._frameworks.pop(framework.framework_id, None)

    def _settled(self, framework: Framework) -> None:
        framework.outstanding -= 1
        if framework.outstanding == framework.outstanding_max - 1:
            self._reconsider(framework)

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

    def _refusals_changed(self, agent: Agent) -> None:
        agent.views.clear()
        if agent.view is not None:
            agent.view.refused = self._refusals.counting(agent, agent.view.amount)


def _weight(role: str, weight: int | float | Fraction) -> Fraction:
    """Exactly the decimal that was written: 0.1 is a tenth. Raises ValueError if not positive."""
    if isinstance(weight, float) and not isfinite(weight):
        raise ValueError(f"the weight of role {role} is {weight}, not a number")
    exact = Fraction(str(weight)) if isinstance(weight, float) else Fraction(weight)
    if exact <= 0:
        raise ValueError(f"the weight of role {role} is {weight}, not above 0")
    return exact
