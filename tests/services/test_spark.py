"""Spark, with executors that are tasks: right answers, executors as needed, hosts that die, shares.

Half a minute each on a machine with nothing else to do: every executor is a JVM.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesoslite.cli import tables
from mesoslite.cli.connection import Operator
from mesoslite_spark.errors import SparkError
from mesoslite_spark.host import check_java, find_spark
from tests.end_to_end.cluster import Agent, Cluster, Program, running_cluster
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root
from tests.services.requirements import need
from tests.services.spark_apps import SAMPLES, SLICES, begun, hits

pytestmark = [pytest.mark.services, pytest.mark.timeout(1_800)]

APP_S_MAX = 600.0
EXECUTOR_MIB = 480 + 384
#: What a dead host has had is replaced when it counts as unreachable: else that were 75 s.
NOTICED_SOON = ("--heartbeat-s=5", "--silence-s=20")
WORDS = ("spark", "mesos", "akka", "cassandra", "kafka")


@pytest.fixture(autouse=True)
def _spark() -> None:
    """Skip where Spark cannot run; where it must, fail instead."""
    try:
        check_java()
        find_spark()
    except SparkError as error:
        need(str(error))


class App:
    """One of tests.services.spark_apps, at work on a cluster."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._cluster = cluster
        self.program: Program = cluster.program(
            f"{name}-{folder.name}", "-m", "tests.services.spark_apps", name, str(folder)
        )

    def let(self, name: str) -> None:
        """Open a gate."""
        (self.folder / name).touch()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for it; fails at once when the application has ended instead."""
        wait_until(lambda: condition() or not self.program.running, what, APP_S_MAX)
        assert self.program.running, f"it ended before: {what}: {self.program.said()[-4_000:]}"

    def answer(self) -> Any:
        """Wait for its end; what it found out."""
        assert self.program.wait(APP_S_MAX) == 0, self.program.said()[-4_000:]
        return json.loads((self.folder / "answer.json").read_text())


def executors(operator: Operator) -> dict[str, str]:
    """The executors that run, of all applications: framework/task -> agent."""
    return {
        f"{row.framework_id}/{row.task.task_id}": row.agent_id
        for row in operator.tasks()
        if row.task.name == "executor" and tables.task_state(row) == "RUNNING"
    }


def kill_host(agent: Agent) -> None:
    """kill -9 of an agent, its launcher and all that it runs, as a host that loses its power."""
    agent.kill()
    for container in agent.containers().values():
        os.killpg(container["pid"], signal.SIGKILL)
    os.kill(agent.launcher_pid(), signal.SIGKILL)


@pytest.mark.parametrize("containerizer", ["process", "oci"])
def test_pi_and_a_word_count_over_files(tmp_path: Path, containerizer: str) -> None:
    """In containers, too, where no executor sees the files of another on its host."""
    if containerizer == "oci":
        need_root()
    texts = tmp_path / "answers" / "texts"
    texts.mkdir(parents=True)
    rng = random.Random(7)
    words = [rng.choice(WORDS) for _ in range(3_000)]
    for part in range(3):
        (texts / f"{part}.txt").write_text("\n".join(words[part::3]))
    with running_cluster() as cluster:
        for _ in range(2):
            cluster.start_agent(f"cpus:1;mem:{EXECUTOR_MIB}", containerizer=containerizer)
        found = App(cluster, "answers", tmp_path / "answers").answer()
        with cluster.operator() as operator:
            wait_until(lambda: not operator.frameworks(), "nothing is left of it")
    assert found["pi"] == 4 * sum(map(hits, range(SLICES))) / (SLICES * SAMPLES)
    assert found["words"] == Counter(words)


def test_executors_come_with_the_work_and_go_when_there_is_none(tmp_path: Path) -> None:
    with running_cluster() as cluster, cluster.operator() as operator:
        for _ in range(2):
            cluster.start_agent(f"cpus:2;mem:{2 * EXECUTOR_MIB}")
        app = App(cluster, "waves", tmp_path / "waves")
        app.until(lambda: len(executors(operator)) == 3, "as many executors as it may have")
        app.let("first")
        app.until(lambda: not executors(operator), "none when there is nothing to do")
        app.let("idle")
        assert app.answer() == {"first": sum(range(6)), "second": sum(n * n for n in range(6))}


def by_others(app: App, stage: str, executor: str) -> set[int]:
    """What all other executors have had to do in a stage."""
    return {n for other, had in begun(app.folder, stage).items() if other != executor for n in had}


def test_the_job_outlives_the_host_of_an_executor(tmp_path: Path) -> None:
    with running_cluster(*NOTICED_SOON) as cluster, cluster.operator() as operator:
        has = f"cpus:2;mem:{2 * EXECUTOR_MIB}"
        agents = [cluster.start_agent(has, *NOTICED_SOON) for _ in range(2)]
        app = App(cluster, "survivor", tmp_path / "survivor")
        app.until(lambda: len(begun(app.folder, "map")) == 2, "both executors map")
        before = executors(operator)
        assert set(before.values()) == {agent.agent_id for agent in agents}  # spread
        app.let("map")
        app.until(lambda: len(begun(app.folder, "reduce")) == 2, "both executors reduce")
        [lost] = [name for name, agent in before.items() if agent == agents[1].agent_id]
        task_id = lost.partition("/")[2]
        gone = {stage: begun(app.folder, stage)[task_id] for stage in ("map", "reduce")}
        assert not any(numbers & by_others(app, stage, task_id) for stage, numbers in gone.items())
        kill_host(agents[1])
        app.until(lambda: set(executors(operator)) - set(before), "the lost executor was replaced")
        app.let("reduce")
        assert app.answer() == {"sums": {"0": 0 + 2 + 4 + 6, "1": 1 + 3 + 5 + 7}}
        for stage, numbers in gone.items():  # what it had shuffled, and what it was at
            assert numbers <= by_others(app, stage, task_id), f"done again: {stage}"
        agents[1].start()  # it cleans up what its death has left


def test_nothing_is_left_of_an_application_whose_driver_is_killed(tmp_path: Path) -> None:
    with running_cluster() as cluster, cluster.operator() as operator:
        agent = cluster.start_agent(f"cpus:1;mem:{EXECUTOR_MIB}")
        app = App(cluster, "survivor", tmp_path / "survivor")
        app.until(lambda: executors(operator), "an executor runs")
        app.program.kill()
        wait_until(lambda: not operator.frameworks(), "its framework is removed")
        wait_until(lambda: not agent.containers(), "its executor has ended")


def test_two_applications_share_a_full_cluster_by_their_weights(tmp_path: Path) -> None:
    with running_cluster("--weights=light=1,heavy=2") as cluster, cluster.operator() as operator:
        apps = [App(cluster, "share", tmp_path / role) for role in ("light", "heavy")]
        # Both are there before the agent is, or the first would have all of it.
        for app in apps:
            app.until((app.folder / "ready").exists, "it wants executors")
        cluster.start_agent(f"cpus:6;mem:{6 * EXECUTOR_MIB}")
        roles = {row.framework_id: row.info.roles[0] for row in operator.frameworks()}

        def shares() -> Counter[str]:
            return Counter(roles[name.partition("/")[0]] for name in executors(operator))

        for app in apps:
            app.until(lambda: shares().total() == 6, "the cluster is full")
        assert shares() == {"light": 2, "heavy": 4}
        for app in apps:
            app.let("end")
        assert [app.answer() for app in apps] == [{"total": sum(range(9))}] * 2


PROGRAM = """
import sys
import mesoslite_spark

with mesoslite_spark.session() as spark:
    squares = spark.sparkContext.parallelize(range(10), 2).map(lambda n: n * n)
    print("sum", squares.sum(), spark.sparkContext.appName, *sys.argv[1:])
print("as asked", file=sys.stderr)
sys.exit(7)
"""


def test_the_driver_runs_as_a_task_with_its_output_and_exit_code_here(tmp_path: Path) -> None:
    program = tmp_path / "squares.py"
    program.write_text(PROGRAM)
    with running_cluster() as cluster:
        cluster.start_agent("cpus:2;mem:3072")
        sizes = ("--cores", "1", "--executor-memory", "480m", "--driver-memory", "512m")
        command = cluster.program(
            *("command", "-m", "mesoslite", "framework", "run", "spark", *sizes),
            *("--", str(program), "a", "b c"),
        )
        assert command.wait(APP_S_MAX) == 7, command.said()[-4_000:]
        assert command.out.read_text() == "sum 285 squares a b c\n"
        assert "as asked" in command.said()
        with cluster.operator() as operator:
            wait_until(lambda: not operator.frameworks(), "nothing is left of either framework")
