"""Cuts: how many units of a request an amount holds, and which part of the amount they are.

What one unit needs names no roles. It is served from what its role may have: first from what is
reserved for that role (or one above it), by key in order, then from what is reserved for nobody.
"""

from __future__ import annotations

from mesoslite import ranges as spans
from mesoslite.allocator.sorter import Quantities, quantities
from mesoslite.ranges import Ranges
from mesoslite.resources import Resources

_KEPT_MAX = 16  # amounts of so many whole units are kept for each shape, 300 B each


class Unit:
    """What one unit of a request needs: an amount, and so many ports, whichever are free."""

    __slots__ = ("_multiples", "amount", "needs", "ports", "single")

    def __init__(self, amount: Resources, ports: int) -> None:
        self.amount = amount
        self.ports = ports
        self.needs = quantities(amount)
        #: It names ports, numbers or items: no agent can hold two of them.
        self.single = bool(amount.ranges or amount.sets)
        self._multiples: dict[int, tuple[Resources, Quantities]] = {}

    def fits(self, amount: Resources, most: int) -> int:
        """How many units `amount`, which names no roles, holds; at most `most`. About 0.4 us."""
        cpus, mem, disk, gpus, other = self.needs
        has_cpus, has_mem, has_disk, has_gpus, has_other = quantities(amount)
        if has_cpus < cpus or has_mem < mem or has_disk < disk or has_gpus < gpus:
            return 0
        if most > 1:
            if has_cpus < cpus * most:
                most = has_cpus // cpus
            if has_mem < mem * most:
                most = has_mem // mem
            if has_disk < disk * most:
                most = has_disk // disk
            if has_gpus < gpus * most:
                most = has_gpus // gpus
        if other:
            there = dict(has_other)
            most = min(most, *(there.get(name, 0) // each for name, each in other))
        if self.single and most:
            most = int(amount.covers(self.amount))
        if self.ports and most:
            most = min(most, spans.count(self._free_ports(amount)) // self.ports)
        return most

    def take(self, amount: Resources, units: int) -> tuple[Resources, Quantities]:
        """So many units of `amount`, which holds them and names no roles, the lowest ports first.

        0.2 us for what is kept, 10 us more with ports.
        """
        kept = self._multiples.get(units)
        if kept is None:
            whole = self.amount
            if units > 1:
                scalars = self.amount.scalars.items()
                whole = Resources.from_amounts({at: each * units for at, each in scalars})
            if len(self._multiples) >= _KEPT_MAX:
                self._multiples.clear()
            kept = self._multiples[units] = whole, quantities(whole)
        if not self.ports:
            return kept
        ports = spans.first(self._free_ports(amount), self.ports * units)
        return kept[0] + Resources.from_amounts({}, {"ports": ports}), kept[1]

    def missing(self, amount: Resources) -> tuple[Resources, int]:
        """What `amount`, which names no roles, lacks of one unit, and how many ports."""
        free = spans.count(self._free_ports(amount))
        return amount.missing(self.amount), max(0, self.ports - free)

    def _free_ports(self, amount: Resources) -> Ranges:
        """The ports that are not among those that the unit names."""
        free = amount.ranges.get("ports", ())
        named = self.amount.ranges.get("ports", ())
        return spans.lacking(named, free) if named else free
