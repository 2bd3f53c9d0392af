"""Demand on real daemons: who asks is offered that alone, cut to size, also after a failover."""

from __future__ import annotations

from mesoslite import Refusal, Resources, TaskState
from mesoslite.v1 import operator_pb2
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

UNIT = Resources(cpus=0.5, mem=64)


class Asking(Recorder):
    """Requests as many units as it has tasks, where rack is r2, before it runs."""

    def __init__(self, count: int) -> None:
        tasks = [task(f"t{number}", "exec sleep 600", needs=UNIT) for number in range(count)]
        super().__init__("asking", tasks)
        self.refused: list[tuple[str, Refusal, str]] = []
        self.request(resources=UNIT, count=count, where="rack == r2", request_id="units")

    def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        self.refused.append((request_id, refusal, message))


def row(cluster: Cluster) -> operator_pb2.FrameworkRow:
    """The framework that asks, as people see it."""
    with cluster.operator() as operator:
        [found] = [row for row in operator.frameworks("asking") if row.info.name == "asking"]
        return found


def test_who_asks_is_offered_that_and_the_others_get_the_rest() -> None:
    with running_cluster() as cluster:
        cluster.start_agent("cpus:4;mem:1024", "--attributes=rack:r1")
        agent_id = cluster.start_agent(
            "cpus:4;mem:1024", "--attributes=rack:r2", "--region=eu", "--zone=a"
        ).until_active()
        with recording(cluster, Asking(3)) as asking:
            wait_until(lambda: asking.count()[TaskState.RUNNING] == 3, "what was asked for runs")
            [offer] = asking.offered
            assert (offer.agent_id, offer.resources) == (agent_id, UNIT + UNIT + UNIT)
            assert (offer.request_id, offer.region, offer.zone) == ("units", "eu", "a")
            assert row(cluster).requests == 0
            with recording(cluster, Recorder("rest")) as rest:
                wait_until(lambda: len(rest.offered) == 2, "the rest is offered to others")
                assert sorted(one.resources.cpus for one in rest.offered) == [2.5, 4]


def test_what_is_wanted_outlives_a_master_and_is_met_when_there_is_room() -> None:
    asking = Asking(3)
    with running_cluster() as cluster, recording(cluster, asking):
        agent = cluster.start_agent("cpus:1;mem:1024", "--attributes=rack:r2")
        wait_until(lambda: asking.count()[TaskState.RUNNING] == 2, "two units fit")
        cluster.kill_master()
        cluster.start_master()
        wait_until(lambda: len(asking.subscriptions) == 2, "it has subscribed again")
        agent.until_active()
        wait_until(lambda: row(cluster).first_requests, "it has said again what it wants")
        [wanted] = row(cluster).first_requests
        assert (wanted.request.request_id, wanted.request.count) == ("units", 1)
        cluster.start_agent("cpus:4;mem:1024", "--attributes=rack:r2")
        wait_until(lambda: asking.count()[TaskState.RUNNING] == 3, "the third runs")
        assert asking.offered[-1].resources == UNIT
        assert row(cluster).requests == 0
        assert asking.refused == []


def test_what_no_agent_could_hold_is_told_at_once() -> None:
    with running_cluster() as cluster:
        cluster.start_agent("cpus:2;mem:1024", name="small")
        asking = Asking(0)
        with recording(cluster, asking):
            asking.request(cpus=9, mem=64, request_id="large")
            wait_until(lambda: asking.refused, "it is told")
            [(request_id, refusal, message)] = asking.refused
            assert (request_id, refusal) == ("large", Refusal.NO_AGENT_FITS)
            assert message.startswith("the nearest, small (agent ")
            assert message.endswith("lacks cpus:7")
            assert asking.offered == []
