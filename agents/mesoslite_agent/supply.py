"""Brings what tasks want from elsewhere into the cache, a few at a time, and tells how far it is.

The part of the fetcher that works as the agent's user: it reads no archive and writes nothing into
the sandbox but `PROGRESS_FILE`, which tells people what a start waits for.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mesoslite_agent import maven
from mesoslite_agent.downloads import FetchFailed
from mesoslite_agent.fetch_cache import FetchCache, Origin
from mesoslite_agent.fetcher import Limits, complaint_of, is_kept

AT_A_TIME = 4  # downloads; more hardly help, and servers count connections
PROGRESS_FILE = ".fetching"
PROGRESS_S = 0.5  # between two lines of it
MB = 1_000_000

Uris = Sequence[Mapping[str, Any]]


def supply(uris: Uris, limits: Limits, folder: Path, bytes_max: int) -> dict[str, int] | str:
    """Descriptors of the files that go through the cache, by SHA-256; or a line that says why not.

    To be called in the sandbox. What is only on the web and can not be kept is left out.
    """
    wanted = [uri for uri in uris if is_kept(uri)]
    for uri in wanted:
        if uri["sha256"] is None:
            return complaint_of(uri, FetchFailed("a maven: URI needs its SHA-256"))
    try:
        cache = FetchCache(
            folder,
            bytes_max=bytes_max,
            file_bytes_max=limits.file_bytes,
            stall_s=limits.stall_s,
        )
    except OSError as error:
        needs = next((uri for uri in wanted if _is_maven(uri)), None)
        if needs is None:
            return {}
        why = f"the agent's cache {folder} can not be used: {error.strerror}"
        return complaint_of(needs, FetchFailed(why))
    with _Progress(len(wanted)) as progress:
        return _Supply(cache, progress).all(wanted)


class _Supply:
    """One go at some files."""

    def __init__(self, cache: FetchCache, progress: _Progress) -> None:
        self._cache = cache
        self._progress = progress
        self._setup: maven.Setup | None = None

    def all(self, wanted: Uris) -> dict[str, int] | str:
        if any(map(_is_maven, wanted)):
            self._setup = maven.find_setup()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(pool.map(self._one, wanted))
        again = [at for at, answer in enumerate(answers) if not isinstance(answer, int)]
        if again and all(_is_maven(wanted[at]) for at in again):
            with contextlib.suppress(FetchFailed, OSError):
                maven.ask_maven([maven.artifact_of(str(wanted[at]["value"])) for at in again])
                for at in again:
                    answers[at] = self._one(wanted[at])
        descriptors: dict[str, int] = {}
        complaint = None
        for uri, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, int):
                descriptors[uri["sha256"]] = answer
            elif complaint is None:
                complaint = complaint_of(uri, answer)
        return descriptors if complaint is None else complaint

    def _one(self, uri: Mapping[str, Any]) -> int | FetchFailed | OSError:
        try:
            descriptor = self._cache.find(uri["sha256"])
            if descriptor is None:
                origin = self._origin(uri)
                descriptor = self._cache.bring(uri["sha256"], origin, self._progress.arrived)
        except (FetchFailed, OSError) as error:
            return error
        self._progress.done()
        return descriptor

    def _origin(self, uri: Mapping[str, Any]) -> Origin:
        if self._setup is None or not _is_maven(uri):
            return Origin(url=str(uri["value"]))
        artifact = maven.artifact_of(str(uri["value"]))
        path = maven.in_local_repository(self._setup, artifact)
        if path is None and self._setup.url is None:
            raise FetchFailed(f"{self._setup.why}, and only Maven can use that: install Maven")
        url = None if self._setup.url is None else f"{self._setup.url}/{artifact.path}"
        return Origin(url, path)


class _Progress:
    """How far it is, in a file of the sandbox; it is not there when nothing is fetched."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._done = 0
        self._bytes = 0
        self._written_s = 0.0
        self._file = -1

    def __enter__(self) -> _Progress:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # it is for people: a start does not need it
            self._file = os.open(PROGRESS_FILE, flags, 0o644)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            with contextlib.suppress(OSError):
                os.unlink(PROGRESS_FILE)  # noqa: PTH108

    def arrived(self, some: int) -> None:
        """So many bytes came."""
        with self._lock:
            self._bytes += some
            self._write()

    def done(self) -> None:
        """One more file is there."""
        with self._lock:
            self._done += 1
            self._write()

    def _write(self) -> None:
        now_s = time.monotonic()
        if self._file < 0 or now_s < self._written_s + PROGRESS_S:
            return
        self._written_s = now_s
        line = f"{self._done} of {self._files} files, {self._bytes / MB:.1f} MB fetched"
        with contextlib.suppress(OSError):
            os.pwrite(self._file, f"{line:<60}\n".encode(), 0)


def _is_maven(uri: Mapping[str, Any]) -> bool:
    return str(uri["value"]).startswith(f"{maven.SCHEME}:")
