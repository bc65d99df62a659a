"""The S3 server of the benchmark: serves files of a folder, with ranges and listings, over HTTP or HTTPS.

It implements only the requests of the measured clients: HEAD and GET with ranges of an object, ListObjectsV2 of a
bucket. It does not verify signatures. Several processes share the port (SO_REUSEPORT), so that the server's interpreter
lock does not limit a client. Bodies over HTTP are sent with `sendfile`.

python server.py <folder> <port> <http|https> [bytes a second]

`<folder>/<bucket>/<key>` is an object. The last argument limits the speed of each connection. For https the server
makes a certificate with the `openssl` program and writes `<folder>/ca.pem` for the clients.
"""

import contextlib
import mmap
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PROCESSES = 2
SEND_BYTES = 256 * 1024
RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)\r\n", re.IGNORECASE)


def main() -> None:
    """Serve until SIGTERM."""
    folder, port, scheme = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    pace = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    tls = _certificate(folder) if scheme == "https" else None
    children = []
    for _ in range(PROCESSES):
        child = os.fork()
        if child == 0:
            _accept(folder, port, tls, pace)
        children.append(child)

    def end(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print("ready", flush=True)  # noqa: T201 -- the benchmark waits for this line
    os.wait()


def _certificate(folder: Path) -> ssl.SSLContext:
    key, cert = folder / "key.pem", folder / "ca.pem"
    if not cert.exists():
        kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        # Rust's TLS rejects a server certificate that may sign others.
        names = [
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]
        subprocess.run(  # noqa: S603 -- fixed words and a folder of ours
            ["openssl", "req", *kind.split(), *names, "-keyout", str(key), "-out", str(cert)],  # noqa: S607
            check=True,
            capture_output=True,
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _accept(folder: Path, port: int, tls: ssl.SSLContext | None, pace: float) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(folder, peer, tls, pace), daemon=True).start()


def _serve(folder: Path, peer: socket.socket, tls: ssl.SSLContext | None, pace: float) -> None:
    with contextlib.suppress(OSError):
        if tls is not None:
            peer = tls.wrap_socket(peer, server_side=True)
        got = b""
        while True:
            while b"\r\n\r\n" not in got:
                more = peer.recv(65536)
                if not more:
                    return
                got += more
            head, _, got = got.partition(b"\r\n\r\n")
            _answer(folder, peer, head + b"\r\n", pace)
    peer.close()


def _answer(folder: Path, peer: socket.socket, head: bytes, pace: float) -> None:
    method, target, _ = head.split(b" ", 2)
    url = urlsplit(target.decode())
    path = folder / unquote(url.path).strip("/")
    if method == b"GET" and path.parent == folder and path.is_dir():
        _send(peer, 200, _listing(path, parse_qs(url.query)))
        return
    if not path.is_file():
        _send(peer, 404, b"" if method == b"HEAD" else b"<Error><Code>NoSuchKey</Code></Error>")
        return
    stat = path.stat()
    asked = RANGE.search(head)
    first = int(asked[1]) if asked else 0
    last = min(int(asked[2]), stat.st_size - 1) if asked and asked[2] else stat.st_size - 1
    length = last - first + 1
    lines = [
        "HTTP/1.1 206 Partial Content" if asked else "HTTP/1.1 200 OK",
        f"Content-Length: {length}",
        f'ETag: "{stat.st_mtime_ns:016x}{stat.st_size:016x}"',
        "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
        "Accept-Ranges: bytes",
        "Content-Type: application/octet-stream",
    ]
    if asked:
        lines.append(f"Content-Range: bytes {first}-{last}/{stat.st_size}")
    peer.sendall("\r\n".join([*lines, "", ""]).encode())
    if method == b"HEAD" or length == 0:
        return
    with path.open("rb") as file:
        begin, began = first, time.monotonic()
        if not isinstance(peer, ssl.SSLSocket):
            while length > 0:
                sent = os.sendfile(peer.fileno(), file.fileno(), first, min(length, SEND_BYTES) if pace else length)
                first, length = first + sent, length - sent
                _wait(began, first - begin, pace)
            return
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
            for at in range(first, last + 1, SEND_BYTES):
                with view[at : min(at + SEND_BYTES, last + 1)] as part:
                    peer.sendall(part)
                _wait(began, at + SEND_BYTES - begin, pace)


def _wait(began: float, sent: int, pace: float) -> None:
    if pace:
        time.sleep(max(0.0, began + sent / pace - time.monotonic()))


def _listing(bucket: Path, query: dict[str, list[str]]) -> bytes:
    prefix = query.get("prefix", [""])[0]
    keys = sorted(
        (str(Path(at, name).relative_to(bucket)), Path(at, name).stat())
        for at, _, names in os.walk(bucket / prefix.rpartition("/")[0])
        for name in names
    )
    items = "".join(
        f"<Contents><Key>{key}</Key><Size>{stat.st_size}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{stat.st_mtime_ns:016x}{stat.st_size:016x}&quot;</ETag></Contents>"
        for key, stat in keys
        if key.startswith(prefix)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()


def _send(peer: socket.socket, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Type: application/xml\r\n\r\n"
    peer.sendall(head.encode() + body)


if __name__ == "__main__":
    main()
