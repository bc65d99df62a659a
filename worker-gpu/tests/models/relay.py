"""A relay in front of a store that is right: what it answers arrives cut, altered, or not to its end."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from models.accepted import TIMEOUT_S, wait_until_accepted

PIECE = 8192
_REQUEST = re.compile(rb"GET (\S+) HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-", re.IGNORECASE)


@dataclass(frozen=True)
class Harm:
    """What happens to a connection at so many bytes of what the store sends on it, heads included."""

    kind: Literal["cut", "flip", "stall"]
    at: int


Plan: TypeAlias = Callable[[int], Harm | None]
"""What happens to which connection, by its number from 0."""


@dataclass
class Relay:
    """Where it listens, and what it did. `asked`: path and first byte of each ranged request that passed."""

    endpoint: str
    plan: Plan
    harmed: int = 0
    asked: list[tuple[str, int]] = field(default_factory=lambda: list[tuple[str, int]]())
    open: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, head: bytes) -> None:
        """A client has sent the head of a request."""
        line, wanted = _REQUEST.match(head), _RANGE.search(head)
        if line is not None and wanted is not None:
            with self.changed:
                self.asked.append((unquote(line[1].decode("latin-1")), int(wanted[1])))

    def enter(self, amount: int) -> None:
        """So many connections more."""
        with self.changed:
            self.open += amount
            self.changed.notify_all()

    def take_asked(self) -> list[tuple[str, int]]:
        """What was asked for since the last look, when every client has gone and nothing is on its way any more."""
        wait_until_accepted(self.endpoint)
        with self.changed:
            assert self.changed.wait_for(lambda: self.open == 0, TIMEOUT_S), "a connection stays open"
            taken, self.asked = self.asked, []
        return taken


@contextmanager
def relay_to(endpoint: str) -> Generator[Relay]:
    """Everything to `endpoint` passes through; nothing is harmed until `plan` is set."""
    parts = urlsplit(endpoint)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    relay = Relay(f"http://127.0.0.1:{listener.getsockname()[1]}{parts.path}", lambda _: None)
    over = threading.Event()
    target = (parts.hostname or "", parts.port or 80)

    def accept() -> None:
        number = 0
        while not over.is_set():
            with contextlib.suppress(OSError):
                client = listener.accept()[0]
                relay.enter(1)
                threading.Thread(target=_pass, args=(relay, client, target, number, over), daemon=True).start()
                number += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        over.set()
        # A closed listener does not wake who waits at it.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _pass(relay: Relay, client: socket.socket, target: tuple[str, int], number: int, over: threading.Event) -> None:
    harm = relay.plan(number)
    with contextlib.suppress(OSError), client, socket.create_connection(target) as store:
        forward = threading.Thread(target=_forward, args=(relay, client, store), daemon=True)
        forward.start()
        try:
            _pass_back(relay, client, store, harm, over)
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            forward.join(5)
    relay.enter(-1)


def _pass_back(
    relay: Relay, client: socket.socket, store: socket.socket, harm: Harm | None, over: threading.Event
) -> None:
    passed = 0
    while piece := store.recv(PIECE):
        at = harm.at - passed if harm is not None else len(piece)
        if harm is not None and 0 <= at < len(piece):
            relay.harmed += 1
            if harm.kind == "flip":
                piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            else:
                client.sendall(piece[:at])
                while harm.kind == "stall" and not over.wait(0.01) and _is_there(client):
                    pass
                return
        client.sendall(piece)
        passed += len(piece)


def _is_there(client: socket.socket) -> bool:
    """Whether the client still holds its side open."""
    try:
        client.sendall(b"")
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _forward(relay: Relay, client: socket.socket, store: socket.socket) -> None:
    # A lane sends a request at once and has one under way: a piece is a head.
    with contextlib.suppress(OSError):
        while piece := client.recv(PIECE):
            relay.note(piece)
            store.sendall(piece)
    with contextlib.suppress(OSError):
        # However the client went: a killed one resets its connection.
        store.shutdown(socket.SHUT_WR)
