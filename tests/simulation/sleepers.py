"""A scheduler as the page about testing has it: it runs some tasks."""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite import Offer, Resources, Scheduler, Task, take_fitting

SMALL = Resources(cpus=1, mem=64)


class Sleepers(Scheduler):
    """Runs its tasks, each once, as soon as there is room."""

    name = "sleepers"

    def __init__(self, count: int = 6, seconds: str = "5") -> None:
        self.waiting = [Task(f"nap-{i}", ["sleep", seconds], SMALL) for i in range(count)]

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, take_fitting(self.waiting, offer.resources))
