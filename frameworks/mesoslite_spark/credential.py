"""The token of a driver that is a task: how it comes there, for nobody else to see.

The environment of a task, its command and its files are shown to whoever may look at the cluster,
and stay on disks after it. So the task asks its framework for the token when it begins, by the
stream that its agent gives to it alone, and keeps it in memory.

    python -m mesoslite_spark.credential

asks, and writes what is answered to stdout. It is a process of its own, because pyspark forks for
its JVM, and gRPC's threads do not outlive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mesoslite.executor import AsyncConnection, NotAttached, connect_async
from mesoslite_spark.errors import SparkError

#: Of Python's: the directory that it is in is not where it looks for modules first. There lies the
#: user's program, and that may be called token.py, as one that Python itself imports.
SAFE_PATH = "-P"
#: Set for a task whose framework has a token for it.
VARIABLE = "MESOSLITE_SPARK_ASKS"
TOKEN_FILE_VARIABLE = "MESOSLITE_TOKEN_FILE"
TOKEN_FILE_BYTES_MAX = 64 * 1024  # as the library has it
TOKEN_LINE_MAX = 8 * 1024  # characters; more is no header of a call, says gRPC
QUESTION = b"token"
#: The master may be away when it is asked.
ANSWER_S_MAX = 120.0
AGAIN_S = 1.0
START_S_MAX = 60.0  # of the process that asks, on a host that is busy


def token_file(environment: Mapping[str, str]) -> Path:
    """Where a session of this environment finds its token, by the library's own rules."""
    if named := environment.get(TOKEN_FILE_VARIABLE, ""):
        return Path(named).expanduser()
    home = environment.get("XDG_CONFIG_HOME", "")
    config = Path(home) if home.startswith("/") else Path("~/.config").expanduser()
    return config / "mesoslite" / "token"


def token_of(environment: Mapping[str, str]) -> bytes:
    """One's own line of the token file; empty: none is named, and the user has none.

    Raises ValueError when it cannot be read, or its token is too long to be shown to a master.
    """
    path = token_file(environment)
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(TOKEN_FILE_BYTES_MAX).splitlines()
    except FileNotFoundError as error:
        if not environment.get(TOKEN_FILE_VARIABLE):
            return b""
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the token file {path} is not text") from None
    told = (line.partition("#")[0].strip() for line in lines)
    own = next(filter(None, told), "")
    if len(own) > TOKEN_LINE_MAX:
        raise ValueError(
            f"the token in {path} has {len(own):,} characters, more than {TOKEN_LINE_MAX:,}"
        )
    return own.encode()


def keep(token: bytes) -> None:
    """Have it where sessions look for it, also those of processes that this one starts.

    In memory: so it is on no disk, it has no name that a program's file could have, and it ends
    with this process, however that ends.
    """
    kept = os.memfd_create("mesoslite-token")
    os.fchmod(kept, 0o600)
    os.write(kept, token + b"\n")
    os.environ[TOKEN_FILE_VARIABLE] = f"/proc/{os.getpid()}/fd/{kept}"


def answered() -> bytes:
    """The token, as the framework of this task tells it. Raises SparkError."""
    try:
        return subprocess.run(
            [sys.executable, SAFE_PATH, "-m", "mesoslite_spark.credential"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=START_S_MAX + ANSWER_S_MAX,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired:
        raise SparkError("its token could not be asked for: this host is too busy") from None
    except subprocess.CalledProcessError:
        raise SparkError("the framework has not told its token, without which no master") from None


async def _answer() -> bytes:
    """The token. A message may get lost: it is asked for again. Raises TimeoutError."""
    async with asyncio.timeout(ANSWER_S_MAX):
        while True:
            try:
                async with await connect_async() as framework:
                    asking = asyncio.create_task(_ask(framework))
                    try:
                        async for answer in framework:
                            return answer
                    finally:
                        asking.cancel()
            except NotAttached:
                pass  # the agent restarts, and is back soon
            await asyncio.sleep(AGAIN_S)


async def _ask(framework: AsyncConnection) -> None:
    with contextlib.suppress(NotAttached):  # who reads is told so as well
        while True:
            await framework.send(QUESTION)
            await asyncio.sleep(AGAIN_S)


def main() -> None:
    """Ask, and tell. Exits with 1 when nobody answers."""
    try:
        token = asyncio.run(_answer())
    except TimeoutError:
        sys.exit(f"no answer from the framework of this task within {ANSWER_S_MAX:.0f} s")
    sys.stdout.buffer.write(token)


if __name__ == "__main__":
    main()
