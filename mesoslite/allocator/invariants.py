"""What always holds between the allocator's structures, as assertions for tests."""

from collections import Counter
from collections.abc import Callable, Iterable

from mesoslite.allocator.agents import Agents
from mesoslite.allocator.filters import Refusals
from mesoslite.allocator.roles import Client, Framework, Roles
from mesoslite.allocator.sorter import Competitor, Holding, Quantities, quantities
from mesoslite.reserved import reserved_only
from mesoslite.resources import Resources


def check_ledgers(agents: Agents, roles: Roles, frameworks: Iterable[Framework]) -> None:
    """The same holdings by agent, by client and by role."""
    held: dict[Competitor, Holding] = {}
    claims: Counter[Client] = Counter()
    outstanding: Counter[Framework] = Counter()
    for agent in agents:
        claims.update(agent.held.keys())
        for client, amount in agent.claims():
            held.setdefault(client, Holding()).gain(quantities(amount))
            held.setdefault(client.role, Holding()).gain(quantities(amount))
        for offer in agent.offers:
            claims[offer.client] += 1
            outstanding[offer.client.framework] += 1
    for framework in frameworks:
        assert framework.outstanding == outstanding[framework]
        for client in framework.clients.values():
            assert client.claims == claims.pop(client, 0)
            assert client.by_name() == held.get(client, Holding()).by_name()
    assert not claims
    for role in roles:
        there = roles.get(role.name)
        assert there is role
        assert role.by_name() == held.get(role, Holding()).by_name()


def check_clients(frameworks: Iterable[Framework], able: int, asking: int, woken: int) -> None:
    """Whoever may be offered something is in exactly one of the sets, and nobody else."""
    expected_able = expected_asking = 0
    for framework in frameworks:
        assert framework.known or framework.clients
        assert framework.known or not framework.active
        for client in framework.clients.values():
            assert client.subscribed or client.claims
            if client.able() and client.demand:
                expected_asking |= client.mask
            elif client.able():
                expected_able |= client.mask
    assert (able, asking) == (expected_able, expected_asking)
    assert not woken & ~(able | asking)


def check_idle(agents: Agents, refusals: Refusals, able: int) -> None:
    """Nobody of `able` may have an idle agent."""
    for agent in agents.idle:
        if agent.view is not None:
            assert not able & ~refusals.counting(agent, agent.free)


def check_views(
    agents: Agents, refusals: Refusals, offerable: Callable[[Resources, Quantities], bool]
) -> None:
    """What is remembered of an agent is true."""
    for agent in agents:
        for view in (agent.view, *agent.views.values()):
            if view is not None:
                of = quantities(view.amount)
                assert view.quantities == of
                assert view.offerable == offerable(view.amount, of)
                assert view.refused == refusals.counting(agent, view.amount)
        for (name, demand), view in agent.views.items():
            amount = agent.free.available_to(name)
            assert view.amount == (reserved_only(amount) if demand else amount)
