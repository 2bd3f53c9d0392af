"""`reservation` and `volume`: ask the master, print what it says."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mesoslite.cli import documents
from mesoslite.cli.amounts import bytes_size, cores, size, text_of, total_of
from mesoslite.cli.connection import Operator, not_found, only
from mesoslite.cli.console import Code, Failure, Format, emit, note, show
from mesoslite.cli.layout import table
from mesoslite.cli.options import Chosen
from mesoslite.cli.tables import age, plain, short_ids, state
from mesoslite.resources import UNRESERVED, InvalidResources, Resources
from mesoslite.v1 import common_pb2, operator_pb2

MIB = 1_048_576
HOSTS_NAMED_MAX = 5
_UNHEARD = ("awaited", "unreachable")


@dataclass(frozen=True, slots=True)
class Of:
    """Which ones are meant; empty: whichever."""

    agent: str = ""
    role: str = ""
    framework: str = ""


class _Row(Protocol):
    """What rows of reservations and volumes share."""

    agent_id: str
    agent_hostname: str
    agent_state: str
    pending: bool
    releasing: bool


R = TypeVar("R", operator_pb2.ReservationRow, operator_pb2.VolumeRow)


def reservations(chosen: Chosen, of: Of) -> None:
    """All reservations, those of agents' configurations among them."""
    with Operator(chosen.master, chosen.token_file) as operator:
        agent_id = _agent_id(operator, of.agent)
        rows = operator.reservations(agent_id, of.role, of.framework)
        _print(
            chosen, operator, "reservations", rows, reservation_table, replace(of, agent=agent_id)
        )


def volumes(chosen: Chosen, of: Of) -> None:
    """All volumes."""
    with Operator(chosen.master, chosen.token_file) as operator:
        agent_id = _agent_id(operator, of.agent)
        rows = operator.volumes(agent_id, of.role, of.framework)
        _print(chosen, operator, "volumes", rows, volume_table, replace(of, agent=agent_id))


def create(
    chosen: Chosen, reservation_id: str, resources: str, agent: str, role: str, labels: list[str]
) -> None:
    """Reserve; done when the agent has it on its disk."""
    wanted, named = _amounts(resources), _labels(labels)
    with Operator(chosen.master, chosen.token_file) as operator:
        row = only(operator.agents(agent), "agent", agent, lambda row: row.info.agent_id)
        request = operator_pb2.CreateReservationRequest(
            agent_id=row.info.agent_id,
            role=role,
            reservation_id=reservation_id,
            resources=wanted,
            labels=named,
        )
        reply = operator.create_reservation(request)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            what = text_of(reply.reservation.resources)
            note(f"reservation {reservation_id} on {row.info.hostname} for {role} is {what}")


def remove(chosen: Chosen, reservation_id: str, resources: str, of: Of) -> None:
    """Unreserve all of it or a part; done when the agent has that on its disk."""
    part = _amounts(resources) if resources else []
    with Operator(chosen.master, chosen.token_file) as operator:
        agent_id = _agent_id(operator, of.agent)
        rows = operator.reservations(agent_id, of.role)
        found = [row for row in rows if row.reservation.reservation_id == reservation_id]
        unheard = [] if found else unheard_of(operator.agents(agent_id))
        row = _the_one(
            found, "reservation", reservation_id, [r.reservation.role for r in found], unheard
        )
        request = operator_pb2.RemoveReservationRequest(
            agent_id=row.agent_id,
            role=row.reservation.role,
            reservation_id=reservation_id,
            resources=part,
        )
        reply = operator.remove_reservation(request)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            gave = f"gave up {text_of(part)}" if part else "is given up"
            note(f"reservation {reservation_id} on {row.agent_hostname} {gave}")


def destroy(chosen: Chosen, volume_id: str, of: Of, yes: bool) -> None:
    """Destroy a volume with its data, once somebody has said that this one is meant."""
    with Operator(chosen.master, chosen.token_file) as operator:
        agent_id = _agent_id(operator, of.agent)
        rows = operator.volumes(agent_id, of.role)
        found = [row for row in rows if row.volume.volume_id == volume_id]
        unheard = [] if found else unheard_of(operator.agents(agent_id))
        row = _the_one(found, "volume", volume_id, [r.volume.role for r in found], unheard)
        name = f"volume {volume_id} of {row.volume.role} on {row.agent_hostname}"
        holds = bytes_size(row.used_bytes) if row.HasField("used_bytes") else "not measured yet"
        if not (yes or _agreed(f"{name} is destroyed with its data, {holds}: really?")):
            raise Failure(Code.USAGE, f"{name} is as it was; --yes says that it is meant")
        request = operator_pb2.RemoveVolumeRequest(
            agent_id=row.agent_id, role=row.volume.role, volume_id=volume_id
        )
        reply = operator.remove_volume(request)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            note(f"{name} is destroyed; its data is being deleted")


def _agreed(question: str) -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and typer.confirm(question, err=True)


def _agent_id(operator: Operator, agent: str) -> str:
    if not agent:
        return ""
    found = only(operator.agents(agent), "agent", agent, lambda row: row.info.agent_id)
    return found.info.agent_id


def unheard_of(agents: Sequence[operator_pb2.AgentRow]) -> list[str]:
    """The hosts of which the master has heard nothing since it began: nobody knows what they have.

    An agent that has been here, and is away, is listed with what it had.
    """
    return [
        row.info.hostname or row.info.agent_id
        for row in agents
        if row.state in _UNHEARD and not row.boot_id
    ]


def _some(hosts: Sequence[str]) -> str:
    """`1 agent is awaited: h2`."""
    first = ", ".join(sorted(hosts)[:HOSTS_NAMED_MAX])
    more = len(hosts) - HOSTS_NAMED_MAX
    named = f"{first} and {more} more" if more > 0 else first
    return (
        f"{len(hosts)} agents are awaited: {named}" if hosts[1:] else f"1 agent is awaited: {named}"
    )


def _the_one(
    rows: Sequence[R], noun: str, asked: str, roles: Sequence[str], unheard: Sequence[str] = ()
) -> R:
    """The one that was meant. Raises Failure when there is none, or more than one."""
    if not rows and unheard:
        raise Failure(
            Code.NOT_FOUND,
            f"no {noun} {asked!r} on the agents that the master has heard since it began, and "
            f"{_some(unheard)}; ask again when `mesoslite agent ls` shows no agent as awaited",
        )
    if not rows:
        raise not_found(noun, asked)
    if len(rows) > 1:
        places = [f"{row.agent_hostname} ({role})" for row, role in zip(rows, roles, strict=True)]
        named = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if places[3:] else "")
        raise Failure(
            Code.USAGE, f"{noun} {asked!r} is on {named}: say which with --agent and --role"
        )
    return rows[0]


def _amounts(text: str) -> list[common_pb2.Resource]:
    """What somebody typed, as the wire has it. Raises Failure."""
    from mesoslite.wire import write_resources

    try:
        resources = Resources.parse(text)
        if not resources:
            raise InvalidResources("resources: nothing is no amount; write cpus:4;mem:1GiB")
        if resources.roles() - {UNRESERVED}:
            raise InvalidResources(
                f"resources: {text} names a role; write the amounts alone, and the role as --role"
            )
    except InvalidResources as why:
        raise Failure(Code.USAGE, str(why)) from None
    slots = operator_pb2.CreateReservationRequest()
    write_resources(slots.resources, resources)
    return list(slots.resources)


def _labels(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign):
            raise Failure(Code.USAGE, f"--label {word!r} is not NAME=VALUE")
        found[name] = value
    return found


def _print(
    chosen: Chosen, operator: Operator, nouns: str, rows: Sequence[Any], table_of: Any, of: Of
) -> None:
    """The rows, then on stderr what is missing among them. Raises Failure when they are of a
    framework that nobody knows."""
    if of.framework and not rows:
        now = operator.frameworks(of.framework)
        if not (now or operator.frameworks(of.framework, completed=True)):
            raise not_found("framework", of.framework)
    if chosen.output is Format.JSON:
        emit(documents.text_of([documents.document_of(row) for row in rows]))
    elif rows:
        show(table_of(rows, time.time_ns() // 1_000_000, chosen.output is Format.WIDE))
    else:
        note(f"no {nouns} for role {of.role}" if of.role else f"no {nouns}")
    if unheard := unheard_of(operator.agents(of.agent)):
        note(f"{_some(unheard)}; what is there is not known before it is back")


# --- rows for people ------------------------------------------------------------------------------

_COLUMNS = ("cpus", "mem", "disk")
_NUMBERS = ("CPUS", "MEM", "DISK", "SIZE", "USED")


def reservation_table(
    rows: Sequence[operator_pb2.ReservationRow], now_ms: int, wide: bool
) -> Table:
    """`reservation ls`: what is in use of each, and what there is."""
    more = ("PRINCIPAL", "FRAMEWORK ID", "AGENT ID", "LABELS", "RESOURCES") if wide else ()
    others = [_others(row) for row in rows]
    if any(others):
        more = ("OTHER", *more)
    columns = ("RESERVATION", "ROLE", "FOR", "HOST", "STATE", "SINCE", "CPUS", "MEM", "DISK")
    out = table(*columns, *more, right=_NUMBERS)
    short = short_ids(row.agent_id for row in rows)
    for row, other in zip(rows, others, strict=True):
        one = row.reservation
        cells: list[RenderableType] = [
            one.reservation_id or Text("configured", style="dim"),
            one.role,
            plain(one.framework or ("an operator" if one.reservation_id else "-")),
            plain(row.agent_hostname or short[row.agent_id]),
            _state(row),
            age(one.since_ms, now_ms),
            *(_in_use(row, name) for name in _COLUMNS),
        ]
        if any(others):
            cells.append(plain(other or "-"))
        if wide:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            cells += [
                plain(one.principal),
                one.framework_id or "-",
                row.agent_id,
                plain(labels),
                text_of(one.resources),
            ]
        out.add_row(*cells)
    return out


def volume_table(rows: Sequence[operator_pb2.VolumeRow], now_ms: int, wide: bool) -> Table:
    """`volume ls`: a full one in red."""
    more = ("RESERVATION", "MEASURED", "PRINCIPAL", "FRAMEWORK ID", "AGENT ID") if wide else ()
    columns = ("VOLUME", "ROLE", "FOR", "HOST", "STATE", "SINCE", "SIZE", "USED", "TASK")
    out = table(*columns, *more, right=_NUMBERS)
    for row in rows:
        one = row.volume
        cells: list[RenderableType] = [
            one.volume_id,
            one.role,
            plain(one.framework or "an operator"),
            plain(row.agent_hostname),
            _state(row),
            age(one.since_ms, now_ms),
            size(total_of(one.resources, "disk")),
            _used(row),
            row.user_task_id or "-",
        ]
        if wide:
            cells += [
                one.reservation_id or "-",
                age(row.measured_ms, now_ms),
                plain(one.principal),
                one.framework_id or "-",
                row.agent_id,
            ]
        out.add_row(*cells)
    return out


def _state(row: _Row) -> Text:
    """What is going on with it, else how its agent is."""
    if row.releasing:
        return Text("releasing", style="yellow")
    if row.pending:
        return Text("pending", style="yellow")
    return state(row.agent_state)


def _in_use(row: operator_pb2.ReservationRow, name: str) -> str:
    """`1/2`, or `-` for what it has nothing of."""
    total = total_of(row.reservation.resources, name)
    spell = cores if name == "cpus" else size
    return f"{spell(total_of(row.used, name))}/{spell(total)}" if total else "-"


def _others(row: operator_pb2.ReservationRow) -> str:
    """Ports, GPUs and kinds of the site's own, which have no column: all there is of them."""
    rest = [one for one in row.reservation.resources if one.key not in _COLUMNS]
    return text_of(rest) if rest else ""


def _used(row: operator_pb2.VolumeRow) -> Text:
    if not row.HasField("used_bytes"):
        return Text("?")
    size_bytes = total_of(row.volume.resources, "disk") * MIB // 1_000
    percent = 100 * row.used_bytes // max(1, size_bytes)
    full = row.used_bytes >= size_bytes
    text = f"{bytes_size(row.used_bytes)} ({percent} %)"
    return Text(f"{text}, full" if full else text, style="red" if full else "")
