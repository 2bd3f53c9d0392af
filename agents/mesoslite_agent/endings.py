"""How a container's end is called: its state, its reason, and one sentence for people."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from mesoslite.lifecycle import TaskState
from mesoslite.model import Reason, Task, TaskStatus
from mesoslite_agent.container import ContainerExited, ContainerStartFailed, StartFailure


@dataclass(frozen=True, slots=True)
class Ending:
    """What a terminal status says besides the figures."""

    state: TaskState
    reason: Reason
    message: str


#: Why a start failed. Only what the task itself asks for and the agent can not do is an ERROR, and
#: only what was never tried is DROPPED: safe to launch again.
START_FAILURES: dict[StartFailure, tuple[TaskState, Reason]] = {
    StartFailure.FETCH_FAILED: (TaskState.FAILED, Reason.FETCH_FAILED),
    StartFailure.ROOT_FAILED: (TaskState.FAILED, Reason.ROOT_FAILED),
    StartFailure.SPAWN_FAILED: (TaskState.FAILED, Reason.SPAWN_FAILED),
    StartFailure.NEVER_ASKED: (TaskState.DROPPED, Reason.AGENT_RESTARTED),
    StartFailure.LEASE_OVER: (TaskState.FAILED, Reason.FENCE_LEASE_OVER),
    StartFailure.CONTAINERIZER_UNAVAILABLE: (TaskState.ERROR, Reason.CONTAINERIZER_UNAVAILABLE),
}

#: The end of a task that was made to end, by why it was. Others end for reasons of their own.
ASKED: dict[Reason, TaskState] = {
    Reason.KILL_ASKED: TaskState.KILLED,
    Reason.FRAMEWORK_REMOVED: TaskState.KILLED,
    Reason.AGENT_GONE: TaskState.KILLED,
    Reason.FENCE_LEASE_OVER: TaskState.FAILED,
    Reason.MAX_COMPLETION_TIME: TaskState.FAILED,
    Reason.START_TIMEOUT: TaskState.FAILED,
}


def signal_name(number: int) -> str:
    """SIGSEGV for 11; `signal 99` for what has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def of_exit(
    exited: ContainerExited, task: Task, asked: TaskStatus | None, *, killed: bool
) -> Ending:
    """How the end of a container that had started is called.

    `asked` is the KILLING status, if there was one. It decides, also when the command made use of
    its grace to end with code 0, unless it did not come to that: a limit was first, or the
    launcher died, and then nobody knows how it ended (docs/decisions.md D8).
    """
    if exited.launcher_lost or (exited.exit_code is None and exited.signal is None):
        return Ending(
            TaskState.FAILED,
            Reason.LAUNCHER_TERMINATED,
            "the agent's launcher died, and nobody knows how the command ended",
        )
    if exited.lease_over:
        return Ending(
            TaskState.FAILED,
            Reason.FENCE_LEASE_OVER,
            "its agent did not hear the master for a whole lease: it was killed, for another task "
            "may have its fence now",
        )
    # One that outlived what its limit did to a child is ended by what was asked for later. What a
    # limit ends dies of SIGKILL; `killed` says that the agent has sent one itself.
    limited = asked is None or (exited.signal == signal.SIGKILL and not killed)
    if limited and (over := _of_limit(exited, task)) is not None:
        return over
    if exited.signal is not None:
        how = f"killed by {signal_name(exited.signal)}"
    else:
        how = f"exited with code {exited.exit_code}"
    if asked is not None and asked.reason is not None:
        return Ending(ASKED[asked.reason], asked.reason, f"{asked.message}: {how}")
    if exited.signal is not None:
        return Ending(TaskState.FAILED, Reason.COMMAND_SIGNALED, how)
    state = TaskState.FAILED if exited.exit_code else TaskState.FINISHED
    return Ending(state, Reason.COMMAND_EXITED, how)


def _of_limit(exited: ContainerExited, task: Task) -> Ending | None:
    """The end of a container that went over a limit; None: it did not."""
    if exited.oom:
        limit = f"its {task.resources.mem:g} MiB" if task.resources.mem else "the host has"
        return Ending(
            TaskState.FAILED, Reason.MEMORY_LIMIT, f"took more memory than {limit} and was killed"
        )
    if exited.pids_exceeded:
        text = "had more processes and threads than its limit and was killed"
        return Ending(TaskState.FAILED, Reason.PIDS_LIMIT, text)
    return None


def of_start(failed: ContainerStartFailed, started: bool, asked: TaskStatus | None) -> Ending:
    """How the end of a container that never started is called.

    `started` says that it was running as far as the agent knew: then the launcher has lost it.
    """
    if started:
        return Ending(
            TaskState.FAILED,
            Reason.LAUNCHER_TERMINATED,
            "the agent's launcher does not know of it any more, nor how the command ended",
        )
    if asked is not None and asked.reason is Reason.KILL_ASKED:
        return Ending(
            TaskState.KILLED,
            Reason.KILLED_DURING_LAUNCH,
            f"{asked.message}: its command had not started",
        )
    if asked is not None and asked.reason is not None:
        return Ending(ASKED[asked.reason], asked.reason, asked.message)
    state, reason = START_FAILURES[failed.failure]
    return Ending(state, reason, f"{failed.phase.value}: {failed.message or failed.failure.value}")
