"""Many agents in one process: each is what `mesoslite-agent` is but for what a container does.

    python -m benchmarks.swarm --master localhost:5060 --agents 500 --folder DIR

Real are the agent's machine, its loop, its link with a connection and a stream of its own, its
checkpoint with its writer thread, its post-mortems, and who may attach to its tasks. Scripted are
the containers: a start is told to go through its phases, to run and to exit with 0, all at once,
with no process.

`DIR/ready` is there once every agent is registered. The swarm ends with its stdin, when no task is
left whose end is unacknowledged, and then `DIR/stats.json` tells what it did.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from mesoslite.clock import Clock
from mesoslite.credentials import find_token_file, read_tokens
from mesoslite.daemon import settle_memory, stop_with_stdin
from mesoslite.database import WorkDir
from mesoslite.files import FileRead
from mesoslite.link import AGENT_BACKOFF, Ends, Link
from mesoslite.logs import set_up_logs
from mesoslite.loop import Inbox, drive
from mesoslite.masters import WAYS, LeaderWatch, Locator, Masters, parse_masters
from mesoslite.messages import HEARTBEAT_INTERVAL_MS, SILENCE_MAX_MS, Heartbeat, Registered
from mesoslite.model import AgentInfo
from mesoslite.resources import Resources
from mesoslite.streams import Outgoing
from mesoslite.v1 import agent_pb2
from mesoslite.wire import AgentSays, agent_events_from_wire, agent_requests
from mesoslite_agent import host
from mesoslite_agent.checkpoint import Checkpoint
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerExited,
    ContainerPhase,
    ContainerSpec,
    ContainerStarted,
    Phase,
    Usage,
)
from mesoslite_agent.daemon import METHOD
from mesoslite_agent.executors import Executors
from mesoslite_agent.post_mortems import PostMortems
from mesoslite_agent.protocol import (
    DestroyContainer,
    DropStream,
    Effect,
    Event,
    ForgetTask,
    KeepPostMortem,
    MasterSpoke,
    SaveTask,
    StartContainer,
    StreamLost,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite_agent.state import Agent, AgentConfig

READY = "ready"
STATS = "stats.json"
REGISTER_S_MAX = 120.0
QUIET_S_MAX = 30.0
OPENING_MAX = 32  # checkpoints at once: a new one waits for fsyncs, 30 ms in all
DIALLING_MAX = 100  # at once: more only wait for each other in this process
NOTHING_USED = Usage(cpu_ms=0, peak_mem_bytes=0)


@dataclass(slots=True)
class Stats:
    """What the agents of a swarm did, all together."""

    started: int = 0
    exited: int = 0
    acknowledged: int = 0
    """Tasks of which the end was acknowledged."""
    messages_said: int = 0
    """gRPC messages, of any content."""
    messages_heard: int = 0
    registered: int = 0


Files = tuple[WorkDir, Checkpoint]


def _open(folder: Path) -> Files:
    work_dir = WorkDir(folder, "agent")
    return work_dir, Checkpoint(work_dir, host.boot_id())


class SwarmAgent:
    """One agent of the swarm."""

    def __init__(
        self, number: int, files: Files, resources: Resources, heartbeat_ms: int, swarm: Swarm
    ) -> None:
        self._stats = swarm.stats
        self._swarm = swarm
        self._now_ms = Clock().now_ms
        self._inbox: Inbox[Event] = Inbox(self._now_ms)
        self._work_dir, self._checkpoint = files
        agent_id = self._checkpoint.agent_id
        info = AgentInfo(agent_id=agent_id, hostname=f"swarm-{number}", resources=resources)
        config = AgentConfig(
            secret_seed=agent_id.encode() * 2,
            executor_socket=f"unix:{self._work_dir.path}/executors",
            heartbeat_ms=heartbeat_ms,
            silence_ms=max(SILENCE_MAX_MS, 3 * heartbeat_ms),
        )
        self._rng = random.Random(agent_id)
        self.machine = Agent(self._checkpoint.recovered(info), config)
        self._executors = Executors(self._inbox)
        self._info = info
        self._post_mortems: PostMortems | None = None
        """From the first end on: ten thousand idle agents need not have a thread each."""
        self._known = False
        self._link: Link[AgentSays, Event]

    async def run(self, locator: Locator, token: str) -> None:
        """Be an agent of this master, until cancelled."""
        link = self._link = Link(
            locator,
            Ends(
                method=METHOD,
                pack=self._pack,
                parse=self._parse,
                opened=StreamOpened,
                lost=lambda _why: StreamLost(),
                still_there=lambda: MasterSpoke(self.machine.epoch, Heartbeat()),
                denied=lambda _refusal, _why: None,
            ),
            self._inbox,
            token=lambda: token,
            backoff=AGENT_BACKOFF,
            rng=self._rng,
        )
        async with asyncio.TaskGroup() as both:
            both.create_task(link.run())
            both.create_task(
                drive(
                    self.machine,
                    self._inbox,
                    Tick,
                    self._checkpoint.commit,
                    self._perform,
                    self._now_ms,
                )
            )

    def close(self) -> None:
        """Let go of its files."""
        if self._post_mortems is not None:
            self._post_mortems.close()
        self._checkpoint.close()
        self._work_dir.close()

    def _pack(self, calls: Sequence[AgentSays]) -> Iterable[Outgoing]:
        for message in agent_requests(calls):
            self._stats.messages_said += 1
            yield message

    def _parse(self, data: bytes) -> Sequence[Event]:
        self._stats.messages_heard += 1
        epoch, events = agent_events_from_wire(agent_pb2.ConnectResponse.FromString(data))
        if not self._known and any(isinstance(event, Registered) for event in events):
            self._known = True
            self._swarm.one_registered()
        return [MasterSpoke(epoch, event) for event in events if not isinstance(event, FileRead)]

    def _perform(self, effect: Effect) -> None:
        match effect:
            case ToMaster(call):
                self._link.say(call)
            case StartContainer(spec):
                self._stats.started += 1
                for event in script(spec):
                    self._inbox.post(event)
            case DestroyContainer(container_id):
                self._stats.exited += 1
                self._executors.forget(container_id)
            case KeepPostMortem():
                self._keep(effect)
            case SaveTask(record):
                self._executors.expect(record)
            case ForgetTask():
                self._swarm.one_acknowledged()
            case DropStream(why):
                self._link.drop(why)
            case _:
                pass  # committed before, or of containers that are over as soon as they start

    def _keep(self, attempt: KeepPostMortem) -> None:
        """As the agent's daemon; a container that is scripted has no sandbox to read."""
        if self._post_mortems is None:
            nowhere = self._work_dir.path / "sandboxes"
            self._post_mortems = PostMortems(self._work_dir.path, self._info, nowhere.joinpath)
        self._post_mortems.keep(attempt)


def script(spec: ContainerSpec) -> Iterator[ContainerEvent]:
    """What a container does: a plain start, which tells its last phase alone, and /bin/true."""
    yield ContainerPhase(spec.container_id, Phase.SPAWN)
    yield ContainerStarted(spec.container_id, pid=1)
    yield ContainerExited(
        spec.container_id,
        exit_code=0,
        signal=None,
        oom=False,
        launcher_lost=False,
        usage=NOTHING_USED,
    )


class Swarm:
    """All agents of one process."""

    def __init__(self, folder: Path, agents: int, resources: Resources, heartbeat_ms: int) -> None:
        self.stats = Stats()
        self._dialling = asyncio.Semaphore(DIALLING_MAX)
        self._complete = asyncio.Event()
        self._quiet = asyncio.Event()
        with ThreadPoolExecutor(OPENING_MAX) as pool:
            files = pool.map(_open, (folder / f"{number}" for number in range(agents)))
            self._agents = [
                SwarmAgent(number, each, resources, heartbeat_ms, self)
                for number, each in enumerate(files)
            ]

    def one_registered(self) -> None:
        """A master knows one more agent."""
        self.stats.registered += 1
        self._dialling.release()
        if self.stats.registered == len(self._agents):
            self._complete.set()

    def one_acknowledged(self) -> None:
        """The end of one more task is acknowledged."""
        self.stats.acknowledged += 1
        if self.stats.acknowledged == self.stats.started:
            self._quiet.set()

    async def run(
        self, masters: Masters, token: str, stopping: asyncio.Event, ready: Callable[[], None]
    ) -> None:
        """Connect all, say so by `ready`, and serve until stopped and quiet."""
        running: list[asyncio.Task[None]] = []
        watch = None if masters.ensemble is None else LeaderWatch(masters.ensemble)
        try:
            async with asyncio.timeout(REGISTER_S_MAX):
                for agent in self._agents:
                    await self._dialling.acquire()
                    running.append(asyncio.create_task(agent.run(Locator(masters, watch), token)))
                await self._complete.wait()
            ready()
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait({stopped, *running}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            await self.until_quiet()
            self.stats.registered = sum(agent.machine.registered for agent in self._agents)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if watch is not None:
                await watch.close()
            with ThreadPoolExecutor(OPENING_MAX) as pool:
                list(pool.map(SwarmAgent.close, self._agents))

    async def until_quiet(self) -> None:
        """Wait for the last acknowledgements; when they do not come the stats will show it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S_MAX):
                while self.stats.acknowledged < self.stats.started:
                    self._quiet.clear()
                    await self._quiet.wait()


async def main(argv: Sequence[str]) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swarm", description=__doc__)
    parser.add_argument("--master", required=True, help=WAYS, type=parse_masters)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints; must be empty")
    parser.add_argument("--resources", default="cpus:8;mem:8192", help="of each agent")
    parser.add_argument("--heartbeat-ms", type=int, default=HEARTBEAT_INTERVAL_MS)
    options = parser.parse_args(argv)
    set_up_logs("text", "warning")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    stop_with_stdin(stopping)
    resources = Resources.parse(options.resources)
    swarm = Swarm(options.folder, options.agents, resources, options.heartbeat_ms)
    token = read_tokens(find_token_file(None)).own

    def ready() -> None:
        settle_memory()
        (options.folder / READY).touch()

    await swarm.run(options.master, token, stopping, ready)
    (options.folder / STATS).write_text(json.dumps(asdict(swarm.stats)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
