"""Where the bytes of outputs are: in the folders of a ComfyUI of ours, or behind `/view` of somebody else's."""

import asyncio
import hashlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import aiohttp

from worker_gpu.boot import Folders
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.errors import JobError
from worker_gpu.outputs.graphless.edits import UNFINISHED_SUFFIX
from worker_gpu.outputs.graphless.strip import strip
from worker_gpu.outputs.kinds import HEAD_BYTES, Kind, kind_of
from worker_gpu.outputs.places import places
from worker_gpu.outputs.walk import FileRef, PathRef

BLOCK_BYTES = 1024 * 1024


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

    async def has(self, ref: FileRef) -> bool:
        """Whether the file is there. Raises `ComfyUnreachable`."""
        ...

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """The file on this disk; None where it does not exist. Raises `ComfyUnreachable`, `JobError`
        `insufficient_resources`."""
        ...

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """Whether the output is there and was written again since `file` was fetched. Raises `ComfyUnreachable`."""
        ...

    async def scan(self) -> list[FileRef]:
        """Every file that the run wrote, listed by a node or not; none where the folder is out of reach."""
        ...


class ViewedFiles:
    """Files behind `/view`, spooled to `spool` and hashed on the way; without ComfyUI's graph unless `metadata`."""

    def __init__(self, client: ComfyClient, spool: Path, metadata: bool) -> None:
        self._client = client
        self._spool = spool
        self._metadata = metadata
        self._numbers = itertools.count(1)

    async def place(self, ref: PathRef) -> FileRef | None:
        """See `Source`."""
        for candidate in places(ref, {}):
            if await self.has(candidate):
                return candidate
        return None

    async def has(self, ref: FileRef) -> bool:
        """See `Source`. The body is not read."""
        async with self._client.view(ref.filename, ref.subfolder, ref.folder) as viewed:
            return viewed is not None

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """See `Source`."""
        if not isinstance(file.stamp, str):
            return False
        return await self._client.has_changed(ref.filename, ref.subfolder, ref.folder, file.stamp)

    async def scan(self) -> list[FileRef]:
        """See `Source`."""
        return []

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
    """Files in the folders of a ComfyUI that the worker started; temp files come through `others`, files outside of the
    job's folder that the run wrote from `strays`. Unless `metadata`, ComfyUI's graph is taken out of them where they
    are."""

    def __init__(
        self, folders: Folders, job_folder: str, strays: Callable[[], list[FileRef]], others: Source, metadata: bool
    ) -> None:
        self._output = folders.output
        self._roots = {"output": folders.output, "temp": folders.temp}
        self._job_folder = job_folder
        self._strays = strays
        self._metadata = metadata
        self._others = others

    async def place(self, ref: PathRef) -> FileRef | None:
        """See `Source`."""
        for candidate in await asyncio.to_thread(places, ref, self._roots):
            if await self.has(candidate):
                return candidate
        return None

    async def has(self, ref: FileRef) -> bool:
        """See `Source`."""
        if ref.folder == "output":
            return await asyncio.to_thread(self._path_of, ref) is not None
        return await self._others.has(ref)

    async def is_changed(self, ref: FileRef, file: LocalFile) -> bool:
        """See `Source`."""
        if ref.folder != "output":
            return await self._others.is_changed(ref, file)
        try:
            return stamp_of(await asyncio.to_thread(file.path.stat)) != file.stamp
        except OSError:
            return False

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        if ref.folder == "output":
            return await asyncio.to_thread(self._measure, ref)
        return await self._others.fetch(ref)

    async def scan(self) -> list[FileRef]:
        """See `Source`."""
        return await asyncio.to_thread(self._scan)

    def _path_of(self, ref: FileRef) -> Path | None:
        path = self._output / ref.path
        try:
            root = os.path.realpath(self._output)
            return path if os.path.realpath(path).startswith(root + os.sep) and path.is_file() else None
        except (OSError, ValueError):
            # A name that no file of this disk can have.
            return None

    def _measure(self, ref: FileRef) -> LocalFile | None:
        path = self._path_of(ref)
        if path is None:
            return None
        if not self._metadata:
            strip(path, ref.filename)
        return measure(path, ref.filename)

    def _scan(self) -> list[FileRef]:
        root = self._output / self._job_folder
        found = (path for path in root.rglob("*") if not path.name.endswith(UNFINISHED_SUFFIX))
        files = sorted(path for path in found if path.is_file() and not path.is_symlink())
        own = [FileRef(path.name, path.parent.relative_to(self._output).as_posix(), "output") for path in files]
        return [*own, *self._strays()]


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
