"""Dividing one machine among agents, so that together they have it once (docs/decisions.md D21)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from mesoslite.cli.console import Code, Failure
from mesoslite.resources import THOUSANDTHS, InvalidResources, Resources

# What the machine keeps for itself, and the ports: as an agent alone would have it by default
# (Mesos, src/slave/containerizer/containerizer.cpp).
MEM_KEPT_MIB = 1_024
DISK_KEPT_MIB = 5 * 1_024
PORTS = (31_000, 32_000)
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Totals:
    """What all agents have together: thousandths of a core, whole MiB."""

    cpus_milli: int
    mem_mib: int
    disk_mib: int


def totals(
    work_dir: Path, cpus: str | None = None, mem: str | None = None, disk: str | None = None
) -> Totals:
    """What was asked for, else what this machine has. Raises Failure for what is no amount."""
    try:
        asked = Resources(cpus=cpus or 0, mem=mem or 0, disk=disk or 0)
    except InvalidResources as error:
        raise Failure(Code.USAGE, str(error)) from None
    mem_all = psutil.virtual_memory().total // _MIB
    disk_all = psutil.disk_usage(str(work_dir)).total // _MIB
    return Totals(
        cpus_milli=asked.scalar("cpus") or (psutil.cpu_count() or 1) * THOUSANDTHS,
        mem_mib=asked.scalar("mem") // THOUSANDTHS or offered(mem_all, MEM_KEPT_MIB),
        disk_mib=asked.scalar("disk") // THOUSANDTHS or offered(disk_all, DISK_KEPT_MIB),
    )


def offered(total_mib: int, kept_mib: int) -> int:
    """All but what is kept; half of what is less than twice that."""
    return total_mib - kept_mib if total_mib > 2 * kept_mib else total_mib // 2


def parts(total: int, count: int) -> list[int]:
    """`total` in `count` whole parts that differ by one at most, the larger ones first."""
    each, rest = divmod(total, count)
    return [each + (at < rest) for at in range(count)]


def shares(whole: Totals, agents: int) -> list[Resources]:
    """One amount for each agent; their sum is the whole, their ports are apart.

    Raises Failure when there is not enough for so many.
    """
    cpus = parts(whole.cpus_milli, agents)
    mem = parts(whole.mem_mib, agents)
    disk = parts(whole.disk_mib, agents)
    if not (cpus[-1] and mem[-1]):
        raise Failure(Code.USAGE, f"there is not enough cpus or mem for {agents} agents")
    first_port, last_port = PORTS
    out: list[Resources] = []
    low = first_port
    for at, width in enumerate(parts(last_port - first_port + 1, agents)):
        out.append(
            Resources.from_amounts(
                {
                    "cpus": cpus[at],
                    "mem": mem[at] * THOUSANDTHS,
                    "disk": disk[at] * THOUSANDTHS,
                },
                {"ports": [(low, low + width - 1)]},
            )
        )
        low += width
    return out
