"""`mesoslite explain` as people read it, and as the wire carries it."""

from __future__ import annotations

import io

from rich.console import Console

from mesoslite.cli.explanations import page
from mesoslite.explanation import FrameworkExplanation, RoleExplanation, TaskExplanation, Why
from mesoslite.lifecycle import TaskState
from mesoslite.model import Reason, Refusal, Request, WhyNot
from mesoslite.resources import Resources
from mesoslite.v1 import common_pb2, operator_pb2
from mesoslite.wire import write_explanation

REQUEST = Request("r1", "ads", Resources(cpus=2, mem=512), 9, ports=2, where="rack != r1")
FITS_NOT = Why(
    WhyNot.DEMAND_TOO_LARGE,
    "what is free there does not hold one unit: a3 lacks mem:256",
    "so much becomes free",
    agents=7,
    agent_id="a3",
    missing=Resources(mem=256),
)
HELD = Why(
    WhyNot.HELD,
    "web\x1b[2J holds 1-5",
    "it is answered",
    agents=1,
    agent_id="a1",
    framework_id="1-F2",
    offer_id="1-5",
    since_ms=1_000,
    until_ms=31_000,
)
PAUSED = Why(WhyNot.PAUSED, "it does not read", "it reads")
ROLES = (
    RoleExplanation("ads", REQUEST, 4, 1, "one unit does not fit", (FITS_NOT, HELD)),
    RoleExplanation("*", None, 0, 0, "paused", (PAUSED,)),
)
WHOLE = FrameworkExplanation("1-F1", "batch", "batch (1-F1): it waits", ROLES)


def reply_of(explanation: FrameworkExplanation | TaskExplanation) -> operator_pb2.ExplainResponse:
    reply = operator_pb2.ExplainResponse()
    write_explanation(reply, explanation)
    return operator_pb2.ExplainResponse.FromString(reply.SerializeToString())


def printed(reply: operator_pb2.ExplainResponse, *, wide: bool = False) -> list[str]:
    out = Console(file=io.StringIO(), width=400, color_system=None)
    for thing in page(reply, wide=wide):
        out.print(thing)
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_a_framework_s_page_has_the_verdict_first_and_then_all_reasons() -> None:
    lines = printed(reply_of(WHOLE))
    assert lines[0] == "batch (1-F1): it waits"
    assert lines[2] == (
        "role ads, request r1: 9 x cpus:2;mem:512 and any 2 ports wanted, 4 open, "
        "where rack != r1, 1 unanswered offer"
    )
    assert lines[3].split("  ")[0] == "AGENTS"
    assert lines[4].split()[:2] == ["7", "DEMAND_TOO_LARGE"]
    assert lines[5].split()[:3] == ["1", "HELD", "web[2J"]
    assert lines[7] == "role *, 0 unanswered offers"
    assert lines[9].split()[:2] == ["all", "PAUSED"]


def test_the_wide_page_names_agents_offers_and_times() -> None:
    lines = printed(reply_of(WHOLE), wide=True)
    held = next(line for line in lines if "HELD" in line)
    assert "a1" in held
    assert "1-5" in held
    assert held.count("1970-01-0") == 2


def test_a_task_s_page_has_the_verdict_and_what_would_help() -> None:
    task = TaskExplanation("t1", "1-F1", "batch", "t1 was refused", "ask for less")
    assert printed(reply_of(task)) == ["t1 was refused", "what would help: ask for less"]
    running = TaskExplanation("t1", "1-F1", "batch", "t1 runs", state=TaskState.RUNNING)
    assert printed(reply_of(running)) == ["t1 runs"]


def test_everything_is_on_the_wire() -> None:
    reply = reply_of(WHOLE)
    first, second = reply.framework.roles
    assert (first.wanted, first.open, first.ports, first.offers) == (9, 4, 2, 1)
    assert first.whys[0].missing[0].key == "mem"
    assert not first.whys[0].HasField("since_ms")
    assert first.whys[1].until_ms == 31_000
    assert second.request_id == ""
    task = TaskExplanation(
        "t1",
        "1-F1",
        "batch",
        "t1 ended",
        state=TaskState.FAILED,
        reason=Reason.MEMORY_LIMIT,
        refusal=Refusal.TOO_LARGE,
        agent_id="a1",
        since_ms=5,
    )
    told = reply_of(task).task
    assert told.state == common_pb2.TASK_STATE_FAILED
    assert told.reason == common_pb2.REASON_MEMORY_LIMIT
    assert told.refusal == common_pb2.REFUSAL_TOO_LARGE
    assert (told.agent_id, told.since_ms) == ("a1", 5)
