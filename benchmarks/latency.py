"""What one thing takes on an idle cluster of real daemons, as its framework sees it.

The scheduler is an ordinary one, with plain callbacks, in this process. One task is under way at a
time. Where a task's end matters, the task itself tells when that was: it is a `date`, whose output
is read from its sandbox when the run is over.
"""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.daemons import Agent, Cluster, quiet_logs, running_cluster
from benchmarks.measure import AtMost, Figure, Speed, Unit, around, percentile
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus
from mesoslite.messages import SchedulerCall, Subscribe
from mesoslite.scheduler.driver import Driver

RESOURCES = "cpus:1;mem:1024"
NEEDS = Resources(cpus=1, mem=64)
DATE = ["date", "+%s%N"]
DECLINES_MAX = 50  # half of what a framework may decline in a row with no refuse time
SECONDS_EACH_MAX = 0.5  # far more than one takes; then the run has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples(Sizes):
    """How often it is done in one run."""

    samples: int = option("how often in each run", at_least=20)


class Summary:
    """The 50th and the 99th percentile of each run, in milliseconds."""

    def __init__(
        self,
        what: str,
        p50_ms: float | None = None,
        p99_ms: float | None = None,
        mesos: tuple[str, str] = ("-", "-"),
    ) -> None:
        """The goals, where there are any, and what Mesos takes."""
        goals = [None if goal is None else AtMost(goal) for goal in (p50_ms, p99_ms)]
        self.figures = [
            Figure(f"{what}, {name}", Unit.WALL_MS, goal, peer)
            for name, goal, peer in zip(("p50", "p99"), goals, mesos, strict=True)
        ]

    def add(self, samples_ms: Sequence[float], speed: Speed) -> None:
        """One run."""
        for figure, per_cent in zip(self.figures, (50, 99), strict=True):
            figure.add(percentile(samples_ms, per_cent), speed)


class OneByOne(Scheduler):
    """Launches one task after the other, each on the first offer after the end of the one before.

    Notes when, by `time.time_ns`: each launch, RUNNING, end, and the first offer after each end.
    That offer may come before FINISHED, which waits until RUNNING is acknowledged, while the master
    gives away what is free as soon as it is free (in Mesos too): then it is held until FINISHED.
    """

    failover_timeout_s = 10.0

    def __init__(self, name: str, command: Sequence[str], tasks: int) -> None:
        self.name = name
        self.wrong: TaskStatus | None = None
        self.launched_ns: list[int] = []
        self.running_ns: list[int] = []
        self.offered_ns: list[int] = []
        self._command = command
        self._tasks = tasks
        self._free = True
        self._held: Offer | None = None

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """There is one agent: what holds a task is offered again when the one before has ended."""
        for offer in offers:
            if offer.resources.covers(NEEDS):
                self.offered_ns.append(time.time_ns())
                self._held = offer
                self.hold(offer)
                self._go_on()

    def offer_rescinded(self, offer_id: str) -> None:
        """There is nobody else to give it to."""
        raise AssertionError(f"offer {offer_id} was rescinded")

    def status_update(self, status: TaskStatus) -> None:
        """Go on at the end of the task; anything but a good end spoils the run."""
        if status.state is TaskState.RUNNING:
            self.running_ns.append(time.time_ns())
        elif status.state is TaskState.FINISHED:
            self._free = True
            self._go_on()
        elif status.terminal:
            self.wrong = status
            self.teardown()

    def _go_on(self) -> None:
        if self._held is None or not self._free:
            return
        number = len(self.launched_ns)
        if number == self._tasks:
            self.teardown()
            return
        offer, self._held, self._free = self._held, None, False
        self.launched_ns.append(time.time_ns())
        self.launch(offer, Task(f"{self.name}-{number}", self._command, NEEDS))

    def check(self) -> None:
        """Assert that all that was to be done was done."""
        assert self.wrong is None, f"a task did not end well: {self.wrong}"
        assert len(self.launched_ns) == len(self.running_ns) == self._tasks
        assert len(self.offered_ns) == self._tasks + 1


def one_by_one(cluster: Cluster, name: str, tasks: int) -> tuple[OneByOne, Speed]:
    """Run so many tasks, one after the other."""
    scheduler = OneByOne(name, DATE, tasks)
    with around() as speed:
        cluster.run(scheduler, 10.0 + tasks * SECONDS_EACH_MAX)
    scheduler.check()
    return scheduler, speed


def dates_ns(agent: Agent, name: str, tasks: int) -> list[int]:
    """What the tasks of a scheduler said, in order. Each was alone on its agent."""
    said = []
    for number in range(tasks):
        [output] = agent.work_dir.glob(f"sandboxes/*/{name}-{number}/*/stdout")
        said.append(int(output.read_text()))
    return said


def gaps_ms(earlier_ns: Sequence[int], later_ns: Sequence[int]) -> list[float]:
    """From each of the one to its counterpart."""
    return [(late - early) / 1e6 for early, late in zip(earlier_ns, later_ns, strict=True)]


def launch_latency(sizes: Samples) -> list[Figure]:
    """A task is launched until its framework hears RUNNING: a fresh process with its sandbox."""
    summary = Summary(
        "launch to RUNNING", 5.0, 20.0, ("122 ms (command executor), 4.4 (kept one)", "158 ms")
    )
    with running_cluster() as cluster, quiet_logs():
        cluster.start_agent(RESOURCES)
        one_by_one(cluster, "warm-up", sizes.samples)
        for run in sizes.each_run():
            scheduler, speed = one_by_one(cluster, f"run-{run}", sizes.samples)
            summary.add(gaps_ms(scheduler.launched_ns, scheduler.running_ns), speed)
    return summary.figures


def reoffer(sizes: Samples) -> list[Figure]:
    """A resource becomes free until it is offered again."""
    ended = Summary("a task's last word to the offer", 10.0, 10.0, ("0.5 s on average", "1 s"))
    declined = Summary("a decline to the offer", 10.0, 10.0, ("0.5 s on average", "1 s"))
    with running_cluster() as cluster, quiet_logs():
        agent = cluster.start_agent(RESOURCES)
        one_by_one(cluster, "warm-up", sizes.samples)
        for run in sizes.each_run():
            name = f"ended-{run}"
            scheduler, speed = one_by_one(cluster, name, sizes.samples)
            dates = dates_ns(agent, name, sizes.samples)
            ended.add(gaps_ms(dates, scheduler.offered_ns[1:]), speed)
            with around() as speed:
                waited_ms = _declines_ms(cluster, f"declined-{run}", sizes.samples)
            declined.add(waited_ms, speed)
    return [ended.figures[1], ended.figures[0], declined.figures[1], declined.figures[0]]


def _declines_ms(cluster: Cluster, name: str, offers: int) -> list[float]:
    """By several frameworks in turn: one that declines so more often is slowed for it."""
    waited_ms: list[float] = []
    while len(waited_ms) < offers:
        some = min(DECLINES_MAX, offers - len(waited_ms))
        decliner = Decliner(f"{name}-{len(waited_ms)}", some)
        cluster.run(decliner, 10.0 + some * SECONDS_EACH_MAX)
        waited_ms += decliner.waited_ms
    return waited_ms


class Decliner(Scheduler):
    """Declines every offer for no time at all, so that it comes again at once."""

    failover_timeout_s = 10.0

    def __init__(self, name: str, offers: int) -> None:
        self.name = name
        self.waited_ms: list[float] = []
        self._offers = offers
        self._declined_ns = 0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Note how long this one took, and decline it."""
        now_ns = time.perf_counter_ns()
        if self._declined_ns:
            self.waited_ms.append((now_ns - self._declined_ns) / 1e6)
        if len(self.waited_ms) == self._offers:
            self.teardown()
            return
        self._declined_ns = time.perf_counter_ns()
        self.decline(offers, refuse_s=0)


def reuse(sizes: Samples) -> list[Figure]:
    """Resources become free until the next task runs on them, by the tasks' own `date`."""
    peers = "Nomad 554 ms, Slurm 500-2,500, HyperQueue 5.4, Ray 2.9, Dask 1.6 (no process)"
    reused = Summary("freed to reused", 5.0, None, (peers, "-"))
    bare = Summary("a bare spawn loop")
    with running_cluster() as cluster, quiet_logs():
        agent = cluster.start_agent(RESOURCES)
        one_by_one(cluster, "warm-up", sizes.samples)
        for run in sizes.each_run():
            with around() as speed:
                dates = [_bare_date_ns() for _ in range(sizes.samples)]
            bare.add(gaps_ms(dates[:-1], dates[1:]), speed)
            name = f"run-{run}"
            _, speed = one_by_one(cluster, name, sizes.samples)
            dates = dates_ns(agent, name, sizes.samples)
            reused.add(gaps_ms(dates[:-1], dates[1:]), speed)
    return [*reused.figures, *bare.figures]


def _bare_date_ns() -> int:
    return int(subprocess.run(DATE, stdout=subprocess.PIPE, check=True).stdout)


# --- subscribe ------------------------------------------------------------------------------------


class Newcomer(Scheduler):
    """Leaves with its first offers."""

    failover_timeout_s = 10.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.offered_ns = 0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Note when, once."""
        self.offered_ns = self.offered_ns or time.perf_counter_ns()
        self.teardown()


class StampedDriver(Driver):
    """The driver that `run` uses, which notes when it says SUBSCRIBE."""

    subscribed_ns = 0

    def _say(self, call: SchedulerCall) -> None:
        if isinstance(call, Subscribe):
            self.subscribed_ns = time.perf_counter_ns()
        super()._say(call)


def subscribe(sizes: Samples) -> list[Figure]:
    """A framework says SUBSCRIBE on its open stream until its callback has the first offers."""
    said = Summary("SUBSCRIBE to first offers", 1.9, None, ("1.9 ms", "-"))
    dialled = Summary("its first dial to first offers")
    with running_cluster() as cluster, quiet_logs():
        cluster.start_agent(RESOURCES)
        for number in range(sizes.samples):
            _join(cluster, f"warm-up-{number}")
        for run in sizes.each_run():
            with around() as speed:
                pairs = [_join(cluster, f"run-{run}-{number}") for number in range(sizes.samples)]
            said.add([pair[0] for pair in pairs], speed)
            dialled.add([pair[1] for pair in pairs], speed)
    return [*said.figures, *dialled.figures]


def _join(cluster: Cluster, name: str) -> tuple[float, float]:
    """From SUBSCRIBE, and from before the first dial, to the first offers; in ms."""
    newcomer = Newcomer(name)
    driver = StampedDriver(newcomer, master=cluster.address, token_file=cluster.token_file)
    began_ns = time.perf_counter_ns()
    cluster.until_done(driver.run(), name, 10.0)
    assert newcomer.offered_ns > driver.subscribed_ns > began_ns
    offered_ns = newcomer.offered_ns
    return (offered_ns - driver.subscribed_ns) / 1e6, (offered_ns - began_ns) / 1e6
