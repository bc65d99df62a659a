"""Whether bytes are those of the manifest: by the hash of each chunk where it has those, else by that of the whole.

The chunks' hashes are what a fetch checks, so they decide everywhere. A wrong file is also known after its first wrong
chunk rather than at its end.
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
"""What `st_blocks` counts in, whatever the file system's own blocks are."""
SAMPLES = 2
"""Chunks that are read between the first and the last. Four of 64 MiB take about a second from a network volume, where
all of 17 GB take 43 to 85 (reference/gpu-worker.md 5.1)."""


class IntegrityCheck:
    """The bytes of one file, told in order."""

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
        """The next bytes. False as soon as the file cannot be the right one any more."""
        while data and self._matches:
            taken = min(len(data), self._chunk_left)
            self._digest.update(data[:taken])
            data = data[taken:]
            self._offset += taken
            self._chunk_left -= taken
            if self._chunk_left == 0:
                self._finish_chunk()
                self._chunk_left = min(self._chunk_size, self._size - self._offset)
                # What comes after the last byte belongs to another file.
                self._matches &= not data or self._chunk_left > 0
        return self._matches

    def passed(self) -> bool:
        """Whether everything has come and was right."""
        return self._matches and self._offset == self._size

    def _finish_chunk(self) -> None:
        self._matches = self._digest.hexdigest() == next(self._expected, None)
        self._digest = hashlib.sha256()


def is_intact(path: Path, file: ModelFile, stop: threading.Event | None = None) -> bool:
    """Whether what lies at `path` is `file`, by reading it. Raises `OSError`, and `Stopped` soon after `stop`."""
    check = IntegrityCheck(file)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return all(check.add(piece) for piece in read_pieces(fd, 0, os.fstat(fd).st_size, stop)) and check.passed()
    finally:
        os.close(fd)


def is_intact_by_samples(path: Path, file: ModelFile, stop: threading.Event | None = None) -> bool:
    """The same by the first chunk, the last, and `SAMPLES` between them that depend on the file: enough to tell another
    model of the same size, or a copy that was cut short. A file without hashes of chunks is read whole, and so is one
    with holes, which a download leaves that reserved its room first. Raises as `is_right` does."""
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
    """SHA-256 of `length` bytes from `first`. Raises `OSError`, and `Stopped` soon after `stop`."""
    digest = hashlib.sha256()
    for piece in read_pieces(fd, first, length, stop):
        digest.update(piece)
    return digest.hexdigest()


def read_pieces(fd: int, first: int, length: int, stop: threading.Event | None) -> Generator[memoryview]:
    """What an open file has from `first` on, a MiB at a time; each piece is good until the next is taken."""
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
