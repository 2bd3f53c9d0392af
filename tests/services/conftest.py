"""Clusters for real data services, which share what was fetched for an earlier run of the tests.

`make test` and `make test-services SHORT=1` run their short forms, `make test-services` the long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.cluster import running_cluster
from tests.services.hosts import Hosts
from tests.services.requirements import need, why_no_jars, why_no_java

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


@pytest.fixture(scope="session")
def why_no_kafka() -> str:
    """Why Kafka can not run here; empty: its jars are here, too."""
    return why_no_java(17) or why_no_jars("mesoslite_kafka")


@pytest.fixture(scope="session")
def why_no_cassandra() -> str:
    """Why Cassandra can not run here; empty: its jars are here, too."""
    return why_no_java(17, 17) or why_no_jars("mesoslite_cassandra")


@pytest.fixture
def kafka(why_no_kafka: str) -> None:
    """Skip where Kafka can not run."""
    need(why_no_kafka)


@pytest.fixture
def cassandra(why_no_cassandra: str) -> None:
    """Skip where Cassandra can not run."""
    need(why_no_cassandra)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A master and as many agents with room for a service, which must leave nothing behind."""
    with running_cluster() as cluster:
        yield Hosts(cluster, AGENTS, "cpus:2;mem:2048;disk:4096")
