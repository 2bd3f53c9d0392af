"""Agents: they register with their whole truth, go away, come back, or are given up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from mesoslite.estate import EMPTY, Estate, InvalidEstate
from mesoslite.lifecycle import TaskState
from mesoslite.master import fences, offers, operations, requests, tasks
from mesoslite.master.protocol import (
    AgentRecord,
    CloseStream,
    ForgetAgent,
    SaveAgent,
    ToAgent,
    ToScheduler,
)
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    Tables,
    TaskEntry,
    Timer,
)
from mesoslite.messages import (
    AgentLost,
    FrameworkReference,
    KillTask,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    ShutdownFramework,
    TaskOnAgent,
    TasksOnAgent,
)
from mesoslite.model import Reason, Refusal, TaskReference
from mesoslite.reservations import OperationState, VolumeUse
from mesoslite.resources import Resources

#: How tasks end that never had a container. A registration does not list them, and the agent holds
#: their statuses all the same, until they are acknowledged.
NEVER_RAN = (TaskState.DROPPED, TaskState.ERROR)

#: What an agent is told that an operator gave up, and whoever reads its log.
GONE_FOR_GOOD = "another --work-dir makes another agent of this host, without these tasks"

MINUTE_MS = 60_000

# --- registration ---------------------------------------------------------------------------------


def register(t: Tables, stream: str, call: Register) -> None:
    """Take what an agent says of itself as the truth, and tell it what it may not know."""
    agent_id = call.agent.agent_id
    agent = t.agents.get(agent_id)
    refused, estate = _why_not(t, stream, call, agent), EMPTY
    try:
        estate = Estate.of(call.agent.resources, call.reservations, call.volumes)
    except InvalidEstate as wrong:
        refused = refused or (Refusal.INVALID_AGENT, str(wrong))
    if refused is not None:
        t.no(refused[0])
        t.emit(ToAgent(stream, Refused(*refused)))
        t.emit(CloseStream(stream))
        return
    if agent is None:
        agent = AgentEntry(call.agent, AgentState.ACTIVE, t.now_ms)
        t.agents[agent_id] = agent
        t.emit(SaveAgent(AgentRecord(call.agent, None)))
    else:
        _returns(t, agent, call)
    before = agent.state
    agent.info, agent.boot_id, agent.stream = call.agent, call.boot_id, stream
    agent.registration = call.number
    agent.state, agent.since_ms = AgentState.ACTIVE, t.now_ms
    agent.paused, agent.problem = False, ""
    agent.introduced = {framework.framework_id for framework in call.frameworks}
    agent.echoed_ms = t.now_ms  # Registered is the echo of the registration
    t.greet(stream, agent_id=agent_id)
    t.emit(ToAgent(stream, Registered(t.config.fence_lease_ms)))
    agent.known = True
    operations.registered(t, agent, call, estate)
    if agent.tasks:
        known = dict(agent.tasks)
        here = [_take(t, agent, one) for alike in call.tasks for one in alike.each()]
        _settle_the_missing(t, agent, known, here)
        used = [(e.framework_id, e.role, e.task.resources) for e in agent.tasks.values() if e.holds]
    else:
        here, used = _take_all(t, agent, call.tasks)
    t.allocator.add_agent(agent_id, estate.total, used, call.agent.place)
    t.release_due[agent_id] = None
    requests.judge_soon(t)
    if before is AgentState.UNREACHABLE:
        for entry in here:
            if not (
                entry.double or entry.state.terminal
            ):  # an end comes from the agent, with all that it knows
                tasks.say(t, entry, Reason.AGENT_REREGISTERED, "its agent came back with it")
    of = dict.fromkeys([alike.framework_id for alike in call.tasks])
    if before is AgentState.AWAITED:
        _tell_who_asked(t, of, here)
    _pass_on_what_was_asked(t, agent, call.frameworks, of)
    fences.registered(t, agent)
    offers.answer_waiting(t, agent)


def _tell_who_asked(t: Tables, of: dict[str, None], here: list[TaskEntry]) -> None:
    """A scheduler that knows nothing but its name asks once for all tasks, and may have done so
    before this agent came back to a new master."""
    asking = {one for one in of if one in t.frameworks and t.frameworks[one].asks_for_all}
    for entry in here if asking else ():
        if entry.framework_id in asking and not entry.double:
            reference = TaskReference(entry.task.task_id, entry.agent_id)
            tasks.answer(t, t.frameworks[entry.framework_id], reference)


def _why_not(
    t: Tables, stream: str, call: Register, agent: AgentEntry | None
) -> tuple[Refusal, str] | None:
    """The first reason why this agent can not register. Only reads."""
    if stream in t.peers:
        return Refusal.MALFORMED, "this stream has registered before"
    if call.epoch_seen > t.epoch:
        heard = f"this master's epoch is {t.epoch}, the agent has heard of {call.epoch_seen}"
        return (
            Refusal.STALE_EPOCH,
            f"{heard}: if its registry was lost, start it with --epoch-min {call.epoch_seen + 1}",
        )
    if agent is None:
        if len(t.agents) - len(t.gone) >= t.config.agents_max:
            return Refusal.TOO_MANY_AGENTS, f"it has {len(t.agents) - len(t.gone)}"
    elif agent.state is AgentState.GONE:
        return Refusal.AGENT_GONE, GONE_FOR_GOOD
    elif agent.stream is not None and (
        agent.boot_id != call.boot_id or call.number < agent.registration
    ):
        # Its own earlier stream, of before a reboot, falls silent at once and is then no obstacle.
        # Nor does an earlier registration matter that a slow connection brings after a later one:
        # tasks that have ended since would run again.
        silent_ms = t.now_ms - t.peers[agent.stream].heard_ms
        if silent_ms < 2 * t.config.heartbeat_ms:
            return Refusal.AGENT_ID_IN_USE, f"{call.agent.agent_id} on {agent.info.hostname}"
    return None


def _returns(t: Tables, agent: AgentEntry, call: Register) -> None:
    """Undo what was thought of the agent: its offers are void, its charges are counted anew."""
    if agent.stream is not None:
        t.emit(CloseStream(agent.stream))
        t.part(agent.stream)
    if agent.offers:
        offers.rescind(t, agent.offers.values())
    if agent.state is AgentState.AWAITED:
        _one_less_awaited(t)
    elif agent.state is not AgentState.UNREACHABLE:
        t.allocator.remove_agent(agent.info.agent_id)
    t.timers.drop((Timer.AGENT, agent.info.agent_id))
    t.timers.drop((Timer.FORGET, agent.info.agent_id))
    if agent.state is AgentState.UNREACHABLE or agent.info != call.agent:
        t.emit(SaveAgent(AgentRecord(call.agent, None)))


def _take(t: Tables, agent: AgentEntry, task: TaskOnAgent) -> TaskEntry:
    """Enter a task that the agent says it has. The agent is right about its state."""
    key = (task.framework_id, task.task.task_id)
    entry = agent.tasks.get(key)
    framework = t.frameworks.get(task.framework_id)
    if entry is None:
        entry = TaskEntry(
            task.framework_id,
            task.role,
            task.task,
            agent.info.agent_id,
            task.state,
            holds=not task.state.terminal,
            since_ms=t.now_ms,
        )
        agent.tasks[key] = entry
        if framework is not None:
            _introduce(t, framework, entry)
            if task.state.terminal and not entry.double:
                agent.unacknowledged[task.framework_id] += 1
        return entry
    if framework is not None and task.state.terminal and not entry.state.terminal:
        agent.unacknowledged[task.framework_id] += not entry.double
    entry.state = task.state
    entry.holds = not task.state.terminal
    return entry


def _take_all(
    t: Tables, agent: AgentEntry, listed: Sequence[TasksOnAgent]
) -> tuple[list[TaskEntry], list[tuple[str, str, Resources]]]:
    """`_take` of each, on an agent of which no task is known, and what they hold: so a new master
    enters all tasks of the cluster, at 0.7 us each where `_take` takes 2."""
    here: list[TaskEntry] = []
    used: list[tuple[str, str, Resources]] = []
    of_agent, now_ms = repeat(agent.info.agent_id), repeat(t.now_ms)
    for alike in listed:
        of, role = repeat(alike.framework_id), repeat(alike.role)
        holds = [not state.terminal for state in alike.states]
        entries = list(map(TaskEntry, of, role, alike.tasks, of_agent, alike.states, holds, now_ms))
        task_ids = [task.task_id for task in alike.tasks]
        keys = zip(of, task_ids, strict=False)  # the first has no end
        agent.tasks.update(zip(keys, entries, strict=True))
        framework = t.frameworks.get(alike.framework_id)
        if framework is not None:
            _introduce_all(t, framework, dict(zip(task_ids, entries, strict=True)))
            ended = 0 if all(holds) else sum(not one.holds and not one.double for one in entries)
            if ended:
                agent.unacknowledged[alike.framework_id] += ended
        here += entries
        used += [(alike.framework_id, alike.role, alike.tasks[0].resources)] * sum(holds)
    return here, used


def _introduce_all(t: Tables, framework: FrameworkEntry, entries: dict[str, TaskEntry]) -> None:
    if framework.kills or not framework.tasks.keys().isdisjoint(entries):
        for entry in entries.values():
            _introduce(t, framework, entry)
    else:
        framework.tasks.update(entries)


def _introduce(t: Tables, framework: FrameworkEntry, entry: TaskEntry) -> None:
    """Give a framework a task that its agent brings back.

    While its agent was away the framework may have launched the id again elsewhere. One id is one
    task: the one that the master has known for longer stays, the other is ended.
    """
    task_id = entry.task.task_id
    if framework.tasks.setdefault(task_id, entry) is not entry:
        t.no(Refusal.DUPLICATE_TASK)
        entry.double = entry.kill_asked = True
    elif task_id in framework.kills:
        entry.kill_asked, entry.kill_grace_ms = True, framework.kills.pop(task_id)


def _settle_the_missing(
    t: Tables,
    agent: AgentEntry,
    known: dict[tuple[str, str], TaskEntry],
    here: list[TaskEntry],
) -> None:
    """What the master knew and the agent does not have never arrived, or is over for good."""
    present = {(entry.framework_id, entry.task.task_id) for entry in here}
    missing: list[tuple[str, str]] = []
    for key, entry in known.items():
        if key in present:
            continue
        entry.holds = False  # the allocator counts this agent's charges anew, from what it has
        over = entry.state.terminal and entry.state not in NEVER_RAN
        if over or entry.double or entry.framework_id not in t.frameworks:
            tasks.forget(t, entry)
        else:
            if entry.state is TaskState.UNREACHABLE:
                entry.state = TaskState.STAGING  # so that the agent's DROPPED ends it
            missing.append(key)
    if missing and agent.stream is not None:
        t.emit(ToAgent(agent.stream, ReconcileTasks(tuple(missing))))


def _pass_on_what_was_asked(
    t: Tables, agent: AgentEntry, frameworks: Sequence[FrameworkReference], of: dict[str, None]
) -> None:
    """Removals and kills that the agent may have missed while it was away. `of`: all whose tasks it
    has."""
    if agent.stream is None:
        raise AssertionError("an agent that registers has a stream")
    for framework_id in {**dict.fromkeys([one.framework_id for one in frameworks]), **of}:
        if framework_id not in t.frameworks:
            t.emit(ToAgent(agent.stream, ShutdownFramework(framework_id)))
    for entry in [entry for entry in agent.tasks.values() if entry.kill_asked]:
        if not entry.state.terminal:
            t.emit(
                ToAgent(
                    agent.stream,
                    KillTask(entry.framework_id, entry.task.task_id, entry.kill_grace_ms),
                )
            )


# --- standing by ----------------------------------------------------------------------------------


def pause(t: Tables, agent: AgentEntry, *, paused: bool) -> None:
    """It does not read what it is sent, or does so again."""
    _stand_by(t, agent, paused, agent.problem)


def troubled(t: Tables, agent: AgentEntry, problem: str) -> None:
    """It can take no launches now, or (empty) can again. What runs on it goes on."""
    if problem:
        offers.rescind(t, agent.offers.values())
    _stand_by(t, agent, agent.paused, problem)


def measured(agent: AgentEntry, volumes: Sequence[VolumeUse]) -> None:
    """It tells how full volumes are; those that are gone are forgotten with the next word."""
    for use in volumes:
        agent.volume_uses[use.role, use.volume_id] = use
    there = agent.estate.volumes
    agent.volume_uses = {key: use for key, use in agent.volume_uses.items() if key in there}


def _stand_by(t: Tables, agent: AgentEntry, paused: bool, problem: str) -> None:
    before, now = agent.paused or bool(agent.problem), paused or bool(problem)
    agent.paused, agent.problem = paused, problem
    if before != now:
        turn = t.allocator.deactivate_agent if now else t.allocator.activate_agent
        turn(agent.info.agent_id)


# --- going away -----------------------------------------------------------------------------------


def disconnected(t: Tables, agent: AgentEntry) -> None:
    """Its stream has ended: offer nothing of it, and give it time to come back."""
    if agent.stream is not None:
        t.part(agent.stream)
    agent.stream = None
    agent.state, agent.since_ms = AgentState.DISCONNECTED, t.now_ms
    operations.disconnected(t, agent)
    offers.rescind(t, agent.offers.values())
    t.allocator.deactivate_agent(agent.info.agent_id)
    t.timers.set((Timer.AGENT, agent.info.agent_id), t.now_ms + t.config.silence_ms)


def away_for_too_long(t: Tables, agent: AgentEntry) -> None:
    """Give it up, or wait with that until fewer were given up within a minute."""
    most, lately = t.config.agent_removals_per_minute, t.given_up_ms
    while lately and lately[0] + MINUTE_MS <= t.now_ms:
        lately.popleft()
    if most and len(lately) >= most:
        t.timers.set((Timer.AGENT, agent.info.agent_id), lately[0] + MINUTE_MS)
        return
    if most:
        lately.append(t.now_ms)
    give_up(t, agent)


def give_up(t: Tables, agent: AgentEntry) -> None:
    """It was away for too long: its tasks are UNREACHABLE, and hold nothing that could be offered.

    Nothing is killed: it may come back with all of them (docs/semantics.md 3.4).
    """
    agent_id = agent.info.agent_id
    if agent.state is AgentState.AWAITED:
        _one_less_awaited(t)
    else:
        for entry in agent.tasks.values():
            entry.holds = False
        t.allocator.remove_agent(agent_id)
    requests.judge_soon(t)
    agent.state = AgentState.UNREACHABLE  # since it went, not since it was given up for that
    t.timers.drop((Timer.AGENT, agent_id))
    t.timers.set((Timer.FORGET, agent_id), agent.since_ms + t.config.forget_unreachable_ms)
    t.emit(SaveAgent(AgentRecord(agent.info, agent.since_ms)))
    operations.given_up(t, agent, OperationState.UNREACHABLE)
    _tell_all(t, agent_id)
    for entry in list(agent.tasks.values()):
        if entry.double or entry.framework_id not in t.frameworks:
            tasks.forget(t, entry)
        elif not entry.state.terminal:
            entry.state = TaskState.UNREACHABLE
            tasks.say(t, entry, Reason.AGENT_UNREACHABLE, "its agent is not heard of")
    offers.answer_waiting(t, agent)


def mark_gone(t: Tables, agent: AgentEntry) -> None:
    """An operator says that it will never be back: its tasks are over, and its id is used up.

    If it is here after all it is told so, and ends what it has: the operator's word counts.
    """
    agent_id, was = agent.info.agent_id, agent.state
    if agent.stream is not None:
        t.emit(ToAgent(agent.stream, Refused(Refusal.AGENT_GONE, GONE_FOR_GOOD)))
        t.emit(CloseStream(agent.stream))
        t.part(agent.stream)
        agent.stream = None
    offers.rescind(t, agent.offers.values())
    if was is AgentState.AWAITED:
        _one_less_awaited(t)
    elif was is not AgentState.UNREACHABLE:
        for entry in agent.tasks.values():
            entry.holds = False
        t.allocator.remove_agent(agent_id)
    requests.judge_soon(t)
    agent.state, agent.since_ms = AgentState.GONE, t.now_ms
    t.timers.drop((Timer.AGENT, agent_id))
    t.timers.drop((Timer.FORGET, agent_id))
    t.emit(SaveAgent(AgentRecord(agent.info, None, t.now_ms)))
    operations.given_up(t, agent, OperationState.GONE_BY_OPERATOR)
    t.gone[agent_id] = None
    if was is not AgentState.UNREACHABLE:
        _tell_all(t, agent_id)
    offers.answer_waiting(t, agent)
    for entry in list(agent.tasks.values()):
        tasks.give_up(t, entry)
    for framework in t.frameworks.values():
        for task_id in [i for i, s in framework.strays.items() if s.agent_id == agent_id]:
            del framework.strays[task_id]  # nobody is there who could be told of its arrival
    if len(t.gone) > t.config.gone_agents_max:
        oldest = next(iter(t.gone))
        fences.drop_agent(t, t.agents[oldest])
        del t.gone[oldest]
        del t.agents[oldest]
        t.emit(ForgetAgent(oldest))


def _tell_all(t: Tables, agent_id: str) -> None:
    for framework in t.frameworks.values():
        if framework.stream is not None:
            t.emit(ToScheduler(framework.stream, AgentLost(agent_id)))


def _one_less_awaited(t: Tables) -> None:
    t.awaited -= 1
    if not t.awaited:
        requests.judge_now(t)


def forget(t: Tables, agent: AgentEntry) -> None:
    """An agent that was unreachable for weeks is dropped, with what it had."""
    for entry in list(agent.tasks.values()):
        tasks.forget(t, entry)
    fences.drop_agent(t, agent)
    operations.forget(t, agent)
    del t.agents[agent.info.agent_id]
