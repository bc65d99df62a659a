"""The models folder of this machine.

`.sync/index.jsonl` lists every verified file (`file_index.py`). A file whose size, time and inode are the same counts
as unchanged, so a warm start needs one `stat` per file.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from worker_gpu.models.disk.file_index import KnownFile, deleted_line, read_index, used_line
from worker_gpu.models.disk.partial_file import disk_errors, partial_name
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile

SYNC_FOLDER = ".sync"
DELETED_SUFFIX = ".gone"
"""The suffix of a model that is being deleted, in the folder of partial files."""
COMPACT_AFTER = 4
"""`open` rewrites an index with more than this many lines per file."""


class LocalTree:
    """One models folder. Only one process may have it open; its threads may share it."""

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self.root = root
        self.parts = root / SYNC_FOLDER / "parts"
        self.cached_manifest = root / SYNC_FOLDER / "manifest.json"
        self._index_path = root / SYNC_FOLDER / "index.jsonl"
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, KnownFile] = {}
        self._index_fd = -1
        self._lock_fd = -1
        self._moved_count = 0

    def open(self) -> None:
        """Lock the folder and read the index. Raises `ModelError` folder_busy, disk_failed."""
        with disk_errors(str(self.root)):
            (self.root / SYNC_FOLDER).mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(self.root / SYNC_FOLDER / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # The system releases the lock when the process ends, even if it is killed.
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise ModelError(
                    "folder_busy", f"another process uses {self.root}; stop it or set MODELS_DIR to another folder"
                ) from None
            self._known, lines = read_index(self._index_path)
            if lines > COMPACT_AFTER * (len(self._known) + 16):
                made = self._index_path.with_suffix(".new")
                made.write_bytes(b"".join(held.to_line() for held in self._known.values()))
                made.replace(self._index_path)
            self._index_fd = os.open(self._index_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if lines:
                # Ends a line that a kill has cut off, so that the next line is not part of it.
                os.write(self._index_fd, b"\n")

    def close(self) -> None:
        """Unlock the folder."""
        with self._lock:
            for fd in (self._index_fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._index_fd = self._lock_fd = -1

    def has(self, file: ModelFile) -> bool:
        """Whether the folder contains this version of the file, by `stat` and the index."""
        with self._lock:
            known = self._known.get(file.path)
        if known is None or known.sha256 != file.sha256:
            return False
        try:
            stat = os.stat(f"{self.root}/{known.path}")  # noqa: PTH116 -- a Path for each of 5,000 files costs more than its stat
        except OSError:
            return False
        return known.matches(stat)

    def record(self, file: ModelFile, stat: os.stat_result, linked: bool = False) -> None:
        """Add a verified file to the index."""
        known = KnownFile.of(file.path, stat, file.sha256, linked, int(self._now()))
        with self._lock:
            self._known[file.path] = known
            self._append(known.to_line())

    def touch(self, paths: Iterable[str]) -> None:
        """Set the time of last use to now."""
        used = int(self._now())
        with self._lock:
            for path in paths:
                known = self._known.get(path)
                if known is not None and known.used_s != used:
                    self._known[path] = replace(known, used_s=used)
                    self._append(used_line(path, used))

    def mark_baked(self, paths: Iterable[str]) -> None:
        """Mark files that become part of an image. They are never evicted, since deleting a file of a layer frees no
        space."""
        with self._lock:
            for path in paths:
                known = self._known.get(path)
                if known is not None:
                    self._known[path] = replace(known, baked=True)
                    self._append(self._known[path].to_line())

    def move_aside(self, path: str) -> Path | None:
        """Move a file out of the folder for deletion, and return its new path. Moving is quick; deleting may be
        slow. The target of a link is kept. Returns None if there is no such file. Raises `ModelError`."""
        self._moved_count += 1
        aside: Path | None = self.parts / f"{os.getpid()}-{self._moved_count}{DELETED_SUFFIX}"
        with disk_errors(path):
            self.parts.mkdir(parents=True, exist_ok=True)
            try:
                (self.root / path).replace(aside)
            except FileNotFoundError:
                aside = None
        with self._lock:
            if self._known.pop(path, None) is not None:
                self._append(deleted_line(path))
        return aside

    def link(self, file: ModelFile, target: Path) -> None:
        """Link the file to `target`, which was verified."""
        link_path = self.root / file.path
        with disk_errors(file.path):
            link_path.parent.mkdir(parents=True, exist_ok=True)
            self.parts.mkdir(parents=True, exist_ok=True)
            temporary = (self.parts / partial_name(file)).with_suffix(".link")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            stat = temporary.stat()
            temporary.replace(link_path)
        self.record(file, stat, linked=True)

    def known_files(self) -> list[KnownFile]:
        """All files in the index."""
        with self._lock:
            return list(self._known.values())

    def free_bytes(self) -> int:
        """Free bytes of the folder's disk. Raises `ModelError`."""
        with disk_errors(str(self.root)):
            return shutil.disk_usage(self.root).free

    def delete_stale_parts(self, keep: Iterable[ModelFile]) -> None:
        """Delete partial files of earlier runs, except those of the files in `keep`."""
        kept = {Path(partial_name(file)).stem for file in keep}
        with contextlib.suppress(OSError):
            for entry in list(self.parts.iterdir()):
                if entry.stem not in kept:
                    entry.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        if self._index_fd >= 0:
            # If the line cannot be written, the next start hashes the file again.
            with contextlib.suppress(OSError):
                os.write(self._index_fd, line)
