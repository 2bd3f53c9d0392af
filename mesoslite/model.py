"""The nouns of two-level scheduling: agents, frameworks, offers, tasks, statuses, and every "no".

All are frozen and compare by value. Times are milliseconds; a time on a wall clock counts from the
Unix epoch. Sizes carry their unit in the name. Ids are text of 1 to 128 characters out of
`[A-Za-z0-9._-]`; what arrives from outside is checked once, in `mesoslite.wire`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from mesoslite import spelling
from mesoslite.attributes import Attribute
from mesoslite.immutable import dataclass, fix
from mesoslite.lifecycle import TaskState
from mesoslite.reservations import (
    Change,
    InvalidChange,
    Reservation,
    Volume,
    VolumeMount,
    volumes_in,
)
from mesoslite.resources import PORT_MAX, UNRESERVED, Resources, why_not_role
from mesoslite.where import InvalidWhere, Place, Where

ID_PATTERN = spelling.ID_PATTERN
ID_LENGTH_MAX = 128
_NO_IDS = frozenset({"", ".", ".."})

DAY_MS = 24 * 3600 * 1000
DEFAULT_ROLE = "*"
DEFAULT_REFUSE_MS = 5_000  # Mesos: Filters.refuse_seconds
REFUSE_MS_MAX = 365 * DAY_MS  # Mesos cuts longer ones to a year as well
DEFAULT_KILL_GRACE_MS = 3_000  # Mesos: the default executor's grace period
DEFAULT_FAILOVER_TIMEOUT_MS = 7 * DAY_MS  # docs/decisions.md D4
REQUESTS_MAX = 1_000  # of one framework, ~1 kB each: a scheduler has a few kinds of task
STORE_KEYS_MAX = 1_000  # of one framework (docs/decisions.md D16)
STORE_KEY_PATTERN = re.compile(r"[\x21-\x7e]{1,256}\Z")
STORE_VALUE_BYTES_MAX = 64 * 1024
STORE_BYTES_MAX = 8 * 1024 * 1024  # of one framework, keys and values together
STORE_WRITES_MAX = 100  # of one accept or call: what belongs together is a few keys
STORE_WRITES_BYTES_MAX = 512 * 1024  # of them together: half a message, so tasks fit beside them
UNIT_PARTS_MAX = 100  # of one request: amounts, ranges and set items; a task has a few
REQUEST_COUNT_MAX = 1_000_000  # units of one request: 10 times what the largest cluster runs


class Source(Enum):
    """Who made a status."""

    MASTER = "master"
    AGENT = "agent"
    SESSION = "session"

    __hash__ = object.__hash__  # members are unique; Enum's own hashes the name in Python


class Reason(Enum):
    """Why a task is in the state that a status tells: one member for each cause."""

    START_LASTS = (
        "a phase of its start takes its time; the message says which, and what it waits for"
    )
    COMMAND_STARTED = "its command was started"
    COMMAND_EXITED = "the command ended by itself"
    COMMAND_SIGNALED = "a signal that nobody asked mesoslite for ended the command"
    MEMORY_LIMIT = "it took more memory than its limit"
    PIDS_LIMIT = "it had more processes and threads than its limit"
    MAX_COMPLETION_TIME = "it ran for longer than its max_completion_ms"
    KILL_ASKED = "its framework or an operator asked for its end"
    KILLED_DURING_LAUNCH = "its end was asked for before its command had started"
    FRAMEWORK_REMOVED = "its framework was torn down or stayed away too long"
    FETCH_FAILED = "a file that it needs could not be fetched"
    ROOT_FAILED = "its container could not be made"
    SPAWN_FAILED = "its command could not be started"
    START_TIMEOUT = "a phase of its start took longer than its deadline"
    CONTAINERIZER_UNAVAILABLE = "its agent can not run the containerizer that it asks for"
    USER_NOT_ALLOWED = "its agent does not run tasks as the user that it asks for"
    LAUNCHER_TERMINATED = "the launcher of its agent died, and with it what it knew of the end"
    HOST_REBOOTED = "its host was started again"
    CHECKPOINT_DAMAGED = "what its agent knew of it was damaged on the disk, so it was ended"
    AGENT_RESTARTED = "its agent came back without it, or never started it"
    AGENT_UNREACHABLE = "its agent is not heard of any more"
    AGENT_GONE = "an operator said that its agent will never be back"
    AGENT_REREGISTERED = "its agent came back with it"
    RECONCILIATION = "the answer to a question about its state"
    LAUNCH_REFUSED = "the master refused the launch; `refusal` says why"
    RESERVATION_MISSING = "what it was to use is not reserved on its agent, or is no volume there"
    FENCE_LEASE_OVER = "it has a fence, and its agent did not hear the master for a whole lease"

    __hash__ = object.__hash__


class Refusal(Enum):
    """Every "no" of the master, the agent and the session: shown to people, counted, tested."""

    # Frameworks
    BAD_TOKEN = "the token is missing or wrong: pass the file the master wrote, --token-file"
    NOT_SUBSCRIBED = "the first call of a stream must be subscribe, and only the first"
    FENCED = "another scheduler of this name and token has taken over: give each its own name"
    FRAMEWORK_REMOVED = "this framework was torn down or stayed away too long; its id is used up"
    INVALID_FRAMEWORK = "the framework's description is not valid"
    TOO_MANY_FRAMEWORKS = "the master holds as many frameworks as it may"
    UNKNOWN_FRAMEWORK = "no framework has this id or name"
    UNKNOWN_ROLE = "the framework did not subscribe with this role"
    # Accepts
    UNKNOWN_OFFER = "the offer was already answered, rescinded or had expired, or never existed"
    NOT_YOUR_OFFER = "the offer was made to another framework"
    STALE_OFFER = "the offer is an earlier master's, and its agent does not have the task"
    DUPLICATE_OFFER = "one accept names an offer twice"
    NO_OFFERS = "an accept must name at least one offer"
    MIXED_AGENTS = "the offers of one accept must be of one agent"
    MIXED_ROLES = "the offers of one accept must be for one role"
    TOO_LARGE = "it takes more than is at hand"
    NO_RESOURCES = "a task must ask for some cpus or mem"
    DUPLICATE_TASK = "a task with this id already exists in this framework"
    INVALID_TASK = "the task's description is not valid"
    CONTAINERIZER_UNAVAILABLE = "the agent does not have the containerizer that the task asks for"
    AGENT_FULL = "the agent has as many tasks as it may: other agents may have room"
    AGENT_AWAY = "the agent is not connected, or has just left"
    AGENT_GONE = "an operator marked the agent as gone for good: it is never taken again"
    AGENT_UNREACHABLE = "the agent of an earlier master's offer is not heard of: it may run there"
    TOO_MANY_UNACKNOWLEDGED = "too many statuses of this framework on this agent wait unread"
    RESULT_FORGOTTEN = "this accept was answered and confirmed before"
    # Demand
    NO_AGENT_FITS = "no agent could hold this even if it were empty"
    TOO_MANY_REQUESTS = "the framework has as many requests as it may: withdraw some"
    INVALID_REQUEST = "the request's description is not valid"
    UNKNOWN_REQUEST = "the framework requests nothing under this id"
    # Fences and the store
    FENCE_HELD = "another task has the key of the fence: it runs, or may still run"
    STORE_CONFLICT = "an entry of the store has another version than the one that was expected"
    STORE_FULL = "the framework's store holds as much as it may"
    # Reservations and volumes
    INVALID_OPERATION = "the operation's description is not valid"
    DUPLICATE_OPERATION = "an operation with this id was asked for before"
    UNKNOWN_RESERVATION = "the agent has no such reservation, or not so much of it"
    RESERVATION_TAKEN = "the reservation has other labels, or is another principal's"
    RESERVATION_IN_USE = "a task or a volume uses what would be taken away"
    UNKNOWN_VOLUME = "the agent has no such volume, or it is not in the offers"
    VOLUME_EXISTS = "the role has a volume of this id on the agent already"
    VOLUME_IN_USE = "a task uses the volume"
    TOO_MANY_RESERVATIONS = "the agent holds as many reservations or volumes as it may"
    OPERATION_FAILED = "the agent could not do it"
    # Other calls
    UNKNOWN_TASK = "no such task"
    UNKNOWN_AGENT = "no such agent"
    UNKNOWN_STATUS = "no status with this id waits for an acknowledgement"
    AMBIGUOUS = "more than one matches: give the id, or more of it"
    # Agents
    AGENT_ID_IN_USE = "an agent with this id, from another boot, is connected: a copied work dir?"
    INVALID_AGENT = "the agent's description is not valid"
    TOO_MANY_AGENTS = "the master holds as many agents as it may"
    STALE_EPOCH = "the message is of an earlier master than the one already heard of"
    # Bounds and the wire
    MALFORMED = "the message can not be understood"
    TOO_BIG = "the message, or a part of it, is over its limit"
    OUTBOX_FULL = "the peer does not read what is sent to it"
    UNSUPPORTED_VERSION = "the peer speaks another version of the protocol"

    __hash__ = object.__hash__


class WhyNot(Enum):
    """Why a framework is offered nothing (more): closed, for agents counted or for the whole role.

    The first ones hold for the framework or the role, the others for a number of agents each.
    """

    # The framework, the role or the request
    DISCONNECTED = "its scheduler is not connected"
    PAUSED = "its scheduler does not read what it is sent"
    ROLE_UNKNOWN = "it did not subscribe with this role"
    SUPPRESSED = "it has suppressed offers in this role"
    PUT_OFF = "it asks too often, and so this waits for its turn"
    DEMAND_MET = "it states what it wants in this role, and all of that is launched or offered"
    UNANSWERED_OFFERS = "it has as many unanswered offers as it may"
    NO_AGENTS = "there are no agents"
    # Agents, each of them under one of these
    UNACKNOWLEDGED = "too many statuses of its tasks there wait for acknowledgement"
    AGENT_AWAY = "the agent is away, and nothing of it is offered"
    AGENT_PAUSED = "the agent does not read what it is sent"
    AGENT_TROUBLED = "the agent can take no launches now"
    NO_AGENT_FITS = "the agent could not hold one unit of the request, even when empty"
    WHERE_UNMATCHED = "the agent is not where the request wants to be"
    NOTHING_FREE = "tasks hold all of the agent"
    TOO_SMALL = "what is free there is less than an offer must hold"
    RESERVED = "what is free there is reserved for other roles"
    DEMAND_TOO_LARGE = "what is free there does not hold one unit of the request"
    REFUSED = "the framework refused what is free there"
    LEASE_RAN_OUT = "the framework left an offer of it unanswered until its lease ran out"
    OWN_OFFER = "the framework has an offer of it, in another role or for another request"
    ANOTHERS_TURN = "it is offered to another framework, whose turn it was"
    HELD = "another framework holds an offer of it unanswered"


@dataclass(frozen=True, slots=True)
class Uri:
    """A file that the agent fetches into the sandbox before the task starts."""

    value: str
    """`file:///path`, `/path`, `http://...`, `https://...`, or an artifact of Maven as
    `maven:GROUP:ARTIFACT:VERSION[:CLASSIFIER][@EXTENSION]`, which needs its `sha256`."""
    extract: bool = True
    """Unpack it when it is an archive: tar (gz, bz2, xz) or zip."""
    executable: bool = False
    """Make it executable; then it is not extracted."""
    output_file: str | None = None
    """Its name in the sandbox; None: the last part of the value."""
    sha256: str | None = None
    """64 hexadecimal digits that the file's checksum must equal; None: not checked. What comes from
    elsewhere with one comes to each host once, through a cache."""


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What an agent advertises. It makes its id itself and keeps it for ever (D3)."""

    agent_id: str
    hostname: str
    resources: Resources
    attributes: tuple[Attribute, ...] = ()
    containerizers: tuple[str, ...] = ("process",)
    """What it can run tasks in; the first is its default."""
    version: str = ""
    region: str = ""
    zone: str = ""
    """Where it stands, as Mesos's domain: a zone is a part of a region that fails by itself."""

    @property
    def place(self) -> Place:
        """What a request's `where` looks at."""
        return Place(self.hostname, self.attributes, self.region, self.zone, self.containerizers)


@dataclass(frozen=True, slots=True)
class FrameworkInfo:
    """Who a framework is. Its identity is (principal, name), and the principal is its token's."""

    name: str
    roles: tuple[str, ...] = (DEFAULT_ROLE,)
    failover_timeout_ms: int = DEFAULT_FAILOVER_TIMEOUT_MS
    """How long its tasks live on when its scheduler is away; then it is removed with them."""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """Resources of one agent that are yours until you answer, or until the lease runs out."""

    offer_id: str
    framework_id: str
    agent_id: str
    hostname: str
    role: str
    resources: Resources
    attributes: tuple[Attribute, ...] = ()
    containerizers: tuple[str, ...] = ()
    lease_ms: int = 0
    """How long the lease still ran when it was sent; 0: without end."""
    request_id: str = ""
    """The request that it was made for, of which it holds one unit or more; empty: none."""
    region: str = ""
    zone: str = ""
    reservations: tuple[Reservation, ...] = ()
    """What there is to know of the dynamic reservations of which it holds something."""

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The volumes that it holds, which no task uses: ids, reservation and size. O(amounts)."""
        return volumes_in(self.resources)


class Policy(Enum):
    """Which of the agents that could hold a unit are offered first."""

    SPREAD = "spread"
    """The emptiest: what fails with one agent is little."""
    BINPACK = "binpack"
    """The fullest: large amounts stay free elsewhere."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a framework still wants, in one of its roles (D12): so many units, each on one agent.

    It replaces the request of the same id. Whoever knows how many units are wanted says so; the
    master counts down by itself with each launch that names the request.
    """

    request_id: str
    """Unique within the framework."""
    role: str
    unit: Resources
    """What one unit needs, unreserved, and some cpus or mem among it. It may name single ports,
    but then an agent can hold only one unit of it."""
    count: int
    """Units still wanted, 0 to REQUEST_COUNT_MAX; 0: nothing more under this id."""
    ports: int = 0
    """So many ports for each unit, whichever are free."""
    where: str = ""
    """Which agents will do: see `mesoslite.where`. Empty: all."""
    policy: Policy = Policy.SPREAD


@dataclass(frozen=True, slots=True)
class InvalidRequest:
    """A request that could not be understood; the master answers it with INVALID_REQUEST.

    `mesoslite.wire` makes it, so that one bad request spoils neither the others nor the stream.
    """

    request_id: str
    """Empty when the id itself is not valid."""
    message: str
    """What exactly is wrong, in one line."""


def shape_of(task: Task) -> tuple[object, ...]:
    """What tasks have in common that differ by their ids alone. Of a task with more parts than it
    is worth to compare, itself: it has that in common with none."""
    if task.environment or task.labels or task.uris or task.name or task.volumes:
        return (task,)
    return (
        task.command,
        task.resources,
        task.user,
        task.image,
        task.containerizer,
        task.kill_grace_ms,
        task.max_completion_ms,
        task.pids_limit,
        task.fence,
    )


def _parts(amount: Resources) -> int:
    lists = (*amount.ranges.values(), *amount.sets.values())
    return len(amount.scalars) + sum(map(len, lists))


def are_ids(values: Sequence[str]) -> bool:
    """Whether each is an id, as ID_PATTERN says: 0.1 us each, where that takes 0.4.

    A new master reads the ids of all tasks of the cluster, for the first time.
    """
    # Of bytes only ASCII's letters and digits are alphanumeric; what is no Unicode becomes "?".
    bare = "".join(values).encode(errors="replace").translate(None, b"-_.")
    if bare and not bare.isalnum():
        return False
    return _NO_IDS.isdisjoint(values) and max(map(len, values), default=0) <= ID_LENGTH_MAX


def why_not_request(request: Request) -> str | None:
    """What is wrong with a request, in one line; None: nothing. ~2 us when its `where` was seen."""
    if ID_PATTERN.match(request.request_id) is None:
        return "request_id must be 1 to 128 of A-Z a-z 0-9 . _ - and neither . nor .."
    if (why := why_not_role(request.role)) is not None:
        return why
    if not 0 <= request.count <= REQUEST_COUNT_MAX:
        return f"count must be 0 to {REQUEST_COUNT_MAX:,}, not {request.count}"
    if not 0 <= request.ports <= PORT_MAX:
        return f"ports must be 0 to {PORT_MAX:,}, not {request.ports}"
    if request.unit.roles() - {UNRESERVED}:
        return f"a unit names no roles, as {request.unit} does: what is reserved is used first"
    if (parts := _parts(request.unit)) > UNIT_PARTS_MAX:
        return f"a unit names at most {UNIT_PARTS_MAX} amounts, ranges and items, not {parts:,}"
    if not (request.unit.scalar("cpus") or request.unit.scalar("mem")):
        least = "0.001 cpus or some mem at least"
        return f"a unit must need {least}, not {request.unit or 'nothing'}"
    try:
        Where.parse(request.where)
    except InvalidWhere as wrong:
        return str(wrong)
    return None


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to run, once: a command with its resources, in a container of its own.

    `Task("hello-1", ["echo", "hello"], Resources(cpus=0.1, mem=32))`
    """

    task_id: str
    """Unique for the whole life of the framework; an id is never used again."""
    command: Sequence[str]
    """The words of the command line, as for execve: no shell sees them."""
    resources: Resources
    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """The system user to run as; None: the agent's own. Others need the agent's --allow-user."""
    uris: Sequence[Uri] = ()
    image: str | None = None
    """A directory on the agent that is the root file system (containerizer `oci`)."""
    containerizer: str | None = None
    """None: the agent's default."""
    kill_grace_ms: int = DEFAULT_KILL_GRACE_MS
    """Between SIGTERM and SIGKILL."""
    max_completion_ms: int | None = None
    """It is ended, as FAILED, when it has run for so long; None: never."""
    pids_limit: int | None = None
    """Processes and threads at the same time; None: the agent's default."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Anything the framework wants to find again; shown to people."""
    fence: str | None = None
    """At most one task of the framework runs under this key at a time: an id of its own choice, as
    `broker-0` (docs/at-most-one.md). Its token is in MESOSLITE_FENCE_TOKEN. None: no such bound."""
    volumes: Sequence[VolumeMount] = ()
    """The volumes that it uses, and where it finds them. `launch` adds their sizes to the
    resources, so that nobody else is offered them (docs/reservations.md)."""

    def __post_init__(self) -> None:
        if isinstance(self.command, str):
            raise TypeError(
                "command is a list of words, as ['sleep', '5']; for a shell: ['sh', '-c', '...']"
            )
        fix(self, "command", tuple(self.command))
        fix(self, "uris", tuple(self.uris))
        fix(self, "environment", dict(self.environment))
        fix(self, "labels", dict(self.labels))
        if self.volumes:
            fix(self, "volumes", tuple(self.volumes))

    def __hash__(self) -> int:
        return hash((self.task_id, self.command, self.resources))


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """What happened to a task: its state, with who says so and why."""

    task_id: str
    state: TaskState
    framework_id: str = ""
    agent_id: str = ""
    update_id: str = ""
    """Not empty: sent, in order, until acknowledged. Empty: sent once, and maybe lost."""
    source: Source = Source.AGENT
    reason: Reason | None = None
    refusal: Refusal | None = None
    """With LAUNCH_REFUSED: which refusal it was."""
    message: str = ""
    timestamp_ms: int = 0
    """When it happened, on the wall clock of the one who says so."""
    container_id: str = ""
    exit_code: int | None = None
    signal: int | None = None
    peak_mem_bytes: int | None = None
    cpu_ms: int | None = None

    @property
    def terminal(self) -> bool:
        """True when the task has ended for good."""
        return self.state.terminal


@dataclass(frozen=True, slots=True)
class TaskReference:
    """A task that somebody asks about; with its agent when known, which makes answers surer."""

    task_id: str
    agent_id: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the framework's store has under a key (docs/store.md)."""

    value: bytes
    """At most STORE_VALUE_BYTES_MAX."""
    version: int
    """From 1: larger than that of every write before it in the same store, under any key."""


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """One change of the framework's store."""

    key: str
    """1 to 256 printable ASCII characters without blanks."""
    value: bytes | None
    """None: the entry is removed."""
    version: int | None = None
    """The entry must have it; 0: there must be none; None: whatever is there."""


def why_not_write(write: StoreWrite) -> str | None:
    """What is wrong with a write, in one line; None: nothing."""
    if (why := why_not_key(write.key)) is not None:
        return why
    if write.value is not None and (size := len(write.value)) > STORE_VALUE_BYTES_MAX:
        return f"a value has at most {STORE_VALUE_BYTES_MAX:,} bytes, not {size:,}"
    if write.version is not None and write.version < 0:
        return f"a version is 0 or more, not {write.version}"
    return None


def why_not_key(key: str) -> str | None:
    """What is wrong with a key of the store, in one line; None: nothing."""
    if STORE_KEY_PATTERN.match(key) is None:
        return "a key has 1 to 256 printable ASCII characters and no blanks"
    return None


@dataclass(frozen=True, slots=True)
class Launch:
    """The operation of an accept that starts a task."""

    task: Task
    request_id: str = ""
    """The request of which the task takes one unit; empty: none."""


@dataclass(frozen=True, slots=True)
class InvalidLaunch:
    """A launch that could not be understood; the master answers it with INVALID_TASK.

    `mesoslite.wire` makes it, so that one bad task spoils neither its accept nor its stream.
    """

    task_id: str
    """Empty when the id itself is not valid."""
    message: str
    """What exactly is wrong, in one line."""


#: What an accept may do with its offers, in order: a later one may use what an earlier one made.
Operation = Launch | InvalidLaunch | Change | InvalidChange


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What became of one operation of an accept: done when `refusal` is None."""

    refusal: Refusal | None = None
    message: str = ""
    """With a refusal: what exactly is wrong, in one line."""

    @property
    def done(self) -> bool:
        """True when it was sent to the agent."""
        return self.refusal is None
