"""A pool of threads that read, hash and write the chunks of all downloads, and retry failed ones.

Each connection has a thread, since hashing and writing release the interpreter lock
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
"""How long `close` waits for threads. They notice it within `TransferTimeouts.check_interval_s`, unless one waits for a
redirect or for a disk that hangs."""


class CorruptChunkError(TransientError):
    """A chunk arrived complete, but does not match the manifest."""


Prepare: TypeAlias = Callable[[Download], PartialFile | None]
"""Frees space and opens the partial file; None if the file exists already. Raises `ModelError`, `Stopped`."""
Publish: TypeAlias = Callable[[Download], None]
"""Renames a complete partial file. Raises `ModelError`."""
Release: TypeAlias = Callable[[Download, ModelError], None]
"""Ends a failed download that no thread works on. Raises `ModelError`."""


class DownloadPool:
    """Downloads files with up to `settings.connections` connections. Threads exist only while there is work."""

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
        """Number of slow connections that were replaced."""

    def start(self, download: Download) -> None:
        """Queue a download. `download.result` is set when the file is in the folder, or to a `ModelError`."""
        with self._condition:
            stopped = self._stop.is_set()
            if not stopped:
                self._downloads.add(download)
                self._push(Task.of(download, PREPARE))
        if stopped:
            self._complete(download, _stopping_error())

    def cancel(self, download: Download, error: ModelError) -> None:
        """Cancel a download, which fails with `error`."""
        with self._condition:
            download.error = download.error or error
            self._tasks.remove(download)
            is_idle = download.active_threads == 0
        if is_idle:
            self._complete(download, download.error)

    def reorder(self, download: Download, urgency: Urgency) -> None:
        """Change the urgency of a download."""
        with self._condition:
            download.urgency = urgency
            self._tasks.reorder(download, urgency)

    def close(self) -> None:
        """Stop all downloads and keep their partial files. Every result is set when this returns."""
        with self._condition:
            self._stop.set()
            self._tasks.clear()
            self._condition.notify_all()
            threads = set(self._threads)
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._transport.close()
        with self._condition:
            unfinished = list(self._downloads)
        for download in unfinished:
            self._complete(download, _stopping_error())

    def _push(self, task: Task) -> None:
        """Add a task and wake a thread. The caller holds the condition."""
        self._tasks.add(task)
        self._start_threads()
        self._condition.notify()

    def _start_threads(self) -> None:
        """Start threads for queued tasks. The caller holds the condition."""
        needed = min(len(self._tasks) - self._waiting, self._size - len(self._threads))
        for _ in range(max(0, needed)):
            thread = threading.Thread(target=self._work, name="models", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _next(self) -> Task | None:
        """The next task, or None if there is none and this thread has to end."""
        with self._condition:
            while not self._stop.is_set():
                now = self._now()
                task = self._tasks.pop(now)
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
                self._condition.wait(due - now)
                self._waiting -= 1
            self._threads.discard(threading.current_thread())
            return None

    def _work(self) -> None:
        """The main loop of a thread: run tasks until there is none."""
        while (task := self._next()) is not None:
            download = task.download
            try:
                self._run(task)
            except ModelError as error:
                download.error = download.error or error
            except Stopped:
                download.error = download.error or _stopping_error()
            except Exception as error:
                # After a bug, too, `result` must be set, or its callers would wait forever.
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
        except TransientError as error:
            self._retry(task, error)
            return
        with self._condition:
            download.remaining_chunks -= 1
            last = download.remaining_chunks == 0
        if last:
            self._finish(download)

    def _begin(self, download: Download) -> bool:
        """Prepare a download, and queue its second chunk for another thread. Returns False if there is nothing to
        read."""
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
        """Read one chunk, unless an earlier run has finished it. Raises `TransientError`, `ModelError`, `Stopped`."""
        download, file, part = task.download, task.download.file, task.download.partial
        assert part is not None  # noqa: S101 -- set before the first chunk is queued
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
            raise CorruptChunkError("its bytes do not match the manifest")
        part.mark(task.chunk, actual)

    def _retry(self, task: Task, error: TransientError) -> None:
        """Queue the chunk again after a pause, or fail the download."""
        file, timeouts = task.download.file, self._timeouts
        if isinstance(error, SlowConnection):
            task.replacements += 1
            self.replaced_connections += 1
            pause = 0.0
        else:
            task.attempts += 1
            task.cause = str(error)
            max_attempts = timeouts.corrupt_attempts if isinstance(error, CorruptChunkError) else timeouts.attempts
            if task.attempts >= max_attempts:
                if isinstance(error, CorruptChunkError):
                    what = "does not match the manifest at its source; push it again"
                    raise ModelError("model_corrupt", f"{file.path} {what}", file.path)
                raise ModelError(
                    "store_unreachable", f"{file.path}: failed after {task.attempts} attempts: {task.cause}", file.path
                )
            # Full jitter: workers that met the same outage must not retry at the same time.
            pause = self._random() * min(timeouts.max_pause_s, timeouts.first_pause_s * 2 ** (task.attempts - 1))
        with self._condition:
            if self._stop.is_set() or task.download.error is not None:
                raise Stopped
            self._tasks.add_later(task, self._now() + pause)
            self._condition.notify()

    def _finish(self, download: Download) -> None:
        part, file = download.partial, download.file
        assert part is not None  # noqa: S101 -- set before the first chunk is queued
        if not file.chunks and file.chunk_count != 1 and part.hash_all(self._stop) != file.sha256:
            raise ModelError(
                "model_corrupt", f"{file.path} does not match the manifest at its source; push it again", file.path
            )
        self._publish(download)
        self._complete(download, None)

    def _release_task(self, download: Download) -> None:
        """A thread has finished a task. The last thread of a failed download completes it."""
        with self._condition:
            download.active_threads -= 1
            error = download.error if download.active_threads == 0 else None
        if error is not None:
            self._complete(download, error)

    def _complete(self, download: Download, error: ModelError | None) -> None:
        """Set `result`, once. The caller holds no lock, since callbacks may request further files."""
        with self._condition:
            if download.ended:
                return
            download.ended = True
            self._downloads.discard(download)
        if error is None:
            download.result.set_result(None)
            return
        # `result` must be set even if the partial file cannot be closed.
        with suppress(OSError, ModelError):
            self._release(download, error)
        download.result.set_exception(error)


def _chunk_hash(file: ModelFile, chunk: int) -> str | None:
    if file.chunks:
        return file.chunks[chunk]
    return file.sha256 if file.chunk_count == 1 else None


def _stopping_error() -> ModelError:
    return ModelError("store_unreachable", "the worker is stopping")
