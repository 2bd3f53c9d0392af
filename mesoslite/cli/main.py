"""The `mesoslite` command: its front page, its words, and how it ends.

Only typer is imported here; rich, grpc and the rest come with the command that needs them, so that
the front page and `version` are there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mesoslite.cli import flags
from mesoslite.cli.console import (
    Code,
    Failure,
    Format,
    emit,
    note,
    stand_in_for_what_is_closed,
    to_nowhere,
)
from mesoslite.cli.nouns import agent_app, framework_app, offer_app, task_app
from mesoslite.cli.options import Chosen, Master, Output, TokenFile, chosen, http_port
from mesoslite.cli.reservation_nouns import reservation_app, volume_app
from mesoslite.version import VERSION

_TRY, _RUN, _LOOK = "Try it", "Run something", "Look"

app = typer.Typer(
    name="mesoslite",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


_Containerizer = Annotated[
    str | None,
    typer.Option(
        "--containerizer",
        metavar="NAME",
        help="What tasks run in: oci or process.",
        show_default="the best this machine can do",
    ),
]

_Command = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- COMMAND...]",
        help="Run this in it, then end it: the exit code is the command's.",
        show_default=False,
    ),
]

_HttpPort = Annotated[
    str | None,
    typer.Option(
        "--http-port",
        metavar="PORT",
        parser=http_port,
        help="The master's for probes and metrics; 0: any free one; none: no HTTP.",
        show_default="5050; with another --port any free one",
    ),
]


@app.callback()
def _front_page(
    context: typer.Context,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Two-level cluster scheduling: agents [b]advertise[/b] what they have, the master
    [b]offers[/b] it to frameworks, frameworks [b]decide[/b], agents [b]run[/b] the tasks.

    A cluster on this machine: [b]mesoslite dev[/b]. Then, in another terminal:

        [b]mesoslite run --cpus 0.1 --mem 32 -- echo hello[/b]
    """
    context.obj = Chosen(master, token_file, output)


@app.command("demo", rich_help_panel=_TRY)
def demo(
    agents: Annotated[int, typer.Option("--agents", min=1, max=50, help="How many.")] = 3,
    containerizer: _Containerizer = None,
    framework: Annotated[
        str, typer.Option("--framework", metavar="NAME", help="Any installed framework.")
    ] = "demo",
) -> None:
    """Watch it happen: a whole cluster, for half a minute."""
    from mesoslite.cli.demo import demo

    raise typer.Exit(demo(agents=agents, containerizer=containerizer, framework=framework))


@app.command("dev", rich_help_panel=_TRY)
def dev(
    agents: Annotated[int, typer.Option("--agents", min=1, max=50, help="How many.")] = 1,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="The master's; 0: any free one.")
    ] = 5060,
    http_port: _HttpPort = None,
    port_file: Annotated[
        Path | None,
        typer.Option("--port-file", metavar="FILE", help="Write the port there once all is ready."),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            metavar="DIR",
            help="Keep everything there, and find it again next time.",
            show_default="a temporary one, removed at the end",
        ),
    ] = None,
    token_file: TokenFile = None,
    cpus: Annotated[
        str | None,
        typer.Option("--cpus", metavar="N", help="Of all agents.", show_default="this machine's"),
    ] = None,
    mem: Annotated[
        str | None,
        typer.Option(
            "--mem", metavar="SIZE", help="Of all agents, 4096 or 4GiB.", show_default="most of it"
        ),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            "--disk", metavar="SIZE", help="Of all agents.", show_default="most of what is free"
        ),
    ] = None,
    containerizer: _Containerizer = None,
    log_format: Annotated[
        str, typer.Option("--log-format", metavar="text|json", help="Of the daemons' logs.")
    ] = "text",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="All logs, not only warnings.")
    ] = False,
    command: _Command = None,
) -> None:
    """A whole cluster on this machine, until Ctrl-C, or for as long as a command runs."""
    from mesoslite.cli.dev import DevOptions, dev

    options = DevOptions(
        agents=agents,
        port=port,
        http_port=http_port,
        port_file=port_file,
        work_dir=work_dir,
        token_file=token_file,
        cpus=cpus,
        mem=mem,
        disk=disk,
        containerizer=containerizer,
        log_format=log_format,
        verbose=verbose,
        command=tuple(command or ()),
    )
    raise typer.Exit(dev(options))


@app.command(
    "run",
    rich_help_panel=_RUN,
    context_settings={"allow_interspersed_args": False},
)
def run(
    context: typer.Context,
    command: flags.Command,
    cpus: flags.Cpus = "0.1",
    mem: flags.Mem = "32",
    disk: flags.Disk = "0",
    count: flags.Count = 1,
    name: flags.Name = None,
    containerizer: flags.Containerizer = None,
    image: flags.Image = None,
    env: flags.Env = None,
    uri: flags.Uri = None,
    user: flags.User = None,
    role: flags.Role = "*",
    attribute: flags.Attribute = None,
    where: flags.Where = "",
    pids: flags.Pids = None,
    max_completion: flags.MaxCompletion = None,
    grace: flags.Grace = flags.DEFAULT_GRACE,
    timeout: flags.Timeout = None,
    master: Master = None,
    token_file: TokenFile = None,
) -> None:
    """Run a command on the cluster as if it ran here.

    Its output comes out here and its exit code is passed on: of several copies the highest.

    A signal counts as 128 and its number. Ctrl-C ends the tasks.
    """
    from mesoslite.cli.plan import RunOptions
    from mesoslite.cli.run import run

    options = RunOptions(
        command=tuple(command),
        cpus=cpus,
        mem=mem,
        disk=disk,
        count=count,
        name=name,
        containerizer=containerizer,
        image=image,
        env=tuple(env or ()),
        uris=tuple(uri or ()),
        user=user,
        role=role,
        attributes=tuple(attribute or ()),
        where=where,
        pids=pids,
        max_completion_s=max_completion,
        grace_s=grace,
        timeout_s=timeout,
    )
    raise typer.Exit(run(options, chosen(context, master, token_file)))


@app.command("logs", rich_help_panel=_RUN)
def logs(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="Its id, or the start of it.", show_default=False)
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")
    ] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr, not its stdout.")] = False,
    last_bytes: Annotated[
        int | None,
        typer.Option(
            "--bytes", "-c", metavar="N", min=0, help="Only the last ones.", show_default=False
        ),
    ] = None,
    framework: Annotated[
        str, typer.Option("--framework", metavar="NAME", help="Whose task: a name or id.")
    ] = "",
    master: Master = None,
    token_file: TokenFile = None,
) -> None:
    """Print what a task wrote, wherever it runs or ran."""
    from mesoslite.cli.logs import logs

    name = "stderr" if stderr else "stdout"
    logs(chosen(context, master, token_file), task, framework, name, last_bytes, follow)


@app.command("status", rich_help_panel=_LOOK)
def status(
    context: typer.Context,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """The cluster on a page."""
    from mesoslite.cli import views

    views.status(chosen(context, master, token_file, output))


@app.command("explain", rich_help_panel=_LOOK)
def explain(
    context: typer.Context,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="FRAMEWORK|TASK",
            help="A framework's name or id, or a task's id; the start of an id will do.",
            show_default=False,
        ),
    ],
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="Of a framework: this role alone.")
    ] = "",
    request: Annotated[
        str, typer.Option("--request", metavar="ID", help="Of a framework: this request alone.")
    ] = "",
    framework: Annotated[
        str, typer.Option("--framework", metavar="NAME", help="It is a task, of this one.")
    ] = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Why a framework is offered no more than it is, or what became of a task."""
    from mesoslite.cli.explanations import explain

    asked = chosen(context, master, token_file, output)
    explain(asked, subject, framework=framework, role=role, request=request)


for _noun in (agent_app, framework_app, task_app, offer_app, reservation_app, volume_app):
    app.add_typer(_noun, rich_help_panel=_LOOK)


@app.command("version", rich_help_panel=_LOOK)
def version(context: typer.Context, output: Output = None) -> None:
    """The version of this command."""
    if chosen(context, output=output).output is Format.JSON:
        import json

        emit(json.dumps({"version": VERSION}))
    else:
        emit(f"mesoslite {VERSION}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs the command, then exits with its code. Never a traceback for what
    a user, a peer or the machine can cause."""
    sys.exit(exit_code_of(sys.argv[1:] if arguments is None else list(arguments)))


def exit_code_of(arguments: list[str]) -> int:
    """Run one command line; its exit code, with the one line of a failure on stderr."""
    stand_in_for_what_is_closed()
    if not all(map(_is_text, arguments)):
        note("mesoslite: a word of the command line is not UTF-8, as all names are")
        return Code.USAGE
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name="mesoslite", standalone_mode=False
        )
    except Failure as failure:
        if str(failure):
            note("\n".join((f"mesoslite: {failure}", *failure.below)))
        return failure.code
    except typer.TyperException as error:
        return _refused_usage(error)
    except SystemExit:
        # typer's and rich's own end when nobody reads what they print; commands end otherwise.
        to_nowhere(sys.stdout)
        return Code.BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return Code.INTERRUPTED
    except OSError as error:
        note(f"mesoslite: {error.filename or ''}{': ' if error.filename else ''}{error.strerror}")
        return Code.FAILED
    return result if isinstance(result, int) else Code.OK


def _is_text(word: str) -> bool:
    """Whether the bytes that were given are UTF-8; Python keeps others as lone surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused_usage(error: typer.TyperException) -> int:
    """One line for a wrong command line: what is wrong, and where to read what is right."""
    said = getattr(error, "format_message", error.__str__)()
    where = getattr(getattr(error, "ctx", None), "command_path", "mesoslite")
    if not said:  # a noun without its verb: the help is shown, and that is all there is to say
        return Code.USAGE
    note(f"mesoslite: {' '.join(said.split()).rstrip('.')}; see `{where} --help`")
    return Code.USAGE


if __name__ == "__main__":
    main()
