from mesoslite.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[AgentCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[AgentCall, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("epoch", "events")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    events: _containers.RepeatedCompositeFieldContainer[AgentEvent]
    def __init__(self, epoch: _Optional[int] = ..., events: _Optional[_Iterable[_Union[AgentEvent, _Mapping]]] = ...) -> None: ...

class AgentCall(_message.Message):
    __slots__ = ("register_begin", "register_part", "register_end", "statuses", "message", "heartbeat", "file_chunk", "troubled", "operation_report", "volumes_measured")
    REGISTER_BEGIN_FIELD_NUMBER: _ClassVar[int]
    REGISTER_PART_FIELD_NUMBER: _ClassVar[int]
    REGISTER_END_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    FILE_CHUNK_FIELD_NUMBER: _ClassVar[int]
    TROUBLED_FIELD_NUMBER: _ClassVar[int]
    OPERATION_REPORT_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_MEASURED_FIELD_NUMBER: _ClassVar[int]
    register_begin: RegisterBegin
    register_part: RegisterPart
    register_end: RegisterEnd
    statuses: StatusReports
    message: _common_pb2.TaskMessage
    heartbeat: _common_pb2.Heartbeat
    file_chunk: FileChunk
    troubled: Troubled
    operation_report: _common_pb2.OperationStatus
    volumes_measured: VolumesMeasured
    def __init__(self, register_begin: _Optional[_Union[RegisterBegin, _Mapping]] = ..., register_part: _Optional[_Union[RegisterPart, _Mapping]] = ..., register_end: _Optional[_Union[RegisterEnd, _Mapping]] = ..., statuses: _Optional[_Union[StatusReports, _Mapping]] = ..., message: _Optional[_Union[_common_pb2.TaskMessage, _Mapping]] = ..., heartbeat: _Optional[_Union[_common_pb2.Heartbeat, _Mapping]] = ..., file_chunk: _Optional[_Union[FileChunk, _Mapping]] = ..., troubled: _Optional[_Union[Troubled, _Mapping]] = ..., operation_report: _Optional[_Union[_common_pb2.OperationStatus, _Mapping]] = ..., volumes_measured: _Optional[_Union[VolumesMeasured, _Mapping]] = ...) -> None: ...

class VolumeUse(_message.Message):
    __slots__ = ("role", "volume_id", "used_bytes", "measured_ms")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MS_FIELD_NUMBER: _ClassVar[int]
    role: str
    volume_id: str
    used_bytes: int
    measured_ms: int
    def __init__(self, role: _Optional[str] = ..., volume_id: _Optional[str] = ..., used_bytes: _Optional[int] = ..., measured_ms: _Optional[int] = ...) -> None: ...

class VolumesMeasured(_message.Message):
    __slots__ = ("volumes",)
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeUse]
    def __init__(self, volumes: _Optional[_Iterable[_Union[VolumeUse, _Mapping]]] = ...) -> None: ...

class Troubled(_message.Message):
    __slots__ = ("problem",)
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    problem: str
    def __init__(self, problem: _Optional[str] = ...) -> None: ...

class RegisterBegin(_message.Message):
    __slots__ = ("protocol", "agent", "boot_id", "epoch_seen", "number")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_SEEN_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    agent: _common_pb2.AgentInfo
    boot_id: str
    epoch_seen: int
    number: int
    def __init__(self, protocol: _Optional[int] = ..., agent: _Optional[_Union[_common_pb2.AgentInfo, _Mapping]] = ..., boot_id: _Optional[str] = ..., epoch_seen: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class FrameworkReference(_message.Message):
    __slots__ = ("framework_id", "principal", "info")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    principal: str
    info: _common_pb2.FrameworkInfo
    def __init__(self, framework_id: _Optional[str] = ..., principal: _Optional[str] = ..., info: _Optional[_Union[_common_pb2.FrameworkInfo, _Mapping]] = ...) -> None: ...

class TasksOnAgent(_message.Message):
    __slots__ = ("framework_id", "role", "task", "more_task_ids", "states")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MORE_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    role: str
    task: _common_pb2.Task
    more_task_ids: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[_common_pb2.TaskState]
    def __init__(self, framework_id: _Optional[str] = ..., role: _Optional[str] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., more_task_ids: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[_common_pb2.TaskState, str]]] = ...) -> None: ...

class RegisterPart(_message.Message):
    __slots__ = ("frameworks", "tasks", "reservations", "volumes", "operations")
    FRAMEWORKS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    frameworks: _containers.RepeatedCompositeFieldContainer[FrameworkReference]
    tasks: _containers.RepeatedCompositeFieldContainer[TasksOnAgent]
    reservations: _containers.RepeatedCompositeFieldContainer[_common_pb2.Reservation]
    volumes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Volume]
    operations: _containers.RepeatedCompositeFieldContainer[_common_pb2.OperationStatus]
    def __init__(self, frameworks: _Optional[_Iterable[_Union[FrameworkReference, _Mapping]]] = ..., tasks: _Optional[_Iterable[_Union[TasksOnAgent, _Mapping]]] = ..., reservations: _Optional[_Iterable[_Union[_common_pb2.Reservation, _Mapping]]] = ..., volumes: _Optional[_Iterable[_Union[_common_pb2.Volume, _Mapping]]] = ..., operations: _Optional[_Iterable[_Union[_common_pb2.OperationStatus, _Mapping]]] = ...) -> None: ...

class RegisterEnd(_message.Message):
    __slots__ = ("frameworks", "tasks", "reservations", "volumes", "operations")
    FRAMEWORKS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    frameworks: int
    tasks: int
    reservations: int
    volumes: int
    operations: int
    def __init__(self, frameworks: _Optional[int] = ..., tasks: _Optional[int] = ..., reservations: _Optional[int] = ..., volumes: _Optional[int] = ..., operations: _Optional[int] = ...) -> None: ...

class StatusReports(_message.Message):
    __slots__ = ("statuses", "latest_states")
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    LATEST_STATES_FIELD_NUMBER: _ClassVar[int]
    statuses: _common_pb2.TaskStatuses
    latest_states: _containers.RepeatedScalarFieldContainer[_common_pb2.TaskState]
    def __init__(self, statuses: _Optional[_Union[_common_pb2.TaskStatuses, _Mapping]] = ..., latest_states: _Optional[_Iterable[_Union[_common_pb2.TaskState, str]]] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("request", "data", "size", "refusal", "message")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    request: int
    data: bytes
    size: int
    refusal: _common_pb2.Refusal
    message: str
    def __init__(self, request: _Optional[int] = ..., data: _Optional[bytes] = ..., size: _Optional[int] = ..., refusal: _Optional[_Union[_common_pb2.Refusal, str]] = ..., message: _Optional[str] = ...) -> None: ...

class AgentEvent(_message.Message):
    __slots__ = ("registered", "framework_added", "run_tasks", "kill_task", "acknowledge_statuses", "reconcile_tasks", "shutdown_framework", "message", "refused", "heartbeat", "read_file", "apply_operation", "acknowledge_operation")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ADDED_FIELD_NUMBER: _ClassVar[int]
    RUN_TASKS_FIELD_NUMBER: _ClassVar[int]
    KILL_TASK_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_STATUSES_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_TASKS_FIELD_NUMBER: _ClassVar[int]
    SHUTDOWN_FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    READ_FILE_FIELD_NUMBER: _ClassVar[int]
    APPLY_OPERATION_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_OPERATION_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    framework_added: FrameworkReference
    run_tasks: RunTasks
    kill_task: KillTask
    acknowledge_statuses: AcknowledgeStatuses
    reconcile_tasks: ReconcileTasks
    shutdown_framework: ShutdownFramework
    message: _common_pb2.TaskMessage
    refused: _common_pb2.Refused
    heartbeat: _common_pb2.Heartbeat
    read_file: ReadFile
    apply_operation: ApplyOperation
    acknowledge_operation: _common_pb2.AcknowledgeOperation
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., framework_added: _Optional[_Union[FrameworkReference, _Mapping]] = ..., run_tasks: _Optional[_Union[RunTasks, _Mapping]] = ..., kill_task: _Optional[_Union[KillTask, _Mapping]] = ..., acknowledge_statuses: _Optional[_Union[AcknowledgeStatuses, _Mapping]] = ..., reconcile_tasks: _Optional[_Union[ReconcileTasks, _Mapping]] = ..., shutdown_framework: _Optional[_Union[ShutdownFramework, _Mapping]] = ..., message: _Optional[_Union[_common_pb2.TaskMessage, _Mapping]] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ..., heartbeat: _Optional[_Union[_common_pb2.Heartbeat, _Mapping]] = ..., read_file: _Optional[_Union[ReadFile, _Mapping]] = ..., apply_operation: _Optional[_Union[ApplyOperation, _Mapping]] = ..., acknowledge_operation: _Optional[_Union[_common_pb2.AcknowledgeOperation, _Mapping]] = ...) -> None: ...

class ApplyOperation(_message.Message):
    __slots__ = ("framework_id", "framework", "principal", "role", "at_ms", "change")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    framework: str
    principal: str
    role: str
    at_ms: int
    change: _common_pb2.Change
    def __init__(self, framework_id: _Optional[str] = ..., framework: _Optional[str] = ..., principal: _Optional[str] = ..., role: _Optional[str] = ..., at_ms: _Optional[int] = ..., change: _Optional[_Union[_common_pb2.Change, _Mapping]] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("fence_lease_ms",)
    FENCE_LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    fence_lease_ms: int
    def __init__(self, fence_lease_ms: _Optional[int] = ...) -> None: ...

class RunTasks(_message.Message):
    __slots__ = ("framework_id", "role", "task", "more_task_ids", "fence_token")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    MORE_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    FENCE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    role: str
    task: _common_pb2.Task
    more_task_ids: _containers.RepeatedScalarFieldContainer[str]
    fence_token: int
    def __init__(self, framework_id: _Optional[str] = ..., role: _Optional[str] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., more_task_ids: _Optional[_Iterable[str]] = ..., fence_token: _Optional[int] = ...) -> None: ...

class KillTask(_message.Message):
    __slots__ = ("framework_id", "task_id", "grace_ms", "fence_lost")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    FENCE_LOST_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    task_id: str
    grace_ms: int
    fence_lost: bool
    def __init__(self, framework_id: _Optional[str] = ..., task_id: _Optional[str] = ..., grace_ms: _Optional[int] = ..., fence_lost: _Optional[bool] = ...) -> None: ...

class AcknowledgeStatuses(_message.Message):
    __slots__ = ("task_ids", "update_ids", "framework_ids")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_IDS_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_IDS_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    update_ids: _containers.RepeatedScalarFieldContainer[str]
    framework_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., update_ids: _Optional[_Iterable[str]] = ..., framework_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class FrameworkTask(_message.Message):
    __slots__ = ("framework_id", "task_id")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    task_id: str
    def __init__(self, framework_id: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class ReconcileTasks(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[FrameworkTask]
    def __init__(self, tasks: _Optional[_Iterable[_Union[FrameworkTask, _Mapping]]] = ...) -> None: ...

class ShutdownFramework(_message.Message):
    __slots__ = ("framework_id",)
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    def __init__(self, framework_id: _Optional[str] = ...) -> None: ...

class ReadFile(_message.Message):
    __slots__ = ("request", "framework_id", "task_id", "name", "offset", "length")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    request: int
    framework_id: str
    task_id: str
    name: str
    offset: int
    length: int
    def __init__(self, request: _Optional[int] = ..., framework_id: _Optional[str] = ..., task_id: _Optional[str] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class PostMortem(_message.Message):
    __slots__ = ("framework_id", "task_id", "container_id", "agent_id", "hostname", "role", "command", "resources", "life", "oom", "stdout", "stderr")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    OOM_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    task_id: str
    container_id: str
    agent_id: str
    hostname: str
    role: str
    command: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    life: _containers.RepeatedCompositeFieldContainer[_common_pb2.TaskStatus]
    oom: bool
    stdout: Output
    stderr: Output
    def __init__(self, framework_id: _Optional[str] = ..., task_id: _Optional[str] = ..., container_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., hostname: _Optional[str] = ..., role: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., life: _Optional[_Iterable[_Union[_common_pb2.TaskStatus, _Mapping]]] = ..., oom: _Optional[bool] = ..., stdout: _Optional[_Union[Output, _Mapping]] = ..., stderr: _Optional[_Union[Output, _Mapping]] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("tail", "size")
    TAIL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    tail: bytes
    size: int
    def __init__(self, tail: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class PostMortems(_message.Message):
    __slots__ = ("attempts",)
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[PostMortem]
    def __init__(self, attempts: _Optional[_Iterable[_Union[PostMortem, _Mapping]]] = ...) -> None: ...
