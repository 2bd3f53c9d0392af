from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATE_UNSPECIFIED: _ClassVar[OperationState]
    OPERATION_STATE_PENDING: _ClassVar[OperationState]
    OPERATION_STATE_FINISHED: _ClassVar[OperationState]
    OPERATION_STATE_FAILED: _ClassVar[OperationState]
    OPERATION_STATE_ERROR: _ClassVar[OperationState]
    OPERATION_STATE_DROPPED: _ClassVar[OperationState]
    OPERATION_STATE_UNREACHABLE: _ClassVar[OperationState]
    OPERATION_STATE_RECOVERING: _ClassVar[OperationState]
    OPERATION_STATE_GONE_BY_OPERATOR: _ClassVar[OperationState]
    OPERATION_STATE_UNKNOWN: _ClassVar[OperationState]

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_STAGING: _ClassVar[TaskState]
    TASK_STATE_STARTING: _ClassVar[TaskState]
    TASK_STATE_RUNNING: _ClassVar[TaskState]
    TASK_STATE_KILLING: _ClassVar[TaskState]
    TASK_STATE_FINISHED: _ClassVar[TaskState]
    TASK_STATE_FAILED: _ClassVar[TaskState]
    TASK_STATE_KILLED: _ClassVar[TaskState]
    TASK_STATE_ERROR: _ClassVar[TaskState]
    TASK_STATE_DROPPED: _ClassVar[TaskState]
    TASK_STATE_UNREACHABLE: _ClassVar[TaskState]
    TASK_STATE_GONE: _ClassVar[TaskState]
    TASK_STATE_UNKNOWN: _ClassVar[TaskState]
    TASK_STATE_GONE_BY_OPERATOR: _ClassVar[TaskState]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_MASTER: _ClassVar[Source]
    SOURCE_AGENT: _ClassVar[Source]
    SOURCE_SESSION: _ClassVar[Source]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_COMMAND_EXITED: _ClassVar[Reason]
    REASON_COMMAND_SIGNALED: _ClassVar[Reason]
    REASON_MEMORY_LIMIT: _ClassVar[Reason]
    REASON_MAX_COMPLETION_TIME: _ClassVar[Reason]
    REASON_KILL_ASKED: _ClassVar[Reason]
    REASON_KILLED_DURING_LAUNCH: _ClassVar[Reason]
    REASON_FRAMEWORK_REMOVED: _ClassVar[Reason]
    REASON_FETCH_FAILED: _ClassVar[Reason]
    REASON_ROOT_FAILED: _ClassVar[Reason]
    REASON_SPAWN_FAILED: _ClassVar[Reason]
    REASON_START_TIMEOUT: _ClassVar[Reason]
    REASON_CONTAINERIZER_UNAVAILABLE: _ClassVar[Reason]
    REASON_USER_NOT_ALLOWED: _ClassVar[Reason]
    REASON_LAUNCHER_TERMINATED: _ClassVar[Reason]
    REASON_HOST_REBOOTED: _ClassVar[Reason]
    REASON_AGENT_RESTARTED: _ClassVar[Reason]
    REASON_AGENT_UNREACHABLE: _ClassVar[Reason]
    REASON_AGENT_REREGISTERED: _ClassVar[Reason]
    REASON_RECONCILIATION: _ClassVar[Reason]
    REASON_LAUNCH_REFUSED: _ClassVar[Reason]
    REASON_PIDS_LIMIT: _ClassVar[Reason]
    REASON_AGENT_GONE: _ClassVar[Reason]
    REASON_FENCE_LEASE_OVER: _ClassVar[Reason]
    REASON_CHECKPOINT_DAMAGED: _ClassVar[Reason]
    REASON_START_LASTS: _ClassVar[Reason]
    REASON_COMMAND_STARTED: _ClassVar[Reason]
    REASON_RESERVATION_MISSING: _ClassVar[Reason]

class Refusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_UNSPECIFIED: _ClassVar[Refusal]
    REFUSAL_BAD_TOKEN: _ClassVar[Refusal]
    REFUSAL_NOT_SUBSCRIBED: _ClassVar[Refusal]
    REFUSAL_FENCED: _ClassVar[Refusal]
    REFUSAL_FRAMEWORK_REMOVED: _ClassVar[Refusal]
    REFUSAL_INVALID_FRAMEWORK: _ClassVar[Refusal]
    REFUSAL_TOO_MANY_FRAMEWORKS: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_FRAMEWORK: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_ROLE: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_OFFER: _ClassVar[Refusal]
    REFUSAL_NOT_YOUR_OFFER: _ClassVar[Refusal]
    REFUSAL_STALE_OFFER: _ClassVar[Refusal]
    REFUSAL_DUPLICATE_OFFER: _ClassVar[Refusal]
    REFUSAL_NO_OFFERS: _ClassVar[Refusal]
    REFUSAL_MIXED_AGENTS: _ClassVar[Refusal]
    REFUSAL_MIXED_ROLES: _ClassVar[Refusal]
    REFUSAL_TOO_LARGE: _ClassVar[Refusal]
    REFUSAL_NO_RESOURCES: _ClassVar[Refusal]
    REFUSAL_DUPLICATE_TASK: _ClassVar[Refusal]
    REFUSAL_INVALID_TASK: _ClassVar[Refusal]
    REFUSAL_CONTAINERIZER_UNAVAILABLE: _ClassVar[Refusal]
    REFUSAL_AGENT_GONE: _ClassVar[Refusal]
    REFUSAL_TOO_MANY_UNACKNOWLEDGED: _ClassVar[Refusal]
    REFUSAL_RESULT_FORGOTTEN: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_TASK: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_AGENT: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_STATUS: _ClassVar[Refusal]
    REFUSAL_AMBIGUOUS: _ClassVar[Refusal]
    REFUSAL_AGENT_ID_IN_USE: _ClassVar[Refusal]
    REFUSAL_INVALID_AGENT: _ClassVar[Refusal]
    REFUSAL_TOO_MANY_AGENTS: _ClassVar[Refusal]
    REFUSAL_STALE_EPOCH: _ClassVar[Refusal]
    REFUSAL_MALFORMED: _ClassVar[Refusal]
    REFUSAL_TOO_BIG: _ClassVar[Refusal]
    REFUSAL_OUTBOX_FULL: _ClassVar[Refusal]
    REFUSAL_UNSUPPORTED_VERSION: _ClassVar[Refusal]
    REFUSAL_AGENT_UNREACHABLE: _ClassVar[Refusal]
    REFUSAL_AGENT_FULL: _ClassVar[Refusal]
    REFUSAL_NO_AGENT_FITS: _ClassVar[Refusal]
    REFUSAL_TOO_MANY_REQUESTS: _ClassVar[Refusal]
    REFUSAL_INVALID_REQUEST: _ClassVar[Refusal]
    REFUSAL_AGENT_AWAY: _ClassVar[Refusal]
    REFUSAL_STORE_CONFLICT: _ClassVar[Refusal]
    REFUSAL_STORE_FULL: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_REQUEST: _ClassVar[Refusal]
    REFUSAL_FENCE_HELD: _ClassVar[Refusal]
    REFUSAL_INVALID_OPERATION: _ClassVar[Refusal]
    REFUSAL_DUPLICATE_OPERATION: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_RESERVATION: _ClassVar[Refusal]
    REFUSAL_RESERVATION_TAKEN: _ClassVar[Refusal]
    REFUSAL_RESERVATION_IN_USE: _ClassVar[Refusal]
    REFUSAL_UNKNOWN_VOLUME: _ClassVar[Refusal]
    REFUSAL_VOLUME_EXISTS: _ClassVar[Refusal]
    REFUSAL_VOLUME_IN_USE: _ClassVar[Refusal]
    REFUSAL_TOO_MANY_RESERVATIONS: _ClassVar[Refusal]
    REFUSAL_OPERATION_FAILED: _ClassVar[Refusal]
OPERATION_STATE_UNSPECIFIED: OperationState
OPERATION_STATE_PENDING: OperationState
OPERATION_STATE_FINISHED: OperationState
OPERATION_STATE_FAILED: OperationState
OPERATION_STATE_ERROR: OperationState
OPERATION_STATE_DROPPED: OperationState
OPERATION_STATE_UNREACHABLE: OperationState
OPERATION_STATE_RECOVERING: OperationState
OPERATION_STATE_GONE_BY_OPERATOR: OperationState
OPERATION_STATE_UNKNOWN: OperationState
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_STAGING: TaskState
TASK_STATE_STARTING: TaskState
TASK_STATE_RUNNING: TaskState
TASK_STATE_KILLING: TaskState
TASK_STATE_FINISHED: TaskState
TASK_STATE_FAILED: TaskState
TASK_STATE_KILLED: TaskState
TASK_STATE_ERROR: TaskState
TASK_STATE_DROPPED: TaskState
TASK_STATE_UNREACHABLE: TaskState
TASK_STATE_GONE: TaskState
TASK_STATE_UNKNOWN: TaskState
TASK_STATE_GONE_BY_OPERATOR: TaskState
SOURCE_UNSPECIFIED: Source
SOURCE_MASTER: Source
SOURCE_AGENT: Source
SOURCE_SESSION: Source
REASON_UNSPECIFIED: Reason
REASON_COMMAND_EXITED: Reason
REASON_COMMAND_SIGNALED: Reason
REASON_MEMORY_LIMIT: Reason
REASON_MAX_COMPLETION_TIME: Reason
REASON_KILL_ASKED: Reason
REASON_KILLED_DURING_LAUNCH: Reason
REASON_FRAMEWORK_REMOVED: Reason
REASON_FETCH_FAILED: Reason
REASON_ROOT_FAILED: Reason
REASON_SPAWN_FAILED: Reason
REASON_START_TIMEOUT: Reason
REASON_CONTAINERIZER_UNAVAILABLE: Reason
REASON_USER_NOT_ALLOWED: Reason
REASON_LAUNCHER_TERMINATED: Reason
REASON_HOST_REBOOTED: Reason
REASON_AGENT_RESTARTED: Reason
REASON_AGENT_UNREACHABLE: Reason
REASON_AGENT_REREGISTERED: Reason
REASON_RECONCILIATION: Reason
REASON_LAUNCH_REFUSED: Reason
REASON_PIDS_LIMIT: Reason
REASON_AGENT_GONE: Reason
REASON_FENCE_LEASE_OVER: Reason
REASON_CHECKPOINT_DAMAGED: Reason
REASON_START_LASTS: Reason
REASON_COMMAND_STARTED: Reason
REASON_RESERVATION_MISSING: Reason
REFUSAL_UNSPECIFIED: Refusal
REFUSAL_BAD_TOKEN: Refusal
REFUSAL_NOT_SUBSCRIBED: Refusal
REFUSAL_FENCED: Refusal
REFUSAL_FRAMEWORK_REMOVED: Refusal
REFUSAL_INVALID_FRAMEWORK: Refusal
REFUSAL_TOO_MANY_FRAMEWORKS: Refusal
REFUSAL_UNKNOWN_FRAMEWORK: Refusal
REFUSAL_UNKNOWN_ROLE: Refusal
REFUSAL_UNKNOWN_OFFER: Refusal
REFUSAL_NOT_YOUR_OFFER: Refusal
REFUSAL_STALE_OFFER: Refusal
REFUSAL_DUPLICATE_OFFER: Refusal
REFUSAL_NO_OFFERS: Refusal
REFUSAL_MIXED_AGENTS: Refusal
REFUSAL_MIXED_ROLES: Refusal
REFUSAL_TOO_LARGE: Refusal
REFUSAL_NO_RESOURCES: Refusal
REFUSAL_DUPLICATE_TASK: Refusal
REFUSAL_INVALID_TASK: Refusal
REFUSAL_CONTAINERIZER_UNAVAILABLE: Refusal
REFUSAL_AGENT_GONE: Refusal
REFUSAL_TOO_MANY_UNACKNOWLEDGED: Refusal
REFUSAL_RESULT_FORGOTTEN: Refusal
REFUSAL_UNKNOWN_TASK: Refusal
REFUSAL_UNKNOWN_AGENT: Refusal
REFUSAL_UNKNOWN_STATUS: Refusal
REFUSAL_AMBIGUOUS: Refusal
REFUSAL_AGENT_ID_IN_USE: Refusal
REFUSAL_INVALID_AGENT: Refusal
REFUSAL_TOO_MANY_AGENTS: Refusal
REFUSAL_STALE_EPOCH: Refusal
REFUSAL_MALFORMED: Refusal
REFUSAL_TOO_BIG: Refusal
REFUSAL_OUTBOX_FULL: Refusal
REFUSAL_UNSUPPORTED_VERSION: Refusal
REFUSAL_AGENT_UNREACHABLE: Refusal
REFUSAL_AGENT_FULL: Refusal
REFUSAL_NO_AGENT_FITS: Refusal
REFUSAL_TOO_MANY_REQUESTS: Refusal
REFUSAL_INVALID_REQUEST: Refusal
REFUSAL_AGENT_AWAY: Refusal
REFUSAL_STORE_CONFLICT: Refusal
REFUSAL_STORE_FULL: Refusal
REFUSAL_UNKNOWN_REQUEST: Refusal
REFUSAL_FENCE_HELD: Refusal
REFUSAL_INVALID_OPERATION: Refusal
REFUSAL_DUPLICATE_OPERATION: Refusal
REFUSAL_UNKNOWN_RESERVATION: Refusal
REFUSAL_RESERVATION_TAKEN: Refusal
REFUSAL_RESERVATION_IN_USE: Refusal
REFUSAL_UNKNOWN_VOLUME: Refusal
REFUSAL_VOLUME_EXISTS: Refusal
REFUSAL_VOLUME_IN_USE: Refusal
REFUSAL_TOO_MANY_RESERVATIONS: Refusal
REFUSAL_OPERATION_FAILED: Refusal

class Range(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: int
    high: int
    def __init__(self, low: _Optional[int] = ..., high: _Optional[int] = ...) -> None: ...

class Ranges(_message.Message):
    __slots__ = ("ranges",)
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class StringSet(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, items: _Optional[_Iterable[str]] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("key", "scalar_milli", "ranges", "set")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SCALAR_MILLI_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    key: str
    scalar_milli: int
    ranges: Ranges
    set: StringSet
    def __init__(self, key: _Optional[str] = ..., scalar_milli: _Optional[int] = ..., ranges: _Optional[_Union[Ranges, _Mapping]] = ..., set: _Optional[_Union[StringSet, _Mapping]] = ...) -> None: ...

class Attribute(_message.Message):
    __slots__ = ("name", "text", "scalar_milli", "ranges")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCALAR_MILLI_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    scalar_milli: int
    ranges: Ranges
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., scalar_milli: _Optional[int] = ..., ranges: _Optional[_Union[Ranges, _Mapping]] = ...) -> None: ...

class Uri(_message.Message):
    __slots__ = ("value", "extract", "executable", "output_file", "sha256")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FILE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    value: str
    extract: bool
    executable: bool
    output_file: str
    sha256: str
    def __init__(self, value: _Optional[str] = ..., extract: _Optional[bool] = ..., executable: _Optional[bool] = ..., output_file: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class AgentInfo(_message.Message):
    __slots__ = ("agent_id", "hostname", "resources", "attributes", "containerizers", "version", "region", "zone")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERIZERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    hostname: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    attributes: _containers.RepeatedCompositeFieldContainer[Attribute]
    containerizers: _containers.RepeatedScalarFieldContainer[str]
    version: str
    region: str
    zone: str
    def __init__(self, agent_id: _Optional[str] = ..., hostname: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., attributes: _Optional[_Iterable[_Union[Attribute, _Mapping]]] = ..., containerizers: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ...) -> None: ...

class FrameworkInfo(_message.Message):
    __slots__ = ("name", "roles", "failover_timeout_ms", "hostname")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    failover_timeout_ms: int
    hostname: str
    def __init__(self, name: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., failover_timeout_ms: _Optional[int] = ..., hostname: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task_id", "command", "resources", "name", "environment", "user", "uris", "image", "containerizer", "kill_grace_ms", "max_completion_ms", "pids_limit", "labels", "fence", "volumes")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    URIS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CONTAINERIZER_FIELD_NUMBER: _ClassVar[int]
    KILL_GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_COMPLETION_MS_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    command: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    name: str
    environment: _containers.ScalarMap[str, str]
    user: str
    uris: _containers.RepeatedCompositeFieldContainer[Uri]
    image: str
    containerizer: str
    kill_grace_ms: int
    max_completion_ms: int
    pids_limit: int
    labels: _containers.ScalarMap[str, str]
    fence: str
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeMount]
    def __init__(self, task_id: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., name: _Optional[str] = ..., environment: _Optional[_Mapping[str, str]] = ..., user: _Optional[str] = ..., uris: _Optional[_Iterable[_Union[Uri, _Mapping]]] = ..., image: _Optional[str] = ..., containerizer: _Optional[str] = ..., kill_grace_ms: _Optional[int] = ..., max_completion_ms: _Optional[int] = ..., pids_limit: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., fence: _Optional[str] = ..., volumes: _Optional[_Iterable[_Union[VolumeMount, _Mapping]]] = ...) -> None: ...

class VolumeMount(_message.Message):
    __slots__ = ("volume_id", "path")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    path: str
    def __init__(self, volume_id: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Reservation(_message.Message):
    __slots__ = ("reservation_id", "role", "resources", "labels", "principal", "framework_id", "framework", "since_ms")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    role: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    labels: _containers.ScalarMap[str, str]
    principal: str
    framework_id: str
    framework: str
    since_ms: int
    def __init__(self, reservation_id: _Optional[str] = ..., role: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., principal: _Optional[str] = ..., framework_id: _Optional[str] = ..., framework: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class Volume(_message.Message):
    __slots__ = ("volume_id", "role", "resources", "reservation_id", "principal", "framework_id", "framework", "since_ms")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    role: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    reservation_id: str
    principal: str
    framework_id: str
    framework: str
    since_ms: int
    def __init__(self, volume_id: _Optional[str] = ..., role: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., reservation_id: _Optional[str] = ..., principal: _Optional[str] = ..., framework_id: _Optional[str] = ..., framework: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("operation_id", "reserve", "unreserve", "create_volume", "destroy_volume")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    UNRESERVE_FIELD_NUMBER: _ClassVar[int]
    CREATE_VOLUME_FIELD_NUMBER: _ClassVar[int]
    DESTROY_VOLUME_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    reserve: Reserve
    unreserve: Unreserve
    create_volume: CreateVolume
    destroy_volume: DestroyVolume
    def __init__(self, operation_id: _Optional[str] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ..., unreserve: _Optional[_Union[Unreserve, _Mapping]] = ..., create_volume: _Optional[_Union[CreateVolume, _Mapping]] = ..., destroy_volume: _Optional[_Union[DestroyVolume, _Mapping]] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("reservation_id", "resources", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, reservation_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Unreserve(_message.Message):
    __slots__ = ("reservation_id", "resources")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    def __init__(self, reservation_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ...) -> None: ...

class CreateVolume(_message.Message):
    __slots__ = ("volume_id", "resources", "reservation_id")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    reservation_id: str
    def __init__(self, volume_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., reservation_id: _Optional[str] = ...) -> None: ...

class DestroyVolume(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    def __init__(self, volume_id: _Optional[str] = ...) -> None: ...

class OperationStatus(_message.Message):
    __slots__ = ("operation_id", "state", "agent_id", "framework_id", "refusal", "message", "timestamp_ms", "acknowledge")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    state: OperationState
    agent_id: str
    framework_id: str
    refusal: Refusal
    message: str
    timestamp_ms: int
    acknowledge: bool
    def __init__(self, operation_id: _Optional[str] = ..., state: _Optional[_Union[OperationState, str]] = ..., agent_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., refusal: _Optional[_Union[Refusal, str]] = ..., message: _Optional[str] = ..., timestamp_ms: _Optional[int] = ..., acknowledge: _Optional[bool] = ...) -> None: ...

class AcknowledgeOperation(_message.Message):
    __slots__ = ("framework_id", "agent_id", "operation_id")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    agent_id: str
    operation_id: str
    def __init__(self, framework_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., operation_id: _Optional[str] = ...) -> None: ...

class TaskStatus(_message.Message):
    __slots__ = ("task_id", "state", "framework_id", "agent_id", "update_id", "source", "reason", "refusal", "message", "timestamp_ms", "container_id", "exit_code", "signal", "peak_mem_bytes", "cpu_ms")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEM_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_MS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    state: TaskState
    framework_id: str
    agent_id: str
    update_id: str
    source: Source
    reason: Reason
    refusal: Refusal
    message: str
    timestamp_ms: int
    container_id: str
    exit_code: int
    signal: int
    peak_mem_bytes: int
    cpu_ms: int
    def __init__(self, task_id: _Optional[str] = ..., state: _Optional[_Union[TaskState, str]] = ..., framework_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., update_id: _Optional[str] = ..., source: _Optional[_Union[Source, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., refusal: _Optional[_Union[Refusal, str]] = ..., message: _Optional[str] = ..., timestamp_ms: _Optional[int] = ..., container_id: _Optional[str] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., peak_mem_bytes: _Optional[int] = ..., cpu_ms: _Optional[int] = ...) -> None: ...

class TaskReference(_message.Message):
    __slots__ = ("task_id", "agent_id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    agent_id: str
    def __init__(self, task_id: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class TaskMessage(_message.Message):
    __slots__ = ("framework_id", "agent_id", "task_id", "data")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    agent_id: str
    task_id: str
    data: bytes
    def __init__(self, framework_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., task_id: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("refusal", "message")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    refusal: Refusal
    message: str
    def __init__(self, refusal: _Optional[_Union[Refusal, str]] = ..., message: _Optional[str] = ...) -> None: ...

class TaskStatuses(_message.Message):
    __slots__ = ("task_ids", "states", "framework_ids", "agent_ids", "update_ids", "sources", "reasons", "refusals", "messages", "timestamps_ms", "container_ids", "exit_codes", "signals", "peak_mem_bytes", "cpu_ms")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_IDS_FIELD_NUMBER: _ClassVar[int]
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_IDS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_MS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_IDS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODES_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEM_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_MS_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[TaskState]
    framework_ids: _containers.RepeatedScalarFieldContainer[str]
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    update_ids: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedScalarFieldContainer[Source]
    reasons: _containers.RepeatedScalarFieldContainer[Reason]
    refusals: _containers.RepeatedScalarFieldContainer[Refusal]
    messages: _containers.RepeatedScalarFieldContainer[str]
    timestamps_ms: _containers.RepeatedScalarFieldContainer[int]
    container_ids: _containers.RepeatedScalarFieldContainer[str]
    exit_codes: _containers.RepeatedScalarFieldContainer[int]
    signals: _containers.RepeatedScalarFieldContainer[int]
    peak_mem_bytes: _containers.RepeatedScalarFieldContainer[int]
    cpu_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[TaskState, str]]] = ..., framework_ids: _Optional[_Iterable[str]] = ..., agent_ids: _Optional[_Iterable[str]] = ..., update_ids: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[_Union[Source, str]]] = ..., reasons: _Optional[_Iterable[_Union[Reason, str]]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, str]]] = ..., messages: _Optional[_Iterable[str]] = ..., timestamps_ms: _Optional[_Iterable[int]] = ..., container_ids: _Optional[_Iterable[str]] = ..., exit_codes: _Optional[_Iterable[int]] = ..., signals: _Optional[_Iterable[int]] = ..., peak_mem_bytes: _Optional[_Iterable[int]] = ..., cpu_ms: _Optional[_Iterable[int]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...
