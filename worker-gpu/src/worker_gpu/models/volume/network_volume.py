"""Model files that exist already: on the network volume, or in Hugging Face's cache folders.

The models folder links to such a file, since a copy to the container's disk would read every byte as well. Several
workers share a volume. A copy gets its final name only when it is complete. A lease (`lease.py`) keeps two workers from
writing at once; if both write anyway, they write the same bytes.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from worker_gpu.models.disk.file_index import KnownFile
from worker_gpu.models.disk.integrity import IntegrityCheck, is_intact, is_intact_by_samples
from worker_gpu.models.disk.local_tree import SYNC_FOLDER
from worker_gpu.models.disk.partial_file import partial_name
from worker_gpu.models.manifest.manifest import FromHub, ModelFile
from worker_gpu.models.volume.lease import EXPIRED_PREFIX, Lease
from worker_gpu.models.volume.shared_index import NEW_INFIX, SharedIndex

COPY_BYTES = 8 * 1024 * 1024
RECENT_CHANGE_S = 600.0
"""A file that was changed more recently may still be being written, so all of it is hashed."""


def hub_cache_path(cache: Path, source: FromHub) -> Path | None:
    """The file in a Hugging Face cache: `models--owner--name/snapshots/<commit>/<file>`; None if it is missing."""
    repository = cache / f"models--{source.repo.replace('/', '--')}"
    commit = source.revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (repository / "refs" / source.revision).read_text("utf-8").strip() or commit
    found = repository / "snapshots" / commit / source.file
    return found if found.is_file() else None


class NetworkVolume:
    """The models folder on a network volume, with the layout `<category>/<file>`."""

    def __init__(self, root: Path, writable: bool, now: Callable[[], float], check_all: bool = False) -> None:
        """`writable`: the worker may write files and the index. `check_all`: hash all of a file that is not in the
        index, even if the result cannot be stored and every starting worker repeats it."""
        self.root = root
        self._writable = writable
        self._check_all = check_all
        self._now = now
        self._sync = root / SYNC_FOLDER
        self._index = SharedIndex(self._sync / "index.jsonl")
        self._lease = Lease(self._sync / "writer", now)
        self._canceled = threading.Event()

    def cancel_copy(self) -> None:
        """Cancel a running copy or check from another thread. An incomplete copy is deleted."""
        self._canceled.set()

    def find(self, file: ModelFile) -> Path | None:
        """The path of the file on the volume, verified by the index, by its hash, or by samples if the hash could
        not be stored. None if it is missing, different or unreadable. Raises `Stopped` soon after `cancel_copy`."""
        path = self.root / file.path
        try:
            stat = path.stat()
            if stat.st_size != file.size:
                return None
            known = self._index.get(file.path)
            # Inode numbers of the same volume may differ between machines, so they are not compared.
            if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                return path if known.sha256 == file.sha256 else None
            # A full hash is worthwhile if the index can store it for the next worker.
            is_recent = stat.st_mtime + RECENT_CHANGE_S > self._now()
            hash_all = self._check_all or is_recent or self._can_write_index()
            check = is_intact if hash_all else is_intact_by_samples
            if not check(path, file, self._canceled):
                return None
        except OSError:
            return None
        self._record(file, stat)
        return path

    def store(self, file: ModelFile, source: Path) -> bool:
        """Copy `source` to the volume, unless another worker is writing to it. Returns whether the volume has the file.
        Raises `OSError` if the volume is full or fails."""
        if not self._writable:
            return False
        if self.find(file) is not None:
            return True
        self._sync.mkdir(parents=True, exist_ok=True)
        if not self._lease.acquire():
            return False
        part = self._sync / f"{partial_name(file)}.{self._lease.owner}"
        try:
            self._delete_abandoned()
            self._index.compact()
            integrity = IntegrityCheck(file)
            with source.open("rb") as read, part.open("wb") as write:
                for piece in iter(lambda: read.read(COPY_BYTES), b""):
                    if self._canceled.is_set() or not self._lease.renew():
                        return False
                    if not integrity.add(memoryview(piece)):
                        break
                    write.write(piece)
                write.flush()
                os.fsync(write.fileno())
            if not integrity.passed():
                raise OSError(errno.EIO, "the local file has changed since it was verified")
            if not self._lease.renew():
                return False
            target = self.root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            stat = part.stat()
            part.replace(target)
            self._record(file, stat)
            return True
        finally:
            part.unlink(missing_ok=True)
            self._lease.release()

    def _can_write_index(self) -> bool:
        """Whether the index can be written. RunPod mounts volumes with root as owner, and the worker is another
        user."""
        folder = self._sync if self._sync.is_dir() else self.root
        return self._writable and os.access(folder, os.W_OK)

    def _record(self, file: ModelFile, stat: os.stat_result) -> None:
        if self._writable:
            # If the index cannot be written, the next worker hashes the file again.
            with contextlib.suppress(OSError):
                self._index.add(KnownFile.of(file.path, stat, file.sha256, False, int(self._now())))

    def _delete_abandoned(self) -> None:
        """Delete files of writers that died or lost their lease. The caller must hold it."""
        for entry in list(self._sync.iterdir()):
            if entry.name.startswith(EXPIRED_PREFIX) or ".part." in entry.name or NEW_INFIX in entry.name:
                entry.unlink(missing_ok=True)
