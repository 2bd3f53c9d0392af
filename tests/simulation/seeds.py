"""One seed, one story: a small cluster, restless schedulers, and everything that can go wrong.

For some minutes of virtual time things break while `Safety` looks on; then all is mended, and
`liveness` asks whether everybody gets what they wait for.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mesoslite.master.records import MasterConfig
from mesoslite.testing import (
    AgentNode,
    CrashPoint,
    Run,
    SchedulerNode,
    Simulation,
    Weather,
    run_as_told,
)
from mesoslite_agent.container import ContainerSpec, Phase
from tests.simulation.asking import Asking
from tests.simulation.liveness import all_is_offered, demands_are_met, settle
from tests.simulation.restless import Restless
from tests.simulation.safety import Safety

TROUBLE_S = (60, 400)
STORY_TAIL_LINES = 60
SHAPES = ("cpus:2;mem:1024", "cpus:4;mem:2048;disk:100", "cpus:8;mem:512")
#: Small bounds, so that they are reached, and short times, so that they run out.
CONFIG = MasterConfig(
    weights={"ads": 2_000},
    reregister_ms=60_000,
    forget_unreachable_ms=120_000,
    agents_max=4,
    frameworks_max=4,
    requests_max=3,
    store_bytes_max=1_000,
    completed_frameworks_max=1,
    unacknowledged_max=3,
    short_declines_max=10,
    revives_max=3,
)


class SeedFailed(AssertionError):
    """A seed broke a rule: with what is needed to see it again."""

    def __init__(self, seed: int, why: BaseException, tail: list[str]) -> None:
        lines = "\n".join(tail)
        super().__init__(
            f"seed {seed}, commit {_commit()}: {type(why).__name__}: {why}\n{lines}\n"
            f"to see it all: make simulate SEED={seed}"
        )
        self.seed = seed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed that broke no rule did."""

    counts: Counter[str]
    story: list[str]
    """Its tail, or all of it when asked for."""
    virtual_s: float


def play(seed: int, *, whole_story: bool = False) -> Outcome:
    """Tell the story of a seed. Raises SeedFailed."""
    trouble = Trouble(seed, whole_story=whole_story)
    cluster = trouble.cluster
    try:
        trouble.play()
    except Exception as error:
        lines = list(cluster.story.lines())
        tail = lines if whole_story else lines[-STORY_TAIL_LINES:]
        raise SeedFailed(seed, error, tail) from error
    cluster.master.crash()  # counts what it refused
    return Outcome(cluster.counts, list(cluster.story.lines()), cluster.passed_s)


class Trouble:
    """A cluster, and who troubles it."""

    def __init__(self, seed: int, *, whole_story: bool) -> None:
        self.rng = random.Random(f"{seed}/trouble")
        rng = self.rng
        slow = rng.random() < 0.5  # so that cuts find something on its way
        self.resources = rng.choice(SHAPES)
        self.agents = rng.randint(1, CONFIG.agents_max)
        self.cluster = Simulation(
            seed,
            agents=self.agents,
            resources=self.resources,
            runs=run_of,
            master=CONFIG,
            weather=Weather(0, 300, 20, 5_000) if slow else Weather(),
            check=True,
            story_lines_max=None if whole_story else 1_000,
        )
        self.safety = Safety(self.cluster)
        self.cluster.watchers.append(self.safety)
        self.guests: list[SchedulerNode] = []
        """Schedulers that are only there to be refused, and go before the end."""
        self.pace_s = rng.choice((4.0, 10.0, 25.0, 1_000.0))
        """Between two faults, on average; the last one means: hardly any."""
        self.over = False
        for name in ("alpha", "beta", "gamma")[: rng.randint(1, 3)]:
            self.add_scheduler(name)

    def play(self) -> None:
        """The whole story."""
        rng, cluster = self.rng, self.cluster
        self.often(self.pace_s, self.fault)
        self.often(5.0, self.whim)
        cluster.run(rng.uniform(*TROUBLE_S))
        self.over = True
        for guest in self.guests:
            guest.crash()
            del cluster.schedulers[guest.name]
        cluster.heal()
        for node in cluster.schedulers.values():
            self.calm(node)
        settle(cluster, self.safety)
        demands_are_met(cluster)
        all_is_offered(cluster)
        settle(cluster, self.safety)

    def often(self, mean_s: float, action: Callable[[], None]) -> None:
        """Do something again and again, until the trouble is over."""

        def act() -> None:
            if not self.over:
                action()
                self.cluster.after(self.rng.expovariate(1 / mean_s), act)

        self.cluster.after(self.rng.expovariate(1 / mean_s), act)

    # --- schedulers -------------------------------------------------------------------------------

    def add_scheduler(self, name: str) -> SchedulerNode:
        """A scheduler of this name: one more process of the framework, if it is there already."""
        roles = {"alpha": ("ads", "web"), "beta": ("*",)}.get(name, ("web", "*"))
        kind = self.rng.choice((Restless, Restless, Asking))
        count = 0

        def make() -> Restless:
            nonlocal count
            count += 1
            rng = self.cluster.rng(f"{name} {len(self.cluster.schedulers)} {count}")
            scheduler = kind(
                name,
                rng,
                roles,
                by_hand=name == "gamma",
                first=name not in self.cluster.schedulers,
                after=self.cluster.after,
                books=self.safety.books,
            )
            scheduler.calm = self.over
            if isinstance(scheduler, Asking):
                scheduler.begin()
            return scheduler

        return self.cluster.add(make)

    def calm(self, node: SchedulerNode) -> None:
        """Have the newest process of a scheduler launch nothing any more."""
        if isinstance(node.scheduler, Restless):
            node.scheduler.calm_down()

    def whim(self) -> None:
        """A scheduler or an operator does something out of nowhere."""
        rng, cluster = self.rng, self.cluster
        node = rng.choice(list(cluster.schedulers.values()))
        if isinstance(node.scheduler, Restless) and node.alive:
            node.scheduler.whim()
        match rng.randrange(20):
            case 0 | 6 | 7:
                cluster.kill_task(self.some_task())
            case 1:
                cluster.kill_task("t0", rng.choice(("nobody", "alpha")), grace_s=0)
            case 2:
                cluster.teardown("nobody")
            case 3 if rng.random() < 0.5:
                cluster.teardown(node.scheduler.name)
            case 4 if node.alive and rng.random() < 0.3:
                node.scheduler.teardown()
            case 5 if node.alive and rng.random() < 0.5:
                node.scheduler.stop()
            case 8 if rng.random() < 0.1:
                cluster.mark_agent_gone(rng.choice(("nobody", *cluster.agents)))
                cluster.after(rng.choice((1, 60)), self.replace_agents)
            case _:
                pass

    def replace_agents(self) -> None:
        """New agents come for those that are gone for good."""
        here = [name for name in self.cluster.agents if not self.safety.given_up(name)]
        self.cluster.add_agents(max(0, self.agents - len(here)), self.resources)

    def some_task(self) -> str:
        """A task that lives, preferably one whose id two frameworks use."""
        ids = [c.spec.task_id for c in self.cluster.containers() if c.live]
        twice = [task_id for task_id in ids if ids.count(task_id) > 1]
        return self.rng.choice(twice or ids or ["t0"])

    # --- faults -----------------------------------------------------------------------------------

    def fault(self) -> None:
        """One thing breaks, for a while."""
        rng, cluster = self.rng, self.cluster
        agent = rng.choice(list(cluster.agents.values()))
        scheduler = rng.choice(list(cluster.schedulers.values()))
        peer: AgentNode | SchedulerNode = rng.choice((agent, scheduler))
        for_s = rng.choice((0.05, 1, 10, 40, 100))
        point = rng.choice((None, *CrashPoint))
        match rng.randrange(20):
            case 0:
                cluster.crash(cluster.master, down_s=rng.choice((0.1, 5, 60)), at=point)
            case 1 | 2:
                cluster.crash(agent, down_s=for_s, at=point)
            case 3 if rng.random() < 0.5:
                cluster.crash(scheduler, down_s=for_s, at=point)
            case 4:
                cluster.reboot(agent, down_s=rng.choice((1, 20, 200, 400)))
            case 5:
                cluster.kill_launcher(agent)
            case 3 | 6 | 7:
                notice = tuple(rng.choice((0, 0, 0.5, 10, None)) for _ in range(2))
                cluster.cut(peer, notice_s=(notice[0], notice[1]))
            case 8 | 9:
                cluster.stall(peer, seconds=for_s)
            case 10 | 11:
                cluster.partition(peer, seconds=for_s)
            case 12:
                cluster.fill_disk(rng.choice((cluster.master, agent)), seconds=rng.choice((1, 15)))
            case 13:
                self.pause()
            case 14:
                self.fail_over(scheduler)
            case 15:
                self.crowd()
            case 16 | 17:
                self.catastrophe(scheduler)
            case _:
                cluster.cut(scheduler, notice_s=(0, 0))

    def pause(self) -> None:
        """A peer of the master does not read for a while."""
        master = self.cluster.master
        if master.streams:
            stream = self.rng.choice(master.streams)
            self.cluster.counts["fault: a peer does not read"] += 1
            master.pause(stream, paused=True)
            self.cluster.after(self.rng.choice((1, 20)), lambda: master.pause(stream, paused=False))

    def fail_over(self, scheduler: SchedulerNode) -> None:
        """A second process of the same framework takes over, while the first lives."""
        few = sum(n.finish is None for n in self.cluster.schedulers.values()) < 5
        if few and scheduler not in self.guests:
            self.cluster.counts["fault: a second scheduler of the same identity"] += 1
            self.add_scheduler(scheduler.scheduler.name)

    def catastrophe(self, scheduler: SchedulerNode) -> None:
        """A scheduler launches while it is cut off, then the master and hosts die, and some stay
        away for longer than the next master waits: nobody knows what became of the launches."""
        cluster = self.cluster
        cluster.counts["fault: the master and hosts die at once"] += 1
        cluster.partition(scheduler, seconds=15)
        if isinstance(scheduler.scheduler, Restless):
            cluster.after(1, scheduler.scheduler.use_what_is_held)
        cluster.after(10, lambda: cluster.crash(cluster.master, down_s=1))
        for agent in list(cluster.agents.values()):
            if self.rng.random() < 0.6:
                down_s = self.rng.choice((1, 120))
                cluster.after(10, partial(cluster.reboot, agent, down_s=down_s))

    def crowd(self) -> None:
        """More frameworks come than the master takes."""
        cluster = self.cluster
        if len(self.guests) < 3:
            cluster.counts["fault: more frameworks than there may be"] += 1
            self.guests.append(self.add_scheduler(f"guest{len(self.guests)}"))


def run_of(spec: ContainerSpec) -> Run:
    """What the commands of `Restless` do."""
    match spec.command[0]:
        case "segfault":
            return Run(seconds=1, signal=11)
        case "hog":
            return Run(seconds=4, oom=True)
        case "stubborn":
            return Run(seconds=None, obeys_sigterm=False)
        case "slow start":
            return Run(seconds=5, phase_seconds=(0.3, 3, 2))
        case "no such file":
            return Run(fails_in=Phase.FETCH)
        case "no root":
            return Run(fails_in=Phase.ROOT, phase_seconds=(0, 2, 0))
        case "no spawn":
            return Run(fails_in=Phase.SPAWN)
        case "echo server":
            return Run(seconds=60, echoes=True)
        case _:
            # Just quick enough that nothing is told before it runs.
            return replace(run_as_told(spec), phase_seconds=(0.3, 0.3, 0.3))


def _commit() -> str:
    """The commit of the tree, and whether it was changed since."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
