"""Volumes while the agent runs: they are measured, and those that were destroyed are deleted.

All of it off the loop, in one thread of its own: to delete a volume of 100,000 files takes 5 s and
more, and nothing else waits for it. What it finds out goes to the machine as events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from mesoslite_agent.measuring import LOOK_S, Measuring
from mesoslite_agent.protocol import DirectoriesMeasured, DirectoryRemoved
from mesoslite_agent.volumes import Volumes

AGAIN_S = 60.0  # after which a removal that failed is tried again

log = structlog.get_logger("mesoslite.agent")


class Tending:
    """Tends the volumes of one agent. `report` only enqueues."""

    def __init__(
        self,
        volumes: Volumes,
        directories: Callable[[], Collection[str]],
        report: Callable[[DirectoriesMeasured | DirectoryRemoved], None],
    ) -> None:
        """`directories` tells those of all volumes that there are now."""
        self._volumes = volumes
        self._directories = directories
        self._report = report
        self._measuring = Measuring()
        self._told: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volumes")
        self._removals: set[asyncio.Task[None]] = set()
        self._closing = False

    def begin(self, leaving: Collection[str]) -> None:
        """Tell of what is not as it should be, once. Blocks, ~20 us for each volume.

        `leaving` are directories that are still to be removed.
        """
        known = self._directories()
        for path in self._volumes.unknown({*known, *leaving}):
            log.warning("nobody knows this volume, and it holds something", path=str(path))
        for directory in known:
            if not self._volumes.is_there(directory):
                path = self._volumes.root / directory
                log.error("the data of a volume is gone", path=str(path))

    async def measure(self) -> None:
        """Measure, now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            by_path = {str(self._volumes.root / one): one for one in self._directories()}
            if not by_path:
                continue
            self._measuring.watch(list(by_path))
            found = await loop.run_in_executor(self._thread, self._measuring.look)
            self._tell({by_path[path]: used_bytes for path, used_bytes in found.items()})

    def _tell(self, found: dict[str, int]) -> None:
        there = self._directories()
        news = {one: n for one, n in found.items() if one in there and self._told.get(one) != n}
        self._told = {one: n for one, n in (self._told | news).items() if one in there}
        if news:
            self._report(DirectoriesMeasured(tuple(news.items())))

    def remove(self, directory: str) -> None:
        """Delete what a destroyed volume held; told when nothing of it is left."""
        task = asyncio.get_running_loop().create_task(self._remove(directory))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove(self, directory: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                gone = await loop.run_in_executor(
                    self._thread, self._volumes.remove, directory, lambda: not self._closing
                )
            except Exception as error:  # noqa: BLE001 - nobody else would hear of it, nor try again
                log.warning("a volume could not be deleted", volume=directory, why=repr(error))
                await asyncio.sleep(AGAIN_S)
            else:
                if gone:
                    self._report(DirectoryRemoved(directory))
                return

    async def close(self) -> None:
        """Leave what is not done yet to the next run of the agent."""
        self._closing = True
        for task in self._removals:
            task.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
