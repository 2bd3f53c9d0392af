from mesoslite.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EpochRecord(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class AgentRecord(_message.Message):
    __slots__ = ("agent", "unreachable_since_ms", "gone_since_ms")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    GONE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    agent: _common_pb2.AgentInfo
    unreachable_since_ms: int
    gone_since_ms: int
    def __init__(self, agent: _Optional[_Union[_common_pb2.AgentInfo, _Mapping]] = ..., unreachable_since_ms: _Optional[int] = ..., gone_since_ms: _Optional[int] = ...) -> None: ...

class FrameworkRecord(_message.Message):
    __slots__ = ("framework_id", "principal", "framework", "session_id", "deadline_ms")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    principal: str
    framework: _common_pb2.FrameworkInfo
    session_id: str
    deadline_ms: int
    def __init__(self, framework_id: _Optional[str] = ..., principal: _Optional[str] = ..., framework: _Optional[_Union[_common_pb2.FrameworkInfo, _Mapping]] = ..., session_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class CompletedRecord(_message.Message):
    __slots__ = ("framework_id", "principal", "framework", "completed_ms")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_MS_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    principal: str
    framework: _common_pb2.FrameworkInfo
    completed_ms: int
    def __init__(self, framework_id: _Optional[str] = ..., principal: _Optional[str] = ..., framework: _Optional[_Union[_common_pb2.FrameworkInfo, _Mapping]] = ..., completed_ms: _Optional[int] = ...) -> None: ...

class StoreRecord(_message.Message):
    __slots__ = ("framework_id", "revision", "session_id", "number", "version")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    revision: int
    session_id: str
    number: int
    version: int
    def __init__(self, framework_id: _Optional[str] = ..., revision: _Optional[int] = ..., session_id: _Optional[str] = ..., number: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class EntryRecord(_message.Message):
    __slots__ = ("framework_id", "key", "value", "version")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    key: str
    value: bytes
    version: int
    def __init__(self, framework_id: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...

class FenceRecord(_message.Message):
    __slots__ = ("framework_id", "key", "task_id", "agent_id", "token", "lease_ms")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    key: str
    task_id: str
    agent_id: str
    token: int
    lease_ms: int
    def __init__(self, framework_id: _Optional[str] = ..., key: _Optional[str] = ..., task_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., token: _Optional[int] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class ReleaseRecord(_message.Message):
    __slots__ = ("principal", "name", "framework_id", "asked_ms")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ASKED_MS_FIELD_NUMBER: _ClassVar[int]
    principal: str
    name: str
    framework_id: str
    asked_ms: int
    def __init__(self, principal: _Optional[str] = ..., name: _Optional[str] = ..., framework_id: _Optional[str] = ..., asked_ms: _Optional[int] = ...) -> None: ...
