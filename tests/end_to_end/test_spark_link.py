"""A Spark application's scheduler beside a driver that is played: the connection, and its ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from mesoslite import FrameworkError, Refusal
from mesoslite_spark.application import Application
from mesoslite_spark.executors import Executors
from mesoslite_spark.sizes import ExecutorSize
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.waiting import wait_until

SAYS_S_MAX = 30.0
STARTED = {
    "kind": "started",
    "driver": "spark://CoarseGrainedScheduler@127.0.0.1:1",
    "page": "",
    "java_options": [],
    "class_path": "",
    "environment": {},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        cluster.start_agent("cpus:2;mem:2048")
        yield cluster


@contextmanager
def application(cluster: Cluster, python: str = "false") -> Iterator[Application]:
    """One whose executors run `python`, whatever that is."""
    make = partial(Executors, "spark-link", ExecutorSize(1, 480, 0), python=python, secret="s")
    made = Application(make, master=cluster.address, token_file=cluster.token_file)
    made.start()
    try:
        yield made
    finally:
        made.close()
        assert not made.alive
        assert frameworks(cluster) == []


def frameworks(cluster: Cluster) -> list[str]:
    with cluster.operator() as operator:
        return [row.info.name for row in operator.frameworks()]


class Driver:
    """What the JVM would say."""

    def __init__(self, application: Application, token: str | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", application.port), SAYS_S_MAX)
        self._file = self._socket.makefile("rwb")
        self.says(kind="hello", token=application.token if token is None else token)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def says(self, **message: object) -> None:
        self.writes(json.dumps(message).encode() + b"\n")

    def writes(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def hears(self) -> dict[str, Any] | None:
        """The next line; None: the connection has ended."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        return dict(json.loads(line)) if line else None


def test_the_end_of_the_application_is_the_end_of_its_connection(cluster: Cluster) -> None:
    with application(cluster) as made, Driver(made) as driver:
        driver.says(**STARTED)
        wait_until(lambda: frameworks(cluster) == ["spark-link"], "it is a framework")
        driver.says(kind="stopped")
        assert driver.hears() is None
        wait_until(lambda: not made.alive, "its thread has ended")


def test_a_driver_that_is_gone_ends_the_application(cluster: Cluster) -> None:
    with application(cluster) as made:
        with Driver(made) as driver:
            driver.says(**STARTED)
        wait_until(lambda: not made.alive, "its thread has ended")


def test_without_the_token_nobody_is_listened_to(cluster: Cluster) -> None:
    with application(cluster) as made:
        for token in ("", "wrong"):
            with Driver(made, token) as stranger:
                assert stranger.hears() is None
        with Driver(made) as driver, Driver(made) as second:
            driver.says(**STARTED)
            assert second.hears() is None  # there is one driver
            assert made.alive


@pytest.mark.parametrize(
    "said", [b"nonsense\n", b"x" * 300_000, b'{"kind": "want", "total": -1}\n']
)
def test_a_driver_that_is_not_understood_is_told_so(cluster: Cluster, said: bytes) -> None:
    with application(cluster) as made, Driver(made) as driver:
        driver.writes(said)
        told = driver.hears()
        assert told is not None
        assert told["kind"] == "failed"
        assert "is not understood" in told["why"]


def test_executors_that_end_are_told_and_in_the_end_given_up(cluster: Cluster) -> None:
    """`false` for a Python: every executor ends at once, with code 1."""
    with application(cluster) as made, Driver(made) as driver:
        driver.says(**STARTED)
        driver.says(kind="want", total=1)
        told = driver.hears()
        assert told is not None
        assert (told["kind"], told["executor"]) == ("lost", "1")
        assert (told["exit_code"], told["caused_by_app"]) == (1, True)


def test_a_framework_that_an_operator_removes_fails_the_application(cluster: Cluster) -> None:
    with application(cluster) as made, Driver(made) as driver:
        driver.says(**STARTED)
        with cluster.operator() as operator:
            [row] = operator.frameworks()
            operator.teardown(row.framework_id)
        told = driver.hears()
        assert told == {"kind": "failed", "why": "the framework of this application was torn down"}
        assert driver.hears() is None


def test_a_master_that_refuses_is_told_before_any_driver_is_there(cluster: Cluster) -> None:
    make = partial(Executors, "spark-link", ExecutorSize(), python="false", secret="s")
    wrong = cluster.folder / "wrong-token"
    wrong.write_text("0" * 64)
    wrong.chmod(0o600)
    refused = Application(make, master=cluster.address, token_file=wrong)
    with pytest.raises(FrameworkError) as caught:
        refused.start()
    assert caught.value.refusal is Refusal.BAD_TOKEN
