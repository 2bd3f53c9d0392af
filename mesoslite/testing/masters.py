"""The masters of a simulated cluster: one by itself, or several of which one is elected to lead."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import get_args

from mesoslite.master import protocol as master
from mesoslite.master.records import MasterConfig
from mesoslite.master.state import Master
from mesoslite.messages import Heartbeat
from mesoslite.testing.election import ELECTION_HOST, Election, Standing
from mesoslite.testing.network import End
from mesoslite.testing.nodes import Client, Daemon
from mesoslite.testing.storage import Disk, Registry
from mesoslite.testing.world import World

_DURABLE = frozenset(get_args(master.Durable))
COMMIT_MS_MAX = 20_000  # as the daemon's own
SERVICE_MANAGER_MS = (500, 5_000)  # until a master that has ended by itself is started again
AT_ONCE_MS = 50  # in which a process that goes on is heard of by the election service


class MasterNode(Daemon[master.Event, master.Effect]):
    """A master; each time that it leads has a higher epoch than any before."""

    kind = "master"

    def __init__(
        self, world: World, name: str, config: MasterConfig, election: Election | None
    ) -> None:
        super().__init__(world, name, name)
        self.config = config
        self.election = election
        self.registry = Registry(Disk()) if election is None else election.registry
        self.machine: Master | None = None
        """While it leads."""
        self.epoch = 0
        """The one in which it led last."""
        self.up = False
        """Whether its process is there, leading or not."""
        self.answers: dict[int, master.Answer] = {}
        """To operators, by the number of the request."""
        self._life = 0
        self._session = 0
        self._contact_ms = 0
        """When the election service was last heard of."""
        self._unwritten_ms: int | None = None
        """Since when it can not commit."""
        self._streams: dict[str, End] = {}
        self._requests = 0

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.up

    @property
    def leading(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self.process is not None

    @property
    def disk(self) -> Disk:
        """Where its registry is: shared by the masters of one election."""
        return self.registry.disk

    def start(self) -> None:
        """Start its process: it leads, or waits until it is elected."""
        self.up, self.stopped = True, False
        self._life += 1
        if self.election is None:
            self._lead()
        else:
            self.world.story.note(self.name, "waits to be elected")
            self._session = self.election.enter(self.name)
            self._contact_ms = self.world.agenda.now_ms
            self._keep_contact(self._life)

    def _lead(self) -> None:
        recovered = self.registry.recover()
        self.epoch = recovered.epoch
        machine = Master(recovered, self.config)
        self.machine = machine
        self._unwritten_ms = None
        self.process = self._run(machine, master.Tick, self._commit, self._perform)

    # --- the election -----------------------------------------------------------------------------

    def _keep_contact(self, life: int) -> None:
        if self.election is not None and self.up and life == self._life:
            period_ms = self.election.session_ms // 3
            self.world.agenda.after(period_ms, lambda: self._keep_contact(life))
            self._contact()

    def _contact(self) -> None:
        """Say to the election service that this master is there, and hear whether it leads."""
        election = self.election
        if election is None or not self.up or self.stopped:
            return
        if not self._registry_is_there():
            if self.leading:
                self._in_touch()
            return
        match election.touch(self._session):
            case Standing.EXPIRED if self.leading:
                self._resign("its session has expired")
            case Standing.EXPIRED:
                self._session = election.enter(self.name)
                self._contact_ms = self.world.agenda.now_ms
            case standing:
                self._contact_ms = self.world.agenda.now_ms
                if standing is Standing.LEADS and not self.leading:
                    self._lead()

    def _may_speak(self) -> bool:
        if not self._in_touch():
            return False
        for watcher in self.world.watchers:
            watcher.spoke(self)
        return True

    def _in_touch(self) -> bool:
        """D15: one that was paused, or cut off, for two thirds of its session ends itself first."""
        election = self.election
        if election is None:
            return True  # it has the only registry, which is locked
        silent_ms = self.world.agenda.now_ms - self._contact_ms
        if 3 * silent_ms < 2 * election.session_ms:
            return True
        self._resign(f"the election service was not heard of for {silent_ms / 1_000:g} s")
        return False

    def _commit(self, effects: Sequence[master.Effect]) -> bool:
        """Write, guarded by the epoch. Who can not for too long ends itself (D6)."""
        now_ms = self.world.agenda.now_ms
        if _DURABLE.isdisjoint(map(type, effects)):
            return True
        if self._registry_is_there():
            if self.registry.epoch != self.epoch:
                self.world.counts["fault: a commit of an earlier leader is refused"] += 1
                self._resign(f"a master of epoch {self.registry.epoch} leads")
                return False
            if self.registry.commit(effects):
                self._unwritten_ms = None
                return True
        if self._unwritten_ms is None:
            self._unwritten_ms = now_ms
        if now_ms - self._unwritten_ms >= COMMIT_MS_MAX:
            self._resign("it could not write for too long")
        else:
            self._in_touch()
        return False

    def _registry_is_there(self) -> bool:
        election = self.election
        if election is None:
            return True
        return not election.away and self.world.network.reachable(self.host, ELECTION_HOST)

    def _resign(self, why: str) -> None:
        """It ends by itself, and its service manager starts it again."""
        self.world.counts["fault: a leader has ended by itself"] += 1
        self._die(f"ends by itself: {why}")
        life = self._life

        def start() -> None:
            if not self.up and self._life == life:
                self.start()

        self.world.agenda.after(self.rng.randint(*SERVICE_MANAGER_MS), start)

    # --- its process ------------------------------------------------------------------------------

    def crash(self) -> None:
        """Its process dies at once; what it had not committed is lost."""
        if self.up:
            self._die("crashes")

    def _die(self, why: str) -> None:
        if self.process is not None:
            self.process.end()
        self._down(why)

    def resume(self) -> None:
        """SIGCONT: its loop goes on at once, and hears of the election a moment later."""
        super().resume()
        self.world.agenda.after(self.rng.randint(0, AT_ONCE_MS), self._contact)

    def ask(self, make: Callable[[int], master.Event]) -> int:
        """An operator's request; its answer is in `answers` when it has come."""
        self._requests += 1
        self.post(make(self._requests))
        return self._requests

    def accept(self, end: End) -> None:
        """A peer has opened a connection to this run of the master."""
        self._streams[end.name] = end

    def received(self, end: End, message: object) -> None:
        """A peer said this."""
        client = end.peer.endpoint
        assert isinstance(client, Client)
        kind = type(message)
        self.world.counts[self._words[kind]] += 1
        if self.process is not None:
            self.process.post(client.called(end.name, message), heartbeat=kind is Heartbeat)

    def ended(self, end: End, why: str) -> None:
        """A stream is over."""
        self._streams.pop(end.name, None)
        self.post(master.StreamClosed(end.name))

    def pause(self, stream: str, *, paused: bool) -> None:
        """The outbox of a stream is full, or no longer."""
        if stream in self._streams:
            event = master.StreamPaused if paused else master.StreamResumed
            self.post(event(stream))

    @property
    def streams(self) -> list[str]:
        """The names of the open streams, oldest first."""
        return list(self._streams)

    def _perform(self, effect: master.Effect) -> None:
        match effect:
            case master.ToScheduler(stream, said) | master.ToAgent(stream, said):
                if (end := self._streams.get(stream)) is not None:
                    end.say((self.epoch, said))
            case master.CloseStream(stream):
                if (end := self._streams.pop(stream, None)) is not None:
                    end.close()
                    self.post(master.StreamClosed(stream))
            case master.Answer():
                self.answers[effect.request] = effect
            case master.Warn(_, name, what, _):
                self.world.counts[f"misconduct: {what.name}"] += 1
                self.world.story.note(self.name, f"warns of {name}: {what.value}")
            case master.PeerSilent(agent_id, framework_id, _, silent_ms):
                who = agent_id or framework_id
                self.world.story.note(self.name, f"heard nothing of {who} for {silent_ms:,} ms")
            case _:
                pass  # durable: committed before

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.up = False
        self.process = None
        if self.machine is not None:
            for refusal, times in self.machine.tables.refusals.items():
                self.world.counts[f"refusal: {refusal.name}"] += times
        self.machine = None
        for end in self._streams.values():
            self._sever(end)
        self._streams.clear()


class Masters:
    """All masters of the cluster, and how their clients find the one that leads."""

    def __init__(
        self, world: World, nodes: Sequence[MasterNode], election: Election | None
    ) -> None:
        self._world = world
        self.nodes = nodes
        self.election = election

    @property
    def leading(self) -> MasterNode:
        """The one that leads; of two that believe to, the newer. None does: that which last did."""
        return max(self.nodes, key=lambda node: (node.leading, node.epoch))

    def located(self, host: str, rng: random.Random) -> MasterNode:
        """The one that somebody on this host takes for the leader: as the election service says,
        or any of those that it was told of."""
        election = self.election
        if election is None:
            return self.nodes[0]
        if not election.away and self._world.network.reachable(host, ELECTION_HOST):
            name = election.leader()
            for node in self.nodes:
                if node.name == name:
                    return node
        return rng.choice(self.nodes)
