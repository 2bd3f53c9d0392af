"""What an agent may say about itself."""

import pytest

from mesoslite.attributes import (
    ATTRIBUTES_MAX,
    VALUE_LENGTH_MAX,
    Attribute,
    InvalidAttributes,
    attributes_from_json,
    attributes_text,
    attributes_to_json,
    parse_attributes,
)


def test_the_spelling_of_mesos_is_read_and_written() -> None:
    facts = parse_attributes(" rack:r1; level : 10;ports:[1-5,6-6];url:http://h:80/;os:{a,b};")
    assert facts == (
        Attribute("rack", "r1"),
        Attribute("level", 10_000),
        Attribute("ports", ((1, 6),)),
        Attribute("url", "http://h:80/"),
        Attribute("os", "{a,b}"),
    )
    assert [fact.kind for fact in facts] == ["TEXT", "SCALAR", "RANGES", "TEXT", "TEXT"]
    assert attributes_text(facts) == "rack:r1;level:10;ports:[1-6];url:http://h:80/;os:{a,b}"
    assert parse_attributes("") == ()


def test_a_key_may_repeat_and_the_order_is_kept() -> None:
    text = "disk:ssd;disk:hdd;a:1"
    assert attributes_text(parse_attributes(text)) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5123", 1512),
        ("-0.5", -500),
        ("007", 7000),
        ("1e5", "1e5"),  # a commit id, not a number
        ("nan", "nan"),
        ("v1.2.3", "v1.2.3"),
    ],
)
def test_only_a_plain_decimal_is_a_number(text: str, value: str | int) -> None:
    assert parse_attributes(f"x:{text}") == (Attribute("x", value),)


@pytest.mark.parametrize(
    ("text", "part_of_the_message"),
    [
        ("rack", "'rack' at character 1: no ':'; write name:value, as rack:r1"),
        ("a:1; :x", "':x' at character 6"),
        ("a:", "1 to 1024 characters"),
        ("a:[5-1]", "5-1 is reversed"),
        ("a:[x]", "'x' is not a range"),
        ("a:[]", "ranges are some"),
        ("a:x\ty", "control character"),
        ("a:" + "x" * (VALUE_LENGTH_MAX + 1), "at most 1024"),
        ("a:99999999999999999", "over"),
        (";".join(["a:b"] * (ATTRIBUTES_MAX + 1)), "more than 100"),
        (";" * 200_000, "at most"),
    ],
)
def test_bad_text_is_refused_in_one_line_that_says_where_and_what(
    text: str, part_of_the_message: str
) -> None:
    with pytest.raises(InvalidAttributes) as refused:
        parse_attributes(text)
    message = str(refused.value)
    assert part_of_the_message in message
    assert "\n" not in message
    assert len(message) < 300


def test_json_keeps_every_kind_also_of_a_text_that_looks_like_a_number() -> None:
    facts = (Attribute("a", "10"), Attribute("b", 1500), Attribute("c", ((1, 5), (7, 7))))
    assert attributes_to_json(facts)[:2] == [
        {"name": "a", "type": "TEXT", "text": {"value": "10"}},
        {"name": "b", "type": "SCALAR", "scalar": {"value": 1.5}},
    ]
    assert attributes_from_json(attributes_to_json(facts)) == facts


@pytest.mark.parametrize(
    "document",
    [
        {},
        [1],
        [{"name": "a", "type": "TEXT"}],
        [{"name": "a", "type": "TEXT", "text": {"value": 4}}],
        [{"name": "a b", "type": "TEXT", "text": {"value": "x"}}],
        [{"name": "a", "type": "SCALAR", "scalar": {"value": float("nan")}}],
        [{"name": "a", "type": "SCALAR", "scalar": {"value": 10**400}}],
        [{"name": "a", "type": "SCALAR", "scalar": {"value": True}}],
        [{"name": "a", "type": "RANGES", "ranges": {"range": [{"begin": 2, "end": 1}]}}],
        [{"name": "a", "type": "TEXT", "text": {"value": "x"}}] * (ATTRIBUTES_MAX + 1),
    ],
)
def test_bad_documents_are_refused(document: object) -> None:
    with pytest.raises(InvalidAttributes):
        attributes_from_json(document)


@pytest.mark.parametrize(
    "value", [True, 1.5, None, (), ((5, 1),), ((1, 2), (3, 4)), ((1, "2"),), " x", "a;b", 10**16]
)
def test_bad_values_are_refused_in_python(value: object) -> None:
    with pytest.raises(InvalidAttributes):
        Attribute("a", value)  # type: ignore[arg-type]
