"""Where the output of a run goes: as it is for one task, line by line with names for several."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, TextIO

from mesoslite.cli.console import Code, Failure, to_nowhere

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_BYTES_MAX = 64 * 1024  # a longer line is printed in pieces
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")


class _Writer:
    """Writes in a thread of its own: a reader that is slow must not stop the heartbeats."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="output")

    async def write(self, name: str, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _write, _stream(name).buffer, data)

    def close(self) -> None:
        self._thread.shutdown(wait=False)


def _write(stream: BinaryIO, data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except BrokenPipeError:
        to_nowhere(stream)
        raise Failure(Code.BROKEN_PIPE) from None


class Plain(_Writer):
    """One task: its bytes, as if the command ran here."""

    async def take(self, task_id: str, name: str, data: bytes) -> None:
        """Print it as it is."""
        if data:
            await self.write(name, data)


class Named(_Writer):
    """Several tasks: whole lines, each behind its task's name."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()
        self._progress = progress
        self._open: dict[tuple[str, str], bytes] = {}

    async def take(self, task_id: str, name: str, data: bytes) -> None:
        """Print the lines that are complete; at the end of the file also the one that is not."""
        text = self._open.pop((task_id, name), b"") + data
        whole, newline, rest = text.rpartition(b"\n")
        if not data or len(rest) > LINE_BYTES_MAX:
            whole, rest = text, b""
        if rest:
            self._open[task_id, name] = rest
        lines = whole.removesuffix(b"\n").split(b"\n") if whole or newline else []
        if not lines:
            return
        on_terminal = self._progress is not None and _stream(name).isatty()
        if on_terminal:
            self._above_the_bar(task_id, lines)
        else:
            prefix = task_id.encode() + b" | "
            await self.write(name, b"".join(prefix + line + b"\n" for line in lines))

    def _above_the_bar(self, task_id: str, lines: list[bytes]) -> None:
        from rich.text import Text

        assert self._progress is not None
        colour = _COLOURS[sum(task_id.encode()) % len(_COLOURS)]
        for line in lines:
            text = Text.assemble((task_id, colour), (" | ", "dim"))
            text.append_text(Text.from_ansi(line.decode(errors="replace")))
            self._progress.console.print(text, soft_wrap=True)


def _stream(name: str) -> TextIO:
    return sys.stderr if name == "stderr" else sys.stdout


class Bar:
    """How far a run of several copies is, on stderr when it is a terminal; else nothing."""

    def __init__(self, name: str, count: int) -> None:
        self.progress: Progress | None = None
        self._bar: TaskID | None = None
        if count > 1 and sys.stderr.isatty():
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            from mesoslite.cli.console import console

            self.progress = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("[dim]{task.fields[now]}"),
                TimeElapsedColumn(),
                console=console(sys.stderr),
                transient=True,
            )
            self._bar = self.progress.add_task(name, total=count, now="")
            self.progress.start()

    def show(self, ended: int, alive: int, waiting: int) -> None:
        """Draw the present counts, at the bar's own pace."""
        if self.progress is not None and self._bar is not None:
            now = f"{alive} running, {waiting} waiting" if waiting else f"{alive} running"
            self.progress.update(self._bar, completed=ended, now=now)

    def close(self) -> None:
        """Take it off the screen."""
        if self.progress is not None:
            self.progress.stop()
