"""kill -9 of each part in turn: tasks run on, and everybody is told what became of them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from mesoslite import FrameworkError, Reason, Refusal, Resources, TaskState
from mesoslite.resources import total_of
from mesoslite.v1 import operator_pb2
from mesoslite.wire.amounts import resources_from_wire
from tests.end_to_end.cluster import Agent, Cluster, Json, Program, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root

# Each start of it leaves a line in its sandbox; it ends with 7 once there is a file `go` beside.
RUNS = "echo $$ >> starts; exec sleep 600"
WAITS = "echo $$ >> starts; until [ -e go ]; do sleep 0.05; done; exit 7"


@pytest.fixture(params=["process", "oci"])
def containerizer(request: pytest.FixtureRequest) -> str:
    """Each of those that this host can run."""
    if request.param == "oci":
        need_root()
    return str(request.param)


def told(program: Program) -> list[Json]:
    """What a scheduler's process wrote, whole lines only."""
    return [
        json.loads(line)
        for line in program.out.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def until_told(program: Program, task_id: str, state: str) -> Json:
    def found() -> Json | None:
        return next(
            (s for s in told(program) if s.get("task_id") == task_id and s["state"] == state), None
        )

    hit = wait_until(lambda: found() or not program.running, f"{task_id} is {state}")
    assert isinstance(hit, dict), program.said()[-2_000:]
    return hit


def until_ended(agent: Agent, task_id: str) -> None:
    """Wait until a container has ended; its launcher forgets it once the agent knows."""

    def ended() -> bool:
        known = agent.containers().get(task_id)
        return known is None or known["event"] == "exited"

    wait_until(ended, f"{task_id} has ended")


def pids(agent: Agent, *task_ids: str) -> dict[str, tuple[int, str]]:
    """The processes of running tasks: with the time of its start a pid names one for ever."""
    known = agent.containers()
    return {
        task_id: (pid := known[task_id]["pid"], start_of(pid))
        for task_id in task_ids
        if known[task_id]["event"] == "started"
    }


def start_of(pid: int) -> str:
    """When a process started, in clock ticks after boot; see proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def started_once(agent: Agent, *task_ids: str) -> bool:
    return all(
        len((agent.sandbox(task_id) / "starts").read_text().splitlines()) == 1
        for task_id in task_ids
    )


def assert_nothing_counted_twice(status: operator_pb2.GetStatusResponse, cluster: Cluster) -> None:
    """What tasks hold and offers hold, listed one by one, is what the sums say, and fits."""
    with cluster.operator() as operator:
        agents, tasks, offers = operator.agents(), operator.tasks(), operator.offers()
    for rows in (
        [row.info.agent_id for row in agents],
        [(row.framework_id, row.task.task_id) for row in tasks],
        [row.offer_id for row in offers],
    ):
        assert len(set(rows)) == len(rows)
    assert sum(status.tasks_by_state.values()) == len(tasks)
    held = total_of(resources_from_wire(row.task.resources) for row in tasks)
    offered = total_of(resources_from_wire(row.resources) for row in offers)
    total = total_of(resources_from_wire(row.info.resources) for row in agents)
    assert resources_from_wire(status.total) == total
    assert resources_from_wire(status.allocated) == held
    assert total.covers(held + offered)


def test_tasks_outlive_the_process_of_their_framework_and_the_next_one_is_told() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        module = ("-m", "tests.end_to_end.recorder", "mortal")
        tasks = (f"runs=process={RUNS}", f"ends=process={WAITS}")
        first = cluster.program("mortal-1", *module, *tasks)
        for task_id in ("runs", "ends"):
            until_told(first, task_id, "RUNNING")
        before = pids(agent, "runs", "ends")
        first.kill()
        (agent.sandbox("ends") / "go").touch()
        until_ended(agent, "ends")
        second = cluster.program("mortal-2", *module)
        assert until_told(second, "runs", "RUNNING")["reason"] == "RECONCILIATION"
        assert until_told(second, "ends", "FAILED")["exit_code"] == 7
        assert told(second)[0] == told(first)[0], "it has the framework id of the first"
        assert pids(agent, "runs") == {"runs": before["runs"]}
        assert started_once(agent, "runs", "ends")
        with cluster.operator() as operator:
            [framework] = operator.frameworks(completed=True)
            assert (framework.state, framework.info.name) == ("active", "mortal")


def test_a_scheduler_that_restarts_with_nothing_but_its_name_goes_on_though_the_master_died() -> (
    None
):
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        tasks = (f"runs=process={RUNS}", f"ends=process={WAITS}")
        first = cluster.program("mortal-1", "-m", "tests.end_to_end.recorder", "mortal", *tasks)
        for task_id in ("runs", "ends"):
            until_told(first, task_id, "RUNNING")
        before = pids(agent, "runs")
        first.kill()
        cluster.kill_master()
        (agent.sandbox("ends") / "go").touch()
        until_ended(agent, "ends")
        cluster.start_master()
        with recording(cluster, Recorder("mortal")) as second:
            assert second.until("ends", TaskState.FAILED).exit_code == 7
            second.until("runs", TaskState.RUNNING)
            assert second.subscriptions == [told(first)[0]["framework_id"]]
            assert pids(agent, "runs") == before
            assert started_once(agent, "runs", "ends")
            second.add(task("new", RUNS))
            second.until("new", TaskState.RUNNING)
            second.kill("runs")
            second.until("runs", TaskState.KILLED)


def test_containers_outlive_their_agent_and_the_next_one_reports_what_ended_meanwhile(
    containerizer: str,
) -> None:
    names = ("runs", "ends", "dies")
    with running_cluster() as cluster:
        agent = cluster.start_agent(containerizer=containerizer)
        scripts = dict(zip(names, (RUNS, WAITS, RUNS), strict=True))
        tasks = [task(name, script, containerizer) for name, script in scripts.items()]
        with recording(cluster, Recorder("patient", tasks)) as scheduler:
            for name in names:
                scheduler.until(name, TaskState.RUNNING)
            before, launcher = pids(agent, *names), agent.launcher_pid()
            agent.kill()
            (agent.sandbox("ends") / "go").touch()
            os.kill(before["dies"][0], signal.SIGKILL)
            until_ended(agent, "ends")
            until_ended(agent, "dies")
            agent.start()
            ended = scheduler.until("ends", TaskState.FAILED)
            assert (ended.exit_code, ended.reason) == (7, Reason.COMMAND_EXITED)
            died = scheduler.until("dies", TaskState.FAILED)
            assert (died.signal, died.reason) == (signal.SIGKILL, Reason.COMMAND_SIGNALED)
            assert agent.launcher_pid() == launcher
            assert pids(agent, "runs") == {"runs": before["runs"]}
            assert started_once(agent, *names)
            assert not scheduler.latest()["runs"].terminal
            wait_until(
                lambda: dict(cluster.status().tasks_by_state) == {"RUNNING": 1},
                "only what runs is counted",
            )
            assert_nothing_counted_twice(cluster.status(), cluster)


def test_all_come_back_to_a_master_that_was_killed_and_nothing_is_counted_twice() -> None:
    with running_cluster() as cluster:
        agent, other = cluster.start_agent(), cluster.start_agent()
        agents = (agent, other)
        mine = [task(f"mine-{n}", RUNS) for n in range(3)]
        theirs = [task("ends", WAITS), *(task(f"theirs-{n}", RUNS) for n in range(2))]
        with (
            recording(cluster, Recorder("mine", mine)) as one,
            recording(cluster, Recorder("theirs", theirs, role="other")) as two,
        ):
            for scheduler, tasks in ((one, mine), (two, theirs)):
                for each in tasks:
                    scheduler.until(each.task_id, TaskState.RUNNING)
            before = {at: at.containers() for at in agents}
            held = resources_from_wire(cluster.status().allocated)
            cluster.kill_master()
            home = next(at for at in agents if "ends" in before[at])
            (home.sandbox("ends") / "go").touch()
            until_ended(home, "ends")
            cluster.start_master()
            assert two.until("ends", TaskState.FAILED).exit_code == 7
            wait_until(lambda: back(cluster, two_agents=2), "all are back")
            status = wait_until(lambda: counted(cluster, {"RUNNING": 5}), "five tasks run")
            assert status.epoch == 2
            assert resources_from_wire(status.allocated) == held - Resources(cpus=0.1, mem=32)
            assert_nothing_counted_twice(status, cluster)
            assert one.subscriptions == one.subscriptions[:1] * 2
            for at in agents:
                for name, container in at.containers().items():
                    assert container["pid"] == before[at][name]["pid"]
                    assert started_once(at, name)
            one.add(task("new", RUNS))
            one.until("new", TaskState.RUNNING)
            assert_nothing_counted_twice(
                wait_until(lambda: counted(cluster, {"RUNNING": 6}), "six tasks run"), cluster
            )


def back(cluster: Cluster, *, two_agents: int) -> bool:
    status = cluster.status()
    return (status.agents_active, status.frameworks_active) == (two_agents, 2)


def counted(cluster: Cluster, expected: dict[str, int]) -> operator_pb2.GetStatusResponse | None:
    status = cluster.status()
    return status if dict(status.tasks_by_state) == expected else None


def test_a_second_process_of_the_same_identity_fences_the_first() -> None:
    with running_cluster() as cluster:
        cluster.start_agent()
        module = ("-m", "tests.end_to_end.recorder", "twin")
        first = cluster.program("twin-1", *module, f"runs=process={RUNS}")
        until_told(first, "runs", "RUNNING")
        second = cluster.program("twin-2", *module)
        assert first.wait() == 1
        *_, last = first.said().splitlines()
        assert (
            last == f"mesoslite.FrameworkError: FENCED: {Refusal.FENCED.value} (framework 'twin')"
        )
        assert "asyncio" not in first.said(), "the traceback is the caller's own lines"
        assert until_told(second, "runs", "RUNNING")["reason"] == "RECONCILIATION"
        with cluster.operator() as operator:
            [framework] = operator.frameworks()
        assert (framework.state, framework.tasks) == ("active", 1)
        assert second.running


def test_run_raises_what_refused_it() -> None:
    with running_cluster() as cluster, recording(cluster, Recorder("twin")) as first:
        with recording(cluster, Recorder("twin")) as second:
            wait_until(lambda: first.ended, "the first has ended")
            assert second.ended is None
        assert isinstance(first.ended, FrameworkError)
        assert first.ended.refusal is Refusal.FENCED
