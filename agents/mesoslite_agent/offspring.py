"""The processes of all containers of a launcher: their starts, their ends, and whose they are.

A container's first process is a child of ours or, behind a container runtime, adopted by us as a
subreaper; so is whatever its processes leave behind when they end before their own children.
Standard library alone: the launcher uses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mesoslite_agent.journal import Container, Journal, claims, ended, record
from mesoslite_agent.processes import (
    FATAL_BY_DEFAULT,
    children_of,
    claimed_by,
    kill,
    kill_group,
    listed,
    read_process,
    shields,
    start_ticks_now,
    tree_of,
)
from mesoslite_agent.spawning import Spawner

STRAYS_MAX = 4_096  # exits kept until the runtime that left the process behind has named it
SWEEP_S_MAX = 10.0  # a process in an uninterruptible call does not die; its container is over then
RUNTIME_LOG_LINES = 50  # of the runtime's log that may say why


class Offspring:
    """Everything that was started and is not over. One thread; nothing blocks."""

    def __init__(
        self, journal: Journal, spawner: Spawner, tell: Callable[[Container], None]
    ) -> None:
        """`tell` hears of each container whose state is another one now."""
        self._journal = journal
        self._spawner = spawner
        self._tell = tell
        self._first: dict[int, Container] = {}  # by its first process's pid, until that is reaped
        self._runtimes: dict[int, Container] = {}  # by the pid of the runtime that starts them
        self._sessions: dict[int, Container] = {}  # by session, until the container is over
        self._ending: list[Container] = []  # first process gone, the others being killed
        self._adopted: dict[int, Container | None] = {}  # children left to us; None: whose?
        self._strays: dict[int, tuple[int, Any]] = {}
        self._reaped_any = False
        self._alone = False  # the kernel says that there is no child at all
        self.running = 0
        """Containers that are starting or started."""
        self.watched: dict[str, Container] = {}
        """Those whose memory and processes nobody else limits."""

    @property
    def ending(self) -> bool:
        """True while a container waits for the last of its processes."""
        return bool(self._ending)

    @property
    def childless(self) -> bool:
        """True when no process is left, not even one that nobody claims."""
        return self.running == 0 and not children_of(os.getpid())

    # -- starts -----------------------------------------------------------------------------------

    def start(
        self,
        container: Container,
        argv: list[str],
        env: Mapping[str, str],
        cwd: str,
        stdout: str,
        stderr: str,
    ) -> None:
        """Start its first process, or the runtime that does. Its intent is in the journal."""
        self.running += 1
        began = start_ticks_now()
        try:
            pid = self._spawner.spawn(argv, env, cwd, stdout, stderr)
        except (OSError, ValueError, TypeError) as error:
            self._failed(container, str(error))
            return
        if container.fields["pid_file"] is None:
            self._sessions[pid] = container
            # Mostly both are within one tick of 10 ms, which is the process's then. To ask for it
            # is 50 us, a fifth of a start: the process is in the middle of its execve(2).
            self._started(container, pid, began if start_ticks_now() == began else None)
        else:
            container.runtime_pid = pid
            self._runtimes[pid] = container
            self._tell(container)

    def start_none(self, container: Container, why: str) -> None:
        """It fails without a process: what it was asked for must not run any more."""
        self.running += 1
        self._failed(container, why)

    def _started(self, container: Container, pid: int, start: int | None) -> None:
        if start is None:
            process = read_process(pid)
            start = process.start if process else None
        container.pid, container.start = pid, start
        container.state = "started"
        self._first[pid] = container
        fields = container.fields
        if not has_cgroup(container) and (fields["mem_bytes_max"] or fields["pids_max"]):
            self.watched[container.id] = container
        self._journal.add(record(container))
        for path, text in fields["settle"] or ():
            with contextlib.suppress(OSError):  # it may be over already, and its cgroup with it
                Path(path).write_text(text)
        self._tell(container)

    def _failed(self, container: Container, error: str) -> None:
        container.end = {"error": error, "over": container.over}
        self._over(container, "failed")

    def _over(self, container: Container, state: str) -> None:
        container.state = state
        self.running -= 1
        if container.pid is not None:
            self._sessions.pop(container.pid, None)
        self._journal.add(ended(container))
        self._tell(container)

    # -- signals ----------------------------------------------------------------------------------

    def signal(self, container: Container, number: int) -> None:
        """To every process of the container; SIGKILL to the runtime of one that is starting.

        The kernel shields pid 1 of a pid namespace from signals that it does not handle. There,
        SIGKILL does what the default action would have done, and the end is reported as by the
        signal that was asked for.
        """
        if container.state == "starting" and container.runtime_pid is not None:
            kill_group(container.runtime_pid, signal.SIGKILL)
            for pid in listed(container.fields["cgroup_procs"]):
                kill(pid, signal.SIGKILL)
        elif container.state == "started" and container.pid is not None:
            if not has_cgroup(container):
                kill_group(container.pid, number)
                for pid in self._members(container):
                    process = read_process(pid)
                    if process is not None and process.group != container.pid:
                        kill(pid, number)
                return
            if number in FATAL_BY_DEFAULT and shields(container.pid, number):
                container.stand_in, number = number, signal.SIGKILL
            # The first process first: it must not see a child die and end by itself of that.
            kill(container.pid, number)
            for pid in {*listed(container.fields["cgroup_procs"])} - {container.pid}:
                kill(pid, number)

    def _members(self, container: Container) -> set[int]:
        """All processes of a container without a cgroup, found by ancestry, session and marker."""
        return tree_of(self.roots([container])[container.id])

    def roots(self, containers: list[Container]) -> dict[str, set[int]]:
        """For each of these: its first process, while it lives, and what it left behind."""
        self._adopt()
        found = {
            c.id: {c.pid} if c.pid is not None and c.pid in self._first else set()
            for c in containers
        }
        for pid, owner in self._adopted.items():
            if owner is not None and owner.id in found:
                found[owner.id].add(pid)
        return found

    # -- ends -------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Take the ends of all children that have ended."""
        self._alone = False
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._alone = True
                return
            if found is None:
                return
            pid = found.si_pid
            container = self._first.get(pid)
            if container is not None and not has_cgroup(container):
                # Before the pid is given back: until then its group cannot be anybody else's.
                kill_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._reaped(pid, status, usage)

    def _reaped(self, pid: int, status: int, usage: Any) -> None:
        self._reaped_any = True
        owner = self._adopted.pop(pid, None)
        if owner is not None:
            owner.charge(usage)
        if pid in self._first:
            container = self._first.pop(pid)
            self.watched.pop(container.id, None)
            container.status = status
            container.charge(usage)
            container.sweep_until = time.monotonic() + SWEEP_S_MAX
            self._ending.append(container)
        elif pid in self._runtimes:
            self._runtime_ended(self._runtimes.pop(pid), status)
        elif self._runtimes and owner is None:
            self._strays[pid] = (status, usage)
            while len(self._strays) > STRAYS_MAX:
                del self._strays[next(iter(self._strays))]
        if not self._runtimes:
            self._strays.clear()

    def _runtime_ended(self, container: Container, status: int) -> None:
        if status != 0:
            for pid in listed(container.fields["cgroup_procs"]):
                kill(pid, signal.SIGKILL)
            self._failed(container, _why(container, status))
            return
        try:
            pid = int(Path(container.fields["pid_file"]).read_text())
        except (OSError, ValueError) as error:
            self._failed(container, f"the container runtime left no pid: {error}")
            return
        self._adopted.pop(pid, None)
        self._started(container, pid, None)
        if pid in self._strays:
            self._reaped(pid, *self._strays.pop(pid))

    def _adopt(self) -> None:
        """Find out whose each process is that was left to us when its parent ended."""
        found = children_of(os.getpid()) - self._first.keys() - self._runtimes.keys()
        new = [process for pid in found - self._adopted.keys() if (process := read_process(pid))]
        if not any(process.lives for process in new):
            return
        watched_over = [c for c in (*self._first.values(), *self._ending) if not has_cgroup(c)]
        markers, folders = claims(watched_over)
        for process in new:
            if process.lives:
                owner = self._sessions.get(process.session)
                owner = owner or claimed_by(process.pid, markers, folders)
                self._adopted[process.pid] = owner

    def sweep(self) -> None:
        """A container is over when its first process is; kill the rest, then say so."""
        if not (self._ending or self._reaped_any):
            return
        self._reaped_any = False
        if not self._alone:  # else there is nobody to find: 30 us sooner for one task at a time
            self._adopt()
        left: dict[str, list[int]] = {}
        for pid, owner in self._adopted.items():
            if owner is not None:
                left.setdefault(owner.id, []).append(pid)
        ending, self._ending = self._ending, []
        for container in ending:
            for pid in left.get(container.id, ()):
                process = read_process(pid)
                if process is not None and process.group in {pid, container.pid}:
                    kill_group(process.group, signal.SIGKILL)
                kill(pid, signal.SIGKILL)
            if container.id in left and time.monotonic() < container.sweep_until:
                self._ending.append(container)
            else:
                container.end = container.exited()
                self._over(container, "exited")
        if self.running == 0:
            for pid in self._adopted:  # nobody's, and nobody is left to claim it
                kill(pid, signal.SIGKILL)


def has_cgroup(container: Container) -> bool:
    """Whether the kernel keeps its processes together, and within limits."""
    return container.fields["cgroup_procs"] is not None


def _why(container: Container, status: int) -> str:
    """The last error of the runtime's log, else how the runtime itself ended."""
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError, TypeError):
        lines = Path(container.fields["log"]).read_text().splitlines()[-RUNTIME_LOG_LINES:]
        for line in reversed(lines):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return str(json.loads(line)["msg"])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the container runtime ended with {how}"
