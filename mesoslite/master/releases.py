"""Releases: what removed frameworks had reserved is given up, wherever it is still found (D17).

A release is a record in the registry: an identity, and the last framework of it that is meant. It
is carried out on agents that are here whenever something of it has become free, and on others
when they register. It needs no offer, and nobody who would take one.
"""

from __future__ import annotations

from mesoslite.master import operations, orders
from mesoslite.master.protocol import ForgetRelease, ReleaseRecord, SaveRelease
from mesoslite.master.records import AgentEntry, AgentState, Tables
from mesoslite.reservations import DestroyVolume, Reservation, Unreserve, Volume

#: These may hold something that this master does not know of, or know no better.
AWAY = (AgentState.DISCONNECTED, AgentState.AWAITED, AgentState.UNREACHABLE)


def recover(t: Tables, records: tuple[ReleaseRecord, ...]) -> None:
    """Take up what an earlier master left."""
    for record in sorted(records, key=lambda one: one.asked_ms):
        t.releases[record.principal, record.name] = record


def ask(t: Tables, principal: str, name: str, framework_id: str) -> None:
    """Release all that frameworks of this identity have reserved, up to this one.

    The newest `releases_max` are remembered; the oldest goes first.
    """
    record = ReleaseRecord(principal, name, framework_id, t.now_ms)
    t.releases.pop((principal, name), None)
    t.releases[principal, name] = record
    t.emit(SaveRelease(record))
    if len(t.releases) > t.config.releases_max:
        oldest = next(iter(t.releases))
        del t.releases[oldest]
        t.emit(ForgetRelease(*oldest))
    t.release_due.update(dict.fromkeys(t.agents))


def removed_frameworks(t: Tables, name_or_id: str) -> dict[tuple[str, str], str]:
    """The identities of frameworks that are no more and are called so, each with the last of its
    frameworks that is known: by the master, or by what agents that are here keep. O(all that they
    keep)."""
    named = [(one.principal, one.info.name, one.framework_id) for one in t.completed]
    for agent in t.agents.values():
        named += [(of.principal, of.framework, of.framework_id) for of in _all(agent)]
    last: dict[tuple[str, str], str] = {}
    for principal, name, framework_id in named:
        if name_or_id in (name, framework_id) and framework_id and principal:
            before = last.get((principal, name), framework_id)
            last[principal, name] = max(before, framework_id, key=_number)
    return last


def agents_away(t: Tables, principal: str, name: str) -> list[str]:
    """The agents that are not here and may hold something of this identity, by id. O(agents).

    Of one that was here under this master it is known what it holds.
    """
    away = []
    for agent_id, agent in t.agents.items():
        if agent.state is AgentState.AWAITED or (
            agent.state in AWAY
            and (
                not agent.known
                or any((of.principal, of.framework) == (principal, name) for of in _all(agent))
            )
        ):
            away.append(agent_id)
    return sorted(away)


def is_released(t: Tables, of: Reservation | Volume) -> bool:
    """Whether it is to be given up."""
    record = t.releases.get((of.principal, of.framework))
    return record is not None and _number(of.framework_id) <= _number(record.framework_id)


def waiting(t: Tables, principal: str, name: str) -> int:
    """How many reservations and volumes of this identity agents that are here still have."""
    return sum(
        (of.principal, of.framework) == (principal, name)
        for agent in t.agents.values()
        if agent.state is AgentState.ACTIVE
        for of in _all(agent)
    )


def task_ended(t: Tables, agent: AgentEntry) -> None:
    """A task of it holds nothing any more: what it used may be what is to be given up. O(1)."""
    if t.releases and agent.estate:
        t.release_due[agent.info.agent_id] = None


def carry_out(t: Tables) -> None:
    """Give up what is free by now, volumes first. Once a batch, before offers are made."""
    if not t.release_due:
        return
    due, t.release_due = t.release_due, {}
    for agent_id in due:
        agent = t.agents.get(agent_id)
        if agent is not None and agent.stream is not None and agent.estate:
            _carry_out(t, agent)


def _carry_out(t: Tables, agent: AgentEntry) -> None:
    """What a task uses is left: its end brings us here again."""
    for volume in [v for v in agent.estate.volumes.values() if is_released(t, v)]:
        change = DestroyVolume(volume.volume_id, orders.own_id(t))
        operations.do(t, agent, orders.own_order(t, volume.principal, volume.role, change))
    for one in [r for r in agent.estate.reservations.values() if is_released(t, r)]:
        gone = Unreserve(one.reservation_id, operation_id=orders.own_id(t))
        operations.do(t, agent, orders.own_order(t, one.principal, one.role, gone))


def _all(agent: AgentEntry) -> tuple[Reservation | Volume, ...]:
    return (*agent.estate.reservations.values(), *agent.estate.volumes.values())


def _number(framework_id: str) -> tuple[int, int, str]:
    """Ids in the order in which masters gave them: by epoch, then by number."""
    epoch, _, number = framework_id.partition("-F")
    if epoch.isdecimal() and number.isdecimal():
        return int(epoch), int(number), ""
    return 0, 0, framework_id
