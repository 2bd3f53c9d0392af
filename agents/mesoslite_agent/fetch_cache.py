"""The fetcher's cache: a file is brought to a host once, however many tasks and agents want it.

    FOLDER/SHA256            a file, checked when it came and again whenever it is used
    FOLDER/SHA256.part       one that is on its way, locked by who brings it; it is resumed

Only what names its SHA-256 is kept, so nothing in it can be out of date. All agents of a user share
a folder. What was used last stays; the others go when there is too much of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mesoslite_agent.downloads import (
    CHUNK_BYTES,
    HTTP_PARTIAL,
    HTTP_RANGE_NOT_SATISFIABLE,
    STALL_S_MAX,
    FetchFailed,
    chunks,
    opened_url,
)

PART = ".part"
_KEY = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file may come from."""

    url: str | None = None
    path: Path | None = None
    """A file of the host; it is tried first."""


class FetchCache:
    """A folder of files by their SHA-256. Several processes and threads may use it at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int,
        file_bytes_max: int,
        stall_s: float = STALL_S_MAX,
    ) -> None:
        """Makes the folder. Raises OSError."""
        self._folder = folder
        self._bytes_max = bytes_max
        self._file_bytes_max = file_bytes_max
        self._stall_s = stall_s
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def find(self, sha256: str) -> int | None:
        """A descriptor to read the file, when it is there and whole."""
        path = self._path(sha256)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if _digest_of(descriptor) != path.name:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it was used now
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def bring(self, sha256: str, origin: Origin, arrived: Callable[[int], None]) -> int:
        """The file from the cache, else from its origin; `arrived` hears of bytes as they come.

        Who asks for the same file meanwhile waits here until it has come. Raises FetchFailed,
        OSError.
        """
        path = self._path(sha256)
        with self._locked_part(path) as part:
            if (found := self.find(sha256)) is not None:
                os.unlink(f"{path}{PART}")  # noqa: PTH108 - ours while it is locked
                return found
            self._fill(part, origin, path.name, arrived)
            descriptor = os.open(f"{path}{PART}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if not os.path.samestat(os.fstat(descriptor), os.fstat(part.fileno())):
                os.close(descriptor)  # nobody has checked that one
                raise FetchFailed(f"{path.name}{PART} was replaced while it was on its way")
            os.rename(f"{path}{PART}", path)  # noqa: PTH104
        self._make_room(path.name)
        return descriptor

    def _path(self, sha256: str) -> Path:
        key = sha256.lower()
        if _KEY.match(key) is None:
            raise FetchFailed(f"{sha256!r} is no SHA-256")
        return self._folder / key

    @contextlib.contextmanager
    def _locked_part(self, path: Path) -> Iterator[IO[bytes]]:
        """The unfinished file, this process's alone."""
        part = Path(f"{path}{PART}")
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(part, flags, 0o600), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
                there = part.stat(follow_symlinks=False) if part.exists() else None
                # Who had the lock may have finished it: then this is the file under its new name.
                if there is not None and there.st_ino == os.fstat(file.fileno()).st_ino:
                    yield file
                    return

    def _fill(
        self, part: IO[bytes], origin: Origin, key: str, arrived: Callable[[int], None]
    ) -> None:
        resumed = part.seek(0, os.SEEK_END) > 0
        if resumed and _whole(part, key):
            return  # who brought it ended in the very moment
        if origin.path is not None:
            with contextlib.suppress(OSError, FetchFailed), origin.path.open("rb") as source:
                _restart(part)
                self._append(part, chunks(source, self._file_bytes_max), arrived)
            if _whole(part, key):
                return
            _restart(part)  # Maven's own copy is another file, or damaged
            resumed = False
        if origin.url is None:
            raise FetchFailed(f"what Maven has of it is another file than {key}")
        self._download(part, origin.url, arrived)
        if resumed and not _whole(part, key):
            _restart(part)  # what was there before was no beginning of it
            self._download(part, origin.url, arrived)
        if not _whole(part, key):
            found = _digest_of(part.fileno())
            _restart(part)
            raise FetchFailed(f"the SHA-256 is {found}, not {key}")

    def _download(self, part: IO[bytes], url: str, arrived: Callable[[int], None]) -> None:
        have = part.seek(0, os.SEEK_END)
        try:
            with opened_url(url, self._stall_s, have) as response:
                if response.status != HTTP_PARTIAL:
                    _restart(part)
                room = self._file_bytes_max - part.tell()
                self._append(part, chunks(response, room), arrived)
        except FetchFailed as failed:
            if not have or failed.status != HTTP_RANGE_NOT_SATISFIABLE:
                raise
            _restart(part)  # longer than the server's: no beginning of it
            self._download(part, url, arrived)

    @staticmethod
    def _append(part: IO[bytes], pieces: Iterator[bytes], arrived: Callable[[int], None]) -> None:
        try:
            for piece in pieces:
                part.write(piece)
                arrived(len(piece))
        finally:
            part.flush()

    def _make_room(self, keep: str) -> None:
        """Remove what was not used for longest until the rest fits. Never one that is on its way:
        those are locked."""
        files = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat(follow_symlinks=False)
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._bytes_max:
                return
            if path.name == keep:
                continue
            with contextlib.suppress(OSError):
                if path.suffix == PART:
                    _unlink_unlocked(path)
                else:
                    path.unlink()
                total -= size
        if total > self._bytes_max:
            with contextlib.suppress(OSError):  # larger than the whole cache: used once
                (self._folder / keep).unlink()


def _unlink_unlocked(part: Path) -> None:
    """Delete one that nobody brings; it is ours until it is gone, or who begins to bring it in
    between would fill a file that has no name. Raises OSError when it is locked."""
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(part.stat(follow_symlinks=False), os.fstat(file.fileno())):
            part.unlink()


def _restart(part: IO[bytes]) -> None:
    part.seek(0)
    part.truncate()


def _whole(part: IO[bytes], key: str) -> bool:
    part.flush()
    return _digest_of(part.fileno()) == key


def _digest_of(descriptor: int) -> str:
    """By its contents: ~1 ms a megabyte."""
    digest = hashlib.sha256()
    at = 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, at):
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()
