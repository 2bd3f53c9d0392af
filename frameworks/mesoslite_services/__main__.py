"""`python -m mesoslite_services FILE...`: write lock lists anew, from what Maven resolves.

With `--check` nothing is written: the exit code is 1 when a list is not what Maven resolves its
roots to. It takes an `mvn`, and uses it as it is set up on this host.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

from mesoslite_services.jars import Jar, LockList

LIST = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:list"
MAVEN_S_MAX = 900.0
_RESOLVED = re.compile(
    r"\s+(?P<group>[^:\s]+):(?P<name>[^:]+):(?P<type>[^:]+):(?:(?P<classifier>[^:]+):)?"
    r"(?P<version>[^:]+):(?:compile|runtime):(?P<path>/.*?)(?: -- module .*)?\Z"
)


def resolve(roots: Sequence[str], without: Sequence[str] = ()) -> tuple[Jar, ...]:
    """All jars that the roots need to run, by name. Raises SystemExit with what Maven says."""
    with tempfile.TemporaryDirectory(prefix="mesoslite-lock-") as folder:
        pom, told = Path(folder) / "pom.xml", Path(folder) / "told"
        pom.write_text(_project(roots), encoding="utf-8")
        words = ["mvn", "-B", "-q", "-f", str(pom), LIST, "-DincludeScope=runtime"]
        words += [f"-DoutputFile={told}", "-DoutputAbsoluteArtifactFilename=true"]
        done = subprocess.run(
            words, capture_output=True, check=False, text=True, timeout=MAVEN_S_MAX
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        lines = told.read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := _RESOLVED.match(line)) is not None]
    jars = [_jar(one) for one in found if f"{one['group']}:{one['name']}" not in without]
    return tuple(sorted(jars, key=lambda jar: jar.uri))


def _jar(found: re.Match[str]) -> Jar:
    classifier = f":{found['classifier']}" if found["classifier"] else ""
    extension = "" if found["type"] == "jar" else f"@{found['type']}"
    uri = f"maven:{found['group']}:{found['name']}:{found['version']}{classifier}{extension}"
    return Jar(uri, hashlib.sha256(Path(found["path"]).read_bytes()).hexdigest())


def _project(roots: Sequence[str]) -> str:
    dependencies = ""
    for root in roots:
        group, name, version = map(escape, root.split(":"))
        dependencies += (
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{version}</version></dependency>"
        )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>mesoslite</groupId><artifactId>lock</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def main(arguments: Sequence[str]) -> int:
    """The program; its exit code."""
    code = 0
    for name in (each for each in arguments if each != "--check"):
        path = Path(name)
        before = LockList.parse(path.read_text(encoding="utf-8"))
        after = replace(before, jars=resolve(before.roots, before.without))
        if "--check" not in arguments:
            path.write_text(after.text, encoding="utf-8")
        elif after != before:
            code = 1
        same = "as it was" if after == before else "changed"
        print(f"{name}: {len(after.jars)} jars, {same}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
