"""The processes of tasks that attach themselves to their agent, to take and send messages.

They come over an abstract Unix socket, whose name needs no file: it is as short as it must be
however long the work directory, it is seen from every container since all share the host's
network, and it is the same after the agent has restarted. The agent's TCP port takes them too.
Who attaches shows the secret of its container; the newest one has the messages.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from mesoslite.loop import Inbox
from mesoslite.streams import Outbox, Outgoing, converse, listen
from mesoslite.v1 import executor_pb2 as pb
from mesoslite.wire import TASK_MESSAGE_BYTES_MAX, MalformedMessage
from mesoslite_agent.protocol import (
    Event,
    ExecutorAttached,
    ExecutorDetached,
    ExecutorSpoke,
    TaskRecord,
)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

SERVICE = "mesoslite.v1.ExecutorService"
ATTACH_TIMEOUT_S = 10.0
STREAMS_MAX = 10_000  # ~40 KiB each idle: more than tasks that run on one host


def executor_address(agent_id: str) -> str:
    """Where processes of this agent's tasks attach themselves, as gRPC names it."""
    return f"unix-abstract:mesoslite-{agent_id}"


class Executors:
    """The attached processes of one agent's tasks."""

    def __init__(self, inbox: Inbox[Event]) -> None:
        self._inbox = inbox
        self._expected: dict[str, TaskRecord] = {}
        self._attached: dict[str, Outbox[bytes]] = {}
        self._streams = 0

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """The service, for a server."""
        attach: Any = self._attach
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Attach": grpc.stream_stream_rpc_method_handler(attach)}
        )

    def expect(self, record: TaskRecord) -> None:
        """Processes of this task may attach themselves from now on."""
        self._expected[record.container_id] = record

    def forget(self, container_id: str) -> None:
        """The container is no more; who is still attached is cut."""
        self._expected.pop(container_id, None)
        outbox = self._attached.get(container_id)
        if outbox is not None:
            outbox.close()

    def say(self, container_id: str, data: bytes) -> None:
        """Hand bytes to the process that is attached; with none they are lost."""
        outbox = self._attached.get(container_id)
        if outbox is not None:
            outbox.put(data)

    async def _attach(self, _requests: object, context: Context) -> None:
        if self._streams >= STREAMS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many processes attached")
        self._streams += 1
        try:
            container_id = await self._admit(context)
            await self._serve(context, container_id)
        finally:
            self._streams -= 1

    async def _admit(self, context: Context) -> str:
        """The container of who attaches. Aborts the call when it does not show its secret."""
        try:
            async with asyncio.timeout(ATTACH_TIMEOUT_S):
                first: object = await context.read()
            call = pb.AttachRequest.FromString(first if isinstance(first, bytes) else b"")
        except (TimeoutError, DecodeError):
            call = pb.AttachRequest()
        if call.WhichOneof("call") != "attach":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first call must be attach")
        container_id = call.attach.container_id
        expected = self._expected.get(container_id)
        # Whoever guesses is not told which containers there are.
        secret = expected.secret if expected is not None else ""
        fits = hmac.compare_digest(secret.encode(), call.attach.secret.encode())
        if expected is None or not fits:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "no task here has this container id and secret"
            )
        task_id = expected.task.task_id
        attached = pb.Attached(framework_id=expected.framework_id, task_id=task_id)
        await context.write(pb.AttachResponse(attached=attached).SerializeToString())
        return container_id

    async def _serve(self, context: Context, container_id: str) -> None:
        malformed = ""

        def parse(data: bytes) -> Sequence[Event]:
            nonlocal malformed
            try:
                return [ExecutorSpoke(container_id, _message(data))]
            except (DecodeError, MalformedMessage) as error:
                malformed = str(error) or "this is no AttachRequest"
                raise

        earlier = self._attached.get(container_id)
        if earlier is not None:
            earlier.close()
        outbox = self._attached[container_id] = Outbox[bytes]()
        self._inbox.post(ExecutorAttached(container_id))
        try:
            await converse(
                outbox,
                listen(
                    context.read,
                    parse,
                    self._inbox,
                    None,
                    outbox.is_closing,
                ),
                outbox.write_all(_pack, context.write),
            )
        finally:
            if self._attached.get(container_id) is outbox:
                del self._attached[container_id]
                self._inbox.post(ExecutorDetached(container_id))
        if malformed:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, malformed)


def _message(data: bytes) -> bytes:
    """What a process sends to its framework. Raises DecodeError, MalformedMessage."""
    call = pb.AttachRequest.FromString(data)
    if call.WhichOneof("call") != "message":
        raise MalformedMessage("call", None, "must be message, after the first")
    message = call.message.data
    if len(message) > TASK_MESSAGE_BYTES_MAX:
        raise MalformedMessage(
            "message.data", None, f"at most {TASK_MESSAGE_BYTES_MAX:,} bytes are taken"
        )
    return message


def _pack(messages: Sequence[bytes]) -> Iterable[Outgoing]:
    return (pb.AttachResponse(message=pb.ExecutorMessage(data=data)) for data in messages)
