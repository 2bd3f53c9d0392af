"""Cassandra itself, with its own driver: QUORUM is there while a node or a host is not."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.end_to_end.waiting import wait_until
from tests.services.conftest import AGENTS
from tests.services.hosts import Hosts
from tests.services.running import READY_S_MAX, Framework, kill_task, until_serve

WORDS = (
    "cassandra", "--heap", "512MiB", "--disk", "1GiB",
    "--cpus", "1.5",  # of 2: nodes start one after another, and a Java takes what it gets
    # What is waited for among many hosts in many places; here they are all in one.
    "--java-option", "-Dcassandra.ring_delay_ms=2000",
    "--java-option", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
)  # fmt: skip
ROWS, ROWS_LONG = 600, 6_000
KEYSPACE = (
    "CREATE KEYSPACE IF NOT EXISTS k WITH replication = "
    "{'class': 'SimpleStrategy', 'replication_factor': 3}"
)
TABLE = "CREATE TABLE IF NOT EXISTS k.t (n int PRIMARY KEY, twice int)"
ANSWER_S_MAX = 20.0
TRIES_MAX = 30  # of one idempotent write or read, each in its own time


@contextlib.contextmanager
def session(endpoints: dict[str, str]) -> Iterator[Any]:
    """A session of the driver at QUORUM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the driver's own, of old names that it uses
        from cassandra import ConsistencyLevel
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile

        profile = ExecutionProfile(
            consistency_level=ConsistencyLevel.QUORUM, request_timeout=ANSWER_S_MAX
        )
        places = [address.rpartition(":") for address in endpoints.values()]
        cluster = Cluster(
            [(host, int(port)) for host, _, port in places],
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=ANSWER_S_MAX,
            protocol_version=5,
        )
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()


def done(made: Any, statement: str, *values: int) -> list[Any]:
    """An idempotent statement, tried again as a retry policy would: a node may just have died."""
    from cassandra import DriverException, OperationTimedOut
    from cassandra.cluster import NoHostAvailable

    for left in reversed(range(TRIES_MAX)):
        try:
            return list(made.execute(statement, values))
        except (DriverException, OperationTimedOut, NoHostAvailable):
            if not left:
                raise
    raise AssertionError("there is a last try")


def write_and_read(made: Any, numbers: range) -> None:
    """Each row is read again as soon as it was written."""
    for n in numbers:
        done(made, "INSERT INTO k.t (n, twice) VALUES (%s, %s)", n, 2 * n)
        [row] = done(made, "SELECT twice FROM k.t WHERE n = %s", n)
        assert row.twice == 2 * n


def node_killed(cassandra: Framework) -> None:
    """kill -9 of a node, which comes back on its data."""
    before, agent = cassandra.task_of("node-2"), cassandra.agent_of("node-2")
    kill_task(before, cassandra.hosts)
    cassandra.until_back("node-2", before)
    assert cassandra.agent_of("node-2") == agent


def host_killed(cassandra: Framework) -> None:
    """A power cut of its host, and its return."""
    before = cassandra.task_of("node-0")
    with cassandra.host_down("node-0"):
        pass
    cassandra.until_back("node-0", before)


def all_of_it_killed(cassandra: Framework, hosts: Hosts) -> None:
    """A power cut of all agents' hosts and of the master's, at once."""
    before = {f"node-{n}": cassandra.task_of(f"node-{n}") for n in range(AGENTS)}
    hosts.cluster.kill_master()
    for agent in hosts.cluster.agents:
        hosts.cut(agent)
    hosts.cluster.start_master()
    for agent in hosts.cluster.agents:
        hosts.power(agent)
    for member, task_id in before.items():
        cassandra.until_back(member, task_id)


def quorum_all_along(
    cassandra: Framework, endpoints: dict[str, str], faults: Sequence[Callable[[Framework], None]],
    rows: int,
) -> None:  # fmt: skip
    """Write and read while one fault after another happens; then every row is there."""
    with session(endpoints) as made, ThreadPoolExecutor(1) as breaking:
        done(made, KEYSPACE)
        done(made, TABLE)
        share = rows // (len(faults) + 1)
        write_and_read(made, range(share))
        for at, fault in enumerate(faults, 1):
            broken = breaking.submit(fault, cassandra)
            write_and_read(made, range(at * share, (at + 1) * share))
            broken.result()
            until_serve(endpoints)


def all_rows_are_there(endpoints: dict[str, str], rows: int) -> None:
    with session(endpoints) as made:
        found = {row.n: row.twice for row in done(made, "SELECT n, twice FROM k.t")}
    assert found == {n: 2 * n for n in range(rows)}


def until_all_are_up_and_normal(hosts: Hosts) -> None:
    """By nodetool, as people use it: of another's return a node hears by gossip, a bit later."""

    def so() -> bool:
        tool = ("framework", "exec", "--task", "node-1", "cassandra", "nodetool", "status")
        done = hosts.command(*tool, timeout_s=READY_S_MAX)
        assert done.code == 0, done.out + done.err
        return [line[:2] for line in done.out.splitlines()].count("UN") == AGENTS

    wait_until(so, "all are up and normal", READY_S_MAX)


@pytest.mark.timeout(2_400)
@pytest.mark.usefixtures("cassandra")
def test_quorum_is_there_while_one_is_not_and_all_rows_when_all_were_away(
    hosts: Hosts, long: bool
) -> None:
    with Framework(hosts, *WORDS) as cassandra:
        endpoints = cassandra.until_all_run(AGENTS)
        until_serve(endpoints)
        faults = [node_killed, host_killed] if long else [node_killed]
        rows = ROWS_LONG if long else ROWS
        quorum_all_along(cassandra, endpoints, faults, rows)
        if long:
            all_of_it_killed(cassandra, hosts)
            until_serve(endpoints)
        all_rows_are_there(endpoints, rows)
        until_all_are_up_and_normal(hosts)
        cassandra.stop("--release")
