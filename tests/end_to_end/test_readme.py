"""What the README prints runs as printed: its framework, the test of that, and its commands."""

from __future__ import annotations

import re
from pathlib import Path

from tests.end_to_end.cluster import ROOT, running_cluster

LINES_MAX = 30
ENDS_S_MAX = 90.0
START = "run(Sleepers())\n"
TASKS = 10


def python_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_framework_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    framework = python_blocks()[0]
    assert len(framework.splitlines()) <= LINES_MAX
    file = tmp_path / "sleepers.py"
    file.write_text(framework)
    with running_cluster() as cluster:
        cluster.start_agent()
        cluster.start_agent()
        program = cluster.program("sleepers", str(file))
        assert program.wait(ENDS_S_MAX) == 0, program.said()
        lines = [line.split() for line in program.out.read_text().splitlines()]
        told = {(task_id, state) for task_id, state, *_ in lines}
        for number in range(TASKS):
            assert {(f"sleep-{number}", "RUNNING"), (f"sleep-{number}", "FINISHED")} <= told
        with cluster.operator() as operator:
            assert operator.frameworks() == []
            assert not cluster.status().tasks_by_state


def test_the_test_of_the_readme_passes_as_printed(tmp_path: Path) -> None:
    """Below the class; the line that would run it against a cluster is the one thing left out."""
    framework, harness, *_ = python_blocks()
    assert framework.endswith(START)
    file = tmp_path / "test_sleepers.py"
    file.write_text(framework.removesuffix(START) + harness)
    with running_cluster() as cluster:
        program = cluster.program("harness", str(file))
        assert program.wait(ENDS_S_MAX) == 0, program.said()


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    commands = {
        *re.findall(r"^mesoslite ((?:[a-z]+ )*?[a-z]+)(?= -|$| [A-Z])", shell, re.MULTILINE)
    }
    assert {"dev", "run", "status"} <= commands
    targets = re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in targets if f"\n{name}:" not in makefile] == []
    with running_cluster() as cluster:
        for number, command in enumerate(sorted(commands)):
            asked = ("-m", "mesoslite.cli.main", *command.split(), "--help")
            program = cluster.program(f"help-{number}", *asked)
            assert program.wait() == 0, (command, program.said())
