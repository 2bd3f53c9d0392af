"""Where a test starts processes and containers, what it starts, and what must not be left of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesoslite.model import Uri
from mesoslite_agent.cgroups import Cgroups
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerExited,
    ContainerSpec,
    ContainerStarted,
    ContainerStartFailed,
    VolumeAt,
)
from mesoslite_agent.containers import Containers
from mesoslite_agent.mounts import mounted_below, unmount
from mesoslite_agent.processes import all_processes
from tests.integration.waiting import until

HAPPENS_S_MAX = 30.0


@dataclass
class Place:
    """Where one test works."""

    work_dir: Path
    agent_ids: set[str] = field(default_factory=set)

    @property
    def agent_id(self) -> str:
        return next(iter(self.agent_ids))

    def processes(self) -> dict[int, str]:
        """Living processes that name the place in arguments or environment, or work in it."""
        found = {}
        here, mine = str(self.work_dir), os.getpid()
        for process in all_processes().values():
            if not process.lives or process.pid == mine:
                continue
            with contextlib.suppress(OSError):
                folder = Path(f"/proc/{process.pid}")
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
                told = words + (folder / "environ").read_bytes().decode("latin-1")
                if here in told or str((folder / "cwd").readlink()).startswith(here):
                    found[process.pid] = words
        return found

    def leftovers(self) -> list[str]:
        cgroups = Cgroups.of_host()
        left = [f"process {pid}: {words}" for pid, words in self.processes().items()]
        left += [f"mount {where}" for where in mounted_below(self.work_dir)]
        for agent_id in self.agent_ids:
            for root in cgroups.roots:
                group = root / "mesoslite" / agent_id
                if group.exists():
                    left.append(f"cgroup {group}")
        return left

    def clean(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for where in mounted_below(self.work_dir):
            unmount(where)
        cgroups = Cgroups.of_host()
        for agent_id in self.agent_ids:
            cgroups.empty(f"mesoslite/{agent_id}")
            cgroups.remove(f"mesoslite/{agent_id}")
        shutil.rmtree(self.work_dir, ignore_errors=True)


class Rig:
    """The containers of one agent, and everything that they reported."""

    def __init__(
        self, place: Place, hidden: tuple[Path, ...] = (), unattended_s: float | None = None
    ) -> None:
        self.place = place
        self.events: list[ContainerEvent] = []
        self._news = asyncio.Event()
        self.containers = Containers(
            place.work_dir, place.agent_id, self._report, hidden=hidden, unattended_s=unattended_s
        )

    def _report(self, event: ContainerEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until a report makes it true; the test fails when that takes too long."""
        async with asyncio.timeout(HAPPENS_S_MAX):
            while not happened():
                self._news.clear()
                await self._news.wait()

    def of(self, container_id: str) -> list[ContainerEvent]:
        return [event for event in self.events if event.container_id == container_id]

    async def started(self, container_id: str) -> ContainerStarted:
        await self.until(
            lambda: any(isinstance(e, ContainerStarted) for e in self.of(container_id))
        )
        return next(e for e in self.of(container_id) if isinstance(e, ContainerStarted))

    async def ended(self, container_id: str) -> ContainerExited:
        """How it ended; a start that fails fails the test."""
        await self.until(lambda: self._end(container_id) is not None)
        end = self._end(container_id)
        assert isinstance(end, ContainerExited), end
        return end

    async def failed(self, container_id: str) -> ContainerStartFailed:
        await self.until(lambda: self._end(container_id) is not None)
        end = self._end(container_id)
        assert isinstance(end, ContainerStartFailed), end
        return end

    def _end(self, container_id: str) -> ContainerExited | ContainerStartFailed | None:
        ends = (ContainerExited, ContainerStartFailed)
        return next((e for e in self.of(container_id) if isinstance(e, ends)), None)

    async def run(self, spec: ContainerSpec) -> ContainerExited:
        """Start it and wait for its end."""
        self.containers.start(spec)
        return await self.ended(spec.container_id)

    def file(self, spec: ContainerSpec, name: str = "stdout") -> Path:
        ids = (spec.framework_id, spec.task_id, spec.container_id)
        return self.containers.sandbox(*ids) / name

    def said(self, spec: ContainerSpec, name: str = "stdout") -> str:
        return self.file(spec, name).read_text()

    async def until_said(self, spec: ContainerSpec, text: str) -> None:
        """Wait until the container has written this to its stdout."""
        await until(lambda: self.file(spec).exists() and text in self.said(spec), HAPPENS_S_MAX)

    def launcher_pid(self) -> int:
        return int((self.place.work_dir / "launcher" / "pid").read_text())


def spec(
    *command: str,
    container_id: str = "c1",
    containerizer: str = "process",
    environment: tuple[tuple[str, str], ...] = (),
    user: str | None = None,
    uris: tuple[Uri, ...] = (),
    image: str | None = None,
    cpu_limit_milli: int | None = None,
    mem_limit_bytes: int | None = None,
    pids_limit: int | None = None,
    volumes: tuple[VolumeAt, ...] = (),
) -> ContainerSpec:
    """A container to start; what a test does not care about has a default."""
    return ContainerSpec(
        container_id=container_id,
        framework_id="f1",
        task_id=f"task-{container_id}",
        command=command,
        environment=environment,
        user=user,
        uris=uris,
        image=image,
        containerizer=containerizer,
        cpu_limit_milli=cpu_limit_milli,
        mem_limit_bytes=mem_limit_bytes,
        pids_limit=pids_limit,
        volumes=volumes,
    )


def need_oci(containers: Containers) -> None:
    """Skip where the host cannot run containers; where CI says that it can, fail instead."""
    reason = containers.why_not("oci")
    if reason is not None:
        if os.environ.get("MESOSLITE_REQUIRE_CONTAINERS") == "1":
            pytest.fail(f"MESOSLITE_REQUIRE_CONTAINERS=1, but: {reason}")
        pytest.skip(reason)


def need_root() -> None:
    if os.geteuid() != 0:
        if os.environ.get("MESOSLITE_REQUIRE_CONTAINERS") == "1":
            pytest.fail("MESOSLITE_REQUIRE_CONTAINERS=1, but this is not root")
        pytest.skip("needs root")


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
