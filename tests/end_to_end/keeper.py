"""A scheduler that keeps one task on a volume of its own, for tests that kill everything around it.

    python -m tests.end_to_end.keeper CONTAINERIZER PATH [create]

Each task adds a line to the file `log` in the volume and runs until it is killed. Whenever none
runs the next is launched where the volume is offered; with `create` the volume is made first. What
it is told goes to stdout, one JSON object a line.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence

from mesoslite import (
    CreateVolume,
    Launch,
    Offer,
    OperationStatus,
    Reserve,
    Resources,
    Scheduler,
    Task,
    TaskStatus,
    VolumeMount,
    run,
)
from tests.end_to_end.recorder import say

NAME, ROLE = "keeper", "kept"
KEPT = Resources(cpus=0.5, mem=64, disk=100)
SIZE = Resources(disk=50)
HOLDS = Resources(cpus=0.2, mem=32, role=ROLE, reservation="place")


class Keeper(Scheduler):
    """Launches on volume `data`, which is in an offer exactly while no task uses it."""

    name = NAME
    roles = (ROLE,)

    def __init__(self, containerizer: str, path: str, *, create: bool) -> None:
        self._containerizer = containerizer
        self._path = path
        self._create = create

    def subscribed(self, framework_id: str) -> None:
        say("subscribed", framework_id=framework_id)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            if offer.volumes:
                self.launch(offer, self._next(), refuse_s=0)
            elif self._create:
                self._create = False
                volume = CreateVolume("data", SIZE, "place")
                first = Launch(self._next())
                self.accept(offer, [Reserve("place", KEPT), volume, first], refuse_s=0)
            else:
                self.decline(offer, refuse_s=0.2)

    def _next(self) -> Task:
        script = f"echo $MESOSLITE_TASK_ID >> {self._path}/log && exec sleep 600"
        return Task(
            uuid.uuid4().hex[:8],
            ["sh", "-c", script],
            HOLDS,
            containerizer=self._containerizer,
            volumes=[VolumeMount("data", self._path)],
        )

    def status_update(self, status: TaskStatus) -> None:
        message = status.message
        say("status", task_id=status.task_id, state=status.state.name, message=message)

    def operation_update(self, status: OperationStatus) -> None:
        say("operation", state=status.state.name, message=status.message)


if __name__ == "__main__":
    run(Keeper(sys.argv[1], sys.argv[2], create="create" in sys.argv[3:]))
