"""Old sandboxes go, now and then, for as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized

import structlog

COLLECT_INTERVAL_S = 60.0  # Mesos: --disk_watch_interval

log = structlog.get_logger("mesoslite.agent")


async def collect_for_ever(
    collect: Callable[[], Awaitable[Sized]], interval_s: float = COLLECT_INTERVAL_S
) -> None:
    """Call `collect`, which returns what it removed, each `interval_s`, until cancelled.

    No failure ends it, or the disk would fill. One that lasts is told once.
    """
    told = ""
    while True:
        await asyncio.sleep(interval_s)
        try:
            removed = await collect()
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            if (name := type(error).__name__) != told:
                log.warning("old sandboxes could not be removed", error=name, why=str(error))
            told = name
            continue
        told = ""
        if removed:
            log.info("removed old sandboxes", count=len(removed))
