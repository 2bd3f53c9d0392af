"""Test the tests: plant each known bug in a copy of the tree, and require a test that fails.

    python -m tests.planted              every tests/planted/NN-name.patch
    python -m tests.planted --only 03    one of them

A patch is a unified diff (`git diff`) under a header of comment lines. The header says what is
wrong and, after `# tests:`, which tests are to be run; without it those of `TESTS_DEFAULT` are.
The same tests are first run on an unchanged copy: where they fail without a bug, a failure proves
nothing. The working tree is never touched.

Exit 1 when a bug survives, a patch does not apply, or the tests fail without any bug.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PLANTED = Path(__file__).resolve().parent
ROOT = PLANTED.parent.parent
TESTS_DEFAULT = ("tests/unit", "tests/properties", "tests/scenarios", "tests/simulation")
RUN_SECONDS_MAX = 600  # one run of pytest; a bug that makes a test hang is caught by its own limit
IMPORT_ROOTS = (".", "agents", "frameworks")
PACKAGES = ("mesoslite", "mesoslite_agent", "mesoslite_demo", "tests")
LEFT_OUT = (".git", ".venv", "__pycache__", ".hypothesis", ".*_cache", "results")


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug: a patch, and the tests of which at least one must fail."""

    patch: Path
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.patch.stem


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one bug; `caught` with the test that failed, else why not."""

    caught: bool
    says: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest: its exit code (None: it took too long), and what it printed."""

    code: int | None
    output: str

    @property
    def failed_test(self) -> str | None:
        """The first test that failed by itself; an error of collection or set-up is none."""
        found = re.search(r"^FAILED (\S+)", self.output, re.MULTILINE)
        return found[1] if self.code == 1 and found else None


def read_bug(patch: Path) -> Bug:
    """The bug of one patch file. Its header ends where the diff begins."""
    tests: list[str] = []
    for line in patch.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if found := re.match(r"#\s*tests:\s*(.+)", line):
            tests += found[1].split()
    return Bug(patch, tuple(tests) or TESTS_DEFAULT)


def copy_tree(target: Path) -> None:
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)


def environment(copy: Path) -> dict[str, str]:
    """Ours, with the copy's import roots before the installed ones and no git repository near."""
    paths = os.pathsep.join(str(copy / root) for root in IMPORT_ROOTS)
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PYTEST_"))}
    return {**ours, "PYTHONPATH": paths, "GIT_CEILING_DIRECTORIES": str(copy.parent)}


def require_imports_from(copy: Path) -> None:
    """Exit unless Python, started as the tests are, takes every package from `copy`."""
    program = f"import {', '.join(PACKAGES)}\nfor m in ({', '.join(PACKAGES)}): print(*m.__path__)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        sys.exit(f"the copy cannot be imported:\n{found.stderr}")
    for line in found.stdout.splitlines():
        if not Path(line).is_relative_to(copy):
            sys.exit(f"a package is imported from {line}, not from the copy in {copy}")


def run_tests(copy: Path, tests: Sequence[str]) -> Run:
    """Run pytest in `copy` until the first failure. Leaves no process of its own behind."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-rfE"]
    with (copy / "pytest.log").open("w+", encoding="utf-8", errors="replace") as log:
        pytest = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", *tests],
            cwd=copy,
            env=environment(copy),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None
        try:
            code = pytest.wait(RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if pytest.poll() is None:
                os.killpg(pytest.pid, signal.SIGKILL)
                pytest.wait()
        log.seek(0)
        return Run(code, log.read())


def try_bug(bug: Bug, copy: Path) -> Verdict:
    """Plant the bug in the fresh tree `copy` and run its tests."""
    applied = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(bug.patch)],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        check=False,
    )
    if applied.returncode != 0:
        return Verdict(False, f"DOES NOT APPLY: {applied.stderr.strip()}")
    run = run_tests(copy, bug.tests)
    if run.failed_test is not None:
        return Verdict(True, f"caught by {run.failed_test}")
    if run.code == 0:
        return Verdict(False, f"SURVIVED {' '.join(bug.tests)}")
    if run.code is None:
        return Verdict(False, f"TOOK OVER {RUN_SECONDS_MAX} s: no test says what is wrong")
    return Verdict(False, f"NO TEST RAN (pytest exit {run.code}):\n{run.output[-2_000:]}")


def require_green(tests: Sequence[str], copy: Path) -> None:
    """Exit unless the tests pass on an unchanged tree, imported from where we think."""
    copy_tree(copy)
    require_imports_from(copy)
    run = run_tests(copy, tests)
    if run.code != 0:
        sys.exit(f"without any bug the tests do not pass:\n{run.output[-4_000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.planted", description="Test the tests.")
    parser.add_argument("--only", metavar="NN", help="the one patch whose name begins with this")
    only: str | None = parser.parse_args().only
    bugs = [read_bug(patch) for patch in sorted(PLANTED.glob(f"{only or '[0-9]'}*.patch"))]
    if not bugs:
        sys.exit(f"no patch in {PLANTED} begins with {only or 'a number'}")

    survivors = 0
    width = max(len(bug.name) for bug in bugs)
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        print(f"{'(no bug)':{width}}  ", end="", flush=True)
        tests = sorted({test for bug in bugs for test in bug.tests})
        started = time.monotonic()
        require_green(tests, Path(directory, "unchanged"))
        print(f"{time.monotonic() - started:5.1f} s  passes {' '.join(tests)}")
        for bug in bugs:
            print(f"{bug.name:{width}}  ", end="", flush=True)
            copy = Path(directory, bug.name)
            started = time.monotonic()
            copy_tree(copy)
            verdict = try_bug(bug, copy)
            shutil.rmtree(copy)
            print(f"{time.monotonic() - started:5.1f} s  {verdict.says}", flush=True)
            survivors += not verdict.caught
    print(f"{len(bugs) - survivors} of {len(bugs)} planted bugs caught")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
