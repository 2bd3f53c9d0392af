"""A driver that is a task, without Spark: what its program has of the cluster, and who sees it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mesoslite.cli import documents
from tests.end_to_end.cluster import Agent, Cluster, running_cluster
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root

PROGRAM = """
import os, pathlib, subprocess, sys, time

said = subprocess.run(
    [sys.executable, "-P", "-m", "mesoslite", "framework", "ls"], capture_output=True, text=True
)
print(said.stdout, said.stderr, sorted(os.listdir()), flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""


def holding(token: str, agent: Agent) -> list[Path]:
    """Files of an agent that have the token in them: its checkpoint, sandboxes, what is written in
    containers. What is mounted there is the host's."""
    found = []
    for folder, inner, names in os.walk(agent.work_dir):
        inner[:] = [name for name in inner if not Path(folder, name).is_mount()]
        files = [path for path in (Path(folder, name) for name in names) if path.is_file()]
        found += [path for path in files if token.encode() in path.read_bytes()]
    return found


def shown(cluster: Cluster) -> str:
    """All that anybody with a token is told of the tasks."""
    with cluster.operator() as operator:
        return "".join(documents.text_of(documents.document_of(row)) for row in operator.tasks())


@pytest.mark.parametrize("containerizer", ["process", "oci"])
def test_the_driver_finds_the_cluster_and_its_token_is_shown_and_written_nowhere(
    containerizer: str, tmp_path: Path
) -> None:
    if containerizer == "oci":
        need_root()
    program = tmp_path / "token.py"  # as a file that a token might have been in, or one of Python's
    program.write_text(PROGRAM)
    with running_cluster() as cluster:
        agent = cluster.start_agent("cpus:2;mem:2048", containerizer=containerizer)
        [token] = [line.split()[1] for line in cluster.token_file.read_text().splitlines()]
        over = Path("over") if containerizer == "oci" else tmp_path / "over"
        command = cluster.program(
            *("command", "-m", "mesoslite", "framework", "run", "spark"),
            *("--driver-memory", "512m", "--", str(program), str(over)),
        )
        wait_until(
            lambda: "'token.py'" in command.out.read_text() or not command.running,
            "its program has seen the cluster",
        )
        assert command.running, command.said()
        assert "spark-driver-token-" in command.out.read_text(), "it was let in"
        assert "mesoslite_spark.program" in shown(cluster)
        assert token not in shown(cluster)
        assert holding(token, agent) == []
        if containerizer == "oci":
            over = agent.sandbox("driver") / "over"
        over.touch()
        assert command.wait() == 0, command.said()
        assert holding(token, agent) == []


def home_of(cluster: Cluster) -> dict[str, str]:
    """What a user's commands find the token of this cluster by who says nothing."""
    home = cluster.folder / "home"
    config = home / ".config" / "mesoslite"
    config.mkdir(parents=True)
    shutil.copy(cluster.token_file, config / "token")
    return {"HOME": str(home), "XDG_CONFIG_HOME": "", "MESOSLITE_TOKEN_FILE": ""}


def other_of(cluster: Cluster) -> dict[str, str]:
    """What names the token of another cluster."""
    other = cluster.folder / "other"
    other.write_text("local an0ther\n")
    other.chmod(0o600)
    return {"MESOSLITE_TOKEN_FILE": str(other)}


@pytest.mark.parametrize(("names", "says_it"), [(home_of, False), (other_of, True)])
def test_the_driver_has_the_token_that_its_command_was_let_in_by(
    names: Callable[[Cluster], dict[str, str]], says_it: bool, tmp_path: Path
) -> None:
    program = tmp_path / "app.py"
    program.write_text(PROGRAM)
    over = tmp_path / "over"
    over.touch()
    with running_cluster() as cluster:
        cluster.start_agent("cpus:2;mem:2048")
        said = ("--token-file", str(cluster.token_file)) if says_it else ()
        command = cluster.program(
            *("command", "-m", "mesoslite", "framework", "run", "spark", *said),
            *("--driver-memory", "512m", "--", str(program), str(over)),
            env=names(cluster),
        )
        assert command.wait() == 0, command.said()
        assert "spark-driver-app-" in command.out.read_text(), "it was let in"
