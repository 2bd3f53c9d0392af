"""What a daemon's program does before it imports the rest, so that it serves sooner.

    from mesoslite.quick_start import quickly
    sys.exit(quickly("mesoslite_agent.daemon"))

A daemon that was killed should be back before anybody counts its absence, and most of a start is
imports: ~330 ms of CPU for an agent, ~200 with this. It imports nothing of mesoslite itself.
"""

from __future__ import annotations

import gc
import importlib
import sys


def quickly(daemon: str) -> None:
    """Import this module and run its `main`."""
    # What imports make stays for good, and the collector would look through it a dozen times:
    # ~70 ms. `settle_memory` turns it on again, once the daemon serves.
    gc.disable()
    _import_structlog()
    importlib.import_module(daemon).main()


def _import_structlog() -> None:
    """Without rich, which it takes for tracebacks when it is there: ~40 ms that a daemon's log,
    one line for each event, makes no use of."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
