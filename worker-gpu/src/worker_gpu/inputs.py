"""Fetches a job's input files and puts them where ComfyUI finds them, under names made of their content.

The same content gets the same path in every job, so a warm ComfyUI keeps what it computed from it.
"""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Protocol

import aiohttp

from worker_gpu.boot import Folders
from worker_gpu.comfy.calls import ComfyUnreachable
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.contract import InputFile
from worker_gpu.errors import JobError
from worker_gpu.gateway.client import REPEATABLE
from worker_gpu.together import together
from worker_gpu.transfers import Transfers

FOLDER = "job-inputs"
"""Below ComfyUI's input folder; what the worker stores lies here and nowhere else."""
MAX_FETCHES = 4
MAX_TRIES = 5
BLOCK_BYTES = 256 * 1024
MAX_NAME_CHARS = 80

_FOLDER = re.compile(r" \[(input|output|temp)\]$")
"""Which folder a file is in, as ComfyUI's editor writes it behind a name: no part of the extension."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Store(Protocol):
    """Where ComfyUI reads its inputs."""

    async def keep(self, path: Path, subfolder: str, filename: str) -> str:
        """Move the file at `path` there; gives the name by which a graph calls it. Raises `JobError`."""
        ...

    async def remove(self, stored: list[str]) -> None:
        """Delete files kept before, as far as that is possible."""
        ...


class OwnStore:
    """The input folder of a ComfyUI that the worker started."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def keep(self, path: Path, subfolder: str, filename: str) -> str:
        """See `Store`."""
        target = self._root / subfolder / filename

        def move() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)

        await asyncio.to_thread(move)
        return f"{subfolder}/{filename}"

    async def remove(self, stored: list[str]) -> None:
        """See `Store`."""

        def delete() -> None:
            for name in stored:
                path = self._root / name
                path.unlink(missing_ok=True)
                if path.parent.is_dir() and not any(path.parent.iterdir()):
                    path.parent.rmdir()

        await asyncio.to_thread(delete)


class UploadedStore:
    """The input folder of somebody else's ComfyUI, which takes files and never deletes them."""

    def __init__(self, client: ComfyClient) -> None:
        self._client = client

    async def keep(self, path: Path, subfolder: str, filename: str) -> str:
        """See `Store`."""
        try:
            return await self._client.upload_input(path, subfolder, filename)
        except ComfyUnreachable as error:
            raise JobError("comfyui_unavailable", "ComfyUI does not answer.") from error
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def remove(self, stored: list[str]) -> None:
        """See `Store`."""


def store_for(folders: Folders | None, client: ComfyClient) -> Store:
    """The input folder of a ComfyUI: its own `folders` where they are within reach."""
    return OwnStore(folders.input) if folders is not None else UploadedStore(client)


class InputFetcher:
    """Fetches input files into `spool` and hands them to `store`."""

    def __init__(self, transfers: Transfers, store: Store, spool: Path) -> None:
        self._transfers = transfers
        self._store = store
        self._spool = spool
        self._slots = asyncio.Semaphore(MAX_FETCHES)

    async def fetch(self, inputs: tuple[InputFile, ...], until: float) -> dict[str, str]:
        """Stored path of each input by its name in the graph. `until` is the deadline. Raises `JobError`
        `input_fetch_failed`, `comfyui_unavailable`."""
        stored = await together(self._one(number, file, until) for number, file in enumerate(inputs))
        return {file.name: path for file, path in zip(inputs, stored, strict=True)}

    async def _one(self, number: int, file: InputFile, until: float) -> str:
        pauses = self._transfers.pauses()
        path = self._spool / f"input-{number}"
        for attempt in range(1, MAX_TRIES + 1):
            async with self._slots:
                problem, again = await self._try(file, path)
            if problem is None:
                return await self._store.keep(path, f"{FOLDER}/{file.sha256}", safe_filename(file.name))
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
