"""The hosts of `mesoslite dev -- COMMAND`, whose power we may cut."""

from __future__ import annotations

import os
import stat
from pathlib import Path

VARIABLE = "MESOSLITE_DEV_COMMANDS"
HOSTNAME = "agent-"  # what `dev` calls them, before their number


class Hosts:
    """What listens to `kill-host` and `start-host`."""

    def __init__(self) -> None:
        """Raises ValueError when nobody does."""
        self._pipe = Path(os.environ.get(VARIABLE, ""))
        try:
            listens = stat.S_ISFIFO(self._pipe.stat().st_mode)
        except OSError:
            listens = False
        if not listens:
            raise ValueError(
                "--kill-host is for the cluster of a command: "
                "mesoslite dev --agents 3 -- mesoslite framework run pipeline --kill-host"
            )

    def kill(self, hostname: str) -> None:
        """Cut its power. Raises OSError."""
        self._say(f"kill-host {_number(hostname)}")

    def start(self, hostname: str) -> None:
        """Turn it on again. Raises OSError."""
        self._say(f"start-host {_number(hostname)}")

    def _say(self, line: str) -> None:
        # Not to wait: where nobody listens any more, it is an error at once.
        pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, f"{line}\n".encode())
        finally:
            os.close(pipe)


def _number(hostname: str) -> int:
    return int(hostname.removeprefix(HOSTNAME))
