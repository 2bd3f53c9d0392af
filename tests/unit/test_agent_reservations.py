"""The agent and what is reserved on it: R12, R13 and R15, and the feedback of 3.10.

An order is done or refused in one step, durable before it is answered, answered until that is
acknowledged, and never done twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesoslite.estate import InvalidEstate
from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    AcknowledgeOperation,
    ApplyOperation,
    KillTask,
    OperationReport,
    Register,
    RunTask,
    ShutdownFramework,
    VolumesMeasured,
)
from mesoslite.model import Reason, Refusal, Task
from mesoslite.operations import OperationStatus, Order
from mesoslite.reservations import (
    Change,
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reservation,
    Reserve,
    Unreserve,
    VolumeMount,
    VolumeUse,
)
from mesoslite.resources import Resources
from mesoslite_agent.container import ContainerStarted, VolumeAt
from mesoslite_agent.holdings import ANSWERS_MAX
from mesoslite_agent.protocol import (
    OF_THE_HOST,
    DirectoriesMeasured,
    DirectoryRemoved,
    Effect,
    ForgetDirectory,
    RemoveDirectory,
    SaveOperation,
    SaveReservation,
    SaveVolume,
    StartContainer,
    StreamOpened,
    ToMaster,
    VolumeFull,
)
from tests.unit.agent_world import (
    CONFIG,
    INFO,
    World,
    exited,
    of,
    one,
    said,
    states,
    status_of,
    task,
)

DISK = replace(INFO, resources=Resources(cpus=4, mem=4_096, disk=1_000, ports="[1-9]"))
NEEDS = Resources(cpus=0.5, mem=32)
SIZE = Resources(disk=100)


class Shop:
    """A world with an agent that has disk, a connected master, and a count of orders."""

    def __init__(self) -> None:
        self.world = World(CONFIG, DISK)
        self.orders = 0
        self.world.connect()

    def order(self, change: Change, framework_id: str = "f", role: str = "kafka") -> list[Effect]:
        self.orders += 1
        change = replace(change, operation_id=change.operation_id or f"o{self.orders}")
        order = Order(framework_id, "name", "local", role, 1_000, change)
        return self.world.hear(ApplyOperation(order))

    def done(self, change: Change, role: str = "kafka") -> list[Effect]:
        """Do it, which must be possible, and acknowledge that."""
        effects = self.order(change, role=role)
        status = answer(effects)
        assert status.state is OperationState.FINISHED, status
        self.world.hear(AcknowledgeOperation("f", "agent-1", status.operation_id))
        return effects

    def refused(self, change: Change, framework_id: str = "f") -> Refusal | None:
        """Ask for what can not be; why not."""
        before = self.world.agent.holdings.estate
        status = answer(self.order(change, framework_id))
        assert status.state in (OperationState.DROPPED, OperationState.ERROR)
        assert status.message
        assert self.world.agent.holdings.estate is before
        return status.refusal

    def prepared(self) -> None:
        """Reservation broker-0, and on it the volume data."""
        self.done(Reserve("broker-0", Resources(cpus=2, mem=1_024, disk=500)))
        self.done(CreateVolume("data", SIZE, "broker-0"))

    def total(self) -> Resources:
        return self.world.agent.holdings.estate.total


def answer(effects: list[Effect]) -> OperationStatus:
    return one(said(effects), OperationReport).status


def on_volume(task_id: str = "t1", path: str = "data", **more: Any) -> Task:
    """A task that uses the volume data."""
    holds = Resources.parse("cpus(kafka)(broker-0):1;disk(kafka)(broker-0)(data):100")
    return replace(task(task_id), resources=holds, volumes=(VolumeMount("data", path),), **more)


def launch(shop: Shop, new: Task) -> list[Effect]:
    return shop.world.hear(RunTask("f", "kafka", new))


# --- orders ---------------------------------------------------------------------------------------


def test_an_order_is_on_the_disk_beyond_a_crash_of_the_host_before_it_is_answered() -> None:
    effects = Shop().order(Reserve("broker-0", NEEDS))
    saved, kept, told = effects
    assert isinstance(saved, SaveReservation)
    assert isinstance(kept, SaveOperation)
    assert isinstance(told, ToMaster)
    assert all(isinstance(effect, OF_THE_HOST) for effect in (saved, kept))


def test_r13_reservations_of_one_id_and_its_labels_merge_and_a_part_is_given_back() -> None:
    shop = Shop()
    shop.done(Reserve("broker-0", Resources(cpus=1), {"a": "b"}))
    shop.done(Reserve("broker-0", Resources(cpus=1, ports="[3-4]"), {"a": "b"}))
    assert str(shop.total()) == (
        "cpus:2;cpus(kafka)(broker-0):2;disk:1000;mem:4096;"
        "ports:[1-2,5-9];ports(kafka)(broker-0):[3-4]"
    )
    assert shop.refused(Reserve("broker-0", Resources(cpus=1))) is Refusal.RESERVATION_TAKEN
    shop.done(Unreserve("broker-0", Resources(cpus=0.5)))
    assert shop.total().scalar("cpus(kafka)(broker-0)") == 1_500
    shop.done(Unreserve("broker-0"))
    assert shop.total() == DISK.resources
    assert shop.refused(Unreserve("broker-0")) is Refusal.UNKNOWN_RESERVATION
    assert not shop.world.disk.reservations


def test_r12_what_the_agents_configuration_reserves_cannot_be_unreserved() -> None:
    shop = Shop()
    static = replace(DISK, resources=Resources.parse("cpus:1;cpus(kafka):8;disk(kafka):100"))
    shop.world = World(CONFIG, static)
    shop.world.connect()
    assert shop.refused(Unreserve("kafka")) is Refusal.UNKNOWN_RESERVATION
    shop.done(CreateVolume("data", Resources(disk=40)))
    assert shop.total().scalar("disk(kafka)()(data)") == 40_000
    shop.done(DestroyVolume("data"))
    assert shop.total() == static.resources


def test_r13_what_a_task_uses_is_not_given_back_until_it_has_ended() -> None:
    shop = Shop()
    shop.prepared()
    container_id = one(launch(shop, on_volume()), StartContainer).spec.container_id
    assert shop.refused(Unreserve("broker-0")) is Refusal.RESERVATION_IN_USE
    assert shop.refused(Unreserve("broker-0", Resources(cpus=2))) is Refusal.RESERVATION_IN_USE
    shop.done(Unreserve("broker-0", Resources(cpus=1)))
    shop.world.handle(exited(container_id))
    assert shop.refused(Unreserve("broker-0")) is Refusal.RESERVATION_IN_USE  # of its volume
    shop.done(DestroyVolume("data"))
    shop.done(Unreserve("broker-0"))


def test_r13_of_another_principal_nothing_is_changed() -> None:
    shop = Shop()
    shop.done(Reserve("broker-0", NEEDS))
    shop.orders += 1
    order = Order("g", "other", "mallory", "kafka", 0, Unreserve("broker-0", operation_id="o9"))
    status = answer(shop.world.hear(ApplyOperation(order)))
    assert (status.state, status.refusal) == (OperationState.ERROR, Refusal.RESERVATION_TAKEN)


def test_r15_a_volume_is_made_of_reserved_disk_alone_and_its_id_is_one_of_its_role() -> None:
    shop = Shop()
    shop.done(Reserve("broker-0", Resources(disk=150)))
    shop.done(Reserve("other", Resources(disk=150)), role="ads")
    assert shop.refused(CreateVolume("data", SIZE, "none")) is Refusal.UNKNOWN_RESERVATION
    assert shop.refused(CreateVolume("data", SIZE)) is Refusal.TOO_LARGE  # unreserved
    shop.done(CreateVolume("data", SIZE, "broker-0"))
    assert shop.refused(CreateVolume("data", SIZE, "broker-0")) is Refusal.VOLUME_EXISTS
    assert shop.refused(CreateVolume("more", SIZE, "broker-0")) is Refusal.TOO_LARGE
    shop.done(CreateVolume("data", SIZE, "other"), role="ads")
    directories = shop.world.agent.holdings.directories
    assert {at: name.partition(".")[0] for at, name in directories.items()} == {
        ("kafka", "data"): "kafka/data",
        ("ads", "data"): "ads/data",
    }


def test_r15_a_volume_in_use_is_neither_destroyed_nor_used_twice() -> None:
    shop = Shop()
    shop.prepared()
    container_id = one(launch(shop, on_volume()), StartContainer).spec.container_id
    assert shop.refused(DestroyVolume("data")) is Refusal.VOLUME_IN_USE
    effects = launch(shop, on_volume("t2"))
    assert states(effects) == [TaskState.DROPPED]
    status = status_of(effects)
    assert status.reason is Reason.RESERVATION_MISSING
    assert "other tasks use" in status.message
    shop.world.handle(exited(container_id))
    shop.done(DestroyVolume("data"))


def test_r15_a_task_that_is_to_end_uses_its_volume_until_it_has() -> None:
    shop = Shop()
    shop.prepared()
    container_id = one(launch(shop, on_volume()), StartContainer).spec.container_id
    shop.world.handle(ContainerStarted(container_id, 1))
    shop.world.hear(KillTask("f", "t1"))
    assert shop.refused(DestroyVolume("data")) is Refusal.VOLUME_IN_USE
    assert states(launch(shop, on_volume("t2"))) == [TaskState.DROPPED]
    shop.world.handle(exited(container_id))
    shop.done(DestroyVolume("data"))


def test_r15_a_destroyed_volume_is_deleted_also_when_the_agent_dies_before_that() -> None:
    shop = Shop()
    shop.prepared()
    [directory] = shop.world.agent.holdings.directories.values()
    effects = shop.done(DestroyVolume("data"))
    assert of(effects, RemoveDirectory) == [RemoveDirectory(directory)]
    assert of(shop.world.restart(), RemoveDirectory) == [RemoveDirectory(directory)]
    effects = shop.world.handle(DirectoryRemoved(directory))
    assert of(effects, ForgetDirectory) == [ForgetDirectory(directory)]
    assert not of(shop.world.restart(), RemoveDirectory)
    assert not shop.world.handle(DirectoryRemoved(directory))


def test_a_directory_has_the_role_the_id_the_agent_the_run_and_a_number_in_its_name() -> None:
    shop = Shop()
    role = "kafka/eu-1.\u00e9"
    shop.done(Reserve("broker-0", Resources(cpus=2, mem=1_024, disk=500)), role=role)
    for volume_id in ("data", "data.2"):
        shop.done(CreateVolume(volume_id, SIZE, "broker-0"), role=role)
    run = shop.world.disk.run
    assert list(shop.world.agent.holdings.directories.values()) == [
        f"kafka%2Feu-1%2E%C3%A9/data.agent-1-{run}-1",
        f"kafka%2Feu-1%2E%C3%A9/data.2.agent-1-{run}-2",
    ]


def test_r15_a_volume_of_an_id_that_was_destroyed_begins_empty() -> None:
    shop = Shop()
    shop.prepared()
    [before] = shop.world.agent.holdings.directories.values()
    shop.done(DestroyVolume("data"))
    shop.world.restart()
    shop.world.connect()
    shop.done(CreateVolume("data", SIZE, "broker-0"))
    [after] = shop.world.agent.holdings.directories.values()
    assert before != after
    other = Shop()  # in the same work directory, whose checkpoint was moved away
    other.world = World(CONFIG, replace(DISK, agent_id="agent-2"))
    other.world.connect()
    other.prepared()
    assert not {before, after} & set(other.world.agent.holdings.directories.values())


# --- feedback -------------------------------------------------------------------------------------


def test_3_10_an_answer_is_told_by_each_registration_until_it_is_acknowledged() -> None:
    shop = Shop()
    status = answer(shop.order(Reserve("broker-0", NEEDS)))
    assert status.acknowledge
    for _ in range(2):
        shop.world.restart(rebooted=True)
        register = one(said(shop.world.handle(StreamOpened())), Register)
        assert register.operations == (status,)
    shop.world.connect()
    shop.world.hear(AcknowledgeOperation("f", "agent-1", status.operation_id))
    shop.world.restart()
    assert one(said(shop.world.handle(StreamOpened())), Register).operations == ()


def test_3_10_an_order_that_comes_again_is_answered_the_same_and_done_once() -> None:
    shop = Shop()
    first = shop.order(Reserve("broker-0", NEEDS, operation_id="o1"))
    shop.world.restart()
    shop.world.connect()
    again = shop.order(Reserve("broker-0", NEEDS, operation_id="o1"))
    assert answer(again) == answer(first)
    assert len(again) == 1
    assert shop.total().scalar("cpus(kafka)(broker-0)") == 500


def test_3_10_a_refusal_is_told_as_surely_as_what_was_done() -> None:
    shop = Shop()
    status = answer(shop.order(Reserve("broker-0", Resources(cpus=99))))
    assert (status.state, status.refusal) == (OperationState.DROPPED, Refusal.TOO_LARGE)
    shop.world.restart(rebooted=True)
    assert one(said(shop.world.handle(StreamOpened())), Register).operations == (status,)


def test_answers_to_a_framework_that_is_removed_are_forgotten() -> None:
    shop = Shop()
    shop.order(Reserve("broker-0", NEEDS))
    shop.world.hear(ShutdownFramework("f"))
    assert not shop.world.disk.operations
    assert shop.world.disk.reservations


def test_before_the_registration_is_answered_no_order_is_taken() -> None:
    shop = Shop()
    shop.world.handle(StreamOpened())
    assert shop.order(Reserve("broker-0", NEEDS)) == []


def test_a_registration_tells_all_that_is_reserved_beside_what_the_agent_has() -> None:
    shop = Shop()
    shop.prepared()
    for rebooted in (False, True):
        shop.world.restart(rebooted=rebooted)
        register = one(said(shop.world.handle(StreamOpened())), Register)
        assert register.agent.resources == DISK.resources
        assert [r.reservation_id for r in register.reservations] == ["broker-0"]
        [volume] = register.volumes
        assert (volume.volume_id, volume.resources, volume.framework_id) == ("data", SIZE, "f")


# --- tasks ----------------------------------------------------------------------------------------


def test_a_launch_behind_the_order_that_it_needs_is_started_and_has_its_volume() -> None:
    shop = Shop()
    shop.order(Reserve("broker-0", Resources(cpus=2, disk=500)))
    shop.order(CreateVolume("data", SIZE, "broker-0"))
    spec = one(launch(shop, on_volume(path="var/data")), StartContainer).spec
    [directory] = shop.world.agent.holdings.directories.values()
    assert spec.volumes == (VolumeAt("data", directory, "var/data"),)


def test_a_launch_behind_an_order_that_failed_is_dropped() -> None:
    shop = Shop()
    shop.order(Reserve("broker-0", Resources(cpus=99, disk=500)))
    effects = launch(shop, on_volume())
    assert states(effects) == [TaskState.DROPPED]
    assert status_of(effects).reason is Reason.RESERVATION_MISSING
    assert "does not have" in status_of(effects).message
    assert not of(effects, StartContainer)


@pytest.mark.parametrize(
    ("resources", "mounts"),
    [
        ("cpus:1", (VolumeMount("data", "data"),)),
        ("cpus:1;disk(kafka)(broker-0)(data):100", ()),
        ("cpus:1;disk(kafka)(broker-0)(data):50", (VolumeMount("data", "data"),)),
        ("cpus:1;disk(kafka)(broker-0)(data):100", (VolumeMount("other", "data"),)),
        ("cpus:1;disk(kafka)(broker-0)(data):100", (VolumeMount("data", "../data"),)),
    ],
)
def test_a_launch_that_mounts_what_it_does_not_hold_is_dropped(
    resources: str, mounts: tuple[VolumeMount, ...]
) -> None:
    shop = Shop()
    shop.prepared()
    wrong = replace(task(), resources=Resources.parse(resources), volumes=mounts)
    effects = launch(shop, wrong)
    assert states(effects) == [TaskState.DROPPED]
    assert status_of(effects).reason is Reason.RESERVATION_MISSING


@pytest.mark.parametrize("containerizer", [None, "process"])
def test_a_volume_at_an_absolute_path_is_only_for_containers_with_a_root(
    containerizer: str | None,
) -> None:
    shop = Shop()
    shop.prepared()
    effects = launch(shop, on_volume(path="/data", containerizer=containerizer))
    if containerizer is None:
        assert one(effects, StartContainer).spec.containerizer == "oci"
    else:
        assert states(effects) == [TaskState.ERROR]
        assert "volume data at /data needs one of oci" in status_of(effects).message


# --- sizes ----------------------------------------------------------------------------------------


def test_how_full_volumes_are_is_told_after_each_registration_and_when_it_changes() -> None:
    shop = Shop()
    shop.prepared()
    [directory] = shop.world.agent.holdings.directories.values()
    effects = shop.world.handle(DirectoriesMeasured(((directory, 7), ("kafka/gone.1", 9))))
    use = VolumeUse("kafka", "data", 7, shop.world.now_ms)
    assert said(effects) == [VolumesMeasured((use,))]
    assert not shop.world.handle(DirectoriesMeasured(((directory, 1 << 20),)))
    use = VolumeUse("kafka", "data", (1 << 20) + 7, shop.world.now_ms)
    effects = shop.world.handle(DirectoriesMeasured(((directory, use.used_bytes),)))
    assert said(effects) == [VolumesMeasured((use,))]
    assert VolumesMeasured((use,)) in said(shop.world.connect())
    shop.done(DestroyVolume("data"))
    assert not shop.world.handle(DirectoriesMeasured(((directory, 8),)))
    assert not any(isinstance(call, VolumesMeasured) for call in said(shop.world.connect()))


def test_a_full_volume_is_told_by_name_once_until_it_has_room_again() -> None:
    shop = Shop()
    shop.prepared()
    [directory] = shop.world.agent.holdings.directories.values()

    def fulls(used_bytes: int) -> list[VolumeFull]:
        effects = shop.world.handle(DirectoriesMeasured(((directory, used_bytes),)))
        return of(effects, VolumeFull)

    size = 100 << 20
    assert fulls(size - 1) == []
    assert fulls(size) == [VolumeFull("kafka", "data", size, size)]
    assert fulls(size + 5) == fulls(size - 1) == fulls(size) == []
    assert fulls(size // 2) == []
    assert len(fulls(size + 1)) == 1


def test_a_task_that_fails_on_a_full_volume_says_so() -> None:
    shop = Shop()
    shop.prepared()
    [directory] = shop.world.agent.holdings.directories.values()
    container_id = one(launch(shop, on_volume()), StartContainer).spec.container_id
    shop.world.handle(DirectoriesMeasured(((directory, 150 << 20),)))
    status = status_of(shop.world.handle(exited(container_id, 1)))
    assert status.message == "exited with code 1; its volume data is full (150 of 100 MiB)"


# --- what was kept --------------------------------------------------------------------------------


def test_an_agent_with_less_than_what_is_reserved_on_it_does_not_come_back() -> None:
    shop = Shop()
    shop.prepared()
    shop.world.disk.info = replace(DISK, resources=Resources(cpus=1, mem=4_096, disk=1_000))
    with pytest.raises(InvalidEstate, match="reservation broker-0"):
        shop.world.restart()


def test_roles_and_ids_name_directories_of_their_own() -> None:
    shop = Shop()
    roles = ["eng/ads", "eng%2Fads", "eng", "ä" * 100, "ä" * 99 + "b", ".hidden"]
    for role in roles:
        shop.done(Reserve("r", Resources(disk=10)), role=role)
        shop.done(CreateVolume("data", Resources(disk=10), "r"), role=role)
    names = [name.partition("/") for name in shop.world.agent.holdings.directories.values()]
    assert len({folder for folder, _, _ in names}) == len(roles)
    for folder, _, name in names:
        assert folder.isascii()
        assert len(folder) < 255
        assert "/" not in name
        assert not folder.startswith(".")


def test_an_operator_owns_what_it_reserved() -> None:
    shop = Shop()
    status = answer(shop.order(Reserve("ops", NEEDS), framework_id=""))
    assert (status.state, status.framework_id) == (OperationState.FINISHED, "")
    assert one(of_reservations(shop), Reservation).framework_id == ""
    effects = shop.order(CreateVolume("x", SIZE, "ops"))
    assert of(effects, SaveVolume) == []


def of_reservations(shop: Shop) -> list[Reservation]:
    return list(shop.world.agent.holdings.estate.reservations.values())


def test_a_framework_that_takes_note_of_nothing_changes_nothing_more() -> None:
    shop = Shop()
    for _ in range(ANSWERS_MAX):
        shop.order(Unreserve("none"))
    assert shop.refused(Reserve("broker-0", NEEDS)) is Refusal.TOO_MANY_UNACKNOWLEDGED
    shop.world.hear(AcknowledgeOperation("f", "agent-1", "o1"))
    assert answer(shop.order(Reserve("broker-0", NEEDS))).state is OperationState.FINISHED
