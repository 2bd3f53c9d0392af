"""Statuses and acknowledgements on the wire: in columns, since they come in crowds."""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite.model import TaskStatus
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import columns
from mesoslite.wire import limits as limit
from mesoslite.wire.enums import REASONS, REFUSALS, SOURCES, TASK_STATES


def write_statuses(slot: pb.TaskStatuses, statuses: Sequence[TaskStatus]) -> None:
    """Fill an empty `slot` with one status at least. Long messages are cut. About 1 us each."""
    states, sources, reasons, refusals = (
        TASK_STATES.number,
        SOURCES.number,
        REASONS.number_or_zero,
        REFUSALS.number_or_zero,
    )
    slot.task_ids.extend([s.task_id for s in statuses])
    columns.write(slot.states, [states[s.state] for s in statuses])
    columns.write(slot.framework_ids, [s.framework_id for s in statuses])
    columns.write(slot.agent_ids, [s.agent_id for s in statuses])
    columns.write(slot.update_ids, [s.update_id for s in statuses])
    columns.write(slot.sources, [sources[s.source] for s in statuses])
    columns.write(slot.reasons, [reasons[s.reason] for s in statuses])
    columns.write(slot.refusals, [refusals[s.refusal] for s in statuses])
    columns.write(slot.messages, [check.cut(s.message) if s.message else "" for s in statuses])
    columns.write(slot.timestamps_ms, [s.timestamp_ms for s in statuses])
    columns.write(slot.container_ids, [s.container_id for s in statuses])
    columns.write(slot.exit_codes, _optional([s.exit_code for s in statuses]))
    columns.write(slot.signals, _optional([s.signal for s in statuses]))
    columns.write(
        slot.peak_mem_bytes,
        _optional([s.peak_mem_bytes for s in statuses]),
    )
    columns.write(slot.cpu_ms, _optional([s.cpu_ms for s in statuses]))


def statuses_from_wire(slot: pb.TaskStatuses) -> list[TaskStatus]:
    """Raises MalformedMessage. About 1.5 us each."""
    check.bounded(slot.task_ids, "task_ids", limit.LIST_MAX, "statuses")
    size = len(slot.task_ids)
    return list(
        map(
            TaskStatus,
            columns.identifiers(slot.task_ids, size, "task_ids"),
            columns.read(slot.states, size, 0, "states", TASK_STATES.member),
            columns.identifiers_or_empty(slot.framework_ids, size, "framework_ids"),
            columns.identifiers_or_empty(slot.agent_ids, size, "agent_ids"),
            columns.identifiers_or_empty(slot.update_ids, size, "update_ids"),
            columns.read(slot.sources, size, 0, "sources", SOURCES.member),
            columns.read(slot.reasons, size, 0, "reasons", REASONS.member_or_none),
            columns.read(slot.refusals, size, 0, "refusals", REFUSALS.member_or_none),
            columns.read(slot.messages, size, "", "messages", check.text),
            columns.read(slot.timestamps_ms, size, 0, "timestamps_ms", check.timestamp),
            columns.identifiers_or_empty(slot.container_ids, size, "container_ids"),
            columns.read(slot.exit_codes, size, 0, "exit_codes", _exit_code),
            columns.read(slot.signals, size, 0, "signals", _signal),
            columns.read(slot.peak_mem_bytes, size, 0, "peak_mem_bytes", _amount),
            columns.read(slot.cpu_ms, size, 0, "cpu_ms", _amount),
        )
    )


def _optional(values: list[int | None]) -> list[int]:
    """As the wire has them: 0 where there is none, else one more than it is."""
    return [0 if value is None else value + 1 for value in values]


def _exit_code(value: int, field: str) -> int | None:
    return check.number(value - 1, field, 0, limit.EXIT_CODE_MAX) if value else None


def _signal(value: int, field: str) -> int | None:
    return check.number(value - 1, field, 1, limit.SIGNAL_MAX) if value else None


def _amount(value: int, field: str) -> int | None:
    return check.number(value - 1, field) if value else None
