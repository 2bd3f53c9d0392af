"""The laws of resource arithmetic, against a model that counts every unit in a plain Counter."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite.attributes import (
    Attribute,
    InvalidAttributes,
    attributes_from_json,
    attributes_text,
    attributes_to_json,
    parse_attributes,
)
from mesoslite.ranges import Ranges, lacking, minus
from mesoslite.resources import (
    InvalidResources,
    MixedKinds,
    Overlap,
    Resources,
    Shortfall,
    key,
    split_key,
    total_of,
)

ROLES = ("*", "ads", "eng/ads")
# A number or an item belongs to one role, chosen per unit, so that values are valid by making.
unit_roles = st.dictionaries(st.integers(0, 24), st.sampled_from(ROLES), max_size=16)
item_roles = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(ROLES))
scalar_keys = st.sampled_from([key(n, r) for n in ("cpus", "mem", "x.y-z") for r in ROLES])
scalars = st.dictionaries(scalar_keys, st.integers(0, 5_000))


def built(amounts: dict[str, int], numbers: dict[int, str], items: dict[str, str]) -> Resources:
    return Resources.from_amounts(
        amounts,
        {key("ports", r): [(n, n) for n in numbers if numbers[n] == r] for r in ROLES},
        {key("zones", r): [i for i in items if items[i] == r] for r in ROLES},
    )


resources = st.builds(built, scalars, unit_roles, item_roles)


def counted(amount: Resources) -> Counter[tuple[str, object]]:
    """Every unit of every amount, one by one."""
    model: Counter[tuple[str, object]] = Counter()
    for at, value in amount.scalars.items():
        model[at, "thousandths"] = value
    for at, pairs in amount.ranges.items():
        model.update((at, n) for low, high in pairs for n in range(low, high + 1))
    for at, items in amount.sets.items():
        model.update((at, item) for item in items)
    return model


def check(amount: Resources) -> None:
    """Every invariant of a value: positive, sorted, normal, apart, one kind for each name."""
    parts = (amount.scalars, amount.ranges, amount.sets)
    for part in parts:
        assert list(part) == sorted(part)
    assert all(value > 0 for value in amount.scalars.values())
    for pairs in amount.ranges.values():
        assert pairs
        assert all(low <= high for low, high in pairs)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(pairs))
    assert all(amount.sets.values())
    owners = Counter(
        (split_key(at)[0], unit) for at, unit in counted(amount) if unit != "thousandths"
    )
    assert all(times == 1 for times in owners.values())
    names = [{split_key(at)[0] for at in part} for part in parts]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]


@given(resources, st.data())
def test_any_sequence_of_grants_and_returns_restores_the_agent_exactly(
    agent: Resources, data: st.DataObject
) -> None:
    free = agent
    out: list[Resources] = []
    for _ in range(data.draw(st.integers(0, 12), label="steps")):
        give_back: bool = data.draw(st.booleans(), label="give one back")
        if out and give_back:
            free += out.pop(data.draw(st.integers(0, len(out) - 1), label="which"))
        else:
            grant = data.draw(parts_of(free), label="grant")
            free -= grant
            out.append(grant)
        check(free)
        assert total_of([free, *out]) == agent
    for grant in out:
        free += grant
    assert free == agent
    assert hash(free) == hash(agent)
    assert str(free) == str(agent)


@st.composite
def parts_of(draw: st.DrawFn, whole: Resources) -> Resources:
    """Some amount that `whole` covers."""
    return Resources.from_amounts(
        {at: draw(st.integers(0, value)) for at, value in whole.scalars.items()},
        {
            at: [(n, n) for low, high in pairs for n in range(low, high + 1) if draw(st.booleans())]
            for at, pairs in whole.ranges.items()
        },
        {at: [i for i in sorted(items) if draw(st.booleans())] for at, items in whole.sets.items()},
    )


@given(resources, resources)
def test_covers_says_exactly_whether_subtraction_works(have: Resources, need: Resources) -> None:
    fits = counted(need) <= counted(have)
    assert have.covers(need) == fits
    if fits:
        rest = have - need
        check(rest)
        assert counted(rest) == counted(have) - counted(need)
        assert rest + need == have
    else:
        with pytest.raises(Shortfall):
            have - need


@given(st.data())
def test_what_is_a_part_can_be_taken_away(data: st.DataObject) -> None:
    whole = data.draw(resources)
    part = data.draw(parts_of(whole))
    assert whole.covers(part)
    assert (whole - part) + part == whole
    assert whole - (whole - part) == part
    assert part.missing(whole) == whole - part


@given(resources, resources)
def test_a_sum_is_exact_or_is_refused_for_what_is_shared(one: Resources, other: Resources) -> None:
    def owned(amount: Resources) -> set[tuple[str, object]]:
        return {(split_key(a)[0], u) for a, u in counted(amount) if u != "thousandths"}

    if owned(one) & owned(other):
        with pytest.raises(Overlap):
            one + other
        return
    both = one + other
    check(both)
    assert counted(both) == counted(one) + counted(other)
    assert both == other + one
    assert str(both) == str(other + one)
    assert both - other == one
    assert both - one == other


@given(resources, resources)
def test_missing_is_the_least_that_would_make_it_fit(have: Resources, need: Resources) -> None:
    lack = have.missing(need)
    check(lack)
    assert counted(lack) == counted(need) - counted(have)
    assert bool(lack) != have.covers(need)


@given(resources)
def test_a_value_reads_back_from_its_text_and_its_json(amount: Resources) -> None:
    check(amount)
    assert Resources.parse(str(amount)) == amount
    assert Resources.from_json(amount.to_json()) == amount
    assert Resources.parse(json.dumps(amount.to_json())) == amount


@given(st.integers(0, 10**15))
def test_a_scalar_of_any_size_reads_back_exactly(amount: int) -> None:
    value = Resources.from_amounts({"mem": amount})
    assert Resources.parse(str(value)) == value
    assert Resources.parse(json.dumps(value.to_json())) == value


@given(resources, resources)
def test_equal_values_have_equal_hashes_and_texts(one: Resources, other: Resources) -> None:
    assert (one == other) == (str(one) == str(other))
    assert one != other or hash(one) == hash(other)


@given(resources, st.sampled_from(ROLES))
def test_what_a_role_may_have_and_may_not_is_the_whole(amount: Resources, role: str) -> None:
    mine = amount.available_to(role)
    check(mine)
    rest = amount - mine
    assert mine.roles() <= {"*", role, "eng"}
    assert not rest.roles() & {"*", role}
    assert amount.unreserved().roles() <= {"*"}


@given(resources, st.integers(0, 30))
def test_taken_ports_are_that_many_and_are_here(amount: Resources, wanted: int) -> None:
    there = sum(high - low + 1 for low, high in amount.ports)
    if wanted > there:
        with pytest.raises(Shortfall):
            amount.take_ports(wanted)
        return
    taken = amount.take_ports(wanted)
    check(taken)
    assert amount.covers(taken)
    assert sum(high - low + 1 for low, high in taken.ports) == wanted


numbers = st.sets(st.integers(0, 24))


def as_ranges(wanted: set[int]) -> Ranges:
    return Resources.from_amounts({}, {"n": [(n, n) for n in wanted]}).ranges.get("n", ())


@given(numbers, numbers)
def test_ranges_are_subtracted_as_sets_of_numbers(have: set[int], less: set[int]) -> None:
    expected = as_ranges(have - less) if less <= have else None
    assert minus(as_ranges(have), as_ranges(less)) == expected
    assert lacking(as_ranges(have), as_ranges(less)) == as_ranges(less - have)


T = TypeVar("T")


def read_or_refused(reader: Callable[..., T], written: object) -> T | None:
    """What was read, or None when it was refused as it should be: in one line."""
    try:
        return reader(written)
    except (InvalidResources, InvalidAttributes) as why:
        message = str(why)
    assert message
    assert "\n" not in message
    return None


@given(st.text(alphabet='cpusmeport:;[]{}()-*,.0159 "GiBeE\x00ä', max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    amount = read_or_refused(Resources.parse, text)
    if amount is not None:
        check(amount)
        assert Resources.parse(str(amount)) == amount


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
fields = st.sampled_from(
    ["name", "type", "role", "scalar", "value", "ranges", "range", "cpus", "set"]
)
words = st.sampled_from(["cpus", "SCALAR", "RANGES", "SET", "*", "[1-2]"])
documents = st.recursive(
    leaves | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_any_document_is_read_or_refused_in_one_line(document: object) -> None:
    check(read_or_refused(Resources.from_json, document) or Resources.EMPTY)
    facts = read_or_refused(attributes_from_json, document) or ()
    assert attributes_from_json(attributes_to_json(facts)) == facts


@given(st.sampled_from(["x", "x(ads)"]), st.sampled_from(["x", "x(eng)"]))
def test_one_name_never_gets_two_kinds_by_adding(one: str, other: str) -> None:
    with pytest.raises(MixedKinds):
        Resources.from_amounts({one: 1}) + Resources.from_amounts({}, {other: [(1, 2)]})


names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.-]{0,5}\Z")
texts = st.text(min_size=1, max_size=8).filter(
    lambda t: t.isprintable() and t.strip() == t and ";" not in t
)
spans = numbers.filter(bool).map(as_ranges)
attributes = st.lists(
    st.builds(Attribute, names, texts | st.integers(-(10**15), 10**15) | spans), max_size=6
).map(tuple)


@given(attributes)
def test_attributes_read_back_from_json(facts: tuple[Attribute, ...]) -> None:
    document = json.loads(json.dumps(attributes_to_json(facts)))
    assert attributes_from_json(document) == facts


@given(st.text(alphabet="abZ19:;[]-,. {}é\n", max_size=40))
def test_attributes_that_were_read_read_back_from_their_text(text: str) -> None:
    facts = read_or_refused(parse_attributes, text) or ()
    assert parse_attributes(attributes_text(facts)) == facts
