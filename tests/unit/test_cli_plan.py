"""What `run` is asked to run."""

import pytest

from mesoslite import Resources
from mesoslite.cli.console import Code, Failure
from mesoslite.cli.plan import Plan, RunOptions, default_name, uri
from mesoslite.testing import offer

DIGEST = "ab" * 32


def plan(**changes: object) -> Plan:
    given = {"command": ("sh", "-c", "true"), **changes}
    return Plan(RunOptions(**given))  # type: ignore[arg-type]


def test_one_copy_has_the_name_of_its_command() -> None:
    one = plan(command=("/bin/true",))
    assert one.task(1, 1).task_id == "true"
    assert one.task(1, 2).task_id == "true.2"


def test_copies_are_numbered_as_wide_as_the_last() -> None:
    many = plan(count=500, name="job")
    assert [many.task_id(n) for n in (1, 42, 500)] == ["job-001", "job-042", "job-500"]
    assert many.task(42, 1).environment == {"MESOSLITE_COPY": "42", "MESOSLITE_COPIES": "500"}


def test_two_runs_of_one_command_are_two_frameworks() -> None:
    assert plan().framework_name != plan().framework_name


def test_options_reach_the_task() -> None:
    task = plan(
        cpus="0.5",
        mem="1GiB",
        env=("A=1", "B=x=y"),
        uris=(f"http://host/x.tgz#sha256={DIGEST}",),
        user="nobody",
        pids=7,
        max_completion_s=1.5,
        grace_s=0.25,
    ).task(1, 1)
    assert task.resources == Resources(cpus=0.5, mem=1024)
    assert task.environment["A"] == "1"
    assert task.environment["B"] == "x=y"
    assert (task.uris[0].value, task.uris[0].sha256) == ("http://host/x.tgz", DIGEST)
    assert (task.user, task.pids_limit) == ("nobody", 7)
    assert (task.max_completion_ms, task.kill_grace_ms) == (1_500, 250)


def test_an_image_asks_for_oci() -> None:
    assert plan(image="/srv/root").task(1, 1).containerizer == "oci"
    assert not plan(image="/srv/root").suits(offer(containerizers=("process",)))
    assert plan(image="/srv/root").suits(offer(containerizers=("process", "oci")))


def test_attributes_are_matched_as_they_are_spelled() -> None:
    picky = plan(attributes=("rack:r1", "zone:a"))
    assert picky.suits(offer(attributes="zone:a;rack:r1;disk:ssd"))
    assert not picky.suits(offer(attributes="rack:r1"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus": "-1"}, "cpus"),
        ({"mem": "much"}, "mem"),
        ({"cpus": "0", "mem": "0"}, "--cpus or --mem"),
        ({"env": ("NOVALUE",)}, "NAME=VALUE"),
        ({"env": ("=x",)}, "NAME=VALUE"),
        ({"role": "a b"}, "--role"),
        ({"name": "a/b"}, "--name"),
        ({"name": ""}, "--name"),
        ({"name": "x" * 65}, "--name"),
        ({"name": ".."}, "--name"),
    ],
)
def test_wrong_options_are_refused_in_one_line(changes: dict[str, object], said: str) -> None:
    with pytest.raises(Failure) as caught:
        plan(**changes)
    assert caught.value.code == Code.USAGE
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_odd_commands_are_still_names() -> None:
    assert default_name(("/opt/my tool (2)!",)) == "my-tool-2"
    assert default_name(("///",)) == "task"


def test_a_message_of_large_tasks_holds_few_of_them() -> None:
    assert plan().tasks_of_an_accept == 1_000
    assert plan(command=("sh", "-c", "x" * 100_000)).tasks_of_an_accept == 5
    assert plan(command=("x" * 600_000,)).tasks_of_an_accept == 1


def test_a_uri_without_a_checksum_is_taken_as_it_is() -> None:
    assert uri("file:///a#b").value == "file:///a#b"
    assert uri("file:///a#b").sha256 is None
