"""HTTP/1.1 as a lane needs it: one request at a time on one connection, and a body read straight into a buffer.

`http.client` costs twice the processor time of the rest of a small file (its parser of heads is the one for mail), and
a Python call for every 16 KiB of TLS (docs/decisions/0020-model-fetch.md). This reads what an object store or a hub
sends and refuses what it does not understand.
"""

import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker_gpu.models.dial import Call

HEAD_BYTES = 64 * 1024
"""A longer head is refused. Also what one read may take: a small file comes with its head."""
HEAD_SILENCES = 2
"""A head, and a line within a body, may take so many times the silence that is allowed: a byte now and then is none."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: .*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;.*)?")
_LINE_BYTES = 4096
_SENT_BYTES = 128 * 1024


class Malformed(Exception):  # noqa: N818 -- what the other side did
    """The other side does not speak HTTP/1.1, or stopped in the middle of a word."""


class Hung(Exception):  # noqa: N818 -- what the other side did
    """The connection was closed before an answer began."""


@dataclass(frozen=True)
class Head:
    """`headers` by lower-case name; several of one name are joined by a comma. `length` None: told by the body."""

    status: int
    headers: Mapping[str, str]
    length: int | None


class Connection:
    """One connection to `host`: `connect` first. Every method may raise `OSError`, and the reading ones `Malformed`.
    `now` in seconds since any moment."""

    def __init__(
        self, host: str, port: int, tls: bool, silence_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._call = Call(host, port, tls, silence_s)
        self._socket: socket.socket
        self._head_s = HEAD_SILENCES * silence_s
        self._now = now
        self._buffer = bytearray(HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._from: int = 0
        self._to: int = 0
        self._method = ""
        self._read: Callable[[memoryview], int] = self._nothing
        self._left = 0
        self.done = True
        """Whether the last answer was read to its end, so that the next request may be sent."""
        self.reusable = True
        """Whether there may be a next request."""

    def connect(self) -> None:
        """Be connected, so that requests may be sent."""
        self._socket = self._call.connect()

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Send a request. `headers` holds `Host`."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body is not None or method in ("PUT", "POST"):
            lines.append(f"Content-Length: {len(body or b'')}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a line break in a header")
        self._socket.sendall(f"{text}\r\n\r\n".encode("latin-1"))
        # The silence allowed is that of one call, however much it sends.
        for at in range(0, len(body or b""), _SENT_BYTES):
            self._socket.sendall(memoryview(body or b"")[at : at + _SENT_BYTES])
        self.done = False
        self._method = method

    def head(self) -> Head:
        """The head of the answer. Raises `Hung`."""
        while True:
            status, headers = self._one_head()
            # 100 to 199 come before the answer proper.
            if status >= 200:
                break
        self.reusable = headers.get("connection", "").lower() != "close"
        coding = headers.get("transfer-encoding")
        length = _length(headers)
        if self._method == "HEAD" or status in (204, 304):
            length, self._read = 0, self._nothing
        elif coding is not None:
            if coding.lower() != "chunked":
                raise Malformed(f"transfer coding {coding[:40]}")
            length, self._left, self._read = None, 0, self._read_chunked
        elif length is not None:
            self._left, self._read = length, self._read_counted
        else:
            self.reusable, self._read = False, self._read_open
        self.done = length == 0
        return Head(status, headers, length)

    def read_into(self, view: memoryview) -> int:
        """Fill `view` with the body, less only at its end: 0 when there is no more. Raises `Malformed` when it ends
        before it said it would."""
        filled = 0
        while filled < len(view) and (got := self._read(view[filled:])):
            filled += got
        return filled

    def read_until(self, view: memoryview, moment: float) -> int:
        """As `read_into`, but back with the first bytes after `moment`, however few: what trickles is seen in time."""
        filled = 0
        while filled < len(view) and (got := self._read(view[filled:])):
            filled += got
            if self._now() >= moment:
                break
        return filled

    def close(self) -> None:
        """End it."""
        self._call.close()

    def cut(self) -> None:
        """For another thread: what is awaited here ends at once, connecting too, and nothing can be begun."""
        self._call.cut()

    def _one_head(self) -> tuple[int, dict[str, str]]:
        until = self._now() + self._head_s
        while (end := self._buffer.find(b"\r\n\r\n", self._from, self._to)) < 0:
            if self._fill(until) == 0:
                if self._to == self._from:
                    raise Hung("closed without an answer")
                raise Malformed("the answer ended in its head")
        lines = bytes(self._view[self._from : end]).split(b"\r\n")
        self._from = end + 4
        first = _STATUS_LINE.fullmatch(lines[0])
        if first is None:
            raise Malformed("the answer is not HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            found = _HEADER.fullmatch(line)
            if found is None:
                raise Malformed("a header line is none")
            name, value = found[1].decode("latin-1").lower(), found[2].decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(first[1]), headers

    def _fill(self, until: float) -> int:
        """Read more into the buffer; how much. Raises `TimeoutError` when it comes after `until`."""
        if self._from == self._to:
            self._from = self._to = 0
        elif self._to == HEAD_BYTES:
            if self._from == 0:
                raise Malformed("a head of more than 64 KiB")
            kept = self._to - self._from
            self._buffer[:kept] = self._buffer[self._from : self._to]
            self._from, self._to = 0, kept
        got: int = self._socket.recv_into(self._view[self._to :])
        if self._now() > until:
            raise TimeoutError("the answer comes too slowly")
        self._to += got
        return got

    def _some(self, view: memoryview) -> int:
        """What came with the head first, then the connection's."""
        held = self._to - self._from
        if held == 0:
            return self._socket.recv_into(view)
        taken = min(held, len(view))
        view[:taken] = self._view[self._from : self._from + taken]
        self._from += taken
        return taken

    def _nothing(self, _view: memoryview) -> int:
        return 0

    def _read_counted(self, view: memoryview) -> int:
        if self._left == 0:
            return 0
        got = self._some(view[: self._left])
        if got == 0:
            raise Malformed(f"the body ended {self._left} bytes too early")
        self._left -= got
        self.done = self._left == 0
        return got

    def _read_open(self, view: memoryview) -> int:
        got = self._some(view)
        self.done = got == 0
        return got

    def _read_chunked(self, view: memoryview) -> int:
        if self.done:
            return 0
        if self._left == 0:
            found = _CHUNK_SIZE.fullmatch(self._line())
            if found is None:
                raise Malformed("a chunk of the body has no size")
            self._left = int(found[1], 16)
            if self._left == 0:
                while self._line():
                    pass
                self.done = True
                return 0
        got = self._some(view[: self._left])
        if got == 0:
            raise Malformed("the body ended within a chunk")
        self._left -= got
        if self._left == 0 and self._line():
            raise Malformed("a chunk of the body is longer than it says")
        return got

    def _line(self) -> bytes:
        until = self._now() + self._head_s
        while (end := self._buffer.find(b"\r\n", self._from, self._to)) < 0:
            if self._to - self._from > _LINE_BYTES or self._fill(until) == 0:
                raise Malformed("the body ended between two chunks")
        line = bytes(self._view[self._from : end])
        self._from = end + 2
        return line


def _length(headers: Mapping[str, str]) -> int | None:
    told = headers.get("content-length")
    if told is None:
        return None
    # Told twice, and the same, is allowed by RFC 9112, 6.3.
    first, *others = [one.strip() for one in told.split(",")]
    if not first.isdecimal() or not first.isascii() or any(one != first for one in others):
        raise Malformed("Content-Length is no number")
    return int(first)
