"""What is told of a change of reservations or volumes: who asks for it, and what became of it."""

from __future__ import annotations

from mesoslite.immutable import dataclass
from mesoslite.model import Refusal
from mesoslite.reservations import Change, OperationState


@dataclass(frozen=True, slots=True)
class Order:
    """A change, with everything that its agent is to keep of it."""

    framework_id: str
    """Who asks; empty: the master itself, for an operator or to release what is left."""
    framework: str
    """Its name."""
    principal: str
    role: str
    at_ms: int
    """When, on the wall clock of the master."""
    change: Change
    """Its operation_id is not empty, and unique among the framework's."""


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """What became of a change that was asked for."""

    operation_id: str
    state: OperationState
    agent_id: str = ""
    framework_id: str = ""
    refusal: Refusal | None = None
    """Why not, when it was not done."""
    message: str = ""
    """With a refusal: what exactly is wrong, in one line."""
    timestamp_ms: int = 0
    """When, on the wall clock of the one who says so."""
    acknowledge: bool = False
    """Its agent says it again until it is acknowledged. Else it is said once, and may be lost."""


#: It can not be done, now or later, unless something else is done before. All other refusals pass:
#: what is in use is used no more, who is away comes back, and another offer holds more.
ERRORS = frozenset(
    {
        Refusal.INVALID_OPERATION,
        Refusal.DUPLICATE_OPERATION,
        Refusal.RESERVATION_TAKEN,
        Refusal.UNKNOWN_RESERVATION,
        Refusal.UNKNOWN_VOLUME,
        Refusal.VOLUME_EXISTS,
    }
)


@dataclass(frozen=True, slots=True)
class OperationReference:
    """A change that somebody asks about; with its agent when known, which makes answers surer."""

    operation_id: str
    agent_id: str = ""
