"""How a task ended is told when its sandbox, its framework and both daemons are gone."""

from __future__ import annotations

import json
import shutil
import subprocess

from mesoslite import TaskState
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.command import COMMAND
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

SCRIPT = "seq 5000; echo it did not work >&2; exit 9"


def shown(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "task", "show", *words, "--master", cluster.address],
        env={**cluster.environment, "MESOSLITE_TOKEN_FILE": str(cluster.token_file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_end_of_a_task_is_told_when_everything_else_of_it_is_gone() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        with recording(cluster, Recorder("mortal", [task("fails", SCRIPT)])) as scheduler:
            scheduler.until("fails", TaskState.FAILED)
            page = shown(cluster, "fails")
            assert page.returncode == 0, page.stderr
            for part in ("FAILED", "exited with code 9", "it did not work", "5000", "RUNNING"):
                assert part in page.stdout
            agent.kill()
            agent.start()
        shutil.rmtree(agent.work_dir / "sandboxes")
        cluster.kill_master()
        cluster.start_master()
        assert agent.until_active() == agent.agent_id

        def told() -> subprocess.CompletedProcess[str] | None:
            done = shown(cluster, "fails", "-o", "json")
            return done if done.returncode == 0 else None

        [attempt] = json.loads(wait_until(told, "an agent is asked").stdout)["attempts"]
        assert attempt["life"][-1]["exitCode"] == 9
        assert [status["state"] for status in attempt["life"]] == ["RUNNING", "FAILED"]
        assert attempt["stderr"]["tail"] == "it did not work\n"
        assert attempt["stdout"]["tail"].endswith("\n4999\n5000\n")
        alone = shown(cluster, "fails", "--agent", agent.agent_id)
        assert "it did not work" in alone.stdout
        assert "exit code" in alone.stdout
        nobody = shown(cluster, "never-was")
        assert nobody.returncode == 3
        assert "never-was" in nobody.stderr
