"""`mesoslite run`: a command on the cluster as if it ran here."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from mesoslite.cli.copies import FAILOVER_TIMEOUT_S
from tests.end_to_end.command import COMMAND, Dev, cgroups_of, nap, need_oci, processes_of, running
from tests.end_to_end.waiting import wait_until

SMALL = ("--cpus", "0.1", "--mem", "32")
MANY = 500


def test_the_output_and_the_exit_code_are_the_command_s(dev: Dev) -> None:
    done = dev.command("run", *SMALL, "--", "sh", "-c", "echo out; exit 3")
    assert (done.code, done.out, done.err) == (3, "out\n", "")


def test_stdout_and_stderr_stay_apart_byte_by_byte(dev: Dev) -> None:
    script = r"printf 'a\001\377'; printf 'no end' >&2"
    done = subprocess.run(
        [COMMAND, "run", *SMALL, "--", "sh", "-c", script],
        env=dev.environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\x01\xff", b"no end")


def test_an_output_that_can_not_be_written_is_a_failure_and_said_so(dev: Dev) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "run", *SMALL, "--", "echo", "lost"],
            env=dev.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "mesoslite: cannot write the output: No space left on device\n"


def test_a_large_output_arrives_whole(dev: Dev) -> None:
    done = dev.command("run", *SMALL, "--", "sh", "-c", "yes 0123456789 | head -n 200000")
    assert done.code == 0
    assert done.out == "0123456789\n" * 200_000


def test_a_signal_is_told_by_its_code_and_a_line(dev: Dev) -> None:
    script = "sh -c 'kill -SEGV $$'; kill -TERM $$; sleep 60"
    done = dev.command("run", "--containerizer", "process", *SMALL, "--", "sh", "-c", script)
    assert done.code == 128 + signal.SIGTERM
    assert "SIGTERM" in done.err.splitlines()[-1]


def test_too_much_memory_is_told_from_a_kill(dev: Dev) -> None:
    need_oci(dev)
    hog = "x = b'x' * (200 << 20); print(len(x))"
    done = dev.command("run", "--containerizer", "oci", *SMALL, "--", "python3", "-c", hog)
    assert done.code == 128 + signal.SIGKILL
    assert done.out == ""
    assert "FAILED (memory limit)" in done.err


def test_a_process_bomb_hurts_nobody(dev: Dev) -> None:
    need_oci(dev)
    bomb = "for i in $(seq 100); do sleep 30 & done 2>/dev/null; wait"
    words = ("--pids", "20", "--max-completion", "2", "--containerizer", "oci")
    done = dev.command("run", *words, "--", "sh", "-c", bomb)
    assert done.code != 0
    assert dev.command("run", *SMALL, "--", "true").code == 0


def test_a_root_directory_is_another_file_system(dev: Dev) -> None:
    need_oci(dev)
    root = dev.home / "root"
    make_root(root, "sh", "cat")
    (root / "etc").mkdir()
    (root / "etc" / "greeting").write_text("from another root\n")
    done = dev.command(
        "run", "--image", str(root), "--", "sh", "-c", "cat /etc/greeting; test -e /usr/lib"
    )
    assert (done.code, done.out) == (1, "from another root\n")


def make_root(root: Path, *programs: str) -> None:
    """A directory with these programs of the host and the libraries that they need."""
    for program in programs:
        path = shutil.which(program)
        assert path is not None
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for needed in [path, *re.findall(r"/\S+", linked)]:
            target = root / needed.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(needed).resolve(), target)
    (root / "bin").mkdir(exist_ok=True)
    for program in programs:
        if not (root / "bin" / program).exists():
            (root / "bin" / program).symlink_to(shutil.which(program) or "")


def test_copies_carry_their_names_and_the_highest_code_is_passed_on(dev: Dev) -> None:
    script = "echo copy $MESOSLITE_COPY of $MESOSLITE_COPIES; printf tail; exit $MESOSLITE_COPY"
    done = dev.command("run", "--count", "3", "--name", "c", "--", "sh", "-c", script)
    assert done.code == 3
    assert sorted(done.out.splitlines()) == sorted(
        line for n in (1, 2, 3) for line in (f"c-{n} | copy {n} of 3", f"c-{n} | tail")
    )
    assert done.err.splitlines()[-1] == (
        "mesoslite: 0 of 3 finished; exit 1: 1, exit 2: 1, exit 3: 1"
    )


def test_five_hundred_copies_finish_and_nothing_leaks(dev: Dev) -> None:
    words = ("--cpus", "0.01", "--mem", "1", "--containerizer", "process")
    assert dev.command("run", "--count", "20", *words, "--", "true").code == 0
    daemons = daemon_pids(dev)
    before = {pid: descriptors(pid) for pid in daemons}
    done = dev.command("run", "--count", str(MANY), *words, "--", "/bin/true", timeout_s=110)
    assert done.code == 0
    assert done.out == ""
    assert done.err == f"mesoslite: {MANY} of {MANY} finished\n"
    assert [words for words in processes_of(dev.home).values() if "/bin/true" in words] == []
    wait_until(
        lambda: all(descriptors(pid) <= before[pid] + 8 for pid in daemons),
        "descriptors are closed",
    )
    assert [g for agent in dev.agent_ids for c in cgroups_of(agent) for g in c.glob("*/*")] == []
    assert dev.json("status")["allocated"]["text"] == ""


def daemon_pids(dev: Dev) -> list[int]:
    listed = Path(f"/proc/{dev.process.pid}/task/{dev.process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_tasks(dev: Dev, number: signal.Signals) -> None:
    words = nap()
    run = dev.start("run", "--count", "2", "--name", "stop", "--", *words.split())
    try:
        wait_until(lambda: len(running(words)) == 2, "both run")
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, out) == (128 + number, "")
    assert err.splitlines()[0] == "mesoslite: ending 2 tasks; once more leaves at once"
    assert running(words) == []


def test_a_second_interrupt_leaves_the_tasks_to_the_master(dev: Dev) -> None:
    words = nap()
    script = f"trap '' TERM; echo deaf; {words}"
    run = dev.start("run", "--grace", "2s", "--name", "deaf", "--", "sh", "-c", script)
    try:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline() == "deaf\n"
        run.send_signal(signal.SIGINT)
        assert "once more" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=10)
    finally:
        run.kill()
    assert run.returncode == 130
    wait_until(lambda: running(words) == [], "its grace is over")


def test_the_tasks_of_a_run_that_was_killed_end_soon(dev: Dev) -> None:
    words = nap()
    run = dev.start("run", "--name", "orphan", "--", *words.split())
    try:
        wait_until(lambda: running(words), "it runs")
    finally:
        run.kill()
        run.communicate(timeout=60)
    wait_until(lambda: running(words) == [], "it is ended", FAILOVER_TIMEOUT_S + 30)


def test_a_timeout_is_124(dev: Dev) -> None:
    words = nap()
    done = dev.command("run", "--timeout", "1s", "--", *words.split())
    assert (done.code, done.err) == (124, "mesoslite: timed out after 1 s\n")
    assert running(words) == []


def test_what_no_agent_can_hold_is_told_at_once(dev: Dev) -> None:
    done = dev.command("run", "--cpus", "99", "--", "true")
    assert done.code == 1
    [line] = done.err.splitlines()
    assert "no agent can hold a task that needs cpus:99;mem:32" in line
    assert "lacks cpus:97" in line


def test_a_place_that_is_nowhere_is_told_at_once_and_one_that_is_nothing_sooner(dev: Dev) -> None:
    done = dev.command("run", "--where", "rack == r9", "--", "true")
    assert done.code == 1
    assert "no agent is where rack == r9" in done.err
    done = dev.command("run", "--where", "rack is r9", "--", "true")
    assert done.code == 2
    assert "at character 6" in done.err


def test_a_run_goes_where_it_is_told_to(dev: Dev) -> None:
    done = dev.command("run", "--where", "has hostname and rack != r9", "--", "echo", "here")
    assert (done.code, done.out) == (0, "here\n")


def test_what_cannot_be_started_is_127_and_says_why(dev: Dev) -> None:
    done = dev.command("run", "--containerizer", "process", "--", "no-such-command")
    assert done.code == 127
    assert "no-such-command" in done.err


def test_files_are_fetched_and_the_environment_is_set(dev: Dev) -> None:
    source = dev.home / "source.txt"
    source.write_text("fetched\n")
    words = ("--uri", str(source), "--env", "GREETING=hello there")
    done = dev.command("run", *words, "--", "sh", "-c", "cat source.txt; echo $GREETING")
    assert (done.code, done.out) == (0, "fetched\nhello there\n")


def test_a_file_that_cannot_be_fetched_is_named(dev: Dev) -> None:
    done = dev.command("run", "--uri", "/no/such/file", "--", "true")
    assert done.code == 1
    assert "/no/such/file" in done.err


def test_another_user_needs_a_permission(dev: Dev) -> None:
    done = dev.command("run", "--user", "nobody", "--", "true")
    assert done.code == 5
    assert "--allow-user" in done.err


def test_a_run_that_has_no_stdout_ends_in_silence(dev: Dev) -> None:
    line = f"exec {COMMAND} run --cpus 0.1 -- echo hi >&-"
    done = subprocess.run(
        ["sh", "-c", line], env=dev.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_that_leaves_ends_the_task(dev: Dev) -> None:
    run = dev.start("run", "--name", "chatty", "--", "sh", "-c", "yes; sleep 3204")
    assert run.stdout is not None
    assert run.stderr is not None
    try:
        assert run.stdout.readline() == "y\n"
        run.stdout.close()
        assert run.wait(60) == 141
        assert run.stderr.read() == ""
    finally:
        run.kill()
        run.stderr.close()
