"""`framework exec`: which task has the tool, and what is run beside it."""

import pytest

from mesoslite import Resources, Task, Uri
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.framework_exec import find, options_beside
from mesoslite.cli.plan import Plan
from mesoslite.v1 import common_pb2, operator_pb2

LINE = 'exec tool -p "$PORT" "$@"'
JAR = Uri("maven:g:a:1", extract=False, sha256="ab" * 32, output_file="jars/a-1.jar")


def row(
    name: str, state: str = "RUNNING", labels: tuple[str, ...] = ("exec/nodetool",)
) -> operator_pb2.TaskRow:
    task = common_pb2.Task(task_id=f"{name}.1", name=name, labels=dict.fromkeys(labels, LINE))
    return operator_pb2.TaskRow(task=task, state=f"TASK_STATE_{state}")


def test_the_first_task_that_runs_and_has_the_tool_is_taken() -> None:
    rows = [row("node-0", "FAILED"), row("topics", labels=()), row("node-1"), row("node-2")]
    assert find("cassandra", rows, "", "nodetool").task.name == "node-1"
    assert find("cassandra", rows, "node-2", "nodetool").task.name == "node-2"
    assert find("cassandra", rows, "node-2.1", "nodetool").task.name == "node-2"


@pytest.mark.parametrize(
    ("task", "tool", "why"),
    [
        ("", "sstable", "has no tool 'sstable'; there are: nodetool"),
        ("node-0", "nodetool", "no task 'node-0' of it runs"),
        ("topics", "nodetool", "there are: none"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(task: str, tool: str, why: str) -> None:
    rows = [row("node-0", "FAILED"), row("topics", labels=()), row("node-1")]
    with pytest.raises(Failure, match=why) as told:
        find("cassandra", rows, task, tool)
    assert told.value.code == Code.NOT_FOUND


def test_the_tool_has_the_files_the_environment_and_the_host_of_its_task() -> None:
    task = Task(
        "node-0.1", ["sh", "-c", "java"], Resources(cpus=1, mem=1024),
        environment={"PORT": "31002", "YAML": "a: 1\nb=2"}, uris=[JAR], user="cassandra",
        labels={"exec/nodetool": LINE},
    )  # fmt: skip
    plan = Plan(options_beside(task, "host-1.example", ["nodetool", "status", "-r"]))
    made = plan.task(1, 1)
    assert made.command == ("sh", "-c", LINE, "nodetool", "status", "-r")
    assert made.uris == (JAR,)
    assert made.environment.items() >= task.environment.items()
    assert made.user == "cassandra"
    assert plan.where_text == "hostname == host-1.example"
    assert not made.volumes
