"""How an attempt to run a task went, on a page: `task show` of one that has ended."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from mesoslite.cli.amounts import bytes_size, duration, text_of
from mesoslite.cli.documents import member_name
from mesoslite.cli.layout import facts
from mesoslite.cli.tables import command_text, life_table, moment, plain, state
from mesoslite.v1 import agent_pb2, common_pb2


def page(attempt: agent_pb2.PostMortem, *, alone: bool) -> Iterator[RenderableType]:
    """An attempt; `alone`: nothing else is known of its task, so all of it is told."""
    end = attempt.life[-1]
    pairs: list[tuple[str, RenderableType]] = []
    if alone:
        pairs += [
            ("task", attempt.task_id),
            ("framework", attempt.framework_id),
            ("role", attempt.role or "-"),
            ("state", state(member_name(common_pb2.TaskState.DESCRIPTOR, end.state))),
            ("agent", plain(f"{attempt.hostname} ({attempt.agent_id})")),
            ("command", plain(command_text(attempt.command))),
            ("resources", text_of(attempt.resources)),
        ]
        if end.HasField("exit_code"):
            pairs.append(("exit code", str(end.exit_code)))
        if end.HasField("signal"):
            pairs.append(("signal", str(end.signal)))
        if end.HasField("peak_mem_bytes"):
            pairs.append(("peak memory", bytes_size(end.peak_mem_bytes)))
        if end.HasField("cpu_ms"):
            pairs.append(("cpu time", duration(end.cpu_ms)))
    pairs.append(("container", attempt.container_id))
    pairs.append(("ended", moment(end.timestamp_ms)))
    if attempt.oom:
        pairs.append(("out of memory", Text("the memory limit killed something of it", "red")))
    yield Text()
    yield facts(pairs)
    if alone:
        yield Text()
        yield life_table(attempt.life)
    for name in ("stdout", "stderr"):
        if attempt.HasField(name):
            yield from _output(name, getattr(attempt, name))


def _output(name: str, output: agent_pb2.Output) -> Iterator[RenderableType]:
    if not output.size:
        return
    shown = output.tail.decode(errors="replace")
    before = output.size - len(output.tail)
    cut = f", after {bytes_size(before)} more" if before else ""
    yield Text()
    yield Text(f"{name}{cut}:", style="bold")
    for line in shown.splitlines():
        yield Text(
            "  " + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        )
