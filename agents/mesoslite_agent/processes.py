"""Looking at processes through /proc, and ending them. Standard library alone (launcher.py).

Nothing here raises because a process is gone: that is what processes do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
READ_BYTES = 4_096  # most files of /proc that are read here are shorter

# What the kernel does to a process that says nothing about a signal, unless it is pid 1.
FATAL_BY_DEFAULT = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)


class Process:
    """One line of /proc/PID/stat, as proc(5) describes it."""

    __slots__ = ("group", "parent", "pid", "rss_bytes", "session", "start", "state", "threads")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0]
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.threads = int(fields[17])
        self.start = int(fields[19])  # clock ticks after boot: with the pid it names a process
        self.rss_bytes = int(fields[21]) * PAGE_BYTES

    @property
    def lives(self) -> bool:
        return self.state not in {b"Z", b"X"}


def read_file(path: str) -> bytes:
    """The whole of a small file of /proc: a third of the time that `pathlib` takes for it.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while piece := os.read(descriptor, READ_BYTES):  # a short one need not be the last
            text += piece
        return text
    finally:
        os.close(descriptor)


def read_process(pid: int) -> Process | None:
    """One read, ~10 us; None when there is no such process any more."""
    try:
        text = read_file(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The command's name stands in brackets and may hold brackets and blanks itself.
    return Process(pid, text[text.rindex(b")") + 2 :].split())


def start_ticks_now() -> int:
    """What `Process.start` would be of a process that was made now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // TICK_NS


def all_processes() -> dict[int, Process]:
    """A snapshot by pid; ~10 us for each process of the host."""
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return {pid: found for pid in pids if (found := read_process(pid)) is not None}


def children_of(pid: int) -> set[int]:
    """The direct children. One may be missed while its sibling ends: ask again after exits."""
    found: set[int] = set()
    try:
        with os.scandir(f"/proc/{pid}/task") as tasks:
            for task in tasks:
                found.update(map(int, read_file(f"{task.path}/children").split()))
    except FileNotFoundError:
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():  # CONFIG_PROC_CHILDREN=n
            return {p.pid for p in all_processes().values() if p.parent == pid}
    except (ProcessLookupError, PermissionError):
        pass
    return found


def tree_of(roots: set[int], processes: dict[int, Process] | None = None) -> set[int]:
    """The roots and all their descendants, from a snapshot or by asking for each."""
    by_parent: dict[int, set[int]] = {}
    for process in (processes or {}).values():
        by_parent.setdefault(process.parent, set()).add(process.pid)
    found, ahead = set(roots), list(roots)
    while ahead:
        pid = ahead.pop()
        children = children_of(pid) if processes is None else by_parent.get(pid, set())
        ahead.extend(children - found)
        found |= children
    return found


def claimed_by(pid: int, markers: Mapping[bytes, T], folders: Mapping[str, T]) -> T | None:
    """Whose process it is: by what its environment holds, else by where it works or writes.

    `markers` are NAME=value; `folders` claim everything below them. The folders find a process
    that cleared its environment and took a session of its own. Four reads, ~40 us.
    """
    with contextlib.suppress(OSError):
        for variable in read_file(f"/proc/{pid}/environ").split(b"\0"):
            if variable in markers:
                return markers[variable]
    for link in ("cwd", "fd/1", "fd/2"):
        with contextlib.suppress(OSError):
            target = Path(f"/proc/{pid}/{link}").readlink()
            for folder in (target, *target.parents):
                if str(folder) in folders:
                    return folders[str(folder)]
    return None


def kill(pid: int, number: int) -> None:
    """Send a signal; a process that is gone, or not ours to signal, is passed over."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(group: int, number: int) -> None:
    """Atomic against fork(2): a child that is being made gets the signal as well."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_until_gone(find: Callable[[], Iterable[int]], patience_s: float) -> bool:
    """SIGKILL what `find` finds, again and again, until it finds nothing. Blocks.

    False when something is left after `patience_s`: it hangs in an uninterruptible call.
    """
    until = time.monotonic() + patience_s
    while True:
        doomed = [p for p in find() if (process := read_process(p)) is not None and process.lives]
        if not doomed:
            return True
        if time.monotonic() > until:
            return False
        for pid in doomed:
            kill(pid, signal.SIGKILL)
        time.sleep(0.005)  # the kernel needs a moment to end them


def listed(cgroup_procs: str | Path | None) -> list[int]:
    """The pids in a cgroup.procs file; none when there is no such cgroup."""
    if cgroup_procs is None:
        return []
    try:
        return [int(pid) for pid in read_file(str(cgroup_procs)).split()]
    except OSError:
        return []


def shields(pid: int, number: int) -> bool:
    """True when the kernel drops this signal for pid 1 of a namespace because it has no handler.

    See pid_namespaces(7), "The namespace init process". A blocked signal is not dropped.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    inside = fields.get("NSpid", "").split()
    if len(inside) < 2 or inside[-1] != "1":
        return False
    asked = 1 << (number - 1)
    return not any(int(fields[mask], 16) & asked for mask in ("SigCgt", "SigIgn", "SigBlk"))


def held_bytes(pids: Iterable[int]) -> int:
    """Memory of the processes, with shared pages counted once among those who share them (PSS)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        except OSError:
            process = read_process(pid)
            total += process.rss_bytes if process is not None else 0
    return total


def boot_id() -> str:
    """A text that is another one after each boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class OomScore:
    """How readily the kernel picks this process when memory runs out: -1000 never, 1000 first.

    Children inherit it. Kept open, since a launcher sets it twice for each start: 2 us each.
    """

    def __init__(self) -> None:
        self._file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)

    def get(self) -> int:
        """What it is now."""
        return int(os.pread(self._file, 16, 0))

    def set(self, score: int) -> bool:
        """False without CAP_SYS_RESOURCE, which is needed to lower it."""
        try:
            os.pwrite(self._file, str(score).encode(), 0)
        except OSError:
            return False
        return True
