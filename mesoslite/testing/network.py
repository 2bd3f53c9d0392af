"""The simulated network: TCP-like connections between hosts (docs/decisions.md D19).

Each connection is FIFO in both directions. It may delay, stall, and be cut after any prefix of what
is on its way, each side noticing at a time of its own, maybe never. Nothing is repeated or
reordered within a connection; across two of them anything may overtake anything, so words of an old
stream arrive after those of the new one. Hosts may be partitioned from each other for a while.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from mesoslite.testing.agenda import Agenda

FOREVER_MS = 10**15  # later than any simulation ends


@dataclass(frozen=True, slots=True)
class Weather:
    """How slow the network is, in milliseconds; each message draws its own delay."""

    delay_min_ms: int = 0
    delay_max_ms: int = 2
    slow_one_in: int = 50
    """One message in so many is a straggler, and all behind it in its lane wait for it."""
    slow_max_ms: int = 20


class Endpoint(Protocol):
    """What has one end of connections: a process."""

    def received(self, end: End, message: object) -> None:
        """The other side said this."""
        ...

    def ended(self, end: End, why: str) -> None:
        """The connection is over, as this side notices now. The last word about it."""
        ...


class End:
    """One side of a connection: what its process holds of it."""

    __slots__ = ("connection", "endpoint", "host", "lane", "open", "peer")

    peer: End
    """The other side."""

    def __init__(self, connection: Connection, endpoint: Endpoint, host: str) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.host = host
        self.open = True
        """False once this side has closed it or noticed its end: it hears nothing any more."""
        self.lane = Lane(connection, self)
        """What is on its way to the other side."""

    @property
    def name(self) -> str:
        """The connection's name, the same on both sides and never given again."""
        return self.connection.name

    def say(self, message: object) -> None:
        """Send this. On a connection that is over it is lost, as the sender cannot know yet."""
        if self.open:
            self.lane.put(message)

    def close(self) -> None:
        """Say no more and hear no more; what was said before arrives, then the other side knows."""
        if self.open:
            self.open = False
            self.lane.finish("closed by the other side")

    def notice(self, delay_ms: int) -> None:
        """This side finds out, after a while, that the connection is over."""

        def end() -> None:
            if self.open:
                self.open = False
                self.endpoint.ended(self, "connection reset")

        self.connection.network.agenda.after(delay_ms, end)


class Lane:
    """One direction of a connection."""

    __slots__ = (
        "_connection",
        "_goodbye",
        "_last_due_ms",
        "_queue",
        "_sender",
        "_waking",
        "cut",
        "stalled_until_ms",
    )

    def __init__(self, connection: Connection, sender: End) -> None:
        self._connection = connection
        self._sender = sender
        self._queue: deque[tuple[int, object]] = deque()
        self._last_due_ms = 0
        self._waking = False
        self._goodbye: str | None = None
        self.stalled_until_ms = 0
        self.cut = False
        """Nothing that is said from now on arrives."""

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: object) -> None:
        """Send a message, behind all that were sent before."""
        if self.cut or self._goodbye is not None:
            return
        network = self._connection.network
        due_ms = max(self._last_due_ms, network.agenda.now_ms + network.delay_ms())
        self._last_due_ms = due_ms
        self._queue.append((due_ms, message))
        self._wake()

    def finish(self, why: str) -> None:
        """The sender closes: the receiver notices behind the last message."""
        if not self.cut:
            self._goodbye = why
            self._wake()

    def cut_after(self, messages: int) -> None:
        """Only so many of the messages on their way arrive, and never a goodbye."""
        self.cut = True
        self._goodbye = None
        while len(self._queue) > messages:
            self._queue.pop()

    def heal(self) -> None:
        """Nothing holds the lane up any more: what is due arrives."""
        self.stalled_until_ms = 0
        if self._queue or self._goodbye is not None:
            self._waking = False
            self._wake()

    def _wake(self) -> None:
        if self._waking:
            return
        agenda = self._connection.network.agenda
        due_ms = self._queue[0][0] if self._queue else agenda.now_ms
        self._waking = True
        agenda.at(max(due_ms, self.stalled_until_ms), self._deliver)

    def _deliver(self) -> None:
        self._waking = False
        network = self._connection.network
        now_ms = network.agenda.now_ms
        held_ms = max(network.held_until_ms(self._connection), self.stalled_until_ms)
        receiver, queue = self._sender.peer, self._queue
        if held_ms > now_ms:
            self.stalled_until_ms = held_ms
        else:
            while queue and queue[0][0] <= now_ms:
                message = queue.popleft()[1]
                if receiver.open:
                    receiver.endpoint.received(receiver, message)
            if not queue and self._goodbye is not None:
                if receiver.open:
                    receiver.open = False
                    receiver.endpoint.ended(receiver, self._goodbye)
                return
        if queue or self._goodbye is not None:
            self._wake()


class Connection:
    """Two lanes between the process that dialled and the one that listens."""

    __slots__ = ("ends", "hosts", "name", "network")

    def __init__(
        self,
        network: Network,
        name: str,
        client: tuple[Endpoint, str],
        server: tuple[Endpoint, str],
    ) -> None:
        self.network = network
        self.name = name
        one, other = self.ends = (End(self, *client), End(self, *server))
        one.peer, other.peer = other, one
        self.hosts = frozenset((one.host, other.host))

    @property
    def alive(self) -> bool:
        """Whether either side still believes in it."""
        return any(end.open for end in self.ends)

    def cut(self, rng: random.Random, notice_ms: tuple[int | None, int | None]) -> None:
        """Lose all but a prefix of what is on its way; each side notices after its own time.

        `notice_ms`: of the dialling and the listening side; None: it never notices by itself.
        """
        for end, delay_ms in zip(self.ends, notice_ms, strict=True):
            end.lane.cut_after(rng.randint(0, len(end.lane)))
            if delay_ms is not None:
                end.notice(delay_ms)

    def stall(self, for_ms: int) -> None:
        """Nothing arrives on either lane for a while; nothing is lost."""
        until_ms = self.network.agenda.now_ms + for_ms
        for end in self.ends:
            end.lane.stalled_until_ms = max(end.lane.stalled_until_ms, until_ms)


class Network:
    """All connections, in the order of their making, and which hosts cannot reach each other."""

    def __init__(self, agenda: Agenda, rng: random.Random, weather: Weather) -> None:
        self.agenda = agenda
        self.rng = rng
        self.weather = weather
        self._count = 0
        self._connections: dict[str, Connection] = {}
        self._partitions: dict[frozenset[str], int] = {}
        """Two hosts -> until when nothing passes between them."""

    @property
    def connections(self) -> list[Connection]:
        """Those that at least one side believes in, oldest first."""
        over = [name for name, one in self._connections.items() if not one.alive]
        for name in over:
            del self._connections[name]
        return list(self._connections.values())

    def connect(self, client: Endpoint, client_host: str, server: Endpoint, host: str) -> End:
        """A new connection, as its dialling side holds it."""
        self._count += 1
        name = f"c{self._count}"
        connection = Connection(self, name, (client, client_host), (server, host))
        self._connections[connection.name] = connection
        return connection.ends[0]

    def delay_ms(self) -> int:
        """How long a message takes."""
        drawn, weather = self.rng.random, self.weather
        least, most = weather.delay_min_ms, weather.delay_max_ms
        if weather.slow_one_in and drawn() * weather.slow_one_in < 1:
            least, most = most, weather.slow_max_ms
        return least + int(drawn() * (most - least + 1))  # a fifth of what randint takes

    def partition(self, one: str, other: str, for_ms: int = FOREVER_MS) -> None:
        """Nothing passes between two hosts for a while, and neither is told."""
        hosts = frozenset((one, other))
        until_ms = self.agenda.now_ms + for_ms
        self._partitions[hosts] = max(self._partitions.get(hosts, 0), until_ms)

    def reachable(self, one: str, other: str) -> bool:
        """Whether one host can open a connection to another now."""
        return self._partitions.get(frozenset((one, other)), 0) <= self.agenda.now_ms

    def held_until_ms(self, connection: Connection) -> int:
        """Until when a partition holds what is on its way on this connection."""
        return self._partitions.get(connection.hosts, 0) if self._partitions else 0

    def heal(self) -> None:
        """All hosts reach each other again, and nothing stalls."""
        self._partitions.clear()
        for connection in self.connections:
            for end in connection.ends:
                end.lane.heal()
