"""Other frameworks' schedulers, run beside ours: ordinary ones, each with a session of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from mesoslite import (
    FrameworkError,
    Offer,
    Reason,
    Refusal,
    Scheduler,
    TaskState,
    TaskStatus,
    run_async,
)
from mesoslite_pipeline import told
from mesoslite_spark.driver import Driver

#: For the master's word that a framework is removed; what it releases is in the registry by then.
END_S_MAX = 8.0
FAMILIES = ("mesoslite_kafka", "mesoslite_cassandra", "mesoslite_spark")


log = logging.getLogger(__name__)

Running = Callable[[Scheduler], Coroutine[Any, Any, None]]


class Companion:
    """A framework for as long as we want it. Needs a running loop."""

    def __init__(self, scheduler: Scheduler, run: Running = run_async) -> None:
        self.scheduler = scheduler
        self._session = asyncio.create_task(run(scheduler))

    async def until_ended(self) -> str:
        """Wait until it has ended by itself, or somebody has ended it; why."""
        await asyncio.wait([self._session])
        return self.why_ended

    @property
    def why_ended(self) -> str:
        """Empty: it has not, or as it was to."""
        if not self._session.done() or self._session.cancelled():
            return ""
        error = self._session.exception()
        if error is None or _is_removed(error):
            return ""
        return str(error) or type(error).__name__

    @property
    def ended(self) -> bool:
        """Whether nobody schedules it any more."""
        return self._session.done()

    async def end(self) -> None:
        """Remove it, with all that it has reserved and all of its data; tell what may be left."""
        if not self._session.done():
            self.scheduler.teardown(release=True)
            await asyncio.wait([self._session], timeout=END_S_MAX)
        is_left = not self._session.done() or bool(self.why_ended)
        self._session.cancel()
        await asyncio.wait([self._session])
        if is_left:
            name = self.scheduler.name
            mend = f"mesoslite framework stop {name} --release"
            log.info("%s may be there still, with all that it has: %s", name, mend)


def _is_removed(error: BaseException) -> bool:
    """Whether that is the master's last word after a teardown."""
    return isinstance(error, FrameworkError) and error.refusal is Refusal.FRAMEWORK_REMOVED


class Counting(Driver):
    """Spark's driver. Nobody reads its output here: `mesoslite logs` has it."""

    def __init__(self, *words: str, jars: str) -> None:
        """The smallest that does: the three services want the rest of a laptop."""
        super().__init__(
            *words,
            cores=1,
            executor_memory="480m",
            driver_cores=1.0,
            driver_memory="512m",
            jars=jars,
            conf={
                "spark.ui.enabled": "false",
                "spark.ui.showConsoleProgress": "false",
                "spark.sql.shuffle.partitions": "2",
            },
        )
        self.hostname = ""
        """Where it runs; empty: nowhere."""
        self.last_words = ""
        """Why it ended: of one that did so by itself the last line that it wrote."""
        self._hostnames: dict[str, str] = {}

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Remember what its agents are called."""
        self._hostnames.update((offer.agent_id, offer.hostname) for offer in offers)
        await super().resource_offers(offers)

    async def status_update(self, status: TaskStatus) -> None:
        """One that is not heard of is replaced at once: should it live, its counting is refused."""
        running = status.state is TaskState.RUNNING
        self.hostname = self._hostnames.get(status.agent_id, "") if running else ""
        if status.terminal:
            by_itself = status.reason is Reason.COMMAND_EXITED
            said = await told.last_line(status.task_id, self.name) if by_itself else ""
            self.last_words = said or status.message
        await super().status_update(status)
        if status.state is TaskState.UNREACHABLE:
            self.teardown()

    async def follow(self, task_id: str) -> None:
        """Nothing is copied."""


class _Passing(logging.Handler):
    """What another framework logs, as a line of ours."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        family = record.name.partition(".")[0].removeprefix("mesoslite_")
        self._log.info("%s: %s", family, record.getMessage())


@contextlib.contextmanager
def heard(log: logging.Logger) -> Iterator[None]:
    """Pass on what companions log, from INFO on."""
    handler = _Passing(log)
    loggers = [logging.getLogger(family) for family in FAMILIES]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
