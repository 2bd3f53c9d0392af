"""A framework to learn from: a service on every agent, a heap of jobs, and what goes wrong.

It uses public names only, as yours would. What it decides, and where:

- `resource_offers`: one `web` on each agent first (spread), then as many jobs as fit (pack)
- `status_update`: a job that fails is tried again, as a new task; when the last job is done, the
  services are asked to end; when they have, so does the framework
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus

JOBS = 36
WEB_NEEDS = Resources(cpus=0.1, mem=32)
JOB_NEEDS = Resources(cpus=0.1, mem=32)
ATTEMPTS_MAX = 3  # a job that fails so often is given up, or a mistake would run for ever

#: A service: it runs until it is told to end, and then ends well.
WEB = """
echo "web on $(hostname), process $$"
trap 'echo bye; exit 0' TERM
while :; do sleep 0.2; done
"""
#: A job: two seconds of work, and the seventh fails at its first attempt.
JOB = """
echo "job $JOB, attempt $ATTEMPT"
sleep 2
if [ "$JOB" = 7 ] && [ "$ATTEMPT" = 1 ]; then echo "something is missing" >&2; exit 3; fi
"""


class Demo(Scheduler):
    """Three services, two dozen jobs, one failure, and an end."""

    name = "demo"
    failover_timeout_s = 10.0  # nothing here is worth waiting for when we are gone

    def __init__(self, webs: int = 3, jobs: int = JOBS) -> None:
        self.webs_wanted = webs
        self.webs: dict[str, str] = {}  # task id -> the agent it is on
        self.webs_launched = 0
        self.jobs = deque((job, 1) for job in range(1, jobs + 1))  # (job, attempt) that wait
        self.running: dict[str, tuple[int, int]] = {}  # task id -> (job, attempt)
        self.done: set[int] = set()
        self.given_up: set[int] = set()
        self.winding_up = False

    # --- what the master offers, and what we do with it -------------------------------------------

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Decide offer by offer; what is not used of one goes back to the master."""
        for offer in offers:
            free = offer.resources
            tasks: list[Task] = []
            if self.wants_web_on(offer.agent_id) and free.covers(WEB_NEEDS):
                free -= WEB_NEEDS
                tasks.append(self.web_for(offer))
            while self.jobs and free.covers(JOB_NEEDS):
                free -= JOB_NEEDS
                tasks.append(self.next_job())
            if tasks:
                self.launch(offer, tasks)
        if not self.jobs and len(self.webs) == self.webs_wanted:
            self.suppress()  # nothing waits: leave the offers to other frameworks

    def wants_web_on(self, agent_id: str) -> bool:
        """A placement rule of our own: no two on one agent."""
        wanted = 0 if self.winding_up else self.webs_wanted
        return len(self.webs) < wanted and agent_id not in self.webs.values()

    def web_for(self, offer: Offer) -> Task:
        """The next service, for the agent of this offer."""
        self.webs_launched += 1
        task_id = f"web-{self.webs_launched}"
        self.webs[task_id] = offer.agent_id
        return Task(task_id, ["sh", "-c", WEB], WEB_NEEDS)

    def next_job(self) -> Task:
        """The job that waits longest. Each attempt is a task of its own: ids are used once."""
        job, attempt = self.jobs.popleft()
        task_id = f"job-{job:02}" if attempt == 1 else f"job-{job:02}.{attempt}"
        self.running[task_id] = (job, attempt)
        environment = {"JOB": str(job), "ATTEMPT": str(attempt)}
        return Task(task_id, ["sh", "-c", JOB], JOB_NEEDS, environment=environment)

    # --- what becomes of the tasks ----------------------------------------------------------------

    def status_update(self, status: TaskStatus) -> None:
        """Keep the books, and decide what comes next."""
        if not status.terminal:
            return
        if status.task_id in self.running:
            self.job_ended(status)
        elif status.task_id in self.webs:
            self.web_ended(status)
        if not self.jobs and not self.running:
            self.wind_up()

    def job_ended(self, status: TaskStatus) -> None:
        """Well: done. Badly: once more, elsewhere or here, as long as it makes sense."""
        job, attempt = self.running.pop(status.task_id)
        if status.state is TaskState.FINISHED:
            self.done.add(job)
        elif attempt < ATTEMPTS_MAX:
            self.jobs.append((job, attempt + 1))
            self.revive()  # we want offers again
        else:
            self.given_up.add(job)

    def web_ended(self, status: TaskStatus) -> None:
        """A service that ended is not there any more; before its time it is replaced."""
        del self.webs[status.task_id]
        if not self.winding_up:
            self.revive()

    def wind_up(self) -> None:
        """All jobs are done: end the services, then the framework."""
        if not self.winding_up:
            self.winding_up = True
            for task_id in self.webs:
                self.kill(task_id)
        if not self.webs:
            self.teardown()
