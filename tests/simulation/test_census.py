"""A thousand seeds, and that in them everything occurs which can. Its table: `make simulate`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.census import missing
from tests.simulation.many import play_many


@pytest.mark.timeout(900)
def test_a_thousand_seeds_break_no_rule_and_leave_nothing_out() -> None:
    """About 300 s of cpu time, divided among the processors; half of it are the invariants."""
    results = list(play_many(range(1_000)))
    assert [result.failure for result in results if result.failure] == []
    assert missing(sum((result.counts for result in results), Counter())) == []
