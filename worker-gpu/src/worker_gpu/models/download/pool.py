"""A pool of threads that read chunks of all wanted files, hash them while they are written, and try again.

A thread for each connection, since hashing and writing let go of the interpreter lock
(docs/decisions/0060-obstore.md).
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.download.speed import SlowConnection, SpeedTracker
from worker_gpu.models.download.transport import TransientError, Transport
from worker_gpu.models.download.work_queue import PREPARE, Task, WorkQueue
from worker_gpu.models.download.worker_thread import read_chunk
from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.settings import ModelSettings

CLOSE_TIMEOUT_S = 0.9
"""Threads see within `Patience.look_s` that they shall end. Only a hub that is asked where a file is, or a disk that
hangs, keeps one: nobody waits for that."""


class Corrupt(TransientError):  # noqa: N818 -- what it is, beside other transient errors
    """A chunk came whole and is not what the manifest says."""


Prepare: TypeAlias = Callable[[Download], PartialFile | None]
"""Makes room and gives the part, opened; None when the file is here. Raises `ModelError`, `Stopped`."""
Publish: TypeAlias = Callable[[Download], None]
"""Gives a whole part its name. Raises `ModelError`."""
Release: TypeAlias = Callable[[Download, ModelError], None]
"""A download has failed and no thread is at it. Raises `ModelError`."""


class DownloadPool:
    """Fetches files with up to `settings.lanes` connections. Threads live only while there is work."""

    def __init__(
        self,
        settings: ModelSettings,
        prepare: Prepare,
        publish: Publish,
        release: Release,
        stop: threading.Event,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._timeouts = settings.timeouts
        self._prepare = prepare
        self._publish = publish
        self._release = release
        self._now = now
        self._random = random
        self._size = settings.connections
        self._speeds = SpeedTracker(settings.timeouts, now)
        self._transport = Transport(settings.timeouts.check_interval_s)
        self._condition = threading.Condition()
        self._tasks = WorkQueue()
        self._threads: set[threading.Thread] = set()
        self._downloads: set[Download] = set()
        self._waiting = 0
        self._stop = stop
        self.replaced_connections = 0
        """Connections given up for being slow."""

    def start(self, download: Download) -> None:
        """Begin. `download.result` is set when the file has its name, or to a `ModelError`."""
        with self._condition:
            stopped = self._stop.is_set()
            if not stopped:
                self._downloads.add(download)
                self._push(Task.of(download, PREPARE))
        if stopped:
            self._complete(download, _stopping_error())

    def cancel(self, download: Download, error: ModelError) -> None:
        """Nobody wants it any more."""
        with self._condition:
            download.error = download.error or error
            self._tasks.remove(download)
            over = download.active_threads == 0
        if over:
            self._complete(download, download.error)

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
        until = time.monotonic() + CLOSE_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._transport.close()
        with self._condition:
            left = list(self._downloads)
        for download in left:
            self._complete(download, _stopping_error())

    def _push(self, task: Task) -> None:
        """Give the threads work; the condition is held."""
        self._tasks.add(task)
        self._start_threads()
        self._condition.notify()

    def _start_threads(self) -> None:
        """As many as there is work for; the condition is held."""
        missing = min(len(self._tasks) - self._waiting, self._size - len(self._threads))
        for _ in range(max(0, missing)):
            thread = threading.Thread(target=self._work, name="models", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _next(self) -> Task | None:
        """The next thing to do, or None when there is nothing left and this thread may end."""
        with self._condition:
            while not self._stop.is_set():
                moment = self._now()
                task = self._tasks.pop(moment)
                if task is not None:
                    task.download.active_threads += 1
                    follower = task.take_follower()
                    if follower is not None:
                        self._push(follower)
                    return task
                due = self._tasks.next_due()
                if due is None:
                    break
                self._waiting += 1
                self._condition.wait(due - moment)
                self._waiting -= 1
            self._threads.discard(threading.current_thread())
            return None

    def _work(self) -> None:
        """What each thread does: one task after another, until there is none."""
        while (task := self._next()) is not None:
            download = task.download
            try:
                self._run(task)
            except ModelError as error:
                download.error = download.error or error
            except Stopped:
                download.error = download.error or _stopping_error()
            except Exception as error:
                # A bug must not leave somebody waiting for ever.
                download.error = download.error or ModelError("disk_failed", f"{download.file.path}: {error!r}")
            self._release_task(download)

    def _run(self, task: Task) -> None:
        download = task.download
        if download.error is not None:
            return
        if task.chunk == PREPARE:
            if not self._begin(download):
                return
            task.chunk = 0
        try:
            self._fetch_chunk(task)
        except TransientError as fault:
            self._retry(task, fault)
            return
        with self._condition:
            download.remaining_chunks -= 1
            last = download.remaining_chunks == 0
        if last:
            self._finish(download)

    def _begin(self, download: Download) -> bool:
        """Let another thread begin with the second chunk; this one reads the first. False when there is none."""
        file = download.file
        if self._prepare(download) is None:
            download.received = file.size
            self._complete(download, None)
            return False
        download.remaining_chunks = file.chunk_count
        if download.remaining_chunks == 0:
            self._finish(download)
            return False
        if download.remaining_chunks > 1:
            with self._condition:
                self._push(Task.of(download, 1))
        return True

    def _fetch_chunk(self, task: Task) -> None:
        """Read one chunk, or find it here. Raises `TransientError`, `ModelError`, `Stopped`."""
        download, file, part = task.download, task.download.file, task.download.partial
        assert part is not None  # noqa: S101 -- chunks are pushed after it is set
        expected = _chunk_hash(file, task.chunk)
        first, length = file.chunk_range(task.chunk)
        marked = part.pop_mark(task.chunk)
        if marked is not None and marked == (expected or marked) and part.hash_chunk(task.chunk, self._stop) == marked:
            download.add_received(length)
            return
        speed = self._speeds.start(task.replacements >= self._timeouts.slow_replacements)
        actual = read_chunk(self._transport, download, part, speed, first, length, self._stop)
        if expected is not None and actual != expected:
            download.add_received(-length)
            raise Corrupt("its bytes are not those of the manifest")
        part.mark(task.chunk, actual)

    def _retry(self, task: Task, error: TransientError) -> None:
        """Queue the chunk anew after a pause, or give the file up."""
        file, timeouts = task.download.file, self._timeouts
        if isinstance(error, SlowConnection):
            task.replacements += 1
            self.replaced_connections += 1
            pause = 0.0
        else:
            task.attempts += 1
            task.cause = str(error)
            max_attempts = timeouts.corrupt_attempts if isinstance(error, Corrupt) else timeouts.attempts
            if task.attempts >= max_attempts:
                if isinstance(error, Corrupt):
                    what = "differs from the manifest at its source; push it again"
                    raise ModelError("model_corrupt", f"{file.path} {what}", file.path)
                raise ModelError(
                    "store_unreachable", f"{file.path}: gave up after {task.attempts} tries: {task.cause}", file.path
                )
            # Full jitter: many workers that met the same fault must not come back together.
            pause = self._random() * min(timeouts.max_pause_s, timeouts.first_pause_s * 2 ** (task.attempts - 1))
        with self._condition:
            if self._stop.is_set() or task.download.error is not None:
                raise Stopped
            self._tasks.add_later(task, self._now() + pause)
            self._condition.notify()

    def _finish(self, download: Download) -> None:
        part, file = download.partial, download.file
        assert part is not None  # noqa: S101 -- only begun downloads finish
        if not file.chunks and file.chunk_count != 1 and part.hash_all(self._stop) != file.sha256:
            raise ModelError("model_corrupt", f"{file.path} differs from the manifest at its source", file.path)
        self._publish(download)
        self._complete(download, None)

    def _release_task(self, download: Download) -> None:
        """A thread has done its task; the last one out closes what failed."""
        with self._condition:
            download.active_threads -= 1
            error = download.error if download.active_threads == 0 else None
        if error is not None:
            self._complete(download, error)

    def _complete(self, download: Download, error: ModelError | None) -> None:
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
            self._release(download, error)
        download.result.set_exception(error)


def _chunk_hash(file: ModelFile, chunk: int) -> str | None:
    if file.chunks:
        return file.chunks[chunk]
    return file.sha256 if file.chunk_count == 1 else None


def _stopping_error() -> ModelError:
    return ModelError("store_unreachable", "the worker is stopping")
