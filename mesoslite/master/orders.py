"""Orders: changes of reservations and volumes as they are sent to agents, and what bounds them.

The master goes ahead of its agents: an order that its `estate` has nothing against counts as done
there when it is sent. `operations.py` says what becomes of it.
"""

from __future__ import annotations

from mesoslite.estate import Why
from mesoslite.master.protocol import ToAgent
from mesoslite.master.records import AgentEntry, FrameworkEntry, OperationEntry, Tables
from mesoslite.messages import ApplyOperation
from mesoslite.model import Refusal
from mesoslite.operations import Order
from mesoslite.reservations import Change, InvalidChange
from mesoslite.resources import Resources


def why_not(
    t: Tables,
    framework: FrameworkEntry,
    agent: AgentEntry,
    role: str,
    change: Change | InvalidChange,
    left: Resources,
) -> Why | None:
    """The first reason why a framework's change can not be made of what its offers hold."""
    if isinstance(change, InvalidChange):
        return Refusal.INVALID_OPERATION, change.message
    if not change.operation_id:
        return Refusal.INVALID_OPERATION, "it has no id"
    if change.operation_id in framework.operations:
        return Refusal.DUPLICATE_OPERATION, change.operation_id
    waiting = sum(holder == framework.framework_id for holder, _ in agent.operations)
    if waiting >= t.config.unacknowledged_max:
        return Refusal.TOO_MANY_UNACKNOWLEDGED, f"{waiting} operations wait on this agent"
    return agent.estate.why_not(order_of(t, framework, role, change), left)


def order_of(t: Tables, framework: FrameworkEntry, role: str, change: Change) -> Order:
    """The change, with what its agent is to keep of it."""
    return Order(
        framework.framework_id,
        framework.info.name,
        framework.principal,
        role,
        t.now_ms,
        change,
    )


def own_order(t: Tables, principal: str, role: str, change: Change) -> Order:
    """A change that the master asks for itself, or an operator through it."""
    return Order("", "", principal, role, t.now_ms, change)


def own_id(t: Tables) -> str:
    """An id for one of these."""
    t.operation_count += 1
    return f"m{t.epoch}-{t.operation_count}"


def enter(agent: AgentEntry, order: Order, request: int | None = None) -> None:
    """Count an order as done that the estate has nothing against. The caller sends it (`send`), and
    tells the allocator (`Allocator.set_total`)."""
    agent.estate = agent.estate.after(order)
    key = (order.framework_id, order.change.operation_id)
    agent.operations[key] = OperationEntry(order, request=request)


def send(t: Tables, agent: AgentEntry, order: Order) -> None:
    """Say it on the agent's stream."""
    if agent.stream is None:
        raise AssertionError(f"an order for {agent.info.agent_id}, which is not here")
    t.emit(ToAgent(agent.stream, ApplyOperation(order)))
