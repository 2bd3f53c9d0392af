"""The contract of a scheduler's session: what happens to it, and what it does about it.

Read `Event` and `Effect` first: they are closed. What travels on the stream to the master is in
`mesoslite/messages.py`; callbacks are what the author of the scheduler sees.
"""

from __future__ import annotations

from mesoslite.immutable import dataclass
from mesoslite.messages import (
    ListStore,
    ReadStore,
    SchedulerCall,
    SchedulerEvent,
    StoreAnswer,
    WriteStore,
)
from mesoslite.model import (
    Offer,
    Operation,
    Refusal,
    Request,
    StoreWrite,
    TaskReference,
    TaskStatus,
)
from mesoslite.operations import OperationReference, OperationStatus

StoreCalled = ReadStore | ListStore | WriteStore

# --- what the author's code decided ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AcceptOffers:
    """Use these offers of one agent for these operations."""

    offers: tuple[Offer, ...]
    operations: tuple[Operation, ...]
    refuse_ms: int | None
    """None: as adaptive as the session sees fit."""
    writes: tuple[StoreWrite, ...] = ()
    """Of the store, done with the launches or not at all."""


@dataclass(frozen=True, slots=True)
class DeclineOffers:
    """Give these offers back."""

    offers: tuple[Offer, ...]
    refuse_ms: int | None


@dataclass(frozen=True, slots=True)
class HoldOffer:
    """Keep this offer beyond the callback, as long as its lease runs."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class ReviveRoles:
    """Ask for offers again; () means all roles."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SuppressRoles:
    """Ask for no offers until revived; () means all roles."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MakeRequest:
    """Want this, instead of what was wanted under its id."""

    request: Request


@dataclass(frozen=True, slots=True)
class DropRequests:
    """Want nothing more under these ids; () means: no requests at all, but offers as of old."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KillTask:
    """End a task."""

    task_id: str
    grace_ms: int | None


@dataclass(frozen=True, slots=True)
class ReconcileTasks:
    """Ask for the states of these tasks; () means all that the master knows."""

    tasks: tuple[TaskReference, ...]


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Bytes for a task: at most once, maybe never."""

    task_id: str
    agent_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class AcknowledgeStatus:
    """Only for schedulers that acknowledge by hand: this status is dealt with."""

    status: TaskStatus | OperationStatus


@dataclass(frozen=True, slots=True)
class AskOperations:
    """Ask what became of these changes; () means all that the master knows."""

    operations: tuple[OperationReference, ...]


@dataclass(frozen=True, slots=True)
class CallStore:
    """Read or write the framework's store; answered by StoreAnswered."""

    call: StoreCalled


@dataclass(frozen=True, slots=True)
class Teardown:
    """End all tasks, remove the framework, then stop."""

    release: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """End `run`; tasks live on until the failover timeout."""


Decision = (
    AcceptOffers
    | DeclineOffers
    | HoldOffer
    | ReviveRoles
    | SuppressRoles
    | MakeRequest
    | DropRequests
    | KillTask
    | ReconcileTasks
    | SendMessage
    | AcknowledgeStatus
    | AskOperations
    | CallStore
    | Teardown
    | Stop
)

# --- callbacks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnSubscribed:
    """-> Scheduler.subscribed"""

    framework_id: str


@dataclass(frozen=True, slots=True)
class OnOffers:
    """-> Scheduler.resource_offers"""

    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class OnRescinded:
    """-> Scheduler.offer_rescinded"""

    offer_id: str


@dataclass(frozen=True, slots=True)
class OnStatus:
    """-> Scheduler.status_update"""

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class OnUnsatisfiable:
    """-> Scheduler.request_unsatisfiable"""

    request_id: str
    refusal: Refusal
    message: str


@dataclass(frozen=True, slots=True)
class OnStatuses:
    """-> Scheduler.status_update for each in turn, until one of them calls `stop`.

    Statuses that arrived together are handed over together: a thread takes 100 us to be handed
    anything, and so the acknowledgements go out together too.
    """

    statuses: tuple[TaskStatus, ...]


@dataclass(frozen=True, slots=True)
class OnOperation:
    """-> Scheduler.operation_update"""

    status: OperationStatus


@dataclass(frozen=True, slots=True)
class OnMessage:
    """-> Scheduler.framework_message"""

    task_id: str
    agent_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class OnAgentLost:
    """-> Scheduler.agent_lost"""

    agent_id: str


@dataclass(frozen=True, slots=True)
class OnDisconnected:
    """-> Scheduler.disconnected: no master is heard; the session goes on trying."""

    why: str


@dataclass(frozen=True, slots=True)
class OnError:
    """-> Scheduler.error: the last callback; then `run` raises."""

    refusal: Refusal
    message: str


Callback = (
    OnSubscribed
    | OnOffers
    | OnRescinded
    | OnStatus
    | OnUnsatisfiable
    | OnOperation
    | OnMessage
    | OnAgentLost
    | OnDisconnected
    | OnError
)

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A new stream to a master is open. The machine's first word on it is Subscribe."""


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream has ended: nothing said on it from now on arrives."""

    why: str


@dataclass(frozen=True, slots=True)
class Denied:
    """No stream is opened for this session: its token is not taken. Trying on will not help."""

    refusal: Refusal
    message: str


@dataclass(frozen=True, slots=True)
class MasterSpoke:
    """A master said something; `epoch` is the master's (docs/decisions.md D1)."""

    epoch: int
    event: SchedulerEvent


@dataclass(frozen=True, slots=True)
class StatusesTold:
    """Of the OnStatuses that runs, `status_update` has returned for so many more."""

    count: int


@dataclass(frozen=True, slots=True)
class CallbackReturned:
    """The callback that ran has returned; what it decided has come as Decided before.

    After OnStatuses: no more of them are told. Those that StatusesTold did not count were not.
    """

    interrupted: bool = False
    """It broke off when its store was closed: what it was told is not done (D13), and not
    acknowledged."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The author's code decided this, in a callback or outside of one."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Tick:
    """Time enters here and nowhere else: milliseconds since the Unix epoch, never going back.

    The loop gives one before each batch, from which deadlines count, and one after it.
    """

    now_ms: int


Event = (
    StreamOpened
    | StreamLost
    | Denied
    | MasterSpoke
    | StatusesTold
    | CallbackReturned
    | Decided
    | Tick
)

# --- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToMaster:
    """Say this on the stream to the master."""

    call: SchedulerCall


@dataclass(frozen=True, slots=True)
class DropStream:
    """Close the stream to the master and open another, after a backoff."""

    why: str


@dataclass(frozen=True, slots=True)
class RunCallback:
    """Run the author's code. One at a time: the next comes after CallbackReturned. An exception
    in it ends everything: the machine is not told, so nothing is acknowledged (D13)."""

    callback: Callback | OnStatuses


@dataclass(frozen=True, slots=True)
class StoreAnswered:
    """A call of the store is answered: whoever waits for it may go on, in its callback or not."""

    answer: StoreAnswer


@dataclass(frozen=True, slots=True)
class Finish:
    """The session is over: write what was said, close the stream, end `run`."""

    refusal: Refusal | None = None
    message: str = ""


Effect = ToMaster | DropStream | RunCallback | StoreAnswered | Finish
