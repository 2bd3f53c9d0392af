"""An agent that comes back with other settings than it had (docs/semantics.md 3.6)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite.attributes import parse_attributes
from mesoslite.model import AgentInfo
from mesoslite.resources import Resources
from mesoslite_agent.reconfiguration import Change, changes, why_not

BEFORE = AgentInfo(
    "a1",
    "h1",
    Resources.parse("cpus:4;mem:1024;ports:[1-9]"),
    parse_attributes("rack:r1;disk:ssd"),
    ("oci", "process"),
    "0.1",
    "eu",
    "",
)
NOTHING = Resources.EMPTY


def refusal(now: AgentInfo, *, held: Resources = NOTHING, reconfigure: bool = False) -> str | None:
    return why_not(changes(BEFORE, now), now, held, reconfigure=reconfigure)


def test_an_agent_that_comes_back_as_it_was_has_changed_nothing() -> None:
    assert changes(BEFORE, BEFORE) == ()
    assert changes(BEFORE, replace(BEFORE, version="0.2")) == (), "an upgrade is no change"


@pytest.mark.parametrize(
    "now",
    [
        replace(BEFORE, resources=Resources.parse("cpus:5;mem:1024;gpus:1;ports:[1-10]")),
        replace(BEFORE, attributes=parse_attributes("rack:r1;disk:ssd;disk:nvme;row:7")),
        replace(BEFORE, zone="eu-1"),
        replace(BEFORE, containerizers=("process", "oci")),
    ],
    ids=["resources", "attributes", "zone", "the default containerizer"],
)
def test_what_only_adds_is_accepted(now: AgentInfo) -> None:
    assert refusal(now) is None
    [change, *_] = changes(BEFORE, now)
    assert not change.takes_away


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            replace(BEFORE, resources=Resources.parse("cpus:8;mem:512;ports:[1-9]")),
            "resources: cpus:4;mem:1024;ports:[1-9] -> cpus:8;mem:512;ports:[1-9]",
        ),
        (
            replace(BEFORE, attributes=parse_attributes("rack:r2;disk:ssd")),
            "attribute rack: r1 -> r2",
        ),
        (replace(BEFORE, attributes=parse_attributes("rack:r1")), "attribute disk: ssd -> none"),
        (replace(BEFORE, region="us"), "region: eu -> us"),
        (replace(BEFORE, hostname="h2"), "hostname: h1 -> h2"),
        (replace(BEFORE, containerizers=("process",)), "containerizers: oci,process -> process"),
    ],
    ids=["resources", "an attribute", "a lost attribute", "region", "hostname", "containerizers"],
)
def test_what_takes_away_is_refused_in_one_line_and_accepted_when_it_is_meant(
    now: AgentInfo, told: str
) -> None:
    why = refusal(now)
    assert why is not None
    assert told in why
    assert "--reconfigure" in why
    assert "--work-dir" in why
    assert "\n" not in why
    assert refusal(now, reconfigure=True) is None


def test_an_agent_never_has_less_than_its_running_tasks_hold() -> None:
    now = replace(BEFORE, resources=Resources(cpus=1, mem=1024))
    why = refusal(now, held=Resources(cpus=3, mem=64), reconfigure=True)
    assert why is not None
    assert "hold cpus:3;mem:64" in why
    assert "cpus:2" in why
    assert refusal(now, held=Resources(cpus=1, mem=64), reconfigure=True) is None


def test_what_the_host_itself_turns_out_to_have_needs_no_leave() -> None:
    """A new kernel that keeps a MiB more for itself must not keep the agent from starting."""
    now = replace(BEFORE, resources=Resources.parse("cpus:4;mem:1023;ports:[1-9]"), hostname="h2")
    found = changes(BEFORE, now, detected=frozenset({"resources", "hostname"}))
    assert why_not(found, now, NOTHING, reconfigure=False) is None
    assert [change.takes_away for change in found] == [True, True]
    still_told = changes(BEFORE, now, detected=frozenset({"resources"}))
    assert why_not(still_told, now, NOTHING, reconfigure=False) is not None


@given(
    cpus=st.integers(0, 8), mem=st.integers(1, 8), held=st.integers(0, 8), reconfigure=st.booleans()
)
def test_what_is_accepted_covers_what_was_there_or_was_meant_and_what_is_held(
    cpus: int, mem: int, held: int, reconfigure: bool
) -> None:
    before = replace(BEFORE, resources=Resources(cpus=4, mem=4))
    now = replace(before, resources=Resources(cpus=cpus, mem=mem))
    holds = Resources(cpus=held)
    why = why_not(changes(before, now), now, holds, reconfigure=reconfigure)
    accepted = cpus >= held and (reconfigure or (cpus >= 4 and mem >= 4))
    assert (why is None) == accepted


def test_a_change_is_told_with_what_it_was_and_what_it_is() -> None:
    assert str(Change("zone", "", "z1", takes_away=False)) == "zone: none -> z1"
