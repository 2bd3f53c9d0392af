"""What the others notice of frameworks that never answer, loop, or revive without end."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.daemons import BenchmarkFailed, Cluster, quiet_logs, running_cluster, tree_cpu_s
from benchmarks.measure import AtMost, Figure, Speed, Unit, around, percentile
from benchmarks.offenders import OFFENDERS
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Scheduler, run_async
from mesoslite.cli.connection import Operator
from mesoslite.master.protocol import Misconduct
from mesoslite.master.state import MasterConfig
from mesoslite.v1 import operator_pb2

POLITE = 3
RESOURCES = "cpus:4;mem:4096"
WANTS_EACH_S = 0.25  # rarer than what the master lets anybody do
OFFER_S_MAX = 10.0
CONFIG = MasterConfig()
TASKS_EACH_S_MAX = 20  # on one agent: 50 ms from an offer to the end of a task are hardly undercut
NAMED_S_MAX = 120.0  # a lease runs for 30 s before anybody is silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd(Sizes):
    """How large a cluster, and for how long it is watched."""

    agents: int = option("agents, real ones", at_least=2)
    wants: int = option("how often each of the others wants offers in a run", at_least=4)


class Polite(Scheduler):
    """Wants an offer now and then, does what it does with it, and suppresses until it wants more.

    Notes how long it waits for one from the moment that it asks.
    """

    failover_timeout_s = 10.0

    def __init__(self, name: str, wants: int) -> None:
        self.name = name
        self.waited_ms: list[float] = []
        self._wants = wants
        self._subscribed, self._offered = asyncio.Event(), asyncio.Event()

    async def subscribed(self, framework_id: str) -> None:
        """Nothing is wanted yet."""
        self.suppress()
        self._subscribed.set()

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """It was all that was wanted."""
        self.decline(offers)
        self.suppress()
        self._offered.set()

    async def want(self) -> None:
        """Ask, again and again, then leave."""
        await self._subscribed.wait()
        while len(self.waited_ms) < self._wants:
            self._offered.clear()
            began_s = time.perf_counter()
            self.revive()
            async with asyncio.timeout(OFFER_S_MAX):
                await self._offered.wait()
            self.waited_ms.append((time.perf_counter() - began_s) * 1e3)
            await asyncio.sleep(WANTS_EACH_S)
        self.teardown()


def unruly(sizes: Crowd) -> list[Figure]:
    """One framework never answers, one loops through offers, one revives 1,000 times a second."""
    quiet = Figure("the others' offers without them, p99", Unit.WALL_MS)
    middle = Figure("the others' offers, p50", Unit.WALL_MS)
    late = Figure("the others' offers, p99", Unit.WALL_MS, AtMost(50.0))
    master = Figure("the master", Unit.CPU_PERCENT)
    with running_cluster() as cluster, quiet_logs():
        for _ in range(sizes.agents):
            cluster.start_agent(RESOURCES)
        waited_ms, speed, _ = _others(cluster, "alone", sizes.wants)
        for kind in OFFENDERS:
            cluster.program(kind, "-m", "benchmarks.offenders", kind)
        _until_named(cluster)
        before, began_s = _rows(cluster), time.monotonic()
        for run in sizes.each_run():
            quiet.add(percentile(waited_ms, 99), speed)
            among_ms, run_speed, busy = _others(cluster, f"run-{run}", sizes.wants)
            middle.add(percentile(among_ms, 50), run_speed)
            late.add(percentile(among_ms, 99), run_speed)
            master.add(busy, run_speed)
        _assert_bounded(before, _rows(cluster), time.monotonic() - began_s, sizes.agents)
    return [late, middle, quiet, master]


def _others(cluster: Cluster, name: str, wants: int) -> tuple[list[float], Speed, float]:
    """How long the polite ones waited, all together, and how busy the master was, in per cent."""
    polite = [Polite(f"{name}-{number}", wants) for number in range(POLITE)]

    async def all_of_them() -> None:
        runs = [
            run_async(each, master=cluster.address, token_file=cluster.token_file)
            for each in polite
        ]
        await asyncio.gather(*runs, *(each.want() for each in polite))

    with around() as speed:
        began_s, used_s = time.monotonic(), tree_cpu_s(cluster.master.pid)
        cluster.until_done(all_of_them(), name, 10.0 + wants * (OFFER_S_MAX + WANTS_EACH_S))
        used_s = tree_cpu_s(cluster.master.pid) - used_s
        took_s = time.monotonic() - began_s
    assert all(len(each.waited_ms) == wants for each in polite)
    return [waited for each in polite for waited in each.waited_ms], speed, 100 * used_s / took_s


def _rows(cluster: Cluster) -> dict[str, operator_pb2.FrameworkRow]:
    """What the master says of each offender now."""
    with Operator(cluster.address, cluster.token_file) as operator:
        return {row.info.name: row for row in operator.frameworks() if row.info.name in OFFENDERS}


def _assert_bounded(
    before: dict[str, operator_pb2.FrameworkRow],
    after: dict[str, operator_pb2.FrameworkRow],
    took_s: float,
    agents: int,
) -> None:
    """That each was kept to what mesoslite/master/conduct.py allows it: by counts, not by times.

    Raises AssertionError. Unbounded, the greedy one has thousands of offers a second, and the
    reviving one a thousand of each agent.
    """
    silent = after["silent"]
    assert (silent.conduct.answered, silent.conduct.offers_max) == (0, 1)
    assert silent.offers <= 1
    had = {
        kind: after[kind].conduct.answered - row.conduct.answered for kind, row in before.items()
    }
    # What it declines is refused for a second, or until a task ends there: it launches as often as
    # it declines. Beyond that it has its short declines, all of them at once and then a tenth of
    # them each second.
    short = CONFIG.short_declines_max + agents
    loops = short * (1 + took_s / 10) + agents * TASKS_EACH_S_MAX * (took_s + 1)
    assert had["greedy"] <= 2 * loops, f"{had['greedy']:,} offers in {took_s:.0f} s"
    # It is offered each agent once more after each revive that takes effect, and after each task
    # of the other that ends there.
    revives = CONFIG.revives_max + CONFIG.revives_per_s * took_s
    most = agents * (revives + 1) + had["greedy"]
    assert had["reviving"] <= most, f"{had['reviving']:,} offers in {took_s:.0f} s"
    assert {one.what for one in after["reviving"].conduct.standing} == {Misconduct.REVIVES.name}


def _until_named(cluster: Cluster) -> None:
    """Wait until the master has warned of each of them. Raises BenchmarkFailed."""
    ends_s = time.monotonic() + NAMED_S_MAX
    while unnamed := [kind for kind in OFFENDERS if not _named(cluster, kind)]:
        if time.monotonic() > ends_s:
            raise BenchmarkFailed(f"the master names no offender {' or '.join(unnamed)}")
        time.sleep(0.2)


def _named(cluster: Cluster, kind: str) -> bool:
    lines = cluster.master.log.read_text(errors="replace").splitlines()
    return any("warning" in line and kind in line for line in lines)
