"""Hypothesis profiles: `ci` gives the same examples at every run, `long` looks for new ones."""

import os

import pytest
import structlog
from hypothesis import settings

# Wall-clock deadlines for one example fail on a busy machine and say nothing about the code:
# pytest's own limit for each test stays in force.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("long", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _logs_as_they_are_by_default() -> None:
    """What ran in this process before may have turned them down, as `mesoslite run` does."""
    structlog.reset_defaults()
