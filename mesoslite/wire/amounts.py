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

#: Tasks and offers come in few sizes: what is only scalars is checked and built once for each.
_SHAPES_MAX = 1_024
_SHAPE_AMOUNTS_MAX = 8  # of up to 320 characters, so the shapes hold 3 MB at worst


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
    """Raises MalformedMessage for what Resources refuses. 1 us for two scalars seen before."""
    check.bounded(amounts, field, KEYS_MAX, "amounts")
    scalars: list[tuple[str, int]] = []
    others: list[pb.Resource] = []
    for amount in amounts:
        if amount.WhichOneof("value") == "scalar_milli":
            scalars.append((amount.key, amount.scalar_milli))
        else:
            others.append(amount)
    try:
        if others:
            return _with_ranges_and_sets(scalars, others, field)
        if len(scalars) <= _SHAPE_AMOUNTS_MAX:
            return _shape(tuple(scalars))
        return Resources.from_amounts(_once(scalars))
    except InvalidResources as why:
        raise MalformedMessage(field, None, str(why).removeprefix("resources: ")) from None


@lru_cache(maxsize=_SHAPES_MAX)
def _shape(scalars: tuple[tuple[str, int], ...]) -> Resources:
    return Resources.from_amounts(_once(scalars))


def _once(scalars: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, milli in scalars:
        if key in found:
            raise InvalidResources(f"{check.shown(key)} is given twice")
        found[key] = milli
    return found


def _with_ranges_and_sets(
    scalars: list[tuple[str, int]], others: list[pb.Resource], field: str
) -> Resources:
    seen = _once(scalars)
    ranges: dict[str, list[tuple[int, int]]] = {}
    sets: dict[str, Sequence[str]] = {}
    for amount in others:
        key = amount.key
        if key in seen or key in ranges or key in sets:
            raise InvalidResources(f"{check.shown(key)} is given twice")
        if amount.WhichOneof("value") == "ranges":
            pairs = amount.ranges.ranges
            check.bounded(pairs, field, RANGES_MAX, "ranges")
            ranges[key] = [(pair.low, pair.high) for pair in pairs]
        elif amount.WhichOneof("value") == "set":
            items = amount.set.items
            check.bounded(items, field, ITEMS_MAX, "set items")
            sets[key] = check.distinct(items, field)
        else:
            raise InvalidResources(f"{check.shown(key)} is neither scalar, ranges nor set")
    return Resources.from_amounts(seen, ranges, sets)


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
