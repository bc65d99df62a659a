"""Finds every result in what a node listed, whatever key it is under (reference/comfyui.md section 5). Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from worker_gpu.outputs.kinds import content_type_of
from worker_gpu.shape import Json, JsonObject, maybe_text

TEXT_KEYS = frozenset({"text", "texts", "string", "strings", "markdown", "json", "value", "values"})
"""Keys whose strings, numbers and booleans are results themselves (PreviewAny, PreviewText, SaveText and common custom
nodes). A string under another key is one only where it names a file that is there."""
MAX_DEPTH = 8
"""Deeper nesting holds no files in any node known."""
MAX_PATH_CHARS = 1024
MAX_PART_BYTES = 255
"""A longer string, or one with a longer part, is no path: file systems take no more."""

_ANNOTATION = re.compile(r" ?\[(output|temp|input)\]$")
"""How ComfyUI says which folder a path is in, where one string says all (`folder_paths.annotated_filepath`)."""
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class FileRef:
    """A file in one of ComfyUI's folders."""

    filename: str
    subfolder: str
    folder: str

    @property
    def path(self) -> str:
        """Relative to its folder, forward slashes."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


@dataclass(frozen=True)
class PathRef:
    """A path that a node listed: of `folder`, where it says so, or absolute. A backslash in it is a separator on
    Windows and a character of the name elsewhere: `output_paths` looks for both. `needed`: it says that it is a file;
    any other is one only if there is such a file."""

    path: str
    folder: str | None = None
    needed: bool = False

    @property
    def slashed(self) -> str:
        """The path with forward slashes only."""
        return self.path.replace("\\", "/")


@dataclass(frozen=True)
class TextRef:
    """A text that a node listed; `index` counts the texts of the node."""

    text: str
    index: int


@dataclass(frozen=True)
class PictureRef:
    """A picture that a node sent as its result, at `path` on this disk; `index` counts the pictures of the node."""

    path: Path
    extension: str
    index: int


Found: TypeAlias = FileRef | PathRef | TextRef | PictureRef
"""What a node gave."""


@dataclass(frozen=True)
class Listed:
    """Something that `node` gave. `key` of its output lists it; empty for what no node listed."""

    node: str
    key: str
    found: Found


def split_annotation(text: str) -> tuple[str, str | None]:
    """A path and the folder that it says it is in: `("a.png", "temp")` of `a.png [temp]`."""
    said = _ANNOTATION.search(text)
    return (text[: said.start()], said[1]) if said is not None else (text, None)


def walk(node: str, output: JsonObject) -> list[Listed]:
    """Files, paths and texts in the `output` of `node`, in their order. A file is listed once for each key. Input
    files are not results."""
    found: list[Listed] = []
    files: set[Listed] = set()
    texts = 0
    for key, item in _walk(output, "", 0):
        if isinstance(item, str):
            found.append(Listed(node, key, TextRef(item, texts)))
            texts += 1
        elif item.folder != "input" and (listed := Listed(node, key, item)) not in files:
            files.add(listed)
            found.append(listed)
    return found


def is_absolute(path: str) -> bool:
    """Whether a path begins at the root of a disk, of Windows or another system."""
    return _ABSOLUTE.match(path) is not None


def file_at(path: str, folder: str) -> FileRef | None:
    """The file at a relative path; None where the path names none, or leads out of its folder."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return FileRef(parts[-1], "/".join(parts[:-1]), folder) if parts else None


def _walk(value: Json, key: str, depth: int) -> Iterator[tuple[str, FileRef | PathRef | str]]:
    """Each with the key of the output that it is under."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        filename = maybe_text(value.get("filename"))
        if filename:
            ref = _file(filename, maybe_text(value.get("subfolder")) or "", maybe_text(value.get("type")) or "output")
            if ref is not None:
                yield key, ref
            return
        for name, item in value.items():
            yield from _walk(item, name if depth == 0 else key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, key, depth + 1)
    elif key in TEXT_KEYS:
        if value is not None:
            yield key, value if isinstance(value, str) else json.dumps(value)
    elif isinstance(value, str) and (ref := _path(value)) is not None:
        yield key, ref


def _file(filename: str, subfolder: str, folder: str) -> FileRef | PathRef | None:
    """Some nodes put the subfolder into the file name, or write it with backslashes, or name the whole path."""
    below = f"{subfolder}/{filename}" if subfolder else filename
    for path in (filename, below):
        if is_absolute(path):
            return PathRef(path, folder, needed=True)
    if "\\" in below:
        return PathRef(below, folder, needed=True)
    parts = [part for part in below.split("/") if part]
    return FileRef(parts[-1], "/".join(parts[:-1]), folder) if parts else None


def _path(value: str) -> PathRef | None:
    if not 0 < len(value) <= MAX_PATH_CHARS or not value.isprintable() or "://" in value:
        return None
    plain, folder = split_annotation(value)
    ref = PathRef(plain, folder)
    if content_type_of(plain) is None or any(len(part.encode()) > MAX_PART_BYTES for part in ref.slashed.split("/")):
        return None
    return ref
