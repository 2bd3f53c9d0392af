"""What a simulated cluster did, in figures: who held how much for how long, and who waited.

What is held is what containers really hold, from the first phase of their start to their end,
whatever the master believes. Areas under the curves are summed up at each change, so means over
time are exact and do not depend on when anybody looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from mesoslite.lifecycle import TaskState
from mesoslite.model import Refusal, TaskStatus
from mesoslite.resources import Resources, split_key
from mesoslite.testing.agenda import Agenda
from mesoslite.testing.containers import Container

SERIES_MAX = 10_000  # points of a series, ~1 kB each; beyond it every other one goes
WAITING_MAX = 1_000_000  # tasks that were submitted and do not run yet, ~200 B each

CLUSTER = ("cluster", "")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long tasks waited from `feed` to the first RUNNING that their scheduler was told."""

    count: int
    """How many began to run in this time."""
    mean_s: float
    p50_s: float
    """Of waits above a second the first three digits are exact."""
    p99_s: float
    max_s: float
    waiting: int
    """How many were submitted at any time and wait at its end."""


@dataclass(frozen=True, slots=True)
class OfferCounts:
    """What became of the offers that a framework was made."""

    made: int = 0
    launched_on: int = 0
    """Those that were accepted with at least one operation."""
    declined: int = 0
    rescinded: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of a series, which ends at `at_s` seconds of the simulation."""

    at_s: float
    utilisation: Mapping[str, float]
    """The fraction of each scalar that containers held, on average."""
    shares: Mapping[str, float]
    """The dominant share of each framework, by name, on average."""


@dataclass(slots=True)
class _Account:
    """What somebody holds now, and the areas under what was held before."""

    since_ms: int
    held: dict[str, int] = field(default_factory=dict)
    """Thousandths by name."""
    share: float = 0.0
    """The largest fraction of any scalar of the cluster."""
    areas: Counter[str] = field(default_factory=Counter)
    """Thousandths times milliseconds, by name."""
    share_area: float = 0.0

    def settle(self, now_ms: int) -> None:
        passed_ms = now_ms - self.since_ms
        if passed_ms:
            for name, amount in self.held.items():
                self.areas[name] += amount * passed_ms
            self.share_area += self.share * passed_ms
            self.since_ms = now_ms

    def change(self, amounts: Mapping[str, int], sign: int) -> None:
        for name, amount in amounts.items():
            self.held[name] = self.held.get(name, 0) + sign * amount

    def rate(self, capacity: Mapping[str, int]) -> None:
        of = ((amount, capacity.get(name, 0)) for name, amount in self.held.items())
        self.share = max((amount / total for amount, total in of if total), default=0.0)


@dataclass(slots=True)
class Readings:
    """Everything that was counted up to a time; a later one less an earlier one is a stretch."""

    at_ms: int
    capacity: Counter[str] = field(default_factory=Counter)
    """Areas of what the agents have, by name."""
    areas: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """By ("framework" or "role", name), and of CLUSTER."""
    share_areas: dict[tuple[str, str], float] = field(default_factory=dict)
    waits_ms: dict[str, Counter[int]] = field(default_factory=dict)
    """By framework: wait, to three digits above a second -> how many."""
    offers: dict[str, Counter[str]] = field(default_factory=dict)
    refusals: dict[str, Counter[Refusal]] = field(default_factory=dict)


class Meter:
    """Counts while a simulation runs. About 5 us for each container that comes and goes."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self.began_ms = agenda.now_ms
        self._names: dict[str, str] = {}
        self._capacity = _Account(agenda.now_ms)
        self._accounts: dict[tuple[str, str], _Account] = {CLUSTER: _Account(agenda.now_ms)}
        self._submitted: dict[tuple[str, str], int] = {}
        self._waits_ms: dict[str, Counter[int]] = {}
        self._offers: dict[str, Counter[str]] = {}
        self._refusals: dict[str, Counter[Refusal]] = {}

    # --- what happens -----------------------------------------------------------------------------

    def agent_added(self, resources: Resources) -> None:
        """There is this much more, from now on; also while the agent is away."""
        now_ms = self._agenda.now_ms
        self._capacity.settle(now_ms)
        self._capacity.change(_by_name(resources), +1)
        for account in self._accounts.values():
            account.settle(now_ms)
            account.rate(self._capacity.held)

    def subscribed(self, framework_id: str, name: str) -> None:
        """A framework is called by its name from now on."""
        self._names[framework_id] = name

    def container_started(self, container: Container) -> None:
        """It holds what its task asked for."""
        self._change(container, +1)

    def container_ended(self, container: Container) -> None:
        """It holds nothing any more."""
        self._change(container, -1)

    def submitted(self, framework: str, task_id: str) -> None:
        """A task is there to be run, from now on. Those above WAITING_MAX are not counted."""
        if len(self._submitted) < WAITING_MAX:
            self._submitted.setdefault((framework, task_id), self._agenda.now_ms)

    def told(self, framework: str, status: TaskStatus) -> None:
        """A scheduler was told of a task."""
        if status.refusal is not None:
            self._refusals.setdefault(framework, Counter())[status.refusal] += 1
        key = (framework, status.task_id)
        if status.state is TaskState.RUNNING and key in self._submitted:
            wait_ms = _three_digits(self._agenda.now_ms - self._submitted.pop(key))
            self._waits_ms.setdefault(framework, Counter())[wait_ms] += 1
        elif status.state.terminal and status.state is not TaskState.DROPPED:
            self._submitted.pop(key, None)  # it never ran; one that was dropped may be tried again

    def offers(self, framework: str, fate: str, count: int) -> None:
        """So many offers were made, launched on, declined or rescinded: the names of the fields."""
        self._offers.setdefault(framework, Counter())[fate] += count

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> Readings:
        """Everything that was counted, up to now."""
        now_ms = self._agenda.now_ms
        self._capacity.settle(now_ms)
        for account in self._accounts.values():
            account.settle(now_ms)
        return Readings(
            now_ms,
            Counter(self._capacity.areas),
            {key: Counter(account.areas) for key, account in self._accounts.items()},
            {key: account.share_area for key, account in self._accounts.items()},
            deepcopy(self._waits_ms),
            deepcopy(self._offers),
            deepcopy(self._refusals),
        )

    def waiting(self, framework: str | None) -> int:
        """How many tasks wait now: of one framework, or of all."""
        if framework is None:
            return len(self._submitted)
        return sum(of == framework for of, _ in self._submitted)

    def _change(self, container: Container, sign: int) -> None:
        now_ms = self._agenda.now_ms
        amounts = _by_name(container.resources)
        framework_id = container.spec.framework_id
        name = self._names.get(framework_id, framework_id)
        for key in (CLUSTER, ("framework", name), ("role", container.role)):
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = _Account(now_ms)
            account.settle(now_ms)
            account.change(amounts, sign)
            account.rate(self._capacity.held)


class Measurement:
    """A stretch of virtual time, from `Simulation.measure` to whenever it is read."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._began = self._last = meter.read()
        self._every = 1
        self._count = 0
        self.series: list[Point] = []
        """Its points, oldest first; none unless `measure` was told how often."""

    @property
    def seconds(self) -> float:
        """How long it is, up to now."""
        return (self._meter.read().at_ms - self._began.at_ms) / 1_000

    def utilisation(self) -> dict[str, float]:
        """The fraction of each scalar of the cluster that containers held, on average."""
        return _utilisation(self._began, self._meter.read())

    def shares(self) -> dict[str, float]:
        """The dominant share of each framework that ever ran anything, by name, on average."""
        return _shares("framework", self._began, self._meter.read())

    def role_shares(self) -> dict[str, float]:
        """The dominant share of each role, not divided by its weight, on average."""
        return _shares("role", self._began, self._meter.read())

    def waits(self, framework: str | None = None) -> Waits:
        """How long the tasks of one framework, or of all, waited that began to run."""
        now = self._meter.read()
        waits: Counter[int] = Counter()
        for name, until_now in now.waits_ms.items():
            if framework in (None, name):
                waits += until_now - self._began.waits_ms.get(name, Counter())
        return _waits(waits, self._meter.waiting(framework))

    def offers(self, framework: str) -> OfferCounts:
        """What became of a framework's offers."""
        until_now = self._meter.read().offers.get(framework, Counter())
        return OfferCounts(**(until_now - self._began.offers.get(framework, Counter())))

    def refusals(self, framework: str) -> Counter[Refusal]:
        """How often launches of a framework were refused, by reason."""
        until_now = self._meter.read().refusals.get(framework, Counter())
        return until_now - self._began.refusals.get(framework, Counter())

    def take_point(self) -> None:
        """Add the stretch since the last point to the series."""
        self._count += 1
        if self._count % self._every:
            return
        now = self._meter.read()
        at_s = (now.at_ms - self._meter.began_ms) / 1_000
        last, self._last = self._last, now
        shares = _shares("framework", last, now)
        self.series.append(Point(at_s, _utilisation(last, now), shares))
        if len(self.series) >= SERIES_MAX:
            # Half as many, each twice as long: a mean of two means over equal times.
            pairs = zip(self.series[::2], self.series[1::2], strict=True)
            self.series = [_joined(one, other) for one, other in pairs]
            self._every *= 2


def _utilisation(began: Readings, now: Readings) -> dict[str, float]:
    held = now.areas[CLUSTER] - began.areas[CLUSTER]
    capacity = now.capacity - began.capacity
    return {name: held[name] / area for name, area in sorted(capacity.items())}


def _shares(kind: str, began: Readings, now: Readings) -> dict[str, float]:
    passed_ms = max(1, now.at_ms - began.at_ms)
    return {
        key[1]: (area - began.share_areas.get(key, 0.0)) / passed_ms
        for key, area in sorted(now.share_areas.items())
        if key[0] == kind
    }


def _waits(waits_ms: Counter[int], waiting: int) -> Waits:
    count = waits_ms.total()
    if not count:
        return Waits(0, 0.0, 0.0, 0.0, 0.0, waiting)
    ordered = sorted(waits_ms.items())
    mean_ms = sum(wait_ms * times for wait_ms, times in ordered) / count

    def percentile_s(percent: int) -> float:
        seen = 0
        for wait_ms, times in ordered:
            seen += times
            if seen * 100 >= count * percent:
                return wait_ms / 1_000
        raise AssertionError("all of them are at most the last")

    longest_s = ordered[-1][0] / 1_000
    return Waits(count, mean_ms / 1_000, percentile_s(50), percentile_s(99), longest_s, waiting)


def _joined(one: Point, other: Point) -> Point:
    return Point(
        other.at_s, _mean(one.utilisation, other.utilisation), _mean(one.shares, other.shares)
    )


def _mean(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    names = sorted({*one, *other})
    return {name: (one.get(name, 0.0) + other.get(name, 0.0)) / 2 for name in names}


def _by_name(amount: Resources) -> Counter[str]:
    """Thousandths of each scalar, whatever role it is reserved for."""
    named: Counter[str] = Counter()
    for key, thousandths in amount.scalars.items():
        named[split_key(key)[0]] += thousandths
    return named


def _three_digits(wait_ms: int) -> int:
    """Fewer than 10,000 different waits in all: a day has 8 digits, and three of them stay."""
    step = 10 ** max(0, len(str(wait_ms)) - 3) if wait_ms >= 1_000 else 1
    return wait_ms // step * step
