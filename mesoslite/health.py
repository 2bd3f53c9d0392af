"""The standard gRPC health service, so that ordinary probes can tell whether a daemon is ready.

`grpc.health.v1.Health/Check`, as gRPC documents it. Its answer is one enum field, so
the two possible messages are written out here. It needs no token and tells nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc

_SERVING = b"\x08\x01"  # field 1 (status), varint: 1 SERVING, 2 NOT_SERVING
_NOT_SERVING = b"\x08\x02"
HEALTH_METHOD = "/grpc.health.v1.Health/Check"


def health_handler(ready: Callable[[], bool]) -> grpc.GenericRpcHandler[bytes, bytes]:
    """A handler for `grpc.aio.Server.add_generic_rpc_handlers`."""

    async def check(_request: bytes, _context: object) -> bytes:
        return _SERVING if ready() else _NOT_SERVING

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {"Check": grpc.unary_unary_rpc_method_handler(check)},
    )


async def is_serving(channel: grpc.aio.Channel) -> bool:
    """Ask a daemon whether it is ready. Raises grpc.RpcError when nobody answers."""
    answer = await channel.unary_unary(HEALTH_METHOD, None, None)(b"")
    return bool(answer == _SERVING)
