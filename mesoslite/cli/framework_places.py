"""What an earlier run of a framework has reserved on agents that are away: it is waited for.

A framework that was stopped has nothing left but its reservations, which the master hears of from
their agents. Begun anew while these are away it would take itself for new, and begin elsewhere with
nothing. So it begins when they are here, or were given up; and while no master answers, nobody
knows of any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure, note
from mesoslite.cli.reservations import unheard_of
from mesoslite.v1 import operator_pb2

LOOK_S = 1.0
#: A master that is not there, or is cut off in the middle of its words, may be back.
_PASSING = frozenset({Code.NO_MASTER, Code.FAILED})
HERE, GONE = "active", "gone"
NAMED_MAX = 5


async def wait_for_places(operator: Operator, name: str) -> None:
    """Return when nothing that a framework of this name has reserved is on an agent that is away.

    At once for one that the master knows: it has its state in its store. Without end else, also
    while no master answers, and tells whenever what it waits for has changed. Raises Failure for
    what no waiting mends: a token that is refused.
    """
    told = ""
    while line := await asyncio.to_thread(_look, operator, name):
        if line != told:
            note(line)
        told = line
        await asyncio.sleep(LOOK_S)


def _look(operator: Operator, name: str) -> str:
    """What is waited for, for people; empty: nothing. Who leads is found anew after a failure."""
    try:
        if any(row.info.name == name for row in operator.frameworks(name)):
            return ""
        return why_not_yet(name, operator.agents(), operator.reservations(framework=name))
    except Failure as failure:
        if failure.code not in _PASSING:
            raise
        why = failure
    try:
        operator.find_anew()
    except Failure as failure:
        why = failure
    return f"{name} waits for the master, which knows what an earlier run has reserved: {why}"


def why_not_yet(
    name: str,
    agents: Sequence[operator_pb2.AgentRow],
    reservations: Sequence[operator_pb2.ReservationRow],
) -> str:
    """What is waited for, for people; empty: nothing."""
    away = {
        row.agent_hostname or row.agent_id
        for row in reservations
        if row.reservation.framework == name
        and row.agent_state not in (HERE, GONE)
        and not row.releasing
    }
    if away:
        return (
            f"{name} waits for {_some(away)}, where an earlier run of it has reserved; to begin "
            f"without: `mesoslite agent gone AGENT`, or `mesoslite framework stop {name} --release`"
        )
    if unheard := set(unheard_of(agents)):
        return (
            f"{name} waits for {_some(unheard)}, of which the master has not heard since it began: "
            "an earlier run may have reserved there; else `mesoslite agent gone AGENT`"
        )
    return ""


def _some(hosts: set[str]) -> str:
    first = sorted(hosts)[:NAMED_MAX]
    more = len(hosts) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
