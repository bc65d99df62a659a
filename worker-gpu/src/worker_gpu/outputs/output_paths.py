"""The files in ComfyUI's folders that a path listed by a node can refer to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from worker_gpu.outputs.history_outputs import FileRef, PathRef, file_at, is_absolute

FOLDERS = ("output", "temp")
"""ComfyUI's folders that hold outputs, as the `type` of a listed file names them."""


Roots: TypeAlias = Sequence[tuple[str, Path]]
"""Folders that hold outputs, each with its name."""


def candidate_files(ref: PathRef, roots: Roots) -> list[FileRef]:
    """The files that `ref` can refer to, the most likely first. Without `roots`, because they are on another machine,
    an absolute path is matched by a folder named `output` or `temp` in it. May read the disk."""
    # A ComfyUI that the worker starts runs on Linux, where a backslash is a character. Another may run on Windows.
    spellings = (ref.path, ref.posix) if roots else (ref.posix, ref.path)
    return [file for path in dict.fromkeys(spellings) for file in _candidates(path, ref.folder, roots)]


def _candidates(path: str, folder: str | None, roots: Roots) -> list[FileRef]:
    if path.startswith("/") or (is_absolute(path) and "\\" not in path):
        found = _below_roots(path, roots) if roots else _below_names(path)
    elif folder is not None:
        found = [file_at(path, folder)]
    else:
        first, _, rest = path.partition("/")
        # Preview3D lists `temp/…` for a file in temp. Some nodes list `output/…` for a file in output.
        named = [file_at(rest, first)] if first in FOLDERS else []
        found = [file_at(path, each) for each in FOLDERS]
        found = [*named, *found] if first == "temp" else [*found, *named]
    return [file for file in found if file is not None]


def _below_roots(path: str, roots: Roots) -> list[FileRef | None]:
    """Match the path as written first, so that a file keeps its name, then with its links resolved."""
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
