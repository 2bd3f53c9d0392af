"""How often everything occurred: a simulation in which something never happens does not test it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from mesoslite import messages as m
from mesoslite.master import protocol as master
from mesoslite.model import Refusal
from mesoslite.scheduler import protocol as session
from mesoslite_agent import protocol as agent

FAULTS = (
    "a container's lease ran out",
    "an agent with a fenced task is lost",
    "a commit failed and was tried again",
    "a host died with commits that were not synced",
    "a peer does not read",
    "a second scheduler of the same identity",
    "a clock was set",
    "a commit of an earlier leader is refused",
    "a leader has ended by itself",
    "an agent is marked as gone",
    "crash of a master",
    "damage of a checkpoint",
    "crash of a scheduler",
    "crash of an agent",
    "crash, AFTER_COMMIT",
    "crash, BEFORE_COMMIT",
    "crash, WHILE_PERFORMING",
    "cut of a connection",
    "death of a launcher",
    "disk full",
    "more frameworks than there may be",
    "partition",
    "reboot of a host",
    "stall of a connection",
    "stop of a master",
    "stop of a scheduler",
    "stop of an agent",
    "the election service is away",
    "the master and hosts die at once",
)

#: What can not occur here, with the reason, and the test in which it does.
IMPOSSIBLE: dict[str, tuple[str, str]] = {
    "session event: Denied": ("tokens are the edge's", "unit/test_session"),
    "refusal: BAD_TOKEN": ("tokens are the edge's", "integration/test_master_server"),
    "refusal: INVALID_FRAMEWORK": ("nobody uses another's id", "unit/test_master_frameworks"),
    "refusal: UNKNOWN_ROLE": ("Scheduler refuses the call", "unit/test_master_frameworks"),
    "refusal: NOT_YOUR_OFFER": ("a session knows its offers", "unit/test_master_offers"),
    "refusal: DUPLICATE_OFFER": ("Scheduler refuses the call", "unit/test_master_offers"),
    "refusal: NO_OFFERS": ("Scheduler refuses the call", "unit/test_master_offers"),
    "refusal: MIXED_AGENTS": ("Scheduler refuses the call", "unit/test_master_offers"),
    "refusal: MIXED_ROLES": ("Scheduler refuses the call", "unit/test_master_offers"),
    "refusal: INVALID_REQUEST": ("Scheduler refuses the call", "unit/test_master_requests"),
    "refusal: INVALID_TASK": ("the wire makes it", "unit/test_master_offers"),
    "refusal: RESULT_FORGOTTEN": ("who has confirmed does not ask", "unit/test_master_offers"),
    "refusal: INVALID_AGENT": ("the wire refuses it", "unit/test_wire"),
    "refusal: AGENT_FULL": ("agents here are small", "unit/test_master_offers"),
    "refusal: TOO_MANY_AGENTS": ("here are as many as may be", "unit/test_master_tasks"),
    "refusal: STALE_EPOCH": ("epochs only grow here", "unit/test_master_tasks"),
    "refusal: MALFORMED": ("the wire refuses it", "unit/test_wire"),
    "refusal: TOO_BIG": ("the wire refuses it", "unit/test_wire"),
    "refusal: OUTBOX_FULL": ("outboxes are the edge's", "integration/test_streams"),
    "refusal: UNKNOWN_REQUEST": ("nobody asks for an explanation", "unit/test_explain"),
    "refusal: TOO_MANY_RESERVATIONS": ("agents here are small", "properties/test_estate"),
    "refusal: OPERATION_FAILED": ("no agent says so", "unit/test_master_reservations"),
    "refusal: UNSUPPORTED_VERSION": ("the wire refuses it", "unit/test_wire"),
}


def expected() -> Iterator[str]:
    """Everything that must occur, as `Simulation.counts` names it."""
    machines = {"master": master, "agent": agent, "session": session}
    for name, protocol in machines.items():
        yield from _members(f"{name} event", protocol.Event)
        yield from _members(f"{name} effect", protocol.Effect)
    spoken = (m.SchedulerCall, m.SchedulerEvent, m.AgentCall, m.AgentEvent)
    for union in spoken:
        yield from _members("word", union)
    yield from _members("decision", session.Decision)
    yield from _members("callback", session.Callback)
    yield from (f"refusal: {refusal.name}" for refusal in Refusal)
    yield from (f"misconduct: {what.name}" for what in master.Misconduct)
    yield from (f"fault: {fault}" for fault in FAULTS)


def missing(counts: Counter[str]) -> list[str]:
    """What never occurred and should have, and what occurred though it can not."""
    never = [name for name in dict.fromkeys(expected()) if not counts[name]]
    wrong = [f"{name}, which was thought impossible" for name in IMPOSSIBLE if counts[name]]
    return [name for name in never if name not in IMPOSSIBLE] + wrong


def table(counts: Counter[str]) -> Iterator[str]:
    """All counts for people, those that can not occur with the reason."""
    for name in sorted({*expected(), *counts}):
        why = f"  ({': '.join(filter(None, IMPOSSIBLE[name]))})" if name in IMPOSSIBLE else ""
        yield f"{counts[name]:>9,}  {name}{why}"


def _members(kind: str, union: object) -> Iterator[str]:
    for member in get_args(union):
        yield f"{kind}: {member.__name__}"
