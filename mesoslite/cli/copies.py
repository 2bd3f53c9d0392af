"""The framework behind `mesoslite run`: copies of one command, launched as fast as offers allow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mesoslite import Offer, Refusal, Scheduler, Task, TaskState, TaskStatus
from mesoslite.cli.outcome import Outcome, outcome_of
from mesoslite.cli.plan import Plan

REQUEST_ID = "copies"
FAILOVER_TIMEOUT_S = 10.0  # a `run` that was killed leaves its tasks no longer than this (D4)
#: DROPPED says that a task never started and never will; a copy is launched again so often.
ATTEMPTS_MAX = 10
#: Copies whose output is still being read. The master remembers only so many that have ended.
UNREAD_MAX = 500
REFUSE_WHILE_UNREAD_S = 0.5


class Copies(Scheduler):
    """Runs every copy of a plan to its end, once, and keeps what became of each.

    All its callbacks are coroutines on one loop with those who watch it; nothing here blocks.
    """

    failover_timeout_s = FAILOVER_TIMEOUT_S

    def __init__(self, plan: Plan, unread: Callable[[], int]) -> None:
        super().__init__()
        self.name = plan.framework_name
        self.roles = (plan.role,)
        self._plan = plan
        self._unread = unread
        self._next_copy = 1
        self._again: deque[tuple[int, int]] = deque()
        self.alive: dict[str, tuple[int, int]] = {}
        """Task id -> (copy, attempt) of those that were launched and have not ended."""
        self.states: dict[str, TaskState] = {}
        """Of those in `alive`, as far as it is known."""
        self.outcomes: dict[int, Outcome] = {}
        """By copy."""
        self.framework_id = ""
        self.giving_up = False
        self.refused = False
        """The master does not want this framework: nothing more is heard of its tasks."""
        self.over = asyncio.Event()
        """Every copy has ended, or none is alive any more and nothing more is launched."""
        self.moved_s = 0.0
        """When the newest copy was launched or ended, on the loop's clock."""
        self.away_since_s: float | None = None
        """Since when no master is heard, on the loop's clock; None while one is."""
        self.on_start: Callable[[str], None] = lambda task_id: None
        self.on_end: Callable[[str, Outcome | None], None] = lambda task_id, outcome: None
        self.on_trouble: Callable[[str], None] = lambda line: None
        self.on_impossible: Callable[[str], None] = lambda line: None
        self._ask()

    @property
    def waiting(self) -> int:
        """Copies that still want an offer."""
        return self._plan.count - self._next_copy + 1 + len(self._again)

    def _ask(self) -> None:
        """Want one offer's worth for each copy that waits; the launches count it down."""
        self.request(
            resources=self._plan.needs,
            count=self.waiting,
            where=self._plan.where_text,
            request_id=REQUEST_ID,
        )

    def give_up(self) -> None:
        """Launch nothing more and end what runs. `over` follows when all has ended."""
        self.giving_up = True
        self._next_copy = self._plan.count + 1
        self._again.clear()
        self._ask()
        for task_id in self.alive:
            self.kill(task_id)
        self._settle()

    async def subscribed(self, framework_id: str) -> None:
        """The master has us: it is told again what was asked for while it was away."""
        self.framework_id = framework_id
        self.away_since_s = None
        if self.giving_up:
            for task_id in self.alive:
                self.kill(task_id)

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Put as many copies as fit on each offer; the session gives back what is not used."""
        unasked = False
        for offer in offers:
            if not self.waiting or not self._plan.suits(offer):
                continue
            if self._unread() >= UNREAD_MAX:
                self.decline(offer, refuse_s=REFUSE_WHILE_UNREAD_S)
                continue
            if tasks := self._fitting(offer):
                # What of the offer is left comes back at once while copies wait.
                self.launch(offer, tasks, refuse_s=0.0 if self.waiting else None)
                unasked = unasked or not offer.request_id
        if unasked:  # on what is reserved for the role: nobody else has counted these down
            self._ask()

    def _fitting(self, offer: Offer) -> list[Task]:
        free = offer.resources
        room = min(self.waiting, self._plan.tasks_of_an_accept, UNREAD_MAX - self._unread())
        tasks: list[Task] = []
        while len(tasks) < room and (part := self._plan.part_of(free)) is not None:
            free -= part
            copy, attempt = self._take()
            task = self._plan.task(copy, attempt, part)
            self.alive[task.task_id] = (copy, attempt)
            self.states[task.task_id] = TaskState.STAGING
            tasks.append(task)
        if tasks:
            self.moved_s = asyncio.get_running_loop().time()
        return tasks

    def _take(self) -> tuple[int, int]:
        if self._again:
            return self._again.popleft()
        self._next_copy += 1
        return self._next_copy - 1, 1

    async def status_update(self, status: TaskStatus) -> None:
        """Follow each copy; one that never started is launched again under another id."""
        task_id = status.task_id
        if task_id not in self.alive:
            return
        if status.state is TaskState.UNREACHABLE:
            self.on_trouble(f"{task_id}: its agent is not heard of; it may come back")
        self.states[task_id] = status.state
        if status.state in (TaskState.RUNNING, TaskState.KILLING) or status.container_id:
            self.on_start(task_id)
        if status.terminal:
            self._end(status)

    def _end(self, status: TaskStatus) -> None:
        copy, attempt = self.alive.pop(status.task_id)
        del self.states[status.task_id]
        self.moved_s = asyncio.get_running_loop().time()
        again = status.state is TaskState.DROPPED and attempt < ATTEMPTS_MAX
        if again and not self.giving_up:
            self._again.append((copy, attempt + 1))
            self.on_end(status.task_id, None)
            self._ask()
        else:
            self.outcomes[copy] = outcome_of(status)
            self.on_end(status.task_id, self.outcomes[copy])
        self._settle()

    def _settle(self) -> None:
        if not self.alive and not self.waiting:
            self.over.set()

    async def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        """No agent could hold a copy, even an empty one."""
        if self.alive or self.outcomes or refusal is not Refusal.NO_AGENT_FITS:
            self.on_trouble(f"nothing more can be launched now: {message}")
        else:
            self.on_impossible(f"no agent can hold a task that needs {self._plan.needs}: {message}")

    async def disconnected(self, why: str) -> None:
        """The session goes on trying; the tasks run on meanwhile."""
        if self.away_since_s is None:
            self.away_since_s = asyncio.get_running_loop().time()
            self.on_trouble(f"the master is not heard ({why}); trying again")

    async def error(self, refusal: Refusal, message: str) -> None:
        """Nothing comes after this; `run_async` raises it for whoever awaits it."""
        self.refused = True
        for task_id in self.alive:
            self.on_end(task_id, None)
        self.over.set()
