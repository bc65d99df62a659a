"""Reads partial files on disk without the code under test."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from worker_gpu.models.disk.partial_file import partial_name
from worker_gpu.models.manifest.manifest import ModelFile


def marked_chunks(models: Path, file: ModelFile) -> set[int]:
    """The chunks of `file` that are marked as finished and have the right bytes."""
    part = models / ".sync" / "parts" / partial_name(file)
    marks = part.with_suffix(".marks")
    if not part.exists() or not marks.exists():
        return set()
    data, hashes = part.read_bytes(), marks.read_bytes()
    found: set[int] = set()
    for chunk in range(len(hashes) // 32):
        first, length = file.chunk_range(chunk)
        if hashes[chunk * 32 : chunk * 32 + 32] == hashlib.sha256(data[first : first + length]).digest():
            found.add(chunk)
    return found


def safe_chunks(models: Path, files: Iterable[ModelFile]) -> set[tuple[str, int]]:
    """Path and number of each chunk that no later run may read again."""
    kept: set[tuple[str, int]] = set()
    for file in files:
        here = (models / file.path).exists()
        kept |= {(file.path, chunk) for chunk in (range(file.chunk_count) if here else marked_chunks(models, file))}
    return kept
