"""Exit codes: what a shell is told of the end of a task."""

import signal

import pytest

from mesoslite import Reason, Refusal, TaskState, TaskStatus
from mesoslite.cli.outcome import Outcome, outcome_of, summary


def ended(state: TaskState, reason: Reason | None = None, **fields: object) -> Outcome:
    return outcome_of(TaskStatus("t", state, reason=reason, **fields))  # type: ignore[arg-type]


def test_a_command_that_ends_well_is_zero_and_says_nothing() -> None:
    assert ended(TaskState.FINISHED, Reason.COMMAND_EXITED, exit_code=0) == Outcome(0)


def test_the_exit_code_of_the_command_is_passed_on_in_silence() -> None:
    assert ended(TaskState.FAILED, Reason.COMMAND_EXITED, exit_code=3) == Outcome(3)


def test_a_signal_is_128_and_its_number() -> None:
    outcome = ended(
        TaskState.FAILED, Reason.COMMAND_SIGNALED, signal=11, message="killed by SIGSEGV"
    )
    assert outcome == Outcome(139, "FAILED (command signaled): killed by SIGSEGV")


def test_too_much_memory_is_told_apart_from_a_kill() -> None:
    outcome = ended(
        TaskState.FAILED, Reason.MEMORY_LIMIT, signal=9, message="took more than its 32 MiB"
    )
    assert outcome == Outcome(137, "FAILED (memory limit): took more than its 32 MiB")


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (TaskState.FAILED, Reason.MAX_COMPLETION_TIME, 124),
        (TaskState.FAILED, Reason.SPAWN_FAILED, 127),
        (TaskState.FAILED, Reason.FETCH_FAILED, 1),
        (TaskState.FAILED, Reason.LAUNCHER_TERMINATED, 1),
        (TaskState.ERROR, Reason.USER_NOT_ALLOWED, 5),
        (TaskState.KILLED, Reason.KILL_ASKED, 128 + signal.SIGTERM),
        (TaskState.FAILED, Reason.PIDS_LIMIT, 137),
        (TaskState.GONE, Reason.AGENT_UNREACHABLE, 1),
        (TaskState.DROPPED, Reason.AGENT_RESTARTED, 1),
    ],
)
def test_every_other_end_has_a_code_and_a_line(state: TaskState, reason: Reason, code: int) -> None:
    outcome = ended(state, reason)
    assert outcome.code == code
    assert reason.value in outcome.line


def test_every_terminal_state_with_every_reason_is_some_failure_but_finished() -> None:
    for state in TaskState:
        if state.terminal:
            for reason in (None, *Reason):
                outcome = ended(state, reason)
                assert (outcome.code == 0) == (state is TaskState.FINISHED)
                assert 0 <= outcome.code <= 255


def test_a_refused_launch_names_its_refusal() -> None:
    outcome = ended(
        TaskState.ERROR, Reason.LAUNCH_REFUSED, refusal=Refusal.INVALID_TASK, message="no\x1b[31m"
    )
    assert outcome == Outcome(1, "ERROR (invalid task): no[31m")


def test_a_summary_counts_the_codes() -> None:
    outcomes = [Outcome(0), Outcome(3), Outcome(0), Outcome(3), Outcome(137)]
    assert summary(outcomes, 5) == "2 of 5 finished; exit 3: 2, exit 137: 1"
    assert summary(outcomes[:1], 2) == "1 of 2 finished; not run to an end: 1"
    assert summary([Outcome(0)] * 500, 500) == "500 of 500 finished"
