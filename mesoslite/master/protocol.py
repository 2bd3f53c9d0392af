"""The contract of the master: what happens to it, and what it does about it.

Read `Event` and `Effect` first: they are closed. What travels on the streams is in `messages.py`.
"""

from __future__ import annotations

from enum import Enum

from mesoslite.immutable import dataclass
from mesoslite.messages import AgentCall, AgentEvent, SchedulerCall, SchedulerEvent
from mesoslite.model import AgentInfo, Entry, FrameworkInfo, Refusal
from mesoslite.reservations import Change

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchedulerCalled:
    """A scheduler said something on a stream; `principal` is whose token opened it."""

    stream: str
    principal: str
    call: SchedulerCall


@dataclass(frozen=True, slots=True)
class AgentCalled:
    """An agent said something on a stream."""

    stream: str
    call: AgentCall


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream has ended, whoever ended it. Streams that never subscribed are no matter."""

    stream: str


@dataclass(frozen=True, slots=True)
class StreamPaused:
    """What is to be written to this peer piles up: offer it nothing until StreamResumed."""

    stream: str


@dataclass(frozen=True, slots=True)
class StreamResumed:
    """The peer reads again."""

    stream: str


@dataclass(frozen=True, slots=True)
class TeardownAsked:
    """An operator wants a framework removed. Answered with an Answer of the same request."""

    request: int
    framework: str
    """An id or a name."""
    release: bool = False
    """With what it has reserved; then it may have been removed before."""


@dataclass(frozen=True, slots=True)
class EstateAsked:
    """An operator wants something reserved, unreserved or destroyed. Answered with an Answer of
    the same request, when the agent has done it."""

    request: int
    agent_id: str
    """The whole id."""
    role: str
    principal: str
    change: Change
    """Without an operation id: the master gives one."""


@dataclass(frozen=True, slots=True)
class TaskKillAsked:
    """An operator wants a task ended. Answered with an Answer of the same request."""

    request: int
    task_id: str
    framework: str
    """An id or a name; empty: any, when only one has such a task."""
    grace_ms: int | None


@dataclass(frozen=True, slots=True)
class AgentGoneAsked:
    """An operator gives an agent up for good. Answered with an Answer of the same request."""

    request: int
    agent_id: str
    """The whole id: this can not be undone."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time enters here and nowhere else: milliseconds since the Unix epoch, never going back.

    The loop gives one before each batch, so that deadlines count from now and not from when the
    master last woke, and one after it, on which offers leave.
    """

    now_ms: int


Event = (
    SchedulerCalled
    | AgentCalled
    | StreamClosed
    | StreamPaused
    | StreamResumed
    | TeardownAsked
    | EstateAsked
    | TaskKillAsked
    | AgentGoneAsked
    | Tick
)

# --- what is durable ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent in the registry: admitted, unreachable since a time, or given up for good."""

    info: AgentInfo
    unreachable_since_ms: int | None
    gone_since_ms: int | None = None
    """When an operator said that it will never be back; its id is used up."""


@dataclass(frozen=True, slots=True)
class FrameworkRecord:
    """A framework in the registry, from its first subscribe until it is removed."""

    framework_id: str
    principal: str
    info: FrameworkInfo
    session_id: str
    """The one session that may resume; any other must take over with a subscribe of its own."""
    deadline_ms: int | None
    """When it is removed for staying away, on the wall clock; None while it is subscribed."""


@dataclass(frozen=True, slots=True)
class CompletedRecord:
    """A framework that was removed, kept to be shown. Its id is never given again (D1)."""

    framework_id: str
    principal: str
    info: FrameworkInfo
    completed_ms: int


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """An entry of a framework's store."""

    framework_id: str
    key: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A framework's store, beside its entries: saved with each write, so that a write which is
    said again after a failover is known."""

    framework_id: str
    revision: int
    """The version of the newest write."""
    session_id: str = ""
    number: int = 0
    """Of the last WriteStore that was done, and the session that said it."""
    version: int = 0
    """That it gave."""


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """Which task has a key of a framework's."""

    framework_id: str
    key: str
    task_id: str
    agent_id: str
    token: int
    """Larger than that of any fence before it."""
    lease_ms: int
    """As its master told the agent."""


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """What frameworks of an identity have reserved is given up, wherever it is found."""

    principal: str
    name: str
    framework_id: str
    """The last of them that is meant: one of the same name that came later keeps what it has."""
    asked_ms: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that a master knows when it starts: its own epoch, and what is in the registry."""

    epoch: int
    """Higher than any earlier master's."""
    agents: tuple[AgentRecord, ...] = ()
    frameworks: tuple[FrameworkRecord, ...] = ()
    completed: tuple[CompletedRecord, ...] = ()
    """Oldest first."""
    stores: tuple[StoreRecord, ...] = ()
    entries: tuple[EntryRecord, ...] = ()
    fences: tuple[FenceRecord, ...] = ()
    releases: tuple[ReleaseRecord, ...] = ()


# --- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToScheduler:
    """Say this on a scheduler's stream."""

    stream: str
    event: SchedulerEvent


@dataclass(frozen=True, slots=True)
class ToAgent:
    """Say this on an agent's stream."""

    stream: str
    event: AgentEvent


@dataclass(frozen=True, slots=True)
class CloseStream:
    """End this stream once everything said before has been written."""

    stream: str


@dataclass(frozen=True, slots=True)
class SaveAgent:
    """Durable: insert or replace, by agent id."""

    record: AgentRecord


@dataclass(frozen=True, slots=True)
class ForgetAgent:
    """Durable: delete an agent that was unreachable or gone for too long to be remembered."""

    agent_id: str


@dataclass(frozen=True, slots=True)
class SaveFramework:
    """Durable: insert or replace, by framework id."""

    record: FrameworkRecord


@dataclass(frozen=True, slots=True)
class CompleteFramework:
    """Durable: move a framework to the completed ones."""

    record: CompletedRecord


@dataclass(frozen=True, slots=True)
class ForgetCompleted:
    """Durable: delete a completed framework, when there are more than are kept to be shown."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class SaveStore:
    """Durable: insert or replace, by framework id."""

    record: StoreRecord


@dataclass(frozen=True, slots=True)
class ForgetStore:
    """Durable: delete what is said of a framework's store beside its entries."""

    framework_id: str


@dataclass(frozen=True, slots=True)
class SaveEntry:
    """Durable: insert or replace, by framework id and key."""

    record: EntryRecord


@dataclass(frozen=True, slots=True)
class ForgetEntry:
    """Durable: delete, by framework id and key."""

    framework_id: str
    key: str


@dataclass(frozen=True, slots=True)
class SaveFence:
    """Durable: insert or replace, by framework id and key. Before the launch that it is for."""

    record: FenceRecord


@dataclass(frozen=True, slots=True)
class ForgetFence:
    """Durable: delete, by framework id and key."""

    framework_id: str
    key: str


@dataclass(frozen=True, slots=True)
class SaveRelease:
    """Durable: insert or replace, by principal and name."""

    record: ReleaseRecord


@dataclass(frozen=True, slots=True)
class ForgetRelease:
    """Durable: delete, by principal and name."""

    principal: str
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an operator. `refusal` None: done, and the ids say to what."""

    request: int
    refusal: Refusal | None = None
    message: str = ""
    framework_id: str = ""
    agent_id: str = ""
    tasks: int = 0
    releasing: int = 0
    """Reservations and volumes that agents which are here are about to give up."""
    agents_away: tuple[str, ...] = ()
    """Those that may hold something to be released when they are back."""


class Misconduct(Enum):
    """What a framework does at the cost of the others, and is bounded for: see `conduct.py`."""

    SILENT = "it leaves offers unanswered until their leases run out"
    DECLINES = "it gives offers back in a loop, with hardly any refuse time"
    REVIVES = "it revives, or asks for something else, in a loop"


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the operator of the master what a framework does. At most once a minute for each."""

    framework_id: str
    name: str
    what: Misconduct
    numbers: tuple[tuple[str, int], ...]
    """What it was measured by: names with their unit, and values."""


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Tell the operator of the master whose stream is ended because nothing was heard on it.

    At most once a minute for each agent and each framework; one of the two ids is set.
    """

    agent_id: str
    framework_id: str
    name: str
    """The agent's host, or the framework's name."""
    silent_ms: int


Durable = (
    SaveAgent
    | ForgetAgent
    | SaveFramework
    | CompleteFramework
    | ForgetCompleted
    | SaveStore
    | ForgetStore
    | SaveEntry
    | ForgetEntry
    | SaveFence
    | ForgetFence
    | SaveRelease
    | ForgetRelease
)
Effect = ToScheduler | ToAgent | CloseStream | Durable | Answer | Warn | PeerSilent
