"""Lists every output in the result of a node, under any key (reference/comfyui.md section 5). Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from worker_gpu.json_readers import Json, JsonObject, maybe_text
from worker_gpu.outputs.kinds import content_type_of

TEXT_KEYS = frozenset({"text", "texts", "string", "strings", "markdown", "json", "value", "values"})
"""Keys whose strings, numbers and booleans are text outputs (PreviewAny, PreviewText, SaveText and common custom
nodes). A string under another key is an output only if it names a file that exists."""
MAX_DEPTH = 8
"""No known node lists files deeper than this."""
MAX_PATH_CHARS = 1024
MAX_PART_BYTES = 255
"""Limits of file systems: a longer string, or a string with a longer part, is not a path."""

_ANNOTATION = re.compile(r" ?\[(output|temp|input)\]$")
"""ComfyUI names the folder of a path like this in a single string (`folder_paths.annotated_filepath`)."""
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class FileRef:
    """A file in one of ComfyUI's folders."""

    filename: str
    subfolder: str
    folder: str

    @property
    def path(self) -> str:
        """Relative to its folder, with forward slashes."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


@dataclass(frozen=True)
class PathRef:
    """A path that a node listed, relative to `folder` if that is known, or absolute. A backslash is a separator on
    Windows and a character of a name elsewhere; `output_paths` looks for both. `required` is true if the node listed a
    file, and false for a string, which is an output only if it names a file that exists."""

    path: str
    folder: str | None = None
    required: bool = False

    @property
    def posix(self) -> str:
        """The path with forward slashes only."""
        return self.path.replace("\\", "/")


@dataclass(frozen=True)
class TextRef:
    """A text output. `index` counts the texts of the node."""

    text: str
    index: int


@dataclass(frozen=True)
class ImageRef:
    """An image that a node sent over the WebSocket, at `path` on this disk. `index` counts the images of the node."""

    path: Path
    extension: str
    index: int


OutputRef: TypeAlias = FileRef | PathRef | TextRef | ImageRef
"""Where the content of an output is."""


@dataclass(frozen=True)
class ListedOutput:
    """An output of `node`. `key` is the key that lists it, empty if no node lists it."""

    node: str
    key: str
    ref: OutputRef


def split_annotation(text: str) -> tuple[str, str | None]:
    """Split a path from the folder it names: `a.png [temp]` becomes `("a.png", "temp")`."""
    said = _ANNOTATION.search(text)
    return (text[: said.start()], said[1]) if said is not None else (text, None)


def list_outputs(node: str, output: JsonObject) -> list[ListedOutput]:
    """Files, paths and texts in the `output` of `node`, in order. A file is listed once for each key. Input files are
    not outputs."""
    found: list[ListedOutput] = []
    files: set[ListedOutput] = set()
    texts = 0
    for key, item in _search(output, "", 0):
        if isinstance(item, str):
            found.append(ListedOutput(node, key, TextRef(item, texts)))
            texts += 1
        elif item.folder != "input" and (listed := ListedOutput(node, key, item)) not in files:
            files.add(listed)
            found.append(listed)
    return found


def is_absolute(path: str) -> bool:
    """Whether a path is absolute on Linux or Windows."""
    return _ABSOLUTE.match(path) is not None


def file_at(path: str, folder: str) -> FileRef | None:
    """The file at a relative path; None if the path is empty or leads out of its folder."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return FileRef(parts[-1], "/".join(parts[:-1]), folder) if parts else None


def _search(value: Json, key: str, depth: int) -> Iterator[tuple[str, FileRef | PathRef | str]]:
    """Each file, path and text with the top-level key that it is under."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        filename = maybe_text(value.get("filename"))
        if filename:
            subfolder, folder = maybe_text(value.get("subfolder")) or "", maybe_text(value.get("type")) or "output"
            if (ref := _file_ref(filename, subfolder, folder)) is not None:
                yield key, ref
            return
        for name, item in value.items():
            yield from _search(item, name if depth == 0 else key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _search(item, key, depth + 1)
    elif key in TEXT_KEYS:
        if value is not None:
            yield key, value if isinstance(value, str) else json.dumps(value)
    elif isinstance(value, str) and (ref := _path_ref(value)) is not None:
        yield key, ref


def _file_ref(filename: str, subfolder: str, folder: str) -> FileRef | PathRef | None:
    """Some nodes put the subfolder into the file name, use backslashes, or list an absolute path."""
    below = f"{subfolder}/{filename}" if subfolder else filename
    for path in (filename, below):
        if is_absolute(path):
            return PathRef(path, folder, required=True)
    if "\\" in below:
        return PathRef(below, folder, required=True)
    parts = [part for part in below.split("/") if part]
    return FileRef(parts[-1], "/".join(parts[:-1]), folder) if parts else None


def _path_ref(value: str) -> PathRef | None:
    if not 0 < len(value) <= MAX_PATH_CHARS or not value.isprintable() or "://" in value:
        return None
    plain, folder = split_annotation(value)
    ref = PathRef(plain, folder)
    if content_type_of(plain) is None or any(len(part.encode()) > MAX_PART_BYTES for part in ref.posix.split("/")):
        return None
    return ref
