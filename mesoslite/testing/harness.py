"""A scheduler on the bench: give it events, and see what it decides.

`Harness` calls the callbacks and returns what they decided. `SessionHarness` puts the real session
around the scheduler and returns what would be said to the master.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence

from mesoslite.attributes import Attribute, parse_attributes
from mesoslite.lifecycle import TaskState
from mesoslite.messages import SchedulerCall, SchedulerEvent, Subscribed
from mesoslite.model import (
    STORE_BYTES_MAX,
    Entry,
    Launch,
    Offer,
    Reason,
    Refusal,
    Request,
    Task,
    TaskStatus,
)
from mesoslite.operations import OperationStatus
from mesoslite.reservations import Change, CreateVolume, DestroyVolume, Reserve, Unreserve
from mesoslite.resources import Number, Pairs, Resources
from mesoslite.scheduler.calling import call, each, session_config
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    Callback,
    CallbackReturned,
    CallStore,
    Decided,
    Decision,
    DeclineOffers,
    DropRequests,
    DropStream,
    Event,
    Finish,
    KillTask,
    MakeRequest,
    MasterSpoke,
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
    RunCallback,
    StatusesTold,
    StoreAnswered,
    StreamLost,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.scheduler import Scheduler, an_object
from mesoslite.scheduler.session import Session
from mesoslite.shelf import Shelf

FRAMEWORK_ID = "framework-1"
AGENT_ID = "agent-1"
START_MS = 1_700_000_000_000  # any time will do


def offer(
    *,
    cpus: Number = 4,
    mem: Number = 8_192,
    disk: Number = 0,
    gpus: Number = 0,
    ports: Pairs = (),
    resources: Resources | None = None,
    role: str = "*",
    agent_id: str = AGENT_ID,
    hostname: str | None = None,
    attributes: str | Sequence[Attribute] = (),
    containerizers: Sequence[str] = ("process",),
    offer_id: str | None = None,
    lease_s: float = 30,
    request_id: str = "",
    region: str = "",
    zone: str = "",
) -> Offer:
    """An offer, of 4 cpus and 8 GiB unless told otherwise.

    >>> offer(cpus=2, attributes="rack:r1").hostname
    'agent-1'

    Its id is `offer-of-AGENT`, so give one to a second offer of the same agent.
    """
    if resources is None:
        resources = Resources(cpus=cpus, mem=mem, disk=disk, gpus=gpus, ports=ports)
    if isinstance(attributes, str):
        attributes = parse_attributes(attributes)
    return Offer(
        offer_id=offer_id or f"offer-of-{agent_id}",
        framework_id=FRAMEWORK_ID,
        agent_id=agent_id,
        hostname=hostname or agent_id,
        role=role,
        resources=resources,
        attributes=tuple(attributes),
        containerizers=tuple(containerizers),
        lease_ms=round(lease_s * 1_000),
        request_id=request_id,
        region=region,
        zone=zone,
    )


def status(
    task: str | Task,
    state: TaskState,
    *,
    agent_id: str = AGENT_ID,
    reason: Reason | None = None,
    refusal: Refusal | None = None,
    message: str = "",
    exit_code: int | None = None,
    signal: int | None = None,
    update_id: str | None = None,
) -> TaskStatus:
    """A status of a task, as its agent would send it.

    >>> status("t1", TaskState.FINISHED, exit_code=0).terminal
    True

    Its update id is `TASK-STATE`; "" makes it one that is not acknowledged.
    """
    task_id = task.task_id if isinstance(task, Task) else task
    return TaskStatus(
        task_id,
        state,
        framework_id=FRAMEWORK_ID,
        agent_id=agent_id,
        update_id=f"{task_id}-{state.name}" if update_id is None else update_id,
        reason=reason,
        refusal=refusal,
        message=message,
        exit_code=exit_code,
        signal=signal,
    )


class Decisions(list[Decision]):
    """What a scheduler decided, in order: a list that can be asked for the usual things."""

    @property
    def launched(self) -> tuple[Task, ...]:
        """The tasks that it launched, on whatever offers."""
        return tuple(
            operation.task
            for decision in self
            if isinstance(decision, AcceptOffers)
            for operation in decision.operations
            if isinstance(operation, Launch)
        )

    @property
    def changed(self) -> tuple[Change, ...]:
        """What it reserved, gave up, created and destroyed, on whatever offers."""
        return tuple(
            operation
            for decision in self
            if isinstance(decision, AcceptOffers)
            for operation in decision.operations
            if isinstance(operation, Reserve | Unreserve | CreateVolume | DestroyVolume)
        )

    @property
    def declined(self) -> tuple[str, ...]:
        """The ids of the offers that it declined."""
        return tuple(
            one.offer_id
            for decision in self
            if isinstance(decision, DeclineOffers)
            for one in decision.offers
        )

    @property
    def requested(self) -> tuple[Request, ...]:
        """What it requested."""
        return tuple(one.request for one in self if isinstance(one, MakeRequest))

    @property
    def withdrawn(self) -> tuple[str, ...]:
        """The ids of the requests that it withdrew by name."""
        return tuple(i for one in self if isinstance(one, DropRequests) for i in one.request_ids)

    @property
    def killed(self) -> tuple[str, ...]:
        """The ids of the tasks that it asked to end."""
        return tuple(decision.task_id for decision in self if isinstance(decision, KillTask))


class Harness:
    """Calls the callbacks of a scheduler and returns what each decided.

    >>> class Greeter(Scheduler):
    ...     name = "greeter"
    ...     def resource_offers(self, offers):
    ...         self.launch(offers[0], Task("hello", ["echo", "hi"], Resources(cpus=1, mem=32)))
    ...     def status_update(self, status):
    ...         if status.terminal:
    ...             self.stop()
    >>> bench = Harness(Greeter())
    >>> bench.offers(offer(cpus=2)).launched[0].command
    ('echo', 'hi')
    >>> bench.status(status("hello", TaskState.FINISHED))
    [Stop()]

    An exception in a callback is raised here. Coroutines are run to their end, so call from a
    plain test function, not from a running event loop. `scheduler.store` answers at once, from
    what `entries` has. Raises TypeError for a class instead of an object.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = an_object(scheduler)
        self._shelf = Shelf()
        self._looked_at = 0
        scheduler.store._open(self._serve)

    @property
    def entries(self) -> dict[str, Entry]:
        """What the framework's store has, by key, with what launches have written."""
        self._write_along()
        return dict(self._shelf.entries)

    def _serve(self, decision: CallStore) -> None:
        self._write_along()
        self.scheduler.store._answered(self._shelf.answer(decision.call))

    def _write_along(self) -> None:
        """Do the writes of launches that were decided since the last time."""
        calls = list(self.scheduler._calls)
        for decision in calls[self._looked_at :]:
            if isinstance(decision, AcceptOffers) and decision.writes:
                objection = self._shelf.why_not(decision.writes, STORE_BYTES_MAX)
                if objection is None:
                    self._shelf.change(decision.writes)
        self._looked_at = len(calls)

    def decisions(self) -> Decisions:
        """What was decided outside of callbacks since the last question."""
        self._write_along()
        self._looked_at = 0
        return Decisions(self.scheduler._take_calls())

    def subscribed(self, framework_id: str = FRAMEWORK_ID) -> Decisions:
        """The master knows the framework now."""
        return self.call(OnSubscribed(framework_id))

    def offers(self, *offers: Offer) -> Decisions:
        """These offers arrive, together."""
        return self.call(OnOffers(offers))

    def rescinded(self, offer_id: str | Offer) -> Decisions:
        """An offer is void."""
        return self.call(
            OnRescinded(offer_id.offer_id if isinstance(offer_id, Offer) else offer_id)
        )

    def status(self, status: TaskStatus) -> Decisions:
        """A status of a task arrives."""
        return self.call(OnStatus(status))

    def operation(self, status: OperationStatus) -> Decisions:
        """The end of a change arrives."""
        return self.call(OnOperation(status))

    def unsatisfiable(
        self, request_id: str, refusal: Refusal = Refusal.NO_AGENT_FITS, message: str = ""
    ) -> Decisions:
        """What it requested can not be offered."""
        return self.call(OnUnsatisfiable(request_id, refusal, message))

    def message(self, task_id: str, data: bytes, agent_id: str = AGENT_ID) -> Decisions:
        """A task sends bytes."""
        return self.call(OnMessage(task_id, agent_id, data))

    def agent_lost(self, agent_id: str = AGENT_ID) -> Decisions:
        """An agent is not heard of any more."""
        return self.call(OnAgentLost(agent_id))

    def disconnected(self, why: str = "the master went away") -> Decisions:
        """The stream to the master is lost."""
        return self.call(OnDisconnected(why))

    def error(self, refusal: Refusal, message: str = "") -> Decisions:
        """The master does not want this scheduler any more."""
        return self.call(OnError(refusal, message))

    def call(self, callback: Callback) -> Decisions:
        """Run any callback; earlier decisions from outside of callbacks are left out."""
        self.decisions()
        returned = call(self.scheduler, callback)
        if returned is not None:
            _run_to_its_end(returned)
        return self.decisions()


def _run_to_its_end(returned: Awaitable[None]) -> None:
    async def finish() -> None:
        await returned

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(finish())
        return
    if isinstance(returned, Coroutine):
        returned.close()
    raise RuntimeError("the harness runs coroutines itself: call it from a plain function")


class SessionHarness:
    """A scheduler with its real session: what the master says goes in, what it is told comes out.

    >>> class Greeter(Scheduler):
    ...     name = "greeter"
    ...     def resource_offers(self, offers):
    ...         self.launch(offers[0], Task("hello", ["echo", "hi"], Resources(cpus=1, mem=32)))
    >>> from mesoslite.messages import Offers
    >>> bench = SessionHarness(Greeter())
    >>> [type(call).__name__ for call in bench.subscribe()]
    ['Subscribe', 'Reconcile']
    >>> [type(call).__name__ for call in bench.hears(Offers((offer(), offer(agent_id="a2"))))]
    ['Accept', 'Decline']

    Callbacks run at once; time stands still but for `passes`. Streams open at once when told to.
    """

    def __init__(self, scheduler: Scheduler, *, session_id: str = "session-1") -> None:
        self.scheduler = scheduler
        self.bench = Harness(scheduler)
        self.session = Session(session_config(scheduler, session_id))
        self.now_ms = START_MS
        self.epoch = 1
        self.callbacks: list[Callback] = []
        """Every callback that was run, in order."""
        self.dropped: list[str] = []
        """Why the session gave up streams by itself."""
        self.finish: Finish | None = None
        """How it ended, when it has."""
        self.handle(Tick(self.now_ms))

    def subscribe(self, framework_id: str = FRAMEWORK_ID) -> list[SchedulerCall]:
        """A stream opens, and the master takes the framework; what is said on it."""
        opened = self.handle(StreamOpened())
        return opened + self.hears(Subscribed(framework_id))

    def hears(self, event: SchedulerEvent) -> list[SchedulerCall]:
        """The master says this; what it is told thereupon."""
        return self.handle(MasterSpoke(self.epoch, event))

    def loses_stream(self, why: str = "the stream was cut") -> list[SchedulerCall]:
        """The stream ends."""
        return self.handle(StreamLost(why))

    def passes(self, duration_s: float) -> list[SchedulerCall]:
        """Time passes, with every deadline of the session in it."""
        end_ms = self.now_ms + round(duration_s * 1_000)
        said: list[SchedulerCall] = []
        while (due_ms := self.session.next_deadline_ms()) is not None and due_ms < end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            said += self.handle(Tick(self.now_ms))
        self.now_ms = end_ms
        return said + self.handle(Tick(end_ms))

    def decides(self) -> list[SchedulerCall]:
        """What was called on the scheduler outside of callbacks reaches its session."""
        return [call for one in self.bench.decisions() for call in self.handle(Decided(one))]

    def handle(self, event: Event) -> list[SchedulerCall]:
        """Any event of the session's contract, and the callbacks that follow from it."""
        said: list[SchedulerCall] = []
        events = [event]
        while events:
            for effect in self.session.handle(events.pop(0)):
                match effect:
                    case ToMaster(call):
                        said.append(call)
                    case RunCallback(callback):
                        for one in each(callback):
                            if self.scheduler._stop_called:
                                break
                            self.callbacks.append(one)
                            events += map(Decided, self.bench.call(one))
                            if isinstance(callback, OnStatuses):
                                events.append(StatusesTold(1))
                        events.append(CallbackReturned())
                    case DropStream(why):
                        self.dropped.append(why)
                    case StoreAnswered(answer):
                        self.scheduler.store._answered(answer)
                    case Finish():
                        self.finish = effect
            self.session.check()
        # What is only said at the end of a batch of events, as the driver ends each with a Tick.
        return said if isinstance(event, Tick) else said + self.handle(Tick(self.now_ms))
