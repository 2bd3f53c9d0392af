"""`mesoslite explain`: why a framework is offered no more than it is, or what became of a task."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mesoslite.cli import documents, layout, tables
from mesoslite.cli.amounts import text_of
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure, Format, emit, one_line, show
from mesoslite.cli.options import Chosen
from mesoslite.model import WhyNot
from mesoslite.v1 import operator_pb2


def explain(chosen: Chosen, subject: str, *, framework: str, role: str, request: str) -> None:
    """Ask the master why, and print what it says: the whole in one line first. Raises Failure."""
    with Operator(chosen.master, chosen.token_file) as operator:
        reply = operator.explain(subject, framework=framework, role=role, request=request)
    if reply.HasField("task") and (role or request):
        given = "--role" if role else "--request"
        raise Failure(Code.USAGE, f"{one_line(subject)} is a task: {given} is of a framework")
    if role:
        _subscribed(reply)
    if chosen.output is Format.JSON:
        emit(documents.text_of(documents.document_of(reply)))
    else:
        show(*page(reply, wide=chosen.output is Format.WIDE))


def _subscribed(reply: operator_pb2.ExplainResponse) -> None:
    """Whether the framework has the one role that was asked for. Raises Failure.

    The answer is true all the same; but who asks so has most likely mistyped it, and a script that
    does is not to go on.
    """
    for one in reply.framework.roles:
        for why in one.whys:
            if why.reason == WhyNot.ROLE_UNKNOWN.name:
                raise Failure(Code.USAGE, f"{reply.verdict}: {why.message}")


def page(reply: operator_pb2.ExplainResponse, *, wide: bool) -> Iterator[RenderableType]:
    """What a person reads."""
    yield Text(one_line(reply.verdict), style="bold")
    if reply.HasField("task"):
        if reply.task.remedy:
            yield Text(f"what would help: {one_line(reply.task.remedy)}")
        return
    for role in reply.framework.roles:
        yield Text()
        yield _head(role)
        if role.whys:
            yield _reasons(role, wide)


def _head(role: operator_pb2.RoleExplanation) -> Text:
    head = Text(f"role {role.role}", style="bold")
    if role.request_id:
        unit = text_of(role.unit) + (f" and any {role.ports} ports" if role.ports else "")
        head.append(f", request {role.request_id}")
        head.append(f": {role.wanted:,} x {unit} wanted, {role.open:,} open", "not bold")
        if role.where:
            head.append(f", where {one_line(role.where)}", "not bold")
    head.append(f", {role.offers:,} unanswered {_plural('offer', role.offers)}", "not bold")
    return head


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _reasons(role: operator_pb2.RoleExplanation, wide: bool) -> Table:
    more = ("AGENT", "OFFER", "SINCE", "UNTIL") if wide else ()
    out = layout.table("AGENTS", "REASON", *more, right=("AGENTS",))
    for column in ("WHY", "WHAT WOULD HELP"):
        out.add_column(column, overflow="fold", ratio=1)
    for why in role.whys:
        cells: list[RenderableType] = [f"{why.agents:,}" if why.agents else "all", why.reason]
        if wide:
            cells += [
                why.agent_id or "-",
                why.offer_id or "-",
                tables.moment(why.since_ms),
                tables.moment(why.until_ms),
            ]
        out.add_row(*cells, tables.plain(why.message), tables.plain(why.remedy))
    return out
