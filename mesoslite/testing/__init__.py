"""Testing a scheduler without a cluster: events in, decisions out; or in a simulated one.

from mesoslite.testing import Harness, offer

def test_a_full_agent_is_left_alone():
    assert Harness(Sleepers()).offers(offer(cpus=0.01)).launched == ()

def test_all_naps_are_taken():
    cluster = Simulation(seed=1, agents=3, resources="cpus:4;mem:4096")
    cluster.add(Sleepers())
    assert cluster.run_until(lambda c: len(c.states()) == 9, seconds=60)

`Harness` is in `harness.py`, `Simulation` in `simulation.py`; docs/testing.md tells how to.
"""

from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    Decision,
    DeclineOffers,
    DropRequests,
    HoldOffer,
    KillTask,
    MakeRequest,
    ReconcileTasks,
    ReviveRoles,
    SendMessage,
    Stop,
    SuppressRoles,
    Teardown,
)
from mesoslite.testing.agents import AgentNode
from mesoslite.testing.containers import Container, Fate, Run, run_as_told
from mesoslite.testing.harness import Decisions, Harness, SessionHarness, offer, status
from mesoslite.testing.load import Arrival, poisson
from mesoslite.testing.masters import MasterNode
from mesoslite.testing.meter import Measurement, OfferCounts, Point, Waits
from mesoslite.testing.network import Weather
from mesoslite.testing.process import CrashPoint, SpinningError
from mesoslite.testing.schedulers import SchedulerNode
from mesoslite.testing.simulation import Simulation
from mesoslite.testing.world import Watcher

__all__ = [
    "AcceptOffers",
    "AcknowledgeStatus",
    "AgentNode",
    "Arrival",
    "Container",
    "CrashPoint",
    "Decision",
    "Decisions",
    "DeclineOffers",
    "DropRequests",
    "Fate",
    "Harness",
    "HoldOffer",
    "KillTask",
    "MakeRequest",
    "MasterNode",
    "Measurement",
    "OfferCounts",
    "Point",
    "ReconcileTasks",
    "ReviveRoles",
    "Run",
    "SchedulerNode",
    "SendMessage",
    "SessionHarness",
    "Simulation",
    "SpinningError",
    "Stop",
    "SuppressRoles",
    "Teardown",
    "Waits",
    "Watcher",
    "Weather",
    "offer",
    "poisson",
    "run_as_told",
    "status",
]
