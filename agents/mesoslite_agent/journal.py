"""What a launcher remembers of its containers, and what the next launcher is told of them.

Standard library alone: the launcher uses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from binascii import crc32
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mesoslite_agent.processes import (
    all_processes,
    boot_id,
    claimed_by,
    kill_until_gone,
    listed,
    tree_of,
)

JOURNAL_LINES_SLACK = 4_000  # lines beyond four for each container before the journal is rewritten
LOST_S_MAX = 5.0  # a process in an uninterruptible call does not die; its container is over anyway

START_FIELDS = (
    "marker",  # NAME=value in the environment of all its processes; finds them after a crash
    "pid_file",  # written by a container runtime; None: argv is the container's first process
    "cgroup_procs",  # its cgroup.procs file; None: its processes are found by session and ancestry
    "log",  # the runtime's own log, JSON lines; says why a start failed
    "settle",  # [[file, text], ...] written once it has started: limits that would hamper a start
    "mem_bytes_max",  # watched, for a container without a cgroup: over it, everything is killed
    "pids_max",  # the same for its processes and threads
    "cwd",
    "data",  # the caller's, returned with each event
)

Json = dict[str, Any]


class Container:
    """One container from its intent until it is forgotten."""

    def __init__(self, container_id: str, fields: Json) -> None:
        self.id = container_id
        self.fields: Json = {name: fields.get(name) for name in START_FIELDS}
        self.state = "starting"  # starting -> started -> exited, or starting -> failed
        self.pid: int | None = None
        self.start: int | None = None  # clock ticks after boot; with the pid it names a process
        self.runtime_pid: int | None = None
        self.end: Json = {}
        self.status: int | None = None  # of the first process, as wait4 gives it
        self.sweep_until = 0.0
        self.cpu_s = 0.0
        self.peak_bytes = 0
        self.over: str | None = None  # which watched limit it went over: mem or pids
        self.stand_in: int | None = None  # SIGKILL stands in for this signal

    def describe(self) -> Json:
        """The event of its present state."""
        event: Json = {"event": self.state, "id": self.id, "data": self.fields["data"]}
        if self.pid is not None:
            event["pid"] = self.pid
        return event | self.end

    def charge(self, usage: Any) -> None:
        """Add what one of its processes used, as wait4(2) tells it."""
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)

    def exited(self) -> Json:
        """How it ended, from the status of its first process."""
        assert self.status is not None
        code = os.waitstatus_to_exitcode(self.status)
        number = None if code >= 0 else -code
        if number == signal.SIGKILL and self.stand_in is not None:
            number = self.stand_in
        return {
            "exit_code": code if code >= 0 else None,
            "signal": number,
            "over": self.over if code == -signal.SIGKILL else None,  # else the kill came too late
            "lost": False,
            "cpu_ms": round(self.cpu_s * 1000),
            "peak_mem_bytes": self.peak_bytes,
        }

    def lose(self) -> None:
        """Its launcher died with it: nobody can know how it ended (docs/decisions.md D8)."""
        self.state = "exited"
        self.end = {"exit_code": None, "signal": None, "over": None, "lost": True}


class Journal:
    """What a next launcher must know. Written, not fsynced: a reboot ends the tasks anyway (D5)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._unwritten: list[bytes] = []
        self._fd = -1
        self._torn = False
        self.damaged = 0
        """Lines that `load` could not use, but for one that was torn."""
        self.forgetful = False
        """Something may have been started that it does not tell of: it is damaged, or had gone."""

    def load(self) -> tuple[str | None, dict[str, Container]]:
        """The boot that it was written in, and the containers that are not forgotten.

        A line that is not as it was written costs what it said, no more, and counts as `damaged`:
        of a container without its intent the record still tells which process it is, one without
        its record is found by its intent, and one without its end was lost.
        """
        boot, containers = None, dict[str, Container]()
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None, {}
        *lines, torn = data.split(b"\n")  # the last one ends where its launcher did
        for line in [*lines, torn]:
            entry = unsealed(line)
            if entry is None:
                self.damaged += bool(line) and line is not torn
                continue
            with contextlib.suppress(KeyError, TypeError):
                match entry["is"]:
                    case "boot":
                        boot = str(entry["boot"])
                        self.forgetful |= bool(entry.get("forgetful"))
                    case "intent":
                        containers[entry["id"]] = Container(entry["id"], entry)
                    case "record":
                        container = containers.setdefault(entry["id"], Container(entry["id"], {}))
                        container.state = "started"
                        container.pid, container.start = entry["pid"], entry["start"]
                    case "end":
                        container = containers[entry["id"]]
                        container.state, container.end = entry["state"], entry["end"]
                    case "forget":
                        containers.pop(entry["id"], None)
        self.forgetful |= self.damaged > 0
        return boot, containers

    def rewrite(self, containers: Iterable[Container]) -> None:
        """Start it anew with what is known, replacing the old one in one step."""
        entries: list[Json] = [{"is": "boot", "boot": boot_id(), "forgetful": self.forgetful}]
        for container in containers:
            entries.append(intent(container))
            if container.pid is not None:
                entries.append(record(container))
            if container.end:
                entries.append(ended(container))
        fresh = self._path.with_name("journal.new")
        fresh.write_bytes(b"".join(map(sealed, entries)))
        fresh.replace(self._path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._lines, self._torn = len(entries), False

    def keep(self, containers: Iterable[Container]) -> None:
        """Write it anew if somebody has taken it away. ~2 us when nobody has."""
        try:
            there = os.path.samestat(os.stat(self._path), os.fstat(self._fd))  # noqa: PTH116 - 3 us
        except FileNotFoundError:
            there = False
        if not there:
            self.rewrite(containers)

    def add(self, entry: Json) -> None:
        """Take one entry for the next `write`."""
        self._unwritten.append(sealed(entry))

    def write(self, containers: dict[str, Container]) -> None:
        """Append what was added since the last time, ~8 us for all of it.

        Raises OSError when the disk is full; what was added is lost then.
        """
        if not self._unwritten:
            return
        self.keep(containers.values())
        text = b"".join(self._unwritten)
        self._lines += len(self._unwritten)
        self._unwritten.clear()
        if self._torn:
            text = b"\n" + text
        self._torn = True
        self._torn = os.write(self._fd, text) != len(text)
        if self._torn:
            raise OSError(f"only a part could be written to {self._path}")
        if self._lines > JOURNAL_LINES_SLACK + 4 * len(containers):
            self.rewrite(containers.values())


def sealed(entry: Json) -> bytes:
    """One line: a checksum of the rest, in eight hexadecimal digits, and the entry as JSON."""
    text = json.dumps(entry).encode()
    return b"%08x %b\n" % (crc32(text), text)


def unsealed(line: bytes) -> Json | None:
    """The entry of a line; None when it is not as it was written.

    One that begins with its JSON is of an older launcher, which sealed nothing.
    """
    if not line.startswith(b"{"):
        seal, _, line = line.partition(b" ")
        if seal != b"%08x" % crc32(line):
            return None
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def intent(container: Container) -> Json:
    return {"is": "intent", "id": container.id} | container.fields


def record(container: Container) -> Json:
    return {"is": "record", "id": container.id, "pid": container.pid, "start": container.start}


def ended(container: Container) -> Json:
    return {"is": "end", "id": container.id, "state": container.state, "end": container.end}


def claims(containers: Iterable[Container]) -> tuple[dict[bytes, Container], dict[str, Container]]:
    """The markers and folders that tell whose a process is, for `processes.claimed_by`.

    A container with a cgroup has a namespace of its own, and its folder is not its processes'.
    """
    markers, folders = {}, {}
    for container in containers:
        fields = container.fields
        if fields["marker"]:
            markers[str(fields["marker"]).encode()] = container
        if fields["cwd"] and not fields["cgroup_procs"]:
            folders[str(fields["cwd"])] = container
    return markers, folders


def kill_lost(containers: Iterable[Container]) -> bool:
    """End whatever is left of containers whose launcher died: by record, marker, folder, cgroup.

    Costs a look at every process of the host, ~60 us each, for any number of containers. False
    when something would not die.
    """
    lost = list(containers)
    markers, folders = claims(lost)
    recorded = {container.pid: container.start for container in lost if container.pid is not None}

    def find() -> set[int]:
        processes = all_processes()
        roots = {
            p.pid
            for p in processes.values()
            if recorded.get(p.pid) == p.start or claimed_by(p.pid, markers, folders) is not None
        }
        found = tree_of(roots, processes)
        for container in lost:
            found.update(listed(container.fields["cgroup_procs"]))
        return found

    return not lost or kill_until_gone(find, LOST_S_MAX)
