"""The logs of the daemons of `dev`: read as JSON, shown in one voice, warnings alone by default."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from mesoslite.cli.console import console, note, one_line

LAST_LINES_MAX = 20  # kept of each daemon, to say why it ended
LINE_BYTES_MAX = 64 * 1024
#: What an agent says when it finds no way to make containers, and all agents of a machine say.
NO_CONTAINERS = "tasks run as plain processes"
TOLD_ONCE = frozenset({NO_CONTAINERS})
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red"}
_NOT_SHOWN = ("event", "level", "timestamp", "logger")
_COLOURS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")


class Relay:
    """Shows what the daemons log. `text` is for people; `json` passes lines on, with a `daemon`."""

    def __init__(self, form: str, *, verbose: bool) -> None:
        self._form = form
        self._least = _LEVELS["debug" if verbose else "warning"]
        self._console = console(sys.stderr)
        self._last: dict[str, deque[str]] = {}
        self._last_is_error: dict[str, bool] = {}
        self.listen: Callable[[str, dict[str, Any]], None] = lambda daemon, entry: None
        """Told of every entry, shown or not."""
        self._told: set[str] = set()
        self.muted = False
        """While a display owns the terminal, or the daemons are being ended, nothing is shown."""

    def why(self, daemon: str) -> str:
        """The last thing that a daemon said: why it ended, when it has."""
        said = self._last.get(daemon)
        return said[-1] if said else "it said nothing"

    def last_error(self, daemon: str) -> str:
        """The last thing that a daemon said if it called that an error; "": it did not."""
        return self._last[daemon][-1] if self._last_is_error.get(daemon) else ""

    def line(self, daemon: str, line: bytes) -> None:
        """Take one line of a daemon's stderr."""
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text.strip():
            return
        entry = _entry_of(text)
        said = self._last.setdefault(daemon, deque(maxlen=LAST_LINES_MAX))
        said.append(one_line(_words(entry)))
        error = _LEVELS["error"]
        self._last_is_error[daemon] = _LEVELS.get(str(entry.get("level")), 0) >= error
        self.listen(daemon, entry)
        if entry.get("event") in TOLD_ONCE:
            if str(entry["event"]) in self._told:
                return
            self._told.add(str(entry["event"]))
        if self.muted or _LEVELS.get(str(entry.get("level")), 30) < self._least:
            return
        if self._form == "json":
            note(json.dumps({"daemon": daemon, **entry}, ensure_ascii=False, default=str))
        else:
            self._show(daemon, entry)

    def _show(self, daemon: str, entry: dict[str, Any]) -> None:
        from rich.text import Text

        colour = _COLOURS[sum(daemon.encode()) % len(_COLOURS)]
        level = str(entry.get("level", ""))
        self._console.print(
            Text.assemble(
                (f"{daemon:>8}", colour),
                (" | ", "dim"),
                (f"{level} " if level in _STYLES else "", _STYLES.get(level, "")),
                one_line(_words(entry)),
            ),
            soft_wrap=True,
        )


def _entry_of(text: str) -> dict[str, Any]:
    """A line as a log entry. One that is no JSON is a daemon's last word before it ends: `why` says
    it then, so it is not shown as well."""
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            return entry
    return {"event": text, "level": "info"}


def _words(entry: dict[str, Any]) -> str:
    rest = " ".join(f"{key}={entry[key]}" for key in entry if key not in _NOT_SHOWN)
    return f"{entry.get('event', '')} {rest}".strip()
