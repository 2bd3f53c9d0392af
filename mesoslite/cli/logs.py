"""`mesoslite logs`: what a task wrote, as it wrote it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, write_bytes
from mesoslite.cli.options import Chosen


def logs(
    chosen: Chosen, task: str, framework: str, name: str, last_bytes: int | None, follow: bool
) -> None:
    """Copy a file of the task's sandbox to stdout; with `follow` until the task has ended.

    A task that has not started yet has written nothing; with `follow` it is waited for.
    """
    if last_bytes == 0 and not follow:
        return
    offset = -last_bytes if last_bytes else 0
    with Operator(chosen.master, chosen.token_file) as operator:
        task, framework = operator.find_task(task, framework)
        with _interrupted_at_once():
            for data in operator.read_log(task, framework, name, offset=offset, follow=follow):
                write_bytes(data)


@contextlib.contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Ctrl-C ends the process where it is: all that came is written, and there is nothing to tidy.

    As an exception it may be raised in a callback that gRPC's thread waits for, and is lost there:
    then the reader reads on for ever.
    """
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(Code.INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
