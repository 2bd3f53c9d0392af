"""Expressions over what an agent is: what they mean, and what is said of those that mean none."""

import pytest

from mesoslite.attributes import parse_attributes
from mesoslite.model import AgentInfo
from mesoslite.resources import Resources
from mesoslite.where import (
    CARET_COLUMNS,
    COMPARISONS_MAX,
    DEPTH_MAX,
    LENGTH_MAX,
    InvalidWhere,
    Place,
    Where,
)

FACTS = parse_attributes("rack:r1;level:10;slots:[1-5];disk:ssd;disk:hdd")
HERE = Place("h1", FACTS, "eu", "a", ("process", "oci"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "rack == r1",
        "rack=r1",
        "rack != r2",
        "rack in (r0, r1)",
        "rack not in (r0, r2)",
        'rack == "r1"',
        "'rack' == 'r1'",
        "hostname == h1 and region == eu and zone == a",
        "zone in(a,b)",
        "containerizer == oci and containerizer == process",
        "level == 10",
        "level == 10.0",
        "level >= 10 and level <= 10 and level > 9.999 and level < 10.001",
        "slots == [1-5]",
        "disk == ssd and disk == hdd",
        "has disk and not has rank",
        "rank != 1",
        "not rank == 1",
        "rack == r2 or rack == r1",
        "rack == r2 or rack == r1 and zone == a",
        "not (rack == r2 or zone == b)",
        "not not rack == r1",
    ],
)
def test_an_expression_that_is_true_here(text: str) -> None:
    assert Where.parse(text).matches(HERE)


@pytest.mark.parametrize(
    "text",
    [
        "rack == R1",
        "rack != r1",
        "disk != ssd",
        "disk not in (ssd, tape)",
        "rank == 1",
        "rank < 1 or rank >= 1",
        "rack < 1",
        "level == ten",
        "level > 10",
        "slots == 1",
        "has rank",
        "(rack == r1 or rack == r2) and zone == b",
        "hostname == h1.example",
    ],
)
def test_an_expression_that_is_not(text: str) -> None:
    assert not Where.parse(text).matches(HERE)


def test_an_attribute_called_zone_stands_beside_the_zone() -> None:
    assert Where.parse("zone == b").matches(Place("h", parse_attributes("zone:b")))
    assert Where.parse("zone == b").matches(Place("h", parse_attributes("zone:b"), zone="a"))
    assert not Where.parse("has zone").matches(Place("h"))


def test_an_agent_is_at_its_place() -> None:
    rack = parse_attributes("rack:r1")
    agent = AgentInfo("a1", "h1", Resources(cpus=1), rack, region="eu", zone="a")
    assert agent.place == Place("h1", rack, "eu", "a", ("process",))
    assert list(agent.place.facts()) == [
        ("hostname", "h1"),
        ("region", "eu"),
        ("zone", "a"),
        ("containerizer", "process"),
        ("rack", "r1"),
    ]


def test_what_must_hold_outermost_is_told_for_an_index() -> None:
    text = "rack == r1 and level == 10 and (a == 1 or b == 2) and not c == 3 and (d == x and e > 1)"
    assert Where.parse(text).required == (("rack", "r1"), ("level", "10"), ("d", "x"))
    assert Where.parse("rack == r1 or level == 10").required == ()
    assert Where.parse("rack in (r1)").required == (("rack", "r1"),)


def test_a_number_spelled_otherwise_is_not_for_the_index() -> None:
    """`level == 10.0` is true of level:10, and of a TEXT "10.0" as well."""
    assert Where.parse("level == 10.0").required == ()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("rack=r1", "rack == r1"),
        ("rack in (r1,r2, r1)", "rack in (r1, r2)"),
        ("rack not in (r1)", "rack != r1"),
        ("a==1 and b==2 or c==3", "a == 1 and b == 2 or c == 3"),
        ("a==1 and (b==2 or c==3)", "a == 1 and (b == 2 or c == 3)"),
        ("not(a==1)", "a != 1"),
        ("not(a==1 and b==2)", "not (a == 1 and b == 2)"),
        ("not level<010.500", "not level < 10.5"),
        ("rack == 'and'", 'rack == "and"'),
        ("rack == 'r \"1'", "rack == 'r \"1'"),
        ("'in' == '\\\\'", '"in" == \\'),
    ],
)
def test_how_an_expression_is_written_back(text: str, written: str) -> None:
    assert str(Where.parse(text)) == written
    assert Where.parse(written) == Where.parse(text)


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("rack !=", 8, "expected a value after '!=', not the end"),
        ("rack r1", 6, "expected ==, !=, <, <=, >, >=, 'in' or 'not in' after 'rack', not 'r1'"),
        ("rack == r1 r2", 12, "expected 'and', 'or' or the end, not 'r2'"),
        ("rack == r1 AND zone == a", 12, "expected 'and', 'or' or the end, not 'AND'"),
        ("(rack == r1", 12, "expected ')' to close the one at character 1, not the end"),
        ("rack == r1)", 11, "expected 'and', 'or' or the end, not ')'"),
        ("rack not r1", 10, "expected 'in' after 'not', not 'r1'"),
        ("rack in r1", 9, "expected '(' after 'in', as zone in (a, b), not 'r1'"),
        ("rack in ()", 10, "expected a value after '(', not ')'"),
        ("rack in (r1 r2)", 13, "expected ',' or ')', not 'r2'"),
        ("level < ten", 9, "expected a number after '<', not 'ten'"),
        ("1 == 1", 1, "'1' is no name: a letter, then up to 63 of A-Z a-z 0-9 _ . -"),
        (
            "and",
            1,
            "expected a name, as that of an attribute or hostname, not 'and'",
        ),
        ("a == in", 6, "expected a value after '==' (quoted, if 'in' is meant), not 'in'"),
        ("a==1 && b==2", 6, "'&' is not understood; write 'and' or 'or'"),
        ("!a", 1, "'!' is not understood; write 'not' or '!='"),
        (
            'a == "b',
            6,
            "a quote that is not closed, or holds a \\ that is before no quote and no \\",
        ),
        ("a == 'b\tc'", 6, "a value has a character that is not printable"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, at: int, why: str) -> None:
    with pytest.raises(InvalidWhere) as caught:
        Where.parse(text)
    assert (caught.value.at, caught.value.why) == (at, why)
    assert str(caught.value) == f"where: {why}, at character {at}"


def test_a_mark_points_at_the_place() -> None:
    with pytest.raises(InvalidWhere) as caught:
        Where.parse("rack != r1 und zone == a")
    assert caught.value.caret == "rack != r1 und zone == a\n           ^"


def test_of_a_long_expression_the_place_is_shown() -> None:
    before = "rack != r1 and " * 10
    with pytest.raises(InvalidWhere) as caught:
        Where.parse(before + "und " + "and zone == a " * 10)
    shown, mark = caught.value.caret.split("\n")
    assert len(shown) == CARET_COLUMNS + len("......")
    assert shown.startswith("...")
    assert shown.endswith("...")
    place = caught.value.at - 1
    text = caught.value.text
    assert shown[len(mark) - 1 :].startswith(text[place : place + 10])


def test_comparisons_are_bounded_and_the_names_in_them_are_known() -> None:
    most = " or ".join(["a == 1", "has b", *["not c in (d, e)"] * (COMPARISONS_MAX - 2)])
    assert Where.parse(most).names == {"a", "b", "c"}
    with pytest.raises(InvalidWhere, match="more than 32 comparisons") as caught:
        Where.parse(f"{most} or f < 1")
    assert caught.value.at == len(f"{most} or f")


def test_length_and_depth_are_bounded() -> None:
    exact = "a == " + "x" * (LENGTH_MAX - 5)
    assert Where.parse(exact).required == (("a", "x" * (LENGTH_MAX - 5)),)
    with pytest.raises(InvalidWhere, match="1001 characters, and at most 1000 are read"):
        Where.parse(exact + "x")
    deep = DEPTH_MAX - 1
    assert Where.parse("(" * deep + "a == 1" + ")" * deep).matches(Place("h")) is False
    assert Where.parse("not " * deep + "a == 1").matches(Place("h")) is bool(deep % 2)
    for text in ("(" * LENGTH_MAX, "not " * (LENGTH_MAX // 4)):
        with pytest.raises(InvalidWhere, match="more than 50 brackets and nots"):
            Where.parse(text)


@pytest.mark.parametrize(
    "text",
    ["'\\'" * 333, '"' + "\\\\" * 499, '"' * 999, " " * 999 + "(", "(" + "a == b, " * 100],
)
def test_nothing_is_tried_twice_in_reading(text: str) -> None:
    """Each would not end in a lifetime if a quote or a blank were tried again and again."""
    with pytest.raises(InvalidWhere):
        Where.parse(text)
