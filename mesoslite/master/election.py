"""Who leads, of several masters: the one that came first to ZooKeeper and is still there.

Each master has a node below the cluster's path, which goes with its session; the lowest number
leads, as among Mesos's masters, and the nodes say what Mesos's do, so that what finds a leading
Mesos finds this one. Behind the leader the others wait, each a follower.

A leader that ZooKeeper has not answered for two thirds of its session says nothing more (D15): the
session may be over when the last third is, and another lead.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import structlog

from mesoslite.daemon import Resigned
from mesoslite.masters import (
    END_S_MAX,
    NODE_PREFIX,
    NODE_TABLE,
    Ensemble,
    NoMasterError,
    address_in,
    client_ended,
    client_started,
    leading_node,
    new_client,
)
from mesoslite.version import VERSION

REDIAL_S_MAX = 0.5  # a ZooKeeper that restarts is away for a second or two
AGAIN_S = 1.0  # until a master that lost its place asks for another
ASKS_A_SESSION = 6  # so four may fail before a leader must be silent
LOST_END_S_MAX = 0.2  # to end a session that is over, most likely, or that nobody answers
SPEAKS_FOR = 2 / 3  # of the session, after the last word of ZooKeeper's
SESSION_OVER = "the session with ZooKeeper is over"

T = TypeVar("T")

log = structlog.get_logger("mesoslite.election")


def boottime_s() -> float:
    """Seconds that also pass while the process is stopped, or the host asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def card(master_id: str, address: str, hostname: str, http_port: int | None) -> bytes:
    """What a master's node says: Mesos's MasterInfo as JSON, and our own table.

    `port` is what Mesos's is, of HTTP; schedulers and agents of ours read `address` of our table.
    """
    grpc_port = int(address.rpartition(":")[2])
    port = http_port or grpc_port
    ip = _ip_of(hostname)
    info = {
        "id": master_id,
        "ip": int.from_bytes(ip.packed, "little"),  # network order, as Mesos's old clients read it
        "port": port,
        "pid": f"master@{ip}:{port}",
        "hostname": hostname,
        "version": VERSION,
        "address": {"hostname": hostname, "ip": str(ip), "port": port},
        "capabilities": [],
        NODE_TABLE: {"address": address},
    }
    return json.dumps(info).encode()


def _ip_of(hostname: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(socket.gethostbyname(hostname.strip("[]")))
    except (OSError, ValueError):
        return ipaddress.IPv4Address(0)  # the name alone has to do


async def ask(request: Any) -> Any:
    """What comes of a request of kazoo's, without a thread that waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any) -> None:
        if future.done():
            return
        if result.successful():
            future.set_result(result.value)
        else:
            future.set_exception(result.exception)

    def done(result: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(settle, result)

    request.rawlink(done)
    return await future


class Seat:
    """One session with ZooKeeper and the node of this master in it. When it is lost it is lost."""

    def __init__(self, ensemble: Ensemble, session_s: float) -> None:
        """Raises NoMasterError without kazoo."""
        self.ensemble = ensemble
        self.client = new_client(ensemble, session_s, redial_s_max=REDIAL_S_MAX)
        self.node = ""
        self.session_s = session_s
        """As agreed with ZooKeeper, which may allow less."""
        self._data = b""
        self.lost = asyncio.Event()
        self.why_lost = ""
        self._heard_s = boottime_s()
        self._loop = asyncio.get_running_loop()

    async def take(self, data: bytes) -> None:
        """Join, behind all who are there. Raises NoMasterError, Resigned when the seat is lost
        meanwhile, and kazoo's exceptions."""
        self._data = data
        self._learn_the_session()
        self.client.add_listener(self._state_changed)
        await client_started(self.client, self.ensemble)
        await self.ask(self.client.ensure_path_async(self.ensemble.path))
        asked_s = boottime_s()
        path = await self.ask(
            self.client.create_async(
                f"{self.ensemble.path}/{NODE_PREFIX}", data, ephemeral=True, sequence=True
            )
        )
        self.node = path.rpartition("/")[2]
        self.heard(asked_s)

    def _learn_the_session(self) -> None:
        """kazoo learns what session it was given when it connects, and tells it to nobody."""
        connect = self.client._connection._connect

        def connected(*where: Any) -> tuple[float, float]:
            read_ms, connect_ms = connect(*where)
            self.session_s = min(self.session_s, read_ms * 1.5 / 1_000)  # 2/3 of it are for reads
            return read_ms, connect_ms

        self.client._connection._connect = connected

    def _state_changed(self, state: str) -> None:
        """In a thread of kazoo's."""
        if state == "LOST":
            self.why_lost = self.why_lost or SESSION_OVER
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.lost.set)

    async def ask(self, request: Any) -> Any:
        """What comes of a request of kazoo's. Raises Resigned when the seat is lost meanwhile.

        kazoo keeps a request for as long as ZooKeeper is away, for ever if need be; and one that is
        made in the very moment in which the session is lost it forgets.
        """
        return await self._unless_lost(ask(request))

    async def _unless_lost(self, wanted: Awaitable[T]) -> T:
        asking = asyncio.ensure_future(wanted)
        lost = asyncio.create_task(self.lost.wait())
        try:
            await asyncio.wait({asking, lost}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise Resigned(self.why_lost)
        finally:
            asking.cancel()
            lost.cancel()

    def heard(self, asked_s: float) -> None:
        """ZooKeeper has answered what it was asked then, so the session lived then."""
        self._heard_s = max(self._heard_s, asked_s)

    @property
    def silent_s(self) -> float:
        """How long ago that was asked which ZooKeeper answered last."""
        return boottime_s() - self._heard_s

    def may_speak(self) -> bool:
        """Whether nobody else can lead yet. Asked before each message: ~0.3 us."""
        return not self.why_lost and boottime_s() - self._heard_s < self.session_s * SPEAKS_FOR

    def give_up(self, why: str) -> None:
        """It is lost for this reason, unless it was lost before."""
        self.why_lost = self.why_lost or why
        self.lost.set()

    async def keep(self) -> None:
        """Hear of ZooKeeper often enough to speak, until the seat is lost."""
        from kazoo.exceptions import KazooException, NoNodeError

        interval_s = self.session_s / ASKS_A_SESSION
        while not self.lost.is_set():
            if not self.may_speak():
                self.give_up(
                    f"nothing was heard of ZooKeeper for {self.silent_s:.1f} s, and the session is "
                    f"of {self.session_s:g} s: another master may lead"
                )
                return
            asked_s = boottime_s()
            try:
                async with asyncio.timeout(interval_s):
                    await self._ask_a_majority()
            except NoNodeError:
                self.give_up("this master's node was removed from ZooKeeper")
                return
            except (KazooException, TimeoutError, Resigned):
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, interval_s - boottime_s() + asked_s)):
                    await self.lost.wait()

    async def _ask_a_majority(self) -> None:
        """Hear of ZooKeeper by writing this master's node as it is. Raises Resigned when the seat
        is lost meanwhile, and kazoo's exceptions.

        A server that is cut off from the others answers reads for some seconds more (syncLimit),
        while those end the session and let another master lead. A write needs a majority of them,
        and a session that lives.
        """
        asked_s = boottime_s()
        await self.ask(self.client.set_async(f"{self.ensemble.path}/{self.node}", self._data))
        self.heard(asked_s)

    async def until_first(self, tell: Any) -> None:
        """Returns when this master leads; `tell` hears who does meanwhile, empty for nobody.

        Raises Resigned when the seat is lost, NoMasterError when its node is, and kazoo's
        exceptions.
        """
        from kazoo.exceptions import NoNodeError

        while True:
            seen = asyncio.Event()

            def changed(_event: object, seen: asyncio.Event = seen) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(seen.set)

            path = self.ensemble.path
            children = await self.ask(self.client.get_children_async(path, watch=changed))
            if self.node not in children:
                raise NoMasterError("this master's node was removed from ZooKeeper")
            first = leading_node(children)
            if first == self.node:
                await self._ask_a_majority()
                return
            try:
                data, _ = await self.ask(self.client.get_async(f"{path}/{first}"))
                tell(address_in(data))
            except (NoNodeError, NoMasterError):
                tell("")
            await self._unless_lost(seen.wait())

    async def leave(self) -> None:
        """End the session, so that the next leads at once."""
        within_s = LOST_END_S_MAX if self.lost.is_set() else END_S_MAX
        self.give_up("it was left")
        await client_ended(self.client, within_s)


class Candidate:
    """A master that leads or will: it follows until its turn comes, however often it has to ask."""

    def __init__(self, ensemble: Ensemble, session_s: float, data: bytes) -> None:
        self._ensemble = ensemble
        self._session_s = session_s
        self._data = data
        self.leader = ""
        """Whom it follows, HOST:PORT; empty while nobody is known to lead."""
        self.why_not = f"ZooKeeper at {ensemble.hosts} has not answered yet"
        """Why it does not lead, in one line."""
        self._complaint = ""

    async def won(self) -> Seat:
        """The seat of the leader, when it is ours."""
        from kazoo.exceptions import KazooException

        while True:
            seat = Seat(self._ensemble, self._session_s)
            try:
                await seat.take(self._data)
                await seat.until_first(self._follow)
            except (KazooException, NoMasterError, Resigned) as error:
                await seat.leave()
                self._complain(str(error) or repr(error))
                await asyncio.sleep(AGAIN_S)
            except BaseException:
                await seat.leave()
                raise
            else:
                self.leader = self.why_not = ""
                return seat

    def _follow(self, leader: str) -> None:
        self._complaint = ""
        why_not = f"follows {leader}" if leader else f"nobody leads at {self._ensemble} yet"
        if why_not != self.why_not:
            log.info("this master follows", leader=leader, ensemble=str(self._ensemble))
        self.leader, self.why_not = leader, why_not

    def _complain(self, why: str) -> None:
        self.leader, self.why_not = "", why
        if why != self._complaint:
            self._complaint = why
            log.warning("no part in the election, trying on", why=why)
