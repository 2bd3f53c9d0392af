"""What is counted instead of timed: messages for a task, agents looked at, bodies built anew."""

from benchmarks.counts import bodies_built_again, looked_at_unchanged, messages_a_task
from benchmarks.durability import rows_of_launches


async def test_a_window_of_tasks_on_one_agent_takes_few_messages() -> None:
    """A message costs 60 us and a task 7: the budget is a tenth of a message for each task."""
    assert (await messages_a_task(agents=1, at_a_time=200, tasks=1_000)).all <= 0.1


async def test_tasks_that_are_spread_take_at_most_five_messages_of_their_agents() -> None:
    """Launch, RUNNING, its acknowledgement, FINISHED, its acknowledgement."""
    assert (await messages_a_task(agents=20, at_a_time=1, tasks=200)).of_agents <= 5


def test_a_cycle_looks_at_the_agents_that_changed_and_at_no_other() -> None:
    assert looked_at_unchanged(agents=1_000) == 0


def test_nothing_is_encoded_for_an_unchanged_agent_that_is_offered_again() -> None:
    assert bodies_built_again(agents=100) == 0


async def test_launches_and_ends_of_tasks_commit_nothing_in_the_registry() -> None:
    """So none of them waits for an fsync of the master (docs/decisions.md D5)."""
    assert await rows_of_launches(tasks=50) == 0
