"""One lane's connections: HTTP/1.1, kept open, one request at a time.

A lane has its own TCP connection because several ranges multiplexed on one gain nothing (reference/gpu-worker.md 1.1).
"""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from urllib.parse import urlsplit

USER_AGENT = "comfy-edge-worker"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DRAINED_BYTES = 64 * 1024
"""An error's body up to this size is read so that the connection can be used again."""


class Passing(Exception):  # noqa: N818 -- a fault of the moment, not of the program
    """A read failed in a way that may pass: the same read may be tried again."""


class Wire:
    """Connections by host. Not for several threads at once."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """The head of the answer; read its body to the end, or call `drop`. Raises `Passing`."""
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        for fresh in (False, True):
            connection, reused = self._connection(parts.scheme, parts.netloc)
            try:
                connection.request(
                    method,
                    target or "/",
                    body,
                    {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
                )
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.drop()
                # A server may close a connection between two requests; that is no fault of the second one.
                if fresh or not reused or isinstance(error, TimeoutError):
                    raise Passing(f"{parts.hostname}: {_cause(error)}") from error
        raise AssertionError("unreachable")

    def drop(self) -> None:
        """Close everything; the next request connects anew."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def cut(self) -> None:
        """For another thread: what the lane waits for on its connections ends at once."""
        for connection in list(self._open.values()):
            opened: socket.socket | None = connection.sock
            if opened is not None:
                with contextlib.suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)

    def drain(self, response: http.client.HTTPResponse) -> bytes:
        """A short body; a long one costs the connection instead."""
        try:
            body = response.read(DRAINED_BYTES)
        except (OSError, http.client.HTTPException):
            body = b""
        if not response.isclosed():
            self.drop()
        return body

    def _connection(self, scheme: str, netloc: str) -> tuple[http.client.HTTPConnection, bool]:
        known = self._open.get((scheme, netloc))
        if known is not None:
            return known, True
        made = (
            http.client.HTTPSConnection(netloc, timeout=self._silence_s, context=_tls())
            if scheme == "https"
            else http.client.HTTPConnection(netloc, timeout=self._silence_s)
        )
        self._open[(scheme, netloc)] = made
        return made, False


def read_into(response: http.client.HTTPResponse, buffer: memoryview) -> int:
    """What one read gives, 0 at the end. Raises `Passing`."""
    try:
        return response.readinto(buffer)
    except (OSError, http.client.HTTPException) as error:
        raise Passing(f"the connection failed: {_cause(error)}") from error


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__
