"""Whether bytes match the manifest: by the hash of each chunk if it has them, otherwise by the hash of the file.

A download verifies chunk hashes, so every other check uses them too. They also detect a wrong file at its first wrong
chunk instead of at its end.
"""

import hashlib
import os
import random
import threading
from collections.abc import Generator
from pathlib import Path

from worker_gpu.models.errors import Stopped
from worker_gpu.models.manifest.manifest import ModelFile

_READ_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
"""The unit of `st_blocks`, independent of the block size of the file system."""
SAMPLES = 2
"""Chunks to read between the first and the last. Four chunks of 64 MiB take about a second from a network volume; all
of a 17 GB file take 43 to 85 seconds (reference/gpu-worker.md section 5.1)."""


class IntegrityCheck:
    """Verifies the bytes of one file, which are added in order."""

    def __init__(self, file: ModelFile) -> None:
        self._size = file.size
        self._chunk_size = file.chunk_size if file.chunks else file.size
        self._expected = iter(file.chunks or (file.sha256,))
        self._digest = hashlib.sha256()
        self._offset = 0
        self._chunk_left = min(self._chunk_size, self._size)
        self._matches = True
        if self._size == 0:
            self._finish_chunk()

    def add(self, data: memoryview) -> bool:
        """Add the next bytes. Returns False as soon as the file cannot match any more."""
        while data and self._matches:
            taken = min(len(data), self._chunk_left)
            self._digest.update(data[:taken])
            data = data[taken:]
            self._offset += taken
            self._chunk_left -= taken
            if self._chunk_left == 0:
                self._finish_chunk()
                self._chunk_left = min(self._chunk_size, self._size - self._offset)
                # Bytes after the expected end: the file is longer than in the manifest.
                self._matches &= not data or self._chunk_left > 0
        return self._matches

    def passed(self) -> bool:
        """Whether all bytes were added and match."""
        return self._matches and self._offset == self._size

    def _finish_chunk(self) -> None:
        self._matches = self._digest.hexdigest() == next(self._expected, None)
        self._digest = hashlib.sha256()


def is_intact(path: Path, file: ModelFile, stop: threading.Event | None = None) -> bool:
    """Whether the file at `path` is `file`, by reading all of it. Raises `OSError`, and `Stopped` soon after `stop`."""
    check = IntegrityCheck(file)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return all(check.add(piece) for piece in read_pieces(fd, 0, os.fstat(fd).st_size, stop)) and check.passed()
    finally:
        os.close(fd)


def is_intact_by_samples(path: Path, file: ModelFile, stop: threading.Event | None = None) -> bool:
    """Whether the file at `path` is `file`, by its first chunk, its last, and `SAMPLES` between them: enough to detect
    another model of the same size, or an incomplete copy. Reads the whole file if it has no chunk hashes, or if it
    has holes, which a program leaves that allocates a file before it writes. Raises as `is_intact` does."""
    last = len(file.chunks) - 1
    stat = path.stat()
    if last <= SAMPLES + 1 or stat.st_blocks * _BLOCK_BYTES < stat.st_size:
        return is_intact(path, file, stop)
    between = random.Random(file.sha256).sample(range(1, last), SAMPLES)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return stat.st_size == file.size and all(
            hash_span(fd, at * file.chunk_size, min(file.chunk_size, file.size - at * file.chunk_size), stop)
            == file.chunks[at]
            for at in (0, last, *between)
        )
    finally:
        os.close(fd)


def hash_span(fd: int, first: int, length: int, stop: threading.Event | None = None) -> str:
    """The SHA-256 of `length` bytes from byte `first`. Raises `OSError`, and `Stopped` soon after `stop`."""
    digest = hashlib.sha256()
    for piece in read_pieces(fd, first, length, stop):
        digest.update(piece)
    return digest.hexdigest()


def read_pieces(fd: int, first: int, length: int, stop: threading.Event | None) -> Generator[memoryview]:
    """Read `length` bytes from byte `first`, 1 MiB at a time. Each piece is valid until the next one is read."""
    view = memoryview(bytearray(min(_READ_BYTES, max(1, length))))
    at, end = first, first + length
    while at < end:
        if stop is not None and stop.is_set():
            raise Stopped
        got = os.preadv(fd, [view[: min(len(view), end - at)]], at)
        if got == 0:
            return
        yield view[:got]
        at += got
