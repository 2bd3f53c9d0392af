"""An agent that an operator gives up for good: its tasks end, and then it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mesoslite import Reason, TaskState
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

RUNS = "exec sleep 600"


def mesoslite(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, told where the cluster is, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "mesoslite.cli.main", *words],
        env=os.environ | cluster.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_agent_that_is_marked_gone_ends_its_tasks_and_itself_and_may_not_return() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent("cpus:4;mem:4096", "--kill-on-exit=false")
        with recording(cluster, Recorder("loser", [task("runs", RUNS)])) as scheduler:
            scheduler.until("runs", TaskState.RUNNING)
            refused = mesoslite(cluster, "agent", "gone", agent.name)
            assert refused.returncode == 2
            assert "--yes" in refused.stderr
            assert scheduler.latest()["runs"].state is TaskState.RUNNING
            done = mesoslite(cluster, "agent", "gone", agent.name, "--yes")
            assert done.returncode == 0, done.stderr
            status = scheduler.until("runs", TaskState.GONE_BY_OPERATOR)
            assert status.reason is Reason.AGENT_GONE
            assert agent.program.wait() == 1
            last = agent.program.said().splitlines()[-1]
            assert "an operator marked the agent as gone" in last
            assert "--work-dir" in last
            with cluster.operator() as operator:
                [row] = operator.agents()
                assert (row.state, row.tasks) == ("gone", 0)


def test_an_agent_that_was_away_when_it_was_marked_gone_ends_what_it_finds_at_its_return() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        with recording(cluster, Recorder("loser", [task("runs", RUNS)])) as scheduler:
            scheduler.until("runs", TaskState.RUNNING)
            pid = agent.containers()["runs"]["pid"]
            agent.kill()
            with cluster.operator() as operator:
                assert operator.mark_agent_gone(agent.agent_id).tasks == 1
            scheduler.until("runs", TaskState.GONE_BY_OPERATOR)
            cluster.kill_master()
            cluster.start_master()
            os.kill(pid, 0)  # nobody is there yet who could end it
            agent.program = agent.run()
            assert agent.program.wait() == 1
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the task has ended")
            other = cluster.start_agent()
            scheduler.add(task("again", RUNS))
            scheduler.until("again", TaskState.RUNNING)
            assert "again" in other.containers()
