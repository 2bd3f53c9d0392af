"""A scheduler that launches what it is given and remembers all that it is told.

In a thread of the test, by `recording`; or as a process that a test may kill, which writes what it
is told to its stdout, one JSON object a line:

    python -m tests.end_to_end.recorder NAME [TASK=CONTAINERIZER=COMMAND ...]
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from mesoslite import (
    Offer,
    Resources,
    Scheduler,
    Task,
    TaskState,
    TaskStatus,
    run,
    take_fitting,
)
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.waiting import wait_until

END_S_MAX = 60.0
CONNECT_S_MAX = 30.0
SMALL = Resources(cpus=0.1, mem=32)


class Recorder(Scheduler):
    """Launches its tasks as offers come; `per_offer` bounds how many on each."""

    def __init__(
        self,
        name: str,
        tasks: Sequence[Task] = (),
        *,
        role: str = "*",
        per_offer: int = 1_000,
        refuse_s: float | None = None,
    ) -> None:
        self.name = name
        self.roles = [role]
        self.waiting = list(tasks)
        self.statuses: list[TaskStatus] = []
        self.messages: list[tuple[str, bytes]] = []
        self.subscriptions: list[str] = []
        self.offered: list[Offer] = []
        self.ended: Exception | None = None
        self._per_offer = per_offer
        self._refuse_s = refuse_s

    def subscribed(self, framework_id: str) -> None:
        self.subscriptions.append(framework_id)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.offered += offers
        for offer in offers:
            # Its list is the test's too, which only ever appends to it.
            fitting = take_fitting(self.waiting, offer.resources)
            now, later = fitting[: self._per_offer], fitting[self._per_offer :]
            self.waiting[:0] = later
            self.launch(offer, now, refuse_s=self._refuse_s)

    def status_update(self, status: TaskStatus) -> None:
        self.statuses.append(status)

    def framework_message(self, task_id: str, agent_id: str, data: bytes) -> None:
        self.messages.append((task_id, data))

    def add(self, *tasks: Task) -> None:
        """Launch these too."""
        self.waiting += tasks
        self.revive()

    def of(self, task_id: str) -> list[TaskStatus]:
        """What was told of one task."""
        return [status for status in list(self.statuses) if status.task_id == task_id]

    def latest(self) -> dict[str, TaskStatus]:
        """The last word on each task."""
        return {status.task_id: status for status in list(self.statuses)}

    def count(self) -> Counter[TaskState]:
        """How many of its tasks are in each state."""
        return Counter(status.state for status in self.latest().values())

    def until(self, task_id: str, state: TaskState) -> TaskStatus:
        """Wait until a task was told to be in a state; what was told then."""

        def told() -> TaskStatus | None:
            return next((s for s in self.of(task_id) if s.state is state), None)

        found = wait_until(lambda: told() or self.ended, f"{task_id} is {state.name}")
        assert isinstance(found, TaskStatus), f"{self.name} has ended: {self.ended!r}"
        return found


@contextlib.contextmanager
def recording(cluster: Cluster, scheduler: Recorder) -> Iterator[Recorder]:
    """Run a scheduler in a thread; subscribed when the block begins, torn down when it ends."""

    def work() -> None:
        try:
            run(
                scheduler,
                master=cluster.address,
                token_file=cluster.token_file,
                connect_timeout_s=CONNECT_S_MAX,
            )
        except Exception as error:  # noqa: BLE001 - it is the test's to judge
            scheduler.ended = error

    thread = threading.Thread(target=work, name=f"scheduler-{scheduler.name}", daemon=True)
    thread.start()
    try:
        wait_until(
            lambda: scheduler.subscriptions or scheduler.ended, f"{scheduler.name} is subscribed"
        )
        yield scheduler
        scheduler.teardown()
    except BaseException:
        scheduler.stop()  # a teardown waits for a master, which may be what failed
        raise
    finally:
        thread.join(END_S_MAX)
    assert not thread.is_alive(), f"{scheduler.name} does not end"


def task(
    task_id: str, script: str, containerizer: str = "process", needs: Resources = SMALL
) -> Task:
    """A task that a shell runs."""
    return Task(task_id, ["sh", "-c", script], needs, containerizer=containerizer)


class Speaking(Recorder):
    """Writes what it is told to stdout."""

    def subscribed(self, framework_id: str) -> None:
        say("subscribed", framework_id=framework_id)

    def status_update(self, status: TaskStatus) -> None:
        say(
            "status",
            task_id=status.task_id,
            state=status.state.name,
            reason=status.reason.name if status.reason else "",
            exit_code=status.exit_code,
        )


def say(what: str, **fields: object) -> None:
    """One line of JSON for the test that reads them."""
    sys.stdout.write(json.dumps({"is": what} | fields) + "\n")
    sys.stdout.flush()


def main(name: str, tasks: Sequence[str]) -> None:
    """Run until killed, or until the master does not want this scheduler any more."""
    parts = (text.split("=", 2) for text in tasks)
    run(Speaking(name, [task(task_id, script, kind) for task_id, kind, script in parts]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
