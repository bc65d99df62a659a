"""Places where a model may lie already: the network volume, and Hugging Face's cache folders.

A file found there is used where it is, by a link: copying it to the container's disk first would cost the same read.
Several workers share a volume. What one writes there gets its name only when it is whole, and a lease (lease.py) keeps
two workers from writing the same at once; should both write all the same, both write the same bytes.
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
"""A file that was changed within so long may still be written by somebody: every byte of it is read."""


def hub_cache_path(cache: Path, source: FromHub) -> Path | None:
    """Where a cache folder would keep the file: `models--owner--name/snapshots/<commit>/<file>`."""
    repository = cache / f"models--{source.repo.replace('/', '--')}"
    commit = source.revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (repository / "refs" / source.revision).read_text("utf-8").strip() or commit
    found = repository / "snapshots" / commit / source.file
    return found if found.is_file() else None


class NetworkVolume:
    """The models folder of a network volume: `<category>/<file>`, as the one of the container."""

    def __init__(self, root: Path, writable: bool, now: Callable[[], float], check_all: bool = False) -> None:
        """`writable`: files and the index may be written. `check_all`: every byte of a file that the index does not
        know is read, also where that has to be done again by every worker that starts."""
        self.root = root
        self._writable = writable
        self._check_all = check_all
        self._now = now
        self._sync = root / SYNC_FOLDER
        self._index = SharedIndex(self._sync / "index.jsonl")
        self._lease = Lease(self._sync / "writer", now)
        self._canceled = threading.Event()

    def cancel_copy(self) -> None:
        """For another thread: let go of a copy under way. The volume keeps nothing of it."""
        self._canceled.set()

    def find(self, file: ModelFile) -> Path | None:
        """The file on the volume, checked by the volume's index, by hashing it, or by samples where nothing of the
        hash could be kept. None if it is not there, is another one, or cannot be read. Raises `Stopped` soon after
        `end`."""
        path = self.root / file.path
        try:
            stat = path.stat()
            if stat.st_size != file.size:
                return None
            known = self._index.get(file.path)
            # Another machine may see other inode numbers on the same volume.
            if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                return path if known.sha256 == file.sha256 else None
            # What is found out is kept for the next worker; what cannot be kept may not cost much.
            can_write = self._can_write_index()
            is_recent_free = stat.st_mtime + RECENT_CHANGE_S <= self._now()
            check = is_intact if self._check_all or can_write or not is_recent_free else is_intact_by_samples
            if not check(path, file, self._canceled):
                return None
        except OSError:
            return None
        self._record(file, stat)
        return path

    def store(self, file: ModelFile, source: Path) -> bool:
        """Copy `source` to the volume, unless another worker is writing there. Says whether it is there now. Raises
        `OSError` when the volume is full or broken."""
        if not self._writable:
            return False
        if self.find(file) is not None:
            return True
        self._sync.mkdir(parents=True, exist_ok=True)
        if not self._lease.acquire():
            return False
        part = self._sync / f"{partial_name(file)}.{self._lease.owner}"
        try:
            self._clear_leftovers()
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
                raise OSError(errno.EIO, "the copy here is not what was checked")
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
        """Whether the index can be written. RunPod mounts a volume as root's, and the worker is another user."""
        folder = self._sync if self._sync.is_dir() else self.root
        return self._writable and os.access(folder, os.W_OK)

    def _record(self, file: ModelFile, stat: os.stat_result) -> None:
        if self._writable:
            # An index that cannot be written costs a hash the next time.
            with contextlib.suppress(OSError):
                self._index.add(KnownFile.of(file.path, stat, file.sha256, False, int(self._now())))

    def _clear_leftovers(self) -> None:
        """What writers left that died or lost their lease. For whoever holds it."""
        for entry in list(self._sync.iterdir()):
            if entry.name.startswith(EXPIRED_PREFIX) or ".part." in entry.name or NEW_INFIX in entry.name:
                entry.unlink(missing_ok=True)
