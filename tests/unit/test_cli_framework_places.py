"""What a framework that was stopped has reserved is waited for where its agents are away."""

from mesoslite.cli.framework_places import why_not_yet
from mesoslite.v1 import common_pb2, operator_pb2


def agent(host: str, state: str = "active", boot_id: str = "b") -> operator_pb2.AgentRow:
    return operator_pb2.AgentRow(
        info=common_pb2.AgentInfo(agent_id=host, hostname=host), state=state, boot_id=boot_id
    )


def reserved(
    host: str, state: str, framework: str = "kafka", releasing: bool = False
) -> operator_pb2.ReservationRow:
    return operator_pb2.ReservationRow(
        agent_id=host,
        agent_hostname=host,
        agent_state=state,
        reservation=common_pb2.Reservation(reservation_id="r", framework=framework),
        releasing=releasing,
    )


def test_nothing_is_waited_for_when_all_that_is_reserved_is_here() -> None:
    assert why_not_yet("kafka", [agent("h1")], [reserved("h1", "active")]) == ""


def test_agents_that_are_away_with_something_of_it_are_named_with_what_to_do() -> None:
    rows = [reserved("h1", "disconnected"), reserved("h3", "unreachable"), reserved("h2", "active")]
    line = why_not_yet("kafka", [], rows)
    assert line.startswith("kafka waits for h1, h3, where an earlier run")
    assert "mesoslite agent gone AGENT" in line
    assert "mesoslite framework stop kafka --release" in line


def test_what_is_another_s_or_given_up_is_not_waited_for() -> None:
    rows = [
        reserved("h1", "unreachable", framework="other"),
        reserved("h2", "gone"),
        reserved("h3", "unreachable", releasing=True),
    ]
    assert why_not_yet("kafka", [agent("h1", "unreachable")], rows) == ""


def test_agents_that_a_new_master_has_not_heard_yet_may_have_anything() -> None:
    for state in ("awaited", "unreachable"):  # the second when its time to come back is over
        line = why_not_yet("kafka", [agent("h1"), agent("h2", state, "")], [])
        assert line.startswith("kafka waits for h2, of which the master has not heard")
