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

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import isqrt
from typing import Generic, TypeVar

from sortedcontainers import SortedList

from mesoslite.resources import Quantities, quantities

__all__ = [
    "INFINITY",
    "SERVED_ONCE",
    "ClusterTotal",
    "Competitor",
    "FairOrder",
    "Holding",
    "Quantities",
    "quantities",
]

_SHARE_ONE = 2.0**52  # what a float can hold below 1
_RANK_MAX = (1 << 32) - 1
SERVED_ONCE = _RANK_MAX + 1
_TIE_BITS = 64
_NO_KEY = -1  # of who has not been sorted in yet
_NOT_READY = -1
_RANK_STEP = 1 << 16  # names that arrive in order, up or down: 32,000 before all are ranked anew
_STALE_FEW = 8  # a SortedList move is 1 us, sorting anew 0.4 us for each: anew if over a quarter
_ONE = Fraction(1)
INFINITY = float("inf")  # nobody has a share of what the cluster has none of: x / inf == 0


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
        if other:
            self.gain_other(other)

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

    def gain_other(self, other: tuple[tuple[str, int], ...]) -> None:
        """Hold these as well, by name."""
        for name, thousandths in other:
            self.other[name] = self.other.get(name, 0) + thousandths

    def hold_nothing(self) -> None:
        """As at first."""
        self.cpus = self.mem = self.disk = self.gpus = 0
        self.other.clear()

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
        self.divisors: tuple[float, float, float, float] = (INFINITY,) * 4

    def change(self, more: Quantities, less: Quantities) -> None:
        """`more` has come and `less` has gone."""
        if more == less:
            return
        self.gain(more)
        self.lose(less)
        self.version += 1
        self.divisors = (
            self.cpus or INFINITY,
            self.mem or INFINITY,
            self.disk or INFINITY,
            self.gpus or INFINITY,
        )


class Competitor(Holding):
    """Who has a place in a fair order: a role among roles, a client within its role.

    `mask` has the bits of the clients that it stands for: one, or those of a role. `key` is what
    the order sorts by, and changes only while it is out of the list.
    """

    __slots__ = ("key", "mask", "name", "stale", "tie", "weight")

    def __init__(self, name: str, mask: int = 0, weight: Fraction = _ONE) -> None:
        super().__init__()
        self.name = name
        self.mask = mask
        self.key = 0
        self.stale = False
        #: Times served and rank, the low bits of the key. A count that runs over after 2**32 turns
        #: adds a 2**-52th to the share, which nobody will notice.
        self.tie = 0
        self.set_weight(weight)

    def set_weight(self, weight: Fraction) -> None:
        """Above 0. The order is to be told by `FairOrder.changed`."""
        self.weight = _ONE if weight == _ONE else weight  # compared by identity: 20 times faster

    def share(self, total: ClusterTotal) -> float:
        """The weighted dominant share: 0 for nothing, 1 for all of a resource at weight 1."""
        if self.weight is not _ONE:
            return self._weighted_share(total)
        cpus, mem, disk, gpus = total.divisors
        share = self.cpus / cpus
        if (of_mem := self.mem / mem) > share:
            share = of_mem
        if (of_disk := self.disk / disk) > share:
            share = of_disk
        if (of_gpus := self.gpus / gpus) > share:
            share = of_gpus
        if self.other:
            for name, held in self.other.items():
                if name in total.other and (of_other := held / total.other[name]) > share:
                    share = of_other
        return share

    def _weighted_share(self, total: ClusterTotal) -> float:
        # One division each, as without a weight: rounding twice would tell equal fractions apart.
        num, den = self.weight.numerator, self.weight.denominator
        cpus, mem, disk, gpus = total.divisors
        share = max(
            self.cpus * den / (cpus * num),
            self.mem * den / (mem * num),
            self.disk * den / (disk * num),
            self.gpus * den / (gpus * num),
        )
        for name, held in self.other.items():
            if name in total.other:
                share = max(share, held * den / (total.other[name] * num))
        return share


C = TypeVar("C", bound=Competitor)


class FairOrder(Generic[C]):
    """Competitors, poorest first. Names are unique. `members_of` finds them by the bits of a mask.

    At rest the keys are in a SortedList. The first turn of a cycle lines them up in a plain list,
    7 us for 1,000, since a turn there costs 0.3 us and in a SortedList 1.0 us; who changes next
    finds a SortedList made of it. That is made only then: ten thousand offers that come back
    between two cycles move each competitor once, and all together at the price of one sort.
    """

    def __init__(self, total: ClusterTotal, members_of: Callable[[int], Iterable[C]]) -> None:
        self._total = total
        self._members_of = members_of
        self._version = total.version
        self._members: dict[str, C] = {}
        self._by_rank: dict[int, C] = {}
        self._names: SortedList[str] = SortedList()
        #: The keys that members have, or had when they became stale. Not while there is a line.
        self._order: SortedList[int] = SortedList()
        #: The same in a plain list while turns are taken; nobody is stale meanwhile.
        self._line: list[int] = []
        self._stale: list[C] = []
        #: The version of the total for which the line is right, or that somebody is stale.
        self._ready = _NOT_READY
        self._few = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[C]:
        return iter(self._members.values())

    def add(self, new: C) -> None:
        """Give `new` a place. O(log n), and O(n log n) when the ranks must be spread anew."""
        names = self._names
        at = names.bisect_left(new.name)
        below = self._rank_of(names[at - 1]) if at else 0
        above = self._rank_of(names[at]) if at < len(names) else _RANK_MAX
        if not names:
            rank = _RANK_MAX // 2
        elif at == len(names):
            rank = below + _RANK_STEP
        elif not at:
            rank = above - _RANK_STEP
        else:
            rank = (below + above) // 2
        names.add(new.name)
        self._members[new.name] = new
        new.key = _NO_KEY
        self.changed(new)
        self._few = isqrt(len(names)) // 2
        if below < rank < above:
            new.tie = rank
            self._by_rank[rank] = new
        else:
            self._rank_anew()

    def remove(self, old: C) -> None:
        """Take `old` out. O(log n), and O(n) when its share has just changed."""
        self._leave_line()
        if old.stale:
            self._stale.remove(old)
        if old.key != _NO_KEY:
            self._order.remove(old.key)
        self._names.remove(old.name)
        del self._by_rank[old.tie & _RANK_MAX]
        del self._members[old.name]
        self._few = isqrt(len(self._names)) // 2

    def changed(self, member: C) -> None:
        """What decides `member`'s place has changed: what it holds, its weight, or its turns."""
        if not member.stale:
            member.stale = True
            self._stale.append(member)
            self._ready = _NOT_READY

    def poorest(self, eligible: int) -> C:
        """Whose turn it is: the poorest with a bit in `eligible`, of whom there is one or more."""
        if self._ready != self._total.version:
            self._line_up()
        member = self._by_rank[self._line[0] & _RANK_MAX]
        return member if member.mask & eligible else self._search(eligible)

    def give(self, eligible: int, gift: Quantities) -> C:
        """It is the turn of the poorest in `eligible`, who takes `gift`, and is returned.

        The busiest step of all, so it is one piece: 1.0 us, and 1.3 us with a call for each part.
        """
        if self._ready != self._total.version:
            self._line_up()
        line = self._line
        member = self._by_rank[line[0] & _RANK_MAX]
        if member.mask & eligible:
            del line[0]
        else:
            member = self._search(eligible)
            del line[bisect_left(line, member.key)]
        cpus, mem, disk, gpus, other = gift
        member.cpus = cpus = member.cpus + cpus
        member.mem = mem = member.mem + mem
        member.disk = disk = member.disk + disk
        member.gpus = gpus = member.gpus + gpus
        member.tie = tie = member.tie + SERVED_ONCE
        if other or member.other or member.weight is not _ONE:
            member.gain_other(other)
            share = member.share(self._total)
        else:
            of_cpus, of_mem, of_disk, of_gpus = self._total.divisors
            share = cpus / of_cpus
            if (share_of_mem := mem / of_mem) > share:
                share = share_of_mem
            if (share_of_disk := disk / of_disk) > share:
                share = share_of_disk
            if gpus and (share_of_gpus := gpus / of_gpus) > share:
                share = share_of_gpus
        member.key = key = (int(share * _SHARE_ONE) << _TIE_BITS) + tie
        insort(line, key)
        return member

    def in_order(self) -> list[C]:
        """All members, the poorest first."""
        self._line_up()
        return [self._by_rank[key & _RANK_MAX] for key in self._line]

    def check(self) -> None:
        """Assert every invariant, O(n log n). Tests call it after each event; production never."""
        names = sorted(self._members)
        assert list(self._names) == names
        assert [m.name for _rank, m in sorted(self._by_rank.items())] == names
        assert all(rank == member.tie & _RANK_MAX for rank, member in self._by_rank.items())
        placed = [member for member in self._members.values() if member.key != _NO_KEY]
        assert (self._line or list(self._order)) == sorted(member.key for member in placed)
        assert len({id(m) for m in self._stale}) == len(self._stale)
        assert {m.name for m in self._stale} == {n for n, m in self._members.items() if m.stale}
        assert self._ready == _NOT_READY or (self._line and not self._stale)
        if self._version == self._total.version and len(self) > 1:
            assert all(m.stale or m.key == self._key_of(m) for m in self._members.values())
            assert all(m.stale or m.key != _NO_KEY for m in self._members.values())

    def _search(self, eligible: int) -> C:
        """The poorest in `eligible`, of whom there is one or more; the line is up.

        Walks down it: n / (k + 1) steps on average if k of n are eligible, a tenth of a us each.
        So few of them are better compared with each other, at a quarter of a us each.
        """
        if eligible.bit_count() <= self._few:
            return min(self._members_of(eligible), key=_key)
        by_rank = self._by_rank
        for key in self._line:
            member = by_rank[key & _RANK_MAX]
            if member.mask & eligible:
                return member
        raise LookupError(f"none of {len(self)} competitors is in {eligible:#x}")

    def _line_up(self) -> None:
        """Everybody in place, in a plain list."""
        if self._stale or self._version != self._total.version:
            self._settle()
        if not self._line:
            self._line = list(self._order)
        self._ready = self._version

    def _leave_line(self) -> None:
        self._ready = _NOT_READY
        if self._line:
            self._order = SortedList(self._line)
            self._line = []

    def _settle(self) -> None:
        """Put everybody in place: O(log n) for each who changed, O(n) for many or a new total."""
        stale = self._stale
        if self._version != self._total.version or len(stale) > _STALE_FEW + self._few**2:
            self._sort_anew()
            return
        self._leave_line()
        for member in stale:
            if member.key != _NO_KEY:
                self._order.remove(member.key)
            member.key = key = self._key_of(member)
            member.stale = False
            self._order.add(key)
        stale.clear()

    def _sort_anew(self) -> None:
        for member in self._members.values():
            member.key = self._key_of(member)
            member.stale = False
        self._stale.clear()
        self._version = self._total.version
        self._line = sorted(member.key for member in self._members.values())
        self._ready = self._version

    def _rank_anew(self) -> None:
        """Spread the ranks evenly around the middle, and sort by them."""
        step = min(_RANK_STEP, _RANK_MAX // (len(self) + 1))
        rank = (_RANK_MAX - step * len(self)) // 2
        self._by_rank.clear()
        for name in self._names:
            rank += step
            member = self._members[name]
            member.tie = member.tie & ~_RANK_MAX | rank
            self._by_rank[rank] = member
        self._sort_anew()

    def _rank_of(self, name: str) -> int:
        return self._members[name].tie & _RANK_MAX

    def _key_of(self, member: C) -> int:
        return (int(member.share(self._total) * _SHARE_ONE) << _TIE_BITS) + member.tie


def _key(member: Competitor) -> int:
    return member.key
