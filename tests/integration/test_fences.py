"""At most one, with real daemons: an agent that is stopped can not keep its task alive."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from mesoslite import Offer, Reason, Refusal, Resources, Scheduler, Task, TaskState, TaskStatus
from mesoslite import run_async as run_scheduler
from tests.integration.containers import Place
from tests.integration.daemons import cluster_in
from tests.integration.waiting import until

QUICK = ("--heartbeat-s=0.5", "--silence-s=60")
LEASE_S = 2
#: Each attempt writes its token, and whether a process of an earlier one is alive.
SCRIPT = """
for pid in $(cut -d' ' -f1 evidence 2>/dev/null); do
  kill -0 $pid 2>/dev/null && echo overlap >> evidence
done
echo $$ $MESOSLITE_FENCE $MESOSLITE_FENCE_TOKEN >> evidence
exec sleep 300
"""


class Lonely(Scheduler):
    """Keeps one task running under one key, and tries for a second one as soon as it is told to."""

    name = "lonely"

    def __init__(self, folder: Path) -> None:
        self.script = f"cd {folder} && {SCRIPT}"
        self.attempts = 0
        self.agents: dict[str, str] = {}
        self.more = False
        self.told: list[TaskStatus] = []

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            if not self.running() or (self.more and offer.agent_id != self.agents["t1"]):
                self.attempts += 1
                task_id = f"t{self.attempts}"
                self.agents[task_id] = offer.agent_id
                need = Resources(cpus=0.1, mem=16)
                task = Task(task_id, ["sh", "-c", self.script], need, fence="broker-0")
                self.launch(offer, task, refuse_s=0.2)
            else:
                self.decline(offer, refuse_s=0.2)

    def status_update(self, status: TaskStatus) -> None:
        self.told.append(status)

    def running(self) -> list[str]:
        return [s.task_id for s in self.told if s.state is TaskState.RUNNING]

    def refused(self) -> list[TaskStatus]:
        return [s for s in self.told if s.refusal is Refusal.FENCE_HELD]


async def test_a_second_task_of_a_key_runs_only_when_the_first_is_dead(place: Place) -> None:
    with cluster_in(place.work_dir) as cluster:
        await cluster.master.start(f"--fence-lease-s={LEASE_S}", *QUICK)
        for _ in range(2):
            await cluster.start_agent("--kill-on-exit", *QUICK)
        await until(lambda: cluster.agents_active() == 2)
        evidence = place.work_dir / "evidence"
        lonely = Lonely(place.work_dir)
        address, token_file = cluster.address, cluster.token_file
        running = asyncio.create_task(run_scheduler(lonely, master=address, token_file=token_file))
        await until(lambda: lonely.running() == ["t1"], 30)
        [stopped] = [
            agent
            for agent in cluster.agents
            if (agent.folder / "work" / "sandboxes").exists()
            and any((agent.folder / "work" / "sandboxes").rglob("stdout*"))
        ]
        assert stopped.process is not None
        stopped.process.send_signal(signal.SIGSTOP)
        lonely.more = True
        try:
            await until(lambda: len(lonely.running()) == 2, 60)
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        assert lonely.refused(), "the key was held at first"
        await until(lambda: any(s.task_id == "t1" and s.terminal for s in lonely.told), 60)
        [end] = [s for s in lonely.told if s.task_id == "t1" and s.terminal]
        assert (end.state, end.reason) == (TaskState.FAILED, Reason.FENCE_LEASE_OVER)
        lines = [line.split() for line in evidence.read_text().splitlines()]
        assert ["overlap"] not in lines
        (_, key, first), (_, _, second) = lines
        assert key == "broker-0"
        assert int(first) < int(second)
        lonely.teardown()
        await asyncio.wait_for(running, 30)
        for agent in cluster.agents:
            agent.stop()
