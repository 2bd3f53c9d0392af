"""Resources and attributes as protobuf, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as Repeated

from mesoslite.attributes import ATTRIBUTES_MAX, Attribute, InvalidAttributes
from mesoslite.ranges import RANGES_MAX
from mesoslite.resources import ITEMS_MAX, KEYS_MAX, InvalidResources, Resources
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire.checks import MalformedMessage

#: Tasks and offers come in few sizes: a small amount is checked and built once for each, and then
#: shared. Each holds at most _SHAPE_PARTS_MAX keys of 320 characters, so all take 3 MB at worst.
_SHAPES_MAX = 1_024
_SHAPE_PARTS_MAX = 8

_Pairs = tuple[tuple[int, int], ...]


# --- resources ------------------------------------------------------------------------------------


def write_resources(target: Repeated[pb.Resource], resources: Resources) -> None:
    """Append all amounts. About 0.5 us for each scalar."""
    for key, milli in resources.scalars.items():
        target.add(key=key, scalar_milli=milli)
    for key, pairs in resources.ranges.items():
        ranges = target.add(key=key).ranges
        for low, high in pairs:
            ranges.ranges.add(low=low, high=high)
    for key, items in resources.sets.items():
        target.add(key=key).set.items.extend(sorted(items))


def resources_to_wire(resources: Resources) -> list[pb.Resource]:
    """For a repeated field that is given whole."""
    scratch = pb.Task()
    write_resources(scratch.resources, resources)
    return [*scratch.resources]


def resources_from_wire(amounts: Sequence[pb.Resource], field: str = "resources") -> Resources:
    """Raises MalformedMessage for what Resources refuses. 2 us when small and seen before."""
    check.bounded(amounts, field, KEYS_MAX, "amounts")
    scalars: list[tuple[str, int]] = []
    ranges: list[tuple[str, _Pairs]] = []
    sets: list[tuple[str, Sequence[str]]] = []
    parts = len(amounts)
    for amount in amounts:
        match amount.WhichOneof("value"):
            case "scalar_milli":
                scalars.append((amount.key, amount.scalar_milli))
            case "ranges":
                pairs = amount.ranges.ranges
                check.bounded(pairs, field, RANGES_MAX, "ranges")
                ranges.append((amount.key, tuple([(pair.low, pair.high) for pair in pairs])))
                parts += len(pairs)
            case "set":
                items = amount.set.items
                check.bounded(items, field, ITEMS_MAX, "set items")
                sets.append((amount.key, check.distinct(items, field)))
            case _:
                why = f"{check.shown(amount.key)} is neither scalar, ranges nor set"
                raise MalformedMessage(field, None, why)
    try:
        if parts <= _SHAPE_PARTS_MAX and not sets:
            return _shape(tuple(scalars), tuple(ranges))
        return _built(scalars, ranges, sets)
    except InvalidResources as why:
        raise MalformedMessage(field, None, str(why).removeprefix("resources: ")) from None


@lru_cache(maxsize=_SHAPES_MAX)
def _shape(
    scalars: tuple[tuple[str, int], ...], ranges: tuple[tuple[str, _Pairs], ...]
) -> Resources:
    return _built(scalars, ranges, ())


def _built(
    scalars: Sequence[tuple[str, int]],
    ranges: Sequence[tuple[str, _Pairs]],
    sets: Sequence[tuple[str, Sequence[str]]],
) -> Resources:
    """Raises InvalidResources; a key that is there twice would vanish in a mapping."""
    seen: set[str] = set()
    for key, _ in (*scalars, *ranges, *sets):
        if key in seen:
            raise InvalidResources(f"{check.shown(key)} is given twice")
        seen.add(key)
    return Resources.from_amounts(dict(scalars), dict(ranges), dict(sets))


# --- attributes -----------------------------------------------------------------------------------


def write_attributes(target: Repeated[pb.Attribute], attributes: Iterable[Attribute]) -> None:
    """Append all attributes."""
    for attribute in attributes:
        slot = target.add(name=attribute.name)
        if isinstance(attribute.value, str):
            slot.text = attribute.value
        elif isinstance(attribute.value, int):
            slot.scalar_milli = attribute.value
        else:
            for low, high in attribute.value:
                slot.ranges.ranges.add(low=low, high=high)


def attributes_from_wire(
    attributes: Sequence[pb.Attribute], field: str = "attributes"
) -> tuple[Attribute, ...]:
    """Raises MalformedMessage for what Attribute refuses, and for more than ATTRIBUTES_MAX."""
    check.bounded(attributes, field, ATTRIBUTES_MAX, "attributes")
    try:
        return tuple([Attribute(one.name, _value_of(one, field)) for one in attributes])
    except InvalidAttributes as why:
        raise MalformedMessage(field, None, str(why)) from None


def _value_of(attribute: pb.Attribute, field: str) -> str | int | tuple[tuple[int, int], ...]:
    which = attribute.WhichOneof("value")
    if which == "text":
        return attribute.text
    if which == "scalar_milli":
        return attribute.scalar_milli
    pairs = attribute.ranges.ranges  # empty, and so refused, when nothing is set
    check.bounded(pairs, field, RANGES_MAX, "ranges")
    return tuple([(pair.low, pair.high) for pair in pairs])
