"""Deletes directories with all that is in them, whatever a task has put there.

A task may nest directories deeper than Python recurses or a path may be long, lock them, and change
them while we are at it. So nothing here recurses, no path of several names is used below the top,
and no link is followed: each step is one name in a directory that is open, three at most. A
directory that is not empty is moved up into the top, where its turn comes. So each entry is seen
twice, in whatever order and depth, and nothing is remembered of it.

What is mounted somewhere in there is not entered: rmdir(2) says EBUSY of where it is, before it
says that the directory is not empty.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

OPEN_MODE = 0o700
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DIRECTORY = {errno.ENOTDIR, errno.ELOOP}  # what opening a link says, as _DIRECTORY
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}  # POSIX lets rmdir say either


class _ToldToStop(Exception):
    """`go_on` said no."""


def delete(path: Path, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Delete what is there, a directory with all in it; of a link the link alone. True: it is gone.

    `go_on` is asked before each entry; False when it said no: the rest is still there. All that can
    be deleted is, then what is in the way of the rest is raised as an OSError. Blocks, ~20 us of
    CPU for each entry. The directory that `path` is in must be ours.
    """
    try:
        top = _opened(str(path))
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        if allowed := go_on():
            path.unlink(missing_ok=True)
        return allowed
    try:
        while _Round(top, go_on).done():
            pass
    except _ToldToStop:
        return False
    finally:
        os.close(top)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
    return True


class _Round:
    """One look at all that is in the top; what is moved there meanwhile may have to wait."""

    def __init__(self, top: int, go_on: Callable[[], bool]) -> None:
        self._top = top
        self._go_on = go_on
        self._changed = 0  # entries that were deleted or moved up
        self._failure: OSError | None = None

    def done(self) -> bool:
        """Do it. False: nothing was there. Raises OSError when nothing changes any more."""
        seen = 0
        with os.scandir(self._top) as entries:
            for entry in entries:
                seen += 1
                if not self._delete(entry, self._top):
                    self._hollow(entry.name)
                    self._delete(entry, self._top)
        if seen and not self._changed:
            raise self._failure or OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        return seen > 0

    def _delete(self, entry: os.DirEntry[str], folder: int) -> bool:
        """Delete an entry. False: it is a directory that holds something."""
        if not self._go_on():
            raise _ToldToStop
        try:
            if entry.is_dir(follow_symlinks=False):
                os.rmdir(entry.name, dir_fd=folder)
            else:
                os.unlink(entry.name, dir_fd=folder)
        except OSError as error:
            if error.errno in _NOT_EMPTY:
                return False
            if error.errno != errno.ENOENT:  # somebody else did it
                self._note(error)
                return True
        self._changed += 1
        return True

    def _hollow(self, name: str) -> None:
        """Delete or move up all that is in a directory of the top."""
        try:
            folder = _opened(name, self._top)
        except OSError as error:
            self._note(error)
            return
        try:
            while (inner := self._thinned(folder)) is not None:
                deeper = _opened(inner, folder)
                os.close(folder)
                folder = deeper
        except OSError as error:
            self._note(error)
        finally:
            os.close(folder)

    def _thinned(self, folder: int) -> str | None:
        """Do so for one directory. Returns one in it that cannot be moved: on with that one.

        Some file systems move none to where another quota counts, and a task may say which counts.
        Each round goes down one such branch to its end, and begins to take it away from there.
        """
        stuck = None
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._delete(entry, folder):
                    continue
                try:
                    unlock(entry.name, folder)  # to move a directory is to write to it: its `..`
                    # Nobody who is at work here too can have made something of this name.
                    moved = secrets.token_hex(16)
                    os.rename(entry.name, moved, src_dir_fd=folder, dst_dir_fd=self._top)
                    self._changed += 1
                except OSError as error:
                    self._note(error)
                    stuck = entry.name
        return stuck

    def _note(self, error: OSError) -> None:
        self._failure = self._failure or error


def unlock(name: str, folder: int | None = None) -> None:
    """Let us into a directory: a task of our own user may have locked even itself out.

    What is none stays as it is. Raises OSError.
    """
    if os.geteuid() == 0:
        return
    try:
        descriptor = os.open(name, os.O_PATH | _DIRECTORY, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        return
    try:
        # fchmod(2) refuses such a descriptor, and to get another one is not allowed yet.
        os.chmod(f"/proc/self/fd/{descriptor}", OPEN_MODE)  # noqa: PTH101
    finally:
        os.close(descriptor)


def _opened(name: str, folder: int | None = None) -> int:
    unlock(name, folder)
    return os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=folder)
