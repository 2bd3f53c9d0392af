"""What resources accept, refuse, and how they are spelled. The laws are in tests/properties."""

import copy
import json
import pickle
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from mesoslite.resources import (
    ITEMS_MAX,
    NAMES_MAX,
    RANGES_MAX,
    InvalidResources,
    MixedKinds,
    Overlap,
    Resources,
    Shortfall,
    key,
    split_key,
    stated_names,
    total_of,
    why_not_role,
)

AGENT = Resources(cpus=4, mem="4GiB", disk=10_000, gpus=1, ports="[31000-32000]", zones="{a,b}")


def test_numbers_are_kept_as_they_were_written() -> None:
    assert Resources(cpus=0.1).scalars == {"cpus": 100}
    assert Resources(cpus=Decimal("0.3")) == Resources(cpus="0.3") == Resources(cpus=0.3)
    assert total_of([Resources(cpus=0.1)] * 3) == Resources(cpus=0.3)


@pytest.mark.parametrize(("written", "kept"), [(1.5123, 1512), (0.0005, 0), (0.0015, 2)])
def test_more_than_three_decimals_are_rounded_half_even_as_in_mesos(
    written: float, kept: int
) -> None:
    assert Resources(cpus=written).scalar("cpus") == kept


@pytest.mark.parametrize(
    ("written", "thousandths_of_a_mib"),
    [
        (1024, 1_024_000),
        ("1024", 1_024_000),
        ("1GiB", 1_024_000),
        ("1.5 GiB", 1_536_000),
        ("1TiB", 1_048_576_000),
        ("512KiB", 500),
        ("1B", 1),  # rounded up: what needs a byte needs something
        ("1MB", 954),  # 953.67
        ("1GB", 953_675),
    ],
)
def test_memory_is_mib_or_has_a_unit(written: int | str, thousandths_of_a_mib: int) -> None:
    assert Resources(mem=written).scalar("mem") == thousandths_of_a_mib
    assert Resources.parse(f"mem:{written}").scalar("mem") == thousandths_of_a_mib


def test_nothing_is_nothing_however_it_is_said() -> None:
    empty = [Resources(), Resources(cpus=0, ports=[]), Resources.parse(""), Resources.parse("[]")]
    empty += [Resources.parse("cpus:0;ports:[];zones:{};"), AGENT - AGENT, total_of([])]
    assert set(empty) == {Resources.EMPTY}
    assert not any(empty)
    assert str(Resources.EMPTY) == ""


def test_the_spelling_of_mesos_is_read_and_written() -> None:
    text = "cpus:4;disk(ads):10;mem:1024;ports:[31000-32000,33000-33000];zones:{a,b}"
    amount = Resources.parse(
        " mem:1GiB; cpus(*) : 4 ;ports:[33000-33000, 31000-32000];disk(ads):10.0;zones:{b, a};"
    )
    assert str(amount) == text
    assert Resources.parse(text) == amount
    assert eval(repr(amount)) == amount  # noqa: S307 - that is what repr promises
    assert amount.roles() == {"*", "ads"}


def test_json_is_read_as_a_list_of_mesos_and_as_a_plain_object() -> None:
    document = [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4.5}, "role": "*"},
        {"name": "disk", "type": "SCALAR", "scalar": {"value": 10.0}, "role": "ads"},
        {
            "name": "ports",
            "type": "RANGES",
            "ranges": {"range": [{"begin": 1, "end": 5}, {"begin": 7, "end": 7}]},
            "role": "*",
        },
        {"name": "zones", "type": "SET", "set": {"item": ["a", "b"]}, "role": "*"},
    ]
    amount = Resources.parse("cpus:4.5;disk(ads):10;ports:[1-5,7-7];zones:{a,b}")
    assert amount.to_json() == document
    assert Resources.from_json(document) == Resources.parse(json.dumps(document)) == amount
    plain = '{"cpus": 4.5, "disk(ads)": 10, "ports": "[1-5,7-7]", "zones": ["a", "b"]}'
    assert Resources.parse(plain) == amount
    assert Resources.parse('{"cpus": 0.1000}').scalar("cpus") == 100


@pytest.mark.parametrize(
    ("text", "part_of_the_message"),
    [
        ("cpus", "'cpus' at character 1: no ':'"),
        ("cpus:4; mem:lots", "'mem:lots' at character 9: 'lots' is not an amount; write mem:1024"),
        ("cpus:-1", "not an amount"),
        ("cpus:nan", "not an amount"),
        ("cpus:inf", "not an amount"),
        ("cpus:", "not an amount"),
        ("cpus:1e99", "out of bounds"),
        ("cpus:٣", "not an amount"),
        ("mem:4G", "'G' is no unit; write one of B KB MB GB TB KiB"),
        ("cpus:4GiB", "not an amount"),
        ("gpus:0.5", "not a whole number of GPUs"),
        ("cpu:4", "'cpu:4' at character 1: no resource is called 'cpu': did you mean cpus?"),
        ("cpus:1;memory(ads):1GiB", "at character 8: no resource is called 'memory': did you mean"),
        ("Mem:4", "did you mean mem?"),
        ("dsik:4", "did you mean disk?"),
        ('{"gpu": 1}', "'gpu': no resource is called 'gpu': did you mean gpus?"),
        ("port:[1-2]", "did you mean ports?"),
        (":4", "no resource name"),
        ("9lives:4", "no resource name"),
        ("a" * 65 + ":4", "no resource name"),
        ("cpus:1;cpus:2", "'cpus:2' at character 8: cpus is given twice"),
        ("cpus:1;cpus(*):2", "cpus is given twice"),
        ("cpus(:1", "lacks a ')'"),
        ("cpus():1", "a role has 1 to 255"),
        ("cpus(a/../b):1", "segment '..'"),
        ("cpus(-a):1", "begins with '-'"),
        ("cpus(a b):1", "has a blank"),
        ("cpus:[1-2]", "cpus is SCALAR, not RANGES; write cpus:4"),
        ("ports:80", "ports is RANGES, not SCALAR; write ports:[31000-32000]"),
        ("ports:[80]", "'80' is not a range; write low-high"),
        ("ports:[5-1]", "5-1 is reversed; write 1-5"),
        ("ports:[1-5,5-6]", "1-5 and 5-6 overlap"),
        ("ports:[1-65536]", "within 0-65535"),
        ("ids:[0-9223372036854775808]", "within 0-9223372036854775807"),
        ("ports:[1-5", "ranges are written [low-high"),
        ("ports:[1-5];ports(ads):[5-6]", "ports has 5 in two roles"),
        ("zones:{a};zones(ads):{a}", "zones has a in two roles"),
        ("zones:{a,a}", "'a' is in the set twice"),
        ("zones:{a b}", "no set item"),
        ("zones:{a,}", "no set item"),
        ("zones:{a", "is not a set"),
        ("x:1;x(ads):{a}", "x is SCALAR in one role and SET in another"),
        ("{", "not JSON"),
        ('{"cpus": NaN}', "NaN is not an amount"),
        ('{"cpus": 1e400}', "out of bounds"),
        ('{"cpus": 1, "cpus": 2}', "given twice"),
        ('{"cpus": true}', "True is not an amount"),
        ('{"cpus": null}', "None is not an amount"),
        ('{"cpus": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 5_000, "nested too deep"),
        ("[4]", "item 1: 4 is not an object"),
        ('[{"name":"cpus","type":"SCALAR","scalar":{"value":-1}}]', "item 1: -1 is out of bounds"),
        ('[{"name":"x","type":"SCALAR","scalar":{"value":[[1,2]]}}]', "'scalar' is missing"),
        ('[{"name":"x","type":"LIST"}]', "not SCALAR, RANGES or SET"),
        ('[{"type":"SCALAR","scalar":{"value":1}}]', '"name" and "role" are texts'),
        (
            '[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{}}]',
            "'disk' is not understood",
        ),
        ('[{"name":"p","type":"RANGES","ranges":{"range":[{"begin":1}]}}]', "begin"),
    ],
)
def test_bad_text_is_refused_in_one_line_that_says_where_and_what(
    text: str, part_of_the_message: str
) -> None:
    with pytest.raises(InvalidResources) as refused:
        Resources.parse(text)
    message = str(refused.value)
    assert part_of_the_message in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_name_that_is_only_near_is_custom_and_one_of_a_peer_is_as_it_is() -> None:
    for name in ("tpus", "npus", "cpusets", "memo", "disk2", "risk", "sports"):
        assert Resources.parse(f"{name}:1").scalar(name) == 1_000
    assert Resources.parse("disks:{sda,sdb}").sets["disks"] == {"sda", "sdb"}
    assert Resources.from_amounts({"cpu": 1_000}).scalar("cpu") == 1_000
    with pytest.raises(InvalidResources, match="did you mean cpus"):
        Resources(cpu=1)


@pytest.mark.parametrize("key", ["\x00ones", "a\nb", "\u202e" * 100])
def test_a_key_of_a_peer_may_be_anything_and_its_refusal_is_one_printable_line(key: str) -> None:
    scalars, ranges, sets = {key: 1}, {key: [(1, 2)]}, {key: ["a"]}
    for made in (
        partial(Resources.from_amounts, scalars),
        partial(Resources.from_amounts, {}, ranges),
        partial(Resources.from_amounts, {}, {}, sets),
    ):
        with pytest.raises(InvalidResources) as refused:
            made()
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpus": -1},
        {"cpus": float("nan")},
        {"cpus": float("-inf")},
        {"cpus": Decimal("sNaN")},
        {"cpus": Decimal("Infinity")},
        {"cpus": 10**5000},
        {"cpus": 1e300},
        {"cpus": True},
        {"cpus": False},
        {"cpus": None},
        {"mem": object()},
        {"gpus": 1.5},
        {"ports": [31000, 31001]},
        {"ports": [(1, 2, 3)]},
        {"ports": [(True, 2)]},
        {"ports": [(-1, 2)]},
        {"ports": [(1, 10**5000)]},
        {"ports": 80},
        {"zones": {"a", 1}},
        {"zones": {""}},
        {"cpus": 1, "role": "a//b"},
        {"cpus": 1, "role": ""},
        {"a b": 1},
    ],
)
def test_bad_values_are_refused_in_python(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidResources):
        Resources(**wrong)


def test_a_number_too_small_to_count_vanishes_whatever_its_exponent() -> None:
    assert Resources(cpus=Decimal("1e-999999999")) == Resources.EMPTY


def test_each_limit_holds_at_its_edge_and_refuses_beyond() -> None:
    def refused(text: str) -> bool:
        try:
            Resources.parse(text)
        except InvalidResources:
            return True
        return False

    assert not refused("cpus:1e12")
    assert refused("cpus:1000000000000.001")
    names = [f"n{i}:1" for i in range(NAMES_MAX + 1)]
    assert not refused(";".join(names[1:]))
    assert refused(";".join(names))
    pairs = [f"{3 * i}-{3 * i}" for i in range(RANGES_MAX + 1)]
    assert not refused(f"ids:[{','.join(pairs[1:])}]")
    assert refused(f"ids:[{','.join(pairs)}]")
    assert refused(f"ids:[{','.join(pairs[1:])}];more:[0-0]")
    items = [f"i{i}" for i in range(ITEMS_MAX + 1)]
    assert not refused(f"x:{{{','.join(items[1:])}}}")
    assert refused(f"x:{{{','.join(items)}}}")
    assert refused(" " * (1 << 20) + "x")


def test_exact_parts_from_a_decoder_are_checked_too() -> None:
    parts = Resources.from_amounts({"mem": 5, "cpus": 100}, {"ports": [(2, 3), (1, 1)]}, {"z": "a"})
    assert parts == Resources.parse("cpus:0.1;mem:0.005;ports:[1-3];z:{a}")
    assert list(parts.scalars) == ["cpus", "mem"]
    wrong: list[tuple[dict[str, int], dict[str, list[tuple[int, int]]]]] = [
        ({"cpus": -1}, {}),
        ({"cpus": 10**15 + 1}, {}),
        ({"gpus": 500}, {}),
        ({"ports": 1}, {}),
        ({"": 1}, {}),
        ({"cpus": 1, "cpus(*)": 1}, {}),
        ({"x": 1}, {"x": [(1, 2)]}),
        ({}, {"ports": [(1, 70_000)]}),
        ({}, {"ports": [(1, 5), (2, 3)]}),
    ]
    for scalars, ranges in wrong:
        with pytest.raises(InvalidResources):
            Resources.from_amounts(scalars, ranges)


def test_taking_more_than_there_is_is_a_bug_that_carries_both_sides() -> None:
    for need in (
        Resources(cpus=5),
        Resources(mem=1, role="ads"),
        Resources(ports="[32000-32001]"),
        Resources(zones={"c"}),
    ):
        assert not AGENT.covers(need)
        with pytest.raises(Shortfall) as caught:
            AGENT - need
        assert (caught.value.have, caught.value.need) == (AGENT, need)


def test_adding_a_port_or_an_item_twice_is_a_bug_also_across_roles() -> None:
    one = Resources(ports="[1-5]", zones={"a"})
    for other in (
        Resources(ports="[5-6]"),
        Resources(ports="[5-6]", role="ads"),
        Resources(zones={"a", "b"}),
        Resources(zones={"a"}, role="ads"),
    ):
        with pytest.raises(Overlap):
            one + other


def test_a_name_has_one_kind_wherever_it_comes_from() -> None:
    with pytest.raises(MixedKinds):
        Resources(x=1) + Resources(x="[1-2]")
    with pytest.raises(MixedKinds):
        Resources(x={"a"}) + Resources(x=1, role="ads")
    assert not Resources(x=1).covers(Resources(x="[1-2]"))


def test_missing_says_what_lacks_and_nothing_more() -> None:
    need = Resources(cpus=5, mem=1, ports="[30999-31000,32000-32005]", zones={"b", "c"})
    assert AGENT.missing(need) == Resources(cpus=1, ports="[30999-30999,32001-32005]", zones={"c"})
    assert AGENT.missing(AGENT) == Resources.EMPTY


def test_reading_sums_over_roles_and_views_cannot_be_written() -> None:
    amount = AGENT + Resources(cpus=0.5, mem=1, ports="[80-80]", role="ads")
    assert (amount.cpus, amount.mem, amount.disk, amount.gpus) == (4.5, 4097.0, 10_000.0, 1)
    assert amount.ports == ((80, 80), (31000, 32000))
    assert amount.scalar("cpus") == 4000
    assert amount.scalar("cpus(ads)") == 500
    assert amount.scalars_only() == Resources.from_amounts(amount.scalars)
    for view in (amount.scalars, amount.ranges, amount.sets):
        with pytest.raises(TypeError):
            view["cpus"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        amount.colour = "red"  # type: ignore[attr-defined]


def test_a_role_may_have_the_unreserved_its_own_and_what_is_above_it() -> None:
    amount = Resources.parse("cpus:1;cpus(eng):2;cpus(eng/ads):4;cpus(en):8;mem(x):5")
    assert amount.available_to("eng/ads").cpus == 7
    assert amount.available_to("eng").cpus == 3
    assert amount.unreserved() == amount.available_to("other") == Resources(cpus=1)
    assert AGENT.available_to("ads") is AGENT


def test_ports_are_taken_lowest_first_and_reserved_ones_before_the_others() -> None:
    amount = Resources.parse("ports:[5-6,9-9];ports(ads):[8-8]")
    assert amount.take_ports(0) == Resources.EMPTY
    assert amount.take_ports(3) == Resources.parse("ports:[5-6];ports(ads):[8-8]")
    assert amount.take_ports(4) == amount
    with pytest.raises(Shortfall, match="need 5 of ports"):
        amount.take_ports(5)
    with pytest.raises(InvalidResources):
        amount.take_ports(-1)


def test_a_part_of_any_resource_can_be_taken() -> None:
    amount = Resources.parse("cpus:2;cpus(ads):1;zones:{c,a,b};cpusets:9")
    assert amount.take("cpus", 1.5) == Resources.parse("cpus:0.5;cpus(ads):1")
    assert amount.take("zones", 2) == Resources(zones={"a", "b"})
    assert Resources(mem="4GiB").take("mem", "1GiB") == Resources(mem=1024)
    with pytest.raises(InvalidResources, match="whole"):
        amount.take("zones", 1.5)
    with pytest.raises(Shortfall):
        amount.take("cpus", 4)
    with pytest.raises(Shortfall):
        amount.take("nothing", 1)


def test_keys_are_the_spelling_of_mesos() -> None:
    assert (key("cpus"), key("cpus", "ads")) == ("cpus", "cpus(ads)")
    assert split_key("cpus(eng/ads)") == ("cpus", "eng/ads")
    assert split_key("cpus") == split_key("cpus(*)") == ("cpus", "*")
    for wrong in ("", "cpus(", "cpus)", "cpus(a)b", "cpus(a(b))", "cpus(a;b)"):
        with pytest.raises(InvalidResources):
            split_key(wrong)


def test_roles_follow_the_rules_of_mesos() -> None:
    assert [why_not_role(role) for role in ("*", "ads", "eng/ads", "a-b", "ä.b")] == [None] * 5
    for wrong in ("", ".", "..", "-a", "a/-b", "a//b", "/a", "a/", "a/*", "a b", "a\b", "a" * 256):
        assert why_not_role(wrong) is not None


def test_what_an_operator_stated_is_known_even_when_it_is_none() -> None:
    assert stated_names("gpus:0;cpus(ads):2;ports:[]") == {"gpus", "cpus", "ports"}
    assert stated_names('{"mem": 0}') == {"mem"}
    with pytest.raises(InvalidResources):
        stated_names("gpus:some")


def test_a_value_survives_copying_and_pickling_with_its_hash() -> None:
    hash(AGENT)
    pickled = pickle.loads(pickle.dumps(AGENT))  # noqa: S301
    for twin in (copy.copy(AGENT), copy.deepcopy(AGENT), pickled):
        assert twin == AGENT
        assert hash(twin) == hash(AGENT)


def test_only_resources_are_added_subtracted_and_equal() -> None:
    assert {AGENT, 4, str(AGENT)} - {AGENT} == {4, str(AGENT)}
    assert str(AGENT) != AGENT
    with pytest.raises(TypeError):
        AGENT + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        AGENT - 1  # type: ignore[operator]
