"""The frameworks' key-value stores (docs/decisions.md D16): read, written, and dropped with them.

Everything is in memory, as it is in the registry. Whoever speaks on the framework's stream may
write; an earlier scheduler has no stream any more, so its writes are refused like all that it says.

A session has one WriteStore on its way and says it again after a reconnect. The last one that was
done is in the registry with what it wrote, so any master answers it as the first one did, and does
it once. One that was refused is decided anew: nothing of it was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mesoslite.master.protocol import (
    EntryRecord,
    ForgetEntry,
    ForgetStore,
    SaveEntry,
    SaveStore,
    StoreRecord,
    ToScheduler,
)
from mesoslite.master.records import FrameworkEntry, Tables
from mesoslite.messages import ListStore, ReadStore, StoreAnswer, WriteStore
from mesoslite.model import StoreWrite
from mesoslite.shelf import Objection


def recover(t: Tables, stores: Iterable[StoreRecord], entries: Iterable[EntryRecord]) -> None:
    """Take up what an earlier master left, when the frameworks are known."""
    for record in stores:
        store = t.frameworks[record.framework_id].store
        store.record = record
        store.shelf.revision = record.revision
    for one in entries:
        shelf = t.frameworks[one.framework_id].store.shelf
        t.store_bytes -= shelf.size_bytes
        shelf.put(one.key, one.entry)
        t.store_bytes += shelf.size_bytes


def read(t: Tables, framework: FrameworkEntry, call: ReadStore) -> None:
    """Answer with the entry, or with nothing."""
    _answer(t, framework, framework.store.shelf.answer(call))


def list_keys(t: Tables, framework: FrameworkEntry, call: ListStore) -> None:
    """Answer with the keys that begin so, in order."""
    _answer(t, framework, framework.store.shelf.answer(call))


def write(t: Tables, framework: FrameworkEntry, call: WriteStore) -> None:
    """Do all of the writes or none, once however often it is said; and answer."""
    last = framework.store.record
    if last is not None and (last.session_id, last.number) == (framework.session_id, call.number):
        _answer(t, framework, StoreAnswer(call.number, version=last.version))
        return
    objection = why_not(t, framework, call.writes)
    if objection is not None:
        t.no(objection.refusal)
        _answer(t, framework, objection.answer(call.number))
        return
    version = _change(t, framework, call.writes)
    session_id, number = framework.session_id, call.number
    done = StoreRecord(framework.framework_id, version, session_id, number, version)
    _save(t, framework, done)
    _answer(t, framework, StoreAnswer(call.number, version=version))


def why_not(
    t: Tables, framework: FrameworkEntry, writes: tuple[StoreWrite, ...]
) -> Objection | None:
    """The first reason why these writes can not be done together. Only reads."""
    return framework.store.shelf.why_not(writes, t.config.store_bytes_max - t.store_bytes)


def ride_along(t: Tables, framework: FrameworkEntry, writes: tuple[StoreWrite, ...]) -> None:
    """Do the writes of an accept that launches; `why_not` had nothing against them."""
    if writes:
        last = framework.store.record or StoreRecord(framework.framework_id, 0)
        _save(t, framework, replace(last, revision=_change(t, framework, writes)))


def drop(t: Tables, framework: FrameworkEntry) -> None:
    """The framework is removed, and its store with it."""
    store = framework.store
    for key in store.shelf.entries:
        t.emit(ForgetEntry(framework.framework_id, key))
    if store.record is not None:
        t.emit(ForgetStore(framework.framework_id))
    t.store_bytes -= store.shelf.size_bytes


def _change(t: Tables, framework: FrameworkEntry, writes: tuple[StoreWrite, ...]) -> int:
    """Do these writes; the version that they take."""
    framework_id, shelf = framework.framework_id, framework.store.shelf
    removed = [one.key for one in writes if one.value is None and one.key in shelf.entries]
    t.store_bytes -= shelf.size_bytes
    version = shelf.change(writes)
    t.store_bytes += shelf.size_bytes
    for key in removed:
        t.emit(ForgetEntry(framework_id, key))
    for one in writes:
        if one.value is not None:
            t.emit(SaveEntry(EntryRecord(framework_id, one.key, shelf.entries[one.key])))
    return version


def _save(t: Tables, framework: FrameworkEntry, record: StoreRecord) -> None:
    framework.store.record = record
    t.emit(SaveStore(record))


def _answer(t: Tables, framework: FrameworkEntry, answer: StoreAnswer) -> None:
    if framework.stream is not None:
        t.emit(ToScheduler(framework.stream, answer))


def check(t: Tables) -> None:
    """Assert every invariant of the stores. For tests."""
    for framework in t.frameworks.values():
        store = framework.store
        store.shelf.check()
        assert store.shelf.revision == (0 if store.record is None else store.record.revision)
    assert t.store_bytes == sum(f.store.shelf.size_bytes for f in t.frameworks.values())
