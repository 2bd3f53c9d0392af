"""The table of task states, walked; and the documentation that is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesoslite.lifecycle import MOVES, TaskState, diagram, may_move

DOCS = Path(__file__).parents[2] / "docs"
ENDS = {"FINISHED", "FAILED", "KILLED", "ERROR", "DROPPED", "GONE", "GONE_BY_OPERATOR"}


def test_every_state_has_its_row() -> None:
    assert MOVES.keys() == set(TaskState)


def test_exactly_the_ends_are_terminal_and_have_no_way_out() -> None:
    assert {state.name for state in TaskState if state.terminal} == ENDS
    for state in TaskState:
        assert state.terminal == (not MOVES[state])


@pytest.mark.parametrize("state", [s for s in TaskState if not s.terminal])
def test_every_state_that_is_not_an_end_can_come_to_each_end(state: TaskState) -> None:
    assert {finish.name for finish in MOVES[state]} >= ENDS


def test_no_way_leads_back() -> None:
    order = [TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING]
    for position, later in enumerate(order):
        for earlier in order[: position + 1]:
            assert not may_move(later, earlier)


def test_what_is_unreachable_may_turn_out_to_be_anything_but_refused_knowledge() -> None:
    for state in TaskState:
        known = state not in (TaskState.UNREACHABLE, TaskState.UNKNOWN)
        assert may_move(TaskState.UNREACHABLE, state) == known


def test_the_documentation_shows_this_table() -> None:
    text = (DOCS / "task-lifecycle.md").read_text()
    assert f"```mermaid\n{diagram()}```" in text, "python -m mesoslite.lifecycle draws it"
