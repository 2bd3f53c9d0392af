"""Agents: what each has, who holds what of it, and which are worth looking at.

An agent's ledger is exact: total = free + what tasks hold + what is offered, in every port and
every thousandth. Where more is held than there is (a total shrank, or a task became known late),
what is over counts as held, and nothing of it is free until enough was given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mesoslite.allocator.filters import Bucket
from mesoslite.allocator.roles import Client
from mesoslite.allocator.sorter import ClusterTotal, Quantities, quantities
from mesoslite.immutable import dataclass
from mesoslite.reserved import has_reserved
from mesoslite.resources import MixedKinds, Overlap, Resources, Shortfall
from mesoslite.where import Place

if TYPE_CHECKING:
    from mesoslite.allocator.demand import Want

_NOTHING = Resources.EMPTY

VERDICTS_MAX = 100  # expressions whose verdict an agent, or a kind, remembers; then it starts anew
_VERDICTS_OF_FEW = 1_000  # of each kind, as long as there are no more kinds than this


class LedgerError(Exception):
    """More was given back than is held: an accounting bug of the caller."""

    def __init__(self, *, agent_id: str, holder: tuple[str, str], what: str) -> None:
        framework_id, role = holder
        super().__init__(f"{framework_id} in role {role} on {agent_id}: {what}")
        self.agent_id, self.framework_id, self.role = agent_id, framework_id, role


class View:
    """What an agent's free resources are to those who may be offered one amount of them.

    Made when the amount changed and kept while it is the same: an offer that comes back unused
    finds it as it was.
    """

    __slots__ = ("amount", "offerable", "quantities", "refused")

    def __init__(self, amount: Resources, of: Quantities, offerable: bool, refused: int) -> None:
        self.amount = amount
        self.quantities = of
        #: Whether it is as much as an offer must be.
        self.offerable = offerable
        #: The clients whose refusals cover the amount.
        self.refused = refused


class Kind:
    """What agents that differ in their hostnames only have in common: an expression that does not
    speak of hostnames is true of all of them or of none. It goes with the last of them."""

    __slots__ = ("__weakref__", "place", "verdicts", "verdicts_max")

    def __init__(self, place: Place, verdicts_max: int) -> None:
        #: Theirs, without a hostname.
        self.place = place
        #: Owned by `Demand`: whether it is where an expression says, by its text.
        self.verdicts: dict[str, bool] = {}
        self.verdicts_max = verdicts_max


@dataclass(frozen=True, slots=True)
class Offered:
    """An offer that is not settled."""

    client: Client
    amount: Resources


class Agent:
    """One agent and its ledger. Changes are made through `Agents`."""

    __slots__ = (
        "active",
        "agent_id",
        "declined",
        "excess",
        "free",
        "held",
        "kind",
        "offers",
        "over",
        "place",
        "refusals",
        "refused_cpus",
        "reserved",
        "total",
        "units",
        "verdicts",
        "view",
        "views",
    )

    def __init__(self, agent_id: str, total: Resources, place: Place, kind: Kind) -> None:
        self.agent_id = agent_id
        self.place = place
        self.kind = kind
        self.active = True
        self.total = total
        self.free = total
        #: Whether some of it may be offered to some roles only: then each role has its own view.
        self.reserved = has_reserved(total)
        #: What each client's tasks hold; never an empty amount.
        self.held: dict[Client, Resources] = {}
        #: What a client holds and could not be added up: one port twice. Only of clients in `held`.
        self.excess: dict[Client, list[Resources]] = {}
        #: The offers that are not settled. A list: an entry comes and goes for half of what a dict
        #: takes, which makes its table anew every third time; there are few.
        self.offers: list[Offered] = []
        #: More is held than there is: `free` is counted anew whenever something changes.
        self.over = False
        #: Owned by `Refusals`.
        self.refusals: dict[Resources, Bucket] = {}
        #: The most cpus in any of these amounts; -1: there are none.
        self.refused_cpus = -1
        #: Of what all may be offered, or of more than that: of what it was before it became less.
        #: Only where nothing is reserved.
        self.view: View | None = None
        #: By role, where something is reserved, and whether a client of it wants everything or
        #: only what is reserved; emptied whenever one of them could be wrong.
        self.views: dict[tuple[str, bool], View] = {}
        #: Owned by `Demand`: how many units of a request each outstanding offer of it holds,
        self.units: dict[Want, list[int]] = {}
        #: the requests that it is not offered for now,
        self.declined: dict[Want, None] = {}
        #: and whether it is where an expression with hostnames says, by its text.
        self.verdicts: dict[str, bool] = {}

    @property
    def refused_before(self) -> int:
        """The clients that are known to refuse what is free: who refused more refuses less."""
        return 0 if self.view is None else self.view.refused

    def hold(self, client: Client, amount: Resources) -> None:
        """`client` has a task that holds this as well, whether or not so much is free."""
        self._add_held(client, amount)
        if self.over:
            self.count_anew()
            return
        try:
            self.free -= amount
        except Shortfall:
            self.count_anew()

    def offer(self, client: Client, amount: Resources) -> None:
        """`client` is offered this, which is free: all of it, or what its role may have."""
        self.offers.append(Offered(client, amount))
        client.claims += 1
        self.free = _NOTHING if amount is self.free else self.free - amount

    def settle(self, client: Client, offered: Resources, used: Resources) -> Resources:
        """Of an offer `used` is held by tasks from now on; the rest is free, and returned.

        Raises LedgerError when there is no such offer, or less in it; nothing has changed.
        """
        for offer in self.offers:
            if offer.client is client and (offer.amount is offered or offer.amount == offered):
                break
        else:
            raise self._error(client, f"has no outstanding offer of {offered}")
        try:
            rest = offered - used if used is not _NOTHING else offered
        except Shortfall:
            raise self._error(client, f"uses {used} of {offered}") from None
        self.offers.remove(offer)
        client.claims -= 1
        if rest is not offered and used:
            self._add_held(client, used)
            if not rest:
                return rest
        if self.over:
            self.count_anew()
        else:
            self.free = free = rest if self.free is _NOTHING else self.free + rest
            view = self.view
            if view is not None and view.amount is not free:
                self.view = None
        return rest

    def give_back(self, client: Client, amount: Resources) -> None:
        """A task of `client` holds this no more. Raises LedgerError when none did; nothing has
        changed.
        """
        held = self.held.get(client, _NOTHING)
        excess = self.excess.get(client, [])
        if amount in excess:
            excess.remove(amount)
        elif held == amount:
            del self.held[client]
            if excess:
                self.held[client] = excess.pop()
            else:
                client.claims -= 1
        elif held.covers(amount):
            self.held[client] = held - amount
        else:
            raise self._error(client, f"gives back {amount}, holds {held or 'nothing'}")
        if client in self.excess and not excess:
            del self.excess[client]
        if self.over:
            self.count_anew()
        else:
            self.free = self.free + amount
            self.view = None

    def _add_held(self, client: Client, amount: Resources) -> None:
        before = self.held.get(client)
        if before is None:
            self.held[client] = amount
            client.claims += 1
            return
        try:
            self.held[client] = before + amount
        except (Overlap, MixedKinds):
            self.excess.setdefault(client, []).append(amount)

    def _error(self, client: Client, what: str) -> LedgerError:
        holder = (client.name, client.role.name)
        return LedgerError(agent_id=self.agent_id, holder=holder, what=what)

    def count_anew(self) -> None:
        """Find out from the ledger what is free: of each key what is left, never less than none."""
        free, self.over = self.total, False
        for _client, amount in self.claims():
            self.over = self.over or not free.covers(amount)
            free = amount.missing(free)
        self.free = free
        self.view = None

    def claims(self) -> Iterator[tuple[Client, Resources]]:
        """Everything that is held or offered, in parts, and by whom."""
        yield from self.held.items()
        for client, amounts in self.excess.items():
            for amount in amounts:
                yield client, amount
        for offer in self.offers:
            yield offer.client, offer.amount

    def amounts_of_tasks(self) -> Iterator[Resources]:
        """Everything that tasks hold, in parts."""
        yield from self.held.values()
        for amounts in self.excess.values():
            yield from amounts

    def check(self) -> None:
        """Assert every invariant; for tests."""
        free, over, view = self.free, self.over, self.view
        self.count_anew()
        assert (self.free, self.over) == (free, over), f"{self.agent_id}: {free}, {over}"
        self.free, self.view = free, view
        assert view is None or view.amount.covers(free)
        assert all(self.held.values())
        assert all(self.excess.values())
        assert set(self.excess) <= set(self.held)
        assert all(offer.amount for offer in self.offers)
        assert self.reserved == has_reserved(self.total)
        assert self.view is None if self.reserved else not self.views


class Agents:
    """All agents; those whose free resources changed, and those with something that nobody wants.

    Every agent is one of: changed (to be looked at), idle (looked at: it has something, which
    everybody who may have it refuses), or neither (off, or it has nothing to offer).
    """

    def __init__(self) -> None:
        self.total = ClusterTotal()
        #: To be looked at, in the order in which they changed.
        self.changed: dict[Agent, None] = {}
        #: Only somebody new, or a refusal's end, makes these worth looking at.
        self.idle: dict[Agent, None] = {}
        #: As `idle`; those of which something is reserved.
        self.idle_reserved: dict[Agent, None] = {}
        self._by_id: dict[str, Agent] = {}
        self._kinds: WeakValueDictionary[Place, Kind] = WeakValueDictionary()
        #: The agent with an id, or None when it is not here (any more).
        self.get: Callable[[str], Agent | None] = self._by_id.get

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, agent_id: str, total: Resources, place: Place) -> Agent:
        """A new agent, all of it free."""
        agent = self._by_id[agent_id] = Agent(agent_id, total, place, self._kind_of(place))
        self.total.change(more=quantities(total), less=_NO_QUANTITIES)
        self.changed[agent] = None
        return agent

    def remove(self, agent: Agent) -> None:
        """The agent is gone. Who holds something of it is the caller's to put right, before."""
        del self._by_id[agent.agent_id]
        self.changed.pop(agent, None)
        self.rest(agent, False)
        self.total.change(more=_NO_QUANTITIES, less=quantities(agent.total))

    def set_total(self, agent: Agent, total: Resources) -> None:
        """The agent has this much from now on, whatever is held of it."""
        self.total.change(more=quantities(total), less=quantities(agent.total))
        self.rest(agent, False)
        agent.total = total
        agent.reserved = has_reserved(total)
        agent.count_anew()
        self.touch(agent)

    def touch(self, agent: Agent) -> None:
        """What may be offered of it has changed: it is to be looked at. O(1)."""
        if agent.views:
            agent.views.clear()
        if agent.active:
            self.changed[agent] = None
            if agent.reserved:
                self.idle_reserved.pop(agent, None)
            else:
                self.idle.pop(agent, None)

    def set_active(self, agent: Agent, active: bool) -> None:
        """Whether it is offered at all; it keeps its ledger and its refusals either way."""
        agent.active = active
        self.touch(agent)
        if not active:
            self.changed.pop(agent, None)
            self.rest(agent, False)

    def rest(self, agent: Agent, idle: bool) -> None:
        """Whether everybody who may have something of the agent refuses it."""
        those = self.idle_reserved if agent.reserved else self.idle
        if idle:
            those[agent] = None
        else:
            those.pop(agent, None)

    def take_candidates(self, woken: int, reserved: bool, turn: int) -> list[Agent]:
        """The agents to look at now: those that changed, those idle ones that a client of `woken`
        has not refused, and, if so asked, those with something reserved. None of them counts as
        changed or idle any more.

        They come in the order in which they changed, but starting at another place each `turn`
        (the golden ratio spreads those places evenly). With a fixed order, a framework that can
        use only one of two agents could lose it to the same other framework for ever.
        """
        agents = list(self.changed)
        self.changed.clear()
        if woken:
            wanted = [a for a in self.idle if woken & ~a.refused_before]
            for agent in wanted:
                del self.idle[agent]
            agents += wanted
        if reserved:
            agents += self.idle_reserved
            self.idle_reserved.clear()
        cut = turn * _GOLDEN_RATIO_MILLION % 1_000_000 * len(agents) // 1_000_000
        return agents[cut:] + agents[:cut] if cut else agents

    def _kind_of(self, place: Place) -> Kind:
        """~1.5 us, and 0.2 us for each attribute."""
        common = Place("", place.attributes, place.region, place.zone, place.containerizers)
        kind = self._kinds.get(common)
        if kind is None:
            few = len(self._kinds) < _VERDICTS_OF_FEW
            kind = Kind(common, _VERDICTS_OF_FEW if few else VERDICTS_MAX)
            self._kinds[common] = kind
        return kind

    def check(self) -> None:
        """Assert every invariant; for tests."""
        held = ClusterTotal()
        for agent_id, agent in self._by_id.items():
            assert agent.agent_id == agent_id
            assert agent.kind.place == replace(agent.place, hostname="")
            assert self._kinds[agent.kind.place] is agent.kind
            agent.check()
            held.gain(quantities(agent.total))
        assert held.by_name() == self.total.by_name()
        listed = [*self.changed, *self.idle, *self.idle_reserved]
        assert len(set(listed)) == len(listed)
        assert not any(agent.reserved for agent in self.idle)
        assert all(agent.reserved for agent in self.idle_reserved)
        assert set(listed) <= {agent for agent in self if agent.active}


_NO_QUANTITIES: Quantities = (0, 0, 0, 0, ())
_GOLDEN_RATIO_MILLION = 618_034
