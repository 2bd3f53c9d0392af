"""What people see of a master: read-only rows over its tables, sorted by id, in pages.

Only reads, between two events, so a row is a consistent picture of one moment. Cost: O(rows of the
table) for a page, plus the tasks and offers that a row sums up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from mesoslite.lifecycle import TaskState
from mesoslite.master import conduct
from mesoslite.master.protocol import Misconduct
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    OutstandingOffer,
    Tables,
    TaskEntry,
)
from mesoslite.model import AgentInfo, FrameworkInfo, Request, Task, TaskStatus
from mesoslite.resources import Resources, total_of

REQUESTS_SHOWN_MAX = 100  # of one framework; at most 16 kB each, so 1.6 MB
PAGE_ROWS_MAX = 1_000  # ~300 B a row, so 300 kB a message

R = TypeVar("R")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Status:
    """The cluster in one row. Sums are of scalars only: ports of two agents are not one range."""

    epoch: int
    agents: Counter[AgentState]
    frameworks_active: int
    frameworks_inactive: int
    offers: int
    tasks: Counter[TaskState]
    total: Resources
    allocated: Resources
    offered: Resources


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent."""

    info: AgentInfo
    state: AgentState
    since_ms: int
    boot_id: str
    allocated: Resources
    offered: Resources
    tasks: int
    problem: str
    """Why it takes no launches though it is active; empty: it does."""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request that is in force."""

    request: Request
    """Its count: the units that are still wanted."""
    offered: int
    """Units of these that are being offered."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """Something that a framework is bounded for now."""

    what: Misconduct
    since_ms: int
    times: int


@dataclass(frozen=True, slots=True)
class ConductRow:
    """How a framework treats what it is offered. Times are of offers that it answered or let go."""

    answered: int
    lapsed: int
    held_ms: int
    held_longest_ms: int
    offers_max: int | None
    standing: tuple[EpisodeRow, ...]


@dataclass(frozen=True, slots=True)
class FrameworkRow:
    """One framework, or one that was removed."""

    framework_id: str
    principal: str
    info: FrameworkInfo
    state: str
    """active, inactive or completed."""
    since_ms: int
    allocated: Resources = field(default_factory=Resources)
    offered: Resources = field(default_factory=Resources)
    tasks: int = 0
    offers: int = 0
    suppressed_roles: tuple[str, ...] = ()
    failover_deadline_ms: int | None = None
    demand_roles: tuple[str, ...] = ()
    """Those in which only what is requested is offered."""
    requests: int = 0
    """How many are in force."""
    conduct: ConductRow | None = None
    """None of one that was removed."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task, with the first status of each state it was in."""

    framework_id: str
    framework_name: str
    role: str
    task: Task
    agent_id: str
    agent_hostname: str
    state: TaskState
    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True)
class OfferRow:
    """One outstanding offer."""

    offer_id: str
    framework_id: str
    framework_name: str
    role: str
    agent_id: str
    agent_hostname: str
    resources: Resources
    made_ms: int
    lease_ms: int
    """How long it still runs."""


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows of a list, and whether there are more behind them."""

    rows: tuple[R, ...]
    more: bool


def status(t: Tables) -> Status:
    """The cluster in one row."""
    present = [
        a for a in t.agents.values() if a.state in (AgentState.ACTIVE, AgentState.DISCONNECTED)
    ]
    held = [e for a in present for e in a.tasks.values() if e.holds]
    active = sum(f.stream is not None for f in t.frameworks.values())
    return Status(
        epoch=t.epoch,
        agents=Counter(agent.state for agent in t.agents.values()),
        frameworks_active=active,
        frameworks_inactive=len(t.frameworks) - active,
        offers=len(t.offers),
        tasks=Counter(e.state for a in t.agents.values() for e in a.tasks.values()),
        total=_scalars(a.info.resources for a in present),
        allocated=_scalars(e.task.resources for e in held),
        offered=_scalars(o.resources for o in t.offers.values()),
    )


def agents(t: Tables, wanted: str = "", after: str = "") -> Page[AgentRow]:
    """Agents whose id starts with `wanted`, or whose hostname it is."""
    found = (
        (agent_id, agent)
        for agent_id, agent in t.agents.items()
        if agent_id.startswith(wanted) or agent.info.hostname == wanted
    )
    return page_of(found, after, _agent_row)


def frameworks(
    t: Tables, wanted: str = "", after: str = "", *, completed: bool = False
) -> Page[FrameworkRow]:
    """Frameworks whose id starts with `wanted`, or whose name it is."""
    rows = {f.framework_id: _framework_row(t, f) for f in t.frameworks.values()}
    if completed:
        for record in t.completed:
            rows[record.framework_id] = FrameworkRow(
                record.framework_id,
                record.principal,
                record.info,
                "completed",
                record.completed_ms,
            )
    found = (
        (framework_id, row)
        for framework_id, row in rows.items()
        if framework_id.startswith(wanted) or row.info.name == wanted
    )
    return page_of(found, after, lambda row: row)


def requests(t: Tables, framework_id: str) -> tuple[RequestRow, ...]:
    """The first requests of a framework, by their ids."""
    framework = t.frameworks.get(framework_id)
    if framework is None:
        return ()
    offered = Counter[str]()
    for offer in framework.offers.values():
        offered[offer.request_id] += offer.units
    return tuple(
        RequestRow(replace(framework.requests[i].request, count=units), offered[i])
        for i in sorted(framework.requests)[:REQUESTS_SHOWN_MAX]
        if (units := framework.requests[i].units)
    )


def tasks(
    t: Tables,
    wanted: str = "",
    *,
    framework: str = "",
    agent_id: str = "",
    after: str = "",
    completed: bool = False,
) -> Page[TaskRow]:
    """Tasks whose id starts with `wanted`, of one framework (id or name) and agent if given."""
    entries = [e for agent in t.agents.values() for e in agent.tasks.values()]
    if completed:
        entries = [*t.completed_tasks, *entries]
    known = names(t)
    found = {
        f"{e.framework_id}/{e.task.task_id}": e
        for e in entries
        if e.task.task_id.startswith(wanted)
        and framework in ("", e.framework_id, known.get(e.framework_id, ""))
        and agent_id in ("", e.agent_id)
    }
    return page_of(found.items(), after, lambda e: _task_row(t, known, e))


def offers(t: Tables, wanted: str = "", after: str = "") -> Page[OfferRow]:
    """Offers whose id starts with `wanted`."""
    found = ((i, o) for i, o in t.offers.items() if i.startswith(wanted))
    return page_of(found, after, lambda offer: _offer_row(t, offer))


def task_entries(t: Tables, task_id: str, framework: str) -> list[TaskEntry]:
    """Every task with exactly this id, newest first: those that ended not long ago too."""
    known = names(t)
    live = [e for agent in t.agents.values() for e in agent.tasks.values()]
    return [
        e
        for e in [*live, *reversed(t.completed_tasks)]
        if e.task.task_id == task_id
        and framework in ("", e.framework_id, known.get(e.framework_id, ""))
    ]


def names(t: Tables) -> dict[str, str]:
    """Framework id -> name, of those that were removed too."""
    gone = {record.framework_id: record.info.name for record in t.completed}
    return gone | {f.framework_id: f.info.name for f in t.frameworks.values()}


def page_of(
    found: Iterable[tuple[str, E]],
    after: str,
    row: Callable[[E], R],
    rows_max: int = PAGE_ROWS_MAX,
) -> Page[R]:
    """The first rows behind the id `after`, in the order of their ids."""
    behind = sorted((pair for pair in found if pair[0] > after), key=lambda pair: pair[0])
    rows = tuple(row(entry) for _, entry in behind[:rows_max])
    return Page(rows, len(behind) > rows_max)


def _scalars(amounts: Iterable[Resources]) -> Resources:
    return total_of(amount.scalars_only() for amount in amounts)


def _agent_row(agent: AgentEntry) -> AgentRow:
    return AgentRow(
        agent.info,
        agent.state,
        agent.since_ms,
        agent.boot_id,
        _scalars(e.task.resources for e in agent.tasks.values() if e.holds),
        _scalars(o.resources for o in agent.offers.values()),
        sum(not e.state.terminal for e in agent.tasks.values()),
        agent.problem if agent.stream is not None else "",
    )


def _framework_row(t: Tables, framework: FrameworkEntry) -> FrameworkRow:
    return FrameworkRow(
        framework_id=framework.framework_id,
        principal=framework.principal,
        info=framework.info,
        state="active" if framework.stream is not None else "inactive",
        since_ms=framework.since_ms,
        allocated=_scalars(e.task.resources for e in framework.tasks.values() if e.holds),
        offered=_scalars(o.resources for o in framework.offers.values()),
        tasks=sum(not e.state.terminal for e in framework.tasks.values()),
        offers=len(framework.offers),
        suppressed_roles=tuple(sorted(framework.suppressed)),
        failover_deadline_ms=framework.deadline_ms,
        demand_roles=tuple(sorted(framework.demand_roles)),
        requests=len(framework.requests),
        conduct=_conduct_row(t, framework),
    )


def _conduct_row(t: Tables, framework: FrameworkEntry) -> ConductRow:
    return ConductRow(
        framework.offers_answered,
        framework.offers_lapsed,
        framework.held_ms,
        framework.held_longest_ms,
        framework.conduct.offers_max,
        tuple(
            EpisodeRow(what, episode.since_ms, episode.times)
            for what, episode in conduct.standing(t, framework).items()
        ),
    )


def _task_row(t: Tables, names: dict[str, str], entry: TaskEntry) -> TaskRow:
    agent = t.agents.get(entry.agent_id)
    return TaskRow(
        entry.framework_id,
        names.get(entry.framework_id, ""),
        entry.role,
        entry.task,
        entry.agent_id,
        agent.info.hostname if agent is not None else "",
        entry.state,
        entry.history,
    )


def _offer_row(t: Tables, offer: OutstandingOffer) -> OfferRow:
    return OfferRow(
        offer.offer_id,
        offer.framework_id,
        t.frameworks[offer.framework_id].info.name,
        offer.role,
        offer.agent_id,
        t.agents[offer.agent_id].info.hostname,
        offer.resources,
        offer.made_ms,
        max(0, offer.ends_ms - t.now_ms),
    )
