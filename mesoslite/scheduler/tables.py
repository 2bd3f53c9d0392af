"""All that a session knows, and what it is about to say."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from mesoslite.messages import SchedulerCall
from mesoslite.model import FrameworkInfo
from mesoslite.scheduler.kills import Kills
from mesoslite.scheduler.launches import Launches
from mesoslite.scheduler.offers import HeldOffers, Patience
from mesoslite.scheduler.operations import Operations
from mesoslite.scheduler.protocol import (
    Callback,
    Effect,
    OnError,
    OnStatuses,
    ToMaster,
)
from mesoslite.scheduler.reconciliation import Reconciliation
from mesoslite.scheduler.requests import Requests
from mesoslite.scheduler.storing import StoreCalls
from mesoslite.scheduler.updates import Updates

#: Questions, acknowledgements and role calls that wait for a stream, ~150 B each. Beyond it the
#: oldest goes: agents repeat statuses, and reconciliation repeats questions.
KEPT_CALLS_MAX = 100_000

KeptKey = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session is told at its start."""

    framework: FrameworkInfo
    session_id: str
    """Made anew for each session; tells a reconnect from a second scheduler (D4)."""
    acknowledge_automatically: bool = True
    """Whether a status is acknowledged when `status_update` returns; else the author does it."""
    acknowledge_operations: bool = True
    """The same for `operation_update`."""


class Stream(Enum):
    """How far the stream to a master is."""

    CLOSED = "there is none"
    OPEN = "Subscribe was said on it"
    SUBSCRIBED = "it is the framework's"


class Tables:
    """Everything that a session knows, and the effects of the event that it deals with."""

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.now_ms = 0
        self.out: list[Effect] = []
        # The stream, and what waits for one.
        self.stream = Stream.CLOSED
        self.epoch = 0
        self.framework_id = ""
        self.heard_ms = 0
        self.beat_ms = 0
        self.beats = 0
        self.kept: dict[KeptKey, SchedulerCall] = {}
        # What the author decided, and what the master told.
        self.suppressed: dict[str, None] = {}
        self.requests = Requests()
        self.offers = HeldOffers()
        self.patience = Patience()
        self.launches = Launches()
        self.operations = Operations()
        self.kills = Kills()
        self.store_calls = StoreCalls()
        self.updates = Updates()
        self.reconciliation = Reconciliation()
        # The callbacks: those that wait, and the one that runs.
        self.queue: deque[Callback] = deque()
        self.running: Callback | OnStatuses | None = None
        self.told = 0
        """How many of the OnStatuses that runs have been told."""
        # The end.
        self.fatal: OnError | None = None
        self.stopping = False
        self.tearing_down = False
        self.releasing = False
        """Teardown is with all that is reserved."""
        self.teardown_ends_ms: int | None = None
        self.over = False

    @property
    def subscribed(self) -> bool:
        """True while the stream is the framework's."""
        return self.stream is Stream.SUBSCRIBED

    def has_task(self, identity: str) -> bool:
        """Whether this task is being launched or may run; or this change is on its way, or over."""
        if identity.startswith("~"):
            return self.launches.launching(identity) or self.operations.is_known(identity[1:])
        return identity in self.reconciliation or self.launches.launching(identity)

    def say(self, call: SchedulerCall) -> None:
        """Say it on the stream that there is."""
        self.out.append(ToMaster(call))

    def say_or_keep(self, key: KeptKey, call: SchedulerCall) -> None:
        """Say it now, or after the next Subscribed. A newer one of the same key replaces it."""
        if self.stream is Stream.SUBSCRIBED:
            self.out.append(ToMaster(call))
            return
        self.kept.pop(key, None)
        self.kept[key] = call
        if len(self.kept) > KEPT_CALLS_MAX:
            del self.kept[next(iter(self.kept))]

    def check(self) -> None:
        """Assert every invariant, O(n log n). Tests call it after each event; production never."""
        self.offers.check()
        self.launches.check()
        self.operations.check()
        self.kills.check()
        self.store_calls.check()
        self.requests.check()
        self.updates.check()
        self.reconciliation.check()
        assert not self.out
        assert not (self.subscribed and self.kept), "kept calls are said when subscribed"
        assert self.told == 0 or isinstance(self.running, OnStatuses)
        assert len(self.kept) <= KEPT_CALLS_MAX
        assert not (self.fatal is not None and self.stream is not Stream.CLOSED)
        assert not any(map(self.launches.launching, self.reconciliation.known))
