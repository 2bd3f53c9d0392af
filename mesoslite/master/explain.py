"""Why a framework is offered no more: the allocator's own reasons, and what the master knows of it.

Only reads, between two events, so an answer is what is true at that moment. O(agents and what is
offered of them) for a framework; tasks are explained in `fates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mesoslite.explanation import (
    Blocked,
    Explained,
    Explanation,
    FrameworkExplanation,
    RoleExplanation,
    Why,
)
from mesoslite.master import fates, remedies
from mesoslite.master.fates import NotExplained
from mesoslite.master.records import AgentEntry, AgentState, FrameworkEntry, Tables
from mesoslite.master.remedies import span
from mesoslite.model import Refusal, WhyNot

HELD_MS = 1_000  # an offer that is not answered for so long is held; before that it is a turn
UNKNOWN_TO_ALLOCATOR = (AgentState.AWAITED, AgentState.UNREACHABLE)
HOLDERS_MAX = 20  # frameworks that are named one by one for what they were offered
PUT_OFF_MAX = 100  # requests that wait for their turn, of up to 16 KiB each, in one answer
ANSWER_CHARACTERS_MAX = 512 * 1024  # a character is 4 bytes at most, and a command takes 4 MiB
EMPTY_CHARACTERS = 200  # ids, times and counts of a role or a reason


def explain(
    t: Tables, subject: str, *, framework: str = "", role: str = "", request: str = ""
) -> Explanation | NotExplained:
    """Explain a framework by id or name, else a task by id; the start of an id will do.

    `framework` (id or name): the subject is a task of this one. `role`, `request`:
    explain this role, or the request of this id, alone.
    """
    if not framework:
        found = _frameworks(t, subject)
        if len(found) > 1:
            return NotExplained(Refusal.AMBIGUOUS, fates.several(subject, found))
        if found:
            [framework_id] = found
            return _explain_framework(t, framework_id, role, request)
    return fates.explain_task(t, subject, framework)


def _frameworks(t: Tables, some: str) -> set[str]:
    """The ids of the frameworks that somebody may mean: those that are there before those gone."""
    here = {f.framework_id: f.info.name for f in t.frameworks.values()}
    gone = {record.framework_id: record.info.name for record in t.completed}
    for names in (here, gone):
        if some in names:
            return {some}
    for names in (here, gone):
        if found := {i for i, name in names.items() if name == some}:
            return found
    return {i for i in here if i.startswith(some)} if some else set()


# --- frameworks -----------------------------------------------------------------------------------


def _explain_framework(
    t: Tables, framework_id: str, role: str, request: str
) -> FrameworkExplanation | NotExplained:
    framework = t.frameworks.get(framework_id)
    if framework is None:
        record = next(one for one in t.completed if one.framework_id == framework_id)
        ago = span(t.now_ms - record.completed_ms)
        verdict = f"{record.info.name} ({framework_id}) was removed {ago} ago: its id is used up"
        return FrameworkExplanation(framework_id, record.info.name, verdict, ())
    name = f"{framework.info.name} ({framework_id})"
    if role and role not in framework.info.roles:
        roles = [_role_unknown(framework, role)]
    elif request and request not in framework.requests:
        message = f"{name} requests nothing under {request!r}: it is met, withdrawn or unknown"
        return NotExplained(Refusal.UNKNOWN_REQUEST, message)
    else:
        told = _told(t, framework, role, request)
        roles = _fitting(_explain_role(t, framework, one) for one in told)
    verdicts = dict.fromkeys(one.verdict for one in roles)
    if not request and (more := _explainable(framework, role) - len(roles)):
        verdicts[f"and {more:,} more roles and requests, too many for one answer"] = None
    verdict = f"{name}: {'; '.join(verdicts)}"
    return FrameworkExplanation(framework_id, framework.info.name, verdict, tuple(roles))


def _fitting(explained: Iterable[RoleExplanation]) -> list[RoleExplanation]:
    """As many as fit into an answer, in their order; one in any case."""
    kept: list[RoleExplanation] = []
    size = 0
    for one in explained:
        size += _characters(one)
        if kept and size > ANSWER_CHARACTERS_MAX:
            break
        kept.append(one)
    return kept


def _characters(one: RoleExplanation) -> int:
    """About how long it is when it is written. The verdict is in that of the whole again."""
    size = 2 * len(one.verdict) + EMPTY_CHARACTERS
    if one.request is not None:
        size += len(one.request.where) + len(str(one.request.unit))
    for why in one.whys:
        missing = 0 if why.missing is None else len(str(why.missing))
        size += len(why.message) + len(why.remedy) + missing + EMPTY_CHARACTERS
    return size


def _told(t: Tables, framework: FrameworkEntry, role: str, request: str) -> list[Explained]:
    """What the allocator says; then the requests that it does not know, since they are put off."""
    told = list(t.allocator.explain(framework.framework_id, role, request))
    put_off = [framework.requests[request_id] for request_id in framework.conduct.ask_later]
    put_off = [w for w in put_off if role in ("", w.request.role)]
    put_off = [w for w in put_off if request in ("", w.request.request_id)]
    roles = {w.request.role for w in put_off}
    told = [one for one in told if one.request is not None or one.role not in roles]
    for wanted in put_off[:PUT_OFF_MAX]:
        one = replace(wanted.request, count=wanted.units)
        also = t.allocator.keeps_all(framework.framework_id, one.role)
        offers = sum(o.request_id == one.request_id for o in framework.offers.values())
        blocked = (*also, Blocked(WhyNot.PUT_OFF))
        told.append(Explained(one.role, one, one.count, offers, blocked))
    return told


def _explainable(framework: FrameworkEntry, role: str) -> int:
    """How many roles and requests there are to be explained."""
    roles = [one for one in framework.info.roles if role in ("", one)] or [role]
    asked = Counter(wanted.request.role for wanted in framework.requests.values())
    return sum(max(1, asked[one]) for one in roles)


def _role_unknown(framework: FrameworkEntry, role: str) -> RoleExplanation:
    own = ", ".join(framework.info.roles)
    why = Why(WhyNot.ROLE_UNKNOWN, f"it subscribed with {own}", f"subscribe with {role} too")
    verdict = f"it is offered nothing in role {role}, with which it did not subscribe"
    return RoleExplanation(role, None, 0, 0, verdict, (why,))


def _explain_role(t: Tables, framework: FrameworkEntry, told: Explained) -> RoleExplanation:
    whys = [
        remedies.why(t, framework, told, blocked)
        for blocked in _refined(t, framework, told.role, told.blocked)
    ]
    whys.sort(key=lambda why: (why.agents > 0, -why.agents))
    verdict = _verdict(t, told, whys)
    return RoleExplanation(told.role, told.request, told.open, told.offers, verdict, tuple(whys))


def _verdict(t: Tables, told: Explained, whys: list[Why]) -> str:
    what = f"role {told.role}"
    if told.request is not None:
        what = f"request {told.request.request_id} in {what}"
    has = f"{told.offers:,} unanswered {'offer' if told.offers == 1 else 'offers'}"
    if not whys:
        return (
            f"it has {has} in {what}, and nothing more is there"
            if told.offers
            else (f"nothing keeps it from offers in {what}: they are on their way")
        )
    worst = whys[0]
    start = f"it has {has} in {what} and no more" if told.offers else f"no offers in {what}"
    if not worst.agents:
        return f"{start}: {worst.message}"
    agents = len(t.agents) - len(t.gone)
    return f"{start}: on {worst.agents:,} of {agents:,} agents {worst.message}"


# --- what only the master knows -------------------------------------------------------------------


def _refined(
    t: Tables, framework: FrameworkEntry, role: str, told: Iterable[Blocked]
) -> Iterator[Blocked]:
    """The allocator's reasons, with each agent under the one that is true of it."""
    whole = [blocked for blocked in told if not blocked.agent_ids]
    for blocked in whole:
        if blocked.reason is WhyNot.DISCONNECTED and framework.stream is not None:
            yield Blocked(WhyNot.PAUSED)
        elif blocked.reason is WhyNot.SUPPRESSED and role in framework.conduct.revive_later:
            yield Blocked(WhyNot.PUT_OFF)
        else:
            yield blocked
    full = {
        agent_id
        for agent_id, agent in t.agents.items()
        if agent.unacknowledged[framework.framework_id] >= t.config.unacknowledged_max
    }
    if full:
        yield Blocked(WhyNot.UNACKNOWLEDGED, tuple(sorted(full)))
    away = [agent_id for agent_id, agent in t.agents.items() if agent.state in UNKNOWN_TO_ALLOCATOR]
    if any(blocked.reason is not WhyNot.NO_AGENTS for blocked in whole):
        away = []
    off = {WhyNot.AGENT_AWAY: away}
    for blocked in told:
        match blocked.reason:
            case WhyNot.AGENT_AWAY:
                for agent_id in blocked.agent_ids:
                    off.setdefault(_why_off(t.agents[agent_id]), []).append(agent_id)
            case WhyNot.REFUSED:
                yield from _by_lapse(framework, role, _without(blocked, full))
            case WhyNot.ANOTHERS_TURN:
                yield from _by_holder(t, framework, _without(blocked, full))
            case _:
                if (left := _without(blocked, full)).agent_ids:
                    yield left
    for reason, agent_ids in off.items():
        if left_off := [agent_id for agent_id in agent_ids if agent_id not in full]:
            yield Blocked(reason, tuple(left_off))


def _why_off(agent: AgentEntry) -> WhyNot:
    """Why nothing is offered of an agent, whoever asks."""
    if agent.state is not AgentState.ACTIVE:
        return WhyNot.AGENT_AWAY
    return WhyNot.AGENT_TROUBLED if agent.problem else WhyNot.AGENT_PAUSED


def _without(blocked: Blocked, agent_ids: set[str]) -> Blocked:
    if agent_ids.isdisjoint(blocked.agent_ids):
        return blocked
    kept = [number for number, i in enumerate(blocked.agent_ids) if i not in agent_ids]
    ids = tuple(blocked.agent_ids[number] for number in kept)
    ends_ms = tuple(blocked.ends_ms[number] for number in kept) if blocked.ends_ms else ()
    return replace(blocked, agent_ids=ids, ends_ms=ends_ms)


def _by_lapse(framework: FrameworkEntry, role: str, blocked: Blocked) -> Iterator[Blocked]:
    """Refused by the framework, or for it since it let a lease run out."""
    lapses = framework.conduct.lapses
    pairs = list(zip(blocked.agent_ids, blocked.ends_ms, strict=True))
    lapsed = [pair for pair in pairs if lapses.get((role, pair[0])) == pair[1]]
    refused = [pair for pair in pairs if lapses.get((role, pair[0])) != pair[1]]
    for reason, group in ((WhyNot.LEASE_RAN_OUT, lapsed), (WhyNot.REFUSED, refused)):
        if group:
            yield Blocked(reason, tuple(i for i, _ in group), tuple(ms for _, ms in group))


def _by_holder(t: Tables, framework: FrameworkEntry, blocked: Blocked) -> Iterator[Blocked]:
    """Whose offer it is, and whether it is held: the agents of each framework together."""
    groups: dict[tuple[WhyNot, str], list[str]] = {}
    for agent_id in blocked.agent_ids:
        offer = remedies.oldest_of_another(t, framework, agent_id)
        held = t.now_ms - offer.made_ms >= HELD_MS
        reason = WhyNot.HELD if held else WhyNot.ANOTHERS_TURN
        groups.setdefault((reason, offer.framework_id), []).append(agent_id)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    for (reason, _), agent_ids in ordered[:HOLDERS_MAX]:
        yield Blocked(reason, tuple(agent_ids))
    for reason in (WhyNot.ANOTHERS_TURN, WhyNot.HELD):
        rest = [i for (why, _), ids in ordered[HOLDERS_MAX:] if why is reason for i in ids]
        if rest:
            yield Blocked(reason, tuple(rest))
