from mesoslite.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Policy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_UNSPECIFIED: _ClassVar[Policy]
    POLICY_SPREAD: _ClassVar[Policy]
    POLICY_BINPACK: _ClassVar[Policy]
POLICY_UNSPECIFIED: Policy
POLICY_SPREAD: Policy
POLICY_BINPACK: Policy

class SubscribeRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[SchedulerCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[SchedulerCall, _Mapping]]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("epoch", "events")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    events: _containers.RepeatedCompositeFieldContainer[SchedulerEvent]
    def __init__(self, epoch: _Optional[int] = ..., events: _Optional[_Iterable[_Union[SchedulerEvent, _Mapping]]] = ...) -> None: ...

class SchedulerCall(_message.Message):
    __slots__ = ("subscribe", "accept", "decline", "revive", "suppress", "kill", "acknowledgements", "reconcile", "confirm_results", "message", "teardown", "heartbeat", "request_resources", "withdraw_requests", "read_store", "list_store", "write_store", "acknowledge_operation", "reconcile_operations")
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    DECLINE_FIELD_NUMBER: _ClassVar[int]
    REVIVE_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TEARDOWN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    READ_STORE_FIELD_NUMBER: _ClassVar[int]
    LIST_STORE_FIELD_NUMBER: _ClassVar[int]
    WRITE_STORE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_OPERATION_FIELD_NUMBER: _ClassVar[int]
    RECONCILE_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    subscribe: Subscribe
    accept: Accept
    decline: Decline
    revive: Revive
    suppress: Suppress
    kill: Kill
    acknowledgements: Acknowledgements
    reconcile: Reconcile
    confirm_results: ConfirmResults
    message: _common_pb2.TaskMessage
    teardown: Teardown
    heartbeat: _common_pb2.Heartbeat
    request_resources: RequestResources
    withdraw_requests: WithdrawRequests
    read_store: ReadStore
    list_store: ListStore
    write_store: WriteStore
    acknowledge_operation: _common_pb2.AcknowledgeOperation
    reconcile_operations: ReconcileOperations
    def __init__(self, subscribe: _Optional[_Union[Subscribe, _Mapping]] = ..., accept: _Optional[_Union[Accept, _Mapping]] = ..., decline: _Optional[_Union[Decline, _Mapping]] = ..., revive: _Optional[_Union[Revive, _Mapping]] = ..., suppress: _Optional[_Union[Suppress, _Mapping]] = ..., kill: _Optional[_Union[Kill, _Mapping]] = ..., acknowledgements: _Optional[_Union[Acknowledgements, _Mapping]] = ..., reconcile: _Optional[_Union[Reconcile, _Mapping]] = ..., confirm_results: _Optional[_Union[ConfirmResults, _Mapping]] = ..., message: _Optional[_Union[_common_pb2.TaskMessage, _Mapping]] = ..., teardown: _Optional[_Union[Teardown, _Mapping]] = ..., heartbeat: _Optional[_Union[_common_pb2.Heartbeat, _Mapping]] = ..., request_resources: _Optional[_Union[RequestResources, _Mapping]] = ..., withdraw_requests: _Optional[_Union[WithdrawRequests, _Mapping]] = ..., read_store: _Optional[_Union[ReadStore, _Mapping]] = ..., list_store: _Optional[_Union[ListStore, _Mapping]] = ..., write_store: _Optional[_Union[WriteStore, _Mapping]] = ..., acknowledge_operation: _Optional[_Union[_common_pb2.AcknowledgeOperation, _Mapping]] = ..., reconcile_operations: _Optional[_Union[ReconcileOperations, _Mapping]] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("protocol", "framework", "session_id", "framework_id", "resuming", "suppressed_roles", "demand_roles")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    RESUMING_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_ROLES_FIELD_NUMBER: _ClassVar[int]
    DEMAND_ROLES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    framework: _common_pb2.FrameworkInfo
    session_id: str
    framework_id: str
    resuming: bool
    suppressed_roles: _containers.RepeatedScalarFieldContainer[str]
    demand_roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., framework: _Optional[_Union[_common_pb2.FrameworkInfo, _Mapping]] = ..., session_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., resuming: _Optional[bool] = ..., suppressed_roles: _Optional[_Iterable[str]] = ..., demand_roles: _Optional[_Iterable[str]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("launch", "change")
    LAUNCH_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    launch: Launch
    change: _common_pb2.Change
    def __init__(self, launch: _Optional[_Union[Launch, _Mapping]] = ..., change: _Optional[_Union[_common_pb2.Change, _Mapping]] = ...) -> None: ...

class Launch(_message.Message):
    __slots__ = ("task", "request_id", "more_task_ids")
    TASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MORE_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    task: _common_pb2.Task
    request_id: str
    more_task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task: _Optional[_Union[_common_pb2.Task, _Mapping]] = ..., request_id: _Optional[str] = ..., more_task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Accept(_message.Message):
    __slots__ = ("number", "agent_id", "offer_ids", "operations", "refuse_ms", "writes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    OFFER_IDS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSE_MS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    number: int
    agent_id: str
    offer_ids: _containers.RepeatedScalarFieldContainer[str]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    refuse_ms: int
    writes: _containers.RepeatedCompositeFieldContainer[StoreWrite]
    def __init__(self, number: _Optional[int] = ..., agent_id: _Optional[str] = ..., offer_ids: _Optional[_Iterable[str]] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., refuse_ms: _Optional[int] = ..., writes: _Optional[_Iterable[_Union[StoreWrite, _Mapping]]] = ...) -> None: ...

class StoreWrite(_message.Message):
    __slots__ = ("key", "value", "version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    version: int
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...

class ReadStore(_message.Message):
    __slots__ = ("number", "key")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    number: int
    key: str
    def __init__(self, number: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class ListStore(_message.Message):
    __slots__ = ("number", "prefix")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    number: int
    prefix: str
    def __init__(self, number: _Optional[int] = ..., prefix: _Optional[str] = ...) -> None: ...

class WriteStore(_message.Message):
    __slots__ = ("number", "writes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    number: int
    writes: _containers.RepeatedCompositeFieldContainer[StoreWrite]
    def __init__(self, number: _Optional[int] = ..., writes: _Optional[_Iterable[_Union[StoreWrite, _Mapping]]] = ...) -> None: ...

class StoreEntry(_message.Message):
    __slots__ = ("value", "version")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    version: int
    def __init__(self, value: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...

class StoreAnswer(_message.Message):
    __slots__ = ("number", "refusal", "message", "key", "version", "entry", "keys")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    number: int
    refusal: _common_pb2.Refusal
    message: str
    key: str
    version: int
    entry: StoreEntry
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., refusal: _Optional[_Union[_common_pb2.Refusal, str]] = ..., message: _Optional[str] = ..., key: _Optional[str] = ..., version: _Optional[int] = ..., entry: _Optional[_Union[StoreEntry, _Mapping]] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class Decline(_message.Message):
    __slots__ = ("offer_ids", "refuse_ms")
    OFFER_IDS_FIELD_NUMBER: _ClassVar[int]
    REFUSE_MS_FIELD_NUMBER: _ClassVar[int]
    offer_ids: _containers.RepeatedScalarFieldContainer[str]
    refuse_ms: int
    def __init__(self, offer_ids: _Optional[_Iterable[str]] = ..., refuse_ms: _Optional[int] = ...) -> None: ...

class Revive(_message.Message):
    __slots__ = ("roles",)
    ROLES_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, roles: _Optional[_Iterable[str]] = ...) -> None: ...

class Suppress(_message.Message):
    __slots__ = ("roles",)
    ROLES_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, roles: _Optional[_Iterable[str]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("request_id", "role", "unit", "count", "ports", "where", "policy")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    role: str
    unit: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    count: int
    ports: int
    where: str
    policy: Policy
    def __init__(self, request_id: _Optional[str] = ..., role: _Optional[str] = ..., unit: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., count: _Optional[int] = ..., ports: _Optional[int] = ..., where: _Optional[str] = ..., policy: _Optional[_Union[Policy, str]] = ...) -> None: ...

class RequestResources(_message.Message):
    __slots__ = ("requests", "number")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[Request]
    number: int
    def __init__(self, requests: _Optional[_Iterable[_Union[Request, _Mapping]]] = ..., number: _Optional[int] = ...) -> None: ...

class WithdrawRequests(_message.Message):
    __slots__ = ("request_ids", "roles")
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    request_ids: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_ids: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class Kill(_message.Message):
    __slots__ = ("task_id", "agent_id", "grace_ms")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    agent_id: str
    grace_ms: int
    def __init__(self, task_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., grace_ms: _Optional[int] = ...) -> None: ...

class Acknowledgements(_message.Message):
    __slots__ = ("task_ids", "update_ids", "agent_ids")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_IDS_FIELD_NUMBER: _ClassVar[int]
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    update_ids: _containers.RepeatedScalarFieldContainer[str]
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., update_ids: _Optional[_Iterable[str]] = ..., agent_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Reconcile(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_common_pb2.TaskReference]
    def __init__(self, tasks: _Optional[_Iterable[_Union[_common_pb2.TaskReference, _Mapping]]] = ...) -> None: ...

class ConfirmResults(_message.Message):
    __slots__ = ("through",)
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    through: int
    def __init__(self, through: _Optional[int] = ...) -> None: ...

class OperationReference(_message.Message):
    __slots__ = ("operation_id", "agent_id")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    operation_id: str
    agent_id: str
    def __init__(self, operation_id: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class ReconcileOperations(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[OperationReference]
    def __init__(self, operations: _Optional[_Iterable[_Union[OperationReference, _Mapping]]] = ...) -> None: ...

class Teardown(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: bool
    def __init__(self, release: _Optional[bool] = ...) -> None: ...

class SchedulerEvent(_message.Message):
    __slots__ = ("subscribed", "offers", "rescind", "updates", "accept_result", "message", "agent_lost", "refused", "heartbeat", "request_unsatisfiable", "store_answer", "operation_update")
    SUBSCRIBED_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    RESCIND_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_RESULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    AGENT_LOST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_UNSATISFIABLE_FIELD_NUMBER: _ClassVar[int]
    STORE_ANSWER_FIELD_NUMBER: _ClassVar[int]
    OPERATION_UPDATE_FIELD_NUMBER: _ClassVar[int]
    subscribed: Subscribed
    offers: Offers
    rescind: Rescind
    updates: _common_pb2.TaskStatuses
    accept_result: AcceptResult
    message: _common_pb2.TaskMessage
    agent_lost: AgentLost
    refused: _common_pb2.Refused
    heartbeat: _common_pb2.Heartbeat
    request_unsatisfiable: RequestUnsatisfiable
    store_answer: StoreAnswer
    operation_update: _common_pb2.OperationStatus
    def __init__(self, subscribed: _Optional[_Union[Subscribed, _Mapping]] = ..., offers: _Optional[_Union[Offers, _Mapping]] = ..., rescind: _Optional[_Union[Rescind, _Mapping]] = ..., updates: _Optional[_Union[_common_pb2.TaskStatuses, _Mapping]] = ..., accept_result: _Optional[_Union[AcceptResult, _Mapping]] = ..., message: _Optional[_Union[_common_pb2.TaskMessage, _Mapping]] = ..., agent_lost: _Optional[_Union[AgentLost, _Mapping]] = ..., refused: _Optional[_Union[_common_pb2.Refused, _Mapping]] = ..., heartbeat: _Optional[_Union[_common_pb2.Heartbeat, _Mapping]] = ..., request_unsatisfiable: _Optional[_Union[RequestUnsatisfiable, _Mapping]] = ..., store_answer: _Optional[_Union[StoreAnswer, _Mapping]] = ..., operation_update: _Optional[_Union[_common_pb2.OperationStatus, _Mapping]] = ...) -> None: ...

class Subscribed(_message.Message):
    __slots__ = ("framework_id",)
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    framework_id: str
    def __init__(self, framework_id: _Optional[str] = ...) -> None: ...

class OfferAgent(_message.Message):
    __slots__ = ("agent_id", "hostname", "attributes", "containerizers", "region", "zone")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERIZERS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    hostname: str
    attributes: _containers.RepeatedCompositeFieldContainer[_common_pb2.Attribute]
    containerizers: _containers.RepeatedScalarFieldContainer[str]
    region: str
    zone: str
    def __init__(self, agent_id: _Optional[str] = ..., hostname: _Optional[str] = ..., attributes: _Optional[_Iterable[_Union[_common_pb2.Attribute, _Mapping]]] = ..., containerizers: _Optional[_Iterable[str]] = ..., region: _Optional[str] = ..., zone: _Optional[str] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("offer_id", "framework_id", "role", "resources", "lease_ms", "agent", "request_id", "reservations")
    OFFER_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    offer_id: str
    framework_id: str
    role: str
    resources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Resource]
    lease_ms: int
    agent: OfferAgent
    request_id: str
    reservations: _containers.RepeatedCompositeFieldContainer[_common_pb2.Reservation]
    def __init__(self, offer_id: _Optional[str] = ..., framework_id: _Optional[str] = ..., role: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[_common_pb2.Resource, _Mapping]]] = ..., lease_ms: _Optional[int] = ..., agent: _Optional[_Union[OfferAgent, _Mapping]] = ..., request_id: _Optional[str] = ..., reservations: _Optional[_Iterable[_Union[_common_pb2.Reservation, _Mapping]]] = ...) -> None: ...

class Offers(_message.Message):
    __slots__ = ("offers",)
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    def __init__(self, offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ...) -> None: ...

class Rescind(_message.Message):
    __slots__ = ("offer_ids",)
    OFFER_IDS_FIELD_NUMBER: _ClassVar[int]
    offer_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, offer_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class AcceptResult(_message.Message):
    __slots__ = ("number", "results", "refusals", "messages")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    number: int
    results: int
    refusals: _containers.RepeatedScalarFieldContainer[_common_pb2.Refusal]
    messages: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., results: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[_common_pb2.Refusal, str]]] = ..., messages: _Optional[_Iterable[str]] = ...) -> None: ...

class RequestUnsatisfiable(_message.Message):
    __slots__ = ("request_id", "refusal", "message", "number")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    refusal: _common_pb2.Refusal
    message: str
    number: int
    def __init__(self, request_id: _Optional[str] = ..., refusal: _Optional[_Union[_common_pb2.Refusal, str]] = ..., message: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class AgentLost(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...
