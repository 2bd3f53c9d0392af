"""What a program does before it imports the rest of a daemon."""

import subprocess
import sys

PROGRAM = """
import gc, sys, types
from mesoslite.quick_start import quickly

def main():
    import structlog
    from mesoslite.daemon import settle_memory

    print(gc.isenabled(), "rich" in sys.modules, structlog.dev.rich)
    settle_memory()
    import rich

    print(gc.isenabled(), rich.__name__)

daemon = sys.modules["a_daemon"] = types.ModuleType("a_daemon")
daemon.main = main
quickly("a_daemon")
"""


def test_the_collector_is_off_until_the_daemon_serves_and_rich_is_left_to_others() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "None", "True", "rich"]
