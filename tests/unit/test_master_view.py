"""What people see: rows of one moment, sorted, in pages."""

from __future__ import annotations

from mesoslite.lifecycle import TaskState
from mesoslite.master import view
from mesoslite.master.protocol import Misconduct
from mesoslite.master.records import AgentState
from mesoslite.messages import Acknowledge, Teardown
from mesoslite.resources import Resources
from tests.unit.master_world import World, task


def _busy() -> World:
    world = World()
    world.agent("a1")
    world.framework("f")
    world.accept(world.offers()[0], task("t1"), task("t2"))
    world.report("t1", TaskState.RUNNING, "u1")
    world.agent("a2", "cpus:2;mem:2048;ports:[1-9]")
    return world


def test_the_status_sums_what_is_there() -> None:
    status = view.status(_busy().master.tables)
    assert status.agents == {AgentState.ACTIVE: 2}
    assert (status.frameworks_active, status.frameworks_inactive, status.offers) == (1, 0, 1)
    assert status.tasks == {TaskState.RUNNING: 1, TaskState.STAGING: 1}
    assert status.total == Resources.parse("cpus:6;mem:6144")
    assert status.allocated == Resources.parse("cpus:2;mem:1024")
    assert status.offered == Resources.parse("cpus:2;mem:2048")


def test_agents_are_found_by_the_start_of_the_id_or_the_hostname() -> None:
    tables = _busy().master.tables
    assert [row.info.agent_id for row in view.agents(tables).rows] == ["a1", "a2"]
    assert [row.tasks for row in view.agents(tables, "a1").rows] == [2]
    [row] = view.agents(tables, "a2.example").rows
    assert row.offered == Resources.parse("cpus:2;mem:2048")
    assert view.agents(tables, "b").rows == ()


def test_frameworks_that_ended_are_shown_when_asked_for() -> None:
    world = _busy()
    assert [row.state for row in view.frameworks(world.master.tables, "f").rows] == ["active"]
    world.close("f")
    [row] = view.frameworks(world.master.tables).rows
    assert (row.state, row.failover_deadline_ms) == ("inactive", world.now_ms + 60_000)
    world.framework(stream="f2", session_id="s2")
    world.call("f2", Teardown())
    assert view.frameworks(world.master.tables).rows == ()
    [row] = view.frameworks(world.master.tables, completed=True).rows
    assert (row.framework_id, row.state, row.info.name) == ("1-F1", "completed", "f")


def test_a_task_keeps_its_statuses_and_is_shown_after_its_end() -> None:
    world = _busy()
    world.report("t1", TaskState.FINISHED, "u2")
    world.call("f", Acknowledge("a1", "t1", "u2"))
    tables = world.master.tables
    assert [row.task.task_id for row in view.tasks(tables, framework="f").rows] == ["t2"]
    [row] = view.tasks(tables, "t1", completed=True).rows
    assert [status.state for status in row.statuses] == [TaskState.RUNNING, TaskState.FINISHED]
    assert (row.framework_name, row.agent_hostname) == ("f", "a1.example")
    assert [e.task.task_id for e in view.task_entries(tables, "t1", "f")] == ["t1"]
    assert view.task_entries(tables, "t", "") == []
    assert view.tasks(tables, agent_id="a2").rows == ()


def test_an_offer_shows_how_long_it_still_stands() -> None:
    world = _busy()
    world.now_ms += 1_000
    world.step()
    [row] = view.offers(world.master.tables).rows
    assert row.lease_ms == world.config.offer_lease_ms - 1_000
    assert (row.framework_name, row.agent_id) == ("f", "a2")


def test_a_list_comes_in_pages() -> None:
    found = {"c": 3, "a": 1, "b": 2}.items()
    assert view.page_of(found, "", str, 2) == view.Page(("1", "2"), more=True)
    assert view.page_of(found, "b", str, 2) == view.Page(("3",), more=False)


def test_a_framework_shows_how_it_treats_its_offers_and_what_it_is_bounded_for() -> None:
    world = _busy()
    world.wait(world.config.offer_lease_ms)
    [row] = view.frameworks(world.master.tables).rows
    lapsed_ms = world.config.offer_lease_ms
    silent = view.EpisodeRow(Misconduct.SILENT, world.now_ms, 1)
    assert row.conduct == view.ConductRow(1, 1, lapsed_ms, lapsed_ms, 1, (silent,))
