"""Nothing is left of what came and went: tasks through a cluster, offers through the master."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.daemons import quiet_logs, rss_mb, running_cluster
from benchmarks.measure import AtMost, Figure, Unit, around
from benchmarks.throughput import RUN_S_MAX, Burst, start_swarm
from benchmarks.workload import Sizes, option
from mesoslite.master.protocol import (
    AgentCalled,
    Effect,
    Recovered,
    SchedulerCalled,
    Tick,
    ToScheduler,
)
from mesoslite.master.state import Master, MasterConfig
from mesoslite.messages import Decline, Offers, Register, Subscribe
from mesoslite.model import AgentInfo, FrameworkInfo
from mesoslite.resources import Resources

AGENTS, FRAMEWORKS = 1_000, 10
AGENT = Resources(cpus=8, mem=8_192, disk=65_536, ports="[31000-32000]")
REFUSE_MS = 5_000
TURN_MS = 700  # seven or eight of the ten frameworks refuse an agent at any time
FOR_EVER_MS = 10**15
AT_A_TIME = 500
GROWTH_MAX = AtMost(1.10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing(Sizes):
    """How much comes and goes, in all runs together."""

    tasks: int = option("tasks in all", at_least=1_000)
    offers: int = option("offers in all", at_least=100_000)


def memory(sizes: Passing) -> list[Figure]:
    """Tasks come and go, offers are made and refused: resident memory after, to before."""
    return [*offers(sizes), *tasks(sizes)]


def _figures(what: str) -> tuple[Figure, Figure]:
    """After everything, which the goal is for; and after each run, to see where it goes."""
    return Figure(f"{what}, after all", Unit.RATIO, GROWTH_MAX), Figure(what, Unit.RATIO)


# --- tasks through real processes -----------------------------------------------------------------


def tasks(sizes: Passing) -> list[Figure]:
    """Through one master and one agent, whose containers alone are scripted."""
    figures = {name: _figures(f"tasks, {name}") for name in ("master", "agent")}
    with running_cluster() as cluster, quiet_logs():
        swarm = start_swarm(cluster, "agent", 1, f"cpus:{AT_A_TIME};mem:{AT_A_TIME}")
        swarm.until_ready()
        pids = {"master": cluster.master.pid, "agent": swarm.program.pid}
        # What is kept to be shown, the newest 1,000 ended tasks, is there from then on.
        each = sizes.tasks // sizes.runs
        cluster.run(Burst("warm-up", min(5_000, each)), RUN_S_MAX)
        before = {name: rss_mb(pid) for name, pid in pids.items()}
        for run in sizes.each_run():
            with around() as speed:
                burst = Burst(f"run-{run}", each)
                cluster.run(burst, RUN_S_MAX)
            assert (burst.unfinished, burst.running) == (0, each)
            for name, (after_all, after_run) in figures.items():
                growth = rss_mb(pids[name]) / before[name]
                after_run.add(growth, speed)
                if run == sizes.runs:
                    after_all.add(growth, speed)
        stats = swarm.stop()
        assert stats.acknowledged == stats.started >= sizes.runs * each
    return [figure for pair in figures.values() for figure in pair]


# --- offers through the machine alone -------------------------------------------------------------


class Circle:
    """A master's machine whose frameworks decline all that they are offered, again and again."""

    def __init__(self, agents: int = AGENTS, frameworks: int = FRAMEWORKS) -> None:
        self.offered = 0
        # No stream says a heartbeat here, and nobody is to be slowed.
        config = MasterConfig(silence_ms=FOR_EVER_MS, heartbeat_ms=FOR_EVER_MS)
        self._master = Master(Recovered(epoch=1), config)
        self._now_ms = 1_000
        self._agents = agents
        self._said = self._step()
        for number in range(agents):
            info = AgentInfo(f"agent-{number}", f"host-{number}", AGENT)
            self._step(AgentCalled(f"a{number}", Register(info, "boot", 1)))
        for number in range(frameworks):
            who = FrameworkInfo(f"framework-{number}")
            self._said += self._step(SchedulerCalled(f"s{number}", "p", Subscribe(who, "session")))

    def turn(self) -> None:
        """Every agent is offered to somebody, who declines it."""
        offered = 0
        declines = []
        for stream, made in _offers_in(self._said):
            ids = tuple(offer.offer_id for offer in made.offers)
            offered += len(ids)
            declines.append(SchedulerCalled(stream, "p", Decline(ids, REFUSE_MS)))
        assert offered == self._agents
        self.offered += offered
        self._now_ms += TURN_MS
        self._said = self._step(*declines)

    def _step(self, *events: AgentCalled | SchedulerCalled) -> list[Effect]:
        said: list[Effect] = []
        for event in (Tick(self._now_ms), *events, Tick(self._now_ms)):
            said += self._master.handle(event)
        return said


def _offers_in(effects: list[Effect]) -> Iterator[tuple[str, Offers]]:
    for effect in effects:
        if isinstance(effect, ToScheduler) and isinstance(effect.event, Offers):
            yield effect.stream, effect.event


def offers(sizes: Passing) -> list[Figure]:
    """Through the master's machine, in this process."""
    after_all, after_run = _figures("offers, the master's machine")
    circle = Circle()
    for _ in range(20):
        circle.turn()
    gc.collect()
    before = rss_mb("self")
    for run in sizes.each_run():
        with around() as speed:
            until = circle.offered + sizes.offers // sizes.runs
            while circle.offered < until:
                circle.turn()
        growth = rss_mb("self") / before
        after_run.add(growth, speed)
        if run == sizes.runs:
            after_all.add(growth, speed)
    return [after_all, after_run]
