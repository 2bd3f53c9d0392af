"""The output of the tasks of a run, brought here while they run and to the last byte.

Each task has two files, and a call that follows one stays open as long as its task runs. So a few
tasks are followed, and many are looked at in turn, each the less often the longer it is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from mesoslite.cli.connection import MESSAGE_BYTES_MAX
from mesoslite.cli.console import note
from mesoslite.masters import Locator, Masters, NoMasterError, leader_told
from mesoslite.v1 import operator_pb2, operator_pb2_grpc

FOLLOWED_TASKS_MAX = 8  # two calls each, open at the same time
READERS_MAX = 16  # calls at the same time when tasks are looked at in turn: ~1 ms each
LOOK_FIRST_S = 0.2  # a task that ends sooner is read once, when it has ended
LOOK_MAX_S = 5.0
READ_TIMEOUT_S = 30.0
RETRY_S = 0.5
LOST_S_MAX = 30.0  # after a task's end its agent may be away; then what is missing is said, once
FILES = ("stdout", "stderr")


class _Left(grpc.RpcError):
    """The master that was asked leads no more, so what it would have said is asked of another."""

    def code(self) -> grpc.StatusCode:
        """As of a master that is gone."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """For people."""
        return "another master leads now"


Sink = Callable[[str, str, bytes], Awaitable[None]]
"""(task id, file, data); b"" when the file is complete."""


@dataclass(slots=True)
class _File:
    """One file of one task, and how far it was read."""

    task_id: str
    name: str
    ended: asyncio.Event
    offset: int = 0
    lost_since_s: float | None = None
    """Since when it cannot be read, of the loop's clock, once its task has ended."""


class Tails:
    """Reads what tasks write, from the master, and hands it to a sink piece by piece."""

    def __init__(
        self,
        masters: Masters,
        target: str,
        metadata: tuple[tuple[str, str], ...],
        framework: str,
        sink: Sink,
        *,
        follow: bool,
    ) -> None:
        """`target` leads now, HOST:PORT, of these masters."""
        self._locator = Locator(masters)
        self._moving: asyncio.Task[None] | None = None
        self._connect(target)
        self._metadata = metadata
        self._framework = framework
        self._sink = sink
        self._follows = follow
        self._slots = asyncio.Semaphore(READERS_MAX)
        self._ended: dict[str, asyncio.Event] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._gone = 0
        self._gone_why = ""
        self.broken: BaseException | None = None
        """What the sink raised: nobody takes the output any more."""

    def __len__(self) -> int:
        """How many tasks are being read."""
        return len(self._ended)

    def started(self, task_id: str) -> None:
        """The task runs, or has run: it may have written something."""
        if task_id in self._ended:
            return
        if self._moving is None:
            self._moving = asyncio.create_task(self._move(), name="output from the leader")
        self._ended[task_id] = asyncio.Event()
        reader = asyncio.create_task(self._read_task(task_id), name=f"output of {task_id}")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    def ended(self, task_id: str) -> None:
        """The task writes no more."""
        if task_id in self._ended:
            self._ended[task_id].set()

    async def drained(self) -> None:
        """Wait until everything was read of every task that has started; all must have ended."""
        while self._readers:
            await asyncio.wait(set(self._readers))
        if self._gone:
            files = "1 file" if self._gone == 1 else f"{self._gone} files"
            note(f"mesoslite: output is missing, {files} could not be read: {self._gone_why}")
            self._gone = 0

    async def close(self) -> None:
        """Stop reading."""
        for reader in set(self._readers):
            reader.cancel()
        if self._readers:
            await asyncio.wait(set(self._readers))
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        await self._channel.close(None)
        await self._locator.close()

    # --- the leader -------------------------------------------------------------------------------

    def _connect(self, address: str) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ],
        )
        self._stub: Any = operator_pb2_grpc.OperatorServiceStub(self._channel)

    async def _turn_to(self, address: str) -> None:
        """Read from there: what was being read goes on where it was."""
        if address != self._address:
            before = self._channel
            self._connect(address)
            await before.close(None)

    async def _move(self) -> None:
        """Turn to each new leader, also when the old one hangs."""
        if self._locator.masters.ensemble is None:
            return  # then whoever is asked tells
        while True:
            await self._turn_to(await self._locator.moved(self._address))

    async def _ask_elsewhere(self, asked: str, error: grpc.RpcError) -> None:
        """A call to this address has failed: it may be that another master leads."""
        leader = leader_told(error.trailing_metadata())
        if asked != self._address or (
            leader is None and error.code() is not grpc.StatusCode.UNAVAILABLE
        ):
            return
        self._locator.missed()
        self._locator.redirected(leader or "")
        with contextlib.suppress(NoMasterError):
            await self._turn_to(await self._locator.address())

    # --- reading ----------------------------------------------------------------------------------

    async def _read_task(self, task_id: str) -> None:
        ended = self._ended[task_id]
        read = self._follow if self._follows else self._look
        try:
            await asyncio.gather(*(read(_File(task_id, name, ended)) for name in FILES))
        except Exception as error:  # noqa: BLE001 - whatever the sink raises ends the run
            self.broken = self.broken or error
        finally:
            self._ended.pop(task_id, None)

    async def _follow(self, file: _File) -> None:
        while True:
            error = await self._copy(file, follow=True)
            if (error is None and file.ended.is_set()) or not await self._worth_another(
                file, error
            ):
                break
        await self._sink(file.task_id, file.name, b"")

    async def _look(self, file: _File) -> None:
        pause_s = LOOK_FIRST_S
        while True:
            await _wait(file.ended, pause_s)
            was_over, before = file.ended.is_set(), file.offset
            async with self._slots:
                error = await self._copy(file, follow=False)
            if error is None and was_over:
                break
            if error is not None and not await self._worth_another(file, error):
                break
            pause_s = LOOK_FIRST_S if file.offset > before else min(2 * pause_s, LOOK_MAX_S)
        await self._sink(file.task_id, file.name, b"")

    async def _copy(self, file: _File, *, follow: bool) -> grpc.RpcError | None:
        """Read on from where the file was left. None at its present end, else what is wrong."""
        asked = self._address
        call = self._stub.ReadLog(
            operator_pb2.ReadLogRequest(
                task_id=file.task_id,
                framework=self._framework,
                name=file.name,
                offset=file.offset,
                follow=follow,
            ),
            metadata=self._metadata,
            timeout=None if follow else READ_TIMEOUT_S,
        )
        try:
            async for piece in call:
                # What is said twice, around a reconnect, is printed once.
                data = piece.data[max(0, file.offset - piece.offset) :]
                if data:
                    file.offset = piece.offset + len(piece.data)
                    await self._sink(file.task_id, file.name, data)
        except grpc.RpcError as error:
            await self._ask_elsewhere(asked, error)
            return error
        except asyncio.CancelledError:
            # Who closes a channel cancels its calls, and each says so as if its task was meant.
            task = asyncio.current_task()
            if asked == self._address or (task is not None and task.cancelling()):
                raise
            return _Left()
        finally:
            call.cancel()
        file.lost_since_s = None
        return None

    async def _worth_another(self, file: _File, error: grpc.RpcError | None) -> bool:
        """Wait before another try; False when it is given up.

        While a task runs its output is waited for; once it has ended, for LOST_S_MAX.
        """
        if error is None or not file.ended.is_set():
            await _wait(file.ended, RETRY_S)
            return True
        now_s = asyncio.get_running_loop().time()
        file.lost_since_s = now_s if file.lost_since_s is None else file.lost_since_s
        if now_s - file.lost_since_s > LOST_S_MAX or error.code() is grpc.StatusCode.NOT_FOUND:
            self._gone += 1
            self._gone_why = error.details() or error.code().name
            return False
        await asyncio.sleep(RETRY_S)
        return True


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
