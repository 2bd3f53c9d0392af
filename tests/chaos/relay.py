"""Ports that lead to other ports, so that a link between two processes can be cut.

What a cut link carries is held up, as on a network that loses everything: neither side is told.
When it is whole again, some connections go on with what was held up and the others are reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterable

import psutil

CHUNK_BYTES = 65_536
START_S_MAX = 10.0


class _Connection:
    """One connection through a relay."""

    def __init__(self, client_port: int) -> None:
        self.client_port = client_port
        self.passable = asyncio.Event()
        self.passable.set()
        self.pumps: list[asyncio.Task[None]] = []


class Relay:
    """One port, and where it leads to."""

    def __init__(self, relays: Relays) -> None:
        self._relays = relays
        self.port = 0
        self.target = 0
        """Set once it is known; until then whoever connects is turned away."""
        self._connections: set[_Connection] = set()
        self._held: dict[int, float] = {}
        """Process -> until when nothing of it passes, in the loop's time."""

    def hold(self, pids: Iterable[int], seconds: float) -> None:
        """Cut the links of these processes through this port for a while."""
        self._relays.call(self._hold, tuple(pids), seconds)

    def _hold(self, pids: tuple[int, ...], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for pid in pids:
            self._held[pid] = loop.time() + seconds
        ports = _ports_of(pids)
        held = [one for one in self._connections if one.client_port in ports]
        for connection in held:
            connection.passable.clear()
        loop.call_later(seconds, self._release, pids)

    def _release(self, pids: tuple[int, ...]) -> None:
        now = asyncio.get_running_loop().time()
        for pid in pids:
            if self._held.get(pid, 0.0) <= now + 0.01:
                self._held.pop(pid, None)
        still = _ports_of(self._held)
        for connection in list(self._connections):
            if connection.passable.is_set() or connection.client_port in still:
                continue
            connection.passable.set()
            if self._relays.rng.random() < 0.5:
                for pump in connection.pumps:
                    pump.cancel()

    async def serve(self) -> None:
        """Listen on a free port."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _accepted(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        connection = _Connection(near_out.get_extra_info("peername")[1])
        if self._held and connection.client_port in _ports_of(self._held):
            connection.passable.clear()
        self._connections.add(connection)
        far_out: asyncio.StreamWriter | None = None
        try:
            await connection.passable.wait()
            far, far_out = await asyncio.open_connection("127.0.0.1", self.target)
            connection.pumps = [
                asyncio.create_task(_pump(near, far_out, connection)),
                asyncio.create_task(_pump(far, near_out, connection)),
            ]
            await asyncio.wait(connection.pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # nobody listens there now: the client sees its connection end
        finally:
            self._connections.discard(connection)
            for pump in connection.pumps:
                pump.cancel()
            for writer in (near_out, far_out):
                if writer is not None:
                    writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            await connection.passable.wait()
            writer.write(data)
            await writer.drain()


def _ports_of(pids: Iterable[int]) -> set[int]:
    """The local ports of all connections of these processes."""
    ports: set[int] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            ports |= {one.laddr.port for one in psutil.Process(pid).net_connections("tcp")}
    return ports


class Relays:
    """All relays, in a thread with a loop of its own. Use as a context."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)

    def __enter__(self) -> Relays:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(START_S_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S_MAX)
        self._loop.close()

    def new(self, target: int = 0) -> Relay:
        """A relay that listens; its target may be told later."""
        relay = Relay(self)
        relay.target = target
        asyncio.run_coroutine_threadsafe(relay.serve(), self._loop).result(START_S_MAX)
        return relay

    def call(self, function: object, *arguments: object) -> None:
        """Call something in the loop."""
        self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
