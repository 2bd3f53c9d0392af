"""What must become true once nothing breaks any more: nobody waits for ever."""

from __future__ import annotations

from collections.abc import Iterator

from mesoslite.lifecycle import TaskState
from mesoslite.master.records import AgentState
from mesoslite.testing import AgentNode, SchedulerNode, Simulation
from tests.simulation.asking import LAST_ID, LAST_NEEDS, Asking
from tests.simulation.safety import Safety

SETTLED_S = 4_000  # backoffs, 10 minutes of resending at most, 15 of reconciliation: all fit
LOOK_EVERY_S = 20
DEMAND_MET_S = 300  # refusals of up to 60 s, from before, run out in it
RUNNING = (TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING)


def settle(cluster: Simulation, safety: Safety) -> None:
    """Wait until all is as it should be. Raises AssertionError with what is not."""
    waited_s = 0
    while why := list(_why_not(cluster, safety)):
        assert waited_s < SETTLED_S, f"after {SETTLED_S} s of good weather: {why}"
        cluster.run(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S


def _why_not(cluster: Simulation, safety: Safety) -> Iterator[str]:
    """Everything that is not as it should be in a cluster where nothing breaks."""
    for agent in cluster.agents.values():
        if safety.given_up(agent.name):
            if agent.alive:
                yield f"{agent.name} is gone for good and has not ended"
        else:
            yield from _why_not_agent(cluster, agent)
            yield from safety.estates.why_not(agent)
    for scheduler in cluster.schedulers.values():
        if scheduler.finish is None:
            yield from _why_not_scheduler(cluster, scheduler, safety)
    yield from _why_not_tasks(cluster)


def _why_not_agent(cluster: Simulation, node: AgentNode) -> Iterator[str]:
    master, machine = cluster.master.machine, node.machine
    assert not node.aborted, f"{node.name} gave up: {node.aborted}"
    if machine is None or master is None or not (machine.registered and node.connected):
        yield f"{node.name} is not registered"
        return
    known = master.tables.agents.get(node.name)
    if known is None or known.state is not AgentState.ACTIVE:
        yield f"{node.name} is not active"
        return
    if known.waiting:
        yield f"{len(known.waiting)} accepts wait for {node.name}"
    unread = [s for f in machine._ledger.frameworks.values() for s in f.streams.values()]
    if pending := [stream.task_id for stream in unread if stream.pending]:
        yield f"statuses of {pending} on {node.name} are not acknowledged"
    for container in node.containers.containers.values():
        if not container.live and not container.destroyed:
            yield f"{container.spec.container_id} on {node.name} has ended and was not destroyed"


def _why_not_scheduler(cluster: Simulation, node: SchedulerNode, safety: Safety) -> Iterator[str]:
    session = node.machine
    if session is None or not (session.subscribed and node.connected):
        yield f"{node.name} is not subscribed"
        return
    if session.accepts_unanswered:
        yield f"{session.accepts_unanswered} accepts of {node.name} are not answered"
    if unanswered := session.tables.reconciliation.unanswered:
        yield f"questions of {node.name} about {sorted(unanswered)} are not answered"
    if unended := session.tables.operations._open:
        yield f"{node.name} waits for the ends of {sorted(unended)}"
    yield from _why_not_requests(cluster, node)
    launched: dict[str, object] = getattr(node.scheduler, "launched", {})
    for task_id in launched:
        told = safety.told.get(node.name, {}).get((node.framework_id, task_id))
        live = [c for c in safety.of_task.get((node.framework_id, task_id), []) if c.live]
        if live and task_id in session.tables.kills:
            yield f"{node.name} has asked for the end of {task_id}, which lives"
        if (node.name, node.framework_id, task_id) in safety.answered:
            continue
        if told is None:
            yield f"{node.name} was never told anything about {task_id}"
        elif live and told.state not in RUNNING:
            yield f"{node.name} was told {told.state.name} of {task_id}, which lives"
        elif not live and told.state in (*RUNNING, TaskState.UNREACHABLE):
            yield f"{node.name} was told {told.state.name} of {task_id}, which does not live"


def _why_not_requests(cluster: Simulation, node: SchedulerNode) -> Iterator[str]:
    """The master counts as the session does."""
    session, master = node.machine, cluster.master.machine
    assert session is not None
    if master is None or node.framework_id not in master.tables.frameworks:
        return
    wanted = master.tables.frameworks[node.framework_id].requests
    theirs = {request_id: one.units for request_id, one in wanted.items()}
    mine = {i: session.wanted(i) for i in session.tables.requests._entries if session.wanted(i)}
    if mine != theirs:
        yield f"{node.name} wants {mine}, and the master thinks {theirs}"


def _why_not_tasks(cluster: Simulation) -> Iterator[str]:
    """What the master believes to run does, and nothing else runs."""
    master = cluster.master.machine
    if master is None:
        yield "there is no master"
        return
    believed: set[tuple[str, str, str]] = set()
    for agent in master.tables.agents.values():
        for (framework_id, task_id), entry in agent.tasks.items():
            believed.add((agent.info.agent_id, framework_id, task_id))
            if entry.state.terminal:
                yield f"the end of {framework_id}/{task_id} is not acknowledged"
            elif not entry.holds:
                yield f"{framework_id}/{task_id} holds nothing"
    real = {
        (container.agent, container.spec.framework_id, container.spec.task_id)
        for container in cluster.containers()
        if container.live
    }
    if believed != real:
        yield f"the master alone believes in {believed - real}, nobody in {real - believed}"
    for framework_id in {key[1] for key in real} - master.tables.frameworks.keys():
        yield f"tasks of {framework_id} live, which is no more"


def demands_are_met(cluster: Simulation) -> None:
    """Whoever requests what there is room for is offered it, and its tasks start."""
    asking = [node for node in cluster.schedulers.values() if isinstance(node.scheduler, Asking)]
    for node in asking:
        if isinstance(node.scheduler, Asking):
            node.scheduler.ask_for_the_last_time()
    waited_s = 0
    while unmet := [n for n in asking if n.machine is not None and n.machine.wanted(LAST_ID)]:
        if not _has_room(cluster):
            break
        names = [node.name for node in unmet]
        assert waited_s < DEMAND_MET_S, f"{names} are not offered what they requested"
        cluster.run(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S
    for node in asking:
        node.scheduler.withdraw()
    cluster.run(1)


def _has_room(cluster: Simulation) -> bool:
    """Whether some agent has a unit of the last request free of tasks."""
    master = cluster.master.machine
    assert master is not None
    for agent_id, agent in master.tables.agents.items():
        if agent.stream is not None:
            left = _left(cluster, agent_id)
            if all(left.get(key, 0) >= milli for key, milli in LAST_NEEDS.scalars.items()):
                return True
    return False


def all_is_offered(cluster: Simulation) -> None:
    """D11: once everybody wants offers, each agent with something free is offered to somebody, and
    everybody who may have one is offered something."""
    wanting = [node for node in cluster.schedulers.values() if node.finish is None]
    if not wanting:
        return
    before = {node.name: len(node.offers) for node in wanting}
    for node in wanting:
        node.scheduler.revive()
    cluster.run(120)
    wanting = [node for node in wanting if node.finish is None]
    master = cluster.master.machine
    assert master is not None
    free = [
        agent_id
        for agent_id, agent in master.tables.agents.items()
        if agent.stream is not None and any(_offerable(cluster, agent_id))
    ]
    offered = {offer.agent_id for node in wanting for offer in node.offers[before[node.name] :]}
    if not wanting:
        return  # the last one ended meanwhile
    assert not (forgotten := set(free) - offered), f"{forgotten} are offered to nobody"
    if free:
        for node in wanting:
            assert len(node.offers) > before[node.name], f"{node.name} is offered nothing"


def _offerable(cluster: Simulation, agent_id: str) -> Iterator[str]:
    """The scalars of an agent that are neither used nor too small to be offered."""
    left = _left(cluster, agent_id)
    if left.get("cpus", 0) >= 10:
        yield "cpus"
    if left.get("mem", 0) >= 32_000:
        yield "mem"


def _left(cluster: Simulation, agent_id: str) -> dict[str, int]:
    """What no task holds of the scalars of an agent."""
    master = cluster.master.machine
    assert master is not None
    left = dict(master.tables.agents[agent_id].estate.total.scalars)
    for entry in master.tables.agents[agent_id].tasks.values():
        for key, amount in entry.task.resources.scalars.items() if entry.holds else ():
            left[key] -= amount
    return left
