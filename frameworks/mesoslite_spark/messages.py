"""What Spark's driver and the scheduler say to each other: one JSON object a line, closed unions.

The driver's JVM connects over loopback to the scheduler, which is in the Python process that
started it. Sockets rather than py4j callbacks: a callback needs py4j's second server, takes a
thread of it while it runs, and comes while the Python side waits in the constructor of the context;
and the end of a socket tells each side at once that the other one has gone.

The other half is java/.../Link.java. What arrives is checked here, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from mesoslite_spark.errors import SparkError

#: Of one line in either direction: the names of 10,000 executors are 80 kB.
LINE_BYTES_MAX = 256 * 1024
WHY_LENGTH_MAX = 2_000
_EXECUTOR_DIGITS_MAX = 10
_TOTAL_MAX = 2**31 - 1  # Spark counts in an int, and says the largest for "no bound"


class BadMessage(SparkError):
    """A line that no driver of ours says."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of a connection."""

    token: str


@dataclass(frozen=True, slots=True)
class Started:
    """The driver listens: what an executor is started with."""

    driver: str
    """Where executors find it: `spark://CoarseGrainedScheduler@HOST:PORT`."""
    page: str
    """The address of Spark's own page; empty: it has none."""
    java_options: tuple[str, ...]
    class_path: str
    """What comes before Spark's own jars; usually empty."""
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Want:
    """How many executors there are to be, with those that are there: absolute."""

    total: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Executors that are not needed any more; `Want` has left them out already."""

    executors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """An executor has reached the driver."""

    executor: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The driver does not hear an executor any more, and waits for `Lost` to know why."""

    executor: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The application is over."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An executor has ended, or is given up."""

    executor: int
    exit_code: int
    """-1: not known."""
    caused_by_app: bool
    """Whether the tasks that it ran count as failed: Spark gives up one that fails 4 times."""
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No executor is to be expected any more: the application is to end."""

    why: str


FromDriver = Hello | Started | Want | Kill | Registered | Disconnected | Stopped
ToDriver = Lost | Failed


def line_of(message: ToDriver) -> bytes:
    """The line that says it, with its end."""
    fields: dict[str, object] = {"why": message.why[:WHY_LENGTH_MAX]}
    match message:
        case Lost(executor, exit_code, caused_by_app):
            fields |= {"kind": "lost", "executor": str(executor)}
            fields |= {"exit_code": exit_code, "caused_by_app": caused_by_app}
        case Failed():
            fields |= {"kind": "failed"}
        case _:
            assert_never(message)
    return json.dumps(fields).encode() + b"\n"


def message_of(line: bytes) -> FromDriver:
    """What a line says. Raises BadMessage."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(said, dict):
        raise BadMessage("not an object")
    match said.get("kind"):
        case "hello":
            return Hello(_text(said, "token"))
        case "started":
            return Started(
                _text(said, "driver"),
                _text(said, "page"),
                _texts(said, "java_options"),
                _text(said, "class_path"),
                _environment(said),
            )
        case "want":
            return Want(_natural(said, "total"))
        case "kill":
            return Kill(tuple(map(_executor, _texts(said, "executors"))))
        case "registered":
            return Registered(_executor(_text(said, "executor")))
        case "disconnected":
            return Disconnected(_executor(_text(said, "executor")))
        case "stopped":
            return Stopped()
        case kind:
            raise BadMessage(f"of no known kind: {str(kind)[:60]!r}")


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise BadMessage(f"{name} is no text")
    return value


def _texts(said: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = said.get(name)
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise BadMessage(f"{name} is no list of texts")
    return tuple(values)


def _environment(said: Mapping[str, object]) -> dict[str, str]:
    values = said.get("environment")
    if not isinstance(values, dict):
        raise BadMessage("environment is no object")
    for name, value in values.items():
        if not name or "=" in name or "\0" in name or not isinstance(value, str) or "\0" in value:
            raise BadMessage(f"environment: {name[:60]!r} cannot be set")
    return values


def _natural(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    if type(value) is not int or not 0 <= value <= _TOTAL_MAX:
        raise BadMessage(f"{name} is no whole number from 0 to {_TOTAL_MAX}")
    return value


def _executor(text: str) -> int:
    """Executors are numbered from 1; Spark wants text for it."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _EXECUTOR_DIGITS_MAX):
        raise BadMessage(f"{text[:60]!r} is no executor")
    return int(text)
