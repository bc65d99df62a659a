"""Small models for tests, of random bytes in chunks of 16 KiB, and settings with short timeouts."""

import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from worker_gpu.log import Log
from worker_gpu.models.manifest.manifest import FromBucket, Manifest, ModelFile, Source
from worker_gpu.models.settings import Bucket, ModelSettings, TransferTimeouts

CHUNK = 16 * 1024
QUICK = TransferTimeouts(
    read_timeout_s=5.0,
    first_pause_s=0.001,
    max_pause_s=0.002,
    slow_grace_s=60.0,
    check_interval_s=0.01,
    freed_blocks_s=0.0,
)
"""Pauses are negligible. `read_timeout_s` is only an upper bound, except in tests of stalls."""


def content(size: int, seed: int = 0) -> bytes:
    """Random bytes."""
    return random.Random(seed).randbytes(size)


def model(
    path: str,
    body: bytes,
    *,
    groups: Sequence[str] = (),
    source: Source | None = None,
    chunked: bool = True,
    chunk_bytes: int = CHUNK,
    priority: int = 0,
) -> ModelFile:
    """The manifest entry of `body`. `chunked=False`: without chunk hashes."""
    pieces = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)] if chunked else []
    return ModelFile(
        path=path,
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        chunk_size=chunk_bytes,
        chunks=tuple(hashlib.sha256(piece).hexdigest() for piece in pieces),
        groups=tuple(groups),
        priority=priority,
        source=source or FromBucket(),
    )


def manifest_bytes(*files: ModelFile) -> bytes:
    """The manifest.json of `files`."""
    return Manifest.of(files).to_bytes()


def settings(
    folder: Path, bucket: Bucket | None, connections: int = 4, timeouts: TransferTimeouts = QUICK
) -> ModelSettings:
    """Settings with `bucket` and no minimum of free space."""
    return ModelSettings(folder / "models", bucket, connections=connections, min_free_bytes=0, timeouts=timeouts)


def with_timeouts(base: ModelSettings, timeouts: TransferTimeouts) -> ModelSettings:
    """The settings with other timeouts."""
    return replace(base, timeouts=timeouts)


def silent() -> Log:
    """A log that is discarded."""
    return Log(io.StringIO())


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.moment = 1_000_000.0

    def __call__(self) -> float:
        return self.moment
