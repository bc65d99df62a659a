"""Finds every result in what a node listed, whatever key it is under (reference/comfyui.md section 5). Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from worker_gpu.outputs.kinds import content_type_of
from worker_gpu.shape import Json, JsonObject, maybe_text

TEXT_KEYS = frozenset({"text", "texts", "string", "strings", "markdown", "json"})
"""Keys whose strings are results themselves (PreviewAny, PreviewText, SaveText and common custom nodes)."""
PATH_KEYS = frozenset({"result"})
"""Keys whose strings are files relative to the output folder: 3D nodes, Gaussian splats."""
MAX_DEPTH = 8
"""Deeper nesting holds no files in any node known."""


@dataclass(frozen=True)
class FileRef:
    """A file that a node listed. `anywhere`: a bare path, which names the output folder but may lie in temp."""

    filename: str
    subfolder: str
    folder: str
    anywhere: bool = False

    @property
    def path(self) -> str:
        """Relative to its folder, forward slashes."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


@dataclass(frozen=True)
class TextRef:
    """A text that a node listed; `index` counts the texts of the node."""

    text: str
    index: int


Found: TypeAlias = FileRef | TextRef


def walk(output: JsonObject) -> list[Found]:
    """Files and texts in one node's `output`, in their order, each file once. Input files are no results."""
    found: list[Found] = []
    files: set[FileRef] = set()
    texts = 0
    for item in _walk(output, "", 0):
        if isinstance(item, str):
            found.append(TextRef(item, texts))
            texts += 1
        elif item.filename and item not in files and item.folder != "input":
            files.add(item)
            found.append(item)
    return found


def _walk(value: Json, key: str, depth: int) -> Iterator[FileRef | str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        filename = maybe_text(value.get("filename"))
        if filename:
            yield _file(filename, maybe_text(value.get("subfolder")) or "", maybe_text(value.get("type")) or "output")
            return
        for name, item in value.items():
            yield from _walk(item, name if depth == 0 else key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, key, depth + 1)
    elif isinstance(value, str):
        if key in TEXT_KEYS:
            yield value
        elif key in PATH_KEYS and _looks_like_file(value):
            folder, _, name = value.replace("\\", "/").rpartition("/")
            yield FileRef(name, folder, "output", anywhere=True)


def _file(filename: str, subfolder: str, folder: str) -> FileRef:
    """Some nodes put the subfolder into the file name, or write it with backslashes."""
    path = "/".join(part for part in f"{subfolder}/{filename}".replace("\\", "/").split("/") if part)
    subfolder, _, filename = path.rpartition("/")
    return FileRef(filename, subfolder, folder)


def _looks_like_file(value: str) -> bool:
    return 0 < len(value) <= 1024 and "\n" not in value and content_type_of(value) is not None
