"""Model <-> protobuf: the one place where protobuf stops, and where what comes in is checked.

Every `x_from_wire` checks all that it reads, once, and raises MalformedMessage, whose `refusal` is
the answer; whatever gets past it is as model.py and messages.py say. The `..._requests` and
`..._responses` pack what has piled up into as few messages as possible. All of it is pure but for
bounded memories of what was encoded or checked before, which change nothing but the time it takes.
"""

from mesoslite.wire.agent import (
    AgentHears,
    AgentSays,
    Registration,
    agent_calls_from_wire,
    agent_events_from_wire,
    agent_requests,
    agent_responses,
)
from mesoslite.wire.amounts import (
    attributes_from_wire,
    resources_from_wire,
    resources_to_wire,
    write_attributes,
    write_resources,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.enums import REASONS, REFUSALS, SOURCES, TASK_STATES
from mesoslite.wire.explanation import write_explanation
from mesoslite.wire.limits import (
    GRPC_MESSAGE_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PROTOCOL,
    TASK_MESSAGE_BYTES_MAX,
)
from mesoslite.wire.nouns import (
    agent_info_from_wire,
    agent_info_to_wire,
    encoded_status,
    encoded_task,
    framework_info_from_wire,
    framework_info_to_wire,
    framework_reference_from_wire,
    framework_reference_to_wire,
    status_from_wire,
    status_to_wire,
    task_from_wire,
    task_to_wire,
    write_agent_info,
    write_framework_info,
    write_framework_reference,
    write_status,
    write_task,
)
from mesoslite.wire.offers import OfferEncoder
from mesoslite.wire.requests import write_request
from mesoslite.wire.reservations import write_reservation, write_volume
from mesoslite.wire.scheduler import (
    scheduler_calls_from_wire,
    scheduler_events_from_wire,
    scheduler_requests,
    scheduler_responses,
)

__all__ = [
    "GRPC_MESSAGE_BYTES_MAX",
    "MESSAGE_BYTES_MAX",
    "PROTOCOL",
    "REASONS",
    "REFUSALS",
    "SOURCES",
    "TASK_MESSAGE_BYTES_MAX",
    "TASK_STATES",
    "AgentHears",
    "AgentSays",
    "MalformedMessage",
    "OfferEncoder",
    "Registration",
    "agent_calls_from_wire",
    "agent_events_from_wire",
    "agent_info_from_wire",
    "agent_info_to_wire",
    "agent_requests",
    "agent_responses",
    "attributes_from_wire",
    "encoded_status",
    "encoded_task",
    "framework_info_from_wire",
    "framework_info_to_wire",
    "framework_reference_from_wire",
    "framework_reference_to_wire",
    "resources_from_wire",
    "resources_to_wire",
    "scheduler_calls_from_wire",
    "scheduler_events_from_wire",
    "scheduler_requests",
    "scheduler_responses",
    "status_from_wire",
    "status_to_wire",
    "task_from_wire",
    "task_to_wire",
    "write_agent_info",
    "write_attributes",
    "write_explanation",
    "write_framework_info",
    "write_framework_reference",
    "write_request",
    "write_reservation",
    "write_resources",
    "write_status",
    "write_task",
    "write_volume",
]
