"""The pipeline of the talk as people run it: what comes out is what went in, key by key.

Short: a broker, a node, 20,000 events. Long: as `make smack KILL_HOST=1` has it, with three of
each, 1,000,000 events, and a power cut of the host that Spark's driver is on, with one of each.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

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
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        return subprocess.Popen(
            [COMMAND, "dev", "--port", "0", *DEV, "--", *run],
            env={**clean_environment(home), "MESOSLITE_FETCH_CACHE": str(fetch_cache())},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


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
    code, out, err = ended(started(tmp_path, *words), tmp_path)
    assert code == 0, err[-4_000:] + out
    assert totals(out) == expected(SEED, int(words[1])), out
    assert "each counted once, as produced" in out
    assert ("without power" in err or "the power of" in err) == long, err
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
