"""A small cluster, restless schedulers, and everything that can go wrong, for some minutes.

Then all is mended, and everybody must get what they wait for. What happens, and when, is a list of
actions, each with a number and randomness of its own: so a story can be told without some of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from mesoslite import DestroyVolume, Reserve, Unreserve
from mesoslite.master.records import MasterConfig
from mesoslite.testing import (
    AgentNode,
    CrashPoint,
    MasterNode,
    Run,
    SchedulerNode,
    Simulation,
    Weather,
    run_as_told,
)
from mesoslite_agent.container import ContainerSpec, Phase
from tests.simulation.asking import Asking
from tests.simulation.keeping import PLACE, PLACES, VOLUMES, Keeping
from tests.simulation.liveness import all_is_offered, demands_are_met, settle
from tests.simulation.restless import TASKS_MAX, Restless
from tests.simulation.safety import Safety

TROUBLE_S = (60, 400)
DRIFT_PPM = 500  # five times what quartz has: what 18 minutes make of it is half a second
DAY_S = 86_400
MIB = 1_048_576  # the size of a volume of `Keeping`
WHIM_S = 5.0  # between two, on average
SHAPES = (
    "cpus:2;mem:1024;disk:20",
    "cpus:4;mem:2048;disk:100;disk(ads):5",
    "cpus:8;mem:512;disk:50",
)
#: Small bounds, so that they are reached, and short times, so that they run out.
CONFIG = MasterConfig(
    weights={"ads": 2_000},
    reregister_ms=60_000,
    forget_unreachable_ms=120_000,
    agents_max=4,
    agent_removals_per_minute=2,
    frameworks_max=4,
    fence_lease_ms=60_000,
    store_bytes_max=1_000,
    completed_frameworks_max=1,
    requests_max=3,
    unacknowledged_max=3,
    releases_max=1,
    short_declines_max=10,
    revives_max=3,
)


@dataclass(frozen=True, slots=True)
class Less:
    """What of a seed's story is left out, to find a shorter one that goes wrong as well."""

    without: frozenset[int] = frozenset()
    """Actions, by their numbers."""
    masters_max: int = 3
    agents_max: int = 4
    schedulers_max: int = 3
    tasks_max: int = TASKS_MAX
    """Of each process of a scheduler."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that goes wrong, or that somebody does, at a time."""

    number: int
    at_s: float
    kind: str
    """fault or whim."""


NOTHING_LESS = Less()


class Trouble:
    """A cluster, and who troubles it."""

    def __init__(self, seed: int, less: Less = NOTHING_LESS, *, whole_story: bool = False) -> None:
        self.seed = seed
        self.less = less
        self.rng = random.Random(f"{seed}/trouble")
        """Each action has one of its own."""
        rng = self.rng
        slow = rng.random() < 0.5  # so that cuts find something on its way
        self.resources = rng.choice(SHAPES)
        self.agents = min(rng.randint(1, CONFIG.agents_max), less.agents_max)
        self.cluster = Simulation(
            seed,
            agents=self.agents,
            resources=self.resources,
            runs=run_of,
            masters=min(rng.choice((1, 1, 2, 3)), less.masters_max),
            master=CONFIG,
            drift_ppm=rng.choice((0, DRIFT_PPM)),
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
        schedulers = min(rng.randint(1, 3), less.schedulers_max)
        for name in ("alpha", "beta", "gamma")[:schedulers]:
            self.add_scheduler(name)
        self.trouble_s = rng.uniform(*TROUBLE_S)
        planned = sorted((*self._times("fault", self.pace_s), *self._times("whim", WHIM_S)))
        self.actions = [Action(n, at_s, kind) for n, (at_s, kind) in enumerate(planned)]
        """All that the seed has in store, in order."""
        self.happened: list[int] = []
        """The numbers of those that did happen, so far."""

    def _times(self, kind: str, mean_s: float) -> Iterator[tuple[float, str]]:
        at_s = self.rng.expovariate(1 / mean_s)
        while at_s < self.trouble_s:
            yield at_s, kind
            at_s += self.rng.expovariate(1 / mean_s)

    def described(self) -> str:
        """What there is, and what happened."""
        cluster = self.cluster
        kept = [self.actions[number] for number in self.happened]
        what = ", ".join(f"{action.kind} {action.number} at {action.at_s:.1f} s" for action in kept)
        return (
            f"{len(cluster.masters)} masters, {self.agents} agents, "
            f"{len(cluster.schedulers)} schedulers, {self.less.tasks_max} tasks each; {what}"
        )

    def play(self) -> None:
        """The whole story."""
        cluster = self.cluster
        for action in self.actions:
            if action.number not in self.less.without:
                cluster.after(action.at_s, partial(self._act, action))
        cluster.run(self.trouble_s)
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
        if self.seed % 2:
            self.release_all()

    def release_all(self) -> None:
        """Everybody goes, with all that was ever reserved in their names, and nothing is left."""
        for name in dict.fromkeys(n.scheduler.name for n in self.cluster.schedulers.values()):
            self.cluster.teardown(name, release=True)
            self.cluster.run(1)
            settle(self.cluster, self.safety)
            self.safety.estates.nothing_is_left_of(name)

    def _act(self, action: Action) -> None:
        self.happened.append(action.number)
        self.rng = random.Random(f"{self.seed}/{action.number}")
        if action.kind == "fault":
            self.fault()
        else:
            self.whim()

    # --- schedulers -------------------------------------------------------------------------------

    def add_scheduler(self, name: str) -> SchedulerNode:
        """A scheduler of this name: one more process of the framework, if it is there already."""
        roles = {"alpha": ("ads", "web"), "beta": ("*",)}.get(name, ("web", "*"))
        kind = self.rng.choice((Restless, Keeping, Keeping, Asking, Asking))
        number, count = len(self.cluster.schedulers), 0

        def make() -> Restless:
            nonlocal count
            count += 1
            # Of this process alone, or two would make up the same ids for their tasks.
            rng = self.cluster.rng(f"{name} {number} {count}")
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
            scheduler.tasks_max = self.less.tasks_max
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
                cluster.teardown(node.scheduler.name, release=rng.random() < 0.5)
            case 4 if node.alive and rng.random() < 0.3:
                node.scheduler.teardown(release=rng.random() < 0.5)
            case 9:
                self.change_an_estate()
            case 10:
                some = rng.choice(list(cluster.agents.values()))
                some.measure_volumes(rng.choice((0, 1_000, 2 * MIB)))
            case 5 if node.alive and rng.random() < 0.5:
                node.scheduler.stop()
            case 8 if rng.random() < 0.1:
                cluster.mark_agent_gone(rng.choice(("nobody", *cluster.agents)))
                cluster.after(rng.choice((1, 60)), self.replace_agents)
            case _:
                pass

    def change_an_estate(self) -> None:
        """An operator changes what is reserved, whosever it is."""
        rng = self.rng
        change = rng.choice(
            (
                Reserve(rng.choice(PLACES), PLACE),
                Unreserve(rng.choice(PLACES)),
                DestroyVolume(rng.choice(VOLUMES)),
            )
        )
        self.cluster.change_estate(rng.choice((*self.cluster.agents,)), "web", change)

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
        which = rng.randrange(28)  # first, so that it stays the same in a smaller cluster
        agent = rng.choice(list(cluster.agents.values()))
        scheduler = rng.choice(list(cluster.schedulers.values()))
        peer: AgentNode | SchedulerNode = rng.choice((agent, scheduler))
        for_s = rng.choice((0.05, 1, 10, 40, 100))
        point = rng.choice((None, *CrashPoint))
        match which:
            case 0:
                cluster.crash(self.some_master(), down_s=rng.choice((0.1, 5, 60)), at=point)
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
                node = rng.choice((cluster.master, agent))
                cluster.fill_disk(node, seconds=rng.choice((1, 15, 30)))
            case 13:
                self.pause()
            case 14:
                self.fail_over(scheduler)
            case 15:
                self.crowd()
            case 16 | 17:
                self.catastrophe(scheduler)
            case 18 | 19:
                self.lose_a_fenced_task()
            case 20 | 21:
                amid = rng.random() < 0.5
                cluster.stop(cluster.master, seconds=rng.choice((1, 5, 9, 15, 100)), amid=amid)
            case 22:
                cluster.stop(peer, seconds=for_s, amid=rng.random() < 0.5)
            case 23:
                self.divide(peer, for_s)
            case 27:
                cluster.damage_checkpoint(agent, down_s=for_s)
            case 24:
                cluster.lose_election(seconds=rng.choice((1, 5, 30)))
            case 25:
                someone = rng.choice((self.some_master(), agent, scheduler))
                cluster.set_clock(someone, forward_s=rng.choice((-DAY_S, -10, 10, 50, DAY_S)))
                cluster.crash(someone, down_s=1)
            case _:
                cluster.cut(scheduler, notice_s=(0, 0))

    def some_master(self) -> MasterNode:
        """The one that leads, more often than not."""
        masters = list(self.cluster.masters.values())
        return self.rng.choice((self.cluster.master, *masters))

    def divide(self, peer: AgentNode | SchedulerNode, for_s: float) -> None:
        """The leader loses the election, or somebody one of the masters, and not the others."""
        cluster, rng = self.cluster, self.rng
        if rng.random() < 0.4:
            cluster.partition(cluster.master, "election", seconds=rng.choice((5, 12, 40)))
        elif rng.random() < 0.3:
            cluster.partition(cluster.master, seconds=rng.choice((5, 12, 40)))
        else:
            cluster.partition(peer, rng.choice((self.some_master(), "election")), seconds=for_s)

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
        cluster.after(10, self.kill_the_leader)
        for agent in list(cluster.agents.values()):
            if self.rng.random() < 0.6:
                down_s = self.rng.choice((1, 120))
                cluster.after(10, partial(cluster.reboot, agent, down_s=down_s))

    def lose_a_fenced_task(self) -> None:
        """An agent with one is cut off, or stopped, as the master dies or lives; and its scheduler
        goes on trying to launch another task of that key."""
        cluster, rng = self.cluster, self.rng
        fenced = [
            (agent, container.spec.framework_id, key)
            for agent in cluster.agents.values()
            for container in agent.containers.containers.values()
            if container.live
            if (key := dict(container.spec.environment).get("MESOSLITE_FENCE")) is not None
        ]
        if not fenced:
            return
        cluster.counts["fault: an agent with a fenced task is lost"] += 1
        agent, framework_id, key = rng.choice(fenced)
        for node in cluster.schedulers.values():
            if isinstance(node.scheduler, Restless) and node.framework_id == framework_id:
                node.scheduler.key = key
        if rng.random() < 0.5:
            cluster.partition(agent, seconds=100)
        else:
            cluster.stop(agent, seconds=100, amid=rng.random() < 0.5)
        if rng.random() < 0.7:
            cluster.after(rng.choice((0.5, 3, 14)), self.kill_the_leader)

    def kill_the_leader(self) -> None:
        """The one that leads now."""
        self.cluster.crash(self.cluster.master, down_s=1)

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
