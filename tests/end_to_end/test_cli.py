"""`status`, `ls`, `show`, `kill` and `teardown` against a real cluster."""

import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from mesoslite.version import VERSION
from tests.end_to_end.command import COMMAND, Dev
from tests.end_to_end.waiting import wait_until


@pytest.fixture(scope="module")
def sleeper(dev: Dev) -> Iterator[str]:
    """The name of a framework with two tasks, `nap-1` and `nap-2`, that run."""
    run = dev.start("run", "--count", "2", "--name", "nap", "--", "sleep", "3001")
    try:
        wait_until(lambda: len(dev.tasks()) == 2, "both tasks run")
        [row] = dev.json("framework", "ls")
        yield row["info"]["name"]
    finally:
        run.terminate()
        run.communicate(timeout=60)


def test_the_status_counts_what_there_is(dev: Dev, sleeper: str) -> None:
    page = dev.command("status")
    assert page.code == 0
    assert f"mesoslite {VERSION} at localhost:" in page.out
    assert "2 active" in page.out
    assert page.err == ""
    document = dev.json("status")
    assert document["agentsActive"] == 2
    assert document["tasksByState"] == {"RUNNING": 2}
    assert document["total"]["cpus"] == 4
    assert document["allocated"]["text"] == "cpus:0.2;mem:64"


def test_agents_are_listed_and_shown_by_the_start_of_their_ids_and_by_host(dev: Dev) -> None:
    rows = dev.json("agent", "ls")
    assert [row["info"]["hostname"] for row in rows] == ["agent-1", "agent-2"]
    assert [row["info"]["resources"]["cpus"] for row in rows] == [2, 2]
    full = rows[0]["info"]["agentId"]
    for some in (full, full[:10], "agent-1"):
        assert dev.json("agent", "show", some)["info"]["agentId"] == full
    table = dev.command("agent", "ls").out.splitlines()
    assert table[0].startswith("AGENT")
    assert len(table) == 3
    assert full in dev.command("agent", "ls", "-o", "wide").out


def test_ports_of_the_agents_are_apart(dev: Dev) -> None:
    ranges = sorted(row["info"]["resources"]["ports"][0] for row in dev.json("agent", "ls"))
    assert ranges[0][1] + 1 == ranges[1][0]


def test_tasks_are_listed_shown_and_narrowed_down(dev: Dev, sleeper: str) -> None:
    assert len(dev.json("task", "ls", "--framework", sleeper)) == 2
    assert dev.json("task", "ls", "--framework", "nobody") == []
    row = dev.json("task", "show", "nap-1")
    assert row["task"]["command"] == ["sleep", "3001"]
    assert row["statuses"][-1]["state"] == "RUNNING"
    on_host = dev.json("task", "ls", "--agent", row["agentHostname"])
    assert row["task"]["taskId"] in [one["task"]["taskId"] for one in on_host]
    page = dev.command("task", "show", "nap-1").out
    assert "sleep 3001" in page
    assert "RUNNING" in page


def test_an_id_that_may_be_several_is_refused_with_their_names(dev: Dev, sleeper: str) -> None:
    done = dev.command("task", "show", "nap")
    assert done.code == 2
    assert done.err == "mesoslite: 'nap' may be nap-1, nap-2: give more of the id\n"


@pytest.mark.parametrize("noun", ["agent", "framework", "task", "offer"])
def test_what_is_not_there_is_exit_3_and_one_line(dev: Dev, noun: str) -> None:
    done = dev.command(noun, "show", "no-such-thing")
    assert (done.code, done.out) == (3, "")
    assert (
        done.err == f"mesoslite: no {noun} is called 'no-such-thing'; see `mesoslite {noun} ls`\n"
    )


def test_frameworks_and_offers_are_listed(dev: Dev, sleeper: str) -> None:
    row = dev.json("framework", "show", sleeper)
    assert row["state"] == "active"
    assert row["allocated"]["cpus"] == 0.2
    assert sleeper in dev.command("framework", "ls").out
    assert isinstance(dev.json("offer", "ls"), list)


def test_a_killed_task_ends_and_its_run_says_so(dev: Dev) -> None:
    run = dev.start("run", "--name", "victim", "--", "sleep", "3002")
    try:
        wait_until(lambda: "victim" in dev.tasks(), "the task runs")
        done = dev.command("task", "kill", "vict")
        assert (done.code, done.out) == (0, "")
        out, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, out) == (143, "")
    assert "KILLED" in err
    assert dev.json("task", "show", "victim")["state"] == "KILLED"


def test_a_torn_down_framework_ends_with_its_tasks(dev: Dev) -> None:
    run = dev.start("run", "--name", "doomed", "--", "sleep", "3003")
    try:
        wait_until(lambda: "doomed" in dev.tasks(), "the task runs")
        name = dev.json("task", "show", "doomed")["frameworkName"]
        assert dev.json("framework", "teardown", name)["tasks"] == 1
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 1
    assert err.startswith("mesoslite: FRAMEWORK_REMOVED: ")
    assert err.count("\n") == 1
    wait_until(lambda: "doomed" not in dev.tasks(), "the task has ended")
    assert name in [row["info"]["name"] for row in dev.json("framework", "ls", "--all")]
    assert dev.command("framework", "teardown", name).code == 3


def test_a_wrong_token_is_denied_in_one_line(dev: Dev) -> None:
    wrong = dev.home / "wrong"
    wrong.write_text("local nonsense\n")
    wrong.chmod(0o600)
    done = dev.command("status", "--token-file", str(wrong))
    assert (done.code, done.out) == (5, "")
    assert done.err.count("\n") == 1
    assert "token" in done.err


def test_a_token_that_others_can_read_is_refused(dev: Dev) -> None:
    loose = dev.home / "loose"
    loose.write_text("local nonsense\n")
    loose.chmod(0o644)
    done = dev.command("status", "--token-file", str(loose))
    assert done.code == 5
    assert "chmod 600" in done.err


def test_a_reader_that_leaves_is_no_error(dev: Dev) -> None:
    shell = f"{COMMAND} agent ls -o json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], env=dev.environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[\n"
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_something_else_on_the_port_is_told_in_one_line(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        thread = threading.Thread(target=_say_nonsense, args=(stranger,))
        thread.start()
        done = dev.command("--master", f"127.0.0.1:{stranger.getsockname()[1]}", "status")
        stranger.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)
    assert done.code == 4
    assert done.err.count("\n") == 1


def _say_nonsense(stranger: socket.socket) -> None:
    while True:
        try:
            connection, _ = stranger.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"SSH-2.0-not-a-master\r\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_command_without_stdout_or_stderr_shows_no_traceback(dev: Dev, closed: str) -> None:
    line = f"exec {COMMAND} status {closed}"
    done = subprocess.run(
        ["sh", "-c", line], env=dev.environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == (0 if closed == "2>&-" else 141)


def test_a_task_that_has_ended_is_called_so_when_it_is_to_be_killed(dev: Dev) -> None:
    assert dev.command("run", "--name", "brief", "--", "true").code == 0
    done = dev.command("task", "kill", "brief")
    assert done.code == 3
    assert done.err == (
        "mesoslite: brief has ended already; `mesoslite task show brief` tells how\n"
    )
