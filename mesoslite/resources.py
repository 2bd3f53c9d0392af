"""Exact resource arithmetic: what an agent has, an offer holds, a task needs.

Scalars are whole thousandths, so any sequence of grants and returns brings an agent back to
exactly what it advertised. An amount is found by its key, in Mesos's spelling: ``cpus`` when it is
reserved for nobody, ``cpus(ads)`` when it is reserved for the role ads; ``cpus(ads)(broker-0)`` in
a reservation that was made while the agent ran, and ``disk(ads)(broker-0)(data)`` as a volume.

    >>> free = Resources(cpus=4, mem="1GiB", ports="[31000-31002]")
    >>> str(free - Resources(cpus=0.5, ports=[(31001, 31001)]))
    'cpus:3.5;mem:1024;ports:[31000-31000,31002-31002]'

Bad input raises `InvalidResources`. `Shortfall`, `Overlap` and `MixedKinds` are accounting bugs of
the caller: ask `covers` first, and take the needs of a peer's tasks from what there is one after
another rather than adding them up, since two tasks may name one port.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import ClassVar, final

from mesoslite import ranges as spans
from mesoslite.ranges import RANGE_MAX, RANGES_MAX, Ranges
from mesoslite.spelling import (
    ITEMS_MAX,
    KEYS_MAX,
    NAMES_MAX,
    NOTHING,
    PORT_MAX,
    SCALAR_MAX,
    THOUSANDTHS,
    UNRESERVED,
    Amounts,
    InvalidResources,
    entries_of,
    entries_of_json,
    gather,
    in_order,
    is_dynamic,
    is_volume,
    json_of,
    key,
    key_parts,
    name_of_two_kinds,
    shared_item,
    shared_number,
    split_key,
    text_of,
    thousandths,
    why_not_role,
    with_scalars,
)

__all__ = [
    "ITEMS_MAX",
    "KEYS_MAX",
    "NAMES_MAX",
    "PORT_MAX",
    "RANGES_MAX",
    "RANGE_MAX",
    "SCALAR_MAX",
    "THOUSANDTHS",
    "UNRESERVED",
    "InvalidResources",
    "MixedKinds",
    "Overlap",
    "Quantities",
    "Ranges",
    "Resources",
    "Shortfall",
    "is_dynamic",
    "is_volume",
    "key",
    "key_parts",
    "quantities",
    "split_key",
    "stated_names",
    "total_of",
    "why_not_role",
]

Number = int | float | Decimal | str
Pairs = str | list[tuple[int, int]] | tuple[tuple[int, int], ...]
Quantities = tuple[int, int, int, int, tuple[tuple[str, int], ...]]
"""Thousandths of cpus, mem, disk and gpus, then of each other scalar there is by name. A plain
tuple: unpacking one is five times faster than reading a mapping."""
Items = set[str] | frozenset[str] | list[str] | tuple[str, ...]


class Shortfall(Exception):
    """More was taken than there is: an accounting bug of the caller, never bad user input."""

    def __init__(self, *, have: "Resources", need: "Resources | str") -> None:
        super().__init__(f"need {need}, have {have or 'nothing'}")
        self.have, self.need = have, need


class Overlap(Exception):
    """The same port, number or set item was added twice: an accounting bug of the caller."""

    def __init__(self, *, one: "Resources", other: "Resources", shared: str) -> None:
        super().__init__(f"{shared} is in both {one} and {other}")
        self.one, self.other, self.shared = one, other, shared


class MixedKinds(Exception):
    """One name was added as two kinds, such as a scalar and ranges: a bug of the caller."""

    def __init__(self, *, one: "Resources", other: "Resources", name: str) -> None:
        super().__init__(f"{name} is of one kind in {one} and of another in {other}")
        self.one, self.other, self.name = one, other, name


@final
class Resources:
    """An amount of every divisible thing on one agent, or asked of one. Immutable, hashable.

    Numbers are given as one writes them and kept exactly: ``cpus`` in cores (0.1), ``mem`` and
    ``disk`` in MiB or as text with a unit ("4GiB"), ``gpus`` whole, ``ports`` as
    ``"[31000-32000]"`` or pairs with both ends included. Any other name is a custom resource: a
    number, ``"[1-5]"`` or pairs, ``"{a,b}"`` or a set of texts; but a slip, as
    ``cpu`` or ``memory``, is refused with the name that is meant. All of it is for `role`, ``*``
    being nobody's, and of its dynamic `reservation` if there is one. Zero amounts vanish, so
    equality is by value.

    Raises InvalidResources for what is negative, not finite, over the limits of spelling.py, or
    not of the kind its name has. About 7 us for two whole numbers, 5 us more for
    each fraction.
    """

    __slots__ = ("_hash", "_quantities", "_ranges", "_scalars", "_sets")

    #: No resources at all.
    EMPTY: ClassVar["Resources"]

    _scalars: dict[str, int]
    _ranges: dict[str, Ranges]
    _sets: dict[str, frozenset[str]]
    _hash: int  # 0 until asked for
    _quantities: Quantities | None  # None until asked for

    def __init__(
        self,
        *,
        cpus: Number = 0,
        mem: Number = 0,
        disk: Number = 0,
        gpus: Number = 0,
        ports: Pairs = (),
        role: str = UNRESERVED,
        reservation: str = "",
        **custom: Number | Pairs | Items,
    ) -> None:
        given = (("cpus", cpus), ("mem", mem), ("disk", disk), ("gpus", gpus), ("ports", ports))
        suffix = "" if role == UNRESERVED else f"({role})"
        if reservation:
            suffix = f"({role})({reservation})"
        amounts = gather(
            (f"resources: {name}", name + suffix, value)
            for name, value in (*given, *custom.items())
            if (type(value) is not int or value) and value != ()
        )
        self._scalars, self._ranges, self._sets = amounts
        self._hash = 0
        self._quantities = None

    @classmethod
    def parse(cls, text: str) -> "Resources":
        """From Mesos's text (``cpus:4;mem:4GiB;ports:[31000-32000];disk(ads):10``) or from JSON.

        The JSON is Mesos's list of resources or a plain object such as ``{"cpus": 4}``. Raises
        InvalidResources: one line with the piece, its position, and what would be right.
        """
        return _made(*gather(entries_of(text)))

    @classmethod
    def from_json(cls, document: object) -> "Resources":
        """From a decoded JSON document, as `parse` does from its text."""
        return _made(*gather(entries_of_json(document)))

    @classmethod
    def from_amounts(
        cls,
        scalars: Mapping[str, int],
        ranges: Mapping[str, Iterable[tuple[int, int]]] | None = None,
        sets: Mapping[str, Iterable[str]] | None = None,
    ) -> "Resources":
        """From exact parts, each by key: scalars in thousandths. For decoders; checks everything.

        Raises InvalidResources, as the other ways in do; zero and empty amounts vanish.
        """
        entries: list[tuple[str, str, object]] = []
        entries += [(_place(at), at, [*pairs]) for at, pairs in (ranges or {}).items()]
        entries += [(_place(at), at, frozenset(items)) for at, items in (sets or {}).items()]
        return _made(*with_scalars(gather(entries, written=False) if entries else NOTHING, scalars))

    # --- arithmetic: the hot path -----------------------------------------------------------------

    def __add__(self, more: "Resources") -> "Resources":
        """Both together. About 0.9 us for 4 scalars, 2.2 us with a range in each.

        Raises Overlap when a number or an item is in both (also in two roles), MixedKinds when a
        name is of two kinds. The sum of different agents' ports overlaps: see `scalars_only`.
        """
        if type(more) is not Resources:
            return NotImplemented
        if not self:
            return more
        mine = self._scalars
        scalars = mine.copy()
        have = scalars.get
        for at, amount in more._scalars.items():
            scalars[at] = have(at, 0) + amount
        ranges = self._ranges
        if more._ranges:
            ranges = _ranges_together(self, more) if ranges else more._ranges
        sets = self._sets
        if more._sets:
            sets = _sets_together(self, more) if sets else more._sets
        if len(scalars) != len(mine) or ranges.keys() != self._ranges.keys() or sets != self._sets:
            # A new key may be of another kind, and stands last: neither may stay so.
            if ranges or sets:
                _one_kind_each(self, more)
            scalars, ranges, sets = in_order(Amounts(scalars, ranges, sets))
        return _made(scalars, ranges, sets)

    def __sub__(self, less: "Resources") -> "Resources":
        """What is left. Raises Shortfall if anything in `less` is not here.

        About 0.7 us for 4 scalars, 1.5 us with a range in each.
        """
        if type(less) is not Resources:
            return NotImplemented
        scalars = self._scalars.copy()
        have = scalars.get
        for at, amount in less._scalars.items():
            left = have(at, 0) - amount
            if left > 0:
                scalars[at] = left
            elif left:
                raise Shortfall(have=self, need=less)
            else:
                del scalars[at]
        ranges = _ranges_without(self, less) if less._ranges else self._ranges
        sets = _sets_without(self, less) if less._sets else self._sets
        return _made(scalars, ranges, sets)

    def covers(self, need: "Resources") -> bool:
        """Whether `need` can be taken from this, key by key. 0.4 us for 4 scalars,
        0.7 us with a range in each."""
        have = self._scalars.get
        for at, amount in need._scalars.items():
            if have(at, 0) < amount:
                return False
        for at, pairs in need._ranges.items():
            if not spans.covers(self._ranges.get(at, ()), pairs):
                return False
        for at, items in need._sets.items():  # noqa: SIM110 - all() costs a generator each call
            if not items <= self._sets.get(at, _NO_ITEMS):
                return False
        return True

    def missing(self, need: "Resources") -> "Resources":
        """What of `need` is not here: empty exactly when `covers(need)`. For messages."""
        scalars = {
            at: amount - self._scalars.get(at, 0)
            for at, amount in need._scalars.items()
            if amount > self._scalars.get(at, 0)
        }
        ranges = {
            at: spans.lacking(self._ranges.get(at, ()), pairs) for at, pairs in need._ranges.items()
        }
        sets = {at: items - self._sets.get(at, _NO_ITEMS) for at, items in need._sets.items()}
        return _made(
            scalars,
            {at: pairs for at, pairs in ranges.items() if pairs},
            {at: items for at, items in sets.items() if items},
        )

    def __bool__(self) -> bool:
        return bool(self._scalars or self._ranges or self._sets)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Resources:
            return NotImplemented
        return (
            self._scalars == other._scalars
            and self._ranges == other._ranges
            and self._sets == other._sets
        )

    def __hash__(self) -> int:
        """Kept once computed; 1.5 us the first time."""
        if not self._hash:
            parts = (*self._scalars.items(), *self._ranges.items(), *self._sets.items())
            self._hash = hash(parts) or 1
        return self._hash

    # --- reading ----------------------------------------------------------------------------------

    @property
    def scalars(self) -> Mapping[str, int]:
        """Thousandths by key, sorted by key; a read-only view."""
        return MappingProxyType(self._scalars)

    @property
    def ranges(self) -> Mapping[str, Ranges]:
        """Ranges by key, sorted by key; a read-only view."""
        return MappingProxyType(self._ranges)

    @property
    def sets(self) -> Mapping[str, frozenset[str]]:
        """Set items by key, sorted by key; a read-only view."""
        return MappingProxyType(self._sets)

    def scalar(self, at: str) -> int:
        """Thousandths of exactly this key (``cpus``, ``cpus(ads)``), else 0. About 70 ns."""
        return self._scalars.get(at, 0)

    @property
    def cpus(self) -> float:
        """Cores, over all roles."""
        return self._over_roles("cpus") / THOUSANDTHS

    @property
    def mem(self) -> float:
        """Memory in MiB, over all roles."""
        return self._over_roles("mem") / THOUSANDTHS

    @property
    def disk(self) -> float:
        """Disk in MiB, over all roles, with the volumes on it."""
        return self._over_roles("disk") / THOUSANDTHS

    @property
    def gpus(self) -> int:
        """Whole GPUs, over all roles."""
        return self._over_roles("gpus") // THOUSANDTHS

    @property
    def ports(self) -> Ranges:
        """Port ranges, both ends included, sorted, over all roles."""
        held = self._ranges
        if len(held) <= 1:
            return held.get("ports", ()) or next(
                (pairs for at, pairs in held.items() if split_key(at)[0] == "ports"), ()
            )
        every = (
            pair for at, pairs in held.items() if split_key(at)[0] == "ports" for pair in pairs
        )
        return spans.normal(every)

    def roles(self) -> frozenset[str]:
        """Every role that something here is reserved for; ``*`` when something is unreserved."""
        return frozenset(
            split_key(at)[1] for part in (self._scalars, self._ranges, self._sets) for at in part
        )

    def unreserved(self) -> "Resources":
        """What is reserved for nobody."""
        return self.available_to(UNRESERVED)

    def available_to(self, role: str) -> "Resources":
        """What may be offered to `role`: the unreserved, and what is reserved for it or for a role
        above it (``eng`` is above ``eng/ads``). 0.9 us, and no copy, when nothing is reserved.
        """
        if not any("(" in at for part in (self._scalars, self._ranges, self._sets) for at in part):
            return self
        open_to = {UNRESERVED, role, *(role[:end] for end, c in enumerate(role) if c == "/")}
        return _made(
            {at: v for at, v in self._scalars.items() if split_key(at)[1] in open_to},
            {at: v for at, v in self._ranges.items() if split_key(at)[1] in open_to},
            {at: v for at, v in self._sets.items() if split_key(at)[1] in open_to},
        )

    def of_reservation(self, reservation: str, role: str | None = None) -> "Resources":
        """What is here of a dynamic reservation (of this role), without its volumes."""
        return self._where(
            lambda at: (
                (parts := key_parts(at)).reservation == reservation
                and not parts.volume
                and role in (None, parts.role)
            )
        )

    def volumes(self) -> "Resources":
        """The volumes that are here, each with its size under its own key."""
        return self._where(is_volume)

    def reserved(self, role: str, reservation: str = "") -> "Resources":
        """What is unreserved here, as it is called when it is reserved. Raises InvalidResources."""
        of = self.unreserved()
        return _made(
            {key(at, role, reservation): v for at, v in of._scalars.items()},
            {key(at, role, reservation): v for at, v in of._ranges.items()},
            {key(at, role, reservation): v for at, v in of._sets.items()},
        )

    def _where(self, wanted: Callable[[str], bool]) -> "Resources":
        return _made(
            {at: v for at, v in self._scalars.items() if wanted(at)},
            {at: v for at, v in self._ranges.items() if wanted(at)},
            {at: v for at, v in self._sets.items() if wanted(at)},
        )

    def scalars_only(self) -> "Resources":
        """Without ranges and sets: what can be summed over agents, where ports would overlap."""
        return _made(self._scalars, {}, {}) if self._ranges or self._sets else self

    def take_ports(self, wanted: int) -> "Resources":
        """The first `wanted` single ports that are here, as an amount to ask for."""
        return self.take("ports", wanted)

    def take(self, name: str, wanted: Number) -> "Resources":
        """A part of what is here: `wanted` of a scalar, or that many numbers of ranges or items.

        What is reserved goes first, by role, then what is unreserved; the lowest first. Volumes
        are left alone. Raises
        Shortfall when there is less, InvalidResources for a `wanted` that is no amount (or, of
        ranges and sets, not whole).
        """
        every = (*self._scalars, *self._ranges, *self._sets)
        at_hand = [at for at in every if _named(at, name) and not is_volume(at)]
        at_hand.sort(key=lambda at: (at == name, at))
        left = thousandths(name, wanted)
        scalars, ranges, sets = Amounts({}, {}, {})
        for at in at_hand:
            if not left:
                break
            if at in self._scalars:
                scalars[at] = min(left, self._scalars[at])
                left -= scalars[at]
                continue
            single = _whole(name, left)
            if at in self._ranges:
                ranges[at] = spans.first(self._ranges[at], single)
                left -= spans.count(ranges[at]) * THOUSANDTHS
            else:
                sets[at] = frozenset(sorted(self._sets[at])[:single])
                left -= len(sets[at]) * THOUSANDTHS
        if left:
            raise Shortfall(have=self, need=f"{wanted} of {name}")
        return _made(*in_order(Amounts(scalars, ranges, sets)))

    # --- text -------------------------------------------------------------------------------------

    def to_json(self) -> list[dict[str, object]]:
        """Mesos's list of resources, ready for json.dumps; `from_json` reads it back the same."""
        return json_of(Amounts(self._scalars, self._ranges, self._sets))

    def __str__(self) -> str:
        """Mesos's spelling, ``cpus:4;mem:1024``; `parse` reads it back the same. "" is nothing.

        A sum over many agents may be over the limits of what `parse` takes from a person.
        """
        return text_of(Amounts(self._scalars, self._ranges, self._sets))

    def __repr__(self) -> str:
        return f"Resources.parse({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Without the hash: texts hash differently in another process.
        return _made, (self._scalars, self._ranges, self._sets)

    def _over_roles(self, name: str) -> int:
        total = 0
        for at, amount in self._scalars.items():
            if at == name or ("(" in at and _named(at, name)):
                total += amount
        return total


_NO_ITEMS: frozenset[str] = frozenset()
_NO_OTHERS: tuple[tuple[str, int], ...] = ()
_bare = object.__new__


def _made(
    scalars: dict[str, int], ranges: dict[str, Ranges], sets: dict[str, frozenset[str]]
) -> Resources:
    """From parts that are valid, normal and sorted already, and that nobody changes any more."""
    new = _bare(Resources)
    new._scalars = scalars
    new._ranges = ranges
    new._sets = sets
    new._hash = 0
    new._quantities = None
    return new


Resources.EMPTY = Resources()


def quantities(amount: Resources) -> Quantities:
    """The scalars of an amount by name, whatever role they are reserved for.

    Kept once computed: 60 ns, 0.4 us the first time.
    """
    known = amount._quantities
    if known is not None:
        return known
    scalars = amount._scalars
    get = scalars.get
    cpus, mem, disk, gpus = get("cpus", 0), get("mem", 0), get("disk", 0), get("gpus", 0)
    if len(scalars) == (cpus > 0) + (mem > 0) + (disk > 0) + (gpus > 0):
        amount._quantities = of = cpus, mem, disk, gpus, _NO_OTHERS
        return of
    named: dict[str, int] = {}
    for at, held in scalars.items():
        name = split_key(at)[0]
        named[name] = named.get(name, 0) + held
    first = (named.pop("cpus", 0), named.pop("mem", 0), named.pop("disk", 0), named.pop("gpus", 0))
    amount._quantities = of = *first, tuple(named.items())
    return of


def total_of(amounts: Iterable[Resources]) -> Resources:
    """The sum; no amounts make `Resources.EMPTY`. Raises as ``+`` does.

    Scalars are added up in one table: 0.4 us an amount, a third of what ``+`` takes.
    """
    scalars: dict[str, int] = {}
    have = scalars.get
    more = []
    for amount in amounts:
        if amount._ranges or amount._sets:
            more.append(amount)
        else:
            for at, count in amount._scalars.items():
                scalars[at] = have(at, 0) + count
    total = _made(*in_order(Amounts(scalars, {}, {}))) if scalars else Resources.EMPTY
    for amount in more:
        total += amount
    return total


def stated_names(text: str) -> frozenset[str]:
    """The names a text or JSON speaks of, also those it sets to zero.

    An agent detects what its operator did not state: ``gpus:0`` says that there are none to offer.
    Raises InvalidResources, as `Resources.parse` does.
    """
    entries = entries_of(text)
    gather(entries)
    return frozenset(split_key(spelled)[0] for _where, spelled, _value in entries)


def _place(at: str) -> str:
    """Where something is wrong, for a message of one line: a peer's key may be anything."""
    shown = at[:60]
    return f"resources: {shown if shown.isprintable() else repr(shown)}"


def _named(at: str, name: str) -> bool:
    return at.startswith(name) and (len(at) == len(name) or at[len(name)] == "(")


def _whole(name: str, amount: int) -> int:
    """Thousandths as a count of ports or items."""
    single, part = divmod(amount, THOUSANDTHS)
    if part:
        raise InvalidResources(f"resources: {name}: only whole ones can be taken")
    return single


def _ranges_together(one: Resources, other: Resources) -> dict[str, Ranges]:
    out = one._ranges.copy()
    for at, pairs in other._ranges.items():
        both = spans.plus(out.get(at, ()), pairs)
        if both is None:
            raise Overlap(one=one, other=other, shared=f"a part of {at}")
        out[at] = both
    if (twice := shared_number(out)) is not None:
        raise Overlap(one=one, other=other, shared=f"{twice[1]} of {twice[0]}")
    return out


def _sets_together(one: Resources, other: Resources) -> dict[str, frozenset[str]]:
    out = one._sets.copy()
    for at, items in other._sets.items():
        held = out.get(at, _NO_ITEMS)
        if not held.isdisjoint(items):
            raise Overlap(one=one, other=other, shared=f"{min(held & items)} of {at}")
        out[at] = held | items
    if (twice := shared_item(out)) is not None:
        raise Overlap(one=one, other=other, shared=f"{twice[1]} of {twice[0]}")
    return out


def _ranges_without(have: Resources, less: Resources) -> dict[str, Ranges]:
    out = have._ranges.copy()
    for at, pairs in less._ranges.items():
        rest = spans.minus(out.get(at, ()), pairs)
        if rest is None:
            raise Shortfall(have=have, need=less)
        if rest:
            out[at] = rest
        else:
            del out[at]
    return out


def _sets_without(have: Resources, less: Resources) -> dict[str, frozenset[str]]:
    out = have._sets.copy()
    for at, items in less._sets.items():
        held = out.get(at, _NO_ITEMS)
        if not items <= held:
            raise Shortfall(have=have, need=less)
        if items == held:
            del out[at]
        else:
            out[at] = held - items
    return out


def _one_kind_each(one: Resources, other: Resources) -> None:
    name = name_of_two_kinds(
        (*one._scalars, *other._scalars),
        (*one._ranges, *other._ranges),
        (*one._sets, *other._sets),
    )
    if name is not None:
        raise MixedKinds(one=one, other=other, name=name)
