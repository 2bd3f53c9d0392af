"""What travels between a scheduler's session, the master and the agents: four closed unions.

A scheduler says a `SchedulerCall` and hears a `SchedulerEvent`; an agent says an `AgentCall` and
hears an `AgentEvent`. The four unions tell the whole protocol; `mesoslite.wire` writes them as
protobuf, and the simulation hands them over as they are. Every message of a master travels with
its epoch (D1), which the envelope carries. A stream is ordered and loses nothing but its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat

from mesoslite.immutable import dataclass
from mesoslite.lifecycle import TaskState
from mesoslite.model import (
    AgentInfo,
    Entry,
    FrameworkInfo,
    InvalidRequest,
    Offer,
    Operation,
    OperationResult,
    Refusal,
    Request,
    StoreWrite,
    Task,
    TaskReference,
    TaskStatus,
    shape_of,
)
from mesoslite.operations import OperationReference, OperationStatus, Order
from mesoslite.reservations import Reservation, Volume, VolumeUse

HEARTBEAT_INTERVAL_MS = 15_000
FENCE_LEASE_MS = 3 * HEARTBEAT_INTERVAL_MS  # two may be lost or late, and no fenced task ends
SILENCE_MAX_MS = 5 * HEARTBEAT_INTERVAL_MS  # Mesos: agent_ping_timeout x max_agent_ping_timeouts


# --- said and heard by both sides -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing to say, but here.

    The client of a stream, an agent or a session, says one every HEARTBEAT_INTERVAL_MS, and the
    master says the same back within 50 ms. So one turn of the master serves both directions, and
    whoever hears an echo knows that the master was there after that number was said.
    """

    number: int = 0
    """Counts up for as long as its client's process runs; 0 is never echoed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The last word on a stream: who sent this does not go on with the peer, and closes it."""

    refusal: Refusal
    message: str = ""


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """Bytes between a framework and one of its tasks, either way: at most once, maybe never."""

    framework_id: str
    agent_id: str
    task_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class AcknowledgeOperation:
    """The framework has dealt with the end of an operation: its agent may forget it.

    A session says it to the master, and the master to the agent. The master says by itself what
    nobody else could: of its own operations, and of frameworks that were removed.
    """

    framework_id: str
    agent_id: str
    operation_id: str


# --- a scheduler says -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The first call on a stream: who is there, and whether it was there before."""

    framework: FrameworkInfo
    session_id: str
    """Made anew by each scheduler process; tells a reconnect from a second scheduler (D4)."""
    framework_id: str = ""
    """As told by the first Subscribed; empty at a process's first subscribe."""
    resuming: bool = False
    """This session was subscribed before and lost its stream."""
    suppressed_roles: tuple[str, ...] = ()
    demand_roles: tuple[str, ...] = ()
    """In these only what is requested is wanted, and what is reserved for them: so nothing else is
    offered before the requests themselves are said."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Use these offers of one agent; what is left over goes back, refused for `refuse_ms`.

    Answered by one AcceptResult. Saying it again with the same number changes nothing.
    """

    number: int
    agent_id: str
    offer_ids: tuple[str, ...]
    operations: tuple[Operation, ...]
    refuse_ms: int
    writes: tuple[StoreWrite, ...] = ()
    """Done in the same commit when at least one launch is; when one of them can not be, nothing of
    the accept is."""


@dataclass(frozen=True, slots=True)
class Decline:
    """Do not use these offers, and do not offer so little of these agents for `refuse_ms`."""

    offer_ids: tuple[str, ...]
    refuse_ms: int


@dataclass(frozen=True, slots=True)
class Revive:
    """Forget what was refused and suppressed for these roles; () means all of the framework's."""

    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suppress:
    """No offers for these roles until revived; () means all. Offers already made stay."""

    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestResources:
    """What is still wanted, with everything that was said before on the stream taken into account.

    Each replaces the request of its id. A subscribe forgets all, so the session says them again.
    From the first for a role on, only what is requested is offered in that role.
    """

    requests: tuple[Request | InvalidRequest, ...]
    number: int = 0
    """Counts up in a session; what is told of these requests repeats it."""


@dataclass(frozen=True, slots=True)
class WithdrawRequests:
    """Nothing more is wanted under these ids.

    No ids: under none of these roles ((): of the framework's), and they are offered everything
    again. Offers already made stay.
    """

    request_ids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kill:
    """End a task. A second kill may shorten the grace of the first, never lengthen it."""

    task_id: str
    agent_id: str = ""
    grace_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The scheduler has dealt with this status: the agent may forget it."""

    agent_id: str
    task_id: str
    update_id: str
    last: bool = False
    """It was the task's last, so nothing waits for this. Not on the wire."""


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Tell the state of these tasks; (): of all that the master knows (docs/semantics.md 3.3)."""

    tasks: tuple[TaskReference, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfirmResults:
    """Every AcceptResult up to this number has arrived: the master may forget them."""

    through: int


@dataclass(frozen=True, slots=True)
class ReadStore:
    """What does the store have under this key? Sees all that was written before on the stream."""

    number: int
    """Of the StoreAnswer; unique among the store's calls of the session."""
    key: str


@dataclass(frozen=True, slots=True)
class ListStore:
    """Which keys of the store begin so?"""

    number: int
    prefix: str


@dataclass(frozen=True, slots=True)
class WriteStore:
    """Do all of these writes, or none.

    A session says the next one when this is answered, and says this again after a reconnect: a
    master that finds its number as the last one that was done answers as it did then.
    """

    number: int
    writes: tuple[StoreWrite, ...]


@dataclass(frozen=True, slots=True)
class ReconcileOperations:
    """Tell what became of these operations; (): of all that the master knows of the framework's."""

    operations: tuple[OperationReference, ...] = ()


@dataclass(frozen=True, slots=True)
class Teardown:
    """End all tasks and remove the framework; its id is used up."""

    release: bool = False
    """With its volumes and reservations, also on agents that are away (D17)."""


SchedulerCall = (
    Subscribe
    | Accept
    | Decline
    | Revive
    | Suppress
    | RequestResources
    | WithdrawRequests
    | Kill
    | Acknowledge
    | Reconcile
    | ConfirmResults
    | TaskMessage
    | ReadStore
    | ListStore
    | WriteStore
    | AcknowledgeOperation
    | ReconcileOperations
    | Teardown
    | Heartbeat
)


# --- a scheduler hears ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The stream is the framework's now; any earlier one is fenced, any earlier offer void."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class Offers:
    """Resources that are the framework's until it answers or the lease of each runs out."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Rescind:
    """These offers are void. An accept that crosses this on its way is answered, with a refusal."""

    offer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """What happened to a task. To be acknowledged when its `update_id` is not empty."""

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """One result for each operation of the Accept with this number, in its order."""

    number: int
    results: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """The answer to the call of the store with this number."""

    number: int
    refusal: Refusal | None = None
    message: str = ""
    key: str = ""
    """With STORE_CONFLICT: whose version it was."""
    version: int = 0
    """Of what was written; with STORE_CONFLICT that of what is there, 0 for nothing."""
    entry: Entry | None = None
    """What was read; None: nothing is there."""
    keys: tuple[str, ...] = ()
    """Those that were asked for, in order."""


@dataclass(frozen=True, slots=True)
class OperationUpdate:
    """What became of a change of reservations or volumes. To be acknowledged if it says so."""

    status: OperationStatus


@dataclass(frozen=True, slots=True)
class RequestUnsatisfiable:
    """What is wrong with a request, as it was said with that number: of one that was said anew
    meanwhile it tells nothing.

    With NO_AGENT_FITS it stays in force, since an agent that fits may join; no other refusal of
    it does.
    """

    request_id: str
    refusal: Refusal
    message: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent is not heard of any more. Unreliable, as in Mesos: statuses tell of the tasks."""

    agent_id: str


SchedulerEvent = (
    Subscribed
    | Offers
    | Rescind
    | Update
    | AcceptResult
    | StoreAnswer
    | OperationUpdate
    | RequestUnsatisfiable
    | TaskMessage
    | AgentLost
    | Refused
    | Heartbeat
)


# --- an agent says --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameworkReference:
    """A framework, as far as an agent needs to know it."""

    framework_id: str
    principal: str
    info: FrameworkInfo


@dataclass(frozen=True, slots=True)
class TaskOnAgent:
    """One task that an agent has, with the newest state it knows; a terminal one holds nothing."""

    framework_id: str
    role: str
    task: Task
    state: TaskState


@dataclass(frozen=True, slots=True)
class TasksOnAgent:
    """Those of one framework and role that differ by their ids and states alone: one at least.

    Most tasks of an agent are alike, and a new master enters them all: what they share it looks at
    once, and makes what it knows of each in C.
    """

    framework_id: str
    role: str
    tasks: tuple[Task, ...]
    states: tuple[TaskState, ...]
    """Of each task, in their order."""

    def each(self) -> Iterator[TaskOnAgent]:
        """One by one."""
        return map(
            TaskOnAgent, repeat(self.framework_id), repeat(self.role), self.tasks, self.states
        )


def alike(tasks: Iterable[TaskOnAgent]) -> tuple[TasksOnAgent, ...]:
    """The tasks in their order, neighbours that differ by their ids and states alone together."""
    return tuple([_together(list(run)) for _, run in groupby(tasks, _what_is_shared)])


def _what_is_shared(one: TaskOnAgent) -> tuple[object, ...]:
    return one.framework_id, one.role, shape_of(one.task)


def _together(run: Sequence[TaskOnAgent]) -> TasksOnAgent:
    tasks, states = tuple([one.task for one in run]), tuple([one.state for one in run])
    return TasksOnAgent(run[0].framework_id, run[0].role, tasks, states)


@dataclass(frozen=True, slots=True)
class Register:
    """The agent's whole truth, said at the start of each stream.

    It may be large: the wire splits it into parts, and the master applies it at its end (D18).
    """

    agent: AgentInfo
    boot_id: str
    epoch_seen: int
    """The highest epoch of a master it ever heard; a lower master is not its master."""
    frameworks: tuple[FrameworkReference, ...] = ()
    tasks: tuple[TasksOnAgent, ...] = ()
    number: int = 0
    """Grows with each registration of the agent, over its runs: a slow connection may bring one
    after a later one has come on the next, and it is old news then."""
    reservations: tuple[Reservation, ...] = ()
    """All dynamic ones that it keeps. `agent.resources` is what it has without them."""
    volumes: tuple[Volume, ...] = ()
    operations: tuple[OperationStatus, ...] = ()
    """The ends of operations that wait for an acknowledgement. What the master has sent and is
    neither here nor acknowledged has never arrived."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The oldest unacknowledged status of a task, and the newest state, which may be ahead of it.

    With an empty `update_id` (tasks of a removed framework) it is said once.
    """

    status: TaskStatus
    latest_state: TaskState


@dataclass(frozen=True, slots=True)
class Troubled:
    """What keeps the agent from taking launches, as a full disk; empty: nothing any more.

    Its daemon says it, since its machine may be waiting for the disk. Nothing of it is offered
    meanwhile; what runs goes on. A registration means that there is nothing.
    """

    problem: str = ""


@dataclass(frozen=True, slots=True)
class OperationReport:
    """An operation is done and durable, or was refused. Said when it is, and by each registration
    until it is acknowledged."""

    status: OperationStatus


@dataclass(frozen=True, slots=True)
class VolumesMeasured:
    """How full volumes are: of all of them after a registration, then of those that changed."""

    volumes: tuple[VolumeUse, ...]


AgentCall = (
    Register | StatusReport | OperationReport | VolumesMeasured | TaskMessage | Troubled | Heartbeat
)


# --- an agent hears -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The master has taken the registration: it knows what the agent said."""

    fence_lease_ms: int = 0
    """For how long after a heartbeat that was echoed fenced tasks may run."""


@dataclass(frozen=True, slots=True)
class FrameworkAdded:
    """Comes before the first RunTask of a framework on a stream."""

    framework: FrameworkReference


@dataclass(frozen=True, slots=True)
class RunTask:
    """Launch this task. Its resources were checked against what the agent has free."""

    framework_id: str
    role: str
    task: Task
    fence_token: int = 0
    """Of a task with a fence: larger than that of any before it."""


@dataclass(frozen=True, slots=True)
class ApplyOperation:
    """Do this, after all that was said before on the stream and before what is said after it.

    It is made durable, with a crash of the host in mind, before it is answered by one
    OperationReport. A launch that uses what it makes may be right behind it.
    """

    order: Order


@dataclass(frozen=True, slots=True)
class KillTask:
    """End this task; unknown ones are answered with a status that says so."""

    framework_id: str
    task_id: str
    grace_ms: int | None = None
    fence_lost: bool = False
    """Nobody has asked: it lost its fence while its agent was away, to another task maybe."""


@dataclass(frozen=True, slots=True)
class AcknowledgeStatus:
    """The framework has acknowledged this status: drop it and send the next one."""

    framework_id: str
    task_id: str
    update_id: str
    last: bool = False
    """As in Acknowledge."""


@dataclass(frozen=True, slots=True)
class ReconcileTasks:
    """The master believes these are here, the registration said no: answer each with DROPPED."""

    tasks: tuple[tuple[str, str], ...]
    """(framework_id, task_id)"""


@dataclass(frozen=True, slots=True)
class ShutdownFramework:
    """End all tasks of this framework, drop its statuses, and report each end once."""

    framework_id: str


AgentEvent = (
    Registered
    | FrameworkAdded
    | RunTask
    | KillTask
    | AcknowledgeStatus
    | ReconcileTasks
    | ShutdownFramework
    | ApplyOperation
    | AcknowledgeOperation
    | TaskMessage
    | Refused
    | Heartbeat
)
