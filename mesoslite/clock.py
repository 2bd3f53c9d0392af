"""The clock of a daemon: wall-clock milliseconds that never go back."""

from __future__ import annotations

import time


class Clock:
    """Milliseconds since the Unix epoch: the wall clock at its making, plus what has passed since.

    Setting the host's clock does not move it. It counts the time that a host sleeps
    (CLOCK_BOOTTIME), since leases and deadlines of others ran on meanwhile.
    """

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ms(self) -> int:
        """The time now, in whole milliseconds, rounded down."""
        return (self._offset_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000

    def boot_s(self, at_ms: int) -> float:
        """What CLOCK_BOOTTIME shows at this time of `now_ms`: for other processes of the host."""
        return at_ms / 1_000 - self._offset_ns / 1_000_000_000
