"""Where the leading master is: `HOST:PORT`, several of them, or `zk://h1,h2:2181/path`.

Agents, schedulers and the command all take these. With several masters one leads and the others
follow: a follower answers every call with who leads (`LEADER_KEY`), so any list that has a living
master in it will do. With ZooKeeper a `LeaderWatch` is told of each new leader at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

MASTER_VARIABLE = "MESOSLITE_MASTER"
DEFAULT_MASTER = "localhost:5060"
DEFAULT_PORT = 5060
ZOOKEEPER_PORT = 2181
ZOOKEEPER_SCHEME = "zk://"
MASTERS_MAX = 16  # more than anybody elects among
TEXT_MAX = 1_000
WAYS = "HOST:PORT, HOST1:PORT,HOST2:PORT or zk://HOST1,HOST2:2181/PATH"

#: Metadata at the end of a call to a master that does not lead: the address of the one that does,
#: or nothing while nobody does.
LEADER_KEY = "mesoslite-leader"
#: Mesos's own prefix, so that what finds a Mesos master finds this one too.
NODE_PREFIX = "json.info_"
#: What of a node is ours: who reads the rest finds the HTTP port, as with Mesos.
NODE_TABLE = "mesoslite"

#: A client that loses ZooKeeper for less keeps its session; nothing depends on it but a new look.
CLIENT_SESSION_S = 30.0
CONNECT_S_MAX = 10.0  # until somebody who asks is told that ZooKeeper does not answer
LOOK_AGAIN_S = 0.5
END_S_MAX = 2.0

_HOST = r"\[[0-9A-Fa-f:.%]+\]|[^\s:/,@\[\]]+"
_ADDRESS = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>\d{{1,5}}))?")
_PATH = re.compile(r"(/[A-Za-z0-9_.-]{1,100}){1,10}")

log = structlog.get_logger("mesoslite.masters")


class NoMasterError(Exception):
    """Nobody is known to lead now; `str` is one line for people."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """ZooKeeper's servers, and the path below which the masters of a cluster meet."""

    hosts: str
    """`h1:2181,h2:2181`"""
    path: str
    """`/mesoslite`"""

    def __str__(self) -> str:
        return f"{ZOOKEEPER_SCHEME}{self.hosts}{self.path}"


@dataclass(frozen=True, slots=True)
class Masters:
    """How to find the leading master: by addresses, each HOST:PORT, or by ZooKeeper."""

    addresses: tuple[str, ...] = ()
    ensemble: Ensemble | None = None

    def __str__(self) -> str:
        """As `parse_masters` reads it."""
        return ",".join(self.addresses) if self.ensemble is None else str(self.ensemble)


def parse_masters(text: str) -> Masters:
    """What a person wrote. Raises ValueError with what is wrong, in one line."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"it is longer than {TEXT_MAX} characters")
    if text.startswith(ZOOKEEPER_SCHEME):
        return Masters(ensemble=parse_ensemble(text))
    return Masters(tuple(_addresses(text, DEFAULT_PORT, WAYS)))


def parse_ensemble(text: str) -> Ensemble:
    """`zk://HOST1,HOST2:2181/PATH`. Raises ValueError with what is wrong, in one line."""
    way = "zk://HOST1,HOST2:2181/PATH"
    hosts, slash, path = text.removeprefix(ZOOKEEPER_SCHEME).partition("/")
    if not text.startswith(ZOOKEEPER_SCHEME):
        raise ValueError(f"{text!r} is no ZooKeeper; write {way}")
    if "@" in hosts:
        raise ValueError("a user and password for ZooKeeper are not taken")
    path = slash + path.rstrip("/")
    if _PATH.fullmatch(path) is None or {".", "..", "zookeeper"} & set(path.split("/")):
        raise ValueError(f"{text!r} names no path for the masters of one cluster; write {way}")
    return Ensemble(",".join(_addresses(hosts, ZOOKEEPER_PORT, way)), path)


def _addresses(text: str, default_port: int, way: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        match = _ADDRESS.fullmatch(part.strip())
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port < 65_536:
            raise ValueError(f"{part!r} is no address; write {way}")
        found.append(f"{match['host']}:{port}")
    if len(found) > MASTERS_MAX:
        raise ValueError(f"these are {len(found)} addresses, more than {MASTERS_MAX}")
    return found


def find_masters(given: str | None, environment: Mapping[str, str] = os.environ) -> Masters:
    """The masters: as given, else MESOSLITE_MASTER, else localhost:5060. Raises ValueError."""
    return parse_masters(given or environment.get(MASTER_VARIABLE) or DEFAULT_MASTER)


def leader_told(metadata: Iterable[Any] | None) -> str | None:
    """Whom a master that follows names as the leader, at the end of a call that it refuses.

    Empty: nobody leads now. None: it was no such answer.
    """
    for key, value in metadata or ():
        if key == LEADER_KEY and isinstance(value, str):
            return value
    return None


# --- ZooKeeper ------------------------------------------------------------------------------------


def new_client(ensemble: Ensemble, session_s: float, *, redial_s_max: float = 5.0) -> Any:
    """A client of kazoo's that is not started. Raises NoMasterError without kazoo.

    One that loses its connection tries anew after 0.1 s, and twice as long each time.
    """
    try:
        from kazoo.client import KazooClient
    except ImportError:
        raise NoMasterError(f"{ensemble} needs kazoo: pip install mesoslite[zookeeper]") from None
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # we say it ourselves, once
    redial = {"max_tries": -1, "delay": 0.1, "max_delay": redial_s_max}
    return KazooClient(hosts=ensemble.hosts, timeout=session_s, connection_retry=redial)


def leading_node(children: list[str]) -> str | None:
    """The node of the master that leads: the one that came first."""
    nodes = [child for child in children if child.startswith(NODE_PREFIX)]
    return min(nodes, key=lambda node: node[len(NODE_PREFIX) :], default=None)


def address_in(data: bytes) -> str:
    """The address of the master whose node holds this. Raises NoMasterError."""
    try:
        [address] = _addresses(json.loads(data)[NODE_TABLE]["address"], DEFAULT_PORT, "HOST:PORT")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NoMasterError("who leads there is no master of mesoslite") from None
    return address


def look(client: Any, ensemble: Ensemble, watch: Callable[[object], None] | None = None) -> str:
    """The address of the leader, empty when nobody leads; blocks.

    `watch` is called in a thread when that may have changed. Raises NoMasterError when it cannot
    be known.
    """
    from kazoo.exceptions import KazooException, NoNodeError
    from kazoo.handlers.threading import KazooTimeoutError

    try:
        try:
            children = client.get_children(ensemble.path, watch=watch)
        except NoNodeError:
            children = []
            if client.exists(ensemble.path, watch=watch) is not None:
                children = client.get_children(ensemble.path, watch=watch)
        node = leading_node(children)
        if node is None:
            return ""
        try:
            return address_in(client.get(f"{ensemble.path}/{node}")[0])
        except NoNodeError:
            return ""  # it has just left, and the watch tells who is next
    except (KazooException, KazooTimeoutError) as error:
        raise NoMasterError(f"ZooKeeper at {ensemble.hosts} fails: {error!r}") from None


def leader_now(ensemble: Ensemble) -> str:
    """The address of the leader. Blocks for CONNECT_S_MAX at most; raises NoMasterError."""
    client = new_client(ensemble, CLIENT_SESSION_S)
    start_client(client, ensemble)
    try:
        leader = look(client, ensemble)
    finally:
        end_client(client)
    if not leader:
        raise NoMasterError(f"no master leads at {ensemble}")
    return leader


def start_client(client: Any, ensemble: Ensemble) -> None:
    """Connect it. Blocks for CONNECT_S_MAX at most; raises NoMasterError, and it is ended then."""
    from kazoo.handlers.threading import KazooTimeoutError

    try:
        client.start(timeout=CONNECT_S_MAX)
    except KazooTimeoutError:
        end_client(client)
        raise _no_answer(ensemble) from None


async def client_started(client: Any, ensemble: Ensemble) -> None:
    """Connect it, as `start_client` does, but let others work meanwhile."""
    loop = asyncio.get_running_loop()
    connected = asyncio.Event()

    def changed(state: str) -> None:
        if state == "CONNECTED":
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(connected.set)

    client.add_listener(changed)
    client.start_async()
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            await connected.wait()
    except TimeoutError:
        await client_ended(client)
        raise _no_answer(ensemble) from None
    except BaseException:
        await client_ended(client)
        raise
    finally:
        client.remove_listener(changed)


def _no_answer(ensemble: Ensemble) -> NoMasterError:
    return NoMasterError(
        f"ZooKeeper at {ensemble.hosts} gives no answer within {CONNECT_S_MAX:.0f} s"
    )


def end_client(client: Any) -> None:
    """End its session and its threads. Blocks."""
    client.stop()
    client.close()


async def client_ended(client: Any, within_s: float = END_S_MAX) -> None:
    """End its session, or leave that to ZooKeeper when it takes longer than this."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end() -> None:
        try:
            end_client(client)
        except Exception as error:  # noqa: BLE001 - kazoo's for threads that do not end has no type
            log.debug("a client of ZooKeeper did not end well", why=repr(error))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(ended.set)

    # A thread of its own: asyncio would wait for one of its pool's before the process may end.
    threading.Thread(target=end, name="zookeeper-end", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await ended.wait()


class LeaderWatch:
    """Knows at any time who leads, as far as ZooKeeper tells. Several links may share one."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.leader = ""
        """HOST:PORT; empty while nobody is known to lead."""
        self.why_not = ""
        """Why that is not known now; while ZooKeeper is away the last leader it named stands."""
        self.news = asyncio.Event()
        """Set at the next change; then there is another one."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, unless that has begun. Needs a running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        client: Any = None
        try:
            while client is None:
                try:
                    fresh = new_client(self.ensemble, CLIENT_SESSION_S)
                    await client_started(fresh, self.ensemble)
                    client = fresh
                except NoMasterError as error:
                    self._tell(self.leader, str(error))
                    await asyncio.sleep(LOOK_AGAIN_S)
            while True:
                seen = asyncio.Event()

                def changed(_event: object, seen: asyncio.Event = seen) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(seen.set)

                try:
                    leader = await asyncio.to_thread(look, client, self.ensemble, changed)
                    self._tell(leader, "" if leader else f"no master leads at {self.ensemble}")
                except Exception as error:  # noqa: BLE001 - whatever it is, the next look may do
                    self._tell(self.leader, str(error) or repr(error))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await seen.wait()
                else:
                    await seen.wait()
        finally:
            if client is not None:
                await client_ended(client)

    def _tell(self, leader: str, why_not: str) -> None:
        if (leader, why_not) == (self.leader, self.why_not):
            return
        if leader and leader != self.leader:
            log.info("a master leads", master=leader, ensemble=str(self.ensemble))
        self.leader, self.why_not = leader, why_not
        news, self.news = self.news, asyncio.Event()
        news.set()


# --- for one link ---------------------------------------------------------------------------------


class Locator:
    """Which address to dial next. Each link has its own."""

    def __init__(self, masters: Masters, watch: LeaderWatch | None = None) -> None:
        """`watch` may be one that others use too; without it one is made when it takes one."""
        self.masters = masters
        self._addresses = masters.addresses
        self._next = 0
        self._hint = ""
        self._watch = watch
        self._own_watch = watch is None
        if self._watch is None and masters.ensemble is not None:
            self._watch = LeaderWatch(masters.ensemble)

    @property
    def follows_leaders(self) -> bool:
        """Whether it is told when another master leads: by ZooKeeper."""
        return self._watch is not None

    async def address(self) -> str:
        """HOST:PORT to dial now. Raises NoMasterError when nobody is known to lead."""
        if self._watch is not None:
            self._watch.start()
            while not (self._watch.leader or self._watch.why_not):  # the first look
                await self._watch.news.wait()
            if not self._watch.leader:
                raise NoMasterError(self._watch.why_not)
            return self._watch.leader
        hint, self._hint = self._hint, ""
        return hint or self._addresses[self._next % len(self._addresses)]

    def missed(self) -> None:
        """What was dialled last does not lead, or is not there."""
        self._next += 1

    def redirected(self, leader: str) -> None:
        """A master that does not lead says who does; empty: it knows of nobody."""
        with contextlib.suppress(ValueError):
            self._hint = parse_masters(leader).addresses[0] if leader else ""

    async def pause(self, delay_s: float) -> bool:
        """Wait before the next dial. True: for less than that, since there is news of a leader."""
        news = asyncio.Event() if self._watch is None else self._watch.news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                return await news.wait()
        return False

    async def moved(self, address: str) -> str:
        """Returns the leader as soon as it is another than this; never, without ZooKeeper."""
        if self._watch is not None:
            self._watch.start()
        while self._watch is None or self._watch.leader in {"", address}:
            await (asyncio.Event() if self._watch is None else self._watch.news).wait()
        return self._watch.leader

    async def close(self) -> None:
        """Let go of ZooKeeper."""
        if self._watch is not None and self._own_watch:
            await self._watch.close()
