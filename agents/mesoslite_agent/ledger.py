"""What is here, and what was said of it: the agent's tables, and the one way a status is made.

The effects that a handler causes gather here, in the order in which they are caused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from mesoslite.lifecycle import TaskState
from mesoslite.measures import Distribution
from mesoslite.messages import (
    FrameworkReference,
    StatusReport,
    TaskOnAgent,
    TasksOnAgent,
    alike,
)
from mesoslite.model import Reason, Refusal, TaskStatus
from mesoslite_agent.protocol import (
    Effect,
    ForgetFramework,
    ForgetTask,
    KeepPostMortem,
    Recovered,
    SaveAcknowledgement,
    SaveUpdate,
    StreamRecord,
    TaskRecord,
    ToMaster,
)
from mesoslite_agent.records import FrameworkHere, TaskHere
from mesoslite_agent.streams import Resends, UpdateStream

MESSAGE_MAX = 1_024  # characters of a status's message: a sentence, not a log


class Ledger:
    """The frameworks, tasks and streams of one agent, by their ids.

    Everything said here is durable before it is said, and said again until it is acknowledged,
    but for what the method's name tells otherwise.
    """

    def __init__(self, recovered: Recovered) -> None:
        self.now_ms = 0
        self.listening = False
        """A master has registered the agent, and hears what is said."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """Tasks that ended in this run of the agent, by the names of their state and reason."""
        self.launched = Distribution()
        """Seconds from the arrival of a launch until its command ran."""
        self.held = 0
        """Tasks and streams without one: what `tasks_max` bounds."""
        self.frameworks: dict[str, FrameworkHere] = {}
        self.containers: dict[str, TaskHere] = {}
        """The tasks that have not ended, by container id."""
        self.resends = Resends()
        self._ends_unsaid: list[TaskStatus] = []
        """Of tasks that the last registration names; no more than there were."""
        self._effects: list[Effect] = []
        self.emit: Callable[[Effect], None] = self._effects.append
        """Add an effect to those of the event that is being handled. Ten for each task, so no
        method of our own."""
        self._agent_id = recovered.info.agent_id
        self._run = recovered.run
        self._updates = 0
        for reference in recovered.frameworks:
            framework = FrameworkHere(reference.framework_id, reference)
            framework.saved = True
            self.frameworks[reference.framework_id] = framework
        for stream_record in recovered.streams:
            self._recover_stream(stream_record)
        lives = {(s.framework_id, s.task_id): s.life for s in recovered.streams}
        for record in recovered.tasks:
            self._recover_task(record, lives.get((record.framework_id, record.task.task_id), ()))
        for key in recovered.damaged:
            self.emit(ForgetTask(*key))
        for framework in list(self.frameworks.values()):
            self.forget_empty(framework)  # all of its tasks are damaged
            if framework.idle:
                del self.frameworks[framework.framework_id]

    # --- effects ----------------------------------------------------------------------------------

    def keep(self, here: TaskHere, *, oom: bool) -> None:
        """Have its post-mortem kept; it has ended."""
        self.emit(KeepPostMortem(here.record, tuple(here.life), oom))

    def take_effects(self) -> list[Effect]:
        """All since the last time, in order."""
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    # --- the tables -------------------------------------------------------------------------------

    def forget(self, framework: FrameworkHere, task_id: str) -> None:
        """Nobody has anything to say about this task any more."""
        stream = framework.streams.pop(task_id, None)
        if stream is not None:
            self.resends.drop(stream)
        here = framework.tasks.pop(task_id, None)
        self.held -= 1
        self.emit(ForgetTask(framework.framework_id, task_id))
        if here is not None:
            self.forget_empty(framework)
        # One that was introduced stays: its master does not introduce it again on this stream.
        if framework.idle and (framework.removed or framework.reference is None):
            self.frameworks.pop(framework.framework_id, None)

    def forget_empty(self, framework: FrameworkHere) -> None:
        """A framework is in the checkpoint exactly while it has tasks."""
        if framework.saved and not framework.tasks:
            framework.saved = False
            self.emit(ForgetFramework(framework.framework_id))

    def forget_introductions(self) -> None:
        """What a master introduced on an earlier stream is void, when nothing of it is here."""
        for framework_id in [f.framework_id for f in self.frameworks.values() if f.idle]:
            del self.frameworks[framework_id]

    def truth(self) -> tuple[tuple[FrameworkReference, ...], tuple[TasksOnAgent, ...]]:
        """What a registration tells: all tasks with their newest states, and whose they are."""
        references: list[FrameworkReference] = []
        tasks: list[TaskOnAgent] = []
        for framework in self.frameworks.values():
            if framework.tasks and framework.reference is not None:
                references.append(framework.reference)
            for here in framework.tasks.values():
                r = here.record
                task = TaskOnAgent(r.framework_id, r.role, r.task, here.state)
                tasks.append(task)
        return tuple(references), alike(tasks)

    # --- statuses ---------------------------------------------------------------------------------

    def next_update_id(self) -> str:
        """Names a status for ever: the run of the agent, and a number in it."""
        self._updates += 1
        return f"{self._run}.{self._updates}"

    def status(self, here: TaskHere, state: TaskState, reason: Reason, text: str) -> TaskStatus:
        """A status of a task that has not ended."""
        return TaskStatus(
            task_id=here.record.task.task_id,
            state=state,
            framework_id=here.record.framework_id,
            agent_id=self._agent_id,
            update_id=self.next_update_id(),
            reason=reason,
            message=text[:MESSAGE_MAX],
            timestamp_ms=self.now_ms,
            container_id=here.record.container_id,
        )

    def append(self, stream: UpdateStream, status: TaskStatus) -> None:
        """Durable first; said with the batch when nothing older waits for its acknowledgement."""
        self.emit(SaveUpdate(stream.framework_id, status))
        stream.pending.append(status)
        stream.state = status.state
        if not self.listening:
            return
        if len(stream.pending) == 1:
            self.resends.new(stream)
        elif status.state.terminal and not self.resends.is_new(stream):
            self.resends.ended(stream, self.now_ms)

    def decide(
        self, framework: FrameworkHere, task_id: str, state: TaskState, reason: Reason, text: str
    ) -> None:
        """The end of a task that has no container: a stream is all there is of it."""
        stream = framework.streams[task_id] = UpdateStream(framework.framework_id, task_id)
        self.held += 1
        status = TaskStatus(
            task_id=task_id,
            state=state,
            framework_id=framework.framework_id,
            agent_id=self._agent_id,
            update_id=self.next_update_id(),
            reason=reason,
            message=text[:MESSAGE_MAX],
            timestamp_ms=self.now_ms,
        )
        self.append(stream, status)
        self.ended[state.name, reason.name] += 1

    def say_once(
        self,
        framework_id: str,
        task_id: str,
        state: TaskState,
        reason: Reason,
        text: str,
        refusal: Refusal | None = None,
    ) -> None:
        """A status that is neither kept nor acknowledged, for a master that is mistaken."""
        if self.listening:
            status = TaskStatus(
                task_id=task_id,
                state=state,
                framework_id=framework_id,
                agent_id=self._agent_id,
                reason=reason,
                refusal=refusal,
                message=text,
                timestamp_ms=self.now_ms,
            )
            self.emit(ToMaster(StatusReport(status, state)))

    def say_end_of_removed(self, status: TaskStatus) -> None:
        """Tell the master, once, of the end of a task that it was told is here.

        The registration may not be answered yet: it names the task, so the end must follow it.
        """
        if self.listening:
            self.emit(ToMaster(StatusReport(status, status.state)))
        else:
            self._ends_unsaid.append(status)

    def say_end_once(self, stream: UpdateStream) -> None:
        """Tell the master of an end that waits behind an older status, before the stream goes: it
        may not know of it yet, and counts what the task held until it does."""
        end = stream.pending[-1]
        said = len(stream.pending) == 1 and not self.resends.is_new(stream)
        if self.listening and end.terminal and not said:
            self.emit(ToMaster(StatusReport(replace(end, update_id=""), end.state)))

    def acknowledged(self, framework_id: str, task_id: str, update_id: str) -> None:
        """Pop the head of a stream if this names it; else it is late, or said twice, as usual
        after a cut. The next one is said at once; after the last one the task is forgotten."""
        framework = self.frameworks.get(framework_id)
        stream = None if framework is None else framework.streams.get(task_id)
        head = None if stream is None else stream.head
        if framework is None or stream is None or head is None or head.update_id != update_id:
            return
        stream.pending.popleft()
        if head.terminal:
            self.forget(framework, task_id)
            return
        self.emit(SaveAcknowledgement(framework_id, task_id, update_id))
        if stream.pending and self.listening:
            self._say_first(stream)

    def listen(self) -> None:
        """A master hears from now on: the head of each stream is said to it."""
        self.listening = True
        for status in self._ends_unsaid:
            self.emit(ToMaster(StatusReport(status, status.state)))
        self._ends_unsaid.clear()
        for framework in self.frameworks.values():
            for stream in framework.streams.values():
                if stream.pending:
                    self._say_first(stream)

    def pause(self) -> None:
        """Nobody hears what is said."""
        self.listening = False
        self._ends_unsaid.clear()
        self.resends.clear()

    def resend(self) -> None:
        """Say every head that is new, and again every one that is due."""
        for new in self.resends.take_new():
            self._say_first(new)
        while (stream := self.resends.pop_due(self.now_ms)) is not None:
            self.emit(ToMaster(StatusReport(stream.pending[0], stream.state)))

    def _say_first(self, stream: UpdateStream) -> None:
        self.emit(ToMaster(StatusReport(stream.pending[0], stream.state)))
        self.resends.said(stream, self.now_ms)

    # --- recovery ---------------------------------------------------------------------------------

    def _recovered_framework(self, framework_id: str) -> FrameworkHere:
        framework = self.frameworks.get(framework_id)
        if framework is None:
            framework = self.frameworks[framework_id] = FrameworkHere(framework_id)
        return framework

    def _recover_stream(self, record: StreamRecord) -> None:
        stream = UpdateStream(record.framework_id, record.task_id)
        stream.pending.extend(record.updates)
        if record.life:
            stream.state = record.life[-1].state
        self._recovered_framework(record.framework_id).streams[record.task_id] = stream
        self.held += 1

    def _recover_task(self, record: TaskRecord, life: Sequence[TaskStatus]) -> None:
        framework = self._recovered_framework(record.framework_id)
        task_id = record.task.task_id
        stream = framework.streams.get(task_id)
        if stream is None:
            stream = framework.streams[task_id] = UpdateStream(record.framework_id, task_id)
            self.held += 1
        here = framework.tasks[task_id] = TaskHere(record, framework, stream)
        framework.saved = True  # also when what was saved of it is damaged
        here.take_up(life)
        if not here.state.terminal:
            self.containers[record.container_id] = here
        if here.removed:
            framework.removed = True
            del framework.streams[task_id]
