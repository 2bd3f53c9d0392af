"""Play the scenarios and compare, or write their expected output anew.

python -m tests.scenarios              exit 1 when a scenario tells another story
python -m tests.scenarios --rewrite    then read the diff: only commit what you understand
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from tests.scenarios.player import play

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Play the scenarios of tests/scenarios.")
    parser.add_argument("--rewrite", action="store_true", help="write the expected output anew")
    rewrite = parser.parse_args().rewrite
    changed = 0
    for path in sorted(FOLDER.glob("*.txt")):
        expected = path.read_text(encoding="utf-8")
        said = play(expected)
        if said == expected:
            continue
        changed += 1
        if rewrite:
            path.write_text(said, encoding="utf-8")
            print(f"rewrote {path.name}")
        else:
            lines = (expected.splitlines(), said.splitlines())
            print("\n".join(difflib.unified_diff(*lines, path.name, "now", lineterm="")))
    return 1 if changed and not rewrite else 0


if __name__ == "__main__":
    sys.exit(main())
