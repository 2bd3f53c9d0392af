"""`mesoslite framework run spark -- app.py ...`: an application whose driver is a task as well.

The driver's task is this framework's only one; the session that the program makes is another
framework, with the executors. Its output is what `mesoslite logs --follow` says of the task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

from mesoslite import (
    Offer,
    Reason,
    Refusal,
    Resources,
    Scheduler,
    Task,
    TaskState,
    TaskStatus,
    Uri,
    take_fitting,
)
from mesoslite_services.jars import LockList
from mesoslite_spark import credential, defaults, program
from mesoslite_spark.credential import SAFE_PATH
from mesoslite_spark.defaults import Defaults, check_settings
from mesoslite_spark.sizes import OVERHEAD_MIB_MIN, OVERHEAD_PERCENT, mib, size_of

REQUEST_ID = "driver"
#: Beside the driver's JVM: the Python that runs the program, with what it imports.
PYTHON_MIB = 256
#: A task that never started is launched again, so often.
ATTEMPTS_MAX = 10
#: For what the driver wrote last; the agent is asked for it over the network.
DRAIN_S_MAX = 60.0
KILL_GRACE_MS = 20_000  # a session that is ended gives back its executors
NAME_LENGTH_MAX = 60
SIGNAL_BASE = 128
JARS = "spark.jars"  # the driver loads them, and gives them to its executors
#: What it finds the cluster by: said to this process by `framework run`, and passed on.
MASTER_VARIABLE = "MESOSLITE_MASTER"

log = logging.getLogger(__name__)


class Driver(Scheduler):
    """A Spark application, driver included: its output comes out here, its exit code is passed on.

    Behind -- stands a Python program and its arguments: a file of this host, which travels with
    the task, or an address that agents can fetch from. It makes its session with
    mesoslite_spark.session, and what is said here holds for what it leaves open. The agents need
    mesoslite[spark] and Java. When the driver's agent dies, so does the application.
    """

    failover_timeout_s = 10.0  # nobody else would read its output

    def __init__(
        self,
        *words: Annotated[str, "The program, and its arguments."],
        cores: Annotated[int | None, "The most that all executors together may have."] = None,
        executor_cores: Annotated[int, "Of each."] = 1,
        executor_memory: Annotated[str, "The heap of each."] = "1g",
        driver_cores: Annotated[float, "The driver's cpus."] = 1.0,
        driver_memory: Annotated[str, "The driver's heap."] = "1g",
        role: Annotated[str, "Whose share to use."] = "*",
        where: Annotated[str, "On which agents: 'rack != r1'."] = "",
        python: Annotated[str, "The Python on the agents; else the path of this one."] = "",
        jars: Annotated[
            str, "A lock list of jars that it needs, each fetched once to a host."
        ] = "",
        conf: Annotated[Mapping[str, str], "A setting of Spark's."] = {},
    ) -> None:
        if not words:
            raise ValueError("which program? mesoslite framework run spark -- app.py ARGUMENTS")
        self.exit_code = 1
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(words[0]).stem)
        app = stem[:NAME_LENGTH_MAX].strip("-.") or "app"
        self.name = f"spark-driver-{app}-{secrets.token_hex(4)}"
        self.roles = (role,)
        check_settings(conf)  # now, and not by the driver, far away
        size_of(executor_cores, executor_memory)
        heap_mib = mib(driver_memory, "driver_memory")
        overhead_mib = max(OVERHEAD_MIB_MIN, heap_mib * OVERHEAD_PERCENT // 100)
        self._uris: tuple[Uri, ...] = _jars(jars) if jars else ()
        if self._uris:
            paths = [uri.output_file for uri in self._uris]
            conf = {**conf, JARS: ",".join(filter(None, [*paths, conf.get(JARS)]))}
        self._needs = Resources(cpus=driver_cores, mem=heap_mib + overhead_mib + PYTHON_MIB)
        self._where = where
        self._python = python or sys.executable
        said = Defaults(
            app_name=app,
            cores=cores,
            executor_cores=executor_cores,
            executor_memory=executor_memory,
            driver_memory=driver_memory,
            role=role,
            where=where,
            python=self._python,
            conf=conf,
        )
        self._environment = {defaults.VARIABLE: said.text, "PYTHONUNBUFFERED": "1"}
        self._token = b""
        self._words = words
        self._carry(words[0])
        self._attempt = 0
        self._waiting = True
        self._followers: list[asyncio.subprocess.Process] = []
        self._ask()

    def _carry(self, named: str) -> None:
        """Have the program where the task can run it. Raises ValueError."""
        if "://" in named:
            self._uris += (Uri(named, extract=False),)
            return
        try:
            self._environment[program.VARIABLE] = program.pack(Path(named).read_bytes())
        except OSError as error:
            raise ValueError(f"cannot read {named}: {error.strerror}") from None

    def _ask(self) -> None:
        self.request(
            request_id=REQUEST_ID,
            count=int(self._waiting),
            resources=self._needs,
            where=self._where,
        )

    # --- its one task -----------------------------------------------------------------------------

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Launch the driver on the first that holds it."""
        if not self._waiting:
            return
        try:
            # Now, and not when it was made: `framework run` says where it is when it has found the
            # master, and what it says is what the session of this scheduler was let in by.
            self._token = credential.token_of(os.environ)
        except ValueError as error:
            log.info("%s", error)
            self.teardown()
            return
        for offer in offers:
            task = self._task()
            if self._waiting and (tasks := take_fitting([task], offer.resources)):
                self._waiting = False
                self._attempt += 1
                self.launch(offer, tasks)
                if not offer.request_id:
                    self._ask()

    def _task(self) -> Task:
        passed_on = {credential.VARIABLE: "1"} if self._token else {}
        if MASTER_VARIABLE in os.environ:
            passed_on[MASTER_VARIABLE] = os.environ[MASTER_VARIABLE]
        name = PurePosixPath(self._words[0]).name
        return Task(
            self._task_id(self._attempt + 1),
            [self._python, SAFE_PATH, "-m", "mesoslite_spark.program", name, *self._words[1:]],
            self._needs,
            name="driver",
            environment=passed_on | self._environment,
            uris=self._uris,
            kill_grace_ms=KILL_GRACE_MS,
        )

    async def framework_message(self, task_id: str, agent_id: str, data: bytes) -> None:
        """Tell its one task the token, as often as it asks."""
        if data == credential.QUESTION and task_id == self._task_id(self._attempt):
            self.message(task_id, agent_id, self._token)

    @staticmethod
    def _task_id(attempt: int) -> str:
        return "driver" if attempt == 1 else f"driver.{attempt}"

    async def status_update(self, status: TaskStatus) -> None:
        """Copy what it writes, and end with it."""
        if status.state is TaskState.RUNNING and not self._followers:
            await self.follow(status.task_id)
        elif status.state is TaskState.UNREACHABLE:
            log.info("%s: its agent is not heard of; it may come back", status.task_id)
        elif status.state is TaskState.DROPPED and self._attempt < ATTEMPTS_MAX:
            self._waiting = True
            self._ask()
        elif status.terminal:
            await self._drain()
            self.exit_code = code_of(status)
            if status.reason is not Reason.COMMAND_EXITED or status.exit_code is None:
                told = status.message or (status.reason.value if status.reason else "")
                log.info("%s is %s: %s", status.task_id, status.state.name, told)
            self.teardown()

    async def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        """No agent could hold the driver: it is not waited for."""
        if self._waiting:
            log.info("no agent can hold a driver that needs %s: %s", self._needs, message)
            self.teardown()

    # --- what it writes ---------------------------------------------------------------------------

    async def follow(self, task_id: str) -> None:
        """Copy both its streams to ours, as `mesoslite logs` does, until it has ended."""
        words = (
            SAFE_PATH,
            "-m",
            "mesoslite",
            "logs",
            task_id,
            "--framework",
            self.name,
            "--follow",
        )
        for stream in ((), ("--stderr",)):
            self._followers.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *words,
                    *stream,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sys.stderr if stream else None,
                )
            )

    async def _drain(self) -> None:
        """What it wrote last is still on its way."""
        ends = asyncio.gather(*(follower.wait() for follower in self._followers))
        try:
            await asyncio.wait_for(ends, DRAIN_S_MAX)
        except TimeoutError:
            for follower in self._followers:
                with contextlib.suppress(ProcessLookupError):
                    follower.kill()


def _jars(path: str) -> tuple[Uri, ...]:
    """The jars of a lock list, for the driver's sandbox. Raises ValueError."""
    try:
        return LockList.parse(Path(path).read_text(encoding="utf-8")).uris()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def code_of(status: TaskStatus) -> int:
    """The exit code that stands for an end: the command's own, 128 and a signal, or 1."""
    if status.state is TaskState.FINISHED:
        return 0
    if status.exit_code:
        return status.exit_code
    return SIGNAL_BASE + status.signal if status.signal else 1
