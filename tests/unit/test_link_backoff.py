"""How often who lost its master knocks, and how soon it is back, in virtual time."""

import random

import pytest

from mesoslite.link import AGENT_BACKOFF, SCHEDULER_BACKOFF, Backoff


def knocks(backoff: Backoff, rng: random.Random, away_s: float) -> list[float]:
    """When one dials that lost its master at 0, up to the first time that it is there again."""
    times = [backoff.delay_s(0.0, rng)]
    while times[-1] < away_s:
        times.append(times[-1] + backoff.delay_s(times[-1], rng))
    return times


@pytest.mark.parametrize("away_s", [0.2, 1.0, 5.0, 20.0])
def test_everybody_is_back_soon_after_the_master(away_s: float) -> None:
    rng = random.Random(1)
    for backoff in (AGENT_BACKOFF, SCHEDULER_BACKOFF):
        back = [knocks(backoff, rng, away_s)[-1] - away_s for _ in range(1_000)]
        limit_s = max(backoff.first_s, backoff.share * away_s)
        assert min(back) >= 0
        assert max(back) <= limit_s
        assert sum(back) / len(back) < limit_s / 2


def test_ten_thousand_agents_do_not_knock_in_step_nor_too_often() -> None:
    rng = random.Random(1)
    every = sorted(time for _ in range(10_000) for time in knocks(AGENT_BACKOFF, rng, 60.0))
    by_tenth = [0] * 600
    for time in every:
        if time < 60:
            by_tenth[int(time * 10)] += 1
    assert max(by_tenth) < 10_000, "one each"
    assert sum(by_tenth[:10]) < 80_000, "in the first second"
    assert max(by_tenth[50:]) < 1_000, "after five seconds: 8,000 a second"
    assert sum(by_tenth[300:]) / 30 < 2_500, "a second, after half a minute"


def test_who_stays_away_is_asked_about_every_ten_seconds_at_most() -> None:
    rng = random.Random(1)
    assert max(AGENT_BACKOFF.delay_s(3_600, rng) for _ in range(1_000)) <= 10.0
