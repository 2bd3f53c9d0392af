"""Hypothesis profiles: `ci` gives the same examples at every run, `long` looks for new ones."""

import os

from hypothesis import settings

# Wall-clock deadlines for one example fail on a busy machine and say nothing about the code:
# pytest's own limit for each test stays in force.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("long", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
