"""Run the benchmarks.

    python -m benchmarks                        list them
    python -m benchmarks NAME [--json] [...]    run one; --help shows its options
    python -m benchmarks all                    run each, and write docs/benchmarks.md
    python -m benchmarks table                  write docs/benchmarks.md from what is kept

Each asserts that it did what it says before it reports anything, and appends one JSON line for
each of its rows to benchmarks/results/NAME.jsonl.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import results, table
from benchmarks.registry import WORKLOADS
from benchmarks.workload import Sizes, Workload, progress

ROOT = Path(__file__).resolve().parent.parent


class Parser(argparse.ArgumentParser):
    """One that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit 2."""
        self.exit(2, f"{self.prog}: {message}\n")


class Unwritable(Exception):
    """Stdout takes no more; the message is why."""


def say(text: str) -> None:
    """A line on stdout, now. Raises Unwritable."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is still held for stdout is flushed at the end: to where it does no harm.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise Unwritable(error.strerror) from None


def main(argv: Sequence[str], directory: Path = results.RESULTS) -> int:
    """Do what the command line says; the exit code."""
    prog = "python -m benchmarks"
    by_name = {workload.name: workload for workload in WORKLOADS}
    parser = Parser(prog=prog, description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    if not argv:
        for workload in WORKLOADS:
            say(f"{workload.name:20} {workload.about}")
        return 0
    name = argv[0]
    if name in by_name:
        return _run(by_name[name], argv[1:], directory)
    if name == "table":
        Parser(prog=f"{prog} table", allow_abbrev=False).parse_args(argv[1:])
        _write_page(directory)
        return 0
    if name == "all":
        return _run_all(argv[1:], directory)
    if not name.startswith("-"):
        there_are = ", ".join([*by_name, "all and table"])
        parser.error(f"there is no workload {name!r}; there are {there_are}")
    parser.parse_args(argv)
    return 0


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object a row, no table")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")


def _run(workload: Workload[Any], argv: Sequence[str], directory: Path) -> int:
    """One workload, at the sizes of its rows or those that the options ask for."""
    parser = Parser(
        prog=f"python -m benchmarks {workload.name}",
        description=workload.run.__doc__,
        epilog=workload.note,
        allow_abbrev=False,
    )
    _common(parser)
    fields = dataclasses.fields(workload.rows[0])
    for found in fields:
        words = found.metadata.get("one_of") or None
        told = dict.fromkeys(str(getattr(row, found.name)) for row in workload.rows)
        parser.add_argument(
            _flag(found),
            type=str if words else int,
            choices=words,
            metavar=None if words else "N",
            help=f"{found.metadata['about']} (default {', '.join(told)})",
        )
    options = parser.parse_args(argv)
    wanted = {found.name: getattr(options, found.name) for found in fields}
    for found in fields:
        value, least = wanted[found.name], found.metadata["at_least"]
        if isinstance(value, int) and value < least:
            parser.error(f"{_flag(found)} must be at least {least}")
    changes = {name: value for name, value in wanted.items() if value is not None}
    met = True
    if not options.json:
        say(f"{workload.name}: {workload.about}\n{table.terminal_header()}")
    for sizes in dict.fromkeys(dataclasses.replace(row, **changes) for row in workload.rows):
        line = _measure(workload, sizes)
        results.append(line, directory)
        met = met and line["met"] is not False
        say(json.dumps(line) if options.json else "\n".join(table.terminal_rows(line)))
    if workload.note and not options.json:
        say(f"  {workload.note}")
    return 1 if options.strict and not met else 0


def _flag(found: dataclasses.Field[Any]) -> str:
    return f"--{found.name.replace('_', '-')}"


def _measure(workload: Workload[Any], sizes: Sizes) -> results.Document:
    figures = workload.run(sizes)
    progress("")
    if sizes.of_row() not in [row.of_row() for row in workload.rows]:
        for figure in figures:
            figure.goal = None
    return results.document(workload, sizes, figures)


def _run_all(argv: Sequence[str], directory: Path) -> int:
    """Each in a process of its own, so that none is measured with the memory of those before."""
    parser = Parser(prog="python -m benchmarks all", allow_abbrev=False)
    _common(parser)
    parser.parse_args(argv)
    failed = []
    for workload in WORKLOADS:
        command = [sys.executable, "-m", "benchmarks", workload.name, *argv]
        # A session of its own: a Ctrl-C reaches it once, from here, and it cleans up after itself.
        with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as child:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
                child.wait()
                raise
        if code:
            failed.append(workload.name)
    _write_page(directory)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _write_page(directory: Path) -> None:
    notes = {workload.name: workload.note for workload in WORKLOADS}
    table.write_page(results.latest(WORKLOADS, directory), notes)
    print(f"wrote {table.PAGE.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    # Who is told to stop, however, stops what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except Unwritable as unwritable:
        print(f"python -m benchmarks: cannot write the output: {unwritable}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        progress("")
        print("stopped", file=sys.stderr)
        sys.exit(130)
