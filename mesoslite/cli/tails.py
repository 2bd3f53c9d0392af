"""The output of the tasks of a run, brought here while they run and to the last byte.

Each task has two files, and a call that follows one stays open as long as its task runs. So a few
tasks are followed, and many are looked at in turn, each the less often the longer it is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from mesoslite.cli.connection import MESSAGE_BYTES_MAX
from mesoslite.cli.console import note
from mesoslite.v1 import operator_pb2, operator_pb2_grpc

FOLLOWED_TASKS_MAX = 8  # two calls each, open at the same time
READERS_MAX = 16  # calls at the same time when tasks are looked at in turn: ~1 ms each
LOOK_FIRST_S = 0.2  # a task that ends sooner is read once, when it has ended
LOOK_MAX_S = 5.0
READ_TIMEOUT_S = 30.0
RETRY_S = 0.5
LOST_S_MAX = 30.0  # after a task's end its agent may be away; then what is missing is said, once
FILES = ("stdout", "stderr")

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
        self, target: str, metadata: tuple[tuple[str, str], ...], framework: str, sink: Sink, *,
        follow: bool,
    ) -> None:  # fmt: skip
        self._channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ],
        )
        self._stub: Any = operator_pb2_grpc.OperatorServiceStub(self._channel)
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
        await self._channel.close(None)

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
            return error
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
