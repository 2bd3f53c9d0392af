"""`reservation` and `volume` for people: rows, and who is meant."""

from __future__ import annotations

from typing import Any

import pytest

from mesoslite.cli import framework_status, reservations
from mesoslite.cli.connection import only, only_framework
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.options import Chosen
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


def agent(hostname: str, state: str, boot_id: str = "") -> operator_pb2.AgentRow:
    info = common_pb2.AgentInfo(agent_id=f"id-of-{hostname}", hostname=hostname)
    return operator_pb2.AgentRow(info=info, state=state, boot_id=boot_id)


class Knows:
    """A master's answers, without a master."""

    def __init__(self, agents: list[operator_pb2.AgentRow]) -> None:
        self._agents = agents

    def agents(self, some: str = "") -> list[operator_pb2.AgentRow]:
        return [row for row in self._agents if row.info.agent_id.startswith(some)]

    def frameworks(self, some: str, *, completed: bool = False) -> list[operator_pb2.FrameworkRow]:
        known = some == "was-there" and completed
        return [operator_pb2.FrameworkRow(framework_id="F1")] if known else []


def told(capsys: pytest.CaptureFixture[str], of: reservations.Of, *hosts: str) -> str:
    """What is said on stderr when nothing is found, and these hosts have not come back."""
    operator: Any = Knows([agent(host, "awaited") for host in hosts])
    reservations._print(Chosen(), operator, "volumes", [], reservations.volume_table, of)
    return capsys.readouterr().err


def test_agents_that_a_new_master_has_not_heard_are_named_under_a_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "1 agent is awaited: h2; what is there is not known" in told(
        capsys, reservations.Of(), "h2"
    )
    many = [f"h{n}" for n in range(7)]
    assert "7 agents are awaited: h0, h1, h2, h3, h4 and 2 more" in told(
        capsys, reservations.Of(), *many
    )
    assert "awaited" not in told(capsys, reservations.Of())
    assert "no volumes for role nope" in told(capsys, reservations.Of(role="nope"))
    known = [agent("a", "active", "b"), agent("u", "unreachable", "b"), agent("g", "gone")]
    assert reservations.unheard_of(known) == []
    assert reservations.unheard_of([agent("u", "unreachable")]) == ["u"]


def test_what_may_be_on_an_agent_that_is_awaited_is_not_said_to_be_nowhere() -> None:
    with pytest.raises(Failure, match="1 agent is awaited: h2; ask again") as none:
        reservations._the_one([], "volume", "data", [], ["h2"])
    assert none.value.code is Code.NOT_FOUND


def test_a_framework_that_nobody_knows_is_not_found_and_one_that_has_ended_has_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "no volumes" in told(capsys, reservations.Of(framework="was-there"))
    with pytest.raises(Failure, match="no framework is called 'nope'") as none:
        told(capsys, reservations.Of(framework="nope"))
    assert none.value.code is Code.NOT_FOUND


def test_a_reservation_of_ports_and_own_kinds_shows_them() -> None:
    row = reservation()
    assert "OTHER" not in printed(reservations.reservation_table([row], NOW_MS, wide=False))[0]
    row.reservation.resources.append(amount("gpus", 2_000))
    span = common_pb2.Range(low=31_000, high=31_002)
    row.reservation.resources.append(
        common_pb2.Resource(key="ports", ranges=common_pb2.Ranges(ranges=[span]))
    )
    head, line, plain = printed(
        reservations.reservation_table([row, reservation("r")], NOW_MS, wide=False)
    )
    assert head.split()[-1] == "OTHER"
    assert line.split()[-1] == "gpus:2;ports:[31000-31002]"
    assert plain.split()[-1] == "-"


def test_a_role_is_not_written_into_an_operators_amounts() -> None:
    with pytest.raises(Failure, match="the role as --role"):
        reservations._amounts("cpus(ads):1")


@pytest.mark.parametrize("noun", ["agent", "task"])
def test_nothing_is_no_name(noun: str) -> None:
    with pytest.raises(Failure, match=f"the {noun} is empty") as empty:
        only(["a", "b"], noun, "", str)
    assert empty.value.code is Code.USAGE
    with pytest.raises(Failure, match="the framework is empty"):
        only_framework([operator_pb2.FrameworkRow(framework_id="F1")], "")


@pytest.mark.parametrize(
    ("state", "said", "shown"),
    [
        ("active", "", "nothing"),
        ("active", "a volume", "a volume"),
        ("inactive", "", "its scheduler"),
        ("inactive", "a volume", "its scheduler; before that for a volume"),
    ],
)
def test_a_framework_without_a_scheduler_waits_for_it(state: str, said: str, shown: str) -> None:
    assert framework_status._waited_for(state, said) == shown


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
