"""Where the `mesoslite` command begins: before anything is imported that takes its time.

Its words and all that they need are ~0.1 s of imports, in which somebody may change their mind.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script: `mesoslite.cli.main`, and Ctrl-C also while that is being imported."""
    try:
        from mesoslite.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # console.Code.INTERRUPTED, which may not be there yet
