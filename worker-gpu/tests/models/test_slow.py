"""Slow connections: detected by time instead of bytes, replaced, and failed in the end."""

import contextlib
import socket
import threading
from dataclasses import replace
from pathlib import Path

from models.faulty_store import Asked, Fault, FaultyStore, Trickle
from models.pulling import pull
from models.samples import QUICK, content, manifest_bytes, model, settings, with_timeouts
from worker_gpu.models.settings import Bucket, Credentials, TransferTimeouts
from worker_gpu.models.sync import Deps

PATH = "checkpoints/slow.safetensors"
BIG = 512 * 1024
"""A chunk of several checks of the speed, if those were counted in bytes."""
LAST = 5 * BIG
BODY = content(LAST + BIG, 5)
TIMEOUTS = replace(QUICK, slow_grace_s=4.0)
LIMIT_S = 10.0
SILENCE_S = 0.2


class TrickleClock:
    """A clock that only a trickling connection moves: `second` is the gate of a `Trickle`, one second for each piece.

    A second passes only after the pool has read the clock since the one before, so the pool sees every second. The
    number of pieces of a connection is also the time after which the pool has to replace it: otherwise no time
    passes any more and the pull hangs."""

    def __init__(self) -> None:
        self.moment = 0.0
        self._read_at = -1.0
        self._changed = threading.Condition()

    def __call__(self) -> float:
        with self._changed:
            self._read_at = self.moment
            self._changed.notify_all()
            return self.moment

    def second(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._read_at == self.moment, LIMIT_S), (
                "the pool does not read the clock"
            )
            self.moment += 1.0


def deps(clock: TrickleClock) -> Deps:
    """Without pauses between retries, during which the clock would stand still."""
    return Deps(clock=clock, random=lambda: 0.0)


def offer(store: FaultyStore) -> None:
    store.objects.update({PATH: BODY, "manifest.json": manifest_bytes(model(PATH, BODY, chunk_bytes=BIG))})


def asked_for(store: FaultyStore, first: int) -> int:
    return sum(asked.first == first for asked in store.of(PATH))


def test_slow_connection_is_replaced_after_slow_grace_s(store: FaultyStore, tmp_path: Path) -> None:
    offer(store)
    clock = TrickleClock()
    asked_at: list[float] = []

    def script(asked: Asked) -> Fault | None:
        if asked.first != LAST:
            return None
        asked_at.append(clock.moment)
        return Trickle(clock.second, pieces=int(TIMEOUTS.slow_grace_s)) if len(asked_at) == 1 else None

    store.script = script
    pulled = pull(with_timeouts(settings(tmp_path, store.bucket, connections=1), TIMEOUTS), deps(clock))
    assert (pulled.errors, pulled.replaced_connections) == ([], 1)
    # One byte arrives per second, so the check did not wait for a piece of `PIECE_BYTES`.
    assert asked_at == [0.0, TIMEOUTS.slow_grace_s]
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


def test_slow_chunk_is_kept_after_slow_replacements(store: FaultyStore, tmp_path: Path) -> None:
    offer(store)
    clock = TrickleClock()
    hasty = replace(TIMEOUTS, slow_grace_s=1.0)

    def script(asked: Asked) -> Fault | None:
        if asked.first != LAST:
            return None
        # Slower than the median, faster than the minimum speed.
        return Trickle(clock.second, 80_000, 1 if asked_for(store, LAST) <= hasty.slow_replacements else None)

    store.script = script
    pulled = pull(with_timeouts(settings(tmp_path, store.bucket, connections=1), hasty), deps(clock))
    assert (pulled.errors, pulled.replaced_connections) == ([], hasty.slow_replacements)
    assert asked_for(store, LAST) == 1 + hasty.slow_replacements
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


def test_download_below_the_minimum_speed_fails(store: FaultyStore, tmp_path: Path) -> None:
    offer(store)
    clock = TrickleClock()
    timeouts = replace(TIMEOUTS, attempts=3)
    pieces = int(timeouts.min_speed_window_s)
    store.script = lambda asked: Trickle(clock.second, pieces=pieces) if asked.key == PATH else None
    pulled = pull(with_timeouts(settings(tmp_path, store.bucket, connections=1), timeouts), deps(clock))
    assert pulled.codes == ["store_unreachable"]
    assert "bytes in 20 s" in pulled.errors[0].message
    # Without finished chunks the median is unknown.
    assert (pulled.replaced_connections, asked_for(store, 0)) == (0, 3)
    assert clock.moment == 3 * timeouts.min_speed_window_s
    assert not (tmp_path / "models" / PATH).exists()


def test_minimum_speed_is_far_below_the_speed_of_r2() -> None:
    assert TransferTimeouts().min_bytes_per_s * 300 <= 20_000_000


def test_trickling_response_head_times_out(tmp_path: Path) -> None:
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
        chosen = with_timeouts(settings(tmp_path, bucket), replace(QUICK, read_timeout_s=SILENCE_S, attempts=2))
        try:
            pulled = pull(replace(chosen, manifest=tmp_path / "m.json"))
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
    assert pulled.codes == ["store_unreachable"]
    assert len(asked) == 2
