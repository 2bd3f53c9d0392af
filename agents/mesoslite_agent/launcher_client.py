"""The agent's end of the launcher's socket: starts a launcher when none answers, and comes back.

Every request may be sent twice and means the same (launcher.py), so whatever was under way when a
launcher died, or when the connection was cut, is simply asked again of the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from mesoslite_agent.launcher import LINE_BYTES_MAX, VERSION

READY_S_MAX = 30.0  # a new launcher first ends what an earlier one left behind
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 5.0
REQUESTS_UNDER_WAY_MAX = 4_096  # more wait their turn here

Json = dict[str, Any]

_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from mesoslite_agent.launcher import main; sys.exit(main())"
)


class LauncherRefused(Exception):
    """The launcher answered with a no; `code` as in launcher.Refused."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class LauncherBroken(Exception):
    """No launcher can be had: it does not start, does not answer, or speaks another version."""


def command(folder: Path) -> list[str]:
    """The program that serves `folder`: this Python without site, environment and user packages."""
    root = str(Path(__file__).resolve().parents[1])
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, root, "--dir", str(folder)]


def launch(folder: Path) -> None:
    """Start a launcher, wait until it serves or another one does. Blocks. Raises LauncherBroken."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "launcher.log").open("ab") as log:
        child = subprocess.Popen(
            command(folder),
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    with child:
        assert child.stdout is not None
        readable, _, _ = select.select([child.stdout], [], [], READY_S_MAX)
        said = os.read(child.stdout.fileno(), 16) if readable else b""
        if not readable:
            child.kill()
        code = child.wait()
    if not said and (code != 0 or not readable):
        raise LauncherBroken(f"the launcher did not start, see {folder / 'launcher.log'}")


class LauncherClient:
    """One connection to the launcher of a folder, kept up until `close`.

    `on_event` gets the launcher's events. After each (re)connection it gets the present state of
    every container that is not forgotten, then `on_list` gets their ids.
    """

    def __init__(
        self,
        folder: Path,
        on_event: Callable[[Json], None],
        on_list: Callable[[frozenset[str]], None],
    ) -> None:
        self._folder = folder
        self._on_event = on_event
        self._on_list = on_list
        self._log = structlog.get_logger("launcher")
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._seq = 0
        self._room = asyncio.Semaphore(REQUESTS_UNDER_WAY_MAX)
        self._runner: asyncio.Task[None] | None = None
        self._ending = False
        self.problem: str | None = "not connected yet"
        """Why there is no launcher at the moment; None when there is one."""

    async def open(self, patience_s: float = READY_S_MAX) -> None:
        """Connect and be told of every container. Raises LauncherBroken when it takes too long."""
        self._runner = asyncio.create_task(self._stay_connected(), name="launcher-client")
        try:
            await asyncio.wait_for(self._connected.wait(), patience_s)
        except TimeoutError:
            await self.close()
            raise LauncherBroken(self.problem or "the launcher does not answer") from None

    async def request(self, op: str, **fields: Any) -> Json:
        """Send, again after each reconnection until there is an answer. Raises LauncherRefused."""
        async with self._room:
            while True:
                await self._connected.wait()
                with contextlib.suppress(ConnectionError):
                    return await self._ask({"op": op} | fields)

    async def shut_down(self, *, kill: bool, patience_s: float) -> None:
        """End the launcher: with `kill` all containers first, else once nothing runs any more.

        Returns when it has ended (`kill`) or has been told to. Raises LauncherBroken.
        """
        self._ending = True
        with contextlib.suppress(ConnectionError):
            await self._ask({"op": "shutdown", "kill": kill})
        if kill and self._runner is not None:
            done, _ = await asyncio.wait([self._runner], timeout=patience_s)
            if not done:
                raise LauncherBroken("the launcher did not end")

    async def close(self) -> None:
        """Let go of the launcher. It and all its containers go on."""
        self._ending = True
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner
            self._runner = None

    # -- the connection ---------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        backoff_s = BACKOFF_S_MIN
        while not self._ending:
            try:
                reader, writer = await self._connect()
            except (OSError, LauncherBroken) as error:
                self.problem = str(error)
                self._log.warning("no launcher", problem=self.problem)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
                continue
            try:
                await self._converse(reader, writer)
                backoff_s = BACKOFF_S_MIN
            except (OSError, ValueError, LauncherBroken, LauncherRefused) as error:
                self.problem = str(error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S_MAX)
            finally:
                self._drop()
            if not self._ending:
                self._log.warning("lost the launcher", problem=self.problem)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await self._dial()
        except OSError:
            await asyncio.to_thread(launch, self._folder)
            return await self._dial()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A socket's path may be 107 bytes long; a work directory may be longer.
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            return await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/launcher.sock", limit=2 * LINE_BYTES_MAX
            )
        finally:
            os.close(folder)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hello, list, then events and answers until the launcher or the connection ends."""
        self._writer = writer
        greeting = asyncio.create_task(self._greet())
        known: set[str] | None = set()
        try:
            while line := await reader.readline():
                message: Json = json.loads(line)
                if "event" in message:
                    if known is not None:
                        known.add(message["id"])
                    self._on_event(message)
                    continue
                answer = self._answers.pop(message["seq"], None)
                if answer is not None and not answer.done():
                    answer.set_result(message)
                if known is not None and "count" in message:
                    self.problem = None
                    self._on_list(frozenset(known))
                    known = None
                    self._connected.set()
            if greeting.done():
                greeting.result()  # raises what was wrong with it
            self.problem = "the launcher closed the connection"
        finally:
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)

    async def _greet(self) -> None:
        try:
            await self._ask({"op": "hello", "version": VERSION})
        except LauncherRefused as refused:
            if self._writer is not None:
                self._writer.close()
            raise LauncherBroken(f"the running launcher is of another version: {refused}") from None
        await self._ask({"op": "list"})

    async def _ask(self, message: Json) -> Json:
        if self._writer is None:
            raise ConnectionResetError("not connected")
        self._seq = seq = self._seq + 1
        line = json.dumps({"seq": seq} | message).encode() + b"\n"
        if len(line) > LINE_BYTES_MAX:  # the launcher would hang up, and we would ask it again
            raise LauncherRefused("too-large", f"{len(line)} bytes, at most {LINE_BYTES_MAX}")
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._answers[seq] = answer
        try:
            self._writer.write(line)
            await self._writer.drain()
            said = await answer
        finally:
            self._answers.pop(seq, None)
        if not said["ok"]:
            raise LauncherRefused(said["code"], said["error"])
        return said

    def _drop(self) -> None:
        self._connected.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the launcher is gone"))
        self._answers.clear()
