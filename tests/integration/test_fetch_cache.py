"""What comes from elsewhere comes once: the cache of the fetcher, resuming, and `maven:` URIs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mesoslite.files import FETCHING, FILE_NAMES
from mesoslite.model import Uri
from mesoslite_agent.downloads import FetchFailed
from mesoslite_agent.fetch_cache import FetchCache, Origin
from mesoslite_agent.fetcher import command, environment, request
from mesoslite_agent.supply import PROGRESS_FILE
from tests.integration.containers import Place, need_root

SMALL = b"a small jar\n"
LARGE = bytes(range(256)) * 8_192  # 2 MiB
GUAVA = "com/google/guava/guava/33.0/guava-33.0.jar"
MIB = 1 << 20


@dataclass
class Site:
    """A web server that counts what it is asked for, and can be told to misbehave."""

    files: dict[str, bytes]
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    cut_after: int | None = None
    """So many bytes of a body, then the connection ends."""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"small.jar": SMALL, "large.jar": LARGE, GUAVA: SMALL})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            site.asked[name] += 1
            body = site.files.get(name)
            if body is None:
                self.send_error(404)
                return
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            if start:
                site.ranges.append(self.headers["Range"])
            if start > len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:][: site.cut_after])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def host(place: Place) -> Host:
    return Host(place.work_dir)


class Host:
    """A home with a cache, and sandboxes to fetch into."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.cache = folder / "cache"
        self.folder = folder
        self.home.mkdir()
        self.settings("")

    def settings(self, inner: str) -> None:
        """What this user's Maven is set up with."""
        path = self.home / ".m2" / "settings.xml"
        path.parent.mkdir(exist_ok=True)
        name = "http://maven.apache.org/SETTINGS/1.0.0"
        path.write_text(f'<settings xmlns="{name}">{inner}</settings>')

    def mirror(self, url: str) -> None:
        """Have Maven Central mirrored there."""
        self.settings(
            f"<mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf><url>{url}/</url></mirror></mirrors>"
        )

    def start(
        self, name: str, *uris: Uri, bytes_max: int = 100 * MIB, path: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Begin to fetch into a new sandbox of that name."""
        sandbox = self.folder / name
        sandbox.mkdir(exist_ok=True)
        variables = environment() | {"HOME": str(self.home)}
        process = subprocess.Popen(
            command(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=sandbox,
            env=variables | ({} if path is None else {"PATH": path}),
        )
        assert process.stdin is not None
        process.stdin.write(request(uris, cache=(self.cache, bytes_max)))
        process.stdin.close()
        process.stdin = None
        return process

    def fetch(self, name: str, *uris: Uri, **options: object) -> str:
        """What it had to complain about."""
        return said(self.start(name, *uris, **options))  # type: ignore[arg-type]

    def kept(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}


def said(process: subprocess.Popen[bytes]) -> str:
    _, error = process.communicate(timeout=60)
    assert (process.returncode == 0) == (error == b""), error
    return error.decode().strip()


def uri(site: Site, name: str, body: bytes) -> Uri:
    return Uri(f"{site.url}/{name}", sha256=hashlib.sha256(body).hexdigest(), extract=False)


def guava(body: bytes = SMALL) -> Uri:
    value = "maven:com.google.guava:guava:33.0"
    return Uri(value, sha256=hashlib.sha256(body).hexdigest(), extract=False)


def test_a_file_is_fetched_once_for_many_tasks(host: Host, site: Site) -> None:
    one = uri(site, "small.jar", SMALL)
    assert host.fetch("a", one) == ""
    assert host.fetch("b", one) == ""
    assert (host.folder / "b/small.jar").read_bytes() == SMALL
    assert site.asked == {"small.jar": 1}
    assert [path.name for path in (host.folder / "a").iterdir()] == ["small.jar"]


def test_how_far_files_are_is_in_a_file_that_can_be_read() -> None:
    assert PROGRESS_FILE == FETCHING
    assert FETCHING in FILE_NAMES  # or the master refuses who asks


def test_tasks_that_want_it_at_the_same_time_wait_for_the_one_that_fetches(
    host: Host, site: Site
) -> None:
    one = uri(site, "large.jar", LARGE)
    fetchers = [host.start(f"s{number}", one) for number in range(4)]
    assert [said(each) for each in fetchers] == [""] * 4
    assert site.asked == {"large.jar": 1}
    assert {(host.folder / f"s{n}/large.jar").read_bytes() for n in range(4)} == {LARGE}


def test_what_was_cut_off_is_resumed_where_it_ended(host: Host, site: Site) -> None:
    one = uri(site, "large.jar", LARGE)
    site.cut_after = MIB
    assert f"the connection ended {MIB} bytes early" in host.fetch("a", one)
    assert host.kept() == {f"{one.sha256}.part"}
    site.cut_after = None
    assert host.fetch("b", one) == ""
    assert site.ranges == [f"bytes={MIB}-"]
    assert (host.folder / "b/large.jar").read_bytes() == LARGE


@pytest.mark.parametrize("left", [b"another beginning", LARGE + b"and more"])
def test_a_beginning_of_another_file_is_begun_anew(host: Host, site: Site, left: bytes) -> None:
    one = uri(site, "large.jar", LARGE)
    host.cache.mkdir()
    (host.cache / f"{one.sha256}.part").write_bytes(left)
    assert host.fetch("a", one) == ""
    assert (host.folder / "a/large.jar").read_bytes() == LARGE


def test_a_copy_that_was_damaged_is_fetched_again(host: Host, site: Site) -> None:
    one = uri(site, "small.jar", SMALL)
    assert host.fetch("a", one) == ""
    (host.cache / str(one.sha256)).write_bytes(b"rubbish")
    assert host.fetch("b", one) == ""
    assert (host.folder / "b/small.jar").read_bytes() == SMALL


def test_another_file_than_was_named_is_refused_and_not_kept(host: Host, site: Site) -> None:
    one = uri(site, "small.jar", LARGE)
    found = hashlib.sha256(SMALL).hexdigest()
    assert host.fetch("a", one) == f"{one.value}: the SHA-256 is {found}, not {one.sha256}"
    site.files["small.jar"] = LARGE
    assert host.fetch("a", one) == ""


def test_the_cache_holds_what_was_used_last(host: Host, site: Site) -> None:
    bodies = {f"f{number}": bytes([number]) * MIB for number in range(4)}
    site.files |= bodies
    uris = [uri(site, name, body) for name, body in bodies.items()]
    for number, one in enumerate(uris[:3]):
        assert host.fetch(f"s{number}", one, bytes_max=3 * MIB) == ""
        os.utime(host.cache / str(one.sha256), (number, number))
    assert host.fetch("again", uris[0], bytes_max=3 * MIB) == ""
    assert host.fetch("s3", uris[3], bytes_max=3 * MIB) == ""
    assert host.kept() == {uris[0].sha256, uris[2].sha256, uris[3].sha256}
    assert site.asked["f0"] == 1


def test_what_is_removed_unfinished_is_locked_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever locked it in between would bring a file that has no name any more."""
    cache = FetchCache(tmp_path / "cache", bytes_max=MIB, file_bytes_max=4 * MIB)
    left = tmp_path / "cache" / f"{'0' * 64}.part"
    left.write_bytes(bytes(MIB))
    os.utime(left, (1, 1))
    locked = []

    def unlink(self: Path, missing_ok: bool = False) -> None:
        with self.open("rb") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(self)
        os.unlink(self)  # noqa: PTH108

    monkeypatch.setattr(Path, "unlink", unlink)
    (tmp_path / "small").write_bytes(SMALL)
    name = hashlib.sha256(SMALL).hexdigest()
    os.close(cache.bring(name, Origin(path=tmp_path / "small"), lambda _: None))
    assert locked == [left]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [name]


def test_a_file_that_took_the_place_of_the_one_that_was_checked_is_not_kept(
    tmp_path: Path,
) -> None:
    cache = FetchCache(tmp_path / "cache", bytes_max=MIB, file_bytes_max=MIB)
    (tmp_path / "small").write_bytes(SMALL)
    name = hashlib.sha256(SMALL).hexdigest()
    part = tmp_path / "cache" / f"{name}.part"

    def replace(_: int) -> None:
        part.unlink()
        part.write_bytes(SMALL[:3])

    with pytest.raises(FetchFailed, match="was replaced"):
        cache.bring(name, Origin(path=tmp_path / "small"), replace)
    assert cache.find(name) is None


def test_a_file_that_is_larger_than_the_cache_is_fetched_all_the_same(
    host: Host, site: Site
) -> None:
    assert host.fetch("a", uri(site, "large.jar", LARGE), bytes_max=MIB) == ""
    assert (host.folder / "a/large.jar").read_bytes() == LARGE
    assert host.kept() == set()


def test_without_a_checksum_nothing_is_kept(host: Host, site: Site) -> None:
    assert host.fetch("a", Uri(f"{site.url}/small.jar")) == ""
    assert not host.cache.exists()


def test_a_cache_that_can_not_be_used_keeps_nobody_from_the_web(host: Host, site: Site) -> None:
    host.cache.write_text("no directory")
    assert host.fetch("a", uri(site, "small.jar", SMALL)) == ""
    assert "cache" in host.fetch("b", guava())


def test_files_of_the_cache_are_given_to_the_tasks_user(host: Host, site: Site) -> None:
    need_root()
    nobody = pwd.getpwnam("nobody")
    become = (nobody.pw_uid, nobody.pw_gid, (nobody.pw_gid,))
    sandbox = host.folder / "a"
    sandbox.mkdir()
    os.chown(sandbox, nobody.pw_uid, nobody.pw_gid)
    asked = request((uri(site, "small.jar", SMALL),), become, cache=(host.cache, MIB))
    done = subprocess.run(
        command(), input=asked, cwd=sandbox, env=environment(), check=False, capture_output=True
    )
    assert done.stderr == b""
    assert (sandbox / "small.jar").stat().st_uid == nobody.pw_uid
    [kept] = host.cache.iterdir()
    assert (kept.stat().st_uid, host.cache.stat().st_mode & 0o777) == (os.getuid(), 0o700)


def test_maven_is_fetched_from_the_mirror_that_the_host_names(host: Host, site: Site) -> None:
    host.mirror(site.url)
    assert host.fetch("a", guava()) == ""
    assert (host.folder / "a/guava-33.0.jar").read_bytes() == SMALL
    assert site.asked == {GUAVA: 1}


def test_what_maven_has_here_already_is_not_fetched(host: Host, site: Site) -> None:
    host.mirror(site.url)
    local = host.home / ".m2" / "repository" / GUAVA
    local.parent.mkdir(parents=True)
    local.write_bytes(SMALL)
    assert host.fetch("a", guava()) == ""
    assert site.asked == {}


def test_a_damaged_local_repository_is_passed_over(host: Host, site: Site) -> None:
    host.mirror(site.url)
    local = host.home / ".m2" / "repository" / GUAVA
    local.parent.mkdir(parents=True)
    local.write_bytes(b"half a j")
    assert host.fetch("a", guava()) == ""
    assert site.asked == {GUAVA: 1}


def test_what_only_maven_can_reach_is_left_to_maven(host: Host, site: Site) -> None:
    """A settings.xml with credentials: this program does not use them, `mvn` does."""
    host.settings(
        "<servers><server><id>m</id><username>u</username><password>p</password></server></servers>"
        "<mirrors><mirror><id>m</id><mirrorOf>central</mirrorOf>"
        f"<url>{site.url}</url></mirror></mirrors>"
    )
    empty = host.folder / "bin"
    empty.mkdir()
    complaint = host.fetch("a", guava(), path=f"{empty}:/usr/bin/nothing")
    assert "settings.xml has credentials for m, and only Maven can use that" in complaint
    program = empty / "mvn"  # as Maven would, it puts what the project names where it belongs
    program.write_text(
        "#!/bin/sh\nset -e\n"
        "grep -q '<artifactId>guava</artifactId><version>33.0</version>' pom.xml\n"
        f"mkdir -p $HOME/.m2/repository/{Path(GUAVA).parent}\n"
        f"printf 'a small jar\\n' >$HOME/.m2/repository/{GUAVA}\n"
    )
    program.chmod(0o755)
    assert host.fetch("b", guava(), path=f"{empty}:/usr/bin:/bin") == ""
    assert (host.folder / "b/guava-33.0.jar").read_bytes() == SMALL
    assert site.asked == {}


@pytest.mark.parametrize(
    ("value", "sha256", "text"),
    [
        ("maven:a:b:1", None, "a maven: URI needs its SHA-256"),
        ("maven:a:b", "0" * 64, "not maven:GROUP:ARTIFACT:VERSION"),
        ("maven:a:../../b:1", "0" * 64, "not maven:GROUP:ARTIFACT:VERSION"),
        ("maven:a..b:c:1", "0" * 64, "is no group"),
        ("maven:a:b:1", "../x", "is no SHA-256"),
        ("maven:a:missing:1", "0" * 64, "the server answered 404"),
    ],
)
def test_what_is_no_artifact_is_refused(
    host: Host, site: Site, value: str, sha256: str | None, text: str
) -> None:
    host.mirror(site.url)
    complaint = host.fetch("a", Uri(value, sha256=sha256), path="/nowhere")
    assert complaint.startswith(f"{value}: ")
    assert text in complaint
    assert list((host.folder / "a").iterdir()) == []
