"""The fetcher as the program that it is: in a sandbox, with files and a web server of ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pwd
import socket
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mesoslite.model import Uri
from mesoslite_agent.fetcher import (
    URIS_MAX,
    Limits,
    command,
    environment,
    fetch_all,
    request,
)
from tests.integration.containers import Place, need_root


class Site(BaseHTTPRequestHandler):
    """A file, a redirection, and the ways in which servers misbehave."""

    def do_GET(self) -> None:
        if self.path == "/file.txt":
            self._answer(200, b"over http\n")
        elif self.path == "/moved":
            self._answer(302, b"", Location="/file.txt")
        elif self.path == "/to-file":
            self._answer(302, b"", Location="file:///etc/passwd")
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"not all of it")
        elif self.path == "/stall":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x")
            self.server.over.wait(30)  # type: ignore[attr-defined]
        else:
            self._answer(404, b"nothing here")

    def _answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.over = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sandbox(place: Place) -> Path:
    folder = place.work_dir / "sandbox"
    folder.mkdir()
    return folder


def fetch(sandbox: Path, *uris: Uri, limits: Limits | None = None) -> str:
    """What the fetcher has to complain about; empty when it is content."""
    asked = json.loads(request(uris, None, limits))
    said = fetch_all(asked["uris"], sandbox, Limits(**asked["limits"])) or ""
    assert "\n" not in said
    return said


def run(
    sandbox: Path,
    *uris: Uri,
    become: tuple[int, int, tuple[int, ...]] | None = None,
    limits: Limits | None = None,
) -> str:
    """The same by the program itself, as the agent runs it."""
    done = subprocess.run(
        command(),
        input=request(uris, become, limits),
        cwd=sandbox,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=30,
    )
    said = done.stderr.decode()
    assert (done.returncode == 0) == (said == ""), said
    return said.strip()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def tar(path: Path, mode: str, *members: tuple[tarfile.TarInfo, bytes]) -> Uri:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Uri(str(path))


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_files_come_from_the_disk_and_the_web(sandbox: Path, place: Place, site: str) -> None:
    (place.work_dir / "with space.txt").write_text("from disk\n")
    assert not fetch(
        sandbox,
        Uri(f"file://{place.work_dir}/with%20space.txt"),
        Uri(f"{place.work_dir}/with space.txt", output_file="deep/er/copy"),
        Uri(f"{site}/file.txt"),
        Uri(f"{site}/moved", output_file="redirected", executable=True),
    )
    assert (sandbox / "with space.txt").read_text() == "from disk\n"
    assert (sandbox / "deep/er/copy").read_text() == "from disk\n"
    assert (sandbox / "file.txt").read_text() == "over http\n"
    assert (sandbox / "redirected").read_text() == "over http\n"
    assert os.access(sandbox / "redirected", os.X_OK)
    assert (sandbox / "file.txt").stat().st_mode & 0o777 == 0o644


def test_a_checksum_decides(sandbox: Path, site: str) -> None:
    right = hashlib.sha256(b"over http\n").hexdigest()
    assert not fetch(sandbox, Uri(f"{site}/file.txt", sha256=right.upper()))
    (sandbox / "file.txt").unlink()
    said = fetch(sandbox, Uri(f"{site}/file.txt", sha256="0" * 64))
    assert said == f"{site}/file.txt: the SHA-256 is {right}, not {'0' * 64}"
    assert files(sandbox) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/missing", "the server answered 404 Not Found"),
        ("/short", "987 bytes"),
        ("/to-file", "file"),
    ],
)
def test_a_server_that_errs_is_named(sandbox: Path, site: str, path: str, text: str) -> None:
    said = fetch(sandbox, Uri(f"{site}{path}"))
    assert said.startswith(f"{site}{path}: ")
    assert text in said
    assert files(sandbox) == []


def test_a_server_that_stalls_is_given_up(sandbox: Path, site: str) -> None:
    said = fetch(sandbox, Uri(f"{site}/stall"), limits=Limits(stall_s=0.2))
    assert said == f"{site}/stall: nothing came for 0.2 s"
    assert files(sandbox) == []


def test_a_server_that_is_not_there_is_named(sandbox: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        assert fetch(sandbox, Uri(uri)) == f"{uri}: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    "value",
    [
        "ftp://host/x",
        "relative",
        "",
        "file://elsewhere/x",
        "http://",
        "gopher:x",
        "/dev/zero",
        "/etc",
        "/no/such/file",
        "http://[bad/x",
        "data:,x",
    ],
)
def test_what_cannot_be_fetched_is_refused_with_a_reason(sandbox: Path, value: str) -> None:
    said = fetch(sandbox, Uri(value, output_file="x"))
    assert said.startswith(f"{value}: ")
    assert len(said) > len(value) + 5
    assert files(sandbox) == []


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../b", "stdout", "stderr/x", ".", "x\0y"])
def test_nothing_is_written_elsewhere(sandbox: Path, name: str) -> None:
    assert fetch(sandbox, Uri("/etc/hostname", output_file=name))
    assert files(sandbox) == []


def test_a_file_that_is_too_large_is_refused(sandbox: Path, place: Place) -> None:
    (place.work_dir / "big").write_bytes(bytes(2 << 20))
    said = fetch(sandbox, Uri(f"{place.work_dir}/big"), limits=Limits(file_bytes=1 << 20))
    assert said.endswith("larger than 1048576 bytes")
    assert files(sandbox) == []


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2"), ("txz", "w:xz")],
)
def test_a_tar_is_unpacked(sandbox: Path, place: Place, ending: str, mode: str) -> None:
    uri = tar(
        place.work_dir / f"a.{ending}", mode,
        (member("./"), b""),
        (member("d", tarfile.DIRTYPE), b""),
        (member("d/run", mode=0o4755), b"program"),
        (member("d/again", tarfile.LNKTYPE, "d/run"), b""),
        (member("d/link", tarfile.SYMTYPE, "../d/run"), b""),
        (member("deep/er/file"), b"x" * 1_000_000),
    )  # fmt: skip
    assert fetch(sandbox, uri) == ""
    assert (sandbox / "d/link").read_text() == "program"
    assert (sandbox / "d/again").read_text() == "program"
    assert (sandbox / "d/run").stat().st_mode & 0o7777 == 0o755
    assert (sandbox / "deep/er/file").stat().st_size == 1_000_000
    assert (sandbox / f"a.{ending}").exists()


def test_a_zip_is_unpacked(sandbox: Path, place: Place) -> None:
    path = place.work_dir / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plain", "text")
        program = zipfile.ZipInfo("bin/run")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "program")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "bin/run")
    assert fetch(sandbox, Uri(str(path))) == ""
    assert (sandbox / "link").read_text() == "program"
    assert os.access(sandbox / "bin/run", os.X_OK)
    assert (sandbox / "plain").stat().st_mode & 0o111 == 0


def test_an_archive_stays_whole_when_it_shall_not_be_unpacked(sandbox: Path, place: Place) -> None:
    uri = tar(place.work_dir / "a.tar", "w", (member("inner"), b"x"))
    assert not fetch(sandbox, Uri(uri.value, extract=False), Uri(uri.value, executable=True))
    assert files(sandbox) == ["a.tar"]


ESCAPES: dict[str, Callable[[], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "up": lambda: [(member("../out"), b"x")],
    "absolute": lambda: [(member("/tmp/mesoslite-out"), b"x")],
    "inner up": lambda: [(member("a/../../out"), b"x")],
    "link out": lambda: [(member("l", tarfile.SYMTYPE, "../out"), b"")],
    "absolute link": lambda: [(member("l", tarfile.SYMTYPE, "/etc"), b"")],
    "up after a name": lambda: [(member("l", tarfile.SYMTYPE, "a/../.."), b"")],
    "through a link": lambda: [(member("l", tarfile.SYMTYPE, "d"), b""), (member("l/x"), b"x")],
    "deep link that is shallow": lambda: [
        (member("a/b", tarfile.SYMTYPE, ".."), b""),
        (member("a/b/c", tarfile.SYMTYPE, "../.."), b""),
    ],
    "link that becomes another": lambda: [
        (member("p", tarfile.SYMTYPE, "q/r/../.."), b""),
        (member("q", tarfile.DIRTYPE), b""),
        (member("q/r", tarfile.SYMTYPE, ".."), b""),
    ],
    "hard link out": lambda: [(member("h", tarfile.LNKTYPE, "../../etc/passwd"), b"")],
    "hard link through a link": lambda: [
        (member("l", tarfile.SYMTYPE, "x"), b""),
        (member("h", tarfile.LNKTYPE, "l"), b""),
    ],
    "device": lambda: [(member("dev", tarfile.CHRTYPE), b"")],
    "pipe": lambda: [(member("pipe", tarfile.FIFOTYPE), b"")],
    "the task's output": lambda: [(member("stdout"), b"forged")],
    "a directory made a link": lambda: [
        (member("d/x"), b"x"),
        (member("d", tarfile.SYMTYPE, "e"), b""),
    ],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_an_archive_cannot_leave_the_sandbox(sandbox: Path, place: Place, name: str) -> None:
    uri = tar(place.work_dir / "evil.tar", "w", *ESCAPES[name]())
    outside = files(place.work_dir)
    said = fetch(sandbox, uri)
    assert said.startswith(f"{uri.value}: ")
    added = set(files(place.work_dir)) - set(outside)
    assert all(name.startswith("sandbox/") for name in added)
    assert not Path("/tmp/mesoslite-out").exists()
    for path in sandbox.rglob("*"):
        assert path.resolve().is_relative_to(sandbox)


def test_a_zip_cannot_leave_the_sandbox(sandbox: Path, place: Place) -> None:
    path = place.work_dir / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../out", "x")
    assert "no place in the sandbox" in fetch(sandbox, Uri(str(path)))
    assert not (place.work_dir / "out").exists()


def test_a_bomb_is_stopped_by_size_and_by_count(sandbox: Path, place: Place) -> None:
    bomb = tar(place.work_dir / "b.tar.gz", "w:gz", (member("zeros"), bytes(4 << 20)))
    said = fetch(sandbox, bomb, limits=Limits(unpacked_bytes=1 << 20))
    assert said.endswith("the archive unpacks to more than 1048576 bytes")
    many = tar(place.work_dir / "m.tar", "w", *((member(f"f{i}"), b"") for i in range(20)))
    said = fetch(sandbox, many, limits=Limits(entries=10))
    assert said.endswith("the archive holds more than 10 entries")


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2", "x.zip"])
def test_a_broken_archive_is_named(sandbox: Path, place: Place, name: str) -> None:
    (place.work_dir / name).write_bytes(b"PK\x03\x04 this is no archive at all")
    assert "the archive is broken" in fetch(sandbox, Uri(str(place.work_dir / name)))


def test_the_program_fetches_and_names_what_it_cannot(sandbox: Path, site: str) -> None:
    assert run(sandbox, Uri(f"{site}/file.txt")) == ""
    assert (sandbox / "file.txt").read_text() == "over http\n"
    said = run(sandbox, Uri(f"{site}/file.txt", output_file="again"), Uri("/no/such/file"))
    assert said == "/no/such/file: No such file or directory"
    assert run(sandbox, *[Uri("/etc/hostname")] * (URIS_MAX + 1)).startswith("a task may have 256")


def test_an_archive_that_asks_for_any_memory_is_stopped(sandbox: Path, place: Place) -> None:
    """A header may announce a name of gigabytes, which is read into memory."""
    path = place.work_dir / "name.tgz"
    long_name = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    long_name.size = 256 << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(long_name.tobuf(tarfile.GNU_FORMAT))
        for _ in range(256):
            file.write(bytes(1 << 20))
    said = run(sandbox, Uri(str(path)), limits=Limits(memory_bytes=160 << 20))
    assert said == f"{path}: takes more than {160 << 20} bytes of memory"


def test_files_belong_to_the_tasks_user_who_must_be_allowed_to_read(
    sandbox: Path, place: Place
) -> None:
    need_root()
    nobody = pwd.getpwnam("nobody")
    become = (nobody.pw_uid, nobody.pw_gid, (nobody.pw_gid,))
    os.chown(sandbox, nobody.pw_uid, nobody.pw_gid)
    with tempfile.TemporaryDirectory() as name:
        public = Path(name)
        public.chmod(0o755)
        (public / "file").write_text("p")
        (public / "secret").write_text("s")
        (public / "secret").chmod(0o600)
        uri = tar(public / "a.tar", "w", (member("inner"), b"x"))
        assert run(sandbox, Uri(f"{public}/file"), uri, become=become) == ""
        assert {path.stat().st_uid for path in sandbox.iterdir()} == {nobody.pw_uid}
        said = run(sandbox, Uri(f"{public}/secret", output_file="x"), become=become)
        assert said == f"{public}/secret: Permission denied"
