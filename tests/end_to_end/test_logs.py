"""`mesoslite logs`: what a task wrote, wherever it runs or ran."""

from tests.end_to_end.command import Dev
from tests.end_to_end.waiting import wait_until


def test_what_a_task_wrote_outlives_it(dev: Dev) -> None:
    script = "echo to stdout; echo to stderr >&2"
    assert dev.command("run", "--name", "past", "--", "sh", "-c", script).code == 0
    assert dev.command("logs", "past").out == "to stdout\n"
    assert dev.command("logs", "--stderr", "past").out == "to stderr\n"
    assert dev.command("logs", "--bytes", "7", "past").out == "stdout\n"
    assert dev.command("logs", "--bytes", "0", "past").out == ""
    assert dev.command("logs", "-f", "pas").out == "to stdout\n"


def test_following_goes_on_until_the_task_has_ended(dev: Dev) -> None:
    gate = dev.home / "gate"
    script = f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo last"
    words = ("--containerizer", "process", "--name", "live")
    run = dev.start("run", *words, "--", "sh", "-c", script)
    try:
        wait_until(lambda: "live" in dev.tasks(), "the task runs")
        follower = dev.start("logs", "--follow", "live")
        assert follower.stdout is not None
        with follower:
            assert follower.stdout.readline() == "first\n"
            assert dev.command("logs", "live").out == "first\n"
            gate.touch()
            assert follower.stdout.read() == "last\n"
            assert follower.wait(60) == 0
        assert run.wait(60) == 0
    finally:
        run.kill()
        run.communicate()


def test_an_interrupted_follower_says_nothing(dev: Dev) -> None:
    run = dev.start("run", "--name", "quiet", "--", "sh", "-c", "echo here; exec sleep 3301")
    try:
        wait_until(lambda: "quiet" in dev.tasks(), "the task runs")
        follower = dev.start("logs", "--follow", "quiet")
        assert follower.stdout is not None
        assert follower.stdout.readline() == "here\n"
        follower.send_signal(2)
        _, err = follower.communicate(timeout=30)
        assert (follower.returncode, err) == (130, "")
    finally:
        run.terminate()
        run.communicate(timeout=60)


def test_a_task_that_nobody_knows_is_exit_3(dev: Dev) -> None:
    done = dev.command("logs", "never")
    assert (done.code, done.out) == (3, "")
    assert done.err == "mesoslite: no task is called 'never'; see `mesoslite task ls`\n"


def test_a_name_that_several_frameworks_used_needs_the_framework(dev: Dev) -> None:
    for text in ("one", "two"):
        assert dev.command("run", "--name", "twin", "--", "echo", text).code == 0
    done = dev.command("logs", "twin")
    assert done.code == 2
    assert "--framework" in done.err
    names = [
        row["frameworkName"]
        for row in dev.json("task", "ls", "--all")
        if row["task"]["taskId"] == "twin"
    ]
    said = {dev.command("logs", "twin", "--framework", name).out for name in names}
    assert said == {"one\n", "two\n"}
