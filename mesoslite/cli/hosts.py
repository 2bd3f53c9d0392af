"""What is left of one host of `dev`, and its sudden end: processes, mounts and cgroups.

A host is all that one agent started: its launcher and their containers. They are found by the
agent's cgroups, and among our own descendants (see `adopt_orphans`) by the host's work directory,
so that also what hides in a session of its own is; a stranger who looks into the directory is not.
Reading /proc takes ~15 us for each process of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
KILL_S_MAX = 10.0  # a process in an uninterruptible call does not die; it is said then
PR_SET_CHILD_SUBREAPER = 36
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of what dead children leave behind, so that nothing stays a zombie."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(pids: Iterable[int]) -> None:
    """Take the ends of those among `pids` that have become our children."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def reap_all() -> None:
    """Take the ends of all children that have ended; only when nobody else waits for any."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_host(work_dir: Path, agent_id: str, agent_pid: int | None) -> set[int]:
    """Kill all of a host at once, as a power cut would, and unmount and remove what a reboot loses.

    The pids that were killed. Blocks for a moment. Raises TimeoutError when something does not die.
    """
    killed: set[int] = set()
    deadline_s = time.monotonic() + KILL_S_MAX
    groups = _groups(agent_id)
    while True:
        found = _processes(work_dir, groups, {agent_pid} if agent_pid else set())
        # Parents first, and all before any of them is waited for: nobody sees another one die.
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        if not found:
            break
        agent_pid = None
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processes that do not die: {found}")
        time.sleep(0.005)  # the kernel needs a moment to end them
        reap_orphans(killed)
    _unmount(work_dir)
    for group in groups:
        _remove(group)
    return killed


def left_of(work_dir: Path, agent_ids: Iterable[str]) -> list[str]:
    """What is still there of hosts that have ended: their cgroups, mounts and processes."""
    groups = [group for agent_id in agent_ids for group in _groups(agent_id)]
    found = [f"cgroup {group}" for group in groups]
    found += [f"mount {where}" for where in mounted_below(work_dir.resolve())]
    found += [f"process {pid}" for pid in _processes(work_dir, groups, set())]
    return found


def mounted_below(folder: Path) -> list[Path]:
    """Mount points in a folder, the last mounted first; see proc_pid_mountinfo(5)."""
    found: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = Path(line.split(" ")[4].encode().decode("unicode_escape"))
        if where.is_relative_to(folder):
            found.append(where)
    return found[::-1]


def _unmount(folder: Path) -> None:
    for where in mounted_below(folder.resolve()):
        _libc.umount2(os.fsencode(where), MNT_DETACH)


def _groups(agent_id: str) -> list[Path]:
    """The cgroups of an agent, in every hierarchy."""
    if not agent_id:
        return []
    hierarchies = [CGROUPS, *(one for one in CGROUPS.glob("*") if one.is_dir())]
    named = [one / "mesoslite" / agent_id for one in hierarchies]
    return [group for group in named if group.is_dir()]


def _remove(group: Path) -> None:
    """Take away an agent's group with those in it, and the parent when it was the last."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    with contextlib.suppress(OSError):
        group.parent.rmdir()


def _processes(work_dir: Path, groups: Iterable[Path], known: set[int]) -> list[int]:
    """What lives of a host, and everything that descends from it: parents before their children.

    Pids do not tell: they begin anew when they have reached their limit.
    """
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := _parent_of(int(entry.name))) is not None:
            parents[int(entry.name)] = parent
    found = known & parents.keys()
    for group in groups:
        for listing in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in listing.read_text().split()} & parents.keys()
    place = os.fspath(work_dir.resolve())
    found |= {pid for pid in _descendants({os.getpid()}, parents) if _works_in(pid, place)}
    found |= _descendants(found, parents).keys()
    roots = {pid for pid in found if parents[pid] not in found}
    return [*roots, *_descendants(roots, parents)]


def _descendants(roots: set[int], parents: dict[int, int]) -> dict[int, None]:
    """All below the roots, a generation after the other."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    out: dict[int, None] = {}
    generation = list(roots)
    while generation:
        generation = [child for pid in generation for child in children.get(pid, ())]
        out.update(dict.fromkeys(generation))
    return out


def _parent_of(pid: int) -> int | None:
    """The parent of a process that lives; None of a zombie, and of one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name stands in brackets and may hold brackets and blanks itself.
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return None if state in ("Z", "X") else int(parent)


def _works_in(pid: int, place: str) -> bool:
    """Whether a process works or writes in a folder, as containers and the launcher do."""
    for link in ("cwd", "fd/1", "fd/2"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/{link}")  # noqa: PTH115 - may name what is deleted
            if target == place or target.startswith(place + "/"):
                return True
    return False
