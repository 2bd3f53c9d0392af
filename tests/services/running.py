"""A framework that is run by its command, as a test sees it, and its tasks on this host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.end_to_end.command import COMMAND, Dev
from tests.end_to_end.waiting import wait_until

READY_S_MAX = 600.0  # for jars to come, and three virtual machines to start on a busy host


class Framework:
    """`mesoslite framework run NAME ...` against a cluster. Use as a context."""

    def __init__(self, dev: Dev, *words: str) -> None:
        self.dev = dev
        self.words = words
        self.name = words[0]
        self.log = dev.home / f"{self.name}.log"
        self.scheduler = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [COMMAND, "framework", "run", *self.words],
                env=self.dev.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Framework:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.scheduler.poll() is None:
            self.scheduler.kill()
        self.scheduler.wait()
        if error is not None:
            error.add_note(f"{self.name} said:\n{self.said()[-4_000:]}")

    def said(self) -> str:
        """All that its schedulers have said."""
        return self.log.read_text(errors="replace")

    def kill_scheduler(self) -> None:
        """As its host would, without a word."""
        self.scheduler.kill()
        self.scheduler.wait()

    def start_scheduler(self) -> None:
        """Another one, as on another host: it has nothing but the cluster."""
        self.scheduler = self._start()

    def status(self) -> dict[str, Any]:
        """What `mesoslite framework status` tells; empty: nothing yet."""
        done = self.dev.command("framework", "status", self.name, "-o", "json")
        return json.loads(done.out) if done.code == 0 else {}

    def until_all_run(self, members: int) -> dict[str, str]:
        """Wait until it waits for nothing; its endpoints."""

        def ready() -> dict[str, str] | None:
            assert self.scheduler.poll() is None, self.said()
            page = self.status()
            endpoints: dict[str, str] = page.get("endpoints", {})
            return endpoints if len(endpoints) == members and not page["waitsFor"] else None

        return wait_until(ready, f"{self.name} runs", READY_S_MAX)


def processes_of(task_id: str, dev: Dev) -> list[int]:
    """The processes of a task of this cluster, in containers or not."""
    agents = {f"MESOSLITE_AGENT_ID={agent_id}".encode() for agent_id in dev.agent_ids}
    task = f"MESOSLITE_TASK_ID={task_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                told = set((entry / "environ").read_bytes().split(b"\0"))
                if task in told and agents & told:
                    found.append(int(entry.name))
    return found


def kill_task(task_id: str, dev: Dev) -> None:
    """kill -9, all of it at once."""
    pids = wait_until(lambda: processes_of(task_id, dev), f"{task_id} has processes")
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
