"""A bucket of tokens in whole numbers: so many at once, and so many a second after that."""

from __future__ import annotations


class Bucket:
    """How much was taken of late. It starts full; who asks says how large it is and how it fills.

    What is missing is counted in thousandths of a token, so that `per_s` tokens a second are
    `per_s` thousandths a millisecond: exact, and without a timer. Every method is O(1).
    """

    __slots__ = ("_at_ms", "_missing")

    def __init__(self) -> None:
        self._missing = 0
        self._at_ms = 0

    def take(self, now_ms: int, *, at_once: int, per_s: int) -> bool:
        """Take a token. False: there is none now, and none is taken."""
        missing = self._missing_at(now_ms, per_s) + 1_000
        if missing > at_once * 1_000:
            return False
        self._missing, self._at_ms = missing, now_ms
        return True

    def full(self, now_ms: int, *, per_s: int) -> bool:
        """Whether nothing is missing any more: whoever takes from it is calm."""
        return self._missing_at(now_ms, per_s) == 0

    def next_ms(self, now_ms: int, *, at_once: int, per_s: int) -> int:
        """When `take` succeeds, if nothing is taken before: now, or later."""
        over = self._missing_at(now_ms, per_s) + 1_000 - at_once * 1_000
        return now_ms + max(0, -(-over // per_s))

    def _missing_at(self, now_ms: int, per_s: int) -> int:
        return max(0, self._missing - (now_ms - self._at_ms) * per_s)
