"""Whether any agent could hold a unit of a request, if it were empty, and what it lacks if not."""

from __future__ import annotations

from dataclasses import dataclass

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.cuts import Unit
from mesoslite.allocator.demand import Shape
from mesoslite.allocator.index import AgentIndex
from mesoslite.allocator.sorter import quantities
from mesoslite.explanation import lack_text
from mesoslite.model import Request
from mesoslite.reserved import of_nobody
from mesoslite.resources import Resources

_KEPT_MAX = 1_000  # verdicts, 1 kB each, and as many lists of largest sizes
_LARGEST_MAX = 32  # sizes that others are compared with, 0.4 us each; the rest count as largest

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
        #: By the text of a `where`: the agents there that no other is as large as in everything.
        self._largest: dict[str, list[Agent]] = {}

    def why_not(self, index: AgentIndex, role: str, request: Request) -> Impossible | None:
        """Why no agent could ever hold a unit; None: one could, or there are no agents.

        10 us for each size that no other size covers, of which most clusters have one or two.
        The first question after a change, and the first with a `where`, costs 1 us for each size
        and for each kind of agent; with hostnames that are not required, for each agent.
        """
        index.settle()
        if self._version != index.version:
            self._version = index.version
            self._verdicts.clear()
            self._largest.clear()
        question = (role, request.unit, request.ports, request.where)
        if question not in self._verdicts:
            if len(self._verdicts) >= _KEPT_MAX:
                self._verdicts.clear()
            self._verdicts[question] = self._judge(index, role, request)
        return self._verdicts[question]

    def _judge(self, index: AgentIndex, role: str, request: Request) -> Impossible | None:
        """Who is large enough, or nearest to it, is among the largest: others only lack more."""
        if not len(index):
            return None
        shape = Shape((request.unit, request.ports, request.where), 0)
        largest = self._largest.get(request.where)
        if largest is None:
            if len(self._largest) >= _KEPT_MAX:
                self._largest.clear()
            largest = self._largest[request.where] = _largest(index.sizes(shape))
        nearest: Impossible | None = None
        least = 0.0
        for agent in largest:
            missing, ports = shape.unit.missing(size_for(agent.total, role))
            if not missing and not ports:
                return None
            far = distance(shape.unit, missing, ports)
            if nearest is None or (far, agent.agent_id) < (least, nearest.agent_id):
                nearest, least = Impossible(agent.agent_id, missing, ports), far
        return nearest or Impossible()


def _largest(sizes: dict[Resources, Agent]) -> list[Agent]:
    """One agent of each size that no other size covers, and perhaps of some more."""
    largest: list[Agent] = []
    for total in sorted(sizes, key=quantities, reverse=True):
        if not any(other.total.covers(total) for other in largest[:_LARGEST_MAX]):
            largest.append(sizes[total])
    return largest


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
