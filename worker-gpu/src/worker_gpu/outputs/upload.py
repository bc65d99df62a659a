"""Uploads files to R2 by presigned URLs: small files in one PUT, large files in concurrent parts."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from worker_gpu.concurrency import run_all
from worker_gpu.errors import JobError
from worker_gpu.outputs.files import IN_MEMORY_BYTES, LocalFile
from worker_gpu.wire.client import REPEATABLE, FileToUpload
from worker_gpu.wire.contract import (
    MAX_UPLOADS_PER_CALL,
    MAX_URLS_PER_CALL,
    PART_BYTES,
    SINGLE_PUT_BYTES,
    MultipartUpload,
    PutUpload,
    Upload,
)
from worker_gpu.wire.transfers import Transfers

MAX_TRANSFERS = 4
"""Concurrent files or parts. One connection to R2 reaches 20 to 30 MB/s (reference/gpu-worker.md section 1.1)."""
BLOCK_BYTES = 1024 * 1024
MAX_FRESH_URLS = 2
"""How often new URLs are requested after R2 rejects a URL, which most likely has expired."""
MAX_TRIES = 8
"""Tries of one transfer while the store answers with errors."""


@dataclass(frozen=True)
class NamedFile:
    """A file and its name in the job."""

    name: str
    file: LocalFile


class UploadSink(Protocol):
    """Stores outputs. `reads_once`: a file is not read again after it is stored."""

    reads_once: bool

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """Store `files`; `done` gets each with its key as soon as it is stored. Raises `JobError`, `AttemptOver`."""
        ...


class UploadStore(Protocol):
    """Issues the URLs that an `Uploader` uses: the gateway, or a bucket of the user."""

    async def uploads(self, files: list[FileToUpload], until: float) -> list[Upload]:
        """An upload for each file, in order. Raises `JobError`, `AttemptOver`."""
        ...

    async def finish_upload(self, upload: MultipartUpload, etags: list[tuple[int, str]], until: float) -> bool:
        """Complete a multipart upload; False if it no longer exists."""
        ...


class _UrlRejected(Exception):  # noqa: N818 -- a response, handled below
    """R2 rejected the URL itself."""


class Uploader:
    """Uploads for one attempt. `until` is the job's deadline on the clock of `transfers`."""

    reads_once = False

    def __init__(self, transfers: Transfers, store: UploadStore, until: float) -> None:
        self._transfers = transfers
        self._store = store
        self._until = until
        self._slots = asyncio.Semaphore(MAX_TRANSFERS)

    async def put(self, files: list[NamedFile], done: Callable[[NamedFile, str], None]) -> None:
        """Upload `files`; `done` gets each with its key as soon as it is stored. Raises `JobError` `upload_failed`,
        `output_too_large`; `AttemptOver`."""
        for batch in batches_of(files):
            requested = [_request_of(named) for named in batch]
            issued = await self._store.uploads(requested, self._until)
            await run_all(self._one(named, upload, done) for named, upload in zip(batch, issued, strict=True))

    async def _one(self, named: NamedFile, upload: Upload, done: Callable[[NamedFile, str], None]) -> None:
        for fresh in range(MAX_FRESH_URLS + 1):
            try:
                if isinstance(upload, PutUpload):
                    await self._transfer(upload.url, upload.headers, named.file, 0, named.file.size_bytes)
                else:
                    await self._in_parts(upload, named.file)
            except _UrlRejected as refused:
                if fresh == MAX_FRESH_URLS:
                    raise JobError("upload_failed", f"The store rejected an output ({refused}).") from refused
                self._transfers.log.warn("upload url refused", cause=str(refused))
                (upload,) = await self._store.uploads([_request_of(named)], self._until)
            else:
                done(named, upload.key)
                return

    async def _in_parts(self, upload: MultipartUpload, file: LocalFile) -> None:
        expected = -(-file.size_bytes // upload.part_bytes)
        if len(upload.parts) != expected:
            raise JobError("upload_failed", "The gateway issued a wrong number of parts for a large file.")

        async def part(number: int, url: str) -> tuple[int, str]:
            offset = (number - 1) * upload.part_bytes
            length = min(upload.part_bytes, file.size_bytes - offset)
            return number, await self._transfer(url, {}, file, offset, length)

        etags = await run_all(part(number, url) for number, url in upload.parts)
        if not await self._store.finish_upload(upload, etags, self._until):
            raise _UrlRejected("the multipart upload no longer exists")

    async def _transfer(self, url: str, headers: dict[str, str], file: LocalFile, offset: int, length: int) -> str:
        """PUT `length` bytes of a file from `offset`, and return the ETag. Raises `_UrlRejected`, `JobError`."""
        pauses = self._transfers.pauses()
        for attempt in range(1, MAX_TRIES + 1):
            async with self._slots:
                status, etag = await self._put_once(url, headers, file, offset, length)
            if status in (200, 201, 204):
                return etag
            if status != 0 and status not in REPEATABLE:
                raise _UrlRejected(f"status {status}")
            pause = next(pauses)
            if attempt == MAX_TRIES or self._transfers.now() + pause >= self._until:
                break
            self._transfers.log.warn("upload repeated", status=status, attempt=attempt, pause_s=round(pause, 3))
            await asyncio.sleep(pause)
        raise JobError("upload_failed", "An output could not be stored: the store kept failing.")

    async def _put_once(
        self, url: str, headers: dict[str, str], file: LocalFile, offset: int, length: int
    ) -> tuple[int, str]:
        body: io.BytesIO | AsyncIterator[bytes]
        if file.content is not None:
            body = io.BytesIO(file.content[offset : offset + length])
        elif length <= IN_MEMORY_BYTES:
            body = io.BytesIO(await asyncio.to_thread(_read_range, file.on_disk, offset, length))
        else:
            body = _stream(file.on_disk, offset, length)
        try:
            async with self._transfers.http.put(
                url,
                data=body,
                headers={**headers, "content-length": str(length)},
                skip_auto_headers=("content-type",),
                timeout=self._transfers.limit,
                allow_redirects=False,
            ) as response:
                await response.read()
                return response.status, response.headers.get("etag", "")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""


def batches_of(files: list[NamedFile]) -> list[list[NamedFile]]:
    """`files` in order, in batches that fit the limits of one `uploads` call."""
    batches: list[list[NamedFile]] = []
    urls = 0
    for named in files:
        size = named.file.size_bytes
        more = 1 if size <= SINGLE_PUT_BYTES else -(-size // PART_BYTES)
        if not batches or len(batches[-1]) == MAX_UPLOADS_PER_CALL or urls + more > MAX_URLS_PER_CALL:
            batches.append([])
            urls = 0
        batches[-1].append(named)
        urls += more
    return batches


def _request_of(named: NamedFile) -> FileToUpload:
    return FileToUpload(named.name, named.file.size_bytes, named.file.sha256, named.file.kind.content_type)


def _read_range(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


async def _stream(path: Path, offset: int, length: int) -> AsyncIterator[bytes]:
    end = offset + length
    while offset < end:
        block = await asyncio.to_thread(_read_range, path, offset, min(BLOCK_BYTES, end - offset))
        if not block:
            return
        yield block
        offset += len(block)
