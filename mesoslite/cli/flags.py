"""The options of `mesoslite run`: what each is called, takes and says of itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesoslite.cli.options import seconds


def _option(name: str, metavar: str, about: str, *more: str, **settings: Any) -> Any:
    return typer.Option(name, *more, metavar=metavar, help=about, **settings)


def _unset(
    name: str, metavar: str, about: str, default: str | bool = False, **settings: Any
) -> Any:
    """An option without which something else decides: `default` says what."""
    return _option(name, metavar, about, show_default=default, **settings)


Command = Annotated[
    list[str], typer.Argument(metavar="COMMAND", help="Words, no shell.", show_default=False)
]
Cpus = Annotated[str, _option("--cpus", "N", "Cores.")]
Mem = Annotated[str, _option("--mem", "SIZE", "Memory: MiB, or as 4GiB.")]
Disk = Annotated[str, _option("--disk", "SIZE", "Disk, likewise.")]
Count = Annotated[int, _option("--count", "N", "How many copies.", "-n", min=1, max=100_000)]
Name = Annotated[str | None, _unset("--name", "NAME", "Of the tasks.", "that of the command")]
Containerizer = Annotated[
    str | None, _unset("--containerizer", "NAME", "oci or process.", "the agent's default")
]
Image = Annotated[
    str | None, _unset("--image", "DIR", "A directory on the agents as root file system (oci).")
]
Env = Annotated[
    list[str] | None, _option("--env", "NAME=VALUE", "In its environment; repeatable.", "-e")
]
Uri = Annotated[
    list[str] | None,
    _option("--uri", "URI", "Fetch into its sandbox (URI#sha256=...); repeatable."),
]
User = Annotated[str | None, _unset("--user", "USER", "Run as.")]
Role = Annotated[str, _option("--role", "ROLE", "Whose share to use.")]
Attribute = Annotated[
    list[str] | None,
    _option("--attribute", "NAME:VALUE", "Only on agents that have it; repeatable."),
]
Where = Annotated[
    str, _unset("--where", "EXPR", "Only on agents where it is so: 'rack != r1 and has ssd'.")
]
Pids = Annotated[
    int | None, _unset("--pids", "N", "Processes and threads at once.", "the agent's limit", min=1)
]
MaxCompletion = Annotated[
    float | None,
    _unset("--max-completion", "TIME", "Each ends as failed after that.", parser=seconds),
]
Grace = Annotated[float, _option("--grace", "TIME", "Between SIGTERM and SIGKILL.", parser=seconds)]
Timeout = Annotated[
    float | None,
    _unset("--timeout", "TIME", "End everything after that, exit 124.", parser=seconds),
]
DEFAULT_GRACE: Any = "3s"  # read by the option's own parser, and shown as it is written
