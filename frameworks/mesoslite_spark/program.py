"""What the task of a driver runs: a Python program, in its sandbox.

    python -m mesoslite_spark.program app.py ARGUMENTS

A program of the host that asked for it came along in the environment; one that the agent has
fetched is in the sandbox already. The token is asked for: its host may have none, and a container
never sees that of its agent.
"""

from __future__ import annotations

import base64
import binascii
import os
import runpy
import signal
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from mesoslite_spark import credential
from mesoslite_spark.errors import SparkError

VARIABLE = "MESOSLITE_SPARK_PROGRAM"
#: As it travels. The kernel takes 128 KiB in one variable (MAX_ARG_STRLEN); programs of 300 kB fit.
PACKED_BYTES_MAX = 120_000
PROGRAM_BYTES_MAX = 8 * 1024 * 1024  # unpacked


def pack(program: bytes) -> str:
    """A program as it travels. Raises ValueError when it is too long."""
    packed = base64.b85encode(zlib.compress(program, 9)).decode()
    if len(program) > PROGRAM_BYTES_MAX or len(packed) > PACKED_BYTES_MAX:
        raise ValueError(
            f"the program has {len(program):,} bytes, too many to travel with a task: "
            "put it where agents can fetch it, and name it by its https:// address"
        )
    return packed


def unpack(packed: str) -> bytes:
    """The program that was packed. Raises SparkError."""
    try:
        unpacking = zlib.decompressobj()
        program = unpacking.decompress(base64.b85decode(packed), PROGRAM_BYTES_MAX)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise SparkError(f"{VARIABLE} has no program: {error}") from None
    if not unpacking.eof:
        raise SparkError(f"{VARIABLE} has a part of a program")
    return program


def main(words: Sequence[str]) -> None:
    """Become the program: it sees its own name and arguments, and its end is ours."""
    path = Path.cwd() / words[0]
    packed = os.environ.pop(VARIABLE, None)
    if packed is not None:
        path.write_bytes(unpack(packed))
    if os.environ.pop(credential.VARIABLE, None) is not None:
        credential.keep(credential.answered())
    os.environ.setdefault("SPARK_LOCAL_DIRS", str(Path.cwd()))
    signal.signal(signal.SIGTERM, _end)
    sys.argv = [str(path), *words[1:]]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def _end(number: int, _frame: object) -> None:
    """As an exception, so that the session is ended too, and its executors at once."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main(sys.argv[1:])
