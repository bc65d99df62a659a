"""An object store that injects faults: cut bodies, errors, wrong ranges, stalls, altered bytes, other objects.

It implements the requests of model downloads: GET with ranges, If-Match and If-None-Match, and HEAD. It does not verify
signatures; the tests with R2's local endpoint do.
"""

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

from worker_gpu.models.settings import Bucket, Credentials

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_PIECE = 4096
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Asked:
    """A request. `first` and `last` are -1 without a range. `number` counts the requests for this key from 0."""

    key: str
    first: int
    last: int
    number: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Cut:
    """Close the connection after `after` bytes of the body."""

    after: int


@dataclass(frozen=True)
class Status:
    """Respond with this status and body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: dict[str, str]())


@dataclass(frozen=True)
class Shifted:
    """Respond with another range. `honest`: Content-Range states that range."""

    by: int
    honest: bool


@dataclass(frozen=True)
class Headers:
    """Replace response headers. None removes a header."""

    headers: dict[str, str | None]


@dataclass(frozen=True)
class Flipped:
    """Flip one bit of the body."""

    at: int


@dataclass(frozen=True)
class Silent:
    """Stall after `after` bytes of the body, until the client disconnects or the server stops."""

    after: int


@dataclass(frozen=True)
class Trickle:
    """Send `size` bytes each time `gate` returns. Stall after `pieces` of them until the client disconnects."""

    gate: Callable[[], None]
    size: int = 1
    pieces: int | None = None


@dataclass(frozen=True)
class Whole:
    """Ignore the range: respond with 200 and the whole object."""


Fault: TypeAlias = Cut | Status | Shifted | Headers | Flipped | Silent | Trickle | Whole
Script: TypeAlias = Callable[[Asked], Fault | None]
_Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]


class FaultyStore:
    """`objects` by key, in a bucket `models`. `script` chooses the fault of a request; `sent` is called after each
    piece."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.script: Script = lambda _: None
        self.sent: Callable[[str, int], None] = lambda _key, _count: None
        self.asked: list[Asked] = []
        self.port = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._open = 0
        self._closed = threading.Condition()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def bucket(self) -> Bucket:
        """The bucket of the store."""
        return Bucket(self.url, "models", Credentials("local", "local-secret"))

    def of(self, key: str) -> list[Asked]:
        """The requests for a key."""
        with self._lock:
            return [asked for asked in self.asked if asked.key == key]

    def note(self, key: str, first: int, last: int, headers: dict[str, str]) -> Asked:
        """Record a request."""
        with self._lock:
            number = sum(one.key == key for one in self.asked)
            asked = Asked(key, first, last, number, headers)
            self.asked.append(asked)
        return asked

    def take_asked(self) -> list[Asked]:
        """The requests since the last call. Waits until every client has closed its connections, since the request of
        a killed client may be read after its death."""
        # Connections are accepted in order, so a response to one more proves that the earlier ones were accepted.
        last = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        last.request("HEAD", "/")
        last.getresponse().read()
        last.close()
        with self._closed:
            assert self._closed.wait_for(lambda: self._open == 0, TIMEOUT_S), "a connection stays open"
        with self._lock:
            taken, self.asked = self.asked, []
        return taken

    def count_open(self, change: int) -> None:
        """A connection was accepted (1) or has ended (-1)."""
        with self._closed:
            self._open += change
            self._closed.notify_all()

    def wait_gone(self, peer: socket.socket) -> None:
        """Wait until the client disconnects or the test ends."""
        peer.settimeout(0.05)
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                if not peer.recv(1):
                    return

    def end(self) -> None:
        """Release every stalled connection."""
        self._ended.set()


@contextmanager
def faulty_store(tls: ssl.SSLContext | None = None) -> Generator[FaultyStore]:
    """A store on a free loopback port."""
    store = FaultyStore()
    server = _Server(store)
    if tls is not None:
        # The handler does the handshake, in its own thread.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    store.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.end()
        server.shutdown()
        thread.join()
        server.server_close()


def etag(body: bytes) -> str:
    """The ETag of an object with this content."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, store: FaultyStore) -> None:
        super().__init__(("127.0.0.1", 0), _handler(store))
        self._store = store

    def process_request(self, request: _Request, client_address: object) -> None:
        self._store.count_open(1)
        super().process_request(request, client_address)

    def shutdown_request(self, request: _Request) -> None:
        super().shutdown_request(request)
        self._store.count_open(-1)

    def handle_error(self, request: object, client_address: object) -> None:
        """Errors of killed clients are expected."""


def _handler(store: FaultyStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                self._answer(True)

        def do_HEAD(self) -> None:
            with contextlib.suppress(OSError):
                self._answer(False)

        def _answer(self, with_body: bool) -> None:
            key = self.path.removeprefix("/models/").lstrip("/")
            wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2])) if wanted else (-1, -1)
            asked = store.note(key, first, last, {name.lower(): value for name, value in self.headers.items()})
            fault = store.script(asked)
            if isinstance(fault, Status):
                self._plain(fault)
                return
            # After the script, which may have replaced the object.
            body = store.objects.get(key)
            if body is None:
                self._plain(Status(404, b"<Error><Code>NoSuchKey</Code></Error>"))
                return
            tag = etag(body)
            if asked.headers.get("if-match", f'"{tag}"') != f'"{tag}"':
                self._plain(Status(412))
                return
            if asked.headers.get("if-none-match") == f'"{tag}"':
                self._plain(Status(304))
                return
            self._object(asked, body, tag, fault, with_body)

        def _object(self, asked: Asked, body: bytes, tag: str, fault: Fault | None, with_body: bool) -> None:
            first, last = asked.first, min(asked.last, len(body) - 1)
            ranged = first >= 0 and not isinstance(fault, Whole)
            said = f"bytes {first}-{last}/{len(body)}"
            if isinstance(fault, Shifted):
                first, last = first + fault.by, last + fault.by
                said = f"bytes {first}-{last}/{len(body)}" if fault.honest else said
            part = body[first : last + 1] if ranged else body
            if isinstance(fault, Flipped):
                at = fault.at % len(part)
                part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
            headers: dict[str, str | None] = {"Content-Length": str(len(part)), "ETag": f'"{tag}"'}
            if ranged:
                headers["Content-Range"] = said
            if isinstance(fault, Headers):
                headers.update(fault.headers)
            self.send_response(206 if ranged else 200)
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            if with_body:
                self._body(asked.key, part, fault)

        def _body(self, key: str, part: bytes, fault: Fault | None) -> None:
            if isinstance(fault, Trickle):
                for number, at in enumerate(range(0, len(part), fault.size)):
                    if number == fault.pieces:
                        store.wait_gone(self.connection)
                        self.close_connection = True
                        return
                    fault.gate()
                    self.wfile.write(part[at : at + fault.size])
                return
            stop = fault.after if isinstance(fault, Cut | Silent) else len(part)
            for at in range(0, min(stop, len(part)), _PIECE):
                piece = part[at : min(at + _PIECE, stop)]
                self.wfile.write(piece)
                store.sent(key, len(piece))
            if isinstance(fault, Silent):
                store.wait_gone(self.connection)
            if isinstance(fault, Cut | Silent):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def _plain(self, answer: Status) -> None:
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if answer.status != 304 and self.command != "HEAD":
                self.wfile.write(answer.body)

    return Handler
