"""A scheduler that keeps so many tasks alive, and one for each key; all of them write evidence.

    python -m tests.chaos.framework NAME FOLDER ALIVE SEED

What it launches and is told it appends to FOLDER/NAME.log, a JSON object a line, before it goes
on: it may be killed at any time. Started again, it has nothing but its name: the library tells it
of the tasks that still run. With a file FOLDER/stop it launches no more, and with FOLDER/end it
removes its framework and ends.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mesoslite import Offer, Resources, Scheduler, Task, TaskStatus, run, take_fitting
from tests.chaos.evidence import script_of

NEEDS = Resources(cpus=0.02, mem=8)
LOOK_S = 0.1
LIFE_S = (4.0, 45.0)
KILLED_SHARE = 0.1
KEYS = 5
KEY_EVERY_S = 2.0
FAILOVER_S = 600.0


class Keeper(Scheduler):
    """Launches a new task for each that ends."""

    failover_timeout_s = FAILOVER_S

    def __init__(self, name: str, folder: Path, alive: int, seed: int) -> None:
        self.name = name
        self._folder = folder
        self._alive = alive
        # Of this process alone: what an earlier one drew is nothing that this one could know.
        self._run = f"{os.getpid()}-{time.time_ns() // 1_000_000}"
        self._rng = random.Random(f"{seed}/{self._run}")
        self._log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._made = 0
        self._running: set[str] = set()
        """Those that it launched or was told of, and that have not ended."""
        self._key_due: dict[str, float] = {f"key{number}": 0.0 for number in range(KEYS)}
        """Key of a fence -> when it is tried next: also while another task has it, as nobody
        should, so that nothing but the fence is in the way."""
        self._stopping = False
        self.request(resources=NEEDS, count=0, request_id="more")
        self._write("run", pid=os.getpid())

    def subscribed(self, framework_id: str) -> None:
        self._write("subscribed", framework_id=framework_id)
        self._want()

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            wanted = [] if self._stopping else self._wanted()
            fitting = take_fitting(wanted, offer.resources)
            for task in fitting:
                self._write("launch", task_id=task.task_id)
                self._running.add(task.task_id)
                if task.fence is not None:
                    self._key_due[task.fence] = time.monotonic() + KEY_EVERY_S
            self.launch(offer, fitting)
        self._want()

    def status_update(self, status: TaskStatus) -> None:
        self._write(
            "status",
            task_id=status.task_id,
            state=status.state.name,
            terminal=status.terminal,
            reason=status.reason.name if status.reason is not None else "",
            exit_code=status.exit_code,
            signal=status.signal,
            update_id=status.update_id,
            agent_id=status.agent_id,
        )
        if status.terminal:
            self._running.discard(status.task_id)
            self._want()
        elif status.task_id not in self._running:
            self._running.add(status.task_id)  # of an earlier process of ours
            self._want()

    def look(self) -> None:
        """Now and then, in a thread beside: see what the test wants, and end a task or two."""
        while not (self._folder / "end").exists():
            if (self._folder / "stop").exists() and not self._stopping:
                self._stopping = True
                self._want()
            if not self._stopping and self._rng.random() < KILLED_SHARE:
                victims = list(self._running)  # in one step: callbacks change it meanwhile
                if victims:
                    victim = self._rng.choice(victims)
                    self._write("kill", task_id=victim)
                    self.kill(victim)
            if self._due_keys():
                self._want()
            time.sleep(LOOK_S)
        self.teardown()

    def _due_keys(self) -> list[str]:
        now = time.monotonic()
        return [key for key, due in self._key_due.items() if due <= now]

    def _missing(self) -> int:
        return max(0, self._alive - len(self._running))

    def _want(self) -> None:
        wanted = 0 if self._stopping else self._missing() + len(self._due_keys())
        self.request(resources=NEEDS, count=wanted, request_id="more")

    def _wanted(self) -> list[Task]:
        tasks = [self._task(key) for key in self._due_keys()]
        return tasks + [self._task() for _ in range(self._missing())]

    def _task(self, key: str | None = None) -> Task:
        self._made += 1
        task_id = f"{self.name}.{self._run}.{self._made}" + (f".{key}" if key else "")
        script = script_of(self._folder, task_id, self._rng, LIFE_S, fenced=key is not None)
        return Task(task_id, ["sh", "-c", script], NEEDS, fence=key)

    def _write(self, what: str, **fields: object) -> None:
        # One write of less than a page, which a kill cannot tear.
        line = json.dumps({"is": what, "run": self._run, "at": time.time()} | fields) + "\n"
        os.write(self._log, line.encode())


def main(name: str, folder: str, alive: str, seed: str) -> None:
    """Run until killed, or told to end."""
    scheduler = Keeper(name, Path(folder), int(alive), int(seed))
    threading.Thread(target=scheduler.look, daemon=True).start()
    run(scheduler)


if __name__ == "__main__":
    main(*sys.argv[1:])
