"""`run` and `run_async`: a scheduler, its session, and the stream to the master, until the end.

Light to import: gRPC and the rest of the edge are loaded when something is run.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path

from mesoslite.model import Refusal
from mesoslite.scheduler.scheduler import Scheduler


class FrameworkError(Exception):
    """The master does not want this scheduler: `refusal` is why, `message` tells what exactly.

    `str` is one line for people.
    """

    __module__ = "mesoslite"  # what a traceback calls it, and where it is imported from

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(refusal, message)
        self.refusal = refusal
        self.message = message

    def __str__(self) -> str:
        text = f"{self.refusal.name}: {self.refusal.value}"
        return f"{text} ({self.message})" if self.message not in ("", self.refusal.value) else text


def run(
    scheduler: Scheduler,
    *,
    master: str | None = None,
    token_file: str | Path | None = None,
    connect_timeout_s: float | None = None,
) -> None:
    """Run a scheduler until it stops itself, is refused, or the process is told to end.

    `master` is HOST:PORT, several of them between commas, or zk://HOST1,HOST2:2181/PATH; else
    MESOSLITE_MASTER, else localhost:5060. `token_file` holds the bearer token; else
    MESOSLITE_TOKEN_FILE, else the one that a master of this user has made. Without a master it
    goes on trying, with one line in the log; with `connect_timeout_s` it raises ConnectionError
    when it has not subscribed by then.

    Ctrl-C and SIGTERM stop it after the callback that runs, and it returns: tasks live on for the
    scheduler's `failover_timeout_s`. Raises what a callback raises; FrameworkError when the master
    refuses this scheduler, as for good (FENCED: another process of the same name has taken over;
    its text says what to do, and the traceback is the caller's alone); TypeError or ValueError for
    a scheduler that can not be subscribed.
    """
    try:
        asyncio.run(
            _run_with_signals(
                scheduler,
                master=master,
                token_file=token_file,
                connect_timeout_s=connect_timeout_s,
            )
        )
    except KeyboardInterrupt:
        return
    except FrameworkError as error:
        # Where in the event loop it came up says nothing, and hides the line that does.
        raise error.with_traceback(None) from None


async def _run_with_signals(
    scheduler: Scheduler,
    *,
    master: str | None,
    token_file: str | Path | None,
    connect_timeout_s: float | None,
) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    asked = False

    def end() -> None:
        # The first time after the callback; the second time now, whatever the callback does.
        nonlocal asked
        if asked and task is not None:
            task.cancel()
        asked = True
        scheduler.stop()

    # Signals belong to the main thread; elsewhere whoever started the thread ends the scheduler.
    handled = (
        (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread()
        else ()
    )
    for number in handled:
        loop.add_signal_handler(number, end)
    try:
        await run_async(
            scheduler, master=master, token_file=token_file, connect_timeout_s=connect_timeout_s
        )
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def run_async(
    scheduler: Scheduler,
    *,
    master: str | None = None,
    token_file: str | Path | None = None,
    connect_timeout_s: float | None = None,
) -> None:
    """What `run` does, in a loop of your own. Cancel it, or call `scheduler.stop()`, to end it.

    Several schedulers may run in one loop, each with a name of its own.
    """
    from mesoslite.scheduler.driver import Driver  # loads gRPC

    driver = Driver(
        scheduler, master=master, token_file=token_file, connect_timeout_s=connect_timeout_s
    )
    finish = await driver.run()
    if finish.refusal is not None:
        raise FrameworkError(finish.refusal, finish.message)
