"""Whether any agent could hold a unit of a request, if it were empty, and what it lacks if not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.cuts import Unit, of_nobody
from mesoslite.allocator.demand import Shape
from mesoslite.allocator.index import AgentIndex
from mesoslite.explanation import lack_text
from mesoslite.model import Request
from mesoslite.resources import Resources

_KEPT_MAX = 1_000  # verdicts, 1 kB each

_Question = tuple[str, Resources, int, str]


@dataclass(frozen=True, slots=True)
class Impossible:
    """No agent could hold one unit of a request, even if it were empty."""

    agent_id: str = ""
    """The one that comes nearest; empty: no agent is where the request wants to be."""
    missing: Resources | None = None
    """What it lacks, `ports` apart; None: no agent is where the request wants to be."""
    missing_ports: int = 0
    """How many ports it has too few, of those that need not be certain ones."""

    @property
    def lacks(self) -> str:
        """What it lacks, for people."""
        return "" if self.missing is None else lack_text(self.missing, self.missing_ports)


class Possible:
    """The verdicts about requests, kept until an agent comes, goes or changes its total."""

    def __init__(self) -> None:
        self._version = -1
        self._verdicts: dict[_Question, Impossible | None] = {}

    def why_not(self, index: AgentIndex, role: str, request: Request) -> Impossible | None:
        """Why no agent could ever hold a unit; None: one could, or there are no agents.

        A few us for each size of agent that there is; with a `where` that nothing matches, and was
        not asked before, 1 us for each agent.
        """
        sizes = index.by_total()
        if self._version != index.version or len(self._verdicts) >= _KEPT_MAX:
            self._version = index.version
            self._verdicts.clear()
        question = (role, request.unit, request.ports, request.where)
        if question not in self._verdicts:
            self._verdicts[question] = _why_not(sizes, role, request)
        return self._verdicts[question]


def size_for(total: Resources, role: str) -> Resources:
    """What an agent of this total has for a role when it is empty, by name."""
    amount = total.available_to(role)
    return amount if amount is total else of_nobody(amount)


def distance(unit: Unit, missing: Resources, missing_ports: int) -> float:
    """How far an amount that lacks so much is from holding the unit: 1 for each kind it has none
    of. What is nearest is found with it."""
    far = missing_ports / unit.ports if unit.ports else 0.0
    far += sum(lacks / unit.amount.scalar(at) for at, lacks in missing.scalars.items())
    return far + len(missing.ranges) + len(missing.sets)


def _why_not(
    sizes: dict[Resources, dict[Agent, None]], role: str, request: Request
) -> Impossible | None:
    if not sizes:
        return None
    shape = Shape((request.unit, request.ports, request.where), 0)
    nearest: Impossible | None = None
    least = 0.0
    for total, agents in sizes.items():
        agent_id = _first_there(shape, agents)
        if agent_id is None:
            continue
        missing, ports = shape.unit.missing(size_for(total, role))
        if not missing and not ports:
            return None
        far = distance(shape.unit, missing, ports)
        if nearest is None or (far, agent_id) < (least, nearest.agent_id):
            nearest, least = Impossible(agent_id, missing, ports), far
    return nearest or Impossible()


def _first_there(shape: Shape, agents: Iterable[Agent]) -> str | None:
    return next((agent.agent_id for agent in agents if shape.is_where(agent)), None)
