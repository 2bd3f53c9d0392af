"""Changes of reservations and volumes on their way, and the ends that agents tell of them."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from mesoslite.messages import ReconcileOperations
from mesoslite.operations import OperationReference, OperationStatus
from mesoslite.reservations import OperationState

#: Sent and not ended, ~150 B each; an agent has 200 reservations and as many volumes.
OPEN_MAX = 100_000
#: Acknowledged ends that are remembered, ~150 B each: an agent says one again only while its
#: acknowledgement is on its way.
ENDS_REMEMBERED_MAX = 10_000
#: Ends are asked for again so far apart: of a change that its master took to the grave only the
#: agent knows, and it may be back by then. Nearly all have ended long before the first time.
ASK_AGAIN_MS = 30_000
#: After so many answers in turn that nothing is known of it, its agent not even by name, it is not
#: asked about any more: 5 min, in which an agent finds a master that has lost its registry.
UNKNOWN_MAX = 10


class News(Enum):
    """What a status that arrives is to this session."""

    TELL = "the author's code is to be told"
    ACKNOWLEDGE = "dealt with: the acknowledgement was lost, say it again"
    OLD = "it was told, or tells nothing"


class Operations:
    """What is known of each change that was sent. O(1) each."""

    def __init__(self) -> None:
        self._made = 0
        self._open: dict[str, str] = {}  # operation id -> agent id
        self._said: dict[str, OperationState] = {}  # what was told of one that is open
        self._unknown: dict[str, int] = {}  # open: how often in turn nothing was known of it
        self._waiting: dict[str, None] = {}  # ends that the author's code has not dealt with
        self._ended: OrderedDict[str, OperationStatus] = OrderedDict()
        self._asked: dict[str, None] = {}
        self._ask_ms: int | None = None

    def name(self, session_id: str) -> str:
        """An id for a change that its author has given none."""
        self._made += 1
        return f"{session_id[:100]}.{self._made}"

    def sent(self, operation_id: str, agent_id: str) -> None:
        """The master has sent it to the agent, or this one has been told of it already."""
        if operation_id in self._waiting or operation_id in self._ended:
            return
        self._open[operation_id] = agent_id
        if len(self._open) > OPEN_MAX:
            self.over(next(iter(self._open)))

    def over(self, operation_id: str) -> None:
        """Nothing more is to be heard of it."""
        self._open.pop(operation_id, None)
        self._said.pop(operation_id, None)
        self._unknown.pop(operation_id, None)

    def is_known(self, operation_id: str) -> bool:
        """Whether it is on its way, or has ended, as far as that is remembered: an id is used once.

        The end of a second one could not be told from the first's, which its agent may say again.
        """
        return (
            operation_id in self._open
            or operation_id in self._waiting
            or operation_id in self._ended
        )

    def asked(self, operation_id: str) -> OperationStatus | None:
        """The author asks about it: the end that it was told before, which nobody else may know any
        more; or None, and the answer that comes is told, whatever was told before."""
        ended = self._ended.get(operation_id)
        if ended is None:
            self._asked[operation_id] = None
            if len(self._asked) > ENDS_REMEMBERED_MAX:
                del self._asked[next(iter(self._asked))]
        return ended

    def heard(self, status: OperationStatus) -> News:
        """Take in a status."""
        operation_id = status.operation_id
        asked = self._asked.pop(operation_id, "") is None
        if status.acknowledge:
            if operation_id in self._ended:
                return News.ACKNOWLEDGE
            if operation_id in self._waiting:
                return News.OLD
            self.over(operation_id)
            self._waiting[operation_id] = None
            return News.TELL
        if operation_id not in self._open:
            return News.TELL if asked and operation_id not in self._waiting else News.OLD
        if status.state.final:
            self.ended(status)
            return News.TELL
        before = self._said.get(operation_id, OperationState.PENDING)
        self._said[operation_id] = status.state
        self._count_unknown(operation_id, status.state)
        return News.TELL if asked or status.state is not before else News.OLD

    def _count_unknown(self, operation_id: str, state: OperationState) -> None:
        if state is not OperationState.UNKNOWN:
            self._unknown.pop(operation_id, None)
            return
        self._unknown[operation_id] = self._unknown.get(operation_id, 0) + 1
        if self._unknown[operation_id] >= UNKNOWN_MAX:
            self.over(operation_id)

    def ended(self, status: OperationStatus) -> None:
        """The author's code has dealt with an end, or is told one that nobody says again."""
        self.over(status.operation_id)
        self._waiting.pop(status.operation_id, None)
        self._ended[status.operation_id] = status
        if len(self._ended) > ENDS_REMEMBERED_MAX:
            self._ended.popitem(last=False)

    # --- asking -----------------------------------------------------------------------------------

    def begin(self, now_ms: int) -> tuple[ReconcileOperations, ...]:
        """On a new stream: what is to be asked."""
        self._ask_ms = now_ms + ASK_AGAIN_MS
        return self._question()

    def pause(self) -> None:
        """There is no stream to ask on."""
        self._ask_ms = None

    def tick(self, now_ms: int) -> tuple[ReconcileOperations, ...]:
        """What is to be asked again now."""
        if self._ask_ms is None or now_ms < self._ask_ms:
            return ()
        self._ask_ms = now_ms + ASK_AGAIN_MS
        return self._question()

    def next_ms(self) -> int | None:
        """When `tick` may have something to ask."""
        return self._ask_ms if self._open else None

    def _question(self) -> tuple[ReconcileOperations, ...]:
        if not self._open:
            return ()
        return (ReconcileOperations(tuple(OperationReference(*one) for one in self._open.items())),)

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        assert self._said.keys() <= self._open.keys()
        assert self._unknown.keys() <= self._open.keys()
        assert not self._waiting.keys() & self._ended.keys()
        assert not self._waiting.keys() & self._open.keys()
        assert not self._ended.keys() & self._open.keys()
        assert len(self._open) <= OPEN_MAX
        assert len(self._ended) <= ENDS_REMEMBERED_MAX
        assert len(self._asked) <= ENDS_REMEMBERED_MAX
