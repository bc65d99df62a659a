"""Which files a prompt wrote, and which node was at work when each appeared."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETTLED_NS = 50_000_000
"""A folder that changed within this time of being read may change again without its time moving: file systems count
time in steps of up to 10 ms."""


@dataclass(frozen=True)
class Root:
    """A folder whose files are results: `kind` is what ComfyUI calls it, `output` or `temp`."""

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


class Written:
    """Make it before the prompt runs: what is there then is not the prompt's, unless it is written again. Names that
    begin with a dot, and links, are no results."""

    def __init__(self, roots: "tuple[Root, ...]") -> None:
        self._roots = roots
        self._listings: dict[str, _Listing] = {}
        self._before: dict[str, _Stamp] = dict(self._read(everything=True))
        self._nodes: dict[str, str] = {}

    def look(self, node: str) -> "list[str]":
        """New files since the last look, now known to be `node`'s."""
        new = [path for path, _ in self._read(everything=False) if path not in self._before and path not in self._nodes]
        for path in new:
            self._nodes[path] = node
        return new

    def report(self) -> "list[dict[str, str]]":
        """All files that are there now and that the prompt wrote, by folder and path: `{type, path, node}`."""
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
        """Files of every folder that may have changed since it was read, or of all."""
        folders = [root.path for root in self._roots]
        while folders:
            folder = folders.pop()
            try:
                changed_ns = Path(folder).stat().st_mtime_ns
                known = self._listings.get(folder)
                if known is not None and not everything and _is_settled(known, changed_ns):
                    folders += known.folders
                    continue
                listing = _Listing(changed_ns, time.time_ns(), [])
                self._listings[folder] = listing
                for entry in os.scandir(folder):
                    if entry.name.startswith("."):
                        continue
                    about = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(about.st_mode):
                        listing.folders.append(entry.path)
                    elif stat.S_ISREG(about.st_mode):
                        yield entry.path, _Stamp(about.st_size, about.st_mtime_ns, about.st_ino)
            except OSError:
                continue  # it vanished meanwhile
            folders += listing.folders


def _is_settled(known: _Listing, changed_ns: int) -> bool:
    return known.changed_ns == changed_ns and changed_ns + SETTLED_NS < known.read_ns
