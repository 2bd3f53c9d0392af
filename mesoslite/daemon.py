"""What master and agent have in common as programs: start, signals, the port file, the exit code.

Whatever keeps a daemon from its work is one clear line on stderr: 2 for wrong usage, 75 when it
makes room for another and wants to be started again, 1 for all else. SIGTERM and SIGINT end it in
order, with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from mesoslite.credentials import TokenFileError
from mesoslite.database import StorageError
from mesoslite.logs import set_up_logs
from mesoslite.loop import CommitError
from mesoslite.serving import BindError, is_loopback
from mesoslite.settings import SettingsError, load_settings

GC_THRESHOLDS = (50_000, 20, 50)  # the youngest are ~5 MB then
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
EXIT_RESIGNED = 75  # EX_TEMPFAIL of sysexits.h: start it again


class StartError(Exception):
    """A daemon cannot start or go on; `str` is one line for people."""


class Resigned(Exception):
    """This process may not go on, since another may have its part; started again it may.

    `str` is one line for people.
    """


class DaemonSettings(Protocol):
    """The settings that every daemon has."""

    @property
    def log_format(self) -> str:
        """`text` or `json`."""
        ...

    @property
    def log_level(self) -> str:
        """The least that is logged."""
        ...

    @property
    def stop_with_stdin(self) -> bool:
        """Whether the end of stdin is a reason to stop."""
        ...


S = TypeVar("S", bound=DaemonSettings)
Serve = Callable[[S, asyncio.Event], Awaitable[None]]


def run_daemon(
    kind: type[S],
    serve: Serve[S],
    *,
    program: str,
    table: str,
    about: str,
    arguments: Sequence[str],
) -> int:
    """Read settings, serve until a signal, and return the exit code.

    `serve` gets the settings and an event that is set when the daemon is to stop.
    """
    try:
        loaded = load_settings(
            kind,
            program=program,
            table=table,
            about=about,
            arguments=arguments,
            environment=os.environ,
        )
        if loaded.print_config:
            sys.stdout.write(loaded.as_toml() + "\n")
            return EXIT_OK
        set_up_logs(loaded.values.log_format, loaded.values.log_level)
        asyncio.run(_until_stopped(serve, loaded.values))
    except SettingsError as error:
        return _complain(program, str(error), EXIT_USAGE)
    except (StartError, StorageError, CommitError, TokenFileError, BindError) as error:
        return _complain(program, str(error), EXIT_FAILED)
    except Resigned as error:
        return _complain(program, str(error), EXIT_RESIGNED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(program, f"{where}{error.strerror or error}", EXIT_FAILED)
    return EXIT_OK


async def _until_stopped(serve: Serve[S], settings: S) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if settings.stop_with_stdin:
        stop_with_stdin(stopping)
    await serve(settings, stopping)


def stop_with_stdin(stopping: asyncio.Event) -> None:
    """Stop in order when stdin ends: whoever started this held its other end, and has gone.

    Raises StartError when stdin is no such thing.
    """
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 4_096):
            loop.remove_reader(0)
            stopping.set()

    try:
        loop.add_reader(0, read)
    except OSError:
        raise StartError("stop_with_stdin: stdin is no pipe whose end could be noticed") from None


def _complain(program: str, line: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{program}: error: {line}\n")
    return code


def check_host(host: str, *, insecure: bool) -> None:
    """Refuse to be reached from elsewhere unless told to. Raises SettingsError."""
    if not is_loopback(host) and not insecure:
        raise SettingsError(
            f"host = {host!r}: other hosts could reach it, and the token would travel unencrypted; "
            "say --insecure if that network is trusted"
        )


def check_silence(heartbeat_s: float, silence_s: float) -> None:
    """Refuse to take everybody for dead between two signs of life. Raises SettingsError."""
    if silence_s <= heartbeat_s:
        raise SettingsError(
            f"silence-s = {silence_s:g} is not above heartbeat-s = {heartbeat_s:g}: "
            "whoever has nothing to say would count as gone"
        )


@contextlib.contextmanager
def port_told(path: Path | None, port: int | None) -> Iterator[None]:
    """Tell the port in a file, whole or not at all, for as long as it is served (None: never)."""
    if path is None or port is None:
        yield
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{port}\n", encoding="ascii")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StartError(f"cannot write the port file {path}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def settle_memory() -> None:
    """Take what was made at the start out of the garbage collector's rounds, and make them rarer.

    A batch of a thousand events makes tens of thousands of objects, none of them in a cycle: at
    Python's 700 the collector looks through them 50 times, a tenth of all work.

    Nothing is looked through for it: a start leaves ~1,300 objects as garbage, and to find them
    would take 30 ms, just when a daemon that was killed is awaited.
    """
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()  # `quick_start` has turned it off


def state_dir(name: str) -> Path:
    """Where a daemon of this user keeps its state by default."""
    given = os.environ.get("XDG_STATE_HOME", "")
    state = Path(given) if given.startswith("/") else Path("~/.local/state").expanduser()
    return state / "mesoslite" / name


def cache_dir(name: str) -> Path:
    """Where a daemon of this user keeps by default what it could get again."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if given.startswith("/") else Path("~/.cache").expanduser()
    return cache / "mesoslite" / name
