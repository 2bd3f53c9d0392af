"""`mesoslite framework status`: where a framework serves, what runs of it, what it waits for."""

from __future__ import annotations

import time
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from mesoslite.cli import documents, explanations, layout, tables
from mesoslite.cli.connection import Operator, only
from mesoslite.cli.console import Failure, Format, emit, one_line, show
from mesoslite.cli.options import Chosen

#: Entries of a framework's store under these keys are for people: `endpoint/broker-0`.
ENDPOINT = "endpoint/"
WAITS_FOR = "waits-for"
ENDPOINTS_MAX = 1_000


def status(chosen: Chosen, some: str) -> None:
    """One framework on a page: its endpoints, its tasks, and why it waits when it does."""
    with Operator(chosen.master, chosen.token_file) as operator:
        row = only(operator.frameworks(some), "framework", some, lambda row: row.framework_id)
        endpoints = _endpoints(operator, row.framework_id)
        waits_for = _text(operator, row.framework_id, WAITS_FOR)
        tasks = operator.tasks(framework=row.framework_id)
        reply = operator.explain(row.framework_id) if waits_for else None
    if chosen.output is Format.JSON:
        page: dict[str, Any] = {
            "framework": documents.document_of(row),
            "endpoints": endpoints,
            "waitsFor": waits_for,
            "tasks": [documents.document_of(task) for task in tasks],
        }
        emit(documents.text_of(page))
        return
    now_ms = time.time_ns() // 1_000_000
    facts: list[tuple[str, RenderableType]] = [
        ("framework", f"{row.info.name} ({row.framework_id})"),
        ("scheduler", row.state),
        *((f"endpoint {name}", address) for name, address in endpoints.items()),
        ("waits for", _waited_for(row.state, waits_for)),
    ]
    if reply is not None:
        facts.append(("why", one_line(reply.verdict)))
    show(layout.facts(facts))
    if tasks:
        show(Text(), tables.task_table(tasks, now_ms, chosen.output is Format.WIDE))
    if reply is not None:
        show(Text(), *explanations.page(reply, wide=False))


def _waited_for(state: str, told: str) -> str:
    """What its scheduler has said, in words; of one that is away nobody knows better."""
    if state == "active":
        return told or "nothing"
    return f"its scheduler; before that for {told}" if told else "its scheduler"


def _endpoints(operator: Operator, framework_id: str) -> dict[str, str]:
    keys = [row.key for row in operator.entries(framework_id, ENDPOINT).entries]
    return {
        key.removeprefix(ENDPOINT): _text(operator, framework_id, key)
        for key in keys[:ENDPOINTS_MAX]
    }


def _text(operator: Operator, framework_id: str, key: str) -> str:
    """What an entry says, in a line; of one that is not there nothing."""
    try:
        reply = operator.entry(framework_id, key)
    except Failure:
        return ""
    return one_line(reply.entry.value.decode(errors="replace")) if reply.HasField("entry") else ""
