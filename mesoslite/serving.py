"""A daemon's gRPC server: its limits, where it listens, and the token at its door."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from mesoslite.credentials import Tokens
from mesoslite.model import Refusal
from mesoslite.settings import NO_PORT
from mesoslite.streams import CHANNEL_OPTIONS

STREAMS_PER_CONNECTION_MAX = 2_000  # a swarm of agents in one process shares a connection
# Streams and calls that wait for their turn in the loop, where their token is looked at. gRPC's own
# limit is 1,000, of which it cancels at random, and 30 s; agents come back to a new master 10,000
# at once, and with them come frameworks.
REQUESTS_WAITING_MAX = 12_000  # at ~20 KiB, so 240 MB at most
REQUEST_WAITS_S_MAX = 60
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),  # else a second daemon silently shares the port
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.server.max_pending_requests", REQUESTS_WAITING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", REQUESTS_WAITING_MAX),
    ("grpc.server_max_unrequested_time_in_server", REQUEST_WAITS_S_MAX),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Streams have heartbeats of their own; these find dead connections that never had a stream.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 60_000),
)
HTTP_BACKLOG = 128  # connections that wait to be taken
DENIALS_LOGGED_INTERVAL_S = 1.0  # a peer that tries on must not fill the log

log = structlog.get_logger("mesoslite.serving")

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[bytes, bytes]
    Interceptor = grpc.aio.ServerInterceptor[bytes, bytes]
else:
    Interceptor = grpc.aio.ServerInterceptor


class BindError(Exception):
    """The address cannot be listened on; `str` is one line for people."""


class TokenCheck(Interceptor):
    """Lets calls with a known token in; any other is answered UNAUTHENTICATED.

    Methods in `open_methods` need none.
    """

    def __init__(self, tokens: Tokens, open_methods: frozenset[str] = frozenset()) -> None:
        self._tokens = tokens
        self._open = open_methods
        self._logged_s = float("-inf")
        self._silent = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """As grpc.aio calls it, for each call."""
        found: Handler | None = await continuation(handler_call_details)
        method = handler_call_details.method
        metadata: Any = handler_call_details.invocation_metadata or ()
        allowed = method in self._open or self._tokens.principal_of_call(metadata) is not None
        if allowed or found is None:  # an unknown method is answered as such, whoever asks
            return cast("Handler", found)
        self._log(method)
        return _deny_as(found)

    def _log(self, method: str) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s < DENIALS_LOGGED_INTERVAL_S:
            self._silent += 1
            return
        log.warning("refused a call without a right token", method=method, more=self._silent)
        self._logged_s, self._silent = now_s, 0


def _deny_as(handler: Handler) -> Handler:
    """A handler of the same kind that says no."""

    async def deny(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, Refusal.BAD_TOKEN.value)

    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    denying: Handler = kinds[bool(handler.request_streaming), bool(handler.response_streaming)](
        deny
    )
    return denying


def new_server(
    handlers: Sequence[grpc.GenericRpcHandler[bytes, bytes]],
    door: TokenCheck | None = None,
) -> grpc.aio.Server:
    """A server with our limits.

    Handlers take and give bytes: what arrives is parsed by us, so garbage is answered and leaves
    no trace. Without a `door` anybody may call.
    """
    return grpc.aio.server(
        handlers=list(handlers),
        interceptors=[door] if door is not None else [],
        options=SERVER_OPTIONS,
    )


@contextlib.asynccontextmanager
async def started(server: grpc.aio.Server) -> AsyncIterator[None]:
    """Serve; at the end stop at once, if it was not stopped in order before."""
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


def listen_on(server: grpc.aio.Server, host: str, port: int) -> int:
    """Bind a server that is not started yet; returns the port. Raises BindError."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        # gRPC only says that it failed, and writes the rest to stderr: ask the system itself first.
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
        bound = server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "gRPC cannot bind it"
        raise BindError(
            f"cannot listen on {address}: {why}; --port 0 takes any port that is free"
        ) from None
    return bound


def listen_http(host: str, port: int) -> socket.socket:
    """Bind the port of HTTP; who connects waits until it is served. Raises BindError."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(where[:2], family=family, backlog=HTTP_BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise BindError(
            f"cannot listen for HTTP on {address}: {why.lower()}; "
            f"choose another --http-port (0: any free one; {NO_PORT}: no HTTP)"
        ) from None
    bound.setblocking(False)
    return bound


def port_of(bound: socket.socket) -> int:
    """Where it listens."""
    return int(bound.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether only this host can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
