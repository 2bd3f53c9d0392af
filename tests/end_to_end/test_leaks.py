"""Hundreds of short tasks leave nothing: files, processes, cgroups, mounts, memory of daemons."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from mesoslite.cli import hosts
from tests.end_to_end.command import Dev, cgroups_of, need_oci, processes_of
from tests.end_to_end.conftest import StartDev
from tests.end_to_end.footprint import Footprint
from tests.end_to_end.waiting import wait_until

RUN_S_MAX = 100.0
GROWN_BYTES_MAX = 20 << 20  # of a process: the master remembers what ended; 5 are usual


@dataclass(frozen=True, slots=True)
class Traces:
    """What a cluster has on the host."""

    processes: frozenset[int]
    mounts: tuple[Path, ...]
    cgroups: frozenset[Path]

    @classmethod
    def of(cls, dev: Dev) -> Self:
        """Everything that is found by the cluster's home and its agents' ids."""
        groups = [
            Path(folder)
            for agent_id in dev.agent_ids
            for group in cgroups_of(agent_id)
            for folder, _, _ in os.walk(group)
        ]
        return cls(
            frozenset(processes_of(dev.home)),
            tuple(hosts.mounted_below(dev.home.resolve())),
            frozenset(groups),
        )


def run(dev: Dev, containerizer: str, count: int) -> None:
    done = dev.command(
        "run",
        *("--containerizer", containerizer, "--count", str(count)),
        *("--cpus", "0.01", "--mem", "1", "--", "/bin/true"),
        timeout_s=RUN_S_MAX,
    )
    assert (done.code, done.out) == (0, ""), done.err
    assert f"{count} of {count} finished" in done.err


def keeps_post_mortems(pid: int) -> bool:
    """Whether a process has the file of the post-mortems open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink().name == "post-mortems.sqlite":
                return True
    return False


@pytest.mark.parametrize(("containerizer", "count"), [("process", 500), ("oci", 60)])
def test_many_short_tasks_leave_nothing(
    start_dev: StartDev, containerizer: str, count: int
) -> None:
    dev = start_dev("--cpus", "4", "--mem", "4GiB").ready()
    if containerizer == "oci":
        need_oci(dev)
    run(dev, containerizer, 20)  # until now some threads and buffers were not there yet
    before = Traces.of(dev)
    # The agent opens it with the first post-mortems that it writes, a second after an end.
    wait_until(lambda: any(map(keeps_post_mortems, before.processes)), "post-mortems are written")
    footprints = {pid: Footprint.settled(pid) for pid in before.processes}
    assert len(footprints) == 4, "dev, master, agent and launcher"
    run(dev, containerizer, count)
    wait_until(lambda: Traces.of(dev) == before, "all is as it was")
    for pid, footprint in footprints.items():
        grown = footprint.until_back(pid)
        assert grown < GROWN_BYTES_MAX, f"process {pid} grew by {grown} bytes"
    assert dev.json("task", "ls") == []
