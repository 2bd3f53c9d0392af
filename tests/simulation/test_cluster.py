"""`mesoslite.testing.Simulation`, as the author of a framework uses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from mesoslite import Offer, Reason, Resources, Scheduler, Task, TaskState, TaskStatus
from mesoslite.explanation import FrameworkExplanation
from mesoslite.master.state import MasterConfig
from mesoslite.model import WhyNot
from mesoslite.testing import CrashPoint, Run, Simulation
from tests.simulation.sleepers import SMALL, Sleepers


def all_finished(cluster: Simulation) -> bool:
    states = cluster.states().values()
    return len(states) == 6 and all(state.terminal for state in states)


def all_running(cluster: Simulation) -> bool:
    states = cluster.states().values()
    return len(states) == 6 and all(state is TaskState.RUNNING for state in states)


def test_tasks_run_and_end_and_everything_can_be_read() -> None:
    cluster = Simulation(seed=1, agents=3, resources="cpus:2;mem:1024", check=True)
    sleepers = cluster.add(Sleepers())
    assert cluster.run_until(all_running, seconds=60)
    assert {agent: len(tasks) for agent, tasks in cluster.placement().items()} == {
        "a1": 2,
        "a2": 2,
        "a3": 2,
    }
    assert cluster.run_until(all_finished, seconds=60)
    assert cluster.passed_s < 15
    told = [status.state for status in cluster.statuses("nap-0")]
    assert told == [TaskState.RUNNING, TaskState.FINISHED]
    assert {offer.agent_id for offer in sleepers.offers} == {"a1", "a2", "a3"}
    assert [c.ended_ms is not None for c in cluster.containers()] == [True] * 6


def test_an_hour_takes_as_long_as_what_happens_in_it() -> None:
    cluster = Simulation(seed=1, agents=1)
    cluster.run(3_600)
    assert cluster.passed_s == 3_600


def test_what_a_command_does_is_up_to_the_test() -> None:
    cluster = Simulation(seed=1, runs=lambda spec: Run(seconds=1, oom=spec.task_id == "nap-0"))
    cluster.add(Sleepers())
    assert cluster.run_until(all_finished, seconds=60)
    ends = {task_id: cluster.statuses(task_id)[-1].reason for task_id in ("nap-0", "nap-1")}
    assert ends == {"nap-0": Reason.MEMORY_LIMIT, "nap-1": Reason.COMMAND_EXITED}


def test_tasks_outlive_their_scheduler_their_agent_and_the_master() -> None:
    cluster = Simulation(seed=2, check=True)
    cluster.add(lambda: Sleepers(seconds="1000"))
    assert cluster.run_until(all_running, seconds=60)
    for who in ("sleepers", "a1", "master"):
        cluster.crash(who, down_s=5)
        cluster.run(30)
    # One that hears nothing of the master's end notices the silence, after 75 s.
    assert cluster.run_until(all_running, seconds=300)
    assert sum(len(tasks) for tasks in cluster.placement().values()) == 6
    assert len(list(cluster.containers())) == 6


@pytest.mark.parametrize("point", CrashPoint)
def test_an_agent_that_dies_within_a_turn_starts_nothing_twice(point: CrashPoint) -> None:
    cluster = Simulation(seed=4, agents=1, resources="cpus:8;mem:1024")
    cluster.run(5)
    cluster.add(Sleepers())
    cluster.crash("a1", at=point, down_s=2)
    assert cluster.run_until(all_finished, seconds=600)
    started = Counter(container.spec.task_id for container in cluster.containers())
    assert max(started.values(), default=1) == 1


def test_a_host_that_dies_takes_its_tasks_with_it_and_says_so() -> None:
    cluster = Simulation(seed=5, agents=1, resources="cpus:6;mem:1024")
    cluster.add(lambda: Sleepers(seconds="300"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.reboot("a1", down_s=10)
    assert cluster.run_until(all_finished, seconds=60)
    # Which of the two depends on whether the agent's disk had kept that it took the task.
    ends = {status.reason for status in cluster.statuses("nap-0") if status.terminal}
    assert ends <= {Reason.HOST_REBOOTED, Reason.AGENT_RESTARTED}
    assert not any(cluster.placement().values())


def test_a_launcher_that_dies_is_an_answer_too() -> None:
    cluster = Simulation(seed=6, agents=1, resources="cpus:6;mem:1024")
    cluster.add(Sleepers(seconds="300"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.kill_launcher("a1")
    assert cluster.run_until(all_finished, seconds=60)
    assert cluster.statuses("nap-0")[-1].reason is Reason.LAUNCHER_TERMINATED


def test_an_agent_that_is_cut_off_is_unreachable_and_comes_back_with_its_tasks() -> None:
    cluster = Simulation(seed=7, agents=1, resources="cpus:6;mem:1024")
    cluster.add(Sleepers(seconds="1000"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.partition("a1", seconds=100)
    cluster.run(400)
    states = [status.state for status in cluster.statuses("nap-0")]
    assert states == [TaskState.RUNNING, TaskState.UNREACHABLE, TaskState.RUNNING]


def test_an_agent_that_was_stopped_is_unreachable_and_its_tasks_run_on() -> None:
    cluster = Simulation(seed=11, agents=1, resources="cpus:6;mem:1024", check=True)
    cluster.add(Sleepers(seconds="1000"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.stop("a1", seconds=100)
    cluster.run(400)
    states = [status.state for status in cluster.statuses("nap-0")]
    assert states == [TaskState.RUNNING, TaskState.UNREACHABLE, TaskState.RUNNING]
    assert len(list(cluster.containers())) == 6


@pytest.mark.parametrize("amid", [False, True])
def test_a_scheduler_that_was_stopped_goes_on_where_it_was(amid: bool) -> None:
    cluster = Simulation(seed=12, agents=1, resources="cpus:6;mem:1024", check=True)
    node = cluster.add(Sleepers(seconds="20"))
    cluster.stop(node, seconds=60, amid=amid)
    assert cluster.run_until(all_finished, seconds=200)
    assert cluster.passed_s > 60
    assert node.runs == 1
    assert cluster.counts["fault: stop of a scheduler"] == 1


def test_a_kill_outlives_the_absence_of_the_agent_and_the_death_of_the_master() -> None:
    cluster = Simulation(seed=13, agents=1, resources="cpus:6;mem:1024", check=True)
    node = cluster.add(Sleepers(seconds="infinity"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.partition("a1", seconds=60)
    cluster.run(1)
    node.tell(lambda scheduler: scheduler.kill("nap-0"))
    cluster.run(5)
    cluster.crash("master", down_s=5)
    assert cluster.run_until(lambda c: c.states()["nap-0"] is TaskState.KILLED, seconds=200)


def test_what_a_damaged_checkpoint_does_not_tell_is_ended_and_nothing_else() -> None:
    cluster = Simulation(seed=15, agents=1, resources="cpus:6;mem:1024", check=True)
    cluster.add(Sleepers(seconds="infinity"))
    assert cluster.run_until(all_running, seconds=60)
    cluster.damage_checkpoint("a1", down_s=5)
    cluster.run(60)
    [ended] = [task for task, state in cluster.states().items() if state is TaskState.FAILED]
    assert cluster.statuses(ended)[-1].reason is Reason.CHECKPOINT_DAMAGED
    assert sorted(cluster.placement()["a1"]) == sorted(cluster.states().keys() - {ended})


def test_an_agent_that_is_marked_gone_ends_with_its_tasks_and_stays_down() -> None:
    cluster = Simulation(seed=14, agents=1, resources="cpus:6;mem:1024", check=True)
    cluster.add(Sleepers(seconds="infinity"))
    assert cluster.run_until(all_running, seconds=60)
    request = cluster.mark_agent_gone("a1")
    cluster.run(30)
    answer = cluster.answer(request)
    assert answer is not None
    assert answer.tasks == 6
    assert set(cluster.states().values()) == {TaskState.GONE_BY_OPERATOR}
    assert not any(cluster.placement().values())
    cluster.heal()
    cluster.run(30)
    assert not cluster.agents["a1"].alive


def test_a_full_disk_delays_and_loses_nothing() -> None:
    cluster = Simulation(seed=8, agents=1, resources="cpus:6;mem:1024", check=True)
    cluster.fill_disk(cluster.agents["a1"], seconds=20)
    cluster.fill_disk(cluster.master, seconds=10)
    cluster.add(Sleepers())
    assert cluster.run_until(all_finished, seconds=120)
    assert cluster.passed_s > 20


def test_a_scheduler_that_was_added_as_an_object_is_one_process() -> None:
    cluster = Simulation(seed=9)
    node = cluster.add(Sleepers())
    cluster.crash(node)
    with pytest.raises(RuntimeError, match="add its class"):
        cluster.start(node)


def test_a_node_that_there_is_not_is_told_with_those_that_there_are() -> None:
    cluster = Simulation(seed=9, agents=2)
    with pytest.raises(LookupError, match=r"no node is called 'nobody'; there are master, a1, a2$"):
        cluster.crash("nobody")
    for break_it in (cluster.reboot, cluster.damage_checkpoint, cluster.kill_launcher):
        with pytest.raises(LookupError, match=r"no agent is called 'master'; there are a1, a2$"):
            break_it("master")
    cluster.add_agents(98, "cpus:1")
    with pytest.raises(LookupError, match=r"a9 and 91 more$"):
        cluster.partition("a1", "nobody", seconds=1)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"agents": -3}, "agents is 0 or more, not -3"),
        ({"masters": 0}, "masters is 1 or more, not 0"),
    ],
)
def test_a_cluster_has_no_less_than_none_of_anything(sizes: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Simulation(1, **sizes)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="agents is a whole number, not float"):
        Simulation(1, agents=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="agents is 0 or more"):
        Simulation(1).add_agents(-1, "cpus:1")


def test_what_is_added_is_a_scheduler_or_makes_one() -> None:
    cluster = Simulation(seed=9)
    with pytest.raises(TypeError, match="this is no Scheduler but str: sleepers"):
        cluster.add("sleepers")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Sleepers is a class of schedulers: give an object of it"):
        cluster.add(lambda: Sleepers)  # type: ignore[arg-type,return-value]


def test_an_exception_in_a_callback_ends_the_run_with_it() -> None:
    class Broken(Scheduler):
        name = "broken"

        def resource_offers(self, _offers: Sequence[Offer]) -> None:
            raise ZeroDivisionError("in the author's code")

    cluster = Simulation(seed=10)
    cluster.add(Broken())
    with pytest.raises(ZeroDivisionError):
        cluster.run(60)


def test_a_callback_may_be_async_and_may_not_wait_for_real_time() -> None:
    class Patient(Sleepers):
        waits = False

        async def status_update(self, status: TaskStatus) -> None:
            if self.waits:
                await asyncio.sleep(0)

    cluster = Simulation(seed=11)
    patient = Patient()
    cluster.add(patient)
    assert cluster.run_until(all_finished, seconds=60)
    patient.waits = True
    patient.waiting.append(Task("last", ["true"], SMALL))
    patient.revive()
    with pytest.raises(RuntimeError, match="virtual"):
        cluster.run(60)


def test_two_roles_share_a_busy_cluster_by_their_weights() -> None:
    class Ads(Sleepers):
        name, roles = "banner", ("ads",)

    class Web(Sleepers):
        name, roles = "shop", ("web",)

    cluster = Simulation(
        seed=12,
        agents=9,
        resources="cpus:1;mem:64",
        master=MasterConfig(weights={"ads": 2_000}),
        check=True,
    )
    ads, web = cluster.add(Ads(500)), cluster.add(Web(500))
    cluster.run(120)
    assert 1.7 < len(ads.states) / len(web.states) < 2.3


def test_operators_kill_tasks_and_remove_frameworks() -> None:
    cluster = Simulation(seed=13)
    node = cluster.add(Sleepers(seconds="300"))
    assert cluster.run_until(all_running, seconds=60)
    request = cluster.kill_task("nap-0", grace_s=0)
    assert cluster.run_until(lambda c: c.states()["nap-0"] is TaskState.KILLED, seconds=10)
    answer = cluster.answer(request)
    assert answer is not None
    assert answer.refusal is None
    cluster.teardown("sleepers")
    assert cluster.run_until(lambda c: not any(c.placement().values()), seconds=30)
    assert node.finish is not None


def test_agents_differ_by_their_number() -> None:
    cluster = Simulation(
        seed=14,
        agents=4,
        resources=lambda n: f"cpus:{n};mem:64",
        attributes=lambda n: f"rack:r{n % 2}",
        region="north",
        zone=lambda n: f"z{n}",
    )
    big = cluster.add_agents(2, "cpus:64;mem:1024", zone="z9")
    node = cluster.add(Sleepers(0))
    assert cluster.run_until(lambda _: len({offer.agent_id for offer in node.offers}) == 6, 60)
    offered = {offer.agent_id: offer for offer in node.offers}
    assert offered["a3"].resources == Resources(cpus=3, mem=64)
    assert [str(attribute) for attribute in offered["a3"].attributes] == ["rack:r1"]
    assert [agent.name for agent in big] == ["a5", "a6"]
    places = [(agent.info.region, agent.info.zone) for agent in (cluster.agents["a3"], big[1])]
    assert places == [("north", "z3"), ("", "z9")]


def test_without_history_only_what_lives_is_kept() -> None:
    cluster = Simulation(seed=15, agents=2, resources="cpus:1;mem:64", history=False, check=True)
    node = cluster.add(Sleepers(20))
    assert cluster.run_until(lambda c: c.counts["callback: OnStatus"] == 40, seconds=600)
    cluster.run(60)
    assert (node.offers, node.statuses, node.states) == ([], [], {})
    assert list(cluster.containers()) == []


def test_hours_are_a_word_too() -> None:
    cluster = Simulation(seed=16, agents=1)
    cluster.run(hours=2)
    assert cluster.passed_s == 7_200


def test_heartbeats_alone_leave_no_line_and_count() -> None:
    cluster = Simulation(seed=17, agents=1)
    cluster.run(60)
    before = list(cluster.story.lines())
    cluster.run(600)
    assert list(cluster.story.lines()) == before
    assert cluster.counts["word: Heartbeat"] >= 80


def test_why_a_framework_waits_and_what_became_of_a_task() -> None:
    cluster = Simulation(seed=1, agents=1, resources="cpus:1;mem:64")
    cluster.add(Sleepers())
    cluster.run(seconds=3)
    found = cluster.explain("sleepers")
    assert isinstance(found, FrameworkExplanation)
    assert [why.reason for role in found.roles for why in role.whys] == [WhyNot.NOTHING_FREE]
    assert "is RUNNING on a1" in cluster.explain("nap-0").verdict
    with pytest.raises(LookupError, match="nobody"):
        cluster.explain("nobody")
    cluster.crash("master")
    with pytest.raises(LookupError, match="no master is up"):
        cluster.explain("sleepers")


class Silent(Scheduler):
    """Keeps every offer and never answers."""

    name = "silent"

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.hold(offer)


class Looper(Scheduler):
    """Gives everything back at once, for no time at all."""

    name = "looper"

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.decline(offers, refuse_s=0)


class Reviver(Scheduler):
    """Refuses everything for an hour."""

    name = "reviver"

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.decline(offers, refuse_s=3_600)


def test_the_silent_the_greedy_and_the_hasty_are_bounded_and_the_others_work_on() -> None:
    cluster = Simulation(seed=1, agents=5, resources="cpus:2;mem:1024")
    unruly = [cluster.add(Silent), cluster.add(Looper), cluster.add(Reviver)]
    reviver = unruly[2].scheduler

    def revive() -> None:
        reviver.revive()
        cluster.after(0.01, revive)

    cluster.after(1, revive)
    cluster.run(seconds=40)
    sleepers = cluster.add(Sleepers())
    assert cluster.run_until(all_finished, seconds=60)
    assert set(sleepers.states.values()) == {TaskState.FINISHED}
    named = {what for what in cluster.counts if what.startswith("misconduct")}
    assert named == {"misconduct: SILENT", "misconduct: DECLINES", "misconduct: REVIVES"}
    silent, looper, hasty = (len(node.offers) for node in unruly)
    assert silent < 5 + 5  # all at first, then one at a time
    assert looper < 105 + (5 + 10) * cluster.passed_s  # each agent once a second, and ten more
    assert hasty < 5 * 5 * cluster.passed_s + 100  # five times a second, whatever is free
