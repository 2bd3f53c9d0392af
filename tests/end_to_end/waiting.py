"""Waiting for the thing itself, with a deadline: nothing in these tests waits for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0  # what is waited for takes a second or two, on a machine that does nothing else
LOOK_S = 0.02


def wait_until(condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return what `condition` returns as soon as that is true.

    Raises AssertionError with `what` and the last value when it does not become so in time.
    """
    ends_s = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > ends_s:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what} (last: {value!r})")
        time.sleep(LOOK_S)
    return value
