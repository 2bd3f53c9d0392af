"""Testing a scheduler without a cluster: events in, decisions out.

from mesoslite.testing import Harness, offer

def test_a_full_agent_is_left_alone():
    assert Harness(Sleepers()).offers(offer(cpus=0.01)).launched == ()
"""

from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    Decision,
    DeclineOffers,
    HoldOffer,
    KillTask,
    ReconcileTasks,
    ReviveRoles,
    SendMessage,
    Stop,
    SuppressRoles,
    Teardown,
)
from mesoslite.testing.harness import Decisions, Harness, SessionHarness, offer, status

__all__ = [
    "AcceptOffers",
    "AcknowledgeStatus",
    "Decision",
    "Decisions",
    "DeclineOffers",
    "Harness",
    "HoldOffer",
    "KillTask",
    "ReconcileTasks",
    "ReviveRoles",
    "SendMessage",
    "SessionHarness",
    "Stop",
    "SuppressRoles",
    "Teardown",
    "offer",
    "status",
]
