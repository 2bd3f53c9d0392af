"""Deadlines of a pure machine: one for each key, moved and dropped at will, found in order."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from sortedcontainers import SortedList

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """When each key is due, in milliseconds. Every method is O(log n).

    Keys that are due at the same time come in the order in which they were set, so that the same
    events always give the same effects.
    """

    def __init__(self) -> None:
        self._entries: dict[K, tuple[int, int]] = {}
        self._order: SortedList[tuple[int, int]] = SortedList()
        self._keys: dict[int, K] = {}
        self._count = 0
        self._next_ms: int | None = None
        """The first of `_order`: every Tick asks whether anything is due, and mostly nothing is."""

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def due_ms(self, key: K) -> int | None:
        """When `key` is due; None when it has no deadline."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def set(self, key: K, due_ms: int) -> None:
        """Give `key` this deadline instead of any that it had."""
        self.drop(key)
        self._count += 1
        entry = (due_ms, self._count)
        self._entries[key] = entry
        self._keys[self._count] = key
        self._order.add(entry)
        if self._next_ms is None or due_ms < self._next_ms:
            self._next_ms = due_ms

    def drop(self, key: K) -> None:
        """`key` has no deadline any more; it need not have had one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._order.remove(entry)
            del self._keys[entry[1]]
            if entry[0] == self._next_ms:
                self._next_ms = self._order[0][0] if self._order else None

    def next_ms(self) -> int | None:
        """The earliest deadline; None when there is none. O(1)."""
        return self._next_ms

    def pop_due(self, now_ms: int) -> K | None:
        """The key that is due first, without its deadline from now on; None when none is due."""
        if self._next_ms is None or self._next_ms > now_ms:
            return None
        key = self._keys[self._order[0][1]]
        self.drop(key)
        return key

    def check(self) -> None:
        """Assert that the three structures agree. For tests; O(n log n)."""
        assert list(self._order) == sorted(self._entries.values())
        assert self._next_ms == min((due for due, _ in self._order), default=None)
        assert {count: key for key, (_, count) in self._entries.items()} == self._keys
