"""At most one task of a key can run: the master and real leases, in any order of things."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mesoslite.lifecycle import TaskState
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    FENCE_LEASE_MS,
    Accept,
    Heartbeat,
    Registered,
    Revive,
    RunTask,
    TaskOnAgent,
)
from mesoslite.model import Launch, Task
from mesoslite_agent.leases import Lease
from tests.unit.master_world import World, task

KEY = "broker-0"
AGENTS = ("a1", "a2")
CONFIG = MasterConfig(offer_lease_ms=10**9, silence_ms=10**9, reregister_ms=10**9)


@dataclass
class Host:
    """An agent as far as fences go: its lease, what is on its way to it, and what runs there."""

    name: str
    lease: Lease = field(default_factory=Lease)
    stream: str = ""
    streams: int = 0
    beats: int = 0
    inbox: list[object] = field(default_factory=list)
    running: dict[str, Task] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)


class Fenced(RuleBasedStateMachine):
    """The true time is the master's. Nothing but the order and the delay of words is made up."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(config=CONFIG)
        self.hosts = {name: Host(name) for name in AGENTS}
        self.count = 0
        self.subscribed = False

    # --- words on their way -----------------------------------------------------------------------

    def _collect(self) -> None:
        """What the master said to agents in its last step is on its way."""
        for host in self.hosts.values():
            for kind in (Registered, Heartbeat, RunTask):
                if host.stream:
                    host.inbox += self.world.heard(host.stream, kind)

    @initialize()
    def everybody_is_there(self) -> None:
        for name in AGENTS:
            self.connects(name)
        self._subscribe()

    @rule(name=st.sampled_from(AGENTS))
    def connects(self, name: str) -> None:
        """A new stream; what was on its way on the old one is lost, and its launches with it."""
        host = self.hosts[name]
        host.streams += 1
        host.stream, host.inbox = f"{name}-{host.streams}", []
        host.lease.register(self.world.now_ms)
        tasks = [TaskOnAgent("1-F1", "*", one, TaskState.RUNNING) for one in host.running.values()]
        self.world.agent(name, stream=host.stream, tasks=tasks)
        self._collect()

    def _says_a_heartbeat(self, host: Host) -> None:
        if host.stream:
            host.beats += 1
            host.lease.say(host.beats, self.world.now_ms)
            self.world.tell(host.stream, Heartbeat(host.beats))
            self._collect()

    @rule(name=st.sampled_from(AGENTS), count=st.sampled_from((1, 2, 9)))
    def hears(self, name: str, count: int) -> None:
        """It takes some of what is on its way, in order, however late."""
        host = self.hosts[name]
        taken, host.inbox = host.inbox[:count], host.inbox[count:]
        for word in taken:
            match word:
                case Registered(lease_ms):
                    host.lease.begin(lease_ms)
                case Heartbeat(number):
                    host.lease.heard(number)
                case RunTask(_, _, launched) if host.lease.until_ms > self.world.now_ms:
                    others = {t for h in self.hosts.values() for t in h.running}
                    assert not others, f"{launched.task_id} runs beside {others}"
                    host.running[launched.task_id] = launched
                case _:
                    pass  # its lease is over: it starts none

    # --- the rest ---------------------------------------------------------------------------------

    @rule(
        ms=st.sampled_from((1_000, 10_000, FENCE_LEASE_MS // 2, FENCE_LEASE_MS + 6_000)),
        alive=st.sets(st.sampled_from(AGENTS)),
    )
    def time_passes(self, ms: int, alive: set[str]) -> None:
        """Agents say heartbeats before and after it; the others are stopped."""
        for name in sorted(alive):
            self._says_a_heartbeat(self.hosts[name])
        self.world.now_ms += ms
        self.world.step()
        self._collect()
        for host in self.hosts.values():
            if host.lease.until_ms <= self.world.now_ms:
                host.running.clear()  # its launcher kills them
        for name in sorted(alive):
            self._says_a_heartbeat(self.hosts[name])

    @rule(back=st.sampled_from((("a1",), ("a2",), AGENTS, ())))
    def the_master_fails_over(self, back: tuple[str, ...]) -> None:
        self.world.restart(after_ms=0)
        self.subscribed = False
        for host in self.hosts.values():
            host.stream, host.inbox = "", []
        for name in back:
            self.connects(name)

    @rule(name=st.sampled_from(AGENTS))
    def a_task_ends(self, name: str) -> None:
        host = self.hosts[name]
        if host.running and host.stream and not host.inbox:
            task_id = next(iter(host.running))
            del host.running[task_id]
            self.world.report(task_id, TaskState.FAILED, agent_id=host.stream)
            self._collect()

    @rule(name=st.sampled_from(AGENTS), at_once=st.booleans())
    def launches(self, name: str, at_once: bool) -> None:
        self._subscribe()
        self.world.call("f", Revive())
        self._collect()
        tables = self.world.master.tables
        offer = next((o for o in tables.offers.values() if o.agent_id == name), None)
        if offer is not None:
            self.count += 1
            one = task(f"t{self.count}", "cpus:0.1;mem:1", fence=KEY)
            accept = Accept(self.count, name, (offer.offer_id,), (Launch(one),), 0)
            self.world.call("f", accept)
            self._collect()
        if at_once:
            self.hears(name, len(self.hosts[name].inbox))

    def _subscribe(self) -> None:
        if not self.subscribed:
            again = "1-F1" in self.world.master.tables.frameworks
            self.world.framework(framework_id="1-F1" if again else "", resuming=again)
            self.subscribed = True
            self._collect()


TestFences = Fenced.TestCase
TestFences.settings = settings(max_examples=60, stateful_step_count=20)
