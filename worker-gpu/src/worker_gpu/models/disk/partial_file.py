"""A file on its way: bytes go to a part, which gets the file's name only when every chunk has the right hash.

Killed at any moment, a part costs at most the chunks in flight: the hashes of the chunks that are done are kept beside
it. They are a hint and not a proof, so whoever resumes hashes those chunks again before trusting them.
"""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Generator
from pathlib import Path

from worker_gpu.models.disk.integrity import hash_span
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile

PART_SUFFIX = ".part"
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_MARK_BYTES = 32
_BLOCK_BYTES = 512
"""Unit of `st_blocks`, whatever the disk."""
_NO_MARK = bytes(_MARK_BYTES)


@contextlib.contextmanager
def disk_errors(path: str) -> Generator[None]:
    """Turns what the disk says about `path` into a `ModelError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_ERRORS:
            raise ModelError("disk_full", f"{path}: the disk is full", path) from error
        raise ModelError("disk_failed", f"{path}: {error.strerror or error}", path) from error


class PartialFile:
    """The part of one file. Different chunks may be written by different threads at once."""

    def __init__(self, folder: Path, file: ModelFile) -> None:
        self.file = file
        self._path = folder / partial_name(file)
        self._marks_path = self._path.with_suffix(".marks")
        self._marks_fd = -1
        self._data_fd = -1
        self._marks: dict[int, str] = {}

    def open(self) -> None:
        """Take up what an earlier run left of it, or begin. Raises `ModelError`."""
        file = self.file
        with disk_errors(file.path):
            if file.chunk_count < 2:
                # Nothing of it could be marked done.
                self._data_fd = self._create(os.O_TRUNC)
                return
            self._data_fd = self._create(0)
            if os.fstat(self._data_fd).st_size != file.size:
                self._marks_path.unlink(missing_ok=True)
                # Not allocated here: that is a second write of every byte where the disk has no call for it, and one
                # thread's work while all others wait where it has.
                os.ftruncate(self._data_fd, 0)
                os.ftruncate(self._data_fd, file.size)
            self._marks_fd = os.open(self._marks_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            marks = os.pread(self._marks_fd, min(file.chunk_count * _MARK_BYTES, os.fstat(self._marks_fd).st_size), 0)
        for chunk in range(len(marks) // _MARK_BYTES):
            mark = marks[chunk * _MARK_BYTES : (chunk + 1) * _MARK_BYTES]
            if mark != _NO_MARK:
                self._marks[chunk] = mark.hex()

    @property
    def name(self) -> str:
        """In the folder of parts."""
        return self._path.name

    def pop_mark(self, chunk: int) -> str | None:
        """The SHA-256 under which an earlier run has marked the chunk done; asked once for each chunk."""
        return self._marks.pop(chunk, None)

    def write(self, data: memoryview, offset: int) -> None:
        """Put `data` at byte `at`. Raises `ModelError`."""
        with disk_errors(self.file.path):
            while data:
                written = os.pwrite(self._data_fd, data, offset)
                data, offset = data[written:], offset + written

    def mark(self, chunk: int, sha256: str) -> None:
        """The chunk is there, with this hash."""
        if self._marks_fd >= 0:
            with disk_errors(self.file.path):
                os.pwrite(self._marks_fd, bytes.fromhex(sha256), chunk * _MARK_BYTES)

    def hash_chunk(self, chunk: int, stop: threading.Event) -> str:
        """SHA-256 of what is on disk of a chunk. Raises `ModelError`, and `Stopped` soon after `stop`."""
        first, length = self.file.chunk_range(chunk)
        with disk_errors(self.file.path):
            return hash_span(self._data_fd, first, length, stop)

    def hash_all(self, stop: threading.Event) -> str:
        """SHA-256 of what is on disk. Raises as `hash_chunk`."""
        with disk_errors(self.file.path):
            return hash_span(self._data_fd, 0, self.file.size, stop)

    def missing_bytes(self) -> int:
        """Disk that the file will still take."""
        try:
            return max(0, self.file.size - os.fstat(self._data_fd).st_blocks * _BLOCK_BYTES)
        except OSError:
            # Closed meanwhile: whole, or given up.
            return 0

    def publish(self, target: Path) -> os.stat_result:
        """Give the file its name at once; what stood there before is replaced. The part must be whole."""
        with disk_errors(self.file.path):
            stat = os.fstat(self._data_fd)
            try:
                self._path.replace(target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._path.replace(target)
            if self._marks_fd >= 0:
                self._marks_path.unlink(missing_ok=True)
        self.close()
        return stat

    def _create(self, flags: int) -> int:
        flags |= os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o644)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, flags, 0o644)

    def close(self) -> None:
        """Keep what is there for a later run."""
        fds, self._data_fd, self._marks_fd = (self._data_fd, self._marks_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def discard(self) -> None:
        """Give the disk back. Raises `ModelError`."""
        self.close()
        self.unlink()

    def unlink(self) -> None:
        """Take its names away: who still writes to it harms nobody who begins the same anew. Raises `ModelError`."""
        with disk_errors(self.file.path):
            self._path.unlink(missing_ok=True)
            self._marks_path.unlink(missing_ok=True)


def partial_name(file: ModelFile) -> str:
    """Other content under the same path, and the same content under another path, have parts of their own."""
    path_hash = hashlib.sha256(f"{file.path}\0{file.chunk_size}".encode()).hexdigest()[:16]
    return f"{file.sha256[:32]}-{path_hash}{PART_SUFFIX}"
