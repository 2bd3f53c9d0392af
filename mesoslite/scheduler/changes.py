"""What an author asks of an accept: changes are checked, and tasks get the volumes they mount."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mesoslite.model import Launch, Offer, Task
from mesoslite.reservations import (
    CHANGES_MAX,
    Change,
    CreateVolume,
    DestroyVolume,
    Reserve,
    Unreserve,
    Volume,
    VolumeMount,
    volumes_in,
    why_not_change,
    why_not_mounts,
)
from mesoslite.resources import UNRESERVED, Resources

#: What may be handed to `Scheduler.accept`; a task by itself is launched.
Asked = Task | Launch | Change
_CHANGES = (Reserve, Unreserve, CreateVolume, DestroyVolume)


def checked(operations: Iterable[Asked]) -> tuple[Launch | Change, ...]:
    """Raises TypeError or ValueError for what no master could understand. Tasks are not looked at.

    A generator is walked once.
    """
    out: list[Launch | Change] = []
    changes = 0
    for operation in operations:
        if isinstance(operation, Launch):
            out.append(operation)
        elif isinstance(operation, Task):
            out.append(Launch(operation))
        elif isinstance(operation, _CHANGES):
            _check(operation)
            out.append(operation)
            changes += 1
        else:
            kind = type(operation).__name__
            raise TypeError(f"an accept does Launch, Reserve, CreateVolume and so on, not {kind}")
    if changes > CHANGES_MAX:
        raise ValueError(f"{changes} changes are over the limit of {CHANGES_MAX} an accept")
    return tuple(out)


def _check(change: Change) -> None:
    kind = type(change).__name__
    texts: list[object] = [change.operation_id]
    if isinstance(change, Reserve | Unreserve | CreateVolume):
        texts.append(change.reservation_id)
        if not isinstance(change.resources, Resources):
            what = type(change.resources).__name__
            raise TypeError(f"{kind}: resources are Resources, not {what}")
    if isinstance(change, CreateVolume | DestroyVolume):
        texts.append(change.volume_id)
    if isinstance(change, Reserve):
        texts += [*change.labels, *change.labels.values()]
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{kind}: {str(text)[:60]!r} is {type(text).__name__}, not text")
    if (why := why_not_change(change)) is not None:
        raise ValueError(f"{kind}: {why}")


def with_volumes(
    offers: Sequence[Offer], operations: Sequence[Launch | Change]
) -> tuple[Launch | Change, ...]:
    """The same; each task that mounts volumes holds them, as its offers or an earlier operation
    have them. What is in neither is left to the master, which refuses it. Raises ValueError for
    mounts that can not be."""
    role = offers[0].role
    there = {volume.volume_id: volume for offer in offers for volume in offer.volumes}
    there |= {v.volume_id: v for offer in offers for v in offer.volumes if v.role == role}
    out: list[Launch | Change] = []
    for operation in operations:
        match operation:
            case Launch(task) if task.volumes:
                out.append(replace(operation, task=_holding(task, there)))
                continue
            case CreateVolume(volume_id, resources, reservation_id) if role != UNRESERVED:
                there[volume_id] = Volume(volume_id, role, resources, reservation_id)
            case DestroyVolume(volume_id):
                there.pop(volume_id, None)
            case _:
                pass
        out.append(operation)
    return tuple(out)


def _holding(task: Task, there: dict[str, Volume]) -> Task:
    for mount in task.volumes:
        if not isinstance(mount, VolumeMount):
            kind = type(mount).__name__
            raise TypeError(f"task {task.task_id}: volumes are VolumeMount objects, not {kind}")
    held = {volume.volume_id for volume in volumes_in(task.resources)}
    missing = [m.volume_id for m in task.volumes if m.volume_id not in held]
    resources = task.resources
    for volume_id in dict.fromkeys(missing):
        if volume_id in there:
            resources += there[volume_id].amount
    why = why_not_mounts(task.volumes, resources)
    if why is not None and held.union(there).issuperset(m.volume_id for m in task.volumes):
        raise ValueError(f"task {task.task_id}: {why}")
    return task if resources is task.resources else replace(task, resources=resources)
