"""Watching any scheduler at work: what it is offered, what it decides, what becomes of its tasks.

The scheduler is not asked to cooperate: a subclass of its class, made here, tells of each callback
and each call, and does nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus
from mesoslite.cli.amounts import amount

PERCENT = 100


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened, in one of the four steps of two-level scheduling."""

    step: int
    """1 agents advertise, 2 the master offers, 3 the framework decides, 4 agents run."""
    text: str
    state: str = ""
    """Of a task, in step 4."""


@dataclass(slots=True)
class Story:
    """What has been seen so far. Written by the scheduler's thread, read by who shows it."""

    hostnames: dict[str, str] = field(default_factory=dict)
    """By agent id."""
    agent_of: dict[str, str] = field(default_factory=dict)
    """Of each task that was launched."""
    resources_of: dict[str, Resources] = field(default_factory=dict)
    states: dict[str, TaskState] = field(default_factory=dict)
    """The newest of each task."""
    offers: int = 0
    used_offers: set[str] = field(default_factory=set)
    """Those that something was launched on."""
    offered_s: dict[str, float] = field(default_factory=dict)
    """When an offer came, and by that each task that was launched on it; monotonic clock."""
    latencies_s: list[float] = field(default_factory=list)
    """From the offer's arrival to the news that the task runs."""

    def used(self, agent_id: str) -> Resources:
        """What the live tasks of the framework hold on an agent."""
        held = Resources.EMPTY
        for task_id, state in list(self.states.items()):
            if self.agent_of[task_id] == agent_id and not state.terminal:
                held += self.resources_of[task_id].scalars_only()
        return held

    def ends(self) -> Counter[str]:
        """How many tasks are in which state."""
        return Counter(state.name for state in self.states.values())

    def percentile_s(self, percent: int) -> float | None:
        """Of the latencies, by the nearest rank; None without any."""
        ordered = sorted(self.latencies_s)
        if not ordered:
            return None
        return ordered[max(0, -(-len(ordered) * percent // PERCENT) - 1)]


def watched(kind: type[Scheduler], story: Story, tell: Callable[[Moment], None]) -> type[Scheduler]:
    """A class that is `kind` and tells of everything. `tell` is called in the callbacks' thread."""

    class Watched(kind):  # type: ignore[misc, valid-type] # a class that comes as data
        def resource_offers(self, offers: Sequence[Offer]) -> Any:
            now_s = time.monotonic()
            story.offers += len(offers)
            for offer in offers:
                story.hostnames[offer.agent_id] = offer.hostname
                story.offered_s[offer.offer_id] = now_s
                tell(Moment(2, f"{offer.hostname} has {amount(offer.resources)} to offer"))
            returned = super().resource_offers(offers)
            if returned is None:  # a coroutine has not decided yet
                for offer in offers:
                    if offer.offer_id not in story.used_offers:
                        tell(Moment(3, f"leave the offer of {offer.hostname}"))
            return returned

        def launch(
            self,
            offers: Offer | Iterable[Offer],
            tasks: Task | Iterable[Task],
            *,
            refuse_s: float | None = None,
        ) -> None:
            given = [offers] if isinstance(offers, Offer) else list(offers)
            launched = [tasks] if isinstance(tasks, Task) else list(tasks)
            _keep_launch(story, given, launched)
            if given and launched:
                names = shortened([task.task_id for task in launched])
                tell(Moment(3, f"launch {names} on {given[0].hostname}"))
            super().launch(given, launched, refuse_s=refuse_s)

        def status_update(self, status: TaskStatus) -> Any:
            before = story.states.get(status.task_id)
            if status.task_id in story.agent_of and before is not status.state:
                story.states[status.task_id] = status.state
                if status.state is TaskState.RUNNING and status.task_id in story.offered_s:
                    began_s = story.offered_s.pop(status.task_id)
                    story.latencies_s.append(time.monotonic() - began_s)
                tell(_news(story, status))
            return super().status_update(status)

        def kill(self, task: Any, *, grace_s: float | None = None) -> None:
            tell(Moment(3, f"end {getattr(task, 'task_id', task)}"))
            super().kill(task, grace_s=grace_s)

    Watched.__name__ = kind.__name__
    return Watched


def _keep_launch(story: Story, offers: Sequence[Offer], tasks: Sequence[Task]) -> None:
    if tasks:
        story.used_offers.update(offer.offer_id for offer in offers)
    for task in tasks:
        story.agent_of[task.task_id] = offers[0].agent_id
        story.resources_of[task.task_id] = task.resources
        story.states[task.task_id] = TaskState.STAGING
        arrived_s = story.offered_s.get(offers[0].offer_id)
        if arrived_s is not None:
            story.offered_s[task.task_id] = arrived_s


def _news(story: Story, status: TaskStatus) -> Moment:
    where = story.hostnames.get(status.agent_id or story.agent_of[status.task_id], "")
    text = f"{status.task_id} on {where}" if where else status.task_id
    if status.message and status.state not in (TaskState.RUNNING, TaskState.FINISHED):
        text += f": {status.message}"
    return Moment(4, text, status.state.name)


def shortened(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
