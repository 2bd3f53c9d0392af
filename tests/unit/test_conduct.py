"""Nobody hoards and nobody floods: leases that run out, declines and revives in a loop."""

from __future__ import annotations

from collections import Counter

from mesoslite.master import conduct, view
from mesoslite.master.bucket import Bucket
from mesoslite.master.conduct import SHORT_LEASE_PART, WARN_AGAIN_MS
from mesoslite.master.protocol import Misconduct, Warn
from mesoslite.master.records import FrameworkEntry
from mesoslite.master.state import MasterConfig
from mesoslite.messages import Accept, Decline, Offers, Rescind, Revive, Suppress
from mesoslite.model import InvalidLaunch, Launch, Offer
from tests.unit.master_world import World, task

LEASE_MS = MasterConfig().offer_lease_ms
SHORT_LEASE_MS = LEASE_MS // SHORT_LEASE_PART


def entry(world: World, name: str = "f") -> FrameworkEntry:
    return next(f for f in world.master.tables.frameworks.values() if f.info.name == name)


def warnings(world: World) -> list[Misconduct]:
    """What the last step warned of."""
    return [effect.what for effect in world.said if isinstance(effect, Warn)]


def standing(world: World) -> set[Misconduct]:
    return set(conduct.standing(world.master.tables, entry(world)))


def cluster(agents: int, config: MasterConfig | None = None) -> World:
    world = World(config=config)
    for number in range(agents):
        world.agent(f"a{number}")
    return world


# --- leases ---------------------------------------------------------------------------------------


def test_who_lets_all_leases_run_out_has_one_offer_at_a_time_and_the_others_have_the_rest() -> None:
    world = cluster(8)
    world.framework("f")
    assert len(world.offers()) == 8
    world.framework("g", session_id="s2")
    world.wait(LEASE_MS)
    assert len([i for message in world.heard("f", Rescind) for i in message.offer_ids]) == 8
    assert len(world.offers("g")) == 8
    assert entry(world).conduct.offers_max == 1
    assert warnings(world) == [Misconduct.SILENT]
    for offer in world.offers("g"):
        world.call("g", Decline((offer.offer_id,), 3_600_000))
    world.wait(world.config.lease_refuse_ms)
    assert len(world.offers("f")) == 1
    assert len(entry(world).offers) == 1


def test_the_refusal_after_a_lease_doubles_from_five_seconds_to_sixty() -> None:
    world = cluster(1)
    world.framework()
    waited_s = []
    for times in range(6):
        world.wait(SHORT_LEASE_MS if times else LEASE_MS)
        assert world.heard("f", Rescind)
        due_ms = world.master.tables.allocator.next_deadline_ms()
        assert due_ms is not None
        waited_s.append((due_ms - world.now_ms) // 1_000)
        assert not world.offers()
        world.wait(due_ms - world.now_ms)
        assert len(world.offers()) == 1
    assert waited_s == [5, 10, 20, 40, 60, 60]


def test_each_answer_doubles_what_a_silent_framework_may_have() -> None:
    world = cluster(8, MasterConfig(offers_outstanding_max=16))
    world.framework()
    world.wait(LEASE_MS)
    seen = []
    while entry(world).conduct.offers_max is not None:
        seen.append(entry(world).conduct.offers_max)
        if not entry(world).offers:
            world.wait(world.config.lease_refuse_ms)
        offer_id = next(iter(entry(world).offers))
        world.call("f", Decline((offer_id,), 1_000))
    assert seen == [1, 2, 4, 8]
    assert standing(world) == set()
    world.wait(1_000)
    assert len(entry(world).offers) == 8


def test_who_may_have_one_offer_holds_it_for_a_third_of_a_lease_until_it_answers() -> None:
    world = cluster(2)
    world.framework("silent")
    world.wait(LEASE_MS)
    world.framework("g", session_id="s2")
    assert {offer.lease_ms for offer in world.offers("g")} == {LEASE_MS}
    for offer in world.offers("g"):
        world.call("g", Decline((offer.offer_id,), 3_600_000))
    world.wait(world.config.lease_refuse_ms)
    [held] = world.offers("silent")
    assert held.lease_ms == SHORT_LEASE_MS
    [row] = view.offers(world.master.tables).rows
    assert row.lease_ms == SHORT_LEASE_MS
    world.wait(SHORT_LEASE_MS - 1)
    assert world.heard("silent", Rescind) == []
    world.wait(1)
    assert world.heard("silent", Rescind) == [Rescind((held.offer_id,))]
    world.wait(world.config.lease_refuse_max_ms)
    while entry(world, "silent").conduct.offers_max is not None:
        for offer_id in list(entry(world, "silent").offers):
            world.call("silent", Decline((offer_id,), 1_000))
        world.wait(1_000)
    leases_ms = {offer.lease_ms for offer in world.offers("silent")}
    assert leases_ms == {LEASE_MS}


def test_one_lease_of_many_costs_half_of_the_offers() -> None:
    world = cluster(8)
    world.framework()
    kept, *others = world.offers()
    world.wait(LEASE_MS - 1)
    for offer in others:
        world.call("f", Decline((offer.offer_id,), 0))
    assert len(entry(world).offers) == 8
    world.wait(1)
    assert world.heard("f", Rescind) == [Rescind((kept.offer_id,))]
    assert entry(world).conduct.offers_max == 4
    assert len(entry(world).offers) == 7  # those it has stand


def test_a_bound_outlasts_the_stream_and_the_process() -> None:
    world = cluster(4)
    world.framework()
    world.wait(LEASE_MS)
    world.close("f")
    world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert len(world.offers("f2")) == 1
    world.framework(stream="f3", session_id="another")
    [offer] = world.offers("f3")
    world.call("f3", Decline((offer.offer_id,), 60_000))
    assert len(world.offers("f3")) == 2


def test_a_bound_outlasts_a_change_of_roles() -> None:
    world = cluster(4)
    world.framework()
    world.wait(LEASE_MS)
    world.framework(roles=("*", "x"), stream="f2", framework_id="1-F1", resuming=True)
    assert len(world.offers("f2")) == 1


def test_how_long_offers_are_held_is_counted() -> None:
    world = cluster(3)
    world.framework()
    first, second, _ = world.offers()
    world.wait(1_000)
    world.call("f", Decline((first.offer_id,), 3_600_000))
    world.wait(2_000)
    world.accept(second, task(), refuse_ms=3_600_000)
    world.wait(LEASE_MS - 3_000)
    framework = entry(world)
    assert (framework.offers_answered, framework.offers_lapsed) == (2, 1)
    assert framework.held_ms == 1_000 + 3_000 + LEASE_MS
    assert framework.held_longest_ms == LEASE_MS


# --- declines -------------------------------------------------------------------------------------


def looping(world: World, stream: str = "f", times: int = 1_000, refuse_ms: int = 0) -> int:
    """Decline whatever is offered at once, again and again; how often that went."""
    offers = [o.offer_id for o in entry(world, stream).offers.values()]
    for count in range(times):
        if not offers:
            return count
        world.call(stream, Decline(tuple(offers), refuse_ms))
        offers = [o.offer_id for o in world.offers(stream)]
    return times


def test_who_declines_in_a_loop_is_offered_each_agent_once_a_second() -> None:
    world = cluster(1)
    world.framework()
    assert looping(world) == world.config.short_declines_max + 1 + 1
    assert warnings(world) == [Misconduct.DECLINES]
    assert standing(world) == {Misconduct.DECLINES}
    world.wait(world.config.refuse_floor_ms - 1)
    assert world.offers() == []
    world.wait(1)
    assert len(world.offers()) == 1


def test_a_loop_over_many_agents_stays_at_the_floor_and_is_warned_of_once() -> None:
    world = cluster(20, MasterConfig(short_declines_max=10))
    world.framework()
    looping(world)
    declined = 0
    warned = 0
    for _ in range(15):
        world.wait(1_000)
        warned += len(warnings(world))
        declined += looping(world, times=20)
        warned += len(warnings(world))
    assert declined <= 15 * (1 + 3)  # all at once each second, and what trickles in: 30 in 10 s
    assert warned == 0


def test_who_is_calm_again_may_decline_as_before() -> None:
    world = cluster(1)
    world.framework()
    before = looping(world)
    world.wait(20_000)
    assert standing(world) == set()
    assert looping(world) == before
    assert warnings(world) == []  # less than a minute since the last
    world.wait(WARN_AGAIN_MS)
    looping(world)
    assert warnings(world) == [Misconduct.DECLINES]


def test_every_agent_may_be_declined_once_at_once() -> None:
    world = cluster(120)
    world.framework()
    world.call("f", Decline(tuple(offer.offer_id for offer in world.offers()), 0))
    assert len(world.offers()) == 120
    assert standing(world) == set()


def test_an_accept_that_launches_nothing_is_a_decline() -> None:
    world = cluster(1, MasterConfig(short_declines_max=10))
    world.framework()
    for number in range(1, 100):
        offers = world.offers()
        if not offers:
            break
        accept = Accept(number, "a0", (offers[0].offer_id,), (InvalidLaunch("t", "bad"),), 0)
        world.call("f", accept)
    assert number == 10 + 1 + 1 + 1
    assert standing(world) == {Misconduct.DECLINES}


def test_an_accept_that_is_void_is_a_decline_of_what_is_good_in_it() -> None:
    world = cluster(2, MasterConfig(short_declines_max=10))
    world.framework()
    offers: list[Offer] = world.offers()
    for number in range(1, 100):
        if len(offers) < 2:
            break
        ids = tuple(offer.offer_id for offer in offers)
        world.call("f", Accept(number, offers[0].agent_id, ids, (Launch(task()),), 0))
        offers = world.offers()
    assert number < 10
    assert standing(world) == {Misconduct.DECLINES}


def test_who_launches_is_never_slowed_down() -> None:
    world = cluster(1, MasterConfig(short_declines_max=10))
    world.framework()
    offers = world.offers()
    for number in range(1, 200):
        results = world.accept(
            offers[0], task(f"t{number}", "cpus:0.01;mem:1"), number=number, refuse_ms=0
        )
        assert results[0].done
        offers = world.offers()
    assert standing(world) == set()


def test_a_floor_of_nothing_lets_everybody_decline_as_fast_as_they_like() -> None:
    world = cluster(1, MasterConfig(refuse_floor_ms=0))
    world.framework()
    assert looping(world, times=500) == 500


def test_refusals_of_the_floor_or_longer_count_for_nothing() -> None:
    world = cluster(40, MasterConfig(short_declines_max=10))
    world.framework()
    for _ in range(3):
        looping(world, refuse_ms=1_000)
        world.wait(1_000)
    assert standing(world) == set()


# --- revives --------------------------------------------------------------------------------------


def hasty(world: World, times: int = 100, stream: str = "f") -> int:
    """Decline for an hour and revive, as fast as it goes; how often that brought offers."""
    brought = 0
    for _ in range(times):
        offers = tuple(o.offer_id for o in entry(world, stream).offers.values())
        if offers:
            world.call(stream, Decline(offers, 3_600_000))
        world.call(stream, Revive())
        brought += bool(world.offers(stream))
    return brought


def test_revives_that_come_too_fast_are_put_together_and_none_is_lost() -> None:
    world = cluster(3)
    world.framework()
    assert hasty(world) == world.config.revives_max
    assert standing(world) == {Misconduct.REVIVES}
    interval_ms = 1_000 // world.config.revives_per_s
    assert world.master.next_deadline_ms() == world.now_ms + interval_ms
    world.wait(interval_ms)
    assert len(world.offers()) == 3
    world.wait(interval_ms)
    assert world.offers() == []


def test_a_revive_every_millisecond_takes_effect_five_times_a_second_and_is_warned_of_once() -> (
    None
):
    world = cluster(1)
    world.framework()
    count: Counter[str] = Counter()
    for _ in range(1_000):
        world.wait(1)
        count["offers"] += sum(isinstance(e, Offers) for e in world.heard("f", Offers))
        if offers := tuple(entry(world).offers):
            world.call("f", Decline(offers, 3_600_000))
        world.call("f", Revive())
        count["offers"] += len(world.heard("f", Offers))
        count["warnings"] += len(warnings(world))
    assert world.config.revives_max + 5 - 2 <= count["offers"] <= 10 + 5 + 2
    assert count["warnings"] == 1


def test_a_revive_with_nothing_to_forget_is_free() -> None:
    world = cluster(3)
    world.framework()
    for _ in range(100):
        world.call("f", Revive())
    assert standing(world) == set()
    offer_id = next(iter(entry(world).offers))
    world.call("f", Decline((offer_id,), 3_600_000))
    world.call("f", Revive())
    assert len(world.offers()) == 1


def test_a_suppress_takes_back_a_revive_that_was_put_off() -> None:
    world = cluster(1)
    world.framework()
    hasty(world)
    world.call("f", Suppress())
    world.wait(10_000)
    assert world.offers() == []
    world.call("f", Revive())
    assert len(world.offers()) == 1


def test_a_revive_that_was_put_off_goes_with_the_stream_and_a_subscribe_revives_at_once() -> None:
    world = cluster(1)
    world.framework()
    hasty(world)
    world.close("f")
    world.wait(1_000)
    world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert len(world.offers("f2")) == 1


def test_who_subscribes_again_and_again_is_revived_no_more_often_than_by_reviving() -> None:
    world = cluster(1)
    world.framework()
    offers = 0
    for number in range(50):
        for offer in world.offers(f"f{number}" if number else "f"):
            offers += 1
            world.call(f"f{number}" if number else "f", Decline((offer.offer_id,), 60_000))
        world.framework(stream=f"f{number + 1}", framework_id="1-F1", resuming=True)
    assert offers == 1 + MasterConfig().revives_max
    world.wait(1_000)
    assert len(world.offers("f50")) == 1


def test_a_revive_that_was_put_off_does_not_outlive_its_role() -> None:
    world = cluster(1)
    world.framework(roles=("a", "b"))
    hasty(world)
    world.framework(roles=("a",), stream="f2", framework_id="1-F1", resuming=True)
    assert len(world.offers("f2")) == 1
    assert entry(world).conduct.revive_later <= {"a"}


def test_a_framework_that_is_removed_leaves_no_revive_behind() -> None:
    world = cluster(1, MasterConfig())
    world.framework(failover_timeout_ms=0)
    hasty(world)
    world.close("f")
    world.wait(1_000)
    assert world.master.tables.frameworks == {}


# --- the bucket -----------------------------------------------------------------------------------


def test_a_bucket_gives_so_many_at_once_and_so_many_a_second() -> None:
    bucket = Bucket()
    given = [ms for ms in range(2_000) if bucket.take(ms, at_once=3, per_s=4)]
    assert given == [0, 1, 2, 250, 500, 750, 1_000, 1_250, 1_500, 1_750]
    assert not bucket.full(2_000, per_s=4)
    assert bucket.next_ms(1_999, at_once=3, per_s=4) == 2_000
    assert bucket.full(1_750 + 750, per_s=4)
