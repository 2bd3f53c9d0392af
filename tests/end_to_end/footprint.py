"""What a process holds: open files and memory. So a test can say that nothing leaked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.end_to_end.waiting import wait_until

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SETTLED_LOOKS = 10  # equal counts in a row: what was open for a moment has been closed


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look at a process; see proc_pid_fd(5), proc_pid_statm(5)."""

    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """How it is now."""
        process = Path(f"/proc/{pid}")
        resident = int((process / "statm").read_text().split()[1]) * PAGE_BYTES
        return cls(len(list((process / "fd").iterdir())), resident)

    @classmethod
    def settled(cls, pid: int) -> Self:
        """How it is once the number of its open files stays the same for a while."""
        looks: list[int] = []

        def steady() -> bool:
            looks.append(cls.of(pid).descriptors)
            return len(looks) >= SETTLED_LOOKS and len(set(looks[-SETTLED_LOOKS:])) == 1

        wait_until(steady, f"process {pid} has a steady number of open files")
        return cls.of(pid)

    def until_back(self, pid: int) -> int:
        """Wait until no more files are open than in this look; by how many bytes it grew since."""
        wait_until(
            lambda: type(self).of(pid).descriptors <= self.descriptors,
            f"process {pid} has as many files open as before, {self.descriptors}",
        )
        return type(self).of(pid).resident_bytes - self.resident_bytes
