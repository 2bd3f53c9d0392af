"""What always holds between the master's tables and its allocator, for tests to assert."""

from __future__ import annotations

from collections import Counter

from mesoslite.master import fences, operations, store
from mesoslite.master.records import AgentState, Tables, Timer
from mesoslite.resources import Resources, split_key

PRESENT = (AgentState.ACTIVE, AgentState.DISCONNECTED)


def check(t: Tables) -> None:
    """Assert every invariant; O(everything)."""
    t.allocator.check()
    t.timers.check()
    store.check(t)
    fences.check(t)
    operations.check(t)
    _check_streams(t)
    _check_offers(t)
    _check_tasks(t)
    _check_ledger(t)


def _check_streams(t: Tables) -> None:
    """A stream has one peer, and the peer knows it."""
    assert t.awaited == sum(a.state is AgentState.AWAITED for a in t.agents.values())
    assert t.gone.keys() == {i for i, a in t.agents.items() if a.state is AgentState.GONE}
    assert len(t.gone) <= t.config.gone_agents_max
    for agent_id, agent in t.agents.items():
        assert agent.info.agent_id == agent_id
        assert agent.state is not AgentState.GONE or not (agent.tasks or agent.waiting)
        assert (agent.stream is not None) == (agent.state is AgentState.ACTIVE)
        assert agent.stream is None or t.peers[agent.stream].agent_id == agent_id
    for framework_id, framework in t.frameworks.items():
        assert framework.framework_id == framework_id
        assert t.identities[framework.principal, framework.info.name] is framework
        assert (framework.stream is None) == (framework.deadline_ms is not None)
        assert framework.demand_roles <= set(framework.info.roles)
        assert len(framework.requests) <= t.config.requests_max
        assert framework.conduct.ask_later.keys() <= framework.requests.keys()
        for request_id, wanted in framework.requests.items():
            assert wanted.request.request_id == request_id
            assert wanted.request.role in framework.demand_roles
            assert wanted.units > 0
        put_off_ids = framework.conduct.ask_later.keys()
        units = {i: w.units for i, w in framework.requests.items() if i not in put_off_ids}
        known = t.allocator.wanted(framework_id)
        assert {i: wanted for i, (wanted, _) in known.items() if wanted} == units
        assert framework.stream is None or t.peers[framework.stream].framework_id == framework_id
        later = framework.conduct.revive_later
        put_off = later or framework.conduct.ask_later
        assert bool(put_off) == ((Timer.REVIVE, framework_id) in t.timers)
        assert not put_off or framework.stream is not None
        assert not framework.requests or framework.stream is not None
        assert later <= set(framework.info.roles)
    assert len(t.identities) == len(t.frameworks)
    streams = [a.stream for a in t.agents.values()] + [f.stream for f in t.frameworks.values()]
    assert sorted(s for s in streams if s is not None) == sorted(t.peers)


def _check_offers(t: Tables) -> None:
    """An offer stands between a framework that is here and an agent that is here, in all tables."""
    for offer_id, offer in t.offers.items():
        agent, framework = t.agents[offer.agent_id], t.frameworks[offer.framework_id]
        assert agent.offers[offer_id] is framework.offers[offer_id] is offer
        assert agent.stream is not None
        assert framework.stream is not None
        assert offer.role in framework.info.roles
        assert offer.resources == offer.resources.available_to(offer.role)
        assert (offer.units > 0) == bool(offer.request_id)
    assert sum(len(a.offers) for a in t.agents.values()) == len(t.offers)
    assert sum(len(f.offers) for f in t.frameworks.values()) == len(t.offers)
    for leases in (t.leases, t.short_leases):
        assert list(leases) == sorted(leases, key=lambda lease: lease[0])
    ends_ms = {offer_id: end_ms for end_ms, offer_id in (*t.leases, *t.short_leases)}
    assert all(ends_ms[offer.offer_id] == offer.ends_ms for offer in t.offers.values())
    assert t.offer_count == len(t.offers) + sum(t.offers_ended.values())


def _check_tasks(t: Tables) -> None:
    """A task is in its agent's table, and in its framework's while that exists."""
    for agent in t.agents.values():
        ended: Counter[str] = Counter()
        for (framework_id, task_id), entry in agent.tasks.items():
            framework = t.frameworks.get(framework_id)
            if framework is not None:
                assert (framework.tasks.get(task_id) is entry) != entry.double
            assert not (entry.holds and entry.state.terminal)
            assert not entry.holds or agent.state in PRESENT
            if framework is not None and entry.state.terminal and not entry.double:
                ended[framework_id] += 1
        assert ended == agent.unacknowledged
    for framework in t.frameworks.values():
        for task_id, entry in framework.tasks.items():
            assert t.agents[entry.agent_id].tasks[framework.framework_id, task_id] is entry


def _check_ledger(t: Tables) -> None:
    """Each unit of an agent is free, in one offer, or held by one task."""
    for agent_id, agent in t.agents.items():
        if agent.state not in PRESENT:
            continue
        left = agent.estate.total
        uses = [offer.resources for offer in agent.offers.values()]
        uses += [entry.task.resources for entry in agent.tasks.values() if entry.holds]
        for use in uses:
            if not left.covers(use):
                break  # the agent came back with less than its tasks hold: nothing may be free
            left -= use
        else:
            assert t.allocator.free(agent_id) == left
            continue
        assert not any(
            amount > left.scalar(key) for key, amount in t.allocator.free(agent_id).scalars.items()
        )
    for framework in t.frameworks.values():
        held = Counter[str]()
        for offer in framework.offers.values():
            held.update(_by_name(offer.resources))
        here = (e for agent in t.agents.values() for e in agent.tasks.values())
        for entry in here:
            if entry.holds and entry.framework_id == framework.framework_id:
                held.update(_by_name(entry.task.resources))
        charged = t.allocator.held(framework.framework_id)
        assert dict(charged) == {key: amount for key, amount in held.items() if amount}


def _by_name(amount: Resources) -> Counter[str]:
    """Thousandths of each scalar over all roles."""
    out = Counter[str]()
    for key, milli in amount.scalars.items():
        out[split_key(key)[0]] += milli
    return out
