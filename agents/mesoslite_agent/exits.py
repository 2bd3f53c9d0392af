"""How a container ended, as the launcher tells it and as the agent's machine takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesoslite_agent.container import (
    ContainerExited,
    ContainerStartFailed,
    Phase,
    StartFailure,
    Usage,
)
from mesoslite_agent.fencing import OVER
from mesoslite_agent.journal import Container, Journal

ERROR_CHARS_MAX = 500


def exited(
    event: dict[str, Any], *, oom: bool | None = None, usage: Usage | None = None
) -> ContainerExited:
    """Of an `exited` event; `oom` and `usage` are what a cgroup has measured, which is exact."""
    if usage is None and not event["lost"]:
        usage = Usage(cpu_ms=event["cpu_ms"], peak_mem_bytes=event["peak_mem_bytes"])
    return ContainerExited(
        event["id"],
        exit_code=event["exit_code"],
        signal=event["signal"],
        oom=event["over"] == "mem" if oom is None else oom,
        launcher_lost=event["lost"],
        usage=usage,
        pids_exceeded=event["over"] == "pids",
        lease_over=event["over"] == OVER,
    )


def start_failed(
    container_id: str, phase: Phase, failure: StartFailure, text: str
) -> ContainerStartFailed:
    """With the text in one line, cut to ERROR_CHARS_MAX."""
    line = " ".join(text.split())[:ERROR_CHARS_MAX]
    return ContainerStartFailed(container_id, phase, failure, line)


def failure_of(event: dict[str, Any]) -> StartFailure:
    """Why the launcher did not start it, of a `failed` event."""
    leased = event.get("over") == OVER
    return StartFailure.LEASE_OVER if leased else StartFailure.SPAWN_FAILED


def before_reboot(journal: Path) -> tuple[ContainerExited | ContainerStartFailed, ...]:
    """What had ended before the host did, as a launcher's journal tells, if it can be read. Blocks.

    Cgroups went with the host: what was killed there for its memory is told as killed.
    """
    try:
        _, containers = Journal(journal).load()
    except OSError:
        return ()
    return tuple(map(_end_of, filter(lambda container: container.end, containers.values())))


def _end_of(container: Container) -> ContainerExited | ContainerStartFailed:
    event = container.describe()
    if container.state == "exited":
        return exited(event)
    return start_failed(container.id, Phase.SPAWN, failure_of(event), event["error"])
