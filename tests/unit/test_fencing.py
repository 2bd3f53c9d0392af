"""The leases of containers as their launcher keeps them."""

from __future__ import annotations

import signal

from mesoslite_agent.fencing import OVER, Fences, boot_s
from mesoslite_agent.journal import Container


def test_what_ended_by_itself_before_its_lease_was_over_is_told_as_it_ended() -> None:
    """Its first process has been reaped, and something that it left behind is being killed yet."""
    exits, is_killed = Container("exits", {}), Container("is killed", {})
    fences = Fences(None)  # type: ignore[arg-type]  # nothing is signalled
    exits.status = 3 << 8
    fences.extend(exits, boot_s() - 1.0)
    fences.settle()
    fences.look()
    assert (exits.over, fences.patience_s) == (None, None)
    exits.over = is_killed.over = OVER  # or it ended between two looks
    is_killed.status = int(signal.SIGKILL)
    assert (exits.exited()["exit_code"], exits.exited()["over"]) == (3, None)
    assert is_killed.exited()["over"] == OVER
