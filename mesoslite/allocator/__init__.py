"""Who is offered what now: the pure decision at the heart of the master.

`Allocator` is all that the master touches. Reading order: sorter (the fair order), roles (who
competes), filters (refusals), agents (what there is), allocator (the cycle).
"""

from mesoslite.allocator.agents import LedgerError
from mesoslite.allocator.allocator import MIN_ALLOCATABLE, OFFERS_OUTSTANDING_MAX, Allocator, Grant

__all__ = ["MIN_ALLOCATABLE", "OFFERS_OUTSTANDING_MAX", "Allocator", "Grant", "LedgerError"]
