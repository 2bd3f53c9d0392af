"""`status`, and `ls` and `show` of each noun: ask the master, print what it says."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import typer
from rich.console import RenderableType
from rich.table import Table

from mesoslite.cli import documents, post_mortems, tables
from mesoslite.cli.connection import Operator, only, only_framework, only_task
from mesoslite.cli.console import Code, Failure, Format, emit, note, show, write_bytes
from mesoslite.cli.options import Chosen
from mesoslite.lifecycle import TaskState
from mesoslite.v1 import agent_pb2, common_pb2, operator_pb2


def _connect(chosen: Chosen) -> Operator:
    return Operator(chosen.master, chosen.token_file)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _print_rows(
    chosen: Chosen,
    noun: str,
    rows: Sequence[Any],
    table_of: Callable[[Sequence[Any], int, bool], Table],
) -> None:
    if chosen.output is Format.JSON:
        emit(documents.text_of([documents.document_of(row) for row in rows]))
    elif rows:
        show(table_of(rows, _now_ms(), chosen.output is Format.WIDE))
    else:
        note(f"no {noun}s")


def _print_row(chosen: Chosen, row: Any, page_of: Callable[[Any], RenderableType]) -> None:
    if chosen.output is Format.JSON:
        emit(documents.text_of(documents.document_of(row)))
    else:
        show(page_of(row))


def status(chosen: Chosen) -> None:
    """The cluster on a page."""
    with _connect(chosen) as operator:
        reply = operator.status()
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            show(*tables.status_page(reply, operator.target, _now_ms()))


def agents(chosen: Chosen) -> None:
    """All agents."""
    with _connect(chosen) as operator:
        rows = sorted(operator.agents(), key=lambda row: (row.info.hostname, row.info.agent_id))
        _print_rows(chosen, "agent", rows, tables.agent_table)


def agent(chosen: Chosen, some: str) -> None:
    """One agent, by the start of its id or by its host's name."""
    with _connect(chosen) as operator:
        row = only(operator.agents(some), "agent", some, lambda row: row.info.agent_id)
        _print_row(chosen, row, tables.agent_page)


def gone(chosen: Chosen, some: str, yes: bool) -> None:
    """Give an agent up for good, once somebody has said that this one is meant."""
    with _connect(chosen) as operator:
        row = only(operator.agents(some), "agent", some, lambda row: row.info.agent_id)
        name = f"agent {row.info.agent_id} ({row.info.hostname}, {row.state})"
        if not (yes or _agreed(f"{name} is given up for good, with {_tasks(row.tasks)}: really?")):
            raise Failure(Code.USAGE, f"{name} is as it was; --yes says that it is meant")
        reply = operator.mark_agent_gone(row.info.agent_id)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            note(f"{name} is gone for good; {_tasks(reply.tasks)} of it told to be over")


def _agreed(question: str) -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and typer.confirm(question, err=True)


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def frameworks(chosen: Chosen, completed: bool) -> None:
    """The frameworks that are there, with `completed` also those that were."""
    with _connect(chosen) as operator:
        rows = operator.frameworks(completed=completed)
        _print_rows(chosen, "framework", rows, tables.framework_table)


def framework(chosen: Chosen, some: str) -> None:
    """One framework, by the start of its id or by its name; a completed one when no other is."""
    with _connect(chosen) as operator:
        rows = operator.frameworks(some) or operator.frameworks(some, completed=True)
        row = only_framework(rows, some)
        _print_row(chosen, row, tables.framework_page)


def entries(chosen: Chosen, some: str, prefix: str) -> None:
    """What a framework keeps in its store."""
    with _connect(chosen) as operator:
        row = only_framework(operator.frameworks(some), some)
        reply = operator.entries(row.framework_id, prefix)
        if chosen.output is Format.JSON:
            emit(documents.text_of([documents.document_of(one) for one in reply.entries]))
        elif reply.entries:
            show(tables.entry_table(reply.entries))
        else:
            note("no entries")


def entry(chosen: Chosen, some: str, key: str) -> None:
    """One entry of a framework's store: its value as it is, or all of it as JSON."""
    with _connect(chosen) as operator:
        row = only_framework(operator.frameworks(some), some)
        reply = operator.entry(row.framework_id, key)
        if not reply.HasField("entry"):
            raise Failure(Code.NOT_FOUND, f"the store of {row.info.name} has no entry {key!r}")
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.entry_of(reply)))
        else:
            write_bytes(reply.entry.value)


def tasks(chosen: Chosen, framework: str, agent: str, completed: bool) -> None:
    """The tasks that are there, with `completed` also those that were."""
    with _connect(chosen) as operator:
        if agent:
            agent = only(
                operator.agents(agent), "agent", agent, lambda row: row.info.agent_id
            ).info.agent_id
        rows = operator.tasks(framework=framework, agent=agent, completed=completed)
        _print_rows(chosen, "task", rows, tables.task_table)


def task(chosen: Chosen, some: str, framework: str, agent: str) -> None:
    """One task, by the start of its id; a completed one when no other is, and one that the master
    has forgotten when an agent has not."""
    with _connect(chosen) as operator:
        rows = operator.tasks(some, framework=framework) or operator.tasks(
            some, framework=framework, completed=True
        )
        if agent:
            known = operator.agents(agent)
            agent = only(known, "agent", agent, lambda row: row.info.agent_id).info.agent_id
        row = only_task(rows, some) if rows else None
        attempts: list[agent_pb2.PostMortem] = []
        why = ""
        if row is None:
            try:
                attempts = operator.post_mortems(some, framework, agent)
            except Failure as failure:
                if failure.code is not Code.NOT_FOUND or agent:
                    raise
                only_task(rows, some)  # says that there is none
        elif any(_terminal(status.state) for status in row.statuses):
            try:
                attempts = operator.post_mortems(row.task.task_id, row.framework_id, agent)
            except Failure as failure:  # the rest of the page is worth showing all the same
                why = str(failure)
        if chosen.output is Format.JSON:
            shown = {} if row is None else documents.document_of(row)
            shown["attempts"] = [documents.document_of(one) for one in attempts]
            emit(documents.text_of(shown))
            return
        if row is not None:
            show(tables.task_page(row))
        for one in attempts:
            show(*post_mortems.page(one, alone=row is None))
        if why:
            note(f"how it ended, in detail, is not to be had: {why}")


def _terminal(state: int) -> bool:
    name = documents.member_name(common_pb2.TaskState.DESCRIPTOR, state) or ""
    return name in TaskState.__members__ and TaskState[name].terminal


def offers(chosen: Chosen) -> None:
    """All outstanding offers."""
    with _connect(chosen) as operator:
        _print_rows(chosen, "offer", operator.offers(), tables.offer_table)


def offer(chosen: Chosen, some: str) -> None:
    """One outstanding offer, by the start of its id."""
    with _connect(chosen) as operator:
        row = only(operator.offers(some), "offer", some, lambda row: row.offer_id)
        _print_row(chosen, row, lambda row: tables.offer_page(row, _now_ms()))


def teardown(chosen: Chosen, some: str, release: bool) -> None:
    """Remove a framework with its tasks, and with `release` all that it has reserved."""
    with _connect(chosen) as operator:
        rows = operator.frameworks(some)
        # One that was removed before may have left something reserved: the master knows its name.
        name = some if release and not rows else only_framework(rows, some).framework_id
        reply = operator.teardown(name, release=release)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
            return
        count = "1 task is" if reply.tasks == 1 else f"{reply.tasks} tasks are"
        note(f"{reply.framework_id} is removed; {count} being ended")
        if reply.releasing:
            note(f"{reply.releasing} reservations and volumes are being given up")
        if reply.agents_away:
            away = ", ".join(reply.agents_away)
            note(f"what agents have that are away is given up when they are back: {away}")


def _lives(row: operator_pb2.TaskRow, task: str) -> bool:
    state = tables.task_state(row) or ""
    ended = state in TaskState.__members__ and TaskState[state].terminal
    return row.task.task_id == task and not ended


def kill(chosen: Chosen, task: str, framework: str, grace_s: float | None) -> None:
    """Ask for a task's end."""
    with _connect(chosen) as operator:
        grace_ms = None if grace_s is None else round(grace_s * 1_000)
        task, framework = operator.find_task(task, framework)
        if not any(_lives(row, task) for row in operator.tasks(task, framework=framework)):
            line = f"{task} has ended already; `mesoslite task show {task}` tells how"
            raise Failure(Code.NOT_FOUND, line)
        reply = operator.kill(task, framework, grace_ms)
        if chosen.output is Format.JSON:
            emit(documents.text_of(documents.document_of(reply)))
        else:
            note(f"{task} is being ended; `mesoslite task show {task}` tells when it has")
