"""The totals in Cassandra, each event counted once, whatever dies and whoever else is counting.

A partition of the topic is one of the table: the totals of its keys, absolute, and with them
`next`, the first offset that they do not hold. Both change in one conditional batch: it is done
whole when `next` is still what the totals were made of, else not at all. So there is no moment
between the counting and the note that it was done, and Spark's own checkpoint is not needed: who
begins anew begins at `next`.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any

from mesoslite_pipeline.events import Total, sums

#: A node that died is missed by the others after seconds; until then some statements go to it.
ANSWER_S_MAX = 10.0
#: For all tries of a statement together: a host may be away, and come back with all of its nodes.
PATIENCE_S_MAX = 240.0
AGAIN_S = 0.5


class NoAnswer(Exception):
    """Cassandra has not answered for PATIENCE_S_MAX, or nobody waits any more."""


class Superseded(Exception):
    """Somebody else has counted on from where we were."""


@contextlib.contextmanager
def connected(endpoints: str, given_up: Event | None = None) -> Iterator[Any]:
    """A session of cassandra-driver's, at QUORUM.

    In a thread of its own it is told by `given_up` that nobody waits for it any more. Raises
    NoAnswer, then after the try that is under way.
    """
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # it tells of every lost connection
    given_up = given_up or Event()
    deadline_s = time.monotonic() + PATIENCE_S_MAX
    while (session := _session(endpoints)) is None:
        if given_up.wait(AGAIN_S) or time.monotonic() > deadline_s:
            raise NoAnswer(f"no node of {endpoints} takes clients")
    try:
        if given_up.is_set():  # during the try that came through
            raise NoAnswer(f"nobody waits for {endpoints} any more")
        yield session
    finally:
        session.cluster.shutdown()


def _session(endpoints: str) -> Any:
    """None: nobody answers just now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the driver's own, of old names that it uses
        from cassandra.cluster import NoHostAvailable

    cluster = _cluster(endpoints)
    try:
        return cluster.connect()
    except NoHostAvailable:
        cluster.shutdown()
        return None


def _cluster(endpoints: str) -> Any:
    from cassandra import ConsistencyLevel
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import ConstantReconnectionPolicy

    profile = ExecutionProfile(
        consistency_level=ConsistencyLevel.QUORUM, request_timeout=ANSWER_S_MAX
    )
    places = [address.rpartition(":") for address in endpoints.split(",")]
    return Cluster(
        [(host.strip("[]"), int(port)) for host, _, port in places],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=ANSWER_S_MAX,
        control_connection_timeout=ANSWER_S_MAX,
        protocol_version=5,
        reconnection_policy=ConstantReconnectionPolicy(AGAIN_S, max_attempts=None),
    )


TABLE = (
    "CREATE TABLE IF NOT EXISTS totals (partition int, key text, next bigint static, "
    "events bigint, amount bigint, PRIMARY KEY (partition, key))"
)
BEGIN = "INSERT INTO totals (partition, next) VALUES (%s, 0) IF NOT EXISTS"
READ = "SELECT key, next, events, amount FROM totals WHERE partition = %s"
GLANCE = "SELECT key, events, amount FROM totals"
ADVANCE = "UPDATE totals SET next = %s WHERE partition = %s IF next = %s"
WRITE = "INSERT INTO totals (partition, key, events, amount) VALUES (%s, %s, %s, %s)"


class Totals:
    """The totals of one set of events: a table in a keyspace of their own.

    In a thread of its own it is told by `given_up` that nobody waits for an answer any more.
    """

    def __init__(self, session: Any, keyspace: str, given_up: Event | None = None) -> None:
        self._session = session
        self._keyspace = keyspace
        self._given_up = given_up or Event()
        self._next: dict[int, int] = {}
        self._totals: dict[int, dict[str, Total]] = {}

    def make(self, partitions: int, copies: int) -> None:
        """Have the table, with all partitions in it. What is there stays as it is."""
        replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"
        self._patiently(
            f"CREATE KEYSPACE IF NOT EXISTS {self._keyspace} WITH replication = {replication}"
        )
        self.use()
        self._patiently(TABLE)
        for partition in range(partitions):
            self._patiently(BEGIN, partition)

    def use(self) -> None:
        """Work with the table that is there. Raises NoAnswer."""
        _patiently(lambda: self._session.set_keyspace(self._keyspace), self._given_up)

    def read(self, partitions: int) -> dict[str, Total]:
        """By key, as of now; what is known of the partitions is read anew."""
        for partition in range(partitions):
            self._next[partition], self._totals[partition] = self._read(partition)
        return self.by_key()

    def _read(self, partition: int) -> tuple[int, dict[str, Total]]:
        from cassandra import ConsistencyLevel

        # SERIAL: a change that was begun by somebody who died is done by now, or never will be.
        rows = self._patiently(
            READ,
            partition,
            consistency=ConsistencyLevel.SERIAL,
        )
        totals = {row.key: Total(row.events, row.amount) for row in rows if row.key is not None}
        return rows[0].next if rows else 0, totals

    def by_key(self) -> dict[str, Total]:
        """As it was read, and counted on since."""
        return sums((key, one) for totals in self._totals.values() for key, one in totals.items())

    def glance(self) -> dict[str, Total] | None:
        """By key, about now, for people: it is in nobody's way. None: no answer at the moment."""
        from cassandra import DriverException
        from cassandra.cluster import NoHostAvailable

        try:
            rows = list(self._session.execute(GLANCE))
        except (DriverException, NoHostAvailable):
            return None
        return sums((row.key, Total(row.events, row.amount)) for row in rows if row.key)

    @property
    def next(self) -> Mapping[int, int]:
        """The first offset of each partition that is not counted."""
        return self._next

    def add(self, partition: int, upto: int, counted: Mapping[str, Total]) -> None:
        """Count what is in a partition from its `next` to `upto`. Raises Superseded, NoAnswer."""
        before = self._totals[partition]
        after = {key: before.get(key, Total()) + more for key, more in counted.items()}
        deadline_s = time.monotonic() + PATIENCE_S_MAX
        while not self._changed(partition, upto, after):
            if time.monotonic() > deadline_s:
                raise NoAnswer(f"the totals could not be changed for {PATIENCE_S_MAX:.0f} s")
            time.sleep(AGAIN_S)
        self._next[partition] = upto
        self._totals[partition] = {**before, **after}

    def _changed(self, partition: int, upto: int, totals: Mapping[str, Total]) -> bool:
        """Whether it is done. False: nothing is known to be done, and it may be tried again."""
        from cassandra import DriverException
        from cassandra.cluster import NoHostAvailable
        from cassandra.query import BatchStatement, SimpleStatement

        change = BatchStatement()
        change.add(
            SimpleStatement(ADVANCE),
            (upto, partition, self._next[partition]),
        )
        row = SimpleStatement(WRITE)
        for key, total in totals.items():
            change.add(row, (partition, key, total.events, total.amount))
        with contextlib.suppress(DriverException, NoHostAvailable):
            if self._session.execute(change).was_applied:
                return True
        # It was not applied, or nobody knows: an answer may be lost, with the change done.
        now = self._read(partition)
        if now == (upto, {**self._totals[partition], **totals}):
            return True
        if now == (self._next[partition], self._totals[partition]):
            return False
        raise Superseded(f"partition {partition} was counted on by somebody else")

    def _patiently(self, statement: str, *values: object, consistency: int | None = None) -> Any:
        """An idempotent statement, until it is answered. Raises NoAnswer."""
        from cassandra.query import SimpleStatement

        asked = SimpleStatement(statement, consistency_level=consistency, is_idempotent=True)
        return _patiently(
            lambda: list(self._session.execute(asked, values or None)), self._given_up
        )


def _patiently(ask: Callable[[], Any], given_up: Event) -> Any:
    """What Cassandra answers; what may be asked again is, for PATIENCE_S_MAX. Raises NoAnswer."""
    from cassandra import DriverException
    from cassandra.cluster import NoHostAvailable

    deadline_s = time.monotonic() + PATIENCE_S_MAX
    while True:
        try:
            return ask()
        except (DriverException, NoHostAvailable) as error:
            if given_up.wait(AGAIN_S) or time.monotonic() > deadline_s:
                raise NoAnswer(str(error)) from None
