"""One reason in full: with its numbers, and with what would make it fit."""

from __future__ import annotations

from collections import Counter

from mesoslite.allocator import MIN_ALLOCATABLE
from mesoslite.allocator.cuts import Unit
from mesoslite.allocator.possible import size_for
from mesoslite.explanation import Blocked, Explained, Why, lack_text
from mesoslite.master import conduct
from mesoslite.master.protocol import Misconduct
from mesoslite.master.records import FrameworkEntry, OutstandingOffer, Tables, Timer
from mesoslite.model import Refusal, WhyNot

OFFERS_NAMED_MAX = 5


def why(t: Tables, framework: FrameworkEntry, told: Explained, blocked: Blocked) -> Why:
    """What is true of these agents, or of all, and what would help."""
    if not blocked.agent_ids:
        return _of_all(t, framework, told, blocked)
    match blocked.reason:
        case WhyNot.REFUSED | WhyNot.LEASE_RAN_OUT:
            return _refused(t, framework, told, blocked)
        case WhyNot.ANOTHERS_TURN | WhyNot.HELD:
            return _with_another(t, framework, blocked)
        case WhyNot.OWN_OFFER:
            return _with_itself(t, framework, blocked)
        case _:
            return _of_agents(t, framework, told, blocked)


# --- the framework, the role or the request -------------------------------------------------------


def _of_all(t: Tables, framework: FrameworkEntry, told: Explained, blocked: Blocked) -> Why:
    reason = blocked.reason
    match reason:
        case WhyNot.DISCONNECTED:
            return _disconnected(t, framework)
        case WhyNot.UNANSWERED_OFFERS:
            return _unanswered(t, framework)
        case WhyNot.PUT_OFF:
            return _put_off(t, framework)
        case WhyNot.PAUSED:
            remedy = "it reads what is sent to it; a callback that does not return keeps it"
        case WhyNot.SUPPRESSED:
            remedy = f"it revives role {told.role}"
        case WhyNot.DEMAND_MET:
            remedy = "it requests more, or withdraws its requests to be offered everything"
        case WhyNot.NO_AGENTS:
            remedy = "an agent registers"
        case WhyNot.ROLE_UNKNOWN:
            remedy = f"it subscribes with role {told.role}"
        case _:
            remedy = ""
    return Why(reason, reason.value, remedy)


def _disconnected(t: Tables, framework: FrameworkEntry) -> Why:
    gone = span(t.now_ms - framework.since_ms)
    due_ms = t.timers.due_ms((Timer.FAILOVER, framework.framework_id))
    soon = "" if due_ms is None else f" within {span(due_ms - t.now_ms)}, or it is removed"
    return Why(
        WhyNot.DISCONNECTED,
        f"its scheduler is not connected for {gone}",
        f"its scheduler subscribes again{soon}",
        since_ms=framework.since_ms,
        until_ms=due_ms,
    )


def _unanswered(t: Tables, framework: FrameworkEntry) -> Why:
    offers = sorted(framework.offers.values(), key=lambda offer: offer.made_ms)
    most = framework.conduct.offers_max or t.config.offers_outstanding_max
    since = ""
    if framework.conduct.offers_max is not None:
        since = f", since it let leases run out ({framework.offers_lapsed:,} so far)"
    named = ", ".join(offer.offer_id for offer in offers[:OFFERS_NAMED_MAX])
    more = f" and {len(offers) - OFFERS_NAMED_MAX:,} more" * (len(offers) > OFFERS_NAMED_MAX)
    return Why(
        WhyNot.UNANSWERED_OFFERS,
        f"it has {_count(len(offers), 'unanswered offer')} and may have {most:,}{since}",
        f"it answers {named}{more}",
        offer_id=offers[0].offer_id if offers else "",
        since_ms=offers[0].made_ms if offers else None,
    )


def _put_off(t: Tables, framework: FrameworkEntry) -> Why:
    due_ms = t.timers.due_ms((Timer.REVIVE, framework.framework_id))
    soon = "" if due_ms is None else f"; the next turn is in {span(due_ms - t.now_ms)}"
    remedy = f"it slows down, since {Misconduct.REVIVES.value}{soon}"
    return Why(WhyNot.PUT_OFF, WhyNot.PUT_OFF.value, remedy, until_ms=due_ms)


# --- agents ---------------------------------------------------------------------------------------


def _of_agents(t: Tables, framework: FrameworkEntry, told: Explained, blocked: Blocked) -> Why:
    reason, agent_ids = blocked.reason, blocked.agent_ids
    example = blocked.nearest or agent_ids[0]
    message, since_ms = reason.value, None
    lacks = ""
    if blocked.missing is not None:
        lacks = f"{blocked.nearest} lacks {lack_text(blocked.missing, blocked.missing_ports)}"
    match reason:
        case WhyNot.UNACKNOWLEDGED:
            waiting = sum(t.agents[i].unacknowledged[framework.framework_id] for i in agent_ids)
            remedy = f"it acknowledges the ends of {_count(waiting, 'task')}"
        case WhyNot.AGENT_AWAY:
            since_ms = min(t.agents[i].since_ms for i in agent_ids)
            remedy = f"the agent comes back; {example} went {span(t.now_ms - since_ms)} ago"
        case WhyNot.AGENT_PAUSED:
            remedy = "the agent reads on: its host or the network is slow"
        case WhyNot.AGENT_TROUBLED:
            message = f"{message}: {example} says that {t.agents[example].problem}"
            remedy = "that is mended there"
        case WhyNot.NO_AGENT_FITS:
            message = f"{message}: {lacks}"
            remedy = "it requests less, or a larger agent registers"
        case WhyNot.WHERE_UNMATCHED:
            remedy = _without_where(t, told, agent_ids)
        case WhyNot.NOTHING_FREE:
            remedy = f"tasks end there{_whose_tasks(t, agent_ids)}"
        case WhyNot.TOO_SMALL:
            least = " or ".join(str(amount) for amount in MIN_ALLOCATABLE)
            message = f"{message}: {example} has {t.allocator.free(example)}"
            remedy = f"more becomes free there: an offer holds {least} at least"
        case WhyNot.RESERVED:
            roles = t.allocator.free(example).roles()
            remedy = f"it subscribes with that role; {example}: {', '.join(sorted(roles))}"
        case WhyNot.DEMAND_TOO_LARGE:
            message = f"{message}: {lacks}"
            remedy = f"so much becomes free{_whose_tasks(t, (example,))}, or it requests less"
        case _:
            remedy = ""
    return Why(
        reason,
        message,
        remedy,
        len(agent_ids),
        example,
        since_ms=since_ms,
        missing=blocked.missing,
    )


def _refused(t: Tables, framework: FrameworkEntry, told: Explained, blocked: Blocked) -> Why:
    until_ms = min(blocked.ends_ms, default=None)
    soon = "" if until_ms is None else f" in {span(until_ms - t.now_ms)}"
    loops = [what.value for what in conduct.standing(t, framework) if what is not Misconduct.SILENT]
    if blocked.reason is WhyNot.REFUSED and loops:
        remedy = f"it slows down, since {' and '.join(loops)}; the first refusal ends{soon}"
    elif blocked.reason is WhyNot.REFUSED:
        again = "asks for more" if told.request is not None else "revives"
        remedy = f"it {again}, or the first of the refusals ends{soon}"
    else:
        remedy = f"it answers its offers in time; the first is offered again{soon}"
    return Why(
        blocked.reason,
        blocked.reason.value,
        remedy,
        len(blocked.agent_ids),
        blocked.agent_ids[0],
        until_ms=until_ms,
    )


def _with_another(t: Tables, framework: FrameworkEntry, blocked: Blocked) -> Why:
    """Somebody else is offered it: who, and in which offer, the oldest of several."""
    offers = [oldest_of_another(t, framework, agent_id) for agent_id in blocked.agent_ids]
    offer = min(offers, key=lambda one: one.made_ms)
    age, left = span(t.now_ms - offer.made_ms), span(offer.ends_ms - t.now_ms)
    what = offer.offer_id
    if len(offers) > 1:
        what = f"{len(offers):,} offers, the oldest {what},"
    who = f"{t.frameworks[offer.framework_id].info.name} ({offer.framework_id})"
    if len({one.framework_id for one in offers}) > 1:
        who = f"{who} and others"
    if blocked.reason is WhyNot.HELD:
        message = f"{who} holds {what} unanswered for {age}"
    else:
        message = f"{who} was offered {what} {age} ago: it was its turn"
    return Why(
        blocked.reason,
        message,
        f"it is answered, or the lease of {offer.offer_id} ends in {left}",
        len(blocked.agent_ids),
        offer.agent_id,
        offer.framework_id,
        offer.offer_id,
        since_ms=offer.made_ms,
        until_ms=offer.ends_ms,
    )


def _with_itself(t: Tables, framework: FrameworkEntry, blocked: Blocked) -> Why:
    """The framework's own offers are in its way: it must answer them."""
    there = set(blocked.agent_ids)
    offers = [offer for offer in framework.offers.values() if offer.agent_id in there]
    oldest = min(offers, key=lambda one: one.made_ms)
    what = oldest.offer_id
    what += f" for request {oldest.request_id}" * bool(oldest.request_id)
    return Why(
        blocked.reason,
        f"it has {what} in role {oldest.role} unanswered for {span(t.now_ms - oldest.made_ms)}",
        f"it answers {_count(len(offers), 'offer')}",
        len(blocked.agent_ids),
        oldest.agent_id,
        framework.framework_id,
        oldest.offer_id,
        since_ms=oldest.made_ms,
    )


def oldest_of_another(t: Tables, framework: FrameworkEntry, agent_id: str) -> OutstandingOffer:
    """The oldest offer of an agent that was made to another framework, of which there is one."""
    offers = t.agents[agent_id].offers.values()
    others = [offer for offer in offers if offer.framework_id != framework.framework_id]
    return min(others, key=lambda offer: offer.made_ms)


def _whose_tasks(t: Tables, agent_ids: tuple[str, ...]) -> str:
    """Who runs tasks on the most of these agents."""
    on: Counter[str] = Counter()
    for agent_id in agent_ids:
        on.update({holder for holder, _ in t.allocator.charges(agent_id)})
    if not on:
        return ""
    [(framework_id, count)] = on.most_common(1)
    entry = t.frameworks.get(framework_id)
    name = f"{entry.info.name} ({framework_id})" if entry is not None else framework_id
    return f": {name} has some of {count:,}" if len(agent_ids) > 1 else f": {name} has some of it"


def _without_where(t: Tables, told: Explained, agent_ids: tuple[str, ...]) -> str:
    if told.request is None:
        raise AssertionError("only a request has a `where`")
    unit = Unit(told.request.unit, told.request.ports)
    totals = (t.agents[agent_id].info.resources for agent_id in agent_ids)
    could = sum(unit.fits(size_for(total, told.role), 1) for total in totals)
    return f"without its `where`, {could:,} of them could hold a unit, empty"


# --- refused launches -----------------------------------------------------------------------------


def of_refused_launch(refusal: Refusal) -> str:
    """What would help a launch that was refused for this."""
    match refusal:
        case Refusal.TOO_LARGE:
            return "launch it on an offer that holds as much, or ask for less"
        case Refusal.NO_AGENT_FITS:
            return "ask for less, or start a larger agent"
        case Refusal.DUPLICATE_TASK:
            return "give each task an id of its own: an id is never used again"
        case Refusal.TOO_MANY_UNACKNOWLEDGED:
            return "acknowledge the statuses of tasks that have ended there"
        case Refusal.AGENT_FULL | Refusal.CONTAINERIZER_UNAVAILABLE:
            return "launch it on another agent"
        case Refusal.FENCE_HELD:
            return "launch it again when the task that has the key has ended"
        case Refusal.STORE_CONFLICT:
            return "read the entry again, and decide anew"
        case Refusal.STORE_FULL:
            return "remove what the framework's store need not hold"
        case Refusal.UNKNOWN_RESERVATION | Refusal.UNKNOWN_VOLUME:
            return "look what the next offer holds, and make what is missing"
        case Refusal.NO_RESOURCES | Refusal.INVALID_TASK:
            return "correct the task: launching it again as it is does not help"
        case Refusal.AGENT_UNREACHABLE | Refusal.RESULT_FORGOTTEN:
            return "reconcile: it may run"
        case _:
            return "launch it again, on another offer"


# --- words ----------------------------------------------------------------------------------------


def span(ms: int) -> str:
    """A length of time for people: `0.2 s`, `12 s`, `5 min`, `3 h`, `2 days`."""
    seconds = max(0, ms) / 1_000
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
