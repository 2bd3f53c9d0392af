"""What schedulers were told of their stores, against what the registry has: nothing is lost.

Each answer is checked when it arrives. Versions order all writes of a framework, so they tell what
came first, whoever said it and whenever the answer came.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mesoslite.master.protocol import EntryRecord, Recovered
from mesoslite.testing import Simulation

RIDES = "of-"
"""Keys that are written with a launch and never removed: this, and the id of its task."""


@dataclass(slots=True)
class Kept:
    """The answered writes of one framework, by version: (writer, key, value or None)."""

    writes: dict[int, tuple[str, str, bytes | None]] = field(default_factory=dict)


class Books:
    """The books of all frameworks of a cluster."""

    def __init__(self, cluster: Simulation) -> None:
        self.cluster = cluster
        self._of: dict[str, Kept] = {}
        self.twice: set[str] = set()
        """Ids of changes that were used again: of these an end may mean any of them."""
        self.riding: set[tuple[str, str]] = set()
        """(scheduler's name, task id) of tasks that were launched together with a write."""

    def newest(self, framework_id: str, key: str) -> int:
        """The version of the newest answered write of a key; 0: none."""
        writes = self._kept(framework_id).writes
        return max((v for v, (_, of, _) in writes.items() if of == key), default=0)

    def wrote(
        self, writer: str, framework_id: str, version: int, key: str, value: bytes | None
    ) -> None:
        """A write was answered: it is durable, and no other write has its version."""
        writes = self._kept(framework_id).writes
        known = writes.setdefault(version, (writer, key, value))
        assert known == (writer, key, value), f"version {version} of {framework_id} is {known} too"
        self._check_turns(framework_id)
        written = self.cluster.master.registry.written()
        if framework_id not in {one.framework_id for one in written.frameworks}:
            return  # it was removed meanwhile, and its store with it
        [store] = [one for one in written.stores if one.framework_id == framework_id]
        assert store.revision >= version, f"{framework_id} {key}: {version} is not in {store}"
        entry = _entry(written, framework_id, key)
        if value is not None and entry is not None:
            assert entry.entry.version >= version, f"{key}: {version} was lost, there is {entry}"
        removed = store.revision > version and not key.startswith("keep")
        assert value is None or entry is not None or removed, f"{key}: {version} was lost"

    def _check_turns(self, framework_id: str) -> None:
        """Each session writes in one stretch: who was taken over from writes never again."""
        writers = [writer for _, (writer, _, _) in sorted(self._kept(framework_id).writes.items())]
        turns = [w for at, w in enumerate(writers) if at == 0 or writers[at - 1] != w]
        assert len(turns) == len(set(turns)), f"{framework_id} was written in turns by {turns}"

    def read(self, framework_id: str, key: str, version: int, at_least: int) -> None:
        """A read was answered that was made when `at_least` was the newest answered version."""
        if key.startswith("keep"):  # others may have been removed since
            assert version >= at_least, f"{framework_id} {key}: {version} is read after {at_least}"

    def started(self, name: str, framework_id: str, task_id: str) -> None:
        """A task starts: what was to be written with its launch is durable."""
        if (name, task_id) in self.riding:
            written = self.cluster.master.registry.written()
            there = {one.framework_id for one in written.frameworks}
            entry = _entry(written, framework_id, RIDES + task_id)
            assert entry is not None or framework_id not in there, f"{task_id} runs, unwritten"

    def _kept(self, framework_id: str) -> Kept:
        return self._of.setdefault(framework_id, Kept())


def _entry(written: Recovered, framework_id: str, key: str) -> EntryRecord | None:
    found = [e for e in written.entries if (e.framework_id, e.key) == (framework_id, key)]
    return found[0] if found else None
