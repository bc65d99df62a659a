"""The HTTP a lane speaks, against a peer that says exactly what the test says, byte by byte."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.models.http1 import HEAD_BYTES, Connection, Hung, Malformed
from worker_gpu.models.wire import Passing, Wire

LIMIT_S = 5.0
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def peer(*answers: bytes, piece: int = 1 << 20, stay: bool = False) -> Generator[tuple[int, list[bytes]]]:
    """Gives each request the next of `answers`, `piece` bytes a send, then closes (`stay`: only when the test ends)."""
    listener = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        left = list(answers)
        while left:
            with listener.accept()[0] as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while left and (head := _until_blank_line(connection)):
                    heads.append(head)
                    answer = left.pop(0)
                    for at in range(0, len(answer), piece):
                        connection.sendall(answer[at : at + piece])
                if stay:
                    over.wait(LIMIT_S)

    def serve_until_closed() -> None:
        with contextlib.suppress(OSError):
            serve()

    thread = threading.Thread(target=serve_until_closed, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heads
    finally:
        over.set()
        listener.close()
        thread.join(LIMIT_S)


def _until_blank_line(connection: socket.socket) -> bytes:
    got = b""
    try:
        while not got.endswith(b"\r\n\r\n") and (more := connection.recv(4096)):
            got += more
    except ConnectionError:
        return b""
    return got


def ask(port: int, method: str = "GET") -> Connection:
    connection = Connection("127.0.0.1", port, tls=False, silence_s=LIMIT_S)
    connection.connect()
    connection.request(method, "/x", {"Host": "peer"}, None)
    return connection


def everything(connection: Connection) -> bytes:
    buffer, body = memoryview(bytearray(1000)), b""
    while got := connection.read_into(buffer):
        body += buffer[:got]
    return body


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "counted": lambda body: OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
    "counted twice, the same": lambda body: OK + b"Content-Length: %d\r\n" % len(body) * 2 + b"\r\n" + body,
    "chunked": lambda body: OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 700),
    "to the end": lambda body: OK + b"\r\n" + body,
    "after a 100": lambda body: (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 70_000])
@pytest.mark.parametrize("piece", [1 << 20, 517])
def test_a_body_arrives_whole_however_it_is_framed_and_cut(
    framing: Callable[[bytes], bytes], size: int, piece: int
) -> None:
    body = bytes(n % 251 for n in range(size))
    with peer(framing(body), piece=piece) as (port, _):
        connection = ask(port)
        assert connection.head().status == 200
        assert everything(connection) == body
        assert connection.done
        connection.close()


def test_one_byte_at_a_time_is_the_same_answer() -> None:
    with peer(OK + b'Transfer-Encoding: chunked\r\nETag: "x"\r\n\r\n' + chunked(b"hello world", 4), piece=1) as (
        port,
        _,
    ):
        connection = ask(port)
        assert connection.head().headers["etag"] == '"x"'
        assert everything(connection) == b"hello world"
        connection.close()


def test_a_head_request_has_a_length_and_no_body() -> None:
    with peer(OK + b"Content-Length: 0\r\nX-Linked-Size: 7\r\n\r\n", stay=True) as (port, _):
        connection = ask(port, "HEAD")
        assert connection.head().headers["x-linked-size"] == "7"
        assert connection.done
        connection.close()


WRONG: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "a line that is no header": OK + b"nonsense\r\n\r\n",
    "a folded header": OK + b"X: a\r\n b\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 3\r\n\r\nabc",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a negative length": OK + b"Content-Length: -3\r\n\r\nabc",
    "a length that is none": OK + "Content-Length: ٣\r\n\r\nabc".encode(),
    "an unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a head that ends early": OK + b"ETag: ",
    "a head without end": OK + b"X: " + b"y" * HEAD_BYTES,
    "a body that ends early": OK + b"Content-Length: 9\r\n\r\nabc",
    "a chunk without size": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk that goes on": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends early": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "a size line without end": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * HEAD_BYTES,
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_http_is_refused(answer: bytes) -> None:
    with peer(answer) as (port, _):
        connection = ask(port)
        with pytest.raises(Malformed):
            connection.head()
            everything(connection)
        connection.close()


@given(st.binary(max_size=300))
def test_garbage_ends_in_an_answer_or_a_refusal(noise: bytes) -> None:
    with peer(OK + noise) as (port, _):
        connection = ask(port)
        try:
            connection.head()
            everything(connection)
        except (Malformed, Hung, OSError):
            pass
        connection.close()


def test_nothing_of_a_header_becomes_a_line_of_its_own() -> None:
    with peer(OK + b"Content-Length: 0\r\n\r\n") as (port, heads):
        connection = Connection("127.0.0.1", port, tls=False, silence_s=LIMIT_S)
        connection.connect()
        for value in ("a\r\nX-Injected: b", "a\nb", "a\rb"):
            with pytest.raises(ValueError, match="line break"):
                connection.request("GET", "/x", {"Host": value}, None)
        connection.close()
    assert heads == []


def test_a_connection_is_used_again_and_made_anew_when_it_was_closed() -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nok"
    with peer(answer, answer, OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", answer) as (port, heads):
        wire = Wire(LIMIT_S)
        for number in range(4):
            assert wire.send("GET", f"http://127.0.0.1:{port}/{number}?a=ä b", {"X": str(number)}).read() == b"ok"
        wire.drop()
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET /%d?a=%%C3%%A4%%20b HTTP/1.1" % n for n in range(4)]


def test_what_is_left_of_an_answer_is_never_the_next_one() -> None:
    first, second = (OK + b"Content-Length: 9\r\n\r\n%s" % body for body in (b"first one", b"secondone"))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        for answer in (first, second):
            connection = listener.accept()[0]
            _until_blank_line(connection)
            connection.sendall(answer)
            kept.append(connection)

    kept: list[socket.socket] = []
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    wire = Wire(LIMIT_S)
    reply = wire.send("GET", f"http://127.0.0.1:{port}/", {})
    assert reply.read_into(memoryview(bytearray(3))) == 3
    assert wire.send("GET", f"http://127.0.0.1:{port}/", {}).read() == b"secondone"
    wire.drop()
    thread.join(LIMIT_S)
    for connection in (*kept, listener):
        connection.close()


def test_a_store_that_is_not_there_is_a_fault_that_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Passing, match=r"127\.0\.0\.1"):
        Wire(LIMIT_S).send("GET", f"http://127.0.0.1:{port}/", {})
