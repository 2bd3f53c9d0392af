"""Rows as tables: for a terminal, and for docs/benchmarks.md."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import CALIBRATION_REFERENCE_US
from benchmarks.results import Document

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN = "<!-- results: written by `make bench` -->"
END = "<!-- results: end -->"

_VERDICTS = {True: "met", False: "missed", None: ""}


def terminal_header() -> str:
    """The line above `terminal_rows`."""
    return (
        f"  {'':40}{'':12}{'median':>10}{'min':>10}{'max':>10}{'scaled':>10}{'goal':>12}"
        f"  {'':6}  Mesos"
    )


def terminal_rows(line: Document) -> list[str]:
    """One row as lines of a fixed width."""
    sizes = _sizes(line)
    rows = [f"  {sizes}"] if sizes else []
    for key, values in line["figures"].items():
        numbers = [values["median"], values["min"], values["max"], values["scaled"]]
        rows.append(
            f"  {values['what']:40}{values['unit']:12}"
            + "".join(f"{number(n):>10}" for n in numbers)
            + f"{_goal(line['goal'].get(key)):>12}  {_VERDICTS[values['met']]:6}  {values['mesos']}"
        )
    rows.append(
        f"  calibration {line['calibration_us']} us; scaled: the median as it would be at "
        f"{CALIBRATION_REFERENCE_US} us, which the goal is for"
    )
    return rows


def number(value: float) -> str:
    """Three digits that count, or all of an integer."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    if abs(value) >= 1:
        return f"{value:.3g}"
    return f"{value:.2g}"


def markdown(lines: Sequence[Document], notes: Mapping[str, str]) -> str:
    """The rows as one table, with what they were measured on and the notes below."""
    table = [
        "| workload | sizes | what | | median | min - max | scaled | goal | | Mesos |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for line in lines:
        name, sizes = f"`{line['name']}`", _sizes(line)
        for key, values in line["figures"].items():
            met = _VERDICTS[values["met"]]
            table.append(
                f"| {name} | {sizes} | {values['what']} | {values['unit']} "
                f"| {number(values['median'])} | {number(values['min'])} - {number(values['max'])} "
                f"| {number(values['scaled'])} | {_goal(line['goal'].get(key))} "
                f"| {'**missed**' if met == 'missed' else met} | {values['mesos']} |"
            )
            name = sizes = ""
    told = [f"- `{name}`: {notes[name]}" for name in _names(lines) if notes.get(name)]
    return "\n".join([*table, "", *told, *([""] if told else []), *_measured_on(lines)])


def write_page(lines: Sequence[Document], notes: Mapping[str, str], page: Path = PAGE) -> None:
    """Put the table between the markers of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, marker, after = rest.partition(END)
    assert marker, f"{page.name} has lost its markers"
    table = markdown(lines, notes)
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def _measured_on(lines: Sequence[Document]) -> list[str]:
    """Where and what: one line for each machine, Python and commit."""
    found: dict[tuple[str, str, str], list[Document]] = {}
    for line in lines:
        found.setdefault((line["cpu"], line["python"], line["commit"]), []).append(line)
    told = []
    for (cpu, python, commit), of_it in found.items():
        speeds = [line["calibration_us"] for line in of_it]
        names = ", ".join(f"`{name}`" for name in _names(of_it))
        told.append(
            f"- {cpu}, Python {python}, commit `{commit}`, calibration "
            f"{min(speeds)} - {max(speeds)} us: {names}."
        )
    return told


def _names(lines: Iterable[Document]) -> list[str]:
    return list(dict.fromkeys(line["name"] for line in lines))


def _sizes(line: Document) -> str:
    return ", ".join(
        size if isinstance(size, str) else f"{size:,} {name.replace('_', ' ')}"
        for name, size in line["sizes"].items()
    )


def _goal(goal: Mapping[str, float] | None) -> str:
    if goal is None:
        return "-"
    [(kind, limit)] = goal.items()
    return f"{'<=' if kind == 'at_most' else '>='} {limit:,g}"
