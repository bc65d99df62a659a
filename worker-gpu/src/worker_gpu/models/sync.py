"""Keeps a models folder: knows the manifest, fetches what is wanted, makes room, and lets nothing unchecked in.

For threads; `service.py` is the same for the event loop, and `commands.py` for the shell.
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
    """Time and chance. `now` in seconds since 1970, `clock` in seconds since any moment."""

    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class Progress:
    """How far a batch is, in bytes and files."""

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int


@dataclass(frozen=True)
class Batch:
    """Files somebody waits for together."""

    downloads: Sequence[Download]
    present: Sequence[ModelFile] = field(default=())

    def progress(self) -> Progress:
        """How far it is now. Bytes that turn out to be wrong are taken back."""
        received = sum(download.received for download in self.downloads)
        total = sum(download.file.size for download in self.downloads)
        done = sum(download.result.done() for download in self.downloads)
        return Progress(received, total, done, len(self.downloads))

    def futures(self) -> list["Future[None]"]:
        """One for each file that was not here."""
        return [download.result for download in self.downloads]


class ModelSync:
    """One models folder and where it is filled from. `open` first, `close` last."""

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
        """Files deleted to make room, since the start."""
        return self._disk_space.evicted

    @property
    def replaced_connections(self) -> int:
        """Connections given up for being slow, since the start."""
        return self._pool.replaced_connections

    def open(self) -> None:
        """Take the folder. Raises `ModelError` folder_busy, disk_failed."""
        self.tree.open()

    def close(self) -> None:
        """Stop what runs and let go of the folder. Parts keep what they have."""
        self._stop.set()
        if self._volume is not None:
            self._volume.cancel_copy()
        self._pool.close()
        self.tree.close()

    def load_cached_manifest(self) -> bool:
        """Take the last good manifest of an earlier run, unless this one has read one; says whether there is any."""
        if not self.manifest.files:
            with contextlib.suppress(OSError, ModelError):
                self.manifest = Manifest.parse(self.tree.cached_manifest.read_bytes())
        return bool(self.manifest.files)

    def load_manifest(self, timeouts: TransferTimeouts | None = None) -> bool:
        """Read the manifest anew, with the settings' patience or another; says whether it changed. Raises `ModelError`,
        and then the one before stays: the last good one of an earlier run, when there was none in this."""
        try:
            return self._load_manifest(timeouts or self.settings.timeouts)
        except ModelError:
            self.load_cached_manifest()
            raise

    def request(self, files: Iterable[ModelFile], urgency: Urgency) -> Batch:
        """Begin to fetch what is not here of `files`. Files here already count as used now."""
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
        """Let the rest of a batch come earlier or later."""
        for download in batch.downloads:
            if not download.result.done():
                self._pool.reorder(download, urgency)

    def pinned(self, files: Iterable[ModelFile]) -> AbstractContextManager[None]:
        """While this is open nothing of `files` is evicted, or replaced by another version."""
        return self._disk_space.pinned(files)

    def active(self) -> list[Download]:
        """What is being fetched."""
        return self._disk_space.active()

    def copy_to_volume(self) -> int:
        """Copy what was fetched to the volume, for the workers that come after; the number of files. Blocks for as
        long as that takes. Faults are logged: the models of this worker are complete without it."""
        copied = 0
        while self._volume is not None and self._to_copy:
            file = self._to_copy[0]
            with self._disk_space.keeping_path(file.path):
                try:
                    if self.tree.has(file):
                        if not self._volume.store(file, self.tree.root / file.path):
                            # Another worker is writing; the next call may try again.
                            return copied
                        copied += 1
                except Stopped:
                    return copied
                except OSError as error:
                    self._log.warn("volume not written", path=file.path, cause=error.strerror)
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
                made = self.tree.cached_manifest.with_suffix(".new")
                made.write_bytes(body)
                made.replace(self.tree.cached_manifest)
        return changed

    def _download(self, file: ModelFile, urgency: Urgency) -> Download | None:
        """The download of `file`, under way now; None when it is here."""
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
        """None if the file is here, or lies where it can be linked to; else its part, with room made for it."""
        if self._adopt_existing(download) or self._link(download):
            return None
        return self._disk_space.open_partial(download)

    def _adopt_existing(self, download: Download) -> bool:
        """Part of the image, put there by hand, or published just before a kill."""
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
        found = self._volume.find(file) if self._volume is not None else None
        if found is None and isinstance(file.source, FromHub):
            found = self._find_in_hub_cache(file, file.source)
        if found is None:
            return False
        with self._disk_space.publishing(download):
            self.tree.link(file, found)
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
