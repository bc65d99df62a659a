"""Models small enough for a test: random bytes in chunks of 16 KiB, and settings that do not wait long."""

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
"""No test waits for a pause to end; `read_s` is a bound, except where a test is about silence."""


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that compress to nothing and differ everywhere."""
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
    """The entry of `body`. `chunked=False`: only the hash of the whole is known."""
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
    """manifest.json of `files`."""
    return Manifest.of(files).to_bytes()


def settings(
    folder: Path, bucket: Bucket | None, connections: int = 4, timeouts: TransferTimeouts = QUICK
) -> ModelSettings:
    """A folder filled from `bucket`, with nothing kept free."""
    return ModelSettings(folder / "models", bucket, connections=connections, min_free_bytes=0, timeouts=timeouts)


def with_timeouts(base: ModelSettings, timeouts: TransferTimeouts) -> ModelSettings:
    """The same with another patience."""
    return replace(base, timeouts=timeouts)


def silent() -> Log:
    """A log nobody reads."""
    return Log(io.StringIO())


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = 1_000_000.0

    def __call__(self) -> float:
        return self.moment
