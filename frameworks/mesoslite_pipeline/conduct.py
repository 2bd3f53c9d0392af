"""A run of the pipeline: the frameworks that it takes, what dies meanwhile, and what came out.

1. Kafka and Cassandra start, on places of their own; then there is a topic and a table
2. the ingest task writes, Spark counts; whichever dies is started again and goes on
3. when all is counted the totals are compared with what must come out, and everything is removed
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from importlib.resources import as_file, files
from typing import Any

from mesoslite_cassandra.scheduler import Cassandra
from mesoslite_kafka.scheduler import Kafka
from mesoslite_pipeline import told
from mesoslite_pipeline.companions import Companion, Counting, heard
from mesoslite_pipeline.events import Total, differences, expected, sums
from mesoslite_pipeline.hosts import Hosts
from mesoslite_pipeline.outage import POWER_OFF_AT, Outage
from mesoslite_pipeline.plan import PARTITIONS, PipelineError, Plan
from mesoslite_pipeline.progress import Attempts, Patience, Progress
from mesoslite_pipeline.totals import Totals, connected
from mesoslite_services.members import Member

READY_S_MAX = 900.0  # for jars to come, and for Cassandra's nodes to join one after another
LOOK_S, TASKS_S, LINE_S = 1.0, 4.0, 5.0
KAFKA_ANSWERS_S_MAX = 5.0
OFFSETS_KEPT_MINUTES = (1 << 31) - 1  # 4,000 years, the most that there is
#: Of what must come out: 0.3 s of a thread, which nothing can interrupt but its end.
PIECE_EVENTS = 100_000

log = logging.getLogger(__name__)


class Conduct:
    """One run. `want_ingest` is called when the events may be written."""

    def __init__(self, plan: Plan, hosts: Hosts | None, want_ingest: Callable[[], None]) -> None:
        self.plan = plan
        self.progress = Progress(plan.events)
        self.kafka = Kafka(
            brokers=plan.brokers,
            heap="256MiB",
            disk="1GiB",
            topic=[f"{plan.topic}:{PARTITIONS}:{plan.brokers}"],
            config={
                "offsets.topic.num.partitions": "3",
                "transaction.state.log.num.partitions": "3",
                # How many events are written is an offset, which Kafka drops after a week in which
                # nothing is. A run that is carried on later would begin anew, and count twice.
                "offsets.retention.minutes": str(OFFSETS_KEPT_MINUTES),
            },
        )
        self.cassandra = Cassandra(
            nodes=plan.nodes,
            heap="384MiB",
            disk="1GiB",
            cpus=1.0,
            # What a node waits for before it joins others that have data; these have none.
            java_option=[
                "-Dcassandra.ring_delay_ms=2000",
                "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            ],
        )
        self._outage = None if hosts is None else Outage(hosts, self.progress)
        self._want_ingest = want_ingest
        self._companions: list[Companion] = []
        self._counting: Counting | None = None
        self._failure: asyncio.Future[str] | None = None

    @property
    def names(self) -> list[str]:
        """Of the frameworks that run."""
        return [one.scheduler.name for one in self._companions]

    def fail(self, why: str) -> None:
        """It can not be carried on."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(why)

    async def play(self, name: str, picture: bool) -> tuple[str, bool]:
        """From the start to what came out, and whether that is right. Raises PipelineError."""
        self._failure = asyncio.get_running_loop().create_future()
        self.kafka.name, self.cassandra.name = f"{name}-kafka", f"{name}-cassandra"
        want = asyncio.create_task(must_come_out(self.plan))
        telling = self._look_at_tasks() if picture else self._tell()
        try:
            with heard(log):
                async with beside(self._until_failed(self._failure), telling):
                    await self._start_services()
                    async with self._totals() as totals:
                        await self._count(totals)
                        self.progress.phase = "comparing"
                        self.progress.totals = await asyncio.to_thread(totals.read, PARTITIONS)
            return verdict(self.plan.events, await want, self.progress.totals)
        finally:
            want.cancel()

    async def end(self) -> None:
        """Remove all that was started, with its data."""
        self.progress.phase = "removing everything"
        await asyncio.gather(*(one.end() for one in self._companions))

    async def _until_failed(self, failure: asyncio.Future[str]) -> None:
        raise PipelineError(await failure)

    # --- services ---------------------------------------------------------------------------------

    async def _start_services(self) -> None:
        """Have Kafka with its topic, and Cassandra. Raises PipelineError."""
        services = [Companion(self.kafka), Companion(self.cassandra)]
        self._companions += services
        deadline_s = time.monotonic() + READY_S_MAX
        while not await self._serve():
            for service in services:
                if service.ended:
                    raise PipelineError(f"{service.scheduler.name} has ended: {service.why_ended}")
            if why := self.kafka.needs_people or self.cassandra.needs_people:
                raise PipelineError(why)
            if time.monotonic() > deadline_s:
                raise PipelineError(f"not ready after {READY_S_MAX:.0f} s: {self.progress.phase}")
            await asyncio.sleep(LOOK_S)

    async def _serve(self) -> bool:
        for service in (self.kafka, self.cassandra):
            if not service.all_run:
                up = sum(member.up for member in service.members.values())
                self.progress.phase = f"{service.noun}s of {service.name}: {up} of {service.count}"
                return False
        if missing := self.kafka.missing_topics():
            self.progress.phase = f"the topic {missing[0]}"
            return False
        self.progress.phase = "Cassandra's nodes join"
        for address in self.cassandra.endpoints().split(","):
            host, _, port = address.rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            except OSError:
                return False
            writer.close()
        return True

    @contextlib.asynccontextmanager
    async def _totals(self) -> AsyncIterator[Totals]:
        """The table, which is made."""
        self.progress.phase = "a table for the totals"
        given_up = threading.Event()  # a thread can not be cancelled, and our end waits for it
        session = connected(self.cassandra.endpoints(), given_up)
        try:
            entered = await asyncio.to_thread(session.__enter__)
            totals = Totals(entered, self.plan.keyspace, given_up)
            try:
                await asyncio.to_thread(totals.make, PARTITIONS, self.plan.nodes)
                yield totals
            finally:
                session.__exit__(None, None, None)
        finally:
            given_up.set()

    # --- the events -------------------------------------------------------------------------------

    async def _count(self, totals: Totals) -> None:
        """Until all are counted, and the host is back that was to die. Raises PipelineError."""
        self.progress.phase = "counting"
        self._want_ingest()
        power_is_back = asyncio.Event()
        works = self._run_spark(), self._look_at_written(), self._cut_power(power_is_back)
        async with beside(*works):
            patience = Patience(self.plan.events)
            over = False
            while not (over and power_is_back.is_set()):
                await asyncio.sleep(LOOK_S)
                found = await asyncio.to_thread(totals.glance)
                now_s = time.monotonic()
                if found is not None:
                    self.progress.count(found, now_s)
                over = patience.over(self.progress.counted.value, now_s)

    async def _run_spark(self) -> None:
        """Have a driver that counts; one that ends is followed by another. Raises PipelineError."""
        attempts = Attempts()
        package = files("mesoslite_pipeline")
        with as_file(package / "aggregate.py") as program, as_file(package / "jars.lock") as jars:
            while True:
                self._counting = self._driver(str(program), str(jars))
                companion = Companion(self._counting)
                self._companions.append(companion)
                why = await companion.until_ended() or self._counting.last_words
                self._companions.remove(companion)
                wait_s = attempts.failed(self.progress.counted.value, f"Spark: {why}")
                log.info("spark: %s; another one goes on", why)
                await asyncio.sleep(wait_s)

    def _driver(self, program: str, jars: str) -> Counting:
        words = {
            "--kafka": self.kafka.endpoints(),
            "--cassandra": self.cassandra.endpoints(),
            "--topic": self.plan.topic,
            "--keyspace": self.plan.keyspace,
            "--partitions": str(PARTITIONS),
        }
        return Counting(program, *(word for option in words.items() for word in option), jars=jars)

    async def _cut_power(self, is_back: asyncio.Event) -> None:
        """Of the host that the driver is on, with a broker and a node as all have; then it is back.

        Raises PipelineError, or OSError when its cluster has gone.
        """
        while self._outage is not None:
            if hostname := self._victim():
                await self._outage.cut(hostname, self._members)
                break
            await asyncio.sleep(LOOK_S)
        is_back.set()

    def _victim(self) -> str:
        """The host whose power is to be cut now; empty: none yet."""
        counted = self.progress.counted.value
        if self._counting is None or counted < self.plan.events * POWER_OFF_AT:
            return ""
        return self._counting.hostname

    def _members(self) -> list[Member]:
        return [*self.kafka.members.values(), *self.cassandra.members.values()]

    # --- what is shown ----------------------------------------------------------------------------

    async def _look_at_written(self) -> None:
        from mesoslite_pipeline import ingest

        counter = ingest.counter(self.kafka.endpoints(), self.plan.topic)
        while True:
            count = await asyncio.to_thread(_written, counter, self.plan.topic)
            if count is not None:
                self.progress.written.set(count, time.monotonic())
            await asyncio.sleep(LOOK_S)

    async def _tell(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(LINE_S)
            if self.progress.phase == "counting" and said != self.progress.line:
                said = self.progress.line
                log.info("%s", said)

    async def _look_at_tasks(self) -> None:
        while True:
            names = await told.running_tasks()
            if names is not None:
                self.progress.tasks = Counter(name.partition("-")[0] for name in names)
            await asyncio.sleep(TASKS_S)


async def must_come_out(plan: Plan) -> dict[str, Total]:
    """What the totals are to be. In pieces: a thread can not be cancelled, only given no more."""
    want: dict[str, Total] = {}
    for first in range(0, plan.events, PIECE_EVENTS):
        piece = range(first, min(first + PIECE_EVENTS, plan.events))
        more = await asyncio.to_thread(expected, plan.seed, piece)
        want = sums([*want.items(), *more.items()])
    return want


def verdict(events: int, want: Mapping[str, Total], have: Mapping[str, Total]) -> tuple[str, bool]:
    """What is said of the totals in the end, and whether they are right."""
    if wrong := differences(want, have):
        return "not as produced:\n" + "\n".join(wrong), False
    amount = sum(total.amount for total in have.values())
    total = f"{events:,} events of {len(have)} keys, {amount:,} in all"
    return f"{total}: each counted once, as produced", True


def _written(counter: Any, topic: str) -> int | None:
    """None: Kafka does not answer at the moment."""
    from confluent_kafka import KafkaException

    from mesoslite_pipeline import ingest

    try:
        return ingest.count_of(counter, topic, KAFKA_ANSWERS_S_MAX)
    except KafkaException:
        return None


@contextlib.asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these meanwhile, and no longer. What one of them raises is raised here."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
