"""What a run writes into ComfyUI's output folder outside of the job's own: by nodes that take no prefix for it."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from worker_gpu.outputs.files import Stamp, stamp_of
from worker_gpu.outputs.graphless.edits import UNFINISHED_SUFFIX
from worker_gpu.outputs.walk import FileRef, file_at

MAX_ENTRIES = 20_000
"""So many files and folders are looked at, twice for each job; that takes about a tenth of a second. The worker empties
the folder after each job, so there are more only where somebody else keeps files in it."""
FOLDER: Stamp = "folder"
"""Stands for a folder among files and their stamps."""


class Strays:
    """Files of `output`, outside of `job_folder`, that are new or written again since `begin`. One job runs at a time,
    so they are the job's. What begins with a dot is no result."""

    def __init__(self, output: Path, job_folder: str) -> None:
        self._output = output
        self._job_folder = job_folder
        self._before: dict[str, Stamp] | None = None

    def begin(self) -> bool:
        """Note what is there before the run; False where that is too much, and nothing will be found. Blocks."""
        self._before = self._look()
        return self._before is not None

    def found(self) -> list[FileRef]:
        """The files, sorted by path. Blocks."""
        refs = (file_at(path, "output") for path in self._new())
        return [ref for ref in refs if ref is not None]

    def remove(self, kept: Collection[str]) -> None:
        """Delete the files but those whose paths are `kept`, and the folders that were made for them. Blocks. Raises
        `OSError`."""
        for path in self._new():
            if path not in kept:
                (self._output / path).unlink(missing_ok=True)
                self._remove_empty(Path(path).parent)

    def _new(self) -> list[str]:
        before = self._before
        now = self._look() if before is not None else None
        if before is None or now is None:
            return []
        return sorted(path for path, stamp in now.items() if stamp != FOLDER and before.get(path) != stamp)

    def _remove_empty(self, folder: Path) -> None:
        while folder.name and folder.as_posix() not in (self._before or {}):
            try:
                (self._output / folder).rmdir()
            except OSError:
                # Something is in it still.
                return
            folder = folder.parent

    def _look(self) -> dict[str, Stamp] | None:
        found: dict[str, Stamp] = {}
        for path, stamp in _entries(self._output, ""):
            if path == self._job_folder or path.startswith(f"{self._job_folder}/"):
                continue
            found[path] = stamp
            if len(found) > MAX_ENTRIES:
                return None
        return found


def _entries(root: Path, below: str) -> Iterator[tuple[str, Stamp]]:
    """Files and folders with their paths below `root`; no links, and nothing that vanishes meanwhile."""
    try:
        entries = list(os.scandir(root / below))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.endswith(UNFINISHED_SUFFIX) or entry.is_symlink():
            continue
        path = f"{below}/{entry.name}" if below else entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                yield path, FOLDER
                yield from _entries(root, path)
            else:
                yield path, stamp_of(entry.stat(follow_symlinks=False))
        except OSError:
            continue
