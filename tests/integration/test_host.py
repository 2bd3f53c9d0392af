"""What is found out about this host."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mesoslite_agent.host import boot_id, detect_resources, hostname, offered_mib


def test_a_host_offers_what_mesos_would(tmp_path: Path) -> None:
    found = detect_resources(tmp_path / "not" / "made" / "yet")
    assert found.cpus == os.cpu_count()
    assert 0 < found.mem < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert found.disk > 0
    assert found.ports == ((31000, 32000),)


@pytest.mark.parametrize(
    ("total", "offered"), [(16384, 15360), (2048, 1024), (2047, 1023), (512, 256)]
)
def test_the_host_keeps_a_part_or_half(total: int, offered: int) -> None:
    assert offered_mib(total, kept_mib=1024) == offered


def test_names_of_the_host_and_its_boot() -> None:
    assert hostname() == socket.gethostname()
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
