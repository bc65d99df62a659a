"""A disk with room for so many chunks, and programs that hold files open."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.samples import CHUNK
from worker_gpu.models.disk.local_tree import LocalTree

BLOCK_BYTES = 512


class SmallDisk:
    """What `Tree` takes for its disk. `open_files`: their blocks stay taken after they are deleted. `look` is told of
    each question for free space."""

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
        """Bytes taken, by what is there and by what a program has open."""
        there = {path: path.stat().st_blocks * BLOCK_BYTES for path in self.folder.rglob("*") if path.is_file()}
        deleted = sum(size for path, size in self.open_files.items() if path not in there)
        return sum(there.values()) + deleted

    def hold_open(self, path: Path) -> None:
        """A program has it open."""
        self.open_files[path] = path.stat().st_blocks * BLOCK_BYTES
