"""Changes of reservations and volumes in a session: named, sent, told once, acknowledged always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    AcceptResult,
    AcknowledgeOperation,
    Offers,
    OperationUpdate,
    ReconcileOperations,
    SchedulerCall,
    Teardown,
    Update,
)
from mesoslite.model import Launch, Offer, OperationResult, Refusal, Task
from mesoslite.operations import OperationReference, OperationStatus
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reserve,
    Unreserve,
    VolumeMount,
)
from mesoslite.resources import InvalidResources, Resources
from mesoslite.scheduler.changes import Asked
from mesoslite.scheduler.operations import ASK_AGAIN_MS, UNKNOWN_MAX
from mesoslite.scheduler.scheduler import Scheduler
from mesoslite.testing import Harness, SessionHarness, offer, status

CPU = Resources(cpus=1)
DISK = Resources(disk=10)
FINISHED, DROPPED = OperationState.FINISHED, OperationState.DROPPED
HERE = Resources(cpus=4, mem=512, disk=100)


class Keeper(Scheduler):
    """Accepts its first offer with these operations, and keeps what it is told of them."""

    name = "keeper"
    roles = ("ads",)

    def __init__(self, *operations: Asked) -> None:
        self.operations = operations
        self.told: list[OperationStatus] = []

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        if self.operations:
            asked, self.operations = self.operations, ()
            self.accept(offers[0], asked)

    def operation_update(self, status: OperationStatus) -> None:
        self.told.append(status)


def accepted(*operations: Asked) -> tuple[SessionHarness, Keeper, Accept]:
    """A session with one unanswered accept, number 1, of an offer of the agent a1."""
    keeper = Keeper(*operations)
    bench = SessionHarness(keeper)
    bench.subscribe()
    [accept] = bench.hears(Offers((offer(agent_id="a1", role="ads", resources=HERE),)))
    assert isinstance(accept, Accept)
    return bench, keeper, accept


def done(bench: SessionHarness, *refusals: Refusal | None) -> list[SchedulerCall]:
    """The master answers the accept."""
    return bench.hears(AcceptResult(1, tuple(OperationResult(one) for one in refusals)))


def end(state: OperationState = FINISHED, operation_id: str = "o1") -> OperationUpdate:
    """The end of a change, as its agent tells it."""
    status = OperationStatus(operation_id, state, "a1", "framework-1", acknowledge=True)
    return OperationUpdate(status)


def acknowledged(calls: Sequence[SchedulerCall]) -> list[str]:
    return [call.operation_id for call in calls if isinstance(call, AcknowledgeOperation)]


def asked(calls: Sequence[SchedulerCall]) -> list[tuple[OperationReference, ...]]:
    return [call.operations for call in calls if isinstance(call, ReconcileOperations)]


def test_a_change_without_an_id_is_given_one_and_each_another() -> None:
    _bench, _keeper, accept = accepted(Reserve("r", CPU), Reserve("s", CPU))
    ids = [one.operation_id for one in accept.operations if isinstance(one, Reserve)]
    assert ids == ["session-1.1", "session-1.2"]


def test_an_end_is_told_once_and_acknowledged_each_time_it_comes() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    done(bench, None)
    assert acknowledged(bench.hears(end())) == ["o1"]
    assert acknowledged(bench.hears(end())) == ["o1"]
    assert [status.state for status in keeper.told] == [FINISHED]


def test_who_acknowledges_by_hand_is_told_an_end_once_and_it_waits_for_the_word() -> None:
    keeper = Keeper()
    keeper.acknowledge_automatically = False
    bench = SessionHarness(keeper)
    bench.subscribe()
    assert acknowledged(bench.hears(end())) == []
    assert acknowledged(bench.hears(end())) == []
    [status] = keeper.told
    keeper.acknowledge(status)
    assert acknowledged(bench.decides()) == ["o1"]


def test_an_end_that_no_callback_is_there_for_is_acknowledged_also_for_who_does_so_by_hand() -> (
    None
):
    class Successor(Scheduler):
        """Of a scheduler that had reserved, and died before it had acknowledged."""

        name = "keeper"
        acknowledge_automatically = False

    bench = SessionHarness(Successor())
    bench.subscribe()
    assert acknowledged(bench.hears(end())) == ["o1"]
    running = status("t1", TaskState.RUNNING)
    assert bench.hears(Update(running)) == []  # statuses are acknowledged by hand all the same


def test_what_the_master_refuses_is_told_with_its_state() -> None:
    bench, keeper, _ = accepted(
        Reserve("r", CPU, operation_id="o1"),
        Unreserve("s", operation_id="o2"),
        DestroyVolume("v", operation_id="o3"),
    )
    done(bench, Refusal.TOO_LARGE, Refusal.UNKNOWN_RESERVATION, Refusal.VOLUME_IN_USE)
    told = [(status.operation_id, status.state) for status in keeper.told]
    assert told == [("o1", DROPPED), ("o2", OperationState.ERROR), ("o3", DROPPED)]
    assert all(status.message for status in keeper.told)


def test_what_its_agent_told_is_the_truth_whatever_the_accept_is_answered() -> None:
    """After a change of masters the end may come before the answer (D2)."""
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    bench.hears(end())
    done(bench, Refusal.STALE_OFFER)
    assert [status.state for status in keeper.told] == [FINISHED]


def test_changes_without_an_end_are_asked_about_after_each_subscribe_and_again() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    assert asked(bench.passes(2 * ASK_AGAIN_MS / 1_000)) == []
    done(bench, None)
    question = (OperationReference("o1", "a1"),)
    assert asked(bench.passes(ASK_AGAIN_MS / 1_000)) == [question]
    bench.loses_stream()
    assert asked(bench.subscribe()) == [question]
    pending = OperationStatus("o1", OperationState.PENDING, "a1")
    away = OperationStatus("o1", OperationState.UNREACHABLE, "a1")
    for answer in (pending, away, away):
        bench.hears(OperationUpdate(answer))
    assert keeper.told == [away]
    bench.hears(OperationUpdate(OperationStatus("o1", DROPPED, "a1")))
    assert [status.state for status in keeper.told] == [OperationState.UNREACHABLE, DROPPED]
    assert asked(bench.passes(ASK_AGAIN_MS / 1_000)) == []


def test_what_nobody_knows_is_not_asked_about_for_ever() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    done(bench, None)
    unknown = OperationUpdate(OperationStatus("o1", OperationState.UNKNOWN))
    for _ in range(UNKNOWN_MAX):
        assert asked(bench.passes(ASK_AGAIN_MS / 1_000)) != []
        bench.hears(unknown)
    assert asked(bench.passes(ASK_AGAIN_MS / 1_000)) == []
    assert [status.state for status in keeper.told] == [OperationState.UNKNOWN]
    assert acknowledged(bench.hears(end())) == ["o1"]
    assert keeper.told[-1].state is FINISHED


def test_an_author_that_asks_for_what_has_ended_is_told_it_again() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    done(bench, None)
    bench.hears(end())
    keeper.reconcile_operations("o1", "stranger")
    [question] = asked(bench.decides())
    assert question == (OperationReference("stranger"),)
    assert [status.state for status in keeper.told] == [FINISHED, FINISHED]
    bench.hears(OperationUpdate(OperationStatus("stranger", OperationState.UNKNOWN)))
    assert keeper.told[-1].operation_id == "stranger"


def test_one_id_is_one_change() -> None:
    bench, keeper, accept = accepted(
        Reserve("r", CPU, operation_id="o1"), Unreserve("r", operation_id="o1")
    )
    assert len(accept.operations) == 1
    assert [status.refusal for status in keeper.told] == [Refusal.DUPLICATE_OPERATION]
    done(bench, None)


def test_labels_without_values_are_an_error_that_says_so() -> None:
    labels: Any = ["a"]
    with pytest.raises(TypeError, match="labels are a dict of texts, not list"):
        Reserve("r", CPU, labels)


def test_an_id_is_not_used_again_after_its_end() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU, operation_id="o1"))
    done(bench, None)
    bench.hears(end())
    keeper.operations = (Reserve("r", CPU, operation_id="o1"),)
    calls = bench.hears(
        Offers((offer(offer_id="again", agent_id="a1", role="ads", resources=HERE),))
    )
    assert not [call for call in calls if isinstance(call, Accept)]
    assert [status.refusal for status in keeper.told] == [None, Refusal.DUPLICATE_OPERATION]
    assert keeper.told[-1].state is OperationState.ERROR


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_id_that_an_earlier_process_has_used_is_not_used_again_once_its_end_was_told(
    by_hand: bool,
) -> None:
    keeper = Keeper(Reserve("r", CPU, operation_id="o1"))
    keeper.acknowledge_automatically = not by_hand
    bench = SessionHarness(keeper)
    bench.subscribe()
    bench.hears(end())
    calls = bench.hears(Offers((offer(agent_id="a1", role="ads", resources=HERE),)))
    assert not [call for call in calls if isinstance(call, Accept)]
    assert [status.refusal for status in keeper.told] == [None, Refusal.DUPLICATE_OPERATION]


def test_a_framework_is_torn_down_with_what_it_has_reserved() -> None:
    bench, keeper, _ = accepted(Reserve("r", CPU))
    keeper.teardown(release=True)
    assert Teardown(release=True) in bench.decides()


# --- what an author may ask -----------------------------------------------------------------------


def with_volume(task_id: str = "t1", volume: str = "v", path: str = "data") -> Task:
    needs = Resources(cpus=1, mem=64, role="ads", reservation="r")
    return Task(task_id, ["true"], needs, volumes=[VolumeMount(volume, path)])


def test_a_task_holds_the_volume_that_an_earlier_operation_makes() -> None:
    decisions = Harness(
        Keeper(Reserve("r", HERE), CreateVolume("v", DISK, "r"), with_volume())
    ).offers(offer(role="ads", resources=HERE))
    [task] = decisions.launched
    assert task.resources.volumes() == Resources.parse("disk(ads)(r)(v):10")
    assert [type(change) for change in decisions.changed] == [Reserve, CreateVolume]


def test_a_task_holds_the_volume_of_its_offer() -> None:
    class Simple(Scheduler):
        name, roles = "simple", ("ads",)

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            [volume] = offers[0].volumes
            self.launch(offers[0], with_volume(volume=volume.volume_id))

    amounts = "cpus(ads)(r):1;mem(ads)(r):64;disk(ads)(r)(v):10"
    [task] = (
        Harness(Simple()).offers(offer(role="ads", resources=Resources.parse(amounts))).launched
    )
    assert task.resources == Resources.parse(amounts)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (Reserve("no id!", CPU), "reservation_id must be"),
        (Reserve("r", Resources.EMPTY), "it reserves nothing"),
        (Reserve("r", CPU.reserved("ads")), "its resources name no roles"),
        (Reserve("r", CPU, {"a": "b" * 5_000}), "at most 4,096 bytes"),
        (CreateVolume("v", CPU, "r"), "a volume is some disk and nothing else"),
        (DestroyVolume(".."), "volume_id must be"),
    ],
)
def test_what_can_not_be_is_refused_where_it_is_said(operation: Asked, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Harness(Keeper(operation)).offers(offer(role="ads", resources=HERE))


@pytest.mark.parametrize("path", ["", "/", "a//b", "../x", "a\nb"])
def test_the_path_of_a_mount_is_a_path(path: str) -> None:
    keeper = Keeper(Reserve("r", HERE), CreateVolume("v", DISK, "r"), with_volume(path=path))
    with pytest.raises(ValueError, match="t1"):
        Harness(keeper).offers(offer(role="ads", resources=HERE))


def test_amounts_of_a_reservation_need_a_role() -> None:
    with pytest.raises(InvalidResources, match="reserved for no role"):
        Resources(cpus=1, reservation="r")


def test_launches_are_operations_too() -> None:
    task = Task("t1", ["true"], Resources(cpus=1, mem=32))
    [launched] = Harness(Keeper(Launch(task))).offers(offer(role="ads", resources=HERE)).launched
    assert launched is task
