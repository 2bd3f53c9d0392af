"""The index: agents by how much is free of them and by what they are, so that a request finds its
agents without asking all of them.

For each kind of resource that requests have asked for there is one SortedList of packed integers,
the free thousandths above the number of the agent:

    cpus   2000|00007  4000|00003  4000|00009          mem   512000|00003  ...

It is put in order when a request asks, never before: until then an agent that changed is only
noted. A cluster where nobody requests anything pays one C-level dict update a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sortedcontainers import SortedList

from mesoslite.allocator.agents import Agent, Kind
from mesoslite.allocator.demand import Shape
from mesoslite.allocator.sorter import quantities
from mesoslite.immutable import dataclass
from mesoslite.resources import Resources
from mesoslite.where import Where

AGENTS_MAX = 1 << 24  # what the number of an agent has room for

_NUMBER = AGENTS_MAX - 1
_NUMBER_BITS = 24
_ABSENT = -1
_DIMENSIONS = range(4)  # cpus, mem, disk and gpus, as `quantities` has them
_FEW = 8  # agents of the kinds that match are sorted if they are at most one in so many


@dataclass(frozen=True, slots=True)
class Tuning:
    """From where on another way is cheaper. No answer depends on it: tests make it small, so that
    clusters of three agents go all ways."""

    anew_min: int = 16
    """A SortedList move is 2 us, sorting anew 0.3 us for each: anew if over an eighth and this."""
    kinds_asked_max: int = 256
    """0.1 us for each whose verdict is known; with more of them agents are asked."""
    facts_enough: int = 256
    """Who is left to so few agents by what `where` requires asks no kinds."""
    listed_max: int = 64
    """Agents that changed and are sorted for each request; the index is cheaper for more."""


class AgentIndex:
    """Which agents have so much free, say so of themselves, or are so large."""

    def __init__(self, tuning: Tuning = Tuning()) -> None:  # noqa: B008 - frozen
        self.tuning = tuning
        self._noted: dict[Agent, None] = {}
        #: By number; where nobody has it, the one who had it last.
        self._agents: list[Agent] = []
        self._unused: list[int] = []
        self._numbers: dict[Agent, int] = {}
        #: For each dimension the key of each agent by its number; None until somebody asks.
        self._keys: list[list[int] | None] = [None] * len(_DIMENSIONS)
        self._orders: list[SortedList[int]] = [SortedList() for _ in _DIMENSIONS]
        self._by_fact: dict[tuple[str, str], dict[Agent, None]] = {}
        self._by_kind: dict[Kind, dict[Agent, None]] = {}
        self._totals: dict[Agent, Resources] = {}
        self._by_total: dict[Resources, dict[Agent, None]] = {}
        self._reserved: dict[Agent, None] = {}
        #: Counts the agents that came, went, or have another total now.
        self.version = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def note(self, agents: Iterable[Agent]) -> None:
        """Something of these agents has changed, or they are new. A few ns for each."""
        self._noted.update(dict.fromkeys(agents))

    def note_one(self, agent: Agent) -> None:
        """As `note`."""
        self._noted[agent] = None

    def discard(self, agent: Agent) -> None:
        """The agent is gone."""
        self._noted.pop(agent, None)
        number = self._numbers.pop(agent, None)
        if number is None:
            return
        self.version += 1
        self._unused.append(number)
        for dimension in _DIMENSIONS:
            self._set_key(dimension, number, _ABSENT)
        self._set_total(agent, None)
        del self._by_kind[agent.kind][agent]
        if not self._by_kind[agent.kind]:
            del self._by_kind[agent.kind]
        for fact in dict.fromkeys(agent.place.facts()):
            del self._by_fact[fact][agent]
            if not self._by_fact[fact]:
                del self._by_fact[fact]

    @property
    def some_reserved(self) -> bool:
        """Whether some agent has something that not everybody may have."""
        return bool(self._reserved)

    def sizes(self, shape: Shape) -> dict[Resources, Agent]:
        """Each size that an agent has which is where the shape wants to be, and one such agent.

        By what `where` requires, or else by kinds: only one with hostnames asks every agent.
        """
        self.settle()
        if shape.where is None:
            return {total: next(iter(those)) for total, those in self._by_total.items()}
        sizes: dict[Resources, Agent] = {}
        few = self._with_facts(shape)
        if shape.by_host or (few is not None and len(few) <= self.tuning.facts_enough):
            for agent in few if few is not None else self._numbers:
                if shape.is_where(agent):
                    sizes.setdefault(agent.total, agent)
            return sizes
        for kind, agents in self._by_kind.items():
            if shape.is_where_kind(kind):
                for agent in agents:
                    sizes.setdefault(agent.total, agent)
        return sizes

    def to_ask(self, where: Where) -> int:
        """How many agents are to be asked about an expression, at most; a few us."""
        self.settle()
        least = len(self)
        for fact in where.required:
            least = min(least, len(self._by_fact.get(fact, ())))
        return least

    def most_free(self, shape: Shape) -> Iterator[Agent]:
        """The agents that may have what a unit needs free, the most free first.

        They have enough of the scarcest kind of resource, or all that `where` requires; the caller
        checks the rest. Nothing may change while it is walked. O(log n), then 0.1 us for each.
        """
        return self._walk(shape, tightest_first=False)

    def tightest(self, shape: Shape) -> Iterator[Agent]:
        """The same agents, the least free first."""
        return self._walk(shape, tightest_first=True)

    def check(self, agents: Iterable[Agent]) -> None:
        """Assert that it has exactly these agents, as they are; for tests."""
        self.settle()
        everybody = set(agents)
        assert set(self._numbers) == everybody
        assert {*self._unused, *self._numbers.values()} == set(range(len(self._agents)))
        assert len(self._unused) + len(self._numbers) == len(self._agents)
        facts: dict[tuple[str, str], set[Agent]] = {}
        totals: dict[Resources, set[Agent]] = {}
        for agent, number in self._numbers.items():
            assert self._agents[number] is agent
            totals.setdefault(agent.total, set()).add(agent)
            for fact in agent.place.facts():
                facts.setdefault(fact, set()).add(agent)
            assert agent in self._by_kind[agent.kind]
        assert sum(map(len, self._by_kind.values())) == len(self._numbers)
        assert all(self._by_kind.values())
        assert facts == {fact: set(those) for fact, those in self._by_fact.items()}
        assert totals == {total: set(those) for total, those in self._by_total.items()}
        for dimension in _DIMENSIONS:
            keys = self._keys[dimension]
            expected = {n: _key_of(a, dimension, n) for a, n in self._numbers.items()}
            assert keys is None or keys == [expected.get(n, _ABSENT) for n in range(len(keys))]
            there = sorted(key for key in expected.values() if key != _ABSENT)
            assert list(self._orders[dimension]) == ([] if keys is None else there)

    # --- asking -----------------------------------------------------------------------------------

    def _walk(self, shape: Shape, *, tightest_first: bool) -> Iterator[Agent]:
        self.settle()
        dimension, order, start = self._scarcest(shape)
        few = self._with_facts(shape)
        if few is None or len(few) > self.tuning.facts_enough:
            of_kinds = self._of_kinds(shape, (len(order) - start) // _FEW)
            few = few if of_kinds is None else of_kinds
        if few is not None and len(few) < len(order) - start:
            keys = self._keys_of(dimension)
            numbers = self._numbers
            found = [keys[numbers[agent]] for agent in few]
            there = [key for key in found if key != _ABSENT]
            walked: Iterator[int] = iter(sorted(there, reverse=not tightest_first))
        else:
            walked = order.islice(start, len(order), reverse=not tightest_first)
        agents = self._agents
        for key in walked:
            yield agents[key & _NUMBER]

    def _scarcest(self, shape: Shape) -> tuple[int, SortedList[int], int]:
        """The dimension of which the fewest agents have enough; its order; where they start."""
        needs = _amounts(shape.unit.amount)
        best: tuple[int, SortedList[int], int] | None = None
        for dimension in _DIMENSIONS:
            need = needs[dimension]
            if need:
                self._keys_of(dimension)
                order = self._orders[dimension]
                start = order.bisect_left(need << _NUMBER_BITS)
                if best is None or len(order) - start < len(best[1]) - best[2]:
                    best = dimension, order, start
        if best is None:
            self._keys_of(0)
            return 0, self._orders[0], 0
        return best

    def _with_facts(self, shape: Shape) -> dict[Agent, None] | None:
        """The fewest agents that must be looked at for what `where` requires; None: all."""
        best: dict[Agent, None] | None = None
        for fact in shape.where.required if shape.where is not None else ():
            those = self._by_fact.get(fact, {})
            if best is None or len(those) < len(best):
                best = those
        return best

    def _of_kinds(self, shape: Shape, most: int) -> dict[Agent, None] | None:
        """The agents of the kinds that are where the shape wants to be; None: more than `most`."""
        if shape.where is None or shape.by_host or len(self._by_kind) > self.tuning.kinds_asked_max:
            return None
        those: list[dict[Agent, None]] = []
        for kind, agents in self._by_kind.items():
            if shape.is_where_kind(kind):
                those.append(agents)
                most -= len(agents)
                if most < 0:
                    return None
        return {agent: None for agents in those for agent in agents}

    # --- putting in order -------------------------------------------------------------------------

    def settle(self) -> None:
        """Take in what was noted."""
        noted = self._noted
        if not noted:
            return
        for agent in noted:
            if agent not in self._numbers:
                self._add(agent)
            if self._totals.get(agent) is not agent.total:
                self._set_total(agent, agent.total)
        if len(noted) > self.tuning.anew_min + len(self) // 8:
            for dimension in _DIMENSIONS:
                if self._keys[dimension] is not None:
                    self._sort_anew(dimension)
        else:
            dimensions = [d for d in _DIMENSIONS if self._keys[d] is not None]
            for agent in noted:
                number = self._numbers[agent]
                free = _amounts(agent.free) if _is_there(agent) else None
                for dimension in dimensions:
                    key = _ABSENT if free is None else free[dimension] << _NUMBER_BITS | number
                    self._set_key(dimension, number, key)
        noted.clear()

    def _add(self, agent: Agent) -> None:
        if self._unused:
            number = self._unused.pop()
            self._agents[number] = agent
        else:
            number = len(self._agents)
            if number == AGENTS_MAX:
                raise OverflowError(f"more than {AGENTS_MAX} agents")
            self._agents.append(agent)
            for keys in self._keys:
                if keys is not None:
                    keys.append(_ABSENT)
        self._numbers[agent] = number
        self._by_kind.setdefault(agent.kind, {})[agent] = None
        for fact in agent.place.facts():
            self._by_fact.setdefault(fact, {})[agent] = None

    def _set_total(self, agent: Agent, total: Resources | None) -> None:
        self.version += 1
        before = self._totals.pop(agent, None)
        if before is not None:
            del self._by_total[before][agent]
            if not self._by_total[before]:
                del self._by_total[before]
        self._reserved.pop(agent, None)
        if total is not None:
            if agent.reserved:
                self._reserved[agent] = None
            self._totals[agent] = total
            self._by_total.setdefault(total, {})[agent] = None

    def _set_key(self, dimension: int, number: int, key: int) -> None:
        keys = self._keys[dimension]
        if keys is None or keys[number] == key:
            return
        order = self._orders[dimension]
        if keys[number] != _ABSENT:
            order.remove(keys[number])
        keys[number] = key
        if key != _ABSENT:
            order.add(key)

    def _keys_of(self, dimension: int) -> list[int]:
        """The keys of a dimension, made now if nobody has asked for it before."""
        keys = self._keys[dimension]
        return keys if keys is not None else self._sort_anew(dimension)

    def _sort_anew(self, dimension: int) -> list[int]:
        keys = self._keys[dimension] = [_ABSENT] * len(self._agents)
        for agent, number in self._numbers.items():
            keys[number] = _key_of(agent, dimension, number)
        self._orders[dimension] = SortedList(key for key in keys if key != _ABSENT)
        return keys


def _is_there(agent: Agent) -> bool:
    """Whether something of the agent may be offered."""
    return agent.active and bool(agent.free)


def _key_of(agent: Agent, dimension: int, number: int) -> int:
    if not _is_there(agent):
        return _ABSENT
    return _amounts(agent.free)[dimension] << _NUMBER_BITS | number


def _amounts(amount: Resources) -> Sequence[int]:
    """Thousandths in each dimension."""
    cpus, mem, disk, gpus, _ = quantities(amount)
    return cpus, mem, disk, gpus
