"""The front of a master's gRPC port: its services while it leads, else the name of who does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from mesoslite.masters import LEADER_KEY

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[bytes, bytes]
    Handlers = grpc.GenericRpcHandler[bytes, bytes]
else:
    Handlers = grpc.GenericRpcHandler


class Front(Handlers):
    """All services of a master behind one handler, which knows whether it leads.

    While it does not, every call is answered FAILED_PRECONDITION, with the leader's address, or
    nothing while nobody leads, as the metadata LEADER_KEY at its end.
    """

    def __init__(self, leader: Callable[[], str]) -> None:
        """`leader` tells who leads: HOST:PORT, or empty for nobody."""
        self._leader = leader
        self._services: Sequence[Handlers] = ()
        refuse: Any = self._refuse
        # Of the most general kind: whatever is called, it has one answer, at its end.
        self._refusing: Handler = grpc.stream_stream_rpc_method_handler(refuse)

    def open(self, services: Sequence[Handlers]) -> None:
        """This master leads: its services answer from now on."""
        self._services = services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """As gRPC calls it, for each call."""
        if not self._services:
            return self._refusing
        for service in self._services:
            if (found := service.service(handler_call_details)) is not None:
                return found
        return None

    async def _refuse(
        self, _requests: object, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        leader = self._leader()
        says = f"{leader} leads" if leader else "nobody leads yet, try again"
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"this master follows: {says}",
            trailing_metadata=((LEADER_KEY, leader),),
        )
