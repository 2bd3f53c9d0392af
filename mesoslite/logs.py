"""Logs: one line for each event on stderr, for people (text) or machines (json)."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


class _Stderr:
    """A stream that never fails: a full disk or a closed pipe must not stop a daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def set_up_logs(form: str = "text", level: str = "info") -> None:
    """Send all logs, those of libraries too, to stderr in one form.

    `form` is one of FORMATS, `level` one of LEVELS. Colours only on a terminal without NO_COLOR.
    """
    stderr = _Stderr(sys.stderr)
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor]
    if form == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        rendering = [structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stderr),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,  # tests and `dev` set up more than once
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level_number(level), logging.WARNING))


def level_number(level: str) -> int:
    """The number of one of LEVELS, as the standard library counts them."""
    return logging.getLevelNamesMapping()[level.upper()]
