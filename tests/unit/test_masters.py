"""Where the leading master is: what may be written, and whom a link dials next."""

import json

import pytest

from mesoslite.masters import (
    Ensemble,
    Locator,
    Masters,
    NoMasterError,
    address_in,
    find_masters,
    leading_node,
    parse_masters,
)


def test_the_masters_are_found_by_argument_then_variable_then_default() -> None:
    environment = {"MESOSLITE_MASTER": "far:7"}
    assert str(find_masters(None, {})) == "localhost:5060"
    assert str(find_masters(None, environment)) == "far:7"
    assert str(find_masters("near", environment)) == "near:5060"
    assert str(find_masters("[::1]:8", environment)) == "[::1]:8"


def test_several_addresses_and_an_ensemble_read_back_as_they_are_shown() -> None:
    several = parse_masters("m1, m2:7,[::1]")
    assert several == Masters(("m1:5060", "m2:7", "[::1]:5060"))
    assert parse_masters(str(several)) == several
    ensemble = parse_masters("zk://h1,h2:99/mesoslite/eu")
    assert ensemble == Masters(ensemble=Ensemble("h1:2181,h2:99", "/mesoslite/eu"))
    assert parse_masters(str(ensemble)) == ensemble


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("http://m1", "HOST:PORT"),
        ("m1:0", "HOST:PORT"),
        ("m1:99999", "HOST:PORT"),
        ("m 1", "HOST:PORT"),
        ("m1,,m2", "HOST:PORT"),
        (",".join(f"m{n}" for n in range(17)), "17 addresses"),
        ("m" * 1_001, "longer than"),
        ("zk://h1", "names no path"),
        ("zk://h1/", "names no path"),
        ("zk://h1/a/../b", "names no path"),
        ("zk://h1/zookeeper", "names no path"),
        ("zk:///a", "zk://HOST1"),
        ("zk://me:secret@h1/a", "not taken"),
    ],
)
def test_what_is_no_master_is_told_in_one_line(text: str, names: str) -> None:
    with pytest.raises(ValueError, match=names) as caught:
        parse_masters(text)
    assert len(str(caught.value).splitlines()) == 1


async def test_addresses_are_dialled_in_turn_and_whom_a_follower_names_comes_first() -> None:
    locator = Locator(parse_masters("m1,m2"))
    assert await locator.address() == "m1:5060"
    assert await locator.address() == "m1:5060", "it is kept for as long as it answers"
    locator.missed()
    assert await locator.address() == "m2:5060"
    locator.redirected("m9:1")
    locator.missed()
    assert await locator.address() == "m9:1"
    assert await locator.address() == "m1:5060", "a hint is taken once"
    locator.redirected("")
    locator.redirected("not an address")
    assert await locator.address() == "m1:5060"


def test_the_node_with_the_lowest_number_leads() -> None:
    nodes = ["json.info_0000000011", "log_replicas", "json.info_0000000009", "info_0000000001"]
    assert leading_node(nodes) == "json.info_0000000009"
    assert leading_node(["epoch", "registry"]) is None


def test_a_node_of_somebody_else_is_told_as_such() -> None:
    ours = {"hostname": "m1", "port": 5050, "mesoslite": {"address": "m1:5060"}}
    assert address_in(json.dumps(ours).encode()) == "m1:5060"
    for other in (b"\xff", b"{}", b"[]", b'{"mesoslite": {"address": 7}}'):
        with pytest.raises(NoMasterError, match="no master of mesoslite"):
            address_in(other)
