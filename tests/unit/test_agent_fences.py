"""Fences at the agent: when its tasks may run, and until when (docs/at-most-one.md; D14)."""

from __future__ import annotations

from mesoslite.lifecycle import TaskState
from mesoslite.messages import FrameworkAdded, Heartbeat, KillTask, Registered, RunTask
from mesoslite.model import Reason
from mesoslite_agent.container import (
    ContainerExited,
    ContainerStarted,
    ContainerStartFailed,
    Phase,
    StartFailure,
)
from mesoslite_agent.leases import SAID_MAX, Lease
from mesoslite_agent.protocol import (
    Effect,
    LeaseContainers,
    SaveUpdate,
    StartContainer,
    StreamLost,
    StreamOpened,
    ToMaster,
)
from tests.unit.agent_world import World, exited, of, one, reference, task

LEASE_MS = 40_000


def leased() -> World:
    """An agent that is registered, and so has a lease."""
    world = World()
    register(world)
    return world


def register(world: World, after_ms: int = 0) -> None:
    world.handle(StreamOpened())
    world.tick(after_ms)
    world.hear(Registered(LEASE_MS))
    world.hear(FrameworkAdded(reference("f")))


def heartbeats(effects: list[Effect]) -> list[int]:
    said = [effect.call for effect in effects if isinstance(effect, ToMaster)]
    return [call.number for call in said if isinstance(call, Heartbeat)]


def fenced_run(task_id: str = "t1", token: int = 7) -> RunTask:
    return RunTask("f", "*", task(task_id, fence="broker-0"), token)


def test_a_lease_counts_from_when_the_heartbeat_was_said_not_from_its_echo() -> None:
    lease = Lease()
    lease.register(0)
    assert lease.begin(LEASE_MS)
    assert lease.until_ms == LEASE_MS
    lease.say(1, 1_000)
    lease.say(2, 16_000)
    assert lease.heard(1)
    assert lease.until_ms == 1_000 + LEASE_MS
    assert not lease.heard(1)
    assert lease.heard(2)
    assert lease.until_ms == 16_000 + LEASE_MS
    assert not lease.heard(99)


def test_a_lease_never_becomes_shorter() -> None:
    lease = Lease()
    lease.register(0)
    lease.begin(LEASE_MS)
    lease.say(1, 1_000)
    lease.say(2, 2_000)
    assert lease.heard(2)
    assert not lease.heard(1)
    lease.register(2_500)
    assert not lease.begin(1_000)
    lease.say(3, 3_000)
    assert not lease.heard(3)
    assert lease.until_ms == 2_000 + LEASE_MS


def test_what_is_never_echoed_takes_no_room() -> None:
    lease = Lease()
    lease.begin(LEASE_MS)
    for number in range(100):
        lease.say(number, number)
    assert not lease.heard(100 - SAID_MAX - 1)
    assert lease.heard(100 - SAID_MAX)


def test_a_fenced_task_starts_with_the_lease_and_has_its_token() -> None:
    world = leased()
    began_ms = world.now_ms
    world.tick(5_000)
    start = one(world.hear(fenced_run()), StartContainer)
    assert start.lease_until_ms == began_ms + LEASE_MS
    environment = dict(start.spec.environment)
    assert environment["MESOSLITE_FENCE"] == "broker-0"
    assert environment["MESOSLITE_FENCE_TOKEN"] == "7"


def test_a_task_without_a_fence_has_no_lease() -> None:
    start = one(leased().hear(RunTask("f", "*", task())), StartContainer)
    assert start.lease_until_ms is None
    assert "MESOSLITE_FENCE_TOKEN" not in dict(start.spec.environment)


def test_each_echo_gives_the_fenced_tasks_a_lease_from_its_heartbeat_on() -> None:
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    world.hear(RunTask("f", "*", task("t2")))
    [number] = heartbeats(world.tick(15_000))
    said_ms = world.now_ms
    world.tick(9_000)
    extended = one(world.hear(Heartbeat(number)), LeaseContainers)
    assert extended == LeaseContainers((container_id,), said_ms + LEASE_MS)


def test_a_fenced_task_does_not_start_when_the_lease_is_over() -> None:
    """The agent was stopped for long, and finds the launch in its inbox."""
    world = leased()
    world.tick(LEASE_MS)
    effects = world.hear(fenced_run())
    assert of(effects, StartContainer) == []
    status = one(effects, SaveUpdate).status
    assert (status.state, status.reason) == (TaskState.DROPPED, Reason.FENCE_LEASE_OVER)


def test_a_task_that_lost_its_fence_ends_for_that_and_not_because_somebody_asked() -> None:
    """Its launcher was stopped for longer than the lease, and the master has its key given away."""
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    world.acknowledge(world.handle(ContainerStarted(container_id, 1)))
    world.acknowledge(world.hear(KillTask("f", "t1", 0, fence_lost=True)))
    status = one(world.handle(exited(container_id, None, 15)), SaveUpdate).status
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.FENCE_LEASE_OVER)
    assert status.message.endswith("another task may have its fence now: killed by SIGTERM")


def test_the_lease_of_another_stream_counts_until_it_is_over() -> None:
    world = leased()
    until_ms = world.now_ms + LEASE_MS
    world.handle(StreamLost())
    register(world, after_ms=LEASE_MS - 1)
    start = one(world.hear(fenced_run()), StartContainer)
    assert start.lease_until_ms == until_ms


def test_a_registration_that_was_answered_late_gives_no_lease() -> None:
    """The answer and the launch behind it were under way for longer than a lease."""
    world = World()
    register(world, after_ms=LEASE_MS)
    assert of(world.hear(fenced_run()), StartContainer) == []


def test_a_registration_extends_the_leases_of_what_is_here() -> None:
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    world.tick(20_000)
    world.handle(StreamLost())
    world.handle(StreamOpened())
    extended = one(world.hear(Registered(LEASE_MS)), LeaseContainers)
    assert extended == LeaseContainers((container_id,), world.now_ms + LEASE_MS)


def test_a_new_run_of_the_agent_has_no_lease_before_it_is_registered() -> None:
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    assert of(world.restart(), LeaseContainers) == []
    world.handle(StreamOpened())
    extended = one(world.hear(Registered(LEASE_MS)), LeaseContainers)
    assert extended.container_ids == (container_id,)


def test_the_end_of_a_lease_is_told_as_what_it_was() -> None:
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    world.handle(ContainerStarted(container_id, 99))
    killed = ContainerExited(
        container_id, None, 9, oom=False, launcher_lost=False, usage=None, lease_over=True
    )
    status = one(world.handle(killed), SaveUpdate).status
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.FENCE_LEASE_OVER)
    assert "another task may have its fence" in status.message


def test_a_lease_that_ends_during_the_start_is_told_as_well() -> None:
    world = leased()
    container_id = one(world.hear(fenced_run()), StartContainer).spec.container_id
    failed = ContainerStartFailed(container_id, Phase.ROOT, StartFailure.LEASE_OVER, "")
    status = one(world.handle(failed), SaveUpdate).status
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.FENCE_LEASE_OVER)
