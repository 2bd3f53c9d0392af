"""Whatever changes an estate, nothing is made or lost, and the books agree with the amounts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesoslite.estate import Estate, InvalidEstate
from mesoslite.model import Refusal
from mesoslite.operations import Order
from mesoslite.reservations import (
    RESERVATIONS_MAX,
    VOLUMES_MAX,
    Change,
    CreateVolume,
    DestroyVolume,
    Reservation,
    Reserve,
    Unreserve,
    Volume,
    volumes_in,
)
from mesoslite.reserved import of_nobody
from mesoslite.resources import Resources, key_parts

SIZE = Resources.parse("cpus:4;mem:64;disk:20;disk(ads):5;ports:[1-9]")
ids = st.sampled_from(("a", "b"))
amounts = st.builds(
    lambda cpus, disk, port: Resources(cpus=cpus, disk=disk, ports=[(port, port)] if port else ()),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(0, 9),
)
disks = st.integers(1, 6).map(lambda size: Resources(disk=size))
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(Reserve, ids, amounts, st.sampled_from(({}, {"x": "y"})), st.just("o")),
    st.builds(Unreserve, ids, st.just(Resources.EMPTY) | amounts, st.just("o")),
    st.builds(CreateVolume, ids, disks, st.just("") | ids, st.just("o")),
    st.builds(DestroyVolume, ids, st.just("o")),
)
orders = st.builds(
    Order,
    st.sampled_from(("", "1-F1", "1-F2")),
    st.sampled_from(("f", "g")),
    st.sampled_from(("p", "q")),
    st.sampled_from(("ads", "web")),
    st.integers(0, 9),
    changes,
)


def everything(estate: Estate) -> Resources:
    """All that there is by name, whatever it is kept for."""
    amount = of_nobody(estate.total)
    for volume in volumes_in(estate.total):
        amount += volume.resources
    return amount


@given(st.lists(orders, max_size=12))
@settings(max_examples=200)
def test_a_change_takes_what_it_gives_and_the_books_agree(some: list[Order]) -> None:
    estate = Estate.of(SIZE)
    for order in some:
        if estate.why_not(order) is not None:
            continue
        taken, given_ = estate.conversion(order)
        before, estate = estate, estate.after(order)
        assert before.total - taken == estate.total - given_
        assert everything(estate) == everything(before) == of_nobody(SIZE)
        again = Estate.of(SIZE, estate.reservations.values(), estate.volumes.values())
        assert again == estate
        for at in estate.total.scalars:
            parts = key_parts(at)
            assert not parts.reservation or (parts.role, parts.reservation) in estate.reservations
            assert not parts.volume or (parts.role, parts.volume) in estate.volumes


@given(st.lists(orders, max_size=8), amounts)
def test_what_is_in_use_stays(some: list[Order], used: Resources) -> None:
    """Whatever a task holds is held as before: no change takes it."""
    estate = Estate.of(SIZE)
    if not estate.total.covers(used):
        return
    for order in some:
        free = estate.total - used
        if estate.why_not(order, free) is None:
            estate = estate.after(order)
        assert estate.total.covers(used)


def make(change: Change, framework_id: str = "1-F1", principal: str = "p") -> Order:
    return Order(framework_id, "f", principal, "ads", 1, change)


def test_as_many_reservations_and_volumes_as_there_may_be_and_no_more() -> None:
    estate = Estate.of(Resources(cpus=1_000, disk=1_000))
    for number in range(RESERVATIONS_MAX):
        estate = estate.after(make(Reserve(f"r{number}", Resources(disk=2), {}, "o")))
    one_more = estate.why_not(make(Reserve("more", Resources(disk=1), {}, "o")))
    assert one_more is not None
    assert one_more[0] is Refusal.TOO_MANY_RESERVATIONS
    for number in range(VOLUMES_MAX):
        volume = CreateVolume(f"v{number}", Resources(disk=1), f"r{number}", "o")
        estate = estate.after(make(volume))
    one_more = estate.why_not(make(CreateVolume("more", Resources(disk=1), "r0", "o")))
    assert one_more is not None
    assert one_more[0] is Refusal.TOO_MANY_RESERVATIONS


@pytest.mark.parametrize(
    ("reservations", "volumes", "names"),
    [
        ([Reservation("r", "ads", Resources(cpus=5))], [], "reservation r"),
        ([Reservation("r", "ads", Resources(cpus=1))] * 2, [], "reservation r is there twice"),
        ([], [Volume("v", "ads", Resources(disk=6))], "volume v"),
        ([], [Volume("v", "ads", Resources(disk=1), "r")], "volume v"),
    ],
)
def test_what_does_not_fit_is_named(
    reservations: list[Reservation], volumes: list[Volume], names: str
) -> None:
    with pytest.raises(InvalidEstate, match=names):
        Estate.of(SIZE, reservations, volumes)
