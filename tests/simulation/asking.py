"""A scheduler that says what it wants, changes its mind, and wants what can not be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mesoslite import Offer, Refusal, Resources, Task, TaskState, TaskStatus
from tests.simulation.restless import Restless

REQUEST_IDS = ("r1", "r2", "r3", "r4")
WHERES = (
    "",
    "",
    "hostname != a1.example",
    "hostname in (a1.example, a2.example)",
    "not hostname == a2.example or has rack",
    "rack == r1",
)
LAST_ID = "last"
LAST_NEEDS = Resources(cpus=0.25, mem=32)
LAST_COUNT = 2


class Asking(Restless):
    """Requests, and uses what it is offered for it; what it is offered otherwise as `Restless`."""

    units: dict[str, Resources]
    """What one unit of each request needs."""
    unsatisfiable: int = 0

    def begin(self) -> None:
        """Ask before it runs, more often than not: so it is never offered anything else."""
        self.units = {}
        if self.rng.random() < 0.8:
            self.ask()

    def ask(self) -> None:
        """Want something, or more or less of it, or something else under the same id."""
        rng = self.rng
        request_id = rng.choice(REQUEST_IDS)
        unit = Resources(cpus=rng.choice((0.25, 0.5, 1)), mem=rng.choice((32, 64, 128)))
        if rng.random() < 0.05:
            unit = Resources(cpus=1_000, mem=32)
        self.units[request_id] = unit
        self.request(
            resources=unit,
            count=rng.choice((0, 1, 1, 2, 5)),
            where=rng.choice(WHERES),
            policy=rng.choice(("spread", "binpack")),
            role=rng.choice(list(self.roles)),
            request_id=request_id,
        )

    def ask_for_the_last_time(self) -> None:
        """Want what every cluster has room for, and nothing else."""
        self.withdraw(*REQUEST_IDS)
        self.units = {LAST_ID: LAST_NEEDS}
        self.request(resources=LAST_NEEDS, count=LAST_COUNT, role=self.roles[0], request_id=LAST_ID)

    # --- callbacks --------------------------------------------------------------------------------

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        super().resource_offers([offer for offer in offers if not offer.request_id])
        for offer in offers:
            if offer.request_id == LAST_ID:
                self.launch(offer, self._copies(offer, ["true"]))
            elif offer.request_id and not self.calm:
                self._answer(offer)

    def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        assert message
        self.unsatisfiable += 1

    def status_update(self, status: TaskStatus) -> None:
        super().status_update(status)
        # What a refused launch has freed is wanted again by itself; any other end is for us to say.
        if status.state is TaskState.FAILED and not self.calm and self.rng.random() < 0.3:
            self.ask()

    def whim(self) -> None:
        rng = self.rng
        match rng.randrange(6):
            case 0 | 1:
                self.ask()
            case 2:
                self.withdraw(rng.choice(REQUEST_IDS), "never-made")
            case 3 if rng.random() < 0.2:
                self.withdraw()
            case _:
                super().whim()

    # --- answering --------------------------------------------------------------------------------

    def _answer(self, offer: Offer) -> None:
        rng = self.rng
        choice = rng.random()
        if choice < 0.6:
            tasks = self._copies(offer, None)
            if tasks and rng.random() < 0.2:
                del self.launched[tasks.pop().task_id]  # a unit less than it could
            self.launch(offer, tasks, refuse_s=rng.choice((None, 0, 10)))
        elif choice < 0.75:
            self.decline(offer, refuse_s=rng.choice((None, 0, 1, 20)))
        elif choice < 0.9:
            self.hold(offer)
            self.held[offer.offer_id] = offer
            self.after(rng.choice((0.5, 5, 29.9, 40)), partial(self._late, [offer]))

    def _copies(self, offer: Offer, command: list[str] | None) -> list[Task]:
        """One task for each unit that the offer holds, as it knows the unit now."""
        unit, left = self.units.get(offer.request_id), offer.resources
        tasks: list[Task] = []
        while unit is not None and left.covers(unit):
            left -= unit
            task = self._task(offer)
            tasks.append(Task(task.task_id, command or task.command, unit, kill_grace_ms=500))
            self.launched[task.task_id] = tasks[-1]
        return tasks
