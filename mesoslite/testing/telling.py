"""One short line for everything that travels: for stories of simulations and for scenario files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from mesoslite import messages as m
from mesoslite.model import (
    InvalidLaunch,
    InvalidRequest,
    Launch,
    Offer,
    Operation,
    OperationResult,
    Request,
    StoreWrite,
    TaskReference,
    TaskStatus,
)
from mesoslite.operations import OperationStatus
from mesoslite.reservations import (
    Change,
    CreateVolume,
    DestroyVolume,
    InvalidChange,
    Reserve,
    Unreserve,
)

Message = m.SchedulerCall | m.SchedulerEvent | m.AgentCall | m.AgentEvent


def tell(message: Message) -> str:
    """A message in one line, as `accept #3 of 1-7: launch t1 (cpus:1;mem:32)`."""
    return _TELL[type(message)](message)


def tell_status(status: TaskStatus) -> str:
    """A status in one line: the state, who says so and why, and what is to be acknowledged."""
    parts = [f"{status.task_id} {status.state.name}"]
    if status.agent_id:
        parts.append(f"on {status.agent_id}")
    why = [status.source.value]
    if status.reason is not None:
        why.append(status.reason.name)
    if status.refusal is not None:
        why.append(status.refusal.name)
    parts.append(f"({' '.join(why)})")
    if status.update_id:
        parts.append(f"[{status.update_id}]")
    return " ".join(parts)


def _change(change: Change | InvalidChange) -> str:
    named = f"[{change.operation_id}]"
    match change:
        case Reserve(reservation_id, resources):
            return f"reserve {reservation_id} ({resources}) {named}"
        case Unreserve(reservation_id, resources):
            return f"unreserve {reservation_id} ({resources or 'all'}) {named}"
        case CreateVolume(volume_id, resources, reservation_id):
            return f"create volume {volume_id} ({resources}) on {reservation_id or 'no id'} {named}"
        case DestroyVolume(volume_id):
            return f"destroy volume {volume_id} {named}"
        case InvalidChange(_, message):
            return f"an invalid change {named}: {message}"


def _operation_status(status: OperationStatus) -> str:
    why = f" {status.refusal.name} ({status.message})" if status.refusal is not None else ""
    kept = " until acknowledged" if status.acknowledge else ""
    return f"operation {status.operation_id} {status.state.name}{why}{kept}"


def _order(event: m.ApplyOperation) -> str:
    whose = event.order.framework_id or "the master"
    return f"{_change(event.order.change)} for {whose} as {event.order.role}"


def _operation(operation: Operation) -> str:
    if isinstance(operation, InvalidLaunch):
        return f"an invalid launch of {operation.task_id or 'nobody'}"
    if not isinstance(operation, Launch):
        return _change(operation)
    request = f" for {operation.request_id}" if operation.request_id else ""
    return f"launch {operation.task.task_id} ({operation.task.resources}){request}"


def _result(result: OperationResult) -> str:
    if result.refusal is None:
        return "done"
    return f"{result.refusal.name}{f' ({result.message})' if result.message else ''}"


def _reference(task: TaskReference) -> str:
    return f"{task.task_id}@{task.agent_id}" if task.agent_id else task.task_id


def _listed(items: tuple[str, ...], nothing: str) -> str:
    return ", ".join(items) or nothing


def _refused(message: m.Refused) -> str:
    return f"refused {message.refusal.name}{f': {message.message}' if message.message else ''}"


def _task_message(message: m.TaskMessage) -> str:
    return f"message of {len(message.data)} bytes, task {message.task_id}"


def _subscribe(call: m.Subscribe) -> str:
    how = "resubscribe" if call.resuming else "subscribe"
    also = f" suppressing {', '.join(call.suppressed_roles)}" if call.suppressed_roles else ""
    also += f" in demand {', '.join(call.demand_roles)}" if call.demand_roles else ""
    return f"{how} {call.framework.name} session {call.session_id}{also}"


def _accept(call: m.Accept) -> str:
    operations = "; ".join(map(_operation, call.operations)) or "nothing"
    refuse = f", refuse {call.refuse_ms} ms{f'; {_writes(call.writes)}' if call.writes else ''}"
    return f"accept #{call.number} of {_listed(call.offer_ids, 'no offer')}: {operations}{refuse}"


def _writes(writes: tuple[StoreWrite, ...]) -> str:
    return ", ".join(map(_write, writes))


def _write(write: StoreWrite) -> str:
    what = f"remove {write.key}" if write.value is None else f"write {write.key}"
    size = "" if write.value is None else f" ({len(write.value)} bytes)"
    return f"{what}{size}{'' if write.version is None else f' at version {write.version}'}"


def _store_answer(event: m.StoreAnswer) -> str:
    if event.refusal is not None:
        said = f"{event.refusal.name} {event.message}".strip()
    elif event.entry is not None:
        said = f"{len(event.entry.value)} bytes at version {event.entry.version}"
    elif event.version:
        said = f"written as version {event.version}"
    else:
        said = _listed(event.keys, "nothing")
    return f"store answer #{event.number}: {said}"


def _kill(kill: m.Kill | m.KillTask) -> str:
    task = kill.task_id if isinstance(kill, m.Kill) else f"{kill.framework_id}/{kill.task_id}"
    return f"kill {task}{f' within {kill.grace_ms} ms' if kill.grace_ms is not None else ''}"


def _offers(event: m.Offers) -> str:
    return f"offers: {', '.join(map(_offer, event.offers))}"


def _offer(offer: Offer) -> str:
    of = f"{offer.offer_id} of {offer.agent_id}"
    request = f" by request {offer.request_id}" if offer.request_id else ""
    return f"{of} for {offer.role}{request} ({offer.resources})"


def _request(request: Request | InvalidRequest) -> str:
    if isinstance(request, InvalidRequest):
        return f"an invalid request {request.request_id}: {request.message}"
    unit = f"{request.unit}; {request.ports} ports" if request.ports else str(request.unit)
    where = f" where {request.where}" if request.where else ""
    how = f"{request.request_id} {request.count} x ({unit}) for {request.role}{where}"
    return f"{how}, {request.policy.value}"


def _withdraw(call: m.WithdrawRequests) -> str:
    if call.request_ids:
        return f"withdraw {', '.join(call.request_ids)}"
    return f"withdraw all requests of {_listed(call.roles, 'all roles')}"


def _register(call: m.Register) -> str:
    each = chain.from_iterable(alike.each() for alike in call.tasks)
    tasks = [f"{t.framework_id}/{t.task.task_id} {t.state.name}" for t in each]
    return (
        f"register {call.agent.agent_id} ({call.agent.resources}) boot {call.boot_id} "
        f"epoch {call.epoch_seen}: {_listed(tuple(tasks), 'no tasks')}"
    )


def _report(call: m.StatusReport) -> str:
    ahead = f", now {call.latest_state.name}" if call.latest_state is not call.status.state else ""
    return f"status {tell_status(call.status)}{ahead}"


#: Each type of message has its own line; mypy cannot tie a key to its function's argument.
_TELL: dict[type[Message], Callable[[Any], str]] = {
    m.Heartbeat: lambda _: "heartbeat",
    m.Refused: _refused,
    m.TaskMessage: _task_message,
    m.ReadStore: lambda c: f"read #{c.number} of {c.key}",
    m.ListStore: lambda c: f"list #{c.number} of keys {c.prefix}*",
    m.WriteStore: lambda c: f"write #{c.number}: {_writes(c.writes)}",
    m.StoreAnswer: _store_answer,
    m.Subscribe: _subscribe,
    m.Accept: _accept,
    m.Decline: lambda c: f"decline {_listed(c.offer_ids, 'nothing')}, refuse {c.refuse_ms} ms",
    m.Revive: lambda c: f"revive {_listed(c.roles, 'all roles')}",
    m.Suppress: lambda c: f"suppress {_listed(c.roles, 'all roles')}",
    m.RequestResources: lambda c: f"request {'; '.join(map(_request, c.requests)) or 'nothing'}",
    m.WithdrawRequests: _withdraw,
    m.Kill: _kill,
    m.Acknowledge: lambda c: f"acknowledge {c.task_id} [{c.update_id}]",
    m.Reconcile: lambda c: f"reconcile {_listed(tuple(map(_reference, c.tasks)), 'all tasks')}",
    m.ConfirmResults: lambda c: f"confirm results through #{c.through}",
    m.AcknowledgeOperation: lambda c: f"acknowledge operation {c.operation_id}",
    m.ReconcileOperations: lambda c: (
        f"reconcile operations {_listed(tuple(o.operation_id for o in c.operations), 'all')}"
    ),
    m.OperationUpdate: lambda e: _operation_status(e.status),
    m.OperationReport: lambda c: _operation_status(c.status),
    m.VolumesMeasured: lambda c: f"measured {len(c.volumes)} volumes",
    m.ApplyOperation: _order,
    m.Teardown: lambda c: "teardown, and release" if c.release else "teardown",
    m.Subscribed: lambda e: f"subscribed {e.framework_id}",
    m.Offers: _offers,
    m.Rescind: lambda e: f"rescind {_listed(e.offer_ids, 'nothing')}",
    m.Update: lambda e: f"status {tell_status(e.status)}",
    m.AcceptResult: lambda e: f"result #{e.number}: {'; '.join(map(_result, e.results)) or '-'}",
    m.RequestUnsatisfiable: lambda e: (
        f"request {e.request_id} is unsatisfiable: {e.refusal.name} ({e.message})"
    ),
    m.AgentLost: lambda e: f"agent lost {e.agent_id}",
    m.Register: _register,
    m.StatusReport: _report,
    m.Troubled: lambda c: f"troubled: {c.problem or 'no more'}",
    m.Registered: lambda _: "registered",
    m.FrameworkAdded: lambda e: f"framework {e.framework.framework_id} {e.framework.info.name}",
    m.RunTask: lambda e: f"run {e.framework_id}/{e.task.task_id} ({e.task.resources}) as {e.role}",
    m.KillTask: _kill,
    m.AcknowledgeStatus: lambda e: f"acknowledged {e.framework_id}/{e.task_id} [{e.update_id}]",
    m.ReconcileTasks: lambda e: f"reconcile {', '.join('/'.join(key) for key in e.tasks)}",
    m.ShutdownFramework: lambda e: f"shut down {e.framework_id}",
}
