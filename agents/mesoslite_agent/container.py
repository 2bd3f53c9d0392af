"""Containers as the agent's machine sees them: what to start, how far a start is, how one ended.

Pure nouns. `containers.py` does what they ask and reports back in these types; `state.py` decides.
"""

from __future__ import annotations

from enum import Enum

from mesoslite.immutable import dataclass
from mesoslite.model import Uri


class Phase(Enum):
    """The phases of a start, in order. A start is always in exactly one of them."""

    FETCH = "fetch"
    ROOT = "root"
    SPAWN = "spawn"


class StartFailure(Enum):
    """Why a container never ran: one member for each cause, shown to users."""

    FETCH_FAILED = "a file that the task needs could not be fetched"
    ROOT_FAILED = "the container's root, limits or sandbox could not be made"
    SPAWN_FAILED = "the command could not be started"
    NEVER_ASKED = "its agent ended before the command was started"
    LEASE_OVER = "it has a fence, and the lease of its agent was over"
    CONTAINERIZER_UNAVAILABLE = "this agent cannot run the containerizer that the task asks for"


@dataclass(frozen=True, slots=True)
class VolumeAt:
    """A volume, and where its container is to have it."""

    volume_id: str
    directory: str
    """Of the volume, below the agent's volumes: `ROLE/ID.AGENTID-RUN-N`."""
    path: str
    """Below the sandbox when it is relative, else in the container's own root."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything needed to start one container, once. Limits are hard, None means none."""

    container_id: str
    """Unique on this agent for ever; `[a-z0-9-]{1,64}`: it names directories and cgroups."""
    framework_id: str
    task_id: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    user: str | None
    """The system user to run as; None: the agent's own."""
    uris: tuple[Uri, ...]
    image: str | None
    """A directory that is the root file system (`oci`); None: the host's, under an overlay."""
    containerizer: str
    cpu_limit_milli: int | None
    mem_limit_bytes: int | None
    pids_limit: int | None
    volumes: tuple[VolumeAt, ...] = ()
    """No two at one path."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container used over its whole life, as wait4(2) and its cgroup tell."""

    cpu_ms: int
    peak_mem_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerPhase:
    """A start has entered a phase; one with nothing to fetch may begin with its root."""

    container_id: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """The command runs."""

    container_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class ContainerStartFailed:
    """The command never ran, and nothing of the container is left but its sandbox."""

    container_id: str
    phase: Phase
    failure: StartFailure
    message: str


@dataclass(frozen=True, slots=True)
class ContainerExited:
    """A container that had started is over: its first process has ended, every other was killed.

    Exactly one of `exit_code` and `signal` is set, except when the launcher died with it: then both
    are None and `launcher_lost` is true, since nobody can know (docs/decisions.md D8).
    """

    container_id: str
    exit_code: int | None
    signal: int | None
    oom: bool
    """True when the memory limit killed it; a kill by anybody else leaves it False."""
    launcher_lost: bool
    usage: Usage | None
    pids_exceeded: bool = False
    """True when it was killed for having more processes and threads than its limit."""
    lease_over: bool = False
    """True when it has a fence and was killed because its agent's lease was over."""


ContainerEvent = ContainerPhase | ContainerStarted | ContainerStartFailed | ContainerExited
