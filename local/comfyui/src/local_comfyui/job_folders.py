"""Folders of one prompt, as the package of worker-gpu sets them in a real ComfyUI (docs/reference/worker.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_comfyui.folders import Folders
from local_comfyui.json_types import Json, as_object

FIELD = "comfy_edge"
"""The name of the field in `extra_data`, in a history entry, and in `/features`."""
PROTOCOL = 1


@dataclass(frozen=True)
class JobFolders:
    """The folders of a prompt, and the `scope` within which results are kept for the next."""

    scope: str
    folders: Folders


def job_folders_of(extra_data: Mapping[str, Json]) -> JobFolders | None:
    """The request of a prompt; None if it has no valid one."""
    asked = as_object(extra_data.get(FIELD))
    given = as_object(asked.get("folders"))
    scope, paths = asked.get("scope"), [given.get(name) for name in ("input", "output", "temp")]
    texts = [path for path in paths if isinstance(path, str)]
    if not isinstance(scope, str) or len(texts) != len(paths):
        return None
    return JobFolders(scope, Folders(*(Path(text) for text in texts)))


class Written:
    """Files that a prompt writes into its output and temp folders, by the node that ran when each appeared."""

    def __init__(self, folders: Folders) -> None:
        self._roots = {"output": folders.output, "temp": folders.temp}
        self._before = {path: _stamp(path) for path in self._files()}
        self._nodes: dict[Path, str] = {}

    def look(self, node: str) -> None:
        """Attribute the files that are new since the last call to `node`."""
        for path in self._files():
            if path not in self._before:
                self._nodes.setdefault(path, node)

    def report(self) -> list[Json]:
        """`{type, path, node}` of every file that the prompt wrote."""
        return [
            {"type": kind, "path": path.relative_to(root).as_posix(), "node": self._nodes.get(path, "")}
            for kind, root in self._roots.items()
            for path in sorted(self._files())
            if path.is_relative_to(root) and self._before.get(path) != _stamp(path)
        ]

    def _files(self) -> list[Path]:
        found = (path for root in self._roots.values() for path in root.rglob("*"))
        return [path for path in found if path.is_file() and not path.is_symlink() and not path.name.startswith(".")]


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino
