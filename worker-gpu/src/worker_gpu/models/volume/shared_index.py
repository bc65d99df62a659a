"""An index to which several machines append: read once, then only its new lines."""

import os
import threading
import uuid
from pathlib import Path
from typing import BinaryIO

from worker_gpu.models.disk.file_index import KnownFile, apply_lines
from worker_gpu.models.disk.local_tree import COMPACT_AFTER

NEW_INFIX = ".new."
"""Part of the name of an index that is being rewritten."""


class SharedIndex:
    """An index (`disk/file_index.py`) at `path`. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, KnownFile] = {}
        self._lines = 0
        self._stamp: tuple[int, int, int] | None = None
        self._read_bytes = 0
        """The number of bytes read, up to the end of the last whole line."""

    def get(self, path: str) -> KnownFile | None:
        """The latest entry of a file. Raises `OSError`."""
        with self._lock:
            self._refresh()
            return self._known.get(path)

    def add(self, known: KnownFile) -> None:
        """Append an entry. Raises `OSError`."""
        with self._lock:
            self._refresh()
            # Ends a line that a kill has cut off, so that this line is not part of it.
            torn = self._stamp is not None and self._stamp[1] > self._read_bytes
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write((b"\n" if torn else b"") + known.to_line())

    def compact(self) -> None:
        """Rewrite an index that has many lines per file. The caller must hold the lease. Lines that others append
        meanwhile are lost; those files are hashed again. Raises `OSError`."""
        with self._lock:
            self._refresh()
            if self._lines <= COMPACT_AFTER * (len(self._known) + 16):
                return
            rewritten = self._path.with_name(f"{self._path.name}{NEW_INFIX}{uuid.uuid4().hex}")
            rewritten.write_bytes(b"".join(held.to_line() for held in self._known.values()))
            rewritten.replace(self._path)

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if stamp == self._stamp:
                return
            with self._path.open("rb") as file:
                self._read_new_lines(file)
        except FileNotFoundError:
            self._clear()

    def _read_new_lines(self, file: BinaryIO) -> None:
        stat = os.fstat(file.fileno())
        if self._stamp is None or self._stamp[0] != stat.st_ino or stat.st_size < self._read_bytes:
            self._clear()
        file.seek(self._read_bytes)
        grown = file.read()
        whole = grown[: grown.rfind(b"\n") + 1]
        lines = whole.splitlines()
        apply_lines(lines, self._known)
        self._lines += len(lines)
        self._read_bytes += len(whole)
        self._stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _clear(self) -> None:
        self._known.clear()
        self._lines, self._read_bytes, self._stamp = 0, 0, None
