"""Starts of containers: what is known of one, and those that are prepared many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from mesoslite_agent.container import ContainerSpec, Phase
from mesoslite_agent.containerizers import Launch

GIVEN_UP = "given up while it was under way"
# So few plain starts are prepared in the loop: a directory and two files each, ~0.1 ms, on the disk
# that the checkpoint is on as well. The way to a thread and back is 0.2 ms on a busy host.
PREPARED_HERE_MAX = 4
STARTS_TOGETHER_MAX = 64  # plain starts that one thread prepares in one go: ~0.1 ms each


@dataclass(slots=True)
class Live:
    """A container whose end was not reported yet, or was but is not destroyed."""

    container_id: str
    containerizer: str
    phase: Phase = Phase.FETCH
    starting: asyncio.Task[None] | None = None  # of a start that goes its own way
    asked: asyncio.Future[None] | None = None  # of one among others: done when it was asked for
    fields: dict[str, Any] | None = None  # its start request, once it was made
    room: asyncio.Semaphore | None = None  # held until its runtime has done its part
    given_up: bool = False
    started: bool = False
    over: bool = False
    lease_until_s: float | None = None  # of one with a fence, by CLOCK_BOOTTIME

    def request(self) -> dict[str, Any]:
        """What the launcher is asked to start, with the lease as it is now."""
        fenced = {} if self.lease_until_s is None else {"lease_until_s": self.lease_until_s}
        return {"id": self.container_id} | (self.fields or {}) | fenced

    def was_asked(self) -> None:
        """The launcher has answered the start, or will never be asked for it."""
        if self.asked is not None and not self.asked.done():
            self.asked.set_result(None)


class PlainStarts:
    """Starts that are alike: nothing to fetch, no root to make.

    Those that wait are prepared together, a few at once here, more in one thread; a thread, a task
    and a write for each were most of what an agent spent on a short task.
    """

    def __init__(
        self,
        prepare: Callable[[ContainerSpec], Launch | str],
        threads: Executor,
        enter: Callable[[Live, Phase], None],
        prepared: Callable[[Live, Launch | str], None],
        flush: Callable[[], None],
    ) -> None:
        """`prepare` blocks, and tells why not; `prepared` gets what it said for each start.

        `flush` is called when some have been prepared: nothing is added to them in this turn.
        """
        self._prepare = prepare
        self._threads = threads
        self._enter = enter
        self._prepared = prepared
        self._flush = flush
        self._waiting: deque[tuple[Live, ContainerSpec]] = deque()
        self._running = False

    def add(self, live: Live, spec: ContainerSpec) -> bool:
        """Let a start wait its turn. True: nobody runs `run`, so it is to be run now."""
        self._waiting.append((live, spec))
        begins, self._running = not self._running, True
        return begins

    async def run(self) -> None:
        """Prepare what waits, until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                some = min(len(self._waiting), STARTS_TOGETHER_MAX)
                batch = [self._waiting.popleft() for _ in range(some)]
                for live, _ in batch:
                    self._enter(live, Phase.ROOT)
                specs = [None if live.given_up else spec for live, spec in batch]
                if some <= PREPARED_HERE_MAX:
                    launches = self._prepare_all(specs)
                else:
                    launches = await loop.run_in_executor(self._threads, self._prepare_all, specs)
                for (live, _), launch in zip(batch, launches, strict=True):
                    self._prepared(live, launch)
                self._flush()
        finally:
            self._running = False

    def _prepare_all(self, specs: list[ContainerSpec | None]) -> list[Launch | str]:
        return [GIVEN_UP if spec is None else self._prepare(spec) for spec in specs]
