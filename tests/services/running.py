"""A framework that is run by its command, as a test sees it, and its tasks on this host."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from mesoslite.credentials import find_token_file
from tests.end_to_end.command import COMMAND
from tests.end_to_end.waiting import wait_until
from tests.services.hosts import Hosts

KILL_S = 0.2  # so long a life of a member that is kept down takes at most
READY_S_MAX = 600.0  # for jars to come, and three virtual machines to start on a busy host


class Framework:
    """`mesoslite framework run NAME ...` against a cluster. Use as a context."""

    def __init__(self, hosts: Hosts, *words: str) -> None:
        self.hosts = hosts
        self.words = words
        self.name = words[0]
        self.log = hosts.home / f"{self.name}.log"
        self._places = itertools.count(1)
        self.scheduler = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """As on a host where it never was: with the cluster's address and its token alone."""
        elsewhere = self.hosts.home / f"{self.name}-scheduler-{next(self._places)}"
        elsewhere.mkdir()
        token_file = find_token_file(None, self.hosts.environment)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [COMMAND, "framework", "run", *self.words],
                cwd=elsewhere,
                env=self.hosts.environment
                | {"HOME": str(elsewhere), "MESOSLITE_TOKEN_FILE": str(token_file)},
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
        if error is not None:
            error.add_note(f"{self.name} said:\n{self.said()[-4_000:]}")
            error.add_note(self._what_failed())
        if self.scheduler.poll() is None:
            self.scheduler.kill()
        self.scheduler.wait()

    def _what_failed(self) -> str:
        """The last words of the tasks of it that failed."""
        told = ""
        for row in json.loads(self.hosts.command("task", "ls", "--all", "-o", "json").out or "[]"):
            if row["state"] == "FAILED":
                task = row["task"]["taskId"]
                told += f"{task}: {self.hosts.command('logs', '--stderr', task).out[-3_000:]}\n"
        return told

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
        done = self.hosts.command("framework", "status", self.name, "-o", "json")
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
        done = self.hosts.command("framework", "stop", self.name, *words)
        assert done.code == 0, done.err
        self.scheduler.wait(READY_S_MAX)  # it hears that it was removed
        wait_until(lambda: not self.hosts.json("task", "ls"), "its tasks have ended", READY_S_MAX)
        if "--release" in words:
            wait_until(self._nothing_is_left, "nothing is reserved", READY_S_MAX)

    def _nothing_is_left(self) -> bool:
        return not self.hosts.json("reservation", "ls") and not self.hosts.json("volume", "ls")

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
    def member_down(self, member: str) -> Iterator[None]:
        """kill -9 of a member, and of each of its later lives until the end: it stays down."""
        kill_task(self.task_of(member), self.hosts)
        over = threading.Event()

        def keep_down() -> None:
            while not over.wait(KILL_S):
                _kill(_processes(self.hosts, lambda task_id: task_id.startswith(f"{member}.")))

        with ThreadPoolExecutor(1) as thread:
            keeping = thread.submit(keep_down)
            try:
                yield
            finally:
                over.set()
            keeping.result()

    @contextlib.contextmanager
    def host_down(self, member: str) -> Iterator[None]:
        """A power cut of the host that a member is on; at the end it starts, as after a reboot."""
        with self.hosts.host_down(self.agent_of(member)):
            yield

    @contextlib.contextmanager
    def agent_down(self, member: str) -> Iterator[None]:
        """kill -9 of the agent that a member is on, and of nothing else; at the end it is back."""
        with self.hosts.agent_down(self.agent_of(member)):
            yield


def processes_of(task_id: str, hosts: Hosts) -> list[int]:
    """The processes of a task of this cluster, in containers or not."""
    return _processes(hosts, lambda found: found == task_id)


def _processes(hosts: Hosts, is_meant: Callable[[str], bool]) -> list[int]:
    """Those of the tasks whose ids are meant."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "environ").read_text(errors="replace").split("\0")
                told = dict(
                    word.partition("=")[::2] for word in words if word.startswith("MESOSLITE_")
                )
                known = told.get("MESOSLITE_AGENT_ID") in hosts.agent_ids
                if known and is_meant(told.get("MESOSLITE_TASK_ID", "")):
                    found.append(int(entry.name))
    return found


def kill_task(task_id: str, hosts: Hosts) -> None:
    """kill -9, all of it at once."""
    _kill(wait_until(lambda: processes_of(task_id, hosts), f"{task_id} has processes"))


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until_serve(endpoints: Mapping[str, str]) -> None:
    """Wait until each takes clients: a process that has started reads its data first."""

    def all_serve() -> bool:
        for address in endpoints.values():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                return False
        return True

    wait_until(all_serve, "all of them serve", READY_S_MAX)


def until_topic(kafka: Framework, topic: str) -> None:
    """Wait until a topic that Kafka was asked for is made."""

    def made() -> bool:
        rows = kafka.hosts.json("framework", "store", "ls", kafka.name)
        return any(row["key"] == f"topic/{topic}" for row in rows)

    wait_until(made, f"{topic} is there", READY_S_MAX)
