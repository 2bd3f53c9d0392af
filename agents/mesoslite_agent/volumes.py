"""Volumes: the directories that hold what outlives tasks, frameworks, agents and masters.

    WORK_DIR/volumes/ROLE/ID.AGENTID-RUN-N/       what tasks see; the name is never used again
    WORK_DIR/volumes/.removed/AGENTID-RUN-N       what was destroyed, until all of it is deleted

ROLE is as in `folder_of`, which writes no dot. All is below one directory, since it may be a file
system of its own, and nothing can be moved to another one.

A directory is made, and its name fsynced, before the volume is on record; and it is moved away and
deleted only after its removal is on record. So a volume on record has its directory, whatever
crashed in between, and no directory is ever deleted of which the record does not say that it is to
be: what nobody knows is told to the operator and left alone, since it may be all that is left of
somebody's data.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from mesoslite_agent.deleting import delete, unlock

FOLDER_MODE = 0o711  # tasks of other users reach their volumes through it
VOLUME_MODE = 0o700  # what a volume holds is its user's alone
REMOVED_MODE = 0o700


class VolumeGone(OSError):
    """A volume's directory is not there, though it was made: its data is lost. One line."""


@dataclass(frozen=True, slots=True)
class Volumes:
    """The directories of all volumes of one agent. All methods block; each may be done again."""

    root: Path
    removed: Path
    formerly: Path
    """Where earlier versions put what was destroyed: some of it may be there still."""
    _roles: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Held while directories of roles come and go: one that is made is not removed before it has
    its volume. Each method runs in a thread of its caller's."""

    @classmethod
    def of(cls, work_dir: Path) -> Volumes:
        """Those below a work directory."""
        root = work_dir / "volumes"
        return cls(root, root / ".removed", work_dir / "volumes.removed")

    def make(self, directory: str) -> None:
        """Make an empty one, for good: it is there also after the host has crashed.

        Three fsyncs: some ms. Raises OSError.
        """
        path = self.root / directory
        self.root.mkdir(mode=FOLDER_MODE, exist_ok=True)
        with self._roles:
            path.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
            path.mkdir(mode=VOLUME_MODE, exist_ok=True)
        for folder in (path.parent, self.root, self.root.parent):
            _sync(folder)

    def open(self, directory: str, owner: tuple[int, int]) -> Path:
        """Where it is, made to belong to a (uid, gid) if it does not. Raises VolumeGone, OSError.

        What is in it stays whose it is: it may be more than one can go through in a start.
        """
        path = self.root / directory
        try:
            found = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            raise VolumeGone(f"the volume's directory {path} is gone, with its data") from None
        if not stat.S_ISDIR(found.st_mode):  # a link may lead to what is not this role's
            raise VolumeGone(f"{path} is no directory any more: the volume's data is gone")
        if (found.st_uid, found.st_gid) != owner and os.geteuid() == 0:
            os.chown(path, *owner, follow_symlinks=False)
        return path

    def is_there(self, directory: str) -> bool:
        """Whether it can be used: through a link it cannot. ~5 us."""
        with contextlib.suppress(OSError):
            mode = (self.root / directory).stat(follow_symlinks=False).st_mode
            return stat.S_ISDIR(mode)
        return False

    def remove(self, directory: str, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Delete it with all that is in it. ~20 us of CPU for each file. Raises OSError.

        It is moved away first, in one step: nobody finds half of it. `go_on` is asked before each
        file; False when it said no: the rest is still there.
        """
        # The end alone: with its role and its id it could be longer than the 255 bytes of a name.
        path, number = self.root / directory, directory.rpartition(".")[2]
        rubbish = self.removed / number
        self.root.mkdir(mode=FOLDER_MODE, exist_ok=True)
        self.removed.mkdir(mode=REMOVED_MODE, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            unlock(str(path))  # to move a directory elsewhere is to write to it: its `..` changes
            path.rename(rubbish)
        with self._roles, contextlib.suppress(OSError):  # other volumes of the role are there
            path.parent.rmdir()
        if not delete(rubbish, go_on) or not delete(self.formerly / number, go_on):
            return False
        _sync(self.removed)
        with contextlib.suppress(OSError):  # it never was, or there is more in it
            self.formerly.rmdir()
        return True

    def unknown(self, known: Collection[str]) -> list[Path]:
        """Directories that are nobody's and hold something; those that are empty are removed.

        An empty one was made for a volume that never came to be. ~20 us for each volume.
        """
        found = []
        for path in sorted(self.root.glob("*/*")):
            if path.parent == self.removed or str(path.relative_to(self.root)) in known:
                continue
            try:
                path.rmdir()
            except OSError:
                found.append(path)
        return found


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
