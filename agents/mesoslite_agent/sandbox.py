"""Sandboxes: the directory of each container, with its stdout and stderr, that outlives it.

    WORK_DIR/sandboxes/FRAMEWORK_ID/TASK_ID/CONTAINER_ID/{stdout,stderr,...}

A task may put anything into its sandbox, so nothing here follows a symbolic link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mesoslite_agent.deleting import delete

READ_BYTES_MAX = 1 << 20
PATH_PARTS_MAX = 64
COLLECT_MAX = 1_000  # sandboxes removed in one go; the next go takes the others
# Files of one sandbox removed in one go, ~200 s: who still writes to it does not hold up others.
ENTRIES_MAX = 10_000_000
MIN_AGE_S = 60.0  # a younger sandbox stays even when the disk is full: it may be starting
DISK_HEADROOM = 0.1  # of the disk that collection tries to keep free, as in Mesos
MARKER = "MESOSLITE_SANDBOX"  # in the environment of a container's processes: where its sandbox is
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class NotInSandbox(Exception):
    """A path that leaves the sandbox, goes through a link, or is not what it has to be."""


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """All sandboxes of one agent."""

    root: Path

    def path(self, framework_id: str, task_id: str, container_id: str) -> Path:
        """Where a sandbox is, whether it exists or not. Raises ValueError for an unfit id."""
        for part in (framework_id, task_id, container_id):
            if _ID.fullmatch(part) is None or part in {".", ".."}:
                raise ValueError(f"{part!r} cannot name a directory")
        return self.root / framework_id / task_id / container_id

    def make(self, sandbox: Path, owner: tuple[int, int] | None) -> None:
        """Make a sandbox with empty stdout and stderr, for a (uid, gid) when one is given.

        Doing it again changes nothing. Raises OSError.
        """
        path = str(sandbox)  # from here on it is text: half the time of a start's preparation
        try:
            # Mostly the task is a new one, and its framework is not.
            os.mkdir(os.path.dirname(path), 0o755)  # noqa: PTH102, PTH120
            os.mkdir(path, 0o755)  # noqa: PTH102
        except (FileNotFoundError, FileExistsError):
            sandbox.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in ("stdout", "stderr"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(f"{path}/{name}", flags, 0o644)
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.close(descriptor)
        if owner is not None:
            os.chown(sandbox, *owner, follow_symlinks=False)

    def traces(self, container_id: str) -> dict[str, str]:
        """What tells of a process that it is of a container of which only the id is known: where it
        works, and MARKER in its environment. Empty: it has no sandbox. O(tasks)."""
        for sandbox in self.root.glob(f"*/*/{container_id}"):
            return {"cwd": str(sandbox), "marker": f"{MARKER}={sandbox}"}
        return {}

    def collect(self, now_s: float, keep: frozenset[str], age_s_max: float) -> list[Path]:
        """Remove sandboxes that nobody wrote to for `age_s_max`, sooner when the disk gets full.

        The age shrinks with the disk's use as in Mesos: `age_s_max * max(0, 1 - 0.1 - used)`.
        `keep` are the container ids never to touch; `now_s` is the wall clock, as files have it.
        Returns what was removed, at most COLLECT_MAX, the oldest first. Blocks.
        """
        if not self.root.is_dir():
            return []
        disk = shutil.disk_usage(self.root)
        used = 1 - disk.free / disk.total if disk.total else 1.0
        age_s = max(MIN_AGE_S, age_s_max * max(0.0, 1 - DISK_HEADROOM - used))
        dead = sorted(
            (written_s, sandbox)
            for sandbox in self.root.glob("*/*/*")
            if sandbox.name not in keep and (written_s := _last_written_s(sandbox)) <= now_s - age_s
        )
        removed = []
        for _, sandbox in dead[:COLLECT_MAX]:
            with contextlib.suppress(OSError):  # the next go may find nothing in the way
                if delete(sandbox, _at_most(ENTRIES_MAX)):
                    removed.append(sandbox)
            with contextlib.suppress(OSError):  # not empty: other tasks of the framework are there
                sandbox.parent.rmdir()
                sandbox.parent.parent.rmdir()
        return removed


def _at_most(times: int) -> Callable[[], bool]:
    left = iter(range(times))
    return lambda: next(left, None) is not None


def _last_written_s(sandbox: Path) -> float:
    times = [0.0]
    for path in (sandbox, sandbox / "stdout", sandbox / "stderr"):
        with contextlib.suppress(OSError):
            times.append(path.stat(follow_symlinks=False).st_mtime)
    return max(times)


def read(sandbox: Path, path: str, offset: int, length: int) -> tuple[bytes, int]:
    """A piece of a file in a sandbox, and the file's size now; at most READ_BYTES_MAX. Blocks.

    Past the end the piece is empty. Raises NotInSandbox, FileNotFoundError.
    """
    descriptor = open_inside(sandbox, path)
    try:
        length = max(0, min(length, READ_BYTES_MAX))
        return os.pread(descriptor, length, max(0, offset)), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def tail(sandbox: Path, path: str, length: int) -> tuple[bytes, int]:
    """The last bytes of a file in a sandbox, and its size; as `read`. Blocks, ~20 us."""
    descriptor = open_inside(sandbox, path)
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, length, max(0, size - length)), size
    finally:
        os.close(descriptor)


def open_inside(sandbox: Path, path: str) -> int:
    """A descriptor to read a regular file below the sandbox, part by part, through no link."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or ".." in parts or len(parts) > PATH_PARTS_MAX or "\0" in path:
        raise NotInSandbox(f"{path!r} names no file in the sandbox")
    folder = os.open(sandbox, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: a FIFO must not hold us up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(parts[-1], flags, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            raise NotInSandbox(f"{path!r} is a link, or no file") from None
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotInSandbox(f"{path!r} is not a regular file")
    return descriptor


def make_inside(sandbox: Path, path: str, owner: tuple[int, int]) -> None:
    """Make a directory below the sandbox, for a (uid, gid), with those above it; through no link.

    One that is there stays as it is. Raises NotInSandbox, OSError.
    """
    os.close(_open_made(sandbox, _parts(path), owner))


def link_inside(sandbox: Path, path: str, target: str, owner: tuple[int, int]) -> None:
    """Make a link below the sandbox; as `make_inside`. Raises FileExistsError for another one."""
    *above, name = _parts(path)
    folder = _open_made(sandbox, above, owner)
    try:
        try:
            os.symlink(target, name, dir_fd=folder)
        except FileExistsError:
            with contextlib.suppress(OSError):
                if os.readlink(name, dir_fd=folder) == target:
                    return
            raise FileExistsError(errno.EEXIST, "something else is there", path) from None
    finally:
        os.close(folder)


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or ".." in parts or len(parts) > PATH_PARTS_MAX or "\0" in path:
        raise NotInSandbox(f"{path!r} names nothing in the sandbox")
    return parts


def _open_made(sandbox: Path, parts: list[str], owner: tuple[int, int]) -> int:
    """A descriptor of the directory that these parts lead to, each made when it is not there."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    folder = os.open(sandbox, flags)
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
                if os.geteuid() == 0:
                    os.chown(part, *owner, dir_fd=folder, follow_symlinks=False)
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
    except OSError as error:
        os.close(folder)
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise NotInSandbox(f"{'/'.join(parts)!r} is a link, or no directory") from None
        raise
    return folder
