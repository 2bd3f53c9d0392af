"""`mesoslite framework run`: an installed framework's scheduler, here, until Ctrl-C or its own end.

What the scheduler logs (`logging.getLogger` of its own package, from INFO on) is told line by line;
an `exit_code` that it has is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
from collections.abc import Iterator, Sequence

from mesoslite import FrameworkError, Refusal, Scheduler, run_async
from mesoslite.cli import frameworks, tables
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure, note, one_line
from mesoslite.cli.framework_places import wait_for_places
from mesoslite.cli.options import Chosen
from mesoslite.cli.outcome import SIGNAL_BASE
from mesoslite.credentials import TOKEN_FILE_VARIABLE, find_token_file
from mesoslite.files import FETCHING
from mesoslite.logs import set_up_logs
from mesoslite.masters import MASTER_VARIABLE

#: A framework whose tasks live on for less than this without it is ended by Ctrl-C: they would die
#: anyway, and nobody could come back in time.
LIVES_ON_S_MIN = 60.0
FETCH_LOOK_S = 2.0
FETCH_BYTES_MAX = 200
FETCHING_SHOWN_MAX = 10  # tasks whose files are on their way, each looked up by itself
STOP_S_MAX = 12.0  # the session itself waits 10 s for the master's word

_CODES = {Refusal.BAD_TOKEN: Code.DENIED, Refusal.UNKNOWN_ROLE: Code.DENIED}


def run(name: str, words: Sequence[str], chosen: Chosen) -> int:
    """Run it; the exit code is the framework's own, 130 after Ctrl-C."""
    kind = frameworks.find_framework(name)
    asked = frameworks.read(name, kind, words, chosen)
    if asked is None:
        return Code.OK
    scheduler = frameworks.make(kind, asked)
    with Operator(asked.chosen.master, asked.chosen.token_file) as operator:
        operator.status()  # no master, a wrong token: said before anything else happens
        set_up_logs(level="error")
        _pass_on(asked.chosen, operator)
        with _told(kind):
            return asyncio.run(_Run(scheduler, name, asked.chosen, operator).run())


def _pass_on(chosen: Chosen, operator: Operator) -> None:
    """What the scheduler starts, a process or a task, is to find the same cluster by itself."""
    os.environ[MASTER_VARIABLE] = str(operator.masters)
    os.environ[TOKEN_FILE_VARIABLE] = str(find_token_file(chosen.token_file).absolute())


class _Lines(logging.Handler):
    """What a framework logs, as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        note(one_line(self.format(record)))


@contextlib.contextmanager
def _told(kind: type[Scheduler]) -> Iterator[None]:
    logger = logging.getLogger(kind.__module__.partition(".")[0])
    handler = _Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


class _Run:
    """One run: the session, the person who may stop it, and what is on its way."""

    def __init__(self, scheduler: Scheduler, name: str, chosen: Chosen, operator: Operator) -> None:
        self._scheduler = scheduler
        self._kind = name
        self._chosen = chosen
        self._operator = operator
        self._signal: int | None = None
        self._lines: dict[str, str] = {}

    @property
    def _lives_on(self) -> bool:
        return self._scheduler.failover_timeout_s >= LIVES_ON_S_MIN

    async def run(self) -> int:
        if self._lives_on:
            await wait_for_places(self._operator, self._scheduler.name)
        session = asyncio.create_task(
            run_async(
                self._scheduler,
                master=str(self._operator.masters),  # another may lead before it has ended
                token_file=self._chosen.token_file,
            )
        )
        looking = asyncio.create_task(self._look())
        try:
            with self._interrupts():
                await asyncio.wait([session])
        finally:
            for task in (looking, session):
                task.cancel()
            await asyncio.wait([looking, session])
        return self._verdict(session)

    def _verdict(self, session: asyncio.Task[None]) -> int:
        name = self._scheduler.name
        error = None if session.cancelled() else session.exception()
        if isinstance(error, FrameworkError):
            if error.refusal is Refusal.FENCED:
                raise Failure(Code.FAILED, f"another scheduler has taken over {name}: it goes on")
            if error.refusal is not Refusal.FRAMEWORK_REMOVED:
                raise Failure(_CODES.get(error.refusal, Code.FAILED), str(error))
        elif error is not None:
            raise error
        code = getattr(self._scheduler, "exit_code", None)
        if self._signal is None:
            return code if isinstance(code, int) else Code.OK
        if self._lives_on:
            again, quoted = shlex.quote(self._kind), shlex.quote(name)
            if name != type(self._scheduler).name:
                again += f" --name {quoted}"
            note(
                f"{name} runs on without its scheduler; `mesoslite framework run {again}` "
                f"takes over again, `mesoslite framework stop {quoted}` ends it"
            )
        return SIGNAL_BASE + self._signal

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupted, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _interrupted(self, number: signal.Signals) -> None:
        if self._signal is not None:
            os._exit(SIGNAL_BASE + number)  # whatever hangs must not hold us
        self._signal = number
        if self._lives_on:
            self._scheduler.stop()
        else:
            note(f"ending {self._scheduler.name}; once more leaves at once")
            self._scheduler.teardown()
        loop = asyncio.get_running_loop()
        loop.call_later(STOP_S_MAX, os._exit, SIGNAL_BASE + number)

    async def _look(self) -> None:
        """Tell how far the files of its tasks are, while they are on their way."""
        while True:
            await asyncio.sleep(FETCH_LOOK_S)
            for line in await asyncio.to_thread(self._fetches):
                note(line)

    def _fetches(self) -> list[str]:
        said = []
        rows = []
        for name in (self._scheduler.name, *getattr(self._scheduler, "runs_beside", ())):
            try:
                rows += self._operator.tasks(framework=name)
            except Failure as failure:  # the session notices as well, and says so
                if failure.code == Code.NO_MASTER:
                    with contextlib.suppress(Failure):
                        self._operator.find_anew()
                    return []
        starting = [row for row in rows if tables.task_state(row) in {"STAGING", "STARTING"}]
        for row in starting[:FETCHING_SHOWN_MAX]:
            try:
                pieces = self._operator.read_log(row.task.task_id, row.framework_id, FETCHING)
                text = b"".join(pieces)[:FETCH_BYTES_MAX].decode(errors="replace").strip()
            except Failure:
                continue  # it fetches nothing, or no more
            if text and self._lines.get(row.task.task_id) != text:
                self._lines[row.task.task_id] = text
                said.append(f"{row.task.task_id}: {one_line(text)}")
        return said
