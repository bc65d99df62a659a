"""Keeps a models folder in sync with the manifest: downloads requested files, evicts others, and verifies every file.

This interface is for threads. `service.py` wraps it for the event loop, and `cli/commands.py` for the shell.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from worker_gpu.log import Log
from worker_gpu.models.disk.disk_space import DiskSpace, superseded_error
from worker_gpu.models.disk.integrity import is_intact
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.bucket import BucketClient, Unchanged
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.pool import DownloadPool
from worker_gpu.models.download.priority import Urgency, rank
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.manifest.manifest import MANIFEST_KEY, FromHub, Manifest, ModelFile
from worker_gpu.models.settings import ModelSettings, TransferTimeouts
from worker_gpu.models.volume.network_volume import NetworkVolume, hub_cache_path


@dataclass(frozen=True)
class Deps:
    """Time and randomness. `now` is in seconds since 1970; `clock` is monotonic."""

    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class Progress:
    """Progress of a batch, in bytes and files."""

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int


@dataclass(frozen=True)
class Batch:
    """Files requested together. `present` were already in the folder."""

    downloads: Sequence[Download]
    present: Sequence[ModelFile] = field(default=())

    def progress(self) -> Progress:
        """The current progress. It decreases when received bytes turn out to be wrong."""
        received = sum(download.received for download in self.downloads)
        total = sum(download.file.size for download in self.downloads)
        done = sum(download.result.done() for download in self.downloads)
        return Progress(received, total, done, len(self.downloads))

    def futures(self) -> list["Future[None]"]:
        """One future for each file that was not in the folder."""
        return [download.result for download in self.downloads]


class ModelSync:
    """One models folder and its sources. Call `open` first and `close` last."""

    def __init__(self, settings: ModelSettings, log: Log, deps: Deps | None = None) -> None:
        self.settings = settings
        self.manifest = Manifest({})
        self._log = log
        self._deps = deps or Deps()
        self.tree = LocalTree(settings.folder, self._deps.now)
        self._volume = (
            NetworkVolume(settings.volume, settings.volume_write, self._deps.now, settings.volume_check_all)
            if settings.volume is not None
            else None
        )
        self._stop = threading.Event()
        self._disk_space = DiskSpace(self.tree, settings, log, self._stop, self._deps.clock)
        self._pool = DownloadPool(
            settings,
            self._prepare,
            self._publish,
            self._disk_space.release,
            self._stop,
            self._deps.clock,
            self._deps.random,
        )
        self._etag: str | None = None
        self._to_copy: list[ModelFile] = []

    @property
    def evicted(self) -> int:
        """Files evicted since the start."""
        return self._disk_space.evicted

    @property
    def replaced_connections(self) -> int:
        """Slow connections that were replaced since the start."""
        return self._pool.replaced_connections

    def open(self) -> None:
        """Lock the folder and read its index. Raises `ModelError` folder_busy, disk_failed."""
        self.tree.open()

    def close(self) -> None:
        """Stop all work and unlock the folder. Partial files are kept for the next run."""
        self._stop.set()
        if self._volume is not None:
            self._volume.cancel_copy()
        self._pool.close()
        self.tree.close()

    def load_cached_manifest(self) -> bool:
        """Load the last valid manifest of an earlier run unless one is loaded. Returns whether one is."""
        if not self.manifest.files:
            with contextlib.suppress(OSError, ModelError):
                self.manifest = Manifest.parse(self.tree.cached_manifest.read_bytes())
        return bool(self.manifest.files)

    def load_manifest(self, timeouts: TransferTimeouts | None = None) -> bool:
        """Read the manifest from its source, and return whether it changed. `timeouts` replace those of the
        settings. Raises `ModelError`; then the previous manifest is kept, or the last valid one of an earlier run is
        loaded."""
        try:
            return self._load_manifest(timeouts or self.settings.timeouts)
        except ModelError:
            self.load_cached_manifest()
            raise

    def request(self, files: Iterable[ModelFile], urgency: Urgency) -> Batch:
        """Start downloads of those of `files` that are not in the folder. The others are marked as used now."""
        present: list[ModelFile] = []
        downloads: list[Download] = []
        for file in sorted(files, key=lambda file: rank(file, urgency)):
            download = self._download(file, urgency)
            if download is None:
                present.append(file)
            else:
                downloads.append(download)
        if urgency is not Urgency.BACKGROUND:
            self.tree.touch(file.path for file in present)
        return Batch(downloads, present)

    def reorder(self, batch: Batch, urgency: Urgency) -> None:
        """Change the urgency of the unfinished files of a batch."""
        for download in batch.downloads:
            if not download.result.done():
                self._pool.reorder(download, urgency)

    def pinned(self, files: Iterable[ModelFile]) -> AbstractContextManager[None]:
        """A context in which no file of `files` is evicted or replaced by another version."""
        return self._disk_space.pinned(files)

    def active(self) -> list[Download]:
        """Downloads that have not finished."""
        return self._disk_space.active()

    def copy_to_volume(self) -> int:
        """Copy downloaded files to the network volume for other workers. Returns the number of copies. Blocks until
        they are done. Errors are only logged, since this worker does not need the copies."""
        copied = 0
        while self._volume is not None and self._to_copy:
            file = self._to_copy[0]
            with self._disk_space.keeping_path(file.path):
                try:
                    if self.tree.has(file):
                        if not self._volume.store(file, self.tree.root / file.path):
                            # Another worker is writing to the volume. The next call retries.
                            return copied
                        copied += 1
                except Stopped:
                    return copied
                except OSError as error:
                    self._log.warn("copy to volume failed", path=file.path, cause=error.strerror)
                    self._to_copy.clear()
                    return copied
            self._to_copy.pop(0)
        return copied

    def _load_manifest(self, timeouts: TransferTimeouts) -> bool:
        settings = self.settings
        if settings.manifest is not None:
            try:
                body = settings.manifest.read_bytes()
            except OSError as error:
                raise ModelError(
                    "manifest_missing", f"MODELS_MANIFEST cannot be read: {error.strerror or error}"
                ) from error
        elif settings.bucket is not None:
            found = BucketClient(settings.bucket, timeouts).get_if_changed(MANIFEST_KEY, self._etag)
            if isinstance(found, Unchanged):
                return False
            if found is None:
                raise ModelError(
                    "manifest_missing", f"the bucket {settings.bucket.name} has no manifest.json: run `models push`"
                )
            body = found.body
            self._etag = found.etag or None
        else:
            return False
        try:
            manifest = Manifest.parse(body)
        except ModelError:
            self._etag = None
            raise
        changed = manifest != self.manifest
        self.manifest = manifest
        if changed:
            with contextlib.suppress(OSError):
                temporary = self.tree.cached_manifest.with_suffix(".new")
                temporary.write_bytes(body)
                temporary.replace(self.tree.cached_manifest)
        return changed

    def _download(self, file: ModelFile, urgency: Urgency) -> Download | None:
        """The running download of `file`; None if the file is in the folder."""
        claim = self._disk_space.claim(file, lambda: Download(file, urgency, RemoteFile(file, self.settings)))
        if claim.superseded is not None:
            self._pool.cancel(claim.superseded, superseded_error(file.path))
        if claim.download is None:
            return None
        if claim.is_new:
            self._pool.start(claim.download)
        elif urgency < claim.download.urgency:
            self._pool.reorder(claim.download, urgency)
        return claim.download

    def _prepare(self, download: Download) -> PartialFile | None:
        """None if the file exists or can be linked to; otherwise its opened partial file, with enough free space."""
        if self._adopt_existing(download) or self._link(download):
            return None
        return self._disk_space.open_partial(download)

    def _adopt_existing(self, download: Download) -> bool:
        """Whether an unknown file in the folder is `download`'s: from the image, copied by hand, or published before
        a kill."""
        file, path = download.file, self.tree.root / download.file.path
        try:
            stat = path.stat()
            if stat.st_size != file.size or not is_intact(path, file, self._stop):
                return False
        except OSError:
            return False
        with self._disk_space.publishing(download):
            self.tree.record(file, stat, linked=path.is_symlink())
        return True

    def _link(self, download: Download) -> bool:
        file = download.file
        target = self._volume.find(file) if self._volume is not None else None
        if target is None and isinstance(file.source, FromHub):
            target = self._find_in_hub_cache(file, file.source)
        if target is None:
            return False
        with self._disk_space.publishing(download):
            self.tree.link(file, target)
        return True

    def _find_in_hub_cache(self, file: ModelFile, source: FromHub) -> Path | None:
        for cache in self.settings.hub_caches:
            path = hub_cache_path(cache, source)
            with contextlib.suppress(OSError):
                if path is not None and path.stat().st_size == file.size and is_intact(path, file, self._stop):
                    return path
        return None

    def _publish(self, download: Download) -> None:
        self._disk_space.publish(download)
        if self._volume is not None and self.settings.volume_write:
            self._to_copy.append(download.file)
