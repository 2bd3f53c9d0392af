"""Dividing one machine among the agents of `dev`."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite.cli.console import Failure
from mesoslite.cli.shares import PORTS, Totals, offered, parts, shares, totals


@given(st.integers(1, 10**9), st.integers(1, 60))
def test_parts_make_up_the_whole_and_differ_by_one_at_most(total: int, count: int) -> None:
    each = parts(total, count)
    assert sum(each) == total
    assert len(each) == count
    assert max(each) - min(each) <= 1


@given(st.integers(1, 50))
def test_agents_together_have_the_machine_once(agents: int) -> None:
    whole = Totals(cpus_milli=2_000, mem_mib=10_007, disk_mib=99_999)
    each = shares(whole, agents)
    assert sum(one.scalar("cpus") for one in each) == 2_000
    assert sum(one.scalar("mem") for one in each) == 10_007_000
    assert sum(one.scalar("disk") for one in each) == 99_999_000
    held = sorted(pair for one in each for pair in one.ports)
    assert (held[0][0], held[-1][1]) == PORTS
    assert all(high + 1 == low for (_, high), (low, _) in pairwise(held))


def test_the_paper_s_machine_is_one_agent_of_its_size() -> None:
    [only] = shares(totals(Path("/"), "9", "18GiB", "1GiB"), 1)
    assert (only.cpus, only.mem, only.disk) == (9, 18 * 1_024, 1_024)


def test_the_machine_keeps_something_for_itself() -> None:
    assert offered(10_000, 1_024) == 8_976
    assert offered(2_000, 1_024) == 1_000
    found = totals(Path("/"))
    assert found.cpus_milli >= 1_000
    assert found.mem_mib > 0


def test_too_many_agents_are_refused() -> None:
    with pytest.raises(Failure, match="not enough"):
        shares(Totals(3, 100, 100), 4)


def test_amounts_that_are_none_are_refused() -> None:
    with pytest.raises(Failure, match="cpus"):
        totals(Path("/"), cpus="many")
