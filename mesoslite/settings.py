"""Settings of a daemon: flag > `MESOSLITE_*` variable > TOML file > default.

A daemon declares its settings as a frozen dataclass whose fields are made by `setting`. Whatever
is wrong is reported with where it came from, in one line; what is in force can be printed as TOML
that reads back as the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from mesoslite.logs import FORMATS, LEVELS
from mesoslite.version import VERSION

T = TypeVar("T")
S = TypeVar("S")

VARIABLE_PREFIX = "MESOSLITE_"
CONFIG_FILE_BYTES_MAX = 1024 * 1024
NO_PORT = "none"
HTTP_PORT_DEFAULT = "default"
TABLES = ("master", "agent")  # one file may serve both daemons


class SettingsError(Exception):
    """A setting cannot be used; `str` is one line that says which, from where and why."""


@dataclass(frozen=True, slots=True)
class _Declared:
    parse: Callable[[str], object]
    show: Callable[[Any], str]
    about: str
    metavar: str


def setting(
    default: T,
    parse: Callable[[str], T],
    about: str,
    *,
    metavar: str = "TEXT",
    show: Callable[[T], str] = str,
) -> T:
    """Declare a field. `parse` reads its text and raises ValueError with what is wrong.

    `show` writes text that `parse` reads back as an equal value.
    """
    declared = _Declared(parse, show, about, metavar)
    return dataclasses.field(default=default, metadata={"declared": declared})


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """Settings in force, and where each came from."""

    values: S
    origins: Mapping[str, str]
    print_config: bool
    table: str

    def as_toml(self) -> str:
        """The settings as a TOML table, each line with its origin."""
        lines = [f"[{self.table}]"]
        for name, declared in _declarations(self.values):
            text = declared.show(getattr(self.values, name))
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{name.replace("_", "-")} = "{quoted}"  # {self.origins[name]}')
        return "\n".join(lines)


def load_settings(
    kind: type[S],
    *,
    program: str,
    table: str,
    about: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> Loaded[S]:
    """Read the settings of a daemon. Raises SettingsError; --help and --version exit."""
    declared = dict(_declarations(kind))
    flags = vars(_parser(declared, program, about).parse_args(arguments))
    config = flags["config"] or environment.get(f"{VARIABLE_PREFIX}CONFIG")
    from_file = _read_file(Path(config).expanduser(), table, declared) if config else {}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for name, declaration in declared.items():
        flag, variable = f"--{name.replace('_', '-')}", VARIABLE_PREFIX + name.upper()
        candidates = (
            (f"flag {flag}", flags[name]),
            (f"variable {variable}", environment.get(variable)),
            (f"file {config}", from_file.get(name)),
        )
        origins[name] = "default"
        for origin, text in candidates:
            if text is not None:
                values[name], origins[name] = _parsed(declaration, name, text, origin), origin
                break
    return Loaded(kind(**values), origins, bool(flags["print_config"]), table)


def _declarations(kind: object) -> Iterable[tuple[str, _Declared]]:
    for field in dataclasses.fields(cast(Any, kind)):
        yield field.name, field.metadata["declared"]


def _parsed(declared: _Declared, name: str, text: str, origin: str) -> object:
    try:
        return declared.parse(text)
    except ValueError as error:
        raise SettingsError(f"{name.replace('_', '-')} = {text!r} ({origin}): {error}") from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise SettingsError(f"{message}; see {self.prog} --help")


def _parser(declared: Mapping[str, _Declared], program: str, about: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description=about,
        epilog=f"Every setting is also a variable {VARIABLE_PREFIX}NAME and a key of the TOML "
        "file; a flag wins over the variable, the variable over the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with these settings")
    parser.add_argument(
        "--print-config", action="store_true", help="print what is in force as TOML, and exit"
    )
    for name, declaration in declared.items():
        # A switch may stand alone: `--insecure` is `--insecure true`.
        extra = {"nargs": "?", "const": "true"} if declaration.parse is switch else {}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=declaration.metavar,
            help=declaration.about.replace("%", "%%"),
            **cast(Any, extra),
        )
    return parser


def _read_file(path: Path, table: str, declared: Mapping[str, _Declared]) -> dict[str, str]:
    """The texts of this daemon's table. Raises SettingsError, also for a key nobody knows."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_FILE_BYTES_MAX + 1)
        if len(data) > CONFIG_FILE_BYTES_MAX:
            raise SettingsError(f"the config file {path} is over {CONFIG_FILE_BYTES_MAX} bytes")
        document = tomllib.loads(data.decode())
    except OSError as error:
        raise SettingsError(f"cannot read the config file {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the config file {path} is not TOML: {error}") from None
    strangers = [key for key in document if key not in TABLES]
    if strangers:
        raise SettingsError(
            f"the config file {path} has no use for {strangers[0]!r}: "
            f"its tables are [{'] and ['.join(TABLES)}]"
        )
    own = document.get(table, {})
    if not isinstance(own, dict):
        raise SettingsError(f"{table!r} in the config file {path} is not a table")
    texts: dict[str, str] = {}
    for key, value in own.items():
        name = key.replace("-", "_")
        if name not in declared:
            raise SettingsError(f"the config file {path} names an unknown setting {table}.{key}")
        if not isinstance(value, str | int | float):
            raise SettingsError(
                f"{table}.{key} in the config file {path} is not text, a number or a boolean"
            )
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


# --- fields that both daemons have ----------------------------------------------------------------


def host_setting() -> str:
    """Declare the address of all ports."""
    return setting("127.0.0.1", text, "the address to listen on (default 127.0.0.1)")


def http_port_setting(usual: int) -> str:
    """Declare a daemon's HTTP port, which is `usual` unless it is told otherwise."""
    return setting(
        HTTP_PORT_DEFAULT,
        http_port,
        f"the port for probes and metrics over HTTP; 0: any free one; none: no HTTP "
        f"(default {usual}; with --port 0 any free one)",
        metavar="PORT",
    )


def port_file_setting(what: str) -> Path | None:
    """Declare the file that tells a port."""
    return _file_setting(f"write {what} there once it is served")


def token_file_setting(about: str) -> Path | None:
    """Declare the file that has the token."""
    return _file_setting(f"{about} (default ~/.config/mesoslite/token)")


def _file_setting(about: str) -> Path | None:
    return setting(None, optional_path, about, metavar="FILE", show=show_optional_path)


def switch_setting(about: str) -> bool:
    """Declare something that is off unless it is said."""
    return setting(False, switch, about, metavar="BOOL", show=show_switch)


def open_metrics_setting() -> bool:
    """Declare whether metrics are shown without the token."""
    return switch_setting("show metrics to whoever asks, without the token")


def insecure_setting() -> bool:
    """Declare whether the network is trusted."""
    return switch_setting("allow a --host that others can reach, without encryption")


def stop_with_stdin_setting() -> bool:
    """Declare whether the end of stdin stops the daemon."""
    return switch_setting("stop when stdin, a pipe, ends: whoever started this has gone")


def log_format_setting() -> str:
    """Declare what log lines look like."""
    return setting("text", one_of(*FORMATS), "text or json (default text)")


def log_level_setting() -> str:
    """Declare what is logged."""
    return setting("info", one_of(*LEVELS), "debug, info, warning or error (default info)")


def deadline_setting(default_ms: int, about: str) -> float:
    """Declare a length of time, in seconds; the machine counts it in milliseconds."""
    return setting(
        default_ms / 1_000,
        seconds(0.05, 10**8),
        f"{about} (default {default_ms / 1_000:g})",
        metavar="SECONDS",
        show=show_number,
    )


# --- what values look like ------------------------------------------------------------------------


def text(value: str) -> str:
    """Any text in one line."""
    if not value.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return value


def switch(value: str) -> bool:
    """`true` or `false`."""
    if value.lower() not in {"true", "false"}:
        raise ValueError("it is neither true nor false")
    return value.lower() == "true"


def show_switch(value: bool) -> str:
    """As `switch` reads it."""
    return "true" if value else "false"


def port(value: str) -> int:
    """A TCP port; 0 takes any that is free."""
    return whole(0, 65_535)(value)


def http_port(value: str) -> str:
    """A port, `none`, or `default`."""
    if value not in {NO_PORT, HTTP_PORT_DEFAULT}:
        try:
            port(value)
        except ValueError as error:
            raise ValueError(f"{error}, nor {NO_PORT}") from None
    return value


def chosen_port(value: str, default: int, grpc_port: int) -> int | None:
    """Which port to serve; None: no HTTP.

    `default` is any free port for who says so of the gRPC port too, so a second daemon on a host
    meets no other by leaving ports to chance.
    """
    if value == NO_PORT:
        return None
    if value == HTTP_PORT_DEFAULT:
        return default if grpc_port else 0
    return int(value)


def path(value: str) -> Path:
    """A path, with `~` for the home directory."""
    if not value or not value.isprintable():
        raise ValueError("it is not a path")
    return Path(value).expanduser()


def optional_path(value: str) -> Path | None:
    """A path; empty: none."""
    return path(value) if value else None


def show_optional_path(value: Path | None) -> str:
    """As `optional_path` reads it."""
    return str(value) if value else ""


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number between two bounds, both allowed."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise ValueError(f"it is not a whole number from {low} to {high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Seconds, whole or with decimals, between two bounds, both allowed."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
            raise ValueError("it is not a number of seconds")
        if not low <= float(value) <= high:
            raise ValueError(f"it is not from {low:g} to {high:g} seconds")
        return float(value)

    return parse


def show_number(value: float) -> str:
    """As `seconds` reads it, without decimals that say nothing."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def one_of(*choices: str) -> Callable[[str], str]:
    """One of some words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"it is not one of {', '.join(choices)}")
        return value

    return parse


def words(value: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word for word in (part.strip() for part in value.split(",")) if word)


def show_words(value: tuple[str, ...]) -> str:
    """As `words` reads it."""
    return ",".join(value)
