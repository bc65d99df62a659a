"""Where the bytes of outputs are: in the folders of a ComfyUI of ours, or behind `/view` of somebody else's."""

import asyncio
import hashlib
import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from worker_gpu.comfy.client import ComfyClient
from worker_gpu.errors import JobError
from worker_gpu.job_folders import JobFolders
from worker_gpu.outputs.history_outputs import FileRef, PathRef
from worker_gpu.outputs.kinds import HEAD_BYTES, Kind, kind_of
from worker_gpu.outputs.output_paths import candidate_files
from worker_gpu.outputs.strip_metadata.strip import StripResult, strip
from worker_gpu.spool import Spool

BLOCK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""A file up to this size is read once, and what reads it later has its content."""
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Content of files of a job that is held in memory at a time: further ones are read from disk again."""
CLOCK_STEP_NS = 10_000_000
"""A file may be that much older than the moment in which it was written: Linux stamps files by a clock that moves 100
to 1,000 times a second."""


Stamp: TypeAlias = tuple[int, int, int] | str
"""Size, time of the last change in ns, and inode of a file, or the ETag that ComfyUI gives it: another one means that
the file was written again."""


@dataclass(frozen=True)
class LocalFile:
    """A file, measured: on this disk at `path`, in memory as `content`, or both. `stamp` is what the output had before
    it was measured; None where nothing tells. `strip_result` is None if the job keeps metadata."""

    path: Path | None
    size_bytes: int
    sha256: str
    kind: Kind
    stamp: Stamp | None = None
    content: bytes | None = field(default=None, repr=False)
    strip_result: StripResult | None = None

    def read(self) -> bytes:
        """All that it holds. Blocks. Raises `OSError`."""
        return self.content if self.content is not None else self.on_disk.read_bytes()

    @property
    def on_disk(self) -> Path:
        """Where it is on this disk. Raises `FileNotFoundError` for one that was in memory only and was released."""
        if self.path is None:
            raise FileNotFoundError("the file was never on this disk")
        return self.path

    def released(self) -> "LocalFile":
        """The file without its content, which is to be read from disk from now on."""
        return replace(self, content=None)


class Source(Protocol):
    """Gets at output files."""

    async def place(self, ref: PathRef) -> FileRef | None:
        """The file that a path names; None where there is no such file. Raises `ComfyUnreachable`."""
        ...

    async def is_of_this_run(self, ref: FileRef, certain: bool) -> bool:
        """Whether the run wrote the file. One that is not there counts as written. Where nothing tells, it is what the
        node says if that is `certain`, an entry rather than a text. Raises `ComfyUnreachable`."""
        ...

    def ended(self, began_ms: int | None) -> None:
        """The run is over, and began at that time by ComfyUI's clock: files that nothing told of before can be judged
        now."""
        ...

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """The file on this disk; None where it does not exist. Raises `ComfyUnreachable`, `JobError`
        `insufficient_resources`."""
        ...

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """Whether the output is there and was written again since `file` was fetched. `ran_after`: a node ran after the
        one that listed it. Raises `ComfyUnreachable`."""
        ...


class ViewedFiles:
    """Files behind `/view` of a ComfyUI whose folders jobs share, spooled to `spool` and hashed on the way; without
    ComfyUI's graph unless `metadata`. `in_memory`: small ones need no copy on disk. What lies below `own_folder` of the
    output folder is the job's; else the time of a file says whether the run wrote it, which is known when the run is
    over."""

    def __init__(
        self, client: ComfyClient, spool: Spool, own_folder: str, metadata: bool, in_memory: bool = False
    ) -> None:
        self._client = client
        self._spool = spool
        self._below = f"{own_folder}/"
        self._metadata = metadata
        self._in_memory = in_memory and metadata
        self._held_bytes = 0
        self._numbers = itertools.count(1)
        self._is_over = False
        self._began_ns: int | None = None

    async def place(self, ref: PathRef) -> FileRef | None:
        """See `Source`."""
        for candidate in candidate_files(ref, ()):
            async with self._client.view(candidate.filename, candidate.subfolder, candidate.folder) as viewed:
                if viewed is not None:  # the body is not read
                    return candidate
        return None

    async def is_of_this_run(self, ref: FileRef, certain: bool) -> bool:
        """See `Source`."""
        if ref.folder == "output" and ref.path.startswith(self._below):
            return True
        if not self._is_over:
            return False
        async with self._client.view(ref.filename, ref.subfolder, ref.folder) as viewed:
            if viewed is None:
                return True
        if viewed.changed_ns is None or self._began_ns is None:
            return certain
        return viewed.changed_ns >= self._began_ns - CLOCK_STEP_NS

    def ended(self, began_ms: int | None) -> None:
        """See `Source`."""
        self._is_over = True
        self._began_ns = began_ms * 1_000_000 if began_ms is not None else None

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """See `Source`."""
        if not ran_after or not isinstance(file.stamp, str):
            return False
        return await self._client.has_changed(ref.filename, ref.subfolder, ref.folder, file.stamp)

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        async with self._client.view(ref.filename, ref.subfolder, ref.folder) as viewed:
            if viewed is None:
                return None
            spooled = _Spooled(self._spool, str(next(self._numbers)))
            async for block in viewed.content.iter_chunked(BLOCK_BYTES):
                if spooled.add(block):
                    await asyncio.to_thread(spooled.flush)
        held = self._held_bytes + spooled.held_bytes
        if self._in_memory and spooled.is_all_held and held <= MAX_HELD_BYTES:
            self._held_bytes = held
            file = await asyncio.to_thread(spooled.in_memory, ref.filename)
        else:
            file = await asyncio.to_thread(spooled.end, ref.filename)
        result: StripResult | None = None
        if not self._metadata:
            result = await asyncio.to_thread(strip, file.on_disk, ref.filename)
            if result is StripResult.REMOVED:
                file = await asyncio.to_thread(measure, file.on_disk, ref.filename)
        return replace(file, stamp=viewed.etag, strip_result=result)


class _Spooled:
    """A file that comes in blocks: written to `spool` under `number` and hashed in large pieces. `flush`, `end` and
    `in_memory` block; the first two raise `JobError` `insufficient_resources`."""

    def __init__(self, spool: Spool, number: str) -> None:
        self._spool = spool
        self._number = number
        self._digest = hashlib.sha256()
        self._head = b""
        self._held: list[bytes] = []
        self.held_bytes = 0
        self._written = 0

    @property
    def is_all_held(self) -> bool:
        """Whether nothing of it was written yet."""
        return self._written == 0

    def add(self, block: bytes) -> bool:
        """Take the next block; says whether it is time to `flush`."""
        self._held.append(block)
        self.held_bytes += len(block)
        return self.held_bytes > IN_MEMORY_BYTES

    def flush(self) -> bytes:
        """Write what is held; gives it."""
        content = self._hashed()
        try:
            with self._spool.file(self._number).open("ab") as file:
                file.write(content)
        except OSError as error:
            raise JobError("insufficient_resources", "The worker's disk took no more of an output.") from error
        self._written += len(content)
        self._held, self.held_bytes = [], 0
        return content

    def end(self, name: str) -> LocalFile:
        """The whole file, called `name`."""
        is_first = self._written == 0
        content = self.flush()
        digest, kind = self._digest.hexdigest(), kind_of(self._head, name)
        path = self._spool.file(self._number)
        return LocalFile(path, self._written, digest, kind, content=content if is_first else None)

    def in_memory(self, name: str) -> LocalFile:
        """The whole file, called `name`, of which nothing was written to disk."""
        content = self._hashed()
        return LocalFile(None, len(content), self._digest.hexdigest(), kind_of(self._head, name), content=content)

    def _hashed(self) -> bytes:
        """What is held, hashed."""
        content = b"".join(self._held)
        self._head = self._head or content[:HEAD_BYTES]
        self._digest.update(content)
        return content


class OwnFiles:
    """Files in the job's own folders of a ComfyUI that the worker started. Unless `metadata`, ComfyUI's graph is taken
    out of them where they are."""

    def __init__(self, folders: JobFolders, metadata: bool) -> None:
        self._folders = folders
        self._metadata = metadata

    async def place(self, ref: PathRef) -> FileRef | None:
        """See `Source`."""
        return await asyncio.to_thread(self._place, ref)

    async def is_of_this_run(self, ref: FileRef, certain: bool) -> bool:
        """Always: a job has its folders to itself."""
        del ref, certain
        return True

    def ended(self, began_ms: int | None) -> None:
        """Nothing to learn."""

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """See `Source`."""
        del ref, ran_after
        try:
            return stamp_of(file.on_disk.stat()) != file.stamp
        except OSError:
            return False

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        return await asyncio.to_thread(self._measure, ref)

    def _place(self, ref: PathRef) -> FileRef | None:
        found = candidate_files(ref, self._folders.roots)
        return next((file for file in found if self._folders.find(file) is not None), None)

    def _measure(self, ref: FileRef) -> LocalFile | None:
        path = self._folders.find(ref)
        if path is None:
            return None
        result = None if self._metadata else strip(path, ref.filename)
        return replace(measure(path, ref.filename), strip_result=result)


def measure(path: Path, name: str) -> LocalFile:
    """Size, hash and kind of a file, with its content if it is small. Blocks. Raises `OSError`."""
    digest, size, head, content = hashlib.sha256(), 0, b"", None
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        block_bytes = IN_MEMORY_BYTES if about.st_size <= IN_MEMORY_BYTES else BLOCK_BYTES
        while block := file.read(block_bytes):
            content = block if size == 0 and about.st_size <= IN_MEMORY_BYTES else None
            head = head or block[:HEAD_BYTES]
            digest.update(block)
            size += len(block)
    return LocalFile(path, size, digest.hexdigest(), kind_of(head, name), stamp_of(about), content)


def stamp_of(stat: os.stat_result) -> Stamp:
    """What tells one state of a file from another without reading it."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
