"""Where the bytes of outputs are: in the folders of a ComfyUI of ours, or behind `/view` of somebody else's."""

import asyncio
import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker_gpu.comfy.client import ComfyClient
from worker_gpu.outputs.graphless.edits import UNFINISHED_SUFFIX
from worker_gpu.outputs.graphless.strip import strip
from worker_gpu.outputs.kinds import HEAD_BYTES, Kind, kind_of
from worker_gpu.outputs.walk import FileRef

BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LocalFile:
    """A complete file on this disk, measured."""

    path: Path
    size_bytes: int
    sha256: str
    kind: Kind


class Source(Protocol):
    """Gets at output files."""

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """The file on this disk; None where it does not exist. Raises `ComfyUnreachable`."""
        ...

    async def scan(self) -> list[FileRef]:
        """Every file below the job's folder, listed by a node or not; empty where the folder is out of reach."""
        ...


class ViewedFiles:
    """Files behind `/view`, spooled to `spool` and hashed on the way; without ComfyUI's graph unless `metadata`."""

    def __init__(self, client: ComfyClient, spool: Path, metadata: bool) -> None:
        self._client = client
        self._spool = spool
        self._metadata = metadata
        self._numbers = itertools.count(1)

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        folders = [ref.folder, "temp"] if ref.anywhere else [ref.folder]
        for folder in folders:
            found = await self._fetch_from(ref, folder)
            if found is not None:
                return found
        return None

    async def scan(self) -> list[FileRef]:
        """See `Source`."""
        return []

    async def _fetch_from(self, ref: FileRef, folder: str) -> LocalFile | None:
        async with self._client.view(ref.filename, ref.subfolder, folder) as stream:
            if stream is None:
                return None
            path = self._spool / str(next(self._numbers))
            digest, size, head = hashlib.sha256(), 0, b""
            with path.open("wb") as file:
                while block := await stream.read(BLOCK_BYTES):
                    head = head or block[:HEAD_BYTES]
                    digest.update(block)
                    file.write(block)
                    size += len(block)
        if not self._metadata and await asyncio.to_thread(strip, path, ref.filename):
            return await asyncio.to_thread(measure, path, ref.filename)
        return LocalFile(path, size, digest.hexdigest(), kind_of(head, ref.filename))


class OwnFiles:
    """Files in the output folder of a ComfyUI that the worker started; temp files come through `others`. Unless
    `metadata`, ComfyUI's graph is taken out of them where they are."""

    def __init__(self, output: Path, job_folder: str, others: Source, metadata: bool) -> None:
        self._output = output
        self._job_folder = job_folder
        self._metadata = metadata
        self._others = others

    async def fetch(self, ref: FileRef) -> LocalFile | None:
        """See `Source`."""
        if ref.folder == "output":
            found = await asyncio.to_thread(self._measure, ref)
            if found is not None:
                return found
            return await self._others.fetch(FileRef(ref.filename, ref.subfolder, "temp")) if ref.anywhere else None
        return await self._others.fetch(ref)

    async def scan(self) -> list[FileRef]:
        """See `Source`."""
        return await asyncio.to_thread(self._scan)

    def _measure(self, ref: FileRef) -> LocalFile | None:
        path = self._output / ref.path
        root = os.path.realpath(self._output)
        if "\0" in ref.path or not os.path.realpath(path).startswith(root + os.sep) or not path.is_file():
            return None
        if not self._metadata:
            strip(path, ref.filename)
        return measure(path, ref.filename)

    def _scan(self) -> list[FileRef]:
        root = self._output / self._job_folder
        found = (path for path in root.rglob("*") if not path.name.endswith(UNFINISHED_SUFFIX))
        files = sorted(path for path in found if path.is_file() and not path.is_symlink())
        return [FileRef(path.name, path.parent.relative_to(self._output).as_posix(), "output") for path in files]


def measure(path: Path, name: str) -> LocalFile:
    """Size, hash and kind of a file. Blocks. Raises `OSError`."""
    digest, size, head = hashlib.sha256(), 0, b""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            head = head or block[:HEAD_BYTES]
            digest.update(block)
            size += len(block)
    return LocalFile(path, size, digest.hexdigest(), kind_of(head, name))
