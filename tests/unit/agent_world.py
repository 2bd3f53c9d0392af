"""What the tests of the agent's machine share: words of a master, fates of containers, a disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    AcknowledgeStatus,
    AgentCall,
    AgentEvent,
    FrameworkAdded,
    FrameworkReference,
    Heartbeat,
    Registered,
    RunTask,
    StatusReport,
)
from mesoslite.model import AgentInfo, FrameworkInfo, Task, TaskStatus
from mesoslite.operations import OperationStatus
from mesoslite.reservations import Reservation
from mesoslite.resources import Resources
from mesoslite_agent.container import (
    ContainerExited,
    ContainerStarted,
    ContainerStartFailed,
    Usage,
)
from mesoslite_agent.protocol import (
    Effect,
    Event,
    ForgetDirectory,
    ForgetFramework,
    ForgetOperation,
    ForgetReservation,
    ForgetTask,
    ForgetVolume,
    MasterSpoke,
    Recovered,
    SaveAcknowledgement,
    SaveEpoch,
    SaveFramework,
    SaveOperation,
    SaveReservation,
    SaveTask,
    SaveUpdate,
    SaveVolume,
    StartContainer,
    StreamOpened,
    StreamRecord,
    TaskRecord,
    Tick,
    ToMaster,
    VolumeRecord,
)
from mesoslite_agent.state import Agent, AgentConfig

E = TypeVar("E")

START_MS = 1_700_000_000_000
INFO = AgentInfo(
    "agent-1", "host-1", Resources(cpus=4, mem=4_096), containerizers=("process", "oci")
)
CONFIG = AgentConfig(
    secret_seed=b"0123456789abcdef", executor_socket="/run/executor", user="worker"
)


def reference(framework_id: str) -> FrameworkReference:
    return FrameworkReference(framework_id, "local", FrameworkInfo(f"name of {framework_id}"))


def task(task_id: str = "t1", **more: Any) -> Task:
    return replace(Task(task_id, ["sleep", "5"], Resources(cpus=0.5, mem=32)), **more)


class Disk:
    """What the checkpoint holds, by the meaning that protocol.py gives to each durable effect."""

    def __init__(self, info: AgentInfo = INFO) -> None:
        self.info = info
        self.run = 0
        self.epoch = 0
        self.frameworks: dict[str, FrameworkReference] = {}
        self.tasks: dict[tuple[str, str], TaskRecord] = {}
        self.streams: dict[tuple[str, str], StreamRecord] = {}
        self.reservations: dict[tuple[str, str], Reservation] = {}
        self.volumes: dict[tuple[str, str], VolumeRecord] = {}
        self.operations: dict[tuple[str, str], OperationStatus] = {}
        self.leaving: set[str] = set()
        self.ever_made: set[str] = set()

    def commit(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case SaveEpoch(epoch):
                    assert epoch > self.epoch
                    self.epoch = epoch
                case SaveFramework(framework):
                    assert framework.framework_id not in self.frameworks
                    self.frameworks[framework.framework_id] = framework
                case ForgetFramework(framework_id):
                    assert not any(key[0] == framework_id for key in self.tasks)
                    del self.frameworks[framework_id]
                case SaveTask(record):
                    assert record.framework_id in self.frameworks
                    key = record.framework_id, record.task.task_id
                    kept = self.tasks.get(key, record)
                    assert kept == replace(record, kill_grace_ms=kept.kill_grace_ms)
                    self.tasks[key] = record
                case SaveUpdate(framework_id, status):
                    key = framework_id, status.task_id
                    old = self.streams.get(key, StreamRecord(*key, ()))
                    self.streams[key] = replace(old, updates=(*old.updates, status))
                case SaveAcknowledgement(framework_id, task_id, update_id):
                    key = framework_id, task_id
                    old = self.streams[key]
                    assert old.updates[0].update_id == update_id
                    acknowledged = (*old.acknowledged, old.updates[0])
                    self.streams[key] = replace(
                        old, updates=old.updates[1:], acknowledged=acknowledged
                    )
                case ForgetTask(framework_id, task_id):
                    key = framework_id, task_id
                    assert key in self.tasks or key in self.streams
                    self.tasks.pop(key, None)
                    self.streams.pop(key, None)
                case _:
                    self._commit_to_estate(effect)

    def _commit_to_estate(self, effect: Effect) -> None:
        match effect:
            case SaveReservation(one):
                self.reservations[one.role, one.reservation_id] = one
            case ForgetReservation(role, reservation_id):
                del self.reservations[role, reservation_id]
            case SaveVolume(record):
                key = record.volume.role, record.volume.volume_id
                assert key not in self.volumes
                assert record.directory not in self.ever_made, "a name is used once"
                self.ever_made.add(record.directory)
                self.volumes[key] = record
            case ForgetVolume(role, volume_id, directory):
                assert self.volumes.pop((role, volume_id)).directory == directory
                self.leaving.add(directory)
            case ForgetDirectory(directory):
                self.leaving.remove(directory)
            case SaveOperation(status):
                key = status.framework_id, status.operation_id
                assert key not in self.operations
                self.operations[key] = status
            case ForgetOperation(framework_id, operation_id):
                del self.operations[framework_id, operation_id]
            case _:
                pass

    def recovered(
        self, *, rebooted: bool = False, damaged: tuple[tuple[str, str], ...] = ()
    ) -> Recovered:
        """What the next run of the agent is told."""
        self.run += 1
        return Recovered(
            info=self.info,
            boot_id="boot",
            run=self.run,
            rebooted=rebooted,
            epoch_seen=self.epoch,
            frameworks=tuple(self.frameworks.values()),
            tasks=tuple(record for key, record in self.tasks.items() if key not in damaged),
            streams=tuple(stream for key, stream in self.streams.items() if key not in damaged),
            damaged=damaged,
            reservations=tuple(self.reservations.values()),
            volumes=tuple(self.volumes.values()),
            operations=tuple(self.operations.values()),
            leaving=tuple(sorted(self.leaving)),
        )


class World:
    """One agent with its disk and its clock; each event is checked and committed."""

    def __init__(self, config: AgentConfig = CONFIG, info: AgentInfo = INFO) -> None:
        self.config = config
        self.disk = Disk(info)
        self.now_ms = START_MS
        self.epoch = 7
        self.agent = Agent(self.disk.recovered(), config)
        self.tick()

    def handle(self, event: Event) -> list[Effect]:
        """A batch of one event, with the Tick that ends it when there is a status to be said."""
        effects = self.agent.handle(event)
        self.agent.check()
        if self.agent.next_deadline_ms() == 0:
            effects += self.agent.handle(Tick(self.now_ms))
            self.agent.check()
        self.disk.commit(effects)
        return effects

    def tick(self, after_ms: int = 0) -> list[Effect]:
        self.now_ms += after_ms
        return self.handle(Tick(self.now_ms))

    def wait(self, for_ms: int) -> list[Effect]:
        """Let time pass on a stream that is alive, if there is one."""
        effects: list[Effect] = []
        while for_ms > 0:
            step_ms = min(for_ms, 60_000)
            effects += self.tick(step_ms)
            self.hear(Heartbeat())
            for_ms -= step_ms
        return effects

    def acknowledge_head(self, task_id: str) -> list[Effect]:
        """Acknowledge the oldest status of a task of framework f."""
        head = self.disk.streams["f", task_id].updates[0]
        return self.hear(AcknowledgeStatus("f", task_id, head.update_id))

    def hear(self, word: AgentEvent) -> list[Effect]:
        return self.handle(MasterSpoke(self.epoch, word))

    def connect(self) -> list[Effect]:
        """A new stream, on which the master registers the agent and introduces framework f."""
        effects = self.handle(StreamOpened())
        effects += self.hear(Registered())
        return effects + self.hear(FrameworkAdded(reference("f")))

    def restart(
        self,
        *,
        rebooted: bool = False,
        damaged: tuple[tuple[str, str], ...] = (),
        ends: tuple[ContainerExited | ContainerStartFailed, ...] = (),
    ) -> list[Effect]:
        """The process dies and starts again, with nothing but what is on disk."""
        recovered = replace(self.disk.recovered(rebooted=rebooted, damaged=damaged), ends=ends)
        self.agent = Agent(recovered, self.config)
        self.agent.check()
        return self.tick()

    def launch(self, new: Task | None = None) -> str:
        """Launch a task of framework f; the id of its container."""
        effects = self.hear(RunTask("f", "*", new or task()))
        return one(effects, StartContainer).spec.container_id

    def run(self, new: Task | None = None) -> str:
        """Launch a task whose command starts, and acknowledge that."""
        container_id = self.launch(new)
        self.acknowledge(self.handle(ContainerStarted(container_id, 100)))
        return container_id

    def acknowledge(self, effects: Iterable[Effect]) -> list[Effect]:
        """Acknowledge the one status among these effects."""
        status = one(reports(effects), StatusReport).status
        return self.hear(AcknowledgeStatus(status.framework_id, status.task_id, status.update_id))


def exited(
    container_id: str,
    exit_code: int | None = 0,
    signal: int | None = None,
    *,
    oom: bool = False,
    pids_exceeded: bool = False,
    launcher_lost: bool = False,
) -> ContainerExited:
    code = None if signal is not None or launcher_lost else exit_code
    usage = Usage(120, 4_096)
    return ContainerExited(container_id, code, signal, oom, launcher_lost, usage, pids_exceeded)


def of(effects: Iterable[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def one(effects: Iterable[object], kind: type[E]) -> E:
    [found] = [effect for effect in effects if isinstance(effect, kind)]
    return found


def said(effects: Iterable[Effect]) -> list[AgentCall]:
    return [effect.call for effect in of(effects, ToMaster)]


def reports(effects: Iterable[Effect]) -> list[StatusReport]:
    return [call for call in said(effects) if isinstance(call, StatusReport)]


def status_of(effects: Iterable[Effect]) -> TaskStatus:
    """The status of the one report among these effects."""
    [report] = reports(effects)
    return report.status


def states(effects: Iterable[Effect]) -> list[TaskState]:
    return [report.status.state for report in reports(effects)]
