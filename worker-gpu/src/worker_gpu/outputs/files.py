"""Content of output files: in the folders of a ComfyUI that the worker started, or from `/view` of another ComfyUI."""

import asyncio
import hashlib
import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from worker_gpu.comfy.client import ComfyClient
from worker_gpu.errors import JobError
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.spool import Spool
from worker_gpu.outputs.history_outputs import FileRef, PathRef
from worker_gpu.outputs.kinds import HEAD_BYTES, Kind, kind_of
from worker_gpu.outputs.output_paths import candidate_files
from worker_gpu.outputs.strip_metadata.strip import StripResult, strip

BLOCK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""A file up to this size is read once and its content is kept for the upload."""
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Content that a job holds in memory at a time. Further files are read from disk again."""
CLOCK_STEP_NS = 10_000_000
"""The time of a file can be this much earlier than its writing: Linux takes it from a clock that ticks 100 to 1,000
times a second."""


Stamp: TypeAlias = tuple[int, int, int] | str
"""Size, modification time in ns, and inode of a file, or its ETag from ComfyUI. It changes when the file is written
again."""


@dataclass(frozen=True)
class LocalFile:
    """A file with its size, hash and type: on this disk at `path`, in memory as `content`, or both. `stamp` is that of
    the output before it was read; None if unknown. `strip_result` is None if the job keeps metadata."""

    path: Path | None
    size_bytes: int
    sha256: str
    kind: Kind
    stamp: Stamp | None = None
    content: bytes | None = field(default=None, repr=False)
    strip_result: StripResult | None = None

    def read(self) -> bytes:
        """The content of the file. Blocks. Raises `OSError`."""
        return self.content if self.content is not None else self.on_disk.read_bytes()

    @property
    def on_disk(self) -> Path:
        """The path of the file. Raises `FileNotFoundError` if it was only in memory."""
        if self.path is None:
            raise FileNotFoundError("the file was never on this disk")
        return self.path

    def released(self) -> "LocalFile":
        """The file without its content in memory."""
        return replace(self, content=None)


class FileSource(Protocol):
    """Finds and reads output files."""

    async def resolve(self, ref: PathRef) -> FileRef | None:
        """The file that a path names; None if it does not exist. Raises `ComfyUnreachable`."""
        ...

    async def belongs_to_run(self, ref: FileRef, certain: bool) -> bool:
        """Whether this run wrote the file. True for a missing file, so that its absence is reported. If nothing tells,
        it is `certain`: true for a listed file, false for a string. Raises `ComfyUnreachable`."""
        ...

    def run_ended(self, began_ms: int | None) -> None:
        """The run has ended, and started at `began_ms` of ComfyUI's clock. From now on the time of a file can tell
        whether the run wrote it."""
        ...

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """Read the file; None if it does not exist. Raises `ComfyUnreachable`, `JobError` `insufficient_resources`."""
        ...

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """Whether the output exists and was written again since `file` was read. `ran_after`: whether a node ran after
        the node that listed it. Raises `ComfyUnreachable`."""
        ...


class ViewFiles:
    """Files from `/view` of a ComfyUI whose folders jobs share, written to `spool` and hashed while they arrive. Unless
    `metadata`, the workflow is removed. With `in_memory`, small files are not written to disk. Files below `own_folder`
    of the output folder belong to the job; for others the time of the file decides, once the run has ended."""

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
        self._has_ended = False
        self._began_ns: int | None = None

    async def resolve(self, ref: PathRef) -> FileRef | None:
        """See `FileSource`."""
        for candidate in candidate_files(ref, ()):
            async with self._client.view(candidate.filename, candidate.subfolder, candidate.folder) as viewed:
                if viewed is not None:  # The body is not read.
                    return candidate
        return None

    async def belongs_to_run(self, ref: FileRef, certain: bool) -> bool:
        """See `FileSource`."""
        if ref.folder == "output" and ref.path.startswith(self._below):
            return True
        if not self._has_ended:
            return False
        async with self._client.view(ref.filename, ref.subfolder, ref.folder) as viewed:
            if viewed is None:
                return True
        if viewed.changed_ns is None or self._began_ns is None:
            return certain
        return viewed.changed_ns >= self._began_ns - CLOCK_STEP_NS

    def run_ended(self, began_ms: int | None) -> None:
        """See `FileSource`."""
        self._has_ended = True
        self._began_ns = began_ms * 1_000_000 if began_ms is not None else None

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """See `FileSource`."""
        if not ran_after or not isinstance(file.stamp, str):
            return False
        return await self._client.has_changed(ref.filename, ref.subfolder, ref.folder, file.stamp)

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `FileSource`."""
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
    """A file that arrives in blocks, hashed and written to `spool` as `number` in large pieces. `flush`, `end` and
    `in_memory` block; `flush` and `end` raise `JobError` `insufficient_resources`."""

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
        """Whether all of it is still in memory."""
        return self._written == 0

    def add(self, block: bytes) -> bool:
        """Add the next block. Returns whether to call `flush`."""
        self._held.append(block)
        self.held_bytes += len(block)
        return self.held_bytes > IN_MEMORY_BYTES

    def flush(self) -> bytes:
        """Write the blocks in memory to disk, and return them."""
        content = self._hashed()
        try:
            with self._spool.file(self._number).open("ab") as file:
                file.write(content)
        except OSError as error:
            raise JobError("insufficient_resources", "The worker's disk cannot hold an output.") from error
        self._written += len(content)
        self._held, self.held_bytes = [], 0
        return content

    def end(self, name: str) -> LocalFile:
        """The complete file, whose name is `name`."""
        is_first = self._written == 0
        content = self.flush()
        digest, kind = self._digest.hexdigest(), kind_of(self._head, name)
        path = self._spool.file(self._number)
        return LocalFile(path, self._written, digest, kind, content=content if is_first else None)

    def in_memory(self, name: str) -> LocalFile:
        """The complete file, whose name is `name`, without a copy on disk."""
        content = self._hashed()
        return LocalFile(None, len(content), self._digest.hexdigest(), kind_of(self._head, name), content=content)

    def _hashed(self) -> bytes:
        """Hash the blocks in memory, and return them."""
        content = b"".join(self._held)
        self._head = self._head or content[:HEAD_BYTES]
        self._digest.update(content)
        return content


class JobFolderFiles:
    """Files in the folders of the job in a ComfyUI that the worker started. Unless `metadata`, the workflow is removed
    from them in place."""

    def __init__(self, folders: JobFolders, metadata: bool) -> None:
        self._folders = folders
        self._metadata = metadata

    async def resolve(self, ref: PathRef) -> FileRef | None:
        """See `FileSource`."""
        return await asyncio.to_thread(self._resolve, ref)

    async def belongs_to_run(self, ref: FileRef, certain: bool) -> bool:
        """Always true: the folders belong to the job alone."""
        del ref, certain
        return True

    def run_ended(self, began_ms: int | None) -> None:
        """See `FileSource`. Nothing depends on it."""

    async def is_changed(self, ref: FileRef, file: LocalFile, ran_after: bool) -> bool:
        """See `FileSource`."""
        del ref, ran_after
        try:
            return stamp_of(file.on_disk.stat()) != file.stamp
        except OSError:
            return False

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `FileSource`."""
        return await asyncio.to_thread(self._measure, ref)

    def _resolve(self, ref: PathRef) -> FileRef | None:
        found = candidate_files(ref, self._folders.roots)
        return next((file for file in found if self._folders.find(file) is not None), None)

    def _measure(self, ref: FileRef) -> LocalFile | None:
        path = self._folders.find(ref)
        if path is None:
            return None
        result = None if self._metadata else strip(path, ref.filename)
        return replace(measure(path, ref.filename), strip_result=result)


def measure(path: Path, name: str) -> LocalFile:
    """Read size, hash and type of a file, and its content if it is small. Blocks. Raises `OSError`."""
    digest, size, head, content = hashlib.sha256(), 0, b"", None
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        block_bytes = IN_MEMORY_BYTES if stat.st_size <= IN_MEMORY_BYTES else BLOCK_BYTES
        while block := file.read(block_bytes):
            content = block if size == 0 and stat.st_size <= IN_MEMORY_BYTES else None
            head = head or block[:HEAD_BYTES]
            digest.update(block)
            size += len(block)
    return LocalFile(path, size, digest.hexdigest(), kind_of(head, name), stamp_of(stat), content)


def stamp_of(stat: os.stat_result) -> Stamp:
    """The stamp of a file, without reading its content."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
