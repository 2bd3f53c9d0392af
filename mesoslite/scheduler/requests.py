"""What a session still wants: its requests, counted down by launches, said again when needed (D12).

A request counts down with each launch that is sent, and up again for one that was refused. So the
count that is said is right as of everything said before it on the stream, whatever answers are on
their way; and the master, which counts down as it launches, comes to the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from mesoslite.messages import RequestResources, SchedulerCall, WithdrawRequests
from mesoslite.model import REQUEST_COUNT_MAX, REQUESTS_MAX, Offer, Refusal, Request
from mesoslite.resources import UNRESERVED


@dataclass(slots=True)
class _Entry:
    request: Request
    wanted: int
    """Below 0 when more was launched than was wanted: a refusal then brings nothing back."""
    said: int = 0
    """The number of the call that said it last."""
    told: tuple[Refusal, str] | None = None
    """What the author was told of it."""


class Requests:
    """Every request that is in force or whose launches are on their way, by id; at most 1,000."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._flying: Counter[str] = Counter()
        """Launches that were sent and not answered, by request id."""
        self._unsaid: dict[str, None] = {}
        self._calls = 0
        self._roles: dict[str, None] = {}
        self._roles_said: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._entries

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles in which only what is requested is wanted."""
        return tuple(self._roles)

    def wanted(self, request_id: str) -> int:
        """Units still wanted under this id."""
        entry = self._entries.get(request_id)
        return max(entry.wanted, 0) if entry is not None else 0

    def leaves(self, offer: Offer) -> bool:
        """Whether this is an offer of everything, made before the master heard of the requests in
        its role. What is reserved is wanted in any case."""
        if offer.request_id or offer.role not in self._roles:
            return False
        return offer.resources.roles() <= {UNRESERVED}

    # --- what the author wants --------------------------------------------------------------------

    def make(self, request: Request) -> bool:
        """Want this, instead of what was wanted under its id. False: there are too many."""
        old = self._entries.get(request.request_id)
        if old is None and len(self._entries) >= REQUESTS_MAX:
            return False
        self._entries[request.request_id] = _Entry(request, request.count)
        self._roles[request.role] = None
        self._unsaid[request.request_id] = None
        return True

    def drop(self, request_ids: tuple[str, ...]) -> WithdrawRequests | None:
        """Want nothing more under these ids; (): nothing that is requested, but offers as of old.

        What is to be said of it; None: nothing, there was nothing of the kind.
        """
        if request_ids:
            gone = tuple(i for i in request_ids if i in self._entries)
            for request_id in gone:
                self._forget(request_id)
            return WithdrawRequests(gone) if gone else None
        for request_id in list(self._entries):
            self._forget(request_id)
        roles, self._roles = self.roles, {}
        return WithdrawRequests((), roles) if roles else None

    def _forget(self, request_id: str) -> None:
        del self._entries[request_id]
        self._unsaid.pop(request_id, None)

    # --- what became of it ------------------------------------------------------------------------

    def launched(self, request_id: str) -> None:
        """A launch that names it was sent."""
        self._flying[request_id] += 1
        entry = self._entries.get(request_id)
        if entry is not None:
            entry.wanted -= 1

    def answered(self, request_id: str, *, wanted_again: bool) -> None:
        """A launch that names it was answered."""
        self._flying[request_id] -= 1
        if not self._flying[request_id]:
            del self._flying[request_id]
        entry = self._entries.get(request_id)
        if entry is None:
            return
        if wanted_again:
            entry.wanted = min(entry.wanted + 1, REQUEST_COUNT_MAX)
            self._unsaid[request_id] = None
        self._forget_if_met(request_id)

    def told(self, request_id: str, refusal: Refusal, message: str, number: int) -> bool:
        """The master has told what is wrong with it, as it was said in the call of this number.

        False: that is known, or it is gone, or was said anew meanwhile.
        """
        entry = self._entries.get(request_id)
        if entry is None or request_id in self._unsaid or number != entry.said:
            return False
        if entry.told == (refusal, message):
            return False
        entry.told = refusal, message
        if refusal is not Refusal.NO_AGENT_FITS:
            self._forget(request_id)
        return True

    # --- what is to be said -----------------------------------------------------------------------

    def subscribing(self) -> tuple[str, ...]:
        """The roles to subscribe with as those of which only what is requested is wanted."""
        self._roles_said = self.roles
        return self._roles_said

    def begin(self) -> list[SchedulerCall]:
        """What to say on a new stream, after the accepts that were not answered."""
        calls: list[SchedulerCall] = []
        over = tuple(role for role in self._roles_said if role not in self._roles)
        if over:
            calls.append(WithdrawRequests((), over))
        # A request that was withdrawn before it was said has turned nothing on.
        asked = {entry.request.role for entry in self._entries.values()}
        self._roles = {r: None for r in self._roles if r in self._roles_said or r in asked}
        self._unsaid = dict.fromkeys(self._entries)
        return calls + self.unsaid()

    def unsaid(self) -> list[SchedulerCall]:
        """What has changed and was not said. O(1) when nothing has."""
        if not self._unsaid:
            return []
        request_ids, self._unsaid = self._unsaid, {}
        requests = tuple(
            replace(self._entries[i].request, count=self.wanted(i)) for i in request_ids
        )
        self._calls += 1
        for request_id in request_ids:
            self._entries[request_id].said = self._calls
            self._forget_if_met(request_id)
        return [RequestResources(requests, self._calls)]

    def _forget_if_met(self, request_id: str) -> None:
        """Nothing more is wanted, and no refusal can bring anything back."""
        met = self.wanted(request_id) == 0 and request_id not in self._flying
        if met and request_id not in self._unsaid:
            del self._entries[request_id]

    def check(self) -> None:
        """Assert every invariant, O(n). For tests."""
        assert len(self._entries) <= REQUESTS_MAX
        assert self._unsaid.keys() <= self._entries.keys()
        assert all(count > 0 for count in self._flying.values())
        assert {entry.request.role for entry in self._entries.values()} <= self._roles.keys()
        for request_id, entry in self._entries.items():
            assert entry.request.request_id == request_id
            assert entry.wanted <= REQUEST_COUNT_MAX
            assert entry.wanted > 0 or request_id in self._flying or request_id in self._unsaid
