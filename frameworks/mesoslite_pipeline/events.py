"""The events: a known set for each seed, of which anybody can tell the n-th without the others.

So a producer goes on in the middle, and who counts them knows beforehand what must come out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: What is sold. The first ones more often than the last: as in life, and so that there is a top.
KEYS = (
    "akka", "basalt", "cedar", "dynamo", "ember", "falcon", "garnet", "harbor", "indigo", "juniper",
    "kelvin", "lumen", "meridian", "nimbus", "onyx", "prism", "quartz", "raven", "summit", "tundra",
)  # fmt: skip
AMOUNT_MAX = 10_000
EVENTS_MAX = 1_000_000_000
SEED_MAX = (1 << 32) - 1
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody bought something."""

    number: int
    key: str
    amount: int
    """1 to AMOUNT_MAX."""

    @property
    def text(self) -> bytes:
        """As it travels."""
        return json.dumps({"n": self.number, "key": self.key, "amount": self.amount}).encode()


@dataclass(frozen=True, slots=True)
class Total:
    """What there was of a key."""

    events: int = 0
    amount: int = 0

    def __add__(self, more: Total) -> Total:
        return Total(self.events + more.events, self.amount + more.amount)


def event(seed: int, number: int) -> Event:
    """The event of that number; ~2 us. The bits are those of splitmix64, a stream for each seed."""
    mixed = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    # The lower of two draws: of 20 keys the first is drawn 39 times as often as the last.
    at = min((mixed & 0xFFFF) % len(KEYS), (mixed >> 16 & 0xFFFF) % len(KEYS))
    return Event(number, KEYS[at], 1 + (mixed >> 32) % AMOUNT_MAX)


def events(seed: int, numbers: range) -> Iterator[Event]:
    """Some of them, in order."""
    return (event(seed, number) for number in numbers)


def expected(seed: int, wanted: range) -> dict[str, Total]:
    """What these of them come to, by key; ~3 s for a million."""
    numbers = dict.fromkeys(KEYS, 0)
    amounts = dict.fromkeys(KEYS, 0)
    for one in events(seed, wanted):
        numbers[one.key] += 1
        amounts[one.key] += one.amount
    return {key: Total(numbers[key], amounts[key]) for key in KEYS if numbers[key]}


def sums(totals: Iterable[tuple[str, Total]]) -> dict[str, Total]:
    """Totals of parts together, by key."""
    found: dict[str, Total] = {}
    for key, total in totals:
        found[key] = found.get(key, Total()) + total
    return found


def differences(want: Mapping[str, Total], have: Mapping[str, Total]) -> list[str]:
    """Where two counts are not the same, a line a key; empty: nowhere."""
    lines = []
    for key in sorted(want.keys() | have.keys()):
        wanted, found = want.get(key, Total()), have.get(key, Total())
        if wanted != found:
            lines.append(
                f"{key}: {found.events:,} events of {found.amount:,} in all, "
                f"instead of {wanted.events:,} of {wanted.amount:,}"
            )
    return lines
