"""What survives a crash: the durable effects of a machine, folded into what it recovers from.

The two classes of D5: what is written survives the process, what is synced survives
the host. A sync takes all that was written before with it. A host that dies keeps some prefix of
what was not synced: the kernel had written it back, or not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, get_args

from mesoslite.master import protocol as master
from mesoslite.messages import FrameworkReference
from mesoslite.model import AgentInfo, TaskStatus
from mesoslite.operations import OperationStatus
from mesoslite.reservations import Reservation
from mesoslite_agent import protocol as agent

Key = tuple[str, str]
"""(framework id, task id), where nothing else is said."""

_OF_MASTERS = frozenset(get_args(master.Durable))
_OF_AGENTS = frozenset(get_args(agent.Durable))


class Disk:
    """Whether a host's disk takes writes."""

    def __init__(self) -> None:
        self.full = False


class Registry:
    """What a master leaves to the next one. Every commit of it is synced.

    It keeps the encoded records that a real one keeps, so what the next master starts from has
    been written and read.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.epoch = 0
        self._records: dict[tuple[str, str], bytes] = {}
        """By kind and key."""

    def commit(self, effects: Sequence[master.Effect]) -> bool:
        """Write a batch in one transaction. False when the disk is full: nothing is written."""
        durable: list[Any] = [effect for effect in effects if type(effect) in _OF_MASTERS]
        if durable and self.disk.full:
            return False
        from mesoslite.master import archive  # loads protobuf

        for write in [write for effect in durable for write in archive.writes(effect)]:
            match write:
                case archive.Put(kind, key, data):
                    self._records[kind, key] = data
                case archive.Delete(kind, key):
                    self._records.pop((kind, key), None)
        return True

    def agent(self, agent_id: str) -> master.AgentRecord | None:
        """What is written of an agent."""
        from mesoslite.master import archive  # loads protobuf

        data = self._records.get((archive.AGENT, agent_id))
        if data is None:
            return None
        [record] = archive.recovered(0, [(archive.AGENT, agent_id, data)]).agents
        return record

    def recover(self) -> master.Recovered:
        """What the next master starts from, with an epoch above every earlier one's."""
        self.epoch += 1
        return self.written()

    def written(self) -> master.Recovered:
        """All that is durable now."""
        from mesoslite.master import archive  # loads protobuf

        records = [(kind, key, data) for (kind, key), data in self._records.items()]
        return archive.recovered(self.epoch, records)


class Checkpoint:
    """What an agent leaves to its next run."""

    def __init__(self, disk: Disk, info: AgentInfo) -> None:
        self.disk = disk
        self.info = info
        self._run = 0
        self._boot = 0
        self._rebooted = False
        self._folded = _Folded()
        self._unsynced: list[tuple[agent.Durable, ...]] = []

    def commit(self, effects: Sequence[agent.Effect]) -> bool:
        """Write a batch in one transaction. False when the disk is full: nothing is written."""
        durable: tuple[Any, ...] = tuple(e for e in effects if type(e) in _OF_AGENTS)
        if not durable:
            return True
        if self.disk.full:
            return False
        self._unsynced.append(durable)
        if any(type(effect) in agent.OF_THE_HOST for effect in durable):
            self._sync(len(self._unsynced))
        return True

    def host_died(self, rng: random.Random) -> int:
        """The host is started again: some of the last commits were never on the disk. How many."""
        kept = rng.randint(0, len(self._unsynced))
        lost = len(self._unsynced) - kept
        self._sync(kept)
        self._unsynced.clear()
        self._boot += 1
        self._rebooted = True
        return lost

    def damage(self, rng: random.Random) -> Key | None:
        """A bit of what is on the disk changes, between two runs: of which task it was."""
        self._sync(len(self._unsynced))
        folded = self._folded
        known = sorted(folded.tasks.keys() | folded.updates.keys())
        if not known:
            return None
        key = rng.choice(known)
        folded.forget(key)
        folded.damaged[key] = None
        return key

    def recover(self) -> agent.Recovered:
        """What the next run of the agent starts from; its counter of runs is synced first."""
        self._sync(len(self._unsynced))
        self._run += 1
        rebooted, self._rebooted = self._rebooted, False
        folded = self._folded
        return agent.Recovered(
            info=self.info,
            boot_id=f"{self.info.agent_id}-boot{self._boot}",
            run=self._run,
            rebooted=rebooted,
            epoch_seen=folded.epoch,
            frameworks=tuple(folded.frameworks.values()),
            tasks=tuple(folded.tasks.values()),
            streams=tuple(
                agent.StreamRecord(*key, tuple(updates), tuple(folded.acknowledged.get(key, ())))
                for key, updates in folded.updates.items()
            ),
            damaged=tuple(folded.damaged),
            reservations=tuple(folded.reservations.values()),
            volumes=tuple(folded.volumes.values()),
            operations=tuple(folded.operations.values()),
            leaving=tuple(folded.leaving),
        )

    def _sync(self, commits: int) -> None:
        for durable in self._unsynced[:commits]:
            for effect in durable:
                self._folded.apply(effect)
        del self._unsynced[:commits]


class _Folded:
    """A checkpoint's tables."""

    def __init__(self) -> None:
        self.epoch = 0
        self.frameworks: dict[str, FrameworkReference] = {}
        self.tasks: dict[Key, agent.TaskRecord] = {}
        self.updates: dict[Key, list[TaskStatus]] = {}
        self.acknowledged: dict[Key, list[TaskStatus]] = {}
        self.damaged: dict[Key, None] = {}
        """What is there of these can not be read."""
        self.reservations: dict[Key, Reservation] = {}
        self.volumes: dict[Key, agent.VolumeRecord] = {}
        """Both by role and id."""
        self.operations: dict[Key, OperationStatus] = {}
        """By framework id and operation id."""
        self.leaving: dict[str, None] = {}

    def forget(self, key: Key) -> None:
        self.tasks.pop(key, None)
        self.updates.pop(key, None)
        self.acknowledged.pop(key, None)
        self.damaged.pop(key, None)

    def apply(self, effect: agent.Durable) -> None:
        match effect:
            case agent.SaveEpoch(epoch):
                self.epoch = epoch
            case agent.SaveFramework(framework):
                self.frameworks[framework.framework_id] = framework
            case agent.ForgetFramework(framework_id):
                self.frameworks.pop(framework_id, None)
            case agent.SaveTask(record):
                self.tasks[record.framework_id, record.task.task_id] = record
            case agent.SaveUpdate(framework_id, status):
                self.updates.setdefault((framework_id, status.task_id), []).append(status)
            case agent.SaveAcknowledgement(framework_id, task_id, update_id):
                head = self.updates[framework_id, task_id].pop(0)
                assert head.update_id == update_id, (head, effect)
                self.acknowledged.setdefault((framework_id, task_id), []).append(head)
            case agent.ForgetTask(framework_id, task_id):
                self.forget((framework_id, task_id))
            case _:
                self._apply_to_estate(effect)

    def _apply_to_estate(self, effect: agent.Durable) -> None:
        match effect:
            case agent.SaveReservation(one):
                self.reservations[one.role, one.reservation_id] = one
            case agent.ForgetReservation(role, reservation_id):
                del self.reservations[role, reservation_id]
            case agent.SaveVolume(record):
                self.volumes[record.volume.role, record.volume.volume_id] = record
            case agent.ForgetVolume(role, volume_id, directory):
                assert self.volumes.pop((role, volume_id)).directory == directory
                self.leaving[directory] = None
            case agent.ForgetDirectory(directory):
                del self.leaving[directory]
            case agent.SaveOperation(status):
                self.operations[status.framework_id, status.operation_id] = status
            case agent.ForgetOperation(framework_id, operation_id):
                del self.operations[framework_id, operation_id]
