"""Where the bytes of outputs are: in the folders of a ComfyUI of ours, or behind `/view` of somebody else's."""

import asyncio
import hashlib
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import aiohttp

from worker_gpu.comfy.client import ComfyClient
from worker_gpu.errors import JobError
from worker_gpu.job_folders import JobFolders
from worker_gpu.outputs.graphless.strip import strip
from worker_gpu.outputs.kinds import HEAD_BYTES, Kind, kind_of
from worker_gpu.outputs.places import places
from worker_gpu.outputs.walk import FileRef, PathRef

BLOCK_BYTES = 1024 * 1024
CLOCK_STEP_NS = 10_000_000
"""A file may be that much older than the moment in which it was written: Linux stamps files by a clock that moves 100
to 1,000 times a second."""


Stamp: TypeAlias = tuple[int, int, int] | str
"""Size, time of the last change in ns, and inode of a file, or the ETag that ComfyUI gives it: another one means that
the file was written again."""


@dataclass(frozen=True)
class LocalFile:
    """A file on this disk, measured. `stamp` is what the output had before that; None where nothing tells."""

    path: Path
    size_bytes: int
    sha256: str
    kind: Kind
    stamp: Stamp | None = None


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

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """Whether the output is there and was written again since `file` was fetched. Raises `ComfyUnreachable`."""
        ...


class ViewedFiles:
    """Files behind `/view` of a ComfyUI whose folders jobs share, spooled to `spool` and hashed on the way; without
    ComfyUI's graph unless `metadata`. What lies below `own_folder` of the output folder is the job's; else the time of
    a file says whether the run wrote it, which is known when the run is over."""

    def __init__(self, client: ComfyClient, spool: Path, own_folder: str, metadata: bool) -> None:
        self._client = client
        self._spool = spool
        self._below = f"{own_folder}/"
        self._metadata = metadata
        self._numbers = itertools.count(1)
        self._is_over = False
        self._began_ns: int | None = None

    async def place(self, ref: PathRef) -> FileRef | None:
        """See `Source`."""
        for candidate in places(ref, ()):
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

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """See `Source`."""
        if not isinstance(file.stamp, str):
            return False
        return await self._client.has_changed(ref.filename, ref.subfolder, ref.folder, file.stamp)

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        async with self._client.view(ref.filename, ref.subfolder, ref.folder) as viewed:
            if viewed is None:
                return None
            path = self._spool / str(next(self._numbers))
            digest, size, head = hashlib.sha256(), 0, b""
            try:
                with path.open("wb") as file:
                    while block := await viewed.content.read(BLOCK_BYTES):
                        head = head or block[:HEAD_BYTES]
                        digest.update(block)
                        file.write(block)
                        size += len(block)
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                raise  # of the connection, though some of them are `OSError`s too
            except OSError as error:
                raise JobError("insufficient_resources", "The worker's disk took no more of an output.") from error
        if not self._metadata and await asyncio.to_thread(strip, path, ref.filename):
            return replace(await asyncio.to_thread(measure, path, ref.filename), stamp=viewed.etag)
        return LocalFile(path, size, digest.hexdigest(), kind_of(head, ref.filename), viewed.etag)


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

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """See `Source`."""
        del ref
        try:
            return stamp_of(await asyncio.to_thread(file.path.stat)) != file.stamp
        except OSError:
            return False

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        return await asyncio.to_thread(self._measure, ref)

    def _place(self, ref: PathRef) -> FileRef | None:
        found = places(ref, self._folders.roots)
        return next((file for file in found if self._folders.find(file) is not None), None)

    def _measure(self, ref: FileRef) -> LocalFile | None:
        path = self._folders.find(ref)
        if path is None:
            return None
        if not self._metadata:
            strip(path, ref.filename)
        return measure(path, ref.filename)


def measure(path: Path, name: str) -> LocalFile:
    """Size, hash and kind of a file. Blocks. Raises `OSError`."""
    digest, size, head = hashlib.sha256(), 0, b""
    with path.open("rb") as file:
        stamp = stamp_of(os.fstat(file.fileno()))
        while block := file.read(BLOCK_BYTES):
            head = head or block[:HEAD_BYTES]
            digest.update(block)
            size += len(block)
    return LocalFile(path, size, digest.hexdigest(), kind_of(head, name), stamp)


def stamp_of(stat: os.stat_result) -> Stamp:
    """What tells one state of a file from another without reading it."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
