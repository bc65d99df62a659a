"""The lanes: threads that read chunks of all wanted files, hash them while they are written, and try again.

Threads and not asyncio: hashing, TLS and disk all let go of the interpreter lock, and this way each byte is copied
once (docs/decisions/0020-model-fetch.md).
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from worker_gpu.models.download import Download
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.lane import Lane
from worker_gpu.models.manifest import ModelFile
from worker_gpu.models.pace import Crew, Pace, Slow
from worker_gpu.models.parts import Part
from worker_gpu.models.plan import Urgency
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.tasks import PREPARE, Task, Tasks
from worker_gpu.models.wire import Passing, Wire

CLOSE_S = 3.0
"""Lanes end at once when they are told to. Only a name that is being looked up, or a disk that hangs, keeps one."""
_CLOSE_LOOK_S = 0.05


class Corrupt(Passing):
    """A chunk came whole and is not what the manifest says."""


Prepare: TypeAlias = Callable[[Download], Part | None]
"""Makes room and gives the part, opened; None when the file is here. Raises `ModelError`, `Stopped`."""
Publish: TypeAlias = Callable[[Download], None]
"""Gives a whole part its name. Raises `ModelError`."""
GiveUp: TypeAlias = Callable[[Download, ModelError], None]
"""A download has failed and no lane is at it. Raises `ModelError`."""


class Lanes:
    """Fetches files with up to `settings.lanes` connections. Threads live only while there is work."""

    def __init__(
        self,
        settings: ModelSettings,
        prepare: Prepare,
        publish: Publish,
        give_up: GiveUp,
        stop: threading.Event,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._patience = settings.patience
        self._prepare = prepare
        self._publish = publish
        self._give_up = give_up
        self._now = now
        self._chance = chance
        self._pace = Pace(settings.patience, now)
        self._crew = Crew(settings.first_lanes, settings.lanes, settings.cpus)
        self._condition = threading.Condition()
        self._tasks = Tasks()
        self._threads: set[threading.Thread] = set()
        self._wires: dict[Wire, Download | None] = {}
        """Of each lane, and what it is at."""
        self._downloads: set[Download] = set()
        self._waiting = 0
        self._stop = stop
        self.replaced_lanes = 0
        """Connections given up for being slow."""

    def fetch(self, download: Download) -> None:
        """Begin. `download.result` is set when the file has its name, or to a `ModelError`."""
        with self._condition:
            stopped = self._stop.is_set()
            if not stopped:
                self._downloads.add(download)
                self._push(Task.of(download, PREPARE))
        if stopped:
            self._end(download, _stopping())

    def abandon(self, download: Download, error: ModelError) -> None:
        """Nobody wants it any more."""
        with self._condition:
            download.error = download.error or error
            self._tasks.drop(download)
            for wire, at in self._wires.items():
                if at is download:
                    wire.interrupt()
            over = download.running == 0
        if over:
            self._end(download, download.error)

    def reorder(self, download: Download, urgency: Urgency) -> None:
        """Somebody else waits for it now."""
        with self._condition:
            download.urgency = urgency
            self._tasks.reorder(download, urgency)

    def close(self) -> None:
        """Stop at once; parts keep what they have. Every result is set when this returns."""
        with self._condition:
            self._stop.set()
            self._tasks.clear()
            self._condition.notify_all()
            threads = set(self._threads)
        until = time.monotonic() + CLOSE_S
        while (alive := [thread for thread in threads if thread.is_alive()]) and time.monotonic() < until:
            # More than once: between the making of a socket and its connecting there is nothing to cut.
            with self._condition:
                for wire in self._wires:
                    wire.cut()
            alive[0].join(_CLOSE_LOOK_S)
        with self._condition:
            left = list(self._downloads)
        for download in left:
            self._end(download, _stopping())

    def _push(self, task: Task) -> None:
        """Give the lanes work; the condition is held."""
        self._tasks.add(task)
        self._start_lanes()
        self._condition.notify()

    def _start_lanes(self) -> None:
        """As many as there is work for; the condition is held."""
        wanted = min(len(self._tasks) - self._waiting, self._crew.size - len(self._threads))
        for _ in range(max(0, wanted)):
            thread = threading.Thread(target=self._work, name="models", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _told(self, spent_s: float, computed_s: float, all_computed_s: float) -> None:
        """A lane says how its last while was; perhaps there may be one more."""
        with self._condition:
            if not self._stop.is_set() and self._crew.told(spent_s, computed_s, all_computed_s):
                self._start_lanes()

    def _next(self, lane: Lane) -> Task | None:
        """The next thing to do, or None when there is nothing left and this lane may end."""
        with self._condition:
            while not self._stop.is_set():
                moment = self._now()
                task = self._tasks.take(moment)
                if task is not None:
                    task.download.running += 1
                    self._wires[lane.wire] = task.download
                    follower = task.next()
                    if follower is not None:
                        self._push(follower)
                    return task
                due = self._tasks.next_moment()
                if due is None:
                    break
                self._waiting += 1
                self._condition.wait(due - moment)
                self._waiting -= 1
            self._threads.discard(threading.current_thread())
            return None

    def _work(self) -> None:
        """What each thread does: one task after another, until there is none."""
        lane = Lane(Wire(self._patience.read_s, self._now), self._stop, self._now, self._told)
        with self._condition:
            self._wires[lane.wire] = None
        while (task := self._next(lane)) is not None:
            download = task.download
            try:
                self._run(task, lane)
            except ModelError as error:
                lane.wire.drop()
                download.error = download.error or error
            except Stopped:
                lane.wire.drop()
                download.error = download.error or _stopping()
            except Exception as error:
                # A bug must not leave somebody waiting for ever.
                lane.wire.drop()
                download.error = download.error or ModelError("disk_failed", f"{download.file.path}: {error!r}")
            self._leave(download, lane)
        with self._condition:
            del self._wires[lane.wire]
        lane.wire.drop()

    def _run(self, task: Task, lane: Lane) -> None:
        download = task.download
        if download.error is not None:
            return
        if task.chunk == PREPARE:
            if not self._begin(download):
                return
            task.chunk = 0
        try:
            self._chunk(task, lane)
        except Passing as fault:
            lane.wire.drop()
            self._again(task, fault)
            return
        with self._condition:
            download.left -= 1
            last = download.left == 0
        if last:
            self._finish(download)

    def _begin(self, download: Download) -> bool:
        """Let the other lanes begin with the second chunk; this one shall read the first. False when there is none."""
        file = download.file
        if self._prepare(download) is None:
            download.received = file.size
            self._end(download, None)
            return False
        download.left = file.chunk_count
        if download.left == 0:
            self._finish(download)
            return False
        if download.left > 1:
            with self._condition:
                self._push(Task.of(download, 1))
        return True

    def _chunk(self, task: Task, lane: Lane) -> None:
        """Read one chunk, or find it here. Raises `Passing`, `ModelError`, `Stopped`."""
        download, file, part = task.download, task.download.file, task.download.part
        assert part is not None  # noqa: S101 -- chunks are pushed after it is set
        wanted = _chunk_hash(file, task.chunk)
        first, length = file.span(task.chunk)
        marked = part.take_mark(task.chunk)
        if marked is not None and marked == (wanted or marked) and part.hash_chunk(task.chunk, self._stop) == marked:
            download.count(length)
            return
        run = self._pace.start(task.slow >= self._patience.slow_replacements)
        got = lane.read(download, part, run, first, length)
        if wanted is not None and got != wanted:
            download.count(-length)
            raise Corrupt("its bytes are not those of the manifest")
        part.mark(task.chunk, got)

    def _again(self, task: Task, fault: Passing) -> None:
        """Queue the chunk anew after a pause, or give the file up."""
        file, patience = task.download.file, self._patience
        if isinstance(fault, Slow):
            task.slow += 1
            self.replaced_lanes += 1
            pause = 0.0
        else:
            task.tries += 1
            task.cause = str(fault)
            most = patience.corrupt_attempts if isinstance(fault, Corrupt) else patience.attempts
            if task.tries >= most:
                if isinstance(fault, Corrupt):
                    what = "differs from the manifest at its source; push it again"
                    raise ModelError("model_corrupt", f"{file.path} {what}", file.path)
                raise ModelError(
                    "store_unreachable", f"{file.path}: gave up after {task.tries} tries: {task.cause}", file.path
                )
            # Full jitter: many workers that met the same fault must not come back together.
            pause = self._chance() * min(patience.most_pause_s, patience.first_pause_s * 2 ** (task.tries - 1))
        with self._condition:
            if self._stop.is_set() or task.download.error is not None:
                raise Stopped
            self._tasks.add_later(task, self._now() + pause)
            self._condition.notify()

    def _finish(self, download: Download) -> None:
        part, file = download.part, download.file
        assert part is not None  # noqa: S101 -- only begun downloads finish
        if not file.chunks and file.chunk_count != 1 and part.hash_all(self._stop) != file.sha256:
            raise ModelError("model_corrupt", f"{file.path} differs from the manifest at its source", file.path)
        self._publish(download)
        self._end(download, None)

    def _leave(self, download: Download, lane: Lane) -> None:
        """A lane has done its task; the last one out closes what failed."""
        with self._condition:
            self._wires[lane.wire] = None
            download.running -= 1
            error = download.error if download.running == 0 else None
        if error is not None:
            self._end(download, error)

    def _end(self, download: Download, error: ModelError | None) -> None:
        """Tell who waits, once. No lock is held: they may ask for more."""
        with self._condition:
            if download.ended:
                return
            download.ended = True
            self._downloads.discard(download)
        if error is None:
            download.result.set_result(None)
            return
        # Who waits has to hear of it, whatever else goes wrong.
        with suppress(OSError, ModelError):
            self._give_up(download, error)
        download.result.set_exception(error)


def _chunk_hash(file: ModelFile, chunk: int) -> str | None:
    if file.chunks:
        return file.chunks[chunk]
    return file.sha256 if file.chunk_count == 1 else None


def _stopping() -> ModelError:
    return ModelError("store_unreachable", "the worker is stopping")
