"""The lease of an agent's fenced tasks, as its machine counts it (docs/at-most-one.md; D14).

A heartbeat that the master echoed was said while that master was there: fenced tasks may run for a
lease from when it was *said*. Not from the echo, which may have been under way for long. The
registration is such a word too, and Registered its echo: so there is a lease before any launch.
"""

from __future__ import annotations

REGISTRATION = 0  # its number among the heartbeats, which count from 1
SAID_MAX = 16  # heartbeats that wait for their echo; a stream is given up after five


class Lease:
    """Until when the fenced tasks of this agent may run. Pure; times are the agent's clock."""

    __slots__ = ("_length_ms", "_said", "until_ms")

    def __init__(self) -> None:
        self.until_ms = 0
        """0: no master has given any."""
        self._length_ms = 0
        self._said: dict[int, int] = {}

    def register(self, now_ms: int) -> None:
        """A registration is said; `now_ms` is not later than that."""
        self._said = {REGISTRATION: now_ms}

    def begin(self, length_ms: int) -> bool:
        """A master has taken the registration: leases are so long with it. As `heard`."""
        self._length_ms = length_ms
        return self.heard(REGISTRATION)

    def say(self, number: int, now_ms: int) -> None:
        """A heartbeat is said; `now_ms` is not later than that."""
        self._said[number] = now_ms
        if len(self._said) > SAID_MAX:
            del self._said[min(self._said)]

    def heard(self, number: int) -> bool:
        """The echo of a heartbeat came. Whether the lease is longer now."""
        said_ms = self._said.pop(number, None)
        if said_ms is None or said_ms + self._length_ms <= self.until_ms:
            return False
        self.until_ms = said_ms + self._length_ms
        return True
