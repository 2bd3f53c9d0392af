"""What a person or a script sees: data on stdout, notes on stderr, one line for each failure.

Nothing here imports rich or grpc: `mesoslite --help` and `version` start without them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Where no terminal says how wide it is, rows are never cut or wrapped: a script reads them.
PIPE_COLUMNS = 10_000
#: What could move a terminal's cursor or colour it; texts of tasks and peers may hold anything.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Code(IntEnum):
    """The exit codes of every command but `run`, which passes on its task's own."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_MASTER = 4
    DENIED = 5
    TIMEOUT = 124
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    WIDE = "wide"


class Failure(Exception):
    """Ends the command with `code`; `str` is the one line that says what was wrong and what to do.

    An empty line ends it in silence. `below` are lines shown under it as they are: a place.
    """

    def __init__(self, code: int, line: str = "", below: Sequence[str] = ()) -> None:
        super().__init__(one_line(line))
        self.code = code
        self.below = tuple(_CONTROL.sub("", text) for text in below)


def one_line(text: str) -> str:
    """The text without what could break out of its line or command a terminal."""
    return _CONTROL.sub("", " ".join(text.split()))


def emit(text: str) -> None:
    """Write data to stdout, with a line end, now. A reader that has gone ends the command."""
    write(sys.stdout, text + "\n")


def write(stream: TextIO, text: str) -> None:
    """Write and flush. Raises Failure when nobody reads any more (`| head`)."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        to_nowhere(stream)
        raise Failure(Code.BROKEN_PIPE) from None


def write_bytes(data: bytes) -> None:
    """Write a task's output to stdout as it is, now. Raises Failure when nobody reads any more."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        to_nowhere(sys.stdout)
        raise Failure(Code.BROKEN_PIPE) from None


def note(text: str) -> None:
    """Tell a person something on stderr; never data. Silent when stderr has gone."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        to_nowhere(sys.stderr)


def stand_in_for_what_is_closed() -> None:
    """Give a command that was started without stdout or stderr (`>&-`) something to write to.

    Data meets a reader that has gone, which ends the command as always; notes are dropped.
    """
    if sys.stdout is None:
        reading, writing = os.pipe()
        os.close(reading)
        sys.stdout = os.fdopen(writing, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def to_nowhere(stream: IO[Any]) -> None:
    """Nobody reads the stream: what the interpreter still holds for its descriptor is flushed at
    its end to /dev/null, not into an error message."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def console(stream: TextIO) -> Console:
    """A rich console for a stream. Colours only on a terminal, and never with NO_COLOR."""
    from rich.console import Console

    return Console(
        file=stream,
        width=None if stream.isatty() else PIPE_COLUMNS,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not stream.isatty(),
    )


def show(*things: RenderableType) -> None:
    """Print tables and texts as data on stdout, without blanks at the ends of lines.

    A line may be wider than the terminal, which wraps it: one that is cut would lie.
    """
    out = console(sys.stdout)
    with out.capture() as captured:
        for thing in things:
            out.print(thing, crop=False)
    lines = captured.get().splitlines()
    write(sys.stdout, "".join(line.rstrip() + "\n" for line in lines))
