"""The commands `reservation` and `volume`: their words and options.

What they do is in `reservations.py`, imported only when one of them runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesoslite.cli.options import Master, Output, TokenFile, chosen


def _group(noun: str, help_text: str) -> typer.Typer:
    return typer.Typer(
        name=noun,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
    )


reservation_app = _group(
    "reservation", "What is kept for a role on an agent (docs/reservations.md)."
)
volume_app = _group("volume", "Directories on agents whose data outlives tasks.")


def _argument(noun: str, what: str) -> Any:
    return typer.Argument(metavar=noun, help=what, show_default=False)


_OnAgent = Annotated[
    str, typer.Option("--agent", metavar="AGENT", help="Only on this one: its id or host.")
]
_OfRole = Annotated[str, typer.Option("--role", metavar="ROLE", help="Only of this one.")]
_OfFramework = Annotated[
    str,
    typer.Option(
        "--framework", metavar="NAME", help="Only what this one asked for: its name or id."
    ),
]
_ReservationId = Annotated[str, _argument("RESERVATION", "Its id, whole.")]
_VolumeId = Annotated[str, _argument("VOLUME", "Its id, whole.")]


@reservation_app.command("ls")
def reservation_ls(
    context: typer.Context,
    agent: _OnAgent = "",
    role: _OfRole = "",
    framework: _OfFramework = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List who holds what on which agent, and since when."""
    from mesoslite.cli import reservations

    chose = chosen(context, master, token_file, output)
    reservations.reservations(chose, reservations.Of(agent, role, framework))


@reservation_app.command("create")
def reservation_create(
    context: typer.Context,
    reservation: Annotated[str, _argument("RESERVATION", "An id; one that is there grows.")],
    resources: Annotated[str, _argument("RESOURCES", "As cpus:4;mem:8GiB;disk:100GiB.")],
    agent: Annotated[
        str,
        typer.Option("--agent", metavar="AGENT", help="Where: its id or host.", show_default=False),
    ],
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="For whom.", show_default=False)
    ],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="To find it again.", show_default=False),
    ] = None,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Keep resources of an agent for a role: no other role is offered them.

    What is free is taken, and what is on offer is taken back; what tasks use is not.
    """
    from mesoslite.cli import reservations

    chose = chosen(context, master, token_file, output)
    reservations.create(chose, reservation, resources, agent, role, label or [])


@reservation_app.command("rm")
def reservation_rm(
    context: typer.Context,
    reservation: _ReservationId,
    resources: Annotated[
        str, _argument("[RESOURCES]", "A part of it, as cpus:1; else all of it.")
    ] = "",
    agent: _OnAgent = "",
    role: _OfRole = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Give up a reservation that no task and no volume uses."""
    from mesoslite.cli import reservations

    chose = chosen(context, master, token_file, output)
    reservations.remove(chose, reservation, resources, reservations.Of(agent, role))


@volume_app.command("ls")
def volume_ls(
    context: typer.Context,
    agent: _OnAgent = "",
    role: _OfRole = "",
    framework: _OfFramework = "",
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """List the volumes: how large they are, how full, and which task uses each."""
    from mesoslite.cli import reservations

    chose = chosen(context, master, token_file, output)
    reservations.volumes(chose, reservations.Of(agent, role, framework))


@volume_app.command("rm")
def volume_rm(
    context: typer.Context,
    volume: _VolumeId,
    agent: _OnAgent = "",
    role: _OfRole = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    master: Master = None,
    token_file: TokenFile = None,
    output: Output = None,
) -> None:
    """Destroy a volume that no task uses. Its data is deleted, and can not be had back."""
    from mesoslite.cli import reservations

    chose = chosen(context, master, token_file, output)
    reservations.destroy(chose, volume, reservations.Of(agent, role), yes)
