"""Pushes models to the bucket: hash a file, upload it if it is missing, then update the manifest.

The manifest lists a new file only after its upload. A new version of a file replaces the previous object, and the
manifest follows at once. Between the two, a worker's read of the previous version fails by its ETag, and the worker
reads the manifest again (service.py). The signature of each request includes the SHA-256 of its body, so the store
verifies every part.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from worker_gpu.json_readers import ShapeError
from worker_gpu.models.download.bucket import BucketClient, BucketObject
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import CHUNK_BYTES, MANIFEST_KEY, FromBucket, Manifest, ModelFile
from worker_gpu.models.manifest.manifest_entries import PushEntry, apply_entry
from worker_gpu.models.manifest.model_path import check_path
from worker_gpu.models.settings import Bucket, TransferTimeouts

MANIFEST_ATTEMPTS = 5
_READ_BYTES = 4 * 1024 * 1024
MODEL_CONTENT_TYPE = "application/octet-stream"


def describe(source: Path, entry: PushEntry, chunk_size: int = CHUNK_BYTES) -> ModelFile:
    """The manifest entry of a file on disk, which is hashed. Raises `ModelError`."""
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
    """Pushes files to one bucket."""

    def __init__(
        self, bucket: Bucket, timeouts: TransferTimeouts, make_store: Callable[[Bucket, TransferTimeouts], BucketClient]
    ) -> None:
        self._store = make_store(bucket, timeouts)

    def upload(self, source: Path, file: ModelFile) -> tuple[ModelFile, bool]:
        """Upload a file unless the bucket has it. Returns `file` with its ETag, and whether it was sent. Raises
        `ModelError`."""
        existing = self._store.head(file.path)
        if existing is not None and (existing.sha256, existing.size) == (file.sha256, file.size):
            return _with_etag(file, existing.etag), False
        etag = self._put_whole(source, file) if file.chunk_count < 2 else self._put_parts(source, file)
        return _with_etag(file, etag), True

    def manifest(self) -> Manifest:
        """The manifest of the bucket, or an empty one. Raises `ModelError`."""
        return _parse(self._store.get(MANIFEST_KEY))

    def update_manifest(self, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Change the manifest of the bucket, safely beside other writers. Raises `ModelError`; never writes a
        manifest that workers would reject."""
        for _ in range(MANIFEST_ATTEMPTS):
            found = self._store.get(MANIFEST_KEY)
            current = _parse(found)
            changed = change(current)
            if found is not None and changed == current:
                return changed
            body = changed.to_bytes()
            _check(body)
            digest = hashlib.sha256(body).hexdigest()
            # An immutable copy per version, from which an earlier manifest can be restored while its objects exist.
            self._store.put(f"manifests/{digest}.json", body, "application/json")
            only_if = found.etag if found is not None else None
            if self._store.replace(MANIFEST_KEY, body, "application/json", only_if):
                return changed
        raise ModelError("store_unreachable", "other writers keep changing manifest.json; try again later")

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
        raise ModelError(
            "bad_setting", f"manifest.json was not written, since workers would reject it: {error.message}"
        ) from None


def _with_etag(file: ModelFile, etag: str) -> ModelFile:
    return replace(file, source=FromBucket(etag or None))


def _read(source: Path, first: int, length: int, sha256: str, path: str) -> bytes:
    """Read bytes of a file. Raises `ModelError` if they have changed since they were hashed."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = _pread(fd, first, length)
        finally:
            os.close(fd)
    except OSError as error:
        raise ModelError("disk_failed", f"{source}: {error.strerror or error}", path) from error
    if hashlib.sha256(body).hexdigest() != sha256:
        raise ModelError("model_replaced", f"{source} has changed during the push; push it again", path)
    return body


def _pread(fd: int, first: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length > 0 and (piece := os.pread(fd, length, first)):
        pieces.append(piece)
        first, length = first + len(piece), length - len(piece)
    return b"".join(pieces)
