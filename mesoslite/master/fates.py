"""What became of a task: where it is, what it waits for, how it ended, or why it never ran."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from mesoslite.explanation import TaskExplanation
from mesoslite.lifecycle import TaskState
from mesoslite.master import fences, view
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    RefusedLaunch,
    Tables,
    TaskEntry,
    Timer,
)
from mesoslite.master.remedies import of_refused_launch, span
from mesoslite.model import InvalidLaunch, Launch, Operation, OperationResult, Refusal

SHOWN_MAX = 5  # of several that somebody may mean
REFUSED_LAUNCHES_MAX = 1_000  # of a framework, the newest; ~400 B each

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NotExplained:
    """There is nothing to explain, and why."""

    refusal: Refusal
    message: str


def remember_refused(
    t: Tables,
    framework: FrameworkEntry,
    agent_id: str,
    operation: Operation,
    result: OperationResult,
) -> None:
    """Keep the refusal of a launch, so that somebody may ask for it by the task's id."""
    if not isinstance(operation, Launch | InvalidLaunch):
        return
    named = operation if isinstance(operation, InvalidLaunch) else operation.task
    task_id = named.task_id
    if result.refusal is None or not task_id:
        return
    launches = framework.refused_launches
    launches.pop(task_id, None)
    fence = "" if isinstance(operation, InvalidLaunch) else operation.task.fence or ""
    launches[task_id] = RefusedLaunch(result.refusal, result.message, agent_id, t.now_ms, fence)
    if len(launches) > REFUSED_LAUNCHES_MAX:
        del launches[next(iter(launches))]


def explain_task(t: Tables, some: str, framework: str) -> TaskExplanation | NotExplained:
    """Explain the task with this id, or the one whose id starts so; of a framework if given."""
    tests: tuple[Callable[[str], bool], ...] = (some.__eq__, lambda i: i.startswith(some))
    for fits in tests if some else ():
        known = {(e.framework_id, e.task.task_id): e for e in _entries(t, fits, framework)}
        # A launch that is refused changes nothing about an earlier one of the same id.
        refused = {key: launch for key, launch in _refused(t, fits, framework) if key not in known}
        if len(known) + len(refused) > 1:
            keys = (*known, *refused)
            names = {f"{task_id} of {holder}" for holder, task_id in keys}
            do = "give the whole id"
            if len({task_id for _, task_id in keys}) == 1:  # no longer id tells those apart
                do = f"say whose you mean, as --framework {min(keys)[0]}"
            return NotExplained(Refusal.AMBIGUOUS, several(some, names, do))
        for entry in known.values():
            return _explain_entry(t, entry)
        for key, launch in refused.items():
            return _explain_refused(t, key, launch)
    what = f"task of {framework}" if framework else "framework or task"
    return NotExplained(Refusal.UNKNOWN_TASK, f"{some!r} is no {what} that is known here")


def several(some: str, names: Collection[str], do: str = "give the whole id") -> str:
    """What to say to somebody who may mean several."""
    return f"{some!r} may be {_listed(names)}: {do}"


def these(some: str, ids: Collection[str]) -> str:
    """What is said before "more than one matches": which ones."""
    return f"{some} ({_listed(ids)})"


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN_MAX])
    more = f" and {len(names) - SHOWN_MAX:,} more" if len(names) > SHOWN_MAX else ""
    return f"{shown}{more}"


def _entries(t: Tables, fits: Callable[[str], bool], framework: str) -> Iterator[TaskEntry]:
    """The tasks of these ids: first those that ended, then those that are there."""
    names = view.names(t)
    here = (entry for agent in t.agents.values() for entry in agent.tasks.values())
    for entries in (t.completed_tasks, here):
        for entry in entries:
            name = names.get(entry.framework_id, "")
            if fits(entry.task.task_id) and framework in ("", entry.framework_id, name):
                yield entry


def _refused(
    t: Tables, fits: Callable[[str], bool], framework: str
) -> Iterator[tuple[Key, RefusedLaunch]]:
    for entry in t.frameworks.values():
        if framework in ("", entry.framework_id, entry.info.name):
            for task_id, launch in entry.refused_launches.items():
                if fits(task_id):
                    yield (entry.framework_id, task_id), launch


def _explain_refused(t: Tables, key: Key, launch: RefusedLaunch) -> TaskExplanation:
    framework_id, task_id = key
    ago = span(t.now_ms - launch.refused_ms)
    detail = f" ({launch.message})" if launch.message else ""
    return TaskExplanation(
        task_id,
        framework_id,
        t.frameworks[framework_id].info.name,
        f"{task_id} was refused {ago} ago: {launch.refusal.value}{detail}",
        _what_helps(t, framework_id, launch),
        refusal=launch.refusal,
        agent_id=launch.agent_id,
        since_ms=launch.refused_ms,
    )


def _what_helps(t: Tables, framework_id: str, launch: RefusedLaunch) -> str:
    if launch.refusal is not Refusal.FENCE_HELD:
        return of_refused_launch(launch.refusal)
    held = t.frameworks[framework_id].fences.get(launch.fence)
    if held is None or (left_ms := fences.left(t, held)) == 0:
        return f"{launch.fence} is free now: launch it again"
    return f"now {fences.told(held, left_ms)}"


def _explain_entry(t: Tables, entry: TaskEntry) -> TaskExplanation:
    status = next((s for s in reversed(entry.history) if s.state is entry.state), None)
    since_ms = status.timestamp_ms if status is not None else entry.since_ms
    text, remedy = _told(t, entry, span(t.now_ms - since_ms))
    return TaskExplanation(
        entry.task.task_id,
        entry.framework_id,
        view.names(t).get(entry.framework_id, ""),
        f"{entry.task.task_id} {text}",
        remedy,
        entry.state,
        status.reason if status is not None else None,
        agent_id=entry.agent_id,
        since_ms=since_ms,
    )


def _told(t: Tables, entry: TaskEntry, how_long: str) -> tuple[str, str]:
    """What is to be said of a task, and what would help."""
    agent = t.agents.get(entry.agent_id)
    where = entry.agent_id if agent is None else f"{entry.agent_id} ({agent.info.hostname})"
    if entry.state.terminal:
        return _told_of_ended(t, entry, where, how_long)
    if agent is not None and agent.state is not AgentState.ACTIVE:
        return _told_of_away(t, entry, agent, where)
    if entry.kill_asked:
        asked_ms = entry.kill_grace_ms
        grace_ms = entry.task.kill_grace_ms if asked_ms is None else asked_ms
        text = f"is being ended on {where}, {entry.state.name} for {how_long}"
        return text, f"SIGKILL follows {span(grace_ms)} after SIGTERM"
    match entry.state:
        case TaskState.STAGING:
            return (
                f"was sent to {where} {how_long} ago, which has not said yet that it starts it",
                "the agent's log tells more: it answers within moments when all is well",
            )
        case TaskState.STARTING:
            return (
                f"is being started on {where} for {how_long}",
                "its files are fetched and its container is made, each with a deadline",
            )
        case _:
            return f"is {entry.state.name} on {where} for {how_long}", ""


def _told_of_away(t: Tables, entry: TaskEntry, agent: AgentEntry, where: str) -> tuple[str, str]:
    gone = span(t.now_ms - agent.since_ms)
    due_ms = t.timers.due_ms((Timer.AGENT, entry.agent_id))
    if entry.state is TaskState.UNREACHABLE or due_ms is None:
        text = f"is UNREACHABLE: nothing was heard of {where} for {gone}; it may still run"
        return text, "its agent comes back; until then nobody can say more"
    text = f"was {entry.state.name} on {where}, of which nothing was heard for {gone}"
    return text, f"its agent comes back within {span(due_ms - t.now_ms)}, or it is UNREACHABLE"


def _told_of_ended(t: Tables, entry: TaskEntry, where: str, ago: str) -> tuple[str, str]:
    end = next((s for s in reversed(entry.history) if s.terminal), None)
    reason = f", {end.reason.value}" if end is not None and end.reason is not None else ""
    detail = f" ({end.message})" if end is not None and end.message else ""
    text = f"{entry.state.name} on {where} {ago} ago{reason}{detail}"
    framework = t.frameworks.get(entry.framework_id)
    if framework is None or framework.tasks.get(entry.task.task_id) is not entry:
        return text, ""
    if framework.stream is None:
        return f"{text}; its scheduler is away and was not told", "its scheduler comes back"
    return f"{text}; its scheduler has not acknowledged that", "its scheduler acknowledges it"
