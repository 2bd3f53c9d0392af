"""Frameworks that behave as badly as they can, for the workload `unruly`: one process each.

python -m benchmarks.offenders silent|greedy|reviving
"""

import sys
import threading
import time
from collections.abc import Sequence
from itertools import count

from mesoslite import Offer, Resources, Scheduler, Task, run

TASK = Resources(cpus=0.1, mem=8)
REVIVE_EACH_S = 0.001


class Silent(Scheduler):
    """Never answers an offer."""

    name = "silent"
    failover_timeout_s = 10.0

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Keep them all."""
        self.hold(offers)


class Greedy(Scheduler):
    """Accepts and declines in turns, as fast as it can."""

    name = "greedy"
    failover_timeout_s = 10.0

    def __init__(self) -> None:
        self._turns = count()

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Launch something that ends at once, or want to see the same again at once."""
        for offer in offers:
            turn = next(self._turns)
            if turn % 2:
                self.decline(offer, refuse_s=0)
            else:
                self.launch(offer, Task(f"task-{turn}", ["/bin/true"], TASK), refuse_s=0)


class Reviving(Scheduler):
    """Revives a thousand times a second, and declines what comes of it."""

    name = "reviving"
    failover_timeout_s = 10.0

    def subscribed(self, framework_id: str) -> None:
        """Begin."""
        threading.Thread(target=self._revive, daemon=True).start()

    def _revive(self) -> None:
        next_s = time.monotonic()
        while True:
            self.revive()
            next_s += REVIVE_EACH_S
            time.sleep(max(0.0, next_s - time.monotonic()))


OFFENDERS: dict[str, type[Silent | Greedy | Reviving]] = {
    kind.name: kind for kind in (Silent, Greedy, Reviving)
}

if __name__ == "__main__":
    run(OFFENDERS[sys.argv[1]]())
