"""What an agent says and hears, as protobuf, both ways; and how a registration is put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, assert_never

from mesoslite.files import FILE_CHUNK_BYTES_MAX, FILE_NAMES, POST_MORTEM, FileChunk, FileRead
from mesoslite.messages import (
    AcknowledgeOperation,
    AcknowledgeStatus,
    AgentCall,
    AgentEvent,
    ApplyOperation,
    FrameworkAdded,
    FrameworkReference,
    Heartbeat,
    KillTask,
    OperationReport,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    RunTask,
    ShutdownFramework,
    StatusReport,
    TaskMessage,
    TaskOnAgent,
    TasksOnAgent,
    Troubled,
    VolumesMeasured,
    alike,
)
from mesoslite.model import AgentInfo, Refusal, shape_of
from mesoslite.operations import OperationStatus
from mesoslite.reservations import RESERVATIONS_MAX, VOLUMES_MAX, Reservation, Volume
from mesoslite.v1 import agent_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import columns
from mesoslite.wire import limits as limit
from mesoslite.wire.both_sides import (
    check_protocol,
    crowd_or_one,
    heartbeat_from_wire,
    message_from_wire,
    refused_from_wire,
    write_heartbeat,
    write_message,
    write_refused,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.columns import together
from mesoslite.wire.enums import REFUSALS, TASK_STATES
from mesoslite.wire.nouns import (
    agent_info_from_wire,
    framework_reference_from_wire,
    nested_task,
    others_to_keep,
    tasks_to_look_at,
    write_agent_info,
    write_framework_reference,
    write_task,
)
from mesoslite.wire.packing import packed
from mesoslite.wire.reservations import (
    acknowledgement_from_wire,
    apply_from_wire,
    measured_from_wire,
    operation_status_from_wire,
    report_from_wire,
    reservation_from_wire,
    volume_from_wire,
    write_acknowledgement,
    write_apply,
    write_measured,
    write_operation_status,
    write_reservation,
    write_volume,
)
from mesoslite.wire.statuses import statuses_from_wire, write_statuses

#: What travels on an agent's stream: its machine's words, and files beside them.
AgentSays = AgentCall | FileChunk
AgentHears = AgentEvent | FileRead

_INT64_MIN = -limit.INT64_MAX

# --- an agent says --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Begin:
    register: Register


@dataclass(frozen=True, slots=True)
class _Frameworks:
    frameworks: tuple[FrameworkReference, ...]


@dataclass(frozen=True, slots=True)
class _Tasks:
    tasks: tuple[TaskOnAgent, ...]


@dataclass(frozen=True, slots=True)
class _Reservations:
    reservations: tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class _Volumes:
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True)
class _Operations:
    operations: tuple[OperationStatus, ...]


@dataclass(frozen=True, slots=True)
class _End:
    register: Register


@dataclass(frozen=True, slots=True)
class _Reports:
    reports: tuple[StatusReport, ...]


_Kept = _Reservations | _Volumes | _Operations
_Piece = AgentSays | _Begin | _Frameworks | _Tasks | _Kept | _End | _Reports
_LISTS: dict[type, str] = {
    _Frameworks: "frameworks",
    _Tasks: "tasks",
    _Reservations: "reservations",
    _Volumes: "volumes",
    _Operations: "operations",
    _Reports: "reports",
}


def agent_requests(calls: Iterable[AgentSays]) -> Iterator[pb.ConnectRequest]:
    """The calls in order, in as few messages as possible, each of at most 1 MiB.

    A Register becomes its beginning, parts and end. Raises MalformedMessage for what can not be
    sent: an agent's description over 1 MiB, data over its limit.
    """
    return packed(_opened(calls), pb.ConnectRequest, lambda m: m.calls, _write_call, _LISTS)


def _opened(calls: Iterable[AgentSays]) -> Iterator[_Piece]:
    """Reports that follow each other are one piece, a registration is several."""
    for call in together(calls, {StatusReport: _Reports}):
        if isinstance(call, Register):
            yield from _opened_register(call)
        else:
            yield call


def _opened_register(call: Register) -> Iterator[_Piece]:
    yield _Begin(call)
    if call.frameworks:
        yield _Frameworks(call.frameworks)
    if call.tasks:
        yield _Tasks(tuple(chain.from_iterable(each.each() for each in call.tasks)))
    if call.reservations:
        yield _Reservations(call.reservations)
    if call.volumes:
        yield _Volumes(call.volumes)
    if call.operations:
        yield _Operations(call.operations)
    yield _End(call)


def _write_call(slot: pb.AgentCall, call: _Piece) -> None:
    match call:
        case _Reports(reports):
            write_statuses(slot.statuses.statuses, [report.status for report in reports])
            latest = [TASK_STATES.number[report.latest_state] for report in reports]
            columns.write(slot.statuses.latest_states, latest)
        case Heartbeat():
            write_heartbeat(slot.heartbeat, call)
        case TaskMessage():
            write_message(slot.message, call)
        case Troubled():
            slot.troubled.problem = check.cut(call.problem)
            slot.troubled.SetInParent()
        case OperationReport(status):
            write_operation_status(slot.operation_report, status)
        case VolumesMeasured():
            write_measured(slot.volumes_measured, call)
        case FileChunk():
            _write_file_chunk(slot.file_chunk, call)
        case _Begin(register):
            begin = slot.register_begin
            begin.protocol = limit.PROTOCOL
            write_agent_info(begin.agent, register.agent)
            begin.boot_id = register.boot_id
            begin.epoch_seen = register.epoch_seen
            begin.number = register.number
        case _Frameworks():
            for framework in call.frameworks:
                write_framework_reference(slot.register_part.frameworks.add(), framework)
        case _Tasks():
            for each in alike(call.tasks):
                _write_tasks(slot.register_part.tasks.add(), each)
        case _Reservations(reservations):
            for reservation in reservations:
                write_reservation(slot.register_part.reservations.add(), reservation)
        case _Volumes(volumes):
            for volume in volumes:
                write_volume(slot.register_part.volumes.add(), volume)
        case _Operations(operations):
            for status in operations:
                write_operation_status(slot.register_part.operations.add(), status)
        case _End(register):
            end = slot.register_end
            end.SetInParent()
            for counted, number in zip(_COUNTED, _counts(register), strict=True):
                setattr(end, counted, number)
        case Register() | StatusReport():
            raise AssertionError(f"a {type(call).__name__} is opened before it is written")
        case _:
            assert_never(call)


#: What the end of a registration counts, as its fields are called everywhere.
_COUNTED = ("frameworks", "tasks", "reservations", "volumes", "operations")


def _counts(register: Register) -> tuple[int, int, int, int, int]:
    """Of each in _COUNTED: tasks are counted, not the groups in which they are told."""
    return (
        len(register.frameworks),
        sum([len(each.tasks) for each in register.tasks]),
        len(register.reservations),
        len(register.volumes),
        len(register.operations),
    )


def _write_tasks(slot: pb.TasksOnAgent, each: TasksOnAgent) -> None:
    slot.framework_id = each.framework_id
    slot.role = each.role
    write_task(slot.task, each.tasks[0])
    slot.more_task_ids.extend([task.task_id for task in each.tasks[1:]])
    columns.write(slot.states, [TASK_STATES.number[state] for state in each.states])


def _write_file_chunk(slot: pb.FileChunk, chunk: FileChunk) -> None:
    check.bounded(chunk.data, "data", FILE_CHUNK_BYTES_MAX, "bytes")
    slot.request = chunk.request
    slot.data = chunk.data
    slot.size = chunk.size
    if chunk.refusal is not None:
        slot.refusal = REFUSALS.number[chunk.refusal]
    slot.message = check.cut(chunk.message)


#: The calls that a registration comes in.
REGISTERING = ("register_begin", "register_part", "register_end")


class Registration:
    """Puts a stream's registrations together: begin, parts, end (docs/decisions.md D18).

    One for each stream. What is taken in is bounded in frameworks, tasks and bytes, and given
    whole or not at all. Whatever it raises MalformedMessage for ends the stream.
    """

    def __init__(
        self,
        tasks_max: int = limit.REGISTRATION_TASKS_MAX,
        frameworks_max: int = limit.REGISTRATION_FRAMEWORKS_MAX,
        bytes_max: int = limit.REGISTRATION_BYTES_MAX,
    ) -> None:
        self._tasks_max = tasks_max
        self._frameworks_max = frameworks_max
        self._bytes_max = bytes_max
        self._begun: tuple[AgentInfo, str, int, int] | None = None
        self._frameworks: dict[str, FrameworkReference] = {}
        self._tasks: list[TasksOnAgent] = []
        self._count = 0
        """Of all these tasks."""
        self._task_ids: dict[str, set[str]] = {}
        """By framework id."""
        self._reservations: list[Reservation] = []
        self._volumes: list[Volume] = []
        self._operations: list[OperationStatus] = []
        self._bytes = 0

    def feed(self, which: str, call: pb.AgentCall) -> Register | None:
        """Take in one call, which is one of REGISTERING; the registration, at its end."""
        if which == "register_part":
            self._add(call.register_part)
        elif which == "register_begin":
            self._begin(call.register_begin)
        else:
            return self._end(call.register_end)
        return None

    def _begin(self, slot: pb.RegisterBegin) -> None:
        if self._begun is not None:
            raise MalformedMessage("register_begin", None, "came twice")
        try:
            check_protocol(slot.protocol)
            self._begun = (
                _agent_of(slot),
                check.identifier(slot.boot_id, "boot_id"),
                check.number(slot.epoch_seen, "epoch_seen"),
                check.number(slot.number, "number"),
            )
        except MalformedMessage as why:
            raise why.inside("register_begin") from None
        self._forget()

    def _forget(self) -> None:
        self._frameworks, self._tasks, self._task_ids = {}, [], {}
        self._count = self._bytes = 0
        self._reservations, self._volumes, self._operations = [], [], []

    def _add(self, slot: pb.RegisterPart) -> None:
        if self._begun is None:
            raise MalformedMessage("register_part", None, "came before its beginning")
        self._bytes += slot.ByteSize()
        if self._bytes > self._bytes_max:
            raise check.too_big("register_part", self._bytes, self._bytes_max, "bytes")
        try:
            for one in slot.frameworks:
                self._add_framework(framework_reference_from_wire(one))
            for each in slot.tasks:
                self._add_tasks(each)
            if slot.reservations or slot.volumes or slot.operations:
                self._add_estate(slot)
        except MalformedMessage as why:
            raise why.inside("register_part") from None

    def _add_estate(self, slot: pb.RegisterPart) -> None:
        for have, most, what in (
            (len(self._reservations) + len(slot.reservations), RESERVATIONS_MAX, "reservations"),
            (len(self._volumes) + len(slot.volumes), VOLUMES_MAX, "volumes"),
            (len(self._operations) + len(slot.operations), limit.LIST_MAX, "operations"),
        ):
            if have > most:
                raise check.too_big(what, have, most, what)
        self._reservations += map(reservation_from_wire, slot.reservations)
        self._volumes += map(volume_from_wire, slot.volumes)
        self._operations += map(operation_status_from_wire, slot.operations)

    def _add_framework(self, framework: FrameworkReference) -> None:
        if framework.framework_id in self._frameworks:
            raise MalformedMessage("frameworks", None, f"{framework.framework_id} is there twice")
        if len(self._frameworks) >= self._frameworks_max:
            have = len(self._frameworks) + 1
            raise check.too_big("frameworks", have, self._frameworks_max, "frameworks")
        self._frameworks[framework.framework_id] = framework

    def _add_tasks(self, slot: pb.TasksOnAgent) -> None:
        more = slot.more_task_ids
        size = 1 + len(more)
        self._count += size
        if self._count > self._tasks_max:
            raise check.too_big("tasks", self._count, self._tasks_max, "tasks")
        framework_id = check.identifier(slot.framework_id, "framework_id")
        role = check.role(slot.role, "role")
        tasks = tuple(tasks_to_look_at(slot.task, more))
        task_ids = [task.task_id for task in tasks]
        known = self._task_ids.get(framework_id)
        if known is None:
            known = self._task_ids[framework_id] = set()
        all_others = len(known) + size
        known.update(task_ids)
        if len(known) < all_others:
            raise self._twice(framework_id, task_ids)
        states = columns.read(slot.states, size, 0, "states", TASK_STATES.member)
        self._tasks.append(TasksOnAgent(framework_id, role, tasks, tuple(states)))

    def _twice(self, framework_id: str, task_ids: Sequence[str]) -> MalformedMessage:
        """One of the ids that are there twice, of these and those that came before."""
        theirs = (each.tasks for each in self._tasks if each.framework_id == framework_id)
        times = Counter([*(task.task_id for tasks in theirs for task in tasks), *task_ids])
        again = next(task_id for task_id in task_ids if times[task_id] > 1)
        return MalformedMessage("tasks", None, f"{framework_id}/{again} is there twice")

    def _end(self, slot: pb.RegisterEnd) -> Register:
        if self._begun is None:
            raise MalformedMessage("register_end", None, "came before its beginning")
        agent, boot_id, epoch_seen, number = self._begun
        register = Register(
            agent,
            boot_id,
            epoch_seen,
            tuple(self._frameworks.values()),
            tuple(self._tasks),
            number,
            tuple(self._reservations),
            tuple(self._volumes),
            tuple(self._operations),
        )
        counted = (slot.frameworks, slot.tasks, slot.reservations, slot.volumes, slot.operations)
        if counted != (counts := _counts(register)):
            what, said, came = next(
                each for each in zip(_COUNTED, counted, counts, strict=True) if each[1] != each[2]
            )
            why = f"counts {said} {what}, and {came} came"
            raise MalformedMessage("register_end", None, why)
        self._begun = None
        self._forget()
        return register


def _agent_of(slot: pb.RegisterBegin) -> AgentInfo:
    try:
        return agent_info_from_wire(slot.agent)
    except MalformedMessage as why:
        raise why.inside("agent", Refusal.INVALID_AGENT) from None


def agent_calls_from_wire(
    request: pb.ConnectRequest, registration: Registration
) -> list[AgentSays]:
    """Everything in it, checked. Raises MalformedMessage.

    `registration` belongs to the stream: it keeps what has come of a Register so far.
    """
    check.bounded(request.calls, "calls", limit.ITEMS_MAX, "calls")
    calls: list[AgentSays] = []
    for slot in request.calls:
        which = slot.WhichOneof("call")
        if which in REGISTERING:
            register = registration.feed(which, slot)
            if register is not None:
                calls.append(register)
        else:
            calls += crowd_or_one(slot, "call", _CROWDS_OF_CALLS, _CALLS)
            check.bounded(calls, "calls", limit.ITEMS_MAX, "calls")
    return calls


def _reports_from_wire(slot: pb.StatusReports) -> Iterable[StatusReport]:
    statuses = statuses_from_wire(slot.statuses)
    latest = columns.read(slot.latest_states, len(statuses), 0, "latest_states", TASK_STATES.member)
    return map(StatusReport, statuses, latest)


def _file_chunk_from_wire(slot: pb.FileChunk) -> FileChunk:
    data = slot.data
    check.bounded(data, "data", FILE_CHUNK_BYTES_MAX, "bytes")
    return FileChunk(
        check.number(slot.request, "request"),
        data,
        check.number(slot.size, "size"),
        REFUSALS.member_or_none(slot.refusal, "refusal"),
        check.text(slot.message, "message"),
    )


_CROWDS_OF_CALLS: dict[str, Callable[[Any], Iterable[AgentSays]]] = {"statuses": _reports_from_wire}
_CALLS: dict[str, Callable[[Any], AgentSays]] = {
    "message": message_from_wire,
    "heartbeat": heartbeat_from_wire,
    "file_chunk": _file_chunk_from_wire,
    "operation_report": report_from_wire,
    "volumes_measured": measured_from_wire,
    "troubled": lambda slot: Troubled(check.text(slot.problem, "problem")),
}

# --- an agent hears -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Acknowledgements:
    words: tuple[AcknowledgeStatus, ...]


@dataclass(frozen=True, slots=True)
class _Launches:
    """Of one framework and role, and of tasks that differ by their ids alone."""

    runs: tuple[RunTask, ...]


_Crowd = AgentHears | _Acknowledgements | _Launches
_CROWDS: dict[type, str] = {
    ReconcileTasks: "tasks",
    _Acknowledgements: "words",
    _Launches: "runs",
}


def _crowds(events: Iterable[AgentHears]) -> Iterator[_Crowd]:
    for crowd in together(events, {AcknowledgeStatus: _Acknowledgements, RunTask: _Launches}):
        if isinstance(crowd, _Launches):
            for _, runs in groupby(crowd.runs, _what_is_run):
                yield _Launches(tuple(runs))
        else:
            yield crowd


def _what_is_run(run: RunTask) -> tuple[object, ...]:
    return run.framework_id, run.role, run.fence_token, shape_of(run.task)


def agent_responses(epoch: int, events: Iterable[AgentHears]) -> Iterator[pb.ConnectResponse]:
    """The events in order, in as few messages as possible, each of at most 1 MiB.

    Raises MalformedMessage for what can not be sent: data of a TaskMessage over its limit.
    """
    pieces = _crowds(events)
    return packed(
        pieces, lambda: pb.ConnectResponse(epoch=epoch), lambda m: m.events, _write_event, _CROWDS
    )


def agent_events_from_wire(response: pb.ConnectResponse) -> tuple[int, list[AgentHears]]:
    """(epoch, events), checked. Raises MalformedMessage."""
    check.bounded(response.events, "events", limit.ITEMS_MAX, "events")
    epoch = check.number(response.epoch, "epoch")
    events: list[AgentHears] = []
    for slot in response.events:
        events += crowd_or_one(slot, "event", _CROWDS_OF_EVENTS, _EVENTS)
        check.bounded(events, "events", limit.ITEMS_MAX, "events")
    return epoch, events


def _write_event(slot: pb.AgentEvent, event: _Crowd) -> None:
    match event:
        case _Launches(runs):
            first = runs[0]
            slot.run_tasks.framework_id = first.framework_id
            slot.run_tasks.role = first.role
            slot.run_tasks.fence_token = first.fence_token
            write_task(slot.run_tasks.task, first.task)
            slot.run_tasks.more_task_ids.extend([run.task.task_id for run in runs[1:]])
        case _Acknowledgements(words):
            acknowledge = slot.acknowledge_statuses
            acknowledge.task_ids.extend([word.task_id for word in words])
            acknowledge.update_ids.extend([word.update_id for word in words])
            columns.write(acknowledge.framework_ids, [word.framework_id for word in words])
        case Heartbeat():
            write_heartbeat(slot.heartbeat, event)
        case TaskMessage():
            write_message(slot.message, event)
        case KillTask():
            slot.kill_task.framework_id = event.framework_id
            slot.kill_task.task_id = event.task_id
            if event.grace_ms is not None:
                slot.kill_task.grace_ms = event.grace_ms
            slot.kill_task.fence_lost = event.fence_lost
        case FileRead():
            _write_file_read(slot.read_file, event)
        case Registered(fence_lease_ms):
            slot.registered.SetInParent()
            slot.registered.fence_lease_ms = fence_lease_ms
        case FrameworkAdded():
            write_framework_reference(slot.framework_added, event.framework)
        case ReconcileTasks():
            slot.reconcile_tasks.SetInParent()
            for framework_id, task_id in event.tasks:
                slot.reconcile_tasks.tasks.add(framework_id=framework_id, task_id=task_id)
        case ShutdownFramework():
            slot.shutdown_framework.framework_id = event.framework_id
        case ApplyOperation():
            write_apply(slot.apply_operation, event)
        case AcknowledgeOperation():
            write_acknowledgement(slot.acknowledge_operation, event)
        case Refused():
            write_refused(slot.refused, event)
        case RunTask() | AcknowledgeStatus():
            raise AssertionError(f"a {type(event).__name__} is written with its neighbours")
        case _:
            assert_never(event)


def _write_file_read(slot: pb.ReadFile, read: FileRead) -> None:
    slot.request = read.request
    slot.framework_id = read.framework_id
    slot.task_id = read.task_id
    slot.name = read.name
    slot.offset = read.offset
    slot.length = read.length


def _launches_from_wire(slot: pb.RunTasks) -> Iterable[RunTask]:
    check.bounded(slot.more_task_ids, "more_task_ids", limit.LIST_MAX, "ids")
    framework_id = check.identifier(slot.framework_id, "framework_id")
    role = check.role(slot.role, "role")
    task = nested_task(slot.task)
    more = others_to_keep(task, slot.more_task_ids, "more_task_ids")
    token = check.number(slot.fence_token, "fence_token")
    return [RunTask(framework_id, role, each, token) for each in (task, *more)]


def _kill_task_from_wire(slot: pb.KillTask) -> KillTask:
    return KillTask(
        check.identifier(slot.framework_id, "framework_id"),
        check.identifier(slot.task_id, "task_id"),
        check.duration(slot.grace_ms, "grace_ms", limit.KILL_GRACE_MS_MAX)
        if slot.HasField("grace_ms")
        else None,
        slot.fence_lost,
    )


def _acknowledgements_from_wire(slot: pb.AcknowledgeStatuses) -> Iterable[AcknowledgeStatus]:
    check.bounded(slot.task_ids, "task_ids", limit.LIST_MAX, "acknowledgements")
    size = len(slot.task_ids)
    return map(
        AcknowledgeStatus,
        columns.identifiers(slot.framework_ids, size, "framework_ids"),
        columns.identifiers(slot.task_ids, size, "task_ids"),
        columns.identifiers(slot.update_ids, size, "update_ids"),
    )


def _reconcile_from_wire(slot: pb.ReconcileTasks) -> ReconcileTasks:
    check.bounded(slot.tasks, "tasks", limit.LIST_MAX, "tasks")
    return ReconcileTasks(
        tuple(
            [
                (
                    check.identifier(task.framework_id, "tasks.framework_id"),
                    check.identifier(task.task_id, "tasks.task_id"),
                )
                for task in slot.tasks
            ]
        )
    )


def _file_read_from_wire(slot: pb.ReadFile) -> FileRead:
    names = (*FILE_NAMES, POST_MORTEM)
    if slot.name not in names:
        raise MalformedMessage("name", slot.name, f"must be {' or '.join(names)}")
    of_framework = check.identifier_or_empty if slot.name == POST_MORTEM else check.identifier
    return FileRead(
        check.number(slot.request, "request"),
        of_framework(slot.framework_id, "framework_id"),
        check.identifier(slot.task_id, "task_id"),
        slot.name,
        check.number(slot.offset, "offset", _INT64_MIN),
        check.number(slot.length, "length", 1, FILE_CHUNK_BYTES_MAX),
    )


_CROWDS_OF_EVENTS: dict[str, Callable[[Any], Iterable[AgentHears]]] = {
    "acknowledge_statuses": _acknowledgements_from_wire,
    "run_tasks": _launches_from_wire,
}
_EVENTS: dict[str, Callable[[Any], AgentHears]] = {
    "registered": lambda slot: Registered(check.duration(slot.fence_lease_ms, "fence_lease_ms")),
    "framework_added": lambda slot: FrameworkAdded(framework_reference_from_wire(slot)),
    "kill_task": _kill_task_from_wire,
    "reconcile_tasks": _reconcile_from_wire,
    "shutdown_framework": lambda slot: ShutdownFramework(
        check.identifier(slot.framework_id, "framework_id")
    ),
    "apply_operation": apply_from_wire,
    "acknowledge_operation": acknowledgement_from_wire,
    "message": message_from_wire,
    "refused": refused_from_wire,
    "heartbeat": heartbeat_from_wire,
    "read_file": _file_read_from_wire,
}
