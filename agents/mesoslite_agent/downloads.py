"""Files over HTTP: how the fetcher reaches a server, and what it says when that does not work.

Standard library alone, as the fetcher whose part it is.
"""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO

STALL_S_MAX = 60.0  # without a byte, as in Mesos
CHUNK_BYTES = 1 << 18
HTTP_PARTIAL = 206
HTTP_RANGE_NOT_SATISFIABLE = 416


class FetchFailed(Exception):
    """One line for the user, without the URI."""

    def __init__(self, line: str, status: int | None = None) -> None:
        super().__init__(line)
        self.status = status
        """What a server answered, when that is what is wrong."""


@contextlib.contextmanager
def opened_url(url: str, stall_s: float, offset: int = 0) -> Iterator[http.client.HTTPResponse]:
    """What a server says to GET, from a byte on when it can do that: see `status`, 206 or 200.

    Raises FetchFailed. Every wait for a byte ends after `stall_s`.
    """
    # Only these two, also after a redirection: no file:, no ftp:.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    try:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - see the handlers
        with opener.open(request, timeout=stall_s) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        line = f"the server answered {error.code} {error.reason}"
        raise FetchFailed(line, error.code) from None
    except TimeoutError:
        raise FetchFailed(f"nothing came for {stall_s:g} s") from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError):
            reason = f"nothing came for {stall_s:g} s"
        raise FetchFailed(str(reason)) from None
    except (http.client.HTTPException, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from None


def chunks(source: IO[bytes], bytes_max: int) -> Iterator[bytes]:
    """All that comes, in pieces. Raises FetchFailed when it is too much, or less than promised."""
    total = 0
    while chunk := source.read(CHUNK_BYTES):
        total += len(chunk)
        if total > bytes_max:
            raise FetchFailed(f"larger than {bytes_max} bytes")
        yield chunk
    expected = getattr(source, "length", None)  # http.client: what Content-Length still promises
    if expected:
        raise FetchFailed(f"the connection ended {expected} bytes early")
