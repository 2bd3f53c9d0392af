"""What the master keeps of each agent, framework, task and offer, and the tables they are in.

Only `mesoslite.master` changes them, and only while it handles an event.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Literal, get_args

import msgspec

from mesoslite.allocator import Allocator
from mesoslite.deadlines import Deadlines
from mesoslite.estate import EMPTY, Estate
from mesoslite.lifecycle import TaskState
from mesoslite.master.bucket import Bucket
from mesoslite.master.protocol import (
    CompletedRecord,
    Effect,
    FenceRecord,
    FrameworkRecord,
    Misconduct,
    Recovered,
    ReleaseRecord,
    StoreRecord,
)
from mesoslite.messages import FENCE_LEASE_MS, HEARTBEAT_INTERVAL_MS, SILENCE_MAX_MS, Accept
from mesoslite.model import (
    DAY_MS,
    REQUESTS_MAX,
    AgentInfo,
    FrameworkInfo,
    OperationResult,
    Refusal,
    Request,
    Task,
    TaskStatus,
)
from mesoslite.operations import OperationStatus, Order
from mesoslite.reservations import VolumeUse
from mesoslite.resources import Resources
from mesoslite.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """What an operator may set, and every bound, with its reason. Times are milliseconds."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """Role -> weight in thousandths; 1,000 where none is given."""
    offer_lease_ms: int = 30_000
    """Mesos's default is for ever, and frameworks hoard; 30 s is ages for a program."""
    offers_outstanding_max: int = 10_000
    """For each framework; ~400 B each, so 4 MB. Beyond it that framework waits, nobody else."""
    lease_refuse_ms: int = 5_000
    """How long an agent is refused for a framework that let an offer of it lapse: as Mesos's
    default refusal at first, twice as long each time."""
    lease_refuse_max_ms: int = 60_000
    refuse_floor_ms: int = 1_000
    """The shortest refusal of a framework that gives offers back in a loop; 0: none is too short.
    A second of each agent is 1 % of a core for 1,000 agents, at ~10 us an offer and its answer."""
    short_declines_max: int = 100
    """Beside one for each agent: offers given back at once, with less than the floor."""
    revives_max: int = 10
    """That take effect at once; then `revives_per_s`. Each may offer all idle agents again, which
    is ~40 ms for 10,000 of them: five a second are a fifth of a core."""
    revives_per_s: int = 5
    requests_max: int = REQUESTS_MAX
    """For each framework."""
    heartbeat_ms: int = HEARTBEAT_INTERVAL_MS
    silence_ms: int = SILENCE_MAX_MS
    reregister_ms: int = 600_000
    """How long a new master waits for the agents it knows of, as Mesos (docs/semantics.md 3.8)."""
    agent_removals_per_minute: int = 100
    """Agents given up in any minute because they are away, at most; 0: no bound. A rack that fails
    has 20 to 80, and is given up at once. When more are away together it is rather the network, or
    this master, and frameworks that start everything anew elsewhere make it worse: then there is
    time to see to it, and to name those that are really gone (`mesoslite agent gone`)."""
    forget_unreachable_ms: int = 14 * DAY_MS
    """How long an unreachable agent is remembered, as Mesos's registry."""
    gone_agents_max: int = 10_000
    """Agents whose id an operator has used up, ~1 kB each; beyond it the oldest is forgotten."""
    agents_max: int = 100_000
    """Those that are gone not counted; ~4 kB each with its stream, so 400 MB."""
    frameworks_max: int = 10_000
    tasks_per_agent_max: int = 20_000
    """A registration of so many takes ~20 messages of 1 MiB."""
    unacknowledged_max: int = 1_000
    """Ended tasks of one framework on one agent whose end it has not acknowledged (D7)."""
    results_max: int = 10_000
    """Accept results kept for each framework until its session confirms them (D2)."""
    releases_max: int = 1_000
    """Releases that are remembered for agents which may come back years later; ~200 B each."""
    fence_lease_ms: int = FENCE_LEASE_MS
    """For how long after a heartbeat that was echoed an agent's fenced tasks may run."""
    store_bytes_max: int = 256 * 1024 * 1024
    """Of all frameworks' stores together: it is all in memory, and in the registry."""
    completed_frameworks_max: int = 50
    """Shown to people; as Mesos keeps in memory. Their ids are used up for good without it: an id
    has the epoch of the master that gave it."""
    completed_tasks_max: int = 1_000


class AgentState(Enum):
    """What the master knows of an agent's presence."""

    ACTIVE = "active"
    DISCONNECTED = "disconnected"
    """Its stream ended; it has `silence_ms` to come back before its tasks are UNREACHABLE."""
    AWAITED = "awaited"
    """In the registry, not heard of since this master started."""
    UNREACHABLE = "unreachable"
    GONE = "gone"
    """An operator said that it will never be back: nothing of it counts, and it is not taken."""


OfferEnd = Literal["accepted", "declined", "rescinded", "expired", "returned"]
"""What became of an offer; returned: its framework left. A void accept declines its offers."""


class TaskEntry(msgspec.Struct, gc=False):
    """A task that the master knows: from its launch until its end is acknowledged.

    A dataclass of so many fields takes 1 us to make, this 0.2: a master that starts anew makes one
    for each task of the cluster. It is in no cycle, so the garbage collector need not look at it.
    """

    framework_id: str
    role: str
    task: Task
    agent_id: str
    state: TaskState
    """The newest known; may be ahead of what the framework was told."""
    holds: bool
    """Whether its resources are charged in the allocator."""
    since_ms: int
    """When it was launched, or first heard of."""
    told: TaskState | None = None
    """What the framework was told last: reconciliation answers with it (docs/semantics.md 3.3)."""
    pending: TaskStatus | None = None
    """The status that waits for the framework's acknowledgement."""
    double: bool = False
    """Another agent came first with a task of this id: its framework knows that one alone. This
    one is ended, and the master itself deals with its statuses."""
    kill_asked: bool = False
    kill_grace_ms: int | None = None
    fence_token: int = 0
    """Of a task with a fence that this master launched."""
    history: tuple[TaskStatus, ...] = ()
    """The first status of each state it was in, oldest first."""


@dataclass(slots=True)
class WaitingAccept:
    """An accept of an earlier master's offers: its answer waits for the agent (D2)."""

    framework_id: str
    session_id: str
    accept: Accept


@dataclass(slots=True)
class OperationEntry:
    """A change that was sent to an agent, until its end is acknowledged."""

    order: Order | None
    """None: a registration told its end, which is all that is known of it."""
    end: OperationStatus | None = None
    """As the agent told it."""
    request: int | None = None
    """Of the operator who waits for its end."""


@dataclass(slots=True)
class AgentEntry:
    """An agent that the master knows."""

    info: AgentInfo
    state: AgentState
    since_ms: int
    """Since when it is so; DISCONNECTED and UNREACHABLE: since nothing was heard of it, as far as
    this master knows."""
    boot_id: str = ""
    registration: int = 0
    """The number of the one that is in force."""
    stream: str | None = None
    paused: bool = False
    """It does not read what it is sent."""
    problem: str = ""
    """Why it takes no launches now, as it says itself; empty: it does."""
    silence_told_ms: int | None = None
    """When the operator of the master was told last that nothing was heard of it."""
    tasks: dict[tuple[str, str], TaskEntry] = field(default_factory=dict)
    """By (framework id, task id)."""
    offers: dict[str, OutstandingOffer] = field(default_factory=dict)
    introduced: set[str] = field(default_factory=set)
    """The frameworks that it was told of on its stream."""
    waiting: list[WaitingAccept] = field(default_factory=list)
    unacknowledged: Counter[str] = field(default_factory=Counter)
    """Ended tasks whose end waits for an acknowledgement, by framework id."""
    echoed_ms: int = 0
    """When its registration or a heartbeat was echoed last, or this master began: fenced
    tasks there may run for a lease from then on."""
    fences: dict[tuple[str, str], FenceRecord] = field(default_factory=dict)
    """The keys that tasks there have, by (framework id, task id)."""
    estate: Estate = EMPTY
    """What is reserved there, and its volumes, with the orders done that are on their way."""
    settled: Estate = EMPTY
    """The same, as the agent has said."""
    known: bool = False
    """It has registered with this master, which so knows what is reserved there."""
    operations: dict[tuple[str, str], OperationEntry] = field(default_factory=dict)
    """By (framework id, operation id), in the order in which they were sent."""
    releases_failed: int = 0
    """How often in turn it could not release what it was told to."""
    volume_uses: dict[tuple[str, str], VolumeUse] = field(default_factory=dict)
    """How full volumes are, by (role, volume id)."""


@dataclass(frozen=True, slots=True)
class RefusedLaunch:
    """A launch that was refused, for who asks what became of its task."""

    refusal: Refusal
    message: str
    agent_id: str
    refused_ms: int
    fence: str = ""
    """The key of the task's fence, if it has one."""


@dataclass(slots=True)
class Episode:
    """Something that a framework does, from when it began until it is calm."""

    since_ms: int
    times: int
    """How often since then."""


@dataclass(slots=True)
class Conduct:
    """How a framework treats what it is offered: `conduct.py` says what follows."""

    offers_max: int | None = None
    """How many offers it may have at a time; None: as many as any."""
    lapse_refuse_ms: int = 0
    """How long the last agents whose lease ran out were refused for it."""
    lapses: dict[tuple[str, str], int] = field(default_factory=dict)
    """(role, agent id) -> until when it is refused since a lease ran out; oldest first. May be
    over already."""
    declines: Bucket = field(default_factory=Bucket)
    revives: Bucket = field(default_factory=Bucket)
    refused_in: set[str] = field(default_factory=set)
    """The roles in which it has refused something since they were last revived."""
    revive_later: set[str] = field(default_factory=set)
    """The roles whose revive is put off until Timer.REVIVE."""
    declined_in: set[str] = field(default_factory=set)
    """The roles in which it has declined what it requested since it last asked for more."""
    ask_later: dict[str, None] = field(default_factory=dict)
    """The requests that the allocator is told of at Timer.REVIVE."""
    wheres: dict[str, None] = field(default_factory=dict)
    """Expressions that all agents were asked about for it, at its cost; oldest first."""
    episodes: dict[Misconduct, Episode] = field(default_factory=dict)
    warned_ms: dict[Misconduct, int] = field(default_factory=dict)
    """When the operator was last told."""


@dataclass(slots=True)
class FrameworkStore:
    """What a framework has in its store; only `store.py` changes it."""

    shelf: Shelf = field(default_factory=Shelf)
    record: StoreRecord | None = None
    """What of it is in the registry beside the entries; None before the first write."""


@dataclass(slots=True)
class FrameworkEntry:
    """A framework from its first subscribe until it is removed."""

    framework_id: str
    principal: str
    info: FrameworkInfo
    session_id: str
    since_ms: int
    deadline_ms: int | None
    stream: str | None = None
    paused: bool = False
    silence_told_ms: int | None = None
    """When the operator of the master was told last that nothing was heard of it."""
    suppressed: set[str] = field(default_factory=set)
    demand_roles: set[str] = field(default_factory=set)
    """In these only what is requested is offered, and what is reserved for them."""
    requests: dict[str, Wanted] = field(default_factory=dict)
    tasks: dict[str, TaskEntry] = field(default_factory=dict)
    offers: dict[str, OutstandingOffer] = field(default_factory=dict)
    offers_answered: int = 0
    offers_lapsed: int = 0
    """Left unanswered until their lease ran out."""
    held_ms: int = 0
    """How long all offers of the two counts above were outstanding, together."""
    held_longest_ms: int = 0
    conduct: Conduct = field(default_factory=Conduct)
    results: dict[int, tuple[OperationResult, ...]] = field(default_factory=dict)
    """By accept number, for the current session, until confirmed."""
    waiting: set[int] = field(default_factory=set)
    """The numbers of accepts whose answer waits for an agent."""
    confirmed: int = 0
    refused_launches: dict[str, RefusedLaunch] = field(default_factory=dict)
    """By task id, the newest last: at most `fates.REFUSED_LAUNCHES_MAX`."""
    asks_for_all: bool = False
    """It has asked for all of its tasks while agents were awaited: it is told what each brings."""
    kills: dict[str, int | None] = field(default_factory=dict)
    """Task id -> grace: kills of tasks that an agent which is away may yet bring back."""
    strays: dict[str, TaskStatus] = field(default_factory=dict)
    """Ends of tasks that never had a container, which an agent tells to a master that never heard
    of them: by task id, until acknowledged. A registration lists containers only."""
    store: FrameworkStore = field(default_factory=FrameworkStore)
    operations: dict[str, str] = field(default_factory=dict)
    """The agents of changes that were sent and are not acknowledged, by operation id."""
    fences: dict[str, FenceRecord] = field(default_factory=dict)
    """By key. At most one for each task that an agent may have."""

    def record(self) -> FrameworkRecord:
        """What of it is durable."""
        return FrameworkRecord(
            self.framework_id, self.principal, self.info, self.session_id, self.deadline_ms
        )


@dataclass(slots=True)
class Wanted:
    """A request that is in force, and how many units of it are still wanted: 1 or more."""

    request: Request
    units: int
    number: int = 0
    """Of the call that it was said with."""
    told: str = ""
    """Why no agent could hold a unit of it, as its framework was told; empty: one could."""


@dataclass(slots=True)
class OutstandingOffer:
    """An offer that was made and not answered."""

    offer_id: str
    framework_id: str
    role: str
    agent_id: str
    resources: Resources
    made_ms: int
    ends_ms: int
    """When its lease runs out."""
    request_id: str = ""
    """The request that it was made for; empty: none."""
    units: int = 0
    """How many units of the request it holds."""


@dataclass(slots=True)
class Peer:
    """Who speaks on a stream: exactly one of the two ids is set."""

    heard_ms: int
    agent_id: str = ""
    framework_id: str = ""


class Timer(Enum):
    """What a deadline of the master is for; its key is (Timer, id)."""

    SILENCE = "a stream was silent for too long"
    FAILOVER = "a framework stayed away for too long"
    REVIVE = "revives that came too fast take effect"
    AGENT = "an agent stayed away for too long"
    FORGET = "an unreachable agent is forgotten"
    RELEASE = "what an agent could not release is tried again"
    JUDGE = "agents came or went: some requests may be impossible now"

    __hash__ = object.__hash__  # members are unique; Enum's own hashes the name in Python


class Tables:
    """Everything the master knows, and the effects of the event that is being handled."""

    def __init__(self, recovered: Recovered, config: MasterConfig) -> None:
        self.config = config
        self.epoch = recovered.epoch
        self.now_ms = 0
        self.allocator = Allocator(
            weights={role: Fraction(weight, 1000) for role, weight in config.weights.items()},
            offers_outstanding_max=config.offers_outstanding_max,
        )
        self.agents: dict[str, AgentEntry] = {}
        self.frameworks: dict[str, FrameworkEntry] = {}
        self.identities: dict[tuple[str, str], FrameworkEntry] = {}
        """By (principal, name)."""
        self.offers: dict[str, OutstandingOffer] = {}
        self.leases: deque[tuple[int, str]] = deque()
        """(end, offer id), oldest first: these leases are equally long, so no sorting is needed.
        Offers that were answered stay in it until their time has come, or they are the most."""
        self.short_leases: deque[tuple[int, str]] = deque()
        """The same, of frameworks that are bounded for leaving offers unanswered."""
        self.peers: dict[str, Peer] = {}
        self.timers: Deadlines[tuple[Timer, str]] = Deadlines()
        self.awaited = 0
        """How many agents are AWAITED."""
        self.given_up_ms: deque[int] = deque()
        """When agents were given up for being away, within the last minute."""
        self.gone: dict[str, None] = {}
        """The ids of the agents that are GONE, in the order in which they went."""
        self.framework_count = 0
        self.fence_count = 0
        """Tasks with a fence that were launched."""
        self.operation_count = 0
        """Changes that the master has asked for itself."""
        self.releases: dict[tuple[str, str], ReleaseRecord] = {}
        """By (principal, name), the newest last."""
        self.release_due: dict[str, None] = {}
        """Agents on which something may have become free that is to be released."""
        self.store_bytes = 0
        """Of all frameworks' stores."""
        self.offer_count = 0
        self.refusals: Counter[Refusal] = Counter()
        self.offers_ended: dict[OfferEnd, int] = dict.fromkeys(get_args(OfferEnd), 0)
        """With those that are outstanding they are `offer_count`."""
        self.looked_at = 0
        """How many agents the allocator has looked at, over all cycles."""
        self.launch_count = 0
        """Launches sent to agents."""
        self.tasks_ended: Counter[tuple[str, str]] = Counter()
        """Ends that agents told, each once, by the names of their state and reason."""
        self.completed: deque[CompletedRecord] = deque(recovered.completed)
        """Oldest first, at most `completed_frameworks_max` from the first Tick on."""
        self.completed_tasks: deque[TaskEntry] = deque(maxlen=config.completed_tasks_max)
        self._out: list[Effect] = []
        self.emit: Callable[[Effect], None] = self._out.append
        """Do this, after all that was emitted before. Five for each task, so no method of our own.
        """

    def take_effects(self) -> list[Effect]:
        """All since the last time, in order."""
        effects = self._out.copy()
        self._out.clear()
        return effects

    def no(self, refusal: Refusal) -> Refusal:
        """Count a refusal, and give it back."""
        self.refusals[refusal] += 1
        return refusal

    def framework_on(self, stream: str) -> FrameworkEntry | None:
        """The framework that is subscribed on this stream."""
        peer = self.peers.get(stream)
        return self.frameworks.get(peer.framework_id) if peer is not None else None

    def agent_on(self, stream: str) -> AgentEntry | None:
        """The agent that is registered on this stream."""
        peer = self.peers.get(stream)
        return self.agents.get(peer.agent_id) if peer is not None else None

    def frameworks_called(self, name_or_id: str) -> Iterator[FrameworkEntry]:
        """The framework with this id, else all with this name."""
        if name_or_id in self.frameworks:
            yield self.frameworks[name_or_id]
        else:
            yield from (f for f in self.frameworks.values() if f.info.name == name_or_id)

    def greet(self, stream: str, *, agent_id: str = "", framework_id: str = "") -> None:
        """Somebody is on this stream from now on: watch over it."""
        self.peers[stream] = Peer(self.now_ms, agent_id, framework_id)
        self.timers.set((Timer.SILENCE, stream), self.now_ms + self.config.silence_ms)

    def part(self, stream: str) -> None:
        """Nobody is on this stream any more."""
        del self.peers[stream]
        self.timers.drop((Timer.SILENCE, stream))
