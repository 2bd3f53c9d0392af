"""Workloads of the allocator: what one cycle costs. No clock, wire or process takes part.

The agents, and what is used of them, are those of Mesos's own benchmark, DeclineOffers in
src/tests/hierarchical_allocator_benchmarks.cpp, so that the figures can be put side by side.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

from benchmarks.measure import AtMost, Figure, Unit, settle_memory
from benchmarks.workload import Sizes, option, runs
from mesoslite.allocator import Allocator, Grant
from mesoslite.model import Request
from mesoslite.resources import Resources

AGENT = Resources(cpus=24, mem=4_096, disk=4_096, ports="[31000-32000]")
USED_CPUS = Resources(cpus=16)
USED_REST = Resources(mem=2_014, disk=1_024)
ONE_CPU = Resources(cpus=1)
NOTHING = Resources.EMPTY
FOR_EVER = 10**15
ROLE = "*"
DIRTY_PER_CENT = 1
DEMANDS = 10
UNITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size(Sizes):
    """How large a cluster."""

    agents: int = option("agents, all alike", at_least=100)
    frameworks: int = option("frameworks, all in one role", at_least=6)
    runs: int = runs(15)


def _figure(what: str, goal_ms: float | None = None, mesos: str = "-") -> Figure:
    return Figure(what, Unit.CPU_MS, None if goal_ms is None else AtMost(goal_ms), mesos)


def decline(size: Size) -> list[Figure]:
    """Every agent is offered, and every framework refuses every offer for ever."""
    goals: dict[tuple[int, int], tuple[float, str]] = {
        (10_000, 200): (26.0, "261-346 ms"),
        (10_000, 1_000): (38.0, "380-465 ms"),
    }
    cycle = _figure("a cycle offers all", *goals.get((size.agents, size.frameworks), ()))
    answers = _figure("all are declined")
    allocator = _cluster(size)
    # The first cycle also makes room in every agent's tables: not what a running master does.
    _decline_all(allocator, allocator.allocate(0))
    settle_memory()
    for now_ms in islice(size.each_run(), size.frameworks - 1):
        grants = cycle.time(partial(allocator.allocate, now_ms))
        assert len({grant.agent_id for grant in grants}) == len(grants) == size.agents
        answers.time(partial(_decline_all, allocator, grants))
    return [cycle, answers]


def refused(size: Size) -> list[Figure]:
    """Everybody has refused everything for ever: a cycle has nothing to offer."""
    idle = _figure("a cycle, nothing changed", 0.1, "950-970 ms at 1,000 x 200")
    allocator = _cluster(size)
    _refuse_everything(allocator, size)
    assert allocator.allocate(0) == []
    assert allocator.looked_at == size.agents
    settle_memory()
    for now_ms in size.each_run():
        assert idle.time(partial(allocator.allocate, now_ms)) == []
        assert allocator.looked_at == 0
    return [idle]


def dirty(size: Size) -> list[Figure]:
    """As `refused`, and one agent of a hundred changed: half shrink, half outgrow the refusals."""
    rng = random.Random(size.seed)
    cycle = _figure("a cycle, 1 % changed", 2.0)
    changes = _figure("these changes")
    allocator = _cluster(size)
    _refuse_everything(allocator, size)
    assert allocator.allocate(0) == []
    settle_memory()
    for now_ms in size.each_run():
        agents = rng.sample(range(size.agents), size.agents * DIRTY_PER_CENT // 100)
        shrink, grow = agents[::2], agents[1::2]
        changes.time(partial(_change, allocator, size, shrink, grow))
        grants = cycle.time(partial(allocator.allocate, now_ms))
        assert {grant.agent_id for grant in grants} == {_agent_id(n) for n in grow}
        assert allocator.looked_at == len(agents)
        for grant in grants:
            _settle(allocator, grant)
        _change(allocator, size, grow, shrink)
        assert allocator.allocate(now_ms) == []
    return [cycle, changes]


def join(size: Size) -> list[Figure]:
    """Agents join, and all of them are offered to the frameworks that wait."""
    joined = _figure("all join, all are offered", 100.0, "573-1,025 ms")
    for _ in size.each_run():
        allocator = _frameworks(size)
        settle_memory()
        grants = joined.time(partial(_join, allocator, size))
        assert len({grant.agent_id for grant in grants}) == len(grants) == size.agents
        per_framework = {allocator.outstanding(_framework_id(n)) for n in range(size.frameworks)}
        assert max(per_framework) - min(per_framework) <= 1
    return [joined]


def demand(size: Size) -> list[Figure]:
    """All state what they want: nothing, but for ten, of which each wants five units (D12)."""
    cycle = _figure("a cycle meets ten demands", 1.0)
    quiet = _figure("a cycle, one task ended")
    first = _figure("the first cycle, which makes the index")
    allocator = _frameworks(size)
    for number in range(size.frameworks):
        allocator.set_demand(_framework_id(number), ROLE, on=True)
    for number in range(size.agents):
        allocator.add_agent(_agent_id(number), AGENT)
    asked = [_framework_id(n) for n in range(0, size.frameworks, size.frameworks // DEMANDS)]
    asked = asked[:DEMANDS]
    _demand_and_launch(allocator, asked, partial(first.time, partial(allocator.allocate, 0)))
    settle_memory()
    for now_ms in size.each_run():
        run = partial(cycle.time, partial(allocator.allocate, now_ms))
        grants = _demand_and_launch(allocator, asked, run)
        assert len({(grant.framework_id, grant.agent_id) for grant in grants}) == len(grants)
        assert allocator.compared <= 2 * len(grants) * DEMANDS
        last = grants[-1]
        allocator.release(last.framework_id, ROLE, last.agent_id, last.resources)
        assert quiet.time(partial(allocator.allocate, now_ms)) == []
        for grant in grants[:-1]:
            allocator.release(grant.framework_id, ROLE, grant.agent_id, grant.resources)
    return [cycle, quiet, first]


# --- the parts of them ----------------------------------------------------------------------------


def _agent_id(number: int) -> str:
    return f"agent-{number:05}"


def _framework_id(number: int) -> str:
    return f"framework-{number:04}"


def _frameworks(size: Size) -> Allocator:
    allocator = Allocator(offers_outstanding_max=size.agents + 1)
    for number in range(size.frameworks):
        allocator.add_framework(_framework_id(number), [ROLE])
    return allocator


def _cluster(size: Size) -> Allocator:
    """Two thirds of each agent are used by tasks of two frameworks, a random port by each agent."""
    rng = random.Random(size.seed)
    allocator = _frameworks(size)
    for number in range(size.agents):
        port = rng.randrange(31_000, 32_001)
        used = [
            (_cpu_user(size, number), ROLE, USED_CPUS),
            (_framework_id((number + 1) % size.frameworks), ROLE, USED_REST),
            (_framework_id((number + 2) % size.frameworks), ROLE, Resources(ports=[(port, port)])),
        ]
        allocator.add_agent(_agent_id(number), AGENT, used)
    return allocator


def _cpu_user(size: Size, number: int) -> str:
    return _framework_id(number % size.frameworks)


def _demand_and_launch(
    allocator: Allocator, asked: list[str], run: Callable[[], list[Grant]]
) -> list[Grant]:
    """Each of `asked` wants five units, is offered them in the cycle `run`, and launches them."""
    for framework_id in asked:
        allocator.request(framework_id, Request("r", ROLE, ONE_CPU, UNITS))
    grants = run()
    offers = Counter(grant.framework_id for grant in grants)
    assert sum(grant.units for grant in grants) == len(asked) * UNITS
    assert set(offers) == set(asked)
    assert max(offers.values()) <= 2 * UNITS
    for grant in grants:
        who = grant.framework_id, ROLE, grant.agent_id
        allocator.settle(*who, grant.resources, grant.resources, grant.request_id, grant.units)
        allocator.launched(grant.framework_id, ROLE, grant.request_id, grant.units)
        assert grant.resources == ONE_CPU
    assert not any(allocator.wanted(framework_id) for framework_id in asked)
    return grants


def _settle(allocator: Allocator, grant: Grant) -> None:
    framework_id, role, agent_id = grant.framework_id, grant.role, grant.agent_id
    allocator.settle(framework_id, role, agent_id, grant.resources, NOTHING)


def _decline_all(allocator: Allocator, grants: Iterable[Grant]) -> None:
    for grant in grants:
        framework_id, role, agent_id = grant.framework_id, grant.role, grant.agent_id
        allocator.settle(framework_id, role, agent_id, grant.resources, NOTHING)
        allocator.refuse(framework_id, role, agent_id, grant.resources, FOR_EVER)


def _refuse_everything(allocator: Allocator, size: Size) -> None:
    for number in range(size.agents):
        agent_id = _agent_id(number)
        free = allocator.free(agent_id)
        for framework in range(size.frameworks):
            allocator.refuse(_framework_id(framework), ROLE, agent_id, free, FOR_EVER)


def _change(allocator: Allocator, size: Size, shrink: list[int], grow: list[int]) -> None:
    for number in shrink:
        allocator.charge(_cpu_user(size, number), ROLE, _agent_id(number), ONE_CPU)
    for number in grow:
        allocator.release(_cpu_user(size, number), ROLE, _agent_id(number), ONE_CPU)


def _join(allocator: Allocator, size: Size) -> list[Grant]:
    for number in range(size.agents):
        allocator.add_agent(_agent_id(number), AGENT)
    return allocator.allocate(0)
