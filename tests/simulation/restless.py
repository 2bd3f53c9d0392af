"""A scheduler that does everything a scheduler may do, and some things that it should not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from mesoslite import (
    Entry,
    Offer,
    Resources,
    Scheduler,
    Source,
    StoreCall,
    StoreClosed,
    StoreConflict,
    StoreError,
    StoreFull,
    Task,
    TaskReference,
    TaskStatus,
)
from mesoslite.lifecycle import TaskState
from tests.simulation.books import RIDES, Books

TASKS_MAX = 40  # launched by one run: the rest of its life it only declines
COMMANDS = (
    ["sleep", "2"],
    ["sleep", "9"],
    ["sleep", "40"],
    ["sleep", "infinity"],
    ["true"],
    ["sh", "-c", "exit 3"],
    ["segfault"],
    ["hog"],
    ["stubborn"],
    ["slow start"],
    ["no such file"],
    ["no root"],
    ["no spawn"],
    ["echo server"],
)


class Restless(Scheduler):
    """Launches, declines, holds, kills, and asks, as its own randomness has it."""

    failover_timeout_s = 90

    def __init__(
        self,
        name: str,
        rng: random.Random,
        roles: Sequence[str],
        *,
        by_hand: bool,
        first: bool,
        after: Callable[[float, Callable[[], None]], None],
        books: Books,
    ) -> None:
        self.name = name
        self.roles = roles
        self.acknowledge_automatically = not by_hand
        self.rng = rng
        self.first = first
        """The first process of its framework, which alone uses plain ids."""
        self.run = rng.randrange(10**6)
        self.after = after
        self.books = books
        self.framework_id = ""
        self.key: str | None = None
        """The fence of all tasks that it launches from now on; None: of some, one of two."""
        self.tasks_max = TASKS_MAX
        self.calm = False
        """Launches nothing any more, and ends what would run for ever."""
        self.manner = rng.choice((*["mannerly"] * 12, "silent", "looping", "hasty"))
        """Most answer what they are offered; the others are bounded by the master."""
        self.launched: dict[str, Task] = {}
        self.again: set[str] = set()
        """The tasks that it launched more than once: of these a refusal may mean any launch."""
        self.told: dict[str, TaskStatus] = {}
        self.held: dict[str, Offer] = {}
        self.received = 0

    # --- callbacks --------------------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        self.framework_id = framework_id
        if self.rng.random() < 0.5:
            at_least = self.books.newest(framework_id, "keep-1")
            with suppress(StoreClosed):
                entry = await self.store.get("keep-1")
                version = 0 if entry is None else entry.version
                self.books.read(framework_id, "keep-1", version, at_least)
                await self._written("keep-1", b"x" * self.rng.randrange(60), version)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        rng = self.rng
        if self.calm or len(self.launched) >= self.tasks_max:
            return
        if self.manner != "mannerly" and rng.random() < 0.9:
            self._be_unruly(offers)
            return
        of_agent: dict[tuple[str, str], list[Offer]] = {}
        for offer in [*self.held.values(), *offers]:
            of_agent.setdefault((offer.agent_id, offer.role), []).append(offer)
        self.held.clear()
        for group in of_agent.values():
            choice = rng.random()
            if choice < 0.45:
                self._launch_on(group)
            elif choice < 0.65:
                self.decline(group, refuse_s=rng.choice((None, 0, 1, 20)))
            elif choice < 0.9:
                self.hold(group)
                self.held.update({offer.offer_id: offer for offer in group})
                self.after(rng.choice((0.5, 5, 29.9, 40)), partial(self._late, group))
            # else: said nothing about, so the session gives them back

    def offer_rescinded(self, offer_id: str) -> None:
        if self.rng.random() < 0.7:  # else it tries with it all the same
            self.held.pop(offer_id, None)

    def status_update(self, status: TaskStatus) -> None:
        known = self.told.get(status.task_id)
        if known is None or not known.terminal:
            self.told[status.task_id] = status
        if not self.acknowledge_automatically and status.update_id:
            delay_s = self.rng.choice((0, 0.1, 3, 30)) if not self.calm else 0
            self.after(delay_s, lambda: self._acknowledge(status))
        if status.state is TaskState.RUNNING and self.rng.random() < 0.1:
            self.kill(status, grace_s=self.rng.choice((None, 0, 1, 10)))

    def framework_message(self, task_id: str, agent_id: str, data: bytes) -> None:
        self.received += 1

    # --- whims ------------------------------------------------------------------------------------

    def live(self) -> list[str]:
        """The tasks whose end it was not told yet."""
        return [t for t in self.launched if t not in self.told or not self.told[t].terminal]

    def whim(self) -> None:
        """Something that it calls out of nowhere."""
        rng = self.rng
        if self.framework_id and rng.random() < 0.3:
            self.keep_books()
        live = self.live()
        some = rng.choice(live) if live else "stranger"
        match rng.randrange(9):
            case 0 | 1:
                self.kill(some, grace_s=rng.choice((None, 0, 2)))
            case 2:
                self.kill("stranger")
            case 3:
                self.suppress(*rng.sample(list(self.roles), rng.randint(0, len(self.roles))))
            case 4 | 5:
                self.revive(*rng.sample(list(self.roles), rng.randint(0, len(self.roles))))
            case 6:
                self.reconcile(some, TaskReference("stranger", "a1"), "stranger")
            case 7:
                self.reconcile()
            case 8:
                for status in list(self.told.values())[-8:]:
                    if status.agent_id and not status.terminal:
                        self.message(status.task_id, status.agent_id, b"hello")

    def keep_books(self) -> None:
        """Read or write the store, sometimes with a version that may be right or wrong."""
        rng = self.rng
        key = rng.choice(("keep-1", "keep-2", "away-1", "away-2"))
        version = rng.choice((None, None, 0, self.books.newest(self.framework_id, key)))
        call: StoreCall[Any]
        match rng.randrange(5):
            case 0:
                at_least = self.books.newest(self.framework_id, key)
                call = self.store.get(key)
                call._when_done(lambda: self._was_read(call, key, at_least))
            case 1:
                call = self.store.keys("keep")
            case 2 if key.startswith("away"):
                call = self.store.delete(key, version)
                call._when_done(lambda: self._was_written(call, key, None))
            case _:
                value = b"y" * rng.choice((0, 10, 200, 900))
                call = self.store.put(key, value, version)
                call._when_done(lambda: self._was_written(call, key, value))

    async def _written(self, key: str, value: bytes, version: int) -> None:
        call = self.store.put(key, value, version)
        with suppress(StoreConflict, StoreFull):
            await call
        self._was_written(call, key, value)

    def _was_read(self, call: StoreCall[Entry | None], key: str, at_least: int) -> None:
        with suppress(StoreError):
            entry = call.wait()
            version = 0 if entry is None else entry.version
            self.books.read(self.framework_id, key, version, at_least)

    def _was_written(self, call: StoreCall[int], key: str, value: bytes | None) -> None:
        with suppress(StoreError):
            writer = f"{self.name} {self.run}"
            self.books.wrote(writer, self.framework_id, call.wait(), key, value)

    def use_what_is_held(self) -> None:
        """Launch on all offers that it holds, right now."""
        for offer in list(self.held.values()):
            self._late([offer])

    def calm_down(self) -> None:
        """From now on: no launches, and all offers are welcome."""
        self.calm = True
        self.held.clear()
        self.revive()

    def _be_unruly(self, offers: Sequence[Offer]) -> None:
        match self.manner:
            case "silent":
                self.hold(offers)
            case "looping":
                self.decline(offers, refuse_s=0)
            case _:
                self.decline(offers, refuse_s=1_000)
                self.revive()

    # --- launching --------------------------------------------------------------------------------

    def _late(self, group: Sequence[Offer]) -> None:
        """Answer held offers after a while; some of them may be void by then."""
        mine = [offer for offer in group if offer.offer_id in self.held]
        for offer in mine:
            del self.held[offer.offer_id]
        if mine:
            if self.rng.random() < 0.8 and not self.calm:
                self._launch_on(mine)
            else:
                self.decline(mine)

    def _launch_on(self, group: Sequence[Offer]) -> None:
        rng = self.rng
        tasks = [self._task(group[0]) for _ in range(rng.choice((1, 1, 1, 2)))]
        running = [
            self.launched[task_id]
            for task_id in self.live()
            if task_id in self.told and self.told[task_id].source is Source.AGENT
        ]
        if running and rng.random() < 0.1:
            tasks.append(rng.choice(running))  # its id is taken
            self.again.add(tasks[-1].task_id)
        if rng.random() < 0.05:
            tasks.append(tasks[0])
            self.again.add(tasks[0].task_id)
        refuse_s = rng.choice((None, None, 0, 10))
        if rng.random() < 0.15 and not self.again & {one.task_id for one in tasks}:
            task = tasks[0]
            changes = {RIDES + task.task_id: (b"", rng.choice((None, 0, 0, 7)))}
            self.books.riding.add((self.name, task.task_id))
            self.launch(group, task, refuse_s=refuse_s, store=changes)
            for other in tasks[1:]:
                del self.launched[other.task_id]
        else:
            self.launch(group, tasks, refuse_s=refuse_s)

    def _task(self, offer: Offer) -> Task:
        rng = self.rng
        # Sometimes one that other frameworks use as well, which an operator then has to name.
        task_id = f"{self.name}-{self.run}-{len(self.launched)}-{rng.randrange(1000)}"
        if self.first and rng.random() < 0.3:
            task_id = next(i for n in range(TASKS_MAX) if (i := f"t{n}") not in self.launched)
        resources = Resources(cpus=rng.choice((0.25, 0.5, 1)), mem=rng.choice((32, 64, 128)))
        if rng.random() < 0.03:
            resources = Resources(cpus=1_000, mem=32)
        elif rng.random() < 0.03:
            resources = Resources(disk=1)
        elif rng.random() < 0.1:
            resources = offer.resources - offer.resources.volumes()
        task = Task(
            task_id,
            rng.choice(COMMANDS),
            resources,
            kill_grace_ms=rng.choice((0, 500, 3_000)),
            max_completion_ms=rng.choice((None, None, None, 5_000)),
            containerizer=rng.choice((*[None] * 20, "docker")),
            user=rng.choice((*[None] * 20, "somebody")),
            fence=self.key or rng.choice((*[None] * 5, "key-1", "key-2")),
        )
        self.launched[task_id] = task
        return task

    def _acknowledge(self, status: TaskStatus) -> None:
        self.acknowledge(status)
