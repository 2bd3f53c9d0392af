"""Why a framework is offered no more: asked now and then, so nothing is kept for it.

Each agent is looked at by the rules of the cycle, in its order, and counted under the first that
keeps it from the client. O(agents) for each role, ~1 us each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.filters import Refusals
from mesoslite.allocator.roles import Client
from mesoslite.explanation import Blocked, Explained
from mesoslite.model import WhyNot
from mesoslite.resources import Resources


def explain_client(
    client: Client,
    agents: Iterable[Agent],
    refusals: Refusals,
    offerable: Callable[[Resources], bool],
) -> Explained:
    """What keeps a framework from being offered more in one of its roles."""
    agents = list(agents)
    blocked = tuple(_of_all(client, agents)) or _of_agents(client, agents, refusals, offerable)
    outstanding = sum(holder is client for agent in agents for holder, _ in agent.offers)
    return Explained(client.role.name, offers=outstanding, blocked=blocked)


def _of_all(client: Client, agents: list[Agent]) -> Iterator[Blocked]:
    """What keeps everything from it: each of these is reason enough."""
    framework = client.framework
    if not framework.active:
        yield Blocked(WhyNot.DISCONNECTED)
    if client.suppressed:
        yield Blocked(WhyNot.SUPPRESSED)
    if framework.outstanding >= framework.outstanding_max:
        yield Blocked(WhyNot.UNANSWERED_OFFERS)
    if not agents:
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
    if any(holder.framework is client.framework for holder, _ in agent.offers):
        return None
    amount = agent.free.available_to(client.role.name) if agent.reserved else agent.free
    if offerable(amount):
        refused = refusals.counting(agent, amount) & client.mask
        return WhyNot.REFUSED if refused else None
    if agent.offers:
        return WhyNot.ANOTHERS_TURN
    if offerable(agent.free):
        return WhyNot.RESERVED
    return WhyNot.TOO_SMALL if agent.free else WhyNot.NOTHING_FREE
