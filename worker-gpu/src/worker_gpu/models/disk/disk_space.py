"""Disk space and ownership: which download may write a path, which files may be evicted, and the reserved space.

Every decision is made and carried out under one lock. So a file that a job has pinned and found in the folder is kept,
and a download that was superseded by another version of its file changes nothing any more.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from worker_gpu.log import Log
from worker_gpu.models.disk.eviction import Eviction, NoRoom, plan_eviction
from worker_gpu.models.disk.local_tree import DELETED_SUFFIX, LocalTree
from worker_gpu.models.disk.partial_file import PART_SUFFIX, PartialFile, disk_errors, partial_name
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.settings import ModelSettings

_FREED_BLOCKS_POLL_S = 0.02
_ANY_CONTENT = ""
"""The hash of a pin on a path, independent of its content."""


@dataclass(frozen=True)
class Claim:
    """The download of a file, or None if the file is in the folder. `is_new`: the caller must start it. `superseded`
    is a download of another version, which the caller must cancel."""

    download: Download | None
    is_new: bool = False
    superseded: Download | None = None


class DiskSpace:
    """The disk space of one models folder."""

    def __init__(
        self, tree: LocalTree, settings: ModelSettings, log: Log, stop: threading.Event, clock: Callable[[], float]
    ) -> None:
        self.evicted = 0
        """Number of evicted files."""
        self._tree = tree
        self._settings = settings
        self._log = log
        self._stop = stop
        self._clock = clock
        # `_lock` is held briefly. An eviction, which may take seconds, holds `_eviction_lock`.
        self._lock = threading.Lock()
        self._eviction_lock = threading.Lock()
        self._active: dict[str, Download] = {}
        self._partials: dict[str, PartialFile] = {}
        """Partial files of downloads that have started: few, while thousands may be queued."""
        self._pins: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def pinned(self, files: Iterable[ModelFile]) -> Generator[None]:
        """A context in which no file of `files` is evicted or replaced by another version."""
        with self._pin([(file.path, file.sha256) for file in files]):
            yield

    @contextlib.contextmanager
    def keeping_path(self, path: str) -> Generator[None]:
        """A context in which the file is not evicted, but may be replaced by another version."""
        with self._pin([(path, _ANY_CONTENT)]):
            yield

    def active(self) -> list[Download]:
        """Downloads that have not finished."""
        with self._lock:
            return list(self._active.values())

    def claim(self, file: ModelFile, create: Callable[[], Download]) -> Claim:
        """Find or create the download of `file`, unless it is in the folder. Supersedes a download of another
        version."""
        with self._lock:
            is_present = self._tree.has(file)
            running = self._active.get(file.path)
            if running is not None and running.file.sha256 == file.sha256:
                return Claim(None if is_present else running)
            if running is not None:
                self._forget(file.path)
                if running.partial is not None:
                    with contextlib.suppress(ModelError):
                        running.partial.unlink()
            if is_present:
                return Claim(None, superseded=running)
            created = self._active[file.path] = create()
            return Claim(created, True, running)

    @contextlib.contextmanager
    def publishing(self, download: Download) -> Generator[None]:
        """A context in which `download` may replace the file at its path; the download has finished at its end. Raises
        `ModelError` if it was superseded, or if a job has pinned the present version."""
        file = download.file
        with self._lock:
            self._require_current(download)
            for path, sha256 in self._pins:
                is_other_version = path == file.path and sha256 not in (file.sha256, _ANY_CONTENT)
                if is_other_version and self._tree.has(replace(file, sha256=sha256)):
                    raise ModelError(
                        "model_replaced",
                        f"{path}: a running job uses the previous version; retry when it has finished",
                        path,
                    )
            yield
            self._forget(file.path)

    def publish(self, download: Download) -> None:
        """Rename a complete partial file to its path. Raises `ModelError`."""
        assert download.partial is not None  # noqa: S101 -- the pool calls this when the file is complete
        with self.publishing(download):
            stat = download.partial.publish(self._tree.root / download.file.path)
            self._tree.record(download.file, stat)

    def release(self, download: Download, error: ModelError) -> None:
        """End a failed download that no thread works on. Its partial file is kept for a retry, unless the disk is
        full or the file is useless. Raises `ModelError`."""
        # Without chunk hashes it is unknown which chunk is wrong.
        is_useless = error.code == "model_corrupt" and not download.file.chunks
        with self._lock:
            if self._active.get(download.file.path) is download:
                self._remove(download, is_useless or error.code == "disk_full")
            elif download.partial is not None:
                download.partial.close()

    def open_partial(self, download: Download) -> PartialFile:
        """Open the partial file of a download, and free space for it. Raises `ModelError`, `Stopped`."""
        part = PartialFile(self._tree.parts, download.file)
        with self._eviction_lock:
            with self._lock:
                self._require_current(download)
                part.open()
                download.partial = part
                self._partials[download.file.path] = part
            self._free_space(download, part)
        return part

    def _free_space(self, download: Download, part: PartialFile) -> None:
        """Delete unused partial files first, then the least recently used models. A background download evicts no
        model. Raises `ModelError` disk_full."""
        if self._fits(download, part):
            return
        self._delete_unused_partials(download, part)
        deleted = 0
        while True:
            if self._stop.is_set():
                raise Stopped
            with self._lock:
                plan = self._plan_eviction(download, part)
                if isinstance(plan, NoRoom):
                    error = self._no_room_error(part, plan.missing, deleted)
                    # A later request, perhaps a more urgent one, starts a new download.
                    if self._active.get(download.file.path) is download:
                        self._remove(download, True)
                    raise error
                evicted = [(held, self._tree.move_aside(held.path)) for held in plan.files]
            if not evicted:
                return
            for file, aside in evicted:
                _delete(aside)
                self.evicted += 1
                deleted += file.size
                self._log.info("model evicted", path=file.path, bytes=file.size, for_path=download.file.path)
            self._wait_for_freed_blocks(download, part)

    def _plan_eviction(self, download: Download, part: PartialFile) -> Eviction | NoRoom:
        """The files to evict for `part`. The caller holds the lock."""
        file = download.file
        pinned = {*(path for path, _ in self._pins), *self._active}
        known = {one.path: one for one in self._tree.known_files()}
        previous = known.get(file.path)
        if (
            previous is not None
            and previous.sha256 != file.sha256
            and (previous.path, previous.sha256) not in self._pins
        ):
            # The previous version is replaced anyway, so it is evicted first.
            pinned.discard(file.path)
            known[file.path] = replace(previous, used_s=0)
        return plan_eviction(
            part.missing_bytes(),
            self._free_bytes(download),
            self._settings.min_free_bytes,
            known.values(),
            pinned,
            download.urgency is not Urgency.BACKGROUND,
        )

    def _free_bytes(self, download: Download) -> int:
        """Free bytes, less those reserved for other running downloads. The caller holds the lock."""
        reserved = sum(part.missing_bytes() for path, part in self._partials.items() if path != download.file.path)
        return self._tree.free_bytes() - reserved

    def _fits(self, download: Download, part: PartialFile) -> bool:
        with self._lock:
            return self._free_bytes(download) - part.missing_bytes() >= self._settings.min_free_bytes

    def _delete_unused_partials(self, download: Download, part: PartialFile) -> None:
        """Delete partial files of failed downloads, oldest first, until there is space. No other one is opened
        meanwhile."""
        with self._lock:
            # A queued download may resume its partial file, unless `download` is more urgent.
            in_use = {
                partial_name(one.file)
                for one in self._active.values()
                if one.partial is not None or one.urgency <= download.urgency
            }
        for partial in _oldest_first(self._tree.parts):
            if partial.suffix == DELETED_SUFFIX or (partial.suffix == PART_SUFFIX and partial.name not in in_use):
                _delete(partial)
                _delete(partial.with_suffix(".marks"))
                self._log.info("partial file deleted", name=partial.name, for_path=download.file.path)
                if self._fits(download, part):
                    return

    def _wait_for_freed_blocks(self, download: Download, part: PartialFile) -> None:
        """Some file systems free deleted blocks a moment later, and none does while a program has the file open."""
        deadline = self._clock() + self._settings.timeouts.freed_blocks_s
        while not self._fits(download, part) and self._clock() < deadline:
            if self._stop.wait(_FREED_BLOCKS_POLL_S):
                return

    def _no_room_error(self, part: PartialFile, missing: int, deleted: int) -> ModelError:
        text = (
            f"{part.file.path} needs {_size(part.missing_bytes())}, and MODELS_MIN_FREE_MB keeps "
            f"{_size(self._settings.min_free_bytes)} free: the disk needs {_size(missing)} more"
        )
        if deleted:
            text += f", although {_size(deleted)} of models were deleted: a program still has them open"
        return ModelError("disk_full", text, part.file.path)

    def _remove(self, download: Download, discard: bool) -> None:
        """Remove a download, and close or delete its partial file. The caller holds the lock."""
        self._forget(download.file.path)
        # A partial file that cannot be deleted now is deleted when space is needed.
        with contextlib.suppress(OSError, ModelError):
            if download.partial is not None and discard:
                download.partial.discard()
            elif download.partial is not None:
                download.partial.close()

    def _forget(self, path: str) -> None:
        """Remove the download of a path. The caller holds the lock."""
        del self._active[path]
        self._partials.pop(path, None)

    def _require_current(self, download: Download) -> None:
        path = download.file.path
        if self._active.get(path) is not download:
            raise superseded_error(path)

    @contextlib.contextmanager
    def _pin(self, keys: list[tuple[str, str]]) -> Generator[None]:
        with self._lock:
            self._pins.update(keys)
        try:
            yield
        finally:
            with self._lock:
                self._pins.subtract(keys)
                self._pins += Counter()


def superseded_error(path: str) -> ModelError:
    """The error of a download when another version of its file is requested."""
    return ModelError("model_replaced", f"{path}: another version of the file was requested", path)


def _oldest_first(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
    return []


def _delete(path: Path | None) -> None:
    if path is not None:
        with disk_errors(str(path)):
            path.unlink(missing_ok=True)


def _size(amount: int) -> str:
    return f"{amount / 1e9:.2f} GB"
