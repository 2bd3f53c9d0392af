"""The world's side of an agent: containers that start, run, take signals and end, on one host.

It plays the launcher and the containerizers, not the agent: containers outlive their agent's
process and die with their host, and an end is kept until the agent has taken note of it. What
really happened to each container is kept, for tests to compare with what schedulers were told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Protocol

from mesoslite.resources import Resources
from mesoslite.testing.agenda import Agenda
from mesoslite_agent import protocol
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerExited,
    ContainerPhase,
    ContainerSpec,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
    Usage,
)

SIGKILL = 9
PHASES = (Phase.FETCH, Phase.ROOT, Phase.SPAWN)
_ExecutorEvent = protocol.ExecutorAttached | protocol.ExecutorDetached | protocol.ExecutorSpoke
_FAILURE_IN = {
    Phase.FETCH: StartFailure.FETCH_FAILED,
    Phase.ROOT: StartFailure.ROOT_FAILED,
    Phase.SPAWN: StartFailure.SPAWN_FAILED,
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a task's command does when it is run. The default ends well after ten seconds."""

    seconds: float | None = 10.0
    """How long it runs; None: until it is killed."""
    exit_code: int = 0
    signal: int | None = None
    """It ends by this signal, which nobody asked for, instead of an exit code."""
    oom: bool = False
    """It ends by taking more memory than its limit."""
    fails_in: Phase | None = None
    """Its start fails in this phase, and it never runs."""
    phase_seconds: tuple[float, float, float] = (0.01, 0.01, 0.01)
    """How long it is in each phase of its start."""
    obeys_sigterm: bool = True
    """False: only SIGKILL ends it."""
    echoes: bool = False
    """It attaches itself to take messages of its framework, and sends each one back."""


def run_as_told(spec: ContainerSpec) -> Run:
    """The default for what a command does: `sleep N`, `true`, `false` and `sh -c 'exit N'` do what
    they say, everything else is `Run()`."""
    match spec.command:
        case ("sleep", "infinity"):
            return Run(seconds=None)
        case ("sleep", seconds):
            return Run(seconds=float(seconds))
        case ("true",) | ("/bin/true",):
            return Run(seconds=0)
        case ("false",) | ("/bin/false",):
            return Run(seconds=0, exit_code=1)
        case ("sh", "-c", script) if script.startswith("exit ") and script[5:].isdecimal():
            return Run(seconds=0, exit_code=int(script[5:]))
        case _:
            return Run()


class Fate(Enum):
    """Where a container is in its own life."""

    STARTING = "in a phase of its start"
    RUNNING = "its command runs"
    FAILED_TO_START = "its command never ran and never will"
    EXITED = "its command has ended"


@dataclass(slots=True)
class Container:
    """One container, and what really happened to it."""

    spec: ContainerSpec
    run: Run
    agent: str
    role: str
    resources: Resources
    """What its task holds of the agent."""
    fate: Fate = Fate.STARTING
    phase: Phase = Phase.FETCH
    started_ms: int | None = None
    end: ContainerExited | ContainerStartFailed | None = None
    ended_ms: int | None = None
    signals: list[int] = field(default_factory=list)
    lease_until_ms: int | None = None
    """Of one with a fence: when its launcher kills it."""
    destroyed: bool = False
    """Its agent has taken note of its end and given everything back."""

    @property
    def live(self) -> bool:
        """Whether anything of it runs or may come to run."""
        return self.fate in (Fate.STARTING, Fate.RUNNING)


class Observer(Protocol):
    """Who looks on as containers come and go: `Watcher` in `world.py` says when each is called."""

    def container_started(self, container: Container) -> None: ...
    def container_ended(self, container: Container) -> None: ...


class ContainerHost:
    """The containers of one host."""

    def __init__(
        self,
        agent: str,
        agenda: Agenda,
        rng: random.Random,
        run_of: Callable[[ContainerSpec], Run],
        observer: Observer,
        *,
        history: bool = True,
    ) -> None:
        self.agent = agent
        self.containers: dict[str, Container] = {}
        """By id: every one that there ever was; without history, those not destroyed yet."""
        self.report: Callable[[protocol.Event], None] | None = None
        """Where events go: the agent's inbox; None while the agent's process is not there."""
        self._agenda = agenda
        self._rng = rng
        self._run_of = run_of
        self._observer = observer
        self._history = history

    # --- what the agent asks ----------------------------------------------------------------------

    def start(
        self,
        spec: ContainerSpec,
        role: str,
        resources: Resources,
        lease_until_ms: int | None = None,
    ) -> None:
        """Start a container; again means nothing, since an id names one container for ever."""
        if spec.container_id in self.containers:
            return
        container = Container(spec, self._run_of(spec), self.agent, role, resources)
        self.containers[spec.container_id] = container
        self._observer.container_started(container)
        if lease_until_ms is not None:
            self.lease((spec.container_id,), lease_until_ms)
        self._enter(container, 0)

    def lease(self, container_ids: Collection[str], until_ms: int) -> None:
        """These may run until then, and are killed then: by the launcher, agent or no agent."""
        for container_id in container_ids:
            container = self.containers.get(container_id)
            if container is not None and container.live:
                container.lease_until_ms = max(until_ms, container.lease_until_ms or 0)
                self._agenda.at(
                    max(until_ms, self._agenda.now_ms), partial(self._end_lease, container)
                )

    def stop(self, container_id: str, signal: int) -> None:
        """Send a signal to everything in a container."""
        container = self.containers.get(container_id)
        if container is None or container.fate is not Fate.RUNNING:
            return
        container.signals.append(signal)
        if signal == SIGKILL or container.run.obeys_sigterm:
            self._agenda.after(
                self._rng.randint(0, 200), lambda: self._exit(container, signal=signal)
            )

    def abort(self, container_id: str) -> None:
        """Give up a start, in whatever phase it is."""
        container = self.containers.get(container_id)
        if container is None:
            return
        if container.fate is Fate.STARTING:
            self._fail(container, container.phase, "the start was given up")
        elif container.fate is Fate.RUNNING:
            self._exit(container, signal=SIGKILL)

    def destroy(self, container_id: str) -> None:
        """Its end is recorded: nothing of it needs to be kept."""
        container = self.containers.get(container_id)
        if container is not None:
            assert not container.live, f"{container_id} is destroyed while it lives"
            self._forget(container)

    def hand_over(self, container_id: str, data: bytes) -> None:
        """Bytes of a framework for the process of a task that is attached."""
        container = self.containers[container_id]
        if container.fate is Fate.RUNNING and container.run.echoes:
            self._say(protocol.ExecutorSpoke(container_id, data))

    def recover(self, known: Collection[str]) -> None:
        """A new run of the agent: tell it of the containers it knows, end the others."""
        for container_id in known:
            container = self.containers.get(container_id)
            if container is not None and container.destroyed:  # kept for history alone
                container = None
            if container is None or container.fate is Fate.STARTING:
                message = "the launcher never heard of it"
                why = StartFailure.SPAWN_FAILED if container else StartFailure.NEVER_ASKED
                failed = ContainerStartFailed(container_id, Phase.SPAWN, why, message)
                if container is None:
                    self._say(failed)
                else:
                    self._fail(container, Phase.SPAWN, message)
                continue
            if container.started_ms is not None:
                self._say(ContainerStarted(container_id, _pid_of(container)))
            if container.fate is Fate.RUNNING and container.run.echoes:
                self._say(protocol.ExecutorAttached(container_id))
            if container.end is not None:
                self._say(container.end)
        for container in list(self.containers.values()):
            if container.spec.container_id not in known and not container.destroyed:
                if container.live:  # the agent does not know it: it is ended without a word
                    self._over(container, None)
                self._forget(container)

    # --- what happens to it -----------------------------------------------------------------------

    def agent_died(self) -> None:
        """The agent's process is gone. Starts that the launcher had not been told of go with it."""
        self.report = None
        for container in self.containers.values():
            spawning = container.phase is Phase.SPAWN and self._rng.random() < 0.5
            if container.fate is Fate.STARTING and not spawning:
                self._fail(container, container.phase, "its agent died")

    def host_died(self) -> None:
        """Everything on the host is gone, and nobody is told."""
        self.report = None
        for container in list(self.containers.values()):
            if container.live:
                self._over(container, None)
            self._forget(container)
        # The journal of ends is the launcher's, in memory and files that a reboot empties.

    def launcher_died(self) -> int:
        """The parent of all containers died: they are killed, nobody knows how they would have
        ended (docs/decisions.md D8). How many there were."""
        running = [c for c in self.containers.values() if c.fate is Fate.RUNNING]
        for container in running:
            self._end(container, self._exited(container, None, None, launcher_lost=True))
        return len(running)

    # --- its life ---------------------------------------------------------------------------------

    def _enter(self, container: Container, index: int) -> None:
        if container.fate is not Fate.STARTING:
            return
        if index == len(PHASES):
            container.fate = Fate.RUNNING
            container.started_ms = self._agenda.now_ms
            self._say(ContainerStarted(container.spec.container_id, _pid_of(container)))
            if container.run.echoes:
                self._say(protocol.ExecutorAttached(container.spec.container_id))
            if container.run.seconds is not None:
                self._agenda.after(
                    round(container.run.seconds * 1000), lambda: self._exit(container)
                )
            return
        container.phase = PHASES[index]
        self._say(ContainerPhase(container.spec.container_id, container.phase))
        delay_ms = round(container.run.phase_seconds[index] * 1000)
        if container.run.fails_in is container.phase:
            message = f"{container.phase.value} failed, as it was told to"
            self._agenda.after(delay_ms, lambda: self._fail(container, PHASES[index], message))
        else:
            self._agenda.after(delay_ms, lambda: self._enter(container, index + 1))

    def _fail(self, container: Container, phase: Phase, message: str) -> None:
        if container.fate is Fate.STARTING:
            self._end(
                container,
                ContainerStartFailed(
                    container.spec.container_id, phase, _FAILURE_IN[phase], message
                ),
            )

    def _end_lease(self, container: Container) -> None:
        if (container.lease_until_ms or 0) > self._agenda.now_ms or not container.live:
            return
        if container.fate is Fate.RUNNING:
            self._end(container, self._exited(container, None, SIGKILL, lease_over=True))
        else:
            failed = ContainerStartFailed(
                container.spec.container_id, container.phase, StartFailure.LEASE_OVER, ""
            )
            self._end(container, failed)

    def _exit(self, container: Container, signal: int | None = None) -> None:
        if container.fate is not Fate.RUNNING:
            return
        run = container.run
        if signal is not None:
            self._end(container, self._exited(container, None, signal))
        elif run.oom:
            self._end(container, self._exited(container, None, SIGKILL, oom=True))
        elif run.signal is not None:
            self._end(container, self._exited(container, None, run.signal))
        else:
            self._end(container, self._exited(container, run.exit_code, None))

    def _exited(
        self,
        container: Container,
        exit_code: int | None,
        signal: int | None,
        *,
        oom: bool = False,
        launcher_lost: bool = False,
        lease_over: bool = False,
    ) -> ContainerExited:
        began_ms = container.started_ms or self._agenda.now_ms
        usage = Usage(cpu_ms=(self._agenda.now_ms - began_ms) // 10, peak_mem_bytes=4 << 20)
        return ContainerExited(
            container.spec.container_id,
            exit_code,
            signal,
            oom,
            launcher_lost,
            None if launcher_lost else usage,
            lease_over=lease_over,
        )

    def _end(self, container: Container, end: ContainerExited | ContainerStartFailed) -> None:
        self._over(container, end)
        if isinstance(end, ContainerExited) and container.run.echoes:
            self._say(protocol.ExecutorDetached(container.spec.container_id))
        self._say(end)

    def _over(
        self, container: Container, end: ContainerExited | ContainerStartFailed | None
    ) -> None:
        """Nothing of it lives any more. None: and nobody is ever told how it ended."""
        failed = isinstance(end, ContainerStartFailed)
        container.fate = Fate.FAILED_TO_START if failed else Fate.EXITED
        container.end = end
        container.ended_ms = self._agenda.now_ms
        self._observer.container_ended(container)

    def _forget(self, container: Container) -> None:
        container.destroyed = True
        if not self._history:
            del self.containers[container.spec.container_id]

    def _say(self, event: ContainerEvent | _ExecutorEvent) -> None:
        if self.report is not None:
            self.report(event)


def _pid_of(container: Container) -> int:
    return 1_000 + sum(map(ord, container.spec.container_id))
