"""`mesoslite framework exec`: a tool of a service, run beside one of its tasks.

A task says which tools go with it, in its labels: `exec/NAME` holds a line for `sh`, in which "$@"
are the tool's words. It runs as a task of its own on the same host, with the same files, the same
environment and in the same kind of container. What the task has open and where it keeps its data it
does not see.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesoslite import Task
from mesoslite.cli import run, tables
from mesoslite.cli.connection import Operator, only_framework
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.options import Chosen
from mesoslite.cli.plan import RunOptions
from mesoslite.v1 import operator_pb2
from mesoslite.where import spelled
from mesoslite.wire import task_from_wire

LABEL = "exec/"
CPUS, MEM = "0.5", "256MiB"  # of fewer cpus a Java takes half a minute only to start


def execute(some: str, task: str, words: Sequence[str], chosen: Chosen) -> int:
    """Run it to its end, its output here; the exit code is its own."""
    with Operator(chosen.master, chosen.token_file) as operator:
        row = only_framework(operator.frameworks(some), some)
        rows = operator.tasks(framework=row.framework_id)
    beside = find(row.info.name, rows, task, words[0])
    return run.run(
        options_beside(task_from_wire(beside.task), beside.agent_hostname, words), chosen
    )


def find(
    framework: str, rows: Sequence[operator_pb2.TaskRow], task: str, tool: str
) -> operator_pb2.TaskRow:
    """The first task that runs and has the tool; `task` says which by its name or id.

    Raises Failure, which names the tools that there are.
    """
    run_now = [row for row in rows if tables.task_state(row) == "RUNNING"]
    meant = [row for row in run_now if task in ("", row.task.name, row.task.task_id)]
    if not meant:
        what = f"no task {task!r} of it" if task else "no task of it"
        raise Failure(Code.NOT_FOUND, f"{framework}: {what} runs")
    for row in meant:
        if f"{LABEL}{tool}" in row.task.labels:
            return row
    labels = {label for row in meant for label in row.task.labels if label.startswith(LABEL)}
    known = ", ".join(sorted(label.removeprefix(LABEL) for label in labels)) or "none"
    raise Failure(Code.NOT_FOUND, f"{framework} has no tool {tool!r}; there are: {known}")


def options_beside(task: Task, hostname: str, words: Sequence[str]) -> RunOptions:
    """What `mesoslite run` would be told: the tool, with what the task has."""
    tool, *arguments = words
    return RunOptions(
        command=("sh", "-c", task.labels[f"{LABEL}{tool}"], tool, *arguments),
        cpus=CPUS,
        mem=MEM,
        name=tool,
        containerizer=task.containerizer,
        image=task.image,
        env=tuple(f"{name}={value}" for name, value in task.environment.items()),
        files=tuple(task.uris),
        user=task.user,
        where=f"hostname == {spelled(hostname)}",
    )
