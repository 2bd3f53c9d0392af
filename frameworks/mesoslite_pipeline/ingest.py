"""What the ingest task runs: it writes the events to Kafka, each once, whatever becomes of it.

    python -m mesoslite_pipeline.ingest --kafka HOST:PORT,... --topic NAME --events N ...

It writes transactions, and in each how many events there are by then: as the offset of a consumer
group of its own, which Kafka commits along with the events or not at all. The next attempt begins
at that number. A transactional id belongs to one producer at a time, so an attempt that is believed
dead and is not writes nothing more once its successor has begun.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import confluent_kafka

from mesoslite_pipeline.events import events

#: So many transactions a second: what is counted is half a second behind what is written.
TRANSACTIONS_A_SECOND = 2
#: For Kafka to answer: a broker is missed after 9 s, and another leads by then.
ANSWER_S_MAX = 60.0
BUFFER_KIB_MAX = 16_384


def main(words: Sequence[str]) -> None:
    """Write what is missing. Raises KafkaException: the next attempt goes on."""
    asked = _parser().parse_args(words)
    writer = Writer(
        producer(asked.kafka, asked.topic), counter(asked.kafka, asked.topic), asked.topic
    )
    first = writer.written()
    sys.stderr.write(f"{first:,} events are there\n")
    began_s = time.monotonic()
    for numbers in pieces(first, asked.events, asked.rate):
        writer.write(asked.seed, numbers)
        ahead_s = (numbers.stop - first) / asked.rate - (time.monotonic() - began_s)
        if ahead_s > 0:
            time.sleep(ahead_s)


def pieces(first: int, events: int, rate: int) -> Iterator[range]:
    """What is missing from `first` on, a transaction each."""
    step = max(1, rate // TRANSACTIONS_A_SECOND)
    for at in range(first, events, step):
        yield range(at, min(at + step, events))


def group_of(topic: str) -> str:
    """The consumer group whose offset tells how many events there are."""
    return f"{topic}-ingest"


def counter(kafka: str, topic: str) -> confluent_kafka.Consumer:
    """What tells that number, by `count_of`."""
    return confluent_kafka.Consumer(
        {"bootstrap.servers": kafka, "group.id": group_of(topic), "log_level": 0}
    )


def producer(kafka: str, topic: str) -> confluent_kafka.Producer:
    """What writes its events, in transactions."""
    return confluent_kafka.Producer(
        {
            "bootstrap.servers": kafka,
            "transactional.id": group_of(topic),  # idempotent and acks=all, as that takes
            "linger.ms": 20,
            "queue.buffering.max.kbytes": BUFFER_KIB_MAX,
        }
    )


def count_of(
    consumer: confluent_kafka.Consumer, topic: str, answer_s_max: float = ANSWER_S_MAX
) -> int:
    """How many events there are. Raises KafkaException."""
    [found] = consumer.committed([confluent_kafka.TopicPartition(topic, 0)], answer_s_max)
    if found.error is not None:
        raise confluent_kafka.KafkaException(found.error)
    offset: int = found.offset
    return max(offset, 0)  # below 0: nothing was ever said


class Writer:
    """The one producer of a topic."""

    def __init__(
        self, producer: confluent_kafka.Producer, counter: confluent_kafka.Consumer, topic: str
    ) -> None:
        """End what an attempt before has begun. Raises KafkaException."""
        self._topic = topic
        self._producer = producer
        self._producer.init_transactions(ANSWER_S_MAX)
        self._counter = counter

    def written(self) -> int:
        """How many events there are."""
        return count_of(self._counter, self._topic)

    def write(self, seed: int, numbers: range) -> None:
        """These, and that they are there: both or neither. Raises KafkaException."""
        self._producer.begin_transaction()
        for event in events(seed, numbers):
            while not self._queued(event.key, event.text):
                self._producer.poll(0.1)
        self._producer.send_offsets_to_transaction(
            [confluent_kafka.TopicPartition(self._topic, 0, numbers.stop)],
            self._counter.consumer_group_metadata(),
            ANSWER_S_MAX,
        )
        while not self._committed():
            continue

    def _queued(self, key: str, text: bytes) -> bool:
        try:
            self._producer.produce(self._topic, key=key, value=text)
        except BufferError:  # as much as there may be is on its way
            return False
        return True

    def _committed(self) -> bool:
        """False: it is to be asked once more, and the answer is the same."""
        try:
            self._producer.commit_transaction(ANSWER_S_MAX)
        except confluent_kafka.KafkaException as error:
            if error.args[0].retriable():
                return False
            raise
        return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mesoslite_pipeline.ingest")
    for name in ("kafka", "topic"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seed", "events", "rate"):
        parser.add_argument(f"--{name}", required=True, type=int)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
