"""The fair order: who is served next, poorest first by weighted dominant share.

Dominant Resource Fairness (Ghodsi et al., NSDI 2011, section 4.1): a competitor's share is the
largest fraction that it holds of any one scalar resource of the cluster, divided by its weight.
Ties go to who was served less often, then to the name that sorts first. Ports and sets have no
share. Amounts of a name are summed over the roles that they are reserved for.

The order is a SortedList of packed integers, which are a third faster there than tuples:

    share in 2**-52 parts | times served | rank of the name     0x5555555555555|00000003|7ffeffff

Shares come from one correctly rounded division of integers each, so equal fractions tie exactly,
also across resources (3/9 of the cpus and 6/18 of the memory), and no sum ever drifts.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Generic, TypeVar

from sortedcontainers import SortedList

from mesoslite.resources import Resources, split_key

Quantities = tuple[int, int, int, int, tuple[tuple[str, int], ...]]
"""Thousandths of cpus, mem, disk and gpus, then of each other scalar there is by name. A plain
tuple: unpacking one is five times faster than reading a mapping."""

_SHARE_ONE = 1 << 52  # what a float can hold below 1
_FIELD_BITS = 32  # times served, and rank of the name
_FIELD_MAX = (1 << _FIELD_BITS) - 1  # the count stays there: ties are then broken by name alone
_RANK_STEP = 1 << 16  # names that arrive in order, up or down: 32,000 before all are ranked anew
_STALE_FEW = 8  # a SortedList move is 1 us, sorting anew 0.4 us for each: anew if over a quarter
_NO_OTHERS: tuple[tuple[str, int], ...] = ()
_INFINITY = float("inf")  # nobody has a share of what the cluster has none of: x / inf == 0


def quantities(amount: Resources) -> Quantities:
    """The scalars of an amount by name, whatever role they are reserved for. About 0.4 us."""
    scalars = amount.scalars
    get = scalars.get
    cpus, mem, disk, gpus = get("cpus", 0), get("mem", 0), get("disk", 0), get("gpus", 0)
    if len(scalars) == (cpus > 0) + (mem > 0) + (disk > 0) + (gpus > 0):
        return cpus, mem, disk, gpus, _NO_OTHERS
    named: dict[str, int] = {}
    for at, thousandths in scalars.items():
        name = split_key(at)[0]
        named[name] = named.get(name, 0) + thousandths
    first = (named.pop("cpus", 0), named.pop("mem", 0), named.pop("disk", 0), named.pop("gpus", 0))
    return *first, tuple(named.items())


class Holding:
    """A running sum of quantities, changed in place: 0.2 us, a sixth of adding Resources."""

    __slots__ = ("cpus", "disk", "gpus", "mem", "other")

    def __init__(self) -> None:
        self.cpus = self.mem = self.disk = self.gpus = 0
        self.other: dict[str, int] = {}

    def gain(self, amount: Quantities) -> None:
        """Hold this as well."""
        cpus, mem, disk, gpus, other = amount
        self.cpus += cpus
        self.mem += mem
        self.disk += disk
        self.gpus += gpus
        for name, thousandths in other:
            self.other[name] = self.other.get(name, 0) + thousandths

    def lose(self, amount: Quantities) -> None:
        """Hold this no more; it was held."""
        cpus, mem, disk, gpus, other = amount
        self.cpus -= cpus
        self.mem -= mem
        self.disk -= disk
        self.gpus -= gpus
        for name, thousandths in other:
            self.other[name] -= thousandths
            if not self.other[name]:
                del self.other[name]

    def add(self, other: "Holding") -> None:
        """Hold what the other holds as well."""
        self.gain((other.cpus, other.mem, other.disk, other.gpus, tuple(other.other.items())))

    def by_name(self) -> dict[str, int]:
        """Thousandths of each scalar of which there is any, by name."""
        first = {"cpus": self.cpus, "mem": self.mem, "disk": self.disk, "gpus": self.gpus}
        return {name: held for name, held in (first | self.other).items() if held}


class ClusterTotal(Holding):
    """What all agents have together: the denominator of every share."""

    __slots__ = ("divisors", "version")

    def __init__(self) -> None:
        super().__init__()
        #: Counts the changes: every order whose keys were made for an earlier one sorts anew.
        self.version = 0
        #: cpus, mem, disk and gpus, infinity where there is none.
        self.divisors: tuple[float, float, float, float] = (_INFINITY,) * 4

    def change(self, more: Quantities, less: Quantities) -> None:
        """`more` has come and `less` has gone."""
        if more == less:
            return
        self.gain(more)
        self.lose(less)
        self.version += 1
        self.divisors = (
            self.cpus or _INFINITY,
            self.mem or _INFINITY,
            self.disk or _INFINITY,
            self.gpus or _INFINITY,
        )


class Competitor(Holding):
    """Who has a place in a fair order: a role among roles, a client within its role.

    `mask` has the bits of the clients that it stands for: one, or those of a role. `key` is what
    the order sorts by; it is changed by its `FairOrder` only, out of the list.
    """

    __slots__ = ("key", "mask", "name", "rank", "served", "stale", "weight")

    def __init__(self, name: str, mask: int = 0, weight: Fraction = Fraction(1)) -> None:
        super().__init__()
        self.name = name
        self.mask = mask
        self.weight = weight
        self.served = 0
        self.rank = 0
        self.key = 0
        self.stale = False

    def share(self, total: ClusterTotal) -> float:
        """The weighted dominant share: 0 for nothing, 1 for all of a resource at weight 1."""
        cpus, mem, disk, gpus = total.divisors
        if self.weight != 1:
            # One division each, as below: rounding twice would tell equal fractions apart.
            num, den = self.weight.numerator, self.weight.denominator
            return max(
                self.cpus * den / (cpus * num),
                self.mem * den / (mem * num),
                self.disk * den / (disk * num),
                self.gpus * den / (gpus * num),
                *(
                    held * den / (total.other[name] * num)
                    for name, held in self.other.items()
                    if name in total.other
                ),
            )
        share = self.cpus / cpus
        if (of_mem := self.mem / mem) > share:
            share = of_mem
        if (of_disk := self.disk / disk) > share:
            share = of_disk
        if (of_gpus := self.gpus / gpus) > share:
            share = of_gpus
        for name, held in self.other.items():
            if name in total.other and (of_other := held / total.other[name]) > share:
                share = of_other
        return share


C = TypeVar("C", bound=Competitor)


class FairOrder(Generic[C]):
    """Competitors, poorest first. Names are unique.

    Changes only note who is out of place; the next question puts them right. So ten thousand
    offers that come back between two cycles move each competitor once, not ten thousand times.
    """

    def __init__(self, total: ClusterTotal) -> None:
        self._total = total
        self._version = total.version
        self._members: dict[str, C] = {}
        self._by_rank: dict[int, C] = {}
        self._names: SortedList[str] = SortedList()
        self._order: SortedList[int] = SortedList()
        self._stale: list[C] = []

    def __len__(self) -> int:
        return len(self._members)

    def add(self, new: C) -> None:
        """Give `new` a place. O(log n), and O(n log n) when the ranks must be spread anew."""
        names = self._names
        at = names.bisect_left(new.name)
        below = self._members[names[at - 1]].rank if at else 0
        above = self._members[names[at]].rank if at < len(names) else _FIELD_MAX
        if not names:
            new.rank = _FIELD_MAX // 2
        elif at == len(names):
            new.rank = below + _RANK_STEP
        elif not at:
            new.rank = above - _RANK_STEP
        else:
            new.rank = (below + above) // 2
        names.add(new.name)
        self._members[new.name] = new
        new.stale = False
        if not below < new.rank < above:
            self._rank_anew()
            return
        self._by_rank[new.rank] = new
        new.key = self._key_of(new)
        self._order.add(new.key)

    def remove(self, old: C) -> None:
        """Take `old` out. O(log n), and O(n) when its share has just changed."""
        self._order.remove(old.key)
        if old.stale:
            self._stale.remove(old)
            old.stale = False
        self._names.remove(old.name)
        del self._by_rank[old.rank]
        del self._members[old.name]

    def changed(self, member: C) -> None:
        """What decides `member`'s place has changed: what it holds, its weight, or its turns."""
        if not member.stale:
            member.stale = True
            self._stale.append(member)

    def first(self, eligible: int) -> C:
        """The poorest of those with a bit in `eligible`; one of them must be here.

        Walks down the order: n / (k + 1) steps if k of n are eligible. See `least` for few.
        """
        self.settle()
        by_rank = self._by_rank
        for key in self._order:
            member = by_rank[key & _FIELD_MAX]
            if member.mask & eligible:
                return member
        raise LookupError(f"none of {len(self)} competitors is in {eligible:#x}")

    def least(self, candidates: Iterable[C]) -> C:
        """The poorest of these members: O(k), so better than `first` where k is small."""
        self.settle()
        return min(candidates, key=_key)

    def only(self) -> C:
        """The one member: no order is needed, and none is kept up, while there is but one."""
        (member,) = self._members.values()
        return member

    def in_order(self) -> list[C]:
        """All members, the poorest first."""
        self.settle()
        return [self._by_rank[key & _FIELD_MAX] for key in self._order]

    def settle(self) -> None:
        """Put right who is out of place. O(log n) each, O(n log n) for many or a new total."""
        stale = self._stale
        if self._version != self._total.version or len(stale) > max(_STALE_FEW, len(self) // 4):
            self._sort_anew()
        elif stale:
            order = self._order
            for member in stale:
                order.remove(member.key)
                member.key = self._key_of(member)
                member.stale = False
                order.add(member.key)
            stale.clear()

    def check(self) -> None:
        """Assert every invariant, O(n log n). Tests call it after each event; production never."""
        names = sorted(self._members)
        assert list(self._names) == names
        assert [m.name for _rank, m in sorted(self._by_rank.items())] == names
        assert all(rank == member.rank for rank, member in self._by_rank.items())
        assert list(self._order) == sorted(member.key for member in self._members.values())
        assert len({id(m) for m in self._stale}) == len(self._stale)
        assert {m.name for m in self._stale} == {n for n, m in self._members.items() if m.stale}
        for member in self._members.values():
            if self._version == self._total.version and not member.stale:
                assert member.key == self._key_of(member), member.name

    def _sort_anew(self) -> None:
        for member in self._members.values():
            member.key = self._key_of(member)
            member.stale = False
        self._stale.clear()
        self._version = self._total.version
        self._order = SortedList(member.key for member in self._members.values())

    def _rank_anew(self) -> None:
        """Spread the ranks evenly around the middle, and sort by them."""
        step = min(_RANK_STEP, _FIELD_MAX // (len(self) + 1))
        rank = (_FIELD_MAX - step * len(self)) // 2
        self._by_rank.clear()
        for name in self._names:
            rank += step
            member = self._members[name]
            member.rank = rank
            self._by_rank[rank] = member
        self._sort_anew()

    def _key_of(self, member: C) -> int:
        parts = int(member.share(self._total) * _SHARE_ONE)
        served = min(_FIELD_MAX, member.served)
        return (parts << _FIELD_BITS | served) << _FIELD_BITS | member.rank


def _key(member: Competitor) -> int:
    return member.key
