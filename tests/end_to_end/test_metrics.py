"""What is seen from outside moves as a cluster works."""

from __future__ import annotations

import contextlib

from mesoslite import TaskState
from mesoslite.http import CONNECTIONS_MAX
from tests.end_to_end.cluster import running_cluster
from tests.end_to_end.command import Dev
from tests.end_to_end.conftest import StartDev
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.rude import GARBAGE
from tests.end_to_end.waiting import wait_until
from tests.integration.http import Http, total


def test_the_numbers_of_master_and_agent_move_as_tasks_run() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        tasks = [task("good", "true"), task("bad", "exit 3"), task("long", "exec sleep 1000")]
        with recording(cluster, Recorder("counted", tasks)) as scheduler:
            scheduler.until("good", TaskState.FINISHED)
            scheduler.until("bad", TaskState.FAILED)
            scheduler.until("long", TaskState.RUNNING)
            # Both ends are acknowledged once nothing but the long one is left.
            wait_until(lambda: agent.http.number("mesoslite_tasks_held") == 1, "ends are known")
            page = cluster.http.metrics().text
            assert total(page, "mesoslite_frameworks", state="active") == 1
            assert total(page, "mesoslite_launches_total") == 3
            assert total(page, "mesoslite_tasks", state="RUNNING") == 1
            ended = {"state": "FINISHED", "reason": "COMMAND_EXITED"}
            assert total(page, "mesoslite_tasks_ended_total", **ended) == 1
            assert total(page, "mesoslite_tasks_ended_total", state="FAILED") == 1
            made = total(page, "mesoslite_offers_made_total")
            ended_offers = total(page, "mesoslite_offers_ended_total")
            assert made == ended_offers + total(page, "mesoslite_offers_outstanding")
            assert total(page, "mesoslite_offers_ended_total", how="accepted") >= 1
            assert total(page, "mesoslite_allocation_latency_seconds_count") >= 1
            assert total(page, "mesoslite_loop_events_total") >= 10
            assert total(page, "mesoslite_stream_messages_total", peer="scheduler") >= 4
            assert total(page, "mesoslite_streams_open") == 2
            page = agent.http.metrics().text
            running = {"state": "RUNNING", "containerizer": "process"}
            assert total(page, "mesoslite_containers", **running) == 1
            assert total(page, "mesoslite_task_launch_seconds_count") == 3
            assert total(page, "mesoslite_tasks_ended_total") == 2
            assert total(page, "mesoslite_commit_rows_total") >= 9
        wait_until(
            lambda: cluster.http.number("mesoslite_frameworks", state="active") == 0,
            "the framework is gone",
        )


def test_garbage_and_idle_crowds_on_the_http_ports_disturb_nobody() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        with contextlib.ExitStack() as crowd:
            for http in (cluster.http, agent.http):
                for data in GARBAGE.values():
                    stranger = crowd.enter_context(http.connect())
                    with contextlib.suppress(OSError):  # it may have hung up already
                        stranger.sendall(data)
                for _ in range(2 * CONNECTIONS_MAX):
                    crowd.enter_context(http.connect())
                assert http.ask("/healthz").status == 200
                assert http.ask("/readyz").status == 200
                assert http.number("process_open_fds") < CONNECTIONS_MAX + 100
            with recording(cluster, Recorder("undisturbed", [task("good", "true")])) as scheduler:
                scheduler.until("good", TaskState.FINISHED)
        for said in (cluster.master.said(), agent.program.said()):
            assert "Traceback" not in said
            assert len(said.splitlines()) < 20  # not a line for each of them


def test_dev_tells_where_each_of_its_daemons_answers(start_dev: StartDev) -> None:
    dev = start_dev("--agents", "2").ready()
    wait_until(lambda: "try: mesoslite run" in dev.said(), "it is introduced")
    ports = ports_of(dev)
    assert len(set(ports)) == 3
    programs = [Http(port).ask("/version").json["program"] for port in ports]
    assert programs == ["mesoslite-master", "mesoslite-agent", "mesoslite-agent"]
    assert [Http(port).ask("/readyz").status for port in ports] == [200] * 3


def ports_of(dev: Dev) -> list[int]:
    """The master's, then the agents', from the line `http: master at ..., agents at ...`."""
    [line] = [line for line in dev.said().splitlines() if line.startswith("http: ")]
    return [
        int(word) for word in line.replace(",", " ").replace(":", " ").split() if word.isdigit()
    ]
