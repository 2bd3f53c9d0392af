"""What must hold at every step of every simulation, compared with what really happened."""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite import Offer, OperationStatus, TaskStatus
from mesoslite.lifecycle import TaskState, may_move
from mesoslite.model import Reason
from mesoslite.testing import (
    AgentNode,
    Container,
    MasterNode,
    SchedulerNode,
    Simulation,
    Watcher,
)
from mesoslite.testing.telling import tell_status
from mesoslite.testing.world import Node
from mesoslite_agent.container import ContainerExited
from tests.simulation.books import Books
from tests.simulation.estates import Estates

NOBODY_KNOWS = (Reason.HOST_REBOOTED, Reason.LAUNCHER_TERMINATED)
Key = tuple[str, str]
"""(framework id, task id)"""


class Safety(Watcher):
    """Raises AssertionError at the first thing that must not be."""

    def __init__(self, cluster: Simulation) -> None:
        self.cluster = cluster
        self.books = Books(cluster)
        self.estates = Estates(cluster, self.books)
        self.of_task: dict[Key, list[Container]] = {}
        """Every container of a task, in the order of their starts."""
        self.of_fence: dict[tuple[str, str], dict[int, Container]] = {}
        """Every container with this key (framework id, key), by its token."""
        self.never: dict[Key, TaskStatus] = {}
        """Tasks of which a scheduler was told that they never ran and never will."""
        self.ended: dict[Key, TaskStatus] = {}
        """Tasks of which a scheduler was told that they have ended."""
        self.told: dict[str, dict[Key, TaskStatus]] = {}
        """The newest state of each task that a scheduler was told. By scheduler: words of its own
        stream may still arrive at one that is fenced already."""
        self.told_run: dict[tuple[str, Key], int] = {}
        """Which run of a scheduler was told that."""
        self.answered: set[tuple[str, str, str]] = set()
        """(scheduler, framework id, task id) of tasks that it was told of, and whose id it had
        launched more than once."""
        self.anew: set[Key] = set()
        """Tasks that their agent has lost track of in a crash of its host."""
        self.epochs: dict[str, int] = {}
        """By agent: the highest of a master that it has heard of."""
        self.offered: dict[str, str] = {}
        """Offer -> to whom."""

    # --- masters ----------------------------------------------------------------------------------

    def turned(self, node: Node) -> None:
        """No peer ever listens to an earlier master than it has heard of, not even after a crash
        (D1). What an agent knows of that is synced."""
        if isinstance(node, AgentNode) and node.machine is not None:
            epoch = node.machine.epoch
            assert epoch >= self.epochs.get(node.name, 0), f"{node.name} listens to {epoch} again"
            self.epochs[node.name] = epoch
            self.estates.turned(node)

    def operation_told(self, node: SchedulerNode, status: OperationStatus) -> None:
        self.estates.told(node, status)

    def spoke(self, node: MasterNode) -> None:
        """Who speaks leads, and nobody has led since: else two would give away the same."""
        newest = node.registry.epoch
        assert node.epoch == newest, f"{node.name} of epoch {node.epoch} speaks, not {newest}"

    # --- containers -------------------------------------------------------------------------------

    def container_started(self, container: Container) -> None:
        key = (container.spec.framework_id, container.spec.task_id)
        earlier = self.of_task.setdefault(key, [])
        twice = [c for c in earlier if c.live and not self.given_up(c.agent)]
        assert not twice or self.given_up(container.agent), f"{key} twice: {twice}, {container}"
        earlier.append(container)
        self.estates.started(container)
        name = self._name_of(container.spec.framework_id)
        self.books.started(name, *key)
        assert key not in self.never, f"{key} runs after {tell_status(self.never[key])}"
        if (end := self.ended.get(key)) is not None:
            # Its launch was on its way when an operator said that nobody is there to hear it.
            by_word = end.state is TaskState.GONE_BY_OPERATOR and self.given_up(container.agent)
            assert by_word, f"{key} runs after {tell_status(end)}"
        self._check_fence(container)
        self._check_room(container.agent)

    def given_up(self, agent: str) -> bool:
        """Whether an operator has said that an agent will never be back."""
        known = self.cluster.master.registry.agent(agent)
        return known is not None and known.gone_since_ms is not None

    def _name_of(self, framework_id: str) -> str:
        found = [
            node.scheduler.name
            for node in self.cluster.schedulers.values()
            if node.framework_id == framework_id
        ]
        return found[0] if found else ""

    def container_ended(self, container: Container) -> None:
        if isinstance(container.end, ContainerExited) and container.end.lease_over:
            self.cluster.counts["fault: a container's lease ran out"] += 1

    def _check_fence(self, container: Container) -> None:
        """No two containers with one key live at a time, and each has a larger token."""
        environment = dict(container.spec.environment)
        if (name := environment.get("MESOSLITE_FENCE")) is None:
            return
        fence, token = (
            (container.spec.framework_id, name),
            int(environment["MESOSLITE_FENCE_TOKEN"]),
        )
        for other, earlier in self.of_fence.setdefault(fence, {}).items():
            assert not earlier.live, f"{fence} runs twice: {earlier}, {container}"
            assert other < token, f"{fence} has token {token} after {other}"
        self.of_fence[fence][token] = container

    def _check_room(self, agent: str) -> None:
        """What lives on a host is never more than the host has."""
        node = self.cluster.agents[agent]
        live = [c.spec for c in node.containers.containers.values() if c.live]
        cpus_milli = sum(spec.cpu_limit_milli or 0 for spec in live)
        mem_bytes = sum(spec.mem_limit_bytes or 0 for spec in live)
        has = node.info.resources
        assert cpus_milli <= has.scalar("cpus"), f"{cpus_milli} of {has} on {agent}"
        assert mem_bytes <= has.scalar("mem") * 1_048_576 // 1_000, f"{mem_bytes} of {has}"

    def host_died(self, node: AgentNode, commits_lost: int) -> None:
        """What was not synced is forgotten, as D5 has it: the agent may tell of tasks
        anew, and once more how far they were, to end with FAILED. None of them runs. A session
        keeps old news to itself; only the next process of the scheduler can not know."""
        if commits_lost:
            for key, containers in self.of_task.items():
                if any(container.agent == node.name for container in containers):
                    self.anew.add(key)

    def checkpoint_damaged(self, node: AgentNode, key: Key) -> None:
        """Its agent ends it as FAILED, whatever it had told before: it can not know."""
        self.anew.add(key)

    # --- what schedulers are told -----------------------------------------------------------------

    def offers_told(self, node: SchedulerNode, offers: Sequence[Offer]) -> None:
        for offer in offers:
            owner = self.offered.setdefault(offer.offer_id, node.name)
            assert owner == node.name, f"{offer.offer_id} was {owner}'s, now {node.name}'s"
            assert offer.framework_id == node.framework_id
            assert offer.role in node.scheduler.roles

    def status_told(self, node: SchedulerNode, status: TaskStatus) -> None:
        again: set[str] = getattr(node.scheduler, "again", set())
        if status.task_id in again:
            self.answered.add((node.name, node.framework_id, status.task_id))
            return  # a word about one launch of this id, and nobody can tell about which
        assert status.framework_id in ("", node.framework_id)
        key = (node.framework_id, status.task_id)
        self._check_move(node, key, status)
        self._check_truth(key, status)
        refused = status.reason is Reason.LAUNCH_REFUSED and status.terminal
        if refused or status.state is TaskState.DROPPED:
            self.never.setdefault(key, status)

    def _check_move(self, node: SchedulerNode, key: Key, status: TaskStatus) -> None:
        told = self.told.setdefault(node.name, {})
        before = told.get(key)
        if before is not None and before.terminal and status.reason is Reason.RECONCILIATION:
            return  # it asked about a task whose end was dealt with: nobody here knows it any more
        another_run = self.told_run.get((node.name, key)) != node.runs
        lost = key in self.anew and (another_run or status.reason is Reason.RECONCILIATION)
        # An answer may be ahead of what waits to be acknowledged. A session then keeps that to
        # itself; the next process of the scheduler was not told the answer.
        lost |= another_run and before is not None and before.reason is Reason.RECONCILIATION
        if before is not None and status.state not in (before.state, TaskState.UNKNOWN):
            assert lost or may_move(before.state, status.state), (
                f"{key}: {tell_status(before)} then {tell_status(status)}"
            )
        told[key] = status
        self.told_run[node.name, key] = node.runs
        if status.terminal:
            self.ended.setdefault(key, status)

    def _check_truth(self, key: Key, status: TaskStatus) -> None:
        containers = self.of_task.get(key, [])
        live = [container for container in containers if container.live]
        if status.state is TaskState.GONE_BY_OPERATOR:
            assert all(self.given_up(c.agent) for c in live), f"{tell_status(status)}: {live}"
        elif status.terminal:
            assert not live, f"{tell_status(status)} while {live} lives"
        match status.state:
            case TaskState.RUNNING:
                assert any(c.started_ms is not None for c in containers), (
                    f"{tell_status(status)}: it never ran"
                )
            case TaskState.FINISHED:
                assert any(_exit_code(c) == 0 for c in containers), (
                    f"{tell_status(status)}: {containers}"
                )
            case TaskState.ERROR:
                assert not containers, f"{tell_status(status)}: {containers}"
            case TaskState.DROPPED if key not in self.anew:
                assert not containers, f"{tell_status(status)}: {containers}"
            case _:
                pass
        if status.terminal and status.container_id:
            its = next((c for c in containers if c.spec.container_id == status.container_id), None)
            end = (None, None) if its is None else (_exit_code(its), _signal(its))
            if status.reason in NOBODY_KNOWS:
                end = (None, None)
            assert (status.exit_code, status.signal) == end, f"{tell_status(status)}: {its}"


def _exit_code(container: Container) -> int | None:
    return container.end.exit_code if isinstance(container.end, ContainerExited) else None


def _signal(container: Container) -> int | None:
    return container.end.signal if isinstance(container.end, ContainerExited) else None
