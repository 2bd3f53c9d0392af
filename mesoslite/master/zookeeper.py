"""The registry of several masters, in ZooKeeper: only the leader of the newest epoch can write it.

    /PATH/epoch                 the number of the newest leader, and of its last commit
    /PATH/registry/KIND/KEY     one node for each record, as `archive.py` encodes and names it
    /PATH/staged/N              parts of a batch that is too large for one transaction

Every transaction sets the epoch's node and demands the version that it had after the one before.
So a leader that another has followed is refused for good, whatever it still believes; and a leader
whose connection broke before the answer came reads there whether its transaction was done.

ZooKeeper takes at most 1 MiB at once. A batch that is larger is staged in parts first, then marked
as staged, which is when it is durable, and then carried over. Whoever leads next carries over what
was marked and left: a batch is there as a whole or not at all, however large it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from operator import methodcaller
from typing import Any, NamedTuple

import msgspec

from mesoslite.daemon import Resigned
from mesoslite.database import StorageError
from mesoslite.loop import CommitError
from mesoslite.master import archive
from mesoslite.master.archive import BadRecord, Delete, Put, Write
from mesoslite.master.election import SESSION_OVER, Seat, boottime_s
from mesoslite.master.protocol import Effect, Recovered
from mesoslite.measures import CommitMeasures

#: ZooKeeper's own limit for what it takes is 1,048,575 (jute.maxbuffer).
TRANSACTION_BYTES_MAX = 900_000
OPERATION_BYTES = 150  # about, beside path, key and data
READ_AT_ONCE = 200  # records of up to 64 KiB: 13 MB at most
AGAIN_S = 0.1

Staged = list[tuple[str, str, bytes | None]]


class _Epoch(NamedTuple):
    """What the epoch's node says: whose turn it is, and how much of it is done."""

    epoch: int
    commit: int

    def encoded(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decoded(cls, data: bytes) -> _Epoch:
        """Raises ValueError, KeyError or TypeError."""
        found = json.loads(data)
        return cls(int(found["epoch"]), int(found["commit"]))


class ZooKeeperRegistry:
    """The registry as the leader of one epoch has it."""

    def __init__(self, seat: Seat) -> None:
        """Use `opened`."""
        self._seat = seat
        self._client = seat.client
        self._path = str(seat.ensemble.path)
        self._where = str(seat.ensemble)
        self._epoch = _Epoch(0, 0)
        self._version = 0
        self._names: set[tuple[str, str]] = set()
        self._kinds: set[str] = set()
        self.measures = CommitMeasures()
        self.recovered = Recovered(0)

    @classmethod
    async def opened(cls, seat: Seat) -> ZooKeeperRegistry:
        """Take the next epoch, then read everything.

        In that order: from then on nobody else can change what is read. Raises StorageError for
        what can not be read, and Resigned when the turn is another's, or ZooKeeper is away.
        """
        from kazoo.exceptions import KazooException

        registry = cls(seat)
        try:
            await registry._take_epoch()
            await registry._carry_over_what_was_left()
            records = [record async for record in registry._records()]
            registry.recovered = archive.recovered(registry._epoch.epoch, records)
        except BadRecord as bad:
            raise StorageError(
                f"{registry._where} is damaged: {bad}. With all masters stopped, restore it, or "
                "delete its node: then that agent or framework comes as if for the first time"
            ) from None
        except (KazooException, CommitError) as error:
            raise Resigned(f"cannot read {registry._where}: {error or repr(error)}") from None
        return registry

    # --- opening ----------------------------------------------------------------------------------

    async def _take_epoch(self) -> None:
        from kazoo.exceptions import NodeExistsError

        first = {"epoch": _Epoch(0, 0).encoded(), "registry": b"", "staged": b""}
        for name, data in first.items():
            if await self._seat.ask(self._client.exists_async(f"{self._path}/{name}")) is None:
                with contextlib.suppress(NodeExistsError):  # another master is as new as this one
                    await self._seat.ask(self._client.create_async(f"{self._path}/{name}", data))
        before, self._version = await self._read_epoch()
        self._epoch = _Epoch(before.epoch + 1, 0)
        taking = self._client.transaction()
        # Not by a master whose place in the election went to another meanwhile.
        taking.check(
            f"{self._path}/{self._seat.node}", version=-1
        )  # it is there, whatever is in it
        taking.set_data(f"{self._path}/epoch", self._epoch.encoded(), version=self._version)
        sent_s = boottime_s()
        outcome = await self._seat.ask(taking.commit_async())
        if any(isinstance(one, Exception) for one in outcome):
            raise Resigned(f"{self._where}: another master took the next epoch first")
        self._seat.heard(sent_s)
        self._version += 1

    async def _read_epoch(self) -> tuple[_Epoch, int]:
        """And the version of its node."""
        data, status = await self._seat.ask(self._client.get_async(f"{self._path}/epoch"))
        try:
            return _Epoch.decoded(data), int(status.version)
        except (ValueError, KeyError, TypeError):
            raise StorageError(f"{self._where}/epoch holds no epoch: {data[:100]!r}") from None

    async def _records(self) -> AsyncIterator[tuple[str, str, bytes]]:
        for kind in await self._children("registry"):
            self._kinds.add(kind)
            names = await self._children(f"registry/{kind}")
            for start in range(0, len(names), READ_AT_ONCE):
                slice_ = names[start : start + READ_AT_ONCE]
                folder = f"{self._path}/registry/{kind}"
                for key, data in zip(slice_, await self._read(folder, slice_), strict=True):
                    self._names.add((kind, key))
                    yield kind, key, data

    async def _children(self, below: str) -> list[str]:
        children: list[str] = await self._seat.ask(
            self._client.get_children_async(f"{self._path}/{below}")
        )
        return children

    async def _read(self, folder: str, names: Sequence[str]) -> list[bytes]:
        """What these nodes hold, in one round trip: 30 times faster than a request for each."""
        result = self._client.handler.async_result()
        self._client._call(_new_multi_read([f"{folder}/{name}" for name in names]), result)
        found: list[bytes | int] = await self._seat.ask(result)
        for name, data in zip(names, found, strict=True):
            if not isinstance(data, bytes):
                raise StorageError(f"{folder}/{name} cannot be read: ZooKeeper's error {data}")
        return [data for data in found if isinstance(data, bytes)]

    # --- writing ----------------------------------------------------------------------------------

    async def commit(self, effects: Sequence[Effect]) -> None:
        """Write the durable ones among these: all of them, or none.

        Returns at once when there is none. Raises CommitError when ZooKeeper does not take it now,
        Resigned when another master leads.
        """
        last: dict[tuple[str, str], Write] = {
            (write.kind, write.key): write for write in archive.all_writes(effects)
        }
        if not last:
            return
        began_s = time.perf_counter()
        from kazoo.exceptions import KazooException

        try:
            parts = list(_parts(last.values(), len(self._path)))
            if len(parts) == 1:
                await self._write(parts[0])
            else:
                await self._stage(parts)
                await self._carry_over(parts)
        except (CommitError, KazooException) as error:
            self.measures.failures += 1
            raise CommitError(f"cannot write {self._where}: {error or repr(error)}") from None
        self.measures.rows += len(last)
        self.measures.seconds.observe(time.perf_counter() - began_s)

    async def _write(self, writes: Sequence[Write]) -> None:
        """One transaction on records."""

        def fill(writing: Any) -> None:
            for kind in dict.fromkeys(write.kind for write in writes):
                if kind not in self._kinds:
                    writing.create(f"{self._path}/registry/{kind}")
            for write in writes:
                path = f"{self._path}/registry/{write.kind}/{write.key}"
                known = (write.kind, write.key) in self._names
                if isinstance(write, Put):
                    (writing.set_data if known else writing.create)(path, write.data)
                elif known:
                    writing.delete(path)

        await self._transact(fill)
        for write in writes:
            self._kinds.add(write.kind)
            change = self._names.add if isinstance(write, Put) else self._names.discard
            change((write.kind, write.key))

    async def _transact(self, fill: Callable[[Any], None]) -> None:
        """Do what `fill` puts into a transaction, under this epoch and once.

        One whose answer was lost with the connection is said again just as it was: if it was done,
        its number is in the epoch's node. Raises Resigned when this epoch is over, CommitError when
        ZooKeeper refuses it for any other reason.
        """
        from kazoo.exceptions import ConnectionLoss, OperationTimeoutError, SessionExpiredError

        done = _Epoch(self._epoch.epoch, self._epoch.commit + 1)
        while True:
            writing = self._client.transaction()
            fill(writing)
            writing.set_data(f"{self._path}/epoch", done.encoded(), version=self._version)
            sent_s = boottime_s()
            try:
                outcome = await self._seat.ask(writing.commit_async())
                failed = [one for one in outcome if isinstance(one, Exception)]
                found, version = done, self._version + 1
                if failed:
                    found, version = await self._read_epoch()
            except (ConnectionLoss, OperationTimeoutError):
                await asyncio.sleep(AGAIN_S)
                continue
            except SessionExpiredError:
                raise Resigned(SESSION_OVER) from None
            if found.epoch != done.epoch:
                raise Resigned(
                    f"another master leads: its epoch is {found.epoch}, not {done.epoch}"
                )
            if found.commit != done.commit:
                why = ", ".join(type(one).__name__ for one in failed)
                raise CommitError(f"{why}: was something changed there by hand?")
            self._seat.heard(sent_s)
            self._epoch, self._version = done, version
            return

    async def _stage(self, parts: Sequence[Sequence[Write]]) -> None:
        folder = f"{self._path}/staged"
        here = {int(name) for name in await self._children("staged")}
        for number, part in enumerate(parts):
            staged: Staged = [
                (write.kind, write.key, write.data if isinstance(write, Put) else None)
                for write in part
            ]
            path, data = f"{folder}/{number}", msgspec.msgpack.encode(staged)
            method = "set_data" if number in here else "create"
            await self._transact(methodcaller(method, path, data))
        await self._transact(methodcaller("set_data", folder, str(len(parts)).encode()))

    async def _carry_over(self, parts: Sequence[Sequence[Write]]) -> None:
        """What was marked, into the records; then the mark and the parts go."""
        for part in parts:
            await self._write(part)
        here = await self._children("staged")

        def clear(clearing: Any) -> None:
            clearing.set_data(f"{self._path}/staged", b"")
            for name in here:
                clearing.delete(f"{self._path}/staged/{name}")

        await self._transact(clear)

    async def _carry_over_what_was_left(self) -> None:
        data, _ = await self._seat.ask(self._client.get_async(f"{self._path}/staged"))
        if not data:
            return
        for kind in await self._children("registry"):
            self._kinds.add(kind)
            here = await self._children(f"registry/{kind}")
            self._names.update((kind, name) for name in here)
        wanted = [str(number) for number in range(int(data))]
        staged = await self._read(f"{self._path}/staged", wanted)
        decode = msgspec.msgpack.Decoder(Staged).decode
        await self._carry_over([list(map(_write_of, decode(part))) for part in staged])

    def close(self) -> None:
        """Nothing is being written between two commits; the session is the seat's."""


def _write_of(staged: tuple[str, str, bytes | None]) -> Write:
    kind, key, data = staged
    return Delete(kind, key) if data is None else Put(kind, key, data)


def _parts(writes: Iterable[Write], path_chars: int) -> Iterator[list[Write]]:
    """Pieces that fit into a transaction each, in order. `path_chars`: of the cluster's path."""
    part: list[Write] = []
    size = 0
    for write in writes:
        weight = OPERATION_BYTES + path_chars + len(write.key)
        weight += len(write.data) if isinstance(write, Put) else 0
        if part and size + weight > TRANSACTION_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(write)
        size += weight
    if part:
        yield part


def _new_multi_read(paths: Sequence[str]) -> Any:
    """A request for the data of several nodes (ZooKeeper 3.6, opcode 22), which kazoo has not.

    Answered with bytes for each path, or with ZooKeeper's number of an error.
    """
    from kazoo.protocol import serialization

    class MultiRead:
        type = 22

        @staticmethod
        def serialize() -> bytearray:
            written = bytearray()
            for path in paths:
                written += serialization.MultiHeader(4, False, -1).serialize()
                written += serialization.GetData(path, None).serialize()
            written += serialization.MultiHeader(-1, True, -1).serialize()
            return written

        @staticmethod
        def deserialize(data: bytes, offset: int) -> list[bytes | int]:
            found: list[bytes | int] = []
            header, offset = serialization.MultiHeader.deserialize(data, offset)
            while not header.done:
                if header.type == -1:
                    (error,) = serialization.int_struct.unpack_from(data, offset)
                    found.append(int(error))
                    offset += serialization.int_struct.size
                else:
                    content, offset = serialization.read_buffer(data, offset)
                    found.append(bytes(content or b""))
                    offset += serialization.stat_struct.size
                header, offset = serialization.MultiHeader.deserialize(data, offset)
            return found

    return MultiRead()
