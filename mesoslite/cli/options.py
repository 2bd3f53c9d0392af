"""The options that many commands share, and how their values are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mesoslite.cli.console import Format

#: A year: what the master takes as the longest time of anything.
SECONDS_MAX = 365 * 86_400
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

Master = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="MASTERS",
        help="The master, or several: HOST:PORT, HOST1:PORT,HOST2:PORT or "
        "zk://HOST1,HOST2:2181/PATH; else MESOSLITE_MASTER, else localhost:5060.",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="The token; else MESOSLITE_TOKEN_FILE, else where a master of yours put it.",
        show_default=False,
    ),
]
Output = Annotated[
    Format | None,
    typer.Option(
        "--output",
        "-o",
        help="table for people, wide for more of it, json for scripts.",
        show_default="table",
    ),
]


@dataclass(slots=True)
class Chosen:
    """What stands before the command's name, `mesoslite --master M status`."""

    master: str | None = None
    token_file: Path | None = None
    output: Format | None = None


def chosen(
    context: typer.Context,
    master: str | None = None,
    token_file: Path | None = None,
    output: Format | None = None,
) -> Chosen:
    """The shared options: as given to the command itself, else before its name."""
    before = context.find_object(Chosen) or Chosen()
    return Chosen(master or before.master, token_file or before.token_file, output or before.output)


def http_port(text: str) -> str:
    """A port, or `none`, as the daemons take it. Raises typer.BadParameter."""
    from mesoslite import settings  # the front page is there without it

    try:
        if text != settings.NO_PORT:
            settings.port(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, nor {settings.NO_PORT}") from None
    return text


def seconds(text: str) -> float:
    """`1.5`, `90s`, `5m`, `2h`, `500ms` as seconds, for options. Raises typer.BadParameter."""
    found = _DURATION.fullmatch(text.strip())
    value = float(found[1]) * _SECONDS[found[2] or "s"] if found else -1.0
    if not 0 <= value <= SECONDS_MAX:
        raise typer.BadParameter(f"{text!r} is no time; write 1.5, 90s, 5m, 2h or 500ms")
    return value
