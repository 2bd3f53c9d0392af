"""The command line itself: its words, its exit codes, how fast it is there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mesoslite.cli.connection import find_token, only, only_framework, only_task
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.main import exit_code_of
from mesoslite.cli.options import seconds
from mesoslite.v1 import common_pb2, operator_pb2
from mesoslite.version import VERSION

NOUNS = ("agent", "framework", "task", "offer")


def test_the_front_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["--help"]) == Code.OK
    page = capsys.readouterr().out
    for word in ("demo", "dev", "run", "logs", "status", "version", *NOUNS):
        assert word in page


def test_help_and_version_load_nothing_heavy() -> None:
    program = (
        "import sys; from mesoslite.cli.main import exit_code_of; "
        "code = exit_code_of(sys.argv[1:]); "
        "sys.stderr.write(','.join(sorted({'grpc', 'google.protobuf', 'psutil'} "
        "& set(sys.modules)))); sys.exit(code)"
    )
    for words in (["--help"], ["version"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""


def test_version_is_told_plainly_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["version"]) == Code.OK
    assert capsys.readouterr().out == f"mesoslite {VERSION}\n"
    assert exit_code_of(["version", "-o", "json"]) == Code.OK
    assert json.loads(capsys.readouterr().out) == {"version": VERSION}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "nonsense"),
        (["run"], "COMMAND"),
        (["run", "--count", "0", "--", "true"], "--count"),
        (["run", "--timeout", "soon", "--", "true"], "soon"),
        (["status", "-o", "xml"], "xml"),
        (["--master", "no such place", "status"], "HOST:PORT"),
        (["status", "--master", "host:99999"], "HOST:PORT"),
        (["dev", "--log-format", "xml"], "--log-format"),
        (["dev", "--http-port", "65536"], "nor none"),
        (["task", "kill", "--grace", "-1", "t"], "-1"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(words) == Code.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("mesoslite: ")
    assert said in err


def test_a_word_that_is_no_text_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["explain", os.fsdecode(b"a\xff")]) == Code.USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_an_expression_that_can_not_be_read_is_shown_with_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "--where", "rack != r1 und zone == a", "--", "true"]
    assert exit_code_of(words) == Code.USAGE
    assert capsys.readouterr().err == (
        "mesoslite: where: expected 'and', 'or' or the end, not 'und', at character 12\n"
        "rack != r1 und zone == a\n"
        "           ^\n"
    )


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["version"], ["agent"]])
def test_help_that_nobody_can_read_ends_in_silence(words: list[str]) -> None:
    line = 'exec "$0" -m mesoslite.cli.main "$@" >&-'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (Code.BROKEN_PIPE, "")


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_alone_shows_its_verbs(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of([noun]) == Code.USAGE
    out, err = capsys.readouterr()
    assert "show" in out + err
    assert "mesoslite: " not in err


@pytest.mark.parametrize(
    "words",
    [["status"], ["agent", "ls"], ["task", "show", "t"], ["logs", "t"], ["run", "--", "true"]],
)
def test_without_a_master_it_is_said_in_one_line_and_exit_4(
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MESOSLITE_TOKEN_FILE", raising=False)
    assert exit_code_of(["--master", "localhost:1", *words]) == Code.NO_MASTER
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no master answers at localhost:1" in err


def test_a_token_file_that_is_not_there_is_a_denial(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["status", "--token-file", str(tmp_path / "none"), "--master", "localhost:1"]
    assert exit_code_of(words) == Code.DENIED
    assert capsys.readouterr().err.count("\n") == 1


def test_a_user_without_any_token_calls_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MESOSLITE_TOKEN_FILE", raising=False)
    assert find_token(None) == ()


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), ("90s", 90), ("5m", 300), ("500ms", 0.5), ("1d", 86_400)]
)
def test_times_are_read_as_people_write_them(text: str, value: float) -> None:
    assert seconds(text) == value


def test_an_id_in_full_is_meant_whatever_else_begins_so() -> None:
    assert only(["web", "web-1"], "task", "web", str) == "web"
    assert only(["web-1"], "task", "we", str) == "web-1"
    with pytest.raises(Failure, match="give more of the id") as several:
        only(["web-1", "web-2", "web-3", "web-4"], "task", "we", str)
    assert several.value.code == Code.USAGE
    with pytest.raises(Failure, match="no task is called") as none:
        only([], "task", "we", str)
    assert none.value.code == Code.NOT_FOUND


def test_a_name_that_several_frameworks_have_is_answered_with_their_ids() -> None:
    def row(framework_id: str, name: str, principal: str = "ann") -> operator_pb2.FrameworkRow:
        info = common_pb2.FrameworkInfo(name=name)
        return operator_pb2.FrameworkRow(framework_id=framework_id, info=info, principal=principal)

    mine, yours, other = row("1-F1", "web"), row("1-F2", "web", "bob"), row("1-F10", "1-F")
    assert only_framework([mine, other], "1-F1") == mine
    assert only_framework([mine, yours, other], "1-F") == other, "it is called just so"
    with pytest.raises(Failure) as several:
        only_framework([mine, yours], "web")
    assert str(several.value) == "'web' may be 1-F1 (web of ann), 1-F2 (web of bob): give the id"
    assert several.value.code == Code.USAGE
    with pytest.raises(Failure, match="no framework is called 'db'") as none:
        only_framework([], "db")
    assert none.value.code == Code.NOT_FOUND


def task_row(task: str, framework: str, name: str = "", at_ms: int = 0) -> operator_pb2.TaskRow:
    return operator_pb2.TaskRow(
        task=common_pb2.Task(task_id=task),
        framework_id=framework,
        framework_name=name,
        statuses=[common_pb2.TaskStatus(timestamp_ms=at_ms)],
    )


@pytest.mark.parametrize("some", ["a", "a-t"])
def test_a_task_id_of_several_frameworks_is_refused_with_the_flag_that_chooses(some: str) -> None:
    task = "a" if some == "a" else "a-task"
    rows = [
        task_row(task, "1-F1", "web", 7),
        task_row(task, "1-F63", "", 9),
        task_row(task, "1-F2", "web", 8),
        task_row(task, "1-F3", "web", 6),
    ]
    with pytest.raises(Failure) as several:
        only_task(rows, some)
    assert several.value.code == Code.USAGE
    assert str(several.value) == (
        f"4 frameworks have a task {task!r}: 1-F63, 1-F2 (web), 1-F1 (web) and 1 more; "
        "say whose you mean, as --framework 1-F63"
    )


def test_of_the_tasks_that_one_framework_called_the_same_the_newest_is_meant() -> None:
    rows = [task_row("a", "1-F1", at_ms=9), task_row("a", "1-F1", at_ms=8), task_row("ab", "1-F2")]
    assert only_task(rows, "a") is rows[0]
    assert only_task(rows, "ab") is rows[2]
    with pytest.raises(Failure, match="give more of the id"):
        only_task([task_row("aa", "1-F1"), rows[2]], "a")


def test_ctrl_c_while_the_command_is_still_imported_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n", encoding="ascii")
    done = subprocess.run(
        [sys.executable, "-m", "mesoslite", "demo"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (Code.INTERRUPTED, "", "")
