"""The calls about agents: what there is, what offers and tasks hold of it, and what is refused."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

from mesoslite.allocator.agents import Agent, LedgerError
from mesoslite.allocator.frameworks import Frameworks
from mesoslite.allocator.roles import Client
from mesoslite.allocator.sorter import quantities
from mesoslite.resources import MixedKinds, Overlap, Resources, total_of
from mesoslite.where import Place

TIMES_MAX = 1_024  # small amounts and how often tasks of one agent hold them
TIMES_KEYS_MAX = 8  # in one of them: each has 320 characters at most, so all take 3 MB at worst


class Holdings(Frameworks):
    """Every amount of every agent: free, offered or held, by whom, and refused until when."""

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
        by_holder: dict[tuple[str, str], list[tuple[Resources, int]]] = {}
        for (framework_id, role, amount), alike in groupby(used):
            count = len(list(alike))
            by_holder.setdefault((framework_id, role), []).append((amount, count))
        for holder, amounts in by_holder.items():
            for part in _together(amounts):
                self._hold(self._client(*holder), agent, part)

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

    def _holder(self, framework_id: str, role: str, agent: Agent) -> Client:
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        if client is None:
            what = "holds nothing anywhere"
            raise LedgerError(agent_id=agent.agent_id, holder=(framework_id, role), what=what)
        return client

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


def _together(amounts: list[tuple[Resources, int]]) -> list[Resources]:
    """Their sum, each so many times, which is held in one go: an agent of many tasks comes back at
    each failover. Tasks that are alike have one amount, which is one object.

    All of them, when they can not be added: two tasks that both hold one port.
    """
    try:
        whole, *more = [_times(*one) for one in amounts]
        if more:
            whole = total_of([whole, *more])
    except (Overlap, MixedKinds):
        return [amount for amount, count in amounts for _ in range(count) if amount]
    return [whole] if whole else []


def _times(amount: Resources, count: int) -> Resources:
    """Raises as ``+`` does."""
    if count == 1:
        return amount
    return (_small_times if len(amount.scalars) <= TIMES_KEYS_MAX else _many_times)(amount, count)


def _many_times(amount: Resources, count: int) -> Resources:
    return total_of([amount] * count)


_small_times = lru_cache(maxsize=TIMES_MAX)(_many_times)
