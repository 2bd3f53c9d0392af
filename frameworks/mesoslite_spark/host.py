"""What Spark needs of a host: a Java, and the pyspark package that has Spark itself."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

from mesoslite_spark.errors import SparkError

SPARK_VERSION = "4.3.0"  # what the jar in this package was built against
JAVA_MIN = 17  # of Spark 4
JAVA_ANSWERS_S_MAX = 30.0
INSTALL_JAVA = (
    "install a Java runtime (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; "
    "Fedora: dnf install java-17-openjdk-headless), or set JAVA_HOME"
)
INSTALL_PYSPARK = f"pip install 'mesoslite[spark]' (pyspark {SPARK_VERSION})"


class NoJava(SparkError):
    """The host has no Java that runs Spark."""


class NoSpark(SparkError):
    """This Python has no pyspark, or another one than what is needed."""


def find_java() -> str:
    """The `java` of JAVA_HOME, else of the PATH. Raises NoJava."""
    home = os.environ.get("JAVA_HOME", "")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if found is None:
        where = f"in JAVA_HOME, {home}" if home else "on the PATH"
        raise NoJava(
            f"Spark needs Java {JAVA_MIN} or newer, and there is none {where}: {INSTALL_JAVA}"
        )
    return found


def check_java() -> None:
    """Whether the Java of this host runs Spark; ~0.1 s. Raises NoJava."""
    java = find_java()
    try:
        told = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=JAVA_ANSWERS_S_MAX,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise NoJava(f"{java} does not run ({error}): {INSTALL_JAVA}") from None
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None or int(found[1]) < JAVA_MIN:
        version = found[1] if found else told[:60]
        raise NoJava(f"{java} is version {version}, and Spark needs {JAVA_MIN}: {INSTALL_JAVA}")


def find_spark() -> Path:
    """The directory that has Spark's `jars`: SPARK_HOME, else that of pyspark. Raises NoSpark."""
    named = os.environ.get("SPARK_HOME", "")
    spec = importlib.util.find_spec("pyspark")
    if not named and (spec is None or spec.origin is None):
        raise NoSpark(f"this Python has no pyspark: {INSTALL_PYSPARK}")
    home = Path(named) if named or spec is None else Path(spec.origin or "").parent
    if not (home / "jars").is_dir():
        raise NoSpark(f"{home} has no jars of Spark: {INSTALL_PYSPARK}, and leave SPARK_HOME unset")
    return home


def spark_version(home: Path) -> str:
    """What Spark's own jar says. Raises NoSpark."""
    for jar in (home / "jars").glob("spark-core_2.13-*.jar"):
        return jar.stem.removeprefix("spark-core_2.13-")
    raise NoSpark(f"{home} has no Spark for Scala 2.13: {INSTALL_PYSPARK}")


def address_towards(host: str) -> str:
    """The address that this host has on its way to another: so that one reaches it there.

    Nothing is sent. Raises OSError when there is no such host, or no way to it.
    """
    family, _, _, _, target = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])
