"""A master that says to one agent what a test tells it to, and writes down what it hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc

from mesoslite.link import OPEN_KEY
from mesoslite.messages import (
    ApplyOperation,
    FrameworkAdded,
    FrameworkReference,
    Heartbeat,
    OperationReport,
    Register,
    Registered,
)
from mesoslite.model import FrameworkInfo
from mesoslite.operations import OperationStatus, Order
from mesoslite.reservations import Change
from mesoslite.serving import new_server
from mesoslite.v1 import agent_pb2
from mesoslite.wire import Registration, agent_calls_from_wire, agent_responses
from tests.integration.door import CONNECT
from tests.integration.waiting import until

W = TypeVar("W")
HEARD_S_MAX = 30.0
EPOCH = 1


class Puppet:
    """Registers whoever calls and introduces framework `f`; the rest is the test's."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[Any] = []
        """All words on the newest stream."""
        self._to_say: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """One stream."""
        await context.send_initial_metadata(((OPEN_KEY, "open"),))
        mine: asyncio.Queue[Any] = asyncio.Queue()
        self._to_say, self.heard = mine, []
        listening = asyncio.create_task(self._listen(requests, mine, self.heard))
        try:
            while True:
                for response in agent_responses(EPOCH, [await mine.get()]):
                    yield response.SerializeToString()
        finally:
            listening.cancel()

    async def _listen(
        self, requests: AsyncIterator[bytes], answers: asyncio.Queue[Any], heard: list[Any]
    ) -> None:
        registration = Registration()
        async for data in requests:
            request = agent_pb2.ConnectRequest.FromString(data)
            for call in agent_calls_from_wire(request, registration):
                if isinstance(call, Register):
                    answers.put_nowait(Registered())
                    info = FrameworkInfo("events", ("kafka",))
                    answers.put_nowait(FrameworkAdded(FrameworkReference("f", "local", info)))
                elif isinstance(call, Heartbeat):
                    answers.put_nowait(call)
                heard.append(call)

    def say(self, *words: object) -> None:
        """On the newest stream."""
        for word in words:
            self._to_say.put_nowait(word)

    def order(self, change: Change) -> None:
        """Of framework `f`, for the role kafka."""
        self.say(ApplyOperation(Order("f", "events", "local", "kafka", 1, change)))

    async def answer(self, operation_id: str) -> OperationStatus:
        """What became of an order, once it is told on this stream."""
        found: list[OperationStatus] = []

        def told() -> bool:
            found[:] = [r.status for r in self.of(OperationReport)]
            found[:0] = [s for register in self.of(Register) for s in register.operations]
            found[:] = [status for status in found if status.operation_id == operation_id]
            return bool(found)

        await until(told, HEARD_S_MAX)
        return found[0]

    def of(self, kind: type[W]) -> list[W]:
        """The words of a kind on the newest stream."""
        return [word for word in self.heard if isinstance(word, kind)]

    async def registered(self) -> Register:
        """The registration of the newest stream."""
        await until(lambda: self.of(Register), HEARD_S_MAX)
        return self.of(Register)[-1]


@contextlib.asynccontextmanager
async def puppet_master() -> AsyncIterator[Puppet]:
    """One that listens on a free port."""
    puppet = Puppet()
    connect: Any = puppet.connect
    service, _, method = CONNECT.removeprefix("/").partition("/")
    methods = {method: grpc.stream_stream_rpc_method_handler(connect)}
    server = new_server([grpc.method_handlers_generic_handler(service, methods)])
    puppet.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield puppet
    finally:
        await server.stop(grace=0)
