"""A framework's key-value store itself: entries, versions and limits (docs/decisions.md D16).

Every write takes the next version of the whole store, so none is ever used twice: who removes an
entry and makes it again does not make an old version good.
"""

from __future__ import annotations

from mesoslite.immutable import dataclass
from mesoslite.messages import ListStore, ReadStore, StoreAnswer, WriteStore
from mesoslite.model import (
    STORE_BYTES_MAX,
    STORE_KEYS_MAX,
    Entry,
    Refusal,
    StoreWrite,
)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why writes can not be done."""

    refusal: Refusal
    message: str
    key: str = ""
    version: int = 0
    """With STORE_CONFLICT: of what is there, 0 for nothing."""

    def answer(self, number: int) -> StoreAnswer:
        """It as the answer to a call."""
        return StoreAnswer(number, self.refusal, self.message, self.key, self.version)


class Shelf:
    """The entries of one framework."""

    __slots__ = ("entries", "revision", "size_bytes")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        """The version that the newest write took."""
        self.size_bytes = 0
        """Of keys and values together."""

    def keys(self, prefix: str) -> tuple[str, ...]:
        """All that begin so, in order. O(n log n) in all keys, of which 1,000 may be."""
        return tuple(sorted(key for key in self.entries if key.startswith(prefix)))

    def why_not(self, writes: tuple[StoreWrite, ...], room_bytes: int) -> Objection | None:
        """The first reason why these writes can not be done together.

        `room_bytes` is what the store may grow by for reasons of others. What makes it smaller is
        never too much.
        """
        for one in writes:
            there = self.entries.get(one.key)
            found = 0 if there is None else there.version
            if one.version is not None and one.version != found:
                has = f"has version {found}" if found else "does not exist"
                expected = f"version {one.version}" if one.version else "none"
                message = f"{one.key} {has}, and {expected} was expected"
                return Objection(Refusal.STORE_CONFLICT, message, one.key, found)
        keys, size = self._after(writes)
        if keys > max(STORE_KEYS_MAX, len(self.entries)):
            message = f"it would have {keys:,} keys of {STORE_KEYS_MAX:,}"
            return Objection(Refusal.STORE_FULL, message)
        if size > max(STORE_BYTES_MAX, self.size_bytes):
            message = f"it would have {size:,} bytes of {STORE_BYTES_MAX:,}"
            return Objection(Refusal.STORE_FULL, message)
        if size - self.size_bytes > max(room_bytes, 0):
            message = f"all frameworks' stores together have no more than {room_bytes:,} bytes left"
            return Objection(Refusal.STORE_FULL, message)
        return None

    def _after(self, writes: tuple[StoreWrite, ...]) -> tuple[int, int]:
        """How many keys and bytes there would be. No key is written twice."""
        keys, size = len(self.entries), self.size_bytes
        for one in writes:
            there = self.entries.get(one.key)
            size -= _size(one.key, there)
            keys -= there is not None
            if one.value is not None:
                size += len(one.key) + len(one.value)
                keys += 1
        return keys, size

    def change(self, writes: tuple[StoreWrite, ...]) -> int:
        """Do these writes, which `why_not` has nothing against; the version that they take."""
        self.revision += 1
        for one in writes:
            if one.value is None:
                self.remove(one.key)
            else:
                self.put(one.key, Entry(one.value, self.revision))
        return self.revision

    def put(self, key: str, entry: Entry) -> None:
        """Have this entry under a key."""
        self.size_bytes += _size(key, entry) - _size(key, self.entries.get(key))
        self.entries[key] = entry

    def remove(self, key: str) -> None:
        """Have nothing under a key."""
        self.size_bytes -= _size(key, self.entries.pop(key, None))

    def answer(self, call: ReadStore | ListStore | WriteStore) -> StoreAnswer:
        """Do what a call says, and answer it: with no other frameworks, and no failures."""
        match call:
            case ReadStore(number, key):
                return StoreAnswer(number, entry=self.entries.get(key))
            case ListStore(number, prefix):
                return StoreAnswer(number, keys=self.keys(prefix))
            case WriteStore(number, writes):
                objection = self.why_not(writes, STORE_BYTES_MAX)
                if objection is not None:
                    return objection.answer(number)
                return StoreAnswer(number, version=self.change(writes))

    def check(self) -> None:
        """Assert every invariant. For tests."""
        assert self.size_bytes == sum(_size(key, entry) for key, entry in self.entries.items())
        assert len(self.entries) <= STORE_KEYS_MAX
        assert all(0 < entry.version <= self.revision for entry in self.entries.values())


def _size(key: str, entry: Entry | None) -> int:
    return 0 if entry is None else len(key) + len(entry.value)
