"""How tasks are made to end: SIGTERM, then SIGKILL after their grace, and again until they have."""

from __future__ import annotations

from dataclasses import replace
from signal import Signals

from mesoslite.deadlines import Deadlines
from mesoslite.lifecycle import TaskState
from mesoslite.messages import KillTask
from mesoslite.model import Reason, TaskStatus
from mesoslite_agent.ledger import Ledger
from mesoslite_agent.protocol import AbortStart, SaveTask, SaveUpdate, StopContainer
from mesoslite_agent.records import TaskHere

SIGTERM = int(Signals.SIGTERM)
SIGKILL = int(Signals.SIGKILL)


class Kills:
    """The kills of one agent, by the timers that its machine has for tasks."""

    def __init__(self, ledger: Ledger, timers: Deadlines[TaskHere], repeat_ms: int) -> None:
        """`repeat_ms`: how often a kill is repeated until the end is told."""
        self._ledger = ledger
        self._timers = timers
        self._repeat_ms = repeat_ms

    def ask(self, here: TaskHere, kill: KillTask) -> None:
        """The master wants it to end, once more maybe."""
        grace_ms = here.record.task.kill_grace_ms if kill.grace_ms is None else kill.grace_ms
        if here.ending is not None:
            self.hasten(here, here.ending, grace_ms)
        elif kill.fence_lost:
            text = "its agent was away for a whole lease: another task may have its fence now"
            self.stop(here, Reason.FENCE_LEASE_OVER, text, grace_ms)
        else:
            self.stop(here, Reason.KILL_ASKED, "its end was asked for", grace_ms)

    def stop(self, here: TaskHere, reason: Reason, text: str, grace_ms: int) -> None:
        """Make a task end. The KILLING status makes that durable, with its reason."""
        before = here.ending
        if before is not None:  # its grace goes on, counted from the new status
            left_ms = before.timestamp_ms + here.grace_ms - self._ledger.now_ms
            grace_ms = max(0, min(grace_ms, left_ms))
        status = self._ledger.status(here, TaskState.KILLING, reason, text)
        here.state = TaskState.KILLING
        here.ending = status
        here.life.append(status)
        self._grant(here, grace_ms)
        if here.removed:
            self._ledger.emit(SaveUpdate(here.record.framework_id, status))
        else:
            self._ledger.append(here.stream, status)
        if before is not None:
            self._kill_by(here, self._ledger.now_ms + grace_ms)
        elif here.started:
            self.terminate(here)
        else:
            self._ledger.emit(AbortStart(here.record.container_id))
            self._timers.set(here, self._ledger.now_ms + self._repeat_ms)

    def terminate(self, here: TaskHere) -> None:
        """Say that it is to end, to one that runs."""
        here.signal = SIGTERM
        self._ledger.emit(StopContainer(here.record.container_id, SIGTERM))
        self._timers.set(here, here.kill_due_ms(self._ledger.now_ms))

    def _grant(self, here: TaskHere, grace_ms: int) -> None:
        """Durable where it is not the task's own; a restart goes on with what is left of it."""
        here.grace_ms = grace_ms
        if grace_ms != here.saved_grace_ms:
            here.record = replace(here.record, kill_grace_ms=grace_ms)
            self._ledger.emit(SaveTask(here.record))

    def hasten(self, here: TaskHere, ending: TaskStatus, grace_ms: int) -> None:
        """Its end was asked for once more: a grace may become shorter, never longer."""
        gone_ms = max(0, self._ledger.now_ms - ending.timestamp_ms)  # clocks are set back too
        self._grant(here, min(here.grace_ms, gone_ms + grace_ms))
        self._kill_by(here, self._ledger.now_ms + grace_ms)

    def again(self, here: TaskHere) -> None:
        """It has not ended in time: kill it, or ask for that once more."""
        container_id = here.record.container_id
        if here.started:
            here.signal = SIGKILL
            self._ledger.emit(StopContainer(container_id, SIGKILL))
        else:
            self._ledger.emit(AbortStart(container_id))
        self._timers.set(here, self._ledger.now_ms + self._repeat_ms)

    def _kill_by(self, here: TaskHere, at_ms: int) -> None:
        """SIGKILL by then, if SIGTERM was sent and it is not due sooner."""
        due_ms = self._timers.due_ms(here)
        if here.signal == SIGTERM and due_ms is not None and at_ms < due_ms:
            self._timers.set(here, at_ms)
