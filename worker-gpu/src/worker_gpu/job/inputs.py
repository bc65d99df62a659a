"""Fetches a job's input files and puts them where ComfyUI finds them."""

import asyncio
import errno
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import aiohttp

from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.concurrency import run_all
from worker_gpu.errors import JobError
from worker_gpu.job.folders import JobFolders
from worker_gpu.job.spool import Spool
from worker_gpu.wire.client import REPEATABLE
from worker_gpu.wire.contract import InputFile
from worker_gpu.wire.transfers import Transfers

FOLDER = "job-inputs"
"""Below the input folder of somebody else's ComfyUI; what the worker stores lies here and nowhere else."""
MAX_FETCHES = 4
MAX_TRIES = 5
BLOCK_BYTES = 256 * 1024
MAX_NAME_CHARS = 80

_FOLDER = re.compile(r" \[(input|output|temp)\]$")
"""Which folder a file is in, as ComfyUI's editor writes it behind a name: no part of the extension."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class InputStore(Protocol):
    """Where ComfyUI reads its inputs."""

    async def keep(self, path: Path, name: str, sha256: str) -> str:
        """Move the file at `path` there, which the graph calls `name`; gives what it is to be called. Raises
        `JobError`."""
        ...

    async def keep_content(self, content: bytes, name: str) -> str:
        """The same for a file that is in memory."""
        ...


class FolderInputStore:
    """The job's folders in a ComfyUI that the worker started: a file keeps the name that the graph has."""

    def __init__(self, folders: JobFolders) -> None:
        self._folders = folders

    async def keep(self, path: Path, name: str, sha256: str) -> str:
        """See `InputStore`."""
        return await self._kept(name, lambda: self._folders.keep_input(path, name, sha256))

    async def keep_content(self, content: bytes, name: str) -> str:
        """See `InputStore`."""
        return await self._kept(name, lambda: self._folders.write_input(content, name))

    async def _kept(self, name: str, keep: Callable[[], bool]) -> str:
        try:
            if await asyncio.to_thread(keep):
                return name
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise JobError("insufficient_resources", "The worker's disk took no more of an input.") from error
        raise JobError("input_fetch_failed", f"No file can be stored under the name {name}.")


class UploadInputStore:
    """The input folder of somebody else's ComfyUI, which takes files and never deletes them: under their hash, so that
    no two jobs share a name."""

    def __init__(self, client: ComfyClient) -> None:
        self._client = client

    async def keep(self, path: Path, name: str, sha256: str) -> str:
        """See `InputStore`."""
        del sha256
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
            with await asyncio.to_thread(path.open, "rb") as file:
                return await self._upload(file, size, name)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def keep_content(self, content: bytes, name: str) -> str:
        """See `InputStore`."""
        return await self._upload(io.BytesIO(content), len(content), name)

    async def _upload(self, file: IO[bytes], size: int, name: str) -> str:
        try:
            return await self._client.upload_input(file, size, FOLDER, safe_filename(name))
        except ComfyUnreachable as error:
            raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error


def input_store_for(folders: JobFolders | None, client: ComfyClient) -> InputStore:
    """Where the input files of a job go: into its own `folders`, where there are any."""
    return FolderInputStore(folders) if folders is not None else UploadInputStore(client)


class InputFetcher:
    """Fetches input files into `spool` and hands them to `store`."""

    def __init__(self, transfers: Transfers, store: InputStore, spool: Spool) -> None:
        self._transfers = transfers
        self._store = store
        self._spool = spool
        self._slots = asyncio.Semaphore(MAX_FETCHES)

    async def fetch(self, inputs: tuple[InputFile, ...], until: float) -> dict[str, str]:
        """What each input is called in ComfyUI, by its name in the graph. `until` is the deadline. Raises `JobError`
        `input_fetch_failed`, `comfyui_unavailable`."""
        stored = await run_all(self._one(number, file, until) for number, file in enumerate(inputs))
        return {file.name: path for file, path in zip(inputs, stored, strict=True)}

    async def _one(self, number: int, file: InputFile, until: float) -> str:
        pauses = self._transfers.pauses()
        path = self._spool.file(f"input-{number}")
        for attempt in range(1, MAX_TRIES + 1):
            async with self._slots:
                problem, again = await self._try(file, path)
            if problem is None:
                return await self._store.keep(path, file.name, file.sha256)
            pause = next(pauses)
            if not again or attempt == MAX_TRIES or self._transfers.now() + pause >= until:
                raise JobError("input_fetch_failed", f"The input {file.name} could not be read: {problem}.")
            self._transfers.log.warn("input fetch repeated", attempt=attempt, cause=problem)
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _try(self, file: InputFile, path: Path) -> tuple[str | None, bool]:
        """What went wrong (None: nothing), and whether to try again."""
        digest, size = hashlib.sha256(), 0
        http, limit = self._transfers.http, self._transfers.limit
        try:
            async with http.get(file.url, timeout=limit, allow_redirects=False) as response:
                if response.status != 200:
                    return f"status {response.status}", response.status in REPEATABLE
                with path.open("wb") as target:
                    async for block in response.content.iter_chunked(BLOCK_BYTES):
                        size += len(block)
                        if size > file.size_bytes:
                            return "it is larger than announced", False
                        digest.update(block)
                        target.write(block)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"the transfer broke ({type(error).__name__})", True
        if size != file.size_bytes:
            return "it is smaller than announced", True
        if digest.hexdigest() != file.sha256:
            return "its hash differs", False
        return None, False


def safe_filename(name: str) -> str:
    """The last part of `name`, with nothing in it that a file system or ComfyUI reads as more than a name; its
    extension stays, since loaders go by it."""
    last = _FOLDER.sub("", name.replace("\\", "/").rpartition("/")[2])
    plain = _UNSAFE.sub("_", last).lstrip(".")
    stem, dot, extension = plain.rpartition(".")
    if not dot:
        stem, extension = plain, ""
    stem = stem[:MAX_NAME_CHARS] or "input"
    return f"{stem}.{extension[:16]}" if extension else stem
