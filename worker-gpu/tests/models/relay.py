"""A relay in front of a real store, which cuts, alters or stalls its responses."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

PIECE = 8192


@dataclass(frozen=True)
class Harm:
    """A fault of a connection at byte `at` of what the store sends on it, including headers."""

    kind: Literal["cut", "flip", "stall"]
    at: int


Plan: TypeAlias = Callable[[int], Harm | None]
"""Chooses the fault of a connection by its number from 0."""


@dataclass
class Relay:
    """A running relay: its endpoint, its faults, and the number of harmed connections."""

    endpoint: str
    plan: Plan
    harmed: int = 0


@contextmanager
def relay_to(endpoint: str) -> Generator[Relay]:
    """Relay all connections to `endpoint`, without faults until `plan` is set."""
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
                threading.Thread(target=_pass, args=(relay, client, target, number, over), daemon=True).start()
                number += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        over.set()
        # Closing a listener does not wake a thread that accepts on it.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _pass(relay: Relay, client: socket.socket, target: tuple[str, int], number: int, over: threading.Event) -> None:
    harm = relay.plan(number)
    with contextlib.suppress(OSError), client, socket.create_connection(target) as store:
        forward = threading.Thread(target=_forward, args=(client, store), daemon=True)
        forward.start()
        try:
            _pass_back(relay, client, store, harm, over)
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            forward.join(5)


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
    """Whether the client has not closed the connection."""
    try:
        client.sendall(b"")
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _forward(client: socket.socket, store: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := client.recv(PIECE):
            store.sendall(piece)
    with contextlib.suppress(OSError):
        # A killed client resets its connection, so this may fail.
        store.shutdown(socket.SHUT_WR)
