"""Tasks: their statuses on the way to the framework and back, kills, and questions."""

from __future__ import annotations

from mesoslite.lifecycle import TaskState, may_move
from mesoslite.master import fences, releases
from mesoslite.master.protocol import ToAgent, ToScheduler
from mesoslite.master.records import AgentEntry, AgentState, FrameworkEntry, Tables, TaskEntry
from mesoslite.messages import (
    Acknowledge,
    AcknowledgeStatus,
    Kill,
    KillTask,
    Reconcile,
    ShutdownFramework,
    StatusReport,
    TaskMessage,
    Update,
)
from mesoslite.model import Reason, Refusal, Source, TaskReference, TaskStatus

STRAYS_MAX = 10_000  # for each framework, ~0.5 kB each; beyond it they are only passed on
KILLS_MAX = 10_000  # of one framework that wait for agents which are away; ~150 B each
HISTORY_MAX = 32  # a task has one status a state, and few states; phases of a start add some


# --- what becomes of a task -----------------------------------------------------------------------


def move(t: Tables, entry: TaskEntry, state: TaskState) -> None:
    """Take a task to its newest state. One that has ended holds nothing, acknowledged or not."""
    if state is entry.state or not may_move(entry.state, state):
        return
    entry.state = state
    if state.terminal:
        release(t, entry)
        if entry.framework_id in t.frameworks and not entry.double:
            t.agents[entry.agent_id].unacknowledged[entry.framework_id] += 1


def release(t: Tables, entry: TaskEntry) -> None:
    """Free what a task holds, once."""
    if entry.holds:
        entry.holds = False
        t.allocator.release(entry.framework_id, entry.role, entry.agent_id, entry.task.resources)
        releases.task_ended(t, t.agents[entry.agent_id])


def forget(t: Tables, entry: TaskEntry) -> None:
    """Drop a task from the tables: nobody has anything to say about it any more."""
    release(t, entry)
    task_id = entry.task.task_id
    agent = t.agents[entry.agent_id]
    del agent.tasks[entry.framework_id, task_id]
    framework = t.frameworks.get(entry.framework_id)
    if framework is not None and framework.tasks.get(task_id) is entry:
        del framework.tasks[task_id]
    counted = entry.state.terminal and not entry.double
    if counted and agent.unacknowledged[entry.framework_id] > 0:
        agent.unacknowledged[entry.framework_id] -= 1
        if not agent.unacknowledged[entry.framework_id]:
            del agent.unacknowledged[entry.framework_id]
    t.completed_tasks.append(entry)


def remember(t: Tables, entry: TaskEntry, status: TaskStatus) -> None:
    """Keep a status to be shown: the first of each state, and the end in any case."""
    state = status.state
    for old in entry.history:
        if old.state is state:
            return
    if len(entry.history) < HISTORY_MAX:
        entry.history = (*entry.history, status)
        if state.terminal:
            reason = status.reason.name if status.reason is not None else ""
            t.tasks_ended[status.state.name, reason] += 1


def tell(t: Tables, entry: TaskEntry, status: TaskStatus) -> None:
    """Forward a status to the framework, if it is there."""
    framework = t.frameworks.get(entry.framework_id)
    if framework is not None and framework.stream is not None:
        entry.told = status.state
        t.emit(ToScheduler(framework.stream, Update(status)))


def say(t: Tables, entry: TaskEntry, reason: Reason, message: str) -> None:
    """A status of the master's own about the state a task is in: once, unacknowledged."""
    status = TaskStatus(
        task_id=entry.task.task_id,
        state=entry.state,
        framework_id=entry.framework_id,
        agent_id=entry.agent_id,
        source=Source.MASTER,
        reason=reason,
        message=message,
        timestamp_ms=t.now_ms,
    )
    remember(t, entry, status)
    tell(t, entry, status)


def give_up(t: Tables, entry: TaskEntry) -> None:
    """Its agent will never be heard of again: the task is over, and nobody is left to be told.

    One whose end was reported keeps that end. A framework that is away asks for it, and hears
    GONE_BY_OPERATOR.
    """
    told = entry.pending is not None and entry.pending.terminal
    if entry.framework_id in t.frameworks and not entry.double and not told:
        move(t, entry, TaskState.GONE_BY_OPERATOR)
        say(t, entry, Reason.AGENT_GONE, "an operator gave its agent up for good")
    forget(t, entry)


# --- an agent reports -----------------------------------------------------------------------------


def report(t: Tables, agent: AgentEntry, call: StatusReport) -> None:
    """A status on its way to the framework (docs/semantics.md 3.2)."""
    status = call.status
    entry = agent.tasks.get((status.framework_id, status.task_id))
    framework = t.frameworks.get(status.framework_id)
    if framework is None:
        _report_of_a_removed_framework(t, agent, entry, call)
        return
    if call.latest_state.terminal:
        fences.ended(t, agent, framework, status.task_id)
    if entry is None:
        # Not in the registration nor launched since, but the agent must know: hand it through.
        if status.update_id and len(framework.strays) < STRAYS_MAX:
            framework.strays[status.task_id] = status
        if framework.stream is not None:
            t.emit(ToScheduler(framework.stream, Update(status)))
        return
    move(t, entry, call.latest_state)
    remember(t, entry, status)
    if entry.double:
        _deal_with_double(t, agent, entry, status)
        return
    if status.update_id:
        entry.pending = status
    tell(t, entry, status)
    if entry.state.terminal and entry.pending is None:
        # Its end came without an update id, so no acknowledgement will ever take it out. One that
        # did not arrive is found by reconciliation: the agent is here and does not have it.
        forget(t, entry)


def _deal_with_double(t: Tables, agent: AgentEntry, entry: TaskEntry, status: TaskStatus) -> None:
    """The framework knows another task by this id, so here the master acknowledges: the one
    exception to docs/decisions.md D7."""
    if status.update_id and agent.stream is not None:
        done = AcknowledgeStatus(status.framework_id, status.task_id, status.update_id)
        t.emit(ToAgent(agent.stream, done))
    if status.state.terminal:
        forget(t, entry)


def _report_of_a_removed_framework(
    t: Tables, agent: AgentEntry, entry: TaskEntry | None, call: StatusReport
) -> None:
    """Nobody waits for it, but its end frees resources. The agent may not know of the removal."""
    if entry is not None:
        remember(t, entry, call.status)
        move(t, entry, call.latest_state)
        if entry.state.terminal:
            forget(t, entry)
    if call.status.update_id and agent.stream is not None:
        t.emit(ToAgent(agent.stream, ShutdownFramework(call.status.framework_id)))


# --- a framework acknowledges, kills, asks, sends -------------------------------------------------


def acknowledge(t: Tables, framework: FrameworkEntry, call: Acknowledge) -> None:
    """Only this pops the agent's stream (D7). One that can not be forwarded now is dropped: the
    agent reports the status again, and the framework acknowledges it again."""
    agent = t.agents.get(call.agent_id)
    entry = framework.tasks.get(call.task_id)
    if agent is None or (entry is not None and entry.agent_id != call.agent_id):
        t.no(Refusal.UNKNOWN_AGENT)
        return
    if entry is not None and (entry.pending is None or entry.pending.update_id != call.update_id):
        t.no(Refusal.UNKNOWN_STATUS)
        return
    if agent.stream is None:
        return
    ended = entry is not None and entry.pending is not None and entry.pending.state.terminal
    done = AcknowledgeStatus(framework.framework_id, call.task_id, call.update_id, last=ended)
    t.emit(ToAgent(agent.stream, done))
    stray = framework.strays.get(call.task_id)
    if stray is not None and stray.update_id == call.update_id:
        del framework.strays[call.task_id]
    if entry is not None:
        entry.pending = None
        if ended:
            forget(t, entry)


def kill(t: Tables, framework: FrameworkEntry, call: Kill) -> None:
    """End a task, now or when its agent is back. One that can not be ended is answered for."""
    entry = framework.tasks.get(call.task_id)
    if entry is None:
        t.no(Refusal.UNKNOWN_TASK)
        asked = TaskReference(call.task_id, call.agent_id)
        away = _state_of(t, framework, asked) in (None, TaskState.UNREACHABLE)
        if away and len(framework.kills) < KILLS_MAX:
            framework.kills[call.task_id] = call.grace_ms  # until its agent is back
        answer(t, framework, asked)
        return
    if entry.state.terminal:
        answer(t, framework, TaskReference(call.task_id, call.agent_id))
        return
    ask_kill(t, entry, call.grace_ms)


def ask_kill(t: Tables, entry: TaskEntry, grace_ms: int | None) -> None:
    """Pass a kill on, and keep it in case the agent is away or never gets it.

    A second kill may shorten the grace of the first, never lengthen it.
    """
    if entry.kill_asked:
        first_ms, again_ms = (
            entry.task.kill_grace_ms if asked_ms is None else asked_ms
            for asked_ms in (entry.kill_grace_ms, grace_ms)
        )
        if first_ms < again_ms:
            grace_ms = entry.kill_grace_ms
    entry.kill_asked = True
    entry.kill_grace_ms = grace_ms
    agent = t.agents[entry.agent_id]
    if agent.stream is not None:
        t.emit(ToAgent(agent.stream, KillTask(entry.framework_id, entry.task.task_id, grace_ms)))


def reconcile(t: Tables, framework: FrameworkEntry, call: Reconcile) -> None:
    """Answer what is known; no answer means: ask again later (docs/semantics.md 3.3)."""
    if call.tasks:
        for reference in call.tasks:
            answer(t, framework, reference)
    else:
        framework.asks_for_all = t.awaited > 0
        for task_id, entry in framework.tasks.items():
            answer(t, framework, TaskReference(task_id, entry.agent_id))


def answer(t: Tables, framework: FrameworkEntry, asked: TaskReference) -> None:
    """Tell the state of a task that was asked about, if anything can be told."""
    state = _state_of(t, framework, asked)
    if state is None or framework.stream is None:
        return
    entry = framework.tasks.get(asked.task_id)
    status = TaskStatus(
        task_id=asked.task_id,
        state=state,
        framework_id=framework.framework_id,
        agent_id=entry.agent_id if entry is not None else asked.agent_id,
        source=Source.MASTER,
        reason=Reason.RECONCILIATION,
        timestamp_ms=t.now_ms,
    )
    t.emit(ToScheduler(framework.stream, Update(status)))


def _state_of(t: Tables, framework: FrameworkEntry, asked: TaskReference) -> TaskState | None:
    """The answer to a question about a task, by docs/semantics.md 3.3; None: no answer."""
    entry = framework.tasks.get(asked.task_id)
    if entry is not None:
        # Never ahead of what the framework can acknowledge: a newer end arrives as its own status.
        # After a registration that may be the first word about it, and until then none is said.
        if not entry.state.terminal:
            return entry.state
        return entry.pending.state if entry.pending is not None else entry.told
    if asked.task_id in framework.strays:
        return framework.strays[asked.task_id].state
    agent = t.agents.get(asked.agent_id)
    if not asked.agent_id:
        return None if t.awaited else TaskState.UNKNOWN
    if agent is None:
        return TaskState.UNKNOWN
    match agent.state:
        case AgentState.ACTIVE:
            return TaskState.GONE
        case AgentState.AWAITED | AgentState.DISCONNECTED:
            return None
        case AgentState.UNREACHABLE:
            return TaskState.UNREACHABLE
        case AgentState.GONE:
            return TaskState.GONE_BY_OPERATOR


def message_to_task(t: Tables, framework: FrameworkEntry, call: TaskMessage) -> None:
    """Pass bytes on to the agent of a running task; else they are lost, as they may be."""
    entry = framework.tasks.get(call.task_id)
    agent = t.agents.get(entry.agent_id) if entry is not None else None
    if entry is None or agent is None:
        t.no(Refusal.UNKNOWN_TASK)
    elif agent.stream is None:
        t.no(Refusal.AGENT_AWAY)
    else:
        message = TaskMessage(framework.framework_id, entry.agent_id, call.task_id, call.data)
        t.emit(ToAgent(agent.stream, message))


def message_from_task(t: Tables, agent: AgentEntry, call: TaskMessage) -> None:
    """Pass bytes on to the framework of one of the agent's tasks."""
    entry = agent.tasks.get((call.framework_id, call.task_id))
    framework = t.frameworks.get(call.framework_id)
    if entry is None or framework is None:
        t.no(Refusal.UNKNOWN_TASK)
    elif framework.stream is not None:
        message = TaskMessage(call.framework_id, agent.info.agent_id, call.task_id, call.data)
        t.emit(ToScheduler(framework.stream, message))
