"""What this host has: resources with Mesos's defaults, its name, its boot."""

from __future__ import annotations

import socket
from pathlib import Path

from mesoslite.resources import Resources
from mesoslite_agent.processes import boot_id

__all__ = ["boot_id", "detect_resources", "hostname"]

MIB = 1 << 20
CPUS_UNKNOWN = 1
MEM_MIB_UNKNOWN = 1024
DISK_MIB_UNKNOWN = 10 * 1024
PORTS = "[31000-32000]"


def detect_resources(work_dir: Path) -> Resources:
    """What to offer when the operator says nothing.

    All cpus; memory but for 1 GiB, and the disk of `work_dir` but for 5 GiB, which stay the host's
    (half of less than 2 GiB and 10 GiB); the ports 31000 to 32000. What cannot be found out counts
    as 1 cpu, 1 GiB, 10 GiB. (Mesos, `src/slave/containerizer/containerizer.cpp`.)
    """
    import psutil  # 7 ms that an agent with stated resources has no use for

    return Resources(
        cpus=psutil.cpu_count() or CPUS_UNKNOWN,
        mem=_mem_mib(),
        disk=_disk_mib(work_dir),
        ports=PORTS,
    )


def hostname() -> str:
    """The name of this host. Asks no name server: that may take seconds."""
    return socket.gethostname()


def offered_mib(total_mib: int, *, kept_mib: int) -> int:
    """A total but for what the host keeps; half of a total less than twice what it keeps."""
    return total_mib - kept_mib if total_mib >= 2 * kept_mib else total_mib // 2


def _mem_mib() -> int:
    import psutil

    try:
        return offered_mib(int(psutil.virtual_memory().total) // MIB, kept_mib=1024)
    except (OSError, psutil.Error):
        return MEM_MIB_UNKNOWN


def _disk_mib(folder: Path) -> int:
    import psutil

    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return offered_mib(int(psutil.disk_usage(str(folder)).total) // MIB, kept_mib=5 * 1024)
    except (OSError, psutil.Error):
        return DISK_MIB_UNKNOWN
