"""Cgroup version 2, version 1 and the hybrid layout, told from mountinfo and read as documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesoslite_agent.cgroups import Cgroups

V1 = """\
25 30 0:22 / {root}/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
26 30 0:23 / {root}/memory rw,nosuid shared:10 - cgroup cgroup rw,memory
27 30 0:24 / {root}/pids rw,nosuid shared:11 - cgroup cgroup rw,pids
28 30 0:25 / {root}/systemd rw,nosuid shared:12 - cgroup cgroup rw,xattr,name=systemd
29 30 0:26 / /home rw - ext4 /dev/vda rw
"""
HYBRID = V1 + "31 30 0:27 / {root}/unified rw - cgroup2 cgroup2 rw\n"
V2 = "25 30 0:22 / {root} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def made(tmp_path: Path, mountinfo: str) -> Cgroups:
    file = tmp_path / "mountinfo"
    file.write_text(mountinfo.format(root=tmp_path))
    for line in file.read_text().splitlines():
        where = Path(line.split()[4])
        if where.is_relative_to(tmp_path):
            where.mkdir(exist_ok=True)
    return Cgroups.of_host(file)


def test_version_2_has_one_place_for_everything(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V2)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert (cgroups.version, cgroups.roots) == (2, (tmp_path,))
    assert cgroups.why_not() is None
    assert cgroups.cpu_limit("a/b", 1500) == (f"{tmp_path}/a/b/cpu.max", "150000 100000")
    assert cgroups.pids_limit("a/b", 7) == (f"{tmp_path}/a/b/pids.max", "7")
    assert cgroups.procs_file("a/b") == tmp_path / "a/b/cgroup.procs"


def test_version_2_counters_are_read_as_documented(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V2)
    group = tmp_path / "a"
    group.mkdir()
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n")
    (group / "memory.peak").write_text("33554432\n")
    (group / "cpu.stat").write_text("usage_usec 1234567\nuser_usec 1\nsystem_usec 2\n")
    assert (cgroups.oom_kills("a"), cgroups.peak_bytes("a"), cgroups.cpu_ms("a")) == (
        2, 33_554_432, 1234,
    )  # fmt: skip


def test_a_controller_that_is_not_delegated_is_named(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V2)
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert "'pids'" in str(cgroups.why_not())


@pytest.mark.parametrize("mountinfo", [V1, HYBRID])
def test_version_1_has_a_place_for_each_controller(tmp_path: Path, mountinfo: str) -> None:
    cgroups = made(tmp_path, mountinfo)
    assert cgroups.version == 1
    assert cgroups.why_not() is None
    assert cgroups.group("cpuacct", "a") == tmp_path / "cpu" / "a"
    assert cgroups.cpu_limit("a", 500) == (f"{tmp_path}/cpu/a/cpu.cfs_quota_us", "50000")
    assert {root.name for root in cgroups.roots} >= {"cpu", "memory", "pids", "systemd"}
    assert (tmp_path / "unified" in cgroups.roots) == (mountinfo is HYBRID)


def test_version_1_counters_are_read_as_documented(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V1)
    for folder in ("cpu", "memory"):
        (tmp_path / folder / "a").mkdir()
    oom = tmp_path / "memory/a/memory.oom_control"
    oom.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "memory/a/memory.max_usage_in_bytes").write_text("4096\n")
    (tmp_path / "cpu/a/cpuacct.usage").write_text("2500000000\n")
    assert (cgroups.oom_kills("a"), cgroups.peak_bytes("a"), cgroups.cpu_ms("a")) == (1, 4096, 2500)


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V1.replace("rw,pids", "rw,blkio"))
    assert cgroups.why_not() == "the cgroup controller 'pids' is not mounted"


def test_the_kernels_smallest_quota_is_kept(tmp_path: Path) -> None:
    cgroups = made(tmp_path, V1)
    assert cgroups.cpu_limit("a", 1)[1] == "1000"
