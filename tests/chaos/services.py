"""The processes of a chaos: started, killed, stopped for a while, and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESTART_S = 1.0  # as a service manager does


@dataclass(slots=True)
class Service:
    """One program that is kept running, as a service manager keeps it."""

    name: str
    words: Callable[[], Sequence[str]]
    """Its command line, made anew for each start."""
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    kills: int = 0
    restart_at: float = 0.0
    stopped_until: float | None = None
    held_down: bool = False
    """Whether it is not to be started for now."""
    exits: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Of the process that runs; 0 when none does."""
        return self.process.pid if self.running and self.process is not None else 0

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def stopped(self) -> bool:
        """Whether it has been sent SIGSTOP."""
        return self.stopped_until is not None

    def start(self) -> None:
        """Start it; what it says is appended to NAME.err."""
        with (self.folder / f"{self.name}.err").open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, *self.words()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.environment,
                start_new_session=True,
            )
        self.starts += 1
        self.stopped_until = None

    def keep(self) -> None:
        """Start it again when it has ended for a while; let it go on when it was stopped enough."""
        now = time.monotonic()
        if self.stopped_until is not None and (now >= self.stopped_until or not self.running):
            self.go_on()
        if self.process is None or self.running or self.held_down:
            return
        if not self.restart_at:
            self.exits.append(self.process.returncode)
            self.restart_at = now + RESTART_S
        elif now >= self.restart_at:
            self.restart_at = 0.0
            self.start()

    def kill(self) -> None:
        """kill -9; `keep` starts it again."""
        if self.running and self.process is not None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def stop_for(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        if self.running and self.process is not None:
            self.process.send_signal(signal.SIGSTOP)
            self.stopped_until = time.monotonic() + seconds

    def go_on(self) -> None:
        """SIGCONT, if it was stopped."""
        self.stopped_until = None
        if self.running and self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def end(self, deadline_s: float = 30.0) -> int:
        """SIGTERM, then SIGKILL; its exit code."""
        self.held_down = True
        if self.process is None:
            return 0
        self.go_on()
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def said(self) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError):
            return (self.folder / f"{self.name}.err").read_text(errors="replace")[-3_000:]
        return ""
