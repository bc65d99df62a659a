"""A small disk, on which programs may keep files open."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.samples import CHUNK
from worker_gpu.models.disk.local_tree import LocalTree

BLOCK_BYTES = 512


class SmallDisk:
    """The disk that `LocalTree` sees, with space for `chunks` chunks. The blocks of `open_files` stay in use after
    their deletion. `look` is called at each query of the free space."""

    def __init__(self, folder: Path, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.chunks = chunks
        self.open_files: dict[Path, int] = {}
        self.look: Callable[[], None] = lambda: None

        def free(_: LocalTree) -> int:
            self.look()
            return self.chunks * CHUNK - self.used()

        monkeypatch.setattr(LocalTree, "free_bytes", free)

    def used(self) -> int:
        """Used bytes, of existing files and of deleted ones that a program keeps open."""
        there = {path: path.stat().st_blocks * BLOCK_BYTES for path in self.folder.rglob("*") if path.is_file()}
        deleted = sum(size for path, size in self.open_files.items() if path not in there)
        return sum(there.values()) + deleted

    def hold_open(self, path: Path) -> None:
        """Let a program keep the file open."""
        self.open_files[path] = path.stat().st_blocks * BLOCK_BYTES
