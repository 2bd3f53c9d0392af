"""Clusters for real data services, which share what was fetched for an earlier run of the tests.

`make test-services` runs them in their short forms, with LONG=1 in their long ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesoslite.daemon import cache_dir
from tests.end_to_end.command import Dev, left_behind

AGENTS = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are marked, whether their author thought of it or not."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether to take as long as it takes."""
    return os.environ.get("MESOSLITE_LONG") == "1"


@pytest.fixture
def cluster() -> Iterator[Dev]:
    """Three agents with room for a service, which must leave nothing behind."""
    if shutil.which("java") is None:
        pytest.skip("there is no java on this host")
    with tempfile.TemporaryDirectory(prefix="services-home-") as folder:
        dev = Dev(
            Path(folder),
            *("--agents", str(AGENTS), "--cpus", "6", "--mem", "6GiB", "--disk", "12GiB"),
            environment={"MESOSLITE_FETCH_CACHE": str(cache_dir("fetched"))},
        )
        try:
            yield dev.ready()
        finally:
            dev.stop()
        assert left_behind(dev.home, dev.agent_ids) == []
