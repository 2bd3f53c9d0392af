"""A frozen class of `mesoslite.immutable` is what a frozen dataclass is, to everybody who looks."""

from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace

import pytest

from mesoslite.immutable import dataclass, fix, twins


@dataclass(frozen=True, slots=True)
class Point:
    """Where something is."""

    x: int
    y: int = 0
    marks: Mapping[str, str] = field(default_factory=dict)
    """What is written there."""

    @property
    def sum(self) -> int:
        """Of both."""
        return self.x + self.y


@dataclass(frozen=True, slots=True)
class Words:
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        fix(self, "words", tuple(self.words))


@dataclass(frozen=True, slots=True)
class Pair:
    left: int
    right: int


def test_it_is_made_by_place_or_by_name_and_defaults_are_not_shared() -> None:
    assert (Point(1, 2).x, Point(x=1, y=2).y, Point(1).y) == (1, 2, 0)
    assert Point(1).marks == {}
    assert Point(1).marks is not Point(1).marks
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_it_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Point(1).z = 2  # type: ignore[attr-defined]


def test_it_compares_and_hashes_by_value_and_kind() -> None:
    assert Pair(1, 2) == Pair(1, 2) != Pair(1, 3)
    assert len({Pair(1, 2), Pair(1, 2), Pair(2, 1)}) == 2
    assert Pair(1, 2) != (1, 2)  # type: ignore[comparison-overlap]


def test_it_reads_as_a_dataclass() -> None:
    assert repr(Pair(1, 2)) == "Pair(left=1, right=2)"
    assert (Point.__doc__, Point.__name__, Point.__module__) == (
        "Where something is.",
        "Point",
        __name__,
    )
    assert [one.name for one in fields(Point(1))] == ["x", "y", "marks"]
    assert asdict(Pair(1, 2)) == {"left": 1, "right": 2}
    assert replace(Point(1, 2), y=5) == Point(1, 5)
    assert Point(1, 2).sum == 3


def test_it_is_matched_by_place_and_by_name() -> None:
    match Point(1, 2):
        case Point(1, y):
            assert y == 2
        case _:
            pytest.fail("no match")
    match Point(1, 2):
        case Point(y=3):
            pytest.fail("a match")


def test_what_is_given_can_be_put_right_while_it_is_made() -> None:
    assert Words(["a", "b"]).words == ("a", "b")  # type: ignore[arg-type]


def test_twins_differ_in_one_field_and_leave_the_first_as_it_was() -> None:
    first = Pair(1, 2)
    assert twins(first, "left", [3, 4]) == [Pair(3, 2), Pair(4, 2)]
    assert first == Pair(1, 2)
