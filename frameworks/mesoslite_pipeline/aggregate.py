"""What Spark runs: Structured Streaming from Kafka, totals into Cassandra.

Its executors read, check offsets and add up; the driver writes what a micro-batch came to. It
begins where the totals in Cassandra end, and never ends by itself. `totals.py` tells why each event
is counted once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mesoslite_spark
from mesoslite_pipeline.events import Total
from mesoslite_pipeline.totals import Totals, connected

#: After a host was away there is much to count: in pieces that a small executor holds.
BATCH_EVENTS_MAX = 100_000
TRIGGER = "1 second"
EVENT = "key STRING, amount BIGINT"


def main(words: Sequence[str]) -> None:
    """Count until it is told to end."""
    asked = _parser().parse_args(words)
    # First, while there are no threads yet: pyspark forks for its JVM. And it ends first, too, so
    # that the last micro-batch has somebody to write to.
    spark = mesoslite_spark.session(app_name="pipeline")
    with connected(asked.cassandra) as cassandra, spark:
        totals = Totals(cassandra, asked.keyspace)
        totals.use()
        totals.read(asked.partitions)
        query = (
            events(spark, asked.kafka, asked.topic, totals)
            .writeStream.foreachBatch(lambda batch, _number: count(batch, totals))
            # Spark wants one; what it would tell stands in Cassandra, with the totals.
            .option("checkpointLocation", (Path.cwd() / "checkpoint").as_uri())
            .trigger(processingTime=TRIGGER)
            .start()
        )
        query.awaitTermination()


def events(spark: Any, kafka: str, topic: str, totals: Totals) -> Any:
    """The events that are not in the totals, as they come: partition, offset, event."""
    begin = {topic: {str(partition): offset for partition, offset in totals.next.items()}}
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", topic)
        .option("startingOffsets", json.dumps(begin))
        .option("maxOffsetsPerTrigger", BATCH_EVENTS_MAX)
        .load()
    )
    text = f"from_json(CAST(value AS STRING), '{EVENT}')"
    return source.selectExpr("partition", "offset", f"{text} AS event")


@dataclass(frozen=True, slots=True)
class Addition:
    """What a micro-batch has of one partition."""

    upto: int
    """The first offset behind it."""
    totals: Mapping[str, Total]


def count(batch: Any, totals: Totals) -> None:
    """Add one micro-batch to the totals. Raises Superseded."""
    rows = (
        batch.where(not_counted(totals.next))
        .selectExpr("partition", "offset", "event.key AS key", "event.amount AS amount")
        .groupBy("partition", "key")
        .agg({"*": "count", "amount": "sum", "offset": "max"})
        .collect()
    )
    for partition, more in additions(rows).items():
        totals.add(partition, more.upto, more.totals)


def not_counted(following: Mapping[int, int]) -> str:
    """Which events are not in the totals, as Spark's SQL has it: it may run a batch once more."""
    return " OR ".join(f"(partition = {p} AND offset >= {n})" for p, n in following.items())


def additions(rows: Iterable[Mapping[str, Any]]) -> dict[int, Addition]:
    """What these groups of events, by partition and key, are to add to each partition's totals."""
    upto: dict[int, int] = {}
    counted: dict[int, dict[str, Total]] = {}
    for row in rows:
        partition = row["partition"]
        upto[partition] = max(upto.get(partition, 0), row["max(offset)"] + 1)
        counted.setdefault(partition, {})[row["key"]] = Total(row["count(1)"], row["sum(amount)"])
    return {partition: Addition(upto[partition], found) for partition, found in counted.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mesoslite_pipeline.aggregate")
    for name in ("kafka", "topic", "cassandra", "keyspace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", required=True, type=int)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
