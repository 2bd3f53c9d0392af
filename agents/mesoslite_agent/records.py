"""What the agent keeps of its stream, of each framework and task, and what an operator may set.

Only `state.py` changes them, and only while it handles an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from mesoslite.lifecycle import TaskState
from mesoslite.messages import HEARTBEAT_INTERVAL_MS, SILENCE_MAX_MS, FrameworkReference
from mesoslite.model import Reason, Refusal, TaskStatus
from mesoslite_agent.container import Phase
from mesoslite_agent.protocol import TaskRecord
from mesoslite_agent.streams import UpdateStream

#: After these the same agent would be refused again. All others pass: the old stream of our own
#: ends, an agent leaves, the right master is elected.
FINAL_REFUSALS = frozenset(
    {
        Refusal.AGENT_GONE,  # and it ends its tasks before it ends itself
        Refusal.BAD_TOKEN,
        Refusal.INVALID_AGENT,
        Refusal.MALFORMED,
        Refusal.UNSUPPORTED_VERSION,
    }
)


class Link(Enum):
    """Where the stream to the master is."""

    DOWN = "there is none, or its end was asked for"
    OPEN = "the registration was said and not yet answered: nothing else is said"
    REGISTERED = "the master knows what is here"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What an operator may set, and every bound, with its reason. Times are milliseconds."""

    secret_seed: bytes = field(repr=False)
    """16 to 64 bytes that nobody can guess: the secret of each task is derived from them."""
    executor_socket: str
    """Where a process of a task attaches itself: the address of a Unix socket, as gRPC names it."""
    user: str = ""
    """The system user that the agent runs as; a task that names it needs no permission."""
    allowed_users: frozenset[str] = frozenset()
    """Whom else tasks may run as (docs/decisions.md D20)."""
    pids_limit: int = 1_024
    """Processes and threads of a task that states none: plenty for a service, few for a bomb."""
    pids_limit_max: int = 32_768
    """More is cut to this: as many as Linux counts on a host by default (kernel.pid_max)."""
    phase_report_ms: int = 1_000
    """A phase of a start that lasts longer is told, so that nothing stages silently."""
    fetch_max_ms: int = 600_000
    root_max_ms: int = 60_000
    spawn_max_ms: int = 60_000
    kill_repeat_ms: int = 10_000
    """How often SIGKILL, or giving up a start, is asked for again until the end is told."""
    heartbeat_ms: int = HEARTBEAT_INTERVAL_MS
    silence_ms: int = SILENCE_MAX_MS
    tasks_max: int = 25_000
    """Tasks here, ended but unacknowledged ones included. The master stops at 20,000, so this holds
    against a wrong one. ~2 kB a task and ~0.5 kB for each of at most 8 statuses: 150 MB at worst.
    """
    frameworks_max: int = 10_000
    """As many as a master holds; ~0.5 kB each, so 5 MB."""

    def phase_max_ms(self, phase: Phase | None) -> int:
        """How long a phase of a start may last. Before the first one as long as the first."""
        match phase:
            case Phase.FETCH | None:
                return self.fetch_max_ms
            case Phase.ROOT:
                return self.root_max_ms
            case Phase.SPAWN:
                return self.spawn_max_ms


GRACE_LEFT_MIN_MS = 1_000  # what is left of a kill's grace after a restart, at least


class TaskHere:
    """A task from the intent to run it until its end is acknowledged. Compared by identity."""

    __slots__ = (
        "asked_ms",
        "attached",
        "ending",
        "framework",
        "grace_ms",
        "life",
        "phase",
        "phase_told",
        "record",
        "recovered",
        "signal",
        "since_ms",
        "started",
        "state",
        "stream",
    )

    def __init__(self, record: TaskRecord, framework: FrameworkHere, stream: UpdateStream) -> None:
        self.record = record
        self.framework = framework
        self.stream = stream
        self.state = TaskState.STAGING
        self.recovered = False
        self.started = False
        """Its command is known to run, or to have run."""
        self.asked_ms: int | None = None
        """When its launch arrived; None: in an earlier run of the agent."""
        self.phase: Phase | None = None
        """Of its start; None until the first one was told."""
        self.phase_told = False
        self.since_ms = 0
        """When its phase began, and once it runs, when its command began."""
        self.ending: TaskStatus | None = None
        """The KILLING status, once there is one: its reason decides how the end is called."""
        self.grace_ms = 0
        """With `ending`: how long it has from then on until SIGKILL."""
        self.signal = 0
        """The last one sent to it since the agent started."""
        self.life: list[TaskStatus] = []
        """Each status that was made of it, oldest first: at most 8."""
        self.attached = 0
        """How many of its processes are attached: a new one may come before the old one goes."""

    @property
    def key(self) -> tuple[str, str]:
        """Names the task on this agent."""
        return self.record.framework_id, self.record.task.task_id

    @property
    def removed(self) -> bool:
        """Its framework is no more: nobody waits for its statuses but the master, for its end."""
        return self.ending is not None and self.ending.reason is Reason.FRAMEWORK_REMOVED

    @property
    def saved_grace_ms(self) -> int:
        """The grace that its kill has after a restart of the agent."""
        own_ms = self.record.kill_grace_ms
        return self.record.task.kill_grace_ms if own_ms is None else own_ms

    def kill_due_ms(self, now_ms: int) -> int:
        """When SIGKILL is due to one that gets SIGTERM now: so long after its end was asked for as
        its grace says, whatever else happened since.

        At least GRACE_LEFT_MIN_MS of a longer grace is from now on, since an earlier run of the
        agent may have died before it sent SIGTERM; and never more than all of it, since the
        clock may have been set back.
        """
        assert self.ending is not None
        least_ms = min(self.grace_ms, GRACE_LEFT_MIN_MS)
        left_ms = self.ending.timestamp_ms + self.grace_ms - now_ms
        return now_ms + min(max(left_ms, least_ms), self.grace_ms)

    def take_up(self, life: Sequence[TaskStatus]) -> None:
        """Be what the newest status of an earlier run of the agent says."""
        self.recovered = True
        self.life += life
        if life:
            latest = life[-1]
            self.state = latest.state
            self.started = latest.state is TaskState.RUNNING
            self.since_ms = latest.timestamp_ms
            self.phase_told = latest.state is TaskState.STARTING
            if latest.state is TaskState.KILLING:
                self.ending = latest
                self.grace_ms = self.saved_grace_ms


class FrameworkHere:
    """A framework that has something here, or that this stream's master has introduced."""

    __slots__ = ("framework_id", "reference", "removed", "saved", "streams", "tasks")

    def __init__(self, framework_id: str, reference: FrameworkReference | None = None) -> None:
        self.framework_id = framework_id
        self.reference = reference
        """None: only streams without a task are here."""
        self.saved = False
        """It is in the checkpoint, which is so exactly while it has tasks."""
        self.removed = False
        """It was shut down, and some of its tasks still have their grace."""
        self.tasks: dict[str, TaskHere] = {}
        self.streams: dict[str, UpdateStream] = {}
        """One for each task, but for those of a removed framework; and those without a task."""

    def knows(self, task_id: str) -> bool:
        """Whether anything of this task is here."""
        return task_id in self.streams or task_id in self.tasks

    @property
    def idle(self) -> bool:
        """Nothing of it is here."""
        return not self.tasks and not self.streams
