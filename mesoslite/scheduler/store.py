"""The framework's key-value store, as the author of a scheduler sees it (docs/store.md).

A call is sent at once, and gives a StoreCall: `await` it in a coroutine, or `wait()` for it in a
plain callback. Plain callbacks have a thread of their own, so the loop that brings the answer runs
on meanwhile; on that loop itself `wait()` raises at once instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from mesoslite.messages import ListStore, ReadStore, StoreAnswer, WriteStore
from mesoslite.model import (
    STORE_KEY_PATTERN,
    STORE_WRITES_BYTES_MAX,
    STORE_WRITES_MAX,
    Entry,
    Refusal,
    StoreWrite,
    why_not_key,
    why_not_write,
)
from mesoslite.scheduler.protocol import CallStore, StoreCalled

T = TypeVar("T")

CALLS_MAX = 10_000  # that wait for an answer: ~1 kB each, and 64 KiB each that writes


class StoreError(Exception):
    """A call of the store was not done."""


class StoreConflict(StoreError):
    """Another version is there than the one that was expected: read it, and decide anew."""

    def __init__(self, key: str, found: int, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.found = found
        """The version that is there; 0: there is no entry."""


class StoreFull(StoreError):
    """The store holds as much as it may; the text tells what of it."""


class StoreClosed(StoreError):
    """The scheduler ended before the answer came: what was to be written may have been, or not."""


class StoreCall(Generic[T]):
    """A call that was made: `await` it, or `wait()` for it. Both as often as one likes."""

    def __init__(self, made_of: Callable[[StoreAnswer], T], waits: bool) -> None:
        self._made_of = made_of
        self._waits = waits
        self._future: Future[T] = Future()
        self._future.set_running_or_notify_cancel()  # who awaits may go; the call goes on

    @property
    def done(self) -> bool:
        """Whether it was answered."""
        return self._future.done()

    def wait(self, timeout_s: float | None = None) -> T:
        """Block until the answer is there. Not in a coroutine: RuntimeError; `await` it there.

        Raises StoreError, or TimeoutError after `timeout_s`: then the call goes on.
        """
        if not self.done and _in_a_loop():
            raise RuntimeError("`wait()` would stop the loop that brings the answer: await it")
        if not self.done and not self._waits:
            raise RuntimeError("time is virtual in a simulation: use a coroutine, and await it")
        return self._future.result(timeout_s)

    def __await__(self) -> Generator[Any, None, T]:
        if self.done:
            return self._future.result()
        if _in_a_loop():
            return (yield from asyncio.wrap_future(self._future).__await__())
        # A simulation runs coroutines by itself: it goes on when this is answered.
        yield self
        return self._future.result()

    def _when_done(self, function: Callable[[], None]) -> None:
        self._future.add_done_callback(lambda _: function())

    def _answered(self, answer: StoreAnswer) -> None:
        error = _error(answer)
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(self._made_of(answer))

    def _closed(self) -> None:
        self._future.set_exception(StoreClosed("the scheduler has ended"))


class Store:
    """What a framework keeps at the master: it outlives the scheduler, and the master too.

        entry = await self.store.get("leader")            # in a coroutine
        entry = self.store.get("leader").wait()           # in a plain callback

    At most 1,000 keys of 1 to 256 printable ASCII characters, 64 KiB each, 8 MiB in all. Only the
    one scheduler that is subscribed can write. Calls are done in the order in which they are made.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._serve: Callable[[CallStore], None] | None = None
        self._waits = True
        self._calls: dict[int, StoreCall[Any]] = {}
        self._last_number = 0

    def get(self, key: str) -> StoreCall[Entry | None]:
        """What is there, with its version; None: nothing."""
        _check(why_not_key(_text(key)))
        return self._call(lambda number: ReadStore(number, key), lambda answer: answer.entry)

    def put(self, key: str, value: bytes, version: int | None = None) -> StoreCall[int]:
        """Write, durably; the version of what is there then.

        `version` is the one that must be there, 0 for none; None: whatever is there is replaced.
        Raises StoreConflict, StoreFull.
        """
        if not isinstance(value, bytes):
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        return self._write(StoreWrite(_text(key), value, _version(version)))

    def delete(self, key: str, version: int | None = None) -> StoreCall[int]:
        """Remove the entry, if there is one. `version` as for `put`. Raises StoreConflict."""
        return self._write(StoreWrite(_text(key), None, _version(version)))

    def keys(self, prefix: str = "") -> StoreCall[list[str]]:
        """All keys that begin so, in order."""
        if _text(prefix) and STORE_KEY_PATTERN.match(prefix) is None:
            raise ValueError("a prefix has up to 256 printable ASCII characters and no blanks")
        return self._call(
            lambda number: ListStore(number, prefix), lambda answer: list(answer.keys)
        )

    def _write(self, write: StoreWrite) -> StoreCall[int]:
        _check(why_not_write(write))
        return self._call(
            lambda number: WriteStore(number, (write,)), lambda answer: answer.version
        )

    def _call(
        self, make: Callable[[int], StoreCalled], made_of: Callable[[StoreAnswer], T]
    ) -> StoreCall[T]:
        call = StoreCall(made_of, self._waits)
        with self._lock:
            if self._serve is None:
                raise RuntimeError("the store is there while the scheduler is run")
            if len(self._calls) >= CALLS_MAX:
                raise RuntimeError(f"{len(self._calls):,} calls of the store wait: await some")
            self._last_number += 1
            number = self._last_number
            self._calls[number] = call
            serve = self._serve
        serve(CallStore(make(number)))
        return call

    # --- for the driver and the harness -----------------------------------------------------------

    def _open(self, serve: Callable[[CallStore], None], *, waits: bool = True) -> None:
        """`serve` is handed each call, in the thread that made it; `waits`: threads may wait."""
        with self._lock:
            self._serve, self._waits = serve, waits

    def _answered(self, answer: StoreAnswer) -> None:
        """In any thread."""
        with self._lock:
            call = self._calls.pop(answer.number, None)
        if call is not None:
            call._answered(answer)

    def _close(self) -> None:
        """The run is over: nobody answers any more."""
        with self._lock:
            self._serve = None
            calls = list(self._calls.values())
            self._calls.clear()
        for call in calls:
            call._closed()


StoreChanges = Mapping[str, bytes | tuple[bytes | None, int | None] | None]
"""Keys with what they are to hold, or with that and the version that must be there."""


def store_writes(store: StoreChanges) -> tuple[StoreWrite, ...]:
    """The writes of `launch(..., store={...})`. Raises TypeError or ValueError."""
    if not isinstance(store, Mapping):
        raise TypeError(f"store is a dict of keys and values, not {type(store).__name__}")
    if len(store) > STORE_WRITES_MAX:
        raise ValueError(f"a launch writes at most {STORE_WRITES_MAX} entries, not {len(store):,}")
    writes = []
    for key, change in store.items():
        value, version = change if isinstance(change, tuple) else (change, None)
        if value is not None and not isinstance(value, bytes):
            raise TypeError(f"a value is bytes, or None to remove it, not {type(value).__name__}")
        write = StoreWrite(_text(key), value, _version(version))
        _check(why_not_write(write))
        writes.append(write)
    size = sum(len(write.key) + len(write.value or b"") for write in writes)
    if size > STORE_WRITES_BYTES_MAX:
        raise ValueError(f"a launch writes at most {STORE_WRITES_BYTES_MAX:,} bytes, not {size:,}")
    return tuple(writes)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _error(answer: StoreAnswer) -> StoreError | None:
    message = answer.message or (answer.refusal.value if answer.refusal is not None else "")
    match answer.refusal:
        case None:
            return None
        case Refusal.STORE_CONFLICT:
            return StoreConflict(answer.key, answer.version, message)
        case Refusal.STORE_FULL:
            return StoreFull(message)
        case _:
            return StoreClosed(message)


def _text(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is text, not {type(key).__name__}")
    return key


def _version(version: object) -> int | None:
    if version is not None and type(version) is not int:
        raise TypeError(f"a version is a whole number, not {type(version).__name__}")
    return version


def _check(why_not: str | None) -> None:
    if why_not is not None:
        raise ValueError(why_not)
