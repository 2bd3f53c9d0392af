"""The scheduler of a Spark application: what it asks for, launches, ends and tells."""

from __future__ import annotations

from collections.abc import Callable

from mesoslite import Reason, Resources, TaskState, TaskStatus
from mesoslite.master.records import MasterConfig
from mesoslite.testing import Decisions, Harness, Run, Simulation, Teardown, offer, status
from mesoslite_spark.executors import (
    EXECUTORS_MAX,
    FAILURES_MAX,
    LAUNCH_BYTES_MAX,
    REASON_S_MAX,
    Executors,
)
from mesoslite_spark.messages import (
    Disconnected,
    Failed,
    FromDriver,
    Kill,
    Lost,
    Registered,
    Started,
    Stopped,
    ToDriver,
    Want,
)
from mesoslite_spark.sizes import ExecutorSize

SIZE = ExecutorSize(cores=2, heap_mib=1_024, overhead_mib=384)
UNIT = Resources(cpus=2, mem=1_408)
DRIVER = Started(
    "spark://CoarseGrainedScheduler@10.0.0.1:4000",
    "http://10.0.0.1:4040",
    ("-Da=b",),
    "",
    {"SPARK_USER": "u"},
)


class Bench:
    """Executors on the bench, with what the driver was told and what is to happen later."""

    def __init__(self, *, started: bool = True) -> None:
        self.told: list[ToDriver] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.executors = Executors(
            "spark-test",
            SIZE,
            python="/venv/bin/python",
            secret="s3cret",
            tell=self.told.append,
            later=lambda delay_s, do: self.later.append((delay_s, do)),
        )
        self.harness = Harness(self.executors)
        if started:
            self.hears(DRIVER)

    def hears(self, *messages: FromDriver) -> Decisions:
        self.harness.decisions()
        for message in messages:
            self.executors.hear(message)
        return self.harness.decisions()

    def offered(self, count: int, agent_id: str = "a1", units: int = 1) -> Decisions:
        """So many offers of so many units each."""
        return self.harness.offers(
            *(
                offer(
                    cpus=2 * units,
                    mem=1_408 * units,
                    agent_id=agent_id,
                    request_id="executors",
                    offer_id=f"{agent_id}-{number}",
                )
                for number in range(count)
            )
        )

    def ends(self, status: TaskStatus) -> Decisions:
        return self.harness.status(status)


def ended(
    number: int,
    state: TaskState = TaskState.FAILED,
    reason: Reason = Reason.COMMAND_EXITED,
    code: int | None = 1,
    agent_id: str = "a1",
) -> TaskStatus:
    return status(f"executor-{number}", state, reason=reason, exit_code=code, agent_id=agent_id)


def wanted(decisions: Decisions) -> list[int]:
    return [request.count for request in decisions.requested]


def test_nothing_is_asked_for_before_the_driver_has_started() -> None:
    bench = Bench(started=False)
    assert wanted(bench.harness.decisions()) == [0]
    assert wanted(bench.hears(Want(3))) == []
    assert wanted(bench.hears(DRIVER)) == [3]


def test_what_spark_wants_is_requested_in_units_of_an_executor() -> None:
    [request] = Bench().hears(Want(3)).requested
    assert (request.count, request.unit, request.role) == (3, UNIT, "*")


def test_offers_are_used_for_what_is_missing_and_no_more() -> None:
    bench = Bench()
    bench.hears(Want(3))
    made = bench.offered(2)
    assert [task.task_id for task in made.launched] == ["executor-1", "executor-2"]
    assert [task.resources for task in made.launched] == [UNIT, UNIT]
    assert wanted(made) == []  # the master counts the launches down by itself
    assert [task.task_id for task in bench.offered(2, "a2").launched] == ["executor-3"]
    assert bench.offered(2, "a3").launched == ()


def test_of_a_large_offer_an_eighth_of_what_is_there_is_taken_and_the_rest_goes_round() -> None:
    bench = Bench()
    bench.hears(Want(100))
    taken = [len(bench.offered(1, units=50).launched) for _ in range(20)]
    assert taken == [1] * 16 + [2] * 4


def test_two_applications_fill_a_cluster_by_their_weights() -> None:
    """In virtual time, with the real master: what one gives back is the other's turn."""
    cluster = Simulation(
        seed=1,
        agents=0,
        master=MasterConfig(weights={"light": 1, "heavy": 2}),
        runs=lambda _: Run(seconds=1_000),
    )
    nodes = {}
    for role in ("light", "heavy"):
        executors = Executors(
            role,
            SIZE,
            python="python",
            secret="",
            tell=lambda _: None,
            later=lambda _delay_s, _do: None,
            role=role,
        )
        nodes[role] = cluster.add(executors)
        for message in (DRIVER, Want(12)):
            executors.hear(message)
    cluster.run(seconds=5)
    cluster.add_agents(2, "cpus:12;mem:8448")
    cluster.run(seconds=20)
    assert {role: len(node.states) for role, node in nodes.items()} == {"light": 4, "heavy": 8}


def test_an_executor_is_started_with_what_the_driver_said() -> None:
    bench = Bench()
    bench.hears(Want(1))
    [task] = bench.offered(1).launched
    words = " ".join(task.command)
    assert words.startswith("/venv/bin/python -m mesoslite_spark.executor --driver-url spark://")
    assert "--executor-id 1 --cores 2 --app-id spark-test --heap-mib 1024" in words
    assert words.endswith("-- -Da=b")
    assert task.environment == {"SPARK_USER": "u", "_SPARK_AUTH_SECRET": "s3cret"}


def test_what_is_reserved_for_the_role_is_used_and_counted_down_by_us() -> None:
    bench = Bench()
    bench.hears(Want(3))
    made = bench.harness.offers(offer(resources=UNIT))
    assert len(made.launched) == 1
    assert wanted(made) == [2]


def test_launches_of_long_command_lines_are_cut_to_what_a_message_holds() -> None:
    bench = Bench(started=False)
    option = "-D" + "x" * (LAUNCH_BYTES_MAX // 4)
    bench.hears(Started(DRIVER.driver, "", (option,), "", {}), Want(99))
    bench.offered(48)
    assert len(bench.offered(1, units=6).launched) == 3


def test_spark_that_wants_less_kills_what_it_names_and_the_rest_stays() -> None:
    bench = Bench()
    bench.hears(Want(3))
    bench.offered(3)
    assert bench.hears(Want(1)).killed == ()
    assert bench.hears(Kill((1, 3, 99))).killed == ("executor-1", "executor-3")
    assert bench.hears(Kill((1,))).killed == ()
    assert bench.executors.living == {2}
    assert bench.told == []


def test_an_executor_that_spark_kills_is_no_failure_of_the_application() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    bench.hears(Registered(1), Want(0), Kill((1,)))
    made = bench.ends(ended(1, state=TaskState.KILLED, reason=Reason.KILL_ASKED, code=143))
    [lost] = bench.told
    assert isinstance(lost, Lost)
    assert (lost.executor, lost.exit_code, lost.caused_by_app) == (1, 143, False)
    assert sum(wanted(made)) == 0


def test_one_that_is_killed_to_be_replaced_is_missing_at_once() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    assert wanted(bench.hears(Kill((1,)))) == [1]


def test_an_executor_that_ends_by_itself_is_told_and_replaced() -> None:
    bench = Bench()
    bench.hears(Want(2))
    bench.offered(2)
    bench.hears(Registered(1), Registered(2))
    assert wanted(bench.ends(ended(2, reason=Reason.MEMORY_LIMIT, code=137))) == [1]
    [lost] = bench.told
    assert isinstance(lost, Lost)
    assert (lost.executor, lost.exit_code, lost.caused_by_app) == (2, 137, True)
    assert [task.task_id for task in bench.offered(1).launched] == ["executor-3"]


def test_a_reboot_of_its_host_is_no_fault_of_the_application() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    bench.hears(Registered(1))
    bench.ends(ended(1, reason=Reason.HOST_REBOOTED, code=None))
    [lost] = bench.told
    assert isinstance(lost, Lost)
    assert (lost.exit_code, lost.caused_by_app) == (-1, False)


def test_the_driver_waits_for_the_reason_of_a_silence_and_not_for_ever() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    bench.hears(Registered(1), Disconnected(1))
    [(delay_s, give_up)] = bench.later
    assert (delay_s, bench.told) == (REASON_S_MAX, [])
    give_up()
    made = bench.harness.decisions()
    [lost] = bench.told
    assert isinstance(lost, Lost)
    assert not lost.caused_by_app
    assert (made.killed, wanted(made)) == (("executor-1",), [1])
    bench.ends(ended(1))  # its agent came back and carried out the kill
    assert bench.told == [lost]


def test_a_reason_that_comes_in_time_is_the_one_that_is_told() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    bench.hears(Registered(1), Disconnected(1))
    bench.ends(ended(1, reason=Reason.MEMORY_LIMIT))
    [(_, give_up)] = bench.later
    give_up()
    assert len(bench.told) == 1
    assert bench.harness.decisions().killed == ()


def test_an_executor_whose_agent_is_not_heard_of_is_replaced() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    made = bench.ends(
        ended(1, state=TaskState.UNREACHABLE, reason=Reason.AGENT_UNREACHABLE, code=None)
    )
    assert (made.killed, wanted(made)) == (("executor-1",), [1])
    assert len(bench.told) == 1


def test_a_launch_that_was_dropped_is_made_again() -> None:
    bench = Bench()
    bench.hears(Want(1))
    bench.offered(1)
    made = bench.ends(ended(1, state=TaskState.DROPPED, reason=Reason.LAUNCH_REFUSED, code=None))
    assert wanted(made) == [1]
    assert [task.task_id for task in bench.offered(1).launched] == ["executor-2"]


def test_where_an_executor_did_not_start_the_next_one_waits_longer_each_time() -> None:
    bench = Bench()
    bench.hears(Want(1))
    refused = []
    for number in (1, 2, 3):
        assert len(bench.offered(1).launched) == 1
        bench.ends(ended(number, code=3))
        made = bench.offered(1)
        assert made.launched == ()
        refused += [one.refuse_ms for one in made if hasattr(one, "refuse_ms")]
    assert refused == [5_000, 10_000, 20_000]
    assert len(bench.offered(1, "a2").launched) == 1


def test_when_none_starts_the_application_is_given_up() -> None:
    bench = Bench()
    bench.hears(Want(1))
    made = Decisions()
    for number in range(1, FAILURES_MAX + 1):
        assert not [one for one in bench.told if isinstance(one, Failed)]
        agent = f"a{number}"
        assert len(bench.offered(1, agent).launched) == 1
        made = bench.ends(ended(number, code=3, agent_id=agent))
    [failed] = [one for one in bench.told if isinstance(one, Failed)]
    assert "10 executors in a row" in failed.why
    assert f"mesoslite logs executor-{FAILURES_MAX} --framework spark-test" in failed.why
    assert wanted(made) == [0]


def test_one_that_reaches_the_driver_forgives_those_that_did_not() -> None:
    bench = Bench()
    bench.hears(Want(1))
    for number in range(1, 3 * FAILURES_MAX, 2):
        agent = f"a{number}"
        bench.offered(1, agent)
        bench.ends(ended(number, code=3, agent_id=agent))
        bench.offered(1, f"{agent}-other")
        bench.hears(Registered(number + 1))
        bench.ends(ended(number + 1, code=3, agent_id=f"{agent}-other"))
    assert not [one for one in bench.told if isinstance(one, Failed)]


def test_there_is_a_bound_on_what_spark_may_want() -> None:
    assert wanted(Bench().hears(Want(2**31 - 1))) == [EXECUTORS_MAX]


def test_the_end_of_the_application_is_the_end_of_the_framework() -> None:
    assert Teardown() in Bench().hears(Stopped())


def test_its_status_tells_where_the_driver_is_and_that_it_waits_for_executors() -> None:
    bench = Bench()
    assert {key: entry.value for key, entry in bench.harness.entries.items()} == {
        "endpoint/driver": b"10.0.0.1:4000",
        "endpoint/page": b"http://10.0.0.1:4040",
    }
    bench.hears(Want(1))
    assert b"executors" in bench.harness.entries["waits-for"].value
    bench.offered(1)
    assert "waits-for" not in bench.harness.entries
