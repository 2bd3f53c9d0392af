"""`mesoslite dev -- COMMAND`: a cluster for as long as a command runs, which finds it by itself.

Its hosts listen to a pipe as well as `dev` does to who types: a command, or what it starts, writes
`kill-host 2` into the file that MESOSLITE_DEV_COMMANDS names.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from mesoslite.cli.cluster import Cluster
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.outcome import SIGNAL_BASE
from mesoslite.credentials import TOKEN_FILE_VARIABLE
from mesoslite.masters import MASTER_VARIABLE

COMMANDS_VARIABLE = "MESOSLITE_DEV_COMMANDS"
#: For a command that was told to end: one that tidies up what it has on the cluster takes seconds.
END_S_MAX = 30.0


def check_command(words: Sequence[str]) -> None:
    """Whether there is such a program, before a cluster is started for it. Raises Failure."""
    if shutil.which(words[0]) is None:
        raise Failure(Code.NOT_FOUND, f"there is no program {words[0]!r} to run")


def open_pipe(cluster: Cluster) -> tuple[Path, int]:
    """The file to write commands for hosts to, and the end that they are read from."""
    pipe = cluster.work_dir / "commands"
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe, 0o600)
    # For writing, too: else it would be at its end whenever nobody has it open.
    return pipe, os.open(pipe, os.O_RDWR | os.O_CLOEXEC)


async def run_inside(
    cluster: Cluster, words: Sequence[str], pipe: Path, stopped: asyncio.Future[int]
) -> int:
    """Run the command to its end, or end it with us; its exit code. Raises Failure."""
    environment = {
        **os.environ,
        MASTER_VARIABLE: cluster.master,
        TOKEN_FILE_VARIABLE: str(cluster.token_file),
        COMMANDS_VARIABLE: str(pipe),
    }
    try:
        process = await asyncio.create_subprocess_exec(*words, env=environment)
    except OSError as error:
        raise Failure(Code.FAILED, f"cannot run {words[0]!r}: {error.strerror}") from None
    ending = asyncio.ensure_future(process.wait())
    await asyncio.wait((ending, stopped, cluster.lost), return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        await _end(process, ending, stopped)
    code = await ending
    return code if code >= 0 else SIGNAL_BASE - code


async def _end(
    process: asyncio.subprocess.Process,
    ending: asyncio.Future[int],
    stopped: asyncio.Future[int],
) -> None:
    """Let it end. A Ctrl-C has come to it as well as to us; told twice it would leave at once."""
    told = stopped.done() and stopped.result() == signal.SIGINT
    for number in (None if told else signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if number is not None and not ending.done():
            process.send_signal(number)
        await asyncio.wait((ending,), timeout=END_S_MAX)
        if ending.done():
            return
