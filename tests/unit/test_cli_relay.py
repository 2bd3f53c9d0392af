"""The logs of the daemons of `dev`, in one voice."""

import json

import pytest

from mesoslite.cli.relay import Relay


def line(**entry: object) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def test_warnings_are_shown_and_the_rest_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    relay = Relay("text", verbose=False)
    relay.line("agent-1", line(level="info", event="quiet"))
    relay.line("agent-1", line(level="warning", event="the disk is full", path="/a", timestamp="t"))
    assert capsys.readouterr().err == " agent-1 | warning the disk is full path=/a\n"


def test_verbose_shows_all_and_muted_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    relay = Relay("text", verbose=True)
    relay.line("master", line(level="info", event="ready"))
    relay.muted = True
    relay.line("master", line(level="error", event="broken"))
    assert capsys.readouterr().err == "  master | ready\n"


def test_json_is_passed_on_with_its_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    Relay("json", verbose=False).line("agent-2", line(level="error", event="x", code=7))
    assert json.loads(capsys.readouterr().err) == {
        "daemon": "agent-2",
        "level": "error",
        "event": "x",
        "code": 7,
    }


def test_the_last_word_of_a_daemon_is_why_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    relay = Relay("text", verbose=False)
    assert relay.why("master") == "it said nothing"
    relay.line("master", b"mesoslite-master: error: port 5060 is in use\n")
    relay.line("master", b"\n")
    assert relay.why("master") == "mesoslite-master: error: port 5060 is in use"
    assert capsys.readouterr().err == ""


def test_only_an_error_is_the_cause_of_an_end_by_a_signal() -> None:
    relay = Relay("text", verbose=False)
    assert relay.last_error("master") == ""
    relay.line("master", line(level="error", event="the disk broke"))
    assert relay.last_error("master") == "the disk broke"
    relay.line("master", line(level="warning", event="a slow commit"))
    assert relay.last_error("master") == ""


def test_lines_that_are_no_json_or_no_text_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    relay = Relay("text", verbose=True)
    for data in (b"{broken\n", b"[1]\n", b"\xff\xfe\x1b[31mred\n", b'{"level": []}\n'):
        relay.line("master", data)
    assert "\x1b" not in capsys.readouterr().err
