"""Metrics: what is counted, and how it is written."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from mesoslite.measures import SECONDS, Distribution, LoopMeasures
from mesoslite.metrics import SLICE_SAMPLES, Exposition, counters, gauge, histogram, summaries

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def written(families: list[Metric], accept: str = "") -> tuple[str, str]:
    async def all_of_them() -> AsyncIterator[list[Metric]]:
        yield families[:1]
        yield families[1:]

    body, content_type = asyncio.run(Exposition(all_of_them).text(accept))
    return body.decode(), content_type


def many(count: int) -> list[Metric]:
    named = [((f'f-{n}"\\\n# ',), (n, n / 2)) for n in range(count)]
    return [gauge("before", "First.", 1), summaries("held", "Held.", ("framework",), named)]


# --- what is counted ------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 100)))
def test_a_distribution_counts_each_value_at_the_first_bound_that_is_not_below_it(
    values: list[float],
) -> None:
    seen = Distribution()
    for value in values:
        seen.observe(value)
    assert seen.count == len(values)
    assert seen.total == pytest.approx(sum(values))
    for number, bound in enumerate(SECONDS):
        assert sum(seen.counts[: number + 1]) == sum(value <= bound for value in values)


def test_a_turn_that_only_a_deadline_brought_is_no_batch() -> None:
    measures = LoopMeasures()
    measures.turned(events=0, waited_s=0.0, handled_s=0.1, ticked_s=0.1, whole_s=0.2)
    measures.turned(events=3, waited_s=1.0, handled_s=0.2, ticked_s=0.1, whole_s=0.5)
    assert (measures.batch.count, measures.events) == (1, 3)
    assert measures.handled.count == 2
    assert measures.turn.total == 1.5


# --- how it is written ----------------------------------------------------------------------------


def test_a_histogram_is_cumulative_and_ends_at_infinity() -> None:
    seen = Distribution((1, 5))
    for value in (0.5, 1, 3, 7):
        seen.observe(value)
    text, _ = written([histogram("wait_seconds", "Wait.", seen)])
    [family] = plain(text)
    assert [(s.name, s.labels.get("le"), s.value) for s in family.samples] == [
        ("mesoslite_wait_seconds_bucket", "1.0", 2),
        ("mesoslite_wait_seconds_bucket", "5.0", 3),
        ("mesoslite_wait_seconds_bucket", "+Inf", 4),
        ("mesoslite_wait_seconds_count", None, 4),
        ("mesoslite_wait_seconds_sum", None, 11.5),
    ]


@pytest.mark.parametrize("count", [0, 1, SLICE_SAMPLES // 2, SLICE_SAMPLES, 3 * SLICE_SAMPLES + 7])
def test_what_is_written_in_slices_reads_as_what_is_written_at_once(count: int) -> None:
    families = many(count)

    class AtOnce:
        def collect(self) -> list[Metric]:
            return families

    text, content_type = written(families)
    assert text.encode() == generate_latest(AtOnce())
    assert content_type.startswith("text/plain")
    text, content_type = written(families, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.count("# TYPE mesoslite_held summary\n") == 1
    read: list[Metric] = list(openmetrics(text))  # type: ignore[no-untyped-call]
    held = [family for family in read if family.name == "mesoslite_held"]
    assert [len(family.samples) for family in held] == [2 * count]


def test_others_have_their_turn_while_a_large_page_is_written() -> None:
    async def turns() -> int:
        """How often somebody else came to his turn."""
        count = 0

        async def families() -> AsyncIterator[list[Metric]]:
            yield many(20 * SLICE_SAMPLES)

        writing = asyncio.create_task(Exposition(families).text(""))
        while not writing.done():
            count += 1
            await asyncio.sleep(0)
        return count

    assert asyncio.run(turns()) >= 40  # two samples for each


def test_a_counter_that_nothing_was_counted_in_is_there_without_samples() -> None:
    text, _ = written([counters("ends", "Ends.", ("state",), [])])
    [family] = plain(text)
    assert (family.name, family.samples) == ("mesoslite_ends", [])


@given(
    st.one_of(
        st.text(),
        st.from_regex(
            r"(application/openmetrics-text|text/plain)(;(version|escaping)=[a-z0-9.-]{0,8}){0,3}",
            fullmatch=True,
        ),
    )
)
def test_whatever_is_accepted_something_is_answered(accept: str) -> None:
    text, content_type = written(many(1), accept)
    assert "held" in text
    assert content_type.partition(";")[0] in {"text/plain", "application/openmetrics-text"}
