"""Hypothesis strategies for the nouns, and for everything that travels: all of it valid."""

from hypothesis import strategies as st

from mesoslite.attributes import Attribute
from mesoslite.files import FILE_CHUNK_BYTES_MAX, FILE_NAMES, POST_MORTEM, FileChunk, FileRead
from mesoslite.lifecycle import TaskState
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    AcknowledgeOperation,
    AcknowledgeStatus,
    AgentCall,
    AgentEvent,
    AgentLost,
    ApplyOperation,
    ConfirmResults,
    Decline,
    FrameworkAdded,
    FrameworkReference,
    Heartbeat,
    Kill,
    KillTask,
    ListStore,
    Offers,
    OperationReport,
    OperationUpdate,
    ReadStore,
    Reconcile,
    ReconcileOperations,
    ReconcileTasks,
    Refused,
    Register,
    Registered,
    RequestResources,
    RequestUnsatisfiable,
    Rescind,
    Revive,
    RunTask,
    SchedulerCall,
    SchedulerEvent,
    ShutdownFramework,
    StatusReport,
    StoreAnswer,
    Subscribe,
    Subscribed,
    Suppress,
    TaskMessage,
    TaskOnAgent,
    Teardown,
    Troubled,
    Update,
    VolumesMeasured,
    WithdrawRequests,
    WriteStore,
    alike,
)
from mesoslite.model import (
    REFUSE_MS_MAX,
    REQUEST_COUNT_MAX,
    AgentInfo,
    Entry,
    FrameworkInfo,
    Launch,
    Offer,
    OperationResult,
    Policy,
    Reason,
    Refusal,
    Request,
    Source,
    StoreWrite,
    Task,
    TaskReference,
    TaskStatus,
    Uri,
)
from mesoslite.operations import OperationReference, OperationStatus, Order
from mesoslite.ranges import Ranges, normal
from mesoslite.reservations import (
    CreateVolume,
    DestroyVolume,
    OperationState,
    Reservation,
    Reserve,
    Unreserve,
    Volume,
    VolumeMount,
    VolumeUse,
)
from mesoslite.resources import SCALAR_MAX, THOUSANDTHS, Resources, key

HOUR_MS = 3_600_000
INT64_MAX = 2**63 - 1

# --- parts ----------------------------------------------------------------------------------------

ids = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,12}", fullmatch=True)
ids_or_empty = st.just("") | ids
roles = st.sampled_from(("*", "ads", "eng/ads", "größe"))
role_tuples = st.lists(roles, unique=True, max_size=4).map(tuple)
some_roles = st.lists(roles, unique=True, min_size=1, max_size=4).map(tuple)
unicode = st.characters(codec="utf-8")
#: Anything a text for people may hold.
texts = st.text(unicode, max_size=40)
#: Anything the system's calls take.
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
names = st.text(unicode, max_size=20).map(
    lambda text: "".join(c for c in text if c.isprintable()).strip()
)
some_names = names.map(lambda text: text or "a name")
containerizers = st.sampled_from(("process", "oci", "x-1_y"))
numbers = st.integers(0, INT64_MAX)
wall_clock_ms = st.integers(0, 253_402_300_799_999)
refuse_ms = st.integers(0, REFUSE_MS_MAX)
grace_ms = st.none() | st.integers(0, HOUR_MS)


def ranges_of(numbers_in: set[int]) -> Ranges:
    """These numbers as ranges."""
    return normal((n, n) for n in numbers_in)


def resources_of(
    scalars: dict[str, int], gpus: int, ports: dict[int, str], zones: dict[str, str]
) -> Resources:
    """Every kind of amount; a port and an item belong to one role each."""
    return Resources.from_amounts(
        {**scalars, "gpus": gpus * THOUSANDTHS},
        {key("ports", r): [(p, p) for p in ports if ports[p] == r] for r in ports.values()},
        {key("zones", r): [z for z in zones if zones[z] == r] for r in zones.values()},
    )


resources = st.builds(
    resources_of,
    st.dictionaries(
        st.sampled_from(
            [
                *[key(n, r) for n in ("cpus", "mem", "x.y-z") for r in ("*", "eng/ads")],
                key("cpus", "ads", "r-1"),
                key("disk", "ads", "r-1", "v.1"),
                key("disk", "ads", "", "v_2"),
            ]
        ),
        st.integers(0, SCALAR_MAX),
    ),
    st.integers(0, 8),
    st.dictionaries(st.integers(0, 24), roles, max_size=8),
    st.dictionaries(st.sampled_from("abcdef"), roles, max_size=4),
)
attributes = st.lists(
    st.builds(
        Attribute,
        st.sampled_from(("rack", "level", "ports")),
        st.sampled_from(("r1", "a b", "größe:1"))
        | st.integers(-SCALAR_MAX, SCALAR_MAX)
        | st.sets(st.integers(0, 99), min_size=1, max_size=5).map(ranges_of),
    ),
    max_size=4,
).map(tuple)

# --- nouns ----------------------------------------------------------------------------------------

agent_infos = st.builds(
    AgentInfo,
    ids,
    some_names,
    resources,
    attributes,
    st.lists(containerizers, unique=True, min_size=1).map(tuple),
    names,
    names,
    names,
)
framework_infos = st.builds(
    FrameworkInfo, some_names, some_roles, st.integers(0, REFUSE_MS_MAX), names
)
framework_references = st.builds(FrameworkReference, ids, names, framework_infos)
uris = st.builds(
    Uri,
    st.sampled_from(("/etc/hosts", "file:///a b", "http://h/x", "https://h:1/y?z=1#t")),
    st.booleans(),
    st.booleans(),
    st.none() | st.sampled_from(("x", "a/b.tar.gz", ".hidden")),
    st.none() | st.just("0aF" * 21 + "9"),
) | st.just(Uri("maven:org.a:b_2.13:1.0:sources@zip", extract=False, sha256="0" * 64))
environments = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1),
    words,
    max_size=4,
)
commands = st.builds(
    lambda program, arguments: (program, *arguments),
    words.map(lambda word: word or "sh"),
    st.lists(words, max_size=4),
)
tasks = st.builds(
    Task,
    ids,
    commands,
    resources,
    names,
    environments,
    st.none() | st.sampled_from(("nobody", "1000", "a.b@c", "host$")),
    st.lists(uris, max_size=2),
    st.none() | st.sampled_from(("/", "/srv/root fs")),
    st.none() | containerizers,
    st.integers(0, HOUR_MS),
    st.none() | st.integers(1, REFUSE_MS_MAX),
    st.none() | st.integers(1, 2**22),
    st.dictionaries(words.map(lambda word: word or "label"), words, max_size=3),
    st.none() | ids,
    st.lists(
        st.builds(VolumeMount, ids, st.sampled_from(("data", "a/b.c", "/var/lib/größe"))),
        max_size=2,
    ).map(tuple),
)
plain_amounts = st.builds(
    lambda cpus, ports: Resources(cpus=cpus, disk=1, ports=ranges_of(ports)),
    st.integers(0, 64),
    st.sets(st.integers(0, 24), max_size=4),
)
disks = st.integers(1, 10**9).map(lambda size: Resources(disk=size))
reserving_roles = roles.filter(lambda role: role != "*")
labels = st.dictionaries(words.map(lambda word: word or "label"), words, max_size=3)
reservations = st.builds(
    Reservation,
    ids,
    reserving_roles,
    plain_amounts,
    labels,
    names,
    ids_or_empty,
    names,
    wall_clock_ms,
)
volumes = st.builds(
    Volume,
    ids,
    reserving_roles,
    disks,
    ids_or_empty,
    names,
    ids_or_empty,
    names,
    wall_clock_ms,
)
changes = st.one_of(
    st.builds(Reserve, ids, plain_amounts, labels, ids),
    st.builds(Unreserve, ids, st.just(Resources.EMPTY) | plain_amounts, ids),
    st.builds(CreateVolume, ids, disks, ids_or_empty, ids),
    st.builds(DestroyVolume, ids, ids),
)
orders = st.builds(Order, ids_or_empty, names, names, reserving_roles, wall_clock_ms, changes)
operation_statuses = st.builds(
    OperationStatus,
    ids,
    st.sampled_from(OperationState),
    ids_or_empty,
    ids_or_empty,
    st.none() | st.sampled_from(Refusal),
    texts,
    wall_clock_ms,
    st.booleans(),
)
operation_acknowledgements = st.builds(AcknowledgeOperation, ids_or_empty, ids_or_empty, ids)
volume_uses = st.builds(VolumeUse, reserving_roles, ids, numbers, wall_clock_ms)
statuses = st.builds(
    TaskStatus,
    ids,
    st.sampled_from(TaskState),
    ids_or_empty,
    ids_or_empty,
    ids_or_empty,
    st.sampled_from(Source),
    st.none() | st.sampled_from(Reason),
    st.none() | st.sampled_from(Refusal),
    texts,
    wall_clock_ms,
    ids_or_empty,
    st.none() | st.integers(0, 255),
    st.none() | st.integers(1, 64),
    st.none() | numbers,
    st.none() | numbers,
)
offers = st.builds(
    Offer,
    ids,
    ids,
    ids,
    some_names,
    roles,
    resources,
    attributes,
    st.lists(containerizers, unique=True).map(tuple),
    st.integers(0, REFUSE_MS_MAX),
    ids_or_empty,
    names,
    names,
    st.lists(reservations, max_size=2).map(tuple),
)
requests = st.builds(
    Request,
    ids,
    roles,
    st.builds(
        lambda cpus, ports: Resources(cpus=cpus, mem=32, ports=ranges_of(ports)),
        st.integers(0, 64),
        st.sets(st.integers(0, 24), max_size=4),
    ),
    st.integers(0, REQUEST_COUNT_MAX),
    st.integers(0, 65_535),
    st.sampled_from(("", "rack != r1", "zone in (a, 'größe') or has ssd")),
    st.sampled_from(Policy),
)
results = st.builds(OperationResult, st.none() | st.sampled_from(Refusal), texts)
task_references = st.builds(TaskReference, ids, ids_or_empty)
id_tuples = st.lists(ids, max_size=4).map(tuple)

# --- what travels ---------------------------------------------------------------------------------

heartbeats = st.builds(Heartbeat, numbers)
refused = st.builds(Refused, st.sampled_from(Refusal), texts)
task_messages = st.builds(TaskMessage, ids_or_empty, ids_or_empty, ids, st.binary(max_size=50))

store_keys = st.from_regex(r"[!-~]{1,20}", fullmatch=True)
store_writes = st.builds(
    StoreWrite, store_keys, st.none() | st.binary(max_size=20), st.none() | numbers
)
write_tuples = st.lists(store_writes, max_size=3, unique_by=lambda write: write.key).map(tuple)
entries = st.builds(Entry, st.binary(max_size=20), numbers)

scheduler_calls: st.SearchStrategy[SchedulerCall] = st.one_of(
    st.builds(
        Subscribe, framework_infos, ids, ids_or_empty, st.booleans(), role_tuples, role_tuples
    ),
    st.builds(
        Accept,
        numbers,
        ids_or_empty,
        id_tuples,
        st.lists(st.builds(Launch, tasks, ids_or_empty) | changes, max_size=3).map(tuple),
        refuse_ms,
        write_tuples,
    ),
    st.builds(ReadStore, numbers, store_keys),
    st.builds(ListStore, numbers, st.just("") | store_keys),
    st.builds(WriteStore, numbers, write_tuples),
    st.builds(Decline, id_tuples, refuse_ms),
    st.builds(Revive, role_tuples),
    st.builds(Suppress, role_tuples),
    st.builds(RequestResources, st.lists(requests, max_size=3).map(tuple), numbers),
    st.builds(WithdrawRequests, id_tuples, role_tuples),
    st.builds(Kill, ids, ids_or_empty, grace_ms),
    st.builds(Acknowledge, ids, ids, ids),
    st.builds(Reconcile, st.lists(task_references, max_size=4).map(tuple)),
    st.builds(ConfirmResults, numbers),
    task_messages,
    operation_acknowledgements,
    st.builds(
        ReconcileOperations,
        st.lists(st.builds(OperationReference, ids, ids_or_empty), max_size=4).map(tuple),
    ),
    st.builds(Teardown, st.booleans()),
    heartbeats,
)

scheduler_events: st.SearchStrategy[SchedulerEvent] = st.one_of(
    st.builds(Subscribed, ids),
    st.builds(Offers, st.lists(offers, max_size=4).map(tuple)),
    st.builds(Rescind, id_tuples),
    st.builds(Update, statuses),
    st.builds(AcceptResult, numbers, st.lists(results, max_size=4).map(tuple)),
    task_messages,
    st.builds(
        StoreAnswer,
        numbers,
        st.none() | st.sampled_from(Refusal),
        texts,
        st.just("") | store_keys,
        numbers,
        st.none() | entries,
        st.lists(store_keys, max_size=3).map(tuple),
    ),
    st.builds(RequestUnsatisfiable, ids_or_empty, st.sampled_from(Refusal), texts, numbers),
    st.builds(OperationUpdate, operation_statuses),
    st.builds(AgentLost, ids),
    refused,
    heartbeats,
)

tasks_on_agents = st.builds(TaskOnAgent, ids, roles, tasks, st.sampled_from(TaskState))
registers = st.builds(
    Register,
    agent_infos,
    ids,
    numbers,
    st.lists(framework_references, max_size=3, unique_by=lambda f: f.framework_id).map(tuple),
    st.lists(tasks_on_agents, max_size=4, unique_by=lambda t: (t.framework_id, t.task.task_id)).map(
        alike
    ),
    numbers,
    st.lists(reservations, max_size=2).map(tuple),
    st.lists(volumes, max_size=2).map(tuple),
    st.lists(operation_statuses, max_size=2).map(tuple),
)

agent_calls: st.SearchStrategy[AgentCall] = st.one_of(
    registers,
    st.builds(StatusReport, statuses, st.sampled_from(TaskState)),
    task_messages,
    st.builds(Troubled, texts),
    st.builds(OperationReport, operation_statuses),
    st.builds(VolumesMeasured, st.lists(volume_uses, max_size=3).map(tuple)),
    heartbeats,
)

agent_events: st.SearchStrategy[AgentEvent] = st.one_of(
    st.builds(Registered, st.integers(0, REFUSE_MS_MAX)),
    st.builds(FrameworkAdded, framework_references),
    st.builds(RunTask, ids, roles, tasks, numbers),
    st.builds(KillTask, ids, ids, grace_ms, st.booleans()),
    st.builds(AcknowledgeStatus, ids, ids, ids),
    st.builds(ReconcileTasks, st.lists(st.tuples(ids, ids), max_size=4).map(tuple)),
    st.builds(ShutdownFramework, ids),
    st.builds(ApplyOperation, orders),
    operation_acknowledgements,
    task_messages,
    refused,
    heartbeats,
)

file_reads = st.builds(
    FileRead,
    numbers,
    ids,
    ids,
    st.sampled_from(FILE_NAMES),
    st.integers(-INT64_MAX, INT64_MAX),
    st.integers(1, FILE_CHUNK_BYTES_MAX),
) | st.builds(
    FileRead, numbers, st.just("") | ids, ids, st.just(POST_MORTEM), st.just(0), st.just(1)
)
file_chunks = st.builds(
    FileChunk,
    numbers,
    st.binary(max_size=50),
    numbers,
    st.none() | st.sampled_from(Refusal),
    texts,
)
