"""Whole numbers as ranges: ``((31000, 31004), (31007, 31007))``, both ends included.

A value is *normal* when it is sorted, its ranges do not overlap, and no two of them are adjacent;
so equal sets of numbers have one spelling and compare by ``==``. Every function here takes normal
values and gives normal values; only `normal` and `parse_ranges` accept anything else.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

Ranges = tuple[tuple[int, int], ...]

#: The largest number in a range: what a signed 64-bit field of the wire holds.
RANGE_MAX = 2**63 - 1
#: Ranges in one value. A fragmented agent has about one for each task that holds a port.
RANGES_MAX = 10_000

_PAIR = re.compile(r"\s{0,8}([0-9]{1,20})\s{0,8}-\s{0,8}([0-9]{1,20})\s{0,8}", re.ASCII)


def normal(pairs: Iterable[tuple[int, int]], *, top: int = RANGE_MAX) -> Ranges:
    """The normal form of `pairs`, each (low, high) with 0 <= low <= high <= `top`.

    Adjacent ranges are joined. Raises ValueError, in one line, for a range that is reversed, out
    of bounds or overlaps another, and for more than `RANGES_MAX` of them. O(n log n).
    """
    ordered: list[tuple[int, int]] = []
    for low, high in pairs:
        if len(ordered) == RANGES_MAX:
            raise ValueError(f"more than {RANGES_MAX} ranges")
        if low < 0 or high > top:
            raise ValueError(f"a range must lie within 0-{top}")
        if low > high:
            raise ValueError(f"{low}-{high} is reversed; write {high}-{low}")
        ordered.append((low, high))
    ordered.sort()
    for (low, high), (next_low, next_high) in pairwise(ordered):
        if next_low <= high:
            raise ValueError(f"{low}-{high} and {next_low}-{next_high} overlap")
    return _joined(ordered)


def parse_ranges(text: str, *, top: int = RANGE_MAX) -> Ranges:
    """``[1-5,7-7]`` in Mesos's spelling; ``[]`` is nothing. Raises ValueError, in one line."""
    if not (text.startswith("[") and text.endswith("]") and len(text) >= 2):
        raise ValueError("ranges are written [low-high,low-high]")
    inside = text[1:-1]
    pairs: list[tuple[int, int]] = []
    for piece in inside.split(",") if inside.strip() else ():
        found = _PAIR.fullmatch(piece)
        if found is None:
            raise ValueError(
                f"{piece.strip()[:40]!r} is not a range; write low-high, as 31000-32000"
            )
        pairs.append((int(found[1]), int(found[2])))
        if len(pairs) > RANGES_MAX:
            raise ValueError(f"more than {RANGES_MAX} ranges")
    return normal(pairs, top=top)


def ranges_text(ranges: Ranges) -> str:
    """``[1-5,7-7]``, which `parse_ranges` reads back."""
    return f"[{','.join(f'{low}-{high}' for low, high in ranges)}]"


def count(ranges: Ranges) -> int:
    """How many single numbers there are. O(n)."""
    return sum(high - low + 1 for low, high in ranges)


def covers(have: Ranges, need: Ranges) -> bool:
    """Whether every number of `need` is in `have`. O(k log n) for k ranges needed of n."""
    for low, high in need:
        at = bisect_right(have, (low, RANGE_MAX)) - 1
        # `have` has no adjacent ranges, so what is needed in one piece lies in one piece.
        if at < 0 or have[at][1] < high:
            return False
    return True


def plus(one: Ranges, other: Ranges) -> Ranges | None:
    """Both together, or None when they overlap. O(n): sorting two sorted runs is a merge."""
    ordered = sorted(one + other)
    end = -1
    for low, high in ordered:
        if low <= end:
            return None
        end = high
    return _joined(ordered)


def minus(have: Ranges, less: Ranges) -> Ranges | None:
    """`have` without `less`, or None when `less` is not wholly in it. O(n + k log n).

    ((1, 9),) without ((3, 4), (6, 6)): 1-2 is kept; the head moves to 5; 5-5 is kept; the head
    moves to 7; at the end 7-9 is kept.
    """
    out: list[tuple[int, int]] = []
    start = 0  # have[:start] is dealt with
    head: int | None = None  # where have[start] now begins, when a part of it was taken
    for low, high in less:
        at = bisect_right(have, (low, RANGE_MAX), start) - 1
        if at < start or have[at][1] < high:
            return None
        if at > start:
            if head is not None:
                out.append((head, have[start][1]))
                start += 1
            out += have[start:at]
            start, head = at, None
        begin, end = have[at]
        if head is not None:
            begin = head
        if begin < low:
            out.append((begin, low - 1))
        if high < end:
            head = high + 1
        else:
            start, head = at + 1, None
    if head is not None:
        out.append((head, have[start][1]))
        start += 1
    out += have[start:]
    return tuple(out)


def lacking(have: Ranges, need: Ranges) -> Ranges:
    """The numbers of `need` that are not in `have`. O(n + k)."""
    out: list[tuple[int, int]] = []
    at = 0
    for low, high in need:
        begin = low
        while at < len(have) and have[at][1] < begin:
            at += 1
        walk = at
        while walk < len(have) and have[walk][0] <= high:
            if begin < have[walk][0]:
                out.append((begin, have[walk][0] - 1))
            begin = have[walk][1] + 1
            walk += 1
        if begin <= high:
            out.append((begin, high))
        at = max(at, walk - 1)
    return tuple(out)


def first(ranges: Ranges, wanted: int) -> Ranges:
    """The `wanted` lowest numbers; fewer when there are fewer. O(n)."""
    out: list[tuple[int, int]] = []
    left = wanted
    for low, high in ranges:
        if left <= 0:
            break
        taken = min(left, high - low + 1)
        out.append((low, low + taken - 1))
        left -= taken
    return tuple(out)


def _joined(ordered: list[tuple[int, int]]) -> Ranges:
    """Sorted ranges that do not overlap, with the adjacent ones made into one."""
    out: list[tuple[int, int]] = []
    for low, high in ordered:
        if out and out[-1][1] + 1 == low:
            out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return tuple(out)
