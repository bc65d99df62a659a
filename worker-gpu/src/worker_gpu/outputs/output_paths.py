"""Which file of ComfyUI's folders a path that a node listed may mean."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from worker_gpu.outputs.history_outputs import FileRef, PathRef, file_at, is_absolute

FOLDERS = ("output", "temp")
"""ComfyUI's folders that hold results, by the name that its `type` gives them."""


Roots: TypeAlias = Sequence[tuple[str, Path]]
"""Folders that hold results, each with its name."""


def places(ref: PathRef, roots: Roots) -> list[FileRef]:
    """The files that `ref` may mean, the likeliest first. Where no `roots` are given, since they are out of reach, an
    absolute path is taken to mean what lies below a folder called `output` or `temp`. May touch the disk."""
    # A ComfyUI of ours runs on Linux, where a backslash is a character; one out of reach may run on Windows.
    spellings = (ref.path, ref.slashed) if roots else (ref.slashed, ref.path)
    return [file for path in dict.fromkeys(spellings) for file in _meant(path, ref.folder, roots)]


def _meant(path: str, folder: str | None, roots: Roots) -> list[FileRef]:
    if path.startswith("/") or (is_absolute(path) and "\\" not in path):
        found = _below_roots(path, roots) if roots else _below_names(path)
    elif folder is not None:
        found = [file_at(path, folder)]
    else:
        first, _, rest = path.partition("/")
        # Preview3D writes `temp/…` for a file in temp; some nodes put `output/` in front of what is below it.
        named = [file_at(rest, first)] if first in FOLDERS else []
        found = [file_at(path, each) for each in FOLDERS]
        found = [*named, *found] if first == "temp" else [*found, *named]
    return [file for file in found if file is not None]


def _below_roots(path: str, roots: Roots) -> list[FileRef | None]:
    """By the path as it is written, so that a file keeps its name; else by where its links lead."""
    for write in (os.path.normpath, os.path.realpath):
        for folder, root in roots:
            for base in (os.path.normpath(root), os.path.realpath(root)):
                if write(path).startswith(base + os.sep):
                    return [file_at(Path(write(path)).relative_to(base).as_posix(), folder)]
    return []


def _below_names(path: str) -> list[FileRef | None]:
    parts = path.split("/")
    for at in range(len(parts) - 2, 0, -1):
        if parts[at] in FOLDERS:
            return [file_at("/".join(parts[at + 1 :]), parts[at])]
    return []
