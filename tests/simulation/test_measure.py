"""The figures of a simulation, compared with what can be told beforehand."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesoslite import Offer, Refusal, Resources, Scheduler, Task, take_fitting
from mesoslite.master.records import MasterConfig
from mesoslite.testing import Arrival, Simulation, meter, poisson

ROOT = Path(__file__).resolve().parent.parent.parent


class Queue(Scheduler):
    """Runs what is submitted, first come first, wherever there is room."""

    name = "queue"

    def __init__(self, name: str = "queue", role: str = "*") -> None:
        self.name, self.roles = name, (role,)
        self.waiting: list[Task] = []

    def submit(self, task: Task) -> None:
        self.waiting.append(task)
        self.revive()

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, take_fitting(self.waiting, offer.resources))
        if not self.waiting:
            self.suppress()


def job(task_id: str, seconds: float, cpus: float = 1, mem: float = 100) -> Task:
    return Task(task_id, ["sleep", str(seconds)], Resources(cpus=cpus, mem=mem))


def test_what_is_held_is_measured_as_long_as_it_is_held() -> None:
    cluster = Simulation(seed=1, agents=2, resources="cpus:4;mem:1000", check=True)
    one, other = cluster.add(Queue("one", "ads")), cluster.add(Queue("other", "web"))
    cluster.run(30)
    measured = cluster.measure()
    cluster.feed(one, [Arrival(0, job("a", 100, cpus=2))], Queue.submit)
    cluster.feed(other, [Arrival(0, job("b", 50, mem=500))], Queue.submit)
    cluster.run(200)
    # Two of 8 cpus for half of the time, a quarter of the memory for a quarter of it; within the
    # tenths of a second that starting takes.
    assert measured.seconds == 200
    assert measured.shares() == pytest.approx({"one": 2 / 8 / 2, "other": 1 / 4 / 4}, rel=0.01)
    assert measured.role_shares() == pytest.approx({"ads": 1 / 8, "web": 1 / 16}, rel=0.01)
    used = {"cpus": (2 * 100 + 1 * 50) / 1_600, "mem": (100 * 100 + 500 * 50) / 400_000}
    assert measured.utilisation() == pytest.approx(used, rel=0.01)


def test_a_measurement_counts_from_its_beginning() -> None:
    cluster = Simulation(seed=2, agents=1, resources="cpus:4;mem:1000")
    queue = cluster.add(Queue())
    cluster.feed(queue, [Arrival(at_s, job(f"t{at_s}", 10)) for at_s in (30, 60)], Queue.submit)
    whole = cluster.measure()
    cluster.run(50)
    second = cluster.measure()
    cluster.run(50)
    assert (whole.waits().count, second.waits().count) == (2, 1)
    assert whole.offers("queue").launched_on == 2
    assert second.offers("queue").launched_on == 1
    assert second.utilisation()["cpus"] == pytest.approx(10 / 200, rel=0.01)


def test_tasks_that_find_no_room_wait_and_are_seen_to_wait() -> None:
    cluster = Simulation(seed=3, agents=1, resources="cpus:1;mem:1000")
    queue = cluster.add(Queue())
    cluster.run(30)
    measured = cluster.measure()
    cluster.feed(queue, [Arrival(0, job(f"t{n}", 100)) for n in range(4)], Queue.submit)
    cluster.run(250)
    waits = measured.waits("queue")
    assert (waits.count, waits.waiting) == (3, 1)
    assert waits.p50_s == pytest.approx(100, rel=0.01)
    assert waits.max_s == waits.p99_s == pytest.approx(200, rel=0.01)
    assert waits.mean_s == pytest.approx(100, rel=0.01)
    assert measured.waits("nobody").count == 0


def test_refused_launches_and_every_fate_of_an_offer_are_counted() -> None:
    class Clumsy(Scheduler):
        name = "clumsy"
        answers: tuple[str, ...] = ("launch", "decline", "hold")

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            for offer in offers:
                answer, *rest = self.answers
                self.answers = (*rest, answer)
                if answer == "launch":
                    self.launch(offer, [job("huge", 1, cpus=1_000)], refuse_s=0)
                elif answer == "decline":
                    self.decline([offer], refuse_s=0)
                else:
                    self.hold(offer)

    cluster = Simulation(
        seed=4, agents=1, resources="cpus:1;mem:1000", master=MasterConfig(offer_lease_ms=5_000)
    )
    cluster.add(Clumsy())
    measured = cluster.measure()
    assert cluster.run_until(lambda _: measured.offers("clumsy").rescinded > 0, seconds=60)
    counted = measured.offers("clumsy")
    assert counted.made >= 3
    assert counted.launched_on >= 1
    assert counted.declined >= 1
    assert measured.refusals("clumsy").total() == counted.launched_on
    assert set(measured.refusals("clumsy")) <= set(Refusal)


def test_what_arrives_while_the_scheduler_is_down_waits_for_it() -> None:
    cluster = Simulation(seed=5, agents=1, resources="cpus:8;mem:1000")
    queue = cluster.add(Queue)
    measured = cluster.measure()
    cluster.feed(queue, [Arrival(40 + n, job(f"t{n}", 5)) for n in range(3)], Queue.submit)
    cluster.run(35)
    cluster.crash(queue, down_s=60)
    cluster.run(200)
    waits = measured.waits()
    assert (waits.count, waits.waiting) == (3, 0)
    assert waits.max_s > 50


def test_a_series_has_a_mean_for_each_stretch() -> None:
    cluster = Simulation(seed=6, agents=1, resources="cpus:1;mem:1000")
    queue = cluster.add(Queue())
    cluster.run(100)
    measured = cluster.measure(every_s=10)
    cluster.feed(queue, [Arrival(20, job("t", 20))], Queue.submit)
    cluster.run(60)
    assert [point.at_s for point in measured.series] == [110, 120, 130, 140, 150, 160]
    used = [point.utilisation["cpus"] for point in measured.series]
    assert used == pytest.approx([0, 0, 1, 1, 0, 0], abs=0.02)
    assert measured.series[2].shares["queue"] == used[2]


def test_a_series_that_grows_too_long_has_half_the_points_each_twice_as_long() -> None:
    cluster = Simulation(seed=7, agents=0)
    measured = cluster.measure(every_s=1)
    cluster.run(meter.SERIES_MAX - 1)
    assert len(measured.series) == meter.SERIES_MAX - 1
    cluster.run(1)
    assert len(measured.series) == meter.SERIES_MAX // 2
    assert [point.at_s for point in measured.series[:3]] == [2, 4, 6]
    cluster.run(10)
    assert [point.at_s for point in measured.series[-2:]] == [10_008, 10_010]


def test_arrivals_come_as_often_as_they_are_told_to() -> None:
    arrivals = list(
        poisson(random.Random(1), per_s=2, seconds=1_000, task=lambda n: job(f"t{n}", 1))
    )
    assert 1_900 < len(arrivals) < 2_100
    assert [arrival.task.task_id for arrival in arrivals[:2]] == ["t0", "t1"]
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert times[-1] < 1_000


def test_the_examples_of_the_page_run_as_printed(tmp_path: Path) -> None:
    """docs/simulation.md: the queue, then more agents, then a trace from a file."""
    text = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "trace.csv").write_text(
        "at_s,id,seconds,needs\n0,x,5,cpus:1;mem:64\n1.5,y,5,cpus:1\n"
    )
    look = "print(len(cluster.agents), measured.waits().count, cluster.states())"
    program = tmp_path / "example.py"
    program.write_text("\n".join((*blocks, look)))
    ran = subprocess.run(
        [sys.executable, program.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, second, *points, last = ran.stdout.splitlines()
    told = re.match(r"(\d+) tasks ran, half of them within [\d.]+ s, 99 % within [\d.]+ s", first)
    assert told is not None
    assert 700 < int(told[1]) < 1_000
    assert re.fullmatch(r"\d\d% of the cpus were used", second)
    assert len(points) == 12
    assert last == f"34 {int(told[1]) + 2} {{}}"
