"""Agents of a simulated cluster, each on a host of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from mesoslite.master import protocol as master
from mesoslite.messages import AgentCall, AgentEvent, Troubled
from mesoslite.model import AgentInfo
from mesoslite.testing.containers import Container, ContainerHost, Run
from mesoslite.testing.masters import Masters
from mesoslite.testing.network import End
from mesoslite.testing.nodes import Client
from mesoslite.testing.storage import Checkpoint, Disk
from mesoslite.testing.world import World
from mesoslite_agent import protocol as agent
from mesoslite_agent.container import ContainerSpec
from mesoslite_agent.state import Agent, AgentConfig

BACKOFF_MAX_MS = 60_000
LOOK_MS = 500  # as `mesoslite_agent.trouble`
AGENT_CALLS = frozenset(get_args(AgentCall))
AGENT_EVENTS = frozenset(get_args(AgentEvent))


class AgentNode(Client[agent.Event, agent.Effect]):
    """An agent, its launcher and its containers on a host of their own."""

    kind = "agent"
    backoff_max_ms = BACKOFF_MAX_MS

    def __init__(
        self,
        world: World,
        info: AgentInfo,
        masters: Masters,
        run_of: Callable[[ContainerSpec], Run],
    ) -> None:
        super().__init__(world, info.agent_id, info.agent_id, masters)
        self.info = info
        self.disk = Disk()
        self.checkpoint = Checkpoint(self.disk, info)
        self.machine: Agent | None = None
        self.aborted = ""
        """Why it ended by itself: a master would never take it as it is. Empty: it has not."""
        self.containers = ContainerHost(
            self.name,
            world.agenda,
            world.rng(f"{self.name}'s containers"),
            run_of,
            self,
            history=world.history,
        )
        self._looks = False
        self._told: tuple[End | None, bool] = (None, False)
        """On which stream the master was told last whether the disk is full."""
        self._intent: agent.TaskRecord | None = None
        """The newest launch intent: its container's start is the next that is performed."""

    def start(self) -> None:
        """Start its process, from the checkpoint; containers that live on are reported to it."""
        seed = self.name.encode().ljust(16, b".")
        config = AgentConfig(secret_seed=seed, executor_socket="/run/mesoslite/executor.sock")
        machine = Agent(self.checkpoint.recover(), config)
        self.machine = machine
        self.process = self._run(machine, agent.Tick, self.checkpoint.commit, self._perform)
        self.containers.report = self.process.post
        self.containers.recover(sorted(machine.container_ids()))
        self._attempt = 0
        self._dial_later()

    def look_at_disk(self) -> None:
        """As the daemon: tell the master that the disk is full, and when it is so no more."""
        if not self._looks:
            self._looks = True
            self._look()

    def _look(self) -> None:
        machine, end, full = self.machine, self._end, self.disk.full
        if machine is not None and machine.registered and end is not None and not self.stopped:
            if self._told[0] is not end:
                self._told = (end, False)
            if self._told[1] is not full:
                self._told = (end, full)
                self._say(Troubled("its disk is full" if full else ""))
        self._looks = full or (self._told[0] is end is not None and self._told[1])
        if self._looks:
            self.world.agenda.after(LOOK_MS, self._look)

    def reboot(self) -> None:
        """The host dies, with all containers and what its disk had not synced yet."""
        if self.process is not None:
            self.process.end()
        self._down("host dies")
        lost = self.checkpoint.host_died(self.rng)
        self.containers.host_died()
        if lost:
            self.world.counts["fault: a host died with commits that were not synced"] += 1
        for watcher in self.world.watchers:
            watcher.host_died(self, lost)

    def measure_volumes(self, used_bytes: int) -> None:
        """Its daemon finds so many bytes in each of its volumes."""
        if self.machine is not None and self.process is not None:
            found = tuple((one, used_bytes) for one in self.machine.holdings.directories.values())
            self.process.post(agent.DirectoriesMeasured(found))

    def kill_launcher(self) -> int:
        """The launcher dies, and with it all running containers. How many there were."""
        self.world.story.note(self.name, "its launcher dies")
        return self.containers.launcher_died()

    def _perform(self, effect: agent.Effect) -> None:
        containers = self.containers
        match effect:
            case agent.ToMaster(said):
                self._say(said)
            case agent.DropStream(why):
                self._drop(why)
            case agent.Abort(why, _):
                self.aborted = why
                self.crash()
            case agent.SaveTask(record):
                self._intent = record
            case agent.StartContainer(spec, lease_until_ms):
                intent = self._intent
                assert intent is not None, f"{spec.container_id} starts without an intent"
                assert intent.container_id == spec.container_id, (intent, spec)
                until_ms = None if lease_until_ms is None else self._when_ms(lease_until_ms)
                containers.start(spec, intent.role, intent.task.resources, until_ms)
            case agent.LeaseContainers(container_ids, until_ms):
                containers.lease(container_ids, self._when_ms(until_ms))
            case agent.StopContainer(container_id, signal):
                containers.stop(container_id, signal)
            case agent.AbortStart(container_id):
                containers.abort(container_id)
            case agent.DestroyContainer(container_id):
                containers.destroy(container_id)
            case agent.ToExecutor(container_id, data):
                containers.hand_over(container_id, data)
            case agent.RemoveDirectory(directory):
                self.post(agent.DirectoryRemoved(directory))
            case _:
                pass  # durable: committed before

    def _when_ms(self, own_ms: int) -> int:
        """The launcher is told by its host's clock, as the agent's own process has it."""
        assert self.process is not None
        return self.process.when_ms(own_ms)

    def container_started(self, container: Container) -> None:
        """One of its containers is in the first phase of its start."""
        self.world.meter.container_started(container)
        for watcher in self.world.watchers:
            watcher.container_started(container)

    def container_ended(self, container: Container) -> None:
        """Nothing of one of its containers lives any more."""
        self.world.meter.container_ended(container)
        for watcher in self.world.watchers:
            watcher.container_ended(container)

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.process = None
        self.machine = None
        self.containers.agent_died()
        self._hang_up()

    def called(self, stream: str, said: Any) -> master.Event:
        """What the master's process is told when this one says something."""
        assert type(said) in AGENT_CALLS, f"no agent says {said!r}"
        return master.AgentCalled(stream, said)

    def _heard(self, epoch: int, said: Any) -> agent.Event:
        assert type(said) in AGENT_EVENTS, f"nobody says {said!r} to an agent"
        return agent.MasterSpoke(epoch, said)

    def _opened(self) -> agent.Event:
        return agent.StreamOpened()

    def _lost(self, why: str) -> agent.Event:
        return agent.StreamLost()
