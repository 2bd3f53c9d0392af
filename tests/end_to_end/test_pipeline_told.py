"""What the pipeline is told of the cluster that it runs in, by a real one."""

from __future__ import annotations

import pytest

from mesoslite import Task, TaskState
from mesoslite_pipeline import told
from tests.end_to_end.cluster import running_cluster
from tests.end_to_end.recorder import SMALL, Recorder, recording

SAYS = "echo first >&2; echo ' the last word ' >&2; echo >&2; exit 3"


async def test_the_pipeline_is_told_of_agents_tasks_and_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [
        Task("runs", ["sleep", "600"], SMALL, name="broker-0"),
        Task("ended", ["sh", "-c", SAYS], SMALL, name="driver"),
    ]
    with running_cluster() as cluster:
        cluster.start_agent()
        cluster.start_agent()
        for name, word in cluster.environment.items():
            monkeypatch.setenv(name, word)
        with recording(cluster, Recorder("talkative", tasks)) as scheduler:
            scheduler.until("runs", TaskState.RUNNING)
            scheduler.until("ended", TaskState.FAILED)
            assert await told.running_tasks() == ["broker-0"]
            assert await told.last_line("ended", "talkative") == "the last word"
            assert await told.last_line("never", "talkative") == ""
        assert await told.agents() == {"agent-1": told.ACTIVE, "agent-2": told.ACTIVE}
        cluster.kill_master()
        assert await told.agents() is None
        assert await told.running_tasks() is None
        cluster.start_master()
        for agent in cluster.agents:
            agent.until_active()
