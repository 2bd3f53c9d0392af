"""Cgroups of this host: made, emptied, removed. What version 2 looks like is in tests/unit."""

from __future__ import annotations

import subprocess

from mesoslite_agent.cgroups import Cgroups
from tests.integration.containers import Place, need_root


def test_a_group_is_made_emptied_and_removed_in_every_hierarchy(place: Place) -> None:
    need_root()
    cgroups = Cgroups.of_host()
    parent = f"mesoslite/{place.agent_id}"
    cgroups.make(f"{parent}/c1/inner")
    cgroups.make(f"{parent}/c1/inner")
    assert cgroups.children(parent) == {"c1"}
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        procs = cgroups.group("pids", f"{parent}/c1/inner") / "cgroup.procs"
        procs.write_text(str(sleeper.pid))
        assert not cgroups.remove(f"{parent}/c1", patience_s=0)
        assert cgroups.empty(f"{parent}/c1")
        assert sleeper.wait() == -9
    assert cgroups.remove(f"{parent}/c1")
    assert cgroups.children(parent) == set()
    assert cgroups.remove(parent)
    assert cgroups.remove(parent)


def test_limits_and_counters_are_where_the_kernel_has_them(place: Place) -> None:
    need_root()
    cgroups = Cgroups.of_host()
    name = f"mesoslite/{place.agent_id}"
    cgroups.make(name)
    for file, _ in (cgroups.cpu_limit(name, 500), cgroups.pids_limit(name, 10)):
        with open(file, "r+") as limit:  # noqa: PTH123 - as the launcher writes it
            assert limit.read()
    assert cgroups.oom_kills(name) == 0
    assert cgroups.cpu_ms(name) == 0
    assert cgroups.procs_file(name).read_text() == ""
    assert cgroups.remove(name)
    assert cgroups.oom_kills(name) == 0
    assert cgroups.cpu_ms(name) is None
