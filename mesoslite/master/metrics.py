"""What a master shows to Prometheus, read from its tables when somebody scrapes.

docs/metrics.md explains every name. Labels are bounded: states, reasons and refusals are closed
enums, and at most FRAMEWORKS_MAX frameworks are named. No label is ever an id of a task, an agent
or an offer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from heapq import nlargest
from operator import attrgetter

from prometheus_client.core import Metric

from mesoslite.lifecycle import TaskState
from mesoslite.master import conduct
from mesoslite.master.protocol import Misconduct
from mesoslite.master.records import AgentState, FrameworkEntry, Tables, TaskEntry
from mesoslite.master.server import Streams
from mesoslite.measures import Distribution, LoopMeasures
from mesoslite.metrics import (
    Innards,
    counter,
    counters,
    gauge,
    gauges,
    histogram,
    summaries,
    traffic,
)
from mesoslite.model import Refusal

FRAMEWORKS_MAX = 1_000  # named on a page, ~0.3 KB each; the rest are summed up
AGENTS_SLICE = 200  # counted between two looks of the loop: ~0.3 ms at 10 tasks each

_state_of = attrgetter("state._name_")  # Enum.name is a property in Python, five times slower


class MasterMeasures(LoopMeasures):
    """The turns of a master's loop, and how fast what becomes free is offered again."""

    __slots__ = ("_offers", "_tables", "allocation")

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self._tables = tables
        self._offers = 0
        self.allocation = Distribution()
        """Seconds from when the oldest event of a batch came in until the offers that it led to
        were handed to their streams. One value for each batch that led to offers."""

    def turned(
        self, *, events: int, waited_s: float, handled_s: float, ticked_s: float, whole_s: float
    ) -> None:
        """One turn is over."""
        super().turned(
            events=events,
            waited_s=waited_s,
            handled_s=handled_s,
            ticked_s=ticked_s,
            whole_s=whole_s,
        )
        made = self._tables.offer_count
        if made != self._offers:
            self._offers = made
            if events:
                self.allocation.observe(waited_s + whole_s)


class MasterMetrics:
    """All families of a master."""

    def __init__(
        self, tables: Tables, streams: Streams, measures: MasterMeasures, innards: Innards
    ) -> None:
        self._tables = tables
        self._streams = streams
        self._measures = measures
        self._innards = innards

    async def families(self) -> AsyncIterator[list[Metric]]:
        """As they are now, group by group; the loop runs in between, for the tasks within one."""
        t = self._tables
        yield [*self._innards.families(ready=self._innards.health.ready)]
        yield [gauge("epoch", "The number of this master's run.", t.epoch)]
        yield [*_members(t)]
        yield [*_offers(t)]
        yield [_held(t)]
        yield [*self._allocation()]
        yield [*_tasks(t, await self._tasks_by_state())]
        yield [*self._streams_open()]
        yield [*traffic(self._streams.traffic)]

    async def _tasks_by_state(self) -> Counter[str]:
        found: Counter[str] = Counter(dict.fromkeys(TaskState.__members__, 0))
        agents = list(self._tables.agents.values())
        for start in range(0, len(agents), AGENTS_SLICE):
            tasks: Iterator[TaskEntry] = itertools.chain.from_iterable(
                agent.tasks.values() for agent in agents[start : start + AGENTS_SLICE]
            )
            found.update(map(_state_of, tasks))
            await asyncio.sleep(0)
        return found

    def _allocation(self) -> Iterator[Metric]:
        yield histogram(
            "allocation_cycle_seconds",
            "Of the tick behind a batch, on which offers are decided.",
            self._measures.ticked,
        )
        yield histogram(
            "allocation_latency_seconds",
            "From when something came in until the offers it led to were handed to their streams.",
            self._measures.allocation,
        )
        yield counter(
            "allocation_agents", "Agents that the allocator has looked at.", self._tables.looked_at
        )

    def _streams_open(self) -> Iterator[Metric]:
        waiting = self._streams.waiting()
        yield gauges(
            "streams_open",
            "gRPC streams that are open.",
            ("peer",),
            (((peer,), len(sizes)) for peer, sizes in waiting.items()),
        )
        yield gauges(
            "outbox_bytes",
            "Bytes that wait to be written, on all streams together.",
            ("peer",),
            (((peer,), sum(sizes)) for peer, sizes in waiting.items()),
        )
        yield gauges(
            "outbox_max_bytes",
            "Bytes that wait to be written on the stream where most wait.",
            ("peer",),
            (((peer,), max(sizes, default=0)) for peer, sizes in waiting.items()),
        )


def _members(t: Tables) -> Iterator[Metric]:
    agents = Counter(map(_state_of, t.agents.values()))
    yield gauges(
        "agents",
        "Agents that are known.",
        ("state",),
        (((state.value,), agents[name]) for name, state in AgentState.__members__.items()),
    )
    yield gauge(
        "agents_troubled",
        "Active agents that say why they take no launches.",
        sum(bool(agent.problem) and agent.stream is not None for agent in t.agents.values()),
    )
    frameworks = Counter(map(_presence, t.frameworks.values()))
    yield gauges(
        "frameworks",
        "Frameworks that are known.",
        ("state",),
        (((state,), frameworks[state]) for state in ("active", "paused", "away")),
    )
    bounded = Counter(
        what.name
        for framework in t.frameworks.values()
        if framework.conduct.episodes
        for what in conduct.standing(t, framework)
    )
    yield gauges(
        "frameworks_bounded",
        "Frameworks that are bounded now for what they do at the cost of others.",
        ("misconduct",),
        (((name,), bounded[name]) for name in Misconduct.__members__),
    )
    yield gauge("store_bytes", "What the frameworks' stores hold together.", t.store_bytes)
    fences = sum(len(framework.fences) for framework in t.frameworks.values())
    yield gauge("fences", "Keys of fences that tasks have.", fences)
    yield gauges(
        "cluster_resources",
        "What the agents have, in the resource's own unit.",
        ("resource",),
        (((name,), amount / 1_000) for name, amount in t.allocator.total().items()),
    )


def _presence(framework: FrameworkEntry) -> str:
    if framework.stream is None:
        return "away"
    return "paused" if framework.paused else "active"


def _offers(t: Tables) -> Iterator[Metric]:
    yield counter("offers_made", "Offers that were made.", t.offer_count)
    yield gauge("offers_outstanding", "Offers that wait for an answer.", len(t.offers))
    yield counters(
        "offers_ended",
        "Offers that were made and are over, by what became of them.",
        ("how",),
        (((how,), count) for how, count in t.offers_ended.items()),
    )
    yield counters(
        "refusals",
        "What was asked for and refused, by the reason.",
        ("refusal",),
        (((name,), t.refusals[member]) for name, member in Refusal.__members__.items()),
    )


def _held(t: Tables) -> Metric:
    """Who keeps offers, and for how long: those that kept most, then all others without a name."""
    frameworks = t.frameworks.values()
    named = nlargest(FRAMEWORKS_MAX, frameworks, key=attrgetter("held_ms"))
    held = [((f.principal, f.info.name), _sum_of([f])) for f in named]
    if len(frameworks) > len(named):
        (all_count, all_s), (count, named_s) = _sum_of(frameworks), _sum_of(named)
        held.append((("", ""), (all_count - count, all_s - named_s)))
    return summaries(
        "framework_offer_held_seconds",
        "How long the offers of a framework were outstanding, up to its answer or the lease's end.",
        ("principal", "framework"),
        held,
    )


def _sum_of(frameworks: Iterable[FrameworkEntry]) -> tuple[int, float]:
    """How many of their offers were answered or lapsed, and the seconds these were held."""
    count = held_ms = 0
    for framework in frameworks:
        count += framework.offers_answered + framework.offers_lapsed
        held_ms += framework.held_ms
    return count, held_ms / 1_000


def _tasks(t: Tables, by_state: Counter[str]) -> Iterator[Metric]:
    yield gauges(
        "tasks",
        "Tasks that are known: until their end is acknowledged.",
        ("state",),
        (((state,), count) for state, count in by_state.items()),
    )
    yield counter("launches", "Launches that were sent to agents.", t.launch_count)
    yield counters(
        "tasks_ended",
        "Ends of tasks that agents have told.",
        ("state", "reason"),
        t.tasks_ended.items(),
    )
