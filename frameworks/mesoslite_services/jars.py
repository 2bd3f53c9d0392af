"""Lock lists: which jars a service is made of, each with its SHA-256.

    # what it is
    root org.apache.kafka:kafka_2.13:4.1.0
    without org.slf4j:slf4j-api
    SHA256 maven:org.apache.kafka:kafka_2.13:4.1.0

The roots are what somebody chose, and what they are to be without; the other lines are what Maven
resolves them to, written by `python -m mesoslite_services FILE`. Agents fetch by the checksum, so
what runs is what was locked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from mesoslite import Uri

FOLDER = "jars"  # of the sandbox
_LINE = re.compile(r"([0-9a-f]{64}) (maven:\S+)\Z")


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar of a lock list."""

    uri: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockList:
    """All that a service is made of."""

    comments: tuple[str, ...]
    roots: tuple[str, ...]
    jars: tuple[Jar, ...]
    without: tuple[str, ...] = ()
    """GROUP:ARTIFACT of what Maven finds and whoever loads the jars has already."""

    @classmethod
    def parse(cls, text: str) -> LockList:
        """Raises ValueError, which names the line."""
        comments, roots, jars, without = [], [], [], []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("#"):
                comments.append(line)
            elif line.startswith("root "):
                roots.append(line.removeprefix("root "))
            elif line.startswith("without "):
                without.append(line.removeprefix("without "))
            elif (found := _LINE.match(line)) is not None:
                jars.append(Jar(found[2], found[1]))
            elif line:
                raise ValueError(f"line {number} is neither a root nor a jar: {line[:80]!r}")
        return cls(tuple(comments), tuple(roots), tuple(jars), tuple(without))

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        lines = [*self.comments, *(f"root {root}" for root in self.roots)]
        lines += [f"without {name}" for name in self.without]
        lines += [f"{jar.sha256} {jar.uri}" for jar in self.jars]
        return "\n".join(lines) + "\n"

    def uris(self) -> tuple[Uri, ...]:
        """What a task is to have fetched; then the class path is `jars/*`."""
        return tuple(
            Uri(jar.uri, extract=False, sha256=jar.sha256, output_file=f"{FOLDER}/{_name(jar)}")
            for jar in self.jars
        )


def _name(jar: Jar) -> str:
    """`kafka-clients-4.1.0.jar`: as Maven calls the file."""
    coordinates, _, extension = jar.uri.removeprefix("maven:").partition("@")
    _, *parts = coordinates.split(":")
    return f"{'-'.join(parts)}.{extension or 'jar'}"


def locked(package: str) -> LockList:
    """The lock list that a framework's package has."""
    return LockList.parse(files(package).joinpath("jars.lock").read_text(encoding="utf-8"))
