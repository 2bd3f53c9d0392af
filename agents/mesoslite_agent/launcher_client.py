"""The agent's end of the launcher's socket: starts a launcher when none answers, and comes back.

Every request may be sent twice and means the same (launcher.py), so whatever was under way when a
launcher died, or when the connection was cut, is simply asked again of the next one. What is asked
in one turn of the event loop leaves in one write, and what comes in one read is heard in one turn.
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

import msgspec
import structlog

from mesoslite_agent.launcher import VERSION, VERSION_OLDEST
from mesoslite_agent.lines import LINE_BYTES_MAX

READY_S_MAX = 30.0  # a new launcher first ends what an earlier one left behind
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 5.0
REQUESTS_UNDER_WAY_MAX = 4_096  # more wait their turn here
PATIENCE_S = 0.02  # of what nobody waits for: mostly another request takes it along
READ_BYTES = 1 << 18
INBOX_BYTES_MAX = 2 * LINE_BYTES_MAX  # of a line that does not end

Json = dict[str, Any]

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()
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
    every container that is not forgotten, then `on_list` gets their ids. `wishes` are fields of its
    `hello`, for what is to be done while nobody is connected.
    """

    def __init__(
        self,
        folder: Path,
        on_event: Callable[[Json], None],
        on_list: Callable[[frozenset[str]], None],
        **wishes: Any,
    ) -> None:
        self._folder = folder
        self._on_event = on_event
        self._on_list = on_list
        self._wishes = wishes
        self._log = structlog.get_logger("launcher")
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._unsent: list[bytes] = []
        self._writing = False  # `_write` is about to be called
        self._patience: asyncio.TimerHandle | None = None
        self._seq = 0
        self._room = asyncio.Semaphore(REQUESTS_UNDER_WAY_MAX)
        self._runner: asyncio.Task[None] | None = None
        self._ending = False
        self.version = 0
        """Of the protocol, as agreed with the launcher; 0: there was none yet."""
        self.forgetful = False
        """It may have started what it does not know of: its journal was damaged, or had gone."""
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

    async def request(
        self, op: str, *, wanted: Callable[[], bool] | None = None, **fields: Any
    ) -> Json:
        """Send, again after each reconnection until there is an answer. Raises LauncherRefused.

        `wanted`: whether to send it, asked each time; the answer is empty when it is not.
        """
        async with self._room:
            while True:
                await self._connected.wait()
                if wanted is not None and not wanted():
                    return {}
                with contextlib.suppress(ConnectionError):
                    return await self._ask({"op": op} | fields)

    def ask(self, op: str, *, patient: bool = False, **fields: Any) -> asyncio.Future[Json] | None:
        """Send once, without waiting: the answer comes in the future, None if it cannot be sent.

        `patient`: with the next request, after PATIENCE_S at the latest. A turn of the launcher for
        it alone, and one of ours for the answer, are 0.2 ms.

        The future raises ConnectionError when the connection is lost before it. For what is asked
        often: a future is a tenth of a coroutine's task. Raises LauncherRefused for what is too
        large; another refusal is in the answer.
        """
        if not self._connected.is_set() or len(self._answers) >= REQUESTS_UNDER_WAY_MAX:
            return None
        return self._send({"op": op} | fields, patient=patient)

    def flush(self) -> None:
        """Write what was asked in this turn of the loop now, and not at its end."""
        self._write()

    async def until_connected(self) -> None:
        """Wait for as long as there is no launcher."""
        await self._connected.wait()

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
        self._write()
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
        rest = b""
        try:
            while piece := await reader.read(READ_BYTES):
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > INBOX_BYTES_MAX:
                    raise LauncherBroken("the launcher says more than it may in one line")
                for line in lines:
                    known = self._heard(decoded(line), known)
            if greeting.done():
                greeting.result()  # raises what was wrong with it
            self.problem = "the launcher closed the connection"
        finally:
            greeting.cancel()
            await asyncio.gather(greeting, return_exceptions=True)

    def _heard(self, message: Json, known: set[str] | None) -> set[str] | None:
        """An event or an answer. `known` gathers ids until the list is complete: None from then."""
        if "event" in message:
            if known is not None:
                known.add(message["id"])
            self._on_event(message)
            return known
        answer = self._answers.pop(message["seq"], None)
        if answer is not None and not answer.done():
            answer.set_result(message)
        if known is not None and "count" in message:
            self.problem = None
            self._on_list(frozenset(known))
            self._connected.set()
            return None
        return known

    async def _greet(self) -> None:
        self.version = await self._agree()
        await self._ask({"op": "list"})

    async def _agree(self) -> int:
        """The newest version of the protocol that both sides speak. Raises LauncherBroken."""
        why: LauncherRefused | None = None
        for version in range(VERSION, VERSION_OLDEST - 1, -1):
            try:
                answer = await self._ask({"op": "hello", "version": version} | self._wishes)
            except LauncherRefused as refused:
                why = refused
            else:
                self.forgetful = bool(answer.get("forgetful"))
                if damaged := answer.get("damaged"):
                    self._log.warning("the launcher's journal was damaged", lines=damaged)
                return version
        if self._writer is not None:
            self._writer.close()
        raise LauncherBroken(
            f"the launcher that runs is of another version ({why}), this agent speaks "
            f"{VERSION_OLDEST} to {VERSION}: start the agent that started it, until its tasks end"
        )

    async def _ask(self, message: Json) -> Json:
        answer = self._send(message)
        if self._writer is not None:
            await self._writer.drain()
        return judge(await answer)

    def _send(self, message: Json, *, patient: bool = False) -> asyncio.Future[Json]:
        """Raises LauncherRefused for what is too large, ConnectionResetError without a launcher."""
        if self._writer is None:
            raise ConnectionResetError("not connected")
        self._seq = seq = self._seq + 1
        line = encoded({"seq": seq} | message) + b"\n"
        if len(line) > LINE_BYTES_MAX:  # the launcher would hang up, and we would ask it again
            raise LauncherRefused("too-large", f"{len(line)} bytes, at most {LINE_BYTES_MAX}")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Json] = loop.create_future()
        self._answers[seq] = answer
        if patient and self._patience is None:
            self._patience = loop.call_later(PATIENCE_S, self._write)
        elif not (patient or self._writing):
            self._writing = True
            loop.call_soon(self._write)
        self._unsent.append(line)
        return answer

    def _write(self) -> None:
        self._writing = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        lines, self._unsent = self._unsent, []
        if lines and self._writer is not None:
            self._writer.write(b"".join(lines))

    def _drop(self) -> None:
        self._connected.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._unsent.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the launcher is gone"))
        self._answers.clear()


def judge(answer: Json) -> Json:
    """The answer itself. Raises LauncherRefused when it is a no."""
    if not answer["ok"]:
        raise LauncherRefused(answer["code"], answer["error"])
    return answer


def encoded(message: Json) -> bytes:
    """As JSON; msgspec takes a fifth of the time, but no path that is not UTF-8."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return json.dumps(message).encode()


def decoded(line: bytes) -> Json:
    """The opposite. Raises ValueError."""
    try:
        message: Json = _DECODER.decode(line)
    except msgspec.DecodeError:
        message = json.loads(line)
    return message
