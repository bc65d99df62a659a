"""Compares the models folder with the manifest: by `stat`, or by hashing every byte."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Literal

from worker_gpu.models.cpus import usable_cpus
from worker_gpu.models.disk.integrity import is_intact
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.manifest.manifest import ModelFile

State = Literal["ok", "missing", "wrong_size", "unchecked", "corrupt"]
"""`unchecked`: the file has the right size, but is not in the index, or has changed since it was verified."""


@dataclass(frozen=True)
class Finding:
    """The result for one file."""

    file: ModelFile
    state: State


def verify_files(tree: LocalTree, files: Iterable[ModelFile], full: bool) -> list[Finding]:
    """The state of every file. `full` hashes them, with one thread per CPU."""
    requested = list(files)
    if not full:
        return [Finding(file, _check_stat(tree, file)) for file in requested]
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(_check_hash, repeat(tree), requested))


def _check_stat(tree: LocalTree, file: ModelFile) -> State:
    return "ok" if tree.has(file) else _check_size(tree.root / file.path, file)


def _check_size(path: Path, file: ModelFile) -> State:
    try:
        return "unchecked" if path.stat().st_size == file.size else "wrong_size"
    except OSError:
        return "missing"


def _check_hash(tree: LocalTree, file: ModelFile) -> Finding:
    path = tree.root / file.path
    state = _check_size(path, file)
    if state != "unchecked":
        return Finding(file, state)
    try:
        stat = path.stat()
        if not is_intact(path, file):
            return Finding(file, "corrupt")
    except OSError:
        return Finding(file, "missing")
    tree.record(file, stat, linked=path.is_symlink())
    return Finding(file, "ok")
