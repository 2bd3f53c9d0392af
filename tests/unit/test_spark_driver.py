"""A driver as a task: what it is launched with, what becomes of its end, what its program sees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mesoslite import Reason, TaskState, TaskStatus
from mesoslite.credentials import find_token_file, read_tokens
from mesoslite.scheduler.protocol import SendMessage
from mesoslite.testing import Decisions, Harness, Teardown, offer, status
from mesoslite_spark import SparkError, credential, defaults, program
from mesoslite_spark.defaults import Defaults
from mesoslite_spark.driver import ATTEMPTS_MAX, Driver

BIG = 4_096


class Unread(Driver):
    """A driver whose output nobody copies: there is no cluster to copy it from."""

    async def follow(self, task_id: str) -> None:
        return None


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "my app.py"
    path.write_text("import sys; print(*sys.argv[1:]); sys.exit(7)\n")
    return path


def launched(bench: Harness) -> Decisions:
    return bench.offers(offer(cpus=2, mem=BIG, request_id="driver"))


def ended(
    state: TaskState,
    reason: Reason,
    code: int | None = None,
    signal: int | None = None,
    task_id: str = "driver",
) -> TaskStatus:
    return status(task_id, state, reason=reason, exit_code=code, signal=signal)


def test_it_asks_for_its_driver_and_launches_it_once(app: Path) -> None:
    bench = Harness(Unread(str(app), "a", "b", role="ads", where="has ssd"))
    [request] = bench.decisions().requested
    assert (request.count, request.role, request.where) == (1, "ads", "has ssd")
    assert (request.unit.cpus, request.unit.mem) == (1, 1_024 + 384 + 256)
    [task] = launched(bench).launched
    assert task.command[1:] == ("-P", "-m", "mesoslite_spark.program", "my app.py", "a", "b")
    assert launched(bench).launched == ()


def test_the_program_travels_with_it_and_so_does_what_was_said(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESOSLITE_MASTER", "m:5060")
    driver = Unread(str(app), cores=4, executor_memory="2g", conf={"spark.a": "b"}, python="/py")
    [task] = launched(Harness(driver)).launched
    assert task.command[0] == "/py"
    assert task.environment["MESOSLITE_MASTER"] == "m:5060"
    assert program.unpack(task.environment[program.VARIABLE]) == app.read_bytes()
    assert defaults.defaults(task.environment) == Defaults(
        app_name="my-app", cores=4, executor_memory="2g", python="/py", conf={"spark.a": "b"}
    )


def test_a_program_elsewhere_is_fetched_by_the_agent() -> None:
    [task] = launched(Harness(Unread("https://host/apps/job.py"))).launched
    assert [uri.value for uri in task.uris] == ["https://host/apps/job.py"]
    assert task.command[4:] == ("job.py",)
    assert program.VARIABLE not in task.environment


@pytest.mark.parametrize(
    ("words", "told", "why"),
    [
        ((), {}, "which program"),
        (("/no/such/app.py",), {}, "cannot read /no/such/app.py: No such file"),
        (("https://host/a.py",), {"executor_memory": "1m"}, "at least 480m"),
        (("https://host/a.py",), {"driver_memory": "much"}, "driver_memory is a size"),
    ],
)
def test_a_wrong_command_line_is_told(
    words: tuple[str, ...], told: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Driver(*words, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ended(TaskState.FINISHED, Reason.COMMAND_EXITED, 0), 0),
        (ended(TaskState.FAILED, Reason.COMMAND_EXITED, 7), 7),
        (ended(TaskState.FAILED, Reason.COMMAND_SIGNALED, signal=9), 137),
        (ended(TaskState.FAILED, Reason.HOST_REBOOTED), 1),
        (ended(TaskState.KILLED, Reason.KILL_ASKED, signal=15), 143),
    ],
)
def test_the_end_of_its_driver_is_its_own(app: Path, status: TaskStatus, code: int) -> None:
    driver = Unread(str(app))
    bench = Harness(driver)
    launched(bench)
    bench.status(ended(TaskState.RUNNING, Reason.COMMAND_STARTED))
    assert Teardown() in bench.status(status)
    assert driver.exit_code == code


def test_a_driver_that_never_started_is_launched_again_and_not_for_ever(app: Path) -> None:
    bench = Harness(Unread(str(app)))
    for attempt in range(1, ATTEMPTS_MAX + 1):
        [task] = launched(bench).launched
        assert task.task_id == ("driver" if attempt == 1 else f"driver.{attempt}")
        made = bench.status(ended(TaskState.DROPPED, Reason.LAUNCH_REFUSED, task_id=task.task_id))
        assert (Teardown() in made) == (attempt == ATTEMPTS_MAX)


def test_one_that_no_agent_could_hold_is_not_waited_for(app: Path) -> None:
    assert Teardown() in Harness(Unread(str(app))).unsatisfiable("driver")


def test_the_program_sees_its_arguments_and_its_exit_code_is_passed_on(
    app: Path, tmp_path: Path
) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mesoslite_spark.program", "job.py", "a", "b c"],
        env={program.VARIABLE: program.pack(app.read_bytes())},
        cwd=sandbox,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "a b c\n"), done.stderr
    assert (sandbox / "job.py").read_bytes() == app.read_bytes()


def test_a_program_that_is_too_long_to_travel_is_told_so() -> None:
    noise = bytes(range(256)) * 40_000
    with pytest.raises(ValueError, match="too many to travel"):
        program.pack(noise)


@pytest.mark.parametrize("packed", ["", "nothing", program.pack(b"x" * 999)[:-5]])
def test_what_is_no_program_is_refused(packed: str) -> None:
    with pytest.raises(SparkError, match="MESOSLITE_SPARK_PROGRAM has"):
        program.unpack(packed)


def test_what_a_session_is_told_is_checked() -> None:
    assert defaults.defaults({}) == Defaults()
    assert defaults.defaults({defaults.VARIABLE: json.dumps({"cores": 2})}).cores == 2
    for wrong in ("", "[]", "{"):
        with pytest.raises(SparkError, match="MESOSLITE_SPARK_DEFAULTS is not"):
            defaults.defaults({defaults.VARIABLE: wrong})


JARS = f"root a:b:1\nwithout c:d\n{'0' * 64} maven:a:b:1\n{'1' * 64} maven:e:f:2\n"


def test_jars_of_a_lock_list_are_fetched_and_given_to_spark(app: Path, tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text(JARS)
    conf = {"spark.jars": "more.jar", "spark.ui.enabled": "false"}
    bench = Harness(Unread(str(app), jars=str(lock), conf=conf))
    [task] = launched(bench).launched
    assert [(uri.value, uri.sha256) for uri in task.uris] == [
        ("maven:a:b:1", "0" * 64),
        ("maven:e:f:2", "1" * 64),
    ]
    said = json.loads(task.environment[defaults.VARIABLE])["conf"]
    assert said == {**conf, "spark.jars": "jars/b-1.jar,jars/f-2.jar,more.jar"}
    lock.write_text("rubbish\n")
    with pytest.raises(ValueError, match="line 1 is neither a root nor a jar"):
        Unread(str(app), jars=str(lock))
    with pytest.raises(ValueError, match="cannot read"):
        Unread(str(app), jars=str(tmp_path / "none"))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    file = tmp_path / "tokens"
    file.write_text("# of the cluster\n\nlocal 5ecret # mine\nother 1234\n")
    monkeypatch.setenv("MESOSLITE_TOKEN_FILE", str(file))
    return b"local 5ecret"


def test_the_token_is_told_to_its_task_alone_and_when_it_asks(app: Path, token: bytes) -> None:
    bench = Harness(Unread(str(app)))
    [task] = launched(bench).launched
    assert task.environment[credential.VARIABLE] == "1"
    assert "5ecret" not in repr(task)
    for _ in range(2):  # an answer may be lost
        told = bench.message("driver", credential.QUESTION)
        assert list(told) == [SendMessage("driver", "agent-1", token)]
    assert list(bench.message("driver.2", credential.QUESTION)) == []
    assert list(bench.message("driver", b"something else")) == []


def test_without_a_token_file_none_is_asked_for(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESOSLITE_TOKEN_FILE", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    [task] = launched(Harness(Unread(str(app)))).launched
    assert credential.VARIABLE not in task.environment


def test_the_token_is_the_one_that_is_named_when_the_driver_is_launched(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESOSLITE_TOKEN_FILE", "/no/such/file")
    bench = Harness(Unread(str(app)))
    later = tmp_path / "later"
    later.write_text("the-right-one\n")
    monkeypatch.setenv("MESOSLITE_TOKEN_FILE", str(later))
    launched(bench)
    [told] = bench.message("driver", credential.QUESTION)
    assert told == SendMessage("driver", "agent-1", b"the-right-one")


def test_a_token_that_can_not_be_read_ends_it(
    app: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MESOSLITE_TOKEN_FILE", "/no/such/file")
    driver = Unread(str(app))
    with caplog.at_level("INFO"):
        made = launched(Harness(driver))
    assert (made.launched, driver.exit_code) == ((), 1)
    assert Teardown() in made
    assert caplog.messages == ["cannot read /no/such/file: No such file or directory"]


@pytest.mark.parametrize("named", [None, "", "/a/token", "~/token", "a/token"])
@pytest.mark.parametrize("config", [None, "", "/etc/xdg", "relative"])
def test_the_token_file_is_where_the_library_looks_for_it(
    named: str | None, config: str | None
) -> None:
    told = {"MESOSLITE_TOKEN_FILE": named, "XDG_CONFIG_HOME": config}
    environment = {name: value for name, value in told.items() if value is not None}
    assert credential.token_file(environment) == find_token_file(None, environment)


def test_a_token_is_told_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environment = {"MESOSLITE_TOKEN_FILE": str(file)}
    for length in (1, 1_500, credential.TOKEN_LINE_MAX):
        file.write_text("t" * length + "\n")
        file.chmod(0o600)
        assert credential.token_of(environment).decode() == read_tokens(file).own
    file.write_text("t" * (credential.TOKEN_LINE_MAX + 1))
    with pytest.raises(ValueError, match=r" has 8,193 characters, more than 8,192$"):
        credential.token_of(environment)
    file.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="is not text"):
        credential.token_of(environment)


KEEPS = """
import os, subprocess, sys
from mesoslite_spark import credential

credential.keep(b"local 5ecret")
look = "from mesoslite.credentials import *; print(read_tokens(find_token_file()).own)"
exec(look)
subprocess.run([sys.executable, "-c", look], check=True)
print(os.listdir())
"""


def test_the_token_is_where_sessions_look_for_it_and_on_no_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEPS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["5ecret", "5ecret", "[]"], done.stderr
