"""Fences: at most one task for a key (docs/decisions.md D14, docs/at-most-one.md).

A key is its task's from the commit before the launch until the agent has told its end, or until the
task can not run any more. That is so when the last lease of its agent is over: an agent's fenced
tasks live as long after it *said* a heartbeat as the lease is long, if the master's echo of that
one came back. What it said was said before it was echoed, so a lease that counts from the last echo
is over here last:

    last echo + lease + 1 % of it for clocks that drift + what the launcher needs to kill

A new master counts from its own start, since its predecessor may have echoed until then.
"""

from __future__ import annotations

from dataclasses import replace

from mesoslite.master.protocol import FenceRecord, ForgetFence, SaveFence, ToAgent
from mesoslite.master.records import AgentEntry, FrameworkEntry, Tables, TaskEntry
from mesoslite.messages import KillTask
from mesoslite.model import Refusal, Task

DRIFT_DIVISOR = 100  # 1 %: quartz differs by 0.01 % at worst, and NTP slews by 0.05 %
KILLED_WITHIN_MS = 5_000  # a launcher looks every 2 s at least, and SIGKILL takes its time to work
TOKENS_BITS = 32  # of a token, below the epoch: so many fenced launches of one master


def recover(t: Tables, records: tuple[FenceRecord, ...]) -> None:
    """Take up what an earlier master left, when the frameworks and agents are known.

    A record tells of the longest lease that any master gave while it stood: a later one may give
    shorter ones again, and has to wait for what was echoed before it.
    """
    for record in records:
        longest = record
        if record.lease_ms < t.config.fence_lease_ms:
            longest = replace(record, lease_ms=t.config.fence_lease_ms)
            t.emit(SaveFence(longest))
        _keep(t, longest)


def why_not(t: Tables, framework: FrameworkEntry, task: Task) -> tuple[Refusal, str] | None:
    """Why the task can not have the key of its fence now."""
    held = framework.fences.get(task.fence or "")
    if held is None or (left_ms := left(t, held)) == 0:
        return None
    return Refusal.FENCE_HELD, told(held, left_ms)


def left(t: Tables, held: FenceRecord) -> int:
    """For how many milliseconds its task may still run if nothing more is heard of its agent.

    0: not any more.
    """
    agent = t.agents.get(held.agent_id)
    if agent is None:
        return 0  # it was forgotten, after weeks
    over_ms = agent.echoed_ms + held.lease_ms + held.lease_ms // DRIFT_DIVISOR + KILLED_WITHIN_MS
    return max(0, over_ms - t.now_ms)


def told(held: FenceRecord, left_ms: int) -> str:
    """Whose a key is and for how long, in one line."""
    whose = f"{held.key} is {held.task_id}'s, on {held.agent_id}"
    return f"{whose}, until that has ended or its agent was silent for {left_ms / 1_000:.1f} s more"


def take(t: Tables, framework: FrameworkEntry, entry: TaskEntry) -> None:
    """The task that is launched now has the key of its fence; `why_not` had nothing against it."""
    if entry.task.fence is None:
        return
    t.fence_count += 1
    entry.fence_token = (t.epoch << TOKENS_BITS) + t.fence_count
    before = framework.fences.get(entry.task.fence)
    if before is not None:
        _drop(t, before)
    record = FenceRecord(
        framework.framework_id,
        entry.task.fence,
        entry.task.task_id,
        entry.agent_id,
        entry.fence_token,
        t.config.fence_lease_ms,
    )
    _keep(t, record)
    t.emit(SaveFence(record))


def ended(t: Tables, agent: AgentEntry, framework: FrameworkEntry, task_id: str) -> None:
    """The agent says that a task of its has ended: its key is free."""
    held = agent.fences.get((framework.framework_id, task_id))
    if held is not None:
        _forget(t, held)


def registered(t: Tables, agent: AgentEntry) -> None:
    """The agent has told its truth: what it does not have is free, and what lost its key is ended.

    What the master asks it about once more is answered, and freed then.
    """
    for held in list(agent.fences.values()):
        entry = agent.tasks.get((held.framework_id, held.task_id))
        if entry is None or entry.state.terminal:
            _forget(t, held)
    for entry in [entry for entry in agent.tasks.values() if entry.task.fence is not None]:
        framework = t.frameworks.get(entry.framework_id)
        if framework is None or entry.task.fence is None or entry.state.terminal:
            continue
        # Its key may be nobody's by now: given to another task, which has ended.
        now = framework.fences.get(entry.task.fence)
        lost = now is None or now.task_id != entry.task.task_id
        if lost and agent.stream is not None:
            kill = KillTask(entry.framework_id, entry.task.task_id, 0, fence_lost=True)
            t.emit(ToAgent(agent.stream, kill))


def drop_framework(t: Tables, framework: FrameworkEntry) -> None:
    """The framework is removed: its id, and so its keys, are never used again."""
    for held in list(framework.fences.values()):
        _forget(t, held)


def drop_agent(t: Tables, agent: AgentEntry) -> None:
    """The agent is forgotten: nothing of it has run for weeks."""
    for held in list(agent.fences.values()):
        _forget(t, held)


def _keep(t: Tables, record: FenceRecord) -> None:
    t.frameworks[record.framework_id].fences[record.key] = record
    agent = t.agents.get(record.agent_id)
    if agent is not None:
        agent.fences[record.framework_id, record.task_id] = record


def _drop(t: Tables, held: FenceRecord) -> None:
    t.frameworks[held.framework_id].fences.pop(held.key, None)
    agent = t.agents.get(held.agent_id)
    if agent is not None:
        agent.fences.pop((held.framework_id, held.task_id), None)


def _forget(t: Tables, held: FenceRecord) -> None:
    _drop(t, held)
    t.emit(ForgetFence(held.framework_id, held.key))


def check(t: Tables) -> None:
    """Assert every invariant of the fences. For tests."""
    of_frameworks = {
        (framework.framework_id, record.task_id): record
        for framework in t.frameworks.values()
        for key, record in framework.fences.items()
        if record.key == key
    }
    assert len(of_frameworks) == sum(len(f.fences) for f in t.frameworks.values())
    of_agents = {key: one for agent in t.agents.values() for key, one in agent.fences.items()}
    known = {key: one for key, one in of_frameworks.items() if one.agent_id in t.agents}
    assert of_agents == known, (of_agents, known)
