"""What the end of a task means to a shell: an exit code, and a line where that says too little."""

from __future__ import annotations

import signal as signals
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mesoslite import Reason, TaskState, TaskStatus
from mesoslite.cli.console import Code, one_line

#: A shell's code for a command that could not be started.
NOT_STARTED = 127
SIGNAL_BASE = 128


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one copy ended."""

    code: int
    """What a shell would say: the exit code, or 128 and the signal."""
    line: str = ""
    """What happened, when it was not simply the command's own exit."""


def outcome_of(status: TaskStatus) -> Outcome:
    """The meaning of a terminal status.

    A command's own exit code is passed on. Signals are 128 and their number; a limit on time is
    124, as timeout(1); what could not be started is 127, as a shell; the rest is 1, or what the
    command prints for a denial or a wrong request.
    """
    line = _line_of(status)
    if status.state is TaskState.FINISHED:
        return Outcome(Code.OK)
    match status.reason:
        case Reason.COMMAND_EXITED:
            return Outcome(status.exit_code or Code.FAILED)
        case Reason.MAX_COMPLETION_TIME:
            return Outcome(Code.TIMEOUT, line)
        case Reason.SPAWN_FAILED:
            return Outcome(NOT_STARTED, line)
        case Reason.USER_NOT_ALLOWED:
            return Outcome(Code.DENIED, line)
        case Reason.MEMORY_LIMIT | Reason.PIDS_LIMIT:
            return Outcome(SIGNAL_BASE + signals.SIGKILL, line)
    if status.state is TaskState.KILLED:
        return Outcome(SIGNAL_BASE + (status.signal or signals.SIGTERM), line)
    if status.signal:
        return Outcome(SIGNAL_BASE + status.signal, line)
    return Outcome(status.exit_code or Code.FAILED, line)


def _line_of(status: TaskStatus) -> str:
    """`FAILED (memory limit): took more than its 32 MiB`"""
    cause = status.refusal or status.reason
    name = f" ({cause.name.lower().replace('_', ' ')})" if cause else ""
    text = status.message or (cause.value if cause else status.state.value)
    return one_line(f"{status.state.name}{name}: {text}")


def summary(outcomes: Iterable[Outcome], count: int) -> str:
    """How many copies ended how, in one line: `497 of 500 finished; exit 3: 2, exit 137: 1`."""
    by_code = Counter(outcome.code for outcome in outcomes)
    failed = [f"exit {code}: {many}" for code, many in sorted(by_code.items()) if code]
    ended = sum(by_code.values())
    if ended < count:
        failed.append(f"not run to an end: {count - ended}")
    return f"{by_code[0]} of {count} finished" + (f"; {', '.join(failed)}" if failed else "")
