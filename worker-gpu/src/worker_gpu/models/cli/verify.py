"""Whether the models folder is what the manifest says: by `stat` alone, or by hashing every byte."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Literal

from worker_gpu.models.cpus import usable_cpus
from worker_gpu.models.disk.integrity import is_right
from worker_gpu.models.disk.local_tree import Tree
from worker_gpu.models.manifest.manifest import ModelFile

State = Literal["ok", "missing", "wrong_size", "unchecked", "corrupt"]
"""`unchecked`: there, with the right size, but not known to the index, or changed since it was checked."""


@dataclass(frozen=True)
class Finding:
    """What is to be said of one file."""

    file: ModelFile
    state: State


def check(tree: Tree, files: Iterable[ModelFile], full: bool) -> list[Finding]:
    """Every file with its state. `full` reads all of them, one thread for each processor."""
    wanted = list(files)
    if not full:
        return [Finding(file, _quick(tree, file)) for file in wanted]
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(_full, repeat(tree), wanted))


def _quick(tree: Tree, file: ModelFile) -> State:
    return "ok" if tree.holds(file) else _look(tree.root / file.path, file)


def _look(path: Path, file: ModelFile) -> State:
    try:
        return "unchecked" if path.stat().st_size == file.size else "wrong_size"
    except OSError:
        return "missing"


def _full(tree: Tree, file: ModelFile) -> Finding:
    path = tree.root / file.path
    state = _look(path, file)
    if state != "unchecked":
        return Finding(file, state)
    try:
        stat = path.stat()
        if not is_right(path, file):
            return Finding(file, "corrupt")
    except OSError:
        return Finding(file, "missing")
    tree.record(file, stat, linked=path.is_symlink())
    return Finding(file, "ok")
