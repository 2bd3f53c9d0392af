"""The world around a session: masters that fail over, agents that resend, a stream that is cut.

It plays the far side by the rules of messages.py and D1, D2 and D7, and writes down
what it was told, so that the laws can be checked against both sides.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    Offers,
    Reconcile,
    RequestResources,
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
    WithdrawRequests,
)
from mesoslite.model import (
    Launch,
    Offer,
    OperationResult,
    Reason,
    Refusal,
    Request,
    Source,
    TaskStatus,
)
from mesoslite.resources import Resources

DONE = OperationResult()
FRAMEWORK = "1-F1"
LEASE_MS = 30_000
LIFE = {TaskState.STARTING: TaskState.RUNNING, TaskState.RUNNING: TaskState.FINISHED}


@dataclass
class AgentTask:
    """A task as its agent has it: the truth."""

    agent_id: str
    state: TaskState
    unacknowledged: deque[TaskStatus] = field(default_factory=deque)
    updates: int = 0

    def becomes(self, task_id: str, state: TaskState) -> None:
        self.state = state
        self.updates += 1
        status = TaskStatus(
            task_id, state, FRAMEWORK, self.agent_id, update_id=f"{task_id}-{self.updates}"
        )
        self.unacknowledged.append(status)


class World:
    """One master at a time, its agents, and both directions of one stream."""

    def __init__(self) -> None:
        self.epoch = 1
        self.open = False
        self.subscribed = False
        self.to_session: deque[SchedulerEvent] = deque()
        self.to_master: deque[SchedulerCall] = deque()
        self.offers: dict[str, Offer] = {}
        self.offer_count = 0
        self.made_ms: dict[str, int] = {}
        self.results: dict[int, AcceptResult] = {}
        self.confirmed = 0
        self.tasks: dict[str, AgentTask] = {}
        self.refuse_next: Refusal | None = None
        self.wanted: dict[str, int] = {}  # units, by request id
        self.demand_roles: set[str] = set()
        # what was told, for the laws
        self.answers: Counter[str] = Counter()
        self.accepts: dict[int, Accept] = {}
        self.acknowledged: Counter[tuple[str, str]] = Counter()
        self.subscribes: list[Subscribe] = []

    # --- the stream -------------------------------------------------------------------------------

    def open_stream(self) -> None:
        assert not self.open
        self.open = True
        self.subscribed = False
        self.to_session.clear()
        self.to_master.clear()

    def cut(self, read: int) -> None:
        """The stream ends: the master reads some of what is on its way to it, the rest is lost."""
        for _ in range(min(read, len(self.to_master))):
            self.master_reads()
        self.open = self.subscribed = False
        self.to_master.clear()
        self.to_session.clear()
        self.offers.clear()  # a subscribe voids them in any case

    def fail_over(self) -> None:
        """Another master takes over: offers and results are gone, agents tell it of their tasks."""
        if self.open:
            self.cut(0)
        self.epoch += 1
        self.results.clear()
        self.confirmed = 0
        self.wanted.clear()

    def say(self, event: SchedulerEvent) -> None:
        if self.subscribed:
            self.to_session.append(event)

    # --- the master -------------------------------------------------------------------------------

    def offer(self, agents: list[str], now_ms: int, request_id: str = "") -> None:
        if not self.subscribed:
            return
        made = []
        for agent_id in agents:
            self.offer_count += 1
            offer = Offer(
                f"{self.epoch}-{self.offer_count}",
                FRAMEWORK,
                agent_id,
                agent_id,
                "*",
                Resources(cpus=4, mem=1024),
                lease_ms=LEASE_MS,
                request_id=request_id,
            )
            self.made_ms[offer.offer_id] = now_ms
            made.append(self.offers.setdefault(offer.offer_id, offer))
        self.say(Offers(tuple(made)))

    def rescind(self, offer_id: str) -> None:
        del self.offers[offer_id]
        self.say(Rescind((offer_id,)))

    def end_leases(self, now_ms: int) -> None:
        for offer_id in list(self.offers):
            if self.made_ms[offer_id] + LEASE_MS <= now_ms:
                self.rescind(offer_id)

    def master_reads(self) -> None:
        call = self.to_master.popleft()
        match call:
            case Subscribe():
                self.subscribes.append(call)
                self.subscribed = True
                self.offers.clear()
                self.wanted.clear()
                self.demand_roles = set(call.demand_roles)
                self.say(Subscribed(FRAMEWORK))
                self.resend_statuses()
            case Accept():
                self.accept(call)
            case Decline(offer_ids, refuse_ms):
                assert 0 < refuse_ms <= 60_000
                for offer_id in offer_ids:
                    self.answer(offer_id)
            case RequestResources(requests):
                for request in requests:
                    assert isinstance(request, Request)
                    self.demand_roles.add(request.role)
                    self.wanted[request.request_id] = request.count
                    self.launched(request.request_id, 0)
            case WithdrawRequests(request_ids, roles):
                for request_id in request_ids or list(self.wanted):
                    self.wanted.pop(request_id, None)
                self.demand_roles -= set(roles if not request_ids else ())
            case ConfirmResults(through):
                self.confirmed = max(self.confirmed, through)
                for number in [n for n in self.results if n <= through]:
                    del self.results[number]
            case Acknowledge(agent_id, task_id, update_id):
                self.acknowledge(agent_id, task_id, update_id)
            case Reconcile(references):
                for task_id in [r.task_id for r in references] or list(self.tasks):
                    self.answer_question(task_id)
            case Kill(task_id):
                task = self.tasks.get(task_id)
                if task is not None and not task.state.terminal:
                    task.becomes(task_id, TaskState.KILLED)
                    self.resend_statuses()
            case Heartbeat() | Revive() | Suppress() | TaskMessage() | Teardown():
                pass

    def answer(self, offer_id: str) -> None:
        self.answers[offer_id] += 1
        self.offers.pop(offer_id, None)

    def accept(self, call: Accept) -> None:
        known = self.accepts.setdefault(call.number, call)
        assert known == call, "a number means one accept for ever"
        assert call.number > self.confirmed, "nothing confirmed is said again"
        if call.number not in self.results:
            self.results[call.number] = AcceptResult(call.number, self.decide(call))
        self.say(self.results[call.number])

    def decide(self, call: Accept) -> tuple[OperationResult, ...]:
        of_this_master = all(i.startswith(f"{self.epoch}-") for i in call.offer_ids)
        valid = all(offer_id in self.offers for offer_id in call.offer_ids)
        for offer_id in call.offer_ids:
            if offer_id in self.offers:
                self.answer(offer_id)
        results = []
        for operation in call.operations:
            assert isinstance(operation, Launch)
            task_id = operation.task.task_id
            refusal, self.refuse_next = self.refuse_next, None
            if not of_this_master:
                truth = task_id in self.tasks
                results.append(DONE if truth else OperationResult(Refusal.STALE_OFFER))
            elif not valid:
                results.append(OperationResult(Refusal.UNKNOWN_OFFER))
            elif refusal is not None:
                results.append(OperationResult(refusal))
            else:
                self.tasks[task_id] = AgentTask(call.agent_id, TaskState.STAGING)
                self.launched(operation.request_id, 1)
                results.append(DONE)
        return tuple(results)

    def launched(self, request_id: str, units: int) -> None:
        if request_id in self.wanted:
            self.wanted[request_id] -= units
            if self.wanted[request_id] <= 0:
                del self.wanted[request_id]

    def answer_question(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        state = TaskState.UNKNOWN if task is None else task.state
        if task is not None and task.unacknowledged:
            state = task.unacknowledged[0].state
        self.say(
            Update(
                TaskStatus(
                    task_id,
                    state,
                    FRAMEWORK,
                    task.agent_id if task is not None else "",
                    source=Source.MASTER,
                    reason=Reason.RECONCILIATION,
                )
            )
        )

    # --- agents -----------------------------------------------------------------------------------

    def advance(self, task_id: str) -> None:
        task = self.tasks[task_id]
        if not task.state.terminal:
            following = LIFE.get(task.state, TaskState.STARTING)
            task.becomes(task_id, following)
            if len(task.unacknowledged) == 1:
                self.say(Update(task.unacknowledged[0]))

    def resend_statuses(self) -> None:
        for task in self.tasks.values():
            if task.unacknowledged:
                self.say(Update(task.unacknowledged[0]))

    def acknowledge(self, agent_id: str, task_id: str, update_id: str) -> None:
        self.acknowledged[task_id, update_id] += 1
        task = self.tasks[task_id]
        assert task.agent_id == agent_id
        if task.unacknowledged and task.unacknowledged[0].update_id == update_id:
            task.unacknowledged.popleft()
            if task.unacknowledged:
                self.say(Update(task.unacknowledged[0]))
