"""Who may give a file its name, which file may go, and who was promised how much of the disk.

Whatever is decided here is also done before anybody else may decide: a job that has pinned a file and found it there
keeps it, and a download that was overtaken by another version of its file changes nothing any more.
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
"""A pin on whatever content a path has."""


@dataclass(frozen=True)
class Claim:
    """Who fetches a file: nobody, when it is here; `is_new`: somebody must begin now. `overtaken` was fetching another
    version of it, and must end."""

    download: Download | None
    is_new: bool = False
    superseded: Download | None = None


class DiskSpace:
    """The disk of one models folder."""

    def __init__(
        self, tree: LocalTree, settings: ModelSettings, log: Log, stop: threading.Event, clock: Callable[[], float]
    ) -> None:
        self.evicted = 0
        """Files deleted to make room."""
        self._tree = tree
        self._settings = settings
        self._log = log
        self._stop = stop
        self._clock = clock
        # Held for moments only; one who makes room, which may take seconds, holds the other one.
        self._lock = threading.Lock()
        self._eviction_lock = threading.Lock()
        self._active: dict[str, Download] = {}
        self._partials: dict[str, PartialFile] = {}
        """Parts of those that have begun, which are few where thousands wait."""
        self._pins: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def pinned(self, files: Iterable[ModelFile]) -> Generator[None]:
        """While this is open nothing of `files` is evicted, or replaced by another version."""
        with self._pin([(file.path, file.sha256) for file in files]):
            yield

    @contextlib.contextmanager
    def keeping_path(self, path: str) -> Generator[None]:
        """While this is open the file is evicted for no other one, but may be replaced by another version."""
        with self._pin([(path, _ANY_CONTENT)]):
            yield

    def active(self) -> list[Download]:
        """What is being fetched."""
        with self._lock:
            return list(self._active.values())

    def claim(self, file: ModelFile, make: Callable[[], Download]) -> Claim:
        """Find out who fetches `file`, if anybody must. Another version of it that is on its way gives up its name."""
        with self._lock:
            here = self._tree.has(file)
            running = self._active.get(file.path)
            if running is not None and running.file.sha256 == file.sha256:
                return Claim(None if here else running)
            if running is not None:
                self._forget(file.path)
                if running.partial is not None:
                    with contextlib.suppress(ModelError):
                        running.partial.unlink()
            if here:
                return Claim(None, superseded=running)
            made = self._active[file.path] = make()
            return Claim(made, True, running)

    @contextlib.contextmanager
    def publishing(self, download: Download) -> Generator[None]:
        """In here `download` may give its file its name, and has then done its work. Raises `ModelError` when it was
        overtaken, or a job still reads the version that is there."""
        file = download.file
        with self._lock:
            self._require_current(download)
            for path, sha256 in self._pins:
                other = path == file.path and sha256 not in (file.sha256, _ANY_CONTENT)
                if other and self._tree.has(replace(file, sha256=sha256)):
                    raise ModelError("model_replaced", f"{path}: a running job needs the version before", path)
            yield
            self._forget(file.path)

    def publish(self, download: Download) -> None:
        """Give a whole part its name. Raises `ModelError`."""
        assert download.partial is not None  # noqa: S101 -- the threads call this when it is full
        with self.publishing(download):
            stat = download.partial.publish(self._tree.root / download.file.path)
            self._tree.record(download.file, stat)

    def release(self, download: Download, error: ModelError) -> None:
        """No thread is at it any more. What is there is kept for another try, unless it is in the way or of no use.
        Raises `ModelError`."""
        # Without hashes of its chunks nobody knows which of them is wrong.
        is_useless = error.code == "model_corrupt" and not download.file.chunks
        with self._lock:
            if self._active.get(download.file.path) is download:
                self._remove(download, is_useless or error.code == "disk_full")
            elif download.partial is not None:
                download.partial.close()

    def open_partial(self, download: Download) -> PartialFile:
        """The part of a file, opened, with room made for it. Raises `ModelError`, `Stopped`."""
        part = PartialFile(self._tree.parts, download.file)
        with self._eviction_lock:
            with self._lock:
                self._require_current(download)
                part.open()
                download.partial = part
                self._partials[download.file.path] = part
            self._make_room(download, part)
        return part

    def _make_room(self, download: Download, part: PartialFile) -> None:
        """Parts that nobody fills go first, then the models used least recently; what was only nice to have evicts
        none. Raises `ModelError` disk_full."""
        if self._fits(download, part):
            return
        self._delete_leftovers(download, part)
        deleted = 0
        while True:
            if self._stop.is_set():
                raise Stopped
            with self._lock:
                plan = self._plan_eviction(download, part)
                if isinstance(plan, NoRoom):
                    error = self._no_room_error(part, plan.missing, deleted)
                    # Who wants it from now on, perhaps more urgently, tries anew.
                    if self._active.get(download.file.path) is download:
                        self._remove(download, True)
                    raise error
                evicted = [(held, self._tree.move_aside(held.path)) for held in plan.files]
            if not evicted:
                return
            for held, aside in evicted:
                _delete(aside)
                self.evicted += 1
                deleted += held.size
                self._log.info("model evicted", path=held.path, bytes=held.size, for_path=download.file.path)
            self._wait_for_freed_blocks(download, part)

    def _plan_eviction(self, download: Download, part: PartialFile) -> Eviction | NoRoom:
        """What must go for `part`; the lock is held."""
        file = download.file
        pinned = {*(path for path, _ in self._pins), *self._active}
        known = {one.path: one for one in self._tree.known_files()}
        previous = known.get(file.path)
        if (
            previous is not None
            and previous.sha256 != file.sha256
            and (previous.path, previous.sha256) not in self._pins
        ):
            # It is about to be replaced: the first to go.
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
        """Free disk without what other files under way were promised and have not taken yet; the lock is held."""
        reserved = sum(part.missing_bytes() for path, part in self._partials.items() if path != download.file.path)
        return self._tree.free_bytes() - reserved

    def _fits(self, download: Download, part: PartialFile) -> bool:
        with self._lock:
            return self._free_bytes(download) - part.missing_bytes() >= self._settings.min_free_bytes

    def _delete_leftovers(self, download: Download, part: PartialFile) -> None:
        """What failed downloads have left, the oldest first, until there is room. No part is opened meanwhile."""
        with self._lock:
            # One that is not begun may resume its part, but not while somebody waits more urgently.
            owned = {
                partial_name(one.file)
                for one in self._active.values()
                if one.partial is not None or one.urgency <= download.urgency
            }
        for leftover in _oldest_first(self._tree.parts):
            if leftover.suffix == DELETED_SUFFIX or (leftover.suffix == PART_SUFFIX and leftover.name not in owned):
                _delete(leftover)
                _delete(leftover.with_suffix(".marks"))
                self._log.info("part deleted", name=leftover.name, for_path=download.file.path)
                if self._fits(download, part):
                    return

    def _wait_for_freed_blocks(self, download: Download, part: PartialFile) -> None:
        """Some disks give back what was deleted a moment later; none while a program has it open."""
        deadline = self._clock() + self._settings.timeouts.freed_blocks_s
        while not self._fits(download, part) and self._clock() < deadline:
            if self._stop.wait(_FREED_BLOCKS_POLL_S):
                return

    def _no_room_error(self, part: PartialFile, missing: int, deleted: int) -> ModelError:
        text = (
            f"{part.file.path} needs {_size(part.missing_bytes())}, and {_size(self._settings.min_free_bytes)} must "
            f"stay free: {_size(missing)} lacking on the disk"
        )
        if deleted:
            text += f", although {_size(deleted)} of models were deleted: a program still has them open"
        return ModelError("disk_full", text, part.file.path)

    def _remove(self, download: Download, discard: bool) -> None:
        """It is under way no more; the lock is held."""
        self._forget(download.file.path)
        # What cannot be deleted now is met again by whoever makes room.
        with contextlib.suppress(OSError, ModelError):
            if download.partial is not None and discard:
                download.partial.discard()
            elif download.partial is not None:
                download.partial.close()

    def _forget(self, path: str) -> None:
        """Nobody fetches it any more; the lock is held."""
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
    """Why a download ends that was of another version than is wanted now."""
    return ModelError("model_replaced", f"{path}: another version of it is wanted now", path)


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
