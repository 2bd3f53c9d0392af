"""Several masters in a simulation: who leads, who speaks, and that nothing is lost by a change."""

from __future__ import annotations

from mesoslite import TaskState
from mesoslite.testing import Simulation
from mesoslite.testing.agenda import Agenda
from mesoslite.testing.clocks import HostClock
from tests.simulation.safety import Safety
from tests.simulation.sleepers import Sleepers

SESSION_S = 10


def _cluster(count: int = 3) -> tuple[Simulation, Safety]:
    """Three masters, of which one has led for a while, and a framework whose tasks never end."""
    cluster = Simulation(seed=1, masters=count, agents=2, check=True)
    safety = Safety(cluster)
    cluster.watchers.append(safety)
    node = cluster.add(lambda: Sleepers(2, "infinity"))
    assert cluster.run_until(lambda c: _running(c) == 2, seconds=60)
    assert node.framework_id == "1-F1"
    return cluster, safety


def _running(cluster: Simulation) -> int:
    return sum(state is TaskState.RUNNING for state in cluster.states().values())


def _goes_on(cluster: Simulation, epoch: int) -> None:
    """Another master leads, knows all, and nothing was started anew."""
    assert cluster.run_until(lambda c: c.master.leading and c.master.epoch == epoch, seconds=60)
    [scheduler] = cluster.schedulers.values()
    assert cluster.run_until(_knows_all, seconds=200)
    assert scheduler.framework_id == "1-F1"
    assert len(list(cluster.containers())) == 2
    assert _running(cluster) == 2


def _knows_all(cluster: Simulation) -> bool:
    machine = cluster.master.machine
    if machine is None or not all(node.connected for node in cluster.schedulers.values()):
        return False
    known = sum(len(agent.tasks) for agent in machine.tables.agents.values())
    return known == 2 and all(agent.stream for agent in machine.tables.agents.values())


def test_one_leads_and_the_others_wait() -> None:
    cluster, _ = _cluster()
    assert [node.leading for node in cluster.masters.values()] == [True, False, False]
    assert all(node.alive for node in cluster.masters.values())


def test_when_the_leader_dies_another_one_leads_and_nothing_is_lost() -> None:
    cluster, _ = _cluster()
    cluster.crash("m1")
    cluster.run(SESSION_S - 5)
    assert not any(node.leading for node in cluster.masters.values()), "its session lives yet"
    _goes_on(cluster, epoch=2)
    assert cluster.master.name == "m2"
    cluster.crash("m2", down_s=1)
    _goes_on(cluster, epoch=3)


def test_a_leader_that_was_stopped_for_too_long_ends_without_another_word() -> None:
    cluster, _ = _cluster()
    old = cluster.master
    for node in cluster.schedulers.values():
        node.tell(lambda scheduler: scheduler.revive())  # something for it to say
    cluster.stop(old, seconds=2 * SESSION_S, amid=True)
    _goes_on(cluster, epoch=2)
    assert cluster.run_until(lambda c: c.counts["fault: a leader has ended by itself"] == 1)
    assert cluster.run_until(lambda c: old.alive and not old.leading, seconds=10)


def test_a_leader_that_was_stopped_for_a_moment_goes_on_leading() -> None:
    cluster, _ = _cluster()
    cluster.stop(cluster.master, seconds=5)
    cluster.run(60)
    assert (cluster.master.name, cluster.master.epoch) == ("m1", 1)


class Another(Sleepers):
    """A framework of its own."""

    name = "another"


def test_what_an_earlier_leader_commits_is_refused() -> None:
    cluster, _ = _cluster()
    cluster.stop("m1", seconds=2 * SESSION_S)
    another = cluster.add(lambda: Another(0))  # subscribes at m1, which reads that when it goes on
    assert cluster.run_until(lambda c: c.master.epoch == 2, seconds=60)
    assert another.framework_id == ""
    assert cluster.run_until(lambda c: another.framework_id != "", seconds=60)
    assert another.framework_id == "2-F1"
    assert cluster.counts["fault: a commit of an earlier leader is refused"] == 1


def test_a_leader_that_is_cut_off_from_the_election_ends_before_the_next_one_begins() -> None:
    cluster, _ = _cluster()
    old = cluster.master
    cluster.partition(old, "election", seconds=40)
    assert cluster.run_until(lambda c: not old.leading, seconds=SESSION_S)
    assert not any(node.leading for node in cluster.masters.values())
    _goes_on(cluster, epoch=2)


def test_an_election_service_that_is_away_for_a_moment_changes_nothing() -> None:
    cluster, _ = _cluster()
    cluster.lose_election(seconds=4)
    cluster.run(60)
    assert (cluster.master.name, cluster.master.epoch) == ("m1", 1)


def test_an_election_service_that_is_away_for_long_ends_the_leader_and_nothing_else() -> None:
    cluster, _ = _cluster()
    cluster.lose_election(seconds=60)
    cluster.run(30)
    assert not any(node.leading for node in cluster.masters.values())
    assert len([c for c in cluster.containers() if c.live]) == 2
    cluster.run(35)
    _goes_on(cluster, epoch=2)


def test_a_process_reads_its_hosts_clock_once_and_counts_from_there() -> None:
    agenda = Agenda()
    host = HostClock(agenda)
    host.drift_ppm = 1_000
    before = host.started()
    host.set_forward(3_600_000)
    after = host.started()
    begun_ms = agenda.now_ms
    agenda.now_ms += 10_000
    assert before.read(agenda.now_ms) == begun_ms + 10_010
    assert after.read(agenda.now_ms) == begun_ms + 3_610_010
    assert host.started().read(agenda.now_ms) == begun_ms + 3_610_010
    for clock in (before, after):
        for reading_ms in range(begun_ms + 3_590_000, begun_ms + 3_592_500):
            due_ms = clock.due_ms(reading_ms)
            assert clock.read(due_ms) >= reading_ms > clock.read(due_ms - 1)
