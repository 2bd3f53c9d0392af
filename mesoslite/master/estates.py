"""What people see of reservations and volumes: read-only rows over the master's tables, in pages.

As `view.py`, in the order of agent, role and id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesoslite.master.records import AgentEntry, Tables, TaskEntry
from mesoslite.master.releases import is_released
from mesoslite.master.view import Page, page_of
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    Reservation,
    Reserve,
    Unreserve,
    Volume,
    VolumeUse,
)
from mesoslite.reserved import of_nobody, reserved_only
from mesoslite.resources import Resources, key_parts

ROWS_MAX = 500  # of a page; at most 6 kB each with their labels, so 3 MB


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """One reservation, or what an agent's configuration reserves for a role: without an id."""

    key: str
    agent: AgentEntry
    reservation: Reservation
    used: Resources
    """By tasks, their volumes among it; as unreserved amounts."""
    pending: bool
    """A change of it is on its way to the agent."""
    releasing: bool


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """One volume."""

    key: str
    agent: AgentEntry
    volume: Volume
    use: VolumeUse | None
    """How full it is, if that was told."""
    user: TaskEntry | None
    """The task that has it."""
    pending: bool
    releasing: bool


def reservations(
    t: Tables, agent: str = "", role: str = "", framework: str = "", after: str = ""
) -> Page[ReservationRow]:
    """Of the agents that are called so, for a role, and that a framework asked for (id or name)."""
    found = (
        (_key(one, of.role, of.reservation_id), (one, of))
        for one in _agents(t, agent)
        for of in (*_static(one), *one.estate.reservations.values())
        if role in ("", of.role) and framework in ("", of.framework_id, of.framework)
    )
    return page_of(found, after, lambda pair: _reservation_row(t, *pair), ROWS_MAX)


def volumes(
    t: Tables, agent: str = "", role: str = "", framework: str = "", after: str = ""
) -> Page[VolumeRow]:
    """As `reservations`."""
    found = (
        (_key(one, of.role, of.volume_id), (one, of))
        for one in _agents(t, agent)
        for of in one.estate.volumes.values()
        if role in ("", of.role) and framework in ("", of.framework_id, of.framework)
    )
    return page_of(found, after, lambda pair: _volume_row(t, *pair), ROWS_MAX)


def _agents(t: Tables, some: str) -> Iterator[AgentEntry]:
    for agent_id, agent in t.agents.items():
        if agent_id.startswith(some) or agent.info.hostname == some:
            yield agent


def _key(agent: AgentEntry, role: str, identity: str) -> str:
    return f"{agent.info.agent_id} {role} {identity}"


def _static(agent: AgentEntry) -> Iterator[Reservation]:
    """What the configuration reserves, for each role."""
    reserved = reserved_only(agent.info.resources)
    for role in sorted(reserved.roles()):
        every = (*reserved.scalars, *reserved.ranges, *reserved.sets)
        of_role = {at for at in every if key_parts(at).role == role}
        part = Resources.from_amounts(
            {at: n for at, n in reserved.scalars.items() if at in of_role},
            {at: pairs for at, pairs in reserved.ranges.items() if at in of_role},
            {at: items for at, items in reserved.sets.items() if at in of_role},
        )
        yield Reservation("", role, of_nobody(part))


def _reservation_row(t: Tables, agent: AgentEntry, of: Reservation) -> ReservationRow:
    used = Resources.EMPTY
    for entry in agent.tasks.values():
        if entry.holds:
            used += _part(entry.task.resources, of)
    targets = [
        entry.order.change
        for entry in agent.operations.values()
        if entry.end is None and entry.order is not None and entry.order.role == of.role
    ]
    pending = any(
        isinstance(change, Reserve | Unreserve | CreateVolume)
        and change.reservation_id == of.reservation_id
        for change in targets
    )
    key = _key(agent, of.role, of.reservation_id)
    return ReservationRow(key, agent, of, used, pending, is_released(t, of))


def _part(amount: Resources, of: Reservation) -> Resources:
    """What of an amount is of this reservation, volumes among it, as unreserved amounts."""
    if of.role not in amount.roles():
        return Resources.EMPTY
    part = of_nobody(amount.of_reservation(of.reservation_id, of.role))
    for at, size in amount.volumes().scalars.items():
        if key_parts(at)[1:3] == (of.role, of.reservation_id):
            part += Resources.from_amounts({"disk": size})
    return part


def _volume_row(t: Tables, agent: AgentEntry, of: Volume) -> VolumeRow:
    [at] = of.amount.scalars
    user = next(
        (e for e in agent.tasks.values() if e.holds and e.task.resources.scalar(at)),
        None,
    )
    pending = any(
        entry.end is None
        and entry.order is not None
        and entry.order.role == of.role
        and isinstance(entry.order.change, CreateVolume | DestroyVolume)
        and entry.order.change.volume_id == of.volume_id
        for entry in agent.operations.values()
    )
    use = agent.volume_uses.get((of.role, of.volume_id))
    key = _key(agent, of.role, of.volume_id)
    return VolumeRow(key, agent, of, use, user, pending, is_released(t, of))
