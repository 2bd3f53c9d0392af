"""Reservations and volumes in the master: made of offers, sent, answered, taken back, released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mesoslite.estate import Estate
from mesoslite.lifecycle import TaskState
from mesoslite.master import estates
from mesoslite.master.operations import RELEASE_AGAIN_MS
from mesoslite.master.protocol import (
    AgentGoneAsked,
    Answer,
    EstateAsked,
    SaveRelease,
    TeardownAsked,
    ToAgent,
)
from mesoslite.messages import (
    Accept,
    AcknowledgeOperation,
    ApplyOperation,
    Decline,
    OperationReport,
    OperationUpdate,
    ReconcileOperations,
    Rescind,
    RunTask,
    ShutdownFramework,
    TaskOnAgent,
    Teardown,
    VolumesMeasured,
)
from mesoslite.model import Launch, Offer, Operation, Refusal
from mesoslite.operations import OperationReference, OperationStatus, Order
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    InvalidChange,
    OperationState,
    Reservation,
    Reserve,
    Unreserve,
    VolumeMount,
    VolumeUse,
)
from mesoslite.resources import Resources
from mesoslite.scheduler.launches import STATE_OF_REFUSED
from tests.unit.master_world import World, on_agent, task

CPU = Resources(cpus=1)
DISK = Resources(disk=100)
SIZE = "cpus:4;mem:4096;disk:1000"


class Ground(World):
    """A world with one agent that keeps an estate of its own, as a real one does."""

    def __init__(self, resources: str = SIZE) -> None:
        super().__init__()
        self.estate = Estate.of(Resources.parse(resources))
        self.unacknowledged: dict[str, OperationStatus] = {}
        self.resources = resources
        self.number = 0
        self.accepts = 0
        self.comes()

    def comes(self, *, stream: str = "a1", tasks: Sequence[TaskOnAgent] = ()) -> None:
        """The agent registers with all that it keeps."""
        self.number += 1
        self.agent(
            "a1",
            self.resources,
            stream=stream,
            number=self.number,
            tasks=tasks,
            reservations=[*self.estate.reservations.values()],
            volumes=[*self.estate.volumes.values()],
            operations=[*self.unacknowledged.values()],
        )

    def orders(self, stream: str = "a1") -> list[Order]:
        """What the last step asked of the agent."""
        return [message.order for message in self.heard(stream, ApplyOperation)]

    def do(self, *, state: OperationState = OperationState.FINISHED, stream: str = "a1") -> None:
        """The agent answers what the last step has asked of it."""
        for order in self.orders(stream):
            why = None
            if state is OperationState.FINISHED:
                assert self.estate.why_not(order) is None
                self.estate = self.estate.after(order)
            else:
                why = Refusal.OPERATION_FAILED
            operation_id = order.change.operation_id
            status = OperationStatus(
                operation_id, state, "a1", order.framework_id, why, acknowledge=True
            )
            self.unacknowledged[operation_id] = status
            self.tell(stream, OperationReport(status))

    def asks(self, offer: Offer, *operations: Operation, stream: str = "f") -> list[Refusal | None]:
        """A framework's accept; whether each operation was refused."""
        self.accepts += 1
        call = Accept(self.accepts, offer.agent_id, (offer.offer_id,), operations, 0)
        self.call(stream, call)
        return [result.refusal for result in self.results(stream)]

    def told(self, stream: str = "f") -> list[tuple[str, OperationState]]:
        """The ends of operations that the last step told."""
        updates = self.heard(stream, OperationUpdate)
        return [(update.status.operation_id, update.status.state) for update in updates]


def ground(role: str = "ads", resources: str = SIZE) -> tuple[Ground, Offer]:
    """A world with a framework of a role, and its first offer."""
    world = Ground(resources)
    world.framework("f", roles=(role,))
    [offer] = world.offers()
    return world, offer


# --- reserve and unreserve ------------------------------------------------------------------------


def test_what_is_reserved_is_offered_again_at_once_under_its_own_key() -> None:
    world, offer = ground()
    assert world.asks(offer, Reserve("r", CPU, {"a": "b"}, "o1")) == [None]
    [order] = world.orders()
    assert order == Order(
        "1-F1", "f", "local", "ads", world.now_ms, Reserve("r", CPU, {"a": "b"}, "o1")
    )
    [again] = world.offers()
    assert str(again.resources) == "cpus:3;cpus(ads)(r):1;disk:1000;mem:4096"
    [kept] = again.reservations
    assert (kept.reservation_id, kept.resources, dict(kept.labels)) == ("r", CPU, {"a": "b"})
    assert (kept.principal, kept.framework_id, kept.framework) == ("local", "1-F1", "f")


def test_r13_reservations_of_one_id_merge_and_a_part_can_be_unreserved() -> None:
    world, offer = ground()
    both = (Reserve("r", CPU, operation_id="o1"), Reserve("r", CPU + DISK, operation_id="o2"))
    assert world.asks(offer, *both) == [None, None]
    [again] = world.offers()
    assert again.resources.of_reservation("r") == (CPU + CPU + DISK).reserved("ads", "r")
    world.do()
    assert world.asks(again, Unreserve("r", CPU, "o3")) == [None]
    [left] = world.offers()
    assert left.resources.of_reservation("r") == (CPU + DISK).reserved("ads", "r")
    world.do()
    assert world.asks(left, Unreserve("r", operation_id="o4")) == [None]
    [whole] = world.offers()
    assert str(whole.resources) == "cpus:4;disk:1000;mem:4096"
    assert not whole.reservations


def test_r13_other_labels_keep_a_reservation_apart() -> None:
    world, offer = ground()
    refused = world.asks(
        offer,
        Reserve("r", CPU, {"a": "b"}, "o1"),
        Reserve("r", CPU, {"a": "c"}, "o2"),
        Reserve("s", CPU, {"a": "c"}, "o3"),
    )
    assert refused == [None, Refusal.RESERVATION_TAKEN, None]


def test_r13_what_a_task_uses_can_not_be_unreserved() -> None:
    world, offer = ground()
    part = Resources(cpus=1, mem=64)
    needs = part.reserved("ads", "r")
    operations = (Reserve("r", part + part, operation_id="o1"), Launch(task("t1", str(needs))))
    assert world.asks(offer, *operations) == [None, None]
    [again] = world.offers()
    assert again.resources.of_reservation("r") == needs
    assert world.asks(again, Unreserve("r", operation_id="o2")) == [Refusal.RESERVATION_IN_USE]
    [again] = world.offers()
    assert world.asks(again, Unreserve("r", part, "o3")) == [None]


def test_r13_only_who_has_the_principal_may_change_a_reservation() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    [again] = world.offers()
    world.do()
    world.framework("g", roles=("ads",), principal="other")
    world.call("f", Decline((again.offer_id,), 10_000))
    [theirs] = world.offers("g")
    accept = Accept(
        1,
        "a1",
        (theirs.offer_id,),
        (Unreserve("r", operation_id="x"), Reserve("r", CPU, operation_id="y")),
        0,
    )
    world.call("g", accept)
    assert [r.refusal for r in world.results("g")] == [Refusal.RESERVATION_TAKEN] * 2


def test_r12_a_static_reservation_is_offered_to_its_role_and_stays() -> None:
    world = Ground("cpus(ads):3;cpus:1;mem:4096")
    world.framework("g", roles=("other",))
    [theirs] = world.offers("g")
    assert str(theirs.resources) == "cpus:1;mem:4096"
    world.framework("f", roles=("ads",))
    [offer] = world.offers("f")
    assert str(offer.resources) == "cpus(ads):3"
    refused = world.asks(offer, Unreserve("ads", operation_id="o1"))
    assert refused == [Refusal.UNKNOWN_RESERVATION]


def test_nothing_is_reserved_for_the_role_of_all() -> None:
    world, offer = ground("*")
    assert world.asks(offer, Reserve("r", CPU, operation_id="o1")) == [Refusal.INVALID_OPERATION]


def test_a_bad_change_spoils_no_other() -> None:
    world, offer = ground()
    refused = world.asks(
        offer,
        InvalidChange("o1", "no"),
        Reserve("r", Resources(cpus=5), operation_id="o2"),
        Reserve("r", CPU, operation_id="o3"),
        Reserve("r", CPU, operation_id="o3"),
    )
    invalid, large = Refusal.INVALID_OPERATION, Refusal.TOO_LARGE
    assert refused == [invalid, large, None, Refusal.DUPLICATE_OPERATION]


def test_reserved_disk_alone_is_offered_too() -> None:
    world, offer = ground()
    rest = task("t1", "cpus:4;mem:4096")
    world.asks(offer, Reserve("r", DISK, operation_id="o1"), Launch(rest))
    assert [str(o.resources) for o in world.offers()] == ["disk:900;disk(ads)(r):100"]


# --- volumes --------------------------------------------------------------------------------------


def volume_made() -> tuple[Ground, Offer]:
    """A world with a reservation, and on it a volume of 100 MiB."""
    world, offer = ground()
    world.asks(
        offer,
        Reserve("r", Resources(cpus=2, mem=64, disk=150), operation_id="o1"),
        CreateVolume("v", DISK, "r", "o2"),
    )
    [again] = world.offers()
    world.do()
    return world, again


def user(task_id: str = "t1", volume: str = "disk(ads)(r)(v):100") -> Launch:
    """A launch of a task that uses the volume."""
    needs = f"cpus(ads)(r):1;mem(ads)(r):32;{volume}"
    return Launch(task(task_id, needs, volumes=(VolumeMount("v", "data"),)))


def test_r15_a_volume_is_made_of_reserved_disk_and_offered() -> None:
    _world, offer = volume_made()
    [volume] = offer.volumes
    assert (volume.volume_id, volume.role, volume.reservation_id) == ("v", "ads", "r")
    assert volume.resources == DISK
    assert offer.resources.scalar("disk(ads)(r)") == 50_000


def test_r15_a_volume_in_use_is_in_no_offer_and_in_no_second_task() -> None:
    world, offer = volume_made()
    assert world.asks(offer, user("t1"), user("t2")) == [None, Refusal.VOLUME_IN_USE]
    [again] = world.offers()
    assert again.volumes == ()
    assert world.asks(again, user("t3")) == [Refusal.VOLUME_IN_USE]


def test_r15_a_volume_in_use_is_not_destroyed_and_one_that_is_free_is() -> None:
    world, offer = volume_made()
    world.asks(offer, user())
    [again] = world.offers()
    assert world.asks(again, DestroyVolume("v", "o3")) == [Refusal.VOLUME_IN_USE]
    world.report("t1", TaskState.FINISHED)
    world.call("f", Decline(tuple(world.master.tables.offers), 0))
    [free] = world.offers()
    assert world.asks(free, DestroyVolume("v", "o4")) == [None]
    [last] = world.offers()
    assert last.volumes == ()
    assert last.resources.scalar("disk(ads)(r)") == 150_000


def test_r15_an_id_is_unique_for_its_role_on_its_agent() -> None:
    world, offer = volume_made()
    small = Resources(disk=1)
    assert world.asks(offer, CreateVolume("v", small, "r", "o3")) == [Refusal.VOLUME_EXISTS]


def test_r15_a_volume_needs_reserved_disk() -> None:
    world, offer = ground()
    assert world.asks(offer, CreateVolume("v", DISK, "r", "o1")) == [Refusal.UNKNOWN_RESERVATION]
    [again] = world.offers()
    assert world.asks(again, CreateVolume("v", DISK, "", "o2")) == [Refusal.TOO_LARGE]


def test_r15_a_volume_lies_on_a_static_reservation_as_well() -> None:
    world, offer = ground(resources="cpus:4;mem:4096;disk(ads):200")
    assert world.asks(offer, CreateVolume("v", DISK, "", "o1")) == [None]
    [again] = world.offers()
    assert str(again.resources) == "cpus:4;disk(ads):100;disk(ads)()(v):100;mem:4096"


@pytest.mark.parametrize(
    ("volume", "refusal"),
    [
        ("disk:100", Refusal.UNKNOWN_VOLUME),  # it is not held at all
        ("disk(ads)(r)(v):50", Refusal.UNKNOWN_VOLUME),  # a part of it
        ("disk(ads)(r)(v):100;disk(ads)()(w):1", Refusal.INVALID_TASK),  # one it does not mount
    ],
)
def test_a_task_holds_the_volumes_that_it_mounts(volume: str, refusal: Refusal) -> None:
    world, offer = volume_made()
    assert world.asks(offer, user("t1", volume)) == [refusal]


@pytest.mark.parametrize(("first", "needs"), [("cpus:9", 1), ("cpus:1", 2)])  # refused; too small
def test_a_launch_without_what_was_to_be_reserved_may_be_tried_again(
    first: str, needs: int
) -> None:
    world, offer = ground()
    reserve = Reserve("r", Resources.parse(first), {}, "o1")
    told = world.asks(offer, reserve, Launch(task("t1", f"cpus(ads)(r):{needs}")))
    assert told[1] is Refusal.UNKNOWN_RESERVATION
    assert STATE_OF_REFUSED[Refusal.UNKNOWN_RESERVATION] is TaskState.DROPPED


def test_a_second_task_on_what_is_reserved_once_may_be_tried_again() -> None:
    world, offer = ground()
    reserve = Reserve("r", CPU, operation_id="o1")
    tasks = [Launch(task(name, "cpus(ads)(r):1")) for name in ("t1", "t2")]
    assert world.asks(offer, reserve, *tasks) == [None, None, Refusal.RESERVATION_IN_USE]
    assert STATE_OF_REFUSED[Refusal.RESERVATION_IN_USE] is TaskState.DROPPED


def test_o2_one_accept_reserves_makes_a_volume_and_launches_on_it_in_this_order() -> None:
    world, offer = ground()
    refused = world.asks(
        offer,
        Reserve("r", Resources(cpus=2, mem=64, disk=150), operation_id="o1"),
        CreateVolume("v", DISK, "r", "o2"),
        user(),
    )
    assert refused == [None] * 3
    sent = [type(e.event) for e in world.said if isinstance(e, ToAgent)]
    assert sent[-3:] == [ApplyOperation, ApplyOperation, RunTask]


# --- what becomes of operations -------------------------------------------------------------------


def test_3_10_an_end_is_told_and_said_again_until_it_is_acknowledged() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    world.do()
    assert world.told() == [("o1", OperationState.FINISHED)]
    world.framework("f", roles=("ads",), stream="f2", session_id="s2")
    assert world.told("f2") == [("o1", OperationState.FINISHED)]
    acknowledge = AcknowledgeOperation("1-F1", "a1", "o1")
    world.call("f2", acknowledge)
    assert world.heard("a1", AcknowledgeOperation) == [acknowledge]
    world.framework("f", roles=("ads",), stream="f3", session_id="s3")
    assert world.told("f3") == []


def test_3_10_what_the_agent_refuses_is_taken_back_with_what_was_built_on_it() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", DISK, operation_id="o1"), CreateVolume("v", DISK, "r", "o2"))
    [ahead] = world.offers()
    assert ahead.volumes
    world.do(state=OperationState.FAILED)
    world.call("f", ReconcileOperations())
    assert world.told() == [("o1", OperationState.FAILED), ("o2", OperationState.FAILED)]
    [again] = world.master.tables.offers.values()
    assert str(again.resources) == "cpus:4;disk:1000;mem:4096"
    assert again.offer_id != ahead.offer_id


def test_3_10_an_operation_that_never_arrived_is_dropped_when_its_agent_is_back() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    world.close("a1")
    world.call("f", ReconcileOperations((OperationReference("o1", "a1"),)))
    assert world.told() == [("o1", OperationState.RECOVERING)]
    world.comes(stream="a1b")
    assert world.told() == [("o1", OperationState.DROPPED)]
    [again] = world.offers()
    assert str(again.resources) == "cpus:4;disk:1000;mem:4096"


def test_3_10_an_operation_whose_answer_was_lost_is_told_when_its_agent_is_back() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    orders = world.orders()
    world.close("a1")
    world.estate = world.estate.after(orders[0])
    done = OperationStatus("o1", OperationState.FINISHED, "a1", "1-F1", acknowledge=True)
    world.unacknowledged["o1"] = done
    world.comes(stream="a1b")
    assert world.told() == [("o1", OperationState.FINISHED)]
    [again] = world.offers()
    assert again.resources.of_reservation("r")


def test_3_10_questions_are_answered_by_what_is_known() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    asked = [("o1", "a1"), ("o1", ""), ("x", "a1"), ("x", "nobody"), ("x", "")]
    questions = ReconcileOperations(tuple(OperationReference(*one) for one in asked))
    world.call("f", questions)
    pending, unknown = OperationState.PENDING, OperationState.UNKNOWN
    dropped = OperationState.DROPPED
    assert [state for _, state in world.told()] == [pending, pending, dropped, unknown, unknown]


def test_3_10_who_waits_for_an_agent_that_is_given_up_is_told() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    world.silent.add("a1")
    said = world.wait(world.config.silence_ms + world.config.heartbeat_ms)
    world.said = said
    assert ("o1", OperationState.UNREACHABLE) in world.told()
    world.comes(stream="a1b")
    assert world.told() == [("o1", OperationState.DROPPED)]


def test_d2_a_change_of_an_earlier_masters_offer_is_done_if_its_agent_has_an_answer() -> None:
    world, offer = ground()
    orders = [Reserve("r", CPU, operation_id="o1"), Reserve("s", CPU, operation_id="o2")]
    world.asks(offer, *orders)
    sent = world.orders()
    world.restart()
    world.framework("f", roles=("ads",), stream="f2", resuming=True, framework_id="1-F1")
    accept = Accept(1, "a1", (offer.offer_id,), tuple(orders), 0)
    world.call("f2", accept)
    world.estate = world.estate.after(sent[0])
    done = OperationStatus("o1", OperationState.FINISHED, "a1", "1-F1", acknowledge=True)
    world.unacknowledged["o1"] = done
    world.comes()
    assert [r.refusal for r in world.results("f2")] == [None, Refusal.STALE_OFFER]
    assert world.told("f2") == [("o1", OperationState.FINISHED)]


def test_a_registration_that_reserves_more_than_there_is_is_refused() -> None:
    world = World()
    too_much = Reservation("r", "ads", Resources(cpus=5))
    world.agent("a1", "cpus:4;mem:4096", reservations=[too_much])
    assert world.refused("a1").refusal is Refusal.INVALID_AGENT


# --- operators ------------------------------------------------------------------------------------


def test_o6_an_operators_change_rescinds_the_offers_in_its_way() -> None:
    world, offer = ground()
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", CPU)))
    assert world.heard("f", Rescind) == [Rescind((offer.offer_id,))]
    assert not [e for e in world.said if isinstance(e, Answer)]
    world.do()
    assert [e for e in world.said if isinstance(e, Answer)] == [Answer(7, agent_id="a1")]
    [acknowledged] = world.heard("a1", AcknowledgeOperation)
    assert acknowledged.framework_id == ""


def test_an_operator_may_change_anybodys_but_not_what_is_in_use() -> None:
    world, offer = volume_made()
    world.asks(offer, user())
    world.step(EstateAsked(7, "a1", "ads", "admin", DestroyVolume("v")))
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert answer.refusal is Refusal.VOLUME_IN_USE
    world.step(EstateAsked(8, "a2", "ads", "admin", DestroyVolume("v")))
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert answer.refusal is Refusal.UNKNOWN_AGENT


def test_an_operator_is_answered_when_the_agent_leaves_first() -> None:
    world, _offer = ground()
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", CPU)))
    world.close("a1")
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert (answer.request, answer.refusal) == (7, Refusal.AGENT_AWAY)


def test_an_operator_is_told_which_host_is_away_and_what_to_do() -> None:
    world, _offer = ground()
    host = world.master.tables.agents["a1"].info.hostname
    world.close("a1")
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", CPU)))
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert answer.refusal is Refusal.AGENT_AWAY
    assert answer.message.startswith(f"{host} is disconnected; ask again when")


@pytest.mark.parametrize("known", [True, False])
def test_an_operator_is_answered_when_the_agent_comes_back_over_a_half_open_stream(
    known: bool,
) -> None:
    """By what the agent says that it has answered, if it does."""
    world, _offer = ground()
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", CPU)))
    if known:
        [order] = world.orders()
        world.estate = world.estate.after(order)
        end = OperationStatus(
            order.change.operation_id, OperationState.FINISHED, "a1", acknowledge=True
        )
        world.unacknowledged[end.operation_id] = end
    world.comes(stream="a1b")
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert (answer.request, answer.refusal) == (7, None if known else Refusal.AGENT_AWAY)


def test_an_operator_is_answered_when_the_agent_is_given_up_for_good() -> None:
    world, _offer = ground()
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", CPU)))
    world.step(AgentGoneAsked(8, "a1"))
    answers = {e.request: e.refusal for e in world.said if isinstance(e, Answer)}
    assert answers == {7: Refusal.AGENT_GONE, 8: None}


def test_what_an_operator_adds_to_a_frameworks_is_released_with_it() -> None:
    world, offer = ground()
    world.asks(offer, Reserve("r", CPU, operation_id="o1"))
    world.do()
    world.step(EstateAsked(7, "a1", "ads", "admin", Reserve("r", DISK)))
    world.do()
    world.call("f", Teardown(release=True))
    assert [type(order.change) for order in world.orders()] == [Unreserve]
    world.do()
    assert not world.estate


# --- release --------------------------------------------------------------------------------------


def test_d17_all_is_released_at_once_when_nothing_uses_it() -> None:
    world, _offer = volume_made()
    world.call("f", Teardown(release=True))
    changes = [type(order.change) for order in world.orders()]
    assert changes == [DestroyVolume, Unreserve]
    world.do()
    world.framework("g", roles=("ads",))
    [offer] = world.offers("g")
    assert str(offer.resources) == "cpus:4;disk:1000;mem:4096"


def test_d17_what_tasks_use_is_released_when_they_have_ended() -> None:
    world, offer = volume_made()
    world.asks(offer, user())
    world.call("f", Teardown(release=True))
    assert world.heard("a1", ShutdownFramework)
    assert world.orders() == []
    world.report("t1", TaskState.KILLED)
    assert [type(order.change) for order in world.orders()] == [DestroyVolume, Unreserve]


def test_d17_what_its_agent_could_not_release_is_tried_again_a_bit_later() -> None:
    world, _offer = volume_made()
    world.call("f", Teardown(release=True))
    world.do(state=OperationState.FAILED)
    assert world.orders() == []
    world.said = world.wait(RELEASE_AGAIN_MS)
    assert [type(order.change) for order in world.orders()] == [DestroyVolume, Unreserve]
    world.do()
    assert not world.estate


def test_d17_what_can_not_be_released_is_tried_less_and_less_often() -> None:
    world, _offer = volume_made()
    world.call("f", Teardown(release=True))
    for wait_ms in (10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000):
        world.do(state=OperationState.FAILED)
        world.said = world.wait(wait_ms - 1)
        assert world.orders() == []
        world.said = world.wait(1)
        assert [type(order.change) for order in world.orders()] == [DestroyVolume, Unreserve]
    world.do()
    assert not world.estate


def test_d17_an_agent_that_was_away_gives_it_up_when_it_is_back_also_to_another_master() -> None:
    world, offer = volume_made()
    world.asks(offer, user())
    world.close("a1")
    world.step(TeardownAsked(1, "f", release=True))
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert (answer.releasing, answer.agents_away) == (0, ("a1",))
    world.restart()
    world.comes(tasks=[on_agent(needs=str(user().task.resources), role="ads")])
    assert world.orders() == []
    world.report("t1", TaskState.KILLED)
    assert [type(order.change) for order in world.orders()] == [DestroyVolume, Unreserve]


def test_d17_an_agent_on_which_nothing_runs_gives_it_up_when_it_is_back() -> None:
    world, _offer = volume_made()
    world.close("a1")
    world.call("f", Teardown(release=True))
    world.comes(stream="a1b")
    assert [type(one.change) for one in world.orders("a1b")] == [DestroyVolume, Unreserve]


def test_d17_without_release_everything_stays_and_can_be_released_later() -> None:
    world, _offer = volume_made()
    world.call("f", Teardown())
    assert world.orders() == []
    world.step(TeardownAsked(1, "f", release=True))
    [answer] = [e for e in world.said if isinstance(e, Answer)]
    assert (answer.refusal, answer.releasing) == (None, 2)
    assert [type(order.change) for order in world.orders()] == [DestroyVolume, Unreserve]


def test_d17_a_framework_that_uses_the_name_again_keeps_what_it_reserves() -> None:
    world, _offer = volume_made()
    world.call("f", Teardown(release=True))
    world.do()
    world.framework("f", roles=("ads",), stream="f2", session_id="s2")
    [offer] = world.offers("f2")
    accept = Accept(1, "a1", (offer.offer_id,), (Reserve("r", CPU, operation_id="o1"),), 0)
    world.call("f2", accept)
    world.do()
    world.close("a1")
    world.comes(stream="a1b")
    assert world.orders("a1b") == []


def test_a_release_is_in_the_registry_before_it_is_carried_out() -> None:
    world, _offer = volume_made()
    said = world.call("f", Teardown(release=True))
    kinds = [type(effect) for effect in said]
    applied = [
        n for n, e in enumerate(said) if isinstance(getattr(e, "event", None), ApplyOperation)
    ]
    assert kinds.index(SaveRelease) < min(applied)
    [record] = world.registry.releases
    assert (record.principal, record.name, record.framework_id) == ("local", "f", "1-F1")


# --- what people see ------------------------------------------------------------------------------


def test_a_query_shows_who_holds_what_on_which_agent_and_since_when() -> None:
    world, offer = ground(resources="cpus:3;cpus(web):1;mem:4096;disk:1000")
    world.asks(
        offer,
        Reserve("r", Resources(cpus=2, mem=64, disk=150), {"a": "b"}, "o1"),
        CreateVolume("v", DISK, "r", "o2"),
        user(),
    )
    t = world.master.tables
    made, static = estates.reservations(t).rows
    assert (static.reservation.role, static.reservation.resources) == ("web", CPU)
    assert static.reservation.reservation_id == ""
    assert (made.key, made.reservation.role) == ("a1 ads r", "ads")
    assert (made.reservation.framework, made.reservation.since_ms) == ("f", world.now_ms)
    assert made.used == Resources(cpus=1, mem=32, disk=100)
    assert (made.pending, made.releasing) == (True, False)
    [volume] = estates.volumes(t).rows
    assert volume.user is not None
    assert (volume.user.task.task_id, volume.use) == ("t1", None)
    assert volume.pending
    world.do()
    world.tell("a1", VolumesMeasured((VolumeUse("ads", "v", 5, 7),)))
    [volume] = estates.volumes(t, agent="a1.example", role="ads", framework="f").rows
    assert (volume.use, volume.pending) == (VolumeUse("ads", "v", 5, 7), False)
    assert estates.volumes(t, agent="a2").rows == ()
    assert estates.reservations(t, role="web", framework="f").rows == ()
    world.call("f", Teardown(release=True))
    assert [row.releasing for row in estates.reservations(t, framework="f").rows] == [True]


def test_what_an_operator_reserves_any_framework_of_the_role_may_give_up() -> None:
    world, _offer = ground()
    world.step(EstateAsked(7, "a1", "ads", "", Reserve("r", CPU)))
    world.do()
    [offer] = world.master.tables.offers.values()
    accept = Accept(1, "a1", (offer.offer_id,), (Unreserve("r", operation_id="o1"),), 0)
    world.call("f", accept)
    assert [r.refusal for r in world.results()] == [None]


def test_an_id_that_two_agents_have_answered_is_one_change() -> None:
    """The first was acknowledged, which its host has lost; then its framework used the id again."""
    world = Ground()
    world.framework("f", roles=("ads",))
    again = OperationStatus("o1", OperationState.FINISHED, "a1", "1-F1", acknowledge=True)
    world.unacknowledged["o1"] = again
    world.comes(stream="a1b")
    assert world.told() == [("o1", OperationState.FINISHED)]
    world.agent("a2", operations=[replace(again, agent_id="a2")])
    assert world.told() == []
    assert world.heard("a2", AcknowledgeOperation) == [AcknowledgeOperation("1-F1", "a2", "o1")]
