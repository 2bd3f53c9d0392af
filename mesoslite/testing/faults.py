"""What can go wrong in a simulated cluster: each fault is a method, and `heal` mends all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator

from mesoslite.testing.agents import AgentNode
from mesoslite.testing.election import ELECTION_HOST, Election
from mesoslite.testing.masters import MasterNode
from mesoslite.testing.process import CrashPoint
from mesoslite.testing.schedulers import SchedulerNode
from mesoslite.testing.story import Story
from mesoslite.testing.world import Node, World

NAMES_SHOWN_MAX = 10  # to who names a node that there is not


class Faults(ABC):
    """The half of `Simulation` that breaks things. A node is named, or given.

    Each raises LookupError for a name that no node has.
    """

    counts: Counter[str]
    story: Story
    election: Election | None
    masters: dict[str, MasterNode]
    agents: dict[str, AgentNode]
    _world: World

    @property
    @abstractmethod
    def master(self) -> MasterNode:
        """The master that leads; while none does, the one that led last."""

    @abstractmethod
    def nodes(self) -> Iterator[Node]:
        """All of them: the masters, the agents, the schedulers."""

    @abstractmethod
    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in so much virtual time: break something, or call a scheduler."""

    def crash(
        self, node: Node | str, *, down_s: float | None = None, at: CrashPoint | None = None
    ) -> None:
        """A process dies, now or in its next turn, and is started again after `down_s` seconds.

        None: it stays down until `start`. `at` says where in its turn it dies.
        """
        node = self._node(node)
        if not node.alive:
            return
        self.counts[f"fault: crash of {_kind(node)}"] += 1
        if at is None:
            node.crash()
        elif isinstance(node, MasterNode | AgentNode | SchedulerNode) and node.process is not None:
            node.process.armed = at
        if down_s is not None:
            self.after(down_s, lambda: self.start(node))

    def start(self, node: Node | str) -> None:
        """Start a process that is down, unless it ended by itself."""
        node = self._node(node)
        ended = isinstance(node, SchedulerNode) and node.finish is not None
        ended |= isinstance(node, AgentNode) and bool(node.aborted)
        if not node.alive and not ended:
            node.start()

    def reboot(self, agent: AgentNode | str, *, down_s: float = 30) -> None:
        """A host dies with all its containers, and is back after a while."""
        node = self._agent(agent)
        self.counts["fault: reboot of a host"] += 1
        node.reboot()
        self.after(down_s, lambda: self.start(node))

    def damage_checkpoint(self, agent: AgentNode | str, *, down_s: float = 1) -> None:
        """An agent's process dies, and finds what it knew of one task damaged when it is back."""
        node = self._agent(agent)
        self.crash(node, down_s=down_s)
        key = node.checkpoint.damage(node.rng)
        if key is not None:
            self.counts["fault: damage of a checkpoint"] += 1
            self.story.note(node.name, f"its checkpoint of {'/'.join(key)} is damaged")
            for watcher in self._world.watchers:
                watcher.checkpoint_damaged(node, key)

    def kill_launcher(self, agent: AgentNode | str) -> None:
        """The parent of all containers of an agent dies, and they with it."""
        node = self._agent(agent)
        if node.kill_launcher():
            self.counts["fault: death of a launcher"] += 1

    def stop(self, node: Node | str, *, seconds: float, amid: bool = False) -> None:
        """A process is stopped (SIGSTOP) for a while, and then goes on where it was.

        At once, or `amid` a turn of it: what it decided is durable, and was not said yet.
        """
        node = self._node(node)
        assert isinstance(node, MasterNode | AgentNode | SchedulerNode)
        if not node.alive or node.stopped:
            return
        self.counts[f"fault: stop of {_kind(node)}"] += 1
        for_ms = round(seconds * 1_000)
        if amid and node.process is not None:
            node.process.stop_amid = lambda: node.stop(for_ms)
        else:
            node.stop(for_ms)

    def set_clock(self, node: Node | str, *, forward_s: float) -> None:
        """Somebody sets the wall clock of a host, back when negative: processes that are started
        there from now on see it."""
        node = self._node(node)
        assert isinstance(node, MasterNode | AgentNode | SchedulerNode)
        self.counts["fault: a clock was set"] += 1
        self.story.note(node.name, f"its clock is set {forward_s:+g} s")
        node.clock.set_forward(round(forward_s * 1_000))

    def lose_election(self, *, seconds: float) -> None:
        """Nobody reaches the election service for a while, nor the registry in it."""
        election = self.election
        if election is not None and not election.away:
            self.counts["fault: the election service is away"] += 1
            self.story.note("election", f"is away for {seconds:g} s")
            election.away = True
            self.after(seconds, election.come_back)

    def partition(
        self, node: Node | str, other: Node | str | None = None, *, seconds: float
    ) -> None:
        """Nothing passes between a node and another for a while, which may be `"election"`.

        Without another: between it and all masters, and for a master also all that it speaks to.
        """
        node = self._node(node)
        self.counts["fault: partition"] += 1
        whom = "" if other is None else f" from {other if isinstance(other, str) else other.name}"
        self.story.note(node.name, f"is cut off{whom} for {seconds:g} s")
        if other is not None:
            hosts = {ELECTION_HOST if other == ELECTION_HOST else self._node(other).host}
        elif isinstance(node, MasterNode):
            hosts = {ELECTION_HOST, *(each.host for each in self.nodes())}
        else:
            hosts = {ELECTION_HOST, *self.masters}
        for host in sorted(hosts - {node.host}):
            self._world.network.partition(node.host, host, round(seconds * 1_000))

    def cut(self, node: Node | str, *, notice_s: tuple[float | None, float | None]) -> None:
        """The connections between a node and the master break, losing some of what is on its way.

        Each side, the node's and the master's, notices after its own time, or never by itself.
        """
        node = self._node(node)
        notice_ms = tuple(None if s is None else round(s * 1_000) for s in notice_s)
        for connection in self._world.network.connections:
            if node.host in connection.hosts:
                self.counts["fault: cut of a connection"] += 1
                self.story.note(node.name, f"{connection.name} is cut")
                connection.cut(self._world.network.rng, (notice_ms[0], notice_ms[1]))

    def stall(self, node: Node | str, *, seconds: float) -> None:
        """What is on its way between a node and the master is late by this; nothing is lost."""
        node = self._node(node)
        for connection in self._world.network.connections:
            if node.host in connection.hosts:
                self.counts["fault: stall of a connection"] += 1
                connection.stall(round(seconds * 1_000))

    def fill_disk(self, node: MasterNode | AgentNode, *, seconds: float) -> None:
        """Nothing durable can be written on a host for a while."""
        self.counts["fault: disk full"] += 1
        self.story.note(node.name, f"has a full disk for {seconds:g} s")
        node.disk.full = True
        if isinstance(node, AgentNode):
            node.look_at_disk()
        self.after(seconds, lambda: setattr(node.disk, "full", False))

    def heal(self) -> None:
        """The network is good again, disks have room, and every process is started."""
        self.story.note("world", "heals")
        self._world.network.heal()
        self.master.disk.full = False
        if self.election is not None and self.election.away:
            self.election.come_back()
        for agent in self.agents.values():
            agent.disk.full = False
        for node in self.nodes():
            if isinstance(node, MasterNode | AgentNode | SchedulerNode):
                if node.process:
                    node.process.armed = node.process.stop_amid = None
                if node.stopped:
                    node.resume()
            self.start(node)

    def _node(self, node: Node | str) -> Node:
        if not isinstance(node, str):
            return node
        for each in self.nodes():
            if each.name == node:
                return each
        names = [each.name for each in self.nodes()]
        raise LookupError(f"no node is called {node!r}; there are {_listed(names)}")

    def _agent(self, agent: AgentNode | str) -> AgentNode:
        if isinstance(agent, AgentNode):
            return agent
        if agent not in self.agents:
            raise LookupError(f"no agent is called {agent!r}; there are {_listed([*self.agents])}")
        return self.agents[agent]


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _kind(node: Node) -> str:
    return {MasterNode: "a master", AgentNode: "an agent"}.get(type(node), "a scheduler")
