"""The lanes: threads that read chunks of all wanted files, hash them while they are written, and try again.

Threads and not asyncio: hashing, TLS and disk all let go of the interpreter lock, and this way each byte is copied
once (docs/decisions/0020-model-fetch.md).
"""

import hashlib
import heapq
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from worker_gpu.models.errors import ModelError, Stopped
from worker_gpu.models.manifest import ModelFile
from worker_gpu.models.pace import LOOK_S, Crew, Pace
from worker_gpu.models.parts import Part
from worker_gpu.models.plan import Urgency, rank
from worker_gpu.models.remote import Remote
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.wire import Passing, Wire

BUFFER_BYTES = 1024 * 1024
"""What a lane reads before it hashes and writes: small enough to be hashed out of the processor's cache."""
PIECE_BYTES = 128 * 1024
"""After this much a lane looks whether it is slow or should stop."""
PREPARE = -1


class Corrupt(Passing):
    """A chunk came whole and is not what the manifest says."""


class Slow(Passing):
    """A connection is far slower than the others."""


Prepare: TypeAlias = Callable[[ModelFile, Urgency], Part | None]
"""Makes room and gives the part, opened; None when the file is here already. Raises `ModelError`."""
Publish: TypeAlias = Callable[[Part], None]
"""Gives a whole part its name. Raises `ModelError`."""


@dataclass
class Download:
    """One file under way. `received` counts bytes that are here, right or still unchecked."""

    file: ModelFile
    urgency: Urgency
    remote: Remote
    result: "Future[None]" = field(default_factory=lambda: Future[None]())
    part: Part | None = None
    left: int = 0
    running: int = 0
    received: int = 0
    error: ModelError | None = None


@dataclass(order=True)
class _Task:
    order: tuple[int, int, int, str]
    chunk: int
    download: Download = field(compare=False)
    tries: int = field(default=0, compare=False)
    slow: int = field(default=0, compare=False)
    cause: str = field(default="", compare=False)


class Lanes:
    """Fetches files with up to `settings.lanes` connections. Threads live only while there is work."""

    def __init__(
        self,
        settings: ModelSettings,
        prepare: Prepare,
        publish: Publish,
        stop: threading.Event,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._patience = settings.patience
        self._prepare = prepare
        self._publish = publish
        self._now = now
        self._chance = chance
        self._pace = Pace(settings.patience, now)
        self._crew = Crew(settings.first_lanes, settings.lanes, settings.cpus)
        self._own = threading.local()
        self._condition = threading.Condition()
        self._ready: list[_Task] = []
        self._later: list[tuple[float, _Task]] = []
        self._threads: set[threading.Thread] = set()
        self._wires: set[Wire] = set()
        self._waiting = 0
        self._stop = stop
        self.replaced_lanes = 0
        """Connections given up for being slow."""

    def fetch(self, download: Download) -> None:
        """Begin. `download.result` is set when the file has its name, or to a `ModelError`."""
        with self._condition:
            if self._stop.is_set():
                download.result.set_exception(ModelError("store_unreachable", "the worker is stopping"))
                return
            self._push([_Task(rank(download.file, download.urgency), PREPARE, download)])

    def reorder(self, download: Download, urgency: Urgency) -> None:
        """Somebody else waits for it now."""
        with self._condition:
            download.urgency = urgency
            for task in [*self._ready, *(task for _, task in self._later)]:
                if task.download is download:
                    task.order = rank(download.file, urgency)
            heapq.heapify(self._ready)

    def close(self) -> None:
        """Stop at once; parts keep what they have. Blocks until every lane has ended."""
        with self._condition:
            self._stop.set()
            tasks = [*self._ready, *(task for _, task in self._later)]
            self._ready.clear()
            self._later.clear()
            self._condition.notify_all()
            threads = set(self._threads)
            for wire in self._wires:
                wire.cut()
        for thread in threads:
            thread.join()
        for download in {id(task.download): task.download for task in tasks}.values():
            self._fail(download, ModelError("store_unreachable", "the worker is stopping"))

    def _push(self, tasks: list[_Task]) -> None:
        """Give lanes work; the condition is held."""
        for task in tasks:
            heapq.heappush(self._ready, task)
        self._start_lanes()
        self._condition.notify(len(tasks))

    def _start_lanes(self) -> None:
        """As many as there is work for; the condition is held."""
        wanted = min(len(self._ready) - self._waiting, self._crew.size - len(self._threads))
        for _ in range(max(0, wanted)):
            thread = threading.Thread(target=self._lane, name="models", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _look_at_clock(self) -> None:
        """Start one more lane when this one has mostly waited since it looked last."""
        moment = self._now()
        before: tuple[float, float, float] | None = getattr(self._own, "looked", None)
        if before is not None and moment - before[0] < LOOK_S:
            return
        computed, all_computed = time.thread_time(), time.process_time()
        self._own.looked = (moment, computed, all_computed)
        if before is None:
            return
        spent = (moment - before[0], computed - before[1], all_computed - before[2])
        with self._condition:
            if not self._stop.is_set() and self._crew.told(*spent):
                self._start_lanes()

    def _next(self) -> _Task | None:
        """The next thing to do, or None when there is nothing left and this lane may end."""
        with self._condition:
            while not self._stop.is_set():
                moment = self._now()
                while self._later and self._later[0][0] <= moment:
                    heapq.heappush(self._ready, heapq.heappop(self._later)[1])
                if self._ready:
                    task = heapq.heappop(self._ready)
                    task.download.running += 1
                    return task
                if not self._later:
                    break
                self._waiting += 1
                self._condition.wait(self._later[0][0] - moment)
                self._waiting -= 1
            self._threads.discard(threading.current_thread())
            return None

    def _lane(self) -> None:
        wire = Wire(self._patience.read_s)
        with self._condition:
            self._wires.add(wire)
        buffer = memoryview(bytearray(BUFFER_BYTES))
        self._look_at_clock()
        while (task := self._next()) is not None:
            try:
                self._run(task, wire, buffer)
            except ModelError as error:
                wire.drop()
                task.download.error = task.download.error or error
            except Stopped:
                wire.drop()
                task.download.error = task.download.error or ModelError("store_unreachable", "the worker is stopping")
            except Exception as error:
                # A bug must not leave somebody waiting for ever.
                wire.drop()
                task.download.error = ModelError("disk_failed", f"{task.download.file.path}: {error!r}")
            self._leave(task.download)
        with self._condition:
            self._wires.discard(wire)
        wire.drop()

    def _run(self, task: _Task, wire: Wire, buffer: memoryview) -> None:
        download = task.download
        if download.error is not None:
            return
        if task.chunk == PREPARE:
            if not self._begin(download):
                return
            task.chunk = 0
        try:
            self._chunk(task, wire, buffer)
        except Passing as fault:
            wire.drop()
            self._again(task, fault)
            return
        with self._condition:
            download.left -= 1
            last = download.left == 0
        if last:
            self._finish(download)

    def _begin(self, download: Download) -> bool:
        """Give the other lanes all chunks but the first, which this lane shall read; False when there is none."""
        part = self._prepare(download.file, download.urgency)
        if part is None:
            download.received = download.file.size
            download.result.set_result(None)
            return False
        download.part = part
        download.left = download.file.chunk_count
        if download.left == 0:
            self._finish(download)
            return False
        if download.left > 1:
            with self._condition:
                order = rank(download.file, download.urgency)
                self._push([_Task(order, chunk, download) for chunk in range(1, download.left)])
        return True

    def _chunk(self, task: _Task, wire: Wire, buffer: memoryview) -> None:
        """Read one chunk, or find it here. Raises `Passing`, `ModelError`, `Stopped`."""
        download, file, part = task.download, task.download.file, task.download.part
        assert part is not None  # noqa: S101 -- chunks are pushed after it is set
        wanted = _chunk_hash(file, task.chunk)
        first, length = file.span(task.chunk)
        marked = part.take_mark(task.chunk)
        if marked is not None and marked == (wanted or marked) and part.hash_chunk(task.chunk, self._stop) == marked:
            self._count(download, length)
            return
        got = self._read(task, wire, buffer, part, first, length)
        if wanted is not None and got != wanted:
            self._count(download, -length)
            raise Corrupt("its bytes are not those of the manifest")
        part.mark(task.chunk, got)

    def _read(self, task: _Task, wire: Wire, buffer: memoryview, part: Part, first: int, length: int) -> str:
        """Bytes of a chunk from its source to the part, and their SHA-256."""
        download = task.download
        may_be_slow = task.slow >= self._patience.slow_replacements
        began = self._pace.start()
        response = download.remote.open_range(wire, first, length)
        self._look_at_clock()
        digest = hashlib.sha256()
        received = 0
        try:
            while received < length:
                filled, most = 0, min(len(buffer), length - received)
                while filled < most:
                    got = response.read_into(buffer[filled : min(most, filled + PIECE_BYTES)])
                    if got == 0:
                        raise Passing(f"the body ended after {received + filled} of {length} bytes")
                    filled += got
                    if self._stop.is_set():
                        raise Stopped
                    if not may_be_slow and self._pace.is_slow(began, received + filled):
                        raise Slow("slower than the others")
                digest.update(buffer[:filled])
                part.write(buffer[:filled], first + received)
                received += filled
                self._count(download, filled)
                self._look_at_clock()
            # Some bodies end with a chunk of no bytes; until it is read the connection cannot be used again.
            if not response.done and response.read_into(buffer[:1]) != 0:
                raise Passing(f"the body goes on after {length} bytes")
        except (Passing, Stopped):
            self._count(download, -received)
            raise
        self._pace.done(began, length)
        return digest.hexdigest()

    def _again(self, task: _Task, fault: Passing) -> None:
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
            if self._stop.is_set():
                raise Stopped
            heapq.heappush(self._later, (self._now() + pause, task))
            self._condition.notify()

    def _finish(self, download: Download) -> None:
        part, file = download.part, download.file
        assert part is not None  # noqa: S101 -- only begun downloads finish
        if not file.chunks and file.chunk_count != 1 and part.hash_all(self._stop) != file.sha256:
            part.discard()
            raise ModelError("model_corrupt", f"{file.path} differs from the manifest at its source", file.path)
        self._publish(part)
        download.result.set_result(None)

    def _leave(self, download: Download) -> None:
        """A lane has done its task; the last one out closes what failed."""
        with self._condition:
            download.running -= 1
            over = download.error is not None and download.running == 0
        if over and download.error is not None:
            self._fail(download, download.error)

    def _fail(self, download: Download, error: ModelError) -> None:
        with self._condition:
            if download.result.done():
                return
            if download.part is not None:
                if error.code == "disk_full":
                    download.part.discard()
                else:
                    download.part.close()
            download.result.set_exception(error)

    def _count(self, download: Download, amount: int) -> None:
        with self._condition:
            download.received += amount


def _chunk_hash(file: ModelFile, chunk: int) -> str | None:
    if file.chunks:
        return file.chunks[chunk]
    return file.sha256 if file.chunk_count == 1 else None
