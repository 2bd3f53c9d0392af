"""Resources, sizes and times as people read them, and as scripts do."""

from __future__ import annotations

from collections.abc import Iterable

from mesoslite.resources import THOUSANDTHS, InvalidResources, Resources
from mesoslite.v1 import common_pb2

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


def resources_of(amounts: Iterable[common_pb2.Resource]) -> Resources:
    """What a master told, as an amount to reckon with."""
    scalars: dict[str, int] = {}
    ranges: dict[str, list[tuple[int, int]]] = {}
    sets: dict[str, list[str]] = {}
    for amount in amounts:
        match amount.WhichOneof("value"):
            case "ranges":
                ranges[amount.key] = [(one.low, one.high) for one in amount.ranges.ranges]
            case "set":
                sets[amount.key] = list(amount.set.items)
            case _:
                scalars[amount.key] = amount.scalar_milli
    return Resources.from_amounts(scalars, ranges, sets)


def text_of(amounts: Iterable[common_pb2.Resource]) -> str:
    """Mesos's spelling, `cpus:4;mem:1024`; `-` for nothing."""
    try:
        return str(resources_of(amounts)) or "-"
    except InvalidResources as why:
        return f"({why})"


def number(milli: int) -> int | float:
    """Thousandths as a number: whole ones as an int, so that JSON says 4 and not 4.0."""
    whole, part = divmod(milli, THOUSANDTHS)
    return milli / THOUSANDTHS if part else whole


def json_of_resources(amounts: Iterable[common_pb2.Resource]) -> dict[str, object]:
    """`text` in Mesos's spelling, then each amount by its key: number, [low, high] pairs, texts."""
    amounts = list(amounts)
    out: dict[str, object] = {"text": text_of(amounts) if amounts else ""}
    for amount in amounts:
        match amount.WhichOneof("value"):
            case "ranges":
                out[amount.key] = [[one.low, one.high] for one in amount.ranges.ranges]
            case "set":
                out[amount.key] = sorted(amount.set.items)
            case _:
                out[amount.key] = number(amount.scalar_milli)
    return out


def total_of(amounts: Iterable[common_pb2.Resource], name: str) -> int:
    """Thousandths of one scalar, over all roles."""
    return sum(
        amount.scalar_milli
        for amount in amounts
        if amount.key == name or amount.key.startswith(f"{name}(")
    )


def cores(milli: int) -> str:
    """1500 -> `1.5`."""
    return f"{number(milli):g}" if milli < 10**9 else str(milli // THOUSANDTHS)


def size(mib_milli: int) -> str:
    """Thousandths of a MiB as a size of three digits or so: 2_048_000 -> `2 GiB`."""
    amount = mib_milli / THOUSANDTHS
    units = ["PiB", "TiB", "GiB", "MiB"]
    unit = units.pop()
    while amount >= 1_024 and units:
        amount, unit = amount / 1_024, units.pop()
    return f"{amount:.3g} {unit}" if amount < 1_000 else f"{amount:.0f} {unit}"


def amount(resources: Resources) -> str:
    """`0.7 cpus, 2.5 GiB` for people; ports and the rest are left out."""
    return f"{cores(resources.scalar('cpus'))} cpus, {size(resources.scalar('mem'))}"


def bytes_size(count: int) -> str:
    """Bytes as a size; a small one says its bytes."""
    if count < 1_024:
        return f"{count} B"
    if count < 1_048_576:
        return f"{count / 1_024:.3g} KiB"
    return size(count * THOUSANDTHS // 1_048_576)


def duration(ms: int) -> str:
    """Two units at most: 130_000 -> `2m10s`; under ten seconds with one decimal."""
    if ms < 10 * _SECOND_MS:
        return f"{max(0, ms) / _SECOND_MS:.1f}s"
    if ms < _MINUTE_MS:
        return f"{ms // _SECOND_MS}s"
    if ms < _HOUR_MS:
        return f"{ms // _MINUTE_MS}m{ms % _MINUTE_MS // _SECOND_MS:02}s"
    if ms < _DAY_MS:
        return f"{ms // _HOUR_MS}h{ms % _HOUR_MS // _MINUTE_MS:02}m"
    return f"{ms // _DAY_MS}d{ms % _DAY_MS // _HOUR_MS:02}h"
