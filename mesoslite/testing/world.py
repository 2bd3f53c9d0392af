"""What all processes of a simulated cluster share, and who may look on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mesoslite.model import Offer, TaskStatus
from mesoslite.operations import OperationStatus
from mesoslite.testing.agenda import Agenda
from mesoslite.testing.containers import Container
from mesoslite.testing.meter import Meter
from mesoslite.testing.network import Network
from mesoslite.testing.story import Story

if TYPE_CHECKING:
    from mesoslite.testing.agents import AgentNode
    from mesoslite.testing.masters import MasterNode
    from mesoslite.testing.schedulers import SchedulerNode


class Node(Protocol):
    """What the simulation asks of each node."""

    name: str
    host: str

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        ...

    def start(self) -> None:
        """Start its process, from what is durable."""
        ...

    def crash(self) -> None:
        """Its process dies at once."""
        ...


class Watcher:
    """Looks at everything that happens in a simulation, at the moment when it does.

    Subclass it and raise AssertionError when something must not be.
    """

    def turned(self, node: Node) -> None:
        """A process has handled and committed a batch, and has not performed it yet."""

    def spoke(self, node: MasterNode) -> None:
        """A master is about to say something, in the epoch that it holds to be its own."""

    def container_started(self, container: Container) -> None:
        """An agent has started a container; it is in the first phase of its start."""

    def container_ended(self, container: Container) -> None:
        """Nothing of a container lives any more, whoever is told of it."""

    def status_told(self, node: SchedulerNode, status: TaskStatus) -> None:
        """A scheduler's `status_update` is about to be called."""

    def operation_told(self, node: SchedulerNode, status: OperationStatus) -> None:
        """A scheduler's `operation_update` is about to be called."""

    def host_died(self, node: AgentNode, commits_lost: int) -> None:
        """A host was reset; so many of its agent's last commits were not on the disk yet."""

    def checkpoint_damaged(self, node: AgentNode, key: tuple[str, str]) -> None:
        """What an agent knew of a task, by its framework's id and its own, can not be read."""

    def offers_told(self, node: SchedulerNode, offers: Sequence[Offer]) -> None:
        """A scheduler's `resource_offers` is about to be called."""


class Names(dict[type, str]):
    """How the counts call each type, made once for each: ten thousand agents count in millions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, counted: type) -> str:
        name = self[counted] = f"{self._kind}: {counted.__name__}"
        return name


@dataclass(frozen=True, slots=True)
class World:
    """What all nodes share."""

    agenda: Agenda
    network: Network
    story: Story
    counts: Counter[str]
    watchers: list[Watcher]
    rng: Callable[[str], random.Random]
    """A source of randomness of its own for each name, made from the seed."""
    check: bool
    """Whether each machine checks its invariants after each batch."""
    meter: Meter
    history: bool
    """Whether what is over is kept: offers, statuses, and containers that were destroyed."""
