"""Offers as they come, and the author's answers to them, each of which has an outcome."""

from __future__ import annotations

from dataclasses import replace

from mesoslite.messages import Decline
from mesoslite.model import (
    InvalidLaunch,
    Launch,
    Offer,
    Operation,
    OperationResult,
    Refusal,
    Source,
    TaskStatus,
)
from mesoslite.reservations import Change, InvalidChange
from mesoslite.scheduler.launches import (
    Pending,
    identity_of,
    never_ran,
    operation_of_refused,
    status_of_refused,
)
from mesoslite.scheduler.protocol import AcceptOffers, OnOffers, OnOperation, OnStatus
from mesoslite.scheduler.tables import Tables


def offered(t: Tables, offers: tuple[Offer, ...]) -> None:
    """Keep what came for the author's code; what there is no room for goes back."""
    taken = tuple(offer for offer in offers if t.offers.add(offer, t.now_ms))
    if len(taken) < len(offers):
        decline(t, tuple(o.offer_id for o in offers if o.offer_id not in t.offers), None)
    if not taken:
        return
    last = t.queue[-1] if t.queue else None
    if isinstance(last, OnOffers):
        # Nothing has happened in between: the author chooses better among more.
        t.queue[-1] = OnOffers(last.offers + taken)
    else:
        t.queue.append(OnOffers(taken))


def decline(t: Tables, offer_ids: tuple[str, ...], refuse_ms: int | None) -> None:
    """Give these back; None: refuse them for as long as patience says."""
    if not offer_ids:
        return
    if refuse_ms is None:
        refuse_ms = t.patience.next_ms(t.now_ms)
    if t.subscribed:  # else they are void: the next subscribe brings new ones
        t.say(Decline(offer_ids, refuse_ms))


def accept(t: Tables, decision: AcceptOffers) -> None:
    """Send it, or answer it here at once: every operation has an outcome, never silence."""
    offer_ids = tuple(offer.offer_id for offer in decision.offers)
    refusal = t.offers.why_not(decision.offers)
    if refusal is None and t.launches.full:
        refusal = Refusal.OUTBOX_FULL
    if refusal is not None:
        for operation in decision.operations:
            _refuse_here(t, operation, decision, refusal, f"offers {', '.join(offer_ids)}")
        # As the master does: what is still valid in a refused accept goes back.
        decline(t, t.offers.take(offer_ids), decision.refuse_ms)
        return
    operations: dict[str, Operation] = {}
    for asked in decision.operations:
        operation = asked
        identity, refusal = identity_of(operation), Refusal.DUPLICATE_TASK
        message = f"there is a task {identity} already"
        if not isinstance(operation, Launch | InvalidLaunch):
            operation = _named(t, operation)
            identity, refusal = identity_of(operation), Refusal.DUPLICATE_OPERATION
            message = f"there is an operation {operation.operation_id} already"
        if t.has_task(identity) or identity in operations:
            _refuse_here(t, operation, decision, refusal, message)
        else:
            operations[identity] = operation
    t.offers.take(offer_ids)
    if not operations:
        decline(t, offer_ids, decision.refuse_ms)
        return
    _send(t, decision, offer_ids, operations)


def _named(t: Tables, change: Change | InvalidChange) -> Change | InvalidChange:
    """With an id, by which its end is told."""
    if change.operation_id:
        return change
    return replace(change, operation_id=t.operations.name(t.config.session_id))


def _send(
    t: Tables,
    decision: AcceptOffers,
    offer_ids: tuple[str, ...],
    operations: dict[str, Operation],
) -> None:
    refuse_ms = decision.refuse_ms
    if refuse_ms is None:
        refuse_ms = t.patience.next_ms(t.now_ms)
    for task_id, operation in operations.items():
        if not isinstance(operation, Launch | InvalidLaunch):
            continue
        t.updates.launched(task_id)
        t.kills.over(task_id)  # it was another task's by this id
        if isinstance(operation, Launch) and operation.request_id:
            t.requests.launched(operation.request_id)
    agent_id = decision.offers[0].agent_id
    call = t.launches.add(
        agent_id, offer_ids, tuple(operations.values()), refuse_ms, decision.writes
    )
    if t.subscribed:
        t.say(call)


def answered(t: Tables, number: int, results: tuple[OperationResult, ...]) -> None:
    """The master tells what became of each operation of an accept."""
    pending = t.launches.answered(number)
    if pending is None:
        return
    # A result that is missing can only be a master's fault: its task will be asked about.
    missing = (OperationResult(),) * (len(pending.accept.operations) - len(results))
    for operation, result in zip(pending.accept.operations, results + missing, strict=False):
        if isinstance(operation, Launch | InvalidLaunch):
            _launch_answered(t, pending, operation, result)
        else:
            _change_answered(t, pending, operation, result)


def _change_answered(
    t: Tables, pending: Pending, change: Change | InvalidChange, result: OperationResult
) -> None:
    if identity_of(change) in pending.seen:
        return  # its agent has told its end, which is the truth
    if result.done:
        t.operations.sent(change.operation_id, pending.accept.agent_id)
    else:
        _tell_change_refused(t, change, result, pending.accept.agent_id)


def _tell_change_refused(
    t: Tables, change: Change | InvalidChange, refused: OperationResult, agent_id: str
) -> None:
    status = operation_of_refused(
        change, refused, framework_id=t.framework_id, agent_id=agent_id, now_ms=t.now_ms
    )
    t.queue.append(OnOperation(status))


def _launch_answered(
    t: Tables, pending: Pending, operation: Launch | InvalidLaunch, result: OperationResult
) -> None:
    task_id = identity_of(operation)
    agent_id = pending.accept.agent_id
    ended = pending.seen.get(task_id)
    if isinstance(operation, Launch) and operation.request_id:
        refused = ended is None and result.refusal is not None and never_ran(result.refusal)
        t.requests.answered(operation.request_id, wanted_again=refused)
    if ended is None and not result.done:
        status = _tell_refused(t, operation, result, agent_id, Source.MASTER)
        ended = status.terminal
        if result.refusal is Refusal.STALE_OFFER:
            # It never ran. That its agent had refused it as well is no news after this.
            t.updates.told(status)
    if ended:
        t.kills.over(task_id)
        return
    t.reconciliation.learn(task_id, agent_id)
    for kill in t.kills.of(task_id, agent_id):
        t.say(kill)  # the master may have heard it before it knew of the launch


def _refuse_here(
    t: Tables, operation: Operation, decision: AcceptOffers, refusal: Refusal, message: str
) -> None:
    """Answer an operation that is not even sent."""
    agent_id = decision.offers[0].agent_id if decision.offers else ""
    result = OperationResult(refusal, message)
    if isinstance(operation, Launch | InvalidLaunch):
        _tell_refused(t, operation, result, agent_id, Source.SESSION)
    else:
        _tell_change_refused(t, _named(t, operation), result, agent_id)


def _tell_refused(
    t: Tables,
    operation: Launch | InvalidLaunch,
    refused: OperationResult,
    agent_id: str,
    source: Source,
) -> TaskStatus:
    status = status_of_refused(
        operation,
        refused,
        framework_id=t.framework_id,
        agent_id=agent_id,
        source=source,
        now_ms=t.now_ms,
    )
    t.queue.append(OnStatus(status))
    return status
