"""What is reserved on an agent, its volumes, and what became of the orders that changed them.

The agent is the one that knows (docs/reservations.md): an order is done here in one step, made
durable beyond a crash of the host, and only then answered. Its answer is durable as well; it is
said once on the stream, and by each registration until it is acknowledged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from mesoslite.estate import Estate, Key
from mesoslite.messages import OperationReport, VolumesMeasured
from mesoslite.model import Refusal, Task
from mesoslite.operations import ERRORS, OperationStatus, Order
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reservation,
    Volume,
    VolumeUse,
    volumes_in,
    why_not_mounts,
)
from mesoslite.resources import Resources, Shortfall
from mesoslite_agent.container import VolumeAt
from mesoslite_agent.protocol import (
    Effect,
    ForgetDirectory,
    ForgetOperation,
    ForgetReservation,
    ForgetVolume,
    Recovered,
    RemoveDirectory,
    SaveOperation,
    SaveReservation,
    SaveVolume,
    ToMaster,
    VolumeFull,
    VolumeRecord,
)

ANSWERS_MAX = 1_000  # of a framework that wait to be acknowledged: beyond it nothing is changed
ANSWERS_OF_ALL_MAX = 10_000  # ~0.5 kB each
ROLE_IN_NAME_MAX = 200  # characters of a role in a directory's name, which has 255 at most
FULL_NO_MORE = 0.95  # of its size: what a volume must be below to count as not full again
TOLD_PARTS = 100  # a change by a 100th of its size is told: a busy volume is no busy stream
MIB = 1_048_576
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Holdings:
    """The estate of one agent, with the directories of its volumes and the answers that wait."""

    def __init__(self, recovered: Recovered, emit: Callable[[Effect], None]) -> None:
        """Raises InvalidEstate when what was kept does not fit into what the agent has now."""
        self.estate = Estate.of(
            recovered.info.resources,
            recovered.reservations,
            (record.volume for record in recovered.volumes),
        )
        self.directories: dict[Key, str] = {
            key_of(record.volume): record.directory for record in recovered.volumes
        }
        self.used: dict[Key, VolumeUse] = {}
        """How full they are, as far as it was measured in this run of the agent."""
        self.full: set[Key] = set()
        self._told: dict[Key, int] = {}
        """How many bytes the master was last told of."""
        self.answers: dict[tuple[str, str], OperationStatus] = {
            (status.framework_id, status.operation_id): status for status in recovered.operations
        }
        """By framework id and operation id; until they are acknowledged."""
        self.leaving: dict[str, None] = dict.fromkeys(recovered.leaving)
        """Directories of volumes that were destroyed, until they are deleted."""
        self._emit = emit
        self._run = recovered.run
        self._agent_id = recovered.info.agent_id
        self._made = 0

    def truth(
        self,
    ) -> tuple[tuple[Reservation, ...], tuple[Volume, ...], tuple[OperationStatus, ...]]:
        """What a registration tells."""
        reservations, volumes = self.estate.reservations.values(), self.estate.volumes.values()
        return tuple(reservations), tuple(volumes), tuple(self.answers.values())

    # --- orders -----------------------------------------------------------------------------------

    def apply(self, order: Order, tasks: Iterable[Task], now_ms: int) -> OperationReport:
        """Do what is ordered, or nothing of it; the answer. ~100 us and O(tasks).

        `tasks` are those that have not ended. An order that was answered, and whose answer was not
        acknowledged yet, is answered the same again.
        """
        at = order.framework_id, order.change.operation_id
        if (before := self.answers.get(at)) is not None:
            return OperationReport(before)
        state, refusal, message = OperationState.FINISHED, None, ""
        why = self.estate.why_not(order, self.free(tasks))
        waiting = sum(of == order.framework_id for of, _ in self.answers)
        room = waiting < ANSWERS_MAX and len(self.answers) < ANSWERS_OF_ALL_MAX
        if not room:
            why = Refusal.TOO_MANY_UNACKNOWLEDGED, f"{waiting} answers wait on the agent"
        if why is None:
            self._change(order)
        else:
            refusal, message = why
            state = OperationState.ERROR if refusal in ERRORS else OperationState.DROPPED
        status = OperationStatus(
            operation_id=order.change.operation_id,
            state=state,
            agent_id=self._agent_id,
            framework_id=order.framework_id,
            refusal=refusal,
            message=message,
            timestamp_ms=now_ms,
            acknowledge=room,
        )
        if room:
            self.answers[at] = status
            self._emit(SaveOperation(status))
        return OperationReport(status)

    def _change(self, order: Order) -> None:
        before = self.estate
        self.estate = after = before.after(order)
        match order.change:
            case CreateVolume(volume_id):
                volume = after.volumes[order.role, volume_id]
                self._made += 1
                folder = folder_of(order.role)
                number = f"{self._agent_id[:16]}-{self._run}-{self._made}"  # as long as it is made
                directory = f"{folder}/{volume_id}.{number}"
                self.directories[key_of(volume)] = directory
                self._emit(SaveVolume(VolumeRecord(volume, directory)))
            case DestroyVolume(volume_id):
                at = order.role, volume_id
                directory = self.directories.pop(at)
                self.used.pop(at, None)
                self._told.pop(at, None)
                self.full.discard(at)
                self.leaving[directory] = None
                self._emit(ForgetVolume(*at, directory))
                self._emit(RemoveDirectory(directory))
            case reserved_or_not:
                at = order.role, reserved_or_not.reservation_id
                there = after.reservations.get(at)
                if there is None:
                    self._emit(ForgetReservation(*at))
                else:
                    self._emit(SaveReservation(there))

    def acknowledged(self, framework_id: str, operation_id: str) -> None:
        """The end of an operation is known to whom it matters."""
        if self.answers.pop((framework_id, operation_id), None) is not None:
            self._emit(ForgetOperation(framework_id, operation_id))

    def forget_answers(self, framework_id: str) -> None:
        """A framework is no more. O(answers)."""
        for at in [at for at in self.answers if at[0] == framework_id]:
            self.acknowledged(*at)

    # --- tasks ------------------------------------------------------------------------------------

    def free(self, tasks: Iterable[Task]) -> Resources:
        """What of the estate is not held by these; nothing, when they hold more than there is."""
        left = self.estate.total
        try:
            for task in tasks:
                left -= task.resources
        except Shortfall:
            return Resources.EMPTY
        return left

    def why_not_run(self, task: Task, tasks: Iterable[Task]) -> str | None:
        """Why a task can not have the part of its resources that is reserved; None: it can.

        `tasks` are the others. O(tasks), and 0.3 us for one that has nothing of reservations.
        """
        needs = dynamic_part(task.resources)
        if not needs and not task.volumes:
            return None
        if (wrong := why_not_mounts(task.volumes, task.resources)) is not None:
            return wrong
        missing = self.free(tasks).missing(needs)
        if not missing:
            whole = self.estate.total.scalar
            parts = [at for at, n in needs.volumes().scalars.items() if n != whole(at)]
            return f"it holds a part of {', '.join(parts)}" if parts else None
        if absent := self.estate.total.missing(needs):
            return f"its agent does not have {absent}"
        return f"other tasks use {missing}"

    def volumes_of(self, task: Task) -> tuple[VolumeAt, ...]:
        """Where the volumes of a task are that `why_not_run` has nothing against."""
        if not task.volumes:
            return ()
        held = {volume.volume_id: key_of(volume) for volume in volumes_in(task.resources)}
        return tuple(
            VolumeAt(mount.volume_id, self.directories[held[mount.volume_id]], mount.path)
            for mount in task.volumes
        )

    def fullness(self, task: Task) -> str:
        """What is to be said of the end of a task whose volumes are full; empty: none is."""
        if not task.volumes or not self.full:
            return ""
        full = [key_of(one) for one in volumes_in(task.resources) if key_of(one) in self.full]
        said = (f"its volume {at[1]} is full ({self.how_full(at)})" for at in sorted(full))
        return "; ".join(said)

    # --- what is measured, what is removed --------------------------------------------------------

    def measured(self, found: Iterable[tuple[str, int]], now_ms: int) -> list[Key]:
        """Take note of how many bytes directories hold; tell of each that has become full.

        Which volumes have changed by so much that the master is to know.
        """
        keys = {directory: at for at, directory in self.directories.items()}
        changed = []
        for directory, used_bytes in found:
            at = keys.get(directory)
            if at is None:
                continue  # it was destroyed meanwhile
            self.used[at] = VolumeUse(*at, used_bytes, now_ms)
            size_bytes, was_full = self.size_bytes(at), at in self.full
            told_bytes = self._told.get(at)
            if used_bytes >= size_bytes:
                if at not in self.full:
                    self.full.add(at)
                    self._emit(VolumeFull(*at, used_bytes, size_bytes))
            elif used_bytes < size_bytes * FULL_NO_MORE:
                self.full.discard(at)
            large = told_bytes is None or abs(used_bytes - told_bytes) * TOLD_PARTS >= size_bytes
            if large or was_full != (at in self.full):
                changed.append(at)
        return changed

    def size_bytes(self, at: Key) -> int:
        """The size of a volume, exactly: its disk is in thousandths of a MiB."""
        return self.estate.volumes[at].resources.scalar("disk") * MIB // 1_000

    def how_full(self, at: Key) -> str:
        """`12.5 of 10 MiB`."""
        used_mib = self.used[at].used_bytes / MIB
        return f"{used_mib:.5g} of {self.size_bytes(at) / MIB:.5g} MiB"

    def say_used(self, keys: Iterable[Key]) -> None:
        """Tell the master how full these are, as far as that is known."""
        known = tuple(self.used[at] for at in sorted(keys) if at in self.used)
        if known:
            self._told |= {(use.role, use.volume_id): use.used_bytes for use in known}
            self._emit(ToMaster(VolumesMeasured(known)))

    def removed(self, directory: str) -> None:
        """Nothing is left of what was in this directory."""
        if directory in self.leaving:
            del self.leaving[directory]
            self._emit(ForgetDirectory(directory))

    def check(self, tasks: Iterable[Task]) -> None:
        """Assert what always holds. For tests."""
        estate = self.estate
        kept = Estate.of(estate.configured, estate.reservations.values(), estate.volumes.values())
        assert kept == estate
        assert self.directories.keys() == estate.volumes.keys()
        assert self.used.keys() <= self.directories.keys()
        assert self.full <= self.used.keys()
        assert not self.leaving.keys() & set(self.directories.values())
        assert len(set(self.directories.values())) == len(self.directories)
        assert len(self.answers) <= ANSWERS_OF_ALL_MAX
        held: dict[str, int] = {}
        for task in tasks:
            for at, amount in task.resources.volumes().scalars.items():
                held[at] = held.get(at, 0) + 1
                assert amount <= estate.total.scalar(at), f"{at} is in use and not there"
        assert all(users == 1 for users in held.values()), f"a volume has two tasks: {held}"


def key_of(volume: Volume) -> Key:
    """What names a volume on its agent."""
    return volume.role, volume.volume_id


def dynamic_part(amount: Resources) -> Resources:
    """What of an amount is in dynamic reservations, or volumes. ~0.5 us when nothing is."""
    for amounts in (amount.scalars, amount.ranges, amount.sets):
        for at in amounts:
            if ")(" in at:
                return _dynamic_part(amount)
    return Resources.EMPTY


def _dynamic_part(amount: Resources) -> Resources:
    return Resources.from_amounts(
        {at: n for at, n in amount.scalars.items() if ")(" in at},
        {at: pairs for at, pairs in amount.ranges.items() if ")(" in at},
        {at: items for at, items in amount.sets.items() if ")(" in at},
    )


def folder_of(role: str) -> str:
    """A role as the name of a directory: one for each, and never one with a meaning of its own."""
    name = "".join(
        one if one in _PLAIN else "".join(f"%{byte:02X}" for byte in one.encode()) for one in role
    )
    if len(name) <= ROLE_IN_NAME_MAX:
        return name
    digest = hashlib.blake2b(role.encode(), digest_size=8).hexdigest()
    return f"{name[:ROLE_IN_NAME_MAX]}={digest}"  # no other name has this sign
