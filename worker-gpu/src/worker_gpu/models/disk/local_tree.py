"""The models folder of this machine.

`.sync/index.jsonl` knows every file that was checked (`index.py`). One whose size, time and inode are still the same
is taken to be unchanged, so a warm start costs one stat a file.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from worker_gpu.models.disk.file_index import Held, gone_line, read_index, used_line
from worker_gpu.models.disk.partial_file import disk_faults, part_name
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile

SYNC_FOLDER = ".sync"
GONE_SUFFIX = ".gone"
"""Beside the parts: a model that is being deleted."""
COMPACT_AFTER = 4
"""The index is rewritten on opening when it has this many lines for each file."""


class Tree:
    """One models folder. One process at a time may have it open; threads may share it."""

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self.root = root
        self.parts = root / SYNC_FOLDER / "parts"
        self.cached_manifest = root / SYNC_FOLDER / "manifest.json"
        self._index_path = root / SYNC_FOLDER / "index.jsonl"
        self._now = now
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._index = -1
        self._claim = -1
        self._set_aside = 0

    def open(self) -> None:
        """Read the index and keep other processes out. Raises `ModelError` folder_busy, disk_failed."""
        with disk_faults(str(self.root)):
            (self.root / SYNC_FOLDER).mkdir(parents=True, exist_ok=True)
            self._claim = os.open(self.root / SYNC_FOLDER / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # The system lets go of it when the process ends, however it ends.
                fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise ModelError("folder_busy", f"another process syncs {self.root}") from None
            self._held, lines = read_index(self._index_path)
            if lines > COMPACT_AFTER * (len(self._held) + 16):
                made = self._index_path.with_suffix(".new")
                made.write_bytes(b"".join(held.to_line() for held in self._held.values()))
                made.replace(self._index_path)
            self._index = os.open(self._index_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if lines:
                # A line that a kill cut off must not swallow the next one.
                os.write(self._index, b"\n")

    def close(self) -> None:
        """Let others in."""
        with self._lock:
            for fd in (self._index, self._claim):
                if fd >= 0:
                    os.close(fd)
            self._index = self._claim = -1

    def holds(self, file: ModelFile) -> bool:
        """Whether exactly this file is here, as far as `stat` and the index tell."""
        with self._lock:
            held = self._held.get(file.path)
        if held is None or held.sha256 != file.sha256:
            return False
        try:
            stat = os.stat(f"{self.root}/{held.path}")  # noqa: PTH116 -- a Path for each of 5,000 files costs more than its stat
        except OSError:
            return False
        return held.describes(stat)

    def record(self, file: ModelFile, stat: os.stat_result, linked: bool = False) -> None:
        """The file was checked and is here under its name."""
        held = Held.of(file.path, stat, file.sha256, linked, int(self._now()))
        with self._lock:
            self._held[file.path] = held
            self._append(held.to_line())

    def touch(self, paths: Iterable[str]) -> None:
        """They are used now."""
        used = int(self._now())
        with self._lock:
            for path in paths:
                held = self._held.get(path)
                if held is not None and held.used_s != used:
                    self._held[path] = replace(held, used_s=used)
                    self._append(used_line(path, used))

    def bake(self, paths: Iterable[str]) -> None:
        """They are to become part of an image: known there too, and never evicted, since what lies in a layer gives no
        disk back."""
        with self._lock:
            for path in paths:
                held = self._held.get(path)
                if held is not None:
                    self._held[path] = replace(held, baked=True)
                    self._append(self._held[path].to_line())

    def set_aside(self, path: str) -> Path | None:
        """Take a file out of the folder, which is quick; where it lies now, to be deleted, which may not be. Only its
        name: what a link points to stays. None when there was none. Raises `ModelError`."""
        self._set_aside += 1
        aside: Path | None = self.parts / f"{os.getpid()}-{self._set_aside}{GONE_SUFFIX}"
        with disk_faults(path):
            self.parts.mkdir(parents=True, exist_ok=True)
            try:
                (self.root / path).replace(aside)
            except FileNotFoundError:
                aside = None
        with self._lock:
            if self._held.pop(path, None) is not None:
                self._append(gone_line(path))
        return aside

    def link(self, file: ModelFile, target: Path) -> None:
        """Let the file's name here point to `target`, which was checked."""
        name = self.root / file.path
        with disk_faults(file.path):
            name.parent.mkdir(parents=True, exist_ok=True)
            self.parts.mkdir(parents=True, exist_ok=True)
            made = (self.parts / part_name(file)).with_suffix(".link")
            made.unlink(missing_ok=True)
            made.symlink_to(target)
            stat = made.stat()
            made.replace(name)
        self.record(file, stat, linked=True)

    def held(self) -> list[Held]:
        """Everything in the index."""
        with self._lock:
            return list(self._held.values())

    def free_bytes(self) -> int:
        """Free disk below the folder. Raises `ModelError`."""
        with disk_faults(str(self.root)):
            return shutil.disk_usage(self.root).free

    def drop_parts(self, keep: Iterable[ModelFile]) -> None:
        """Delete what earlier runs left of files that are none of `keep`."""
        kept = {Path(part_name(file)).stem for file in keep}
        with contextlib.suppress(OSError):
            for entry in list(self.parts.iterdir()):
                if entry.stem not in kept:
                    entry.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        if self._index >= 0:
            # A full disk costs a hash at the next start, nothing else.
            with contextlib.suppress(OSError):
                os.write(self._index, line)
