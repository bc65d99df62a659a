"""Connections that bring something, and far too little: noticed by time and not by bytes, and given up in the end."""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty import Asked, Fault, FaultyStore, Trickle
from models.pulling import pull
from models.samples import QUICK, content, manifest_bytes, model, settings, with_patience
from worker_gpu.models.settings import Bucket, Credentials, Patience
from worker_gpu.models.sync import Tools

PATH = "checkpoints/slow.safetensors"
BIG = 512 * 1024
"""A chunk of several looks at the speed, were those counted in bytes."""
LAST = 5 * BIG
BODY = content(LAST + BIG, 5)
PATIENCE = replace(QUICK, slow_grace_s=4.0)
LIMIT_S = 10.0
SILENCE_S = 0.2


class Second:
    """A clock for the lanes that hardly moves. `gate` is for `Trickle`: a second for each piece, which is sent when the
    lane has looked at the clock since the one before. A new gate ends the one before it."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.turns = 0
        self._gates = 0
        self._looked = threading.Event()

    def __call__(self) -> float:
        self._looked.set()
        self.moment += 1e-6
        return self.moment

    def gate(self) -> Callable[[], None]:
        self._gates += 1
        mine = self._gates

        def turn() -> None:
            self._looked.wait(LIMIT_S)
            if mine != self._gates:
                raise BrokenPipeError
            self._looked.clear()
            self.turns += 1
            self.moment += 1.0

        return turn


def offer(store: FaultyStore, chunk_bytes: int) -> None:
    store.objects.update({PATH: BODY, "manifest.json": manifest_bytes(model(PATH, BODY, chunk_bytes=chunk_bytes))})


def asked_for(store: FaultyStore, first: int) -> int:
    return sum(asked.first == first for asked in store.of(PATH))


def test_a_connection_far_behind_the_others_is_replaced_within_seconds(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, BIG)
    clock = Second()

    def script(asked: Asked) -> Fault | None:
        return Trickle(clock.gate()) if asked.first == LAST and asked_for(store, LAST) == 1 else None

    store.script = script
    pulled = pull(with_patience(settings(tmp_path, store.bucket, lanes=1), PATIENCE), Tools(clock=clock))
    assert (pulled.errors, pulled.replaced_lanes, asked_for(store, LAST)) == ([], 1, 2)
    # A byte a second: not a piece of 128 KiB was waited for.
    assert clock.turns <= PATIENCE.slow_grace_s + 3
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


def test_where_others_are_no_better_a_chunk_may_be_slow(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, BIG)
    clock = Second()
    # Slower than the median, faster than the floor.
    store.script = lambda asked: Trickle(clock.gate(), 80_000) if asked.first == LAST else None
    hasty = replace(PATIENCE, slow_grace_s=1.0)
    pulled = pull(with_patience(settings(tmp_path, store.bucket, lanes=1), hasty), Tools(clock=clock))
    assert (pulled.errors, pulled.replaced_lanes) == ([], hasty.slow_replacements)
    assert asked_for(store, LAST) == 1 + hasty.slow_replacements
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


@pytest.mark.parametrize("chunk_bytes", [len(BODY), BIG], ids=["one chunk", "all chunks"])
def test_a_store_that_only_trickles_is_given_up(store: FaultyStore, tmp_path: Path, chunk_bytes: int) -> None:
    offer(store, chunk_bytes)
    clock = Second()
    store.script = lambda asked: Trickle(clock.gate()) if asked.key == PATH else None
    patience = replace(PATIENCE, attempts=3)
    pulled = pull(with_patience(settings(tmp_path, store.bucket, lanes=1), patience), Tools(clock=clock))
    assert pulled.codes == ["store_unreachable"]
    assert "bytes came in 2" in pulled.errors[0].message
    # There is no median to be slower than.
    assert (pulled.replaced_lanes, asked_for(store, 0)) == (0, 3)
    assert not (tmp_path / "models" / PATH).exists()


def test_the_floor_is_far_below_what_a_store_gives() -> None:
    assert Patience().floor_bytes_s * 300 <= 20_000_000


def test_a_head_that_trickles_is_no_answer(tmp_path: Path) -> None:
    over = threading.Event()
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                asked.append(1)
                connection.sendall(b"HTTP/1.1 206 Partial Content\r\nX: ")
                while not over.wait(SILENCE_S / 10):
                    connection.sendall(b"y")

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=trickle, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        (tmp_path / "m.json").write_bytes(manifest_bytes(model(PATH, BODY, chunk_bytes=len(BODY))))
        bucket = Bucket(f"http://127.0.0.1:{listener.getsockname()[1]}", "models", Credentials("id", "secret"))
        chosen = with_patience(settings(tmp_path, bucket), replace(QUICK, read_s=SILENCE_S, attempts=2))
        try:
            pulled = pull(replace(chosen, manifest=tmp_path / "m.json"))
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
    assert pulled.codes == ["store_unreachable"]
    assert len(asked) == 2
