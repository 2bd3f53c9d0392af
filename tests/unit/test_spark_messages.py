"""What a driver may say, and what is refused of it."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite_spark.messages import (
    LINE_BYTES_MAX,
    BadMessage,
    Disconnected,
    Failed,
    FromDriver,
    Hello,
    Kill,
    Lost,
    Registered,
    Started,
    Stopped,
    Want,
    line_of,
    message_of,
)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "hello", "token": "t"}, Hello("t")),
        ({"kind": "want", "total": 3}, Want(3)),
        ({"kind": "kill", "executors": ["1", "12"]}, Kill((1, 12))),
        ({"kind": "registered", "executor": "7"}, Registered(7)),
        ({"kind": "disconnected", "executor": "7"}, Disconnected(7)),
        ({"kind": "stopped"}, Stopped()),
        (
            {
                "kind": "started",
                "driver": "spark://d@h:1",
                "page": "http://h:4040",
                "java_options": ["-Da=b"],
                "class_path": "",
                "environment": {"A": "b"},
            },
            Started("spark://d@h:1", "http://h:4040", ("-Da=b",), "", {"A": "b"}),
        ),
    ],
)
def test_each_line_of_a_driver_is_understood(said: dict[str, object], message: FromDriver) -> None:
    assert message_of(json.dumps(said).encode()) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"\xff",
        b'"want"',
        b"[" * 100_000,
        b'{"kind": "wanted"}',
        b'{"kind": ["want"]}',
        b'{"kind": "want"}',
        b'{"kind": "want", "total": -1}',
        b'{"kind": "want", "total": true}',
        b'{"kind": "want", "total": 1.5}',
        b'{"kind": "want", "total": 2147483648}',
        b'{"kind": "hello", "token": 3}',
        b'{"kind": "kill", "executors": "1"}',
        b'{"kind": "kill", "executors": [1]}',
        b'{"kind": "kill", "executors": ["-1"]}',
        b'{"kind": "registered", "executor": "12345678901"}',
        '{"kind": "registered", "executor": "\u0663"}'.encode(),
        b'{"kind": "started", "driver": "d", "page": "", "java_options": [], "class_path": ""}',
        (
            b'{"kind": "started", "driver": "d", "page": "", "java_options": [], "class_path": "",'
            b' "environment": {"A=B": "c"}}'
        ),
    ],
)
def test_what_no_driver_says_is_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        message_of(line)


@given(st.binary(max_size=200) | st.from_regex(r'\{"kind": "[a-z]{3,7}", .*\}').map(str.encode))
def test_any_bytes_are_a_message_or_refused(line: bytes) -> None:
    with contextlib.suppress(BadMessage):
        message_of(line)


def test_what_a_driver_is_told_is_one_line_of_bounded_length() -> None:
    long = "x\n" * LINE_BYTES_MAX
    for message in (Lost(3, -1, caused_by_app=False, why=long), Failed(long)):
        line = line_of(message)
        assert line.count(b"\n") == 1
        assert len(line) < LINE_BYTES_MAX
    assert json.loads(line_of(Lost(3, 137, caused_by_app=True, why="no memory"))) == {
        "kind": "lost",
        "executor": "3",
        "exit_code": 137,
        "caused_by_app": True,
        "why": "no memory",
    }
