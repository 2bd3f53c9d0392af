from mesoslite.v1 import agent_pb2 as _agent_pb2
from mesoslite.v1 import common_pb2 as _common_pb2
from mesoslite.v1 import scheduler_pb2 as _scheduler_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "epoch", "started_ms", "agents_active", "agents_unreachable", "agents_awaited", "frameworks_active", "frameworks_inactive", "offers", "tasks_by_state", "total", "allocated", "offered")
    class TasksByStateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    AGENTS_UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    AGENTS_AWAITED_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORKS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORKS_INACTIVE_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    TASKS_BY_STATE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ALLOCATED_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    version: str
    epoch: int
    started_ms: int
    agents_active: int
    agents_unreachable: int
    agents_awaited: int
    frameworks_active: int
    frameworks_inactive: int
    offers: int
    tasks_by_state: _containers.ScalarMap[str, int]
    total: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    allocated: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    offered: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    def __init__(self, version: _Optional[str] = ..., epoch: _Optional[int] = ..., started_ms: _Optional[int] = ..., agents_active: _Optional[int] = ..., agents_unreachable: _Optional[int] = ..., agents_awaited: _Optional[int] = ..., frameworks_active: _Optional[int] = ..., frameworks_inactive: _Optional[int] = ..., offers: _Optional[int] = ..., tasks_by_state: _Optional[_Mapping[str, int]] = ..., total: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., allocated: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., offered: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("id", "after")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: str
    def __init__(self, id: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("framework", "prefix")
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    framework: str
    prefix: str
    def __init__(self, framework: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("framework_id", "entries")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    entries: _containers.RepeatedCompositeFieldContainer[EntryRow]
    def __init__(self, framework_id: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[EntryRow, _Mapping]]] = ...) -> None: ...

class EntryRow(_message.Message):
    __slots__ = ("key", "version", "size_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    size_bytes: int
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class GetEntryRequest(_message.Message):
    __slots__ = ("framework", "key")
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    framework: str
    key: str
    def __init__(self, framework: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class GetEntryResponse(_message.Message):
    __slots__ = ("framework_id", "entry")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    entry: _scheduler_pb2.StoreEntry
    def __init__(self, framework_id: _Optional[str] = ..., entry: _Optional[_Union[_scheduler_pb2.StoreEntry, _Mapping]] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents", "more")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[AgentRow]
    more: bool
    def __init__(self, agents: _Optional[_Iterable[_Union[AgentRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class AgentRow(_message.Message):
    __slots__ = ("info", "state", "since_ms", "allocated", "offered", "tasks", "boot_id", "problem")
    INFO_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ALLOCATED_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    info: _common_pb2.AgentInfo
    state: str
    since_ms: int
    allocated: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    offered: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    tasks: int
    boot_id: str
    problem: str
    def __init__(self, info: _Optional[_Union[_common_pb2.AgentInfo, _Mapping]] = ..., state: _Optional[str] = ..., since_ms: _Optional[int] = ..., allocated: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., offered: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., tasks: _Optional[int] = ..., boot_id: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class ListFrameworksRequest(_message.Message):
    __slots__ = ("id", "after", "completed")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: str
    completed: bool
    def __init__(self, id: _Optional[str] = ..., after: _Optional[str] = ..., completed: _Optional[bool] = ...) -> None: ...

class ListFrameworksResponse(_message.Message):
    __slots__ = ("frameworks", "more")
    FRAMEWORKS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    frameworks: _containers.RepeatedCompositeFieldContainer[FrameworkRow]
    more: bool
    def __init__(self, frameworks: _Optional[_Iterable[_Union[FrameworkRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class FrameworkRow(_message.Message):
    __slots__ = ("framework_id", "principal", "info", "state", "since_ms", "allocated", "offered", "tasks", "offers", "suppressed_roles", "failover_deadline_ms", "demand_roles", "requests", "first_requests", "conduct")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ALLOCATED_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_ROLES_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    DEMAND_ROLES_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CONDUCT_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    principal: str
    info: _common_pb2.FrameworkInfo
    state: str
    since_ms: int
    allocated: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    offered: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    tasks: int
    offers: int
    suppressed_roles: _containers.RepeatedScalarFieldContainer[str]
    failover_deadline_ms: int
    demand_roles: _containers.RepeatedScalarFieldContainer[str]
    requests: int
    first_requests: _containers.RepeatedCompositeFieldContainer[RequestRow]
    conduct: Conduct
    def __init__(self, framework_id: _Optional[str] = ..., principal: _Optional[str] = ..., info: _Optional[_Union[_common_pb2.FrameworkInfo, _Mapping]] = ..., state: _Optional[str] = ..., since_ms: _Optional[int] = ..., allocated: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., offered: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., tasks: _Optional[int] = ..., offers: _Optional[int] = ..., suppressed_roles: _Optional[_Iterable[str]] = ..., failover_deadline_ms: _Optional[int] = ..., demand_roles: _Optional[_Iterable[str]] = ..., requests: _Optional[int] = ..., first_requests: _Optional[_Iterable[_Union[RequestRow, _Mapping]]] = ..., conduct: _Optional[_Union[Conduct, _Mapping]] = ...) -> None: ...

class RequestRow(_message.Message):
    __slots__ = ("request", "offered")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    request: _scheduler_pb2.Request
    offered: int
    def __init__(self, request: _Optional[_Union[_scheduler_pb2.Request, _Mapping]] = ..., offered: _Optional[int] = ...) -> None: ...

class Conduct(_message.Message):
    __slots__ = ("answered", "lapsed", "held_ms", "held_longest_ms", "offers_max", "standing")
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    LAPSED_FIELD_NUMBER: _ClassVar[int]
    HELD_MS_FIELD_NUMBER: _ClassVar[int]
    HELD_LONGEST_MS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_MAX_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    answered: int
    lapsed: int
    held_ms: int
    held_longest_ms: int
    offers_max: int
    standing: _containers.RepeatedCompositeFieldContainer[Episode]
    def __init__(self, answered: _Optional[int] = ..., lapsed: _Optional[int] = ..., held_ms: _Optional[int] = ..., held_longest_ms: _Optional[int] = ..., offers_max: _Optional[int] = ..., standing: _Optional[_Iterable[_Union[Episode, _Mapping]]] = ...) -> None: ...

class Episode(_message.Message):
    __slots__ = ("what", "message", "since_ms", "times")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    what: str
    message: str
    since_ms: int
    times: int
    def __init__(self, what: _Optional[str] = ..., message: _Optional[str] = ..., since_ms: _Optional[int] = ..., times: _Optional[int] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("id", "framework", "agent_id", "after", "completed")
    ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    id: str
    framework: str
    agent_id: str
    after: str
    completed: bool
    def __init__(self, id: _Optional[str] = ..., framework: _Optional[str] = ..., agent_id: _Optional[str] = ..., after: _Optional[str] = ..., completed: _Optional[bool] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "more")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskRow]
    more: bool
    def __init__(self, tasks: _Optional[_Iterable[_Union[TaskRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class TaskRow(_message.Message):
    __slots__ = ("framework_id", "framework_name", "role", "task", "agent_id", "agent_hostname", "state", "statuses")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    framework_name: str
    role: str
    task: _common_pb2.Task
    agent_id: str
    agent_hostname: str
    state: _common_pb2.TaskState
    statuses: _containers.RepeatedCompositeFieldContainer[_common_pb2.TaskStatus]
    def __init__(self, framework_id: _Optional[str] = ..., framework_name: _Optional[str] = ..., role: _Optional[str] = ..., task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., agent_id: _Optional[str] = ..., agent_hostname: _Optional[str] = ..., state: _Optional[_Union[_common_pb2.TaskState, str]] = ..., statuses: _Optional[_Iterable[_Union[_common_pb2.TaskStatus, _Mapping]]] = ...) -> None: ...

class ListOffersRequest(_message.Message):
    __slots__ = ("id", "after")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: str
    def __init__(self, id: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListOffersResponse(_message.Message):
    __slots__ = ("offers", "more")
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[OfferRow]
    more: bool
    def __init__(self, offers: _Optional[_Iterable[_Union[OfferRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class OfferRow(_message.Message):
    __slots__ = ("offer_id", "framework_id", "framework_name", "role", "agent_id", "agent_hostname", "resources", "made_ms", "lease_ms")
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    MADE_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    offer_id: str
    framework_id: str
    framework_name: str
    role: str
    agent_id: str
    agent_hostname: str
    resources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    made_ms: int
    lease_ms: int
    def __init__(self, offer_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., framework_name: _Optional[str] = ..., role: _Optional[str] = ..., agent_id: _Optional[str] = ..., agent_hostname: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., made_ms: _Optional[int] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("subject", "framework", "role", "request")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    subject: str
    framework: str
    role: str
    request: str
    def __init__(self, subject: _Optional[str] = ..., framework: _Optional[str] = ..., role: _Optional[str] = ..., request: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("now_ms", "verdict", "framework", "task")
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    now_ms: int
    verdict: str
    framework: FrameworkExplanation
    task: TaskExplanation
    def __init__(self, now_ms: _Optional[int] = ..., verdict: _Optional[str] = ..., framework: _Optional[_Union[FrameworkExplanation, _Mapping]] = ..., task: _Optional[_Union[TaskExplanation, _Mapping]] = ...) -> None: ...

class FrameworkExplanation(_message.Message):
    __slots__ = ("framework_id", "name", "roles")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    name: str
    roles: _containers.RepeatedCompositeFieldContainer[RoleExplanation]
    def __init__(self, framework_id: _Optional[str] = ..., name: _Optional[str] = ..., roles: _Optional[_Iterable[_Union[RoleExplanation, _Mapping]]] = ...) -> None: ...

class RoleExplanation(_message.Message):
    __slots__ = ("role", "verdict", "offers", "whys", "request_id", "unit", "ports", "where", "wanted", "open")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    WHYS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    role: str
    verdict: str
    offers: int
    whys: _containers.RepeatedCompositeFieldContainer[Why]
    request_id: str
    unit: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    ports: int
    where: str
    wanted: int
    open: int
    def __init__(self, role: _Optional[str] = ..., verdict: _Optional[str] = ..., offers: _Optional[int] = ..., whys: _Optional[_Iterable[_Union[Why, _Mapping]]] = ..., request_id: _Optional[str] = ..., unit: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., ports: _Optional[int] = ..., where: _Optional[str] = ..., wanted: _Optional[int] = ..., open: _Optional[int] = ...) -> None: ...

class Why(_message.Message):
    __slots__ = ("reason", "message", "remedy", "agents", "agent_id", "framework_id", "offer_id", "since_ms", "until_ms", "missing")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    remedy: str
    agents: int
    agent_id: str
    framework_id: str
    offer_id: str
    since_ms: int
    until_ms: int
    missing: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ..., agents: _Optional[int] = ..., agent_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., offer_id: _Optional[str] = ..., since_ms: _Optional[int] = ..., until_ms: _Optional[int] = ..., missing: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ...) -> None: ...

class TaskExplanation(_message.Message):
    __slots__ = ("task_id", "framework_id", "framework_name", "remedy", "state", "reason", "refusal", "agent_id", "since_ms")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_NAME_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    framework_id: str
    framework_name: str
    remedy: str
    state: _common_pb2.TaskState
    reason: _common_pb2.Reason
    refusal: _common_pb2.Refusal
    agent_id: str
    since_ms: int
    def __init__(self, task_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., framework_name: _Optional[str] = ..., remedy: _Optional[str] = ..., state: _Optional[_Union[_common_pb2.TaskState, str]] = ..., reason: _Optional[_Union[_common_pb2.Reason, str]] = ..., refusal: _Optional[_Union[_common_pb2.Refusal, str]] = ..., agent_id: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class TeardownFrameworkRequest(_message.Message):
    __slots__ = ("framework", "release")
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    framework: str
    release: bool
    def __init__(self, framework: _Optional[str] = ..., release: _Optional[bool] = ...) -> None: ...

class TeardownFrameworkResponse(_message.Message):
    __slots__ = ("framework_id", "tasks", "releasing", "agents_away")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    RELEASING_FIELD_NUMBER: _ClassVar[int]
    AGENTS_AWAY_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    tasks: int
    releasing: int
    agents_away: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, framework_id: _Optional[str] = ..., tasks: _Optional[int] = ..., releasing: _Optional[int] = ..., agents_away: _Optional[_Iterable[str]] = ...) -> None: ...

class ListReservationsRequest(_message.Message):
    __slots__ = ("agent", "role", "framework", "after")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    agent: str
    role: str
    framework: str
    after: str
    def __init__(self, agent: _Optional[str] = ..., role: _Optional[str] = ..., framework: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListReservationsResponse(_message.Message):
    __slots__ = ("reservations", "more")
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    reservations: _containers.RepeatedCompositeFieldContainer[ReservationRow]
    more: bool
    def __init__(self, reservations: _Optional[_Iterable[_Union[ReservationRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class ReservationRow(_message.Message):
    __slots__ = ("key", "agent_id", "agent_hostname", "agent_state", "reservation", "used", "pending", "releasing")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RELEASING_FIELD_NUMBER: _ClassVar[int]
    key: str
    agent_id: str
    agent_hostname: str
    agent_state: str
    reservation: _common_pb2.Reservation
    used: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    pending: bool
    releasing: bool
    def __init__(self, key: _Optional[str] = ..., agent_id: _Optional[str] = ..., agent_hostname: _Optional[str] = ..., agent_state: _Optional[str] = ..., reservation: _Optional[_Union[_common_pb2.Reservation, _Mapping]] = ..., used: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., pending: _Optional[bool] = ..., releasing: _Optional[bool] = ...) -> None: ...

class CreateReservationRequest(_message.Message):
    __slots__ = ("agent_id", "role", "reservation_id", "resources", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    role: str
    reservation_id: str
    resources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, agent_id: _Optional[str] = ..., role: _Optional[str] = ..., reservation_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateReservationResponse(_message.Message):
    __slots__ = ("reservation",)
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    reservation: _common_pb2.Reservation
    def __init__(self, reservation: _Optional[_Union[_common_pb2.Reservation, _Mapping]] = ...) -> None: ...

class RemoveReservationRequest(_message.Message):
    __slots__ = ("agent_id", "role", "reservation_id", "resources")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    role: str
    reservation_id: str
    resources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    def __init__(self, agent_id: _Optional[str] = ..., role: _Optional[str] = ..., reservation_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ...) -> None: ...

class RemoveReservationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVolumesRequest(_message.Message):
    __slots__ = ("agent", "role", "framework", "after")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    agent: str
    role: str
    framework: str
    after: str
    def __init__(self, agent: _Optional[str] = ..., role: _Optional[str] = ..., framework: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListVolumesResponse(_message.Message):
    __slots__ = ("volumes", "more")
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeRow]
    more: bool
    def __init__(self, volumes: _Optional[_Iterable[_Union[VolumeRow, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class VolumeRow(_message.Message):
    __slots__ = ("key", "agent_id", "agent_hostname", "agent_state", "volume", "used_bytes", "measured_ms", "user_framework_id", "user_task_id", "pending", "releasing")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MS_FIELD_NUMBER: _ClassVar[int]
    USER_FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    USER_TASK_ID_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    RELEASING_FIELD_NUMBER: _ClassVar[int]
    key: str
    agent_id: str
    agent_hostname: str
    agent_state: str
    volume: _common_pb2.Volume
    used_bytes: int
    measured_ms: int
    user_framework_id: str
    user_task_id: str
    pending: bool
    releasing: bool
    def __init__(self, key: _Optional[str] = ..., agent_id: _Optional[str] = ..., agent_hostname: _Optional[str] = ..., agent_state: _Optional[str] = ..., volume: _Optional[_Union[_common_pb2.Volume, _Mapping]] = ..., used_bytes: _Optional[int] = ..., measured_ms: _Optional[int] = ..., user_framework_id: _Optional[str] = ..., user_task_id: _Optional[str] = ..., pending: _Optional[bool] = ..., releasing: _Optional[bool] = ...) -> None: ...

class RemoveVolumeRequest(_message.Message):
    __slots__ = ("agent_id", "role", "volume_id")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    role: str
    volume_id: str
    def __init__(self, agent_id: _Optional[str] = ..., role: _Optional[str] = ..., volume_id: _Optional[str] = ...) -> None: ...

class RemoveVolumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KillTaskRequest(_message.Message):
    __slots__ = ("task_id", "framework", "grace_ms")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    framework: str
    grace_ms: int
    def __init__(self, task_id: _Optional[str] = ..., framework: _Optional[str] = ..., grace_ms: _Optional[int] = ...) -> None: ...

class KillTaskResponse(_message.Message):
    __slots__ = ("framework_id", "agent_id")
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    agent_id: str
    def __init__(self, framework_id: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class MarkAgentGoneRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class MarkAgentGoneResponse(_message.Message):
    __slots__ = ("agent_id", "tasks")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    tasks: int
    def __init__(self, agent_id: _Optional[str] = ..., tasks: _Optional[int] = ...) -> None: ...

class GetPostMortemsRequest(_message.Message):
    __slots__ = ("task_id", "framework", "agent_id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    framework: str
    agent_id: str
    def __init__(self, task_id: _Optional[str] = ..., framework: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class GetPostMortemsResponse(_message.Message):
    __slots__ = ("attempts",)
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[_agent_pb2.PostMortem]
    def __init__(self, attempts: _Optional[_Iterable[_Union[_agent_pb2.PostMortem, _Mapping]]] = ...) -> None: ...

class ReadLogRequest(_message.Message):
    __slots__ = ("task_id", "framework", "name", "offset", "follow")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    framework: str
    name: str
    offset: int
    follow: bool
    def __init__(self, task_id: _Optional[str] = ..., framework: _Optional[str] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class ReadLogResponse(_message.Message):
    __slots__ = ("data", "offset")
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    def __init__(self, data: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...
