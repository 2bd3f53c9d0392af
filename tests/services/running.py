"""A framework that is run by its command, as a test sees it, and its tasks on this host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
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

    def stop(self, *words: str) -> None:
        """End it for good, with all of its tasks; with `--release` until nothing is left of it."""
        done = self.dev.command("framework", "stop", self.name, *words)
        assert done.code == 0, done.err
        self.scheduler.wait(READY_S_MAX)  # it hears that it was removed
        wait_until(lambda: not self.dev.json("task", "ls"), "its tasks have ended", READY_S_MAX)
        if "--release" in words:
            wait_until(self._nothing_is_left, "nothing is reserved", READY_S_MAX)

    def _nothing_is_left(self) -> bool:
        return not self.dev.json("reservation", "ls") and not self.dev.json("volume", "ls")

    # --- its tasks, and what may happen to them ---------------------------------------------------

    def task_of(self, member: str) -> str:
        """The task of a member that runs now."""
        rows = self.status()["tasks"]
        named = [row for row in rows if row["task"]["name"] == member]
        [task_id] = [row["task"]["taskId"] for row in named if row["state"] == "RUNNING"]
        return str(task_id)

    def agent_of(self, member: str) -> str:
        """The id of the agent that it is on."""
        rows = self.status()["tasks"]
        return str(next(row["agentId"] for row in rows if row["task"]["name"] == member))

    def until_back(self, member: str, before: str) -> None:
        """Wait for a later task of it to run."""

        def back() -> bool:
            states = {row["task"]["taskId"]: row["state"] for row in self.status()["tasks"]}
            return any(
                state == "RUNNING" and name.startswith(f"{member}.") and name != before
                for name, state in states.items()
            )

        wait_until(back, f"{member} is back", READY_S_MAX)

    @contextlib.contextmanager
    def host_down(self, member: str) -> Iterator[None]:
        """A power cut of the host that a member is on; at the end it starts, as after a reboot."""
        agent_id, hostname = self._host_of(member)
        number = hostname.removeprefix("agent-")
        self.dev.type(f"kill-host {number}")
        self._until_away(agent_id)
        yield
        self.dev.type(f"start-host {number}")

    @contextlib.contextmanager
    def agent_down(self, member: str) -> Iterator[None]:
        """kill -9 of the agent that a member is on, and of nothing else; then its host starts."""
        agent_id, hostname = self._host_of(member)
        os.kill(_agent_process(self.dev, hostname), signal.SIGKILL)
        self._until_away(agent_id)
        yield
        self.dev.type(f"start-host {hostname.removeprefix('agent-')}")

    def _host_of(self, member: str) -> tuple[str, str]:
        agent_id = self.agent_of(member)
        rows = self.dev.json("agent", "ls")
        infos = [row["info"] for row in rows]
        return agent_id, next(i["hostname"] for i in infos if i["agentId"] == agent_id)

    def _until_away(self, agent_id: str) -> None:
        def away() -> bool:
            rows = self.dev.json("agent", "ls")
            return any(
                row["info"]["agentId"] == agent_id and row["state"] != "active" for row in rows
            )

        wait_until(away, f"{agent_id} is away", READY_S_MAX)


def _agent_process(dev: Dev, hostname: str) -> int:
    """The process of an agent of this cluster."""
    needles = (f"--hostname={hostname}".encode(), os.fsencode(dev.home))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if needles[0] in words.split(b"\0") and needles[1] in words:
                    return int(entry.name)
    raise AssertionError(f"{hostname} has no agent")


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
