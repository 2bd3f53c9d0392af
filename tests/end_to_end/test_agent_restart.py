"""kill -9 of an agent with 50 running tasks: each is told as it really was, whenever it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3

import pytest

from mesoslite import Reason, Resources, TaskState
from mesoslite_agent.processes import read_process
from tests.end_to_end.cluster import Agent, running_cluster
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

TASKS = 50
EATS = 40 << 20  # bytes that a task holds at once before it ends
NEEDS = Resources(cpus=0.1, mem=16)
ROOMY = Resources(cpus=0.1, mem=256)
WAITS = "echo $$ >> starts; until [ -e go ]; do sleep 0.2; done; "
SIGNALS = (signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT)
CODES = range(12)
EATERS = 4


def scripts() -> dict[str, str]:
    """By task: those that end by a code, by a signal, after they took memory; the rest run on."""
    made = {f"code-{code}": f"{WAITS} exit {code}" for code in CODES}
    made |= {f"signal-{number}": f"{WAITS} kill -{number} $$; sleep 60" for number in SIGNALS}
    eats = f"head -c {EATS} /dev/zero | tail -n 1 > taken"  # tail holds the one line that it is
    made |= {f"eats-{n}": f"{WAITS} {eats}; exit 3" for n in range(EATERS)}
    rest = TASKS - len(made)
    return made | {f"runs-{n}": "echo $$ >> starts; exec sleep 600" for n in range(rest)}


def test_what_fifty_tasks_did_while_their_agent_was_dead_is_told_exactly() -> None:
    by_name = scripts()
    with running_cluster() as cluster:
        agent = cluster.start_agent(resources="cpus:8;mem:4096")
        tasks = [
            task(name, script, needs=ROOMY if name.startswith("eats") else NEEDS)
            for name, script in by_name.items()
        ]
        with recording(cluster, Recorder("fifty", tasks)) as scheduler:
            running = {TaskState.RUNNING: TASKS}
            wait_until(lambda: scheduler.count() == running, "all run")
            before = agent.containers()
            ending = [name for name in by_name if not name.startswith("runs")]
            agent.kill()
            for name in ending:
                (agent.sandbox(name) / "go").touch()
            wait_until(lambda: over(agent) == len(ending), "the launcher has seen them end")
            agent.start()
            for code in CODES:
                state = TaskState.FAILED if code else TaskState.FINISHED
                status = scheduler.until(f"code-{code}", state)
                assert (status.exit_code, status.signal) == (code, None)
                assert status.reason is Reason.COMMAND_EXITED
            for number in SIGNALS:
                status = scheduler.until(f"signal-{number}", TaskState.FAILED)
                assert (status.exit_code, status.signal) == (None, number)
                assert status.reason is Reason.COMMAND_SIGNALED
            for n in range(EATERS):
                status = scheduler.until(f"eats-{n}", TaskState.FAILED)
                assert status.exit_code == 3
                assert status.peak_mem_bytes is not None
                assert EATS <= status.peak_mem_bytes < 2 * EATS
            now = agent.containers()
            for name in by_name.keys() - set(ending):
                assert scheduler.latest()[name].state is TaskState.RUNNING
                assert now[name]["pid"] == before[name]["pid"]
                os.kill(now[name]["pid"], 0)
            for name in by_name:
                starts = (agent.sandbox(name) / "starts").read_text()
                assert len(starts.splitlines()) == 1, "each ran once"
                ends = [status for status in scheduler.of(name) if status.terminal]
                assert len(ends) == (name in ending), "and ended once at most"


@pytest.mark.parametrize("with_agent", [False, True])
def test_what_died_with_its_launcher_is_told_so_and_no_process_of_it_is_left(
    with_agent: bool,
) -> None:
    """docs/decisions.md D8: nobody can know how they ended, so nobody guesses."""
    names = [f"lost-{n}" for n in range(5)]
    kinds = ("process", "oci") if os.geteuid() == 0 else ("process",)
    with running_cluster() as cluster:
        agent = cluster.start_agent(containerizer=",".join(kinds))
        script = "(setsid sleep 600 &) ; exec sleep 600"
        tasks = [task(name, script, kinds[n % len(kinds)]) for n, name in enumerate(names)]
        with recording(cluster, Recorder("bereft", tasks)) as scheduler:
            for name in names:
                scheduler.until(name, TaskState.RUNNING)
            pids = [event["pid"] for event in agent.containers().values()]
            launcher = agent.launcher_pid()
            if with_agent:
                agent.kill()
            os.kill(launcher, signal.SIGKILL)
            if with_agent:
                agent.start()
            for name in names:
                status = scheduler.until(name, TaskState.FAILED)
                assert status.reason is Reason.LAUNCHER_TERMINATED
                assert (status.exit_code, status.signal) == (None, None)
            assert not [pid for pid in pids if (found := read_process(pid)) and found.lives]
            scheduler.add(task("next", "exit 5"))
            assert scheduler.until("next", TaskState.FAILED).exit_code == 5
            assert agent.launcher_pid() != launcher


def test_what_had_ended_before_its_host_was_started_again_is_told_as_it_ended() -> None:
    with running_cluster() as cluster:
        agent = cluster.start_agent("cpus:4;mem:4096", "--boot-id=first")
        tasks = [task("ends", f"{WAITS} exit 7"), task("runs", "exec sleep 600")]
        with recording(cluster, Recorder("unplugged", tasks)) as scheduler:
            for one in tasks:
                scheduler.until(one.task_id, TaskState.RUNNING)
            launcher = agent.launcher_pid()
            agent.kill()
            (agent.sandbox("ends") / "go").touch()
            wait_until(lambda: over(agent) == 1, "the launcher has seen it end")
            os.kill(launcher, signal.SIGKILL)
            agent.start("--boot-id=second")
            ended = scheduler.until("ends", TaskState.FAILED)
            assert (ended.reason, ended.exit_code) == (Reason.COMMAND_EXITED, 7)
            cut = scheduler.until("runs", TaskState.FAILED)
            assert (cut.reason, cut.exit_code) == (Reason.HOST_REBOOTED, None)


def test_a_task_whose_checkpoint_was_damaged_is_ended_and_its_neighbours_run_on() -> None:
    names = ("hit", "spared")
    with running_cluster() as cluster:
        agent = cluster.start_agent()
        tasks = [task(name, "exec sleep 600") for name in names]
        with recording(cluster, Recorder("unlucky", tasks)) as scheduler:
            for name in names:
                scheduler.until(name, TaskState.RUNNING)
            before = agent.containers()
            agent.kill()
            with contextlib.closing(sqlite3.connect(agent.work_dir / "checkpoint.sqlite")) as file:
                file.execute("UPDATE tasks SET secret = 'another' WHERE task_id = 'hit'")
                file.commit()
            agent.start()
            status = scheduler.until("hit", TaskState.FAILED)
            assert status.reason is Reason.CHECKPOINT_DAMAGED
            found = read_process(before["hit"]["pid"])
            assert found is None or not found.lives
            assert agent.containers()["spared"]["pid"] == before["spared"]["pid"]
            assert not scheduler.latest()["spared"].terminal
            assert agent.program.said().count("the checkpoint is damaged") == 1


def over(agent: Agent) -> int:
    return sum(event["event"] == "exited" for event in agent.containers().values())
