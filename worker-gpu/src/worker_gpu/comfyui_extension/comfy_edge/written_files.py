"""Records the files that a prompt writes, and the node that was running when each appeared."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETTLED_NS = 50_000_000
"""A folder read this soon after a change may change again with the same time: file systems count time in steps of up to
10 ms."""


@dataclass(frozen=True)
class Root:
    """A folder for outputs. `kind` is its name in ComfyUI, `output` or `temp`."""

    kind: str
    path: str


@dataclass(frozen=True)
class _Stamp:
    size: int
    changed_ns: int
    inode: int


@dataclass
class _Listing:
    changed_ns: int
    read_ns: int
    folders: "list[str]"


class WrittenFiles:
    """Create it before the prompt runs: files that exist then count only if they are written again. Links and names
    that start with a dot are not outputs."""

    def __init__(self, roots: "tuple[Root, ...]") -> None:
        self._roots = roots
        self._listings: dict[str, _Listing] = {}
        self._before: dict[str, _Stamp] = dict(self._read(everything=True))
        self._nodes: dict[str, str] = {}

    def attribute(self, node: str) -> "list[str]":
        """Attribute the files that are new since the last call to `node`, and return them."""
        new = [path for path, _ in self._read(everything=False) if path not in self._before and path not in self._nodes]
        for path in new:
            self._nodes[path] = node
        return new

    def report(self) -> "list[dict[str, str]]":
        """All existing files that the prompt wrote, by folder and path: `{type, path, node}`."""
        now = dict(self._read(everything=True))
        found: list[dict[str, str]] = []
        for root in self._roots:
            below = root.path + os.sep
            for path in sorted(path for path in now if path.startswith(below)):
                if self._before.get(path) != now[path]:
                    name = path[len(below) :].replace(os.sep, "/")
                    found.append({"type": root.kind, "path": name, "node": self._nodes.get(path, "")})
        return found

    def _read(self, *, everything: bool) -> "Iterator[tuple[str, _Stamp]]":
        """The files of all folders, or of the folders that may have changed since they were read."""
        folders = [root.path for root in self._roots]
        while folders:
            folder = folders.pop()
            try:
                changed_ns = Path(folder).stat().st_mtime_ns
                known = self._listings.get(folder)
                if known is not None and not everything and _is_unchanged(known, changed_ns):
                    folders += known.folders
                    continue
                listing = _Listing(changed_ns, time.time_ns(), [])
                self._listings[folder] = listing
                for entry in os.scandir(folder):
                    if entry.name.startswith("."):
                        continue
                    file_stat = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(file_stat.st_mode):
                        listing.folders.append(entry.path)
                    elif stat.S_ISREG(file_stat.st_mode):
                        yield entry.path, _Stamp(file_stat.st_size, file_stat.st_mtime_ns, file_stat.st_ino)
            except OSError:
                continue  # It was deleted meanwhile.
            folders += listing.folders


def _is_unchanged(known: _Listing, changed_ns: int) -> bool:
    return known.changed_ns == changed_ns and changed_ns + SETTLED_NS < known.read_ns
