"""`mesoslite framework run|status|stop`: an installed framework by its command."""

import json
import signal

from tests.end_to_end.command import Dev
from tests.end_to_end.waiting import wait_until


def names(dev: Dev) -> list[str]:
    return [row["info"]["name"] for row in dev.json("framework", "ls")]


def test_a_framework_runs_to_its_end(dev: Dev) -> None:
    done = dev.command("framework", "run", "demo", "--webs", "1", "--jobs", "2")
    assert (done.code, done.out) == (0, ""), done.err
    assert names(dev) == []


def test_ctrl_c_ends_one_that_would_not_live_on(dev: Dev) -> None:
    words = ("framework", "run", "demo", "--name", "mine", "--webs", "1", "--jobs", "500")
    with dev.start(*words) as run:
        wait_until(dev.tasks, "its tasks run")
        page = json.loads(dev.command("framework", "status", "mine", "-o", "json").out)
        assert page["framework"]["info"]["name"] == "mine"
        assert page["tasks"]
        assert page["endpoints"] == {}
        table = dev.command("framework", "status", "mine")
        assert table.code == 0
        assert "waits for" in table.out
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "ending mine" in err
    wait_until(lambda: not names(dev), "it has gone")


def test_one_that_is_stopped_by_another_command_ends(dev: Dev) -> None:
    words = ("framework", "run", "demo", "--name", "other", "--webs", "1", "--jobs", "500")
    with dev.start(*words) as run:
        wait_until(dev.tasks, "its tasks run")
        done = dev.command("framework", "stop", "other", "--release")
        assert done.code == 0, done.err
        run.communicate(timeout=60)
    assert run.returncode == 0
    wait_until(lambda: not names(dev), "it has gone")
