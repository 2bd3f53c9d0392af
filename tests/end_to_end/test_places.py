"""A service that was stopped finds its places again, whatever is away when it is next begun."""

from __future__ import annotations

import signal
import textwrap
from pathlib import Path

import pytest

from mesoslite.cli import tables
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.framework_places import wait_for_places
from tests.end_to_end.cluster import Cluster, Program, running_cluster
from tests.end_to_end.waiting import wait_until
from tests.services.hosts import free_ports

NAME = "kept"
MEMBERS = 2
SERVICE = f"""
    from mesoslite_services.service import Needs, Running, Service


    class Kept(Service):
        '''Each member writes a line to its volume when it begins.'''

        name = "{NAME}"
        roles = ("{NAME}",)

        def __init__(self):
            super().__init__({MEMBERS}, Needs(cpus=0.5, mem_mib=32, disk_mib=16, ports=1))

        def running(self, member):
            line = f"echo {{member.name}} >> data/log; exec sleep 600"
            return Running(["sh", "-c", line], {{}}, (), 5.0)
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service, as a package that announces it."""
    (tmp_path / f"{NAME}.py").write_text(textwrap.dedent(SERVICE))
    told = tmp_path / f"{NAME}-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[mesoslite.frameworks]\n{NAME} = {NAME}:Kept\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def begun(cluster: Cluster, run: str) -> Program:
    return cluster.program(run, "-m", "mesoslite", "framework", "run", NAME)


def until_all_run(cluster: Cluster, run: Program) -> None:
    def all_run() -> bool:
        assert run.running, run.said()
        with cluster.operator() as operator:
            states = [tables.task_state(row) for row in operator.tasks()]
        return states == ["RUNNING"] * MEMBERS

    wait_until(all_run, "all members run")


def places(cluster: Cluster) -> set[tuple[str, str]]:
    """What is reserved, and where."""
    with cluster.operator() as operator:
        rows = operator.reservations()
    return {(row.reservation.reservation_id, row.agent_id) for row in rows}


def stop(cluster: Cluster, run: Program, *, release: bool) -> None:
    with cluster.operator() as operator:
        operator.teardown(NAME, release=release)
        assert run.wait() == 0, run.said()
        wait_until(lambda: not operator.tasks(), "its tasks have ended")


@pytest.mark.usefixtures("_installed")
def test_the_next_run_finds_its_places_also_when_master_and_agents_are_away_as_it_begins() -> None:
    with running_cluster() as cluster:
        for first in free_ports(MEMBERS):
            cluster.start_agent(f"cpus:2;mem:256;disk:64;ports:[{first}-{first + 9}]")
        run = begun(cluster, "first-run")
        until_all_run(cluster, run)
        before = places(cluster)
        assert len({agent for _, agent in before}) == MEMBERS
        stop(cluster, run, release=False)
        away = cluster.agents[1]
        away.kill()
        cluster.kill_master()
        cluster.start_master()

        run = begun(cluster, "next-run")
        waits = f"{NAME} waits for {away.name}"
        wait_until(lambda: waits in run.said() or not run.running, "it waits for the agent")
        impatient = begun(cluster, "impatient")
        wait_until(lambda: waits in impatient.said() or not impatient.running, "it waits as well")
        impatient.process.send_signal(signal.SIGINT)
        assert impatient.wait() == 130, impatient.said()
        cluster.kill_master()
        no_master = f"{NAME} waits for the master"
        wait_until(lambda: no_master in run.said() or not run.running, "and for the master")
        cluster.start_master()
        wait_until(lambda: run.said().count(waits) == 2 or not run.running, "and for the agent")
        with cluster.operator() as operator:
            assert operator.frameworks(NAME) == [], run.said()
        away.start()

        until_all_run(cluster, run)
        assert places(cluster) == before
        for agent in cluster.agents:  # both of its lives are in its volume, and nobody else's
            [log] = agent.work_dir.glob("volumes/**/log")
            lines = log.read_text().splitlines()
            assert len(lines) == 2, lines
            assert len(set(lines)) == 1, lines
        stop(cluster, run, release=True)
        wait_until(lambda: not places(cluster), "nothing is reserved")


async def test_another_master_that_leads_is_found_and_a_token_that_is_refused_is_told(
    tmp_path: Path,
) -> None:
    with running_cluster() as cluster:
        first, second = cluster.address, free_ports(1)[0]
        with Operator(f"{first},localhost:{second}", cluster.token_file) as operator:
            operator.status()
            cluster.kill_master()
            cluster.port = second
            cluster.start_master()
            await wait_for_places(operator, NAME)
            assert operator.target == cluster.address
        wrong = tmp_path / "token"
        wrong.write_text("local 0123456789abcdef0123456789abcdef\n")
        wrong.chmod(0o600)
        with Operator(cluster.address, wrong) as operator, pytest.raises(Failure) as refused:
            await wait_for_places(operator, NAME)
        assert refused.value.code == Code.DENIED
