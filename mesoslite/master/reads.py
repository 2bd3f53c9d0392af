"""Reading the files of tasks through their agents' streams, with a budget of its own.

A question goes out on the agent's stream and its answer comes back on it, beside all the rest:
the outbox lets statuses go first. Here the two are matched, and bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from mesoslite.files import FILE_CHUNK_BYTES_MAX, FileChunk, FileRead
from mesoslite.master import view
from mesoslite.master.records import Tables, TaskEntry
from mesoslite.model import Refusal
from mesoslite.streams import Outbox

READERS_MAX = 1_000  # at once; a chunk each, so 256 MB if all of them stall
READS_PER_AGENT_MAX = 4  # in flight; the others wait their turn
ANSWER_TIMEOUT_S = 10.0
AGENT_AWAY_MAX_S = 30.0  # while following: an agent that restarts is waited for
POLL_FIRST_S = 0.05
POLL_MAX_S = 0.5


class ReadError(Exception):
    """A file cannot be read."""

    def __init__(self, refusal: Refusal, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.unavailable = unavailable
        """Whether it is the master itself that cannot answer now."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file, and where in it they begin."""

    data: bytes
    offset: int


class Reads:
    """All questions that wait for their answer."""

    def __init__(self, tables: Tables, outbox_of: Callable[[str], Any]) -> None:
        """`outbox_of` gives the outbox of an agent's stream by its name, or None."""
        self._tables = tables
        self._outbox_of = outbox_of
        self._waiting: dict[int, tuple[str, asyncio.Future[FileChunk]]] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._asked = 0
        self._readers = 0
        self._stopping = False

    def stop(self) -> None:
        """The master is stopping: readers are told so at their next question, within POLL_MAX_S."""
        self._stopping = True

    def answered(self, stream: str, chunk: FileChunk) -> None:
        """An agent has answered; an answer that nobody waits for is dropped."""
        asked_of, future = self._waiting.get(chunk.request, ("", None))
        if future is not None and asked_of == stream and not future.done():
            future.set_result(chunk)

    def closed(self, stream: str) -> None:
        """An agent's stream has ended: its answers will not come."""
        self._turns.pop(stream, None)
        for asked_of, future in self._waiting.values():
            if asked_of == stream and not future.done():
                future.set_exception(ReadError(Refusal.AGENT_AWAY, "its agent has just left"))

    async def read(
        self, task_id: str, framework: str, name: str, offset: int, *, follow: bool
    ) -> AsyncIterator[Piece]:
        """A file of a task from an offset, to its end; with `follow` until the task has ended.

        A negative offset counts from the end. Raises ReadError.
        """
        entry = self._find(task_id, framework)
        if self._readers >= READERS_MAX:
            raise ReadError(Refusal.TOO_BIG, f"{READERS_MAX:,} files are being read: try later")
        self._readers += 1
        try:
            async for piece in self._pieces(entry, name, offset, follow=follow):
                yield piece
        finally:
            self._readers -= 1

    def _find(self, task_id: str, framework: str) -> TaskEntry:
        entries = view.task_entries(self._tables, task_id, framework)
        if not entries:
            raise ReadError(Refusal.UNKNOWN_TASK, f"no task {task_id!r} is known")
        holders = sorted({entry.framework_id for entry in entries})
        if len(holders) > 1:
            some = ", ".join(holders[:3]) + (", ..." if len(holders) > 3 else "")
            told = f"{len(holders)} frameworks have a task {task_id!r}: name one of {some}"
            raise ReadError(Refusal.AMBIGUOUS, told)
        return entries[0]

    def _ended(self, entry: TaskEntry) -> bool:
        agent = self._tables.agents.get(entry.agent_id)
        known = agent is not None and (entry.framework_id, entry.task.task_id) in agent.tasks
        return entry.state.terminal or not known

    async def _pieces(
        self, entry: TaskEntry, name: str, offset: int, *, follow: bool
    ) -> AsyncIterator[Piece]:
        poll_s = POLL_FIRST_S
        while True:
            ended = self._ended(entry)  # before the read: what came after it will be read
            try:
                chunk = await self._ask_patiently(entry, name, offset, follow=follow)
            except ReadError as error:
                # Its sandbox is made when its start begins.
                if not follow or ended or error.refusal is not Refusal.UNKNOWN_TASK:
                    raise
                chunk = FileChunk(0)
            if chunk.data:
                start = offset if offset >= 0 else max(0, chunk.size + offset)
                yield Piece(chunk.data, start)
                offset = start + len(chunk.data)
                poll_s = POLL_FIRST_S
            elif not follow or ended:
                return
            else:
                await asyncio.sleep(poll_s)
                poll_s = min(2 * poll_s, POLL_MAX_S)

    async def _ask_patiently(
        self, entry: TaskEntry, name: str, offset: int, *, follow: bool
    ) -> FileChunk:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + (AGENT_AWAY_MAX_S if follow else 0)
        while True:
            try:
                return await self.ask(
                    entry.agent_id, entry.framework_id, entry.task.task_id, name, offset
                )
            except ReadError as error:
                gone = error.refusal is Refusal.AGENT_AWAY
                if not gone or self._stopping or loop.time() >= give_up_s:
                    raise
            await asyncio.sleep(POLL_MAX_S)

    async def ask(
        self, agent_id: str, framework_id: str, task_id: str, name: str, offset: int
    ) -> FileChunk:
        """Ask one agent once, after those who asked it before. Raises ReadError."""
        if self._stopping:
            raise ReadError(Refusal.AGENT_AWAY, "the master is stopping", unavailable=True)
        agent = self._tables.agents.get(agent_id)
        stream = agent.stream if agent is not None else None
        outbox: Outbox[Any] | None = self._outbox_of(stream) if stream is not None else None
        if stream is None or outbox is None:
            raise ReadError(Refusal.AGENT_AWAY, f"its agent {agent_id} is not connected")
        async with self._turns.setdefault(stream, asyncio.Semaphore(READS_PER_AGENT_MAX)):
            self._asked += 1
            request = self._asked
            future: asyncio.Future[FileChunk] = asyncio.get_running_loop().create_future()
            self._waiting[request] = (stream, future)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await outbox.put_bulk(
                        FileRead(
                            request,
                            framework_id,
                            task_id,
                            name,
                            offset,
                            FILE_CHUNK_BYTES_MAX,
                        )
                    )
                    chunk = await future
            except TimeoutError:
                raise ReadError(
                    Refusal.AGENT_AWAY, f"its agent {agent_id} does not answer"
                ) from None
            finally:
                del self._waiting[request]
                with contextlib.suppress(asyncio.CancelledError, ReadError):
                    if future.done():
                        future.result()  # an answer that came too late is looked at all the same
        if chunk.refusal is not None:
            raise ReadError(chunk.refusal, chunk.message or chunk.refusal.value)
        return chunk
