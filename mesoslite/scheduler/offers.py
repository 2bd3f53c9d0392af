"""The offers that a session has: unanswered, shown to the author's code or not yet, with leases.

Also how long a refusal holds when the author's code does not say so: `Patience`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesoslite.deadlines import Deadlines
from mesoslite.model import DEFAULT_REFUSE_MS, Offer, Refusal

OFFERS_MAX = 20_000  # a master offers each agent once: two offers for each of 10,000 agents
REFUSE_MS_PATIENT = 60_000  # docs/decisions.md D12: refusals double up to here


class Patience:
    """How long to refuse offers: 5 s at first, twice as long when those were up, at most 60 s.

    Any call that shows interest starts over (D12). All refusals made while the first
    of a round still holds are of the same length, so a burst of offers counts once.
    """

    def __init__(self) -> None:
        self._refuse_ms = DEFAULT_REFUSE_MS
        self._round_ends_ms: int | None = None

    def reset(self) -> None:
        """The scheduler made a call: it wants to see offers soon."""
        self._refuse_ms = DEFAULT_REFUSE_MS
        self._round_ends_ms = None

    def next_ms(self, now_ms: int) -> int:
        """How long to refuse, in milliseconds, when refusing now."""
        if self._round_ends_ms is None:
            self._round_ends_ms = now_ms + self._refuse_ms
        elif now_ms >= self._round_ends_ms:
            self._refuse_ms = min(2 * self._refuse_ms, REFUSE_MS_PATIENT)
            self._round_ends_ms = now_ms + self._refuse_ms
        return self._refuse_ms


@dataclass(slots=True)
class _Entry:
    offer: Offer
    shown: bool = False
    held: bool = False


class HeldOffers:
    """Every offer that was neither answered nor voided, by id, in the order they came.

    A lease counts from when its offer came, which is a little later than the master counts: the
    master's rescind decides, this only cleans up when it does not come. O(log n) for each offer.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._leases: Deadlines[str] = Deadlines()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, offer_id: object) -> bool:
        return offer_id in self._entries

    def add(self, offer: Offer, now_ms: int) -> bool:
        """Take a new offer. False: it is here already, or there is no room for it."""
        if offer.offer_id in self._entries or len(self._entries) >= OFFERS_MAX:
            return False
        self._entries[offer.offer_id] = _Entry(offer)
        if offer.lease_ms:
            self._leases.set(offer.offer_id, now_ms + offer.lease_ms)
        return True

    def show(self, offers: Iterable[Offer]) -> tuple[Offer, ...]:
        """Which of these are still here; from now on the author's code knows them."""
        entries = [e for offer in offers if (e := self._entries.get(offer.offer_id)) is not None]
        for entry in entries:
            entry.shown = True
        return tuple(entry.offer for entry in entries)

    def hold(self, offer_id: str) -> None:
        """Keep it beyond the callback. Of one that is gone there is nothing to keep."""
        entry = self._entries.get(offer_id)
        if entry is not None:
            entry.held = True

    def why_not(self, offers: tuple[Offer, ...]) -> Refusal | None:
        """The first reason why these can not be accepted together."""
        if not offers:
            return Refusal.NO_OFFERS
        if len({offer.offer_id for offer in offers}) < len(offers):
            return Refusal.DUPLICATE_OFFER
        if len({offer.agent_id for offer in offers}) > 1:
            return Refusal.MIXED_AGENTS
        if len({offer.role for offer in offers}) > 1:
            return Refusal.MIXED_ROLES
        if any(offer.offer_id not in self._entries for offer in offers):
            return Refusal.UNKNOWN_OFFER
        return None

    def take(self, offer_ids: Iterable[str]) -> tuple[str, ...]:
        """Remove these, which are being answered; tells which of them were here."""
        return tuple(i for i in offer_ids if self._pop(i) is not None)

    def take_unanswered(self, offers: Iterable[Offer]) -> tuple[str, ...]:
        """Remove those that a callback left neither answered nor held; tells their ids."""
        left = (e for offer in offers if (e := self._entries.get(offer.offer_id)) is not None)
        return self.take([entry.offer.offer_id for entry in left if not entry.held])

    def rescind(self, offer_ids: Iterable[str]) -> list[str]:
        """Void these; tells which of them the author's code knows."""
        gone = [entry for i in offer_ids if (entry := self._pop(i)) is not None]
        return [entry.offer.offer_id for entry in gone if entry.shown]

    def void(self) -> list[str]:
        """Void all; tells which of them the author's code knows."""
        return self.rescind(list(self._entries))

    def expire(self, now_ms: int) -> list[str]:
        """Void those whose lease has run out; tells which of them the author's code knows."""
        expired: list[str] = []
        while (offer_id := self._leases.pop_due(now_ms)) is not None:
            expired.append(offer_id)
        return self.rescind(expired)

    def next_expiry_ms(self) -> int | None:
        """When the next lease runs out."""
        return self._leases.next_ms()

    def _pop(self, offer_id: str) -> _Entry | None:
        self._leases.drop(offer_id)
        return self._entries.pop(offer_id, None)

    def check(self) -> None:
        """Assert every invariant, O(n log n). For tests."""
        self._leases.check()
        leased = [i for i, entry in self._entries.items() if entry.offer.lease_ms]
        assert len(leased) == len(self._leases)
        assert all(offer_id in self._leases for offer_id in leased)
        assert all(entry.offer.offer_id == i for i, entry in self._entries.items())
        assert len(self._entries) <= OFFERS_MAX
