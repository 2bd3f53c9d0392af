"""What the `mesoslite` command tells of the cluster that this process runs in.

A process for each question: it finds the cluster as anybody's does, and needs no part of mesoslite
that is not public.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

ANSWER_S_MAX = 20.0
WORDS_BYTES_MAX = 2_000
ACTIVE = "active"  # the state of an agent that is there


async def agents() -> Mapping[str, str] | None:
    """The state of each agent, by its hostname. None: no answer."""
    rows = await _rows("agent", "ls")
    return None if rows is None else {row["info"]["hostname"]: row["state"] for row in rows}


async def running_tasks() -> list[str] | None:
    """The names of the tasks that run. None: no answer."""
    rows = await _rows("task", "ls")
    if rows is None:
        return None
    return [row["task"]["name"] for row in rows if row["state"] == "RUNNING"]


async def last_line(task_id: str, framework: str) -> str:
    """The last line that a task wrote to stderr; empty: it cannot be had."""
    words = (task_id, "--framework", framework, "--stderr", "--bytes", str(WORDS_BYTES_MAX))
    out = await _told("logs", *words) or ""
    lines = [line.strip() for line in out.splitlines()]
    return next((line for line in reversed(lines) if line), "")


async def _rows(*words: str) -> list[Any] | None:
    out = await _told(*words, "-o", "json")
    rows: list[Any] | None = None if out is None else json.loads(out)
    return rows


async def _told(*words: str) -> str | None:
    """What it writes. None: it fails, or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "mesoslite", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), ANSWER_S_MAX)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(errors="replace") if process.returncode == 0 else None
