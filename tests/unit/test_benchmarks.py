"""The benchmarks' command line and their arithmetic, on clusters that take no time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results, table
from benchmarks.__main__ import ROOT, main
from benchmarks.measure import AtLeast, AtMost, Figure, Speed, Unit, percentile
from benchmarks.registry import WORKLOADS

SMALL = ["--agents", "100", "--frameworks", "8", "--runs", "5"]


def run_json(capsys: pytest.CaptureFixture[str], kept: Path, *argv: str) -> list[results.Document]:
    assert main([*argv, "--json"], kept) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_without_a_name_every_workload_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [workload.name for workload in WORKLOADS]
    assert len(set(listed)) == len(listed)


def test_a_row_is_one_object_with_the_unit_in_each_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [line] = run_json(capsys, tmp_path, "allocator-join", *SMALL)
    assert line["name"] == "allocator-join"
    assert line["sizes"] == {"agents": 100, "frameworks": 8}
    [(key, values)] = line["figures"].items()
    assert key == "all_join_all_are_offered_cpu_ms"
    assert values["min"] <= values["median"] <= values["max"]
    [kept] = (tmp_path / "allocator-join.jsonl").read_text().splitlines()
    assert json.loads(kept) == line


def test_a_goal_is_for_the_sizes_of_its_row_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [line] = run_json(capsys, tmp_path, "allocator-refused", *SMALL)
    assert line["goal"] == {}
    assert line["met"] is None


def test_two_rows_that_options_make_alike_are_run_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert len(run_json(capsys, tmp_path, "allocator-decline", *SMALL)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_can_not_be_written_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "python -m benchmarks: cannot write the output: No space left on device\n"
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nonsense"], "there is no workload 'nonsense'"),
        (["allocator-join", "--agents", "none"], "invalid int value"),
        (["allocator-join", "--agents", "0"], "--agents must be at least 100"),
        (["allocator-join", "--runs", "4"], "--runs must be at least 5"),
        (["allocator-join", "--tasks", "4"], "unrecognized arguments"),
        (["--agents"], "unrecognized arguments"),
        (["all", "--agents", "4"], "unrecognized arguments"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def figure(unit: Unit, goal: AtMost | AtLeast, value: float, calibration_us: float) -> Figure:
    made = Figure("a thing", unit, goal)
    made.add(value, Speed(calibration_us))
    return made


def test_a_machine_that_is_twice_as_slow_may_take_twice_as_long_and_do_half() -> None:
    assert figure(Unit.CPU_MS, AtMost(10), 20, calibration_us=10.2).met
    assert not figure(Unit.CPU_MS, AtMost(10), 11, calibration_us=5.1).met
    assert figure(Unit.PER_CORE_S, AtLeast(100), 50, calibration_us=10.2).met
    assert not figure(Unit.PER_CORE_S, AtLeast(100), 150, calibration_us=2.55).met


def test_what_is_no_time_is_not_scaled() -> None:
    for unit in (Unit.MB, Unit.RATIO, Unit.COUNT):
        assert figure(unit, AtMost(10), 10, calibration_us=51).met
        assert not figure(unit, AtMost(10), 11, calibration_us=51).met


def test_a_percentile_is_a_sample_that_was_there() -> None:
    samples = list(range(1, 101))
    assert [percentile(samples, p) for p in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([3.5], 99) == 3.5


def test_the_page_keeps_what_stands_around_its_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [line] = run_json(capsys, tmp_path, "allocator-join", *SMALL)
    page = tmp_path / "page"
    page.write_text(f"before\n{table.BEGIN}\nan old table\n{table.END}\nafter\n")
    table.write_page([line], {"allocator-join": "a note"}, page)
    written = page.read_text()
    assert written.startswith(f"before\n{table.BEGIN}\n")
    assert written.endswith(f"{table.END}\nafter\n")
    assert "| `allocator-join` | 100 agents, 8 frameworks |" in written
    assert "a note" in written
    assert "an old table" not in written


def test_only_the_last_line_at_the_sizes_of_a_row_is_shown(tmp_path: Path) -> None:
    row = {"agents": 10_000, "frameworks": 1_000}
    lines = [{"sizes": row, "n": 1}, {"sizes": row, "n": 2}, {"sizes": {"agents": 5}, "n": 3}]
    path = tmp_path / "allocator-join.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["n"] for line in results.latest(WORKLOADS, tmp_path)] == [2]
