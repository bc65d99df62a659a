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
from worker_gpu.models.disk.eviction import NoRoom, Room, make_room
from worker_gpu.models.disk.local_tree import GONE_SUFFIX, Tree
from worker_gpu.models.disk.partial_file import PART_SUFFIX, Part, disk_faults, part_name
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.settings import ModelSettings

_GIVEN_BACK_LOOK_S = 0.02
_ANY = ""
"""A pin on whatever content a path has."""


@dataclass(frozen=True)
class Claim:
    """Who fetches a file: nobody, when it is here; `is_new`: somebody must begin now. `overtaken` was fetching another
    version of it, and must end."""

    download: Download | None
    is_new: bool = False
    overtaken: Download | None = None


class Space:
    """The disk of one models folder."""

    def __init__(
        self, tree: Tree, settings: ModelSettings, log: Log, stop: threading.Event, clock: Callable[[], float]
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
        self._making_room = threading.Lock()
        self._active: dict[str, Download] = {}
        self._filling: dict[str, Part] = {}
        """Parts of those that have begun, which are few where thousands wait."""
        self._pins: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def pinned(self, files: Iterable[ModelFile]) -> Generator[None]:
        """While this is open nothing of `files` is evicted, or replaced by another version."""
        with self._pin([(file.path, file.sha256) for file in files]):
            yield

    @contextlib.contextmanager
    def kept(self, path: str) -> Generator[None]:
        """While this is open the file is evicted for no other one, but may be replaced by another version."""
        with self._pin([(path, _ANY)]):
            yield

    def active(self) -> list[Download]:
        """What is being fetched."""
        with self._lock:
            return list(self._active.values())

    def claim(self, file: ModelFile, make: Callable[[], Download]) -> Claim:
        """Find out who fetches `file`, if anybody must. Another version of it that is on its way gives up its name."""
        with self._lock:
            here = self._tree.holds(file)
            running = self._active.get(file.path)
            if running is not None and running.file.sha256 == file.sha256:
                return Claim(None if here else running)
            if running is not None:
                self._end(file.path)
                if running.part is not None:
                    with contextlib.suppress(ModelError):
                        running.part.forget()
            if here:
                return Claim(None, overtaken=running)
            made = self._active[file.path] = make()
            return Claim(made, True, running)

    @contextlib.contextmanager
    def naming(self, download: Download) -> Generator[None]:
        """In here `download` may give its file its name, and has then done its work. Raises `ModelError` when it was
        overtaken, or a job still reads the version that is there."""
        file = download.file
        with self._lock:
            self._refuse_overtaken(download)
            for path, sha256 in self._pins:
                other = path == file.path and sha256 not in (file.sha256, _ANY)
                if other and self._tree.holds(replace(file, sha256=sha256)):
                    raise ModelError("model_replaced", f"{path}: a running job needs the version before", path)
            yield
            self._end(file.path)

    def publish(self, download: Download) -> None:
        """Give a whole part its name. Raises `ModelError`."""
        assert download.part is not None  # noqa: S101 -- the threads call this when it is full
        with self.naming(download):
            stat = download.part.publish(self._tree.root / download.file.path)
            self._tree.record(download.file, stat)

    def give_up(self, download: Download, error: ModelError) -> None:
        """No thread is at it any more. What is there is kept for another try, unless it is in the way or of no use.
        Raises `ModelError`."""
        # Without hashes of its chunks nobody knows which of them is wrong.
        useless = error.code == "model_corrupt" and not download.file.chunks
        with self._lock:
            if self._active.get(download.file.path) is download:
                self._drop(download, useless or error.code == "disk_full")
            elif download.part is not None:
                download.part.close()

    def part_for(self, download: Download) -> Part:
        """The part of a file, opened, with room made for it. Raises `ModelError`, `Stopped`."""
        part = Part(self._tree.parts, download.file)
        with self._making_room:
            with self._lock:
                self._refuse_overtaken(download)
                part.open()
                download.part = part
                self._filling[download.file.path] = part
            self._make_room(download, part)
        return part

    def _make_room(self, download: Download, part: Part) -> None:
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
                plan = self._plan(download, part)
                if isinstance(plan, NoRoom):
                    error = self._no_room(part, plan.lacking, deleted)
                    # Who wants it from now on, perhaps more urgently, tries anew.
                    if self._active.get(download.file.path) is download:
                        self._drop(download, True)
                    raise error
                gone = [(held, self._tree.set_aside(held.path)) for held in plan.evict]
            if not gone:
                return
            for held, aside in gone:
                _delete(aside)
                self.evicted += 1
                deleted += held.size
                self._log.info("model evicted", path=held.path, bytes=held.size, for_path=download.file.path)
            self._await_blocks(download, part)

    def _plan(self, download: Download, part: Part) -> Room | NoRoom:
        """What must go for `part`; the lock is held."""
        file = download.file
        pinned = {*(path for path, _ in self._pins), *self._active}
        held = {one.path: one for one in self._tree.held()}
        before = held.get(file.path)
        if before is not None and before.sha256 != file.sha256 and (before.path, before.sha256) not in self._pins:
            # It is about to be replaced: the first to go.
            pinned.discard(file.path)
            held[file.path] = replace(before, used_s=0)
        return make_room(
            part.lacking_bytes(),
            self._free_bytes(download),
            self._settings.reserve_bytes,
            held.values(),
            pinned,
            download.urgency is not Urgency.BACKGROUND,
        )

    def _free_bytes(self, download: Download) -> int:
        """Free disk without what other files under way were promised and have not taken yet; the lock is held."""
        promised = sum(part.lacking_bytes() for path, part in self._filling.items() if path != download.file.path)
        return self._tree.free_bytes() - promised

    def _fits(self, download: Download, part: Part) -> bool:
        with self._lock:
            return self._free_bytes(download) - part.lacking_bytes() >= self._settings.reserve_bytes

    def _delete_leftovers(self, download: Download, part: Part) -> None:
        """What failed downloads have left, the oldest first, until there is room. No part is opened meanwhile."""
        with self._lock:
            # One that is not begun may resume its part, but not while somebody waits more urgently.
            owned = {
                part_name(one.file)
                for one in self._active.values()
                if one.part is not None or one.urgency <= download.urgency
            }
        for leftover in _oldest_first(self._tree.parts):
            if leftover.suffix == GONE_SUFFIX or (leftover.suffix == PART_SUFFIX and leftover.name not in owned):
                _delete(leftover)
                _delete(leftover.with_suffix(".marks"))
                self._log.info("part deleted", name=leftover.name, for_path=download.file.path)
                if self._fits(download, part):
                    return

    def _await_blocks(self, download: Download, part: Part) -> None:
        """Some disks give back what was deleted a moment later; none while a program has it open."""
        until = self._clock() + self._settings.patience.given_back_s
        while not self._fits(download, part) and self._clock() < until:
            if self._stop.wait(_GIVEN_BACK_LOOK_S):
                return

    def _no_room(self, part: Part, lacking: int, deleted: int) -> ModelError:
        text = (
            f"{part.file.path} needs {_size(part.lacking_bytes())}, and {_size(self._settings.reserve_bytes)} must "
            f"stay free: {_size(lacking)} lacking on the disk"
        )
        if deleted:
            text += f", although {_size(deleted)} of models were deleted: a program still has them open"
        return ModelError("disk_full", text, part.file.path)

    def _drop(self, download: Download, discard: bool) -> None:
        """It is under way no more; the lock is held."""
        self._end(download.file.path)
        # What cannot be deleted now is met again by whoever makes room.
        with contextlib.suppress(OSError, ModelError):
            if download.part is not None and discard:
                download.part.discard()
            elif download.part is not None:
                download.part.close()

    def _end(self, path: str) -> None:
        """Nobody fetches it any more; the lock is held."""
        del self._active[path]
        self._filling.pop(path, None)

    def _refuse_overtaken(self, download: Download) -> None:
        path = download.file.path
        if self._active.get(path) is not download:
            raise overtaken(path)

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


def overtaken(path: str) -> ModelError:
    """Why a download ends that was of another version than is wanted now."""
    return ModelError("model_replaced", f"{path}: another version of it is wanted now", path)


def _oldest_first(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
    return []


def _delete(path: Path | None) -> None:
    if path is not None:
        with disk_faults(str(path)):
            path.unlink(missing_ok=True)


def _size(amount: int) -> str:
    return f"{amount / 1e9:.2f} GB"
