"""Answers to those who read the outputs of tasks: from the sandboxes, in threads, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mesoslite.files import POST_MORTEM, FileChunk, FileRead
from mesoslite.model import Refusal
from mesoslite_agent import sandbox

READS_MAX = 16  # at once, of 256 KiB each; the master asks for four
THREADS = 2


class Readers:
    """Reads pieces of outputs and gives each to `answer`, which waits for room to send it."""

    def __init__(
        self,
        sandboxes: Callable[[str, str], Path | None],
        post_mortems: Callable[[str, str], bytes],
        answer: Callable[[FileChunk], Awaitable[None]],
    ) -> None:
        """`sandboxes` finds the newest sandbox of (framework id, task id), `post_mortems` what is
        kept of its attempts; they may block."""
        self._sandboxes = sandboxes
        self._post_mortems = post_mortems
        self._answer = answer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reading")
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, read: FileRead) -> None:
        """Begin to answer this; over READS_MAX it is dropped, and who asked gives up in time."""
        if len(self._tasks) < READS_MAX:
            task = asyncio.create_task(self._serve(read))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, read: FileRead) -> None:
        loop = asyncio.get_running_loop()
        await self._answer(await loop.run_in_executor(self._threads, self.read, read))

    def read(self, read: FileRead) -> FileChunk:
        """The answer to a question. Blocks."""
        if read.name == POST_MORTEM:
            data = self._post_mortems(read.framework_id, read.task_id)
            return FileChunk(read.request, data, len(data))
        try:
            place = self._sandboxes(read.framework_id, read.task_id)
            if place is None:
                raise FileNotFoundError
            _, size = sandbox.read(place, read.name, 0, 0)
            offset = read.offset if read.offset >= 0 else max(0, size + read.offset)
            data, _ = sandbox.read(place, read.name, offset, read.length)
        except FileNotFoundError:
            return _refused(read, Refusal.UNKNOWN_TASK, "its sandbox is not there, or not any more")
        except (OSError, ValueError, sandbox.NotInSandbox) as error:
            return _refused(read, Refusal.MALFORMED, f"{read.name} cannot be read: {error}")
        return FileChunk(read.request, data, size)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _refused(read: FileRead, refusal: Refusal, message: str) -> FileChunk:
    return FileChunk(read.request, refusal=refusal, message=message)


def newest_sandbox(work_dir: Path, framework_id: str, task_id: str) -> Path | None:
    """The sandbox of a task's newest container, by the order of container ids. Blocks.

    Container ids are `RUN-NUMBER`, both counted; see state.py. The ids must have been checked.
    """
    folder = work_dir / "sandboxes" / framework_id / task_id
    try:
        return max(folder.iterdir(), key=_order, default=None)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _order(place: Path) -> tuple[tuple[int, ...], str]:
    numbers = place.name.split("-")
    return tuple(int(number) if number.isdecimal() else 0 for number in numbers), place.name
