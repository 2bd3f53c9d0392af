"""The clocks of simulated hosts: none runs at quite the right rate, and people set them.

A process reads its host's wall clock once, when it starts, and counts from there what passes
(`mesoslite.clock`): so a clock that is set moves what is started afterwards, and nothing else.
"""

from __future__ import annotations

from mesoslite.testing.agenda import Agenda

MILLION = 1_000_000


class ProcessClock:
    """The clock of one run of a process."""

    __slots__ = ("_base_ms", "_ppm", "_since_ms")

    def __init__(self, now_ms: int, wall_ms: int, drift_ppm: int) -> None:
        self._since_ms = now_ms
        self._base_ms = wall_ms
        self._ppm = drift_ppm

    def read(self, now_ms: int) -> int:
        """What it says at a moment of virtual time."""
        passed_ms = now_ms - self._since_ms
        return self._base_ms + passed_ms + passed_ms * self._ppm // MILLION

    def due_ms(self, reading_ms: int) -> int:
        """The first moment at which it says so much, or a millisecond or two before its start."""
        passed_ms = reading_ms - self._base_ms
        now_ms = self._since_ms + passed_ms * MILLION // (MILLION + self._ppm)
        while self.read(now_ms) < reading_ms:
            now_ms += 1
        return now_ms


class HostClock:
    """The clocks of one host."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._began_ms = agenda.now_ms
        self._ahead_ms = 0
        self.drift_ppm = 0
        """How much too fast it runs, in millionths; quartz is within 100. Set it at the start."""

    def set_forward(self, by_ms: int) -> None:
        """Somebody sets the wall clock, back when negative."""
        self._ahead_ms += by_ms

    def started(self) -> ProcessClock:
        """The clock of a process that starts now."""
        now_ms = self._agenda.now_ms
        drifted_ms = (now_ms - self._began_ms) * self.drift_ppm // MILLION
        return ProcessClock(now_ms, now_ms + self._ahead_ms + drifted_ms, self.drift_ppm)
