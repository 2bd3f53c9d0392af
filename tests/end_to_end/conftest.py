"""A `mesoslite dev` for each module of tests, which must leave nothing behind at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.command import Dev, left_behind

StartDev = Callable[..., Dev]


def _clusters() -> Iterator[StartDev]:
    """Start clusters; at the end each is stopped, and whatever is left of one is a failure."""
    started: list[Dev] = []
    with tempfile.TemporaryDirectory(prefix="dev-home-") as folder:

        def start(*words: str) -> Dev:
            home = Path(folder) / str(len(started))
            home.mkdir()
            dev = Dev(home, *words)
            started.append(dev)
            return dev

        try:
            yield start
        finally:
            codes = [dev.stop() for dev in started]
        assert all(code in (0, 1, 2, -9) for code in codes), [dev.said() for dev in started]
        left = [what for dev in started for what in left_behind(dev.home, dev.agent_ids)]
        assert left == []


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    """A cluster of two agents, shared by the tests of a module."""
    clusters = _clusters()
    start = next(clusters)
    yield start("--agents", "2", "--cpus", "4", "--mem", "4GiB").ready()
    for _ in clusters:
        raise AssertionError("the clusters end once")


@pytest.fixture
def start_dev() -> Iterator[StartDev]:
    """Start clusters of one's own: `start_dev("--agents", "3").ready()`."""
    yield from _clusters()
