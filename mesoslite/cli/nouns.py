"""The commands `agent`, `framework`, `task` and `offer`: their words and options.

What they do is in `views.py`, imported only when one of them runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesoslite.cli.options import Master, Output, TokenFile, chosen, seconds


def _group(noun: str, help_text: str) -> typer.Typer:
    return typer.Typer(
        name=noun,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
    )


agent_app = _group("agent", "The hosts: what they have, and what of it is in use.")
framework_app = _group("framework", "The schedulers that share the cluster.")
task_app = _group("task", "What runs where, and what became of it.")
offer_app = _group("offer", "Resources that a framework is being offered right now.")

store_app = _group("store", "What a framework keeps at the master (docs/store.md).")
framework_app.add_typer(store_app)

_Framework = Annotated[
    str, typer.Option("--framework", metavar="NAME", help="Only of this one: its name or id.")
]
_All = Annotated[bool, typer.Option("--all", "-a", help="Also the newest of those that ended.")]


def _argument(noun: str, what: str) -> Any:
    return typer.Argument(metavar=noun, help=what, show_default=False)


_Agent = Annotated[str, _argument("AGENT", "Its id, the start of it, or its host's name.")]
_Some = Annotated[str, _argument("FRAMEWORK", "Its name, its id, or the start of it.")]
_Installed = Annotated[str, _argument("NAME", "As `mesoslite framework list` shows it.")]
_Key = Annotated[str, _argument("KEY", "The whole key.")]
_Task = Annotated[str, _argument("TASK", "Its id, or the start of it.")]
_Offer = Annotated[str, _argument("OFFER", "Its id, or the start of it.")]


@agent_app.command("ls")
def agent_ls(
    context: typer.Context,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List the agents."""
    from mesoslite.cli import views

    views.agents(chosen(context, master, token_file, output))


@agent_app.command("show")
def agent_show(
    context: typer.Context,
    agent: _Agent,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Show all that is known of one agent."""
    from mesoslite.cli import views

    views.agent(chosen(context, master, token_file, output), agent)


@agent_app.command("gone")
def agent_gone(
    context: typer.Context,
    agent: _Agent,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Give an agent up for good: its tasks count as ended, its id is used up.

    For a machine that will never be back, or only empty. It can not be undone: what still runs
    there is ended when it is heard of, and another --work-dir makes it another agent.
    """
    from mesoslite.cli import views

    views.gone(chosen(context, master, token_file, output), agent, yes)


@framework_app.command("ls")
def framework_ls(
    context: typer.Context,
    completed: _All = False,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List the frameworks."""
    from mesoslite.cli import views

    views.frameworks(chosen(context, master, token_file, output), completed)


@framework_app.command("show")
def framework_show(
    context: typer.Context,
    framework: _Some,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Show all that is known of one framework."""
    from mesoslite.cli import views

    views.framework(chosen(context, master, token_file, output), framework)


@store_app.command("ls")
def store_ls(
    context: typer.Context,
    framework: _Some,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Only keys that begin so.")
    ] = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List what a framework keeps in its store."""
    from mesoslite.cli import views

    views.entries(chosen(context, master, token_file, output), framework, prefix)


@store_app.command("get")
def store_get(
    context: typer.Context,
    framework: _Some,
    key: _Key,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Write the value of an entry to stdout, byte for byte."""
    from mesoslite.cli import views

    views.entry(chosen(context, master, token_file, output), framework, key)


@framework_app.command("stop")
@framework_app.command("teardown")
def framework_stop(
    context: typer.Context,
    framework: _Some,
    release: Annotated[
        bool,
        typer.Option(
            "--release",
            help="Give up what it has reserved and destroy its volumes with their data, "
            "on agents that are away as soon as they are back.",
        ),
    ] = False,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Remove a framework: all its tasks are ended, its id is used up.

    What it has reserved, and its volumes, stay for the next run unless they are released.
    """
    from mesoslite.cli import views

    views.teardown(chosen(context, master, token_file, output), framework, release)


@framework_app.command("list")
def framework_list(context: typer.Context, output: Output = None) -> None:
    """List the frameworks that are installed and can be run."""
    from mesoslite.cli import frameworks

    frameworks.list_all(chosen(context, output=output))


@framework_app.command("describe")
def framework_describe(context: typer.Context, name: _Installed, output: Output = None) -> None:
    """Show what an installed framework is for, and what it can be told."""
    from mesoslite.cli import frameworks

    frameworks.describe(chosen(context, output=output), name)


@framework_app.command(
    "run",
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def framework_run(
    context: typer.Context,
    name: _Installed,
    master: Master = None,
    token_file: TokenFile = None,
) -> None:
    """Run an installed framework until Ctrl-C or its own end. Its options stand behind its name:
    [b]mesoslite framework run NAME --help[/b]

    A service's tasks run on without it; the same command takes over again.
    """
    from mesoslite.cli.framework_run import run

    raise typer.Exit(run(name, context.args, chosen(context, master, token_file)))


@framework_app.command("exec", context_settings={"allow_interspersed_args": False})
def framework_exec(
    context: typer.Context,
    framework: _Some,
    words: Annotated[
        list[str], typer.Argument(metavar="TOOL [WORDS...]", help="The tool and its words.")
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="Beside this task: its name or id.")
    ] = "",
    master: Master = None,
    token_file: TokenFile = None,
) -> None:
    """Run a tool of a framework beside one of its tasks, as if it ran here:
    [b]mesoslite framework exec cassandra nodetool status[/b]
    """
    from mesoslite.cli.framework_exec import execute

    raise typer.Exit(execute(framework, task, words, chosen(context, master, token_file)))


@framework_app.command("status")
def framework_status(
    context: typer.Context,
    framework: _Some,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Show where a framework serves, what runs of it, and what it waits for."""
    from mesoslite.cli.framework_status import status

    status(chosen(context, master, token_file, output), framework)


@task_app.command("ls")
def task_ls(
    context: typer.Context,
    framework: _Framework = "",
    agent: Annotated[
        str, typer.Option("--agent", metavar="AGENT", help="Only on this one: its id or host.")
    ] = "",
    completed: _All = False,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List the tasks."""
    from mesoslite.cli import views

    views.tasks(chosen(context, master, token_file, output), framework, agent, completed)


@task_app.command("show")
def task_show(
    context: typer.Context,
    task: _Task,
    framework: _Framework = "",
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            metavar="AGENT",
            help="Who had it: for one that ended so long ago that the master forgot it.",
        ),
    ] = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Show all that is known of one task: each state it was in, and how its attempts ended."""
    from mesoslite.cli import views

    views.task(chosen(context, master, token_file, output), task, framework, agent)


@task_app.command("kill")
def task_kill(
    context: typer.Context,
    task: _Task,
    framework: _Framework = "",
    grace: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="TIME",
            help="Between SIGTERM and SIGKILL; else what the task says.",
            show_default=False,
        ),
    ] = None,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """End a task: SIGTERM, and SIGKILL after its grace."""
    from mesoslite.cli import views

    views.kill(chosen(context, master, token_file, output), task, framework, grace)


@offer_app.command("ls")
def offer_ls(
    context: typer.Context,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List the outstanding offers."""
    from mesoslite.cli import views

    views.offers(chosen(context, master, token_file, output))


@offer_app.command("show")
def offer_show(
    context: typer.Context,
    offer: _Offer,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Show one outstanding offer."""
    from mesoslite.cli import views

    views.offer(chosen(context, master, token_file, output), offer)
