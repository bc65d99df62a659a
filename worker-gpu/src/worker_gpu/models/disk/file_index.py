"""The index of verified files: one JSON line per file with its `stat`, so that an unchanged file is not hashed again.

Lines are only appended. A line that was cut off by a kill is ignored; that file is then hashed again.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from worker_gpu.json_readers import (
    JsonObject,
    ShapeError,
    decode,
    encode,
    need_count,
    need_flag,
    need_object,
    need_text,
)

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class KnownFile:
    """A verified file. `linked`: a link to a file on the volume or in the Hugging Face cache. `baked`: the file becomes
    part of an image. `used_s` is in seconds since 1970."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    linked: bool
    used_s: int
    baked: bool = False

    @staticmethod
    def of(path: str, stat: os.stat_result, sha256: str, linked: bool, used_s: int) -> "KnownFile":
        """The entry of a file with its current `stat`."""
        return KnownFile(path, stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256, linked, used_s)

    def matches(self, stat: os.stat_result) -> bool:
        """Whether a file with this `stat` is the verified one. An image layer keeps neither the inode nor the
        fraction of a second of the time. So a baked file may also match by size and whole seconds, if its time has
        no fraction: a file that was copied there later has one."""
        if stat.st_size != self.size:
            return False
        if (stat.st_mtime_ns, stat.st_ino) == (self.mtime_ns, self.inode):
            return True
        return self.baked and stat.st_mtime_ns in (self.mtime_ns, self.mtime_ns - self.mtime_ns % _SECOND_NS)

    def to_line(self) -> bytes:
        """The line of the index."""
        wire: JsonObject = {
            "path": self.path,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "inode": self.inode,
            "sha256": self.sha256,
            "linked": self.linked,
            "used_s": self.used_s,
        }
        if self.baked:
            wire["baked"] = True
        return (encode(wire) + "\n").encode()


def used_line(path: str, used_s: int) -> bytes:
    """A line that updates the time of last use."""
    return (encode({"path": path, "used_s": used_s}) + "\n").encode()


def deleted_line(path: str) -> bytes:
    """A line that removes a deleted file."""
    return (encode({"path": path, "gone": True}) + "\n").encode()


def read_index(path: Path) -> tuple[dict[str, KnownFile], int]:
    """The latest entry of each file, and the number of lines. Raises `OSError`, but not if the index is missing."""
    known: dict[str, KnownFile] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return known, 0
    apply_lines(lines, known)
    return known, len(lines)


def apply_lines(lines: Iterable[bytes], known: dict[str, KnownFile]) -> None:
    """Apply further lines to `known`. Invalid lines are ignored."""
    for line in lines:
        with contextlib.suppress(ShapeError):
            if line:
                _apply(need_object(decode(line), "line"), known)


def _apply(line: JsonObject, known: dict[str, KnownFile]) -> None:
    path = need_text(line, "path")
    if "gone" in line:
        known.pop(path, None)
    elif "sha256" in line:
        known[path] = KnownFile(
            path,
            need_count(line, "size"),
            need_count(line, "mtime_ns"),
            need_count(line, "inode"),
            need_text(line, "sha256"),
            need_flag(line, "linked"),
            need_count(line, "used_s"),
            "baked" in line,
        )
    elif path in known:
        known[path] = replace(known[path], used_s=need_count(line, "used_s"))
