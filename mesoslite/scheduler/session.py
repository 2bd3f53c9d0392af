"""The session of one scheduler with its master: a pure machine between the author and the wire.

It does by itself what every framework had to learn the hard way: it acknowledges after
`status_update` returned, subscribes again after a loss, sends unanswered accepts again, reconciles,
gives back the offers that were not answered, and tells the author of each refused launch.

Each callback runs alone; whatever happens meanwhile waits in a queue, whose length is
`callbacks_waiting`: above CALLBACKS_WAITING_MAX `congested` is true, and the driver stops reading
the stream until the author's code has caught up. Heartbeats go on all the while.

Read `protocol.py` first, then `Session.handle` here: each event goes to the one function that deals
with it, in `streaming.py`, `accepting.py` and `telling.py`; all they know is in `tables.Tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from mesoslite.messages import (
    HEARTBEAT_INTERVAL_MS,
    SILENCE_MAX_MS,
    AcceptResult,
    AgentLost,
    Heartbeat,
    Kill,
    Offers,
    OperationUpdate,
    Reconcile,
    ReconcileOperations,
    Refused,
    RequestUnsatisfiable,
    Rescind,
    Revive,
    SchedulerEvent,
    StoreAnswer,
    Subscribed,
    Suppress,
    TaskMessage,
    Update,
)
from mesoslite.model import REQUESTS_MAX, Refusal
from mesoslite.scheduler import accepting, protocol, streaming, telling
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    AskOperations,
    CallbackReturned,
    CallStore,
    Decided,
    Decision,
    DeclineOffers,
    Denied,
    DropRequests,
    Effect,
    Event,
    HoldOffer,
    KillTask,
    MakeRequest,
    MasterSpoke,
    OnAgentLost,
    OnMessage,
    OnOperation,
    OnRescinded,
    OnUnsatisfiable,
    ReconcileTasks,
    ReviveRoles,
    SendMessage,
    StatusesTold,
    Stop,
    StoreAnswered,
    StreamLost,
    StreamOpened,
    SuppressRoles,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.tables import SessionConfig, Stream, Tables
from mesoslite.scheduler.telling import CALLBACKS_WAITING_MAX

__all__ = ["Session", "SessionConfig"]


class Session:
    """Everything a scheduler's side knows. Only `handle` changes it; same events, same effects."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.tables = Tables(config)

    # --- what may be asked from outside -----------------------------------------------------------

    @property
    def callbacks_waiting(self) -> int:
        """How many callbacks wait until the one that runs returns."""
        return len(self.tables.queue)

    @property
    def congested(self) -> bool:
        """True when no more may be read from the master until callbacks have returned."""
        t = self.tables
        # A callback that waits for the store returns when its answer was read.
        return len(t.queue) >= CALLBACKS_WAITING_MAX and not t.store_calls

    @property
    def epoch(self) -> int:
        """The highest epoch of a master heard so far; 0 before the first."""
        return self.tables.epoch

    @property
    def framework_id(self) -> str:
        """As the master told; empty before the first Subscribed."""
        return self.tables.framework_id

    @property
    def subscribed(self) -> bool:
        """True while the stream is the framework's."""
        return self.tables.subscribed

    @property
    def over(self) -> bool:
        """True when no stream is wanted any more: the session has finished or is about to."""
        return self.tables.over or self.tables.fatal is not None

    @property
    def ending(self) -> bool:
        """True when it is over, or will be when the callback that runs has returned."""
        return self.over or self.tables.stopping

    @property
    def accepts_unanswered(self) -> int:
        """How many accepts wait for their result."""
        return len(self.tables.launches)

    def wanted(self, request_id: str) -> int:
        """How many units are still wanted under this id."""
        return self.tables.requests.wanted(request_id)

    # --- the machine ------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; say what is to be done about it."""
        return self.handle_all((event,))

    def handle_all(self, events: Sequence[Event]) -> list[Effect]:
        """As `handle` of each, in order."""
        t = self.tables
        for event in events:
            if t.over:
                break
            # What a master says waits for the Tick that ends its batch: statuses that arrived
            # together are told, and so acknowledged, together. Else the first would go ahead alone.
            if isinstance(event, MasterSpoke):
                self._hear(event.epoch, event.event)
            else:
                self._take(event)
                if t.subscribed and not t.tearing_down:
                    t.out += map(ToMaster, t.requests.unsaid())
                    t.out += map(ToMaster, t.store_calls.next_ones())
                telling.call_back(t)
        out, t.out = t.out, []
        return out

    def _take(
        self,
        event: StreamOpened
        | StreamLost
        | Denied
        | StatusesTold
        | CallbackReturned
        | Decided
        | Tick,
    ) -> None:
        t = self.tables
        match event:
            case StreamOpened():
                streaming.open_stream(t)
            case StreamLost(why):
                streaming.lose(t, why)
            case Denied(refusal, message):
                streaming.refused(t, refusal, message)
            case StatusesTold(count):
                telling.statuses_told(t, count)
            case CallbackReturned(interrupted):
                telling.returned(t, interrupted=interrupted)
            case Decided(decision):
                self._decide(decision)
            case Tick(now_ms):
                self._tick(now_ms)
            case _:
                assert_never(event)

    def next_deadline_ms(self) -> int | None:
        """When a Tick is due; None: never, or with the next event."""
        t = self.tables
        if t.over:
            return None
        due = [t.offers.next_expiry_ms(), t.reconciliation.next_ms(), t.operations.next_ms()]
        if not t.stopping:
            due.append(t.teardown_ends_ms)  # else it is over when the callback that runs returns
        if t.stream is not Stream.CLOSED:
            due += [t.heard_ms + SILENCE_MAX_MS, t.beat_ms + HEARTBEAT_INTERVAL_MS]
        return min((at for at in due if at is not None), default=None)

    # --- what the master says ---------------------------------------------------------------------

    def _hear(self, epoch: int, said: SchedulerEvent) -> None:
        t = self.tables
        if t.stream is Stream.CLOSED:
            return
        if epoch < t.epoch:
            # Whoever speaks was a master once (D1). Nothing good comes from this stream.
            streaming.drop(t, f"a master of an earlier epoch answers: {epoch}, not {t.epoch}")
            return
        t.epoch = epoch
        t.heard_ms = t.now_ms
        match said:
            case Heartbeat():
                pass
            case Refused(refusal, message):
                streaming.refused(t, refusal, message)
            case Subscribed(framework_id):
                streaming.subscribed(t, framework_id)
            case _:
                if t.subscribed:
                    self._hear_subscribed(said)

    def _hear_subscribed(
        self,
        said: Offers
        | Rescind
        | Update
        | AcceptResult
        | StoreAnswer
        | OperationUpdate
        | RequestUnsatisfiable
        | TaskMessage
        | AgentLost,
    ) -> None:
        t = self.tables
        match said:
            case Offers(offers):
                accepting.offered(t, offers)
            case Rescind(offer_ids):
                t.queue.extend(map(OnRescinded, t.offers.rescind(offer_ids)))
            case Update(status):
                telling.updated(t, status)
            case AcceptResult(number, results):
                accepting.answered(t, number, results)
            case StoreAnswer(number):
                if t.store_calls.answered(number):
                    t.out.append(StoreAnswered(said))
            case OperationUpdate(operation):
                telling.operation_updated(t, operation)
            case RequestUnsatisfiable(request_id, refusal, message, number):
                if t.requests.told(request_id, refusal, message, number):
                    t.queue.append(OnUnsatisfiable(request_id, refusal, message))
            case TaskMessage(_, agent_id, task_id, data):
                t.queue.append(OnMessage(task_id, agent_id, data))
            case AgentLost(agent_id):
                t.queue.append(OnAgentLost(agent_id))
            case _:
                assert_never(said)

    # --- what the author decides ------------------------------------------------------------------

    def _decide(self, decision: Decision) -> None:
        t = self.tables
        if not isinstance(decision, DeclineOffers | AcknowledgeStatus | CallStore):
            t.patience.reset()  # it has something to do: it wants to see offers soon
        match decision:
            case AcceptOffers():
                accepting.accept(t, decision)
            case DeclineOffers(offers, refuse_ms):
                here = t.offers.take(offer.offer_id for offer in offers)
                accepting.decline(t, here, refuse_ms)
            case HoldOffer(offer):
                t.offers.hold(offer.offer_id)
            case ReviveRoles(roles):
                for role in roles or tuple(t.suppressed):
                    t.suppressed.pop(role, None)
                t.say_or_keep(("revive", roles), Revive(roles))
            case SuppressRoles(roles):
                own = t.config.framework.roles
                t.suppressed |= dict.fromkeys(r for r in own if r in roles or not roles)
                t.say_or_keep(("suppress", roles), Suppress(roles))
            case MakeRequest(request):
                if not t.requests.make(request):
                    refusal, message = Refusal.TOO_MANY_REQUESTS, f"it has {REQUESTS_MAX:,}"
                    t.queue.append(OnUnsatisfiable(request.request_id, refusal, message))
            case DropRequests(request_ids):
                withdrawn = t.requests.drop(request_ids)
                if withdrawn is not None and t.subscribed:  # else the next subscribe says it
                    t.say(withdrawn)
            case KillTask(task_id, grace_ms):
                if not t.updates.ended(task_id):
                    t.kills.ask(task_id, grace_ms)
                if t.subscribed:  # else the next subscribe says it
                    t.say(Kill(task_id, t.reconciliation.agent_of(task_id), grace_ms))
            case ReconcileTasks(tasks):
                for reference in tasks:
                    t.updates.asked(reference.task_id)
                t.say_or_keep(("reconcile", tasks), Reconcile(tasks))
            case SendMessage(task_id, agent_id, data):
                if t.subscribed:
                    t.say(TaskMessage(t.framework_id, agent_id, task_id, data))
            case AcknowledgeStatus(status):
                telling.acknowledge(t, status)
            case AskOperations(operations):
                known = [t.operations.asked(one.operation_id) for one in operations]
                t.queue.extend(OnOperation(status) for status in known if status is not None)
                unknown = tuple(
                    one for one, status in zip(operations, known, strict=True) if status is None
                )
                if unknown or not operations:
                    t.say_or_keep(("operations", unknown), ReconcileOperations(unknown))
            case CallStore(call):
                t.store_calls.add(call)
                streaming.give_up_store_calls(t)
            case protocol.Teardown(release):
                t.tearing_down = True
                t.releasing = t.releasing or release
                if t.subscribed:
                    streaming.tear_down(t)
            case Stop():
                t.stopping = True
                streaming.give_up_store_calls(t)
            case _:
                assert_never(decision)

    # --- time -------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        t = self.tables
        t.now_ms = now_ms
        t.queue.extend(map(OnRescinded, t.offers.expire(now_ms)))
        if t.stream is Stream.CLOSED:
            return
        if now_ms >= t.heard_ms + SILENCE_MAX_MS:
            streaming.drop(t, f"nothing was heard of the master for {SILENCE_MAX_MS // 1_000} s")
            return
        if now_ms >= t.beat_ms + HEARTBEAT_INTERVAL_MS:
            t.beat_ms = now_ms
            t.beats += 1
            t.say(Heartbeat(t.beats))
        if t.teardown_ends_ms is not None:
            t.stopping = t.stopping or now_ms >= t.teardown_ends_ms
            streaming.give_up_store_calls(t)
        elif t.subscribed:
            streaming.confirm(t)
            for question in t.reconciliation.tick(now_ms):
                t.say(question)
            for asked in t.operations.tick(now_ms):
                t.say(asked)

    def check(self) -> None:
        """Assert every invariant, O(n log n). Tests call it after each event; production never."""
        self.tables.check()
