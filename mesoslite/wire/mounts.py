"""The volumes that a task mounts, as protobuf."""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite.reservations import VOLUMES_OF_TASK_MAX, VolumeMount, why_not_path
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire.checks import MalformedMessage


def mounts_from_wire(slots: Sequence[pb.VolumeMount]) -> tuple[VolumeMount, ...]:
    """The volumes of a task. Raises MalformedMessage."""
    check.bounded(slots, "volumes", VOLUMES_OF_TASK_MAX, "volumes")
    for slot in slots:
        if (why := why_not_path(slot.path)) is not None:
            raise MalformedMessage("volumes.path", None, why)
    return tuple(
        [
            VolumeMount(check.identifier(slot.volume_id, "volumes.volume_id"), slot.path)
            for slot in slots
        ]
    )
