"""`reservation` and `volume` for people: rows, and who is meant."""

from __future__ import annotations

import pytest

from mesoslite.cli import reservations
from mesoslite.cli.console import Code, Failure
from mesoslite.v1 import common_pb2, operator_pb2
from tests.unit.test_cli_tables import NOW_MS, printed


def amount(key: str, milli: int) -> common_pb2.Resource:
    return common_pb2.Resource(key=key, scalar_milli=milli)


def reservation(reservation_id: str = "broker-0", **more: object) -> operator_pb2.ReservationRow:
    fields: dict[str, object] = {
        "agent_id": "agent-1",
        "agent_hostname": "host-1",
        "agent_state": "active",
        "used": [amount("cpus", 1_000)],
    }
    row = operator_pb2.ReservationRow(**(fields | more))  # type: ignore[arg-type]
    row.reservation.CopyFrom(
        common_pb2.Reservation(
            reservation_id=reservation_id,
            role="kafka",
            resources=[amount("cpus", 2_000), amount("disk", 10_240_000)],
            labels={"b": "2", "a": "1"},
            principal="local",
            framework="events" if reservation_id else "",
            since_ms=NOW_MS - 130_000,
        )
    )
    return row


def volume(used_mib: float | None = None, **more: object) -> operator_pb2.VolumeRow:
    fields: dict[str, object] = {
        "agent_id": "agent-1",
        "agent_hostname": "host-1",
        "agent_state": "active",
        "used_bytes": None if used_mib is None else round(used_mib * (1 << 20)),
        "measured_ms": NOW_MS - 5_000,
    }
    row = operator_pb2.VolumeRow(**(fields | more))  # type: ignore[arg-type]
    row.volume.CopyFrom(
        common_pb2.Volume(
            volume_id="data",
            role="kafka",
            resources=[amount("disk", 1_024_000)],
            reservation_id="broker-0",
            framework="events",
            since_ms=NOW_MS - 60_000,
        )
    )
    return row


def test_a_reservation_shows_who_holds_what_of_it_where_and_since_when() -> None:
    head, line = printed(reservations.reservation_table([reservation()], NOW_MS, wide=False))
    assert " ".join(head.split()) == "RESERVATION ROLE FOR HOST STATE SINCE CPUS MEM DISK"
    assert line.split("  ")[0] == "broker-0"
    for cell in ("kafka", "events", "host-1", "active", "2m10s", "1/2", " - ", "0 MiB/10 GiB"):
        assert cell in line
    wide = printed(reservations.reservation_table([reservation()], NOW_MS, wide=True))[1]
    for cell in ("a=1,b=2", "local", "agent-1", "cpus:2;disk:10240"):
        assert cell in wide


def test_what_the_configuration_reserves_and_what_is_under_way_is_told_apart() -> None:
    rows = [reservation(""), reservation(pending=True), reservation(releasing=True)]
    _, *lines = printed(reservations.reservation_table(rows, NOW_MS, wide=False))
    assert [line.split()[0] for line in lines] == ["configured", "broker-0", "broker-0"]
    assert "active" in lines[0]
    assert "pending" in lines[1]
    assert "releasing" in lines[2]


@pytest.mark.parametrize(
    ("used_mib", "told"),
    [(None, "?"), (0, "0 B (0 %)"), (512, "512 MiB (50 %)"), (1_536, "1.5 GiB (150 %), full")],
)
def test_a_volume_shows_how_full_it_is_and_who_uses_it(used_mib: float | None, told: str) -> None:
    row = volume(used_mib, user_task_id="broker-0-7")
    head, line = printed(reservations.volume_table([row], NOW_MS, wide=False))
    assert " ".join(head.split()) == "VOLUME ROLE FOR HOST STATE SINCE SIZE USED TASK"
    for cell in ("data", "kafka", "events", "host-1", "1m00s", "1 GiB", told, "broker-0-7"):
        assert cell in line


def test_one_that_is_on_several_agents_is_asked_about_and_one_that_is_nowhere_is_not_found() -> (
    None
):
    elsewhere = volume(agent_id="agent-2", agent_hostname="host-2")
    with pytest.raises(Failure, match=r"host-1 \(kafka\), host-2 \(kafka\)") as several:
        reservations._the_one([volume(), elsewhere], "volume", "data", ["kafka", "kafka"])
    assert several.value.code is Code.USAGE
    with pytest.raises(Failure, match="no volume is called 'data'") as none:
        reservations._the_one([], "volume", "data", [])
    assert none.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("text", ["", "cpus", "cpus:0", "disk:-1", "cpus:one"])
def test_what_is_no_amount_is_refused_before_anybody_is_asked(text: str) -> None:
    with pytest.raises(Failure) as refused:
        reservations._amounts(text)
    assert refused.value.code is Code.USAGE


def test_labels_are_names_and_values() -> None:
    assert reservations._labels(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(Failure, match="is not NAME=VALUE"):
            reservations._labels([wrong])
