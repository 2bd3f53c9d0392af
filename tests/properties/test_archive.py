"""What a master leaves to the next one is read as it was written, or not at all."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mesoslite.master import archive
from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    CompleteFramework,
    Durable,
    EntryRecord,
    FenceRecord,
    ForgetAgent,
    ForgetCompleted,
    ForgetEntry,
    ForgetFence,
    ForgetRelease,
    ForgetStore,
    FrameworkRecord,
    Recovered,
    ReleaseRecord,
    SaveAgent,
    SaveEntry,
    SaveFence,
    SaveFramework,
    SaveRelease,
    SaveStore,
    StoreRecord,
)
from tests.properties.strategies import (
    agent_infos,
    entries,
    framework_infos,
    ids,
    names,
    numbers,
    store_keys,
    wall_clock_ms,
)

agent_records = st.builds(AgentRecord, agent_infos, st.none() | wall_clock_ms)
framework_records = st.builds(
    FrameworkRecord, ids, names, framework_infos, ids, st.none() | wall_clock_ms
)
completed_records = st.builds(CompletedRecord, ids, names, framework_infos, wall_clock_ms)
entry_records = st.builds(EntryRecord, ids, store_keys, entries)
store_records = st.builds(StoreRecord, ids, numbers, ids, numbers, numbers)
fence_records = st.builds(FenceRecord, ids, ids, ids, ids, numbers, numbers)
release_records = st.builds(ReleaseRecord, names, names, ids, numbers)
saves: st.SearchStrategy[Durable] = st.one_of(
    st.builds(SaveAgent, agent_records),
    st.builds(SaveFramework, framework_records),
    st.builds(CompleteFramework, completed_records),
    st.builds(SaveEntry, entry_records),
    st.builds(SaveStore, store_records),
    st.builds(SaveFence, fence_records),
    st.builds(SaveRelease, release_records),
)


def kept(effects: list[Durable]) -> list[tuple[str, str, bytes]]:
    """What a registry holds after these."""
    records: dict[tuple[str, str], bytes] = {}
    for write in [write for effect in effects for write in archive.writes(effect)]:
        if isinstance(write, archive.Put):
            records[write.kind, write.key] = write.data
        else:
            records.pop((write.kind, write.key), None)
    return [(kind, key, data) for (kind, key), data in records.items()]


@given(
    st.lists(agent_records, unique_by=lambda one: one.info.agent_id, max_size=4),
    st.lists(framework_records, unique_by=lambda one: one.framework_id, max_size=4),
    st.lists(completed_records, unique_by=lambda one: one.framework_id, max_size=4),
)
def test_every_record_comes_back_as_it_was(
    agents: list[AgentRecord], frameworks: list[FrameworkRecord], ended: list[CompletedRecord]
) -> None:
    assume({one.framework_id for one in ended}.isdisjoint(one.framework_id for one in frameworks))
    records = kept(
        [
            *map(SaveAgent, agents),
            *map(CompleteFramework, ended),
            *map(SaveFramework, frameworks),
        ]
    )
    assert archive.recovered(7, reversed(records)) == Recovered(
        epoch=7,
        agents=tuple(sorted(agents, key=lambda one: one.info.agent_id)),
        frameworks=tuple(sorted(frameworks, key=lambda one: one.framework_id)),
        completed=tuple(sorted(ended, key=lambda one: (one.completed_ms, one.framework_id))),
    )
    forgotten: list[Durable] = [
        *(ForgetAgent(one.info.agent_id) for one in agents),
        *(ForgetCompleted(one.framework_id) for one in ended),
    ]
    left = archive.recovered(8, kept([*map(SaveAgent, agents), *forgotten]))
    assert left == Recovered(epoch=8)


@given(
    st.lists(entry_records, unique_by=lambda one: (one.framework_id, one.key), max_size=6),
    st.lists(store_records, unique_by=lambda one: one.framework_id, max_size=3),
)
def test_stores_come_back_as_they_were(
    entries_of: list[EntryRecord], stores: list[StoreRecord]
) -> None:
    saved: list[Durable] = [*map(SaveEntry, entries_of), *map(SaveStore, stores)]
    assert archive.recovered(7, reversed(kept(saved))) == Recovered(
        epoch=7,
        stores=tuple(sorted(stores, key=lambda one: one.framework_id)),
        entries=tuple(sorted(entries_of, key=lambda one: (one.framework_id, one.key))),
    )
    forgotten: list[Durable] = [
        *(ForgetEntry(one.framework_id, one.key) for one in entries_of),
        *(ForgetStore(one.framework_id) for one in stores),
    ]
    assert archive.recovered(8, kept(saved + forgotten)) == Recovered(epoch=8)


@given(st.lists(fence_records, unique_by=lambda one: (one.framework_id, one.key), max_size=6))
def test_fences_come_back_as_they_were(fences: list[FenceRecord]) -> None:
    saved: list[Durable] = [*map(SaveFence, fences)]
    assert archive.recovered(7, reversed(kept(saved))).fences == tuple(
        sorted(fences, key=lambda one: (one.framework_id, one.key))
    )
    forgotten: list[Durable] = [ForgetFence(one.framework_id, one.key) for one in fences]
    assert archive.recovered(8, kept(saved + forgotten)) == Recovered(epoch=8)


@given(st.lists(release_records, unique_by=lambda one: (one.principal, one.name), max_size=4))
def test_releases_come_back_as_they_were(releases: list[ReleaseRecord]) -> None:
    saved: list[Durable] = [*map(SaveRelease, releases)]
    found = archive.recovered(7, reversed(kept(saved))).releases
    assert set(found) == set(releases)
    assert [one.asked_ms for one in found] == sorted(one.asked_ms for one in releases)
    forgotten: list[Durable] = [ForgetRelease(one.principal, one.name) for one in releases]
    assert kept([*saved, *forgotten]) == []


@given(entry_records)
def test_a_key_holds_nothing_that_a_path_can_not(record: EntryRecord) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~%:-]{1,1024}", archive.entry(record).key)


@given(saves, st.data())
def test_a_record_with_any_byte_changed_is_refused(effect: Durable, data: st.DataObject) -> None:
    [*_, (kind, key, whole)] = kept([effect])
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for content, name in ((bytes(damaged), key), (cut, key), (whole, f"{key}x")):
        with pytest.raises(archive.BadRecord) as caught:
            archive.recovered(1, [(kind, name, content)])
        assert name in str(caught.value)
        assert str(caught.value).isprintable()


@given(st.integers(0, 2**63 - 1))
def test_an_epoch_comes_back(number: int) -> None:
    put = archive.epoch(number)
    assert archive.epoch_of(put.key, put.data) == number
    with pytest.raises(archive.BadRecord):
        archive.epoch_of(put.key, put.data[:-1] + b"\xff\xff")
