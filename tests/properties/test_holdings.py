"""Orders in any order, and crashes between any two steps of doing them.

The world is a model: the disk holds what was committed, directories what was put into them, and a
master knows only what it heard. Reservations are what a plain sum of the answered orders says; a
volume's data is there from its creation until its destruction is on the disk, and gone soon after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mesoslite.messages import (
    AcknowledgeOperation,
    ApplyOperation,
    FrameworkAdded,
    OperationReport,
    Register,
    Registered,
    RunTask,
)
from mesoslite.operations import OperationStatus, Order
from mesoslite.reservations import (
    Change,
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reserve,
    Unreserve,
    VolumeMount,
)
from mesoslite.resources import Resources
from mesoslite_agent.protocol import (
    DirectoryRemoved,
    Effect,
    Event,
    MasterSpoke,
    RemoveDirectory,
    SaveVolume,
    StartContainer,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite_agent.state import Agent
from tests.unit.agent_world import CONFIG, INFO, START_MS, Disk, exited, reference, task

HAS = replace(INFO, resources=Resources.parse("cpus:4;mem:1024;disk:300;disk(kafka):50"))
ids = st.sampled_from(["a", "b"])
roles = st.sampled_from(["kafka", "kafka", "eng/ads"])
amounts = st.builds(
    lambda cpus, disk: Resources(cpus=cpus, disk=disk),
    st.integers(0, 2),
    st.sampled_from([20, 60, 100]),
)
disks = st.sampled_from([10, 20, 50, 120]).map(lambda mib: Resources(disk=mib))
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(Reserve, ids, amounts),
    st.builds(Reserve, st.just("b"), amounts, st.just({"label": "x"})),
    st.builds(Unreserve, ids, amounts),
    st.builds(Unreserve, ids),
    st.builds(CreateVolume, ids, disks, st.sampled_from(["a", "a", "b", ""])),
    st.builds(CreateVolume, ids, disks, st.just("a")),
    st.builds(DestroyVolume, ids),
)


class Dies(Enum):
    """When the agent dies in the middle of an event."""

    NOT = "it does not"
    FIRST = "before anything was written"
    MADE = "when the directories of new volumes were made"
    WRITTEN = "when all was written, and nothing else was done"


deaths = st.sampled_from([Dies.NOT] * 8 + [*Dies])
often = st.integers(0, 99)


class Orders(RuleBasedStateMachine):
    """One agent, its disk, the directories of its volumes, and what a master has heard."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk(HAS)
        self.directories: dict[str, str] = {}
        """What is in each, as it was written by the last task."""
        self.data: dict[tuple[str, str], str] = {}
        """What is to be found in each volume."""
        self.containers: dict[str, tuple[str, str]] = {}
        """Those that run, with the volume that each uses."""
        self.orders: dict[str, Order] = {}
        self.heard: dict[str, OperationStatus] = {}
        self.open = False
        self.numbers = Counter[str]()
        self.leaving: set[str] = set()
        self.agent = Agent(self.disk.recovered(), CONFIG)
        self.handle(Tick(START_MS))
        self.connect()

    # --- one batch, which may be cut short --------------------------------------------------------

    def handle(self, happened: Event, dies: Dies = Dies.NOT) -> list[Effect]:
        effects = self.agent.handle(happened)
        self.agent.check()
        if dies is Dies.FIRST:
            self.restart()
            return []
        for effect in effects:
            if isinstance(effect, SaveVolume):
                assert effect.record.directory not in self.directories
                self.directories[effect.record.directory] = ""
        if dies is Dies.MADE:
            self.restart()
            return []
        self.disk.commit(effects)
        if dies is Dies.WRITTEN:
            self.restart()
            return effects
        for effect in effects:
            self.perform(effect)
        return effects

    def perform(self, effect: Effect) -> None:
        match effect:
            case RemoveDirectory(directory):
                assert directory in self.disk.leaving, "its end is on the disk before"
                self.leaving.add(directory)
            case ToMaster(OperationReport(status)):
                self.hear(status)
            case ToMaster(Register() as register):
                for status in register.operations:
                    self.hear(status)
                told = {(r.role, r.reservation_id): r for r in register.reservations}
                assert told == self.disk.reservations
            case _:
                pass

    def hear(self, status: OperationStatus) -> None:
        assert self.heard.setdefault(status.operation_id, status) == status, "one answer for each"
        assert status.state in (
            OperationState.FINISHED,
            OperationState.DROPPED,
            OperationState.ERROR,
        )

    def restart(self) -> None:
        """The process dies; made directories without a volume are swept, as `Volumes.unknown`."""
        self.open = False
        self.leaving.clear()
        kept = {record.directory for record in self.disk.volumes.values()} | self.disk.leaving
        for directory in set(self.directories) - kept:
            assert not self.directories.pop(directory), "nobody's, and somebody's data is in it"
        self.agent = Agent(self.disk.recovered(), CONFIG)
        self.agent.check()
        self.handle(Tick(START_MS))

    # --- what happens -----------------------------------------------------------------------------

    @initialize()
    def a_volume_with_data(self) -> None:
        self.order(Reserve("a", Resources(cpus=1, disk=100)), "kafka", Dies.NOT)
        self.order(CreateVolume("a", Resources(disk=20), "a"), "kafka", Dies.NOT)
        self.task_starts(0)

    @rule(
        what=st.sampled_from(["order"] * 4 + ["again", "acknowledge", "start", "end", "removed"]),
        change=changes,
        role=roles,
        pick=often,
        dies=deaths,
    )
    def anything(self, what: str, change: Change, role: str, pick: int, dies: Dies) -> None:
        """One rule, so that none is left out for a whole run."""
        if not self.open:
            self.connect(dies)
            return
        match what:
            case "order":
                self.order(change, role, dies)
            case "again":
                self.order_again(pick, dies)
            case "acknowledge":
                self.acknowledge(pick, dies)
            case "start" if self.disk.volumes:
                self.task_starts(pick)
            case "end" if self.containers:
                self.task_ends(pick)
            case "removed" if self.leaving:
                self.directory_is_removed(pick, dies)

    def connect(self, dies: Dies = Dies.NOT) -> None:
        self.handle(StreamOpened(), dies)
        if dies is Dies.NOT:
            self.open = True
            self.word(Registered())
            self.word(FrameworkAdded(reference("f")))

    def word(self, said: object, dies: Dies = Dies.NOT) -> list[Effect]:
        return self.handle(MasterSpoke(7, said), dies)  # type: ignore[arg-type]

    def order(self, change: Change, role: str, dies: Dies) -> None:
        self.numbers["orders"] += 1
        operation_id = f"o{self.numbers['orders']}"
        change = replace(change, operation_id=operation_id)
        order = self.orders[operation_id] = Order("f", "name", "local", role, 0, change)
        before = dict(self.disk.volumes)
        self.word(ApplyOperation(order), dies)
        self.follow(before)
        if operation_id in self.heard:
            event(f"{type(change).__name__} {self.heard[operation_id].state.name}")

    def follow(self, before: Mapping[tuple[str, str], object]) -> None:
        """What volumes there are, and so what is to be found in them, is what is on the disk."""
        for at in before.keys() - self.disk.volumes.keys():
            assert at not in self.containers.values(), "it was in use"
            del self.data[at]
        for at in self.disk.volumes.keys() - before.keys():
            self.data[at] = ""

    def order_again(self, pick: int, dies: Dies) -> None:
        waiting = [i for i in self.orders if ("f", i) in self.disk.operations]
        if waiting:
            reserved, volumes = dict(self.disk.reservations), dict(self.disk.volumes)
            self.word(ApplyOperation(self.orders[waiting[pick % len(waiting)]]), dies)
            assert (reserved, volumes) == (self.disk.reservations, self.disk.volumes)

    def acknowledge(self, pick: int, dies: Dies) -> None:
        if self.heard:
            operation_id = sorted(self.heard)[pick % len(self.heard)]
            self.word(AcknowledgeOperation("f", "agent-1", operation_id), dies)

    def task_starts(self, pick: int) -> None:
        volumes = sorted(self.disk.volumes)
        at = volumes[pick % len(volumes)]
        holds = self.disk.volumes[at].volume.amount
        self.numbers["tasks"] += 1
        new = replace(
            task(f"t{self.numbers['tasks']}"),
            resources=holds,
            volumes=(VolumeMount(at[1], "data"),),
        )
        for effect in self.word(RunTask("f", at[0], new)):
            if isinstance(effect, StartContainer):
                assert at not in self.containers.values(), "a volume has one task"
                [volume] = effect.spec.volumes
                assert self.directories[volume.directory] == self.data[at]
                self.containers[effect.spec.container_id] = at
                self.directories[volume.directory] = self.data[at] = new.task_id
                event("a task has a volume")

    def task_ends(self, pick: int) -> None:
        container_id = sorted(self.containers)[pick % len(self.containers)]
        del self.containers[container_id]
        self.handle(exited(container_id))

    def directory_is_removed(self, pick: int, dies: Dies) -> None:
        directory = sorted(self.leaving)[pick % len(self.leaving)]
        self.leaving.discard(directory)
        self.directories.pop(directory, None)
        self.handle(DirectoryRemoved(directory), dies)

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        estate = self.agent.holdings.estate
        assert dict(estate.reservations) == self.disk.reservations
        assert {at: record.volume for at, record in self.disk.volumes.items()} == dict(
            estate.volumes
        )
        for at, record in self.disk.volumes.items():
            assert self.directories[record.directory] == self.data[at]
        assert (estate.total.cpus, estate.total.mem, estate.total.disk) == (4, 1_024, 350)

    @invariant()
    def every_directory_is_somebodys(self) -> None:
        live = {record.directory for record in self.disk.volumes.values()}
        assert set(self.directories) <= live | self.disk.leaving
        assert self.disk.leaving.isdisjoint(live)

    @invariant()
    def each_order_that_was_done_has_its_answer(self) -> None:
        for (_, operation_id), status in self.disk.operations.items():
            assert self.heard.get(operation_id, status) == status

    def teardown(self) -> None:
        self.restart()
        while self.leaving:
            self.directory_is_removed(0, Dies.NOT)
        assert not self.disk.leaving
        assert set(self.directories) == {r.directory for r in self.disk.volumes.values()}


Orders.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestOrders = Orders.TestCase
