"""What is true of the agent's tables after each event. Tests assert it; production never does."""

from __future__ import annotations

from itertools import pairwise

from mesoslite.deadlines import Deadlines
from mesoslite.lifecycle import TaskState, may_move
from mesoslite_agent.ledger import Ledger
from mesoslite_agent.records import TaskHere
from mesoslite_agent.streams import UpdateStream


def check_tables(ledger: Ledger, timers: Deadlines[TaskHere]) -> None:
    """Assert that the tables agree with each other. O(n log n)."""
    timers.check()
    found = 0
    live: dict[str, TaskHere] = {}
    for framework_id, framework in ledger.frameworks.items():
        assert framework_id == framework.framework_id
        assert framework.saved == bool(framework.tasks), "saved exactly while it has tasks"
        assert framework.tasks or not framework.removed, "a removed framework waits for its tasks"
        assert framework.reference is not None or framework.streams, "nothing is known of it"
        found += len(framework.tasks.keys() | framework.streams.keys())
        for task_id, stream in framework.streams.items():
            assert (stream.framework_id, stream.task_id) == (framework_id, task_id)
            check_stream(stream)
            if task_id not in framework.tasks:
                assert stream.state.terminal, "what has no container is over"
                assert stream.pending, "what is over and acknowledged is forgotten"
        for task_id, here in framework.tasks.items():
            assert here.key == (framework_id, task_id)
            check_task(here, timers)
            if not here.state.terminal:
                live[here.record.container_id] = here
    assert live == ledger.containers
    assert found == ledger.held
    timed = sum(here in timers for here in live.values())
    assert timed == len(timers), "a timer of a task that has ended"


def check_task(here: TaskHere, timers: Deadlines[TaskHere]) -> None:
    """Assert that a task's parts agree, and that no task can wait for ever in silence."""
    stream = here.framework.streams.get(here.key[1])
    assert (stream is None) == here.removed, "only the tasks of a removed framework have no stream"
    assert here.removed == (here.framework.removed and not here.state.terminal)
    if stream is not None:
        assert stream is here.stream
        assert stream.state is here.state
        assert stream.pending or not here.state.terminal
    match here.state:
        case TaskState.STAGING | TaskState.STARTING:
            assert not here.started
            assert here.ending is None
        case TaskState.RUNNING:
            assert here.started
            assert here.ending is None
        case TaskState.KILLING:
            assert here.ending is not None
        case state:
            assert state.terminal, state
    # A timer is missing only where time changes nothing, or before the first Tick.
    if here.state is TaskState.RUNNING and here.record.task.max_completion_ms is None:
        assert here not in timers
    elif not here.state.terminal and not here.recovered:
        assert here in timers


def check_stream(stream: UpdateStream) -> None:
    """Assert that the statuses of a stream are a possible life."""
    pending = list(stream.pending)
    for before, after in pairwise(pending):
        again = before.state is after.state is TaskState.STARTING  # one for each phase
        assert again or may_move(before.state, after.state), (before.state, after.state)
    if pending:
        assert pending[-1].state is stream.state
    assert len({status.update_id for status in pending}) == len(pending)
    assert all(status.update_id for status in pending)
