"""Who may be offered something: frameworks, their clients, and the roles that they compete in.

A client is one framework in one role, and has one bit (its slot) in every set of clients: sets are
plain integers, so "who is active and has not refused this agent" is one expression for all of
them. Roles compete with each other by weight, the clients of a role among themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mesoslite.allocator.sorter import SERVED_ONCE, ClusterTotal, Competitor, FairOrder, Quantities

if TYPE_CHECKING:
    from mesoslite.allocator.agents import Agent
    from mesoslite.allocator.demand import Want

SETS_MAX = 64  # sets of few clients that are remembered, 300 B each
RETIRED_MAX = 64  # or as many as there are clients: what a sweep costs is then shared by as many


class Framework:
    """A framework as the allocator sees it."""

    __slots__ = (
        "active",
        "clients",
        "declined",
        "framework_id",
        "known",
        "outstanding",
        "outstanding_max",
    )

    def __init__(self, framework_id: str, outstanding_max: int) -> None:
        self.framework_id = framework_id
        #: With so many unsettled offers it waits.
        self.outstanding_max = outstanding_max
        #: It was added and not removed. One that is not known only holds what its tasks hold.
        self.known = False
        #: It is connected and keeps up with what it is sent.
        self.active = False
        #: Offers that it was granted and that are not settled, over all its roles.
        self.outstanding = 0
        self.clients: dict[str, Client] = {}
        #: Owned by `Demand`: what it declined for its requests, the oldest first.
        self.declined: dict[tuple[Want, Agent], None] = {}


class Client(Competitor):
    """One framework in one role. Its name among the clients of the role is the framework's id."""

    __slots__ = (
        "claims",
        "demand",
        "framework",
        "open",
        "refused",
        "role",
        "slot",
        "subscribed",
        "suppressed",
        "wants",
    )

    def __init__(self, framework: Framework, role: Role) -> None:
        super().__init__(framework.framework_id)
        self.framework = framework
        self.role = role
        self.slot = -1
        #: There may be refusals with its bit.
        self.refused = False
        #: The framework wants offers of this role; else the client only holds what tasks hold.
        self.subscribed = False
        self.suppressed = False
        #: It is offered what it requests and what is reserved for its role; else everything.
        self.demand = False
        #: Owned by `Demand`: by request id what it wants, or is still offered,
        self.wants: dict[str, Want] = {}
        #: and those of them that are open.
        self.open: dict[Want, None] = {}
        #: The agents on which its tasks hold something, and its outstanding offers, added up.
        self.claims = 0

    def able(self) -> bool:
        """Whether it may be offered anything now."""
        framework = self.framework
        return (
            self.subscribed
            and not self.suppressed
            and framework.known
            and framework.active
            and framework.outstanding < framework.outstanding_max
        )


class Role(Competitor):
    """A role and its clients. Its mask has the bits of all of them, able or not."""

    __slots__ = ("clients",)

    def __init__(self, name: str, weight: Fraction, clients: FairOrder[Client]) -> None:
        super().__init__(name, weight=weight)
        self.clients = clients

    def sum_up(self) -> None:
        """Hold what its clients hold together. O(clients)."""
        self.hold_nothing()
        for client in self.clients:
            self.add(client)


class Roles:
    """All roles with clients, and the slot of each client.

    A role holds what its clients hold together. While there is but one role nobody compares it, so
    its sums are made when somebody asks, a twentieth of what a grant costs.
    """

    def __init__(self, total: ClusterTotal, weights: dict[str, Fraction]) -> None:
        self._total = total
        self._weights = weights
        self._roles: dict[str, Role] = {}
        self._order: FairOrder[Role] = FairOrder(total, self._roles_of)
        #: The role if there is but one: whose turn it is then needs no order and no sums.
        self._only: Role | None = None
        self._slots: list[Client | None] = []
        self._unused: list[int] = []  # a heap: the lowest slot first, so that masks stay short
        self._retired = 0
        self._sets: dict[int, list[Client]] = {}  # by mask, until a slot changes hands

    def __iter__(self) -> Iterator[Role]:
        return iter(self._roles.values())

    def get(self, name: str) -> Role | None:
        """The role, when it has clients."""
        role = self._roles.get(name)
        if role is not None and role is self._only:
            role.sum_up()
        return role

    def weight(self, name: str) -> Fraction:
        """1 unless set."""
        return self._weights.get(name, Fraction(1))

    def set_weight(self, name: str, weight: Fraction) -> None:
        """Weigh a role from now on, also one without clients so far."""
        self._weights[name] = weight
        role = self._roles.get(name)
        if role is not None:
            role.set_weight(weight)
            self._order.changed(role)

    # --- clients ----------------------------------------------------------------------------------

    def add_client(self, framework: Framework, role_name: str) -> Client:
        """A new client of `framework`, with a slot that nobody's refusals speak of."""
        role = self._roles.get(role_name)
        if role is None:
            clients = FairOrder(self._total, self._few)
            role = Role(role_name, self.weight(role_name), clients)
            self._roles[role_name] = role
            self._order.add(role)
            if self._only is not None:
                self._only.sum_up()
                self._order.changed(self._only)
            self._only = role if len(self._roles) == 1 else None
        client = Client(framework, role)
        framework.clients[role_name] = client
        self._take_slot(client)
        role.clients.add(client)
        return client

    def remove_client(self, client: Client) -> None:
        """Forget a client that holds nothing. Its role goes with its last client."""
        role = client.role
        self._retire_slot(client)
        role.clients.remove(client)
        del client.framework.clients[role.name]
        if not len(role.clients):
            self._order.remove(role)
            del self._roles[role.name]
            self._only = next(iter(self._roles.values())) if len(self._roles) == 1 else None

    def renew_slot(self, client: Client) -> None:
        """Whatever the client refused is forgotten at once, O(log n): it gets another slot."""
        self._retire_slot(client)
        self._take_slot(client)

    def must_sweep(self) -> bool:
        """Whether so many slots wait to be cleared that it is time: masks must stay short."""
        in_use = len(self._slots) - len(self._unused) - self._retired.bit_count()
        return self._retired.bit_count() > max(RETIRED_MAX, in_use)

    def take_retired(self) -> int:
        """The slots that nobody has and that refusals may still speak of. The caller clears their
        bits everywhere; from then on they are given again.
        """
        retired, self._retired = self._retired, 0
        for slot in bits(retired):
            heappush(self._unused, slot)
        return retired

    def clients_of(self, mask: int) -> Iterator[Client]:
        """The clients with these slots, O(1) for each."""
        slots = self._slots
        for slot in bits(mask):
            client = slots[slot]
            if client is not None:
                yield client

    def _few(self, mask: int) -> list[Client]:
        """The clients with these slots, remembered: the requests of a cycle are asked one after
        another who of the same few is the poorest.
        """
        clients = self._sets.get(mask)
        if clients is None:
            if len(self._sets) >= SETS_MAX:
                self._sets.clear()
            clients = self._sets[mask] = list(self.clients_of(mask))
        return clients

    def _roles_of(self, mask: int) -> Iterable[Role]:
        return {client.role: None for client in self._few(mask)}

    # --- the order --------------------------------------------------------------------------------

    def gain(self, client: Client, amount: Quantities) -> None:
        """The client, and so its role, holds this as well."""
        client.gain(amount)
        if client.role is not self._only:
            client.role.gain(amount)
        self._moved(client)

    def lose(self, client: Client, amount: Quantities) -> None:
        """The client, and so its role, holds this no more."""
        client.lose(amount)
        if client.role is not self._only:
            client.role.lose(amount)
        self._moved(client)

    def _moved(self, client: Client) -> None:
        role = client.role
        if not client.stale:
            role.clients.changed(client)
        if role is not self._only:
            self._order.changed(role)

    def poorest(self, eligible: int) -> Client:
        """Whose turn it is: the poorest client in `eligible`, of whom there is one or more, of the
        poorest role that has one.
        """
        role = self._only
        if role is None:
            role = self._order.poorest(eligible)
            eligible &= role.mask
        return role.clients.poorest(eligible)

    def give(self, eligible: int, gift: Quantities) -> Client:
        """It is the turn of the same client, who takes `gift`, and is returned."""
        role = self._only
        if role is not None:
            role.tie += SERVED_ONCE
        else:
            role = self._order.give(eligible, gift)
            eligible &= role.mask
        return role.clients.give(eligible, gift)

    def in_order(self) -> list[Role]:
        """All roles, the poorest first."""
        return self._order.in_order()

    def check(self) -> None:
        """Assert every invariant; for tests."""
        self._order.check()
        assert set(self._unused).isdisjoint(bits(self._retired))
        vacant = {slot for slot, client in enumerate(self._slots) if client is None}
        assert vacant == {*self._unused, *bits(self._retired)}
        assert len(self._unused) == len(set(self._unused))
        for mask, clients in self._sets.items():
            assert clients == list(self.clients_of(mask))
        slots: list[Client] = []
        for name, role in self._roles.items():
            assert role.name == name
            assert role.weight == self.weight(name)
            role.clients.check()
            members = role.clients.in_order()
            assert members
            assert role.mask == sum(client.mask for client in members)
            for client in members:
                assert client.role is role
                assert client.mask == 1 << client.slot
                assert client.framework.clients[name] is client
                assert self._slots[client.slot] is client
            slots += members
        assert len(slots) == len(self._slots) - len(vacant)
        assert (self._only is not None) == (len(self._roles) == 1)
        assert self._only is None or self._only in self._roles.values()

    def _take_slot(self, client: Client) -> None:
        self._sets.clear()
        if self._unused:
            client.slot = heappop(self._unused)
            self._slots[client.slot] = client
        else:
            client.slot = len(self._slots)
            self._slots.append(client)
        client.refused = False
        client.mask = 1 << client.slot
        client.role.mask |= client.mask

    def _retire_slot(self, client: Client) -> None:
        self._sets.clear()
        self._slots[client.slot] = None
        if client.refused:
            self._retired |= client.mask
        else:
            heappush(self._unused, client.slot)
        client.role.mask &= ~client.mask


def bits(mask: int) -> Iterator[int]:
    """The numbers of the set bits, the lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
