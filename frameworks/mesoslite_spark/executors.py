"""The scheduler of one Spark application: its executors are tasks, as many as Spark wants.

What Spark says comes to `hear`, what it is to know goes to `tell`. What is decided, and where:

- `Want` and `Kill` become a request for what is missing, and kills
- `resource_offers`: as many executors as fit and are missing; none at once where one did not start
- `status_update`: the end of an executor is told to Spark, with whose fault it was, and replaced
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from mesoslite import (
    Offer,
    Policy,
    Reason,
    Refusal,
    Scheduler,
    Task,
    TaskState,
    TaskStatus,
    take_fitting,
)
from mesoslite_spark.messages import (
    Disconnected,
    Failed,
    FromDriver,
    Hello,
    Kill,
    Lost,
    Registered,
    Started,
    Stopped,
    ToDriver,
    Want,
)
from mesoslite_spark.sizes import ExecutorSize

REQUEST_ID = "executors"
WAITS = ("waits-for", b"executors that Spark has work for")  # as `framework status` reads it
#: At the same time: a driver with so many is at its own limit, and all of them fit one message.
EXECUTORS_MAX = 10_000
#: In a row, without one that reached the driver: then the application is given up, as Spark's
#: standalone master gives one up (spark.deploy.maxExecutorRetries is 10).
FAILURES_MAX = 10
#: How long the driver waits for the reason of an end. An agent that lives tells it within
#: milliseconds; a host that is down never does, and its tasks are to run elsewhere.
REASON_S_MAX = 5.0
#: Where an executor did not start the next one waits for so long, twice as long each time.
AVOID_S_MIN, AVOID_S_MAX = 5.0, 60.0
#: On one offer: an eighth of what there are already, one at least. The rest goes back at once, to
#: whose turn it is: an offer may hold a whole agent, and who took it all would be fair only in the
#: long run, which for executors is long. 1,000 are there after 53 offers.
TURN_PART = 8
#: Of one launch: half a message, and the session adds its own words.
LAUNCH_BYTES_MAX = 512 * 1024
KILL_GRACE_MS = 5_000  # Spark's shutdown hooks delete its files

#: What ends an executor by what runs in it. Anything else is no fault of its tasks.
_BY_APP = {
    Reason.COMMAND_EXITED,
    Reason.COMMAND_SIGNALED,
    Reason.MEMORY_LIMIT,
    Reason.PIDS_LIMIT,
}
#: What ends one that might well have reached the driver.
_BY_HOST = {Reason.HOST_REBOOTED, Reason.LAUNCHER_TERMINATED, Reason.CHECKPOINT_DAMAGED}


@dataclass(slots=True)
class _Executor:
    """One that was launched and has not ended."""

    agent_id: str
    registered: bool = False
    killed: bool = False


class Executors(Scheduler):
    """The executors of one application. All of it runs on one event loop; nothing here blocks."""

    # Executors end by themselves without their driver, and the scheduler lives in its process.
    failover_timeout_s = 10.0

    def __init__(
        self,
        name: str,
        size: ExecutorSize,
        *,
        python: str,
        secret: str,
        tell: Callable[[ToDriver], None],
        later: Callable[[float, Callable[[], None]], object],
        role: str = "*",
        where: str = "",
        policy: Policy = Policy.SPREAD,
    ) -> None:
        self.name = name
        self.roles = (role,)
        self.on_subscribed: Callable[[], None] = lambda: None
        self._size = size
        self._python = python
        self._secret = secret
        self._tell = tell
        self._later = later
        self._where = where
        self._policy = policy
        self._driver: Started | None = None
        self._wanted = 0
        self._launched = 0
        self._living: dict[int, _Executor] = {}
        self._asked: int | None = None
        self._told_to_wait = False
        self._failures = 0
        self._failed_at: dict[str, int] = {}  # agent -> ends without having reached the driver
        self._to_avoid: set[str] = set()
        self._ask()

    @property
    def living(self) -> frozenset[int]:
        """The executors that were launched, and neither have ended nor are to end."""
        return frozenset(number for number, one in self._living.items() if not one.killed)

    @property
    def missing(self) -> int:
        """How many executors are wanted and not there yet."""
        there = sum(not one.killed for one in self._living.values())
        return max(0, min(self._wanted, EXECUTORS_MAX) - there)

    # --- what Spark says --------------------------------------------------------------------------

    def hear(self, message: FromDriver) -> None:
        """Take in a word of the driver's."""
        match message:
            case Started():
                self._driver = message
                self.store.put("endpoint/driver", message.driver.rpartition("@")[2].encode())
                if message.page:
                    self.store.put("endpoint/page", message.page.encode())
            case Want(total):
                self._wanted = total
            case Kill(executors):
                for number in executors:
                    self._kill(number)
            case Registered(number):
                self._registered(number)
            case Disconnected(number):
                self._later(REASON_S_MAX, lambda: self._give_up(number, "its host does not answer"))
            case Stopped():
                self.teardown()
            case Hello():
                pass
            case _:
                assert_never(message)
        self._ask()

    def _kill(self, number: int) -> None:
        one = self._living.get(number)
        if one is not None and not one.killed:
            one.killed = True
            self.kill(task_id(number))

    def _registered(self, number: int) -> None:
        self._failures = 0
        if (one := self._living.get(number)) is not None:
            one.registered = True
            self._failed_at.pop(one.agent_id, None)
            self._to_avoid.discard(one.agent_id)

    def _give_up(self, number: int, why: str) -> None:
        """Spark is to go on without it. Should it still run, it ends when its agent is heard."""
        if (one := self._living.pop(number, None)) is not None:
            if not one.killed:
                self.kill(task_id(number))
            self._tell(Lost(number, -1, caused_by_app=False, why=f"lost: {why}"))
            self._ask()

    def _ask(self) -> None:
        """Request what is missing; the launches count it down."""
        missing = self.missing if self._driver is not None else 0
        if (missing > 0) != self._told_to_wait:
            self._told_to_wait = missing > 0
            # Not how many: each is a commit of the master's, and `task ls` has the number.
            if missing:
                self.store.put(*WAITS)
            else:
                self.store.delete(WAITS[0])
        if missing != self._asked:
            self._asked = missing
            self.request(
                request_id=REQUEST_ID,
                count=missing,
                resources=self._size.resources,
                where=self._where,
                policy=self._policy,
            )

    # --- what the master says ---------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        """The master has us."""
        self.on_subscribed()

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """As many executors as fit; what is left goes back."""
        unasked = False
        for offer in offers:
            if offer.agent_id in self._to_avoid:
                self._to_avoid.discard(offer.agent_id)
                self.decline(offer, refuse_s=self._avoid_s(offer.agent_id))
            elif tasks := self._fitting(offer):
                self.launch(offer, tasks, refuse_s=0.0 if self.missing else None)
                if offer.request_id:
                    self._asked = (self._asked or 0) - len(tasks)
                else:
                    unasked = True
        if unasked:  # on what is reserved for the role: the master has not counted these down
            self._asked = None
        self._ask()

    def _fitting(self, offer: Offer) -> list[Task]:
        if self._driver is None:
            return []
        free = offer.resources
        tasks: list[Task] = []
        bytes_left = LAUNCH_BYTES_MAX
        most = max(1, len(self._living) // TURN_PART)
        while self.missing and len(tasks) < most:
            task = self._task(self._launched + 1, self._driver)
            bytes_left -= sum(map(len, (*task.command, *task.environment.values()))) + 1_000
            fitting = take_fitting([task], free)
            if not fitting or (bytes_left < 0 and tasks):
                break
            self._launched += 1
            self._living[self._launched] = _Executor(offer.agent_id)
            free -= fitting[0].resources
            tasks += fitting
        return tasks

    def _task(self, number: int, driver: Started) -> Task:
        command = [
            *(self._python, "-m", "mesoslite_spark.executor"),
            *("--driver-url", driver.driver, "--executor-id", str(number)),
            *("--cores", str(self._size.cores), "--app-id", self.name),
            *("--heap-mib", str(self._size.heap_mib), "--class-path", driver.class_path, "--"),
            *driver.java_options,
        ]
        environment = {**driver.environment, "_SPARK_AUTH_SECRET": self._secret}
        return Task(
            task_id(number),
            command,
            self._size.resources,
            name="executor",
            environment=environment,
            kill_grace_ms=KILL_GRACE_MS,
        )

    def _avoid_s(self, agent_id: str) -> float:
        failures = self._failed_at.get(agent_id, 1)
        return min(AVOID_S_MIN * 2.0 ** min(failures - 1, 10), AVOID_S_MAX)

    async def status_update(self, status: TaskStatus) -> None:
        """The end of an executor is Spark's business, and ours: there is one less."""
        number = number_of(status.task_id)
        if status.state is TaskState.UNREACHABLE:
            self._give_up(number, status.message or "its agent is not heard of")
        if not status.terminal or (one := self._living.pop(number, None)) is None:
            return
        by_app = status.reason in _BY_APP and not one.killed
        code = -1 if status.exit_code is None else status.exit_code
        self._tell(Lost(number, code, by_app, _why(status)))
        ended_badly = status.state in {TaskState.ERROR, TaskState.FAILED, TaskState.FINISHED}
        if ended_badly and not (one.registered or one.killed or status.reason in _BY_HOST):
            self._failed_to_start(one, status)
        self._asked = None  # a launch that was refused has given its unit back
        self._ask()

    def _failed_to_start(self, one: _Executor, status: TaskStatus) -> None:
        self._failures += 1
        self._failed_at[one.agent_id] = self._failed_at.get(one.agent_id, 0) + 1
        self._to_avoid.add(one.agent_id)
        if self._failures >= FAILURES_MAX and not any(e.registered for e in self._living.values()):
            self._wanted = 0
            self._tell(
                Failed(
                    f"{self._failures} executors in a row ended before they reached the driver; "
                    f"the last one: {_why(status)}. What it wrote: "
                    f"mesoslite logs {status.task_id} --framework {self.name} --stderr"
                )
            )

    async def error(self, refusal: Refusal, message: str) -> None:
        """Nothing comes after this; who runs us is told by an exception."""


def _why(status: TaskStatus) -> str:
    parts = [f"{status.task_id} is {status.state.name}"]
    if status.reason is not None:
        parts.append(status.reason.value)
    if status.message:
        parts.append(status.message)
    return ": ".join(parts)


def task_id(number: int) -> str:
    """What the task of an executor is called."""
    return f"executor-{number}"


def number_of(task: str) -> int:
    """The executor of a task of ours."""
    return int(task.removeprefix("executor-"))
