"""Changes of reservations and volumes: sent to agents, answered by them, told to frameworks.

The master goes ahead of its agents: what it finds good counts as done, in `AgentEntry.estate`,
before the agent has said so. `AgentEntry.settled` is what the agent has said. Between them are the
orders that are on their way, in `AgentEntry.operations`; when one of them fails all that follow are
looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesoslite.estate import EMPTY, Estate, Why
from mesoslite.master import offers, orders
from mesoslite.master.protocol import Answer, CloseStream, ToAgent, ToScheduler
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    OperationEntry,
    Tables,
    Timer,
)
from mesoslite.messages import (
    AcknowledgeOperation,
    OperationUpdate,
    ReconcileOperations,
    Register,
)
from mesoslite.model import Refusal
from mesoslite.operations import OperationReference, OperationStatus, Order
from mesoslite.reservations import OperationState

#: What is said of a change on an agent that is not here.
STATE_OF_AWAY = {
    AgentState.DISCONNECTED: OperationState.RECOVERING,
    AgentState.AWAITED: OperationState.RECOVERING,
    AgentState.UNREACHABLE: OperationState.UNREACHABLE,
    AgentState.GONE: OperationState.GONE_BY_OPERATOR,
}

#: After which what an agent could not release is tried again: its disk may be in trouble. Twice as
#: long each time, up to ten minutes: each attempt is an fsync of a disk that has none to spare.
RELEASE_AGAIN_MS, RELEASE_AGAIN_MS_MAX = 10_000, 600_000

# --- without an offer ----------------------------------------------------------------------------


def why_not_here(agent: AgentEntry | None, agent_id: str) -> Why:
    """Why nothing can be asked of an agent without a stream, by the name that people know."""
    if agent is None:
        return Refusal.UNKNOWN_AGENT, agent_id
    host = agent.info.hostname or agent_id
    if agent.state is AgentState.GONE:
        return Refusal.AGENT_GONE, host
    when = f"ask again when `mesoslite agent show {host}` shows it as active"
    return Refusal.AGENT_AWAY, f"{host} is {agent.state.value}; {when}"


def do(t: Tables, agent: AgentEntry, order: Order, request: int | None = None) -> Why | None:
    """Carry out an order that comes with no offer: offers in its way are rescinded (O6).

    Returns why not, and nothing has changed then.
    """
    free = t.allocator.free(agent.info.agent_id)
    at_hand = free
    for offer in agent.offers.values():
        at_hand += offer.resources
    if (why := agent.estate.why_not(order, at_hand)) is not None:
        return why
    taken, _ = agent.estate.conversion(order)
    if not free.covers(taken):
        offers.rescind(t, agent.offers.values())
    orders.enter(agent, order, request)
    t.allocator.set_total(agent.info.agent_id, agent.estate.total)
    orders.send(t, agent, order)
    return None


# --- answered -------------------------------------------------------------------------------------


def report(t: Tables, agent: AgentEntry, status: OperationStatus) -> None:
    """An agent tells the end of an order. Its word counts (docs/reservations.md)."""
    key = (status.framework_id, status.operation_id)
    entry = agent.operations.get(key)
    if entry is None or entry.order is None or entry.end is not None:
        t.no(Refusal.UNKNOWN_STATUS)  # it was acknowledged, and that is on its way
        return
    entry.end = status
    if status.state is not OperationState.FINISHED:
        _take_back(t, agent)
        if t.releases and not status.framework_id:  # nothing else may bring us there again
            _release_later(t, agent)
    elif agent.settled.why_not(entry.order) is None:
        agent.settled = agent.settled.after(entry.order)
        agent.releases_failed = 0
        if t.releases:  # what was destroyed may have been in the way of a release
            t.release_due[agent.info.agent_id] = None
    elif agent.stream is not None:
        # It has done what can not be done with what it has told: it is to tell all of it again.
        t.emit(CloseStream(agent.stream))
    _answer(t, agent, entry, status)
    _pass_on(t, agent, status)
    if not status.acknowledge:  # it does not keep this one: it holds as many as it may
        _forget(t, agent, status)


def _release_later(t: Tables, agent: AgentEntry) -> None:
    """Of several that fail together the first sets when all are tried again."""
    at = (Timer.RELEASE, agent.info.agent_id)
    if at not in t.timers:
        wait_ms = min(RELEASE_AGAIN_MS << min(agent.releases_failed, 10), RELEASE_AGAIN_MS_MAX)
        agent.releases_failed += 1
        t.timers.set(at, t.now_ms + wait_ms)


def _answer(t: Tables, agent: AgentEntry, entry: OperationEntry, status: OperationStatus) -> None:
    """Tell the operator who waits for it, if one does."""
    if entry.request is None:
        return
    refusal = status.refusal
    if refusal is None and status.state is not OperationState.FINISHED:
        refusal = Refusal.OPERATION_FAILED
    t.emit(Answer(entry.request, refusal, status.message, agent_id=agent.info.agent_id))
    entry.request = None


def _never_answered(t: Tables, entry: OperationEntry, refusal: Refusal, why: str) -> None:
    """The operator who waits for it, if one does, waits for nothing."""
    if entry.request is not None and entry.end is None:
        t.emit(Answer(entry.request, t.no(refusal), why))
        entry.request = None


def _forget(t: Tables, agent: AgentEntry, status: OperationStatus) -> None:
    agent.operations.pop((status.framework_id, status.operation_id), None)
    framework = t.frameworks.get(status.framework_id)
    if framework is not None:
        framework.operations.pop(status.operation_id, None)


def _pass_on(t: Tables, agent: AgentEntry, status: OperationStatus) -> None:
    """Tell the framework, or acknowledge what nobody else could."""
    framework = t.frameworks.get(status.framework_id)
    agent_id = agent.info.agent_id
    # An id that was used again after a change of masters, on another agent: one of them is told.
    if framework is None or framework.operations.get(status.operation_id, agent_id) != agent_id:
        _acknowledge(t, agent, status.framework_id, status.operation_id)
        return
    framework.operations[status.operation_id] = agent_id
    tell(t, framework, status)


def tell(t: Tables, framework: FrameworkEntry, status: OperationStatus) -> None:
    """Say it on the framework's stream, if there is one."""
    if framework.stream is not None:
        t.emit(ToScheduler(framework.stream, OperationUpdate(status)))


def _take_back(t: Tables, agent: AgentEntry) -> None:
    """An order has failed, on which later ones may build: count anew what is there."""
    estate = agent.settled
    for entry in agent.operations.values():
        if entry.order is not None and entry.end is None and estate.why_not(entry.order) is None:
            estate = estate.after(entry.order)
    agent.estate = estate
    offers.rescind(t, agent.offers.values())
    t.allocator.set_total(agent.info.agent_id, estate.total)


def acknowledge(t: Tables, framework: FrameworkEntry, call: AcknowledgeOperation) -> None:
    """The framework has dealt with an end. One that can not be forwarded now is dropped: the agent
    tells the end again when it is back, and the framework acknowledges it again."""
    agent = t.agents.get(call.agent_id)
    entry = None
    if agent is not None:
        entry = agent.operations.get((framework.framework_id, call.operation_id))
    if agent is None or entry is None or entry.end is None:
        t.no(Refusal.UNKNOWN_STATUS)
    elif agent.stream is not None:
        _acknowledge(t, agent, framework.framework_id, call.operation_id)
        framework.operations.pop(call.operation_id, None)


def _acknowledge(t: Tables, agent: AgentEntry, framework_id: str, operation_id: str) -> None:
    agent.operations.pop((framework_id, operation_id), None)
    if agent.stream is not None:
        done = AcknowledgeOperation(framework_id, agent.info.agent_id, operation_id)
        t.emit(ToAgent(agent.stream, done))


# --- agents come and go ---------------------------------------------------------------------------


def registered(t: Tables, agent: AgentEntry, call: Register, estate: Estate) -> None:
    """What the agent says is what there is. What it has not answered has never arrived."""
    sent, agent.operations = agent.operations, {}
    agent.settled = agent.estate = estate
    for status in call.operations:
        key = (status.framework_id, status.operation_id)
        if (asked := sent.pop(key, None)) is not None:
            _answer(t, agent, asked, status)
        agent.operations[key] = OperationEntry(None, status)
        _pass_on(t, agent, status)
    for (framework_id, operation_id), entry in sent.items():
        why = "it has come back without an answer: look what is there"
        _never_answered(t, entry, Refusal.AGENT_AWAY, why)
        framework = t.frameworks.get(framework_id)
        if framework is not None:
            framework.operations.pop(operation_id, None)
        if entry.end is None and framework is not None:  # else its acknowledgement has arrived
            tell(t, framework, _said(t, agent, framework, operation_id, OperationState.DROPPED))


def disconnected(t: Tables, agent: AgentEntry) -> None:
    """No operator waits for an agent that has left."""
    for entry in agent.operations.values():
        why = "it left before it had answered: look what is there when it is back"
        _never_answered(t, entry, Refusal.AGENT_AWAY, why)


def given_up(t: Tables, agent: AgentEntry, state: OperationState) -> None:
    """The agent is not heard of any more, or will never be: tell who waits for its answers."""
    for (framework_id, operation_id), entry in list(agent.operations.items()):
        framework = t.frameworks.get(framework_id)
        if framework is not None and entry.end is None:
            tell(t, framework, _said(t, agent, framework, operation_id, state))
        if state.final:
            _never_answered(t, entry, Refusal.AGENT_GONE, agent.info.agent_id)
            del agent.operations[framework_id, operation_id]
            if framework is not None:
                framework.operations.pop(operation_id, None)
    if state.final:
        agent.estate = agent.settled = EMPTY
        agent.volume_uses = {}


def forget(t: Tables, agent: AgentEntry) -> None:
    """The agent was away for weeks, and is dropped with all that is known of it."""
    for framework_id, operation_id in agent.operations:
        framework = t.frameworks.get(framework_id)
        if framework is not None:
            framework.operations.pop(operation_id, None)


# --- frameworks come, ask and go ------------------------------------------------------------------


def subscribed(t: Tables, framework: FrameworkEntry) -> None:
    """Say again what was not acknowledged."""
    for operation_id, agent_id in framework.operations.items():
        entry = t.agents[agent_id].operations[framework.framework_id, operation_id]
        if entry.end is not None:
            tell(t, framework, entry.end)


def removed(t: Tables, framework: FrameworkEntry) -> None:
    """Nobody is left who could acknowledge: the master does. What is on its way is done still."""
    for operation_id, agent_id in framework.operations.items():
        agent = t.agents[agent_id]
        entry = agent.operations[framework.framework_id, operation_id]
        if entry.end is not None and agent.stream is not None:
            _acknowledge(t, agent, framework.framework_id, operation_id)
    framework.operations.clear()


def reconcile(t: Tables, framework: FrameworkEntry, call: ReconcileOperations) -> None:
    """Tell what became of operations, as far as it is known."""
    asked: Iterable[OperationReference] = call.operations
    if not call.operations:
        asked = [OperationReference(*one) for one in framework.operations.items()]
    for reference in asked:
        tell(t, framework, _status_of(t, framework, reference))


def _status_of(t: Tables, framework: FrameworkEntry, asked: OperationReference) -> OperationStatus:
    agent_id = framework.operations.get(asked.operation_id, asked.agent_id)
    agent = t.agents.get(agent_id)
    if agent is None:
        return OperationStatus(
            asked.operation_id,
            OperationState.UNKNOWN,
            agent_id,
            framework.framework_id,
            timestamp_ms=t.now_ms,
        )
    entry = agent.operations.get((framework.framework_id, asked.operation_id))
    if entry is not None and entry.end is not None:
        return entry.end
    state = STATE_OF_AWAY.get(agent.state)
    if state is None:  # it is here: what it has no answer for, and is not on its way, never arrived
        state = OperationState.DROPPED if entry is None else OperationState.PENDING
    return _said(t, agent, framework, asked.operation_id, state)


def _said(
    t: Tables,
    agent: AgentEntry,
    framework: FrameworkEntry,
    operation_id: str,
    state: OperationState,
) -> OperationStatus:
    """A status of the master's own: said once, and not acknowledged."""
    refusal = None
    if state is not OperationState.PENDING:
        refusal = {
            OperationState.DROPPED: Refusal.AGENT_AWAY,
            OperationState.GONE_BY_OPERATOR: Refusal.AGENT_GONE,
            OperationState.UNREACHABLE: Refusal.AGENT_UNREACHABLE,
        }.get(state)
    return OperationStatus(
        operation_id,
        state,
        agent.info.agent_id,
        framework.framework_id,
        refusal,
        timestamp_ms=t.now_ms,
    )


# --- what always holds ----------------------------------------------------------------------------


def check(t: Tables) -> None:
    """Assert every invariant of the estates. For tests."""
    known: dict[tuple[str, str], str] = {}
    for agent_id, agent in t.agents.items():
        estate = agent.settled
        for (framework_id, operation_id), entry in agent.operations.items():
            if framework_id in t.frameworks:
                known[framework_id, operation_id] = agent_id
            assert entry.order is not None or entry.end is not None
            if entry.end is None and entry.order is not None:
                assert entry.order.framework_id == framework_id
                if estate.why_not(entry.order) is None:
                    estate = estate.after(entry.order)
        if agent.state in (AgentState.ACTIVE, AgentState.DISCONNECTED):
            assert agent.estate == estate, (agent_id, agent.estate.total, estate.total)
            assert agent.estate.configured == agent.info.resources
            _check_estate(agent.estate)
    of_frameworks = {
        (framework.framework_id, operation_id): agent_id
        for framework in t.frameworks.values()
        for operation_id, agent_id in framework.operations.items()
    }
    assert of_frameworks == known, (of_frameworks, known)


def _check_estate(estate: Estate) -> None:
    """No amount is made or lost by being reserved, and the keys are those of the nouns."""
    again = Estate.of(estate.configured, estate.reservations.values(), estate.volumes.values())
    assert again == estate, (again.total, estate.total)
