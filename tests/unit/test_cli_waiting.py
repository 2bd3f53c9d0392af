"""Why a run has not started, in one line."""

from mesoslite.cli.plan import Plan, RunOptions
from mesoslite.cli.waiting import why_waiting
from mesoslite.v1 import common_pb2, operator_pb2


def agent(
    name: str, cpus: int, *, used: int = 0, state: str = "active", rack: str = "r1"
) -> operator_pb2.AgentRow:
    def amounts(milli: int) -> list[common_pb2.Resource]:
        mem = common_pb2.Resource(key="mem", scalar_milli=milli * 100)
        return [common_pb2.Resource(key="cpus", scalar_milli=milli), mem] if milli else []

    return operator_pb2.AgentRow(
        info=common_pb2.AgentInfo(
            agent_id=name,
            hostname=name,
            resources=amounts(cpus),
            attributes=[common_pb2.Attribute(name="rack", text=rack)],
            containerizers=["process"],
        ),
        state=state,
        allocated=amounts(used),
    )


def plan(**changes: object) -> Plan:
    given = {"command": ("true",), "cpus": "2", "mem": "64", **changes}
    return Plan(RunOptions(**given))  # type: ignore[arg-type]


def test_without_agents_that_is_it() -> None:
    assert "no agent has come" in why_waiting(plan(), [])
    assert "no agent has come" in why_waiting(plan(), [agent("a", 4_000, state="unreachable")])


def test_the_largest_agent_is_named_when_none_is_large_enough() -> None:
    assert why_waiting(plan(), [agent("a", 1_000), agent("b", 1_500)]) == (
        "waiting: a task needs cpus:2;mem:64, and no agent is so large; "
        "the largest, b, has cpus:1.5;mem:150"
    )


def test_the_freest_agent_is_named_when_all_are_in_use() -> None:
    agents = [agent("a", 4_000, used=3_000), agent("b", 3_000, used=1_500)]
    assert "most is free on b: cpus:1.5;mem:150" in why_waiting(plan(), agents)


def test_a_free_agent_means_that_it_is_somebody_s_turn() -> None:
    waiting = plan()
    assert why_waiting(waiting, [agent("a", 4_000)]) == (
        "waiting: a task needs cpus:2;mem:64, which no task holds, but other "
        f"frameworks may have it on offer; `mesoslite explain {waiting.framework_name}` tells"
    )


def test_a_place_where_no_agent_is_is_named() -> None:
    agents = [agent("a", 4_000), agent("b", 4_000, rack="r2")]
    assert why_waiting(plan(containerizer="oci"), agents) == (
        "waiting: no agent is where containerizer == oci"
    )
    somewhere = plan(attributes=("rack:r3",), where="hostname != a or has ssd")
    assert why_waiting(somewhere, agents) == (
        "waiting: no agent is where rack == r3 and (hostname != a or has ssd)"
    )
    assert "no agent is so large" in why_waiting(plan(cpus="9", where="rack == r2"), agents)


def test_numbers_that_do_not_add_up_are_survived() -> None:
    assert "in use" in why_waiting(plan(), [agent("a", 4_000, used=5_000)])
