"""Closing a worker's models takes little time, even if its threads wait."""

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore, Silent
from models.pulling import LIMIT_S
from models.samples import CHUNK, QUICK, content, model, settings, silent
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.download.speed import ChunkSpeed
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromHub, ModelFile
from worker_gpu.models.settings import HUB, Bucket, Credentials
from worker_gpu.models.sync import ModelSync

FILE = model("loras/x.safetensors", content(CHUNK * 3, 1))
AT_ONCE_S = 1.5
"""The read timeout is `LIMIT_S`, so a close that takes this long was not interrupted."""
PATIENT = replace(QUICK, read_timeout_s=LIMIT_S)


def stops_at_once(
    folder: Path, bucket: Bucket, waits: Callable[[], bool], file: ModelFile = FILE, hub: str = HUB
) -> None:
    """Request a model, and close while its threads wait."""
    sync = ModelSync(replace(settings(folder, bucket, timeouts=PATIENT), hub=hub), silent())
    sync.open()
    result = sync.request([file], Urgency.JOB).futures()[0]
    assert waits()
    began = time.monotonic()
    sync.close()
    assert time.monotonic() - began < AT_ONCE_S
    error = result.exception(0)
    assert isinstance(error, ModelError)
    assert "the worker is stopping" in error.message


def bucket_at(port: int, scheme: str = "http") -> Bucket:
    return Bucket(f"{scheme}://127.0.0.1:{port}", "models", Credentials("id", "secret"))


@contextmanager
def taken_but_not_answered() -> Generator[tuple[int, threading.Event]]:
    """A server that accepts connections but never responds. The event is set when a client has sent something."""
    heard = threading.Event()
    with ExitStack() as kept:
        listener = kept.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            try:
                while True:
                    taken = kept.enter_context(listener.accept()[0])
                    taken.settimeout(LIMIT_S)
                    taken.recv(1)
                    heard.set()
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT_S)


def test_close_cancels_a_tls_handshake(tmp_path: Path) -> None:
    with taken_but_not_answered() as (port, heard):
        stops_at_once(tmp_path, bucket_at(port, "https"), lambda: heard.wait(LIMIT_S))


def test_close_cancels_a_request_without_a_response(tmp_path: Path) -> None:
    with taken_but_not_answered() as (port, heard):
        stops_at_once(tmp_path, bucket_at(port), lambda: heard.wait(LIMIT_S))


def test_close_cancels_a_stalled_body(store: FaultyStore, tmp_path: Path) -> None:
    begun = threading.Event()
    store.objects[FILE.path] = content(CHUNK * 3, 1)
    store.sent = lambda _key, _count: begun.set()
    store.script = lambda _: Silent(CHUNK // 2)
    stops_at_once(tmp_path, store.bucket, lambda: begun.wait(LIMIT_S))


def test_close_cancels_a_connection_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as kept:
        listener = kept.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The backlog is full, so further connection attempts get no response.
        for _ in range(4):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        waits = threading.Event()
        real = ChunkSpeed.check

        def look(speed: ChunkSpeed, received: int) -> None:
            waits.set()
            real(speed, received)

        monkeypatch.setattr(ChunkSpeed, "check", look)
        stops_at_once(tmp_path, bucket_at(listener.getsockname()[1]), lambda: waits.wait(LIMIT_S))


def test_close_cancels_the_hash_of_a_file(store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    real = os.preadv

    def endless(fd: int, buffers: list[memoryview], _: int) -> int:
        begun.set()
        # Returns the same bytes again and again, so the file never ends.
        return real(fd, buffers, 0)

    there = tmp_path / "models" / FILE.path
    there.parent.mkdir(parents=True)
    size = 2**40
    with there.open("wb") as file:
        file.truncate(size)
    monkeypatch.setattr(os, "preadv", endless)
    huge = replace(FILE, size=size, chunks=(), chunk_size=size)
    stops_at_once(tmp_path, store.bucket, lambda: begun.wait(LIMIT_S), huge)


def test_close_does_not_wait_for_a_redirect_of_the_hub(tmp_path: Path) -> None:
    # The request cannot be interrupted, so `close` does not wait for its thread.
    file = replace(FILE, source=FromHub("lab/flux", "x.safetensors"))
    with taken_but_not_answered() as (port, heard):
        hub = f"http://127.0.0.1:{port}"
        stops_at_once(tmp_path, bucket_at(1), lambda: heard.wait(LIMIT_S), file, hub)
