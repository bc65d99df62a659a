"""Putting models into the bucket: hash, upload what is not there, then write what the manifest says of it.

A new file is named by the manifest when it is whole. A new version of a file takes the name of the one before, which is
gone then: until the manifest follows, at once, a worker that asks for the one before is refused by its tag, and looks
at the manifest again (service.py). Each request carries the SHA-256 of its body in the signature, so the store checks
every part.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from worker_gpu.models.download.bucket import BucketClient, BucketObject
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import CHUNK_BYTES, MANIFEST_KEY, FromBucket, Manifest, ModelFile
from worker_gpu.models.manifest.manifest_entries import PushEntry, apply_entry
from worker_gpu.models.manifest.model_path import check_path
from worker_gpu.models.settings import Bucket, TransferTimeouts
from worker_gpu.shape import ShapeError

MANIFEST_ATTEMPTS = 5
_READ_BYTES = 4 * 1024 * 1024
MODEL_CONTENT_TYPE = "application/octet-stream"


def describe(source: Path, entry: PushEntry, chunk_size: int = CHUNK_BYTES) -> ModelFile:
    """The manifest entry of a file on disk. Reads all of it. Raises `ModelError`."""
    try:
        check_path(entry.path, entry.allow_unsafe)
    except ShapeError as error:
        raise ModelError("bad_setting", f"{entry.path}: {error}", entry.path) from None
    whole, chunks, size = hashlib.sha256(), list[str](), 0
    try:
        with source.open("rb") as file:
            chunk, left = hashlib.sha256(), chunk_size
            while piece := file.read(min(_READ_BYTES, left)):
                whole.update(piece)
                chunk.update(piece)
                size, left = size + len(piece), left - len(piece)
                if left == 0:
                    chunks.append(chunk.hexdigest())
                    chunk, left = hashlib.sha256(), chunk_size
            if left < chunk_size:
                chunks.append(chunk.hexdigest())
    except OSError as error:
        raise ModelError("disk_failed", f"{source}: {error.strerror or error}", entry.path) from error
    file = ModelFile(
        path=entry.path,
        size=size,
        sha256=whole.hexdigest(),
        chunk_size=chunk_size,
        chunks=tuple(chunks),
        allow_unsafe=entry.allow_unsafe,
    )
    return apply_entry(entry, file, None)


class Pusher:
    """Uploads to one bucket."""

    def __init__(
        self, bucket: Bucket, patience: TransferTimeouts, make_store: Callable[[Bucket, TransferTimeouts], BucketClient]
    ) -> None:
        self._store = make_store(bucket, patience)

    def upload(self, source: Path, file: ModelFile) -> tuple[ModelFile, bool]:
        """`file` with the tag of its object, and whether it had to be sent. Raises `ModelError`."""
        there = self._store.head(file.path)
        if there is not None and (there.sha256, there.size) == (file.sha256, file.size):
            return _with_etag(file, there.etag), False
        etag = self._put_whole(source, file) if file.chunk_count < 2 else self._put_parts(source, file)
        return _with_etag(file, etag), True

    def manifest(self) -> Manifest:
        """The bucket's manifest; an empty one where there is none. Raises `ModelError`."""
        return _parse(self._store.get(MANIFEST_KEY))

    def update_manifest(self, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Change the bucket's manifest, whoever else does so at the same time. Raises `ModelError`; one that workers
        would refuse is not written."""
        for _ in range(MANIFEST_ATTEMPTS):
            got = self._store.get(MANIFEST_KEY)
            before = _parse(got)
            after = change(before)
            if got is not None and after == before:
                return after
            body = after.to_bytes()
            _check(body)
            digest = hashlib.sha256(body).hexdigest()
            # A copy that is never changed: what was pushed when. It is a way back for what a manifest says of objects
            # that are still those.
            self._store.put(f"manifests/{digest}.json", body, "application/json")
            only_if = got.etag if got is not None else None
            if self._store.replace(MANIFEST_KEY, body, "application/json", only_if):
                return after
        raise ModelError("store_unreachable", "manifest.json is being changed by somebody else all the time")

    def _put_whole(self, source: Path, file: ModelFile) -> str:
        body = _read(source, 0, file.size, file.sha256, file.path)
        return self._store.put(file.path, body, MODEL_CONTENT_TYPE, file.sha256)

    def _put_parts(self, source: Path, file: ModelFile) -> str:
        def chunks() -> Iterator[bytes]:
            for chunk in range(file.chunk_count):
                first, length = file.chunk_range(chunk)
                yield _read(source, first, length, file.chunks[chunk], file.path)

        return self._store.put_parts(file.path, chunks(), file.chunk_size, MODEL_CONTENT_TYPE, file.sha256)


def _parse(answer: BucketObject | None) -> Manifest:
    return Manifest.parse(answer.body) if answer is not None else Manifest({})


def _check(body: bytes) -> None:
    try:
        Manifest.parse(body)
    except ModelError as error:
        raise ModelError("bad_setting", f"nothing is written, since workers would refuse it: {error.message}") from None


def _with_etag(file: ModelFile, etag: str) -> ModelFile:
    return replace(file, source=FromBucket(etag or None))


def _read(source: Path, first: int, length: int, sha256: str, path: str) -> bytes:
    """Bytes of a file that must still be those that were hashed."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = _pread(fd, first, length)
        finally:
            os.close(fd)
    except OSError as error:
        raise ModelError("disk_failed", f"{source}: {error.strerror or error}", path) from error
    if hashlib.sha256(body).hexdigest() != sha256:
        raise ModelError("model_replaced", f"{source} was changed while it was pushed", path)
    return body


def _pread(fd: int, first: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length > 0 and (piece := os.pread(fd, length, first)):
        pieces.append(piece)
        first, length = first + len(piece), length - len(piece)
    return b"".join(pieces)
