"""Agents, frameworks, tasks and statuses as protobuf, both ways.

`x_to_wire` gives a new message; `write_x` fills one that is already in its place, which spares a
copy. `x_from_wire` checks everything and raises MalformedMessage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from mesoslite.immutable import twins
from mesoslite.messages import FrameworkReference
from mesoslite.model import (
    AgentInfo,
    FrameworkInfo,
    Task,
    TaskReference,
    TaskStatus,
    Uri,
    are_ids,
    shape_of,
)
from mesoslite.v1 import agent_pb2
from mesoslite.v1 import common_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.amounts import (
    attributes_from_wire,
    resources_from_wire,
    write_attributes,
    write_resources,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.encoded import Encoded
from mesoslite.wire.enums import REASONS, REFUSALS, SOURCES, TASK_STATES
from mesoslite.wire.mounts import mounts_from_wire

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,62}\$?\Z")  # no leading -: it becomes a word
_URI = re.compile(r"(?:file://)?/.|https?://[^/\s]", re.IGNORECASE)
_ARTIFACT = re.compile(r"maven:[^:\s]+:[^:\s]+:[^:\s]+")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}\Z")

SHAPES_MAX = 1_024  # tasks of a framework come in few shapes, which differ by their ids alone
SHAPE_BYTES_MAX = 1_024  # so all shapes take 2 MB at worst, twice
REFERENCES_MAX = 1_024  # frameworks that have something on agents that come back
REFERENCE_BYTES_MAX = 1_024  # so 2 MB at worst
KINDS_MAX = 1_024  # agents come in few kinds, which differ by id and hostname alone
KIND_BYTES_MAX = 1_024  # so 2 MB at worst

_ID_TAG = pb.Task.TASK_ID_FIELD_NUMBER << 3 | 2  # the field, and that a length follows
_TASKS: Encoded[Task] = Encoded()
_BODIES: dict[tuple[object, ...], bytes] = {}
"""Tasks that were written, encoded without their ids."""
_AGENTS_LIKE: dict[bytes, AgentInfo] = {}
"""An agent that was read and checked, by its encoding without its id and hostname."""
_LIKE: dict[bytes, Task] = {}
"""A task that was read and checked, by its encoding without its id."""


# --- who is there ---------------------------------------------------------------------------------


def write_agent_info(slot: pb.AgentInfo, info: AgentInfo) -> None:
    """Fill `slot`."""
    slot.agent_id = info.agent_id
    slot.hostname = info.hostname
    slot.version = info.version
    slot.region = info.region
    slot.zone = info.zone
    write_resources(slot.resources, info.resources)
    write_attributes(slot.attributes, info.attributes)
    slot.containerizers.extend(info.containerizers)


def agent_info_to_wire(info: AgentInfo) -> pb.AgentInfo:
    """A new message."""
    slot = pb.AgentInfo()
    write_agent_info(slot, info)
    return slot


def agent_info_from_wire(slot: pb.AgentInfo) -> AgentInfo:
    """Raises MalformedMessage. About 15 us, 5 when one was read that differs by id and hostname."""
    if (size := slot.ByteSize()) > limit.AGENT_INFO_BYTES_MAX:
        raise check.too_big("agent", size, limit.AGENT_INFO_BYTES_MAX, "bytes")
    agent_id = check.identifier(slot.agent_id, "agent_id")
    hostname = check.name(slot.hostname, "hostname")
    # Its first fields, each a tag, one byte of length up to 127, and the text: all else is what
    # agents of a kind have in common.
    host, encoded = hostname.encode(), b""
    if size <= KIND_BYTES_MAX and len(agent_id) < 128 and len(host) < 128:
        own = b"\n%c%b\x12%c%b" % (len(agent_id), agent_id.encode(), len(host), host)
        encoded = slot.SerializeToString()
        encoded = encoded[len(own) :] if encoded.startswith(own) else b""
    like = _AGENTS_LIKE.get(encoded)
    if like is None:
        like = _checked_agent(slot, agent_id, hostname)
        if encoded:
            if len(_AGENTS_LIKE) >= KINDS_MAX:
                _AGENTS_LIKE.clear()
            _AGENTS_LIKE[encoded] = like
        return like
    return AgentInfo(
        agent_id,
        hostname,
        like.resources,
        like.attributes,
        like.containerizers,
        like.version,
        like.region,
        like.zone,
    )


def _checked_agent(slot: pb.AgentInfo, agent_id: str, hostname: str) -> AgentInfo:
    return AgentInfo(
        agent_id,
        hostname,
        resources_from_wire(slot.resources),
        attributes_from_wire(slot.attributes),
        containerizers_from_wire(slot.containerizers),
        check.name_or_empty(slot.version, "version", limit.VERSION_MAX),
        check.name_or_empty(slot.region, "region", limit.DOMAIN_MAX),
        check.name_or_empty(slot.zone, "zone", limit.DOMAIN_MAX),
    )


def containerizers_from_wire(
    names: Sequence[str], field: str = "containerizers"
) -> tuple[str, ...]:
    """At least one, none of them twice. Raises MalformedMessage."""
    check.bounded(names, field, limit.CONTAINERIZERS_MAX, "containerizers")
    if not names:
        raise MalformedMessage(field, None, "must name at least one")
    for one in names:
        check.containerizer(one, field)
    return check.distinct(names, field)


def write_framework_info(slot: pb.FrameworkInfo, info: FrameworkInfo) -> None:
    """Fill `slot`."""
    slot.name = info.name
    slot.roles.extend(info.roles)
    slot.failover_timeout_ms = info.failover_timeout_ms
    slot.hostname = info.hostname


def framework_info_to_wire(info: FrameworkInfo) -> pb.FrameworkInfo:
    """A new message."""
    slot = pb.FrameworkInfo()
    write_framework_info(slot, info)
    return slot


def framework_info_from_wire(slot: pb.FrameworkInfo) -> FrameworkInfo:
    """Raises MalformedMessage."""
    roles = check.roles(slot.roles, "roles")
    if not roles:
        raise MalformedMessage("roles", None, "must name at least one")
    return FrameworkInfo(
        check.name(slot.name, "name"),
        roles,
        check.duration(slot.failover_timeout_ms, "failover_timeout_ms"),
        check.name_or_empty(slot.hostname, "hostname"),
    )


def write_framework_reference(
    slot: agent_pb2.FrameworkReference, framework: FrameworkReference
) -> None:
    """Fill `slot`."""
    slot.framework_id = framework.framework_id
    slot.principal = framework.principal
    write_framework_info(slot.info, framework.info)


def framework_reference_to_wire(framework: FrameworkReference) -> agent_pb2.FrameworkReference:
    """A new message."""
    slot = agent_pb2.FrameworkReference()
    write_framework_reference(slot, framework)
    return slot


def framework_reference_from_wire(slot: agent_pb2.FrameworkReference) -> FrameworkReference:
    """Raises MalformedMessage. 1 us when a small one was read before: each agent of a framework
    names it when it registers."""
    encoded = slot.SerializeToString()
    if len(encoded) <= REFERENCE_BYTES_MAX:
        return _small_reference(encoded)
    return _checked_reference(slot)


@lru_cache(maxsize=REFERENCES_MAX)
def _small_reference(encoded: bytes) -> FrameworkReference:
    return _checked_reference(agent_pb2.FrameworkReference.FromString(encoded))


def _checked_reference(slot: agent_pb2.FrameworkReference) -> FrameworkReference:
    try:
        info = framework_info_from_wire(slot.info)
    except MalformedMessage as why:
        raise why.inside("info") from None
    return FrameworkReference(
        check.identifier(slot.framework_id, "framework_id"),
        check.name_or_empty(slot.principal, "principal"),
        info,
    )


# --- a task ---------------------------------------------------------------------------------------


def write_uri(slot: pb.Uri, uri: Uri) -> None:
    """Fill `slot`."""
    slot.value = uri.value
    slot.extract = uri.extract
    slot.executable = uri.executable
    if uri.output_file is not None:
        slot.output_file = uri.output_file
    if uri.sha256 is not None:
        slot.sha256 = uri.sha256


def uri_from_wire(slot: pb.Uri) -> Uri:
    """Raises MalformedMessage."""
    value = check.name(slot.value, "value", limit.URI_LENGTH_MAX)
    artifact = _ARTIFACT.match(value) is not None
    if not artifact and _URI.match(value) is None:
        right = "/ file:/// http:// https:// or maven:GROUP:ARTIFACT:VERSION"
        raise MalformedMessage("value", value, f"must begin with {right}")
    output = slot.output_file if slot.HasField("output_file") else None
    if output is not None:
        check.name(output, "output_file", limit.OUTPUT_FILE_LENGTH_MAX)
        if output.startswith("/") or {"", ".", ".."} & {*output.split("/")}:
            raise MalformedMessage("output_file", output, "must be a path inside the sandbox")
    sha256 = slot.sha256 if slot.HasField("sha256") else None
    if sha256 is not None and _SHA256.match(sha256) is None:
        raise MalformedMessage("sha256", sha256, "must be 64 hexadecimal digits")
    if artifact and sha256 is None:
        raise MalformedMessage("sha256", "", "must be there for an artifact of Maven")
    return Uri(value, slot.extract, slot.executable, output, sha256)


def write_task(slot: pb.Task, task: Task) -> None:
    """Fill an empty `slot`. About 6 us for a small task; 0.6 when it was read or written before,
    1.5 when one was written that differs by its id alone."""
    if _TASKS.write(slot, task):
        return
    shape = shape_of(task)
    shared = len(shape) > 1
    known = _BODIES.get(shape) if shared else None
    if known is not None:
        slot.MergeFromString(known)
    else:
        _write_body(slot, task)
        if shared and len(body := slot.SerializeToString()) <= SHAPE_BYTES_MAX:
            if len(_BODIES) >= SHAPES_MAX:
                _BODIES.clear()
            _BODIES[shape] = body
    slot.task_id = task.task_id


def _write_body(slot: pb.Task, task: Task) -> None:
    """All but the id."""
    slot.command.extend(task.command)
    write_resources(slot.resources, task.resources)
    slot.kill_grace_ms = task.kill_grace_ms
    if task.name:
        slot.name = task.name
    if task.environment:
        slot.environment.update(task.environment)
    if task.user is not None:
        slot.user = task.user
    for uri in task.uris:
        write_uri(slot.uris.add(), uri)
    if task.image is not None:
        slot.image = task.image
    if task.containerizer is not None:
        slot.containerizer = task.containerizer
    if task.max_completion_ms is not None:
        slot.max_completion_ms = task.max_completion_ms
    if task.pids_limit is not None:
        slot.pids_limit = task.pids_limit
    if task.labels:
        slot.labels.update(task.labels)
    if task.fence is not None:
        slot.fence = task.fence
    for mount in task.volumes:
        slot.volumes.add(volume_id=mount.volume_id, path=mount.path)


def task_to_wire(task: Task) -> pb.Task:
    """A new message."""
    slot = pb.Task()
    write_task(slot, task)
    return slot


def encoded_task(task: Task) -> bytes:
    """The bytes of `task_to_wire`."""
    return _TASKS.of(task) or task_to_wire(task).SerializeToString()


def task_from_wire(slot: pb.Task) -> Task:
    """Raises MalformedMessage. About 8 us for a small task, 2 when one was read that differs by
    its id alone."""
    slot.DiscardUnknownFields()  # what nobody here has checked is not passed on
    encoded = slot.SerializeToString()
    task = _read_task(slot, encoded)
    _TASKS.keep(task, encoded)
    return task


def _read_task(slot: pb.Task, encoded: bytes) -> Task:
    task_id = check.identifier(slot.task_id, "task_id")
    like = _task_like(slot, task_id, encoded)
    return like if like.task_id is task_id else twins(like, "task_id", (task_id,))[0]


def _task_like(slot: pb.Task, task_id: str, encoded: bytes) -> Task:
    """This task, or one read before that differs by its id alone. `task_id` is checked."""
    if (size := len(encoded)) > limit.TASK_BYTES_MAX:
        raise check.too_big("task", size, limit.TASK_BYTES_MAX, "bytes")
    # The id is the first field: a tag, a byte of length up to 127, and ASCII. For an id of 128 this
    # is one byte off, so it is neither found nor kept: each field after the id begins with a tag.
    id_end = 2 + len(task_id)
    body = encoded[id_end:]
    like = _LIKE.get(body)
    if like is not None:
        return like
    task = _checked_task(slot)
    if encoded[2:id_end] == task_id.encode() and size <= SHAPE_BYTES_MAX:
        if len(_LIKE) >= SHAPES_MAX:
            _LIKE.clear()
        _LIKE[body] = task
    return task


def another(task: Task, task_id: str, field: str) -> Task:
    """The same task under another id, which is checked. Raises MalformedMessage."""
    return twins(task, "task_id", [check.identifier(task_id, field)])[0]


def others_to_keep(task: Task, task_ids: Iterable[str], field: str) -> list[Task]:
    """The same task under other ids, for who writes each of them down: what `task` was read from is
    then the encoding of all but the id. Raises MalformedMessage."""
    made = twins(task, "task_id", check.identifiers_at_once(list(task_ids), field))
    encoded = _TASKS.of(task)
    own = _id_field(task.task_id)
    if encoded is not None and encoded.startswith(own):
        body = encoded[len(own) :]
        for other in made:
            _TASKS.keep(other, _id_field(other.task_id) + body)
    return made


def _id_field(task_id: str) -> bytes:
    """The first field of a Task, of an id that was checked: ASCII, and 128 bytes at most."""
    size = len(task_id)
    length = b"%c" % size if size < 128 else b"\x80\x01"
    return b"%c%b%b" % (_ID_TAG, length, task_id.encode())


def _checked_task(slot: pb.Task) -> Task:
    has = slot.HasField
    return Task(
        check.identifier(slot.task_id, "task_id"),
        _command(slot.command),
        resources_from_wire(slot.resources),
        check.name_or_empty(slot.name, "name"),
        _environment(slot),
        _user(slot.user) if has("user") else None,
        _uris(slot.uris),
        _image(slot.image) if has("image") else None,
        check.containerizer(slot.containerizer, "containerizer") if has("containerizer") else None,
        check.duration(slot.kill_grace_ms, "kill_grace_ms", limit.KILL_GRACE_MS_MAX),
        check.number(slot.max_completion_ms, "max_completion_ms", 1, limit.DURATION_MS_MAX)
        if has("max_completion_ms")
        else None,
        check.number(slot.pids_limit, "pids_limit", 1, limit.PIDS_LIMIT_MAX)
        if has("pids_limit")
        else None,
        check.text_map(slot.labels, "labels", limit.LABELS_MAX, limit.LABELS_BYTES_MAX),
        check.identifier(slot.fence, "fence") if has("fence") else None,
        mounts_from_wire(slot.volumes) if slot.volumes else (),
    )


def _command(words: Sequence[str]) -> tuple[str, ...]:
    check.bounded(words, "command", limit.COMMAND_WORDS_MAX, "words")
    command = tuple(words)
    if not command or not command[0]:
        raise MalformedMessage("command", None, "must name a program")
    check.system_texts(command, "command", limit.COMMAND_BYTES_MAX)
    return command


def _environment(slot: pb.Task) -> dict[str, str]:
    environment = check.text_map(
        slot.environment,
        "environment",
        limit.ENVIRONMENT_ENTRIES_MAX,
        limit.ENVIRONMENT_BYTES_MAX,
    )
    for name in environment:
        if "=" in name:
            raise MalformedMessage("environment", name, "a name must have no '='")
    return environment


def _user(user: str) -> str:
    if _USER.match(user) is None:
        raise MalformedMessage("user", user, "must be the name or number of a user")
    return user


def _uris(slots: Sequence[pb.Uri]) -> tuple[Uri, ...]:
    check.bounded(slots, "uris", limit.URIS_MAX, "uris")
    uris: list[Uri] = []
    for at, slot in enumerate(slots):
        try:
            uris.append(uri_from_wire(slot))
        except MalformedMessage as why:
            raise why.inside(f"uris[{at}]") from None
    return tuple(uris)


def _image(image: str) -> str:
    check.name(image, "image", limit.IMAGE_LENGTH_MAX)
    if not image.startswith("/"):
        raise MalformedMessage("image", image, "must be the absolute path of a directory")
    return image


# --- what happened to a task ----------------------------------------------------------------------


def write_status(slot: pb.TaskStatus, status: TaskStatus) -> None:
    """Fill an empty `slot`. A long message is cut. About 2 us."""
    slot.task_id = status.task_id
    slot.state = TASK_STATES.number[status.state]
    slot.framework_id = status.framework_id
    slot.agent_id = status.agent_id
    slot.update_id = status.update_id
    slot.source = SOURCES.number[status.source]
    slot.timestamp_ms = status.timestamp_ms
    slot.container_id = status.container_id
    if status.reason is not None:
        slot.reason = REASONS.number[status.reason]
    if status.refusal is not None:
        slot.refusal = REFUSALS.number[status.refusal]
    if status.message:
        slot.message = check.cut(status.message)
    if status.exit_code is not None:
        slot.exit_code = status.exit_code
    if status.signal is not None:
        slot.signal = status.signal
    if status.peak_mem_bytes is not None:
        slot.peak_mem_bytes = status.peak_mem_bytes
    if status.cpu_ms is not None:
        slot.cpu_ms = status.cpu_ms


def encoded_status(status: TaskStatus) -> bytes:
    """The bytes of `status_to_wire`. About 2 us."""
    return status_to_wire(status).SerializeToString()


def status_to_wire(status: TaskStatus) -> pb.TaskStatus:
    """A new message."""
    slot = pb.TaskStatus()
    write_status(slot, status)
    return slot


def status_from_wire(slot: pb.TaskStatus) -> TaskStatus:
    """Raises MalformedMessage. About 4 us."""
    has = slot.HasField
    return TaskStatus(
        check.identifier(slot.task_id, "task_id"),
        TASK_STATES.member(slot.state, "state"),
        check.identifier_or_empty(slot.framework_id, "framework_id"),
        check.identifier_or_empty(slot.agent_id, "agent_id"),
        check.identifier_or_empty(slot.update_id, "update_id"),
        SOURCES.member(slot.source, "source"),
        REASONS.member_or_none(slot.reason, "reason"),
        REFUSALS.member_or_none(slot.refusal, "refusal"),
        check.text(slot.message, "message"),
        check.timestamp(slot.timestamp_ms, "timestamp_ms"),
        check.identifier_or_empty(slot.container_id, "container_id"),
        check.number(slot.exit_code, "exit_code", 0, limit.EXIT_CODE_MAX)
        if has("exit_code")
        else None,
        check.number(slot.signal, "signal", 1, limit.SIGNAL_MAX) if has("signal") else None,
        check.number(slot.peak_mem_bytes, "peak_mem_bytes") if has("peak_mem_bytes") else None,
        check.number(slot.cpu_ms, "cpu_ms") if has("cpu_ms") else None,
    )


def nested_task(slot: pb.Task) -> Task:
    """`task_from_wire` for a message's field `task`, named in what is wrong."""
    try:
        return task_from_wire(slot)
    except MalformedMessage as why:
        raise why.inside("task") from None


def tasks_to_look_at(slot: pb.Task, more_ids: Sequence[str]) -> list[Task]:
    """The task, and those that differ from it by their ids alone, for who does not write them down
    again, so that no encoding is kept. ~2 us, and 0.3 us for each. Raises MalformedMessage.

    The ids are mostly read for the first time and seldom again soon: they are not remembered, so
    that those which do come again are.
    """
    task_ids = [slot.task_id, *more_ids]
    if not are_ids(task_ids):
        check.identifier(task_ids[0], "task.task_id")
        check.identifiers_at_once(task_ids[1:], "more_task_ids")
    try:
        like = _task_like(slot, task_ids[0], slot.SerializeToString())
    except MalformedMessage as why:
        raise why.inside("task") from None
    return twins(like, "task_id", task_ids)


def references_from_wire(slots: Sequence[pb.TaskReference]) -> tuple[TaskReference, ...]:
    """Raises MalformedMessage."""
    check.bounded(slots, "tasks", limit.LIST_MAX, "tasks")
    return tuple(
        [
            TaskReference(
                check.identifier(slot.task_id, "tasks.task_id"),
                check.identifier_or_empty(slot.agent_id, "tasks.agent_id"),
            )
            for slot in slots
        ]
    )
