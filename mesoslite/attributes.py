"""What an agent is, rather than what it has: ``rack:r1;level:10;ports:[1-5]``.

Attributes are never used up; they travel with every offer, and placement rules look at them.
TEXT is the kind to prefer: constraints compare only texts, as in Mesos. A key may repeat.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from mesoslite.immutable import dataclass
from mesoslite.ranges import Ranges, normal, parse_ranges, ranges_text
from mesoslite.spelling import SCALAR_MAX, THOUSANDTHS, scalar_text

#: Attributes of one agent; they are repeated in each of its offers.
ATTRIBUTES_MAX = 100
#: Characters of one value as it is spelled.
VALUE_LENGTH_MAX = 1_024
#: Characters of a whole ``--attributes`` text: as many as the attributes it may hold.
TEXT_LENGTH_MAX = ATTRIBUTES_MAX * (VALUE_LENGTH_MAX + 66)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)


class InvalidAttributes(ValueError):
    """What was written are no attributes; the message is one line for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One fact about an agent.

    The kind follows from the value's type: a `str` is TEXT (1 to `VALUE_LENGTH_MAX` printable
    characters, no ``;``, no blank at either end), an `int` is a SCALAR in thousandths and may be
    negative, a tuple of (low, high) is RANGES. Raises InvalidAttributes for anything else.
    """

    name: str
    value: str | int | Ranges

    def __post_init__(self) -> None:
        name: object = self.name  # the types are promises; what was decoded may break them
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise InvalidAttributes(
                f"{str(name)[:60]!r} is no attribute name; "
                "a name is a letter, then up to 63 of A-Z a-z 0-9 _ . -"
            )
        match self.value:
            case str():
                _check_text(self.name, self.value)
            case bool():
                raise InvalidAttributes(f"{self.name}: a truth value is no attribute; write a text")
            case int():
                if abs(self.value) > SCALAR_MAX:
                    raise InvalidAttributes(f"{self.name}: over {SCALAR_MAX // THOUSANDTHS}")
            case tuple():
                _check_ranges(self.name, self.value)
            case _:
                raise InvalidAttributes(f"{self.name}: neither text, thousandths nor ranges")

    @property
    def kind(self) -> str:
        """``TEXT``, ``SCALAR`` or ``RANGES``, as Mesos names them."""
        if isinstance(self.value, str):
            return "TEXT"
        return "SCALAR" if isinstance(self.value, int) else "RANGES"

    def value_text(self) -> str:
        """The value as it is spelled: ``r1``, ``1.5``, ``[1-5]``."""
        if isinstance(self.value, str):
            return self.value
        return scalar_text(self.value) if isinstance(self.value, int) else ranges_text(self.value)

    def __str__(self) -> str:
        """``rack:r1``. A TEXT that looks like a number or ranges reads back as that."""
        return f"{self.name}:{self.value_text()}"


def parse_attributes(text: str) -> tuple[Attribute, ...]:
    """From Mesos's spelling ``rack:r1;level:10;ports:[1-5]``, in the order given.

    ``[..]`` is RANGES; a decimal number without exponent is a SCALAR, rounded half-even to
    thousandths; everything else is TEXT, also ``{a,b}`` and a value with ``:`` in it. Empty pieces
    are skipped. Raises InvalidAttributes: one line with the piece and its position.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise InvalidAttributes(f"attributes: {len(text)} characters, at most {TEXT_LENGTH_MAX}")
    out: list[Attribute] = []
    at = 1
    for piece in text.split(";"):
        stripped = piece.strip()
        if stripped:
            place = at + len(piece) - len(piece.lstrip())
            try:
                out.append(_parse_one(stripped))
            except InvalidAttributes as why:
                where = f"attributes: {stripped[:60]!r} at character {place}"
                raise InvalidAttributes(f"{where}: {why}") from None
        at += len(piece) + 1
    return _bounded(out)


def attributes_text(attributes: Iterable[Attribute]) -> str:
    """Mesos's spelling, in the order given; `parse_attributes` reads what it made back the same."""
    return ";".join(map(str, attributes))


def attributes_to_json(attributes: Iterable[Attribute]) -> list[dict[str, object]]:
    """Mesos's list of attributes, ready for json.dumps; keeps every kind."""
    return [
        {"name": one.name, "type": one.kind, one.kind.lower(): _json_value(one.value)}
        for one in attributes
    ]


def attributes_from_json(document: object) -> tuple[Attribute, ...]:
    """From Mesos's list of attributes, decoded. Raises InvalidAttributes."""
    if not isinstance(document, list):
        raise InvalidAttributes("attributes: not a list of attributes")
    out: list[Attribute] = []
    for number, item in enumerate(document[: ATTRIBUTES_MAX + 1], 1):
        try:
            out.append(_from_item(item))
        except InvalidAttributes as why:
            raise InvalidAttributes(f"attributes: item {number}: {why}") from None
    return _bounded(out)


def _parse_one(piece: str) -> Attribute:
    name, colon, value = (part.strip() for part in piece.partition(":"))
    if not colon:
        raise InvalidAttributes("no ':'; write name:value, as rack:r1")
    if len(value) > VALUE_LENGTH_MAX:
        raise InvalidAttributes(f"{len(value)} characters, at most {VALUE_LENGTH_MAX}")
    if value.startswith("["):
        try:
            return Attribute(name, parse_ranges(value))
        except InvalidAttributes:
            raise
        except ValueError as why:
            raise InvalidAttributes(str(why)) from None
    if _NUMBER.fullmatch(value) is not None:
        return Attribute(name, round(Fraction(value) * THOUSANDTHS))
    return Attribute(name, value)


def _check_text(name: str, value: str) -> None:
    if not 1 <= len(value) <= VALUE_LENGTH_MAX:
        raise InvalidAttributes(f"{name}: a text has 1 to {VALUE_LENGTH_MAX} characters")
    if not value.isprintable() or ";" in value or value != value.strip():
        raise InvalidAttributes(
            f"{name}: {value[:60]!r} has ';', a control character or a blank at an end"
        )


def _check_ranges(name: str, value: Ranges) -> None:
    try:
        pairs = tuple((low, high) for low, high in value if type(low) is type(high) is int)
        wanted = normal(pairs)
    except (ValueError, TypeError) as why:
        raise InvalidAttributes(f"{name}: {why}") from None
    if wanted != value or not value or len(ranges_text(value)) > VALUE_LENGTH_MAX:
        raise InvalidAttributes(
            f"{name}: ranges are some (low, high), sorted, apart, not adjacent, "
            f"and spelled in {VALUE_LENGTH_MAX} characters"
        )


def _json_value(value: str | int | Ranges) -> dict[str, object]:
    if isinstance(value, str):
        return {"value": value}
    if isinstance(value, int):
        return {"value": value / THOUSANDTHS}
    return {"range": [{"begin": low, "end": high} for low, high in value]}


def _from_item(item: object) -> Attribute:
    match item:
        case {"name": str(name), "type": "TEXT", "text": {"value": str(text)}}:
            return Attribute(name, text)
        case {"name": str(name), "type": "SCALAR", "scalar": {"value": int() | float() as number}}:
            if isinstance(number, bool) or not abs(number) <= SCALAR_MAX:  # also refuses NaN
                raise InvalidAttributes(f"{name[:60]}: not a number within bounds")
            return Attribute(name, round(Fraction(repr(number)) * THOUSANDTHS))
        case {"name": str(name), "type": "RANGES", "ranges": {"range": [*spans]}}:
            return Attribute(name, _from_spans(name, spans))
    raise InvalidAttributes('not {"name": .., "type": "TEXT", "text": {"value": ..}} or the like')


def _from_spans(name: str, spans: list[object]) -> Ranges:
    pairs: list[tuple[int, int]] = []
    for span in spans:
        match span:
            case {"begin": int(low), "end": int(high)}:
                pairs.append((low, high))
            case _:
                raise InvalidAttributes(f'{name[:60]}: a range is {{"begin": low, "end": high}}')
    try:
        return normal(pairs)
    except ValueError as why:
        raise InvalidAttributes(f"{name[:60]}: {why}") from None


def _bounded(attributes: list[Attribute]) -> tuple[Attribute, ...]:
    if len(attributes) > ATTRIBUTES_MAX:
        raise InvalidAttributes(f"attributes: more than {ATTRIBUTES_MAX}")
    return tuple(attributes)
