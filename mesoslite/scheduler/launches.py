"""Accepts on their way: numbered, kept until answered, sent again after each subscribe (D2).

And what a refused launch means for its task: `STATE_OF_REFUSED`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mesoslite.lifecycle import TaskState
from mesoslite.messages import Accept
from mesoslite.model import (
    InvalidLaunch,
    Launch,
    Operation,
    OperationResult,
    Reason,
    Refusal,
    Source,
    StoreWrite,
    TaskStatus,
)
from mesoslite.operations import ERRORS, OperationStatus
from mesoslite.reservations import Change, InvalidChange, OperationState

ACCEPTS_PENDING_MAX = 10_000  # the master keeps as many results for a framework (D2)

#: The state of a task whose launch was refused. What is wrong with the task itself is an ERROR:
#: trying again will not help. What was wrong with the moment, the offer or the agent is DROPPED:
#: it never started, and the same task may be launched again under a new id. Where nobody knows
#: whether it was launched it is UNREACHABLE or UNKNOWN, which promise nothing.
STATE_OF_REFUSED: dict[Refusal, TaskState] = {
    # The framework
    Refusal.BAD_TOKEN: TaskState.ERROR,
    Refusal.NOT_SUBSCRIBED: TaskState.DROPPED,
    Refusal.FENCED: TaskState.DROPPED,
    Refusal.FRAMEWORK_REMOVED: TaskState.DROPPED,
    Refusal.INVALID_FRAMEWORK: TaskState.ERROR,
    Refusal.TOO_MANY_FRAMEWORKS: TaskState.DROPPED,
    Refusal.UNKNOWN_FRAMEWORK: TaskState.DROPPED,
    Refusal.UNKNOWN_ROLE: TaskState.ERROR,
    # The offers: Mesos's INVALID_OFFERS
    Refusal.UNKNOWN_OFFER: TaskState.DROPPED,
    Refusal.NOT_YOUR_OFFER: TaskState.DROPPED,
    Refusal.STALE_OFFER: TaskState.DROPPED,
    Refusal.DUPLICATE_OFFER: TaskState.DROPPED,
    Refusal.NO_OFFERS: TaskState.DROPPED,
    Refusal.MIXED_AGENTS: TaskState.DROPPED,
    Refusal.MIXED_ROLES: TaskState.DROPPED,
    # The task: Mesos's TASK_INVALID
    Refusal.TOO_LARGE: TaskState.ERROR,
    Refusal.NO_RESOURCES: TaskState.ERROR,
    Refusal.DUPLICATE_TASK: TaskState.ERROR,
    Refusal.INVALID_TASK: TaskState.ERROR,
    # The agent, and what waits
    Refusal.CONTAINERIZER_UNAVAILABLE: TaskState.DROPPED,
    Refusal.AGENT_FULL: TaskState.DROPPED,
    Refusal.AGENT_AWAY: TaskState.DROPPED,
    Refusal.AGENT_GONE: TaskState.GONE_BY_OPERATOR,
    Refusal.AGENT_UNREACHABLE: TaskState.UNREACHABLE,
    Refusal.TOO_MANY_UNACKNOWLEDGED: TaskState.DROPPED,
    Refusal.RESULT_FORGOTTEN: TaskState.UNKNOWN,
    # Demand
    Refusal.NO_AGENT_FITS: TaskState.ERROR,
    Refusal.TOO_MANY_REQUESTS: TaskState.DROPPED,
    Refusal.INVALID_REQUEST: TaskState.DROPPED,
    Refusal.UNKNOWN_REQUEST: TaskState.DROPPED,
    # Fences and the store
    Refusal.FENCE_HELD: TaskState.DROPPED,
    Refusal.STORE_CONFLICT: TaskState.DROPPED,
    Refusal.STORE_FULL: TaskState.DROPPED,
    # Reservations and volumes. What is not there now may be when it is asked for again.
    Refusal.INVALID_OPERATION: TaskState.ERROR,
    Refusal.DUPLICATE_OPERATION: TaskState.ERROR,
    Refusal.UNKNOWN_RESERVATION: TaskState.DROPPED,
    Refusal.RESERVATION_TAKEN: TaskState.ERROR,
    Refusal.RESERVATION_IN_USE: TaskState.DROPPED,
    Refusal.UNKNOWN_VOLUME: TaskState.DROPPED,
    Refusal.VOLUME_EXISTS: TaskState.ERROR,
    Refusal.VOLUME_IN_USE: TaskState.DROPPED,
    Refusal.TOO_MANY_RESERVATIONS: TaskState.DROPPED,
    Refusal.OPERATION_FAILED: TaskState.DROPPED,
    # Never the answer to a launch; were they, the launch would not have been sent
    Refusal.UNKNOWN_TASK: TaskState.DROPPED,
    Refusal.UNKNOWN_AGENT: TaskState.DROPPED,
    Refusal.UNKNOWN_STATUS: TaskState.DROPPED,
    Refusal.AMBIGUOUS: TaskState.DROPPED,
    Refusal.AGENT_ID_IN_USE: TaskState.DROPPED,
    Refusal.INVALID_AGENT: TaskState.DROPPED,
    Refusal.TOO_MANY_AGENTS: TaskState.DROPPED,
    Refusal.STALE_EPOCH: TaskState.DROPPED,
    # Bounds and the wire
    Refusal.MALFORMED: TaskState.ERROR,
    Refusal.TOO_BIG: TaskState.ERROR,
    Refusal.OUTBOX_FULL: TaskState.DROPPED,
    Refusal.UNSUPPORTED_VERSION: TaskState.ERROR,
}


def never_ran(refusal: Refusal) -> bool:
    """Whether a launch that was refused so is known not to have happened."""
    return STATE_OF_REFUSED[refusal] in (TaskState.DROPPED, TaskState.ERROR)


def identity_of(operation: Operation) -> str:
    """What an operation is known by: the id of its task, or its own behind a ``~``."""
    if isinstance(operation, Launch):
        return operation.task.task_id
    return (
        operation.task_id if isinstance(operation, InvalidLaunch) else f"~{operation.operation_id}"
    )


def operation_of_refused(
    operation: Change | InvalidChange,
    refused: OperationResult,
    *,
    framework_id: str,
    agent_id: str,
    now_ms: int,
) -> OperationStatus:
    """What the author is told of a change that was refused, by the master or by the session."""
    if refused.refusal is None:
        raise AssertionError("this change was not refused")
    state = OperationState[STATE_OF_REFUSED[refused.refusal].name]
    if refused.refusal in ERRORS:
        state = OperationState.ERROR
    elif refused.refusal is Refusal.TOO_LARGE:
        state = OperationState.DROPPED
    return OperationStatus(
        operation.operation_id,
        state,
        agent_id,
        framework_id,
        refused.refusal,
        refused.message or refused.refusal.value,
        now_ms,
    )


def status_of_refused(
    operation: Launch | InvalidLaunch,
    refused: OperationResult,
    *,
    framework_id: str,
    agent_id: str,
    source: Source,
    now_ms: int,
) -> TaskStatus:
    """What the author is told of a launch that was refused, by the master or by the session."""
    if refused.refusal is None:
        raise AssertionError("this launch was not refused")
    return TaskStatus(
        identity_of(operation),
        STATE_OF_REFUSED[refused.refusal],
        framework_id,
        agent_id,
        source=source,
        reason=Reason.LAUNCH_REFUSED,
        refusal=refused.refusal,
        message=refused.message or refused.refusal.value,
        timestamp_ms=now_ms,
    )


@dataclass(slots=True)
class Pending:
    """An accept that waits for its result, and what happened to its tasks meanwhile."""

    accept: Accept
    seen: dict[str, bool] = field(default_factory=dict)
    """What its agent told of: by `identity_of`, whether that was seen to end."""


class Launches:
    """Every accept that was decided and not yet answered, in the order of their numbers."""

    def __init__(self) -> None:
        self._pending: dict[int, Pending] = {}
        self._number_of: dict[str, int] = {}  # task id -> the accept that launches it
        self._last_number = 0
        self._confirmed = 0
        self._confirm_again = False

    @property
    def full(self) -> bool:
        """Whether no further accept may be made before one is answered."""
        return len(self._pending) >= ACCEPTS_PENDING_MAX

    def __len__(self) -> int:
        return len(self._pending)

    def launching(self, identity: str) -> bool:
        """Whether an unanswered accept launches this task, or makes this change (`identity_of`)."""
        return identity in self._number_of

    def add(
        self,
        agent_id: str,
        offer_ids: tuple[str, ...],
        operations: tuple[Operation, ...],
        refuse_ms: int,
        writes: tuple[StoreWrite, ...] = (),
    ) -> Accept:
        """Number an accept and keep it until it is answered."""
        self._last_number += 1
        accept = Accept(self._last_number, agent_id, offer_ids, operations, refuse_ms, writes)
        self._pending[accept.number] = Pending(accept)
        for operation in operations:
            self._number_of[identity_of(operation)] = accept.number
        return accept

    def unanswered(self) -> Iterator[Accept]:
        """What is to be said again on a new stream, in order."""
        return (pending.accept for pending in self._pending.values())

    def answered(self, number: int) -> Pending | None:
        """Take out the accept that was answered; None when it had been answered before."""
        pending = self._pending.pop(number, None)
        if pending is None:
            # The master says it again: it has not heard the confirmation.
            self._confirm_again = number <= self._confirmed or self._confirm_again
            return None
        for operation in pending.accept.operations:
            del self._number_of[identity_of(operation)]
        return pending

    def heard(self, status: TaskStatus) -> None:
        """Note that an agent told of a task: whatever the result says, it was launched (D2)."""
        number = self._number_of.get(status.task_id)
        if number is not None and status.source is Source.AGENT:
            self._pending[number].seen[status.task_id] = status.terminal

    def heard_of_change(self, status: OperationStatus) -> None:
        """Note that an agent told the end of a change: it was made or refused there (D2)."""
        identity = f"~{status.operation_id}"
        number = self._number_of.get(identity)
        if number is not None and status.acknowledge:
            self._pending[number].seen[identity] = True

    def to_confirm(self) -> int | None:
        """Up to which number all results have arrived, when the master is to be told."""
        through = next(iter(self._pending), self._last_number + 1) - 1
        if through <= self._confirmed and not (self._confirm_again and through):
            return None
        self._confirmed = through
        self._confirm_again = False
        return through

    def confirm_again(self) -> None:
        """On a new stream: the last confirmation may have been lost with the old one."""
        self._confirm_again = True

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        numbers = list(self._pending)
        assert numbers == sorted(numbers)
        assert all(self._confirmed < number <= self._last_number for number in numbers)
        assert self._number_of == {
            identity_of(operation): number
            for number, pending in self._pending.items()
            for operation in pending.accept.operations
        }
        assert len(numbers) <= ACCEPTS_PENDING_MAX
