"""Fair shares, on real daemons: dominant resources, weights, and a cluster that stays busy."""

from __future__ import annotations

from collections import Counter
from itertools import count

from mesoslite import Resources, Task, TaskState, TaskStatus
from mesoslite.v1 import operator_pb2
from mesoslite.wire.amounts import resources_from_wire
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

GIB = 1_024
ENDED = 60  # tasks of the busy cluster: ten times what runs at once


def greedy(name: str, needs: Resources) -> Recorder:
    """Has more tasks than there will ever be room for, and launches one on each offer.

    Whoever takes a whole agent at once is fair only in the long run; one after another the
    shares can be told beforehand.
    """
    tasks = [task(f"{name}-{n}", "exec sleep 600", needs=needs) for n in range(30)]
    return Recorder(name, tasks, role=name, per_offer=1, refuse_s=0)


def free(status: operator_pb2.GetStatusResponse) -> Resources:
    return resources_from_wire(status.total) - resources_from_wire(status.allocated)


def held(cluster: Cluster) -> dict[str, Resources]:
    """What each framework's tasks hold."""
    with cluster.operator() as operator:
        return {row.info.name: resources_from_wire(row.allocated) for row in operator.frameworks()}


def test_the_example_of_the_drf_paper() -> None:
    """Ghodsi et al., Dominant Resource Fairness, NSDI 2011, section 4.1: A gets 3 and B gets 2."""
    one, other = Resources(cpus=1, mem=4 * GIB), Resources(cpus=3, mem=1 * GIB)
    with (
        running_cluster() as cluster,
        recording(cluster, greedy("a", one)) as a,
        recording(cluster, greedy("b", other)) as b,
    ):
        # Both are there before the agent is, or the first would have all of it.
        cluster.start_agent("cpus:9;mem:18432")
        wait_until(lambda: a.count()[TaskState.RUNNING] == 3, "A runs three tasks")
        wait_until(lambda: b.count()[TaskState.RUNNING] == 2, "B runs two tasks")
        assert held(cluster) == {
            "a": Resources(cpus=3, mem=12 * GIB),
            "b": Resources(cpus=6, mem=2 * GIB),
        }
        assert free(cluster.status()) == Resources(mem=4 * GIB)


def test_weights_divide_an_empty_cluster() -> None:
    needs = Resources(cpus=1, mem=32)
    with (
        running_cluster("--weights=light=1,heavy=2") as cluster,
        recording(cluster, greedy("light", needs)) as light,
        recording(cluster, greedy("heavy", needs)) as heavy,
    ):
        cluster.start_agent("cpus:6;mem:4096")
        wait_until(lambda: light.count()[TaskState.RUNNING] == 2, "a third is the light one's")
        wait_until(lambda: heavy.count()[TaskState.RUNNING] == 4, "two thirds are the heavy one's")
        assert free(cluster.status()) == Resources(mem=4_096 - 6 * 32)


class Restless(Recorder):
    """Never runs out of short tasks."""

    def __init__(self, name: str) -> None:
        super().__init__(name, role=name, per_offer=1, refuse_s=0)
        self._numbers = count()
        self._supply()

    def _supply(self) -> None:
        number = next(self._numbers)
        self.waiting.append(
            Task(f"{self.name}-{number}", ["sleep", "0.3"], Resources(cpus=1, mem=32))
        )

    def launch(self, *arguments: object, **options: object) -> None:
        """As ever, and there is always another one."""
        super().launch(*arguments, **options)  # type: ignore[arg-type]
        if not self.waiting:
            self._supply()

    def ends(self) -> list[TaskStatus]:
        """Of the tasks that have ended."""
        return [status for status in list(self.statuses) if status.terminal]


def test_weights_divide_a_busy_cluster_as_tasks_come_and_go() -> None:
    with (
        running_cluster("--weights=light=1,heavy=2") as cluster,
        recording(cluster, Restless("light")) as light,
    ):
        assert isinstance(light, Restless)
        # The light one has all of it at first; the heavy one gets its due as tasks end.
        cluster.start_agent("cpus:6;mem:4096")
        wait_until(light.ends, "the light one is at work")
        with recording(cluster, Restless("heavy")) as heavy:
            assert isinstance(heavy, Restless)
            wait_until(heavy.ends, "the heavy one is at work")
            before = len(light.ends()), len(heavy.ends())
            wait_until(
                lambda: len(light.ends()) + len(heavy.ends()) - sum(before) >= ENDED,
                f"{ENDED} tasks have ended",
            )
            ended = [*light.ends()[before[0] :], *heavy.ends()[before[1] :]][: ENDED + 10]
        by_name = Counter(status.task_id.partition("-")[0] for status in ended)
        assert {status.state for status in ended} == {TaskState.FINISHED}
        assert 1.5 < by_name["heavy"] / by_name["light"] < 2.7, by_name
