"""Deadlines of a pure machine: one for each key, moved and dropped at will, found in order."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STALE_MIN = 64  # entries of the heap that may be stale whatever its size


class Deadlines(Generic[K]):
    """When each key is due, in milliseconds. `set` is O(log n), all else O(1), amortised.

    Keys that are due at the same time come in the order in which they were set, so that the same
    events always give the same effects.

    Nearly every deadline is dropped long before it is due, so a heap does where a sorted list
    would do ten times the work: what is dropped or moved stays in it as a stale entry, which is
    thrown away when it comes to the front, or when more than half of the heap is stale.
    """

    def __init__(self) -> None:
        self._entries: dict[K, tuple[int, int]] = {}
        """(due, the count of the `set`): what is in force."""
        self._heap: list[tuple[int, int, K]] = []
        """All that is in force, and stale entries. A count is unique: keys are never compared."""
        self._count = 0

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
        self._count = count = self._count + 1
        entries, heap = self._entries, self._heap
        entries[key] = (due_ms, count)
        heappush(heap, (due_ms, count, key))
        if len(heap) > 2 * len(entries) + STALE_MIN:
            self._throw_away_stale()

    def drop(self, key: K) -> None:
        """`key` has no deadline any more; it need not have had one."""
        self._entries.pop(key, None)

    def next_ms(self) -> int | None:
        """The earliest deadline; None when there is none."""
        entries, heap = self._entries, self._heap
        while heap:
            due_ms, count, key = heap[0]
            if entries.get(key) == (due_ms, count):
                return due_ms
            heappop(heap)
        return None

    def pop_due(self, now_ms: int) -> K | None:
        """The key that is due first, without its deadline from now on; None when none is due."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        key = heappop(self._heap)[2]
        del self._entries[key]
        return key

    def _throw_away_stale(self) -> None:
        self._heap = [(due_ms, count, key) for key, (due_ms, count) in self._entries.items()]
        heapify(self._heap)

    def check(self) -> None:
        """Assert that heap and entries agree. For tests; O(n log n)."""
        assert all(self._heap[(at - 1) // 2] <= self._heap[at] for at in range(1, len(self._heap)))
        held = {(due_ms, count): key for due_ms, count, key in self._heap}
        assert len(held) == len(self._heap)
        assert all(held[entry] == key for key, entry in self._entries.items())
