"""Temporary work directories of `dev`: each with a lock, so that a forgotten one is known as such.

A `dev` that was killed cannot remove its own; the next one of the same user does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from mesoslite.cli.hosts import mounted_below

PREFIX = "mesoslite-dev-"
LOCK = "dev.lock"


class TemporaryPlace:
    """A new work directory, locked for as long as this process lives. Raises OSError."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked before it has its name: nobody ever finds a lock here that is free by mistake.
        draft = self.path / f".{LOCK}"
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        draft.rename(self.path / LOCK)

    def remove(self) -> bool:
        """Remove it with all that is in it. False when it could not, or not completely.

        Never through a mount, which may be the host's own root.
        """
        gone = _remove(self.path)
        os.close(self._lock)
        return gone


def sweep() -> None:
    """Remove the work directories of this user whose `dev` is gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def _remove(path: Path) -> bool:
    if mounted_below(path.resolve()):
        return False
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
