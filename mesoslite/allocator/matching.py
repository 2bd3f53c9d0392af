"""Matching: where the open requests of one cycle are met, agent by agent.

Two kinds of requests are looked at: those that are new, raised, or of a client that may be offered
something again, which the index leads to their agents; and those that wait, which only agents that
changed since the last cycle can fit. All others fit nothing: that was found out before, and within
a cycle agents only lose.

A request plans ahead: with `spread`, one agent for each unit from the most free downwards, or more
units for each agent where there are fewer agents; with `binpack`, agents filled one after another
from the tightest upwards. Whoever plans prefers agents that no other plan of the cycle names. What
of a plan has become untrue when its turn comes is left out, and another is made at its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice

from mesoslite.allocator.agents import Agent
from mesoslite.allocator.demand import Demand, Shape, Want
from mesoslite.allocator.index import AgentIndex
from mesoslite.allocator.roles import Client, Role
from mesoslite.allocator.sorter import quantities
from mesoslite.model import Policy
from mesoslite.reserved import of_nobody
from mesoslite.resources import Resources

PASSED_BY_MAX = 64  # agents of others' plans that a plan passes by before it shares one
_FETCHED_FIRST = 16  # agents that a walk takes from the index at first; four times more each time

_Step = tuple[Agent, int]  # so many units of it, or fewer


def available(agent: Agent, role: Role) -> Resources:
    """What a request in `role` may be served from, by name."""
    if not agent.reserved:
        return agent.free
    return of_nobody(agent.free.available_to(role.name))


def asking(demand: Demand, agent: Agent, able: int) -> int:
    """The clients of `able` that may want a part of the agent, and a few more.

    Whether one of them declined it, or its role may not have what is reserved, is left open:
    `choice` says. About 0.6 us for each shape that is not too large.
    """
    eligible = 0
    for shape in demand.shapes_up_to(quantities(agent.free)):
        those = shape.mask & able & ~eligible
        if those and shape.is_where(agent) and (agent.reserved or shape.unit.fits(agent.free, 1)):
            eligible |= those
    return eligible


def choice(client: Client, agent: Agent, agents: int) -> tuple[Want, int] | None:
    """The first request of the client that the agent fits, and how many units of it.

    `agents` may serve it, this one among them; with `spread` each gets as many units.
    """
    amount = available(agent, client.role)
    for want in client.open:
        units = want.fits(agent, amount)
        if units:
            spread = want.request.policy is Policy.SPREAD
            return want, min(units, -(-want.open // agents)) if spread else units
    return None


class _Walk:
    """The agents for requests of one shape and policy, in the order in which they are to be taken.

    All requests of the kind share it in a cycle, so a thousand requests look at each agent a few
    times, not a thousand. Who spreads goes on where the last one stopped, and begins again at the
    end; who packs leaves what still fits where it was.
    """

    def __init__(self, index: AgentIndex, want: Want) -> None:
        self._shape = want.shape
        tightest_first = want.request.policy is Policy.BINPACK
        self._of_index = index.tightest if tightest_first else index.most_free
        self._ahead: deque[Agent] = deque()
        self._passed: list[Agent] = []
        #: All that came from the index, which is walked anew from the front for more: agents only
        #: lose in a cycle, so none is missed.
        self._seen: set[Agent] = set()
        self._fetch = _FETCHED_FIRST
        #: All agents are in a plan for this shape by now, or were passed by.
        self.again = False

    @property
    def at_start(self) -> bool:
        """Whether all agents are still ahead."""
        return not self._passed

    def next(self) -> Agent | None:
        """The next agent, which is not there any more unless it is given back; None: the end."""
        if not self._ahead and self._fetch:
            most = self._fetch
            found = list(islice(self._of_index(self._shape), most))
            self._fetch = 4 * most if len(found) == most else 0
            self._ahead.extend(agent for agent in found if agent not in self._seen)
            self._seen.update(found)
        return self._ahead.popleft() if self._ahead else None

    def passed(self, agent: Agent) -> None:
        """It is there again for those who begin again."""
        self._passed.append(agent)

    def leave(self, agents: list[Agent]) -> None:
        """These, which were next, are so still."""
        self._ahead.extendleft(reversed(agents))

    def begin_again(self) -> None:
        """At the end: all that were passed are ahead."""
        self.again = True
        self._ahead.extend(self._passed)
        self._passed.clear()


class Matching:
    """The requests that one cycle looks at, and what they plan. Lives for that cycle."""

    def __init__(
        self, demand: Demand, index: AgentIndex, changed: Iterable[Agent], able: int
    ) -> None:
        self._index = index
        #: How many agents requests were compared with.
        self.compared = 0
        self._plans: dict[Want, list[_Step]] = {}
        #: How many plans name an agent.
        self._planned: dict[Agent, int] = {}
        #: The requests that may fit any agent; those that do not any more are taken out.
        self._woken = {want for want in demand.woken if want.client.mask & able}
        #: The agents that changed and may fit requests of this shape.
        self._changed: dict[Shape, list[Agent]] = {}
        if len(demand.woken) < demand.open:
            for agent in changed:
                self._note(demand, agent, able)
        self._walks: dict[tuple[Shape, Policy], _Walk] = {}
        #: Requests, and shapes for a role, that were found to fit nothing any more, whoever asks.
        self._unfit: set[Want | tuple[Shape, Role]] = set()
        #: The clients that were found to fit nothing any more.
        self._done = 0
        self._clients = 0
        self._count_clients()

    @property
    def clients(self) -> int:
        """The clients with requests that may still be met in this cycle."""
        return self._clients & ~self._done

    def drop(self, client: Client) -> None:
        """Nothing that the client wants fits anything in this cycle any more."""
        self._done |= client.mask

    def next_step(self, client: Client) -> tuple[Want, Agent, int] | None:
        """What the client is to be offered next: units of a request, of an agent. None: nothing.

        About 1 us when it was planned already.
        """
        for want in client.open:
            step = self._next_of(want)
            if step is not None:
                return want, *step
        return None

    # --- within -----------------------------------------------------------------------------------

    def _note(self, demand: Demand, agent: Agent, able: int) -> None:
        """Find out which shapes an agent that changed fits, for clients that do not look at all."""
        self.compared += 1
        for shape in demand.shapes_up_to(quantities(agent.free)):
            if not shape.mask & able or not shape.is_where(agent):
                continue
            if agent.reserved or shape.unit.fits(agent.free, 1):
                self._changed.setdefault(shape, []).append(agent)

    def _count_clients(self) -> None:
        clients = 0
        for want in self._woken:
            clients |= want.client.mask
        for shape in self._changed:
            clients |= shape.mask
        self._clients = clients

    def _next_of(self, want: Want) -> _Step | None:
        while True:
            plan = self._plans.get(want)
            while plan:
                agent, units = plan.pop()
                self._planned[agent] -= 1
                units = min(units, want.fits(agent, available(agent, want.client.role)))
                if units:
                    return agent, units
            if not self._plan(want):
                return None

    def _plan(self, want: Want) -> bool:
        """Plan where the open units of a request go. False when no agent fits one of them."""
        shape, role = want.shape, want.client.role
        if want in self._unfit or (shape, role) in self._unfit:
            return False
        if want in self._woken:
            steps = self._searched(want)
            if not steps and not want.declined:
                self._unfit.add((shape, role))
        elif shape in self._changed:
            few = len(self._changed[shape]) <= self._index.tuning.listed_max
            steps = self._listed(want) if few else self._searched(want)
            if not steps:
                self._forget_unfit(shape)
        else:
            return False
        if not steps:
            self._unfit.add(want)
            return False
        for agent, _ in steps:
            self._planned[agent] = self._planned.get(agent, 0) + 1
        steps.reverse()
        self._plans[want] = steps
        return True

    # --- of all agents ----------------------------------------------------------------------------

    def _searched(self, want: Want) -> list[_Step]:
        """The agents that take the open units, best first, each with how many."""
        key = want.shape, want.request.policy
        walk = self._walks.get(key)
        if walk is None:
            walk = self._walks[key] = _Walk(self._index, want)
        if want.request.policy is Policy.BINPACK:
            return self._packed(want, walk)
        whole = walk.at_start
        found: dict[Agent, None] = {}
        passed_by = self._go_on(want, walk, found, 0 if walk.again else PASSED_BY_MAX)
        if len(found) < want.open and (passed_by or not whole):
            walk.begin_again()
            self._go_on(want, walk, found, 0)
        return _shared_out(want, found)

    def _go_on(self, want: Want, walk: _Walk, found: dict[Agent, None], pass_by: int) -> int:
        """Find agents, as many as units are open, till the end of the walk.

        So many that others plan with are passed by, at most; returns how many were.
        """
        role = want.client.role
        planned = self._planned
        passed_by = 0
        not_mine: list[Agent] = []
        while len(found) < want.open and (agent := walk.next()) is not None:
            self.compared += 1
            if agent in found:
                walk.passed(agent)
            elif passed_by < pass_by and planned.get(agent):
                passed_by += 1
                walk.passed(agent)
            elif want.fits(agent, available(agent, role)):
                found[agent] = None
                walk.passed(agent)
            elif _is_for_others(want, agent):
                not_mine.append(agent)
        walk.leave(not_mine)
        return passed_by

    def _packed(self, want: Want, walk: _Walk) -> list[_Step]:
        steps: list[_Step] = []
        stays: list[Agent] = []
        left = want.open
        while left > 0 and (agent := walk.next()) is not None:
            self.compared += 1
            if units := _fits(want, agent):
                steps.append((agent, units))
                left -= units
                stays.append(agent)
            elif _is_for_others(want, agent):
                stays.append(agent)
        walk.leave(stays)
        return steps

    # --- of the agents that changed ---------------------------------------------------------------

    def _listed(self, want: Want) -> list[_Step]:
        """As `_searched`, of the few agents that changed and are ordered by cpus, then by mem."""
        pack = want.request.policy is Policy.BINPACK
        agents = sorted(self._changed[want.shape], key=_cpus_and_mem, reverse=not pack)
        self.compared += len(agents)
        if not pack:
            agents.sort(key=lambda agent: bool(self._planned.get(agent)))
        fitting = ((agent, units) for agent in agents if (units := _fits(want, agent)))
        if not pack:
            return _shared_out(want, [agent for agent, _ in islice(fitting, want.open)])
        steps: list[_Step] = []
        left = want.open
        while left > 0 and (step := next(fitting, None)) is not None:
            steps.append(step)
            left -= step[1]
        return steps

    def _forget_unfit(self, shape: Shape) -> None:
        """Let those who wait for this shape go once no agent fits it, whoever asks."""
        left = [a for a in self._changed[shape] if a.reserved or shape.unit.fits(a.free, 1)]
        if left:
            self._changed[shape] = left
        else:
            del self._changed[shape]
            self._count_clients()


def _fits(want: Want, agent: Agent) -> int:
    return want.fits(agent, available(agent, want.client.role))


def _is_for_others(want: Want, agent: Agent) -> bool:
    """Whether an agent that does not fit a request may fit others of its shape.

    If it may not, it is nothing for any of them in this cycle: agents only lose.
    """
    return agent.reserved or agent in want.declined


def _shared_out(want: Want, agents: Collection[Agent]) -> list[_Step]:
    """As many of the open units for each."""
    each = -(-want.open // len(agents)) if agents else 0
    return [(agent, each) for agent in agents]


def _cpus_and_mem(agent: Agent) -> tuple[int, int]:
    cpus, mem, *_ = quantities(agent.free)
    return cpus, mem
