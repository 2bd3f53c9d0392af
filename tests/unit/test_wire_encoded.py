"""What the wire remembers changes nothing but the time it takes."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite.lifecycle import TaskState
from mesoslite.model import Task, TaskStatus, Uri, shape_of
from mesoslite.reservations import VolumeMount
from mesoslite.resources import Resources
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import (
    MalformedMessage,
    encoded_status,
    encoded_task,
    status_from_wire,
    status_to_wire,
    task_from_wire,
    task_to_wire,
)
from mesoslite.wire.encoded import KEPT_BYTES_MAX, KEPT_MAX, Encoded
from mesoslite.wire.nouns import others_to_keep
from tests.properties import strategies


def task(task_id: str, cpus: int = 1, **more: str) -> Task:
    return Task(task_id, ["true"], Resources(cpus=cpus, mem=32), **more)  # type: ignore[arg-type]


def test_tasks_that_differ_by_their_ids_alone_stay_different() -> None:
    tasks = [task("a"), task("b"), task("a" * 128), task("c", cpus=2), task("d", user="me")]
    read = [task_from_wire(task_to_wire(one)) for one in tasks * 2]
    assert read == tasks * 2


def test_a_bad_id_is_found_however_well_the_rest_is_known() -> None:
    slot = task_to_wire(task("good"))
    task_from_wire(slot)
    for bad in ("", "..", "a b", "x" * 129):
        slot.task_id = bad
        with pytest.raises(MalformedMessage) as raised:
            task_from_wire(slot)
        assert raised.value.field == "task_id"


def test_a_bad_task_is_bad_each_time() -> None:
    slot = task_to_wire(task("t"))
    slot.kill_grace_ms = -1
    for _ in range(2):
        with pytest.raises(MalformedMessage):
            task_from_wire(slot)


def test_fields_in_another_order_are_the_same_task() -> None:
    """A client may write them as it likes, the id last."""
    body = task_to_wire(task("t"))
    body.ClearField("task_id")
    encoded = body.SerializeToString() + pb.Task(task_id="t").SerializeToString()
    assert task_from_wire(pb.Task.FromString(encoded)) == task("t")


def test_what_was_read_is_written_as_it_came() -> None:
    slot = task_to_wire(task("t"))
    read = task_from_wire(slot)
    assert encoded_task(read) == slot.SerializeToString()
    other = task("other")
    assert pb.Task.FromString(encoded_task(other)) == task_to_wire(other)
    assert task_to_wire(read) == slot


def test_tasks_under_other_ids_are_kept_as_they_are_written() -> None:
    like = task_from_wire(task_to_wire(task("a")))
    names = ["b", "c" * 127, "d" * 128]
    for other, name in zip(others_to_keep(like, names, "ids"), names, strict=True):
        assert other == task(name)
        assert pb.Task.FromString(encoded_task(other)) == task_to_wire(task(name))


def test_a_changed_copy_is_encoded_anew() -> None:
    first = TaskStatus("t", TaskState.RUNNING, update_id="1.1")
    encoded_status(first)
    changed = replace(first, update_id="")
    assert status_to_wire(changed).update_id == ""
    assert encoded_status(changed) != encoded_status(first)
    assert status_to_wire(first).update_id == "1.1"


@given(st.lists(strategies.statuses, min_size=1, max_size=3))
def test_a_status_that_is_kept_is_the_one_that_was_told(told: list[TaskStatus]) -> None:
    for status in (*told, *told):
        kept = pb.TaskStatus.FromString(encoded_status(status))
        assert kept == status_to_wire(status)
        assert status_from_wire(kept) == status


def test_what_is_kept_is_bounded_in_number_and_in_bytes() -> None:
    kept: Encoded[object] = Encoded()
    nouns = [object() for _ in range(KEPT_MAX + 1)]
    for noun in nouns:
        kept.keep(noun, b"x")
    assert kept.of(nouns[-1]) == b"x"
    assert sum(kept.of(noun) is not None for noun in nouns) <= KEPT_MAX
    large = object()
    kept.keep(large, b"x" * (KEPT_BYTES_MAX + 1))
    assert kept.of(large) is None


def test_every_part_of_a_task_but_its_id_makes_another_shape() -> None:
    """What one shape is said of is said once, so a part that is left out would be lost."""
    changes: dict[str, Any] = {
        "command": ["false"],
        "resources": Resources(cpus=2),
        "name": "n",
        "environment": {"A": "b"},
        "user": "me",
        "uris": [Uri("/x")],
        "image": "/i",
        "containerizer": "oci",
        "kill_grace_ms": 7,
        "max_completion_ms": 8,
        "pids_limit": 9,
        "labels": {"a": "b"},
        "fence": "key",
        "volumes": (VolumeMount("v", "data"),),
    }
    assert {field.name for field in fields(Task)} == {"task_id", *changes}
    plain = shape_of(task("t"))
    assert shape_of(task("other")) == plain
    for name, value in changes.items():
        assert shape_of(replace(task("t"), **{name: value})) != plain, name
