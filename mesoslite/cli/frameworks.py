"""The frameworks that installed packages announce: which there are, and what each can be told.

A framework's command line is the signature of its class: `__init__(self, brokers: Annotated[int,
"how many"] = 3, *, config: Mapping[str, str] = {})` takes `--brokers 5 --config a=b --config c=d`,
and `*arguments` takes what stands behind `--`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import NoneType
from typing import Annotated, Any

import typer

from mesoslite import Scheduler
from mesoslite.cli import documents, layout
from mesoslite.cli.console import Code, Failure, Format, emit, note, show
from mesoslite.cli.options import Chosen, Master, TokenFile
from mesoslite.scheduler.scheduler import NAME_MAX

GROUP = "mesoslite.frameworks"
_PLAIN = (int, float, str, bool)
_MASTER, _TOKEN_FILE, _NAME = "mesoslite_master", "mesoslite_token_file", "mesoslite_name"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that a framework can be told."""

    name: str
    """As the class calls it."""
    kind: type
    """int, float, str or bool, tuple for several texts, Mapping for KEY=VALUE."""
    default: Any
    """`inspect.Parameter.empty`: it must be given."""
    help: str
    words: bool = False
    """It is what stands behind `--`."""

    @property
    def flag(self) -> str:
        """`--min-insync`."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line told a framework."""

    arguments: tuple[str, ...]
    values: Mapping[str, Any]
    name: str | None
    """Another than its own."""
    chosen: Chosen


def installed() -> dict[str, EntryPoint]:
    """All that are announced, by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


def find_framework(name: str) -> type[Scheduler]:
    """The scheduler class that an installed package announces. Raises Failure."""
    found = installed()
    if name not in found:
        known = ", ".join(found) or "none"
        raise Failure(Code.NOT_FOUND, f"no framework {name!r} is installed; there are: {known}")
    try:
        kind = found[name].load()
    except ImportError as error:
        why = f"the framework {name!r} can not be loaded: {error}"
        raise Failure(Code.FAILED, why) from None
    if not (isinstance(kind, type) and issubclass(kind, Scheduler)):
        raise Failure(Code.FAILED, f"the framework {name!r} is no Scheduler class")
    return kind


def options_of(kind: type[Scheduler]) -> list[Option]:
    """What its class takes, in that order. Raises Failure for what no command line can say."""
    if kind.__init__ is object.__init__:
        return []
    hints = typing.get_type_hints(kind.__init__, include_extras=True)
    options = []
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        hint, told = _bare(hints.get(parameter.name, str))
        words = parameter.kind is parameter.VAR_POSITIONAL
        options.append(
            Option(
                parameter.name, _kind(kind, parameter.name, hint), parameter.default, told, words
            )
        )
    return options


def _bare(hint: Any) -> tuple[Any, str]:
    """Without `| None` and `Annotated`, and the text that the latter has."""
    told = ""
    while True:
        parts = typing.get_args(hint)
        if typing.get_origin(hint) is Annotated:
            hint, *notes = parts
            told = next((each for each in notes if isinstance(each, str)), told)
        elif NoneType in parts and len(parts) == 2:
            [hint] = [part for part in parts if part is not NoneType]
        else:
            return hint, told


def _kind(scheduler: type[Scheduler], name: str, hint: Any) -> type:
    if hint in _PLAIN:
        return typing.cast("type", hint)
    origin = typing.get_origin(hint)
    if origin in (tuple, list, Sequence):
        return tuple
    if origin in (dict, Mapping):
        return Mapping
    where = f"{scheduler.__module__}.{scheduler.__name__}"
    raise Failure(Code.FAILED, f"{where}: `{name}` is {hint}, which no command line can say")


def read(name: str, kind: type[Scheduler], words: Sequence[str], before: Chosen) -> Asked | None:
    """What these words tell it; None: they asked for help, and got it. Raises Failure or what typer
    raises for a wrong command line."""
    options = options_of(kind)
    asked: list[Asked] = []

    def take(**values: Any) -> None:
        chosen = Chosen(
            values.pop(_MASTER) or before.master,
            values.pop(_TOKEN_FILE) or before.token_file,
            before.output,
        )
        called = values.pop(_NAME)
        arguments: tuple[str, ...] = ()
        told: dict[str, Any] = {}
        for option in options:
            value = values[option.name]
            if option.words:
                arguments = tuple(value or ())
            elif value is not None:
                told[option.name] = _value(option, value)
        asked.append(Asked(arguments, told, called, chosen))

    take.__doc__ = inspect.getdoc(kind)
    take.__annotations__ = {}
    take.__signature__ = inspect.Signature(_parameters(options))  # type: ignore[attr-defined]
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.command()(take)
    command = typer.main.get_command(app)
    command.main(
        args=list(words), prog_name=f"mesoslite framework run {name}", standalone_mode=False
    )
    return asked[0] if asked else None


def _parameters(options: Sequence[Option]) -> list[inspect.Parameter]:
    made = [_parameter(option) for option in options]
    named = Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What to call it: one runs under each name."),
    ]
    for name, hint in ((_NAME, named), (_MASTER, Master), (_TOKEN_FILE, TokenFile)):
        made.append(inspect.Parameter(name, _KEYWORD, default=None, annotation=hint))
    return made


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(option: Option) -> inspect.Parameter:
    """As typer reads it. None stands for what was not said: the class has its own default."""
    hint: Any
    if option.words:
        hint = Annotated[
            list[str] | None,
            typer.Argument(metavar="[-- WORDS...]", help=option.help or None, show_default=False),
        ]
    elif option.kind in (tuple, Mapping):
        metavar = "KEY=VALUE" if option.kind is Mapping else "TEXT"
        info = typer.Option(
            option.flag, metavar=metavar, help=f"{option.help} Repeatable.", show_default=False
        )
        hint = Annotated[list[str] | None, info]
    elif option.kind is bool:
        flags = f"{option.flag}/--no-{option.flag[2:]}"
        info = typer.Option(flags, help=_help(option), show_default=False)
        hint = Annotated[bool | None, info]
    else:
        info = typer.Option(option.flag, help=_help(option), show_default=False)
        hint = Annotated[option.kind | None, info]
    required = option.default is inspect.Parameter.empty and not option.words
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(option.name, _KEYWORD, default=default, annotation=hint)


def _help(option: Option) -> str:
    shown = _shown(option)
    return f"{option.help} (default {shown})".strip() if shown else option.help


def _shown(option: Option) -> str:
    """The default, as it would be said; empty: none, or nothing that could be."""
    if option.default in (None, "", inspect.Parameter.empty) or option.kind in (tuple, Mapping):
        return ""
    return str(option.default)


def _value(option: Option, value: Any) -> Any:
    if option.kind is tuple:
        return tuple(value)
    if option.kind is not Mapping:
        return value
    pairs = [text.partition("=") for text in value]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise Failure(Code.USAGE, f"{option.flag} is KEY=VALUE, not {key!r}")
    return {key: text for key, _, text in pairs}


# --- what people see ------------------------------------------------------------------------------


def _summary(kind: type[Scheduler]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def list_all(chosen: Chosen) -> None:
    """All that are installed, with what each is in a line."""
    rows = []
    for name, point in installed().items():
        try:
            told = _summary(find_framework(name))
        except Failure as failure:
            told = str(failure)
        package = point.dist.name if point.dist is not None else ""
        rows.append((name, package, told))
    if chosen.output is Format.JSON:
        keys = ("name", "package", "summary")
        emit(documents.text_of([dict(zip(keys, row, strict=True)) for row in rows]))
    elif rows:
        table = layout.table("NAME", "PACKAGE", "WHAT")
        for row in rows:
            table.add_row(*row)
        show(table)
    else:
        note("no frameworks are installed")


def describe(chosen: Chosen, name: str) -> None:
    """What one is for, and what it can be told."""
    kind = find_framework(name)
    options = options_of(kind)
    if chosen.output is Format.JSON:
        rows = [
            {
                "flag": "--" if one.words else one.flag,
                "kind": one.kind.__name__,
                "default": _shown(one) or None,
                "help": one.help,
            }
            for one in options
        ]
        page = {"name": name, "about": inspect.getdoc(kind) or "", "options": rows}
        emit(documents.text_of(page))
        return
    emit(inspect.getdoc(kind) or name)
    emit("")
    table = layout.table("OPTION", "DEFAULT", "WHAT")
    for one in options:
        table.add_row("-- WORDS" if one.words else one.flag, _shown(one) or "-", one.help)
    if options:
        show(table)


def make(kind: type[Scheduler], asked: Asked) -> Scheduler:
    """The scheduler, told what the command line says. Raises Failure when its class objects."""
    try:
        scheduler = kind(*asked.arguments, **asked.values)
    except (TypeError, ValueError) as error:
        raise Failure(Code.USAGE, str(error)) from None
    if (name := asked.name) is not None:
        if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
            raise Failure(Code.USAGE, f"--name is 1 to {NAME_MAX} characters that can be printed")
        scheduler.name = name
    return scheduler
