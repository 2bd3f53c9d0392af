"""Explanations to protobuf: the master says them, whoever asks reads them as messages."""

from __future__ import annotations

from mesoslite.explanation import (
    Explanation,
    FrameworkExplanation,
    RoleExplanation,
    TaskExplanation,
    Why,
)
from mesoslite.v1 import operator_pb2 as pb
from mesoslite.wire.amounts import write_resources
from mesoslite.wire.enums import REASONS, REFUSALS, TASK_STATES


def write_explanation(slot: pb.ExplainResponse, explanation: Explanation) -> None:
    """Fill in the answer to the question why."""
    slot.verdict = explanation.verdict
    if isinstance(explanation, FrameworkExplanation):
        slot.framework.framework_id = explanation.framework_id
        slot.framework.name = explanation.name
        for role in explanation.roles:
            _write_role(slot.framework.roles.add(), role)
    else:
        _write_task(slot.task, explanation)


def _write_role(slot: pb.RoleExplanation, role: RoleExplanation) -> None:
    slot.role, slot.verdict, slot.offers = role.role, role.verdict, role.offers
    for why in role.whys:
        _write_why(slot.whys.add(), why)
    request = role.request
    if request is not None:
        slot.request_id, slot.where = request.request_id, request.where
        slot.ports, slot.wanted, slot.open = request.ports, request.count, role.open
        write_resources(slot.unit, request.unit)


def _write_why(slot: pb.Why, why: Why) -> None:
    slot.reason, slot.message, slot.remedy = why.reason.name, why.message, why.remedy
    slot.agents, slot.agent_id = why.agents, why.agent_id
    slot.framework_id, slot.offer_id = why.framework_id, why.offer_id
    if why.since_ms is not None:
        slot.since_ms = why.since_ms
    if why.until_ms is not None:
        slot.until_ms = why.until_ms
    if why.missing is not None:
        write_resources(slot.missing, why.missing)


def _write_task(slot: pb.TaskExplanation, task: TaskExplanation) -> None:
    slot.task_id, slot.framework_id = task.task_id, task.framework_id
    slot.framework_name, slot.remedy, slot.agent_id = (
        task.framework_name,
        task.remedy,
        task.agent_id,
    )
    if task.state is not None:
        slot.state = TASK_STATES.number[task.state]
    if task.reason is not None:
        slot.reason = REASONS.number[task.reason]
    if task.refusal is not None:
        slot.refusal = REFUSALS.number[task.refusal]
    if task.since_ms is not None:
        slot.since_ms = task.since_ms
