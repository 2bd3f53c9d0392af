"""What is wrong with what arrived, and the checks that say so.

A check takes a value and the name of its field, and gives the value back or raises
MalformedMessage. Where a field is part of something larger, `inside` puts that before its name, so
nothing is spent on names while all is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Sized

from mesoslite.model import ID_PATTERN, Refusal, are_ids
from mesoslite.resources import why_not_role
from mesoslite.wire.limits import (
    DURATION_MS_MAX,
    INT64_MAX,
    NAME_MAX,
    ROLES_MAX,
    TEXT_BYTES_MAX,
    TIMESTAMP_MS_MAX,
)

IDS_KNOWN_MAX = 16_384  # 180 B each at most, so 3 MB
_ids: dict[str, str] = {}
"""Ids that were found good: each comes again and again, and a task's in six messages."""
ROLES_KNOWN_MAX = 1_024
_roles: set[str] = set()
_SHOWN_MAX = 60
_CONTAINERIZER = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_CUT = "..."


class MalformedMessage(Exception):
    """Something in a message is not as it must be: the peer's fault, told in one clear line.

    `field` is where, as `accept.operations[3].launch.task.command`; `refusal` is the answer.
    """

    def __init__(
        self, field: str, value: object, why: str, refusal: Refusal = Refusal.MALFORMED
    ) -> None:
        super().__init__(field, value, why, refusal)
        self.field = field
        self.value = value
        self.why = why
        self.refusal = refusal

    def __str__(self) -> str:
        text = f"{self.field}: {self.why}"
        return text if self.value is None else f"{text}, not {shown(self.value)}"

    def inside(self, field: str, refusal: Refusal | None = None) -> MalformedMessage:
        """The same, in a field of something larger, which may have a refusal of its own."""
        return MalformedMessage(
            f"{field}.{self.field}", self.value, self.why, refusal or self.refusal
        )


def too_big(field: str, have: int, most: int, what: str) -> MalformedMessage:
    """There are `have` of `what`, and `most` may be."""
    why = f"at most {most:,} {what} are taken, these are {have:,}"
    return MalformedMessage(field, None, why, Refusal.TOO_BIG)


def shown(value: object) -> str:
    """A value in one short line of printable characters. O(1) in the size of texts and bytes."""
    if isinstance(value, str | bytes):
        value = value[: _SHOWN_MAX + 1]
    text = ascii(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - len(_CUT)] + _CUT


# --- texts ----------------------------------------------------------------------------------------


def identifier(value: str, field: str) -> str:
    """An id, as `model.ID_PATTERN` says: the same object each time, so that dicts find it fast."""
    known = _ids.get(value)
    if known is not None:
        return known
    if ID_PATTERN.match(value) is None:
        raise MalformedMessage(
            field, value, "must be 1 to 128 of A-Z a-z 0-9 . _ - and neither . nor .."
        )
    if len(_ids) >= IDS_KNOWN_MAX:
        _ids.clear()
    _ids[value] = value
    return value


def identifiers_at_once(values: Sequence[str], field: str) -> list[str]:
    """`identifier` of each: 0.1 us for one that was found good before, else 0.3."""
    known = list(map(_ids.get, values))
    if None in known:
        if not are_ids(values):
            return [identifier(value, field) for value in values]  # it says which
        if len(_ids) + len(values) > IDS_KNOWN_MAX:
            _ids.clear()
        if len(values) > IDS_KNOWN_MAX:
            return list(values)
        return list(map(_ids.setdefault, values, values))
    return known  # type: ignore[return-value]  # none of them is None


def identifier_or_empty(value: str, field: str) -> str:
    """An id, or nothing."""
    return identifier(value, field) if value else value


def identifiers(values: Sequence[str], field: str, most: int) -> tuple[str, ...]:
    """Several ids; one that is there twice is for the machines to judge."""
    bounded(values, field, most, "ids")
    return tuple([identifier(value, field) for value in values])


def name(value: str, field: str, most: int = NAME_MAX) -> str:
    """1 to `most` printable characters without blanks at the ends."""
    if not value:
        raise MalformedMessage(field, value, f"must have 1 to {most} characters")
    return name_or_empty(value, field, most)


def name_or_empty(value: str, field: str, most: int = NAME_MAX) -> str:
    """A name, or nothing."""
    if len(value) > most or not value.isprintable() or value != value.strip():
        why = f"must be at most {most} printable characters without blanks at the ends"
        raise MalformedMessage(field, value, why)
    return value


def role(value: str, field: str) -> str:
    """A role."""
    if value not in _roles:
        if (why := why_not_role(value)) is not None:
            raise MalformedMessage(field, None, why)
        if len(_roles) >= ROLES_KNOWN_MAX:
            _roles.clear()
        _roles.add(value)
    return value


def roles(values: Sequence[str], field: str) -> tuple[str, ...]:
    """Several roles, none of them twice."""
    bounded(values, field, ROLES_MAX, "roles")
    for value in values:
        role(value, field)
    return distinct(values, field)


def containerizer(value: str, field: str) -> str:
    """The name of a containerizer; whether an agent has it is for the master to say."""
    if _CONTAINERIZER.match(value) is None:
        raise MalformedMessage(field, value, "must be the name of a containerizer, as 'oci'")
    return value


def text(value: str, field: str) -> str:
    """A text for people, at most TEXT_BYTES_MAX bytes."""
    if len(value) * 4 > TEXT_BYTES_MAX and len(value.encode()) > TEXT_BYTES_MAX:
        raise too_big(field, len(value.encode()), TEXT_BYTES_MAX, "bytes")
    return value


def cut(value: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """A text for people as it may be sent: long ones are cut, what is no Unicode is replaced.

    A message of the system may hold surrogates (PEP 383), which protobuf does not take.
    """
    if len(value) <= bytes_max and value.isascii():
        return value
    encoded = value.encode(errors="replace")
    if len(encoded) > bytes_max:
        mark = _CUT[:bytes_max]
        encoded = encoded[: bytes_max - len(mark)] + mark.encode()
    return encoded.decode(errors="ignore")


# --- numbers --------------------------------------------------------------------------------------


def number(value: int, field: str, low: int = 0, high: int = INT64_MAX) -> int:
    """A whole number from `low` to `high`, both included."""
    if not low <= value <= high:
        raise MalformedMessage(field, value, f"must be {low:,} to {high:,}")
    return value


def duration(value: int, field: str, most: int = DURATION_MS_MAX) -> int:
    """Milliseconds, 0 to `most`."""
    return number(value, field, 0, most)


def timestamp(value: int, field: str) -> int:
    """Milliseconds since the Unix epoch, until the year 9999."""
    return number(value, field, 0, TIMESTAMP_MS_MAX)


# --- many -----------------------------------------------------------------------------------------


def bounded(values: Sized, field: str, most: int, what: str) -> None:
    """Nothing else is done with more than `most`: call it before walking through them."""
    if len(values) > most:
        raise too_big(field, len(values), most, what)


def distinct(values: Sequence[str], field: str) -> tuple[str, ...]:
    """The values, none of which may be there twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise MalformedMessage(field, None, f"{shown(value)} is there twice")
        seen.add(value)
    return tuple(values)


def system_texts(parts: Iterable[str], field: str, most: int) -> None:
    """What the system's calls take: without NUL, which ends a text there, `most` bytes in all."""
    joined = "".join(parts)
    size = len(joined) if joined.isascii() else len(joined.encode())
    if size > most:
        raise too_big(field, size, most, "bytes in all")
    if "\0" in joined:
        raise MalformedMessage(field, None, "must have no NUL")


def text_map(values: Mapping[str, str], field: str, most: int, bytes_max: int) -> dict[str, str]:
    """Names with texts: at most `most` of them, `bytes_max` bytes in all, without NUL."""
    if not values:
        return {}
    bounded(values, field, most, "entries")
    found = dict(values)
    system_texts([*found, *found.values()], field, bytes_max)
    if "" in found:
        raise MalformedMessage(field, None, "has an entry without a name")
    return found
