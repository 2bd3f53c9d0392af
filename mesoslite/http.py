"""A daemon's HTTP port: whether it lives, whether it is ready, its version, its metrics.

It runs in the daemon's own loop and reads what is there: nothing asked here changes anything, so
only GET and HEAD are known and no request has a body. Metrics need the token unless told
otherwise (docs/decisions.md D20: local is not trusted); the other three say nothing worth hiding,
and probes of service managers carry no tokens. What a client may cost is bounded below.

A browser on the same host is kept out: a page whose name its owner has pointed at 127.0.0.1 (DNS
rebinding) may read answers from there as if they were its own, but it can not change the Host that
its requests carry. So over loopback only this host's own names are answered.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import platform
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mesoslite.credentials import TokenFileError, Tokens
from mesoslite.model import Refusal
from mesoslite.serving import HTTP_BACKLOG, port_of
from mesoslite.version import VERSION

CONNECTIONS_MAX = 128  # ~20 KiB each; one more, and the one that was idle longest is cut
REQUEST_S_MAX = 30.0  # from a connection's start, or its last answer, to the end of the next answer
HEAD_BYTES_MAX = 16 * 1024  # of a request's line and headers, as gRPC's metadata
STOP_S = 1.0  # for answers that are being made when the daemon stops; a scrape takes ~0.1 s

log = structlog.get_logger("mesoslite.http")


@dataclass(frozen=True, slots=True)
class Pages:
    """What a daemon has to show. All are asked for at each request, in the daemon's loop."""

    program: str
    why_not_ready: Callable[[], str]
    """Why it can not do its work now, in one line; empty: it can."""
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    """The body and its content type, for an Accept header."""
    tokens: Callable[[], Tokens] | None
    """Whom to show metrics. None: to anybody. Raises TokenFileError."""

    def application(self) -> ASGIApp:
        """The pages as an ASGI application."""
        application = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/version", self._version),
                Route("/metrics", self._metrics),
            ],
            exception_handlers={HTTPException: _refused, Exception: _failed},
        )
        application.router.redirect_slashes = False  # a name has one spelling
        return _Guarded(application)

    async def _healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        why_not = self.why_not_ready()
        if why_not:
            return PlainTextResponse(f"not ready: {why_not}\n", 503)
        return PlainTextResponse("ready\n")

    async def _version(self, _request: Request) -> Response:
        return JSONResponse(
            {"program": self.program, "version": VERSION, "python": platform.python_version()}
        )

    async def _metrics(self, request: Request) -> Response:
        if self.tokens is not None:
            try:
                principal = self.tokens().principal_of_call(request.headers.items())
            except TokenFileError as error:
                raise HTTPException(503, str(error)) from None
            if principal is None:
                raise HTTPException(401, Refusal.BAD_TOKEN.value, {"www-authenticate": "Bearer"})
        body, content_type = await self.metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})


class _Guarded:
    """Refuses requests with a body before anything reads it, and hangs up on their senders; and
    those for another host than this one, when they come over loopback."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._hostname = socket.gethostname().lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        answer = self._application
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in headers
        ):
            answer = _error(400, "requests have no body here", {"connection": "close"})
        elif _is_loopback(scope["server"]) and not all(
            self._is_here(value) for name, value in headers if name == b"host"
        ):
            answer = _error(421, "this host is not called so", {})
        await answer(scope, receive, send)

    def _is_here(self, value: bytes) -> bool:
        """Whether a Host header names this host, or is an address: no rebinding makes one that."""
        host = value.decode("latin-1").strip().lower()
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        else:
            host = host.partition(":")[0].removesuffix(".")
        return host in ("localhost", self._hostname) or _is_address(host)


def _is_loopback(server: tuple[str, int | None] | None) -> bool:
    """Whether a connection ends at an address that only this host reaches."""
    if server is None or not _is_address(server[0]):
        return False
    address = ip_address(server[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _refused(_request: Request, error: Exception) -> Response:
    no = cast(HTTPException, error)
    headers = dict(no.headers or {})
    return _error(no.status_code, no.detail, headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, exc_info=error)
    return _error(500, "this request failed: the daemon's log says why", {})


def _error(status: int, text: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": text}, status, headers)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may cost, all together and each."""

    connections: int = CONNECTIONS_MAX
    request_s: float = REQUEST_S_MAX


class _Connection(H11Protocol):
    """uvicorn's connection, which ends when its client is too slow or too many have come.

    uvicorn itself waits for ever for a request that does not come, or an answer that is not read.
    """

    def __init__(self, *, limits: Limits, **wiring: Any) -> None:
        super().__init__(**wiring)
        self._limits = limits
        self._too_slow: asyncio.TimerHandle | None = None
        #: It was ended from here, and will be gone in the next turn of the loop.
        self.cut = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        there = cast("set[_Connection]", self.connections)
        if len(there) > self._limits.connections:
            # Those that were cut in this turn of the loop are still among them.
            left = [one for one in there if not one.cut]
            if len(left) > self._limits.connections:
                min(left, key=lambda one: (one.answering, one.due_s)).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._too_slow is not None:
            self._too_slow.cancel()

    def on_response_complete(self) -> None:
        self._watch()
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether a request has arrived on it whose answer is not all on its way yet."""
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        answered = cycle is None or cycle.response_complete
        return not answered or self.transport.get_write_buffer_size() > 0

    @property
    def due_s(self) -> float:
        """When it is cut, in the loop's time: the later, the more recently it was of use."""
        return self._too_slow.when() if self._too_slow is not None else 0.0

    def abort(self) -> None:
        """Cut it, whatever was not yet written."""
        self.cut = True
        self.transport.abort()

    def _watch(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
        self._too_slow = self.loop.call_later(self._limits.request_s, self.abort)


class HttpServer:
    """One HTTP port, as `serving.listen_http` gives it: served while this is open as a context."""

    def __init__(
        self, listening: socket.socket, pages: Pages, limits: Limits | None = None
    ) -> None:
        """Who connects waits until it is open."""
        limits = limits or Limits()
        self._socket = listening
        config = uvicorn.Config(
            pages.application(),
            http=cast(Any, functools.partial(_Connection, limits=limits)),
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.CRITICAL,  # a line for each garbled request is no news; `_failed` is
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=math.ceil(limits.request_s),
            backlog=HTTP_BACKLOG,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        config.load()
        # uvicorn.Server.serve would take the signals, and wake up ten times a second for the date.
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    @property
    def port(self) -> int:
        """Where it listens."""
        return port_of(self._socket)

    async def __aenter__(self) -> HttpServer:
        """Answer requests from now on."""
        await self._server.startup(sockets=[self._socket])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more connections, finish what is being answered for STOP_S, cut the rest."""
        server = self._server
        for listener in server.servers:
            listener.close()
        if answering := set(server.server_state.tasks):
            await asyncio.wait(answering, timeout=STOP_S)
        for connection in list(server.server_state.connections):
            cast(_Connection, connection).abort()
        self._socket.close()
