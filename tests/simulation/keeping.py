"""A scheduler that keeps places on agents: reservations and volumes, made, used and given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mesoslite import (
    CreateVolume,
    DestroyVolume,
    Launch,
    Offer,
    OperationStatus,
    Reserve,
    Resources,
    Unreserve,
    VolumeMount,
)
from mesoslite.reservations import Change
from tests.simulation.restless import Restless

PLACES = ("p1", "p2")
PLACE = Resources(cpus="0.1", mem=32, disk=3)
VOLUMES = ("v1", "v2")
DISK = Resources(disk=1)


class Keeping(Restless):
    """Reserves, makes volumes and launches on them; sometimes what can not be."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]
        self.changes = 0
        self.ended: dict[str, OperationStatus] = {}
        """How each change that it asked for has ended, as it was told last."""

    def operation_update(self, status: OperationStatus) -> None:
        self.ended[status.operation_id] = status
        if not self.acknowledge_automatically and status.acknowledge:
            delay_s = self.rng.choice((0, 0.1, 3, 30)) if not self.calm else 0
            self.after(delay_s, lambda: self.acknowledge(status))

    def whim(self) -> None:
        if self.rng.random() < 0.1:
            asked = [self._id(self.rng.randrange(self.changes))] if self.changes else []
            self.reconcile_operations(*asked[: self.rng.randrange(2)])
        super().whim()

    def _id(self, number: int) -> str:
        return f"{self.name}-{self.run}-o{number}"

    def _new_id(self) -> str:
        """Mostly one of its own; sometimes none, or one that was used before."""
        chance = self.rng.random()
        if chance < 0.1:
            return ""
        if chance < 0.15 and self.changes:
            self.books.twice.add(self._id(self.changes - 1))
            return self._id(self.changes - 1)
        self.changes += 1
        return self._id(self.changes - 1)

    # --- answering --------------------------------------------------------------------------------

    def _launch_on(self, group: Sequence[Offer]) -> None:
        if self.rng.random() < 0.5:
            super()._launch_on(group)
            return
        operations: list[Launch | Change] = []
        for _ in range(self.rng.choice((1, 1, 2))):
            operations += self._some(group)
        if operations:
            self.accept(group, operations, refuse_s=self.rng.choice((None, 0, 10)))

    def _some(self, group: Sequence[Offer]) -> list[Launch | Change]:
        """Operations that mostly make sense with what the offers hold."""
        rng = self.rng
        place, volume = rng.choice(PLACES), rng.choice(VOLUMES)
        here = [one.reservation_id for offer in group for one in offer.reservations]
        free = [one for offer in group for one in offer.volumes]
        match rng.randrange(10):
            case 0 | 1:
                labels = {"of": rng.choice(("us", "us", "us", "them"))}
                kept: list[Launch | Change] = [Reserve(place, PLACE, labels, self._new_id())]
                if rng.random() < 0.6:
                    kept.append(CreateVolume(volume, DISK, place, self._new_id()))
                if len(kept) > 1 and rng.random() < 0.6:
                    kept.append(self._user(group[0], place, volume))
                return kept
            case 2:
                part = rng.choice((Resources.EMPTY, Resources(cpus="0.1"), PLACE))
                return [Unreserve(rng.choice((*here, place)), part, self._new_id())]
            case 3:
                on = rng.choice((*here, place, ""))
                return [CreateVolume(volume, DISK, on, self._new_id())]
            case 4 | 5:
                named = rng.choice((*(one.volume_id for one in free), volume))
                return [DestroyVolume(named, self._new_id())]
            case 6 | 7 | 8 if free:
                one = rng.choice(free)
                return [self._user(group[0], one.reservation_id, one.volume_id)]
            case _:
                return [self._user(group[0], place, volume)]

    def _user(self, offer: Offer, place: str, volume: str) -> Launch:
        """A task that uses a volume, and the cpus and mem of its place."""
        task = self._task(offer)
        needs = Resources(cpus="0.1", mem=32)
        if offer.role != "*":
            needs = needs.reserved(offer.role, place)
        mounts = (VolumeMount(volume, "data"),)
        task = replace(task, resources=needs, volumes=mounts)
        self.launched[task.task_id] = task
        return Launch(task)
