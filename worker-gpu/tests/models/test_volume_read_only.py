"""A read-only network volume: RunPod mounts it with root as owner, and the worker is user 1000."""

import os
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from models.samples import CHUNK, Clock, content, model
from worker_gpu.models.disk import integrity as proof_module
from worker_gpu.models.disk.integrity import SAMPLES
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.volume.network_volume import RECENT_CHANGE_S, NetworkVolume

PATH = "checkpoints/base.safetensors"
BODY = content(CHUNK * 100 + 1, 3)
FILE = model(PATH, BODY)
SAMPLED = SAMPLES + 2


@pytest.fixture
def clock() -> Clock:
    return Clock()


def put(root: Path, body: bytes, clock: Clock, age_s: float = RECENT_CHANGE_S) -> Path:
    """A file on the volume with a time of last change in the past."""
    path = root / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (clock() - age_s, clock() - age_s))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the ranges that are hashed."""
    read: list[int] = []
    real = proof_module.read_pieces

    def counted(fd: int, first: int, length: int, stop: threading.Event | None) -> Generator[memoryview]:
        read.append(length)
        return real(fd, first, length, stop)

    monkeypatch.setattr(proof_module, "read_pieces", counted)
    return read


def broken_at(chunk: int) -> bytes:
    """`BODY` with one wrong chunk."""
    return BODY[: chunk * CHUNK] + bytes(CHUNK) + BODY[(chunk + 1) * CHUNK :]


def test_read_only_volume_is_verified_by_samples(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    path = put(tmp_path, BODY, clock)
    for _ in range(2):
        assert NetworkVolume(tmp_path, False, clock).find(FILE) == path
    assert sum(hashed) <= 2 * SAMPLED * CHUNK
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == [path]


def test_unwritable_volume_is_verified_by_samples(
    tmp_path: Path, clock: Clock, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, BODY, clock)

    def refused(_path: Path, _mode: int) -> bool:
        return False

    monkeypatch.setattr(os, "access", refused)
    assert NetworkVolume(tmp_path, True, clock).find(FILE) == path
    assert sum(hashed) <= SAMPLED * CHUNK


def test_writable_volume_is_hashed_once(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    path = put(tmp_path, BODY, clock)
    for _ in range(2):
        assert NetworkVolume(tmp_path, True, clock).find(FILE) == path
    assert sum(hashed) == len(BODY)


def test_different_model_of_the_same_size_is_not_used(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path, content(len(BODY), 4), clock)
    assert NetworkVolume(tmp_path, False, clock).find(FILE) is None


@pytest.mark.parametrize("chunk", [0, 99, 100])
def test_file_with_a_wrong_end_is_not_used(tmp_path: Path, clock: Clock, chunk: int) -> None:
    body = BODY[:-1] + b"x" if chunk == 100 else broken_at(0) if chunk == 0 else BODY[: 99 * CHUNK] + bytes(CHUNK + 1)
    put(tmp_path, body, clock)
    assert NetworkVolume(tmp_path, False, clock).find(FILE) is None


def test_full_check_finds_a_wrong_chunk_in_the_middle(tmp_path: Path, clock: Clock) -> None:
    put(tmp_path, broken_at(50), clock)
    assert NetworkVolume(tmp_path, False, clock, check_all=True).find(FILE) is None
    assert NetworkVolume(tmp_path, True, clock).find(FILE) is None


def test_recently_changed_file_is_hashed(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    put(tmp_path, BODY, clock, age_s=RECENT_CHANGE_S - 1)
    assert NetworkVolume(tmp_path, False, clock).find(FILE) is not None
    assert sum(hashed) == len(BODY)


def test_file_with_holes_is_hashed(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    path = put(tmp_path, BODY, clock)
    with path.open("r+b") as file:
        file.truncate(CHUNK * 50)
        file.truncate(len(BODY))
        file.seek(CHUNK * 99)
        file.write(BODY[CHUNK * 99 :])
    os.utime(path, (clock() - RECENT_CHANGE_S, clock() - RECENT_CHANGE_S))
    assert NetworkVolume(tmp_path, False, clock).find(FILE) is None
    assert hashed == [len(BODY)]


@pytest.mark.parametrize(
    "file", [model(PATH, BODY, chunked=False), model(PATH, BODY[: CHUNK * SAMPLED])], ids=["no chunks", "few chunks"]
)
def test_file_without_chunk_hashes_is_hashed(tmp_path: Path, clock: Clock, hashed: list[int], file: ModelFile) -> None:
    put(tmp_path, BODY[: file.size], clock)
    assert NetworkVolume(tmp_path, False, clock).find(file) is not None
    assert sum(hashed) == file.size
