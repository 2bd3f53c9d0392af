"""Chaos: a real cluster, a fault every few seconds, and in the end every task's story is checked.

    python -m tests.chaos [--seed N] [--seconds S] [--rounds R] [--keep]

Three masters on ZooKeeper, five agents, two frameworks that keep 200 tasks alive each. Fails, with
exit code 1, when a task's end as its framework was told is not what its process really did, when
anything is left over, or when too little went wrong to mean something.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mesoslite.cli import hosts
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Failure
from mesoslite.testing.zookeeper import ZooKeeperServer
from mesoslite.v1.common_pb2 import TaskState
from mesoslite.wire.amounts import resources_from_wire
from tests.chaos.cluster import ChaosCluster
from tests.chaos.evidence import Evidence, lived_together, read, wrong
from tests.chaos.faults import EVERY_S, Faults

MASTERS, AGENTS, ALIVE = 3, 5, 200
NAMES = ("left", "right")
LOOK_S = 0.05
BEGIN_S_MAX = 60.0
CALM_S_MAX = 150.0
KILLS_MIN, LEADERS_MIN, TASKS_MIN = 3, 5, 100
WRONG_SHOWN = 20
LEFT_SHOWN = 10


class Failed(Exception):
    """The chaos has shown something wrong, or shown too little; one line for each."""


def play(seed: int, seconds: float, folder: Path) -> str:
    """One chaos; a report of what happened. Raises Failed."""
    rng = random.Random(seed)
    (folder / "evidence").mkdir()
    with (
        ZooKeeperServer(folder / "zookeeper") as zookeeper,
        ChaosCluster(folder, zookeeper.port, rng, masters=MASTERS, agents=AGENTS) as cluster,
    ):
        faults = Faults(cluster, rng)
        _begin(cluster, faults)
        since = time.time()
        leaders, problems = _disturb(cluster, faults, rng, seconds)
        until = time.time()
        _calm(cluster, faults)
        agent_ids = [host.agent_id for host in cluster.agents]
    left = [
        what
        for host in cluster.agents
        for what in hosts.left_of(host.work_dir, [host.agent_id] if host.agent_id else [])
    ]
    assert len(agent_ids) == AGENTS
    found = read(folder, NAMES)
    problems += wrong(found, faults.deaths)
    together, excused = lived_together(found, faults.stops)
    problems += together
    problems += [f"left over: {what}" for what in left]
    problems += _too_little(cluster, faults, leaders, found, since, until)
    tasks = (
        f"{len(found.lives)}, {found.launches()} ran, {found.completions()} ended by themselves; "
        f"between the faults {found.launches(since, until)} and {found.completions(since, until)}"
    )
    report = (
        f"  faults: {_counts(faults.done)}\n  changes of leader: {leaders}\n"
        f"  tasks: {tasks}\n  ends: {_counts(found.ends)}\n"
        f"  tasks with fences: {sum(life.token is not None for life in found.lives.values())}; "
        f"two of a key while a launcher was stopped: {len(excused)}"
        + "".join(f"\n    {what}" for what in excused)
    )
    if problems:
        shown = problems[:WRONG_SHOWN]
        more = f"\n  and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
        raise Failed("\n".join(("", *shown)) + more + "\n" + report)
    return report


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))


def _begin(cluster: ChaosCluster, faults: Faults) -> None:
    def not_here() -> str:
        rows = _agents(cluster)
        for host in cluster.agents:
            host.agent_id = rows.get(host.service.name, "")
        return ", ".join(host.service.name for host in cluster.agents if not host.agent_id)

    _until(cluster, faults, not_here, BEGIN_S_MAX, "all agents are active")
    for name in NAMES:
        cluster.add_framework(name, ALIVE)
    full = len(NAMES) * ALIVE

    def not_running() -> str:
        run = len(list((cluster.folder / "evidence").glob("*.start")))
        return "" if run >= full else f"{run} run"

    _until(cluster, faults, not_running, BEGIN_S_MAX, f"{full} tasks run")


def _agents(cluster: ChaosCluster) -> dict[str, str]:
    """Hostname -> id of the agents that are active."""
    try:
        with Operator(cluster.address, cluster.folder / "token") as operator:
            return {
                row.info.hostname: row.info.agent_id
                for row in operator.agents()
                if row.state == "active"
            }
    except Failure:
        return {}  # nobody leads now


def _disturb(
    cluster: ChaosCluster, faults: Faults, rng: random.Random, seconds: float
) -> tuple[int, list[str]]:
    """Faults for so long; how often another master led, and what was counted twice meanwhile."""
    ends = time.monotonic() + seconds
    next_at = time.monotonic() + rng.uniform(*EVERY_S)
    changes, last = 0, cluster.leader()
    problems: list[str] = []
    while time.monotonic() < ends:
        cluster.keep()
        faults.keep()
        leader = cluster.leader()
        if leader is not None and leader is not last:
            changes, last = changes + 1, leader
        if time.monotonic() >= next_at:
            if not any(service.stopped for service in cluster.services()):
                problems += _counted_twice(cluster)  # else it waits for who does not answer
            kind = faults.next()
            print(f"  {ends - time.monotonic():4.0f} s to go: {kind}", file=sys.stderr)
            next_at = time.monotonic() + rng.uniform(*EVERY_S)
        time.sleep(LOOK_S)
    return changes, problems


def _counted_twice(cluster: ChaosCluster) -> list[str]:
    """Agents of which more is held and offered than they have."""
    try:
        with Operator(cluster.address, cluster.folder / "token") as operator:
            rows = operator.agents()
    except Failure:
        return []  # nobody leads now
    out = []
    for row in rows:
        total = resources_from_wire(row.info.resources)
        used = resources_from_wire(row.allocated) + resources_from_wire(row.offered)
        if not total.covers(used):
            out.append(f"{row.info.hostname} has {total}, of which {used} is held or offered")
    return out


def _calm(cluster: ChaosCluster, faults: Faults) -> None:
    """Heal, let every task end, and see that all is free again; then end the frameworks."""
    faults.heal()
    (cluster.folder / "stop").touch()

    def not_ended() -> str:
        try:
            with Operator(cluster.address, cluster.folder / "token") as operator:
                agents, tasks = operator.agents(), operator.tasks()
        except Failure as failure:
            return str(failure)
        states = {row.info.hostname: row.state for row in agents if row.state != "active"}
        holding = [row.info.hostname for row in agents if row.allocated]
        left = [
            f"{row.task.task_id} {TaskState.Name(row.state)} on {row.agent_hostname}"
            for row in tasks[:LEFT_SHOWN]
        ]
        if len(agents) == AGENTS and not (states or holding or tasks):
            return ""
        return f"agents {states}, held of {holding}, {len(tasks)} tasks: {left}"

    _until(cluster, faults, not_ended, CALM_S_MAX, "all tasks have ended and all agents are free")
    (cluster.folder / "end").touch()
    for service in cluster.frameworks:
        service.held_down = True

    def not_gone() -> str:
        return ", ".join(service.name for service in cluster.frameworks if service.running)

    _until(cluster, faults, not_gone, CALM_S_MAX, "the schedulers have ended")


def _until(
    cluster: ChaosCluster,
    faults: Faults,
    why_not: Callable[[], str],
    deadline_s: float,
    what: str,
) -> None:
    """Wait until nothing is in the way; Failed tells what was, and what everybody said last."""
    ends = time.monotonic() + deadline_s
    while why := why_not():
        cluster.keep()
        faults.keep()
        if time.monotonic() > ends:
            said = "\n".join(f"{s.name}: {s.said()[-600:]}" for s in cluster.services())
            raise Failed(f"not within {deadline_s:.0f} s: {what}; {why}\n{said}")
        time.sleep(LOOK_S)


def _too_little(
    cluster: ChaosCluster,
    faults: Faults,
    leaders: int,
    found: Evidence,
    since: float,
    until: float,
) -> list[str]:
    """What did not happen often enough, between these times, for the rest to mean anything."""
    kills = {
        "a master": sum(master.service.kills for master in cluster.masters),
        "an agent": sum(host.service.kills for host in cluster.agents),
        "a scheduler": sum(service.kills for service in cluster.frameworks),
        "a launcher": faults.done["kill launcher"],
        "a host": faults.done["kill host"],
    }
    out = [f"{who} was killed {n} times only" for who, n in kills.items() if n < KILLS_MIN]
    fenced = any(life.token is not None for life in found.lives.values())
    launches, completions = found.launches(since, until), found.completions(since, until)
    out += [f"{leaders} changes of leader only"] if leaders < LEADERS_MIN else []
    out += [] if fenced else ["no task had a fence"]
    out += [f"{launches} launches only between the faults"] if launches < TASKS_MIN else []
    out += [f"{completions} completions only between the faults"] if completions < TASKS_MIN else []
    return out


def main() -> int:
    """Play so many rounds, each with the next seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=180.0, help="of faults, a round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the files of a round that fails")
    given = parser.parse_args()
    for seed in range(given.seed, given.seed + given.rounds):
        print(f"chaos, seed {seed}, {given.seconds:.0f} s of faults", flush=True)
        folder = Path(tempfile.mkdtemp(prefix="mesoslite-chaos-"))
        keep = False
        try:
            print(play(seed, given.seconds, folder), flush=True)
        except Failed as failed:
            keep = given.keep
            print(f"seed {seed} failed: {failed}", flush=True)
            print(f"again: python -m tests.chaos --seed {seed} --keep", flush=True)
            return 1
        finally:
            if keep:
                print(f"its files are in {folder}", flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
