"""Cassandra itself, with its own driver: QUORUM is there while a node or a host is not.

Rows are written and read throughout, and no statement may fail. Each fault lasts until as many as
ROWS_GO_ON were written and read during it: so none of them is over before anybody has noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.end_to_end.waiting import wait_until
from tests.services.cassandra_clients import KEYSPACE, READ_ALL, TABLE, Rows, session, until_reached
from tests.services.conftest import AGENTS
from tests.services.hosts import Hosts
from tests.services.running import READY_S_MAX, Framework, until_serve

WORDS = (
    "cassandra", "--heap", "512MiB", "--disk", "1GiB",
    "--cpus", "1.5",  # of 2: nodes start one after another, and a Java takes what it gets
    # Among nodes that share two processors one is not heard for a while, and is there all the same.
    "--config", "phi_convict_threshold=12",
    # What is waited for among many hosts in many places; here they are all in one.
    "--java-option", "-Dcassandra.ring_delay_ms=2000",
    "--java-option", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
)  # fmt: skip
ROWS, ROWS_LONG = 600, 6_000  # at least

Fault = Callable[[Framework, Rows], None]


def node_killed(cassandra: Framework, rows: Rows) -> None:
    """kill -9 of a node, and of what is started in its place; it comes back on its data."""
    before, agent = cassandra.task_of("node-2"), cassandra.agent_of("node-2")
    with cassandra.member_down("node-2"):
        rows.until_they_go_on()
    cassandra.until_back("node-2", before)
    assert cassandra.agent_of("node-2") == agent


def host_killed(cassandra: Framework, rows: Rows) -> None:
    """A power cut of its host, and its return."""
    before = cassandra.task_of("node-0")
    with cassandra.host_down("node-0"):
        rows.until_they_go_on()
    cassandra.until_back("node-0", before)


def all_of_it_killed(cassandra: Framework) -> None:
    """A power cut of all agents' hosts and of the master's, at once."""
    hosts = cassandra.hosts
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
    cassandra: Framework, endpoints: dict[str, str], faults: Sequence[Fault], least: int
) -> int:
    """Write and read while one fault after another happens; how many rows there are."""
    with session(endpoints) as made, ThreadPoolExecutor(1) as thread:
        made.execute(KEYSPACE)
        made.execute(TABLE)
        rows = Rows(made, least)
        written = thread.submit(rows.write_and_read)
        try:
            rows.until_they_go_on()  # else the first fault could be over before anybody wrote
            for fault in faults:
                fault(cassandra, rows)
                until_all_know_of_all(cassandra, endpoints)
                until_reached(made, AGENTS)
                rows.until_they_go_on()
        finally:
            rows.enough.set()
        written.result()
        return rows.count


def all_rows_are_there(endpoints: dict[str, str], rows: int) -> None:
    with session(endpoints) as made:
        found = {row.n: row.twice for row in made.execute(READ_ALL)}
    assert found == {n: 2 * n for n in range(rows)}


def until_all_know_of_all(cassandra: Framework, endpoints: dict[str, str]) -> None:
    """Of another's return a node hears by gossip, a bit after it serves: until then that one is
    none of its quorum. Asked by nodetool, as people do."""
    until_serve(endpoints)
    for asked in range(AGENTS):
        tool = ("framework", "exec", "--task", f"node-{asked}", "cassandra", "nodetool", "status")

        def knows_of_all(tool: tuple[str, ...] = tool) -> bool:
            done = cassandra.hosts.command(*tool, timeout_s=READY_S_MAX)
            assert done.code == 0, done.out + done.err
            return [line[:2] for line in done.out.splitlines()].count("UN") == AGENTS

        wait_until(knows_of_all, f"node-{asked} knows that all are up and normal", READY_S_MAX)


@pytest.mark.timeout(2_400)
@pytest.mark.usefixtures("cassandra")
def test_quorum_is_there_while_one_is_not_and_all_rows_when_all_were_away(
    hosts: Hosts, long: bool
) -> None:
    with Framework(hosts, *WORDS) as cassandra:
        endpoints = cassandra.until_all_run(AGENTS)
        until_serve(endpoints)
        faults: list[Fault] = [node_killed, host_killed] if long else [node_killed]
        least = ROWS_LONG if long else ROWS
        rows = quorum_all_along(cassandra, endpoints, faults, least)
        assert rows >= least
        if long:
            all_of_it_killed(cassandra)
            until_all_know_of_all(cassandra, endpoints)
        all_rows_are_there(endpoints, rows)
        cassandra.stop("--release")
