"""A daemon is killed with SIGKILL and started again at once: how long until it is back.

Real daemons and a real framework, whose tasks run on all the while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.daemons import (
    Agent,
    BenchmarkFailed,
    Cluster,
    quiet_logs,
    running_cluster,
    tree_cpu_s,
)
from benchmarks.measure import AtMost, Figure, Unit, around
from benchmarks.workload import Sizes, option
from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus, run_async
from mesoslite.cli.connection import Operator

NEEDS = Resources(cpus=0.1, mem=1)
POLL_S = 0.005
BACK_S_MAX = 30.0
REST_S = 1.0  # between two runs: what a restarted daemon puts off is done by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Sizes):
    """What runs on the agent meanwhile."""

    tasks: int = option("running tasks")


@dataclass(slots=True)
class Sleepers(Scheduler):
    """Runs so many tasks that never end, and notes any that does."""

    name = "sleepers"
    failover_timeout_s = 10.0

    wanted: int
    loop: asyncio.AbstractEventLoop
    launched: int = 0
    running: set[str] = field(default_factory=set)
    all_run: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[TaskStatus] = field(default_factory=list)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """As many at once as an offer holds."""
        for offer in offers:
            fits = min(self.wanted - self.launched, int(offer.resources.cpus * 10))
            tasks = [
                Task(f"sleeper-{self.launched + n}", ["sleep", "infinity"], NEEDS)
                for n in range(fits)
            ]
            self.launched += fits
            self.launch(offer, tasks)

    def status_update(self, status: TaskStatus) -> None:
        """Note it."""
        if status.state is TaskState.RUNNING:
            self.running.add(status.task_id)
            if len(self.running) == self.wanted:
                self.loop.call_soon_threadsafe(self.all_run.set)
        elif status.terminal:
            self.ended.append(status)


def restart_agent(sizes: Running) -> list[Figure]:
    """An agent is killed and started again while tasks run: until the master has it active."""
    back = Figure("kill -9 until active again", Unit.WALL_MS, AtMost(300), "3.0 s later")
    cpu = Figure("what its start takes", Unit.CPU_MS)
    with running_cluster() as cluster, quiet_logs():
        agent = cluster.start_agent(f"cpus:{sizes.tasks};mem:{64 * sizes.tasks}")
        work = _while_tasks_run(cluster, agent, sizes, back, cpu)
        cluster.until_done(work, "restart-agent", 60 + sizes.runs * BACK_S_MAX)
    return [back, cpu]


async def _while_tasks_run(
    cluster: Cluster, agent: Agent, sizes: Running, back: Figure, cpu: Figure
) -> None:
    scheduler = Sleepers(sizes.tasks, asyncio.get_running_loop())
    running = asyncio.create_task(
        run_async(scheduler, master=cluster.address, token_file=cluster.token_file)
    )
    all_run = asyncio.create_task(scheduler.all_run.wait())
    await asyncio.wait({running, all_run}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        for _ in sizes.each_run():
            with around() as speed:
                took_ms, cpu_ms = await asyncio.to_thread(_restart, cluster, agent, sizes.tasks)
            back.add(took_ms, speed)
            cpu.add(cpu_ms, speed)
            assert not scheduler.ended, f"a task did not live on: {scheduler.ended[0]}"
            await asyncio.sleep(REST_S)
    finally:
        scheduler.teardown()
        await running


def _restart(cluster: Cluster, agent: Agent, tasks: int) -> tuple[float, float]:
    """Milliseconds until the master has it again with all of its tasks, by the master's clock;
    and of CPU until that was noticed. Raises BenchmarkFailed."""
    with Operator(cluster.address, cluster.token_file) as operator:
        [before] = operator.agents()
        killed_s = time.time()
        agent.program.kill_and_restart()
        while time.time() < killed_s + BACK_S_MAX:
            [row] = operator.agents()
            if row.state == "active" and row.since_ms > before.since_ms:
                cpu_ms = tree_cpu_s(agent.program.pid) * 1_000
                assert row.info.agent_id == before.info.agent_id, "it came back as another"
                assert row.tasks == tasks, f"it came back with {row.tasks} tasks of {tasks}"
                return row.since_ms - killed_s * 1_000, cpu_ms
            time.sleep(POLL_S)
    raise BenchmarkFailed(f"the agent did not come back: {agent.program.last_words()}")
