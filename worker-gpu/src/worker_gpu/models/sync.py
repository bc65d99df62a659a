"""Keeps a models folder: knows the manifest, fetches what is wanted, makes room, and lets nothing unchecked in.

For threads; `service.py` is the same for the event loop, and `commands.py` for the shell.
"""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from worker_gpu.log import Log
from worker_gpu.models.bucket import Store
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.lanes import Download, Lanes
from worker_gpu.models.manifest import MANIFEST_KEY, FromHub, Manifest, ModelFile
from worker_gpu.models.parts import Part
from worker_gpu.models.plan import NoRoom, Urgency, make_room, rank
from worker_gpu.models.proof import is_right
from worker_gpu.models.remote import Remote
from worker_gpu.models.settings import ModelSettings, Patience
from worker_gpu.models.tree import Tree
from worker_gpu.models.volume import Volume, hub_cache_path


@dataclass(frozen=True)
class Tools:
    """Time and chance. `now` in seconds since 1970, `clock` in seconds since any moment."""

    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


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
    already: Sequence[ModelFile] = field(default=())

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

    def __init__(self, settings: ModelSettings, log: Log, tools: Tools | None = None) -> None:
        self.settings = settings
        self.manifest = Manifest({})
        self.evicted = 0
        """Files deleted to make room, since the start."""
        self._log = log
        self._tools = tools or Tools()
        self.tree = Tree(settings.folder, self._tools.now)
        self._volume = (
            Volume(settings.volume, settings.volume_write, self._tools.now) if settings.volume is not None else None
        )
        self._stop = threading.Event()
        self._lanes = Lanes(settings, self._prepare, self._publish, self._stop, self._tools.clock, self._tools.chance)
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._active: dict[str, Download] = {}
        self._parts: dict[str, Part] = {}
        self._pins: Counter[str] = Counter()
        self._etag: str | None = None
        self._to_keep: list[ModelFile] = []

    @property
    def replaced_lanes(self) -> int:
        """Connections given up for being slow, since the start."""
        return self._lanes.replaced_lanes

    def open(self) -> None:
        """Take the folder. Raises `ModelError` folder_busy, disk_failed."""
        self.tree.open()

    def close(self) -> None:
        """Stop what runs and let go of the folder. Parts keep what they have."""
        self._stop.set()
        if self._volume is not None:
            self._volume.end()
        self._lanes.close()
        self.tree.close()

    def load_cached_manifest(self) -> bool:
        """Take the last good manifest of an earlier run, unless this one has read one; says whether there is any."""
        if not self.manifest.files:
            with contextlib.suppress(OSError, ModelError):
                self.manifest = Manifest.parse(self.tree.cached_manifest.read_bytes())
        return bool(self.manifest.files)

    def load_manifest(self, patience: Patience | None = None) -> bool:
        """Read the manifest anew, with the settings' patience or another; says whether it changed. Raises `ModelError`,
        and then the one before stays: the last good one of an earlier run, when there was none in this."""
        try:
            return self._load_manifest(patience or self.settings.patience)
        except ModelError:
            self.load_cached_manifest()
            raise

    def want(self, files: Iterable[ModelFile], urgency: Urgency) -> Batch:
        """Begin to fetch what is not here of `files`. Files here already count as used now."""
        here: list[ModelFile] = []
        downloads: list[Download] = []
        for file in sorted(files, key=lambda file: rank(file, urgency)):
            if self.tree.holds(file):
                here.append(file)
            else:
                downloads.append(self._download(file, urgency))
        if urgency is not Urgency.BACKGROUND:
            self.tree.touch(file.path for file in here)
        return Batch(downloads, here)

    def reorder(self, batch: Batch, urgency: Urgency) -> None:
        """Let the rest of a batch come earlier or later."""
        for download in batch.downloads:
            if not download.result.done():
                self._lanes.reorder(download, urgency)

    @contextlib.contextmanager
    def pinned(self, paths: Iterable[str]) -> Generator[None]:
        """While this is open nothing of `paths` is evicted."""
        mine = list(paths)
        with self._lock:
            self._pins.update(mine)
        try:
            yield
        finally:
            with self._lock:
                self._pins.subtract(mine)
                self._pins += Counter()

    def active(self) -> list[Download]:
        """What is being fetched."""
        with self._lock:
            return list(self._active.values())

    def keep_on_volume(self) -> int:
        """Copy what was fetched to the volume, for the workers that come after; the number of files. Blocks for as
        long as that takes. Faults are logged: the models of this worker are complete without it."""
        kept = 0
        while self._volume is not None and self._to_keep:
            file = self._to_keep[0]
            with self.pinned([file.path]):
                try:
                    if self.tree.holds(file):
                        if not self._volume.keep(file, self.tree.root / file.path):
                            # Another worker is writing; the next call may try again.
                            return kept
                        kept += 1
                except Stopped:
                    return kept
                except OSError as error:
                    self._log.warn("volume not written", path=file.path, cause=error.strerror)
                    self._to_keep.clear()
                    return kept
            self._to_keep.pop(0)
        return kept

    def _load_manifest(self, patience: Patience) -> bool:
        settings = self.settings
        if settings.manifest is not None:
            try:
                body = settings.manifest.read_bytes()
            except OSError as error:
                raise ModelError(
                    "manifest_missing", f"MODELS_MANIFEST cannot be read: {error.strerror or error}"
                ) from error
        elif settings.bucket is not None:
            store = Store(settings.bucket, patience, self._tools.now)
            try:
                answer = store.get(MANIFEST_KEY, self._etag)
            finally:
                store.close()
            if answer.status == 304:
                return False
            if answer.status == 404:
                raise ModelError(
                    "manifest_missing", f"the bucket {settings.bucket.name} has no manifest.json: run `models push`"
                )
            body = answer.body
            self._etag = answer.etag or None
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

    def _download(self, file: ModelFile, urgency: Urgency) -> Download:
        with self._lock:
            running = self._active.get(file.path)
            if running is not None and running.file.sha256 == file.sha256 and not running.result.done():
                if urgency < running.urgency:
                    self._lanes.reorder(running, urgency)
                return running
            made = Download(file, urgency, Remote(file, self.settings, self._tools.now))
            self._active[file.path] = made
        made.result.add_done_callback(lambda _: self._over(made))
        self._lanes.fetch(made)
        return made

    def _over(self, download: Download) -> None:
        with self._lock:
            if self._active.get(download.file.path) is download:
                del self._active[download.file.path]
            if self._parts.get(download.file.path) is download.part:
                self._parts.pop(download.file.path, None)

    def _prepare(self, file: ModelFile, urgency: Urgency) -> Part | None:
        """None if the file is here, or lies where it can be linked to; else its part, with room made for it."""
        if self.tree.holds(file) or self._is_here_unknown(file) or self._link(file):
            return None
        part = Part(self.tree.parts, file)
        with self._room:
            part.open()
            try:
                self._make_room(part, urgency)
            except ModelError:
                part.discard()
                raise
            self._parts[file.path] = part
        return part

    def _is_here_unknown(self, file: ModelFile) -> bool:
        """Part of the image, put there by hand, or published just before a kill."""
        path = self.tree.root / file.path
        try:
            stat = path.stat()
            if stat.st_size != file.size or not is_right(path, file, self._stop):
                return False
        except OSError:
            return False
        self.tree.record(file, stat, linked=path.is_symlink())
        return True

    def _link(self, file: ModelFile) -> bool:
        found = self._volume.find(file) if self._volume is not None else None
        if found is None and isinstance(file.source, FromHub):
            found = self._find_in_hub_cache(file, file.source)
        if found is None:
            return False
        self.tree.link(file, found)
        return True

    def _find_in_hub_cache(self, file: ModelFile, source: FromHub) -> Path | None:
        for cache in self.settings.hub_caches:
            path = hub_cache_path(cache, source)
            with contextlib.suppress(OSError):
                if path is not None and path.stat().st_size == file.size and is_right(path, file, self._stop):
                    return path
        return None

    def _make_room(self, part: Part, urgency: Urgency) -> None:
        """Evict what the rest of `part` takes. Raises `ModelError` disk_full. What is only nice to have evicts
        nothing."""
        file, need = part.file, part.lacking_bytes()
        # What other files under way have been promised and not yet taken.
        with self._lock:
            others = list(self._parts.values())
        free = self.tree.free_bytes() - sum(other.lacking_bytes() for other in others)
        if free - need >= self.settings.reserve_bytes:
            return
        with self._lock:
            pinned = {*self._pins, *self._active}
        plan = make_room(
            need, free, self.settings.reserve_bytes, self.tree.held(), pinned, urgency is not Urgency.BACKGROUND
        )
        if isinstance(plan, NoRoom):
            raise ModelError(
                "disk_full",
                f"{file.path} needs {_size(need)}, and {_size(self.settings.reserve_bytes)} must stay free: "
                f"{_size(plan.lacking)} lacking on the disk",
                file.path,
            )
        for held in plan.evict:
            self.tree.remove(held.path)
            self.evicted += 1
            self._log.info("model evicted", path=held.path, bytes=held.size, for_path=file.path)

    def _publish(self, part: Part) -> None:
        file = part.file
        target = self.tree.root / file.path
        stat: os.stat_result = part.publish(target)
        self.tree.record(file, stat)
        if self._volume is not None and self.settings.volume_write:
            self._to_keep.append(file)


def _size(amount: int) -> str:
    return f"{amount / 1e9:.2f} GB"
