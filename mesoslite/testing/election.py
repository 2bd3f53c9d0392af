"""The election service of a simulated cluster, as ZooKeeper is one.

It is never wrong about who leads, since who leads is what it says. What it promises is modelled,
not how it keeps that: sessions that expire when nothing was heard of their master for as long as
was agreed; the eldest of them leads; and a registry in which each leader takes an epoch of its own,
after which the commits of an earlier one are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesoslite.testing.agenda import Agenda
from mesoslite.testing.storage import Disk, Registry

ELECTION_HOST = "election"


class Standing(Enum):
    """What the service says to a master that it hears of."""

    EXPIRED = "its session is no more: it was not heard of for too long"
    FOLLOWS = "an older session lives"
    LEADS = "it is the eldest"


@dataclass(slots=True)
class _Session:
    name: str
    until_ms: int


class Election:
    """The service, with the registry that all masters of the cluster share."""

    def __init__(self, agenda: Agenda, session_ms: int) -> None:
        self.session_ms = session_ms
        self.registry = Registry(Disk())
        self.away = False
        """Nobody reaches it. Sessions do not expire meanwhile: nobody is there to end them."""
        self._agenda = agenda
        self._count = 0
        self._sessions: dict[int, _Session] = {}

    def enter(self, name: str) -> int:
        """A master comes: the number of its session, which is the youngest."""
        self._count += 1
        until_ms = self._agenda.now_ms + self.session_ms
        self._sessions[self._count] = _Session(name, until_ms)
        return self._count

    def touch(self, number: int) -> Standing:
        """Something is heard of a master: its session goes on, if it still lives."""
        self._expire()
        session = self._sessions.get(number)
        if session is None:
            return Standing.EXPIRED
        session.until_ms = self._agenda.now_ms + self.session_ms
        return Standing.LEADS if next(iter(self._sessions)) == number else Standing.FOLLOWS

    def leader(self) -> str | None:
        """The name of the master that leads, or will as soon as it hears of it."""
        self._expire()
        return next((session.name for session in self._sessions.values()), None)

    def come_back(self) -> None:
        """The service is there again, and gives every session its whole time anew."""
        self.away = False
        for session in self._sessions.values():
            session.until_ms = self._agenda.now_ms + self.session_ms

    def _expire(self) -> None:
        now_ms = self._agenda.now_ms
        if not self.away:
            over = [number for number, one in self._sessions.items() if one.until_ms <= now_ms]
            for number in over:
                del self._sessions[number]
