"""The fetcher: brings a task's files into its sandbox, checks, unpacks and marks them executable.

A program of its own (`command`), which works in the sandbox and as the task's user: what that user
may not read is not fetched, the files belong to that user, and giving up is a kill. One JSON
request on stdin, as `request` makes it; exit code 0, or 1 and one line on stderr that names the
URI. Standard library alone.

What names its SHA-256 and comes from elsewhere (http, https, maven) comes through the cache of this
host, as the agent's user; only then does the fetcher become the task's.

Nothing it writes leaves the sandbox. An archive may hold regular files, directories, and links that
stay inside: no member is written through a link, and a link goes up only as far as its own depth.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import lzma
import os
import resource
import stat
import sys
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mesoslite_agent.downloads import CHUNK_BYTES, STALL_S_MAX, FetchFailed, chunks, opened_url

FILE_BYTES_MAX = 16 << 30  # one file
UNPACKED_BYTES_MAX = 32 << 30  # one archive
ENTRIES_MAX = 200_000  # of one archive
MEMORY_BYTES_MAX = 1 << 30  # of the fetcher: headers of an archive may ask for any amount
URIS_MAX = 256  # as on the wire
PATH_PARTS_MAX = 64
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
RESERVED = frozenset({"stdout", "stderr"})

_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from mesoslite_agent.fetcher import main; sys.exit(main())"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one fetch; times in seconds, sizes in bytes."""

    stall_s: float = STALL_S_MAX
    file_bytes: int = FILE_BYTES_MAX
    unpacked_bytes: int = UNPACKED_BYTES_MAX
    entries: int = ENTRIES_MAX
    memory_bytes: int = MEMORY_BYTES_MAX


def command() -> list[str]:
    """The program, to be run with the sandbox as its working directory."""
    root = str(Path(__file__).resolve().parents[1])
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, root]


def environment() -> dict[str, str]:
    """What the program gets of the agent's environment: how to reach the network."""
    names = (
        "PATH", "HOME", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "JAVA_HOME", "MAVEN_HOME", "M2_HOME",
    )  # fmt: skip
    return {"LANG": "C.UTF-8"} | {name: os.environ[name] for name in names if name in os.environ}


def request(
    uris: tuple[Any, ...],
    become: tuple[int, int, tuple[int, ...]] | None = None,
    limits: Limits | None = None,
    hidden: tuple[Path, ...] = (),
    cache: tuple[Path, int] | None = None,
) -> bytes:
    """The fetcher's input for some `mesoslite.model.Uri`; `become` is uid, gid and all groups.

    `hidden` are real paths of the host: no local file is fetched that is one or lies in one.
    `cache` is a folder, and the bytes that it may hold; without it nothing is kept, and `maven:`
    can not be fetched.
    """
    limits = limits or Limits()
    names = ("value", "extract", "executable", "output_file", "sha256")
    return json.dumps(
        {
            "become": become,
            "uris": [{name: getattr(uri, name) for name in names} for uri in uris],
            "limits": {name: getattr(limits, name) for name in Limits.__slots__},
            "hidden": [str(path) for path in hidden],
            "cache": None if cache is None else [str(cache[0].absolute()), cache[1]],
        }
    ).encode()


def main() -> int:
    asked = json.load(sys.stdin)
    os.umask(0o022)
    limits = Limits(**asked["limits"])
    complaint = _fetch_asked(asked, limits)
    if complaint is not None:
        sys.stderr.write(f"{complaint}\n")
    return 0 if complaint is None else 1


def _fetch_asked(asked: dict[str, Any], limits: Limits) -> str | None:
    kept: Mapping[str, int] = {}
    if asked["cache"] is not None and any(map(is_kept, asked["uris"])):
        from mesoslite_agent import supply  # ~20 ms of Maven and threads that few tasks need

        folder, bytes_max = asked["cache"]
        answer = supply.supply(asked["uris"], limits, Path(folder), bytes_max)
        if isinstance(answer, str):
            return answer
        kept = answer
    # From here on archives are read, whose headers may ask for any amount.
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    if asked["become"] is not None:
        "".encode("idna")  # loaded now: this Python may lie where the task's user cannot read
        uid, gid, groups = asked["become"]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # Relative: the work directory may be closed to this user.
    hidden = tuple(map(Path, asked["hidden"]))
    return fetch_all(asked["uris"], Path(), limits, hidden, kept)


def is_kept(uri: Mapping[str, Any]) -> bool:
    """Whether it goes through the cache."""
    scheme = str(uri["value"]).partition(":")[0]
    return scheme == "maven" or (scheme in {"http", "https"} and uri["sha256"] is not None)


def complaint_of(uri: Mapping[str, Any], error: FetchFailed | OSError) -> str:
    """The one line that the user gets."""
    if isinstance(error, FetchFailed):
        return f"{uri['value']}: {' '.join(str(error).split())}"
    return f"{uri['value']}: {error.strerror or error}"


def fetch_all(
    uris: list[dict[str, Any]],
    sandbox: Path,
    limits: Limits,
    hidden: tuple[Path, ...] = (),
    kept: Mapping[str, int] | None = None,
) -> str | None:
    """One after another until one fails; then one line that names it.

    `kept` are descriptors of files whose SHA-256 was just found to be right, by that.
    """
    if len(uris) > URIS_MAX:
        return f"a task may have {URIS_MAX} URIs, not {len(uris)}"
    for uri in uris:
        try:
            descriptor = (kept or {}).get(uri["sha256"]) if is_kept(uri) else None
            fetch(uri, sandbox, limits, hidden, descriptor)
        except MemoryError:
            return f"{uri['value']}: takes more than {limits.memory_bytes} bytes of memory"
        except (FetchFailed, OSError) as error:
            return complaint_of(uri, error)
    return None


def fetch(
    uri: dict[str, Any],
    sandbox: Path,
    limits: Limits,
    hidden: tuple[Path, ...] = (),
    kept: int | None = None,
) -> Path:
    """Bring one file into the sandbox and do with it what is asked. Raises FetchFailed, OSError."""
    value = str(uri["value"])
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError as error:
        raise FetchFailed(str(error)) from None
    target = inside(sandbox, uri["output_file"] or _name_of(parts))
    make_folders(sandbox, target.parent)
    if kept is not None:
        with _created(target) as file:
            _copy(kept, file)
    else:
        digest = hashlib.sha256()
        with _opened(parts, value, limits, hidden) as source, _created(target) as file:
            for chunk in chunks(source, limits.file_bytes):
                digest.update(chunk)
                file.write(chunk)
        wanted = uri["sha256"]
        if wanted is not None and digest.hexdigest() != wanted.lower():
            target.unlink()
            raise FetchFailed(f"the SHA-256 is {digest.hexdigest()}, not {wanted}")
    if uri["executable"]:
        target.chmod(0o755)
    elif uri["extract"]:
        unpack(target, sandbox, limits)
    return target


def _name_of(parts: urllib.parse.SplitResult) -> str:
    if parts.scheme == "maven":
        from mesoslite_agent.maven import artifact_of

        return artifact_of(parts.path).file_name
    return Path(urllib.parse.unquote(parts.path)).name


def _copy(descriptor: int, file: IO[bytes]) -> None:
    """All of a file of the cache, whose own copy stays as it is."""
    at, size = 0, os.fstat(descriptor).st_size
    while at < size:
        done = os.sendfile(file.fileno(), descriptor, at, size - at)
        if not done:
            raise FetchFailed("its copy in the cache became shorter meanwhile")
        at += done


def inside(sandbox: Path, name: str) -> Path:
    """A path below the sandbox that goes through no link. Raises FetchFailed."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise FetchFailed(f"{name!r} is no place in the sandbox")
    if len(parts) > PATH_PARTS_MAX:
        raise FetchFailed(f"{name[:80]!r}... is deeper than {PATH_PARTS_MAX} directories")
    if parts[0] in RESERVED:
        raise FetchFailed(f"{parts[0]!r} is where the task's own output goes")
    path = sandbox
    for part in parts[:-1]:
        path /= part
        if path.is_symlink():
            raise FetchFailed(f"{name!r} leads through the link {part!r}")
    return path / parts[-1]


def make_folders(sandbox: Path, folder: Path) -> None:
    """Make a directory that `inside` has allowed."""
    if folder != sandbox:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)


@contextlib.contextmanager
def _opened(
    parts: urllib.parse.SplitResult, value: str, limits: Limits, hidden: tuple[Path, ...]
) -> Iterator[IO[bytes]]:
    try:
        if parts.scheme in {"http", "https"}:
            with opened_url(value, limits.stall_s) as response:
                yield response
        elif (parts.scheme == "file" and parts.netloc in {"", "localhost"}) or value[:1] == "/":
            path = urllib.parse.unquote(parts.path) if parts.scheme else value
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise FetchFailed("not a regular file")
                # Of what is open, not of its name: no link can be swapped in between.
                real = Path(f"/proc/self/fd/{descriptor}").readlink()
                if any(real.is_relative_to(path) for path in hidden):
                    raise FetchFailed("the agent's own files are closed to tasks")
                yield file
        else:
            raise FetchFailed("not file://, http://, https://, maven: or an absolute path")
    except ValueError as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from None


@contextlib.contextmanager
def _created(target: Path) -> Iterator[IO[bytes]]:
    """A new file in place of whatever had the name; never through a link. Removed on failure."""
    if target.is_dir() and not target.is_symlink():
        raise FetchFailed(f"{target.name!r} is a directory already")
    target.unlink(missing_ok=True)
    try:
        with target.open("xb") as file:
            yield file
    except BaseException:
        target.unlink(missing_ok=True)
        raise


# -- archives -------------------------------------------------------------------------------------


def unpack(archive: Path, sandbox: Path, limits: Limits) -> None:
    """Unpack by the name's ending beside the archive, which stays. Anything else is left alone."""
    name = archive.name.lower()
    into = archive.parent
    broken = (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile,
        EOFError, NotImplementedError, RuntimeError, ValueError,
    )  # fmt: skip
    try:
        if name.endswith(TAR_ENDINGS):
            _unpack_tar(archive, into, sandbox, limits)
        elif name.endswith(".zip"):
            _unpack_zip(archive, into, sandbox, limits)
    except broken as error:
        raise FetchFailed(f"the archive is broken: {error}") from None


class Budget:
    """What an archive may still unpack; counts what is written, not what headers claim."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries = 0
        self._bytes = 0

    def entry(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise FetchFailed(f"the archive holds more than {self._limits.entries} entries")

    def copy(self, source: IO[bytes], target: Path, mode: int) -> None:
        with _created(target) as file:
            while chunk := source.read(CHUNK_BYTES):
                self._bytes += len(chunk)
                if self._bytes > self._limits.unpacked_bytes:
                    raise FetchFailed(
                        f"the archive unpacks to more than {self._limits.unpacked_bytes} bytes"
                    )
                file.write(chunk)
            os.fchmod(file.fileno(), 0o644 | (mode & 0o111))


def _place(into: Path, sandbox: Path, name: str) -> Path | None:
    """Where a member goes; None for the archive's own top directory."""
    if not [part for part in name.split("/") if part not in {"", "."}]:
        return None
    if name.startswith("/"):
        raise FetchFailed(f"the archive's member {name!r} has an absolute path")
    path = inside(sandbox, str(into.relative_to(sandbox) / name))
    make_folders(sandbox, path.parent)
    return path


def _link(place: Path, target: str, into: Path) -> None:
    """A symbolic link that cannot lead out of `into`, whatever else is linked there.

    Its parents are real directories (`inside`), so its leading `..` are exact: no more of them than
    the link is deep. No `..` may follow a name, since the name may be a link itself.
    """
    depth = len(place.relative_to(into).parts) - 1
    parts = [part for part in target.split("/") if part not in {"", "."}]
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if target.startswith("/") or "\0" in target or ups > depth or ".." in parts[ups:]:
        raise FetchFailed(f"the archive's link {place.name!r} leads out: {target!r}")
    if place.is_dir() and not place.is_symlink():
        raise FetchFailed(f"the archive's link {place.name!r} would replace a directory")
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _folder(place: Path) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise FetchFailed(f"the archive's directory {place.name!r} is something else already")
    place.mkdir(mode=0o755, exist_ok=True)


def _unpack_tar(archive: Path, into: Path, sandbox: Path, limits: Limits) -> None:
    budget = Budget(limits)
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            budget.entry()
            place = _place(into, sandbox, member.name)
            if place is None:
                continue
            if member.isdir():
                _folder(place)
            elif member.issym():
                _link(place, member.linkname, into)
            elif member.islnk():
                original = inside(sandbox, str(into.relative_to(sandbox) / member.linkname))
                if original.is_symlink() or not original.is_file():
                    raise FetchFailed(f"the archive's {member.name!r} is a hard link to no file")
                with original.open("rb") as source:
                    budget.copy(source, place, original.stat().st_mode)
            elif member.isreg():
                source_file = tar.extractfile(member)
                assert source_file is not None
                budget.copy(source_file, place, member.mode)
            else:
                raise FetchFailed(f"the archive's {member.name!r} is a device or a pipe")


def _unpack_zip(archive: Path, into: Path, sandbox: Path, limits: Limits) -> None:
    budget = Budget(limits)
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            budget.entry()
            place = _place(into, sandbox, member.filename)
            mode = member.external_attr >> 16
            if place is None:
                continue
            if member.is_dir():
                _folder(place)
            elif stat.S_ISLNK(mode):
                with file.open(member) as source:
                    _link(place, source.read(4096).decode(errors="replace"), into)
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                with file.open(member) as source:
                    budget.copy(source, place, mode)
            else:
                raise FetchFailed(f"the archive's {member.filename!r} is a device or a pipe")


if __name__ == "__main__":
    sys.exit(main())
