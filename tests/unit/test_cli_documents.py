"""The JSON that scripts read: every field, by its protobuf JSON name, as plain values."""

import json

from mesoslite.cli.documents import document_of, member_name, text_of
from mesoslite.v1 import common_pb2, operator_pb2

TASK = operator_pb2.TaskRow(
    framework_id="1-2",
    framework_name="sleepers",
    task=common_pb2.Task(
        task_id="nap",
        command=["sleep", "5"],
        resources=[common_pb2.Resource(key="cpus", scalar_milli=500)],
        environment={"B": "2", "A": "1"},
        user="nobody",
    ),
    state=common_pb2.TASK_STATE_FAILED,
    statuses=[
        common_pb2.TaskStatus(
            task_id="nap",
            state=common_pb2.TASK_STATE_FAILED,
            reason=common_pb2.REASON_COMMAND_EXITED,
            exit_code=0,
            timestamp_ms=1_700_000_000_123,
        )
    ],
)


def test_a_task_says_every_field_it_could_have() -> None:
    document = document_of(TASK)
    assert list(document) == [field.json_name for field in TASK.DESCRIPTOR.fields]
    task = document["task"]
    assert isinstance(task, dict)
    assert task["taskId"] == "nap"
    assert task["user"] == "nobody"
    assert task["image"] is None
    assert task["environment"] == {"A": "1", "B": "2"}
    assert list(task["environment"]) == ["A", "B"]
    assert task["resources"] == {"text": "cpus:0.5", "cpus": 0.5}


def test_enums_are_their_names_and_numbers_are_numbers() -> None:
    document = document_of(TASK)
    assert document["state"] == "FAILED"
    [status] = json.loads(text_of(document))["statuses"]
    assert status["reason"] == "COMMAND_EXITED"
    assert status["refusal"] is None
    assert status["timestampMs"] == 1_700_000_000_123
    assert status["exitCode"] == 0
    assert status["signal"] is None


def test_counts_by_state_are_an_object() -> None:
    document = document_of(operator_pb2.GetStatusResponse(tasks_by_state={"RUNNING": 2}))
    assert document["tasksByState"] == {"RUNNING": 2}
    assert document["agentsActive"] == 0
    assert document["total"] == {"text": ""}


def test_a_member_of_a_newer_master_is_told_by_its_number() -> None:
    kind = common_pb2.TaskState.DESCRIPTOR
    assert member_name(kind, 0) is None
    assert member_name(kind, 999) == "999"


def test_attributes_are_names_with_values() -> None:
    info = common_pb2.AgentInfo(
        attributes=[
            common_pb2.Attribute(name="rack", text="r1"),
            common_pb2.Attribute(name="level", scalar_milli=1_500),
        ]
    )
    assert document_of(info)["attributes"] == [
        {"name": "rack", "value": "r1"},
        {"name": "level", "value": 1.5},
    ]
