from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttachRequest(_message.Message):
    __slots__ = ("attach", "message")
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attach: AttachTask
    message: ExecutorMessage
    def __init__(self, attach: _Optional[_Union[AttachTask, _Mapping]] = ..., message: _Optional[_Union[ExecutorMessage, _Mapping]] = ...) -> None: ...

class AttachTask(_message.Message):
    __slots__ = ("container_id", "secret")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    secret: str
    def __init__(self, container_id: _Optional[str] = ..., secret: _Optional[str] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("attached", "message")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    attached: Attached
    message: ExecutorMessage
    def __init__(self, attached: _Optional[_Union[Attached, _Mapping]] = ..., message: _Optional[_Union[ExecutorMessage, _Mapping]] = ...) -> None: ...

class Attached(_message.Message):
    __slots__ = ("framework_id", "task_id")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    task_id: str
    def __init__(self, framework_id: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class ExecutorMessage(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
