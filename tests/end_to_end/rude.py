"""Peers that speak badly on purpose: bare gRPC streams, bare sockets, and what to send on them."""

from __future__ import annotations

import contextlib
import errno
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from mesoslite.credentials import call_metadata, read_tokens
from mesoslite.model import TaskStatus
from mesoslite.v1 import agent_pb2, common_pb2, scheduler_pb2
from mesoslite.wire import scheduler_events_from_wire
from tests.end_to_end.cluster import Cluster

Bytes = Callable[[bytes], bytes]

ANSWER_S_MAX = 30.0
MESSAGE_BYTES_LIMIT = 4 * 1024 * 1024  # as gRPC is told on both sides

GARBAGE = {
    "nothing": b"",
    "zeros": bytes(4_096),
    "noise": bytes(n * 167 % 251 for n in range(8_192)),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100a5010000a10303") + bytes(range(160)),
    "http2 that breaks off": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 9]),
    "http2 with an endless frame": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4_096,
    "a line without end": b"x" * 200_000,
}


class Stream:
    """One bidirectional call to a daemon, spoken in raw bytes. Use as a context."""

    def __init__(
        self, address: str, method: str, metadata: tuple[tuple[str, str], ...], answer: type[Any]
    ) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answer = answer
        untyped: Any = self._channel
        self._call = untyped.stream_stream(method)(iter(self._out.get, None), metadata=metadata)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.put(None)
        self._call.cancel()
        self._reader.join(ANSWER_S_MAX)
        self._channel.close()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for data in self._call:
                self._heard.put(self._answer.FromString(data))
        self._heard.put(None)

    def say(self, data: bytes) -> None:
        """Send these bytes as one message."""
        self._out.put(data)

    def hear(self) -> Any:
        """The next message, or None at the stream's end. Raises queue.Empty."""
        return self._heard.get(timeout=ANSWER_S_MAX)

    def code(self) -> tuple[grpc.StatusCode, str]:
        """How the call ended, when it has."""
        while self.hear() is not None:
            pass
        return self._call.code(), self._call.details() or ""


def metadata_of(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    """What shows the right token."""
    return call_metadata(read_tokens(cluster.token_file).own)


class RudeScheduler(Stream):
    """A scheduler's stream, on which anything may be said."""

    METHOD = "/mesoslite.v1.SchedulerService/Subscribe"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(
            cluster.address, self.METHOD, metadata_of(cluster), scheduler_pb2.SubscribeResponse
        )
        self._events: list[Any] = []
        self.framework_id = ""

    def call(self, **call: Any) -> None:
        """Say one call, given as the field of SchedulerCall."""
        self.say(
            scheduler_pb2.SubscribeRequest(
                calls=[scheduler_pb2.SchedulerCall(**call)]
            ).SerializeToString()
        )

    def subscribe(self, name: str, **changes: Any) -> None:
        """Say a subscribe that is right but for `changes`."""
        framework = common_pb2.FrameworkInfo(name=name, roles=["*"], failover_timeout_ms=0)
        fields: dict[str, Any] = {
            "protocol": 1,
            "framework": framework,
            "session_id": f"session-of-{name}",
        }
        self.call(subscribe=scheduler_pb2.Subscribe(**(fields | changes)))

    def subscribed(self, name: str, **changes: Any) -> Self:
        """Subscribe, and be told so."""
        self.subscribe(name, **changes)
        self.framework_id = self.event("subscribed").framework_id
        return self

    def event(self, kind: str) -> Any:
        """The next event of that kind, over others. Fails at the end of the stream."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if event.WhichOneof("event") == kind:
                    return getattr(event, kind)
            message = self.hear()
            assert message is not None, f"the stream has ended before {kind!r}"
            self._events = list(message.events)

    def offer(self) -> scheduler_pb2.Offer:
        """The next offer."""
        first: scheduler_pb2.Offer = self.event("offers").offers[0]
        return first

    def accept(self, number: int, offer: Any, *tasks: common_pb2.Task) -> None:
        """Say an accept of one offer."""
        launches = [scheduler_pb2.Operation(launch=scheduler_pb2.Launch(task=t)) for t in tasks]
        self.call(
            accept=scheduler_pb2.Accept(
                number=number,
                agent_id=offer.agent.agent_id,
                offer_ids=[offer.offer_id],
                operations=launches,
            )
        )

    def results(self) -> list[tuple[str, str]]:
        """The next answer to an accept: for each operation the refusal's name, and its message."""
        [answer] = self._understood(accept_result=self.event("accept_result"))
        return [("" if r.refusal is None else r.refusal.name, r.message) for r in answer.results]

    def update(self) -> TaskStatus:
        """The next status; those that came with it are thrown away."""
        status: TaskStatus = self._understood(updates=self.event("updates"))[0].status
        return status

    def _understood(self, **event: Any) -> list[Any]:
        """What is in columns is more easily read as a session reads it."""
        events = [scheduler_pb2.SchedulerEvent(**event)]
        return list(scheduler_events_from_wire(scheduler_pb2.SubscribeResponse(events=events))[1])


class RudeAgent(Stream):
    """An agent's stream, on which anything may be said."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(
            cluster.address,
            "/mesoslite.v1.AgentService/Connect",
            metadata_of(cluster),
            agent_pb2.ConnectResponse,
        )

    def call(self, *calls: agent_pb2.AgentCall) -> None:
        """Say these."""
        self.say(agent_pb2.ConnectRequest(calls=calls).SerializeToString())

    def register(self, info: common_pb2.AgentInfo, boot_id: str = "boot", tasks: int = 0) -> None:
        """Say a registration without anything in it that claims to hold `tasks` tasks."""
        begin = agent_pb2.RegisterBegin(protocol=1, agent=info, boot_id=boot_id)
        end = agent_pb2.RegisterEnd(tasks=tasks)
        self.call(agent_pb2.AgentCall(register_begin=begin), agent_pb2.AgentCall(register_end=end))


def refused(stream: Stream) -> tuple[str, str]:
    """The refusal that a daemon says as its last word, with its message."""
    last = None
    while (message := stream.hear()) is not None:
        for event in message.events:
            if event.WhichOneof("event") == "refused":
                last = event.refused
    assert last is not None, "the stream has ended without a refusal"
    return refusal_of(last), last.message


def refusal_of(message: Any) -> str:
    """The name of a message's refusal; empty when it has none."""
    name = common_pb2.Refusal.Name(message.refusal).removeprefix("REFUSAL_")
    return "" if name == "UNSPECIFIED" else name


def scalar(key: str, milli: int) -> common_pb2.Resource:
    """An amount, however absurd."""
    return common_pb2.Resource(key=key, scalar_milli=milli)


def task(task_id: str, *resources: common_pb2.Resource, **fields: Any) -> common_pb2.Task:
    """A task that sleeps, with 0.1 cpus and 32 MiB unless told otherwise."""
    amounts = resources or (scalar("cpus", 100), scalar("mem", 32_000))
    given = {"command": ["sleep", "600"], "resources": amounts} | fields
    return common_pb2.Task(task_id=task_id, **given)


def throw(target: tuple[str, int] | str, data: bytes) -> None:
    """Connect to (host, port), or to the name of an abstract socket, send, and be hung up on.

    The peer may close at once, or wait for more, as it likes; we close the sending side.
    """
    family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
    with socket.socket(family) as link:
        link.settimeout(ANSWER_S_MAX)
        link.connect(target)
        drain(link, data)


def drain(link: socket.socket, data: bytes) -> bytes:
    """Send, then read until the peer hangs up, which it may do meanwhile; what it said."""
    said = b""
    try:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        while piece := link.recv(65_536):
            said += piece
    except OSError as error:
        if error.errno not in {errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE}:
            raise
    return said


@contextlib.contextmanager
def channel(address: str) -> Iterator[grpc.Channel]:
    """A connection of its own."""
    opened = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
    try:
        yield opened
    finally:
        opened.close()
