"""The scheduler of the pipeline: its own one task, which writes the events.

Kafka, Cassandra and Spark run beside it as what they are, ordinary schedulers each: `conduct.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import Sequence
from typing import Annotated

from mesoslite import (
    Offer,
    Refusal,
    Resources,
    Scheduler,
    Task,
    TaskState,
    TaskStatus,
    take_fitting,
)
from mesoslite_pipeline.conduct import Conduct
from mesoslite_pipeline.hosts import Hosts
from mesoslite_pipeline.plan import PipelineError, Plan
from mesoslite_pipeline.progress import Attempts
from mesoslite_pipeline.totals import NoAnswer
from mesoslite_pipeline.view import View

INGEST = "ingest"
INGEST_NEEDS = Resources(cpus=0.5, mem=192)
REASON_MAX = 300  # characters of what nobody has foreseen
NEEDED = ("confluent_kafka", "cassandra", "pyspark")

log = logging.getLogger(__name__)


class Pipeline(Scheduler):
    """The pipeline of the SMACK talk: events -> Kafka -> Spark -> Cassandra, counted exactly.

    An ingest task writes a known set of events to Kafka, Spark adds them up as they come, and the
    totals in Cassandra must be what is known beforehand, key by key: exit code 0, else 1. Kafka,
    Cassandra and Spark are frameworks of their own for as long as this one runs. It wants three
    agents with 8 GiB of memory and 9 cpus together (which may be more than there are), and Java.
    """

    name = "pipeline"
    failover_timeout_s = 10.0  # what it runs is there to be watched

    def __init__(
        self,
        events: Annotated[int, "How many."] = 1_000_000,
        rate: Annotated[int, "So many a second are written, at most."] = 10_000,
        seed: Annotated[int, "Which events: the same for the same number."] = 1,
        brokers: Annotated[int, "Of Kafka."] = 3,
        nodes: Annotated[int, "Of Cassandra."] = 3,
        kill_host: Annotated[bool, "Cut the power of a host in the middle, for a while."] = False,
    ) -> None:
        """Raises ValueError for what can not be."""
        self.plan = Plan(events, rate, seed, brokers, nodes)
        for module in NEEDED:
            if importlib.util.find_spec(module) is None:
                raise ValueError(f"there is no {module} here: pip install 'mesoslite[smack]'")
        self.exit_code = 1
        self._conduct = Conduct(self.plan, Hosts() if kill_host else None, self._want)
        self._run: asyncio.Task[None] | None = None
        self._wanted = False
        self._launched = 0
        self._attempts = Attempts()
        self._ask()

    @property
    def runs_beside(self) -> list[str]:
        """The names of the frameworks that it runs."""
        return self._conduct.names

    # --- its own task -----------------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        """The master has us: begin."""
        if self._run is None:
            self._run = asyncio.create_task(self._live())

    def _want(self) -> None:
        self._wanted = True
        self._ask()

    def _ask(self) -> None:
        self.request(request_id=INGEST, count=int(self._wanted), resources=INGEST_NEEDS)

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Launch it on the first that holds it."""
        for offer in offers:
            if not self._wanted:
                return
            if fitting := take_fitting([self._task(self._launched + 1)], offer.resources):
                self._wanted = False
                self._launched += 1
                self.launch(offer, fitting)

    def _task(self, attempt: int) -> Task:
        plan = self.plan
        said = {
            "--kafka": self._conduct.kafka.endpoints(),
            "--topic": plan.topic,
            "--seed": str(plan.seed),
            "--events": str(plan.events),
            "--rate": str(plan.rate),
        }
        words = [word for option in said.items() for word in option]
        command = [sys.executable, "-m", "mesoslite_pipeline.ingest", *words]
        return Task(f"{INGEST}-{attempt}", command, INGEST_NEEDS, name=INGEST)

    async def status_update(self, status: TaskStatus) -> None:
        """One that ended before its time, or is not heard of, is followed by another.

        The events are written in transactions under one name: of two that believe to be the one,
        the older is refused by Kafka.
        """
        if status.task_id != f"{INGEST}-{self._launched}":
            return
        if status.state is TaskState.FINISHED:
            log.info("ingest: all events are written")
        elif status.terminal or status.state is TaskState.UNREACHABLE:
            why = status.message or (status.reason.value if status.reason else status.state.name)
            log.info("ingest: %s; another one goes on", why)
            self._again(f"{why}; mesoslite logs --stderr {status.task_id}")

    def _again(self, why: str) -> None:
        try:
            wait_s = self._attempts.failed(self._conduct.progress.written.value, f"ingest: {why}")
        except PipelineError as error:
            self._conduct.fail(str(error))
        else:
            asyncio.get_running_loop().call_later(wait_s, self._want)

    async def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        """No agent can hold it now; one that is away may come back."""
        log.info("ingest: no agent can hold it: %s", message)

    # --- the run ----------------------------------------------------------------------------------

    def teardown(self, *, release: bool = False) -> None:
        """End it, with all that it runs before."""
        if self._run is not None and not self._run.done():
            self._run.cancel()
        else:
            super().teardown(release=release)

    async def _live(self) -> None:
        """The run, and its end whatever it comes to."""
        view = View(self._conduct.progress)
        try:
            with view.live():
                verdict, well = await self._conduct.play(self.name, view.moves)
        except Exception as error:  # whatever ends a run, it has a verdict
            verdict, well = why_ended(error), False
            log.debug("%s", verdict, exc_info=True)
        finally:
            await self._conduct.end()
            super().teardown(release=True)
        view.result(verdict, well=well)
        self.exit_code = 0 if well else 1


def why_ended(error: Exception) -> str:
    """What ended a run before its time, in one line."""
    match error:
        case PipelineError():
            return str(error)
        case NoAnswer():
            return f"Cassandra does not answer: {error}"
        case _:
            said = " ".join(str(error).split())[:REASON_MAX]
            return f"the run broke off: {type(error).__name__}{f': {said}' if said else ''}"
