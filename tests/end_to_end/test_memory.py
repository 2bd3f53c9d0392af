"""What came and went leaves nothing behind: the workload `memory`, scaled down."""

import gc
import tracemalloc

from benchmarks.memory import Circle, Passing, tasks


def test_tasks_that_came_and_went_leave_nothing_in_master_and_agent() -> None:
    """A task that one of them forgets to forget is 1 to 2 kB: 6,000 are a fifth of its memory."""
    for figure in tasks(Passing(tasks=6_000, offers=100_000)):
        assert max(figure.runs) <= 1.10, f"{figure.what}: {figure.runs}"


def test_offers_that_were_made_and_refused_leave_nothing_in_the_master() -> None:
    tracemalloc.start()
    try:
        circle = Circle(agents=100, frameworks=10)
        for _ in range(70):
            circle.turn()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            circle.turn()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert circle.offered == 270 * 100
    assert after <= 1.10 * before
