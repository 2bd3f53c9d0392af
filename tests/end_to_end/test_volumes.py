"""kill -9 of a volume's task, framework, agent and master in turn: its data outlives each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from mesoslite.v1 import operator_pb2
from tests.end_to_end import keeper
from tests.end_to_end.cluster import Agent, Cluster, Json, Program, running_cluster
from tests.end_to_end.command import COMMAND, COMMAND_S_MAX
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root

HAS = "cpus:2;mem:512;disk:500"


@pytest.fixture(params=[("process", "data"), ("oci", "data"), ("oci", "/var/lib/kept")])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each containerizer, with each kind of path that it takes."""
    containerizer, path = request.param
    if containerizer == "oci":
        need_root()
    return containerizer, path


class Kept:
    """A keeper that may be killed, with its volume on one agent."""

    def __init__(self, cluster: Cluster, agent: Agent, place: tuple[str, str]) -> None:
        self._cluster = cluster
        self._agent = agent
        self._place = place
        self._runs = 0
        self.program = self.start("create")

    def start(self, *more: str) -> Program:
        """Start its process, once more."""
        self._runs += 1
        words = ("-m", "tests.end_to_end.keeper", *self._place, *more)
        self.program = self._cluster.program(f"keeper-{self._runs}", *words)
        return self.program

    @property
    def directory(self) -> Path:
        """Of the volume, of which there is one."""
        [found] = self._agent.work_dir.glob("volumes/*/*")
        return found

    def lines(self) -> list[str]:
        """The tasks that had the volume, in order."""
        logs = list(self._agent.work_dir.glob("volumes/*/*/log"))
        return logs[0].read_text().splitlines() if logs else []

    def until_runs(self, count: int) -> str:
        """Wait until so many tasks have had the volume, and the last runs; its id."""

        def there() -> str:
            lines = self.lines()
            if len(lines) < count:
                return ""
            known = self._agent.containers()
            return lines[-1] if known.get(lines[-1], {}).get("event") == "started" else ""

        task_id = wait_until(there, f"task {count} has the volume")
        assert len(self.lines()) == count, "one at a time, and one after another"
        return task_id

    def kill_task(self, task_id: str) -> None:
        """kill -9 of its process."""
        os.kill(self._agent.containers()[task_id]["pid"], signal.SIGKILL)

    def told(self) -> list[Json]:
        """What its newest process was told."""
        whole = self.program.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in whole if line.endswith("\n")]


def test_data_outlives_task_framework_agent_and_master(place: tuple[str, str]) -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent(HAS, containerizer=place[0])
        kept = Kept(cluster, agent, place)
        first = kept.until_runs(1)
        directory = kept.directory
        operations = [word["state"] for word in kept.told() if word["is"] == "operation"]
        wait_until(lambda: len(kept.told()) > 2, "it is told what became of its operations")
        assert set(operations) <= {"FINISHED"}
        kept.kill_task(first)
        second = kept.until_runs(2)
        kept.program.kill()
        kept.start()
        wait_until(lambda: any(w["is"] == "subscribed" for w in kept.told()), "it is back")
        kept.kill_task(second)
        third = kept.until_runs(3)
        agent.kill()
        kept.kill_task(third)
        agent.start()
        fourth = kept.until_runs(4)
        cluster.kill_master()
        kept.kill_task(fourth)
        cluster.start_master()
        agent.until_active()
        kept.until_runs(5)
        assert kept.directory == directory
        assert len(set(kept.lines())) == 5
        release(cluster)
        wait_until(lambda: not left(agent), "nothing of it is left")
        kept.program.wait()


def test_what_a_new_master_can_not_know_yet_is_said() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent(HAS)
        on_agent = ("--agent", agent.name, "--role", "ops")
        done = command(cluster, "reservation", "create", "spare", "cpus:1;ports:[1-2]", *on_agent)
        assert done.returncode != 0, "it has no ports"
        done = command(cluster, "reservation", "create", "spare", "cpus:1", *on_agent)
        assert done.returncode == 0, done.stderr
        cluster.kill_master()
        agent.kill()
        cluster.start_master()
        listed = command(cluster, "reservation", "ls")
        assert f"1 agent is awaited: {agent.name}" in listed.stderr
        missing = command(cluster, "volume", "rm", "data", "--yes")
        assert (missing.returncode, "is awaited" in missing.stderr) == (3, True), missing.stderr
        away = command(cluster, "reservation", "create", "spare", "cpus:1", *on_agent)
        assert f"{agent.name} is awaited; ask again" in away.stderr
        unknown = command(cluster, "volume", "ls", "--framework", "nope")
        assert unknown.returncode == 3, unknown.stderr
        agent.start()
        agent.until_active()
        listed = command(cluster, "reservation", "ls")
        assert "spare" in listed.stdout
        assert "awaited" not in listed.stderr


def test_operators_see_who_holds_what_and_take_away_only_what_is_not_in_use() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent(HAS)
        kept = Kept(cluster, agent, ("process", "data"))
        task_id = kept.until_runs(1)
        (kept.directory / "big").write_bytes(bytes(60 << 20))
        on_agent = ("--agent", agent.name, "--role", "ops")
        done = command(cluster, "reservation", "create", "spare", "cpus:1;mem:64", *on_agent)
        assert done.returncode == 0, done.stderr
        rows = rows_of(cluster, "reservation", "ls")
        by_id = {row["reservation"]["reservationId"]: row for row in rows}
        place, spare = by_id["place"], by_id["spare"]
        assert (place["reservation"]["framework"], spare["reservation"]["framework"]) == (
            keeper.NAME,
            "",
        )
        assert place["reservation"]["resources"]["text"] == "cpus:0.5;disk:100;mem:64"
        assert place["used"]["text"] == "cpus:0.2;disk:50;mem:32"
        assert place["agentHostname"] == agent.name
        assert place["reservation"]["sinceMs"] > 0
        measured = wait_until(lambda: measured_use(cluster), "its use is told")
        assert 60 << 20 <= measured < 62 << 20
        [volume] = rows_of(cluster, "volume", "ls", "--role", "kept")
        assert (volume["userTaskId"], volume["volume"]["reservationId"]) == (task_id, "place")
        assert "full" in command(cluster, "volume", "ls").stdout
        for words, why in (
            (("volume", "rm", "data", "--yes"), "a task uses the volume"),
            (("reservation", "rm", "place"), "uses what would be taken away"),
            (("reservation", "rm", "none"), "no reservation is called 'none'"),
            (("volume", "rm", "data"), "--yes says that it is meant"),
        ):
            refused = command(cluster, *words)
            assert refused.returncode != 0
            assert why in refused.stderr, refused.stderr
        assert command(cluster, "reservation", "rm", "spare", "cpus:0.5").returncode == 0
        assert command(cluster, "reservation", "rm", "spare").returncode == 0
        kept.program.kill()
        kept.kill_task(task_id)
        wait_until(lambda: destroyed(cluster), "the volume of no task is destroyed")
        wait_until(lambda: not left(agent), "its data is deleted")
        assert command(cluster, "reservation", "rm", "place").returncode == 0
        assert rows_of(cluster, "reservation", "ls") == rows_of(cluster, "volume", "ls") == []


def test_a_change_on_an_agent_that_hangs_says_so_and_is_not_lost() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent(HAS)
        words = ("reservation", "create", "spare", "cpus:1", "--agent", agent.name, "--role", "ops")
        os.kill(agent.program.pid, signal.SIGSTOP)
        try:
            hung = command(cluster, *words)
        finally:
            os.kill(agent.program.pid, signal.SIGCONT)
        assert hung.returncode == 1
        assert f"{agent.name} was told, and has not answered" in hung.stderr
        wait_until(lambda: rows_of(cluster, "reservation", "ls"), "it is done when the agent can")
        assert command(cluster, "reservation", "rm", "spare").returncode == 0


def test_a_release_reaches_an_agent_that_was_away() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent(HAS)
        kept = Kept(cluster, agent, ("process", "data"))
        kept.until_runs(1)
        agent.kill()
        wait_until(lambda: state_of(cluster) != "active", "the master knows that it is away")
        kept.program.kill()
        done = command(cluster, "framework", "teardown", keeper.NAME, "--release", "-o", "json")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["agentsAway"]) == 1
        assert left(agent)
        agent.start()
        wait_until(lambda: not left(agent), "its data is deleted")
        wait_until(lambda: not rows_of(cluster, "reservation", "ls"), "all is given up")
        assert rows_of(cluster, "volume", "ls") == []


def state_of(cluster: Cluster) -> str:
    """Of the one agent."""
    with cluster.operator() as operator:
        [row] = operator.agents()
        return row.state


def command(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """The `mesoslite` command, without a terminal."""
    return subprocess.run(
        [COMMAND, *words],
        env=os.environ | cluster.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def destroyed(cluster: Cluster) -> bool:
    """Whether it could be: not as long as the end of its last task is not told."""
    done = command(cluster, "volume", "rm", "data", "--yes")
    assert done.returncode or "its data is being deleted" in done.stderr
    return not done.returncode


def rows_of(cluster: Cluster, *words: str) -> list[Json]:
    """What it tells a script."""
    done = command(cluster, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    rows: list[Json] = json.loads(done.stdout)
    return rows


def measured_use(cluster: Cluster) -> int:
    """Of the one volume; 0 while nobody has looked since it was filled."""
    [row] = rows_of(cluster, "volume", "ls")
    used = row["usedBytes"] or 0
    return used if used > 1 << 20 else 0


def release(cluster: Cluster) -> None:
    """Tear the keeper down with all that it has reserved."""
    with cluster.operator() as operator:
        reply = operator.teardown(keeper.NAME, release=True)
        assert isinstance(reply, operator_pb2.TeardownFrameworkResponse)


def left(agent: Agent) -> list[Path]:
    """Directories of volumes, also of those that are being deleted."""
    found = agent.work_dir
    return [*found.glob("volumes/*/*")]
