"""Which method of a scheduler each callback calls, and who acknowledges what it was told."""

from __future__ import annotations

from typing import assert_never

from mesoslite.scheduler.protocol import (
    Callback,
    OnAgentLost,
    OnDisconnected,
    OnError,
    OnMessage,
    OnOffers,
    OnOperation,
    OnRescinded,
    OnStatus,
    OnStatuses,
    OnSubscribed,
    OnUnsatisfiable,
)
from mesoslite.scheduler.scheduler import Returned, Scheduler, framework_info
from mesoslite.scheduler.tables import SessionConfig

METHODS: dict[type[Callback], str] = {
    OnSubscribed: "subscribed",
    OnOffers: "resource_offers",
    OnRescinded: "offer_rescinded",
    OnStatus: "status_update",
    OnUnsatisfiable: "request_unsatisfiable",
    OnOperation: "operation_update",
    OnMessage: "framework_message",
    OnAgentLost: "agent_lost",
    OnDisconnected: "disconnected",
    OnError: "error",
}


def call(scheduler: Scheduler, callback: Callback) -> Returned:
    """Call the method of `scheduler` that `callback` is for; returns and raises what it does."""
    match callback:
        case OnSubscribed(framework_id):
            return scheduler.subscribed(framework_id)
        case OnOffers(offers):
            return scheduler.resource_offers(offers)
        case OnRescinded(offer_id):
            return scheduler.offer_rescinded(offer_id)
        case OnStatus(status):
            return scheduler.status_update(status)
        case OnUnsatisfiable(request_id, refusal, message):
            return scheduler.request_unsatisfiable(request_id, refusal, message)
        case OnOperation(status):
            return scheduler.operation_update(status)
        case OnMessage(task_id, agent_id, data):
            return scheduler.framework_message(task_id, agent_id, data)
        case OnAgentLost(agent_id):
            return scheduler.agent_lost(agent_id)
        case OnDisconnected(why):
            return scheduler.disconnected(why)
        case OnError(refusal, message):
            return scheduler.error(refusal, message)
        case _:
            assert_never(callback)


def each(callback: Callback | OnStatuses) -> tuple[Callback, ...]:
    """The calls that it stands for, in order."""
    if isinstance(callback, OnStatuses):
        return tuple(map(OnStatus, callback.statuses))
    return (callback,)


def method_of(scheduler: Scheduler, callback: Callback) -> object:
    """The bound method that `call` would call."""
    return getattr(scheduler, METHODS[type(callback)])


def overridden(scheduler: Scheduler, callback: Callback) -> bool:
    """Whether the author wrote this callback; else there is nothing to call."""
    return _overrides(scheduler, type(callback))


def _overrides(scheduler: Scheduler, kind: type[Callback]) -> bool:
    method = getattr(scheduler, METHODS[kind])
    return getattr(method, "__func__", None) is not getattr(Scheduler, METHODS[kind])


def session_config(scheduler: Scheduler, session_id: str, hostname: str = "") -> SessionConfig:
    """What a session of this scheduler is told at its start. Raises as `framework_info`.

    A scheduler that acknowledges by hand and has no `operation_update` never sees an end of a
    change, so it counts as dealt with when it was told: the ends may be of an earlier scheduler of
    the name, which did make changes, and their agents would keep them for ever.
    """
    framework = framework_info(scheduler, hostname)
    automatically = scheduler.acknowledge_automatically
    return SessionConfig(
        framework,
        session_id,
        acknowledge_automatically=automatically,
        acknowledge_operations=automatically or not _overrides(scheduler, OnOperation),
    )
