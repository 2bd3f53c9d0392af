"""What goes wrong in a chaos: a deck of faults, shuffled by the seed, one every few seconds."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from tests.chaos.cluster import AgentHost, ChaosCluster, MasterSite
from tests.chaos.evidence import Death
from tests.chaos.services import Service

T = TypeVar("T")

EVERY_S = (3.0, 6.0)
DOWN_S = (0.5, 4.0)
STOP_S = (1.0, 8.0)
#: A leader that is stopped, or cut off from ZooKeeper, for longer than its session of 4 s is over.
OVER_S = (5.0, 8.0)

#: How often each is in a deck of 40: three minutes and a half. Seven end the leader's time, and no
#: role is killed less than three times.
DECK = {
    "kill leader": 4,
    "stop leader": 2,
    "cut leader from zookeeper": 2,
    "kill any master": 2,
    "kill agent": 5,
    "stop agent": 3,
    "kill launcher": 3,
    "stop launcher": 2,
    "kill host": 4,
    "kill scheduler": 4,
    "stop scheduler": 2,
    "cut agent from masters": 4,
    "cut scheduler from masters": 3,
}


class Faults:
    """Draws faults and does them."""

    def __init__(self, cluster: ChaosCluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._deck = self._decks()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.done: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self._kinds: dict[str, Callable[[], None]] = {
            "kill leader": lambda: self._kill(self._leader().service),
            "stop leader": lambda: self._leader().service.stop_for(self._while(OVER_S)),
            "cut leader from zookeeper": self._cut_leader,
            "kill any master": lambda: self._kill(self._one(cluster.masters).service),
            "kill agent": lambda: self._kill(self._one(cluster.agents).service),
            "stop agent": lambda: self._one(cluster.agents).service.stop_for(self._while()),
            "kill launcher": self._kill_launcher,
            "stop launcher": self._stop_launcher,
            "kill host": self._kill_host,
            "kill scheduler": lambda: self._kill(self._one(cluster.frameworks)),
            "stop scheduler": lambda: self._one(cluster.frameworks).stop_for(self._while()),
            "cut agent from masters": lambda: self._cut(self._one(cluster.agents).service),
            "cut scheduler from masters": lambda: self._cut(self._one(cluster.frameworks)),
        }
        assert self._kinds.keys() == DECK.keys()

    def _decks(self) -> Iterator[str]:
        while True:
            deck = [kind for kind, times in DECK.items() for _ in range(times)]
            self._rng.shuffle(deck)
            yield from deck

    def next(self) -> str:
        """Do the next one; which it was."""
        kind = next(self._deck)
        self._kinds[kind]()
        self.done[kind] += 1
        return kind

    def keep(self) -> None:
        """Undo what has lasted long enough; call it often."""
        now = time.monotonic()
        due = [undo for at, undo in self._later if at <= now]
        self._later = [(at, undo) for at, undo in self._later if at > now]
        for undo in due:
            undo()

    def heal(self) -> None:
        """Undo everything now."""
        for _, undo in self._later:
            undo()
        self._later = []
        for service in self._cluster.services():
            if service.stopped:
                service.go_on()

    # --- the longer ones --------------------------------------------------------------------------

    def _one(self, some: Sequence[T]) -> T:
        return self._rng.choice(some)

    def _while(self, bounds_s: tuple[float, float] = STOP_S) -> float:
        return self._rng.uniform(*bounds_s)

    def _leader(self) -> MasterSite:
        return self._cluster.leader() or self._one(self._cluster.masters)

    def _kill(self, service: Service) -> None:
        service.kill()

    def _cut(self, service: Service) -> None:
        self._cluster.cut(service, self._cluster.masters, self._while())

    def _cut_leader(self) -> None:
        leader = self._leader()
        if leader.service.pid:
            leader.to_zookeeper.hold([leader.service.pid], self._while(OVER_S))

    def _host(self) -> AgentHost:
        up = [host for host in self._cluster.agents if not host.service.held_down]
        return self._one(up)

    def _kill_launcher(self) -> None:
        host = self._host()
        if (pid := host.launcher_pid) != 0:
            self._died(host)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop_launcher(self) -> None:
        pid = self._host().launcher_pid
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self._in(self._while(), lambda: _go_on(pid))

    def _kill_host(self) -> None:
        host = self._host()
        self._died(host)
        self._cluster.kill_host(host)
        self._died(host)  # what ended while it went down, too
        self._in(self._while(DOWN_S), lambda: self._cluster.start_host(host))

    def _died(self, host: AgentHost) -> None:
        self.deaths.append(Death(host.service.name, time.time()))

    def _in(self, seconds: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, undo))


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
