"""A power cut in the middle of a run. What is said of it was seen: that the host's agent was away,
that it came back, and that what ran there as a member of a service runs there again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from mesoslite_pipeline import told
from mesoslite_pipeline.hosts import Hosts
from mesoslite_pipeline.plan import PipelineError
from mesoslite_pipeline.progress import Progress
from mesoslite_services.members import Member

POWER_OFF_S = 15.0
POWER_OFF_AT = 1 / 3  # of the events are counted: as many are still to come when it is back
AWAY_S_MAX = 60.0  # the master hears the connection end
BACK_S_MAX = 600.0  # an agent starts in seconds; a node of Cassandra reads its log first
LOOK_S = 0.5

log = logging.getLogger(__name__)

States = Callable[[], Awaitable[Mapping[str, str] | None]]


def attempts_on(hostname: str, members: Iterable[Member]) -> dict[str, int]:
    """The members whose places are on a host, and which attempt of each is the newest."""
    return {
        one.name: one.attempt
        for one in members
        if one.place is not None and one.place.hostname == hostname
    }


def not_replaced(before: Mapping[str, int], members: Iterable[Member]) -> list[str]:
    """Those of them that do not run in a later attempt than before."""
    now = {one.name: one.attempt for one in members if one.up}
    return [name for name, attempt in before.items() if now.get(name, 0) <= attempt]


class Outage:
    """A host without power for a while."""

    def __init__(
        self, hosts: Hosts, progress: Progress, off_s: float = POWER_OFF_S,
        states: States = told.agents,
    ) -> None:  # fmt: skip
        self._hosts = hosts
        self._progress = progress
        self._off_s = off_s
        self._states = states

    async def cut(self, hostname: str, members: Callable[[], Iterable[Member]]) -> None:
        """Cut its power, and turn it on again; done when all that ran there runs again.

        `members` are those of the services, as of now. Raises PipelineError when that was not so,
        OSError when its cluster has gone.
        """
        before = attempts_on(hostname, members())
        self._hosts.kill(hostname)
        self._progress.host = f"{hostname} is without power"
        log.info("the power of %s is cut, at %s", hostname, self._progress.line)
        state = await self._until(hostname, False, AWAY_S_MAX)
        log.info("%s is away: its agent is %s", hostname, state)
        await asyncio.sleep(self._off_s)
        self._hosts.start(hostname)
        await self._until(hostname, True, BACK_S_MAX)
        self._progress.host = f"{hostname} was without power, and is back"
        deadline_s = time.monotonic() + BACK_S_MAX
        while missing := not_replaced(before, members()):
            if time.monotonic() > deadline_s:
                raise PipelineError(f"{hostname} is back, and {', '.join(missing)} is not")
            await asyncio.sleep(LOOK_S)
        log.info("%s is back, with %s", hostname, ", ".join(sorted(before)) or "nothing to run")

    async def _until(self, hostname: str, active: bool, s_max: float) -> str:
        """Wait until its agent is there, or is not; its state then. Raises PipelineError."""
        deadline_s = time.monotonic() + s_max
        while True:
            states = await self._states()
            state = "" if states is None else states.get(hostname, "not known")
            if state and (state == told.ACTIVE) == active:
                return state
            if time.monotonic() > deadline_s:
                wanted = "there again" if active else "away"
                raise PipelineError(
                    f"the agent of {hostname} was to be {wanted}, and is {state or 'not heard of'} "
                    f"after {s_max:.0f} s"
                )
            await asyncio.sleep(LOOK_S)
