"""The pipeline of the talk as people run it: what comes out is what went in, key by key.

Short: a broker, a node, 20,000 events. Long: as `make smack KILL_HOST=1` has it, with three of
each, 1,000,000 events, and a power cut of the host that Spark's driver is on, with one of each.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Failure
from mesoslite.cli.tables import task_state
from mesoslite_pipeline.events import Total, expected
from mesoslite_spark.errors import SparkError
from mesoslite_spark.host import check_java, find_spark
from tests.end_to_end.command import COMMAND, clean_environment, left_behind, processes_of
from tests.end_to_end.waiting import wait_until
from tests.services.conftest import AGENTS
from tests.services.requirements import fetch_cache, need, why_no_jars

DEV = ("--agents", str(AGENTS), "--cpus", "9", "--mem", "8GiB", "--disk", "9GiB")
SHORT = ("--events", "20000", "--brokers", "1", "--nodes", "1")
LONG = ("--events", "1000000", "--kill-host")
SEED = 7
END_S_MAX = 2_400.0

pytestmark = [pytest.mark.services, pytest.mark.timeout(END_S_MAX + 60)]


@pytest.fixture(autouse=True)
def _needed(kafka: None, cassandra: None) -> None:
    """Skip where one of the services cannot run."""
    need(why_no_jars("mesoslite_pipeline"))
    try:
        check_java()
        find_spark()
    except SparkError as error:
        need(str(error))


def started(home: Path, *words: str) -> subprocess.Popen[bytes]:
    """The pipeline in a cluster of its own; what it says goes to files in `home`."""
    run = (str(COMMAND), "framework", "run", "pipeline", "--seed", str(SEED), *words)
    where = ("--port", "0", "--port-file", str(home / "port"))
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        return subprocess.Popen(
            [COMMAND, "dev", *where, *DEV, "--", *run],
            env={**clean_environment(home), "MESOSLITE_FETCH_CACHE": str(fetch_cache())},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


@dataclass(frozen=True)
class Seen:
    """What the master said at a moment."""

    agents: dict[str, str]
    """The state of each."""
    tasks: dict[str, tuple[str, str]]
    """Those that ran, by name: what tells one from its replacement, and the agent."""


def watched(process: subprocess.Popen[bytes], home: Path) -> list[Seen]:
    """What was to be seen of its cluster, once a second, until the pipeline has ended."""
    history: list[Seen] = []
    ends_s = time.monotonic() + END_S_MAX
    while time.monotonic() < ends_s:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            break
        with contextlib.suppress(OSError, Failure):  # it is not there yet, or no more
            address = f"localhost:{(home / 'port').read_text().strip()}"
            with Operator(address, home / ".config" / "mesoslite" / "token") as operator:
                now = seen(operator)
                if operator.frameworks("pipeline"):  # else it has ended, and its cluster may end
                    history.append(now)
    return history


def seen(operator: Operator) -> Seen:
    """What the master says now."""
    running = [row for row in operator.tasks() if task_state(row) == "RUNNING"]
    return Seen(
        {row.info.agent_id: row.state for row in operator.agents()},
        {
            row.task.name: (f"{row.framework_id}/{row.task.task_id}", row.agent_id)
            for row in running
        },
    )


def check_power_cut(history: list[Seen]) -> None:
    """One host went away, with the driver, a broker and a node on it, and came back; each of them
    was replaced, the latter two where their volumes are."""
    cut = next(at for at, one in enumerate(history) if set(one.agents.values()) != {"active"})
    [victim] = [agent for agent, state in history[cut].agents.items() if state != "active"]
    assert {agent for one in history for agent, state in one.agents.items() if state != "active"
            } == {victim}  # fmt: skip
    assert history[-1].agents[victim] == "active"
    # The power may have gone between two looks at the tasks and the agents of one moment.
    had = {name: task for name, (task, agent) in history[cut - 2].tasks.items() if agent == victim}
    kinds = {name.partition("-")[0] for name in had}
    assert {"driver", "broker", "node"} <= kinds, had
    for name, task in had.items():
        later = {one.tasks[name] for one in history[cut:] if name in one.tasks}
        replaced = {agent for other, agent in later if other != task}
        assert replaced or name.startswith(("executor", "ingest")), f"{name} was not replaced"
        if name.startswith(("broker", "node")):
            assert replaced == {victim}, name


def ended(process: subprocess.Popen[bytes], home: Path) -> tuple[int, str, str]:
    """Its exit code and what it said; it is ended when it takes too long."""
    try:
        code = process.wait(END_S_MAX)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return code, (home / "out").read_text(), (home / "err").read_text()


def totals(table: str) -> dict[str, Total]:
    """What the table at the end says."""
    rows = [line.replace(",", "").split() for line in table.splitlines()]
    numbers = [row for row in rows if len(row) == 3 and row[1].isdigit()]
    return {key: Total(int(events), int(amount)) for key, events, amount in numbers}


def test_each_event_is_counted_once_and_nothing_is_left(tmp_path: Path, long: bool) -> None:
    words = LONG if long else SHORT
    process = started(tmp_path, *words)
    try:
        history = watched(process, tmp_path)
    finally:
        code, out, err = ended(process, tmp_path)
    assert code == 0, err[-4_000:] + out
    assert totals(out) == expected(SEED, range(int(words[1]))), out
    assert "each counted once, as produced" in out
    if long:
        check_power_cut(history)
        [counted] = re.findall(r"the power of agent-\d is cut, at .*?, ([\d,]+) of", err)
        assert 0 < int(counted.replace(",", "")) < int(words[1])
    else:
        assert {state for one in history for state in one.agents.values()} == {"active"}
    assert left_behind(tmp_path, []) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    process = started(tmp_path, "--events", "1000000")
    try:
        wait_until(
            lambda: (
                "was started on" in (tmp_path / "err").read_text() or process.poll() is not None
            ),
            "a broker or a node is started",
            END_S_MAX,
        )
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in its foreground
    finally:
        code, _, err = ended(process, tmp_path)
    assert code == 130, err
    assert processes_of(tmp_path) == {}
    assert left_behind(tmp_path, []) == []
