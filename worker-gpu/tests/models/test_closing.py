"""A worker that is told to stop does so at once, whatever its lanes are waiting for, and nobody waits for them."""

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty import FaultyStore, Silent
from models.pulling import LIMIT_S
from models.samples import CHUNK, QUICK, content, model, settings, silent, with_patience
from worker_gpu.models import dial as dial_module
from worker_gpu.models import lanes as lanes_module
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest import ModelFile
from worker_gpu.models.plan import Urgency
from worker_gpu.models.settings import Bucket
from worker_gpu.models.sigv4 import Credentials
from worker_gpu.models.sync import ModelSync
from worker_gpu.models.wire import Passing, Wire

FILE = model("loras/x.safetensors", content(CHUNK * 3, 1))
AT_ONCE_S = 1.5
"""Silence is given up after `LIMIT_S`; what takes that long was not interrupted."""
PATIENT = replace(QUICK, read_s=LIMIT_S)


def stops_at_once(folder: Path, bucket: Bucket, waits: Callable[[], bool], file: ModelFile = FILE) -> None:
    """Wants a model, and closes when the lanes wait."""
    sync = ModelSync(with_patience(settings(folder, bucket), PATIENT), silent())
    sync.open()
    wanted = sync.want([file], Urgency.JOB).futures()[0]
    assert waits()
    began = time.monotonic()
    sync.close()
    assert time.monotonic() - began < AT_ONCE_S
    told = wanted.exception(0)
    assert isinstance(told, ModelError)
    assert "the worker is stopping" in told.message


def bucket_at(port: int, scheme: str = "http") -> Bucket:
    return Bucket(f"{scheme}://127.0.0.1:{port}", "models", Credentials("id", "secret"))


@contextmanager
def taken_but_not_answered() -> Generator[tuple[int, threading.Event]]:
    """A server that takes connections and says nothing. The event: one has been taken and has sent something."""
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


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody begins to connect."""
    begun = threading.Event()
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        begun.set()
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return begun


def test_in_a_tls_handshake(tmp_path: Path) -> None:
    with taken_but_not_answered() as (port, heard):
        stops_at_once(tmp_path, bucket_at(port, "https"), lambda: heard.wait(LIMIT_S))


def test_before_an_answer(tmp_path: Path) -> None:
    with taken_but_not_answered() as (port, heard):
        stops_at_once(tmp_path, bucket_at(port), lambda: heard.wait(LIMIT_S))


def test_in_a_body(store: FaultyStore, tmp_path: Path) -> None:
    begun = threading.Event()
    store.objects[FILE.path] = content(CHUNK * 3, 1)
    store.sent = lambda _key, _count: begun.set()
    store.script = lambda _: Silent(CHUNK // 2)
    stops_at_once(tmp_path, store.bucket, lambda: begun.wait(LIMIT_S))


def test_while_connecting(tmp_path: Path, dialled: threading.Event) -> None:
    with ExitStack() as kept:
        listener = kept.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Its queue is full: who connects now gets no answer at all.
        for _ in range(4):
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        dialled.clear()
        stops_at_once(tmp_path, bucket_at(listener.getsockname()[1]), lambda: dialled.wait(LIMIT_S))


def test_while_a_file_is_hashed(store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    real = os.preadv

    def endless(fd: int, buffers: list[memoryview], _: int) -> int:
        begun.set()
        # The same bytes again and again: the file never ends.
        return real(fd, buffers, 0)

    there = tmp_path / "models" / FILE.path
    there.parent.mkdir(parents=True)
    size = 2**40
    with there.open("wb") as file:
        file.truncate(size)
    monkeypatch.setattr(os, "preadv", endless)
    huge = replace(FILE, size=size, chunks=(), chunk_size=size)
    stops_at_once(tmp_path, store.bucket, lambda: begun.wait(LIMIT_S), huge)


def test_while_a_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Event(), threading.Event()

    def never(*_args: object, **_more: object) -> list[object]:
        begun.set()
        over.wait(LIMIT_S)
        return []

    monkeypatch.setattr(dial_module.socket, "getaddrinfo", never)
    monkeypatch.setattr(lanes_module, "CLOSE_S", 0.1)
    try:
        # Nobody can interrupt the resolver; so nobody waits for it.
        stops_at_once(tmp_path, bucket_at(1), lambda: begun.wait(LIMIT_S))
    finally:
        over.set()


def test_a_wire_that_was_cut_begins_nothing(store: FaultyStore) -> None:
    wire = Wire(LIMIT_S)
    wire.cut()
    with pytest.raises(Passing, match="cut off"):
        wire.send("GET", f"{store.url}/models/x", {})
    assert store.asked == []
