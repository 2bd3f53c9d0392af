"""The contract of the agent: what happens to it, and what it does about it.

Read `Event` and `Effect` first: they are closed. Container events are in `container.py`, what
travels on the stream to the master in `mesoslite/messages.py`.
"""

from __future__ import annotations

from mesoslite.immutable import dataclass
from mesoslite.messages import AgentCall, AgentEvent, FrameworkReference
from mesoslite.model import AgentInfo, Task, TaskStatus
from mesoslite.operations import OperationStatus
from mesoslite.reservations import Reservation, Volume
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerExited,
    ContainerSpec,
    ContainerStartFailed,
)

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A new stream to a master is open. The machine's first word on it is Register."""


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream has ended: nothing said on it from now on arrives."""


@dataclass(frozen=True, slots=True)
class MasterSpoke:
    """A master said something; `epoch` is the master's (docs/decisions.md D1)."""

    epoch: int
    event: AgentEvent


@dataclass(frozen=True, slots=True)
class ExecutorAttached:
    """A process of a task has attached itself, to take and send framework messages."""

    container_id: str


@dataclass(frozen=True, slots=True)
class ExecutorDetached:
    """It has gone, or a newer one took its place."""

    container_id: str


@dataclass(frozen=True, slots=True)
class ExecutorSpoke:
    """A process of a task sends bytes to its framework."""

    container_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DirectoriesMeasured:
    """How many bytes some directories of volumes take, by name: those that have changed."""

    used_bytes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DirectoryRemoved:
    """Nothing is left of the directory of a volume that was destroyed."""

    directory: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time enters here and nowhere else: milliseconds since the Unix epoch, never going back."""

    now_ms: int


Event = (
    StreamOpened
    | StreamLost
    | MasterSpoke
    | ContainerEvent
    | ExecutorAttached
    | ExecutorDetached
    | ExecutorSpoke
    | DirectoriesMeasured
    | DirectoryRemoved
    | Tick
)

# --- what is durable ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The intent to run a task, written before its container is started."""

    framework_id: str
    role: str
    task: Task
    container_id: str
    secret: str
    """What a process of the task shows to attach itself."""
    kill_grace_ms: int | None = None
    """The grace of its kill, from its KILLING status on, where that is not the task's own."""


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A task's status update stream: what the framework has not acknowledged, oldest first."""

    framework_id: str
    task_id: str
    updates: tuple[TaskStatus, ...]
    acknowledged: tuple[TaskStatus, ...] = ()
    """Those that were, oldest first, since a task's end tells its whole life; a stream whose
    terminal update was acknowledged is no more."""

    @property
    def life(self) -> tuple[TaskStatus, ...]:
        """All of them, oldest first."""
        return (*self.acknowledged, *self.updates)


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume, and the directory that holds its data.

    That is `ROLE/ID.AGENTID-RUN-N`, a name never used before.
    """

    volume: Volume
    directory: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that an agent knows when it starts. `run` counts its starts, so ids never repeat."""

    info: AgentInfo
    boot_id: str
    run: int
    rebooted: bool = False
    """The host was started again since the last run: no container can have survived."""
    ends: tuple[ContainerExited | ContainerStartFailed, ...] = ()
    """If it was: what is known of containers that were over before, and were not told of yet."""
    epoch_seen: int = 0
    frameworks: tuple[FrameworkReference, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    streams: tuple[StreamRecord, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()
    """(framework id, task id) of what was here, and of which a part can not be read any more."""
    reservations: tuple[Reservation, ...] = ()
    volumes: tuple[VolumeRecord, ...] = ()
    operations: tuple[OperationStatus, ...] = ()
    """Answers that were not acknowledged."""
    leaving: tuple[str, ...] = ()
    """Directories of volumes that were destroyed, and that may not be deleted yet."""


# --- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToMaster:
    """Say this on the stream to the master."""

    call: AgentCall


@dataclass(frozen=True, slots=True)
class DropStream:
    """Close the stream to the master and open another, after a backoff."""

    why: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The master will never take this agent as it is: stop, and say why. Containers live on."""

    why: str
    empty: bool = False
    """There are none, nor will there be: the launcher ends as well."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start this container; its phases, start, failure and end come back as events."""

    spec: ContainerSpec
    lease_until_ms: int | None = None
    """Of one with a fence: it is killed then, by the agent's clock, unless LeaseContainers comes
    in time. None: it has no fence."""


@dataclass(frozen=True, slots=True)
class LeaseContainers:
    """These containers, which have a fence each, may run until then: see StartContainer."""

    container_ids: tuple[str, ...]
    until_ms: int


@dataclass(frozen=True, slots=True)
class StopContainer:
    """Send a signal to every process of a container."""

    container_id: str
    signal: int


@dataclass(frozen=True, slots=True)
class AbortStart:
    """Give up a start, in whatever phase it is."""

    container_id: str


@dataclass(frozen=True, slots=True)
class DestroyContainer:
    """Its end is recorded: give back all that it holds but its sandbox."""

    container_id: str


@dataclass(frozen=True, slots=True)
class KeepPostMortem:
    """An attempt is over: keep how it went, within bounds, for whoever asks later.

    Said again by the next run of the agent while its end is not acknowledged.
    """

    record: TaskRecord
    life: tuple[TaskStatus, ...]
    """Each status of it, oldest first; the last is its end."""
    oom: bool
    """The memory limit killed something of it, whatever its end is called."""


@dataclass(frozen=True, slots=True)
class ToExecutor:
    """Hand bytes of the framework to the process of the task that is attached."""

    container_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Delete what a volume held that was destroyed; DirectoryRemoved tells when it is done."""

    directory: str


@dataclass(frozen=True, slots=True)
class VolumeFull:
    """A volume holds as much as its size or more: tell the operator, once."""

    role: str
    volume_id: str
    used_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SaveEpoch:
    """Durable beyond a crash of the host (docs/decisions.md D5): the highest epoch heard of."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SaveFramework:
    """Durable beyond a crash of the process."""

    framework: FrameworkReference


@dataclass(frozen=True, slots=True)
class ForgetFramework:
    """Durable beyond a crash of the process: none of its tasks is here any more."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class SaveTask:
    """Durable beyond a crash of the process: a launch intent, or the grace of its task's kill."""

    record: TaskRecord


@dataclass(frozen=True, slots=True)
class SaveUpdate:
    """Durable beyond a crash of the process: append to a task's stream."""

    framework_id: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class SaveAcknowledgement:
    """Durable beyond a crash of the process: the head of a task's stream is acknowledged."""

    framework_id: str
    task_id: str
    update_id: str


@dataclass(frozen=True, slots=True)
class ForgetTask:
    """Durable beyond a crash of the process: the task with its stream."""

    framework_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class SaveReservation:
    """Durable beyond a crash of the host: a reservation as it is from now on."""

    reservation: Reservation


@dataclass(frozen=True, slots=True)
class ForgetReservation:
    """Durable beyond a crash of the host: there is no such reservation any more."""

    role: str
    reservation_id: str


@dataclass(frozen=True, slots=True)
class SaveVolume:
    """Durable beyond a crash of the host: a new volume, whose directory is made before."""

    record: VolumeRecord


@dataclass(frozen=True, slots=True)
class ForgetVolume:
    """Durable beyond a crash of the host: it is no more, and its directory is to be deleted."""

    role: str
    volume_id: str
    directory: str


@dataclass(frozen=True, slots=True)
class ForgetDirectory:
    """Durable beyond a crash of the process: a directory that was to be deleted is."""

    directory: str


@dataclass(frozen=True, slots=True)
class SaveOperation:
    """Durable beyond a crash of the host: an answer, in one step with what it tells of."""

    status: OperationStatus


@dataclass(frozen=True, slots=True)
class ForgetOperation:
    """Durable beyond a crash of the process: an answer was acknowledged."""

    framework_id: str
    operation_id: str


Durable = (
    SaveEpoch
    | SaveFramework
    | ForgetFramework
    | SaveTask
    | SaveUpdate
    | SaveAcknowledgement
    | ForgetTask
    | SaveReservation
    | ForgetReservation
    | SaveVolume
    | ForgetVolume
    | ForgetDirectory
    | SaveOperation
    | ForgetOperation
)
#: The durable ones that wait for an fsync.
OF_THE_HOST = (
    SaveEpoch,
    SaveReservation,
    ForgetReservation,
    SaveVolume,
    ForgetVolume,
    SaveOperation,
)
Effect = (
    ToMaster
    | DropStream
    | Abort
    | StartContainer
    | LeaseContainers
    | StopContainer
    | AbortStart
    | DestroyContainer
    | KeepPostMortem
    | ToExecutor
    | RemoveDirectory
    | VolumeFull
    | Durable
)
