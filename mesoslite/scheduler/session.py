"""The session of one scheduler with its master: a pure machine between the author and the wire.

It does by itself what every framework had to learn the hard way: it acknowledges after
`status_update` returned, subscribes again after a loss, sends unanswered accepts again, reconciles,
gives back the offers that were not answered, and tells the author of each refused launch.

Each callback runs alone; whatever happens meanwhile waits in a queue, whose length is
`callbacks_waiting`: above CALLBACKS_WAITING_MAX `congested` is true, and the driver stops reading
the stream until the author's code has caught up. Heartbeats go on all the while.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from mesoslite.messages import (
    HEARTBEAT_INTERVAL_MS,
    SILENCE_MAX_MS,
    AcceptResult,
    Acknowledge,
    AgentLost,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    Offers,
    Reconcile,
    Refused,
    RequestUnsatisfiable,
    Rescind,
    Revive,
    SchedulerCall,
    SchedulerEvent,
    Subscribe,
    Subscribed,
    Suppress,
    TaskMessage,
    Teardown,
    Update,
)
from mesoslite.model import (
    REQUESTS_MAX,
    FrameworkInfo,
    Launch,
    Offer,
    Operation,
    OperationResult,
    Refusal,
    Source,
    TaskStatus,
)
from mesoslite.scheduler import protocol
from mesoslite.scheduler.launches import (
    Launches,
    Pending,
    never_ran,
    status_of_refused,
    task_id_of,
)
from mesoslite.scheduler.offers import HeldOffers, Patience
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    Callback,
    CallbackReturned,
    Decided,
    Decision,
    DeclineOffers,
    Denied,
    DropRequests,
    DropStream,
    Effect,
    Event,
    Finish,
    HoldOffer,
    KillTask,
    MakeRequest,
    MasterSpoke,
    OnAgentLost,
    OnDisconnected,
    OnError,
    OnMessage,
    OnOffers,
    OnRescinded,
    OnStatus,
    OnStatuses,
    OnSubscribed,
    OnUnsatisfiable,
    ReconcileTasks,
    ReviveRoles,
    RunCallback,
    SendMessage,
    StatusesTold,
    Stop,
    StreamLost,
    StreamOpened,
    SuppressRoles,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.reconciliation import Reconciliation
from mesoslite.scheduler.requests import Requests
from mesoslite.scheduler.updates import Arrival, Updates

STATUSES_TOGETHER_MAX = 250  # for one OnStatuses: little is to be told again after a crash
CALLBACKS_WAITING_MAX = 1_000  # ~1 s of an author's code at 1 ms each; then reading stops
#: Kills, questions, acknowledgements and role calls that wait for a stream, ~150 B each. Beyond
#: it the oldest goes: agents repeat statuses, reconciliation repeats questions, and so a kill
#: that was dropped shows in the states of the tasks.
KEPT_CALLS_MAX = 100_000
TEARDOWN_WAIT_MS = 10_000  # for the master's word that the framework is removed

#: Refusals that pass: the stream is opened again after a backoff. All others end the session.
PASSING_REFUSALS = frozenset(
    {Refusal.TOO_MANY_FRAMEWORKS, Refusal.OUTBOX_FULL, Refusal.STALE_EPOCH}
)

_KeptKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session is told at its start."""

    framework: FrameworkInfo
    session_id: str
    """Made anew for each session; tells a reconnect from a second scheduler (D4)."""
    acknowledge_automatically: bool = True
    """Whether a status is acknowledged when `status_update` returns; else the author does it."""


class _Stream(Enum):
    CLOSED = "there is none"
    OPEN = "Subscribe was said on it"
    SUBSCRIBED = "it is the framework's"


class Session:
    """Everything a scheduler's side knows. Only `handle` changes it; same events, same effects."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self._now_ms = 0
        self._out: list[Effect] = []
        self._stream = _Stream.CLOSED
        self._epoch = 0
        self._framework_id = ""
        self._heard_ms = 0
        self._beat_ms = 0
        self._beats = 0
        self._suppressed: dict[str, None] = {}
        self._kept: dict[_KeptKey, SchedulerCall] = {}
        self._requests = Requests()
        self._offers = HeldOffers()
        self._patience = Patience()
        self._launches = Launches()
        self._updates = Updates()
        self._reconciliation = Reconciliation()
        self._queue: deque[Callback] = deque()
        self._running: Callback | OnStatuses | None = None
        self._told = 0
        """How many of the OnStatuses that runs have been told."""
        self._fatal: OnError | None = None
        self._stopping = False
        self._tearing_down = False
        self._teardown_ends_ms: int | None = None
        self._over = False

    # --- what may be asked from outside -----------------------------------------------------------

    @property
    def callbacks_waiting(self) -> int:
        """How many callbacks wait until the one that runs returns."""
        return len(self._queue)

    @property
    def congested(self) -> bool:
        """True when no more may be read from the master until callbacks have returned."""
        return len(self._queue) >= CALLBACKS_WAITING_MAX

    @property
    def epoch(self) -> int:
        """The highest epoch of a master heard so far; 0 before the first."""
        return self._epoch

    @property
    def framework_id(self) -> str:
        """As the master told; empty before the first Subscribed."""
        return self._framework_id

    @property
    def subscribed(self) -> bool:
        """True while the stream is the framework's."""
        return self._stream is _Stream.SUBSCRIBED

    @property
    def over(self) -> bool:
        """True when no stream is wanted any more: the session has finished or is about to."""
        return self._over or self._fatal is not None

    @property
    def accepts_unanswered(self) -> int:
        """How many accepts wait for their result."""
        return len(self._launches)

    def wanted(self, request_id: str) -> int:
        """How many units are still wanted under this id."""
        return self._requests.wanted(request_id)

    # --- the machine ------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; say what is to be done about it."""
        if self._over:
            return []
        match event:
            case StreamOpened():
                self._open()
            case StreamLost(why):
                self._lose(why)
            case Denied(refusal, message):
                self._refused(refusal, message)
            case MasterSpoke(epoch, said):
                self._hear(epoch, said)
            case StatusesTold(count):
                self._statuses_told(count)
            case CallbackReturned():
                self._returned()
            case Decided(decision):
                self._decide(decision)
            case Tick(now_ms):
                self._tick(now_ms)
            case _:
                assert_never(event)
        # What a master says waits for the Tick that ends its batch: statuses that arrived together
        # are told, and so acknowledged, together. Else the first of them would go ahead alone.
        if not isinstance(event, MasterSpoke):
            if self.subscribed and not self._tearing_down:
                self._out += map(ToMaster, self._requests.unsaid())
            self._call_back()
        out, self._out = self._out, []
        return out

    def next_deadline_ms(self) -> int | None:
        """When a Tick is due; None: never, or with the next event."""
        if self._over:
            return None
        due = [self._offers.next_expiry_ms(), self._reconciliation.next_ms()]
        due.append(self._teardown_ends_ms)
        if self._stream is not _Stream.CLOSED:
            due += [self._heard_ms + SILENCE_MAX_MS, self._beat_ms + HEARTBEAT_INTERVAL_MS]
        return min((at for at in due if at is not None), default=None)

    def _say(self, call: SchedulerCall) -> None:
        self._out.append(ToMaster(call))

    def _say_or_keep(self, key: _KeptKey, call: SchedulerCall) -> None:
        """Say it now, or after the next Subscribed. A newer one of the same key replaces it."""
        if self.subscribed:
            self._say(call)
            return
        self._kept.pop(key, None)
        self._kept[key] = call
        if len(self._kept) > KEPT_CALLS_MAX:
            del self._kept[next(iter(self._kept))]

    # --- the stream -------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._fatal is not None:
            return
        self._close()
        self._stream = _Stream.OPEN
        self._heard_ms = self._beat_ms = self._now_ms
        self._say(
            Subscribe(
                self.config.framework,
                self.config.session_id,
                self._framework_id,
                resuming=bool(self._framework_id),
                suppressed_roles=tuple(self._suppressed),
                demand_roles=self._requests.subscribing(),
            )
        )

    def _lose(self, why: str) -> None:
        was_subscribed = self.subscribed
        self._close()
        if was_subscribed and self._fatal is None:
            self._queue.append(OnDisconnected(why))

    def _drop(self, why: str) -> None:
        self._out.append(DropStream(why))
        self._lose(why)

    def _close(self) -> None:
        self._stream = _Stream.CLOSED
        self._reconciliation.pause()
        self._teardown_ends_ms = None

    def _hear(self, epoch: int, said: SchedulerEvent) -> None:
        if self._stream is _Stream.CLOSED:
            return
        if epoch < self._epoch:
            # Whoever speaks was a master once (D1). Nothing good comes from this stream.
            self._drop(f"a master of an earlier epoch answers: {epoch}, not {self._epoch}")
            return
        self._epoch = epoch
        self._heard_ms = self._now_ms
        match said:
            case Heartbeat():
                pass
            case Refused(refusal, message):
                self._refused(refusal, message)
            case Subscribed(framework_id):
                self._subscribed(framework_id)
            case _:
                if self.subscribed:
                    self._hear_subscribed(said)

    def _hear_subscribed(
        self,
        said: Offers
        | Rescind
        | Update
        | AcceptResult
        | RequestUnsatisfiable
        | TaskMessage
        | AgentLost,
    ) -> None:
        match said:
            case Offers(offers):
                self._offered(offers)
            case Rescind(offer_ids):
                self._rescinded(self._offers.rescind(offer_ids))
            case Update(status):
                self._updated(status)
            case AcceptResult(number, results):
                self._answered(number, results)
            case RequestUnsatisfiable(request_id, refusal, message):
                if self._requests.told(request_id, refusal, message):
                    self._queue.append(OnUnsatisfiable(request_id, refusal, message))
            case TaskMessage(_, agent_id, task_id, data):
                self._queue.append(OnMessage(task_id, agent_id, data))
            case AgentLost(agent_id):
                self._queue.append(OnAgentLost(agent_id))
            case _:
                assert_never(said)

    def _subscribed(self, framework_id: str) -> None:
        if self.subscribed:
            return
        self._stream = _Stream.SUBSCRIBED
        self._framework_id = framework_id
        self._rescinded(self._offers.void())
        self._queue.append(OnSubscribed(framework_id))
        if self._tearing_down:
            self._kept.clear()  # all of its tasks end: nothing else is to be said
            self._tear_down()
            return
        self._launches.confirm_again()
        self._confirm()
        for accept in self._launches.unanswered():
            self._say(accept)
        for call in self._requests.begin():
            self._say(call)
        kept, self._kept = self._kept, {}
        for call in kept.values():
            self._say(call)
        for question in self._reconciliation.begin(self._now_ms):
            self._say(question)

    def _refused(self, refusal: Refusal, message: str) -> None:
        if self._fatal is not None:
            return
        if refusal is Refusal.FRAMEWORK_REMOVED and self._tearing_down:
            self._stopping = True
        elif refusal in PASSING_REFUSALS:
            self._drop(f"refused: {message or refusal.value}")
        else:
            self._close()
            self._queue.clear()
            self._fatal = OnError(refusal, message or refusal.value)
            self._queue.append(self._fatal)

    # --- offers -----------------------------------------------------------------------------------

    def _offered(self, offers: tuple[Offer, ...]) -> None:
        taken = tuple(offer for offer in offers if self._offers.add(offer, self._now_ms))
        if len(taken) < len(offers):
            here = self._offers
            self._decline(tuple(o.offer_id for o in offers if o.offer_id not in here), None)
        if not taken:
            return
        last = self._queue[-1] if self._queue else None
        if isinstance(last, OnOffers):
            # Nothing has happened in between: the author chooses better among more.
            self._queue[-1] = OnOffers(last.offers + taken)
        else:
            self._queue.append(OnOffers(taken))

    def _rescinded(self, offer_ids: list[str]) -> None:
        self._queue.extend(map(OnRescinded, offer_ids))

    def _decline(self, offer_ids: tuple[str, ...], refuse_ms: int | None) -> None:
        if not offer_ids:
            return
        if refuse_ms is None:
            refuse_ms = self._patience.next_ms(self._now_ms)
        if self.subscribed:  # else they are void: the next subscribe brings new ones
            self._say(Decline(offer_ids, refuse_ms))

    def _accept(self, decision: AcceptOffers) -> None:
        """Send it, or answer it here at once: every launch has an outcome, never silence."""
        offer_ids = tuple(offer.offer_id for offer in decision.offers)
        refusal = self._offers.why_not(decision.offers)
        if refusal is None and self._launches.full:
            refusal = Refusal.OUTBOX_FULL
        if refusal is not None:
            for operation in decision.operations:
                self._launch_refused(operation, decision, refusal, f"offers {', '.join(offer_ids)}")
            # As the master does: what is still valid in a refused accept goes back.
            self._decline(self._offers.take(offer_ids), decision.refuse_ms)
            return
        operations: dict[str, Operation] = {}
        for operation in decision.operations:
            task_id = task_id_of(operation)
            if self._has_task(task_id) or task_id in operations:
                self._launch_refused(operation, decision, Refusal.DUPLICATE_TASK, task_id)
            else:
                operations[task_id] = operation
        self._offers.take(offer_ids)
        if not operations:
            self._decline(offer_ids, decision.refuse_ms)
            return
        refuse_ms = decision.refuse_ms
        if refuse_ms is None:
            refuse_ms = self._patience.next_ms(self._now_ms)
        agent_id = decision.offers[0].agent_id
        for task_id, operation in operations.items():
            self._updates.launched(task_id)
            if isinstance(operation, Launch) and operation.request_id:
                self._requests.launched(operation.request_id)
        accept = self._launches.add(agent_id, offer_ids, tuple(operations.values()), refuse_ms)
        if self.subscribed:
            self._say(accept)

    def _has_task(self, task_id: str) -> bool:
        return task_id in self._reconciliation or self._launches.launching(task_id)

    def _launch_refused(
        self, operation: Operation, decision: AcceptOffers, refusal: Refusal, message: str
    ) -> None:
        """Answer a launch that is not even sent."""
        agent_id = decision.offers[0].agent_id if decision.offers else ""
        self._tell_refused(operation, OperationResult(refusal, message), agent_id, Source.SESSION)

    def _tell_refused(
        self, operation: Operation, refused: OperationResult, agent_id: str, source: Source
    ) -> TaskStatus:
        status = status_of_refused(
            operation,
            refused,
            framework_id=self._framework_id,
            agent_id=agent_id,
            source=source,
            now_ms=self._now_ms,
        )
        self._queue.append(OnStatus(status))
        return status

    def _answered(self, number: int, results: tuple[OperationResult, ...]) -> None:
        pending = self._launches.answered(number)
        if pending is None:
            return
        # A result that is missing can only be a master's fault: its task will be asked about.
        missing = (OperationResult(),) * (len(pending.accept.operations) - len(results))
        for operation, result in zip(pending.accept.operations, results + missing, strict=False):
            self._launch_answered(pending, operation, result)

    def _launch_answered(
        self, pending: Pending, operation: Operation, result: OperationResult
    ) -> None:
        task_id = task_id_of(operation)
        agent_id = pending.accept.agent_id
        ended = pending.seen.get(task_id)
        if isinstance(operation, Launch) and operation.request_id:
            refused = ended is None and result.refusal is not None and never_ran(result.refusal)
            self._requests.answered(operation.request_id, wanted_again=refused)
        if ended is None and not result.done:
            status = self._tell_refused(operation, result, agent_id, Source.MASTER)
            ended = status.terminal
            if result.refusal is Refusal.STALE_OFFER:
                # It never ran. That its agent had refused it as well is no news after this.
                self._updates.told(status)
        if ended:
            return
        self._reconciliation.learn(task_id, agent_id)
        if (kill := pending.kills.get(task_id)) is not None:
            self._say(kill)

    def _confirm(self) -> None:
        through = self._launches.to_confirm()
        if through is not None:
            self._say(ConfirmResults(through))

    # --- statuses ---------------------------------------------------------------------------------

    def _updated(self, status: TaskStatus) -> None:
        if status.update_id:
            match self._updates.arrived(status):
                case Arrival.ACKNOWLEDGED | Arrival.OLD_NEWS:
                    self._acknowledge(status)
                    return
                case Arrival.WAITING:
                    return
                case Arrival.NEW:
                    pass
        behind = not status.update_id and self._updates.behind(status)
        if not behind:
            self._updates.told(status)
        self._launches.heard(status)
        # What has ended is known no more, and no answer about it makes it known again.
        over = not status.terminal and self._updates.ended(status.task_id)
        if not over and not self._launches.launching(status.task_id):
            self._reconciliation.heard(status)
        if not behind:
            self._queue.append(OnStatus(status))

    def _acknowledge(self, status: TaskStatus) -> None:
        if status.update_id:
            self._updates.acknowledged(status)
            call = Acknowledge(
                status.agent_id, status.task_id, status.update_id, last=status.terminal
            )
            self._say_or_keep(("acknowledge", call), call)

    # --- callbacks --------------------------------------------------------------------------------

    def _call_back(self) -> None:
        """Run the next callback when none runs; or end, when the end was asked for."""
        while self._running is None and not self._over:
            if self._stopping:
                self._finish(Finish())
                return
            if not self._queue:
                return
            callback: Callback | OnStatuses = self._queue.popleft()
            if isinstance(callback, OnStatus):
                callback = self._with_statuses_after(callback)
            elif isinstance(callback, OnOffers):
                # `subscribed` may have made the first request: what crossed it is not wanted.
                left = (o.offer_id for o in callback.offers if self._requests.leaves(o))
                self._decline(self._offers.take(left), None)
                offers = self._offers.show(callback.offers)
                if not offers:
                    continue
                callback = OnOffers(offers)
            self._running = callback
            self._out.append(RunCallback(callback))

    def _with_statuses_after(self, first: OnStatus) -> OnStatus | OnStatuses:
        """It, or it and the statuses that wait right behind it."""
        queue = self._queue
        statuses = [first.status]
        while queue and len(statuses) < STATUSES_TOGETHER_MAX:
            following = queue[0]
            if not isinstance(following, OnStatus):
                break
            statuses.append(following.status)
            queue.popleft()
        return first if len(statuses) == 1 else OnStatuses(tuple(statuses))

    def _statuses_told(self, count: int) -> None:
        if isinstance(self._running, OnStatuses):
            told = self._running.statuses[self._told : self._told + count]
            self._told += count
            if self.config.acknowledge_automatically:
                for status in told:
                    self._acknowledge(status)

    def _returned(self) -> None:
        callback, self._running, self._told = self._running, None, 0
        match callback:
            case OnOffers(offers):
                self._decline(self._offers.take_unanswered(offers), None)
            case OnStatus(status) if self.config.acknowledge_automatically:
                self._acknowledge(status)
            case OnError(refusal, message):
                self._finish(Finish(refusal, message))
            case _:
                pass

    def _finish(self, finish: Finish) -> None:
        self._out.append(finish)
        self._over = True
        self._queue.clear()
        self._close()

    # --- decisions --------------------------------------------------------------------------------

    def _decide(self, decision: Decision) -> None:
        if not isinstance(decision, DeclineOffers | AcknowledgeStatus):
            self._patience.reset()  # it has something to do: it wants to see offers soon
        match decision:
            case AcceptOffers():
                self._accept(decision)
            case DeclineOffers(offers, refuse_ms):
                here = self._offers.take(offer.offer_id for offer in offers)
                self._decline(here, refuse_ms)
            case HoldOffer(offer):
                self._offers.hold(offer.offer_id)
            case ReviveRoles(roles):
                for role in roles or tuple(self._suppressed):
                    self._suppressed.pop(role, None)
                self._say_or_keep(("revive", roles), Revive(roles))
            case SuppressRoles(roles):
                own = self.config.framework.roles
                self._suppressed |= dict.fromkeys(r for r in own if r in roles or not roles)
                self._say_or_keep(("suppress", roles), Suppress(roles))
            case MakeRequest(request):
                if not self._requests.make(request):
                    refusal, message = Refusal.TOO_MANY_REQUESTS, f"it has {REQUESTS_MAX:,}"
                    self._queue.append(OnUnsatisfiable(request.request_id, refusal, message))
            case DropRequests(request_ids):
                withdrawn = self._requests.drop(request_ids)
                if withdrawn is not None and self.subscribed:  # else the next subscribe says it
                    self._say(withdrawn)
            case KillTask(task_id, grace_ms):
                kill = Kill(task_id, self._reconciliation.agent_of(task_id), grace_ms)
                self._launches.killed(kill)
                self._say_or_keep(("kill", task_id), kill)
            case ReconcileTasks(tasks):
                for reference in tasks:
                    self._updates.asked(reference.task_id)
                self._say_or_keep(("reconcile", tasks), Reconcile(tasks))
            case SendMessage(task_id, agent_id, data):
                if self.subscribed:
                    self._say(TaskMessage(self._framework_id, agent_id, task_id, data))
            case AcknowledgeStatus(status):
                self._acknowledge(status)
            case protocol.Teardown():
                self._tearing_down = True
                if self.subscribed:
                    self._tear_down()
            case Stop():
                self._stopping = True
            case _:
                assert_never(decision)

    def _tear_down(self) -> None:
        self._reconciliation.pause()
        self._say(Teardown())
        self._teardown_ends_ms = self._now_ms + TEARDOWN_WAIT_MS

    # --- time -------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._rescinded(self._offers.expire(now_ms))
        if self._stream is _Stream.CLOSED:
            return
        if now_ms >= self._heard_ms + SILENCE_MAX_MS:
            self._drop(f"nothing was heard of the master for {SILENCE_MAX_MS // 1_000} s")
            return
        if now_ms >= self._beat_ms + HEARTBEAT_INTERVAL_MS:
            self._beat_ms = now_ms
            self._beats += 1
            self._say(Heartbeat(self._beats))
        if self._teardown_ends_ms is not None:
            self._stopping = self._stopping or now_ms >= self._teardown_ends_ms
        elif self.subscribed:
            self._confirm()
            for question in self._reconciliation.tick(now_ms):
                self._say(question)

    def check(self) -> None:
        """Assert every invariant, O(n log n). Tests call it after each event; production never."""
        self._offers.check()
        self._launches.check()
        self._requests.check()
        self._updates.check()
        self._reconciliation.check()
        assert not self._out
        assert not (self.subscribed and self._kept), "kept calls are said when subscribed"
        assert self._told == 0 or isinstance(self._running, OnStatuses)
        assert len(self._kept) <= KEPT_CALLS_MAX
        assert not (self._fatal is not None and self._stream is not _Stream.CLOSED)
        known = self._reconciliation.known
        assert not any(self._launches.launching(task_id) for task_id in known)
