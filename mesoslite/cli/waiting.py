"""Why nothing of a run has started yet, in one line, from what the agents have."""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite import InvalidResources, Resources, Shortfall
from mesoslite.cli.amounts import resources_of
from mesoslite.cli.plan import Plan
from mesoslite.v1 import operator_pb2
from mesoslite.wire import agent_info_from_wire


def why_waiting(plan: Plan, agents: Sequence[operator_pb2.AgentRow]) -> str:
    """What the copies of a plan wait for; they go on waiting."""
    here = [row for row in agents if row.state == "active"]
    if not here:
        return "waiting: no agent has come to this master yet"
    suited = [row for row in here if plan.where.matches(agent_info_from_wire(row.info).place)]
    if not suited:
        return f"waiting: no agent is where {plan.where_text}"
    needs = str(plan.needs)
    largest = max(suited, key=lambda row: _share(plan, _held(row)))
    if not any(_held(row).covers(plan.needs) for row in suited):
        has = _like(_held(largest), plan.needs)
        return (
            f"waiting: a task needs {needs}, and no agent is so large; "
            f"the largest, {largest.info.hostname}, has {has}"
        )
    freest = max(suited, key=lambda row: _share(plan, _free(row)))
    if any(_free(row).covers(plan.needs) for row in suited):
        return (
            f"waiting: a task needs {needs}, which no task holds, but other frameworks may have it "
            f"on offer; `mesoslite explain {plan.framework_name}` tells"
        )
    has = _like(_free(freest), plan.needs)
    return (
        f"waiting: a task needs {needs}, and the agents are in use; "
        f"most is free on {freest.info.hostname}: {has}"
    )


def _held(row: operator_pb2.AgentRow) -> Resources:
    return resources_of(row.info.resources)


def _free(row: operator_pb2.AgentRow) -> Resources:
    """What no task holds. An offer is not in use: whoever has it may give it back."""
    try:
        return _held(row).scalars_only() - resources_of(row.allocated).scalars_only()
    except (Shortfall, InvalidResources):
        return Resources.EMPTY


def _share(plan: Plan, amount: Resources) -> float:
    """How much of a task's needs an amount holds, by the scarcest of them."""
    return min(
        (amount.scalar(at) / needed for at, needed in plan.needs.scalars.items()), default=0.0
    )


def _like(amount: Resources, needs: Resources) -> str:
    """Of an amount only what was asked for."""
    some = Resources.from_amounts({at: amount.scalar(at) for at in needs.scalars})
    return str(some) or "nothing"
