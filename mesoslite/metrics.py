"""From what a daemon counts to what Prometheus reads: the families of all daemons, and their text.

Nothing is registered and nothing is kept: at each scrape the numbers are read where they are, and
written slice by slice, so that the daemon's loop is never held up for long. docs/metrics.md
explains every name, and a test compares the two.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mesoslite.loop import Health
from mesoslite.measures import CommitMeasures, Distribution, LoopMeasures, Traffic
from mesoslite.version import VERSION

PREFIX = "mesoslite_"
SLICE_SAMPLES = 100  # written between two looks of the loop at everything else: 0.7-1.5 ms
ACCEPT_CHARS_MAX = 1_000

Labels = tuple[str, ...]
Families = Callable[[], AsyncIterator[Sequence[Metric]]]
"""All families of a daemon, in groups that were each read at one moment."""


# --- families -------------------------------------------------------------------------------------


def counter(name: str, about: str, value: float) -> Metric:
    """One number that only grows. `name` is without prefix and `_total`."""
    return CounterMetricFamily(PREFIX + name, about, value=value)


def counters(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]
) -> Metric:
    """Numbers that only grow, by label values."""
    family = CounterMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def gauge(name: str, about: str, value: float) -> Metric:
    """One number that comes and goes."""
    return GaugeMetricFamily(PREFIX + name, about, value=value)


def gauges(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Labels, float]]
) -> Metric:
    """Numbers that come and go, by label values."""
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def summaries(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Labels, tuple[int, float]]]
) -> Metric:
    """How many of something, and the sum of what they took, by label values."""
    family = SummaryMetricFamily(PREFIX + name, about, labels=labels)
    for key, (count, total) in values:
        family.add_metric(key, count, total)
    return family


def histogram(name: str, about: str, values: Distribution) -> Metric:
    """How often values of each size were seen."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
    return HistogramMetricFamily(PREFIX + name, about, buckets=buckets, sum_value=values.total)


# --- what every daemon has ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Innards:
    """The parts that master and agent have in common, where their numbers are read."""

    health: Health
    loop: LoopMeasures
    commits: CommitMeasures
    waiting_events: Callable[[], int]
    """How long the inbox is."""

    def families(self, *, ready: bool) -> Iterator[Metric]:
        """Of the loop, the database, the process and the program."""
        loop, commits = self.loop, self.commits
        yield InfoMetricFamily(
            PREFIX + "build",
            "The program that answers.",
            value={"version": VERSION, "python": platform.python_version()},
        )
        yield gauge("ready", "1 while /readyz says yes.", ready)
        yield gauge(
            "inbox_events", "Events that wait for the daemon's loop.", self.waiting_events()
        )
        yield counter("loop_events", "Events that the loop has handled.", loop.events)
        yield histogram("loop_batch_events", "Events that were handled together.", loop.batch)
        yield histogram(
            "loop_handle_seconds", "In the machine, for a batch and its ticks.", loop.handled
        )
        yield histogram(
            "loop_turn_seconds",
            "From when the oldest event of a batch came in until all it led to was handed on.",
            loop.turn,
        )
        yield histogram("commit_seconds", "Of a transaction that was written.", commits.seconds)
        yield counter("commit_rows", "Rows that were written in them.", commits.rows)
        yield counter(
            "commit_failures", "Transactions that could not be written.", commits.failures
        )
        yield from ProcessCollector(registry=None).collect()


def traffic(by_peer: Mapping[str, Traffic]) -> Iterator[Metric]:
    """Messages and bytes on the gRPC streams, by the kind of peer."""
    yield counters(
        "stream_messages",
        "gRPC messages on streams.",
        ("peer", "direction"),
        _both_ways((peer, t.received, t.sent) for peer, t in by_peer.items()),
    )
    yield counters(
        "stream_bytes",
        "Bytes of these messages.",
        ("peer", "direction"),
        _both_ways((peer, t.received_bytes, t.sent_bytes) for peer, t in by_peer.items()),
    )


def _both_ways(counts: Iterable[tuple[str, int, int]]) -> Iterator[tuple[Labels, float]]:
    for peer, received, sent in counts:
        yield (peer, "in"), received
        yield (peer, "out"), sent


# --- the text -------------------------------------------------------------------------------------


class Exposition:
    """Writes the families of a daemon as Prometheus or OpenMetrics text. One scrape at a time."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._turn = asyncio.Lock()

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type for an Accept header, which may be anything."""
        try:
            encode, content_type = choose_encoder(accept[:ACCEPT_CHARS_MAX])
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        async with self._turn:
            written: list[bytes] = []
            last = b""
            async for group in self._families():
                for family in group:
                    for number, piece in enumerate(_slices(family)):
                        body, last = _parted(encode(piece))
                        written.append(body if number == 0 else _without_header(body))
                        await asyncio.sleep(0)
        return b"".join((*written, last)), content_type


class _Piece(Collector):
    """Some samples of one family, as the encoders take them."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """The one family."""
        return [self._family]


def _slices(family: Metric) -> Iterator[_Piece]:
    samples = family.samples
    for start in range(0, max(1, len(samples)), SLICE_SAMPLES):
        piece = Metric(family.name, family.documentation, family.type)
        piece.samples = samples[start : start + SLICE_SAMPLES]
        yield _Piece(piece)


def _parted(text: bytes) -> tuple[bytes, bytes]:
    """The text, and the mark with which OpenMetrics ends."""
    mark = b"# EOF\n"
    return (text.removesuffix(mark), mark) if text.endswith(mark) else (text, b"")


def _without_header(text: bytes) -> bytes:
    """Only the samples: what the family is was said before."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))
