"""Why a framework is offered no more: asked now and then, so nothing is kept for it.

Each agent is looked at by the rules of the cycle, in its order, and counted under the first that
keeps it from the client. O(agents) for each role and request, at most ~10 us each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import replace

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.demand import Demand, Want
from mesoslite.allocator.filters import Refusals
from mesoslite.allocator.matching import available
from mesoslite.allocator.possible import distance, size_for
from mesoslite.allocator.roles import Client
from mesoslite.explanation import Blocked, Explained
from mesoslite.model import WhyNot
from mesoslite.reserved import of_nobody
from mesoslite.resources import Resources


def explain_client(
    client: Client,
    agents: Iterable[Agent],
    refusals: Refusals,
    offerable: Callable[[Resources], bool],
) -> Explained:
    """What keeps a framework from being offered more in one of its roles."""
    agents = list(agents)
    blocked = tuple(of_all(client, agents)) or _of_agents(client, agents, refusals, offerable)
    outstanding = sum(offer.client is client for agent in agents for offer in agent.offers)
    return Explained(client.role.name, offers=outstanding, blocked=blocked)


def of_all(client: Client, agents: Sized) -> Iterator[Blocked]:
    """What keeps everything from it: each of these is reason enough."""
    framework = client.framework
    if not framework.active:
        yield Blocked(WhyNot.DISCONNECTED)
    if client.suppressed:
        yield Blocked(WhyNot.SUPPRESSED)
    if framework.outstanding >= framework.outstanding_max:
        yield Blocked(WhyNot.UNANSWERED_OFFERS)
    if not len(agents):
        yield Blocked(WhyNot.NO_AGENTS)


def _of_agents(
    client: Client,
    agents: list[Agent],
    refusals: Refusals,
    offerable: Callable[[Resources], bool],
) -> tuple[Blocked, ...]:
    found: dict[WhyNot, list[str]] = {}
    ends_ms: list[int] = []
    for agent in agents:
        reason = _of_agent(client, agent, refusals, offerable)
        if reason is None:
            continue
        found.setdefault(reason, []).append(agent.agent_id)
        if reason is WhyNot.REFUSED:
            amount = agent.free.available_to(client.role.name)
            ends_ms.append(refusals.until_ms(agent, amount, client.mask))
    return tuple(
        Blocked(reason, tuple(ids), tuple(ends_ms) if reason is WhyNot.REFUSED else ())
        for reason, ids in found.items()
    )


def _of_agent(
    client: Client,
    agent: Agent,
    refusals: Refusals,
    offerable: Callable[[Resources], bool],
) -> WhyNot | None:
    """What keeps what is free of the agent from the client; None: nothing, or it is offered it."""
    if not agent.active:
        return WhyNot.AGENT_AWAY
    if any(offer.client is client for offer in agent.offers):
        return None
    amount = agent.free.available_to(client.role.name) if agent.reserved else agent.free
    if offerable(amount):
        refused = refusals.counting(agent, amount) & client.mask
        return WhyNot.REFUSED if refused else None
    if agent.offers:
        return _whose_offer(client, agent)
    if offerable(agent.free):
        return WhyNot.RESERVED
    return WhyNot.TOO_SMALL if agent.free else WhyNot.NOTHING_FREE


def _whose_offer(client: Client, agent: Agent) -> WhyNot:
    """Who is offered what would be the client's otherwise: the framework itself before others."""
    own = any(offer.client.framework is client.framework for offer in agent.offers)
    return WhyNot.OWN_OFFER if own else WhyNot.ANOTHERS_TURN


# --- requests -------------------------------------------------------------------------------------


def explain_requests(
    client: Client, agents: Iterable[Agent], demand: Demand, most: int, request_id: str
) -> list[Explained]:
    """What keeps a framework from being offered more, in a role in which it says what it wants.

    One for each request that wants something, at most so many; one for the role if there is none.
    Named a request, only that one, if it is of this role.
    """
    agents = list(agents)
    whole = tuple(of_all(client, agents))
    wanting = [
        want for named, want in client.wants.items() if want.wanted and request_id in ("", named)
    ]
    if not wanting and not request_id:
        outstanding = sum(offer.client is client for agent in agents for offer in agent.offers)
        blocked = whole or (Blocked(WhyNot.DEMAND_MET),)
        return [Explained(client.role.name, offers=outstanding, blocked=blocked)]
    explained: list[Explained] = []
    for want in sorted(wanting, key=lambda want: not want.open)[:most]:
        if not want.open:
            blocked = (*whole, Blocked(WhyNot.DEMAND_MET))
        else:
            blocked = whole or _of_agents_for(want, agents, demand)
        outstanding = sum(len(agent.units.get(want, ())) for agent in agents)
        request = replace(want.request, count=want.wanted)
        explained.append(Explained(client.role.name, request, want.open, outstanding, blocked))
    return explained


def _of_agents_for(want: Want, agents: list[Agent], demand: Demand) -> tuple[Blocked, ...]:
    found: dict[WhyNot, list[Agent]] = {}
    for agent in agents:
        reason = _of_agent_for(want, agent)
        if reason is not None:
            found.setdefault(reason, []).append(agent)
    return tuple(_blocked(want, reason, those, demand) for reason, those in found.items())


def _of_agent_for(want: Want, agent: Agent) -> WhyNot | None:
    """What keeps a request from what is free of the agent; None: nothing, or it is offered it.

    What else is offered is in its way when it would fit with that and does not without.
    """
    client, unit = want.client, want.shape.unit
    if not agent.active:
        return WhyNot.AGENT_AWAY
    if not want.shape.is_where(agent):
        return WhyNot.WHERE_UNMATCHED
    if not unit.fits(size_for(agent.total, client.role.name), 1):
        return WhyNot.NO_AGENT_FITS
    if unit.fits(available(agent, client.role), 1):
        return WhyNot.REFUSED if agent in want.declined else None
    if want in agent.units:
        return None
    if agent.offers and unit.fits(size_for(_with_offers(agent), client.role.name), 1):
        return _whose_offer(client, agent)
    if not agent.free:
        return WhyNot.NOTHING_FREE
    return WhyNot.RESERVED if unit.fits(of_nobody(agent.free), 1) else WhyNot.DEMAND_TOO_LARGE


def _with_offers(agent: Agent) -> Resources:
    """What is free, and what would be if all offers came back."""
    free = agent.total
    for amount in agent.amounts_of_tasks():
        free = amount.missing(free)
    return free


def _blocked(want: Want, reason: WhyNot, agents: list[Agent], demand: Demand) -> Blocked:
    ids = tuple(agent.agent_id for agent in agents)
    if reason is WhyNot.REFUSED:
        ends_ms = [demand.declined_until_ms(want, agent) or 0 for agent in agents]
        return Blocked(reason, ids, tuple(ends_ms))
    if reason not in (WhyNot.NO_AGENT_FITS, WhyNot.DEMAND_TOO_LARGE):
        return Blocked(reason, ids)
    unit, role = want.shape.unit, want.client.role
    lacks = []
    for agent in agents:
        empty = reason is WhyNot.NO_AGENT_FITS
        amount = size_for(agent.total, role.name) if empty else available(agent, role)
        missing, ports = unit.missing(amount)
        lacks.append((distance(unit, missing, ports), agent.agent_id, missing, ports))
    _, nearest, missing, ports = min(lacks, key=lambda lack: lack[:2])
    return Blocked(reason, ids, (), nearest, missing, ports)
