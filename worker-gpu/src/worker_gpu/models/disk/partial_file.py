"""Partial files: bytes go to a partial file, which gets its final name only when every chunk has the right hash.

A kill loses at most the chunks in flight: the hashes of finished chunks ("marks") are stored beside the partial file. A
mark may be wrong, so a resumed download hashes the marked chunks before it uses them.
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
"""The unit of `st_blocks`, independent of the file system."""
_NO_MARK = bytes(_MARK_BYTES)


@contextlib.contextmanager
def disk_errors(path: str) -> Generator[None]:
    """Turns `OSError` into a `ModelError` about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_ERRORS:
            raise ModelError("disk_full", f"{path}: the disk is full", path) from error
        raise ModelError("disk_failed", f"{path}: {error.strerror or error}", path) from error


class PartialFile:
    """The partial file of one model file. Threads may write different chunks at the same time."""

    def __init__(self, folder: Path, file: ModelFile) -> None:
        self.file = file
        self._path = folder / partial_name(file)
        self._marks_path = self._path.with_suffix(".marks")
        self._marks_fd = -1
        self._data_fd = -1
        self._marks: dict[int, str] = {}

    def open(self) -> None:
        """Open the partial file of an earlier run, or create it. Raises `ModelError`."""
        file = self.file
        with disk_errors(file.path):
            if file.chunk_count < 2:
                # A file of one chunk is either whole or starts over, so it needs no marks.
                self._data_fd = self._create(os.O_TRUNC)
                return
            self._data_fd = self._create(0)
            if os.fstat(self._data_fd).st_size != file.size:
                self._marks_path.unlink(missing_ok=True)
                # Not allocated: without support by the file system that would write every byte twice, and with it one
                # thread would allocate while all others wait.
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
        """The name in the folder of partial files."""
        return self._path.name

    def pop_mark(self, chunk: int) -> str | None:
        """Remove and return the mark of an earlier run: the SHA-256 of a finished chunk."""
        return self._marks.pop(chunk, None)

    def write(self, data: memoryview, offset: int) -> None:
        """Write `data` at byte `offset`. Raises `ModelError`."""
        with disk_errors(self.file.path):
            while data:
                written = os.pwrite(self._data_fd, data, offset)
                data, offset = data[written:], offset + written

    def mark(self, chunk: int, sha256: str) -> None:
        """Mark a chunk as finished, with this hash."""
        if self._marks_fd >= 0:
            with disk_errors(self.file.path):
                os.pwrite(self._marks_fd, bytes.fromhex(sha256), chunk * _MARK_BYTES)

    def hash_chunk(self, chunk: int, stop: threading.Event) -> str:
        """The SHA-256 of a chunk on disk. Raises `ModelError`, and `Stopped` soon after `stop`."""
        first, length = self.file.chunk_range(chunk)
        with disk_errors(self.file.path):
            return hash_span(self._data_fd, first, length, stop)

    def hash_all(self, stop: threading.Event) -> str:
        """The SHA-256 of the whole file on disk. Raises as `hash_chunk` does."""
        with disk_errors(self.file.path):
            return hash_span(self._data_fd, 0, self.file.size, stop)

    def missing_bytes(self) -> int:
        """The disk space that the rest of the file needs."""
        try:
            return max(0, self.file.size - os.fstat(self._data_fd).st_blocks * _BLOCK_BYTES)
        except OSError:
            # Closed meanwhile: the download has finished or failed.
            return 0

    def publish(self, target: Path) -> os.stat_result:
        """Rename the complete partial file to `target`, atomically replacing another file."""
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
        """Close the files and keep them for a later run."""
        fds, self._data_fd, self._marks_fd = (self._data_fd, self._marks_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def discard(self) -> None:
        """Close and delete the files. Raises `ModelError`."""
        self.close()
        self.unlink()

    def unlink(self) -> None:
        """Delete the names. Threads may still write, without harm to a new partial file. Raises `ModelError`."""
        with disk_errors(self.file.path):
            self._path.unlink(missing_ok=True)
            self._marks_path.unlink(missing_ok=True)


def partial_name(file: ModelFile) -> str:
    """The name of a partial file, which is different for each path, content and chunk size."""
    path_hash = hashlib.sha256(f"{file.path}\0{file.chunk_size}".encode()).hexdigest()[:16]
    return f"{file.sha256[:32]}-{path_hash}{PART_SUFFIX}"
