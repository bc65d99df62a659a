"""One lane's connections: HTTP/1.1, kept open, one request at a time.

A lane has its own TCP connection because several ranges multiplexed on one gain nothing (reference/gpu-worker.md 1.1).
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from worker_gpu.models.errors import ModelError
from worker_gpu.models.http1 import Connection, Hung, Malformed

USER_AGENT = "comfy-edge-worker"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DRAINED_BYTES = 64 * 1024
"""An error's body up to this size is read so that the connection can be used again."""
DRAIN_S = 1.0
_READ_BYTES = 256 * 1024
_IN_A_TARGET = "%/:?#[]@!$&'()*+,;=~-._"


class Passing(Exception):  # noqa: N818 -- a fault of the moment, not of the program
    """A read failed in a way that may pass: the same read may be tried again."""


class Reply:
    """An answer: its head, and its body to be read once. `headers` by lower-case name; `length` of the body, None
    where only its end tells."""

    def __init__(self, connection: Connection, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.length = length
        self._connection = connection

    def read_into(self, view: memoryview) -> int:
        """Fill `view` from the body; less only at its end. Raises `Passing`."""
        try:
            return self._connection.read_into(view)
        except (OSError, Malformed) as error:
            raise Passing(f"the connection failed: {_cause(error)}") from error

    def read_until(self, view: memoryview, moment: float) -> int:
        """As `read_into`, but back with the first bytes after `moment`. Raises `Passing`."""
        try:
            return self._connection.read_until(view, moment)
        except (OSError, Malformed) as error:
            raise Passing(f"the connection failed: {_cause(error)}") from error

    def read(self) -> bytes:
        """The rest of the body. Raises `Passing`."""
        body, buffer = bytearray(), memoryview(bytearray(min(self.length or _READ_BYTES, _READ_BYTES)))
        while got := self.read_into(buffer):
            body += buffer[:got]
        return bytes(body)

    @property
    def done(self) -> bool:
        """Whether the body was read to its end."""
        return self._connection.done


class Wire:
    """Connections by host. Not for several threads at once. `now` in seconds since any moment."""

    def __init__(self, silence_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._silence_s = silence_s
        self._now = now
        self._open: dict[tuple[str, str], Connection] = {}
        self._is_cut = False

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """The head of the answer; read its body to the end, or call `drop`. Raises `Passing`, or `ModelError` for what
        cannot be put into a request at all."""
        try:
            return self._send(method, url, headers, body)
        except ValueError as error:
            self.drop()
            # Its text may quote what was to be sent, a key among it.
            raise ModelError(
                "bad_setting", f"a request holds what none may hold ({type(error).__name__}): look at URLs and keys"
            ) from error

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        parts = urlsplit(url)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_IN_A_TARGET)
        sent = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            **headers,
        }
        place = (parts.scheme, parts.netloc)
        for fresh in (False, True):
            connection = self._open.get(place)
            reused = connection is not None and connection.done and connection.reusable
            try:
                if connection is None or not reused:
                    self._drop(place)
                    tls = parts.scheme == "https"
                    connection = Connection(
                        parts.hostname or "", parts.port or (443 if tls else 80), tls, self._silence_s, self._now
                    )
                    # Before it connects: `cut` must find it.
                    self._open[place] = connection
                    if self._is_cut:
                        raise Passing("cut off")
                    connection.connect()
                connection.request(method, target, sent, body)
                head = connection.head()
                return Reply(connection, head.status, head.headers, head.length)
            except (OSError, Malformed, Hung) as error:
                self.drop()
                # A server may close a connection between two requests; that is no fault of the second one.
                if fresh or not reused or isinstance(error, TimeoutError):
                    raise Passing(f"{parts.hostname}: {_cause(error)}") from error
        raise AssertionError("unreachable")

    def drop(self) -> None:
        """Close everything; the next request connects anew."""
        for place in list(self._open):
            self._drop(place)

    def interrupt(self) -> None:
        """For another thread: what the lane waits for on its connections ends at once."""
        for connection in list(self._open.values()):
            with contextlib.suppress(OSError):
                connection.cut()

    def cut(self) -> None:
        """For another thread: as `interrupt`, and the lane gets no new connections."""
        # In this order: a connection begun meanwhile finds one or the other.
        self._is_cut = True
        self.interrupt()

    def drain(self, reply: Reply) -> bytes:
        """A short body; one that is long, or comes slowly, costs the connection instead."""
        buffer = memoryview(bytearray(DRAINED_BYTES))
        try:
            got = reply.read_until(buffer, self._now() + DRAIN_S)
        except Passing:
            got = 0
        if not reply.done:
            self.drop()
        return bytes(buffer[:got])

    def _drop(self, place: tuple[str, str]) -> None:
        connection = self._open.pop(place, None)
        if connection is not None:
            connection.close()


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__
