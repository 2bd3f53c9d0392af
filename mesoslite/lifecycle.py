"""The life of a task: its states, and the one table of moves between them.

Everything that affects a task's state goes through `may_move`. docs/task-lifecycle.md is drawn from
`MOVES` (`python -m mesoslite.lifecycle`), and tests/unit/test_lifecycle.py walks it.

The states are those of Apache Mesos with partition awareness on, which is the only mode here: LOST,
which says neither what happened nor whether it is safe to start again, does not exist.
"""

from __future__ import annotations

from enum import Enum


class TaskState(Enum):
    """Where a task is in its life. The value is one sentence for people."""

    STAGING = "accepted by the master, on its way to the agent"
    STARTING = "the agent is making its container: fetching files, its root, its first process"
    RUNNING = "its command runs"
    KILLING = "asked to end; within its grace period"
    FINISHED = "its command ended with exit code 0"
    FAILED = "its command ended otherwise, or never started"
    KILLED = "ended because somebody asked for it"
    ERROR = "refused: what was asked can not be right, so trying again will not help"
    DROPPED = "never started, and never will: safe to launch again under a new id"
    UNREACHABLE = "its agent is not heard of; it may still run, and may come back"
    GONE = "its agent is here and does not have it: it does not run any more"
    GONE_BY_OPERATOR = "an operator gave its agent up for good: taken to run no more"
    UNKNOWN = "nobody here has ever heard of it, or it was forgotten long ago"

    __hash__ = object.__hash__  # members are unique; Enum's own hashes the name in Python

    terminal: bool
    """True when the task has ended for good: a terminal state never changes again. Kept with each
    member, since it is asked for a dozen times in the life of a task."""


_ENDS = frozenset(
    {
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.KILLED,
        TaskState.ERROR,
        TaskState.DROPPED,
        TaskState.GONE,
        TaskState.GONE_BY_OPERATOR,
    }
)

#: From each state, where a task may go. No way leads back, except out of UNREACHABLE and UNKNOWN,
#: which say what is known of a task, not how far it is: the agent that returns tells the truth.
MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.STAGING: frozenset(
        {TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING, TaskState.UNREACHABLE} | _ENDS
    ),
    TaskState.STARTING: frozenset(
        {TaskState.RUNNING, TaskState.KILLING, TaskState.UNREACHABLE} | _ENDS
    ),
    TaskState.RUNNING: frozenset({TaskState.KILLING, TaskState.UNREACHABLE} | _ENDS),
    TaskState.KILLING: frozenset({TaskState.UNREACHABLE} | _ENDS),
    TaskState.UNREACHABLE: frozenset(
        {TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING} | _ENDS
    ),
    TaskState.UNKNOWN: frozenset(set(TaskState)),
    **{end: frozenset[TaskState]() for end in _ENDS},
}
for _state in TaskState:
    _state.terminal = not MOVES[_state]


def may_move(start: TaskState, finish: TaskState) -> bool:
    """Whether a task in `start` may be in `finish` next. Staying where it is is not a move."""
    return finish in MOVES[start]


def diagram() -> str:
    """The table as a Mermaid state diagram, in the order of the enum."""
    order = list(TaskState)
    lines = ["stateDiagram-v2", "    [*] --> STAGING"]
    for start in order:
        if start is TaskState.UNKNOWN:
            continue  # it stands for "no knowledge", from which everything may be learned
        finishes = (finish for finish in order if finish in MOVES[start])
        lines += [f"    {start.name} --> {finish.name}" for finish in finishes]
    lines += [f"    {state.name} --> [*]" for state in order if state.terminal]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(diagram(), end="")
