"""Who is offered what now: the pure decision at the heart of the master.

`Allocator` is all that the master touches. Reading order: sorter (the fair order), roles (who
competes), filters (refusals), agents (what there is), allocator (the cycle), frameworks and
holdings (the calls in between); then demand (what was requested), cuts (how much of an amount that
is), index and matching (where it is met), possible (whether it ever could be). reading, explain
and invariants only look.
"""

from mesoslite.allocator.agents import LedgerError
from mesoslite.allocator.allocator import MIN_ALLOCATABLE, OFFERS_OUTSTANDING_MAX, Allocator, Grant
from mesoslite.allocator.demand import REQUESTS_MAX
from mesoslite.allocator.index import Tuning
from mesoslite.allocator.possible import Impossible

__all__ = [
    "MIN_ALLOCATABLE",
    "OFFERS_OUTSTANDING_MAX",
    "REQUESTS_MAX",
    "Allocator",
    "Grant",
    "Impossible",
    "LedgerError",
    "Tuning",
]
