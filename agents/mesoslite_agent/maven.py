"""`maven:` URIs: artifacts by their coordinates, from where this host's own Maven has them from.

    maven:GROUP:ARTIFACT:VERSION[:CLASSIFIER][@EXTENSION]

First from Maven's local repository, then over HTTPS from Maven Central, or from the mirror of it
that a settings.xml names. What only Maven can do (credentials, proxies of its own) it is asked for,
when there is an `mvn`. Standard library alone, as the fetcher whose part it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET  # the host's own settings: as trusted as its PATH
from xml.sax.saxutils import escape

from mesoslite_agent.downloads import FetchFailed

CENTRAL = "https://repo.maven.apache.org/maven2"
SCHEME = "maven"
_PART = r"(?!\.)[A-Za-z0-9._-]{1,128}"
_COORDINATES = re.compile(
    rf"({_PART}):({_PART}):({_PART})(?::({_PART}))?(?:@([A-Za-z0-9.]{{1,32}}))?\Z"
)
_VARIABLE = re.compile(r"\$\{(env\.)?([A-Za-z0-9_.]+)\}")
RESOLVE = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:resolve"
MAVEN_S_MAX = 900.0  # for all artifacts that it is asked for at a time
MAVEN_LINE_MAX = 300


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file in a Maven repository."""

    group: str
    name: str
    version: str
    classifier: str = ""
    extension: str = "jar"

    @property
    def file_name(self) -> str:
        """`kafka-clients-4.1.0.jar`."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.extension}"

    @property
    def path(self) -> str:
        """Where every repository has it."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.file_name}"


def artifact_of(uri: str) -> Artifact:
    """What a URI names. Raises FetchFailed."""
    found = _COORDINATES.match(uri.removeprefix(f"{SCHEME}:"))
    if found is None:
        raise FetchFailed("not maven:GROUP:ARTIFACT:VERSION[:CLASSIFIER][@EXTENSION]")
    group, name, version, classifier, extension = found.groups()
    if ".." in group:
        raise FetchFailed(f"{group!r} is no group of Maven")
    return Artifact(group, name, version, classifier or "", extension or "jar")


@dataclass(frozen=True, slots=True)
class Setup:
    """What this host's Maven is set up with."""

    local: Path
    """Its local repository, which may not exist."""
    url: str | None = CENTRAL
    """Of Maven Central or its mirror, without a slash at its end; None: only Maven gets there."""
    why: str = ""
    """Without a URL: why."""


def find_setup() -> Setup:
    """As the user's settings.xml says, then Maven's own; without any, Maven Central."""
    home = Path.home()
    places = [home / ".m2" / "settings.xml"]
    maven_home = os.environ.get("MAVEN_HOME") or os.environ.get("M2_HOME")
    if maven_home:
        places.append(Path(maven_home) / "conf" / "settings.xml")
    elif (program := shutil.which("mvn")) is not None:
        places.append(Path(program).resolve().parents[1] / "conf" / "settings.xml")
    return setup_of([_read(place) for place in places], home)


def setup_of(settings: Sequence[ET.Element], home: Path) -> Setup:
    """The first that says something of a thing decides it, as in Maven."""
    local = home / ".m2" / "repository"
    for each in settings:
        if text := _text(each, "localRepository"):
            local = Path(text)
            break
    mirror = _mirror(settings)
    url = CENTRAL if mirror is None else _text(mirror, "url").rstrip("/")
    servers = [_text(one, "id") for each in settings for one in each.iterfind("servers/server")]
    name = "central" if mirror is None else _text(mirror, "id")
    if name in servers:
        return Setup(local, None, f"settings.xml has credentials for {name}")
    if any(
        _text(proxy, "active") != "false"
        for each in settings
        for proxy in each.iterfind("proxies/proxy")
    ):
        return Setup(local, None, "settings.xml names a proxy")
    if not url.startswith(("https://", "http://")):
        return Setup(local, None, f"settings.xml names {url or 'no URL'} for {name}")
    return Setup(local, url)


def _mirror(settings: Sequence[ET.Element]) -> ET.Element | None:
    """Of Maven Central. An exact match goes before a pattern, as in Maven."""
    mirrors = [one for each in settings for one in each.iterfind("mirrors/mirror")]
    mirrors = [one for one in mirrors if _text(one, "blocked") != "true"]
    for one in mirrors:
        if _text(one, "mirrorOf") == "central":
            return one
    for one in mirrors:
        patterns = {part.strip() for part in _text(one, "mirrorOf").split(",")}
        if "!central" not in patterns and patterns & {"*", "external:*", "central"}:
            return one
    return None


def _read(path: Path) -> ET.Element:
    """A settings.xml without its namespace; of one that is not there or broken, an empty one."""
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - see above
    except (OSError, ET.ParseError):
        return ET.Element("settings")
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    return root


def _text(element: ET.Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    return _VARIABLE.sub(_value, text)


def _value(found: re.Match[str]) -> str:
    if found[1]:
        return os.environ.get(found[2], "")
    return str(Path.home()) if found[2] == "user.home" else found[0]


def ask_maven(artifacts: Sequence[Artifact]) -> None:
    """Have Maven bring these into its local repository: ~3 s, and ~20 ms each. Raises FetchFailed.

    One project that depends on all of them, since a run for each would take minutes.
    """
    program = shutil.which("mvn")
    if program is None:
        raise FetchFailed("there is no mvn on this agent")
    with tempfile.TemporaryDirectory(prefix="mesoslite-maven-") as folder:
        pom = Path(folder) / "pom.xml"
        pom.write_text(_project(artifacts), encoding="utf-8")
        words = [program, "-B", "-q", "-f", str(pom), RESOLVE, "-DexcludeTransitive=true"]
        try:
            done = subprocess.run(
                words, cwd=folder, capture_output=True, check=False, timeout=MAVEN_S_MAX
            )
        except subprocess.TimeoutExpired:
            raise FetchFailed(f"Maven took longer than {MAVEN_S_MAX:.0f} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        lines = [line for line in said.splitlines() if line.startswith("[ERROR]")]
        line = lines[0].removeprefix("[ERROR]").strip() if lines else f"code {done.returncode}"
        raise FetchFailed(f"Maven could not: {line[:MAVEN_LINE_MAX]}")


def _project(artifacts: Sequence[Artifact]) -> str:
    nothing_else = (
        "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
        "</exclusions>"
    )
    dependencies = "".join(
        f"<dependency><groupId>{escape(one.group)}</groupId>"
        f"<artifactId>{escape(one.name)}</artifactId><version>{escape(one.version)}</version>"
        + (f"<classifier>{escape(one.classifier)}</classifier>" if one.classifier else "")
        + f"<type>{escape(one.extension)}</type>{nothing_else}</dependency>"
        for one in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>mesoslite</groupId><artifactId>fetch</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def in_local_repository(setup: Setup, artifact: Artifact) -> Path | None:
    """The file, when Maven has it already."""
    path = setup.local / artifact.path
    with contextlib.suppress(OSError):
        if path.is_file():
            return path
    return None
