"""The agent under any order of events: no task twice, one end each, nothing said is ever lost.

The world around it is a model: a disk that holds what was committed and nothing else, containers
that outlive the agent and tell things late, twice or after it has forgotten them, and a master
whose stream is cut at any word. `Agent.check` runs after every event. A crash is a new agent made
of the disk alone, before or after the last commit, and with its effects performed or not.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mesoslite.lifecycle import TaskState, may_move
from mesoslite.messages import (
    AcknowledgeStatus,
    FrameworkAdded,
    Heartbeat,
    KillTask,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    RunTask,
    ShutdownFramework,
    StatusReport,
    TaskMessage,
)
from mesoslite.model import Refusal, Source, TaskStatus
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerExited,
    ContainerPhase,
    ContainerSpec,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
)
from mesoslite_agent.protocol import (
    AbortStart,
    DestroyContainer,
    DropStream,
    Effect,
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorSpoke,
    KeepPostMortem,
    MasterSpoke,
    SaveEpoch,
    SaveUpdate,
    StartContainer,
    StopContainer,
    StreamLost,
    StreamOpened,
    TaskRecord,
    Tick,
    ToExecutor,
    ToMaster,
)
from mesoslite_agent.state import Agent
from tests.unit.agent_world import CONFIG, START_MS, Disk, exited, reference, task

Key = tuple[str, str]
SIGTERM, SIGKILL = 15, 9
picks = st.integers(0, 999)


@dataclass
class Container:
    """One container of the world, which goes on whether or not an agent is there."""

    spec: ContainerSpec
    phases: deque[Phase] = field(default_factory=lambda: deque(Phase))
    running: bool = False
    end: ContainerEvent | None = None
    """How it ended; told again until it is destroyed."""


class AnyOrder(RuleBasedStateMachine):
    """One agent, its disk, its containers, and a master that sees what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.bites: Counter[str] = Counter()
        self.disk = Disk()
        self.now_ms = START_MS
        self.epoch = 1
        self.open = False
        self.registered = False
        self.containers: dict[str, Container] = {}
        self.calm = 0
        """Steps since the last cut or crash: disasters leave some life to be disturbed."""
        self.launched: list[Key] = []
        self.frameworks: list[str] = []
        self.introduced: set[str] = set()
        self.removed: set[str] = set()
        self.lives: dict[Key, list[TaskStatus]] = {}
        """Every status that was made durable, in order."""
        self.heard: dict[Key, StatusReport] = {}
        """The newest report of each task on this stream that was not acknowledged."""
        self.started: set[Key] = set()
        self.due_ms: dict[str, int] = {}
        """When SIGKILL is due to what was asked to end, the soonest of all that asked."""
        self.told: set[str] = set()
        """Those which have got SIGTERM."""
        self.agent = Agent(self.disk.recovered(), CONFIG)
        self.handle(Tick(self.now_ms))

    # --- the loop and the crash -------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        self.calm += 1
        effects = self.agent.handle(event)
        self.agent.check()
        if self.agent.next_deadline_ms() == 0:  # a status is said with the Tick that ends a batch
            effects += self.agent.handle(Tick(self.now_ms))
            self.agent.check()
        self.commit(effects)
        self.perform(effects)
        return effects

    def commit(self, effects: list[Effect]) -> None:
        self.disk.commit(effects)
        for effect in effects:
            if isinstance(effect, SaveUpdate):
                status = effect.status
                life = self.lives.setdefault((effect.framework_id, status.task_id), [])
                before = life[-1].state if life else TaskState.STAGING
                again = before is status.state and not status.state.terminal
                assert again or may_move(before, status.state), (before, status)
                assert before is not TaskState.RUNNING or status.state is not TaskState.RUNNING
                assert all(status.update_id != old.update_id for old in life)
                assert status.timestamp_ms == self.now_ms
                assert status.reason is not None
                assert status.source is Source.AGENT
                life.append(status)

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartContainer(spec):
                    self.container_starts(spec)
                case StopContainer(container_id, number):
                    self.container_is_signalled(container_id, number)
                case AbortStart(container_id):
                    self.container_is_given_up(container_id)
                case KeepPostMortem(record, life, _):
                    self.attempt_is_over(record, life)
                case DestroyContainer(container_id):
                    gone = self.containers.pop(container_id, None)
                    assert gone is None or gone.end is not None, "a living one was destroyed"
                case ToMaster(call):
                    assert self.open
                    self.master_hears(call)
                case DropStream():
                    self.open = self.registered = False
                case _:
                    pass

    def crash(self, *, rebooted: bool = False) -> None:
        """The agent dies and starts again; the launcher tells of what it knows (D8)."""
        self.cut()
        if rebooted:
            self.containers.clear()
        self.agent = Agent(self.disk.recovered(rebooted=rebooted), CONFIG)
        self.agent.check()
        self.handle(Tick(self.now_ms))
        known = {record.container_id for record in self.disk.tasks.values()}
        for container_id in [c for c in self.containers if c not in known]:
            del self.containers[container_id]
        for container_id in sorted(known):
            container = self.containers.get(container_id)
            if container is None or not (container.running or container.end):
                asked = self.containers.pop(container_id, None)
                failure = StartFailure.SPAWN_FAILED if asked else StartFailure.NEVER_ASKED
                self.handle(ContainerStartFailed(container_id, Phase.SPAWN, failure, "unknown"))
            else:
                self.handle(container.end or ContainerStarted(container_id, 1))

    def cut(self) -> None:
        self.calm = 0
        self.open = self.registered = False
        self.heard.clear()
        self.introduced.clear()

    def attempt_is_over(self, record: TaskRecord, life: tuple[TaskStatus, ...]) -> None:
        """Its whole life is told, over all runs of the agent; again only while its end waits."""
        key = record.framework_id, record.task.task_id
        durable = self.lives.get(key, [])
        if key[0] in self.removed and life[-1].update_id == "":
            assert list(life[:-1]) == durable, "its end is said once, and not kept"
        else:
            assert list(life) == durable
            assert key in self.disk.tasks
        assert life[-1].terminal
        assert life[-1].container_id == record.container_id

    # --- what the effects do to the world ---------------------------------------------------------

    def container_starts(self, spec: ContainerSpec) -> None:
        key = spec.framework_id, spec.task_id
        assert self.disk.tasks[key].container_id == spec.container_id, "the intent is on disk"
        assert key not in self.started, "a task is started once"
        assert not self.ended(key), "a task that has ended is not started"
        self.started.add(key)
        self.containers[spec.container_id] = Container(spec)

    def container_is_signalled(self, container_id: str, number: int) -> None:
        container = self.containers.get(container_id)
        if container is None or not container.running:
            return
        if number == SIGTERM:
            self.told.add(container_id)
        elif container_id in self.told:
            record = self.disk.tasks[container.spec.framework_id, container.spec.task_id]
            due_ms = self.kill_due_ms(record)
            assert due_ms is not None
            assert self.now_ms >= due_ms, "its grace was cut"
            container.end = container.end or exited(container_id, None, SIGKILL)

    def container_is_given_up(self, container_id: str) -> None:
        container = self.containers.get(container_id)
        if container is None or container.end is not None:
            return
        if container.running:
            container.end = exited(container_id, None, SIGKILL)
        else:
            failure = StartFailure.ROOT_FAILED
            container.end = ContainerStartFailed(container_id, Phase.ROOT, failure, "given up")

    def master_hears(self, call: object) -> None:
        if isinstance(call, Register):
            listed = [one for alike in call.tasks for one in alike.each()]
            truth = {(t.framework_id, t.task.task_id): t.state for t in listed}
            assert truth.keys() == self.disk.tasks.keys()
            for key, state in truth.items():
                life = self.lives.get(key)
                assert state is (life[-1].state if life else TaskState.STAGING)
            assert {f.framework_id for f in call.frameworks} == {key[0] for key in truth}
            self.introduced |= {key[0] for key in truth}
            return
        assert self.registered, "nothing is said before the registration was answered"
        if not isinstance(call, StatusReport) or not call.status.update_id:
            return
        key = call.status.framework_id, call.status.task_id
        stream = self.disk.streams[key]
        assert key[0] not in self.removed, "nobody waits for it"
        assert stream.updates[0] == call.status, "the oldest one, and it is on disk"
        assert stream.updates[-1].state is call.latest_state
        self.heard[key] = call
        self.bites[call.status.state.name] += 1

    # --- the master speaks ------------------------------------------------------------------------

    def hear(self, word: object) -> list[Effect]:
        return self.handle(MasterSpoke(self.epoch, word))  # type: ignore[arg-type]

    @initialize()
    def a_living_agent(self) -> None:
        self.the_stream_opens(answered=True)
        self.a_framework_comes()
        self.a_framework_comes()
        self.a_launch(0)

    @precondition(lambda self: not self.open)
    @rule(answered=st.booleans())
    def the_stream_opens(self, answered: bool) -> None:
        self.cut()
        self.open = True
        self.handle(StreamOpened())
        if answered:
            self.the_master_registers_it()

    @precondition(lambda self: self.open and not self.registered)
    @rule()
    def the_master_registers_it(self) -> None:
        self.registered = True
        self.hear(Registered())
        waiting = {key for key, stream in self.disk.streams.items() if stream.updates}
        expected = {key for key in waiting if key[0] not in self.removed}
        assert self.heard.keys() == expected, "every head is said at once"

    def a_framework_comes(self) -> None:
        self.frameworks.append(f"f{len(self.frameworks)}")

    def able(self) -> list[str]:
        return [f for f in self.frameworks if f not in self.removed]

    @precondition(lambda self: self.registered and self.able())
    @rule(
        pick=picks,
        grace=st.sampled_from([None, 100]),
        limit=st.sampled_from([None, 20_000]),
        starts=st.sampled_from([True, True, False]),
    )
    def a_launch(
        self, pick: int, grace: int | None = None, limit: int | None = None, starts: bool = True
    ) -> None:
        framework_id = self.able()[pick % len(self.able())]
        if framework_id not in self.introduced:
            self.introduced.add(framework_id)
            self.hear(FrameworkAdded(reference(framework_id)))
        key = framework_id, f"t{len(self.launched)}"
        user = "nobody" if pick % 7 == 0 and pick else None
        self.launched.append(key)
        new = task(key[1], user=user, kill_grace_ms=grace or 3_000, max_completion_ms=limit)
        effects = self.hear(RunTask(framework_id, "*", new))
        assert any(isinstance(e, StartContainer | SaveUpdate) for e in effects)
        self.bites["launch"] += 1
        for effect in effects:
            if isinstance(effect, StartContainer) and starts:
                self.containers[effect.spec.container_id].running = True
                self.handle(ContainerStarted(effect.spec.container_id, 1))

    def known(self) -> list[Key]:
        return [key for key in self.launched if key in self.disk.tasks or key in self.disk.streams]

    def kill_due_ms(self, record: TaskRecord) -> int | None:
        """Also of one that the agent itself ends, which has the task's own grace."""
        life = self.lives.get((record.framework_id, record.task.task_id), ())
        since = [one.timestamp_ms for one in life if one.state is TaskState.KILLING]
        own_ms = since[0] + record.task.kill_grace_ms if since else None
        return self.due_ms.get(record.container_id, own_ms)

    def grace_is(self, record: TaskRecord, asked_ms: int) -> None:
        """The first kill decides, later ones may shorten it, and a restart does neither."""
        due_ms, before_ms = self.now_ms + asked_ms, self.kill_due_ms(record)
        self.due_ms[record.container_id] = min(due_ms, due_ms if before_ms is None else before_ms)

    @precondition(lambda self: self.registered and self.launched)
    @rule(pick=picks, grace_ms=st.sampled_from([None, 0, 500, 50_000]))
    def a_kill(self, pick: int, grace_ms: int | None) -> None:
        key = self.launched[pick % len(self.launched)]
        known = self.known()
        if known and pick % 4:
            key = known[pick % len(known)]
        record = self.disk.tasks.get(key)
        if record is not None:
            self.grace_is(record, record.task.kill_grace_ms if grace_ms is None else grace_ms)
        self.hear(KillTask(*key, grace_ms))
        if record is not None and not self.ended(key):
            assert self.lives[key][-1].state is TaskState.KILLING
            self.bites["kill"] += 1

    @precondition(lambda self: self.heard)
    @rule(twice=st.booleans())
    def the_framework_acknowledges(self, twice: bool) -> None:
        """All that it has heard; one that is not acknowledged is what every other rule leaves."""
        for key, report in list(self.heard.items()):
            del self.heard[key]
            word = AcknowledgeStatus(*key, report.status.update_id)
            self.hear(word)
            assert not twice or self.hear(word) == []
            left = self.disk.streams.get(key)
            if report.status.terminal:
                assert left is None
                assert key not in self.disk.tasks
            else:
                assert left is not None
                assert left.acknowledged[-1] == report.status
                assert not left.updates or key in self.heard, "the next one is said at once"

    @precondition(lambda self: self.registered and self.known())
    @rule(pick=picks, never_arrived=st.booleans())
    def the_master_is_not_sure(self, pick: int, never_arrived: bool) -> None:
        """It says again what was done, or asks for what was lost on the way."""
        key = self.known()[pick % len(self.known())]
        assert self.hear(RunTask(key[0], "*", task(key[1]))) == []
        assert self.hear(ReconcileTasks((key,))) == []
        if never_arrived:
            key = self.able()[pick % len(self.able())], f"t{len(self.launched)}"
            self.launched.append(key)
            self.hear(ReconcileTasks((key, key)))
            assert [status.state for status in self.lives[key]] == [TaskState.DROPPED]

    @precondition(lambda self: self.calm > 12 and self.registered)
    @rule(pick=picks)
    def a_framework_goes(self, pick: int) -> None:
        framework_id = self.able()[pick % len(self.able())]
        self.removed.add(framework_id)
        self.heard = {key: r for key, r in self.heard.items() if key[0] != framework_id}
        for key, record in self.disk.tasks.items():
            if key[0] == framework_id:
                self.grace_is(record, record.task.kill_grace_ms)
        self.hear(ShutdownFramework(framework_id))
        self.a_framework_comes()
        self.bites["shutdown"] += 1

    @precondition(lambda self: self.open and self.calm > 8)
    @rule(refusal=st.sampled_from([Refusal.STALE_EPOCH, Refusal.AGENT_ID_IN_USE]))
    def a_refusal(self, refusal: Refusal) -> None:
        self.hear(Refused(refusal))
        self.cut()
        assert not self.agent.registered

    @rule(
        word=st.sampled_from(
            [
                AcknowledgeStatus("f0", "t0", "0.0"),
                AcknowledgeStatus("stranger", "t0", "1.1"),
                KillTask("stranger", "t0"),
                ShutdownFramework("stranger"),
                RunTask("stranger", "*", task("t0")),
                TaskMessage("f0", "agent-1", "t0", b"x"),
                Heartbeat(),
            ]
        ),
        behind=st.booleans(),
        number=st.integers(1, 30),
    )
    def nonsense(self, word: object, behind: bool, number: int) -> None:
        before = self.agent.epoch
        effects = self.handle(
            MasterSpoke(self.epoch - behind, word)  # type: ignore[arg-type]
        )
        assert all(isinstance(effect, ToMaster | ToExecutor | SaveEpoch) for effect in effects)
        assert not (behind and effects) or before < self.epoch
        if self.open and number % 5 == 0:
            self.epoch += 1
            assert self.hear(Heartbeat())[0] == SaveEpoch(self.epoch)
        known = {record.container_id for record in self.disk.tasks.values()}
        container_id = f"1-{number}"
        if container_id not in known:
            assert self.handle(exited(container_id)) == [DestroyContainer(container_id)]
            assert self.handle(ContainerStarted(container_id, 1)) == [
                StopContainer(container_id, SIGKILL)
            ]

    @precondition(lambda self: self.open and self.calm > 8)
    @rule()
    def the_stream_is_cut(self) -> None:
        self.cut()
        self.handle(StreamLost())

    # --- containers, processes and time -----------------------------------------------------------

    @precondition(lambda self: self.containers)
    @rule(pick=picks)
    def a_start_goes_on(self, pick: int) -> None:
        container_id = [*self.containers][pick % len(self.containers)]
        container = self.containers[container_id]
        if container.phases and not container.running and container.end is None:
            self.handle(ContainerPhase(container_id, container.phases.popleft()))
        elif not container.running and container.end is None:
            container.running = True
            self.handle(ContainerStarted(container_id, 1))

    @precondition(lambda self: any(c.running for c in self.containers.values()))
    @rule(pick=picks, code=st.sampled_from([0, 3, None]), told=st.sampled_from([True, True, False]))
    def a_container_ends(self, pick: int, code: int | None, told: bool) -> None:
        running = [c for c, box in self.containers.items() if box.running]
        container_id = running[pick % len(running)]
        container = self.containers[container_id]
        if container.end is None:
            number = None if code is not None else SIGTERM
            container.end = exited(container_id, code, number)
        if told:
            self.handle(container.end)
            assert container_id not in self.containers, "its end is recorded, so it can go"

    @precondition(lambda self: any(c.end for c in self.containers.values()))
    @rule()
    def the_launcher_tells_of_every_end(self) -> None:
        for container in list(self.containers.values()):
            if container.end is not None:
                self.handle(container.end)

    @precondition(lambda self: self.containers)
    @rule(pick=picks, kind=st.sampled_from([ExecutorAttached, ExecutorDetached]))
    def a_process_comes_or_goes(
        self, pick: int, kind: Callable[[str], ExecutorAttached | ExecutorDetached]
    ) -> None:
        container_id = [*self.containers][pick % len(self.containers)]
        assert self.handle(kind(container_id)) == []
        self.handle(ExecutorSpoke(container_id, b"x"))

    @rule(after_ms=st.sampled_from([None, None, 0, 1, 1_000, 10_000]), alive=st.booleans())
    def time_passes(self, after_ms: int | None, alive: bool) -> None:
        """So much, or up to the next deadline."""
        if self.registered and alive:
            self.hear(Heartbeat())
        due_ms = self.agent.next_deadline_ms()
        if after_ms is not None:
            self.now_ms += after_ms
        elif due_ms is not None:
            self.now_ms = due_ms
        self.handle(Tick(self.now_ms))
        due_ms = self.agent.next_deadline_ms()
        assert due_ms is None or due_ms > self.now_ms
        if not self.open:
            self.cut()

    # --- crashes ----------------------------------------------------------------------------------

    @precondition(lambda self: self.calm > 12)
    @rule(rebooted=st.sampled_from([False, False, False, True]))
    def the_agent_crashes(self, rebooted: bool) -> None:
        self.crash(rebooted=rebooted)
        self.bites["reboot" if rebooted else "crash"] += 1

    @precondition(lambda self: self.calm > 12 and self.registered and self.able())
    @rule(pick=picks, committed=st.booleans())
    def it_crashes_while_it_launches(self, pick: int, committed: bool) -> None:
        """Before the commit nothing was launched; after it the launcher has not heard of it."""
        framework_id = self.able()[pick % len(self.able())]
        key = framework_id, f"t{len(self.launched)}"
        self.launched.append(key)
        if framework_id not in self.introduced:
            self.hear(FrameworkAdded(reference(framework_id)))
        effects = self.agent.handle(
            MasterSpoke(self.epoch, RunTask(framework_id, "*", task(key[1])))
        )
        if committed:
            self.commit(effects)
        self.crash()
        assert self.ended(key) == committed

    @precondition(lambda self: self.calm > 12 and any(c.running for c in self.containers.values()))
    @rule(pick=picks, committed=st.booleans())
    def it_crashes_as_a_container_ends(self, pick: int, committed: bool) -> None:
        running = [c for c, box in self.containers.items() if box.running]
        container_id = running[pick % len(running)]
        container = self.containers[container_id]
        if not isinstance(container.end, ContainerExited):
            container.end = exited(container_id, 5)
        key = container.spec.framework_id, container.spec.task_id
        effects = self.agent.handle(container.end)
        if committed:
            self.commit(effects)
        self.crash()
        assert key[0] in self.removed or self.ended(key)

    # --- what always holds ------------------------------------------------------------------------

    def ended(self, key: Key) -> bool:
        return any(status.terminal for status in self.lives.get(key, ()))

    @invariant()
    def every_task_has_one_end(self) -> None:
        for life in self.lives.values():
            assert sum(status.terminal for status in life) <= 1
            assert not any(status.terminal for status in life[:-1])

    @invariant()
    def what_is_told_and_unacknowledged_is_on_disk(self) -> None:
        for key, report in self.heard.items():
            assert self.disk.streams[key].updates[0] == report.status

    @invariant()
    def nothing_ends_unseen(self) -> None:
        """A started task is either told of in the registration, or has had its end."""
        for key in self.started:
            assert key in self.disk.tasks or self.ended(key) or key[0] in self.removed

    def teardown(self) -> None:
        """The world heals: every task ends, every status is acknowledged, nothing is left."""
        self.cut()
        self.the_stream_opens(answered=True)
        self.heard.clear()  # all that was said is lost once more: it must be said again
        for _ in range(60):
            for container_id in [*self.containers]:
                container = self.containers[container_id]
                if not container.running and container.end is None:
                    container.running = True
                    self.handle(ContainerStarted(container_id, 1))
                container.end = container.end or exited(container_id, 0)
                self.handle(container.end)
            self.time_passes(10_000, alive=True)
            for key, report in list(self.heard.items()):
                del self.heard[key]
                self.hear(AcknowledgeStatus(*key, report.status.update_id))
            if not (self.disk.tasks or self.disk.streams):
                break
        assert not self.disk.tasks
        assert not self.disk.streams
        assert not self.disk.frameworks
        assert not self.containers
        for key in self.started:
            assert self.ended(key) or key[0] in self.removed


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(stateful_step_count=60, max_examples=150)
