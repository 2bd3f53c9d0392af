"""`mesoslite dev`: a cluster that comes with one command and leaves nothing behind."""

import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.command import (
    COMMAND,
    Dev,
    clean_environment,
    left_behind,
    nap,
    running,
)
from tests.end_to_end.conftest import StartDev
from tests.end_to_end.waiting import wait_until


def test_it_says_how_to_use_it_and_the_commands_of_its_user_find_it(start_dev: StartDev) -> None:
    dev = start_dev().ready()
    assert dev.process.stdout is not None
    exports = [dev.process.stdout.readline() for _ in range(2)]
    master = dev.environment["MESOSLITE_MASTER"]
    assert exports == [
        f"export MESOSLITE_MASTER={master}\n",
        f"export MESOSLITE_TOKEN_FILE={dev.home}/.config/mesoslite/token\n",
    ]
    assert (dev.home / ".config/mesoslite/token").stat().st_mode & 0o777 == 0o600
    wait_until(lambda: "try: mesoslite run" in dev.said(), "it is introduced")
    assert "ready: master at" in dev.said()
    assert dev.command("run", "--", "echo", "hello").out == "hello\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_ends_everything_while_tasks_run(
    start_dev: StartDev, number: signal.Signals
) -> None:
    dev = start_dev("--agents", "2").ready()
    words = nap()
    script = f"{words} & exec {words}"
    run = dev.start("run", "--count", "2", "--", "sh", "-c", script)
    try:
        wait_until(
            lambda: len(running(words)) == 4 or run.poll() is not None, f"four of {words} run"
        )
        assert run.poll() is None, run.communicate()
        assert dev.stop(number) == 0
        assert running(words) == []
        assert not dev.port_file.exists()
        assert [p for p in left_behind(dev.home, dev.agent_ids) if "mesoslite run" not in p] == []
    finally:
        run.kill()
        run.communicate()


def test_killing_it_ends_everything_but_its_directory_which_the_next_one_removes(
    start_dev: StartDev,
) -> None:
    words = nap()
    dev = start_dev().ready()
    run = dev.start("run", "--", *words.split())
    try:
        wait_until(lambda: running(words), "the task runs")
        assert dev.stop(signal.SIGKILL) == -signal.SIGKILL
    finally:
        run.kill()
        run.communicate()
    wait_until(
        lambda: all(what.startswith("directory") for what in left_behind(dev.home, dev.agent_ids)),
        "daemons and tasks have ended",
    )
    forgotten = list(dev.home.glob("mesoslite-dev-*"))
    assert len(forgotten) == 1
    again = Dev(dev.home)
    try:
        again.ready()
        assert not forgotten[0].exists()
    finally:
        assert again.stop() == 0


def test_a_host_that_loses_power_takes_its_containers_and_comes_back(start_dev: StartDev) -> None:
    words = nap()
    dev = start_dev("--agents", "2").ready()
    run = dev.start("run", "--name", "unlucky", "--", "sh", "-c", f"{words} & exec {words}")
    try:
        wait_until(lambda: len(running(words)) == 2, "the task runs")
        row = dev.json("task", "show", "unlucky")
        number = row["agentHostname"].removeprefix("agent-")
        boot = dev.json("agent", "show", row["agentHostname"])["bootId"]
        dev.type(f"kill-host {number}")
        wait_until(lambda: f"host {number} is down" in dev.said(), "the host is down")
        assert running(words) == []
        assert dev.json("agent", "show", row["agentHostname"])["state"] == "disconnected"
        dev.type(f"start-host {number}")
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 1
    assert "host rebooted" in err
    wait_until(lambda: f"host {number} is up again" in dev.said(), "the host is up")
    after = dev.json("agent", "show", row["agentHostname"])
    assert (after["state"], after["info"]["agentId"]) == ("active", row["agentId"])
    assert after["bootId"] != boot
    assert dev.command("run", "--", "true").code == 0


def test_a_host_that_stays_down_is_cleaned_up_at_the_end(start_dev: StartDev) -> None:
    words = nap()
    dev = start_dev().ready()
    run = dev.start("run", "--", *words.split())
    try:
        wait_until(lambda: running(words), "the task runs")
        dev.type("kill-host 1")
        wait_until(lambda: "host 1 is down" in dev.said(), "the host is down")
    finally:
        run.kill()
        run.communicate()
    assert dev.stop() == 0


def test_what_is_typed_wrong_is_answered_and_harmless(start_dev: StartDev) -> None:
    dev = start_dev().ready()
    for line in (
        "help",
        "hosts",
        "nonsense \x1b[31m",
        "kill-host",
        "kill-host 9",
        "start-host 1",
        "",
    ):
        dev.type(line)
    wait_until(lambda: "is up already" in dev.said(), "the last line is answered")
    said = dev.said()
    assert "power off" in said
    assert "1  agent-1  up, pid " in said
    assert "no command" in said
    assert "takes the number of a host" in said
    assert "there is no host 9" in said
    assert "\x1b" not in said
    assert dev.command("status").code == 0


def test_an_agent_that_dies_is_told_and_can_be_started_again(start_dev: StartDev) -> None:
    dev = start_dev().ready()
    dev.type("hosts")
    wait_until(lambda: "up, pid " in dev.said(), "the host is listed")
    os.kill(int(dev.said().partition("up, pid ")[2].split()[0]), signal.SIGKILL)
    wait_until(lambda: "agent-1 ended (SIGKILL)" in dev.said(), "its end is noticed")
    dev.type("start-host 1")
    wait_until(lambda: "host 1 is up again" in dev.said(), "it is back")
    assert dev.command("run", "--", "true").code == 0


def test_without_its_master_it_ends_with_one_line_and_cleans_up(start_dev: StartDev) -> None:
    dev = start_dev("-v").ready()
    [pid] = [pid for pid, words in _children(dev).items() if "mesoslite.master" in words]
    os.kill(pid, signal.SIGKILL)
    assert dev.process.wait(60) == 1
    assert dev.said().splitlines()[-1] == "mesoslite: master ended (SIGKILL)"


def _children(dev: Dev) -> dict[int, str]:
    listed = Path(f"/proc/{dev.process.pid}/task/{dev.process.pid}/children").read_text()
    return {
        int(pid): Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        for pid in listed.split()
    }


def test_a_port_in_use_is_one_line_and_leaves_nothing(start_dev: StartDev) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dev = start_dev("--port", str(taken.getsockname()[1]))
        assert dev.process.wait(60) == 1
    starting, failed = dev.said().splitlines()
    assert starting == "starting a master and 1 agent ..."
    assert failed.startswith("mesoslite: master did not start: ")
    assert "port" in failed


def test_without_http_it_says_of_none(start_dev: StartDev) -> None:
    dev = start_dev("--http-port", "none").ready()
    dev.type("hosts")
    wait_until(lambda: "up, pid " in dev.said(), "the host is listed")
    assert "  http none  " in dev.said()
    assert "http: " not in dev.said()


def test_a_work_directory_is_kept_and_found_again(start_dev: StartDev, tmp_path: Path) -> None:
    words = ("--agents", "2", "--work-dir", str(tmp_path / "cluster"))
    first = start_dev(*words).ready()
    ids = first.agent_ids
    assert first.command("run", "--name", "kept", "--", "echo", "kept").code == 0
    assert first.stop() == 0
    second = start_dev(*words).ready()
    assert second.agent_ids == ids
    frameworks = second.json("framework", "ls", "--all")
    assert [row["state"] for row in frameworks] == ["completed"]


def test_two_clusters_of_one_work_directory_are_refused(
    start_dev: StartDev, tmp_path: Path
) -> None:
    one = start_dev("--work-dir", str(tmp_path / "cluster")).ready()
    other = start_dev("--work-dir", str(tmp_path / "cluster"))
    assert other.process.wait(60) == 1
    assert "mesoslite: master did not start: " in other.said()
    assert one.command("status").code == 0


def test_logs_of_the_daemons_can_be_seen_as_json(start_dev: StartDev) -> None:
    dev = start_dev("-v", "--log-format", "json").ready()
    lines = [line for line in dev.said().splitlines() if line.startswith("{")]
    assert any('"daemon": "agent-1"' in line and "the agent is ready" in line for line in lines)
    assert any('"daemon": "master"' in line for line in lines)


def test_the_machine_of_the_drf_paper_is_one_agent(start_dev: StartDev) -> None:
    dev = start_dev("--cpus", "9", "--mem", "18GiB").ready()
    [row] = dev.json("agent", "ls")
    assert (row["info"]["resources"]["cpus"], row["info"]["resources"]["mem"]) == (9, 18 * 1_024)


def inside(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`mesoslite dev -- COMMAND` to its end."""
    return subprocess.run(
        [COMMAND, "dev", "--port", "0", "--agents", "2", *words],
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_command_finds_the_cluster_that_it_runs_in_and_its_exit_code_is_passed_on(
    tmp_path: Path,
) -> None:
    done = inside(tmp_path, "--", str(COMMAND), "run", "--", "sh", "-c", "echo hello; exit 7")
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert "ready: master at" in done.stderr
    assert left_behind(tmp_path, []) == []


def test_a_command_cuts_the_power_of_a_host_by_a_line_in_a_file(tmp_path: Path) -> None:
    command = shlex.quote(str(COMMAND))
    script = f"""
        echo kill-host 2 >"$MESOSLITE_DEV_COMMANDS"
        until {command} agent ls | grep -q 'agent-2.*disconnected'; do sleep 0.1; done
        echo start-host 2 >"$MESOSLITE_DEV_COMMANDS"
        while {command} agent ls | grep -q 'agent-2.*disconnected'; do sleep 0.1; done
    """
    done = inside(tmp_path, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert left_behind(tmp_path, []) == []


def test_a_command_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    done = inside(tmp_path, "--", "no-such-program")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mesoslite: there is no program 'no-such-program' to run\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_the_command_end_before_its_cluster_does(
    start_dev: StartDev, number: signal.Signals
) -> None:
    words = nap()
    script = f"trap 'kill $!; exit 2' TERM INT; echo here >&2; {words} & wait"
    dev = start_dev("--", "sh", "-c", script)
    wait_until(lambda: running(words), "the command runs")
    # As a terminal does: Ctrl-C is for all of its foreground.
    if number is signal.SIGINT:
        os.killpg(dev.process.pid, number)
    else:
        dev.process.send_signal(number)
    assert dev.process.wait(60) == 2
    assert running(words) == []
