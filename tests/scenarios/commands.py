"""The commands of scenario files: each line is one event of the master's.

    agent NAME RESOURCES [attributes=A] [boot=B] [epoch=N] [task=FRAMEWORK/ID:STATE:RESOURCES]...
                                        registers, on a new stream
    framework NAME [roles=a,b] [session=S] [failover=SECONDS] [principal=P] [suppress=a,b]
              [demand=a,b]              a process subscribes, on a new stream
    resubscribe NAME [session=S] [principal=P]
                                        a process that was subscribed does so again
    accept NAME N AGENT OFFER,... [ID:RESOURCES]... [for=REQUEST] [refuse=SECONDS]
    decline NAME OFFER,... [refuse=SECONDS]
    suppress NAME [ROLE]...             and revive NAME [ROLE]...
    request NAME ID COUNT RESOURCES [ports=N] [where=EXPRESSION] [policy=P] [role=R]
    withdraw NAME [ID]...
    kill NAME ID [grace=SECONDS]
    reconcile NAME [ID[@AGENT]]...
    acknowledge NAME ID AGENT UPDATE_ID
    confirm NAME N
    message NAME ID@AGENT TEXT          a framework's bytes for a task
    teardown NAME
    status AGENT FRAMEWORK/ID STATE [UPDATE_ID] [latest=STATE] [reason=REASON]
    close|pause|resume|silent NAME      the newest stream of an agent or framework
    operator teardown NAME              and operator kill ID [NAME]

Streams are named NAME.1, NAME.2, ...; a command speaks on the newest, or on NAME.N when told so.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from mesoslite.attributes import parse_attributes
from mesoslite.lifecycle import TaskState
from mesoslite.master import protocol as p
from mesoslite.messages import (
    Accept,
    Acknowledge,
    ConfirmResults,
    Decline,
    FrameworkReference,
    Heartbeat,
    Kill,
    Reconcile,
    Register,
    RequestResources,
    Revive,
    SchedulerCall,
    StatusReport,
    Subscribe,
    Suppress,
    TaskMessage,
    TaskOnAgent,
    Teardown,
    WithdrawRequests,
    alike,
)
from mesoslite.model import (
    DEFAULT_REFUSE_MS,
    DEFAULT_ROLE,
    AgentInfo,
    FrameworkInfo,
    Launch,
    Policy,
    Reason,
    Request,
    Task,
    TaskReference,
    TaskStatus,
)
from mesoslite.resources import Resources


class ScenarioError(Exception):
    """A line of a scenario that can not be understood."""


@dataclass(slots=True)
class _Scheduler:
    info: FrameworkInfo
    principal: str
    session_id: str
    framework_id: str = ""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a line: those by position, and those with a name; a name may come again."""

    plain: list[str]
    named: list[tuple[str, str]]

    def get(self, name: str, default: str = "") -> str:
        """The last word with this name."""
        return next((value for key, value in reversed(self.named) if key == name), default)

    def milliseconds(self, name: str, default_ms: int) -> int:
        """A word in seconds."""
        text = self.get(name)
        return round(float(text) * 1000) if text else default_ms


@dataclass(slots=True)
class Cast:
    """Who plays in a scenario: the agents and schedulers, and the streams they speak on."""

    now_ms: int = 0
    schedulers: dict[str, _Scheduler] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    """Name -> how many streams it has opened."""
    silent: set[str] = field(default_factory=set)
    requests: int = 0
    names: dict[str, str] = field(default_factory=dict)
    """Framework id -> name."""

    # --- what the player asks ---------------------------------------------------------------------

    def event(self, verb: str, words: list[str]) -> p.Event:
        """What a command line means to the master."""
        if not words:
            raise ScenarioError(f"{verb}: who?")
        pairs = [word.partition("=") for word in words]
        said = _Words(
            [word for word, (_, equals, _) in zip(words, pairs, strict=True) if not equals],
            [(key, value) for key, equals, value in pairs if equals],
        )
        match verb:
            case "agent":
                return self._agent(said)
            case "framework" | "resubscribe":
                return self._framework(said, resuming=verb == "resubscribe")
            case "status":
                return self._status(said)
            case "operator":
                return self._operator(said.plain)
            case "close":
                return p.StreamClosed(self._stream(words[0]))
            case "pause":
                return p.StreamPaused(self._stream(words[0]))
            case "resume":
                return p.StreamResumed(self._stream(words[0]))
            case "silent":
                self.silent.add(self._stream(words[0]))
                return p.Tick(self.now_ms)
        scheduler = self._scheduler(words[0])
        return p.SchedulerCalled(
            self._stream(words[0]), scheduler.principal, self._call(verb, scheduler, said)
        )

    def heartbeats(self, peers: Collection[str]) -> list[p.Event]:
        """A sign of life on each of these streams that is not silent."""
        events: list[p.Event] = []
        for stream in peers:
            if stream not in self.silent:
                name = stream.rpartition(".")[0]
                if name in self.schedulers:
                    principal = self.schedulers[name].principal
                    events.append(p.SchedulerCalled(stream, principal, Heartbeat()))
                else:
                    events.append(p.AgentCalled(stream, Heartbeat()))
        return events

    def subscribed(self, stream: str, framework_id: str) -> None:
        """The framework on this stream has this id from now on."""
        name = stream.rpartition(".")[0]
        self.schedulers[name].framework_id = framework_id
        self.names.setdefault(framework_id, self.schedulers[name].info.name)

    def by_name(self, line: str) -> str:
        """A line with names where it has framework ids."""
        return re.sub(r"\b\d+-F\d+\b", lambda id_: self.names.get(id_[0], id_[0]), line)

    # --- streams ----------------------------------------------------------------------------------

    def _stream(self, name: str) -> str:
        if re.fullmatch(r".+\.\d+", name):
            return name
        if name not in self.streams:
            raise ScenarioError(f"{name} has no stream yet")
        return f"{name}.{self.streams[name]}"

    def _new_stream(self, name: str) -> str:
        self.streams[name] = self.streams.get(name, 0) + 1
        return self._stream(name)

    def _scheduler(self, name: str) -> _Scheduler:
        scheduler = self.schedulers.get(re.sub(r"\.\d+$", "", name))
        if scheduler is None:
            raise ScenarioError(f"no framework {name}")
        return scheduler

    # --- agents -----------------------------------------------------------------------------------

    def _agent(self, said: _Words) -> p.Event:
        name, resources = said.plain
        attributes = parse_attributes(said.get("attributes"))
        info = AgentInfo(name, f"{name}.example", Resources.parse(resources), attributes)
        tasks = alike(self._task_on_agent(value) for key, value in said.named if key == "task")
        known = dict.fromkeys(task.framework_id for task in tasks)
        frameworks = tuple(
            FrameworkReference(id_, self._with_id(id_).principal, self._with_id(id_).info)
            for id_ in known
        )
        boot_id, epoch = said.get("boot", "b1"), int(said.get("epoch", "0"))
        call = Register(info, boot_id, epoch, frameworks, tasks)
        return p.AgentCalled(self._new_stream(name), call)

    def _with_id(self, framework_id: str) -> _Scheduler:
        return next(s for s in self.schedulers.values() if s.framework_id == framework_id)

    def _task_on_agent(self, text: str) -> TaskOnAgent:
        who, state, resources = text.split(":", 2)
        name, task_id = who.split("/")
        framework = self._scheduler(name)
        return TaskOnAgent(
            framework.framework_id,
            framework.info.roles[0],
            _task(task_id, resources),
            TaskState[state],
        )

    def _status(self, said: _Words) -> p.Event:
        agent_id, who, state, *update = said.plain
        name, task_id = who.split("/")
        reason = said.get("reason")
        status = TaskStatus(
            task_id,
            TaskState[state],
            self._scheduler(name).framework_id,
            re.sub(r"\.\d+$", "", agent_id),
            update_id=update[0] if update else "",
            reason=Reason[reason] if reason else None,
            timestamp_ms=self.now_ms,
        )
        report = StatusReport(status, TaskState[said.get("latest", state)])
        return p.AgentCalled(self._stream(agent_id), report)

    # --- schedulers -------------------------------------------------------------------------------

    def _framework(self, said: _Words, *, resuming: bool) -> p.Event:
        [name] = said.plain
        scheduler = self.schedulers.get(name)
        if scheduler is None or not resuming:
            info = FrameworkInfo(
                said.get("name", name),
                tuple(said.get("roles", DEFAULT_ROLE).split(",")),
                said.milliseconds("failover", 7 * 24 * 3600 * 1000),
            )
            framework_id = scheduler.framework_id if scheduler is not None else ""
            principal, session_id = said.get("principal", "local"), said.get("session", "s1")
            scheduler = _Scheduler(info, principal, session_id, framework_id)
            self.schedulers[name] = scheduler
        suppressed = tuple(filter(None, said.get("suppress").split(",")))
        demand = tuple(filter(None, said.get("demand").split(",")))
        call = Subscribe(
            scheduler.info,
            said.get("session", scheduler.session_id),
            scheduler.framework_id if resuming else said.get("id"),
            resuming,
            suppressed,
            demand,
        )
        principal = said.get("principal", scheduler.principal)
        return p.SchedulerCalled(self._new_stream(name), principal, call)

    def _call(self, verb: str, scheduler: _Scheduler, said: _Words) -> SchedulerCall:
        rest = said.plain[1:]
        refuse_ms = said.milliseconds("refuse", DEFAULT_REFUSE_MS)
        match verb, rest:
            case "accept", [number, agent_id, offer_ids, *tasks]:
                request_id = said.get("for")
                launches = tuple(Launch(_task(*t.split(":", 1)), request_id) for t in tasks)
                offers = tuple(filter(None, offer_ids.split(",")))
                return Accept(int(number), agent_id, offers, launches, refuse_ms)
            case "decline", [offer_ids]:
                return Decline(tuple(offer_ids.split(",")), refuse_ms)
            case "suppress", roles:
                return Suppress(tuple(roles))
            case "revive", roles:
                return Revive(tuple(roles))
            case "request", [request_id, count, unit]:
                request = Request(
                    request_id,
                    said.get("role", DEFAULT_ROLE),
                    Resources.parse(unit),
                    int(count),
                    int(said.get("ports", "0")),
                    said.get("where"),
                    Policy(said.get("policy", "spread")),
                )
                return RequestResources((request,))
            case "withdraw", request_ids:
                return WithdrawRequests(tuple(request_ids))
            case "kill", [task_id]:
                grace = said.milliseconds("grace", -1)
                return Kill(task_id, grace_ms=grace if grace >= 0 else None)
            case "reconcile", asked:
                return Reconcile(tuple(_reference(one) for one in asked))
            case "acknowledge", [task_id, agent_id, update_id]:
                return Acknowledge(agent_id, task_id, update_id)
            case "confirm", [through]:
                return ConfirmResults(int(through))
            case "message", [asked, text]:
                task = _reference(asked)
                data = text.encode()
                return TaskMessage(scheduler.framework_id, task.agent_id, task.task_id, data)
            case "teardown", []:
                return Teardown()
        raise ScenarioError(f"{verb} {' '.join(rest)}: no such command")

    def _operator(self, words: list[str]) -> p.Event:
        self.requests += 1
        match words:
            case ["teardown", name]:
                return p.TeardownAsked(self.requests, name)
            case ["kill", task_id, *name]:
                return p.TaskKillAsked(self.requests, task_id, name[0] if name else "", None)
        raise ScenarioError(f"operator {' '.join(words)}: no such command")


def _task(task_id: str, resources: str) -> Task:
    return Task(task_id, ["true"], Resources.parse(resources))


def _reference(text: str) -> TaskReference:
    task_id, _, agent_id = text.partition("@")
    return TaskReference(task_id, agent_id)
