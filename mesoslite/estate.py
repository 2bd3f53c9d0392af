"""The estate of an agent: what is reserved on it, and its volumes. A value: changes make a new one.

Master and agent do the same with the same orders, by the code here. The agent's is the truth. The
master runs ahead of it, with the orders that are on their way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from mesoslite.model import Refusal
from mesoslite.operations import Order
from mesoslite.reservations import (
    RESERVATIONS_MAX,
    VOLUMES_MAX,
    CreateVolume,
    DestroyVolume,
    Reservation,
    Reserve,
    Unreserve,
    Volume,
    why_not_change,
)
from mesoslite.reserved import of_nobody
from mesoslite.resources import (
    KEYS_MAX,
    UNRESERVED,
    Resources,
    Shortfall,
    is_dynamic,
    key_parts,
)

Key = tuple[str, str]
"""(role, id): of a reservation, or of a volume."""
Why = tuple[Refusal, str]

_NOTHING = Resources.EMPTY


class InvalidEstate(ValueError):
    """More is reserved than there is, or a volume lies on nothing: one line that names it."""


class Estate:
    """What an agent's configuration says that it has, divided by its reservations and volumes.

    `total` is all of it with each amount under its key: what the allocator divides among offers
    and tasks. Each change takes some of it away and gives as much under other keys.
    """

    __slots__ = ("configured", "reservations", "total", "volumes")

    def __init__(
        self,
        configured: Resources,
        total: Resources,
        reservations: Mapping[Key, Reservation],
        volumes: Mapping[Key, Volume],
    ) -> None:
        """For the methods here; others make one with `of`."""
        self.configured = configured
        self.total = total
        self.reservations = reservations
        self.volumes = volumes

    @classmethod
    def of(
        cls,
        configured: Resources,
        reservations: Iterable[Reservation] = (),
        volumes: Iterable[Volume] = (),
    ) -> Estate:
        """From what was kept. Raises InvalidEstate when that does not fit together. 0.2 us when
        nothing is reserved, ~20 us for each reservation."""
        total = configured
        by_id: dict[Key, Reservation] = {}
        for one in reservations:
            if (one.role, one.reservation_id) in by_id or not one.reservation_id:
                raise InvalidEstate(f"reservation {one.reservation_id} is there twice")
            by_id[one.role, one.reservation_id] = one
            total = _converted(
                f"reservation {one.reservation_id}", total, one.resources, one.amount
            )
        kept: dict[Key, Volume] = {}
        for volume in volumes:
            if (volume.role, volume.volume_id) in kept:
                raise InvalidEstate(f"volume {volume.volume_id} is there twice")
            kept[volume.role, volume.volume_id] = volume
            total = _converted(f"volume {volume.volume_id}", total, volume.plain, volume.amount)
        return cls(configured, total, by_id, kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Estate):
            return NotImplemented
        return (
            self.configured == other.configured
            and self.total == other.total
            and dict(self.reservations) == dict(other.reservations)
            and dict(self.volumes) == dict(other.volumes)
        )

    def __hash__(self) -> int:
        return hash(self.total)

    def __bool__(self) -> bool:
        """Whether anything is reserved dynamically, or a volume."""
        return bool(self.reservations or self.volumes)

    def of_keys_in(self, amount: Resources) -> tuple[Reservation, ...]:
        """The reservations of which an amount holds something, if only a volume. O(its keys)."""
        keys = (*amount.scalars, *amount.ranges, *amount.sets)
        parts = dict.fromkeys(key_parts(at)[1:3] for at in keys if is_dynamic(at))
        return tuple([self.reservations[at] for at in parts if at in self.reservations])

    def why_not_at_hand(self, needs: Resources, free: Resources) -> Why | None:
        """What of a reservation or volume a task needs and `free` does not hold: the first such.

        It may hold it another time: the reservation was not made yet, or others use it. None: what
        is missing, if anything is, nobody has reserved dynamically.
        """
        lacking = free.missing(needs)
        for at in (*lacking.scalars, *lacking.ranges, *lacking.sets):
            if not is_dynamic(at):
                continue
            _, role, reservation_id, volume_id = key_parts(at)
            if volume_id:
                return Refusal.VOLUME_IN_USE, f"{lacking}: volume {volume_id} is not at hand"
            there = self.reservations.get((role, reservation_id))
            asked = of_nobody(needs.of_reservation(reservation_id, role))
            if there is None or not there.resources.covers(asked):
                what = f"reservation {reservation_id} in role {role}"
                return Refusal.UNKNOWN_RESERVATION, f"{lacking}: there is no {what}, or less of it"
            return Refusal.RESERVATION_IN_USE, f"{lacking}: {reservation_id} has it not at hand"
        return None

    # --- changes ----------------------------------------------------------------------------------

    def conversion(self, order: Order) -> tuple[Resources, Resources]:
        """(what is taken, what is given for it) by an order that `why_not` has nothing against."""
        role, change = order.role, order.change
        match change:
            case Reserve(reservation_id, resources):
                return resources, resources.reserved(role, reservation_id)
            case Unreserve(reservation_id, resources):
                given_up = resources or self.reservations[role, reservation_id].resources
                return given_up.reserved(role, reservation_id), given_up
            case CreateVolume():
                volume = _volume(order, change)
                return volume.plain, volume.amount
            case DestroyVolume(volume_id):
                volume = self.volumes[role, volume_id]
                return volume.amount, volume.plain

    def why_not(self, order: Order, free: Resources | None = None) -> Why | None:
        """The first reason why an order can not be done; None: it can.

        `free` is what of `total` is at hand: what the offers of an accept hold, or what no task
        uses. None: all of it.
        """
        at_hand = self.total if free is None else free
        invalid = why_not_change(order.change)
        if invalid is not None:
            return Refusal.INVALID_OPERATION, invalid
        if order.role == UNRESERVED:
            return Refusal.INVALID_OPERATION, "nothing can be reserved for the role *"
        why = self._why_not_kept(order, at_hand)
        if why is not None:
            return why
        taken, given = self.conversion(order)
        if not at_hand.covers(taken):
            return Refusal.TOO_LARGE, f"what there is lacks {at_hand.missing(taken)}"
        if _keys(self.total) + _keys(given) > KEYS_MAX:
            return Refusal.TOO_MANY_RESERVATIONS, f"it has {_keys(self.total)} amounts"
        return None

    def _why_not_kept(self, order: Order, at_hand: Resources) -> Why | None:
        change = order.change
        match change:
            case Reserve():
                return self._why_not_reserve(order, change)
            case Unreserve():
                return self._why_not_unreserve(order, change, at_hand)
            case CreateVolume():
                return self._why_not_create(order, change)
            case DestroyVolume():
                return self._why_not_destroy(order, change, at_hand)
            case _:
                assert_never(change)

    def _why_not_reserve(self, order: Order, change: Reserve) -> Why | None:
        there = self.reservations.get((order.role, change.reservation_id))
        if there is None:
            if len(self.reservations) >= RESERVATIONS_MAX:
                return Refusal.TOO_MANY_RESERVATIONS, f"it has {len(self.reservations)}"
            return None
        if dict(there.labels) != dict(change.labels):
            return Refusal.RESERVATION_TAKEN, f"{there.reservation_id} has other labels"
        return _why_not_theirs(order, there)

    def _why_not_unreserve(self, order: Order, change: Unreserve, free: Resources) -> Why | None:
        there = self.reservations.get((order.role, change.reservation_id))
        if there is None:
            what = f"reservation {change.reservation_id} in role {order.role}"
            return Refusal.UNKNOWN_RESERVATION, what
        if (why := _why_not_theirs(order, there)) is not None:
            return why
        if not there.resources.covers(change.resources):
            lacks = there.resources.missing(change.resources)
            return Refusal.UNKNOWN_RESERVATION, f"{change.reservation_id} lacks {lacks}"
        taken, _ = self.conversion(order)
        if not free.covers(taken):
            lacks = free.missing(taken)
            return Refusal.RESERVATION_IN_USE, f"{change.reservation_id}: {lacks} is not at hand"
        return None

    def _why_not_create(self, order: Order, change: CreateVolume) -> Why | None:
        if (order.role, change.volume_id) in self.volumes:
            return Refusal.VOLUME_EXISTS, f"volume {change.volume_id} in role {order.role}"
        if len(self.volumes) >= VOLUMES_MAX:
            return Refusal.TOO_MANY_RESERVATIONS, f"it has {len(self.volumes)} volumes"
        if not change.reservation_id:
            return None
        there = self.reservations.get((order.role, change.reservation_id))
        if there is None:
            what = f"reservation {change.reservation_id} in role {order.role}"
            return Refusal.UNKNOWN_RESERVATION, what
        return _why_not_theirs(order, there)

    def _why_not_destroy(self, order: Order, change: DestroyVolume, free: Resources) -> Why | None:
        there = self.volumes.get((order.role, change.volume_id))
        if there is None:
            what = f"volume {change.volume_id} in role {order.role}"
            return Refusal.UNKNOWN_VOLUME, what
        if (why := _why_not_theirs(order, there)) is not None:
            return why
        if not free.covers(there.amount):
            return Refusal.VOLUME_IN_USE, f"volume {change.volume_id} in role {order.role}"
        return None

    def after(self, order: Order) -> Estate:
        """The estate with an order done that `why_not` has nothing against. O(all), ~30 us."""
        taken, given = self.conversion(order)
        total = self.total - taken + given
        reservations, volumes = dict(self.reservations), dict(self.volumes)
        match order.change:
            case Reserve(reservation_id):
                at = (order.role, reservation_id)
                reservations[at] = _reserved(order, order.change, reservations.get(at))
            case Unreserve(reservation_id, resources):
                at = (order.role, reservation_id)
                there = reservations[at]
                left = there.resources - (resources or there.resources)
                if left:
                    reservations[at] = replace(there, resources=left)
                else:
                    del reservations[at]
            case CreateVolume(volume_id):
                volumes[order.role, volume_id] = _volume(order, order.change)
            case DestroyVolume(volume_id):
                del volumes[order.role, volume_id]
        return Estate(self.configured, total, reservations, volumes)


def _converted(what: str, total: Resources, taken: Resources, given: Resources) -> Resources:
    if not total.covers(taken):
        raise InvalidEstate(
            f"{what}: it takes {taken}, of which there is no {total.missing(taken)}"
        )
    try:
        return total - taken + given
    except Shortfall as why:
        raise AssertionError(f"{what}: {why}") from why


def _keys(amount: Resources) -> int:
    return len(amount.scalars) + len(amount.ranges) + len(amount.sets)


def _why_not_theirs(order: Order, there: Reservation | Volume) -> Why | None:
    """Whoever is no framework is the operator, or the master on a framework's earlier word. What
    an operator has reserved is nobody's, and any framework of the role may change it."""
    if order.framework_id and there.principal and order.principal != there.principal:
        return Refusal.RESERVATION_TAKEN, f"it is {there.principal}'s"
    return None


def _reserved(order: Order, change: Reserve, there: Reservation | None) -> Reservation:
    """As it is from now on: the framework that asked for it last is the one whose end may release
    it. An operator that adds to it takes it from nobody."""
    named = there if there is not None and not order.framework_id else order
    resources = change.resources if there is None else there.resources + change.resources
    return Reservation(
        change.reservation_id,
        order.role,
        resources,
        change.labels,
        order.principal if there is None else there.principal,
        named.framework_id,
        named.framework,
        order.at_ms if there is None else there.since_ms,
    )


def _volume(order: Order, change: CreateVolume) -> Volume:
    return Volume(
        change.volume_id,
        order.role,
        change.resources,
        change.reservation_id,
        order.principal,
        order.framework_id,
        order.framework,
        order.at_ms,
    )


#: Nothing of nobody: an estate that an agent has before it says anything.
EMPTY = Estate(_NOTHING, _NOTHING, MappingProxyType({}), MappingProxyType({}))
