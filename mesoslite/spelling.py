"""How resources are spelled: names, roles, Mesos's text, JSON; and the limits on what comes in.

Everything that a person or a peer wrote passes through here once and becomes an `Amounts`: exact,
bounded, normal. What cannot be read is refused with `InvalidResources`, in one line that names the
piece, where it stands, and what would be right.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mesoslite.ranges import RANGE_MAX, RANGES_MAX, Ranges, normal, parse_ranges, ranges_text

#: Scalars are counted in thousandths, as Mesos rounds them (its src/common/values.cpp).
THOUSANDTHS = 1_000
#: One scalar, in thousandths: 10**12 cores, or an exbibyte counted in MiB.
SCALAR_MAX = 10**15
#: Different names in one value; an agent has about five.
NAMES_MAX = 64
#: Amounts in one value: a name counts once for each role.
KEYS_MAX = 1_024
#: Set items in one value, and the length of one.
ITEMS_MAX = 10_000
ITEM_LENGTH_MAX = 255
#: What ids look like: of tasks and agents, of reservations and volumes.
ID_PATTERN = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}\Z")
#: A role such as ``eng/ads``; one segment of it is as long as a file name may be.
ROLE_LENGTH_MAX = 255
#: The highest port there is.
PORT_MAX = 65_535
#: Characters of one text or JSON document.
TEXT_MAX = 1 << 20

#: The role of what is reserved for nobody.
UNRESERVED = "*"

SCALAR, RANGES, SET = "SCALAR", "RANGES", "SET"
#: Names whose kind is fixed; any other name has the kind it was first given.
KIND_OF_NAME = {"cpus": SCALAR, "mem": SCALAR, "disk": SCALAR, "gpus": SCALAR, "ports": RANGES}

#: What people write who mean one of these; no agent would ever have any of the other name.
_MEANT = {
    "cpus": ("cpu", "core", "cores", "vcpu", "vcpus"),
    "mem": ("mems", "memory", "ram"),
    "disk": ("disks", "disc", "discs"),
    "gpus": ("gpu",),
    "ports": ("port",),
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_ITEM = re.compile(r"[!-+\--:<-z|~]{1,255}")  # printable ASCII but `,` `;` `{` `}`
_BAD_IN_ROLE = re.compile(r"[\s\x00-\x1f\x7f();:]")
_NUMBER = re.compile(r"([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE]([+-]?[0-9]{1,2}))?")
_SIZE = re.compile(r"([0-9]{1,40}(?:\.[0-9]{0,40})?) ?([A-Za-z]{1,4})")
_BYTES_OF_UNIT = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BYTES_OF_MIB = 2**20
_IDS_IN_JSON = ("reservation", "volume")
_SIZED = ("mem", "disk")  # counted in MiB, so a unit of bytes has a meaning


class InvalidResources(ValueError):
    """What was written is no amount of resources: one line for the person who wrote it."""


class Amounts(NamedTuple):
    """What is in a `Resources`, validated: each by its key, keys sorted, nothing zero or empty."""

    scalars: dict[str, int]
    ranges: dict[str, Ranges]
    sets: dict[str, frozenset[str]]


#: No amounts. Not to be changed, as no `Amounts` is once it is handed on.
NOTHING = Amounts({}, {}, {})

# --- names, roles, keys ---------------------------------------------------------------------------


def why_not_role(role: str) -> str | None:
    """Why `role` is no role, or None when it is one: ``*``, ``ads`` or ``eng/ads``.

    The rules are Mesos's (no empty segment, ``.``, ``..``, leading ``-``, blank, backspace), and
    none of ``( ) ; :``, which end a role in the text form.
    """
    if role == UNRESERVED:
        return None
    if not role or len(role) > ROLE_LENGTH_MAX:
        return f"a role has 1 to {ROLE_LENGTH_MAX} characters"
    if _BAD_IN_ROLE.search(role) or not role.isprintable():
        return f"role {_show(role)} has a blank, a control character or one of ( ) ; :"
    for segment in role.split("/"):
        if segment in ("", ".", "..", UNRESERVED):
            return f"role {_show(role)} has the segment {segment!r}"
        if segment.startswith("-"):
            return f"role {_show(role)} has a segment that begins with '-'"
    return None


class KeyParts(NamedTuple):
    """What a key is made of; `reservation` and `volume` are ids, empty where there is none."""

    name: str
    role: str
    reservation: str
    volume: str


@lru_cache(maxsize=4_096)
def key(name: str, role: str = UNRESERVED, reservation: str = "", volume: str = "") -> str:
    """The key of an amount: ``cpus`` when unreserved, ``cpus(ads)`` when an agent's configuration
    reserves it, both as Mesos spells them; ``cpus(ads)(broker-0)`` in a dynamic reservation, and
    ``disk(ads)(broker-0)(data)`` as a volume, ``disk(ads)()(data)`` without a dynamic reservation.

    Raises InvalidResources for what is no name, role or id. About 100 ns when seen before.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidResources(
            f"{_show(name)} is no resource name; "
            "a name is a letter, then up to 63 of A-Z a-z 0-9 _ . -"
        )
    if (why_not := why_not_role(role)) is not None:
        raise InvalidResources(why_not)
    for noun, identity in (("reservation", reservation), ("volume", volume)):
        if identity and ID_PATTERN.match(identity) is None:
            raise InvalidResources(
                f"{_show(identity)} is no {noun}; its id has 1 to 128 of A-Z a-z 0-9 . _ -"
            )
    if role == UNRESERVED:
        if reservation or volume:
            raise InvalidResources(f"{_show(reservation or volume)} is reserved for no role")
        return name
    if volume and name != "disk":
        raise InvalidResources(f"a volume is disk, not {name}")
    at = f"{name}({role})"
    if volume:
        return f"{at}({reservation})({volume})"
    return f"{at}({reservation})" if reservation else at


@lru_cache(maxsize=4_096)
def key_parts(amount_key: str) -> KeyParts:
    """What a key is made of; the inverse of `key`, and accepts ``cpus(*)`` as well.

    Raises InvalidResources for what is no key. About 90 ns when seen before.
    """
    name, bracket, rest = amount_key.partition("(")
    if not bracket:
        key(amount_key)
        return KeyParts(amount_key, UNRESERVED, "", "")
    parts = rest[:-1].split(")(")  # a role has no brackets, nor has an id
    if not rest.endswith(")") or len(parts) > 3:
        right = "cpus(role), or cpus(role)(reservation)"
        raise InvalidResources(f"{_show(amount_key)} lacks a ')'; a reserved amount is {right}")
    role, reservation, volume = (*parts, "", "")[:3]
    if len(parts) > 1 and not parts[-1]:
        raise InvalidResources(f"{_show(amount_key)} ends with an empty id")
    key(name, role, reservation, volume)
    return KeyParts(name, role, reservation, volume)


@lru_cache(maxsize=4_096)
def split_key(amount_key: str) -> tuple[str, str]:
    """(name, role) of a key, as `key_parts`. About 90 ns when seen before."""
    name, role, _reservation, _volume = key_parts(amount_key)
    return name, role


def is_volume(at: str) -> bool:
    """Whether a key is that of a volume: ``disk(role)(reservation)(volume)``."""
    return at.count("(") == 3


def is_dynamic(at: str) -> bool:
    """Whether a key is of a dynamic reservation, or a volume."""
    return ")(" in at


def _slips() -> dict[str, str]:
    """Each slip -> the name that was meant: a word of `_MEANT`, or two letters that changed places.

    Not whatever is one letter off: TPUs may well be somebody's.
    """
    found = {slip: name for name, slips in _MEANT.items() for slip in slips}
    for name in KIND_OF_NAME:
        for at in range(len(name) - 1):
            found[name[:at] + name[at + 1] + name[at] + name[at + 2 :]] = name
    return found


_NAME_MEANT = _slips()


def _check_meant(name: str) -> None:
    """Refuse a name that is nearly one of Mesos's: nothing would ever have such a resource."""
    lowered = name.lower()
    meant = lowered if lowered in KIND_OF_NAME else _NAME_MEANT.get(lowered, name)
    if meant != name:
        raise InvalidResources(f"no resource is called {name!r}: did you mean {meant}?")


# --- one amount -----------------------------------------------------------------------------------


def thousandths(name: str, value: object) -> int:
    """A scalar as whole thousandths: 0.1 is 100, "4GiB" of mem is 4_096_000.

    More than three decimals are rounded half-even, as in Mesos (1.5123 is 1512); a size with a
    unit that is no whole number of thousandths of a MiB is rounded up, so that it always fits.
    Raises InvalidResources for what is no number, negative, not finite or over `SCALAR_MAX`, and
    for a part of a GPU. About 0.2 us for an int, 5 us for a float or a text.
    """
    if type(value) is int:
        if not 0 <= value <= SCALAR_MAX // THOUSANDTHS:
            raise InvalidResources(_out_of_bounds(value))
        return value * THOUSANDTHS
    sized = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and name in _SIZED else None
    if sized is not None:
        if sized[2] not in _BYTES_OF_UNIT:
            raise InvalidResources(
                f"{sized[2]!r} is no unit; write one of {' '.join(_BYTES_OF_UNIT)}"
            )
        size = Fraction(sized[1]) * _BYTES_OF_UNIT[sized[2]]
        amount = math.ceil(size * THOUSANDTHS / _BYTES_OF_MIB)
    else:
        exact = _exact(name, value)
        if name == "gpus" and exact.denominator != 1:
            raise InvalidResources(f"{_show(value)} is not a whole number of GPUs")
        amount = round(exact * THOUSANDTHS)  # round() of a Fraction is half-even, and exact
    if amount > SCALAR_MAX:
        raise InvalidResources(_out_of_bounds(value))
    return amount


def _exact(name: str, value: object) -> Fraction:
    """The number that was written, never the binary one nearest to it. Not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise InvalidResources(f"{_show(value)} is not an amount")
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text) is None:
            right = f"{name}:1024 (MiB) or {name}:4GiB" if name in _SIZED else f"{name}:1.5"
            raise InvalidResources(f"{_show(value)} is not an amount; write {right}")
        return Fraction(text)
    # A Decimal that is NaN raises when it is compared; a float that is NaN is just not within.
    if (isinstance(value, Decimal) and not value.is_finite()) or not 0 <= value <= SCALAR_MAX:
        raise InvalidResources(_out_of_bounds(value))
    if isinstance(value, Decimal) and value.adjusted() < -THOUSANDTHS:
        return Fraction(0)  # Decimal("1e-999999999") would be a fraction of a gigabyte
    return Fraction(repr(float(value)) if isinstance(value, float) else value)


def ranges_of(name: str, value: object) -> Ranges:
    """Ranges from ``"[1-5,7-7]"`` or ``[(1, 5), (7, 7)]``. Raises InvalidResources."""
    top = PORT_MAX if name == "ports" else RANGE_MAX
    try:
        if isinstance(value, str):
            return parse_ranges(value.strip(), top=top)
        if not isinstance(value, list | tuple):
            raise ValueError(f"{_show(value)} is not ranges; write [31000-32000]")
        return normal((_pair(one) for one in value), top=top)
    except InvalidResources:
        raise
    except ValueError as why:
        raise InvalidResources(str(why)) from None


def _pair(value: object) -> tuple[int, int]:
    match value:
        case (int(low), int(high)) if type(low) is int and type(high) is int:
            if max(abs(low), abs(high)) > RANGE_MAX:
                raise InvalidResources(f"a range must lie within 0-{RANGE_MAX}")
            return low, high
    raise InvalidResources(f"{_show(value)} is not a range; write (low, high), both included")


def items_of(value: object) -> frozenset[str]:
    """Set items from ``"{a,b}"`` or any collection of texts. Raises InvalidResources."""
    items: list[object]
    if isinstance(value, str):
        text = value.strip()
        if not (text.startswith("{") and text.endswith("}")):
            raise InvalidResources(f"{_show(value)} is not a set; write {{a,b}}")
        items = [item.strip() for item in text[1:-1].split(",")] if text[1:-1].strip() else []
    elif isinstance(value, set | frozenset | list | tuple):
        items = [*value]
    else:
        raise InvalidResources(f"{_show(value)} is not a set; write {{a,b}}")
    if len(items) > ITEMS_MAX:
        raise InvalidResources(f"more than {ITEMS_MAX} set items")
    out: set[str] = set()
    for item in items:
        if not isinstance(item, str) or _ITEM.fullmatch(item) is None:
            raise InvalidResources(
                f"{_show(item)} is no set item; one is 1 to {ITEM_LENGTH_MAX} printable ASCII "
                "characters, without blanks and , ; { }"
            )
        if item in out:
            raise InvalidResources(f"{_show(item)} is in the set twice")
        out.add(item)
    return frozenset(out)


# --- a whole value --------------------------------------------------------------------------------


def gather(entries: Iterable[tuple[str, str, object]], *, written: bool = True) -> Amounts:
    """Validated amounts from (where, key, value); `where` begins the message of what is refused.

    `written`: by a person, whose slips are told (``cpu``). A peer's names are its own, as in Mesos.

    The kind follows from the value: ``[..]`` and pairs are ranges, ``{..}`` and collections of
    texts are sets, the rest are scalars. Nothing may be said twice, and a port (or any number or
    item of one name) may not be in two roles.
    """
    out = Amounts({}, {}, {})
    kinds: dict[str, str] = {}
    seen: set[str] = set()
    for where, spelled, value in entries:
        try:
            parts = key_parts(spelled)
            name, at = parts.name, key(*parts)
            if at in seen:
                raise InvalidResources(f"{at} is given twice")
            seen.add(at)
            if len(seen) > KEYS_MAX:
                raise InvalidResources(f"more than {KEYS_MAX} amounts")
            kind = _kind(name, value)
            if written and kind != SET and name not in KIND_OF_NAME:  # none of Mesos's is a set
                _check_meant(name)
            if kinds.setdefault(name, kind) != kind:
                raise InvalidResources(f"{name} is {kinds[name]} in one role and {kind} in another")
            if len(kinds) > NAMES_MAX:
                raise InvalidResources(f"more than {NAMES_MAX} names")
            _put(out, name, at, kind, value)
        except InvalidResources as why:
            raise InvalidResources(f"{where}: {why}") from None
    if sum(map(len, out.ranges.values())) > RANGES_MAX:
        raise InvalidResources(f"more than {RANGES_MAX} ranges in all")
    if sum(map(len, out.sets.values())) > ITEMS_MAX:
        raise InvalidResources(f"more than {ITEMS_MAX} set items in all")
    for shared in (shared_number(out.ranges), shared_item(out.sets)):
        if shared is not None:
            raise InvalidResources(f"{shared[0]} has {shared[1]} in two roles")
    return in_order(out)


def with_scalars(rest: Amounts, scalars: Mapping[str, int]) -> Amounts:
    """`rest`, which has no scalars, and these, in thousandths. About 2.5 us for two of them.

    A decoder meets one of these for each task: too many for the generality of `gather`.
    """
    if len(scalars) > NAMES_MAX:  # it may be few names in many reservations
        names = len({split_key(spelled)[0] for spelled in scalars})
        if names > NAMES_MAX or len(scalars) > KEYS_MAX:
            raise InvalidResources(
                f"resources: {len(scalars)} scalars of {names} names, "
                f"at most {KEYS_MAX} of {NAMES_MAX} are taken"
            )
    exact: dict[str, int] = {}
    for spelled, amount in scalars.items():
        parts = key_parts(spelled)
        name = parts.name
        if type(amount) is not int or not 0 <= amount <= SCALAR_MAX:
            raise InvalidResources(f"resources: {spelled} is not 0 to {SCALAR_MAX} thousandths")
        if KIND_OF_NAME.get(name, SCALAR) != SCALAR:
            raise InvalidResources(f"resources: {name} is {KIND_OF_NAME[name]}, not {SCALAR}")
        if name == "gpus" and amount % THOUSANDTHS:
            raise InvalidResources(f"resources: {spelled} is not a whole number of GPUs")
        at = key(*parts)
        if at in exact:
            raise InvalidResources(f"resources: {at} is given twice")
        if amount:
            exact[at] = amount
    twice = name_of_two_kinds(exact, rest.ranges, rest.sets) if rest is not NOTHING else None
    if twice is not None:
        raise InvalidResources(f"resources: {twice} is of two kinds")
    return Amounts(dict(sorted(exact.items())), rest.ranges, rest.sets)


def name_of_two_kinds(
    scalars: Iterable[str], ranges: Iterable[str], sets: Iterable[str]
) -> str | None:
    """A name that is among the keys of more than one kind, else None."""
    one, two, three = ({split_key(at)[0] for at in keys} for keys in (scalars, ranges, sets))
    return min((one & two) | (one & three) | (two & three), default=None)


def in_order(amounts: Amounts) -> Amounts:
    """The same with each part sorted by key, so that equal values are also walked alike."""
    scalars, ranges, sets = amounts
    return Amounts(
        dict(sorted(scalars.items())), dict(sorted(ranges.items())), dict(sorted(sets.items()))
    )


def shared_number(ranges: Mapping[str, Ranges]) -> tuple[str, int] | None:
    """(name, a number of it that is in two roles), or None when all are apart."""
    if len(ranges) < 2:
        return None
    by_name: dict[str, list[tuple[int, int]]] = {}
    for at, value in ranges.items():
        by_name.setdefault(split_key(at)[0], []).extend(value)
    for name, pairs in by_name.items():
        end = -1
        for low, high in sorted(pairs):
            if low <= end:
                return name, low
            end = high
    return None


def shared_item(sets: Mapping[str, frozenset[str]]) -> tuple[str, str] | None:
    """(name, an item of it that is in two roles), or None when all are apart."""
    if len(sets) < 2:
        return None
    by_name: dict[str, set[str]] = {}
    for at, items in sets.items():
        before = by_name.setdefault(split_key(at)[0], set())
        if not before.isdisjoint(items):
            return split_key(at)[0], min(before & items)
        before |= items
    return None


def _kind(name: str, value: object) -> str:
    kind = SCALAR
    if isinstance(value, str):
        kind = {"[": RANGES, "{": SET}.get(value.lstrip()[:1], SCALAR)
    elif isinstance(value, set | frozenset):
        kind = SET
    elif isinstance(value, list | tuple):
        kind = SET if value and all(isinstance(one, str) for one in value) else RANGES
    fixed = KIND_OF_NAME.get(name, kind)
    if fixed != kind:
        right = {SCALAR: f"{name}:4", RANGES: f"{name}:[31000-32000]"}[fixed]
        raise InvalidResources(f"{name} is {fixed}, not {kind}; write {right}")
    return kind


def _put(out: Amounts, name: str, at: str, kind: str, value: object) -> None:
    if kind == SCALAR:
        if amount := thousandths(name, value):
            out.scalars[at] = amount
    elif kind == RANGES:
        if pairs := ranges_of(name, value):
            out.ranges[at] = pairs
    elif items := items_of(value):
        out.sets[at] = items


# --- text -----------------------------------------------------------------------------------------


def entries_of(text: str) -> list[tuple[str, str, object]]:
    """(where, key, value) of each amount in a text: Mesos's ``cpus:4;mem(ads):1GiB``, or JSON.

    Empty pieces are skipped, as in Mesos, so a ``;`` at the end does no harm. Values are not
    looked at: `gather` does that. Raises InvalidResources.
    """
    if len(text) > TEXT_MAX:
        raise InvalidResources(f"resources: {len(text)} characters, at most {TEXT_MAX} are read")
    if text.lstrip()[:1] in ("[", "{"):
        return entries_of_json(_loads(text))
    out: list[tuple[str, str, object]] = []
    at = 1
    for piece in text.split(";"):
        stripped = piece.strip()
        if stripped:
            place = at + len(piece) - len(piece.lstrip())
            where = f"resources: {_show(stripped)} at character {place}"
            spelled, colon, value = stripped.partition(":")
            if not colon:
                raise InvalidResources(f"{where}: no ':'; write name:amount, as cpus:4")
            out.append((where, spelled.strip(), value.strip()))
        at += len(piece) + 1
    return out


def entries_of_json(document: object) -> list[tuple[str, str, object]]:
    """(where, key, value) of a decoded document: Mesos's list of resources, or {"cpus": 4}."""
    match document:
        case dict():
            return [(f"resources: {_show(at)}", str(at), value) for at, value in document.items()]
        case list():
            return [_entry_of_item(number, item) for number, item in enumerate(document, 1)]
    raise InvalidResources(
        f'resources: {_show(document)} is neither Mesos\'s list nor an object as {{"cpus": 4}}'
    )


def _entry_of_item(number: int, item: object) -> tuple[str, str, object]:
    """One of Mesos's ``{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}, "role": "*"}``.

    ``reservation`` and ``volume`` are ids, and not Mesos's. ``allocation_info`` says whom it was
    offered to and is no part of the amount; any other field would change what it means, so it is
    refused, not dropped.
    """
    where = f"resources: item {number}"
    if not isinstance(item, dict):
        raise InvalidResources(f"{where}: {_show(item)} is not an object")
    name, kind, role = item.get("name"), item.get("type"), item.get("role", UNRESERVED)
    if not isinstance(name, str) or not isinstance(role, str):
        raise InvalidResources(f'{where}: "name" and "role" are texts')
    reservation, volume = item.get("reservation", ""), item.get("volume", "")
    if not isinstance(reservation, str) or not isinstance(volume, str):
        raise InvalidResources(f'{where}: "reservation" and "volume" are texts')
    field = (
        {SCALAR: "scalar", RANGES: "ranges", SET: "set"}.get(kind)
        if isinstance(kind, str)
        else None
    )
    if field is None:
        raise InvalidResources(f"{where}: type {_show(kind)} is not SCALAR, RANGES or SET")
    extra = item.keys() - {"name", "type", "role", *_IDS_IN_JSON, "allocation_info", field}
    if extra:
        raise InvalidResources(f"{where}: {_show(min(map(str, extra)))} is not understood here")
    value: object
    match kind, item.get(field):
        case "SCALAR", {"value": (int() | float() | Decimal()) as value, **rest} if not rest:
            pass
        case "RANGES", {"range": [*pairs], **rest} if not rest:
            value = [_entry_of_range(where, pair) for pair in pairs]
        case "SET", {"item": [*items], **rest} if not rest:
            value = frozenset(map(str, items)) if _all_texts(items) else items
            if len(items) != len(value):
                raise InvalidResources(f"{where}: an item is in the set twice")
        case _:
            raise InvalidResources(f"{where}: {field!r} is missing or not as Mesos writes it")
    return where, _spelled(name, role, reservation, volume), value


def _spelled(name: str, role: str, reservation: str, volume: str) -> str:
    """A key that `gather` is yet to look at."""
    if role == UNRESERVED and not reservation and not volume:
        return name
    ids = f"({reservation})({volume})" if volume else f"({reservation})" if reservation else ""
    return f"{name}({role}){ids}"


def _entry_of_range(where: str, pair: object) -> tuple[object, object]:
    match pair:
        case {"begin": low, "end": high, **rest} if not rest:
            return low, high
    raise InvalidResources(f'{where}: {_show(pair)} is not {{"begin": low, "end": high}}')


def _all_texts(values: list[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _loads(text: str) -> object:
    """JSON, with exact decimals and without what JSON leaves open: NaN and repeated fields."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        out = dict(pairs)
        if len(out) < len(pairs):
            raise InvalidResources("resources: a field is given twice in one object")
        return out

    def refuse(constant: str) -> object:
        raise InvalidResources(f"resources: {constant} is not an amount")

    try:
        decoded: object = json.loads(
            text, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=unique
        )
    except InvalidResources:
        raise
    except RecursionError:
        raise InvalidResources("resources: the JSON is nested too deep") from None
    except (ValueError, ArithmeticError) as why:
        raise InvalidResources(f"resources: not JSON: {_show(str(why))}") from None
    return decoded


def text_of(amounts: Amounts) -> str:
    """Mesos's spelling: scalars, ranges, sets, each sorted by key. Reads back the same."""
    pieces = [f"{at}:{scalar_text(amount)}" for at, amount in amounts.scalars.items()]
    pieces += [f"{at}:{ranges_text(pairs)}" for at, pairs in amounts.ranges.items()]
    pieces += [f"{at}:{{{','.join(sorted(items))}}}" for at, items in amounts.sets.items()]
    return ";".join(pieces)


def scalar_text(amount: int) -> str:
    """Thousandths as a decimal without needless zeros: 4000 is ``4``, 100 is ``0.1``."""
    whole, part = divmod(abs(amount), THOUSANDTHS)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{part:03d}".rstrip("0").rstrip(".")


def json_of(amounts: Amounts) -> list[dict[str, object]]:
    """Mesos's list of resources, in the order of `text_of`."""
    out: list[dict[str, object]] = []
    for at, amount in amounts.scalars.items():
        out.append(_item(at, SCALAR, "scalar", {"value": amount / THOUSANDTHS}))
    for at, pairs in amounts.ranges.items():
        spans = [{"begin": low, "end": high} for low, high in pairs]
        out.append(_item(at, RANGES, "ranges", {"range": spans}))
    for at, items in amounts.sets.items():
        out.append(_item(at, SET, "set", {"item": sorted(items)}))
    return out


def _item(at: str, kind: str, field: str, value: object) -> dict[str, object]:
    parts = key_parts(at)
    item: dict[str, object] = {"name": parts.name, "type": kind, field: value, "role": parts.role}
    ids = zip(_IDS_IN_JSON, (parts.reservation, parts.volume), strict=True)
    return item | {noun: identity for noun, identity in ids if identity}


def _out_of_bounds(value: object) -> str:
    return f"{_show(value)} is out of bounds; an amount is 0 to {SCALAR_MAX // THOUSANDTHS}"


def _show(value: object) -> str:
    """What was written, short enough for one line and safe for any size."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, list | tuple | dict | set | frozenset) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # a huge integer, or a nest too deep, somewhere inside
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else shown[:57] + "..."
