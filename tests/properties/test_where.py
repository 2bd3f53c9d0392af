"""Expressions over what an agent is: any text is read or refused; what was read is written back."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mesoslite.attributes import Attribute
from mesoslite.where import LENGTH_MAX, InvalidWhere, Place, Where

NAMES = ("hostname", "region", "zone", "rack", "level")
VALUES = ("a", "b", "r 1", "10", "10.0", "1.5", "and", "it's", '"', "[1-5]")
attributes = st.builds(
    Attribute,
    st.sampled_from(NAMES),
    st.sampled_from(VALUES) | st.sampled_from((10_000, 1_500)) | st.just(((1, 5),)),
)
places = st.builds(
    Place,
    st.sampled_from(("a", "b")),
    st.lists(attributes, max_size=4).map(tuple),
    st.sampled_from(("", "a")),
    st.sampled_from(("", "b")),
)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Expected:
    """An expression as text, beside what it means, worked out the slow way."""

    def __init__(self, text: str, means: object) -> None:
        self.text, self.means = text, means

    def __repr__(self) -> str:
        return self.text

    def true(self, place: Place) -> bool:
        return true_of(self.means, place)


def true_of(means: object, place: Place) -> bool:
    match means:
        case ("is", str(name), str(text)):
            return any(equal(value, text) for value in everything(place, name))
        case ("<", str(name), str(text)):
            numbers = (v.value for v in everything(place, name) if isinstance(v, Attribute))
            return any(type(n) is int and n < Fraction(text) * 1000 for n in numbers)
        case ("has", str(name)):
            return bool(everything(place, name))
        case ("not", part):
            return not true_of(part, place)
        case ("and", one, other):
            return true_of(one, place) and true_of(other, place)
        case ("or", one, other):
            return true_of(one, place) or true_of(other, place)
    raise AssertionError(means)


def everything(place: Place, name: str) -> list[str | Attribute]:
    own = {"hostname": place.hostname, "region": place.region, "zone": place.zone}.get(name)
    found: list[str | Attribute] = [own] if own else []
    return found + [a for a in place.attributes if a.name == name]


def equal(value: str | Attribute, text: str) -> bool:
    if isinstance(value, Attribute) and isinstance(value.value, int):
        return text.replace(".", "").isdecimal() and Fraction(text) * 1000 == value.value
    return text == (value if isinstance(value, str) else value.value_text())


names = st.sampled_from(NAMES)
tests: st.SearchStrategy[Expected] = st.one_of(
    st.builds(
        lambda n, v: Expected(f"{n} == {quoted(v)}", ("is", n, v)), names, st.sampled_from(VALUES)
    ),
    st.builds(
        lambda n, v: Expected(f"{n} != {quoted(v)}", ("not", ("is", n, v))),
        names,
        st.sampled_from(VALUES),
    ),
    st.builds(
        lambda n, v: Expected(f"{n} < {v}", ("<", n, v)), names, st.sampled_from(("2", "10.001"))
    ),
    st.builds(lambda n: Expected(f"has {n}", ("has", n)), names),
)
expressions: st.SearchStrategy[Expected] = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds(lambda e: Expected(f"not ({e.text})", ("not", e.means)), inner),
        st.builds(
            lambda a, b, w: Expected(f"({a.text}) {w} ({b.text})", (w, a.means, b.means)),
            inner,
            inner,
            st.sampled_from(("and", "or")),
        ),
    ),
    max_leaves=6,
)


@given(expressions, places)
def test_it_means_what_it_says(expected: Expected, place: Place) -> None:
    assert Where.parse(expected.text).matches(place) == expected.true(place)


@given(expressions)
def test_it_is_written_back(expected: Expected) -> None:
    where = Where.parse(expected.text)
    again = Where.parse(str(where))
    assert (again, str(again), again.required) == (where, str(where), where.required)


@given(expressions, places)
def test_an_index_never_hides_a_place_that_matches(expected: Expected, place: Place) -> None:
    where = Where.parse(expected.text)
    assert not where.matches(place) or set(where.required) <= set(place.facts())


words = st.sampled_from(
    ("rack", "==", "!=", "(", ")", "in", "not", "and", "or", "has", ",", "<", "10", "r1", '"', "\\")
)


@given(st.one_of(st.text(max_size=40), st.lists(words, max_size=30).map(" ".join)), places)
def test_any_text_is_read_or_refused_with_its_place(text: str, place: Place) -> None:
    where = read(text)
    if isinstance(where, InvalidWhere):
        assert 1 <= where.at <= len(text) + 1
        assert "\n" not in str(where)
        assert where.caret.count("\n") == 1
        return
    where.matches(place)
    assert len(text) > LENGTH_MAX or Where.parse(str(where)) == where


def read(text: str) -> Where | InvalidWhere:
    try:
        return Where.parse(text)
    except InvalidWhere as why:
        return why
