"""The jar by which Spark knows the master mesoslite://...: built from java/, always the same bytes.

    python -m mesoslite_spark.jar            build it anew, where javac and pyspark are
    python -m mesoslite_spark.jar --check    whether the one in this package is of these sources

The jar in the package is for one version of Spark. With another one it is built by javac, where
there is one, and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from mesoslite_spark.errors import SparkError
from mesoslite_spark.host import SPARK_VERSION, find_spark, spark_version

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "java"
JAR = HERE / "mesoslite-spark.jar"
RELEASE = "17"
BUILD_S_MAX = 120.0
#: The earliest that a zip can say: the bytes are to be a matter of the sources alone.
EPOCH = (1980, 1, 1, 0, 0, 0)
MANIFEST = "META-INF/MANIFEST.MF"


def jar_for(home: Path) -> Path:
    """The jar that fits the Spark in `home`. Raises SparkError."""
    version = spark_version(home)
    if version == SPARK_VERSION:
        return JAR
    if shutil.which("javac") is None:
        raise SparkError(
            f"the jar of mesoslite_spark is for Spark {SPARK_VERSION}, this is {version}: "
            f"pip install pyspark=={SPARK_VERSION}, or install a JDK, and it is built"
        )
    name = f"mesoslite-spark-{version}-{source_digest()[:16]}.jar"
    kept = _cache() / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f".{name}.{os.getpid()}")
        draft.write_bytes(build(home))
        draft.replace(kept)  # whole or not at all, whoever else builds it too
    return kept


def build(home: Path) -> bytes:
    """The jar's bytes, the same for the same sources and compiler. Raises SparkError."""
    with tempfile.TemporaryDirectory(prefix="mesoslite-spark-") as folder:
        classes = Path(folder) / "classes"
        _compile(home, classes)
        entries = {
            str(path.relative_to(root)): path.read_bytes()
            for root in (classes, SOURCES)
            for path in root.rglob("*")
            if path.is_file() and path.suffix != ".java"
        }
        jar = Path(folder) / "jar"
        with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry(MANIFEST), _manifest(home))  # first, as Java wants it
            for name in sorted(entries):
                archive.writestr(_entry(name), entries[name])
        return jar.read_bytes()


def _compile(home: Path, classes: Path) -> None:
    words = ["javac", "--release", RELEASE, "-encoding", "UTF-8", "-cp", str(home / "jars" / "*")]
    words += ["-d", str(classes), *map(str, sorted(SOURCES.rglob("*.java")))]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SparkError(f"javac does not run: {error}") from None
    if done.returncode:
        raise SparkError(f"the jar for Spark does not compile:\n{done.stderr[:4_000]}")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix, wherever it is built
    entry.external_attr = 0o644 << 16
    return entry


def _manifest(home: Path) -> str:
    lines = {
        "Manifest-Version": "1.0",
        "Spark-Version": spark_version(home),
        "Compiler": javac_version(),
        "Source-Digest": source_digest(),
    }
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"


def told(jar: Path = JAR) -> dict[str, str]:
    """What the manifest of a jar says."""
    with zipfile.ZipFile(jar) as archive:
        lines = archive.read(MANIFEST).decode().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def source_digest() -> str:
    """Of the sources and their names: as much of a sha256 as a line of a manifest holds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCES)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:40]


def javac_version() -> str:
    """As it says it, `javac 17.0.15`; empty: there is none."""
    if shutil.which("javac") is None:
        return ""
    done = subprocess.run(
        ["javac", "-version"], capture_output=True, text=True, timeout=BUILD_S_MAX, check=False
    )
    return (done.stdout or done.stderr).strip()


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named.startswith("/") else Path("~/.cache").expanduser()) / "mesoslite"


def main(words: list[str]) -> int:
    """Build it, or with --check say whether it is of these sources."""
    if words == ["--check"]:
        current = told()["Source-Digest"] == source_digest()
        sys.stderr.write("" if current else f"{JAR} is not of these sources: build it anew\n")
        return 0 if current else 1
    JAR.write_bytes(build(find_spark()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
