"""Control groups, version 1 (with the hybrid layout) and version 2: one group for each container.

The container runtime makes a group and sets its limits; here it is found, read, emptied, removed.
See cgroups(7), and Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesoslite_agent.processes import kill_until_gone, listed

NEEDED = ("cpu", "memory", "pids")
EMPTY_S_MAX = 5.0  # a killed process leaves its group only when it is reaped
CPU_PERIOD_US = 100_000
CPU_QUOTA_US_MIN = 1_000  # the kernel refuses less: 0.01 of a core


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The hierarchies that are mounted. Names of groups are relative: `mesoslite/AGENT/ID`."""

    version: int
    """1 or 2: which one holds the controllers. In the hybrid layout it is 1."""
    controllers: tuple[tuple[str, Path], ...]
    """Controller and where it is mounted; all of them in one place in version 2."""
    roots: tuple[Path, ...]
    """Every mounted hierarchy, those without controllers as well: a runtime uses them all."""

    @classmethod
    def of_host(cls, mountinfo: Path = Path("/proc/self/mountinfo")) -> Cgroups:
        """What is mounted here; see proc_pid_mountinfo(5)."""
        first: dict[str, Path] = {}
        roots: list[Path] = []
        unified: Path | None = None
        for line in mountinfo.read_text().splitlines():
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            where = Path(left.split(" ")[4].replace("\\040", " "))
            if kind == "cgroup2":
                unified = unified or where
                roots.append(where)
            elif kind == "cgroup":
                roots.append(where)
                for option in options.split(","):
                    first.setdefault(option, where)
        held = {name: first[name] for name in (*NEEDED, "cpuacct") if name in first}
        if held or unified is None:
            return cls(1, tuple(held.items()), tuple(dict.fromkeys(roots)))
        return cls(2, tuple((name, unified) for name in NEEDED), (unified,))

    def why_not(self) -> str | None:
        """What is missing to limit containers here; None: nothing."""
        mounts = dict(self.controllers)
        for name in NEEDED:
            if name not in mounts:
                return f"the cgroup controller {name!r} is not mounted"
            if not os.access(mounts[name], os.W_OK):
                return f"{mounts[name]} is not writable"
        if self.version == 2:
            offered = (self.roots[0] / "cgroup.controllers").read_text().split()
            if missing := [name for name in NEEDED if name not in offered]:
                return f"the cgroup controller {missing[0]!r} is not delegated to {self.roots[0]}"
        return None

    def group(self, controller: str, name: str) -> Path:
        return dict(self.controllers)[controller] / name

    def folders(self, name: str) -> list[str]:
        """Where a group is, in every hierarchy."""
        return [f"{root}/{name}" for root in self.roots]

    def procs_file(self, name: str) -> Path:
        """The file that lists every process of a container's group."""
        return self.group("pids", name) / "cgroup.procs"

    def cpu_limit(self, name: str, milli: int) -> tuple[str, str]:
        """The file and the text that hold a group to so many thousandths of a core."""
        quota_us = max(CPU_QUOTA_US_MIN, milli * CPU_PERIOD_US // 1000)
        if self.version == 1:
            return str(self.group("cpu", name) / "cpu.cfs_quota_us"), str(quota_us)
        return str(self.group("cpu", name) / "cpu.max"), f"{quota_us} {CPU_PERIOD_US}"

    def pids_limit(self, name: str, pids: int) -> tuple[str, str]:
        """The file and the text that hold a group to so many processes and threads."""
        return str(self.group("pids", name) / "pids.max"), str(pids)

    def oom_kills(self, name: str) -> int:
        """How many processes the group's memory limit has killed; 0 when the group is gone."""
        group = self.group("memory", name)
        events = group / ("memory.oom_control" if self.version == 1 else "memory.events")
        return _field(events, "oom_kill") or 0

    def cpu_ms(self, name: str) -> int | None:
        """CPU time used so far; None when nothing tells."""
        if self.version == 2:
            used_us = _field(self.group("cpu", name) / "cpu.stat", "usage_usec")
            return None if used_us is None else used_us // 1000
        if "cpuacct" not in dict(self.controllers):
            return None
        used_ns = _number(self.group("cpuacct", name) / "cpuacct.usage")
        return None if used_ns is None else used_ns // 1_000_000

    def peak_bytes(self, name: str) -> int | None:
        """The most memory used at one time; None when nothing tells (v2 before Linux 5.19)."""
        file = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return _number(self.group("memory", name) / file)

    def make(self, name: str) -> None:
        """Make an empty group in every hierarchy; one that is there is left as it is."""
        for root in self.roots:
            for attempt in (1, 2, 3):  # its parent may be another agent's last, and go right now
                try:
                    (root / name).mkdir(parents=True, exist_ok=True)
                    break
                except FileNotFoundError:
                    if attempt == 3:
                        raise

    def children(self, name: str) -> set[str]:
        """The names of the groups right below one, in any hierarchy."""
        found: set[str] = set()
        for root in self.roots:
            with contextlib.suppress(OSError), os.scandir(root / name) as entries:
                found.update(entry.name for entry in entries if entry.is_dir())
        return found

    def empty(self, name: str) -> bool:
        """Kill every process of a group and below it. Blocks. False when one would not die."""
        return kill_until_gone(lambda: self._members(name), EMPTY_S_MAX)

    def _members(self, name: str) -> Iterator[int]:
        for root in self.roots:
            for group in _groups_below(f"{root}/{name}"):
                yield from listed(f"{group}/cgroup.procs")

    def remove(self, name: str, *, patience_s: float = EMPTY_S_MAX) -> bool:
        """Remove an empty group, with those below it, from every hierarchy. Blocks.

        False when one could not be removed: something lives in it.
        """
        until = time.monotonic() + patience_s
        while True:
            left = []
            for root in self.roots:
                left += [group for group in _groups_below(f"{root}/{name}") if not _removed(group)]
            if not left or time.monotonic() >= until:
                return not left
            time.sleep(0.005)  # a killed process is still on its way out


def _groups_below(group: str) -> list[str]:
    """The group and all below it, the deepest first.

    A directory's entries tell their kind: to ask for that of each of the ~20 files in ten
    hierarchies was half of what it takes to free a container.
    """
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(group) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _groups_below(entry.path)
        found.append(group)
    return found


def _removed(group: str) -> bool:
    try:
        os.rmdir(group)  # noqa: PTH106 - text, see `_groups_below`
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _field(file: Path, name: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
