"""Cassandra's own driver, with its means against what may fail: no statement is tried again here.

Idempotent statements are tried on the next node by a retry policy, so many times; the plan of each
goes round the nodes as often; and a node that was away is connected to as soon as it is back.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from tests.end_to_end.waiting import wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the driver's own, of old names that it uses
    from cassandra import ConsistencyLevel
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import ConstantReconnectionPolicy, RetryPolicy, RoundRobinPolicy
    from cassandra.query import SimpleStatement

RETRIES_MAX = 10  # of a statement, each of which a node gives up after 2 s (writes) or 5 s (reads)
ANSWER_S_MAX = 120.0  # of a statement, with all of its retries
CONNECT_S_MAX = 20.0
RECONNECT_S = 1.0
QUIET_S_MAX = 240.0  # for so many rows:
ROWS_GO_ON = 100
#: Between two rows: nodes that start need the processors.
PAUSE_S = 0.01

KEYSPACE = (
    "CREATE KEYSPACE IF NOT EXISTS k WITH replication = "
    "{'class': 'SimpleStrategy', 'replication_factor': 3}"
)
TABLE = "CREATE TABLE IF NOT EXISTS k.t (n int PRIMARY KEY, twice int)"
WRITE = SimpleStatement("INSERT INTO k.t (n, twice) VALUES (%s, %s)", is_idempotent=True)
READ = SimpleStatement("SELECT twice FROM k.t WHERE n = %s", is_idempotent=True)
READ_ALL = SimpleStatement("SELECT n, twice FROM k.t", is_idempotent=True)


class OnTheNextNode(RetryPolicy):  # type: ignore[misc]
    """What is idempotent is tried again on the next node of its plan, RETRIES_MAX times."""

    def _judge(self, query: Any, retry_num: int) -> tuple[int, None]:
        again = query.is_idempotent and retry_num < RETRIES_MAX
        return (self.RETRY_NEXT_HOST if again else self.RETHROW), None

    def on_read_timeout(self, query: Any, *_: object, retry_num: int, **__: object) -> Any:
        """Too few replicas have answered in time."""
        return self._judge(query, retry_num)

    def on_write_timeout(self, query: Any, *_: object, retry_num: int, **__: object) -> Any:
        """Too few replicas have answered in time."""
        return self._judge(query, retry_num)

    def on_unavailable(self, query: Any, *_: object, retry_num: int, **__: object) -> Any:
        """The node believes that too few replicas are there."""
        return self._judge(query, retry_num)

    def on_request_error(self, query: Any, *_: object, retry_num: int, **__: object) -> Any:
        """The connection broke, or the node is overloaded or starts."""
        return self._judge(query, retry_num)


class RoundAndRound(RoundRobinPolicy):  # type: ignore[misc]
    """One node after another, as often as there may be tries; who is there is asked each time."""

    def make_query_plan(self, *words: Any, **more: Any) -> Iterator[Any]:
        """Of one statement."""
        for _ in range(RETRIES_MAX + 1):
            yield from super().make_query_plan(*words, **more)


@contextlib.contextmanager
def session(endpoints: Mapping[str, str]) -> Iterator[Any]:
    """A session of the driver at QUORUM."""
    places = [address.rpartition(":") for address in endpoints.values()]
    profile = ExecutionProfile(
        load_balancing_policy=RoundAndRound(),
        retry_policy=OnTheNextNode(),
        consistency_level=ConsistencyLevel.QUORUM,
        request_timeout=ANSWER_S_MAX,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(
            [(host, int(port)) for host, _, port in places],
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, None),
            connect_timeout=CONNECT_S_MAX,
            protocol_version=5,
        )
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()


def until_reached(made: Any, nodes: int) -> None:
    """Wait until the driver is connected to all nodes."""

    def reached() -> bool:
        found = made.cluster.metadata.all_hosts()
        return len(found) == nodes and all(host.is_up for host in found)

    wait_until(reached, f"the driver reaches {nodes} nodes", QUIET_S_MAX)


class Rows:
    """Rows that are written and at once read again, in a thread of their own, one after another."""

    def __init__(self, made: Any, least: int) -> None:
        """They go on until `enough` is set, and there are `least` at any rate."""
        self.least = least
        self.enough = threading.Event()
        self.count = 0
        """Rows 0 to this were written, and read again."""
        self._session = made
        self._failure: Exception | None = None

    def write_and_read(self) -> None:
        """Raises what the driver raises: no statement may fail."""
        try:
            while not self.enough.is_set() or self.count < self.least:
                self._session.execute(WRITE, (self.count, 2 * self.count))
                [row] = self._session.execute(READ, (self.count,))
                assert row.twice == 2 * self.count
                self.count += 1
                self.enough.wait(PAUSE_S)
        except Exception as error:
            self._failure = error
            raise

    def until_they_go_on(self) -> None:
        """Wait until ROWS_GO_ON more were written and read, each of them begun after this call."""
        before = self.count

        def gone_on() -> bool:
            assert self._failure is None, repr(self._failure)
            return self.count > before + ROWS_GO_ON

        wait_until(gone_on, f"{ROWS_GO_ON} rows are written and read", QUIET_S_MAX)
