"""The demonstration framework's decisions, one by one."""

from mesoslite import Reason, Task, TaskState, TaskStatus
from mesoslite.testing import Harness, SuppressRoles, Teardown, offer, status
from mesoslite_demo.scheduler import ATTEMPTS_MAX, JOB_NEEDS, Demo

NEEDS = JOB_NEEDS.cpus


def ended(task: Task | str, code: int = 0) -> TaskStatus:
    state = TaskState.FINISHED if code == 0 else TaskState.FAILED
    return status(task, state, reason=Reason.COMMAND_EXITED, exit_code=code)


def names(tasks: tuple[Task, ...]) -> list[str]:
    return [task.task_id for task in tasks]


def test_each_agent_has_one_service_and_as_many_jobs_as_fit() -> None:
    bench = Harness(Demo(webs=2, jobs=9))
    made = bench.offers(offer(cpus=3 * NEEDS, agent_id="a1"), offer(cpus=2 * NEEDS, agent_id="a2"))
    assert names(made.launched) == ["web-1", "job-01", "job-02", "web-2", "job-03"]
    again = bench.offers(offer(cpus=2 * NEEDS, agent_id="a1"))
    assert names(again.launched) == ["job-04", "job-05"]


def test_an_agent_that_is_too_full_is_left_alone() -> None:
    assert Harness(Demo()).offers(offer(cpus=NEEDS / 2)).launched == ()


def test_offers_are_left_to_others_when_nothing_waits() -> None:
    bench = Harness(Demo(webs=1, jobs=1))
    assert SuppressRoles(()) in bench.offers(offer(cpus=1))


def test_a_job_that_fails_is_tried_again_as_another_task() -> None:
    bench = Harness(Demo(webs=0, jobs=1))
    bench.offers(offer())
    bench.status(ended("job-01", 3))
    [again] = bench.offers(offer()).launched
    assert again.task_id == "job-01.2"
    assert again.environment == {"JOB": "1", "ATTEMPT": "2"}


def test_a_job_that_always_fails_is_given_up_and_the_end_comes() -> None:
    bench = Harness(Demo(webs=0, jobs=1))
    for _ in range(ATTEMPTS_MAX - 1):
        [task] = bench.offers(offer()).launched
        assert Teardown() not in bench.status(ended(task, 1))
    [task] = bench.offers(offer()).launched
    assert Teardown() in bench.status(ended(task, 1))
    assert bench.offers(offer()).launched == ()


def test_when_the_jobs_are_done_the_services_end_and_then_the_framework() -> None:
    bench = Harness(Demo(webs=1, jobs=1))
    bench.offers(offer())
    assert bench.status(ended("job-01")).killed == ("web-1",)
    assert Teardown() in bench.status(status("web-1", TaskState.KILLED))


def test_a_service_that_ends_before_its_time_is_replaced_under_a_new_id() -> None:
    bench = Harness(Demo(webs=1, jobs=2))
    bench.offers(offer(cpus=2 * NEEDS))
    bench.status(ended("web-1", 1))
    assert "web-2" in names(bench.offers(offer()).launched)


def test_statuses_of_tasks_that_it_does_not_know_change_nothing() -> None:
    """A restarted scheduler is told of its predecessor's tasks."""
    bench = Harness(Demo(webs=0, jobs=1))
    assert bench.status(status("job-99", TaskState.RUNNING)) == []
    assert bench.status(ended("job-99")) == []
