"""A framework's store against a dict: what is there, which version, and never one twice."""

from hypothesis import given
from hypothesis import strategies as st

from mesoslite.messages import ListStore, ReadStore, WriteStore
from mesoslite.model import Entry, Refusal, StoreWrite
from mesoslite.shelf import Shelf

keys = st.sampled_from(("a", "b", "b/1", "c"))
writes = st.builds(
    StoreWrite, keys, st.none() | st.binary(max_size=3), st.none() | st.integers(0, 6)
)
calls = st.one_of(
    st.builds(ReadStore, st.just(1), keys),
    st.builds(ListStore, st.just(1), st.sampled_from(("", "b", "x"))),
    st.builds(
        WriteStore,
        st.just(1),
        st.lists(writes, min_size=1, max_size=3, unique_by=lambda one: one.key).map(tuple),
    ),
)


@given(st.lists(calls, max_size=30))
def test_a_shelf_is_a_dict_with_versions(said: list[ReadStore | ListStore | WriteStore]) -> None:
    shelf = Shelf()
    model: dict[str, Entry] = {}
    used: set[int] = set()
    for call in said:
        answer = shelf.answer(call)
        shelf.check()
        match call:
            case ReadStore(_, key):
                assert answer.entry == model.get(key)
            case ListStore(_, prefix):
                assert answer.keys == tuple(sorted(k for k in model if k.startswith(prefix)))
            case WriteStore(_, several):
                versions = {key: entry.version for key, entry in model.items()}
                fits = [w.version in (None, versions.get(w.key, 0)) for w in several]
                assert (answer.refusal is None) == all(fits)
                if answer.refusal is not None:
                    first = several[fits.index(False)]
                    assert answer.refusal is Refusal.STORE_CONFLICT
                    assert (answer.key, answer.version) == (first.key, versions.get(first.key, 0))
                    continue
                assert answer.version not in used
                used.add(answer.version)
                for one in several:
                    if one.value is None:
                        model.pop(one.key, None)
                    else:
                        model[one.key] = Entry(one.value, answer.version)
        assert shelf.entries == model
