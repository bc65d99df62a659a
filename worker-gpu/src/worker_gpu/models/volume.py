"""Places where a model may lie already: the network volume, and Hugging Face's cache folders.

A file found there is used where it is, by a link: copying it to the container's disk first would cost the same read.
Several workers share a volume. What one writes there gets its name only when it is whole, and a lease keeps two
workers from writing the same at once; should both write all the same, both write the same bytes.
"""

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from worker_gpu.models.index import Held, read_index
from worker_gpu.models.manifest import FromHub, ModelFile
from worker_gpu.models.parts import part_name
from worker_gpu.models.proof import Proof, is_right
from worker_gpu.models.tree import SYNC_FOLDER

LEASE_S = 120.0
"""A writer that has not renewed its lease for this long is dead. It renews with every piece it writes."""
COPY_BYTES = 8 * 1024 * 1024


def hub_cache_path(cache: Path, source: FromHub) -> Path | None:
    """Where a cache folder would keep the file: `models--owner--name/snapshots/<commit>/<file>`."""
    repository = cache / f"models--{source.repo.replace('/', '--')}"
    commit = source.revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (repository / "refs" / source.revision).read_text("utf-8").strip() or commit
    found = repository / "snapshots" / commit / source.file
    return found if found.is_file() else None


class Volume:
    """The models folder of a network volume: `<category>/<file>`, as the one of the container."""

    def __init__(self, root: Path, writable: bool, now: Callable[[], float]) -> None:
        self.root = root
        self._writable = writable
        self._now = now
        self._sync = root / SYNC_FOLDER
        self._lease = self._sync / "writer"
        self._owner = uuid.uuid4().hex
        self._ended = threading.Event()

    def end(self) -> None:
        """For another thread: let go of a copy under way. The volume keeps nothing of it."""
        self._ended.set()

    def find(self, file: ModelFile) -> Path | None:
        """The file on the volume, checked by the volume's index or by hashing it. None if it is not there, is
        another one, or cannot be read. Raises `Stopped` soon after `end`."""
        path = self.root / file.path
        try:
            stat = path.stat()
            if stat.st_size != file.size:
                return None
            known = read_index(self._sync / "index.jsonl")[0].get(file.path)
            # Another machine may see other inode numbers on the same volume.
            if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                return path if known.sha256 == file.sha256 else None
            if not is_right(path, file, self._ended):
                return None
        except OSError:
            return None
        self._note(file, stat)
        return path

    def keep(self, file: ModelFile, source: Path) -> bool:
        """Copy `source` to the volume, unless another worker is writing there. Says whether it is there now. Raises
        `OSError` when the volume is full or broken."""
        if not self._writable:
            return False
        if self.find(file) is not None:
            return True
        self._sync.mkdir(parents=True, exist_ok=True)
        if not self._take_lease():
            return False
        part = self._sync / f"{part_name(file)}.{self._owner}"
        try:
            proof = Proof(file)
            with source.open("rb") as read, part.open("wb") as write:
                for piece in iter(lambda: read.read(COPY_BYTES), b""):
                    if self._ended.is_set():
                        return False
                    if not proof.add(memoryview(piece)):
                        break
                    write.write(piece)
                    self._renew_lease()
                write.flush()
                os.fsync(write.fileno())
            if not proof.holds():
                raise OSError(errno.EIO, "the copy here is not what was checked")
            target = self.root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            stat = part.stat()
            part.replace(target)
            self._note(file, stat)
            return True
        finally:
            part.unlink(missing_ok=True)
            self._end_lease()

    def _note(self, file: ModelFile, stat: os.stat_result) -> None:
        if self._writable:
            line = Held.of(file.path, stat, file.sha256, False, int(self._now())).to_line()
            with contextlib.suppress(OSError):
                self._sync.mkdir(parents=True, exist_ok=True)
                with (self._sync / "index.jsonl").open("ab", buffering=0) as index:
                    index.write(line)

    def _take_lease(self) -> bool:
        for _ in range(2):
            with contextlib.suppress(FileExistsError):
                fd = os.open(self._lease, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
                os.write(fd, self._owner.encode())
                os.close(fd)
                self._renew_lease()
                return True
            try:
                age = self._now() - self._lease.stat().st_mtime
            except FileNotFoundError:
                continue
            if age < LEASE_S:
                return False
            # Moved aside rather than deleted: of several workers that find it dead only one succeeds.
            with contextlib.suppress(FileNotFoundError):
                aside = self._lease.with_name(f"dead.{self._owner}")
                self._lease.rename(aside)
                aside.unlink()
            for left in self._leftovers():
                left.unlink(missing_ok=True)
        return False

    def _leftovers(self) -> Iterator[Path]:
        """Parts of a writer that died."""
        return (entry for entry in list(self._sync.iterdir()) if ".part." in entry.name)

    def _renew_lease(self) -> None:
        moment = self._now()
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._lease, (moment, moment))

    def _end_lease(self) -> None:
        with contextlib.suppress(OSError):
            if self._lease.read_text("utf-8") == self._owner:
                self._lease.unlink()
