"""What must hold of reservations and volumes at every step, compared with what agents keep."""

from __future__ import annotations

from collections.abc import Iterator

from mesoslite import OperationState, OperationStatus, Reservation, Volume
from mesoslite.estate import Estate
from mesoslite.master.releases import is_released
from mesoslite.testing import AgentNode, Container, SchedulerNode, Simulation
from tests.simulation.books import Books

SURELY_NOT = (OperationState.FAILED, OperationState.ERROR, OperationState.DROPPED)
Key = tuple[str, str]
"""(framework id, operation id)"""


class Estates:
    """Of every agent what it keeps, and of every change whether it was done."""

    def __init__(self, cluster: Simulation, books: Books) -> None:
        self.cluster = cluster
        self.books = books
        self.kept: dict[str, tuple[int, Estate, set[Key]]] = {}
        """By agent: of which run, what it kept after its last commit, and the answers that wait."""
        self.done: dict[Key, bool] = {}
        """Each change that an agent has answered: whether it has done it."""
        self.never: set[Key] = set()
        """Changes of which a scheduler was told that they were not and will not be done."""

    def turned(self, node: AgentNode) -> None:
        """Nothing is lost or invented by a crash of the process or the host; what was answered
        once is not answered otherwise."""
        assert node.machine is not None
        holdings = node.machine.holdings
        estate, answers = holdings.estate, set(holdings.answers)
        before = self.kept.get(node.name)
        if before is not None and before[0] != node.runs:
            assert estate == before[1], f"{node.name} had {before[1].total}, now {estate.total}"
            # An acknowledgement may be lost with the host (D5): then the answer is said again.
            assert answers >= before[2], f"{node.name} had answered {before[2]}, now {answers}"
            assert answers <= self.done.keys(), f"{node.name} has answered {answers}"
        if before is None or estate is not before[1] or answers != before[2]:
            anew = Estate.of(
                estate.configured, estate.reservations.values(), estate.volumes.values()
            )
            assert anew == estate, f"{node.name}: {anew.total} is not {estate.total}"
            for key, status in holdings.answers.items():
                is_done = status.state is OperationState.FINISHED
                assert (
                    self.done.setdefault(key, is_done) is is_done or key[1] in self.books.twice
                ), f"{key} was answered otherwise"
                never = key in self.never and key[1] not in self.books.twice
                assert not (is_done and never), f"{key} was said never to be done"
        self.kept[node.name] = node.runs, estate, answers

    def started(self, container: Container) -> None:
        """No volume is in two tasks."""
        for at in container.resources.volumes().scalars:
            users = [
                other.spec.container_id
                for other in self.cluster.containers()
                if other.live and other.agent == container.agent and other.resources.scalar(at)
            ]
            assert len(users) <= 1, f"{at} on {container.agent} is used by {users}"

    def told(self, node: SchedulerNode, status: OperationStatus) -> None:
        """What is sure is so."""
        if status.operation_id in self.books.twice:
            return
        key = node.framework_id, status.operation_id
        if status.state is OperationState.FINISHED:
            assert self.done.get(key) is True, f"{key} was not done"
        elif status.state in SURELY_NOT and status.agent_id:
            assert self.done.get(key) is not True, f"{key} was done: {status}"
            self.never.add(key)

    def nothing_is_left_of(self, name: str) -> None:
        """After its release: frameworks of this name have reserved nothing any more. What was
        somebody else's at first may still have been made larger by one of them; and a reservation
        stays while volumes of others are on it."""
        for node in self.cluster.agents.values():
            if node.machine is not None:
                estate = node.machine.holdings.estate
                kept_volumes = estate.volumes.values()
                kept: list[Reservation | Volume] = [*estate.reservations.values(), *kept_volumes]
                others = {(v.role, v.reservation_id) for v in kept_volumes if v.framework != name}
                left = [
                    one
                    for one in kept
                    if one.framework == name
                    and one.principal
                    and (one.role, one.reservation_id) not in others
                ]
                assert not left, f"{node.name} has {left}"

    # --- in the end -------------------------------------------------------------------------------

    def why_not(self, node: AgentNode) -> Iterator[str]:
        """What is not as it should be when nothing has broken for long."""
        master = self.cluster.master.machine
        if master is None or node.machine is None:
            return
        known, holdings = master.tables.agents.get(node.name), node.machine.holdings
        if known is None:
            return
        estate = holdings.estate
        if known.estate != holdings.estate:
            yield f"{node.name} has {holdings.estate.total}, not {known.estate.total}"
        if holdings.answers:
            yield f"{node.name} has answers that nobody acknowledges: {set(holdings.answers)}"
        if known.operations:
            yield f"the master waits for {set(known.operations)} on {node.name}"
        used = [entry.task.resources for entry in known.tasks.values() if entry.holds]
        used += [v.plain for v in estate.volumes.values() if not is_released(master.tables, v)]
        kept: list[Reservation | Volume] = [*holdings.estate.reservations.values()]
        kept += holdings.estate.volumes.values()
        for one in kept:
            if is_released(master.tables, one) and not any(
                amount.of_reservation(one.reservation_id, one.role) for amount in used
            ):
                yield f"{node.name} still has {one}, which is to be released"
