"""What a page of a large master's metrics costs, and how long it holds up the loop."""

import asyncio
import time
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measure import AtMost, Figure, Unit, around, settle_memory
from benchmarks.workload import Sizes, option
from mesoslite.credentials import Tokens
from mesoslite.lifecycle import TaskState
from mesoslite.loop import Health, Inbox
from mesoslite.master.metrics import MasterMeasures, MasterMetrics
from mesoslite.master.protocol import AgentCalled, Event, Recovered, SchedulerCalled, Tick
from mesoslite.master.server import Streams
from mesoslite.master.state import Master
from mesoslite.measures import CommitMeasures
from mesoslite.messages import FrameworkReference, Register, Subscribe, TaskOnAgent, alike
from mesoslite.metrics import Exposition, Innards
from mesoslite.model import DEFAULT_ROLE, AgentInfo, FrameworkInfo, Task
from mesoslite.resources import Resources

NOTE = "No stream is open: each would add 0.1 us to what is read."
AGENT = Resources(cpus=32, mem=65_536)
TASK = Resources(cpus=1, mem=1_024)
PLAIN, OPENMETRICS = "", "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Sizes):
    """How large a cluster is looked at."""

    agents: int = option("agents")
    frameworks: int = option("frameworks")
    tasks: int = option("tasks that run on each agent")


def scrape(size: Watched) -> list[Figure]:
    """A page of metrics is written while the loop has other things to do as well."""
    held = Figure("longest hold of the loop", Unit.WALL_MS, AtMost(20.0))
    plain, openmetrics = Figure("a page", Unit.CPU_MS), Figure("as OpenMetrics", Unit.CPU_MS)
    master = _watched(size)
    settle_memory()
    for _ in size.each_run():
        for accept, figure in ((PLAIN, plain), (OPENMETRICS, openmetrics)):
            with around() as speed:
                start_ns = time.process_time_ns()
                text, held_s = asyncio.run(_page(master, accept))
                cpu_ns = time.process_time_ns() - start_ns
            figure.add(cpu_ns / 1e6, speed)
            held.add(held_s * 1_000, speed)
            if accept == PLAIN:
                _assert_whole(text, size)
    return [plain, openmetrics, held]


def _watched(size: Watched) -> Master:
    master = Master(Recovered(epoch=1))
    events: list[Event] = [Tick(1)]
    for number in range(size.frameworks):
        subscribe = Subscribe(FrameworkInfo(f"framework-{number}"), f"session-{number}")
        events.append(SchedulerCalled(f"s{number}", "local", subscribe))
    for event in events:
        master.handle(event)
    frameworks = master.tables.frameworks.values()
    known = [FrameworkReference(f.framework_id, f.principal, f.info) for f in frameworks]
    for number in range(size.agents):
        of = [known[(number * size.tasks + n) % len(known)] for n in range(size.tasks)]
        tasks = alike(
            TaskOnAgent(
                framework.framework_id,
                DEFAULT_ROLE,
                Task(f"task-{number}-{n}", ["sleep", "1000"], TASK),
                TaskState.RUNNING,
            )
            for n, framework in enumerate(of)
        )
        info = AgentInfo(f"agent-{number}", f"host-{number}", AGENT)
        register = Register(info, "boot", 0, tuple(dict.fromkeys(of)), tasks)
        master.handle(AgentCalled(f"a{number}", register))
    master.handle(Tick(2))
    return master


async def _page(master: Master, accept: str) -> tuple[str, float]:
    """The page, and the longest time between two turns of somebody else, in seconds."""
    inbox: Inbox[Event] = Inbox(lambda: 0)
    streams = Streams(master.tables, inbox, Tokens((("local", "token"),)), started_ms=0)
    measures = MasterMeasures(master.tables)
    innards = Innards(Health(""), measures, CommitMeasures(), lambda: len(inbox))
    metrics = MasterMetrics(master.tables, streams, measures, innards)
    writing = asyncio.create_task(Exposition(metrics.families).text(accept))
    longest_s, last_s = 0.0, time.perf_counter()
    while not writing.done():
        await asyncio.sleep(0)
        now_s = time.perf_counter()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    body, _ = await writing
    return body.decode(), longest_s


def _assert_whole(text: str, size: Watched) -> None:
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    running = [s.value for s in found["mesoslite_tasks"] if s.labels["state"] == "RUNNING"]
    assert running == [size.agents * size.tasks]
    named = [s for s in found["mesoslite_framework_offer_held_seconds"] if s.name.endswith("_sum")]
    assert len(named) == min(size.frameworks, 1_000)
