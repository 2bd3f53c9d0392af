"""How a container is isolated: one module for each way, one contract.

A containerizer prepares a container and says what the launcher has to start; it starts nothing
itself. All of its methods block, may be called from any thread, and are idempotent.
"""

from __future__ import annotations

import functools
import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mesoslite_agent.container import ContainerSpec, Usage
from mesoslite_agent.sandbox import MARKER

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotPrepare(Exception):
    """The container's root, limits or sandbox could not be made; one line for the user."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a container's processes run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume's directory on the host, and the path at which its container has it."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class Launch:
    """A `start` request of the launcher, but for the container's id; see launcher.py."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    stdout: str
    stderr: str
    marker: str
    pid_file: str | None = None
    cgroup_procs: str | None = None
    log: str | None = None
    settle: tuple[tuple[str, str], ...] = ()
    mem_bytes_max: int | None = None
    pids_max: int | None = None
    data: dict[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """By name, as they are sent; nothing is copied."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a container's own accounting says at its end."""

    oom_kills: int
    usage: Usage | None
    """None: the launcher's figures are all there is."""


class Containerizer(Protocol):
    """One way to isolate containers."""

    name: str

    def why_not(self) -> str | None:
        """Why this host cannot do it; None: it can. Found out once."""

    def prepare(
        self, spec: ContainerSpec, sandbox: Path, user: User, volumes: tuple[Mounted, ...] = ()
    ) -> Launch:
        """Make root, limits and configuration. Raises CannotPrepare, and then leaves nothing."""

    def measure(self, container_id: str) -> Measured:
        """What an ended container used, before `release`."""

    def release(self, container_id: str) -> None:
        """Kill what is left of a container, free its root, mounts and limits. Raises OSError."""

    def held(self) -> set[str]:
        """The containers that have something to release."""

    def close(self) -> None:
        """Remove what is shared by containers; none is left."""


def resolve_user(name: str | None) -> User:
    """The system user of that name or number; None: the agent's own. Raises CannotPrepare."""
    if name is None:
        return _own_user()
    own = os.geteuid()
    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise CannotPrepare(f"this host has no user {name!r}") from None
    if own not in {0, entry.pw_uid}:
        raise CannotPrepare(f"an agent that is not root cannot run a task as {entry.pw_name!r}")
    return _user(entry)


@functools.cache
def _own_user() -> User:
    """Whom the agent runs as: looked up once, it is a tenth of what a plain start takes."""
    own = os.geteuid()
    try:
        return _user(pwd.getpwuid(own))
    except KeyError:  # a number that the host has no name for
        return User(str(own), own, os.getegid(), tuple(os.getgroups()), "/")


def _user(entry: pwd.struct_passwd) -> User:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def environment(spec: ContainerSpec, sandbox: str, home: str) -> dict[str, str]:
    """Everything a task's processes get: the task's own, and nothing of the agent's."""
    return (
        {"PATH": PATH, "HOME": home}
        | dict(spec.environment)
        | {
            "MESOSLITE_TASK_ID": spec.task_id,
            "MESOSLITE_FRAMEWORK_ID": spec.framework_id,
            "MESOSLITE_CONTAINER_ID": spec.container_id,
            MARKER: sandbox,
        }
    )


def data_of(spec: ContainerSpec) -> dict[str, Any]:
    """What the launcher keeps for us, to be had again after a restart of the agent."""
    return {
        "containerizer": spec.containerizer,
        "framework_id": spec.framework_id,
        "task_id": spec.task_id,
    }
