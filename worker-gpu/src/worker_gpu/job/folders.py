"""The folders of one job in a ComfyUI of ours: empty before and after it, and used by no other job in between.

`docs/reference/isolation.md` says what that is for. The package `comfyui_extension/comfy_edge` puts them in force
inside ComfyUI.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.outputs.history_outputs import FileRef, file_at, split_annotation

JOBS = "jobs"
"""Below the worker's data folder: one folder for each scope."""
NAMES = ("input", "output", "temp", "scratch")
"""The folders of a scope."""
FOLDER_CHARS = 32
"""Of a scope's hash: as many bits as a UUID has."""


@dataclass(frozen=True)
class Folders:
    """Where a ComfyUI of ours reads and writes by itself. Empty between jobs."""

    input: Path
    output: Path
    temp: Path


@dataclass(frozen=True)
class ComfyFolders:
    """What `JobFolders` are made from. `jobs` holds those of each scope. `shared` are ComfyUI's own, used by nodes that
    asked for them before there was a job. `baked` holds input files that every job may name."""

    jobs: Path
    shared: Folders
    baked: Path | None = None

    def for_scope(self, scope: str) -> "JobFolders":
        """The folders of a job of `scope`. Nothing is made yet."""
        return JobFolders(self, scope)


class JobFolders:
    """`prepare` before the job, `make_ready` after it, `remove` when the worker stops. Jobs of one scope use the same
    paths one after the other, because ComfyUI may keep paths of an earlier job."""

    def __init__(self, comfy: ComfyFolders, scope: str) -> None:
        self._shared = comfy.shared
        self._baked = comfy.baked
        self._scope = scope
        self._root = comfy.jobs / hashlib.sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:FOLDER_CHARS]
        self._digests: dict[str, str] = {}
        self._given: set[Path] = set()
        self.roots = (
            ("output", self._root / "output"),
            ("temp", self._root / "temp"),
            ("output", self._shared.output),
            ("temp", self._shared.temp),
        )
        """Where results may lie, by ComfyUI's name for the folder."""

    def prepare(self) -> None:
        """Make the folders, empty; those of another scope go. After the job before of the same scope they are as they
        have to be, which is only looked at. Blocks. Raises `OSError`."""
        if not self._are_ready():
            self._make()

    def make_ready(self) -> None:
        """Delete all that is in them, and leave them empty for the next job of the scope. Blocks. Raises `OSError`."""
        self.remove()
        self._make()

    def prepare_again(self) -> None:
        """Empty them of what a first run wrote; the input files stay. Blocks. Raises `OSError`."""
        for name in ("output", "temp", "scratch"):
            kept = {path for path in self._given if path.is_relative_to(self._root / name)}
            _empty(self._root / name, kept)
        self._empty_shared()

    def remove(self) -> None:
        """Delete them and all that is in them. Blocks. Raises `OSError`."""
        if self._root.exists():
            shutil.rmtree(self._root)
        self._empty_shared()

    def keep_input(self, path: Path, name: str, digest: str) -> bool:
        """Move the file at `path` to where ComfyUI looks for an input file that the graph calls `name`; False for a
        name that no file can have. Blocks. Raises `OSError`."""
        return self._keep(name, digest, lambda target: shutil.move(path, target))

    def write_input(self, content: bytes, name: str) -> bool:
        """As `keep_input`, with a file that is in memory. Blocks. Raises `OSError`."""
        digest = hashlib.sha256(content).hexdigest()
        return self._keep(name, digest, lambda target: target.write_bytes(content))

    def _keep(self, name: str, digest: str, put: Callable[[Path], object]) -> bool:
        target = self._input_path(name)
        if target is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target)
        self._given.add(target)
        self._digests[name] = digest
        return True

    def bring_baked(self, workflow: Mapping[str, JsonObject]) -> None:
        """Copy in the input files of the image, and folders of such, that the graph names and the job did not bring.
        Copies, since a node may write to what it finds. Blocks. Raises `OSError`."""
        if self._baked is None:
            return
        root = os.path.realpath(self._baked)
        for text in set(_texts(workflow)):
            plain, folder = split_annotation(text)
            target = self._input_path(text)
            source = self._baked / plain
            if folder not in (None, "input") or target is None or target.exists() or not _is_below(source, root):
                continue
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            about = source.stat()
            self._digests[text] = f"baked {about.st_size} {about.st_mtime_ns}"

    def find(self, ref: FileRef) -> Path | None:
        """The file that a node means by `ref`; None where the job did not write it. Blocks."""
        for folder, root in self.roots:
            path = root / ref.path
            if folder == ref.folder and path not in self._given and _is_file_below(path, os.path.realpath(root)):
                return path
        return None

    def request(self) -> JsonObject:
        """What the package inside ComfyUI gets with the prompt (docs/reference/worker.md)."""
        digests: dict[str, Json] = dict(self._digests)
        folders: JsonObject = {name: str(self._root / name) for name in NAMES}
        return {"scope": self._scope, "folders": folders, "inputs": digests}

    def _are_ready(self) -> bool:
        """Whether the folders are there and hold nothing, and there are none of another scope."""
        own = [self._root / name for name in NAMES]
        scopes = list(self._root.parent.iterdir()) if self._root.parent.is_dir() else []
        held = [*own, self._shared.input, self._shared.output, self._shared.temp]
        return scopes == [self._root] and all(path.is_dir() for path in own) and not any(map(_holds_something, held))

    def _make(self) -> None:
        if self._root.parent.is_dir():
            shutil.rmtree(self._root.parent)
        self._empty_shared()
        for name in NAMES:
            (self._root / name).mkdir(parents=True)

    def _input_path(self, name: str) -> Path | None:
        plain, folder = split_annotation(name)
        if "\0" in plain or plain.startswith("/"):
            return None
        ref = file_at(plain, folder or "input")
        return self._root / ref.folder / ref.path if ref is not None else None

    def _empty_shared(self) -> None:
        for folder in (self._shared.input, self._shared.output, self._shared.temp):
            _empty(folder, set())


def own_input_folder(comfyui: Path, arguments: tuple[str, ...]) -> Path:
    """Where a ComfyUI started with `arguments` would look for input files by itself. A flag given twice keeps its last
    value."""
    values = dict(pairwise(arguments))
    for flag, below in (("--input-directory", ""), ("--base-directory", "input")):
        if flag in values:
            return (comfyui / values[flag] / below).absolute()
    return (comfyui / "input").absolute()


def _texts(value: "Json | Mapping[str, JsonObject]") -> Iterator[str]:
    """Every text of a graph's inputs."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _is_below(path: Path, root: str) -> bool:
    """Whether there is something at `path` that lies below `root`, itself not counted."""
    try:
        return os.path.realpath(path).startswith(root + os.sep) and path.exists()
    except (OSError, ValueError):
        # A name that no file of this disk can have.
        return False


def _is_file_below(path: Path, root: str) -> bool:
    return _is_below(path, root) and path.is_file()


def _holds_something(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(True for _ in entries)


def _empty(folder: Path, kept: set[Path]) -> None:
    """Delete all that is in `folder`, but the files that are `kept`."""
    for entry in list(folder.iterdir()) if folder.is_dir() else ():
        if entry in kept:
            continue
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
        elif any(path.is_relative_to(entry) for path in kept):
            _empty(entry, kept)
        else:
            shutil.rmtree(entry)
