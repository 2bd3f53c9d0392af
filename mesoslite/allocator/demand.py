"""Demand: what clients have asked for and not got yet (docs/decisions.md D12).

A request states how many units are still wanted. Units in outstanding offers are on their way, so

    open = wanted - offered        what may be offered for it now

Open requests of one shape, that is of one unit and one `where`, stand together: an agent that
changed is asked once for a shape, not for each of the thousand frameworks that wait for it. Shapes
are sorted by how much a unit needs of what it needs the largest part of the cluster's: a demand for
memory by its memory. So what is too large for the agent is not asked at all.

A framework that declines an agent for a request is not offered it for that request before the time
it names, whatever is free there then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sortedcontainers import SortedKeyList

from mesoslite.allocator.agents import VERDICTS_MAX, Agent, Kind
from mesoslite.allocator.cuts import Unit
from mesoslite.allocator.sorter import INFINITY, ClusterTotal, Quantities
from mesoslite.deadlines import Deadlines
from mesoslite.model import Request
from mesoslite.resources import Resources
from mesoslite.where import Where

if TYPE_CHECKING:
    from mesoslite.allocator.roles import Client

REQUESTS_MAX = 1_000  # of one framework, about 1 kB each; the master refuses more
DECLINED_MAX = 20_000  # of one framework, 600 B each: agents for requests; the oldest go beyond it

_ShapeKey = tuple[Resources, int, str]


class Shape:
    """What decides which agents could hold a unit: what it needs, and where it may be."""

    __slots__ = (
        "by_host",
        "clients",
        "dimension",
        "key",
        "mask",
        "need",
        "number",
        "unit",
        "where",
    )

    def __init__(self, key: _ShapeKey, number: int) -> None:
        amount, ports, where = key
        self.key = key
        self.number = number
        self.unit = Unit(amount, ports)
        #: While there are open requests: which of the quantities it is sorted by, and how much
        #: of it a unit needs.
        self.dimension = self.need = 0
        self.where = Where.parse(where) if where else None
        #: Its verdict may differ between agents of one kind.
        self.by_host = self.where is not None and "hostname" in self.where.names
        #: The bits of `clients`.
        self.mask = 0
        #: How many open requests of this shape each has; never 0.
        self.clients: dict[Client, int] = {}

    def is_where(self, agent: Agent) -> bool:
        """Whether the agent is where the request wants to be. 0.1 us when it was asked before."""
        if self.where is None:
            return True
        if not self.by_host:
            return self.is_where_kind(agent.kind)
        verdicts = agent.verdicts
        text = self.key[2]
        verdict = verdicts.get(text)
        if verdict is None:
            if len(verdicts) >= VERDICTS_MAX:
                verdicts.clear()
            verdict = verdicts[text] = self.where.matches(agent.place)
        return verdict

    def is_where_kind(self, kind: Kind) -> bool:
        """Whether all agents of a kind are where the request wants to be, if not `by_host`."""
        if self.where is None:
            return True
        text = self.key[2]
        verdict = kind.verdicts.get(text)
        if verdict is None:
            if len(kind.verdicts) >= kind.verdicts_max:
                kind.verdicts.clear()
            verdict = kind.verdicts[text] = self.where.matches(kind.place)
        return verdict


class Want:
    """One request of a client, and how far it is met."""

    __slots__ = ("client", "declined", "offered", "open", "request", "shape", "wanted")

    def __init__(self, client: Client, request: Request, shape: Shape) -> None:
        self.client = client
        self.request = request
        self.shape = shape
        self.wanted = 0
        #: Units in outstanding offers.
        self.offered = 0
        self.open = 0
        #: The agents that it is not to be offered now, the oldest refusal first.
        self.declined: dict[Agent, None] = {}

    def fits(self, agent: Agent, amount: Resources) -> int:
        """How many units of it may be offered of `amount`, what its role may have of the agent.

        `amount` names no roles. 0 when it was declined or is elsewhere. About 0.6 us.
        """
        if agent in self.declined or not self.shape.is_where(agent):
            return 0
        return self.shape.unit.fits(amount, self.open)


class Demand:
    """All requests: which are open, and which of those to look at again."""

    def __init__(self, total: ClusterTotal) -> None:
        self._total = total
        self._shapes: dict[_ShapeKey, Shape] = {}
        self._sorted: list[SortedKeyList[Shape, tuple[int, int]]] = [
            SortedKeyList(key=_need) for _ in total.divisors
        ]
        self._shapes_made = 0
        self._declined: Deadlines[tuple[Want, Agent]] = Deadlines()
        #: How many requests are open.
        self.open = 0
        #: Open requests that any agent may fit. The others fit none but agents that changed.
        self.woken: dict[Want, None] = {}

    def __bool__(self) -> bool:
        """Whether any request is open."""
        return self.open > 0

    # --- requests ---------------------------------------------------------------------------------

    def request(self, client: Client, request: Request) -> None:
        """The client wants this from now on, instead of what it wanted under the id before.

        Who wants more, or something else, may be offered again what it declined.
        """
        want = client.wants.get(request.request_id)
        if want is None:
            if not request.count:
                return
            want = Want(client, request, self._shape_of(request))
            client.wants[request.request_id] = want
        elif request.unit != want.request.unit or not _same_but_count(request, want.request):
            self._close(want)
            want.shape = self._shape_of(request)
            self.take_back_declined(want)
        elif request.count > want.wanted:
            self.take_back_declined(want)
        want.request = request
        want.wanted = request.count
        self._update(want)

    def withdraw(self, want: Want) -> None:
        """Nothing more is wanted under this id; what is offered for it is still outstanding."""
        want.wanted = 0
        self._update(want)

    def launched(self, want: Want, units: int) -> None:
        """So many fewer are wanted."""
        want.wanted = max(0, want.wanted - units)
        self._update(want)

    def offer(self, want: Want, agent: Agent, units: int) -> None:
        """So many units of it are in an offer of `agent`."""
        want.offered += units
        agent.units.setdefault(want, []).append(units)
        self._update(want)

    def settle(self, want: Want, agent: Agent, units: int) -> None:
        """That offer, of which there is one, is not outstanding any more."""
        want.offered -= units
        offers = agent.units[want]
        offers.remove(units)
        if not offers:
            del agent.units[want]
        self._update(want)

    def forget_agent(self, agent: Agent) -> None:
        """The agent is gone, its offers and what was declined of it."""
        for want, offers in list(agent.units.items()):
            for units in list(offers):
                self.settle(want, agent, units)
        for want in list(agent.declined):
            self._offer_again(want, agent)

    def wake(self, client: Client) -> None:
        """The client may be offered something again: all that it wants is to be looked at."""
        for want in client.open:
            self.woken[want] = None

    def slot_changed(self, client: Client, before: int) -> None:
        """The client's mask was `before`."""
        for shape in {want.shape for want in client.open}:
            shape.mask = shape.mask & ~before | client.mask

    # --- what was declined ------------------------------------------------------------------------

    def decline(self, want: Want, agent: Agent, until_ms: int) -> Agent | None:
        """Do not offer `agent` for this request before `until_ms`, or a later time it named.

        The agent whose refusal had to be forgotten for it, if any: it is to be looked at again.
        """
        key = (want, agent)
        due_ms = self._declined.due_ms(key)
        if due_ms is not None and due_ms >= until_ms:
            return None
        self._declined.set(key, until_ms)
        forgotten = None
        if due_ms is None:
            declined = want.client.framework.declined
            if len(declined) >= DECLINED_MAX:
                of, forgotten = next(iter(declined))
                self._offer_again(of, forgotten)
            declined[key] = want.declined[agent] = agent.declined[want] = None
        return forgotten

    def declined_until_ms(self, want: Want, agent: Agent) -> int | None:
        """Until when the agent is not offered for this request; None: it may be."""
        return self._declined.due_ms((want, agent))

    def take_back_declined(self, want: Want) -> bool:
        """Any agent may be offered for it again, and it is to be looked at if one was declined."""
        if not want.declined:
            return False
        for agent in list(want.declined):
            self._offer_again(want, agent)
        if want.open:
            self.woken[want] = None
        return True

    def expire(self, now_ms: int) -> list[Agent]:
        """The agents that may be offered again for some request."""
        agents: dict[Agent, None] = {}
        while (key := self._declined.pop_due(now_ms)) is not None:
            self._forget_declined(key)
            agents[key[1]] = None
        return list(agents)

    def next_deadline_ms(self) -> int | None:
        """When the next refusal of an agent for a request runs out."""
        return self._declined.next_ms()

    # --- asking -----------------------------------------------------------------------------------

    def shapes_up_to(self, amount: Quantities) -> Iterator[Shape]:
        """The shapes of open requests of which `amount` may hold a unit, and perhaps some more."""
        for shapes, there in zip(self._sorted, amount[:4], strict=True):
            for shape in shapes:
                if shape.need > there:
                    break
                yield shape

    def check(self, clients: Iterable[Client], agents: Iterable[Agent]) -> None:
        """Assert every invariant; for tests."""
        self._declined.check()
        declined: set[tuple[Want, Agent]] = set()
        offered: dict[Want, int] = {}
        for agent in agents:
            declined |= {(want, agent) for want in agent.declined}
            for want, offers in agent.units.items():
                assert offers
                assert all(units > 0 for units in offers)
                offered[want] = offered.get(want, 0) + sum(offers)
        shapes: dict[_ShapeKey, dict[Client, int]] = {}
        for client in clients:
            assert client.demand or not any(want.wanted for want in client.wants.values())
            assert set(client.open) == {want for want in client.wants.values() if want.open}
            for request_id, want in client.wants.items():
                assert want.client is client
                assert want.request.request_id == request_id
                assert want.offered == offered.pop(want, 0)
                assert want.wanted or want.offered
                assert want.open == max(0, want.wanted - want.offered)
                for agent in want.declined:
                    declined.remove((want, agent))
                    assert (want, agent) in self._declined
                if want.open:
                    assert self._shapes[want.shape.key] is want.shape
                    counts = shapes.setdefault(want.shape.key, {})
                    counts[client] = counts.get(client, 0) + 1
        assert not offered
        assert not declined
        assert shapes == {key: shape.clients for key, shape in self._shapes.items()}
        for dimension, there in enumerate(self._sorted):
            those = [s for s in self._shapes.values() if s.dimension == dimension]
            assert list(there) == sorted(those, key=_need)
            assert all(shape.need == shape.unit.needs[dimension] for shape in those)
        for shape in self._shapes.values():
            assert shape.mask == sum(client.mask for client in shape.clients)
        assert all(want.open for want in self.woken)
        assert self.open == sum(sum(counts.values()) for counts in shapes.values())

    # --- within -----------------------------------------------------------------------------------

    def _update(self, want: Want) -> None:
        """Find out what is open; a request that opens is to be looked at, an empty one goes."""
        before = want.open
        now = want.wanted - want.offered
        if now > 0:
            if not before:
                self._open(want)
            want.open = now
            return
        if before:
            self._close(want)
        if not want.wanted and not want.offered:
            self._forget(want)

    def _open(self, want: Want) -> None:
        client = want.client
        shape = want.shape = self._shapes.setdefault(want.shape.key, want.shape)
        if not shape.clients:
            self._place(shape)
        shape.clients[client] = shape.clients.get(client, 0) + 1
        shape.mask |= client.mask
        client.open[want] = None
        self.open += 1
        self.woken[want] = None

    def _close(self, want: Want) -> None:
        if not want.open:
            return
        want.open = 0
        client, shape = want.client, want.shape
        del client.open[want]
        self.open -= 1
        self.woken.pop(want, None)
        shape.clients[client] -= 1
        if not shape.clients[client]:
            del shape.clients[client]
            shape.mask &= ~client.mask
            if not shape.clients:
                del self._shapes[shape.key]
                self._sorted[shape.dimension].remove(shape)

    def _place(self, shape: Shape) -> None:
        """Among those that need the largest part of the same; what nobody has counts as most."""
        largest = -1.0
        for dimension, need in enumerate(shape.unit.needs[:4]):
            total = self._total.divisors[dimension]
            part = need if total == INFINITY else need / total
            if part > largest:
                shape.dimension, shape.need, largest = dimension, need, part
        self._sorted[shape.dimension].add(shape)

    def _forget(self, want: Want) -> None:
        for agent in list(want.declined):
            self._offer_again(want, agent)
        want.client.wants.pop(want.request.request_id, None)

    def _offer_again(self, want: Want, agent: Agent) -> None:
        self._declined.drop((want, agent))
        self._forget_declined((want, agent))

    def _forget_declined(self, key: tuple[Want, Agent]) -> None:
        want, agent = key
        del want.declined[agent]
        del agent.declined[want]
        del want.client.framework.declined[key]

    def _shape_of(self, request: Request) -> Shape:
        key = (request.unit, request.ports, request.where)
        shape = self._shapes.get(key)
        if shape is None:
            self._shapes_made += 1
            shape = Shape(key, self._shapes_made)
        return shape


def _same_but_count(one: Request, other: Request) -> bool:
    return (one.ports, one.where, one.policy) == (other.ports, other.where, other.policy)


def _need(shape: Shape) -> tuple[int, int]:
    return shape.need, shape.number
