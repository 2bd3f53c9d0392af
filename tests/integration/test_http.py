"""The HTTP port by itself: its pages, who may see them, and what clients may cost."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client.core import Metric

from mesoslite.credentials import TokenFileError, Tokens
from mesoslite.http import HEAD_BYTES_MAX, HttpServer, Limits, Pages
from mesoslite.metrics import Exposition, gauge
from mesoslite.serving import BindError, listen_http, port_of
from mesoslite.version import VERSION
from tests.integration.http import Answer, Http
from tests.integration.waiting import until

TOKENS = Tokens((("local", "secret"), ("prometheus", "other")))


@dataclass
class Shown:
    """A daemon's pages, whose words a test changes."""

    why_not: str = ""
    tokens: Callable[[], Tokens] | None = lambda: TOKENS
    fails: bool = False

    async def families(self) -> AsyncIterator[list[Metric]]:
        if self.fails:
            raise RuntimeError("a bug")
        yield [gauge("answer", "It.", 42)]

    def pages(self) -> Pages:
        return Pages("tester", lambda: self.why_not, Exposition(self.families).text, self.tokens)


@asynccontextmanager
async def served(shown: Shown | None = None, limits: Limits | None = None) -> AsyncIterator[Http]:
    listening = listen_http("127.0.0.1", 0)
    async with HttpServer(listening, (shown or Shown()).pages(), limits):
        yield Http(port_of(listening))


async def asked(http: Http, path: str, method: str = "GET", **headers: str) -> Answer:
    return await asyncio.to_thread(http.ask, path, method=method, **headers)


async def said(http: Http, data: bytes) -> bytes:
    """What is answered to these bytes until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


# --- pages ----------------------------------------------------------------------------------------


async def test_it_lives_is_ready_and_tells_its_version() -> None:
    async with served() as http:
        assert (await asked(http, "/healthz")).text == "ok\n"
        assert (await asked(http, "/readyz")).text == "ready\n"
        version = (await asked(http, "/version")).json
        assert (version["program"], version["version"]) == ("tester", VERSION)


async def test_who_is_not_ready_says_why_and_lives_on() -> None:
    shown = Shown(why_not="cannot write /x: disk full")
    async with served(shown) as http:
        answer = await asked(http, "/readyz")
        assert (answer.status, answer.text) == (503, "not ready: cannot write /x: disk full\n")
        assert (await asked(http, "/healthz")).status == 200
        shown.why_not = ""
        assert (await asked(http, "/readyz")).status == 200


async def test_a_head_has_the_headers_of_its_get_and_no_body() -> None:
    async with served() as http:
        answer = await asked(http, "/healthz", "HEAD")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "3")


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/healthz/x", "/%2e%2e/etc/passwd", "/n%C3%B6", "/healthz%00"]
)
async def test_an_unknown_path_is_a_404_in_json(path: str) -> None:
    async with served() as http:
        answer = await asked(http, path)
        assert (answer.status, answer.json) == (404, {"error": "Not Found"})


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.:80", "127.0.0.1:8080", "[::1]:80", "10.1.2.3", socket.gethostname()],
)
async def test_over_loopback_this_host_is_answered_by_its_own_names(host: str) -> None:
    async with served() as http:
        assert (await asked(http, "/version", host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["rebound.example", "localhost.example:80", "127.0.0.1.example", ""]
)
@pytest.mark.parametrize("path", ["/version", "/readyz", "/metrics"])
async def test_a_name_that_was_rebound_to_loopback_is_not_answered(path: str, host: str) -> None:
    async with served(Shown(tokens=None)) as http:
        answer = await asked(http, path, host=host)
        assert (answer.status, answer.json) == (421, {"error": "this host is not called so"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_only_get_and_head_are_known(method: str) -> None:
    async with served() as http:
        answer = await asked(http, "/metrics", method)
        assert answer.status == 405
        assert answer.json == {"error": "Method Not Allowed"}


async def test_a_failure_of_ours_is_a_500_in_json_and_no_more_than_that() -> None:
    async with served(Shown(fails=True, tokens=None)) as http:
        answer = await asked(http, "/metrics")
        assert answer.status == 500
        assert "bug" not in answer.text
        assert (await asked(http, "/healthz")).status == 200


# --- who may see metrics --------------------------------------------------------------------------


async def test_metrics_are_for_who_has_a_token() -> None:
    async with served() as http:
        for wrong in ({}, {"authorization": "Bearer no"}, {"authorization": "secret"}):
            denied = await asked(http, "/metrics", **wrong)
            assert denied.status == 401
            assert denied.headers["www-authenticate"] == "Bearer"
            assert "42" not in denied.text
        for token in ("secret", "other"):
            shown = await asked(http, "/metrics", authorization=f"Bearer {token}")
            assert (shown.status, "mesoslite_answer 42.0\n" in shown.text) == (200, True)


async def test_open_metrics_are_for_everybody() -> None:
    async with served(Shown(tokens=None)) as http:
        assert (await asked(http, "/metrics")).status == 200


async def test_without_a_token_file_metrics_are_for_nobody_and_it_says_why() -> None:
    def tokens() -> Tokens:
        raise TokenFileError("there is no token file /t")

    async with served(Shown(tokens=tokens)) as http:
        answer = await asked(http, "/metrics", authorization="Bearer secret")
        assert (answer.status, answer.json) == (503, {"error": "there is no token file /t"})


# --- clients that mean no good --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * (2 * HEAD_BYTES_MAX),
        b"GET /" + b"a" * (2 * HEAD_BYTES_MAX),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_garbage_is_answered_or_cut_and_nobody_else_notices(data: bytes) -> None:
    async with served() as http:
        answer = await said(http, data)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        assert (await asked(http, "/healthz")).status == 200


async def test_a_request_with_a_body_is_refused_before_it_is_read() -> None:
    async with served() as http:
        head = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n"
        for body in (b"Content-Length: 99999999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            answer = await said(http, head + body)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"connection: close" in answer


async def test_who_says_nothing_or_only_half_is_cut_in_time() -> None:
    async with served(limits=Limits(request_s=0.2)) as http:
        assert await said(http, b"") == b""
        assert await said(http, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ") == b""


async def test_who_has_been_answered_is_cut_as_well_when_nothing_more_comes() -> None:
    async with served(limits=Limits(request_s=0.2)) as http:
        answer = await said(http, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_who_does_not_read_its_answers_is_cut() -> None:
    more_than_buffers_hold = Shown(why_not="x" * 50_000_000)
    async with served(more_than_buffers_hold, Limits(request_s=0.5)) as http:
        with socket.create_connection(("127.0.0.1", http.port)) as deaf:
            deaf.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            # Sending is the only way to notice without reading.
            await until(lambda: not sent(deaf, b"\r\n"))


async def test_a_connection_too_many_takes_the_place_of_the_one_that_was_idle_longest() -> None:
    async with served(limits=Limits(connections=3)) as http:
        idle = [socket.create_connection(("127.0.0.1", http.port)) for _ in range(50)]
        try:
            assert (await asked(http, "/healthz")).status == 200
            for one in idle:
                one.setblocking(False)

            def open_still() -> int:
                return sum(not hung_up(one) for one in idle)

            await until(lambda: open_still() <= 3)
        finally:
            for one in idle:
                one.close()


async def test_a_request_that_is_being_answered_does_not_make_room_for_idle_connections() -> None:
    more_than_buffers_hold = Shown(why_not="x" * 20_000_000)
    async with served(more_than_buffers_hold, Limits(connections=3)) as http:
        with (
            contextlib.ExitStack() as idle,
            socket.create_connection(("127.0.0.1", http.port)) as busy,
        ):
            busy.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            loop = asyncio.get_running_loop()
            busy.setblocking(False)
            body = await loop.sock_recv(busy, 1)  # it is being answered
            crowd = [
                idle.enter_context(socket.create_connection(("127.0.0.1", http.port)))
                for _ in range(50)
            ]
            for one in crowd:
                one.setblocking(False)
            await until(lambda: sum(not hung_up(one) for one in crowd) <= 2)
            while chunk := await loop.sock_recv(busy, 1_000_000):
                body += chunk
            assert len(body) > 20_000_000


def sent(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# --- the port -------------------------------------------------------------------------------------


async def test_a_port_in_use_is_one_line_that_says_what_to_do() -> None:
    async with served() as http:
        with pytest.raises(BindError) as caught:
            listen_http("127.0.0.1", http.port)
        assert f"127.0.0.1:{http.port}" in str(caught.value)
        assert "--http-port" in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_it_can_be_had_over_ipv6() -> None:
    try:
        listening = listen_http("::1", 0)
    except BindError:
        pytest.skip("this host has no IPv6")
    async with HttpServer(listening, Shown().pages()):
        reader, writer = await asyncio.open_connection("::1", port_of(listening))
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"ok\n")
        writer.close()


async def test_its_end_waits_for_no_client() -> None:
    async with served() as http:
        lingering = socket.create_connection(("127.0.0.1", http.port))
        lingering.setblocking(False)
        assert (await asked(http, "/healthz")).status == 200
    try:
        await until(lambda: hung_up(lingering))
        with pytest.raises(ConnectionRefusedError):
            await asked(http, "/healthz")
    finally:
        lingering.close()
