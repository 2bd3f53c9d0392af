"""A master with agents and frameworks on streams of their own, spoken to in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from mesoslite.attributes import parse_attributes
from mesoslite.lifecycle import TaskState
from mesoslite.master import archive
from mesoslite.master.protocol import (
    AgentCalled,
    AgentRecord,
    CloseStream,
    Durable,
    Effect,
    Event,
    FrameworkRecord,
    Recovered,
    SaveAgent,
    SaveFramework,
    SchedulerCalled,
    StreamClosed,
    Tick,
    ToAgent,
    ToScheduler,
)
from mesoslite.master.state import Master, MasterConfig
from mesoslite.messages import (
    Accept,
    AcceptResult,
    AgentCall,
    Heartbeat,
    Offers,
    Refused,
    Register,
    RunTask,
    SchedulerCall,
    StatusReport,
    Subscribe,
    Subscribed,
    TaskOnAgent,
    Update,
    alike,
)
from mesoslite.model import (
    AgentInfo,
    FrameworkInfo,
    Launch,
    Offer,
    OperationResult,
    Task,
    TaskStatus,
)
from mesoslite.operations import OperationStatus
from mesoslite.reservations import Reservation, Volume
from mesoslite.resources import Resources

START_MS = 1_000_000
M = TypeVar("M")


class World:
    """One master in virtual time. `said` holds the effects of the last step."""

    def __init__(
        self, recovered: Recovered | None = None, config: MasterConfig | None = None
    ) -> None:
        self.config = config or MasterConfig()
        recovered = recovered or Recovered(epoch=1)
        self.epoch = recovered.epoch
        self._records: dict[tuple[str, str], bytes] = {}
        self._commit(map(SaveAgent, recovered.agents))
        self._commit(map(SaveFramework, recovered.frameworks))
        self.master = Master(recovered, self.config)
        self.now_ms = START_MS
        self.silent: set[str] = set()
        self.said: list[Effect] = []
        self.step()

    # --- driving ---------------------------------------------------------------------------------

    def step(self, *events: Event) -> list[Effect]:
        """One batch as the loop gives it: Tick, events, Tick; every invariant is checked."""
        self.said = []
        for event in (Tick(self.now_ms), *events, Tick(self.now_ms)):
            self.said += self.master.handle(event)
            self.master.check()
        self._commit([e for e in self.said if isinstance(e, Durable)])
        return self.said

    def wait(self, ms: int) -> list[Effect]:
        """Let time pass; every peer but the silent ones says a heartbeat in time."""
        said: list[Effect] = []
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + self.config.heartbeat_ms)
            said += self.step()
            for stream, peer in list(self.master.tables.peers.items()):
                if stream not in self.silent:
                    beat = Heartbeat()
                    if peer.agent_id:
                        said += self.tell(stream, beat)
                    else:
                        said += self.call(stream, beat)
        self.said = said
        return said

    @property
    def registry(self) -> Recovered:
        """What a master would start from now."""
        return archive.recovered(
            self.epoch, [(kind, key, data) for (kind, key), data in self._records.items()]
        )

    def _commit(self, effects: Iterable[Durable]) -> None:
        for write in [write for effect in effects for write in archive.writes(effect)]:
            match write:
                case archive.Put(kind, key, data):
                    self._records[kind, key] = data
                case archive.Delete(kind, key):
                    self._records.pop((kind, key), None)

    def restart(self, after_ms: int = 1_000) -> None:
        """A new master takes over from the registry; every stream is gone."""
        self.epoch += 1
        self.master = Master(self.registry, self.config)
        self.now_ms += after_ms
        self.step()

    def agent_record(self, agent_id: str) -> AgentRecord:
        """What the registry has of an agent."""
        return next(r for r in self.registry.agents if r.info.agent_id == agent_id)

    def framework_record(self, name: str) -> FrameworkRecord:
        """What the registry has of a framework."""
        return next(r for r in self.registry.frameworks if r.info.name == name)

    # --- peers -----------------------------------------------------------------------------------

    def agent(
        self,
        agent_id: str = "a1",
        resources: str = "cpus:4;mem:4096",
        *,
        stream: str = "",
        boot_id: str = "boot",
        epoch_seen: int = 0,
        tasks: Sequence[TaskOnAgent] = (),
        number: int = 0,
        containerizers: tuple[str, ...] = ("process",),
        attributes: str = "",
        region: str = "",
        zone: str = "",
        reservations: Sequence[Reservation] = (),
        volumes: Sequence[Volume] = (),
        operations: Sequence[OperationStatus] = (),
    ) -> list[Effect]:
        """An agent registers, on the stream named like it."""
        info = AgentInfo(
            agent_id,
            f"{agent_id}.example",
            Resources.parse(resources),
            parse_attributes(attributes),
            containerizers,
            region=region,
            zone=zone,
        )
        call = Register(
            info,
            boot_id,
            epoch_seen,
            (),
            alike(tasks),
            number,
            tuple(reservations),
            tuple(volumes),
            tuple(operations),
        )
        return self.step(AgentCalled(stream or agent_id, call))

    def framework(
        self,
        name: str = "f",
        *,
        roles: tuple[str, ...] = ("*",),
        stream: str = "",
        session_id: str = "s1",
        framework_id: str = "",
        resuming: bool = False,
        principal: str = "local",
        failover_timeout_ms: int = 60_000,
        suppressed_roles: tuple[str, ...] = (),
        demand_roles: tuple[str, ...] = (),
    ) -> list[Effect]:
        """A framework subscribes, on the stream named like it."""
        info = FrameworkInfo(name, roles, failover_timeout_ms)
        call = Subscribe(info, session_id, framework_id, resuming, suppressed_roles, demand_roles)
        return self.step(SchedulerCalled(stream or name, principal, call))

    def call(self, stream: str, call: SchedulerCall) -> list[Effect]:
        """A scheduler says something."""
        return self.step(SchedulerCalled(stream, "local", call))

    def tell(self, stream: str, call: AgentCall) -> list[Effect]:
        """An agent says something."""
        return self.step(AgentCalled(stream, call))

    def close(self, stream: str) -> list[Effect]:
        """A stream ends."""
        return self.step(StreamClosed(stream))

    def report(
        self,
        task_id: str,
        state: TaskState,
        update_id: str = "u1",
        *,
        agent_id: str = "a1",
        framework_id: str = "1-F1",
        latest: TaskState | None = None,
    ) -> list[Effect]:
        """An agent reports a status."""
        status = TaskStatus(task_id, state, framework_id, agent_id, update_id)
        return self.tell(agent_id, StatusReport(status, latest or state))

    def accept(
        self, offer: Offer, *tasks: Task, stream: str = "f", number: int = 1, refuse_ms: int = 5_000
    ) -> tuple[OperationResult, ...]:
        """A scheduler launches tasks on an offer, for its request if it has one; the answer."""
        launches = tuple(Launch(one, offer.request_id) for one in tasks)
        accept = Accept(number, offer.agent_id, (offer.offer_id,), launches, refuse_ms)
        self.call(stream, accept)
        return self.results(stream)

    # --- what was said ---------------------------------------------------------------------------

    def heard(self, stream: str, kind: type[M]) -> list[M]:
        """The messages of one kind that the last step said on a stream."""
        spoken = [
            e.event
            for e in self.said
            if isinstance(e, ToScheduler | ToAgent) and e.stream == stream
        ]
        return [event for event in spoken if isinstance(event, kind)]

    def offers(self, stream: str = "f") -> list[Offer]:
        """The offers of the last step."""
        return [offer for message in self.heard(stream, Offers) for offer in message.offers]

    def results(self, stream: str = "f") -> tuple[OperationResult, ...]:
        """The one accept result of the last step."""
        [result] = self.heard(stream, AcceptResult)
        return result.results

    def updates(self, stream: str = "f") -> list[TaskStatus]:
        """The statuses of the last step."""
        return [update.status for update in self.heard(stream, Update)]

    def refused(self, stream: str) -> Refused:
        """The refusal with which the last step ended a stream."""
        [refused] = self.heard(stream, Refused)
        assert CloseStream(stream) in self.said
        return refused

    def framework_id(self, stream: str = "f") -> str:
        """The id that the last step gave."""
        [subscribed] = self.heard(stream, Subscribed)
        return subscribed.framework_id

    def launched(self, stream: str = "a1") -> list[str]:
        """The ids of the tasks that the last step sent to an agent."""
        return [message.task.task_id for message in self.heard(stream, RunTask)]


def task(task_id: str = "t1", needs: str = "cpus:1;mem:512", **more: object) -> Task:
    """A task that needs so much."""
    return Task(task_id, ["true"], Resources.parse(needs), **more)  # type: ignore[arg-type]


def on_agent(
    task_id: str = "t1",
    state: TaskState = TaskState.RUNNING,
    *,
    framework_id: str = "1-F1",
    needs: str = "cpus:1;mem:512",
    role: str = "*",
) -> TaskOnAgent:
    """A task as an agent lists it when it registers."""
    return TaskOnAgent(framework_id, role, task(task_id, needs), state)
