"""What the author's code is told, one callback after another, and what its return settles."""

from __future__ import annotations

from mesoslite.lifecycle import TaskState
from mesoslite.messages import Acknowledge, AcknowledgeOperation
from mesoslite.model import TaskStatus
from mesoslite.operations import OperationStatus
from mesoslite.scheduler.accepting import decline
from mesoslite.scheduler.operations import News
from mesoslite.scheduler.protocol import (
    Callback,
    Finish,
    OnError,
    OnOffers,
    OnOperation,
    OnStatus,
    OnStatuses,
    RunCallback,
)
from mesoslite.scheduler.streaming import close
from mesoslite.scheduler.tables import Tables
from mesoslite.scheduler.updates import Arrival

STATUSES_TOGETHER_MAX = 250  # for one OnStatuses: little is to be told again after a crash
CALLBACKS_WAITING_MAX = 1_000  # ~1 s of an author's code at 1 ms each; then reading stops


def updated(t: Tables, status: TaskStatus) -> None:
    """A status came: tell it, unless it was told, and acknowledge it again if it was."""
    if status.update_id:
        arrival = t.updates.arrived(status)
        if arrival is not Arrival.NEW:
            if arrival is not Arrival.WAITING:
                acknowledge(t, status)
            return
    behind = not status.update_id and t.updates.behind(status)
    if not behind:
        t.updates.told(status)
    t.launches.heard(status)
    launching = t.launches.launching(status.task_id)
    terminal = status.state.terminal
    if terminal or (status.state is TaskState.UNKNOWN and not launching):
        t.kills.over(status.task_id)
    # What has ended is known no more, and no answer about it makes it known again.
    over = not terminal and t.updates.ended(status.task_id)
    if not over and not launching:
        t.reconciliation.heard(status)
    if not behind:
        t.queue.append(OnStatus(status))


def operation_updated(t: Tables, status: OperationStatus) -> None:
    """An operation's status came: tell it, unless it was told, and acknowledge it again if so."""
    t.launches.heard_of_change(status)
    match t.operations.heard(status):
        case News.TELL:
            t.queue.append(OnOperation(status))
        case News.ACKNOWLEDGE:
            acknowledge(t, status)
        case News.OLD:
            pass


def acknowledge(t: Tables, status: TaskStatus | OperationStatus) -> None:
    """The author has dealt with it: its agent may forget it."""
    if isinstance(status, OperationStatus):
        if status.acknowledge:
            t.operations.ended(status)
            end = AcknowledgeOperation(t.framework_id, status.agent_id, status.operation_id)
            t.say_or_keep(("acknowledge", end), end)
    elif status.update_id:
        t.updates.acknowledged(status)
        last = status.state.terminal
        call = Acknowledge(status.agent_id, status.task_id, status.update_id, last=last)
        t.say_or_keep(("acknowledge", call), call)


def call_back(t: Tables) -> None:
    """Run the next callback when none runs; or end, when the end was asked for."""
    while t.running is None and not t.over:
        if t.stopping:
            finish(t, Finish())
            return
        if not t.queue:
            return
        callback = _ready(t, t.queue.popleft())
        if callback is not None:
            t.running = callback
            t.out.append(RunCallback(callback))


def _ready(t: Tables, callback: Callback) -> Callback | OnStatuses | None:
    """As it is to be run now; None: nothing of it is left."""
    if isinstance(callback, OnStatus):
        return _with_statuses_after(t, callback)
    if isinstance(callback, OnOffers):
        # `subscribed` may have made the first request: what crossed it is not wanted.
        left = (o.offer_id for o in callback.offers if t.requests.leaves(o))
        decline(t, t.offers.take(left), None)
        offers = t.offers.show(callback.offers)
        return OnOffers(offers) if offers else None
    return callback


def _with_statuses_after(t: Tables, first: OnStatus) -> OnStatus | OnStatuses:
    """It, or it and the statuses that wait right behind it."""
    queue = t.queue
    statuses = [first.status]
    while queue and len(statuses) < STATUSES_TOGETHER_MAX:
        following = queue[0]
        if not isinstance(following, OnStatus):
            break
        statuses.append(following.status)
        queue.popleft()
    return first if len(statuses) == 1 else OnStatuses(tuple(statuses))


def statuses_told(t: Tables, count: int) -> None:
    """The author's code was told so many more of the statuses that it is being told."""
    if isinstance(t.running, OnStatuses):
        told = t.running.statuses[t.told : t.told + count]
        t.told += count
        if t.config.acknowledge_automatically:
            for status in told:
                acknowledge(t, status)


def returned(t: Tables, *, interrupted: bool) -> None:
    """The callback that ran is over: what it left unanswered goes back."""
    callback, t.running, t.told = t.running, None, 0
    match callback:
        case OnOffers(offers):
            decline(t, t.offers.take_unanswered(offers), None)
        case OnStatus(status) if t.config.acknowledge_automatically and not interrupted:
            acknowledge(t, status)
        case OnOperation(operation) if t.config.acknowledge_operations and not interrupted:
            acknowledge(t, operation)
        case OnError(refusal, message):
            finish(t, Finish(refusal, message))
        case _:
            pass


def finish(t: Tables, how: Finish) -> None:
    """The session is over."""
    t.out.append(how)
    t.over = True
    t.queue.clear()
    close(t)
