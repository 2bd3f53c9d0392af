"""How the attempts to run a task went: asked of the agents that had it, on their streams.

The master itself keeps nothing of it. It knows who had a task for as long as it remembers the
task; of one that ended before its own start, or long ago, it asks everybody.
"""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError

from mesoslite.files import POST_MORTEM, FileChunk
from mesoslite.master import view
from mesoslite.master.reads import ReadError, Reads
from mesoslite.master.records import Tables
from mesoslite.model import Refusal
from mesoslite.v1 import agent_pb2

ASKED_MAX = 256  # agents that are asked about a task that nobody knows: ~0.1 ms of ours for each
ATTEMPTS_MAX = 64  # in one answer, ~10 kB each


async def post_mortems(
    t: Tables, reads: Reads, task_id: str, *, framework: str, agent_id: str
) -> list[agent_pb2.PostMortem]:
    """The newest, newest first. Raises ReadError.

    `framework` is an id or a name; empty: any. `agent_id` is whom to ask; empty: whoever had it.
    """
    asked, nobody = [agent_id], ""
    if not agent_id:
        entries = view.task_entries(t, task_id, framework)
        asked = list(dict.fromkeys(entry.agent_id for entry in entries))
    if not asked:
        nobody = f"no task {task_id!r} is known, and "
        asked = [one for one, agent in t.agents.items() if agent.stream is not None]
    if len(asked) > ASKED_MAX:
        ask = f"{nobody}there are {len(asked):,} agents to ask: name the one that had it"
        raise ReadError(Refusal.UNKNOWN_TASK, ask)
    answers = await asyncio.gather(
        *(reads.ask(one, "", task_id, POST_MORTEM, 0) for one in asked), return_exceptions=True
    )
    attempts: list[agent_pb2.PostMortem] = []
    failures: list[ReadError] = []
    for answer in answers:
        if isinstance(answer, ReadError):
            failures.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            attempts += _told(answer, task_id)
    if framework:
        names = view.names(t)
        attempts = [
            one
            for one in attempts
            if framework in (one.framework_id, names.get(one.framework_id, ""))
        ]
    if not attempts:
        if failures and not nobody:
            raise failures[0]
        raise ReadError(Refusal.UNKNOWN_TASK, f"{nobody}no agent has kept how {task_id!r} went")
    attempts.sort(key=lambda one: -one.life[-1].timestamp_ms)
    return attempts[:ATTEMPTS_MAX]


def _told(chunk: FileChunk, task_id: str) -> list[agent_pb2.PostMortem]:
    """What an agent answered, as far as it is an answer to the question."""
    try:
        found = agent_pb2.PostMortems.FromString(chunk.data)
    except DecodeError:
        return []
    return [one for one in found.attempts if one.task_id == task_id and one.life]
