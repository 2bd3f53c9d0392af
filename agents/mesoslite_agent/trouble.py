"""What keeps an agent from taking launches: a disk that is full, or a launcher that cannot be had.

The machine cannot tell the master of it: while nothing can be committed it handles nothing. So
the daemon looks, says it on the stream beside the machine's words, and speaks up in its stead when
the machine is silent for long. Running tasks go on, and the agent is not taken for dead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from mesoslite.loop import Health
from mesoslite.messages import Heartbeat, Troubled

LOOK_S = 0.5  # ~10 us each
FREE_BYTES_MIN = 32 << 20  # the checkpoint's log and a few sandboxes: below it nothing new is begun
FREE_SHARE_MIN = 16  # or a 16th of a disk that is smaller than half a GiB
FREE_FILES_MIN = 1_000  # three for each container
START_BYTES_MIN = 1 << 20  # a new checkpoint and its log take ~100 KiB
START_FILES_MIN = 16
RETOLD_S = 10.0  # how full a disk is changes at each look, and each telling is a message
LAUNCHER_S_MAX = 5.0  # a new launcher, which ends what the last one left, is there long before

log = structlog.get_logger("mesoslite.agent")


class Trouble:
    """Watches one agent. `say` writes to the master when there is a stream, else does nothing."""

    def __init__(
        self,
        work_dir: Path,
        health: Health,
        launcher_problem: Callable[[], str | None],
        registered_on: Callable[[], int | None],
        say: Callable[[Troubled | Heartbeat], None],
        heartbeat_s: float,
    ) -> None:
        """`registered_on` numbers the stream on which a master has registered the agent."""
        self._work_dir = work_dir
        self._health = health
        self._launcher_problem = launcher_problem
        self._registered_on = registered_on
        self._say = say
        self._heartbeat_s = heartbeat_s
        self._disk = ""
        self._launcher_gone_s: float | None = None
        self._told: tuple[int | None, str] = (None, "")
        self._told_s = 0.0
        self._silent_since_s: float | None = None

    @property
    def problem(self) -> str:
        """Why nothing new can be started now, in one line; empty: it can."""
        return self._health.why_not or self._disk or self._launcher_problem() or ""

    async def watch(self) -> None:
        """Look, and tell, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(loop.time())

    def look(self, now_s: float) -> None:
        """Look once, and tell the master what is new to it: at once that it begins or ends, and
        every `RETOLD_S` what it is by now."""
        self._look_at_disk()
        lasting = self._health.why_not or self._disk or self._lasting_launcher_problem(now_s)
        stream = self._registered_on()
        if stream is None:
            return
        if self._told[0] != stream:
            self._told = (stream, "")  # a master that registers an agent takes it for well
        told = self._told[1]
        begins_or_ends = bool(lasting) != bool(told)
        if begins_or_ends or (lasting != told and now_s - self._told_s >= RETOLD_S):
            self._told, self._told_s = (stream, lasting), now_s
            self._say(Troubled(lasting))
        self._beat(now_s)

    def _beat(self, now_s: float) -> None:
        """Be heard while the machine waits for the disk. Number 0: no lease rests on it."""
        if not self._health.why_not:
            self._silent_since_s = None
        elif self._silent_since_s is None:
            self._silent_since_s = now_s
        elif now_s - self._silent_since_s >= self._heartbeat_s:
            self._silent_since_s = now_s
            self._say(Heartbeat())

    def _lasting_launcher_problem(self, now_s: float) -> str:
        problem = self._launcher_problem()
        if problem is None:
            self._launcher_gone_s = None
            return ""
        if self._launcher_gone_s is None:
            self._launcher_gone_s = now_s
        return problem if now_s - self._launcher_gone_s >= LAUNCHER_S_MAX else ""

    def _look_at_disk(self) -> None:
        before, self._disk = self._disk, why_full(self._work_dir, was=bool(self._disk))
        if self._disk and not before:
            log.warning("nothing new is started until there is room again", why=self._disk)
        elif before and not self._disk:
            log.info("there is room on the disk again")


def why_full(work_dir: Path, *, was: bool) -> str:
    """Why nothing new is to be begun on this disk; empty: there is room. ~5 us.

    `was`: it was full before, and has to have twice the room to count as not full.
    """
    try:
        disk = os.statvfs(work_dir)
    except OSError as error:
        return f"the work dir {work_dir} cannot be used: {error.strerror}"
    times = 2 if was else 1
    free = disk.f_bavail * disk.f_frsize
    least = min(FREE_BYTES_MIN, disk.f_blocks * disk.f_frsize // FREE_SHARE_MIN) * times
    if free < least:
        return f"the disk of {work_dir} is full: {free >> 10:,} KiB left, {least >> 10:,} needed"
    files = min(FREE_FILES_MIN, disk.f_files // FREE_SHARE_MIN) * times
    if disk.f_files and disk.f_favail < files:  # some file systems do not count files
        return f"the disk of {work_dir} is full: it has room for {disk.f_favail:,} files more"
    return ""


def without_room(work_dir: Path) -> bool:
    """Whether a disk is so full that nothing can be opened there for writing."""
    while not work_dir.exists() and work_dir != work_dir.parent:
        work_dir = work_dir.parent
    disk = os.statvfs(work_dir)
    none_left = disk.f_bavail * disk.f_frsize < START_BYTES_MIN
    return none_left or (disk.f_files > 0 and disk.f_favail < START_FILES_MIN)
