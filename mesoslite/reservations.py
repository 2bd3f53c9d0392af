"""What is kept for a role on an agent: reservations, volumes on them, and what changes them.

A **reservation** is an amount of one agent that is offered to one role only. It is known by its
role and an id of the framework's choice, unique on its agent for that role. A **volume** is
reserved disk with an id, and a directory that outlives tasks; one task uses it at a time.

In `Resources` both are amounts with keys of their own (``cpus(ads)(broker-0)``, and
``disk(ads)(broker-0)(data)``), so that what is offered, held and free adds up without anybody
knowing of them: each change takes an amount away and gives it back under another key. What is told
beside the amounts (who made it, when, its labels) is in the nouns here. docs/reservations.md has
the semantics; `mesoslite.estate` what each change does to an agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from mesoslite.immutable import dataclass, fix
from mesoslite.resources import UNRESERVED, Resources, key, key_parts
from mesoslite.spelling import ID_PATTERN

RESERVATIONS_MAX = 200  # of one agent, ~1 kB each: 60 services of three tasks
VOLUMES_MAX = 200  # of one agent, each with a directory that is measured
VOLUMES_OF_TASK_MAX = 16  # each is a mount
LABELS_MAX = 16  # of one reservation, which is repeated in each offer of it
LABELS_BYTES_MAX = 4 * 1024
MOUNT_PATH_MAX = 1_024
CHANGES_MAX = 400  # of one accept: all that an agent may have


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount of one agent that is kept for a role, as a framework or an operator asked."""

    reservation_id: str
    role: str
    resources: Resources
    """All of it, as unreserved amounts: with its volumes, and with what tasks use."""
    labels: Mapping[str, str] = field(default_factory=dict)
    principal: str = ""
    """Whose it is: others can not change it."""
    framework_id: str = ""
    """The framework that asked for it last; empty: an operator did."""
    framework: str = ""
    """That framework's name."""
    since_ms: int = 0
    """When it was made, on the wall clock of the master."""

    def __post_init__(self) -> None:
        fix(self, "labels", dict(self.labels))

    def __hash__(self) -> int:
        return hash((self.reservation_id, self.role, self.resources))

    @property
    def amount(self) -> Resources:
        """Its resources under their own keys, volumes not counted apart."""
        return self.resources.reserved(self.role, self.reservation_id)


@dataclass(frozen=True, slots=True)
class Volume:
    """Reserved disk that is a directory: its data outlives task, framework, agent and master."""

    volume_id: str
    role: str
    resources: Resources
    """Its size: disk, unreserved, and nothing else."""
    reservation_id: str = ""
    """On which it is; empty: on disk that the agent's configuration reserves."""
    principal: str = ""
    framework_id: str = ""
    framework: str = ""
    since_ms: int = 0
    """These as in Reservation. Unset in what is read from amounts alone, as in `Offer.volumes`."""

    @property
    def amount(self) -> Resources:
        """Its size under its own key."""
        at = key("disk", self.role, self.reservation_id, self.volume_id)
        return Resources.from_amounts({at: self.resources.scalar("disk")})

    @property
    def plain(self) -> Resources:
        """Its size as reserved disk that is no volume."""
        return self.resources.reserved(self.role, self.reservation_id)


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """Where a task finds a volume, which must be in its offer, or made in the same accept."""

    volume_id: str
    path: str
    """Relative: inside the sandbox. Absolute: in the root of an `oci` container."""


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """How full a volume was found to be."""

    role: str
    volume_id: str
    used_bytes: int
    measured_ms: int
    """When, on the wall clock of its agent."""


def _named(labels: object) -> dict[str, str]:
    """A copy of what an author has given. Raises TypeError."""
    if not isinstance(labels, Mapping):
        raise TypeError(f"Reserve: labels are a dict of texts, not {type(labels).__name__}")
    return dict(labels)


# --- what an accept may change --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserve:
    """Keep this for the role of the offer.

    A reservation of this id is made, or grows by this when it is there already, with the same
    labels and of the same principal (Mesos merges by role and labels).
    """

    reservation_id: str
    resources: Resources
    """Unreserved amounts, which the offers hold."""
    labels: Mapping[str, str] = field(default_factory=dict)
    operation_id: str = ""
    """As OperationStatus repeats it; empty: the session gives one."""

    def __post_init__(self) -> None:
        fix(self, "labels", _named(self.labels))

    def __hash__(self) -> int:
        return hash((self.reservation_id, self.resources, self.operation_id))


@dataclass(frozen=True, slots=True)
class Unreserve:
    """Give a reservation up, or a part of it: nobody uses that, and it is in the offers."""

    reservation_id: str
    resources: Resources = Resources.EMPTY
    """Unreserved amounts, as it was reserved; nothing: all of it."""
    operation_id: str = ""


@dataclass(frozen=True, slots=True)
class CreateVolume:
    """Make a volume of reserved disk that the offers hold."""

    volume_id: str
    resources: Resources
    """Its size: disk, unreserved, and nothing else."""
    reservation_id: str = ""
    """On which reservation; empty: on disk that the agent's configuration reserves for the role."""
    operation_id: str = ""


@dataclass(frozen=True, slots=True)
class DestroyVolume:
    """Remove a volume that no task uses, and its data; its disk is reserved as before."""

    volume_id: str
    operation_id: str = ""


Change = Reserve | Unreserve | CreateVolume | DestroyVolume


@dataclass(frozen=True, slots=True)
class InvalidChange:
    """A change that could not be understood; the master answers it with INVALID_OPERATION."""

    operation_id: str
    """Empty when the id itself is not valid."""
    message: str
    """What exactly is wrong, in one line."""


class OperationState(Enum):
    """What became of a change. The first four ends are sure, the others tell what is not known."""

    PENDING = "it was sent to its agent, which has not answered"
    FINISHED = "it is done, and durable on its agent"
    FAILED = "its agent could not do it, and nothing has changed"
    ERROR = "it can not be done: asking again for the same does not help"
    DROPPED = "it reached no agent, and nothing has changed: ask again"
    UNREACHABLE = "its agent is not heard of: it may have been done"
    RECOVERING = "its agent has not come back to this master yet: ask again"
    GONE_BY_OPERATOR = "an operator said that its agent will never be back"
    UNKNOWN = "nothing is known of it"

    @property
    def final(self) -> bool:
        """Whether it is over, for sure or on an operator's word."""
        return self in _FINAL

    __hash__ = object.__hash__  # members are unique; Enum's own hashes the name in Python


_FINAL = frozenset(
    {
        OperationState.FINISHED,
        OperationState.FAILED,
        OperationState.ERROR,
        OperationState.DROPPED,
        OperationState.GONE_BY_OPERATOR,
    }
)


# --- what is wrong with them ----------------------------------------------------------------------


def why_not_change(change: Change) -> str | None:
    """What is wrong with a change by itself, in one line; None: nothing."""
    ids = [("operation_id", change.operation_id, True)]
    match change:
        case Reserve(reservation_id) | Unreserve(reservation_id):
            ids.append(("reservation_id", reservation_id, False))
        case CreateVolume(volume_id, _, reservation_id):
            ids.append(("reservation_id", reservation_id, True))
            ids.append(("volume_id", volume_id, False))
        case DestroyVolume(volume_id):
            ids.append(("volume_id", volume_id, False))
    for noun, value, may_be_empty in ids:
        if not (may_be_empty and not value) and ID_PATTERN.match(value) is None:
            return f"{noun} must be 1 to 128 of A-Z a-z 0-9 . _ - and neither . nor .."
    if isinstance(change, DestroyVolume):
        return None
    if change.resources.roles() - {UNRESERVED}:
        return f"its resources name no roles, as {change.resources} do: the offer's role is meant"
    if isinstance(change, CreateVolume) and [*_names(change.resources)] != ["disk"]:
        return f"a volume is some disk and nothing else, not {change.resources or 'nothing'}"
    if isinstance(change, Reserve):
        if not change.resources:
            return "it reserves nothing"
        return _why_not_labels(change.labels)
    return None


def _names(resources: Resources) -> tuple[str, ...]:
    return (*resources.scalars, *resources.ranges, *resources.sets)


def _why_not_labels(labels: Mapping[str, str]) -> str | None:
    if len(labels) > LABELS_MAX:
        return f"a reservation has at most {LABELS_MAX} labels, not {len(labels)}"
    size = sum(len(name.encode()) + len(value.encode()) for name, value in labels.items())
    if size > LABELS_BYTES_MAX:
        return f"labels have at most {LABELS_BYTES_MAX:,} bytes, not {size:,}"
    return None


def why_not_path(path: str) -> str | None:
    """What is wrong with the path of a mount, in one line; None: nothing."""
    if not path or len(path) > MOUNT_PATH_MAX or not path.isprintable():
        return f"the path of a volume has 1 to {MOUNT_PATH_MAX:,} printable characters"
    if {"", ".", ".."} & {*path.removeprefix("/").split("/")}:
        return f"{path[:60]!r} has an empty segment, or one of . and .."
    return None


def volumes_in(amount: Resources) -> tuple[Volume, ...]:
    """The volumes of which the keys tell, by key: ids, role, reservation and size."""
    found = []
    for at, size in amount.volumes().scalars.items():
        parts = key_parts(at)
        disk = Resources.from_amounts({"disk": size})
        found.append(Volume(parts.volume, parts.role, disk, parts.reservation))
    return tuple(found)


def why_not_mounts(mounts: Sequence[VolumeMount], resources: Resources) -> str | None:
    """What is wrong with the volumes of a task that holds these resources; None: nothing.

    Each is mounted once, on a path of its own, and its whole size is among the resources under its
    key, so that nobody else has it. Nothing is spent on a task without volumes but two looks.
    """
    if not mounts:
        return None if not resources.volumes() else "it holds a volume that it does not mount"
    if len(mounts) > VOLUMES_OF_TASK_MAX:
        return f"it mounts {len(mounts)} volumes, at most {VOLUMES_OF_TASK_MAX} may be"
    for mount in mounts:
        if (why := why_not_path(mount.path)) is not None:
            return why
    if len({mount.path for mount in mounts}) < len(mounts):
        return "it mounts two volumes at one path"
    held = sorted(volume.volume_id for volume in volumes_in(resources))
    named = sorted(mount.volume_id for mount in mounts)
    if held != named:
        return f"it mounts the volumes {', '.join(named)}, and holds {', '.join(held) or 'none'}"
    return None
