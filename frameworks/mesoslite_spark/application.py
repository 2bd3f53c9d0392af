"""One Spark application beside its driver: the scheduler in a thread, and the driver's connection.

The thread has an event loop of its own, on which everything happens. It begins with `start`, and
ends when the driver says so, when its connection ends, when the master does not want us any more,
or with `close`. Whichever it was, the framework is torn down, and so its executors end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from mesoslite import FrameworkError, Refusal, run_async
from mesoslite_spark.errors import SparkError
from mesoslite_spark.executors import Executors
from mesoslite_spark.messages import (
    LINE_BYTES_MAX,
    BadMessage,
    Failed,
    FromDriver,
    Hello,
    Stopped,
    ToDriver,
    line_of,
    message_of,
)

CONNECT_S_MAX = 30.0  # to the master, which may just be starting too
HELLO_S_MAX = 10.0  # from a connection to the token, which follows at once
GUESTS_MAX = 16  # connections without a token yet; there is one driver
#: The session waits 10 s for a master that is away; what is left ends after the failover timeout.
END_S_MAX = 15.0
TOKEN_BYTES = 32


class MakeExecutors(Protocol):
    """Makes the scheduler, on the loop that it is to live on."""

    def __call__(
        self,
        *,
        tell: Callable[[ToDriver], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> Executors: ...


class Application:
    """The scheduler's side of an application, from `start` to `close`."""

    def __init__(
        self, make: MakeExecutors, *, master: str | None, token_file: str | Path | None
    ) -> None:
        self.token = secrets.token_hex(TOKEN_BYTES)
        self.port = 0
        self._make = make
        self._master = master
        self._token_file = token_file
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="mesoslite-spark", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._driver: asyncio.StreamWriter | None = None
        self._guests = 0

    def start(self) -> None:
        """Subscribe, and listen for the driver. Raises ConnectionError, FrameworkError, ..."""
        self._thread.start()
        self.port = self._ready.result()

    def close(self) -> None:
        """End it if it has not ended, with its executors. For any thread but its own."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
                self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(END_S_MAX)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    # --- its thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - it is told to who started it
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        executors = self._make(tell=self._tell, later=self._loop.call_later)
        subscribed = asyncio.Event()
        executors.on_subscribed = subscribed.set
        session = asyncio.create_task(
            run_async(
                executors,
                master=self._master,
                token_file=self._token_file,
                connect_timeout_s=CONNECT_S_MAX,
            )
        )
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(executors, reader, writer),
            "127.0.0.1",
            limit=LINE_BYTES_MAX,
        )
        try:
            await _first(session, subscribed.wait())
            if session.done():
                session.result()  # why it is refused
                raise SparkError("the session with the master has ended")
            self._ready.set_result(server.sockets[0].getsockname()[1])
            await _first(session, self._over.wait())
            if session.done():
                self._tell(Failed(_why_ended(session)))
            else:
                executors.teardown()
                await asyncio.wait([session], timeout=END_S_MAX)
        finally:
            server.close()
            session.cancel()
            await asyncio.wait([session])
            if not session.cancelled():
                session.exception()  # it is told, or we have asked for it
            await self._hang_up()

    async def _hang_up(self) -> None:
        """What was told is still written; the end of the connection is the driver's answer."""
        if self._driver is not None:
            self._driver.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._driver.wait_closed(), HELLO_S_MAX)

    def _tell(self, message: ToDriver) -> None:
        if self._driver is not None and not self._driver.is_closing():
            self._driver.write(line_of(message))

    # --- the driver's connection ------------------------------------------------------------------

    async def _serve(
        self, executors: Executors, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not await self._admitted(reader, writer):
            writer.close()
            return
        self._driver = writer
        try:
            while isinstance(message := await _message(reader), FromDriver):
                if isinstance(message, Stopped):
                    break
                executors.hear(message)
        except (BadMessage, ValueError, OSError) as error:
            self._tell(Failed(f"the driver is not understood: {error}"))
        self._over.set()

    async def _admitted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self._driver is not None or self._guests >= GUESTS_MAX:
            return False
        self._guests += 1
        try:
            hello = await asyncio.wait_for(_message(reader), HELLO_S_MAX)
        except (BadMessage, ValueError, OSError, TimeoutError):
            return False
        finally:
            self._guests -= 1
        known = isinstance(hello, Hello) and hmac.compare_digest(
            hello.token.encode(), self.token.encode()
        )
        return known and self._driver is None


async def _message(reader: asyncio.StreamReader) -> FromDriver | None:
    """The next line's; None: the connection has ended. Raises BadMessage; ValueError: too long."""
    line = await reader.readline()
    return message_of(line) if line.endswith(b"\n") else None


async def _first(task: asyncio.Task[None], other: Coroutine[Any, Any, object]) -> None:
    """Wait until the task has ended, or the other thing has come."""
    waiting = asyncio.ensure_future(other)
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def _why_ended(session: asyncio.Task[None]) -> str:
    error = session.exception()
    if isinstance(error, FrameworkError) and error.refusal is Refusal.FRAMEWORK_REMOVED:
        return "the framework of this application was torn down"
    return f"the session with the master has ended: {error or 'it was stopped'}"
