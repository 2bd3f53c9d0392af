"""The framework behind `run`, without a cluster."""

import pytest

from mesoslite import Reason, Refusal, Resources, Task, TaskState
from mesoslite.cli.copies import ATTEMPTS_MAX, UNREAD_MAX, Copies
from mesoslite.cli.plan import Plan, RunOptions
from mesoslite.testing import Decisions, Harness, offer, status


class Bench:
    """Copies of a plan with what it tells of itself."""

    def __init__(self, count: int = 1, unread: int = 0, **options: object) -> None:
        given = {"command": ("true",), "cpus": "1", "mem": "32", "count": count, **options}
        self.unread = unread
        plan = Plan(RunOptions(**given))  # type: ignore[arg-type]
        self.copies = Copies(plan, lambda: self.unread)
        self.harness = Harness(self.copies)
        self.ended: list[str] = []
        self.copies.on_end = lambda task_id, outcome: self.ended.append(task_id)

    def offers(self, cpus: float, **more: object) -> Decisions:
        return self.harness.offers(offer(cpus=cpus, **more))  # type: ignore[arg-type]

    def ends(
        self, task: Task | str, state: TaskState = TaskState.FINISHED, code: int = 0
    ) -> Decisions:
        reason = Reason.COMMAND_EXITED
        return self.harness.status(status(task, state, reason=reason, exit_code=code))


def test_as_many_copies_as_fit_go_on_one_offer() -> None:
    bench = Bench(count=10)
    assert [task.task_id for task in bench.offers(3.5).launched] == [
        "true-01",
        "true-02",
        "true-03",
    ]
    assert bench.copies.waiting == 7


def test_it_requests_what_a_copy_needs_once_for_each_copy() -> None:
    bench = Bench(count=10, containerizer="oci", attributes=("rack:r1",), where="a == 1 or b == 2")
    [request] = bench.harness.decisions().requested
    assert (request.count, str(request.unit)) == (10, "cpus:1;mem:32")
    assert request.where == "containerizer == oci and rack == r1 and (a == 1 or b == 2)"


def test_when_nothing_waits_nothing_is_launched() -> None:
    bench = Bench()
    assert bench.offers(4, request_id="copies").requested == ()
    assert bench.offers(4, request_id="copies").launched == ()


def test_what_is_reserved_for_its_role_is_used_unasked_and_counted_down() -> None:
    bench = Bench(count=3, role="ads")
    reserved = Resources.parse("cpus(ads):2;mem(ads):512")
    decided = bench.harness.offers(offer(resources=reserved, role="ads"))
    assert {str(task.resources) for task in decided.launched} == {"cpus(ads):1;mem(ads):32"}
    assert [request.count for request in decided.requested] == [1]


def test_what_no_agent_can_hold_is_told_and_ends_it_unless_something_runs() -> None:
    bench = Bench(count=2)
    impossible: list[str] = []
    trouble: list[str] = []
    bench.copies.on_impossible = impossible.append
    bench.copies.on_trouble = trouble.append
    bench.harness.unsatisfiable("copies", message="the nearest, h1, lacks cpus:60")
    assert impossible == [
        "no agent can hold a task that needs cpus:1;mem:32: the nearest, h1, lacks cpus:60"
    ]
    bench.offers(1)
    bench.harness.unsatisfiable("copies", message="the nearest, h1, lacks cpus:60")
    assert (len(impossible), len(trouble)) == (1, 1)


def test_an_offer_that_is_too_small_or_of_the_wrong_kind_is_left() -> None:
    assert Bench().offers(0.5) == []
    assert Bench(containerizer="oci").offers(4) == []
    assert Bench(attributes=("rack:r1",)).offers(4, attributes="rack:r2") == []


def test_it_is_over_when_the_last_copy_has_ended() -> None:
    bench = Bench(count=2)
    first, second = bench.offers(4).launched
    bench.ends(first)
    assert not bench.copies.over.is_set()
    bench.ends(second, TaskState.FAILED, 7)
    assert bench.copies.over.is_set()
    assert {n: one.code for n, one in bench.copies.outcomes.items()} == {1: 0, 2: 7}


def test_what_never_started_is_launched_again_under_another_id() -> None:
    bench = Bench()
    [task] = bench.offers(4).launched
    said = status(
        task, TaskState.DROPPED, reason=Reason.LAUNCH_REFUSED, refusal=Refusal.UNKNOWN_OFFER
    )
    bench.harness.status(said)
    assert not bench.copies.over.is_set()
    assert [again.task_id for again in bench.offers(4).launched] == ["true.2"]


def test_what_never_started_is_requested_again() -> None:
    bench = Bench()
    [task] = bench.offers(4).launched
    decided = bench.harness.status(status(task, TaskState.DROPPED, reason=Reason.AGENT_RESTARTED))
    assert [request.count for request in decided.requested] == [1]


def test_what_never_starts_is_given_up_in_the_end() -> None:
    bench = Bench()
    for _ in range(ATTEMPTS_MAX):
        [task] = bench.offers(4).launched
        bench.harness.status(status(task, TaskState.DROPPED, reason=Reason.AGENT_RESTARTED))
    assert bench.copies.over.is_set()
    assert bench.copies.outcomes[1].code == 1


def test_giving_up_ends_what_runs_and_launches_nothing_more() -> None:
    bench = Bench(count=3)
    launched = bench.offers(2).launched
    bench.harness.decisions()
    bench.copies.give_up()
    assert set(bench.harness.decisions().killed) == {task.task_id for task in launched}
    assert bench.offers(4).launched == ()
    for task in launched:
        bench.harness.status(status(task, TaskState.KILLED, reason=Reason.KILL_ASKED))
    assert bench.copies.over.is_set()


def test_giving_up_before_anything_started_is_over_at_once() -> None:
    bench = Bench(count=3)
    bench.copies.give_up()
    assert bench.copies.over.is_set()


def test_copies_wait_while_too_much_output_is_unread() -> None:
    bench = Bench(count=3, unread=UNREAD_MAX)
    assert bench.offers(4).declined == ("offer-of-agent-1",)
    bench.unread = UNREAD_MAX - 1
    assert len(bench.offers(4).launched) == 1


@pytest.mark.parametrize("again", [1, 2])
def test_a_status_that_comes_twice_counts_once(again: int) -> None:
    bench = Bench()
    [task] = bench.offers(4).launched
    for _ in range(again):
        bench.ends(task)
    assert bench.ended == ["true"]
