"""The class that a framework author subclasses.

Its callbacks tell what happened; its methods say what is to be done about it. They only record
decisions, which the session turns into messages: so a scheduler needs no master to be tested, see
`mesoslite.testing.Harness`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableSequence, Sequence
from dataclasses import replace
from typing import Self

from mesoslite.model import (
    DAY_MS,
    DEFAULT_FAILOVER_TIMEOUT_MS,
    DEFAULT_ROLE,
    ID_PATTERN,
    REFUSE_MS_MAX,
    FrameworkInfo,
    Launch,
    Offer,
    Policy,
    Refusal,
    Request,
    Task,
    TaskReference,
    TaskStatus,
    Uri,
    why_not_request,
)
from mesoslite.operations import OperationReference, OperationStatus
from mesoslite.reservations import Change
from mesoslite.reserved import has_reserved, of_nobody, part_of
from mesoslite.resources import Number, Resources, why_not_role
from mesoslite.scheduler.changes import Asked, checked, with_volumes
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    AskOperations,
    Decision,
    DeclineOffers,
    DropRequests,
    HoldOffer,
    KillTask,
    MakeRequest,
    ReconcileTasks,
    ReviveRoles,
    SendMessage,
    Stop,
    SuppressRoles,
    Teardown,
)
from mesoslite.scheduler.store import Store, StoreChanges, store_writes
from mesoslite.where import Where

#: Calls that were made and not taken yet: before `run`, or while the driver is behind. ~200 B each.
DECISIONS_WAITING_MAX = 200_000
MESSAGE_DATA_BYTES_MAX = 256 * 1024  # as the wire takes: a word between programs, not a file
GRACE_MS_MAX = 3_600_000
#: Tasks that `take_fitting` looks at and passes over before it stops: ~0.5 us each.
PASSED_OVER_MAX = 1_000
#: Tasks of one launch: of the usual size they fit into one message.
LAUNCHED_MAX = 1_000
NAME_MAX = 255

Returned = Awaitable[None] | None
"""What a callback returns: nothing, or a coroutine that is awaited before the next callback."""


class Scheduler:
    """Subclass this: name it, answer offers, listen to statuses, and hand it to `run`.

        class Sleepers(Scheduler):
            name = "sleepers"

            def __init__(self):
                self.waiting = [
                    Task(f"nap-{i}", ["sleep", "5"], Resources(cpus=0.5, mem=32)) for i in range(9)
                ]

            def resource_offers(self, offers):
                for offer in offers:
                    self.launch(offer, take_fitting(self.waiting, offer.resources))

            def status_update(self, status):
                print(status.task_id, status.state.name)

        run(Sleepers(), master="localhost:5060")

    Callbacks run one after another, never two at a time. Plain ones run in a thread of their own,
    `async def` ones on the event loop, where they must not block. An exception in a callback ends
    `run` with it, and what the callback was told is told again to the next scheduler.

    The methods may be called from any thread, at any time, also before `run`. They return at once:
    what comes of a call arrives at a callback. They raise TypeError or ValueError for what can not
    be right, RuntimeError when more than DECISIONS_WAITING_MAX calls wait.
    """

    name: str = ""
    """Who this framework is, together with the principal of its token: 1 to 128 characters of
    `[A-Za-z0-9._-]`. A second scheduler of the same name takes over from the first."""
    roles: Sequence[str] = (DEFAULT_ROLE,)
    """The roles it takes offers for; each offer is for one of them."""
    failover_timeout_s: float = DEFAULT_FAILOVER_TIMEOUT_MS / 1_000
    """For how many seconds its tasks live on while no scheduler of this name is connected."""
    acknowledge_automatically: bool = True
    """Whether a status counts as dealt with when `status_update` returns. If False, call
    `acknowledge` for each; until then the next one of that task does not come. The same goes for
    `operation_update`; a scheduler that has none has dealt with what it would have been told."""

    store: Store
    """Entries that the master keeps for this framework, for the next scheduler of it too."""

    _calls_lock: threading.Lock
    _calls: deque[Decision]
    _requests_made: int
    _notify: Callable[[], None] | None
    _stop_called: bool

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        # Not in __init__: who subclasses this need not think of calling it.
        scheduler = super().__new__(cls)
        scheduler.store = Store()
        scheduler._calls_lock = threading.Lock()
        scheduler._calls = deque()
        scheduler._requests_made = 0
        scheduler._notify = None
        scheduler._stop_called = False
        return scheduler

    # --- callbacks: override these ----------------------------------------------------------------

    def subscribed(self, framework_id: str) -> Returned:
        """The master knows this framework now; also after each loss of the connection.

        Offers from before are void, as `offer_rescinded` has told. The states of all tasks are
        asked for, and arrive as statuses with reason RECONCILIATION: also of those that an
        earlier scheduler of this name has launched.
        """

    def resource_offers(self, offers: Sequence[Offer]) -> Returned:
        """Resources that are yours until this returns: `launch` on them, or leave them.

        What is neither launched on nor held goes back, and is offered again after 5 seconds; after
        up to 60 while nothing is called but `decline`. `revive` asks for offers at once.

        What a task leaves may be offered before `status_update` tells of its end, since resources
        are given away as soon as they are free: who takes one task at a time holds such an offer.

        Who has called `request` is offered only what was requested, cut to whole units of it:
        `offer.request_id` tells of which request.
        """

    def offer_rescinded(self, offer_id: str) -> Returned:
        """An offer that you were shown and have not answered is void."""

    def status_update(self, status: TaskStatus) -> Returned:
        """What became of a task. `status.terminal` tells whether it has ended for good.

        In order for each task. Each at least once: it is repeated when the scheduler died before
        it returned from here. The end of a task is told once in the life of a scheduler process,
        unless `reconcile` asks for it. A refused launch comes here too, with reason
        LAUNCH_REFUSED: DROPPED may be launched again under a new id, ERROR never works.
        """

    def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> Returned:
        """What was requested can not be offered; `message` tells what is missing and how much.

        NO_AGENT_FITS: no agent could hold one unit even if it were empty. The request stays, since
        an agent that fits may join; `withdraw` it if that is not to be waited for. With any other
        refusal it is not in force.
        """

    def operation_update(self, status: OperationStatus) -> Returned:
        """What became of a Reserve, Unreserve, CreateVolume or DestroyVolume of an `accept`.

        Each has one end: FINISHED when it is on its agent's disk, else `refusal` tells why not
        (docs/reservations.md). An end that this scheduler process never heard of is told again.
        """

    def framework_message(self, task_id: str, agent_id: str, data: bytes) -> Returned:
        """Bytes from the process of a task; at most once."""

    def agent_lost(self, agent_id: str) -> Returned:
        """An agent is not heard of any more. A hint: the statuses of its tasks tell the rest."""

    def disconnected(self, why: str) -> Returned:
        """The master is not heard of any more; the session goes on trying. Tasks run on."""

    def error(self, refusal: Refusal, message: str) -> Returned:
        """The master does not want this scheduler any more; then `run` raises FrameworkError."""

    # --- calls ------------------------------------------------------------------------------------

    def launch(
        self,
        offers: Offer | Iterable[Offer],
        tasks: Task | Iterable[Task],
        *,
        refuse_s: float | None = None,
        store: StoreChanges | None = None,
    ) -> None:
        """Start tasks on an offer, or on several of one agent. Each offer can be used once.

        What the tasks leave of it goes back, and so little of that agent is not offered for
        `refuse_s` seconds (0 to a year; None: as long as seems right). No tasks: `decline`.
        At most 1,000 tasks. A launch that cannot be is answered by a status, never with silence.
        On an offer that was requested each task takes one unit of its request.

        `store` is written in the same commit, when at least one of the tasks is launched: keys
        with values (None: remove), or with (value, version that is expected). If one of them can
        not be written nothing is launched, and each task is DROPPED with STORE_CONFLICT or
        STORE_FULL (docs/store.md).
        """
        launched = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
        self._accept("launch", offers, _launches(launched), refuse_s, store)

    def accept(
        self,
        offers: Offer | Iterable[Offer],
        operations: Iterable[Asked],
        *,
        refuse_s: float | None = None,
        store: StoreChanges | None = None,
    ) -> None:
        """Do several things with an offer, in order: a later one may use what an earlier one made.

            self.accept(offer, [
                Reserve("broker-0", Resources(cpus=1, mem="1GiB", disk="10GiB")),
                CreateVolume("data-0", Resources(disk="10GiB"), reservation_id="broker-0"),
                Launch(task),
            ])

        Of `Reserve`, `Unreserve`, `CreateVolume` and `DestroyVolume` each is answered by
        `operation_update`, of `Launch` by statuses, and each stands for itself. All else is as in
        `launch`; `store` is written when one of the operations is done or sent.
        """
        self._accept("accept", offers, checked(operations), refuse_s, store)

    def _accept(
        self,
        what: str,
        offers: Offer | Iterable[Offer],
        operations: Sequence[Launch | Change],
        refuse_s: float | None,
        store: StoreChanges | None,
    ) -> None:
        given = _offers(offers)
        if not given:
            raise ValueError(f"{what} needs an offer")
        if len({offer.agent_id for offer in given}) > 1:
            raise ValueError(f"the offers of one {what} must be of one agent")
        if len({offer.role for offer in given}) > 1:
            raise ValueError(f"the offers of one {what} must be for one role")
        if len({offer.offer_id for offer in given}) < len(given):
            raise ValueError(f"one {what} names an offer twice")
        launches = [operation for operation in operations if isinstance(operation, Launch)]
        if len(launches) > LAUNCHED_MAX:
            raise ValueError(f"{len(launches)} tasks are over the limit of {LAUNCHED_MAX} a {what}")
        if what != "launch":
            _launches(tuple(launch.task for launch in launches))
        refuse_ms = _refuse_ms(refuse_s)
        writes = store_writes(store) if store is not None else ()
        if not operations:
            self._record(DeclineOffers(given, refuse_ms))
            return
        if any(launch.task.volumes for launch in launches):
            operations = with_volumes(given, operations)
        self._record(AcceptOffers(given, _requested(given, operations), refuse_ms, writes))

    def request(
        self,
        *,
        count: int = 1,
        cpus: Number = 0,
        mem: Number = 0,
        disk: Number = 0,
        gpus: Number = 0,
        ports: int = 0,
        resources: Resources = Resources.EMPTY,
        where: str = "",
        policy: Policy | str = Policy.SPREAD,
        role: str | None = None,
        request_id: str | None = None,
    ) -> str:
        """Ask for `count` units, each of them on one agent, and be offered only what was asked for.

            self.request(cpus=2, mem="4GiB", count=10, where="rack != r1")

        A unit is what a task needs: `ports` is how many of them, whichever are free, and
        `resources` is added to the rest, for custom resources and single ports. `where` is an
        expression over the attributes, hostname, region and zone of agents (docs/demand.md).
        `policy` "spread" takes the emptiest agents, "binpack" the fullest.

        `count` is what is still wanted from now on, beside what was launched: each launch on an
        offer of this request counts it down by one, and a launch that was refused up again; a
        task's end does not. Offers hold one unit or more, and all together no more than is wanted.

        Returns the id of the request. Given again it replaces the request: raise it, lower it, or
        0 to end it. From the first request for a role on nothing else is offered in that role but
        what is reserved for it; make it before `run`, as with count 0, to be spared the rest from
        the start. What cannot be offered is told to `request_unsatisfiable`. `role` may be left out
        when there is but one. Raises InvalidWhere, InvalidResources, ValueError or TypeError.
        """
        if role is None:
            if len(self.roles) != 1:
                raise ValueError(f"which role of {', '.join(self.roles)} is the request for?")
            [role] = self.roles
        self._own((role,))
        for noun, number in (("count", count), ("ports", ports)):
            if type(number) is not int:
                raise TypeError(f"{noun} is a whole number, not {type(number).__name__}")
        if request_id is None:
            with self._calls_lock:
                self._requests_made += 1
                request_id = f"r{self._requests_made}"
        for noun, text in (("where", where), ("request_id", request_id)):
            if not isinstance(text, str):
                raise TypeError(f"{noun} is text, not {type(text).__name__}")
        if not isinstance(resources, Resources):
            raise TypeError(f"resources are Resources, not {type(resources).__name__}")
        Where.parse(where)
        unit = Resources(cpus=cpus, mem=mem, disk=disk, gpus=gpus) + resources
        made = Request(request_id, role, unit, count, ports, where, _policy(policy))
        if (why_not := why_not_request(made)) is not None:
            raise ValueError(why_not)
        self._record(MakeRequest(made))
        return request_id

    def withdraw(self, *request_ids: str) -> None:
        """Want nothing more under these ids. None: under no id, and be offered everything again."""
        for request_id in request_ids:
            _id("request", request_id)
        self._record(DropRequests(request_ids))

    def decline(self, offers: Offer | Iterable[Offer], *, refuse_s: float | None = None) -> None:
        """Give offers back, and see so little of their agents for `refuse_s` seconds no more.

        None: 5 to 60 s, longer while there is nothing to do. Offers that are void are no matter.
        """
        given = _offers(offers)
        if given:
            self._record(DeclineOffers(given, _refuse_ms(refuse_s)))

    def hold(self, offers: Offer | Iterable[Offer]) -> None:
        """Keep offers beyond the callback, until they are answered or their lease runs out."""
        for offer in _offers(offers):
            self._record(HoldOffer(offer))

    def kill(self, task: str | Task | TaskStatus, *, grace_s: float | None = None) -> None:
        """End a task: SIGTERM, then SIGKILL after `grace_s` seconds (None: the task's own).

        A second kill may shorten the grace of the first, never lengthen it.
        """
        grace_ms = _milliseconds("grace_s", grace_s, GRACE_MS_MAX)
        self._record(KillTask(_task_id(task), grace_ms))

    def revive(self, *roles: str) -> None:
        """Ask for offers now, for these roles or for all: what was refused is forgotten."""
        self._record(ReviveRoles(self._own(roles)))

    def suppress(self, *roles: str) -> None:
        """Ask for no more offers, for these roles or for all, until `revive`."""
        self._record(SuppressRoles(self._own(roles)))

    def reconcile(self, *tasks: str | Task | TaskStatus | TaskReference) -> None:
        """Ask for the states of these tasks, or of all that the master knows.

        The session asks by itself after each subscribe and every 15 minutes.
        """
        self._record(ReconcileTasks(tuple(map(_reference, tasks))))

    def reconcile_operations(self, *operations: str | OperationStatus) -> None:
        """Ask what became of these changes, by their ids, or of all that the master knows.

        The session asks by itself about those that it has no end of.
        """
        self._record(AskOperations(tuple(map(_operation, operations))))

    def message(self, task_id: str, agent_id: str, data: bytes) -> None:
        """Send bytes, up to 256 KiB, to the process of a task: at most once, maybe never."""
        if not isinstance(data, bytes):
            raise TypeError(f"data is bytes, not {type(data).__name__}")
        if len(data) > MESSAGE_DATA_BYTES_MAX:
            raise ValueError(f"{len(data)} bytes are over the limit of {MESSAGE_DATA_BYTES_MAX}")
        self._record(SendMessage(_id("task", task_id), _id("agent", agent_id), data))

    def acknowledge(self, status: TaskStatus | OperationStatus) -> None:
        """This status is dealt with: only with `acknowledge_automatically = False`."""
        if self.acknowledge_automatically:
            raise RuntimeError("statuses are acknowledged when status_update returns")
        if not isinstance(status, TaskStatus | OperationStatus):
            raise TypeError(f"acknowledge takes a TaskStatus, not {type(status).__name__}")
        self._record(AcknowledgeStatus(status))

    def teardown(self, *, release: bool = False) -> None:
        """End all tasks, remove the framework for good, and end `run`.

        `release` gives up what frameworks of this name have reserved, and destroys their volumes
        with their data, on agents that are away as soon as they are back.
        """
        self._record(Teardown(release))

    def stop(self) -> None:
        """End `run` after the callback that runs now. Tasks live on for `failover_timeout_s`."""
        self._record(Stop())

    # --- for the driver and the harness -----------------------------------------------------------

    def _record(self, decision: Decision) -> None:
        with self._calls_lock:
            if len(self._calls) >= DECISIONS_WAITING_MAX:
                raise RuntimeError(f"{len(self._calls)} calls wait: is this scheduler run?")
            self._calls.append(decision)
            self._stop_called = self._stop_called or isinstance(decision, Stop)
            notify = self._notify
        if notify is not None:
            notify()

    def _take_calls(self) -> list[Decision]:
        """What was called since the last time, in order."""
        with self._calls_lock:
            calls = list(self._calls)
            self._calls.clear()
        return calls

    def _on_call(self, notify: Callable[[], None] | None) -> None:
        """Have `notify` called, in the caller's thread, after each call; None: the run is over."""
        with self._calls_lock:
            self._notify = notify
            if notify is None:
                self._stop_called = False

    def _own(self, roles: tuple[str, ...]) -> tuple[str, ...]:
        for role in roles:
            if role not in self.roles:
                known = ", ".join(self.roles)
                raise ValueError(f"{role!r} is not among the framework's roles: {known}")
        return roles


def take_fitting(waiting: MutableSequence[Task], resources: Resources) -> list[Task]:
    """Take out of `waiting` the tasks that fit into `resources` together, first come first.

    >>> waiting = [Task(f"t{i}", ["true"], Resources(cpus=i, mem=32)) for i in (1, 3, 2)]
    >>> [task.task_id for task in take_fitting(waiting, Resources(cpus=3, mem=1024))]
    ['t1', 't2']
    >>> [task.task_id for task in waiting]
    ['t3']

    Of resources of which some is reserved for a role a task that names no role takes that first: it
    is returned with the part that it takes, ``cpus(ads):2;cpus:1`` for three cpus.

    `waiting` is a list or a deque, and keeps its order. Takes at most 1,000, as many as `launch`
    does, and looks past at most 1,000 that do not fit: a long queue costs little for each offer.
    """
    taken: list[Task] = []
    passed: list[Task] = []
    too_large: set[Resources] = set()
    looked_at = 0
    reserved = has_reserved(resources)
    for task in waiting:
        if not resources or len(passed) >= PASSED_OVER_MAX or len(taken) >= LAUNCHED_MAX:
            break
        looked_at += 1
        need = task.resources
        part = None if need in too_large else _part_for(need, resources, reserved=reserved)
        if part is not None:
            resources -= part
            taken.append(task if part is need else replace(task, resources=part))
        else:
            too_large.add(need)  # what is left only shrinks
            passed.append(task)
    if not taken:
        return []
    if isinstance(waiting, deque):
        for _ in range(looked_at):
            waiting.popleft()
        waiting.extendleft(reversed(passed))
    else:
        waiting[:looked_at] = passed
    return taken


def _part_for(need: Resources, resources: Resources, *, reserved: bool) -> Resources | None:
    """What of `resources` serves a need; None: they do not hold it."""
    if not reserved or has_reserved(need):
        return need if resources.covers(need) else None
    return part_of(resources, need) if of_nobody(resources).covers(need) else None


def _policy(policy: Policy | str) -> Policy:
    try:
        return Policy(policy)
    except ValueError:
        known = " or ".join(repr(one.value) for one in Policy)
        raise ValueError(f"policy is {known}, not {policy!r}") from None


def _milliseconds(name: str, value_s: float | None, most_ms: int) -> int | None:
    if value_s is None:
        return None
    if isinstance(value_s, bool) or not isinstance(value_s, int | float):
        raise TypeError(f"{name} is a number of seconds, not {type(value_s).__name__}")
    if not 0 <= value_s * 1_000 <= most_ms:  # also refuses NaN
        raise ValueError(f"{name} is 0 to {most_ms // 1_000} seconds, not {value_s}")
    return round(value_s * 1_000)


def _refuse_ms(refuse_s: float | None) -> int | None:
    return _milliseconds("refuse_s", refuse_s, REFUSE_MS_MAX)


def an_object(scheduler: object) -> Scheduler:
    """The scheduler, which a class of schedulers is not. Raises TypeError."""
    if isinstance(scheduler, Scheduler):
        return scheduler
    if isinstance(scheduler, type) and issubclass(scheduler, Scheduler):
        name = scheduler.__name__
        raise TypeError(f"{name} is a class of schedulers: give an object of it, as {name}()")
    raise TypeError(f"this is no Scheduler but {type(scheduler).__name__}: {str(scheduler)[:60]}")


def framework_info(scheduler: Scheduler, hostname: str = "") -> FrameworkInfo:
    """Who a scheduler says it is. Raises TypeError or ValueError for what can not be subscribed."""
    kind = type(an_object(scheduler)).__name__
    name: object = scheduler.name  # the types are promises; a class may break them
    roles = scheduler.roles
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise ValueError(
            f'{kind} needs a name: set `name = "..."` in the class, 1 to {NAME_MAX} characters'
        )
    if isinstance(roles, str):
        raise TypeError(f"{kind}.roles is a list of roles, as [{roles!r}]")
    if not roles or len(set(roles)) < len(roles):
        raise ValueError(f"{kind}.roles names one role or more, each once")
    for role in roles:
        if (why_not := why_not_role(role)) is not None:
            raise ValueError(f"{kind}.roles: {why_not}")
    timeout_ms = _milliseconds("failover_timeout_s", scheduler.failover_timeout_s, 365 * DAY_MS)
    if timeout_ms is None:
        raise TypeError(f"{kind}.failover_timeout_s is a number of seconds")
    return FrameworkInfo(name, tuple(roles), timeout_ms, hostname)


def _offers(offers: Offer | Iterable[Offer]) -> tuple[Offer, ...]:
    given = (offers,) if isinstance(offers, Offer) else tuple(offers)
    for offer in given:
        if not isinstance(offer, Offer):
            raise TypeError(f"this is no Offer but {type(offer).__name__}: {str(offer)[:60]}")
    return given


def _requested(
    offers: tuple[Offer, ...], operations: Sequence[Launch | Change]
) -> tuple[Launch | Change, ...]:
    """Each task takes a unit of the request of the first offer that still has room for it."""
    if len({offer.request_id for offer in offers}) == 1:
        request_id = offers[0].request_id
        if not request_id:
            return tuple(operations)
        return tuple(
            Launch(one.task, one.request_id or request_id) if isinstance(one, Launch) else one
            for one in operations
        )
    left = [(offer.request_id, offer.resources) for offer in offers]
    requested: list[Launch | Change] = []
    for one in operations:
        at = None
        if isinstance(one, Launch) and not one.request_id:
            need = one.task.resources
            at = next((at for at, (_, room) in enumerate(left) if room.covers(need)), None)
        if at is None or not isinstance(one, Launch):
            requested.append(one)
            continue
        request_id, room = left[at]
        left[at] = request_id, room - one.task.resources
        requested.append(Launch(one.task, request_id))
    return tuple(requested)


def _launches(given: tuple[Task, ...]) -> tuple[Launch, ...]:
    """Of tasks that are found to be such that a message can carry them."""
    for task in given:
        if not isinstance(task, Task):
            raise TypeError(f"this is no Task but {type(task).__name__}: {str(task)[:60]}")
        _id("task", task.task_id)
        if not isinstance(task.resources, Resources):
            kind = type(task.resources).__name__
            raise TypeError(f"task {task.task_id}: resources are Resources, not {kind}")
        if not task.command:
            raise ValueError(f"task {task.task_id}: the command has no words")
        _check_parts(task)
    return tuple(map(Launch, given))


def _check_parts(task: Task) -> None:
    """What no message can carry; everything else about a task the master answers. ~2 us."""
    texts: list[object] = [task.name, *task.command]
    for mapping in (task.environment, task.labels):
        texts += mapping
        texts += mapping.values()
    texts += [text for text in (task.user, task.image, task.containerizer) if text is not None]
    for text in texts:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"task {task.task_id}: {str(text)[:60]!r} is {kind}, not text")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"task {task.task_id}: {text[:60]!a} is no Unicode") from None
    for number in (task.kill_grace_ms, task.max_completion_ms, task.pids_limit):
        if number is not None and (type(number) is not int or not 0 <= number < 2**63):
            raise ValueError(f"task {task.task_id}: {str(number)[:60]} is no whole number from 0")
    for uri in task.uris:
        if not isinstance(uri, Uri):
            kind = type(uri).__name__
            raise TypeError(f"task {task.task_id}: uris are Uri objects, not {kind}")
    if task.fence is not None:
        _id("fence", task.fence)


def _id(noun: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the id of a {noun} is text, not {type(value).__name__}")
    if ID_PATTERN.match(value) is None:
        raise ValueError(
            f"{value[:140]!r} is no {noun} id: 1 to 128 of A-Z a-z 0-9 . _ -, and not . or .."
        )
    return value


def _task_id(task: str | Task | TaskStatus) -> str:
    return _id("task", task.task_id if isinstance(task, Task | TaskStatus) else task)


def _operation(operation: str | OperationStatus) -> OperationReference:
    if isinstance(operation, OperationStatus):
        return OperationReference(_id("operation", operation.operation_id), operation.agent_id)
    return OperationReference(_id("operation", operation))


def _reference(task: str | Task | TaskStatus | TaskReference) -> TaskReference:
    if isinstance(task, TaskReference):
        return TaskReference(_id("task", task.task_id), task.agent_id)
    agent_id = task.agent_id if isinstance(task, TaskStatus) else ""
    return TaskReference(_task_id(task), agent_id)
