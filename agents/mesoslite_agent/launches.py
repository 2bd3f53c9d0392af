"""From a task to its container: whether this agent may run it, how, and what a start waits for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mesoslite.model import AgentInfo, Reason, Task
from mesoslite_agent.container import ContainerSpec, Phase, VolumeAt
from mesoslite_agent.protocol import TaskRecord
from mesoslite_agent.records import AgentConfig

IMAGE_CONTAINERIZERS = ("oci",)  # the others have no root file system of their own
SECRET_BYTES = 16  # 128 bits: as good as any key
MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class CannotRun:
    """Why a task can not run here, now or later: trying again will not help."""

    reason: Reason
    message: str


def containerizer_of(task: Task, available: tuple[str, ...]) -> str | CannotRun:
    """What to run the task in: what it names, else the first that is there and can."""
    there = ", ".join(available) or "none"
    if task.containerizer is not None and task.containerizer not in available:
        return CannotRun(
            Reason.CONTAINERIZER_UNAVAILABLE,
            f"containerizer {task.containerizer} is not on this agent, which has {there}",
        )
    candidates = available if task.containerizer is None else (task.containerizer,)
    if wants := _wants_a_root(task):
        candidates = tuple(name for name in candidates if name in IMAGE_CONTAINERIZERS)
    if not candidates:
        asked = task.containerizer or there
        return CannotRun(
            Reason.CONTAINERIZER_UNAVAILABLE,
            f"{wants} needs one of {', '.join(IMAGE_CONTAINERIZERS)}, not {asked}",
        )
    return candidates[0]


def _wants_a_root(task: Task) -> str:
    """What of a task needs a root file system of the container's own; empty: nothing."""
    if task.image is not None:
        return f"image {task.image}"
    absolute = (mount for mount in task.volumes if mount.path.startswith("/"))
    mount = next(absolute, None)
    return "" if mount is None else f"volume {mount.volume_id} at {mount.path}"


def cannot_run(task: Task, info: AgentInfo, config: AgentConfig) -> CannotRun | None:
    """The first reason why not, None when it can."""
    containerizer = containerizer_of(task, info.containerizers)
    if isinstance(containerizer, CannotRun):
        return containerizer
    if task.user not in (None, config.user) and task.user not in config.allowed_users:
        return CannotRun(
            Reason.USER_NOT_ALLOWED,
            f"user {task.user} is not the agent's own and not allowed: --allow-user {task.user}",
        )
    return None


def secret_of(container_id: str, config: AgentConfig) -> str:
    """What a process of this container shows to attach itself: 32 hexadecimal digits."""
    digest = hashlib.blake2b(
        container_id.encode(), key=config.secret_seed, digest_size=SECRET_BYTES
    )
    return digest.hexdigest()


def spec_of(
    record: TaskRecord,
    info: AgentInfo,
    config: AgentConfig,
    fence_token: int = 0,
    volumes: tuple[VolumeAt, ...] = (),
) -> ContainerSpec:
    """The container of a task that can run here. Raises AssertionError for one that can not."""
    task = record.task
    containerizer = containerizer_of(task, info.containerizers)
    if isinstance(containerizer, CannotRun):
        raise AssertionError(f"{task.task_id}: {containerizer.message}")
    own = {  # in order: nothing is to be sorted for a task without an environment of its own
        "MESOSLITE_AGENT_ID": info.agent_id,
        "MESOSLITE_CONTAINER_ID": record.container_id,
        "MESOSLITE_EXECUTOR_SOCKET": config.executor_socket,
        "MESOSLITE_FRAMEWORK_ID": record.framework_id,
        "MESOSLITE_SECRET": record.secret,
        "MESOSLITE_TASK_ID": task.task_id,
    }
    if task.fence is not None:
        own |= {"MESOSLITE_FENCE": task.fence, "MESOSLITE_FENCE_TOKEN": str(fence_token)}
    # Exact: both are whole thousandths divided by 1,000, and far below 2^53.
    cpu_milli = round(task.resources.cpus * 1_000)
    mem_bytes = round(task.resources.mem * 1_000) * MIB // 1_000
    pids = config.pids_limit if task.pids_limit is None else task.pids_limit
    return ContainerSpec(
        container_id=record.container_id,
        framework_id=record.framework_id,
        task_id=task.task_id,
        command=tuple(task.command),
        environment=(
            tuple(sorted({**task.environment, **own}.items()))
            if task.environment
            else tuple(own.items())
        ),
        user=None if task.user == config.user else task.user,
        uris=tuple(task.uris),
        image=task.image,
        containerizer=containerizer,
        cpu_limit_milli=cpu_milli or None,
        mem_limit_bytes=mem_bytes or None,
        pids_limit=max(1, min(pids, config.pids_limit_max)),
        volumes=volumes,
    )


def waits_for(task: Task, phase: Phase | None, *, recovered: bool) -> str:
    """The phase of a start and what it waits for, for people: `fetch: file:///a and 2 more`."""
    match phase:
        case None if recovered:
            return "recovery: the launcher has not yet told what became of the start"
        case None:
            return "queue: other starts on this agent are first"
        case Phase.FETCH if not task.uris:
            return "fetch: there is nothing to fetch, other fetches on this agent are first"
        case Phase.FETCH:
            more = f" and {len(task.uris) - 1} more" if len(task.uris) > 1 else ""
            return f"fetch: {task.uris[0].value}{more}"
        case Phase.ROOT:
            source = "of the host" if task.image is None else f"of image {task.image}"
            return f"root: the sandbox, the limits and the root file system {source}"
        case Phase.SPAWN:
            return f"spawn: the first process, {task.command[0] if task.command else '?'}"
