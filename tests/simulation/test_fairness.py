"""Fairness in the long run: shares are areas under curves, over a quarter of an hour and more.

Nothing is sampled and nothing depends on the machine: the same seed gives the same shares.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mesoslite import Offer, Resources, Scheduler, Task
from mesoslite.master.records import MasterConfig
from mesoslite.testing import Measurement, Simulation

SEEDS = (1, 2, 3)
WEIGHTS = {"light": 1_000, "middle": 2_000, "heavy": 4_000}
ONE = Resources(cpus=1, mem=64)
WARM_UP_S = 300


class Worker(Scheduler):
    """Never runs out of tasks of random lengths, and launches as many as fit."""

    def __init__(self, name: str, role: str, rng: random.Random, mean_s: float = 20) -> None:
        self.name, self.roles = name, (role,)
        self.rng, self.mean_s = rng, mean_s
        self.number = 0

    def task(self) -> Task:
        self.number += 1
        seconds = self.rng.expovariate(1 / self.mean_s)
        return Task(f"{self.name}-{self.number}", ["sleep", f"{seconds:.2f}"], ONE)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, [self.task() for _ in range(int(offer.resources.cpus))])


class Asker(Worker):
    """The same, and it states what it wants: a million tasks of one cpu."""

    def __init__(self, name: str, role: str, rng: random.Random, mean_s: float = 20) -> None:
        super().__init__(name, role, rng, mean_s)
        self.request(resources=ONE, count=1_000_000)


def busy_cluster(seed: int, agents: int = 7) -> Simulation:
    """Agents of four tasks each, and nothing left over."""
    return Simulation(
        seed,
        agents=agents,
        resources="cpus:4;mem:256",
        master=MasterConfig(weights=WEIGHTS),
        history=False,
    )


def worker(
    cluster: Simulation,
    name: str,
    role: str | None = None,
    mean_s: float = 20,
    kind: type[Worker] = Worker,
) -> None:
    """One more of them, of a role of its own unless told otherwise."""
    cluster.add(lambda: kind(name, role or name, cluster.rng(name), mean_s))


def parts(shares: dict[str, float]) -> dict[str, float]:
    """Each one's part of what all of them have together."""
    together = sum(shares.values())
    return {name: share / together for name, share in shares.items()}


def measured(cluster: Simulation, hours: float = 0.25) -> Measurement:
    """What happens once the first come has no advantage any more."""
    cluster.run(WARM_UP_S)
    measurement = cluster.measure()
    cluster.run(hours=hours)
    return measurement


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_of_one_two_and_four_give_shares_of_one_two_and_four(seed: int) -> None:
    cluster = busy_cluster(seed)
    # Those of the light one are longest, so that it would have most if turns were all that counts.
    for name, mean_s in (("light", 40), ("middle", 20), ("heavy", 10)):
        worker(cluster, name, mean_s=mean_s)
    later = measured(cluster)
    expected = {"light": 1 / 7, "middle": 2 / 7, "heavy": 4 / 7}
    assert parts(later.role_shares()) == pytest.approx(expected, rel=0.02)
    assert later.utilisation()["cpus"] > 0.97


@pytest.mark.parametrize("without", ["", "light", "heavy"])
def test_demand_is_met_by_the_same_shares_also_beside_who_states_none(without: str) -> None:
    cluster = busy_cluster(6)
    for name, mean_s in (("light", 40), ("middle", 20), ("heavy", 10)):
        worker(cluster, name, mean_s=mean_s, kind=Worker if name == without else Asker)
    later = measured(cluster)
    expected = {"light": 1 / 7, "middle": 2 / 7, "heavy": 4 / 7}
    assert parts(later.role_shares()) == pytest.approx(expected, rel=0.02)
    assert later.utilisation()["cpus"] > 0.97
    for name in expected:
        assert later.offers(name).declined == 0


def test_within_a_role_frameworks_share_alike_however_many_they_are() -> None:
    cluster = busy_cluster(4, agents=9)
    worker(cluster, "alone", "middle")
    for name in ("a", "b", "c"):
        worker(cluster, name, "heavy", mean_s={"a": 5, "b": 20, "c": 60}[name])
    later = measured(cluster)
    # 36 cpus: a third for one role, and of the other two thirds a third for each framework.
    expected = {"alone": 1 / 3, "a": 2 / 9, "b": 2 / 9, "c": 2 / 9}
    assert parts(later.shares()) == pytest.approx(expected, rel=0.02)


def test_who_comes_late_gets_its_due_as_soon_as_tasks_end() -> None:
    cluster = busy_cluster(5, agents=5)
    worker(cluster, "light")
    cluster.run(WARM_UP_S)
    assert cluster.measure().shares().keys() == {"light"}
    worker(cluster, "heavy")
    assert cluster.run_until(lambda c: len(c.schedulers["heavy"].states) >= 16, seconds=120)
    later = measured(cluster)
    assert parts(later.shares()) == pytest.approx({"light": 1 / 5, "heavy": 4 / 5}, rel=0.02)


# --- who spoils it --------------------------------------------------------------------------------


class Silent(Scheduler):
    """Keeps every offer and never answers."""

    name, roles = "silent", ("heavy",)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.hold(offer)


class Looper(Scheduler):
    """Gives every offer back at once, and wants it again at once."""

    name, roles = "looper", ("heavy",)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, [], refuse_s=0)


class Reviver(Scheduler):
    """Refuses for long, and revives for as long as somebody makes it to."""

    name, roles = "reviver", ("heavy",)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.decline(offers, refuse_s=3_600)


def spoiled(seed: int, spoiler: type[Scheduler]) -> tuple[Simulation, Measurement]:
    """Five minutes of a cluster of two workers and a third, which has the greatest weight."""
    cluster = busy_cluster(seed, agents=6)
    worker(cluster, "light")
    worker(cluster, "middle")
    cluster.run(60)
    node = cluster.add(spoiler)

    def revive() -> None:
        node.scheduler.revive()
        cluster.after(0.02, revive)

    if spoiler is Reviver:
        revive()
    cluster.run(60)
    measurement = cluster.measure()
    cluster.run(300)
    return cluster, measurement


@pytest.mark.parametrize("spoiler", [Silent, Looper, Reviver])
def test_nobody_keeps_a_cluster_from_the_others(spoiler: type[Scheduler]) -> None:
    cluster, minutes = spoiled(1, spoiler)
    assert parts(minutes.shares()) == pytest.approx({"light": 1 / 3, "middle": 2 / 3}, rel=0.05)
    # One agent of six at a time is kept for 30 s by who never answers, and not again for 60.
    assert minutes.utilisation()["cpus"] > (0.94 if spoiler is Silent else 0.99)
    assert minutes.offers(spoiler.name).made > 5
    if spoiler is not Reviver:  # who has hardly anything to forget may revive as it likes
        assert cluster.counts["master effect: Warn"] == 1
