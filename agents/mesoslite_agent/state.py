"""The agent: a pure machine that turns words of the master and fates of containers into effects.

Read `protocol.py` first. `handle` is the only way in, and nothing else changes anything. The same
events give the same effects. Nouns are in `records.py`, a task's way into its container in
`launches.py`, what its end is called in `endings.py`; the tables and statuses in `ledger.py`.

Order of effects: what must be durable stands before what depends on it, and the loop commits all
durable effects of a batch before it performs any other (D6). So a container is never
started without its intent on disk, and a status is never said before it can be said again.

What a restart needs to know stands in the statuses themselves: a KILLING status tells by its
reason why the task is made to end, a RUNNING one by its time since when its time is counted. Only
the grace of a kill, where it is not the task's own, stands in the record of the task; it counts
from the time of the KILLING status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from mesoslite.deadlines import Deadlines
from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    AcknowledgeOperation,
    AcknowledgeStatus,
    ApplyOperation,
    FrameworkAdded,
    FrameworkReference,
    Heartbeat,
    KillTask,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    RunTask,
    ShutdownFramework,
    TaskMessage,
)
from mesoslite.model import Reason, Refusal, Task, TaskStatus
from mesoslite_agent import endings, invariants, launches
from mesoslite_agent.container import (
    ContainerExited,
    ContainerPhase,
    ContainerStarted,
    ContainerStartFailed,
    Usage,
)
from mesoslite_agent.holdings import Holdings
from mesoslite_agent.kills import SIGKILL, Kills
from mesoslite_agent.leases import Lease
from mesoslite_agent.ledger import MESSAGE_MAX, Ledger
from mesoslite_agent.protocol import (
    Abort,
    AbortStart,
    DestroyContainer,
    DirectoriesMeasured,
    DirectoryRemoved,
    DropStream,
    Effect,
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorSpoke,
    LeaseContainers,
    MasterSpoke,
    Recovered,
    RemoveDirectory,
    SaveEpoch,
    SaveFramework,
    SaveTask,
    StartContainer,
    StopContainer,
    StreamLost,
    StreamOpened,
    TaskRecord,
    Tick,
    ToExecutor,
    ToMaster,
)
from mesoslite_agent.records import FINAL_REFUSALS, AgentConfig, FrameworkHere, Link, TaskHere
from mesoslite_agent.streams import UpdateStream

__all__ = ["Agent", "AgentConfig"]

REGISTRATION_BITS = 32  # of a registration's number, below the run: so many of one run


class Agent:
    """Everything that one agent knows. Time is the last Tick's, and the first event is a Tick."""

    def __init__(self, recovered: Recovered, config: AgentConfig) -> None:
        """Raises InvalidEstate when more is reserved than the agent has now."""
        self._config = config
        self._info = recovered.info
        self._boot_id = recovered.boot_id
        self._run = recovered.run
        self._rebooted = recovered.rebooted
        self._ends = {end.container_id: end for end in recovered.ends}
        self._epoch = recovered.epoch_seen
        self._damaged = recovered.damaged
        self._begun = False
        self._starts = 0
        self._registrations = 0
        self._link = Link.DOWN
        self._heartbeat_ms: int | None = None
        self._heartbeats = 0
        self._lease = Lease()
        self._silence_ms: int | None = None
        self._ledger = Ledger(recovered)
        self._held_at_start = self._ledger.held
        self._holdings = Holdings(recovered, self._ledger.emit)
        self._gone = ""
        """Why this agent is to end as soon as its last task has; empty: it is not to."""
        self._timers: Deadlines[TaskHere] = Deadlines()  # one for each: start, run or kill
        self._kills = Kills(self._ledger, self._timers, config.kill_repeat_ms)

    # --- reading ----------------------------------------------------------------------------------

    @property
    def registered(self) -> bool:
        """The master knows this agent, on the stream that is open now."""
        return self._link is Link.REGISTERED

    @property
    def epoch(self) -> int:
        """The highest epoch of a master that was ever heard."""
        return self._epoch

    @property
    def ledger(self) -> Ledger:
        """What is here, to be looked at and never changed."""
        return self._ledger

    @property
    def holdings(self) -> Holdings:
        """What is reserved here, to be looked at and never changed."""
        return self._holdings

    def tasks(self) -> Iterator[Task]:
        """Those that have not ended."""
        return (here.record.task for here in self._ledger.containers.values())

    def container_ids(self) -> frozenset[str]:
        """The containers whose tasks have not ended. O(n)."""
        return frozenset(self._ledger.containers)

    def next_deadline_ms(self) -> int | None:
        """When the next Tick is due at the latest; None: not before another event. O(1)."""
        if not self._begun:
            return 0
        ahead = (
            self._heartbeat_ms,
            self._silence_ms,
            self._timers.next_ms(),
            self._ledger.resends.next_ms(),
        )
        return min((at for at in ahead if at is not None), default=None)

    def check(self) -> None:
        """Assert every invariant of `invariants.py`. For tests; O(n log n)."""
        invariants.check_tables(self._ledger, self._timers)
        self._holdings.check(self.tasks())
        known = [s for f in self._ledger.frameworks.values() for s in f.streams.values()]
        self._ledger.resends.check(self._ledger.listening, known)
        assert self._ledger.listening == (self._link is Link.REGISTERED)
        assert (self._heartbeat_ms is not None) == (self._link is Link.REGISTERED)
        assert (self._silence_ms is not None) == (self._link is not Link.DOWN)
        assert self._ledger.held <= max(self._config.tasks_max, self._held_at_start)

    # --- the one way in ---------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; say what is to be done about it. 5-20 us for most, O(tasks) for a stream
        that opens or is registered, a framework that goes, and the first Tick."""
        return self.handle_all((event,))

    def handle_all(self, events: Sequence[Event]) -> list[Effect]:
        """As `handle` of each, in order."""
        for event in events:
            self._take(event)
        return self._ledger.take_effects()

    def _take(self, event: Event) -> None:
        if not self._begun and not isinstance(event, Tick):
            raise AssertionError("the first event of an agent is a Tick: it needs the time")
        match event:
            case MasterSpoke():
                self._master_spoke(event)
            case Tick():
                self._tick(event.now_ms)
            case ContainerStarted():
                self._started(event)
            case ContainerExited():
                self._exited(event)
            case ContainerPhase():
                self._phase(event)
            case ContainerStartFailed():
                self._start_failed(event)
            case ExecutorSpoke():
                self._executor_spoke(event)
            case ExecutorAttached():
                self._attached(event.container_id, +1)
            case ExecutorDetached():
                self._attached(event.container_id, -1)
            case StreamOpened():
                self._stream_opened()
            case StreamLost():
                self._stream_ended()
            case DirectoriesMeasured():
                self._measured(event)
            case DirectoryRemoved():
                self._holdings.removed(event.directory)
            case _:
                assert_never(event)

    # --- time -------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        self._ledger.now_ms = max(now_ms, self._ledger.now_ms)
        if not self._begun:
            self._begun = True
            self._give_up(self._damaged)
            self._take_up_tasks()
            for directory in self._holdings.leaving:
                self._ledger.emit(RemoveDirectory(directory))
        if self._silence_ms is not None and self._silence_ms <= self._ledger.now_ms:
            self._drop_stream(f"no word of the master for {self._config.silence_ms / 1_000:g} s")
        if self._heartbeat_ms is not None and self._heartbeat_ms <= self._ledger.now_ms:
            self._heartbeats += 1
            self._lease.say(self._heartbeats, self._ledger.now_ms)
            self._ledger.emit(ToMaster(Heartbeat(self._heartbeats)))
            self._heartbeat_ms = self._ledger.now_ms + self._config.heartbeat_ms
        while (here := self._timers.pop_due(self._ledger.now_ms)) is not None:
            self._time_is_up(here)
        self._ledger.resend()  # after them, so that it tells the newest states

    def _take_up_tasks(self) -> None:
        """What an earlier run left: the launcher will tell of each, unless the host was reset."""
        for framework in self._ledger.frameworks.values():
            for here in framework.tasks.values():
                if here.state.terminal:
                    self._ledger.keep(here, oom=here.life[-1].reason is Reason.MEMORY_LIMIT)
        for here in list(self._ledger.containers.values()):
            end = self._ends.pop(here.record.container_id, None)
            if end is not None:
                self._take_up_end(here, end)
            elif self._rebooted:
                text = "its host was started again, and no container survives that"
                self._end(here, endings.Ending(TaskState.FAILED, Reason.HOST_REBOOTED, text))
            elif here.state is TaskState.RUNNING:
                self._count_completion_time(here)
            elif here.state is TaskState.KILLING:
                self._timers.set(here, self._ledger.now_ms + self._config.kill_repeat_ms)
            else:
                here.since_ms = self._ledger.now_ms
                self._start_is_slow(here)

    def _take_up_end(self, here: TaskHere, end: ContainerExited | ContainerStartFailed) -> None:
        """It was over before its host was started again, and only its agent was not told."""
        if isinstance(end, ContainerStartFailed):
            self._start_failed(end)
        else:
            if not (here.started or here.ending or end.launcher_lost):
                self._started(ContainerStarted(end.container_id, 0))  # a pid is of no use any more
            self._exited(end)

    def _give_up(self, damaged: tuple[tuple[str, str], ...]) -> None:
        """End what is not known for sure, in one step with what says so. Its container is one that
        this agent does not know, and those are ended before anybody is told. Of a framework that
        was removed nobody is: the registration, which does not name the task, is all its end."""
        for framework_id, task_id in damaged:
            framework = self._ledger.frameworks.get(framework_id)
            if framework is not None and framework.removed:
                continue
            if framework is None:
                framework = self._ledger.frameworks[framework_id] = FrameworkHere(framework_id)
            text = "what its agent knew of it was damaged on the disk, and it was ended"
            failed, reason = TaskState.FAILED, Reason.CHECKPOINT_DAMAGED
            self._ledger.decide(framework, task_id, failed, reason, text)

    def _time_is_up(self, here: TaskHere) -> None:
        if here.state is TaskState.KILLING:
            self._kills.again(here)
        elif here.state is TaskState.RUNNING:
            limit_ms = here.record.task.max_completion_ms or 0
            text = f"ran for longer than its {limit_ms / 1_000:g} s"
            self._kills.stop(here, Reason.MAX_COMPLETION_TIME, text, here.record.task.kill_grace_ms)
        else:
            self._start_is_slow(here)

    def _start_is_slow(self, here: TaskHere) -> None:
        """Tell a phase that lasts, once; give up the start when the phase is over its deadline."""
        task = here.record.task
        limit_ms = self._config.phase_max_ms(here.phase)
        give_up_ms = here.since_ms + limit_ms
        tell_ms = here.since_ms + self._config.phase_report_ms
        waits_for = launches.waits_for(task, here.phase, recovered=here.recovered)
        if give_up_ms <= self._ledger.now_ms:
            text = f"its start was given up after {limit_ms / 1_000:g} s in {waits_for}"
            self._kills.stop(here, Reason.START_TIMEOUT, text, 0)
        elif here.phase_told:
            self._timers.set(here, give_up_ms)
        elif tell_ms <= self._ledger.now_ms:
            here.phase_told = True
            self._timers.set(here, give_up_ms)
            self._move(here, TaskState.STARTING, Reason.START_LASTS, waits_for)
        else:
            self._timers.set(here, min(tell_ms, give_up_ms))

    # --- the stream to the master -----------------------------------------------------------------

    def _stream_opened(self) -> None:
        """The whole truth is the first word (messages.py). What the last master introduced is void:
        this one counts as introduced what the registration names."""
        self._stream_ended()
        self._link = Link.OPEN
        self._silence_ms = self._ledger.now_ms + self._config.silence_ms
        self._ledger.forget_introductions()
        references, tasks = self._ledger.truth()
        self._registrations += 1
        number = (self._run << REGISTRATION_BITS) + self._registrations
        kept = self._holdings.truth()
        register = Register(
            self._info, self._boot_id, self._epoch, references, tasks, number, *kept
        )
        self._lease.register(self._ledger.now_ms)
        self._ledger.emit(ToMaster(register))

    def _stream_ended(self) -> None:
        self._link = Link.DOWN
        self._heartbeat_ms = self._silence_ms = None
        self._ledger.pause()

    def _drop_stream(self, why: str) -> None:
        """What is still heard on the stream is of no account: the next registration tells all."""
        self._stream_ended()
        self._ledger.emit(DropStream(why))

    def _master_spoke(self, spoke: MasterSpoke) -> None:
        word = spoke.event
        if self._link is Link.DOWN:
            return
        if spoke.epoch > self._epoch:
            self._epoch = spoke.epoch
            self._ledger.emit(SaveEpoch(spoke.epoch))
        elif spoke.epoch < self._epoch and not isinstance(word, Refused):
            if isinstance(word, Registered):
                heard = f"this agent has heard of {self._epoch}"
                self._drop_stream(f"the master's epoch is {spoke.epoch}, {heard}")
            return
        self._silence_ms = self._ledger.now_ms + self._config.silence_ms
        match word:
            case AcknowledgeStatus():
                self._ledger.acknowledged(word.framework_id, word.task_id, word.update_id)
            case RunTask():
                self._run_task(word)
            case KillTask():
                self._kill(word)
            case TaskMessage():
                self._message(word)
            case FrameworkAdded():
                self._introduce(word.framework)
            case Heartbeat():
                self._echoed(word.number)
            case Registered():
                self._registered(word.fence_lease_ms)
            case ReconcileTasks():
                self._reconcile(word)
            case ShutdownFramework():
                self._shutdown(word.framework_id)
            case ApplyOperation():
                self._apply(word)
            case AcknowledgeOperation():
                self._holdings.acknowledged(word.framework_id, word.operation_id)
            case Refused():
                self._refused(word)
            case _:
                assert_never(word)

    def _registered(self, fence_lease_ms: int) -> None:
        if self._link is Link.REGISTERED:
            return
        self._link = Link.REGISTERED
        self._heartbeat_ms = self._ledger.now_ms + self._config.heartbeat_ms
        if self._lease.begin(fence_lease_ms):
            self._extend_leases()
        self._ledger.listen()
        self._holdings.say_used(self._holdings.used)

    def _echoed(self, number: int) -> None:
        """The master was there after this heartbeat was said: fenced tasks may run on."""
        if self._lease.heard(number):
            self._extend_leases()

    def _extend_leases(self) -> None:
        here = self._ledger.containers.items()
        fenced = tuple(i for i, one in here if one.record.task.fence is not None)
        if fenced:
            self._ledger.emit(LeaseContainers(fenced, self._lease.until_ms))

    def _refused(self, word: Refused) -> None:
        why = word.refusal.value + (f": {word.message}" if word.message else "")
        if word.refusal is Refusal.AGENT_GONE:
            self._end_for_good(why)
        elif word.refusal in FINAL_REFUSALS:
            self._stream_ended()
            self._ledger.emit(Abort(why))
        else:
            self._drop_stream(why)

    def _end_for_good(self, why: str) -> None:
        """An operator has given this agent up, and its tasks count as ended: so they end, and then
        the agent does. A restart in between is refused, and so goes on here, by itself."""
        self._gone = why
        for here in list(self._ledger.containers.values()):
            if here.ending is None:
                text, grace_ms = "its agent was marked as gone", here.record.task.kill_grace_ms
                self._kills.stop(here, Reason.AGENT_GONE, text, grace_ms)
        if self._ledger.containers:
            self._drop_stream(why)
        else:
            self._stream_ended()
            self._abort_when_empty()

    def _abort_when_empty(self) -> None:
        if self._gone and not self._ledger.containers:
            self._ledger.emit(Abort(self._gone, empty=True))

    # --- what the master asks ---------------------------------------------------------------------

    def _introduce(self, reference: FrameworkReference) -> None:
        framework = self._ledger.frameworks.get(reference.framework_id)
        if framework is not None:
            framework.reference = framework.reference or reference
        elif len(self._ledger.frameworks) < self._config.frameworks_max:
            self._ledger.frameworks[reference.framework_id] = FrameworkHere(
                reference.framework_id, reference
            )

    def _run_task(self, run: RunTask) -> None:
        """Launch a task, once: a task that is known is not launched, whatever became of it."""
        task_id = run.task.task_id
        framework = self._ledger.frameworks.get(run.framework_id)
        if framework is not None and framework.knows(task_id):
            return
        refused, reason = TaskState.DROPPED, Reason.LAUNCH_REFUSED
        if framework is None or framework.reference is None or framework.removed:
            # A master that forgets to introduce, or removes first, is wrong: once is enough for it.
            no = Refusal.UNKNOWN_FRAMEWORK
            self._ledger.say_once(run.framework_id, task_id, refused, reason, no.value, no)
            return
        if self._ledger.held >= self._config.tasks_max:
            text = f"this agent holds {self._ledger.held} tasks, as many as it may"
            self._ledger.say_once(run.framework_id, task_id, refused, reason, text)
            return
        cannot = launches.cannot_run(run.task, self._info, self._config)
        if cannot is not None:
            self._ledger.decide(framework, task_id, TaskState.ERROR, cannot.reason, cannot.message)
            return
        missing = self._holdings.why_not_run(run.task, self.tasks())
        if missing is not None:
            lost = Reason.RESERVATION_MISSING
            self._ledger.decide(framework, task_id, TaskState.DROPPED, lost, missing)
            return
        if run.task.fence is not None and self._lease.until_ms <= self._ledger.now_ms:
            text = "this agent has not heard the master for a whole lease"
            lost = Reason.FENCE_LEASE_OVER
            self._ledger.decide(framework, task_id, TaskState.DROPPED, lost, text)
            return
        if not framework.saved:
            framework.saved = True
            self._ledger.emit(SaveFramework(framework.reference))
        self._starts += 1
        container_id = f"{self._run}-{self._starts}"
        secret = launches.secret_of(container_id, self._config)
        record = TaskRecord(run.framework_id, run.role, run.task, container_id, secret)
        stream = UpdateStream(run.framework_id, task_id)
        here = TaskHere(record, framework, stream)
        here.asked_ms = here.since_ms = self._ledger.now_ms
        framework.tasks[task_id] = here
        framework.streams[task_id] = stream
        self._ledger.containers[container_id] = here
        self._ledger.held += 1
        self._timers.set(here, self._ledger.now_ms + self._config.phase_report_ms)
        self._ledger.emit(SaveTask(record))
        volumes = self._holdings.volumes_of(run.task)
        spec = launches.spec_of(record, self._info, self._config, run.fence_token, volumes)
        until_ms = None if run.task.fence is None else self._lease.until_ms
        self._ledger.emit(StartContainer(spec, until_ms))

    def _kill(self, kill: KillTask) -> None:
        """End a task. A second kill may shorten the grace of the first, never lengthen it.

        One that is not here gets GONE, once and without an update id: it does not run here, but
        whether it ever did is not known. The master asks only for what it has heard to be here, so
        this is for the master to correct itself; what frameworks rely on are the streams.
        """
        framework = self._ledger.frameworks.get(kill.framework_id)
        if framework is None or not framework.knows(kill.task_id):
            text = "this agent does not have it"
            gone, reason = TaskState.GONE, Reason.RECONCILIATION
            self._ledger.say_once(kill.framework_id, kill.task_id, gone, reason, text)
            return
        here = framework.tasks.get(kill.task_id)
        if here is None or here.state.terminal:
            return  # its end is on its way
        self._kills.ask(here, kill)

    def _reconcile(self, word: ReconcileTasks) -> None:
        """Tasks that a master sent and that never arrived. The answer is durable: the framework may
        take it as leave to launch again, so it must not be lost."""
        for framework_id, task_id in word.tasks:
            framework = self._ledger.frameworks.get(framework_id)
            if framework is not None and (framework.removed or framework.knows(task_id)):
                continue  # it came, or was answered before, or nobody waits for it
            dropped, reason = TaskState.DROPPED, Reason.AGENT_RESTARTED
            text = (
                "its agent has nothing of it: the launch never arrived, or its checkpoint is older"
            )
            if self._ledger.held >= self._config.tasks_max:
                self._ledger.say_once(framework_id, task_id, dropped, reason, text)
                continue
            if framework is None:
                framework = self._ledger.frameworks[framework_id] = FrameworkHere(framework_id)
            self._ledger.decide(framework, task_id, dropped, reason, text)

    def _shutdown(self, framework_id: str) -> None:
        """End all tasks of a framework, each within its grace; statuses that wait are dropped.

        It survives a restart, since the KILLING status of each task says so by its reason.
        """
        self._holdings.forget_answers(framework_id)
        framework = self._ledger.frameworks.get(framework_id)
        if framework is None:
            return
        framework.removed = True
        for task_id in list(framework.streams):
            here = framework.tasks.get(task_id)
            if here is None or here.state.terminal:
                self._ledger.say_end_once(framework.streams[task_id])
                self._ledger.forget(framework, task_id)
            else:
                self._ledger.resends.drop(framework.streams.pop(task_id))
        for here in list(framework.tasks.values()):
            if not here.removed:
                text, grace_ms = "its framework was removed", here.record.task.kill_grace_ms
                self._kills.stop(here, Reason.FRAMEWORK_REMOVED, text, grace_ms)
        if framework.idle:
            self._ledger.frameworks.pop(framework_id, None)

    # --- reservations and volumes -----------------------------------------------------------------

    def _apply(self, word: ApplyOperation) -> None:
        """Before its registration was answered it takes none: the next one tells the master."""
        if self._link is Link.REGISTERED:
            report = self._holdings.apply(word.order, self.tasks(), self._ledger.now_ms)
            self._ledger.emit(ToMaster(report))

    def _measured(self, event: DirectoriesMeasured) -> None:
        keys = self._holdings.measured(event.used_bytes, self._ledger.now_ms)
        if self._link is Link.REGISTERED:
            self._holdings.say_used(keys)

    # --- containers -------------------------------------------------------------------------------

    def _phase(self, event: ContainerPhase) -> None:
        here = self._ledger.containers.get(event.container_id)
        if here is None:
            self._ledger.emit(AbortStart(event.container_id))
            return
        starting = here.state in (TaskState.STAGING, TaskState.STARTING)
        if not starting or here.phase is event.phase:
            return
        here.phase = event.phase
        here.since_ms = self._ledger.now_ms
        told, here.phase_told = here.phase_told, False
        if told:
            self._start_is_slow(here)  # else the timer stands early enough already

    def _started(self, event: ContainerStarted) -> None:
        here = self._ledger.containers.get(event.container_id)
        if here is None:
            # Its end was recorded, so nobody knows of it any more: it must not run on unseen.
            self._ledger.emit(StopContainer(event.container_id, SIGKILL))
        elif here.state is TaskState.KILLING:
            here.started = True
            if not here.signal:
                self._kills.terminate(here)
        elif not here.started:
            here.started = True
            here.since_ms = self._ledger.now_ms
            if here.asked_ms is not None:
                self._ledger.launched.observe((here.since_ms - here.asked_ms) / 1_000)
            self._move(here, TaskState.RUNNING, Reason.COMMAND_STARTED, "")
            self._count_completion_time(here)

    def _start_failed(self, event: ContainerStartFailed) -> None:
        here = self._ledger.containers.get(event.container_id)
        if here is None:
            self._ledger.emit(DestroyContainer(event.container_id))
        else:
            self._end(here, endings.of_start(event, here.started, here.ending))

    def _exited(self, event: ContainerExited) -> None:
        here = self._ledger.containers.get(event.container_id)
        if here is None:
            self._ledger.emit(DestroyContainer(event.container_id))
        else:
            killed = here.signal == SIGKILL
            ending = endings.of_exit(event, here.record.task, here.ending, killed=killed)
            self._end(here, ending, event.exit_code, event.signal, event.usage, oom=event.oom)

    # --- messages between a framework and the processes of its tasks ------------------------------

    def _message(self, word: TaskMessage) -> None:
        framework = self._ledger.frameworks.get(word.framework_id)
        here = None if framework is None else framework.tasks.get(word.task_id)
        if here is not None and here.attached and not here.removed:
            self._ledger.emit(ToExecutor(here.record.container_id, word.data))

    def _executor_spoke(self, event: ExecutorSpoke) -> None:
        here = self._ledger.containers.get(event.container_id)
        if here is not None and not here.removed and self._link is Link.REGISTERED:
            framework_id, task_id = here.key
            message = TaskMessage(framework_id, self._info.agent_id, task_id, event.data)
            self._ledger.emit(ToMaster(message))

    def _attached(self, container_id: str, more: int) -> None:
        here = self._ledger.containers.get(container_id)
        if here is not None:
            here.attached = max(0, here.attached + more)

    # --- what becomes of a task -------------------------------------------------------------------

    def _count_completion_time(self, here: TaskHere) -> None:
        max_ms = here.record.task.max_completion_ms
        if max_ms is None:
            self._timers.drop(here)
        else:
            # Of a run that was recovered it may lie ahead: clocks are set back too.
            self._timers.set(here, min(here.since_ms, self._ledger.now_ms) + max_ms)

    def _move(self, here: TaskHere, state: TaskState, reason: Reason, text: str) -> None:
        here.state = state
        status = self._ledger.status(here, state, reason, text)
        here.life.append(status)
        self._ledger.append(here.stream, status)

    def _end(
        self,
        here: TaskHere,
        ending: endings.Ending,
        exit_code: int | None = None,
        signal_number: int | None = None,
        usage: Usage | None = None,
        *,
        oom: bool = False,
    ) -> None:
        """The one way in which a task that had a container ends."""
        message = ending.message
        if ending.state is TaskState.FAILED:
            full = self._holdings.fullness(here.record.task)
            message = f"{message}; {full}" if full else message
        status = TaskStatus(
            task_id=here.record.task.task_id,
            state=ending.state,
            framework_id=here.record.framework_id,
            agent_id=self._info.agent_id,
            update_id="" if here.removed else self._ledger.next_update_id(),
            reason=ending.reason,
            message=message[:MESSAGE_MAX],
            timestamp_ms=self._ledger.now_ms,
            container_id=here.record.container_id,
            exit_code=exit_code,
            signal=signal_number,
            peak_mem_bytes=None if usage is None else usage.peak_mem_bytes,
            cpu_ms=None if usage is None else usage.cpu_ms,
        )
        here.state = ending.state
        self._ledger.ended[ending.state.name, ending.reason.name] += 1
        here.attached = 0
        self._timers.drop(here)
        del self._ledger.containers[here.record.container_id]
        if here.removed:
            self._ledger.forget(here.framework, status.task_id)
            if self._link is not Link.DOWN:
                self._ledger.say_end_of_removed(status)
        else:
            self._ledger.append(here.stream, status)
        here.life.append(status)
        self._ledger.keep(here, oom=oom)
        self._ledger.emit(DestroyContainer(here.record.container_id))
        self._abort_when_empty()
