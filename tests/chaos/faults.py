"""What goes wrong in a chaos: a deck of faults, shuffled by the seed, one every few seconds."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from tests.chaos.cluster import AgentHost, ChaosCluster
from tests.chaos.evidence import Death, Stopped
from tests.chaos.services import Service

T = TypeVar("T")

EVERY_S = (3.0, 6.0)
DOWN_S = (0.5, 4.0)
STOP_S = (1.0, 8.0)
#: A leader that is stopped, or cut off from ZooKeeper, for longer than its session of 4 s is over.
OVER_S = (5.0, 8.0)

#: Fenced tasks may run until 15.1 s after the last echo of a heartbeat (see cluster.py).
BEYOND_LEASE_S = (25.0, 35.0)
#: How often each is in a deck of 33, which takes 149 s on average. Eight end the leader's time, and
#: no role is killed less than three times.
DECK = {
    "kill leader": 4,
    "stop leader": 2,
    "cut leader from zookeeper": 2,
    "kill any master": 1,
    "kill agent": 4,
    "stop agent": 2,
    "kill launcher": 3,
    "stop launcher": 1,
    "kill host": 3,
    "stop host's daemons beyond the lease": 1,
    "kill scheduler": 4,
    "stop scheduler": 1,
    "cut agent from masters": 3,
    "cut scheduler from masters": 2,
}


class Faults:
    """Draws faults and does them."""

    def __init__(self, cluster: ChaosCluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._deck: list[str] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.done: Counter[str] = Counter()
        self.deaths: list[Death] = []
        self.stops: list[Stopped] = []
        #: Each says whether it was done: there may be no leader now, or nobody left to kill.
        self._kinds: dict[str, Callable[[], bool]] = {
            "kill leader": lambda: self._leading(self._kill),
            "stop leader": lambda: self._leading(lambda led: self._stop(led, OVER_S)),
            "cut leader from zookeeper": self._cut_leader,
            "kill any master": lambda: self._kill(self._one(cluster.masters).service),
            "kill agent": lambda: self._kill(self._host().service),
            "stop agent": lambda: self._stop(self._host().service),
            "kill launcher": self._kill_launcher,
            "stop launcher": self._stop_launcher,
            "kill host": self._kill_host,
            "stop host's daemons beyond the lease": self._stop_host,
            "kill scheduler": lambda: self._kill(self._one(cluster.frameworks)),
            "stop scheduler": lambda: self._stop(self._one(cluster.frameworks)),
            "cut agent from masters": lambda: self._cut(self._host().service),
            "cut scheduler from masters": lambda: self._cut(self._one(cluster.frameworks)),
        }
        assert self._kinds.keys() == DECK.keys()

    def next(self) -> str:
        """Do the next one that can be done now; which it was."""
        if not self._deck:
            self._deck = [kind for kind, times in DECK.items() for _ in range(times)]
            self._rng.shuffle(self._deck)
        for position, kind in enumerate(self._deck):
            if self._kinds[kind]():
                del self._deck[position]
                self.done[kind] += 1
                return kind
        return "nothing"

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

    # --- one of each ------------------------------------------------------------------------------

    def _one(self, some: Sequence[T]) -> T:
        return self._rng.choice(some)

    def _host(self) -> AgentHost:
        """One that is up, and not stopped for longer than anything else takes."""
        until = time.time()
        resting = {stop.agent for stop in self.stops if stop.until > until}
        return self._one(
            [
                host
                for host in self._cluster.agents
                if not host.service.held_down and host.service.name not in resting
            ]
        )

    def _while(self, bounds_s: tuple[float, float] = STOP_S) -> float:
        return self._rng.uniform(*bounds_s)

    def _kill(self, service: Service) -> bool:
        if not service.running:
            return False
        service.kill()
        return True

    def _stop(self, service: Service, bounds_s: tuple[float, float] = STOP_S) -> bool:
        if not service.running or service.stopped:
            return False
        service.stop_for(self._while(bounds_s))
        return True

    def _cut(self, service: Service) -> bool:
        if not service.running:
            return False
        self._cluster.cut(service, self._cluster.masters, self._while())
        return True

    def _leading(self, do: Callable[[Service], bool]) -> bool:
        leader = self._cluster.leader()
        return leader is not None and do(leader.service)

    def _cut_leader(self) -> bool:
        leader = self._cluster.leader()
        if leader is None or not leader.service.running:
            return False
        leader.to_zookeeper.hold([leader.service.pid], self._while(OVER_S))
        return True

    def _kill_launcher(self) -> bool:
        host = self._host()
        pid = host.launcher_pid
        if not pid:
            return False
        self._died(host)
        os.kill(pid, signal.SIGKILL)
        return True

    def _stop_launcher(self) -> bool:
        pid = self._host().launcher_pid
        if not pid:
            return False
        os.kill(pid, signal.SIGSTOP)
        self._in(self._while(), lambda: _go_on(pid))
        return True

    def _stop_host(self) -> bool:
        """Agent and launcher stand still, and their tasks go on: nobody ends those with a fence."""
        host = self._host()
        pid = host.launcher_pid
        if not pid or host.service.stopped or not host.service.running:
            return False
        seconds = self._while(BEYOND_LEASE_S)
        host.service.stop_for(seconds)
        os.kill(pid, signal.SIGSTOP)
        self._in(seconds, lambda: _go_on(pid))
        now = time.time()
        self.stops.append(Stopped(host.service.name, now, now + seconds))
        return True

    def _kill_host(self) -> bool:
        host = self._host()
        self._died(host)
        self._cluster.kill_host(host)
        self._died(host)  # what ended while it went down, too
        self._in(self._while(DOWN_S), lambda: self._cluster.start_host(host))
        return True

    def _died(self, host: AgentHost) -> None:
        self.deaths.append(Death(host.service.name, time.time()))

    def _in(self, seconds: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, undo))


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
